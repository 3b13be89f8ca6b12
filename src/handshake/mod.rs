//! The opening handshake (RFC 6455 §4).

#![forbid(unsafe_code)]

mod body;
mod client;
mod client_request;
mod decision;
mod head;
mod key;
mod origin;
mod refused;
mod rejection;
mod request;
mod response;
mod server;
#[cfg(any(test, all(feature = "small", not(feature = "std"))))]
mod sha1;
mod url;

pub use client::{ClientHandshake, ClientHandshakeEnd, HandshakeError};
pub use client_request::ClientRequest;
pub use decision::{AcceptOptions, Decide, Decision};
pub use head::{HeadError, Headers, HeadersIter};
pub use key::{AcceptKey, accept_key};
pub use origin::OriginPolicy;
pub use refused::RefusedResponse;
pub use rejection::{BadRequest, Refusal, Rejection};
pub use request::Request;
pub use response::{Response, ResponseBody};
pub use server::{ServerHandshake, ServerHandshakeEnd};
pub use url::{UrlError, WsUrl};

#[cfg(feature = "std")]
pub use crate::host::error::HttpResponse;
