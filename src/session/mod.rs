//! One connection with a [`Handler`](crate::Handler): from the request to the end, without I/O.
//!
//! [`ServerSession`] is the server's side with its opening handshake. [`HandlerDriver`] starts after a handshake, in either
//! role. `embedded::serve`, `blocking::serve` and the hub drive them; use them directly where none of these fits.

#![forbid(unsafe_code)]

mod backoff;
mod buffers;
mod driver;
mod server;
mod unavailable;

pub use backoff::Backoff;
#[cfg(feature = "alloc")]
pub use buffers::BufferSizes;
pub use buffers::{Buffers, Memory};
pub use driver::HandlerDriver;
pub use server::{Outcome, ServerSession};
pub use unavailable::ServiceUnavailable;
