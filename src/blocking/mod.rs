//! Blocking: over TCP, and every other `Read + Write` with time-outs.
//!
//! One thread serves one connection. While something waits to be written, the peer is read only now and then, and
//! no more than the receive buffer holds: a peer that does not read what it is sent stops the connection, and no
//! memory grows.

#![forbid(unsafe_code)]

mod keys;
mod stream;
mod transport;
mod websocket;

pub use keys::SystemKeys;
pub use stream::Stream;
pub use websocket::{Accepted, Connected, Error, Received, Sending, WebSocket};

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::io;

use crate::adapter::{self, Buffers};
use crate::config::Config;
use crate::handler::{Handler, Outcome};
use transport::Blocking;

/// Serves one connection: request, handler, end. Lend the stream where it is wanted after
/// [`Outcome::HandOver`]; the request is in [`Buffers::head`] then.
///
/// # Errors
/// The stream's; the handler has been told by then that the connection is closed, if it was open.
pub fn serve<S: Stream>(
    stream: S,
    handler: &mut impl Handler,
    config: &Config,
    buffers: &mut Buffers<'_>,
) -> io::Result<Outcome> {
    ready(adapter::serve(&mut Blocking::new(stream), handler, config, buffers))
}

/// Runs a future that waits for nothing but blocking calls: it is ready when it is first polled.
fn ready<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}
