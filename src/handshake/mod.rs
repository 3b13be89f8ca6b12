//! The opening handshake (RFC 6455 §4).

#![forbid(unsafe_code)]

mod address;
mod body;
mod client;
mod head;
mod key;
mod origin;
mod reply;
mod request;
mod response;
mod server;

pub use address::{Address, BadUrl};
pub use client::{ClientHandshake, ClientStep, Connect, HandshakeError};
pub use head::{BadHead, Fields};
pub use key::{AcceptKey, accept_key};
pub use origin::Origin;
pub use reply::Reply;
pub use request::Request;
#[cfg(feature = "hub")]
pub(crate) use response::is_bodiless;
pub use response::{Body, Fault, Refusal, Rejection, Response};
pub use server::{Accept, Answer, Decide, HandshakeStep, ServerHandshake};
