//! The sockets of a hub over mio: TCP, or another stream over it.

#![forbid(unsafe_code)]

use core::fmt;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::SockRef;

use super::host_server::TcpOptions;
use super::socket::{HubSocket, SocketFailed};
use crate::time::Instant;

/// Makes the sockets of a hub from accepted TCP streams: plain TCP, or TLS over it.
pub trait MioAcceptor {
    /// The stream that it makes.
    type Stream: MioStream + 'static;

    /// Makes a stream from a TCP stream that was accepted. The server sets the options of TCP.
    ///
    /// # Errors
    /// The server drops the connection.
    fn accept(&mut self, stream: TcpStream) -> io::Result<Self::Stream>;
}

/// Moves bytes between a hub and a `TcpStream`. It never blocks: it returns [`ErrorKind::WouldBlock`] if it cannot
/// proceed.
pub trait MioStream {
    /// Whether a short read has taken everything, as [`HubSocket::DRAINED_BY_SHORT_READ`].
    const DRAINED_BY_SHORT_READ: bool = false;

    /// Reads, as [`HubSocket::recv`]; 0 is the end of the stream. Returns [`ErrorKind::Interrupted`] if there is more to
    /// do before it can return bytes: the hub calls it again after the other sessions' turns.
    ///
    /// # Errors
    /// Returns the stream's error.
    fn recv(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// Writes, as [`HubSocket::send`].
    ///
    /// # Errors
    /// Returns the stream's error.
    fn send(&mut self, bytes: &[u8], more: &[u8]) -> io::Result<usize>;

    /// Flushes, as [`HubSocket::flush`]. Returns [`ErrorKind::WouldBlock`] if something is left.
    ///
    /// # Errors
    /// Returns the stream's error.
    fn flush(&mut self) -> io::Result<()>;

    /// Shuts the writing side down, as [`HubSocket::shutdown`].
    ///
    /// # Errors
    /// Returns the stream's error.
    fn shutdown(&mut self) -> io::Result<()>;

    /// Returns the TCP connection to watch.
    fn tcp(&mut self) -> &mut TcpStream;
}

/// Accepts plain TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct MioPlainAcceptor;

/// A stream that a hub watches: the type of the sockets of a [`MioServer`](super::MioServer).
pub struct MioSocket<T: MioStream> {
    stream: T,
    registry: Arc<Registry>,
    key: usize,
}

/// A plain TCP connection that a hub watches: the type of the sockets of a [`MioServer`](super::MioServer) without TLS.
pub type MioTcpSocket = MioSocket<TcpStream>;

/// Makes sockets of connections that were accepted elsewhere, for [`Hub::adopt`](super::driver::Hub::adopt).
/// [`MioServer::socket_factory`](super::MioServer::socket_factory) returns it.
///
/// ```
/// # use std::io::{Read, Write};
/// use std::net::TcpStream;
///
/// use sansocket::hub::driver::MioSocketFactory;
/// # use sansocket::hub::MioServer;
/// use sansocket::hub::{HubHandle, MioTcpSocket, Routes};
/// use sansocket::{Event, Handler, HandlerError, Outbox};
///
/// /// Does nothing: the hub answers Pings.
/// struct Quiet;
///
/// impl Handler for Quiet {
///     fn event(&mut self, _: Event<'_>, _: &mut Outbox<'_>) -> Result<(), HandlerError> {
///         Ok(())
///     }
/// }
///
/// /// Gives a connection whose opening handshake is done to the server.
/// fn adopt(hub: &HubHandle, sockets: MioSocketFactory, stream: TcpStream) -> std::io::Result<()> {
///     let (peer, socket) = (stream.peer_addr()?, sockets.tcp(stream)?);
///     let adopt = hub.call(move |hub| {
///         let Some(hub) = hub.hub::<MioTcpSocket, Routes>() else { return };
///         let _ = hub.adopt(sockets.now(), socket, peer, Box::new(Quiet), None);
///     });
///     adopt.map_err(std::io::Error::other)
/// }
///
/// # fn main() -> std::io::Result<()> {
/// # let server = MioServer::bind("127.0.0.1:0", Default::default(), |_| Routes::new())?;
/// # let (hub, sockets) = (server.handle(), server.socket_factory());
/// # std::thread::spawn(|| server.run());
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// # let mut client = TcpStream::connect(listener.local_addr()?)?;
/// # let stream = listener.accept()?.0;
/// adopt(&hub, sockets, stream)?;
/// client.write_all(b"\x89\x80\0\0\0\0")?; // a Ping
/// let mut frame = [0; 2];
/// client.read_exact(&mut frame)?;
/// assert_eq!(&frame, b"\x8a\0"); // a Pong
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct MioSocketFactory {
    registry: Arc<Registry>,
    pub(super) options: TcpOptions,
    start: std::time::Instant,
}

const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

impl MioAcceptor for MioPlainAcceptor {
    type Stream = TcpStream;

