//! A handler that refuses every connection.

#![forbid(unsafe_code)]

use crate::event::Event;
use crate::handler::{Handler, HandlerError};
use crate::handshake::{Decision, Rejection, Request};
use crate::outbox::Outbox;

/// A handler for a server at capacity: it responds to every request with 503 and `Retry-After`, so that a client learns why it
/// gets no connection. The hub does the same by itself.
///
/// ```
/// # #[cfg(feature = "std")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::net::TcpListener;
///
/// use sansocket::session::{BufferSizes, Buffers, ServiceUnavailable};
/// use sansocket::{Config, Error, blocking};
///
/// # let listener = TcpListener::bind("127.0.0.1:0")?;
/// # let url = format!("ws://{}/", listener.local_addr()?);
/// # let client = std::thread::spawn(move || blocking::connect(&url));
/// let (stream, _) = listener.accept()?; // one connection too many
/// let mut buffers = Buffers::with_sizes(BufferSizes { head: 1024, receive: 140, transmit: 140 });
/// blocking::serve(stream, &mut ServiceUnavailable, &Config::DEFAULT, &mut buffers)?;
///
/// // What the client gets:
/// let refused = client.join().unwrap().unwrap_err();
/// assert!(matches!(refused, Error::Refused(response) if response.status == 503));
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "std"))]
/// # fn main() {}
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ServiceUnavailable;

impl Handler for ServiceUnavailable {
    fn request<'s>(&'s mut self, _: &Request<'_>) -> Decision<'s> {
        Decision::Reject(Rejection::Unavailable)
    }

    fn event(&mut self, _: Event<'_>, _: &mut Outbox<'_>) -> Result<(), HandlerError> {
        Ok(())
    }
}
