//! Connections that block: over TCP, TLS, and every other `Read + Write` with time-outs.
//!
//! [`connect`] opens one as a client, [`accept`] as a server, and [`serve`] runs a [`Handler`] on one. One thread serves
//! one connection. While something waits to be written, the peer is read only now and then, and no more than the receive
//! buffer holds: a peer that does not read what it is sent stops the connection, and no memory grows. `TCP_NODELAY` is set,
//! so that a small message does not wait for the acknowledgement of the one before it.

#![forbid(unsafe_code)]

mod connect;
mod dial;
mod net_stream;
mod stream;
#[cfg(feature = "rustls-no-provider")]
mod tls;
mod transport;
mod websocket;

pub use connect::{connect, connect_with};
pub use net_stream::NetStream;
pub use stream::BlockingStream;
pub use websocket::{WebSocket, Writer};

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::io;

use crate::config::ConfigRef;
use crate::config::base::Config;
use crate::embedded;
use crate::handler::Handler;
use crate::handshake::{Accepted, Decision};
use crate::host::error::Error;
use crate::role::Server;
use crate::session::{BufferSizes, Buffers, Outcome};
use transport::Blocking;

/// Opens a connection on a stream that a server accepted, for pages of the same host and other programs, without a
/// subprotocol. [`WebSocket::accept`] can do otherwise.
///
/// ```
/// use std::net::{TcpListener, TcpStream};
///
/// use sansocket::blocking;
///
/// fn echo(stream: TcpStream) -> Result<(), sansocket::Error> {
///     let mut socket = blocking::accept(stream)?;
///     while let Some(message) = socket.recv()? {
///         socket.send(&message)?;
///     }
///     Ok(())
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// # let mut client = TcpStream::connect(listener.local_addr()?)?;
/// # std::io::Write::write_all(&mut client, b"GET / HTTP/1.1\r\n\r\n")?;
/// # client.shutdown(std::net::Shutdown::Write)?;
/// let (stream, _) = listener.accept()?;
/// let result = echo(stream);
/// # assert!(matches!(result, Err(sansocket::Error::Rejected(_))));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`WebSocket::accept`].
pub fn accept<S: BlockingStream>(stream: S) -> Result<WebSocket<S, Server>, Error> {
    let buffers = Buffers::with_sizes(BufferSizes::default());
    match WebSocket::accept(stream, Config::new(), buffers, |_| Decision::accept())? {
        Accepted::WebSocket(socket) => Ok(socket),
        Accepted::HandedOver(..) => Err(Error::Handshake(crate::handshake::HandshakeError::Disconnected)),
    }
}

/// Serves one connection: reads the request, runs the handler, and returns when all is over.
///
/// Pass `&mut stream` to keep the stream for [`Outcome::HandedOver`]; [`Buffers::head`] holds the request then.
///
/// ```no_run
/// use std::net::TcpListener;
///
/// use sansocket::session::{BufferSizes, Buffers};
/// use sansocket::{Config, Handler};
/// use sansocket::blocking::serve;
/// use sansocket::session::Outcome;
///
/// fn serve_one(listener: &TcpListener, handler: &mut impl Handler) -> Result<Outcome, Box<dyn std::error::Error>> {
///     let (stream, _) = listener.accept()?;
///     let mut buffers = Buffers::with_sizes(BufferSizes::default());
///     Ok(serve(stream, handler, &Config::DEFAULT, &mut buffers)?)
/// }
/// ```
///
/// # Errors
/// The stream's. The handler has been told before that the connection is closed, if it was open.
pub fn serve<S: BlockingStream, C: ConfigRef>(
    stream: S,
    handler: &mut (impl Handler + ?Sized),
    config: C,
    buffers: &mut Buffers<'_>,
) -> io::Result<Outcome> {
    ready(embedded::serve(&mut Blocking::new(stream), handler, config, buffers))
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

/// A connection moves to another thread, and its errors into every kind of error that a program has.
const _: () = {
    const fn is_send<T: Send + 'static>() {}
    const fn is_shared<T: Send + Sync + 'static>() {}
    is_send::<WebSocket<NetStream, crate::role::Client<crate::host::keys::SystemKeys>>>();
    is_send::<WebSocket<std::net::TcpStream, Server>>();
    is_shared::<crate::config::ClientOptions>();
    is_shared::<Error>();
};