    fn accept(&mut self, stream: TcpStream) -> io::Result<TcpStream> {
        Ok(stream)
    }
}

impl MioStream for TcpStream {
    // Where mio emulates readiness with poll, only a read that returns `WouldBlock` watches again.
    const DRAINED_BY_SHORT_READ: bool = cfg!(any(target_os = "linux", target_os = "android"));

    fn recv(&mut self, into: &mut [u8]) -> io::Result<usize> {
        retry(|| self.read(into))
    }

    fn send(&mut self, bytes: &[u8], more: &[u8]) -> io::Result<usize> {
        if more.is_empty() {
            self.write(bytes)
        } else {
            self.write_vectored(&[IoSlice::new(bytes), IoSlice::new(more)])
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn shutdown(&mut self) -> io::Result<()> {
        Self::shutdown(self, Shutdown::Write)
    }

    fn tcp(&mut self) -> &mut TcpStream {
        self
    }
}

impl MioSocketFactory {
    pub(super) fn new(registry: Registry) -> Self {
        Self { registry: Arc::new(registry), options: TcpOptions::DEFAULT, start: std::time::Instant::now() }
    }

    /// Makes a socket of a TCP connection, with `TCP_NODELAY` and the server's
    /// [`keep_alive`](super::MioServer::keep_alive). Makes the connection non-blocking.
    ///
    /// # Errors
    /// Returns the operating system's error.
    pub fn tcp(&self, stream: std::net::TcpStream) -> io::Result<MioTcpSocket> {
        self.stream(TcpStream::from_std(stream))
    }

    /// Makes a socket of another stream, with the options of [`tcp`](Self::tcp). Makes its
    /// [TCP connection](MioStream::tcp) non-blocking.
    ///
    /// # Errors
    /// Returns the operating system's error.
    pub fn stream<T: MioStream>(&self, mut stream: T) -> io::Result<MioSocket<T>> {
        // One that blocks would hold up all sessions.
        SockRef::from(&*stream.tcp()).set_nonblocking(true)?;
        self.accepted(stream)
    }

    /// Makes a socket of a stream that does not block.
    pub(super) fn accepted<T: MioStream>(&self, mut stream: T) -> io::Result<MioSocket<T>> {
        self.options.set(SockRef::from(&*stream.tcp()))?;
        Ok(MioSocket { stream, registry: Arc::clone(&self.registry), key: 0 })
    }

    /// Returns the time of the server's clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::START.saturating_add(self.start.elapsed())
    }
}

impl<T: MioStream> MioSocket<T> {
    /// Returns the stream.
    pub const fn get_mut(&mut self) -> &mut T {
        &mut self.stream
    }

    /// Stops watching the stream and returns it: after [`HandedOver::into_stream`](super::HandedOver::into_stream).
    ///
    /// # Errors
    /// Returns the operating system's error.
    pub fn into_stream(mut self) -> io::Result<T> {
        self.registry.deregister(self.stream.tcp())?;
        Ok(self.stream)
    }
}

impl<T: MioStream> HubSocket for MioSocket<T> {
    const DRAINED_BY_SHORT_READ: bool = T::DRAINED_BY_SHORT_READ;

    fn attach(&mut self, key: usize) -> Result<(), SocketFailed> {
        self.key = key;
        self.registry.register(self.stream.tcp(), Token(key), BOTH).map_err(|_| SocketFailed)
    }

    fn recv(&mut self, into: &mut [u8]) -> Result<Option<usize>, SocketFailed> {
        match self.stream.recv(into) {
            // Makes mio report the readiness once more.
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                let again = self.registry.reregister(self.stream.tcp(), Token(self.key), BOTH);
                again.map(|()| None).map_err(|_| SocketFailed)
            }
            received => settle(received),
        }
    }

    fn send(&mut self, bytes: &[u8], more: &[u8]) -> Result<Option<usize>, SocketFailed> {
        match settle(retry(|| self.stream.send(bytes, more))) {
            Ok(Some(0)) => Err(SocketFailed),
            sent => sent,
        }
    }

    fn flush(&mut self) -> Result<bool, SocketFailed> {
        settle(retry(|| self.stream.flush())).map(|done| done.is_some())
    }

    fn shutdown(&mut self) -> Result<(), SocketFailed> {
        match self.stream.shutdown() {
            // The peer has closed first.
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(()),
            done => done.map_err(|_| SocketFailed),
        }
    }
}

impl<T: MioStream> fmt::Debug for MioSocket<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MioSocket").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Turns `WouldBlock` into `None`.
fn settle<T>(done: io::Result<T>) -> Result<Option<T>, SocketFailed> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(_) => Err(SocketFailed),
    }
}

/// Repeats a call that a signal has interrupted.
fn retry<T>(mut io: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match io() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
