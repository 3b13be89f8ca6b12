//! Connections that block: over TCP, TLS, and every other `Read + Write` with time-outs.
//!
//! [`connect`] opens one as a client, [`accept`] as a server. [`serve`] runs a [`Handler`] on one. One thread
//! serves one connection.
//!
//! While something waits to be written, the peer is read only now and then, and no more than the receive buffer holds: a peer that
//! does not read what it is sent stops the connection, and no memory grows. `TCP_NODELAY` is set, so that a small message does not
//! wait for the acknowledgement of the one before it.

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

use core::future::{Future, pending};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::io;
use std::sync::Arc;

use crate::config::base::Config;
use crate::config::{ConfigRef, ServerOptions};
use crate::embedded;
use crate::handler::Handler;
use crate::handshake::{Accepted, Decision};
use crate::host::error::Error;
use crate::role::Server;
use crate::session::{BufferSizes, Buffers, Outcome};
use transport::Blocking;

/// Opens a connection on a stream that a server accepted, without a subprotocol, for pages of the same host and for programs
/// that are no browsers. [`WebSocket::accept`] has options.
///
/// ```
/// use std::net::{TcpListener, TcpStream};
///
/// use sansocket::{CloseCode, Message, blocking};
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
/// # let url = format!("ws://{}/", listener.local_addr()?);
/// # let client = std::thread::spawn(move || {
/// #     let mut client = blocking::connect(&url)?;
/// #     client.send("hello")?;
/// #     assert_eq!(client.recv()?, Some(Message::from("hello")));
/// #     assert!(client.close(CloseCode::NORMAL, "").is_clean());
/// #     Ok::<_, sansocket::Error>(())
/// # });
/// let (stream, _) = listener.accept()?;
/// echo(stream)?;
/// # client.join().unwrap()?;
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
        Accepted::Responded(_) | Accepted::HandedOver(_) => {
            Err(Error::Handshake(crate::handshake::HandshakeError::Disconnected))
        }
    }
}

/// Serves one connection: reads the request, runs the handler, and returns how the connection ended.
///
/// Pass `&mut stream` to keep the stream for [`Outcome::HandedOver`]; [`Buffers::head`] holds the request then.
///
/// ```
/// use std::net::TcpListener;
///
/// use sansocket::session::{BufferSizes, Buffers, Outcome};
/// use sansocket::{CloseCode, Config, Event, Handler, HandlerError, Message, Outbox, blocking};
///
/// struct Echo;
///
/// impl Handler for Echo {
///     fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
///         if let Event::Data(chunk) = event { out.forward(&chunk) } else { Ok(()) }
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// # let url = format!("ws://{}/", listener.local_addr()?);
/// # let client = std::thread::spawn(move || {
/// #     let mut client = blocking::connect(&url)?;
/// #     client.send("hello")?;
/// #     assert_eq!(client.recv()?, Some(Message::from("hello")));
/// #     assert!(client.close(CloseCode::NORMAL, "").is_clean());
/// #     Ok::<_, sansocket::Error>(())
/// # });
/// let (stream, _) = listener.accept()?;
/// let mut buffers = Buffers::with_sizes(BufferSizes::default());
/// let outcome = blocking::serve(stream, &mut Echo, &Config::DEFAULT, &mut buffers)?;
/// assert!(matches!(outcome, Outcome::Closed(ending) if ending.is_clean()));
/// # client.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The stream's. Before that, [`Handler::closed`] is called if the connection was open.
pub fn serve<S: BlockingStream, C: ConfigRef>(
    stream: S,
    handler: &mut (impl Handler + ?Sized),
    config: C,
    buffers: &mut Buffers<'_>,
) -> io::Result<Outcome> {
    ready(embedded::serve(&mut Blocking::new(stream), handler, config, buffers))
}

/// Serves one connection as [`serve`] does, with the configuration, the buffers and the compression of `options`. The handler
/// decides about the request: subprotocols and origins of the options have no effect.
///
/// ```
/// use std::net::TcpListener;
///
/// use sansocket::config::ServerOptions;
/// use sansocket::session::Outcome;
/// use sansocket::{Event, Handler, HandlerError, Outbox, blocking};
///
/// struct Echo;
///
/// impl Handler for Echo {
///     fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
///         if let Event::Data(chunk) = event { out.forward(&chunk) } else { Ok(()) }
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let options = ServerOptions::new();
/// # #[cfg(feature = "deflate")]
/// let options = { // feature `deflate`
///     use sansocket::deflate::{DeflateOptions, Pool};
///     options.deflate(Pool::new(DeflateOptions::new()).ok_or("no memory")?)
/// };
/// # let client = sansocket::config::ClientOptions::new();
/// # #[cfg(feature = "deflate")]
/// # let client = client.deflate(sansocket::deflate::DeflateOptions::new());
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// # let url = format!("ws://{}/", listener.local_addr()?);
/// # let client = std::thread::spawn(move || {
/// #     let mut socket = blocking::connect_with(&url, &client)?;
/// #     #[cfg(feature = "deflate")]
/// #     assert!(socket.is_compressed());
/// #     let long = "again and ".repeat(10_000);
/// #     socket.send(&long)?;
/// #     assert_eq!(socket.recv()?, Some(long.into()));
/// #     assert!(socket.close(None, "").is_clean());
/// #     Ok::<_, sansocket::Error>(())
/// # });
/// let (stream, _) = listener.accept()?;
/// let outcome = blocking::serve_with(stream, &mut Echo, &options)?;
/// assert!(matches!(outcome, Outcome::Closed(ending) if ending.is_clean()));
/// # client.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Those of [`serve`].
pub fn serve_with<S: BlockingStream>(
    stream: S,
    handler: &mut (impl Handler + ?Sized),
    options: &ServerOptions,
) -> io::Result<Outcome> {
    let mut buffers = Buffers::with_sizes(options.sizes);
    #[cfg(feature = "deflate")]
    if options.is_deflating() {
        buffers.rx.add_output(options.sizes.receive);
    }
    let (config, negotiate) = (Arc::clone(&options.config), options.negotiation());
    // A pool of the handler's decision would decompress into memory that is not there.
    #[cfg(feature = "deflate")]
    let negotiate = if options.is_deflating() { negotiate } else { crate::host::OFF };
    let (transport, never) = (&mut Blocking::new(stream), &mut pending::<()>);
    ready(embedded::serve_negotiating(transport, handler, config, &mut buffers, never, negotiate))
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

/// A connection can move to another thread, and its errors into `Box<dyn Error + Send + Sync>`.
const _: () = {
    const fn is_send<T: Send + 'static>() {}
    const fn is_shared<T: Send + Sync + 'static>() {}
    is_send::<WebSocket<NetStream, crate::role::Client<crate::host::keys::SystemKeys>>>();
    is_send::<WebSocket<std::net::TcpStream, Server>>();
    is_shared::<crate::config::ClientOptions>();
    is_shared::<Error>();
};
