//! The opening handshake (RFC 6455 §4): HTTP requests, responses and their checks, for servers and clients.
//!
//! A server makes a [`Decision`] about each [`Request`]: it accepts with [`AcceptOptions`], refuses, or sends a
//! [`Response`]. A client sends a [`ClientRequest`], and gets a connection, a [`RefusedResponse`] or a
//! [`HandshakeError`]. The adapters run both; [`ServerHandshake`] and [`ClientHandshake`] are the state machines
//! below them.

#![forbid(unsafe_code)]

mod accepted;
mod basic;
mod body_decoder;
mod checked;
mod client;
mod client_request;
mod compact_sha1;
mod decision;
mod extensions;
mod head;
mod head_writer;
#[cfg(feature = "http")]
mod header_map;
#[cfg(feature = "http")]
mod http;
mod ipv6;
mod key;
mod negotiate;
mod origin;
mod refused;
mod rejection;
mod request;
mod response;
mod response_body;
mod server;

mod url;

pub use accepted::Accepted;
pub use basic::basic_authorization;
pub use client::{ClientHandshake, ClientHandshakeEnd, HandshakeError};
pub use client_request::ClientRequest;
pub use decision::{AcceptOptions, Decide, Decision};
pub use extensions::{
    ExtensionList, ExtensionParam, ExtensionText, ExtensionValue, ListedExtension, MalformedExtension,
};
pub use head::{Headers, HeadersIter};
pub use head_writer::HeadError;
pub use key::{AcceptKey, accept_key};
pub use negotiate::Negotiate;
pub use origin::OriginPolicy;
pub use refused::RefusedResponse;
pub use rejection::{BadRequest, Refusal, Rejection};
pub use request::Request;
pub use response::Response;
pub use response_body::ResponseBody;
pub(crate) use server::Once;
pub use server::{ServerHandshake, ServerHandshakeEnd};
pub use url::{UrlError, WsUrl};

#[cfg(feature = "std")]
pub use crate::host::error::HttpResponse;

/// Whether flash is scarce: the feature `small` has no effect on hosts.
const SMALL: bool = cfg!(all(feature = "small", not(feature = "std")));
