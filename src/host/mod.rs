//! What clients and servers on hosts share, whether their calls block or not.

#![forbid(unsafe_code)]

pub(crate) mod error;
pub(crate) mod keys;
pub(crate) mod options;
pub(crate) mod redirect;
pub(crate) mod server_options;
pub(crate) mod target;
#[cfg(feature = "rustls-no-provider")]
mod trust;

#[cfg(feature = "deflate")]
pub(crate) use crate::deflate::Negotiation;
#[cfg(not(feature = "deflate"))]
pub(crate) use crate::extension::NoExtension as Negotiation;

/// The extension of a connection on a host.
pub(crate) type Agreed = <Negotiation as crate::handshake::Negotiate>::Extension;

/// Neither accepts nor offers an extension.
#[cfg(feature = "deflate")]
pub(crate) const OFF: Negotiation = Negotiation::OFF;
#[cfg(not(feature = "deflate"))]
pub(crate) const OFF: Negotiation = crate::extension::NoExtension;
