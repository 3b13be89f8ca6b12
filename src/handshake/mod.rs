//! The opening handshake (RFC 6455 §4).

#![forbid(unsafe_code)]

mod address;
mod body;
mod client;
mod decision;
mod head;
mod key;
mod origin;
mod rejection;
mod reply;
mod request;
mod response;
mod server;
#[cfg(any(test, all(feature = "small", not(feature = "std"))))]
mod sha1;

pub use address::{UrlError, WsUrl};
pub use client::{ClientHandshake, ClientHandshakeEnd, ClientRequest, HandshakeError};
pub use decision::{AcceptOptions, Decide, Decision};
pub use head::{HeadError, Headers};
pub use key::{AcceptKey, accept_key};
pub use origin::OriginPolicy;
pub use rejection::{BadRequest, Refusal, Rejection};
pub use reply::RefusedResponse;
pub use request::Request;
pub use response::{Response, ResponseBody};
pub use server::{ServerHandshake, ServerHandshakeEnd};

#[cfg(feature = "std")]
pub use crate::host::error::HttpResponse;
