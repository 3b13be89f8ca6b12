//! What clients and servers on hosts share, whether their calls block or not.

#![forbid(unsafe_code)]

mod basic;
pub(crate) mod error;
pub(crate) mod keys;
pub(crate) mod options;
pub(crate) mod redirect;
#[cfg(feature = "tokio")]
pub(crate) mod server_options;
pub(crate) mod target;
#[cfg(feature = "rustls-no-provider")]
mod trust;
