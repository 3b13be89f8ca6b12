//! The opening handshake (RFC 6455 §4).

#![forbid(unsafe_code)]

mod client;
mod head;
mod key;
mod origin;
mod request;
mod response;
mod server;

pub use client::{Address, BadUrl, ClientHandshake, ClientStep, Connect, HandshakeError, Reply};
pub use head::{BadHead, Fields};
pub use key::{AcceptKey, accept_key};
pub use origin::Origin;
pub use request::Request;
#[cfg(feature = "hub")]
pub(crate) use response::is_bodiless;
pub use response::{Body, Fault, Refusal, Rejection, Response};
pub use server::{Accept, Answer, Decide, HandshakeStep, ServerHandshake};
