//! Serves thousands of connections on one thread: a [`Hub`] over mio's poll.
//!
//! Make a server with [`Server::bind`] and an [`Application`], then call [`Server::run`]. For one hub a core, give
//! clones of a listener to as many [`Server::new`], each in its own thread.

#![forbid(unsafe_code)]

use core::time::Duration;
use core::{fmt, mem};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::vec::Vec;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use socket2::{SockRef, TcpKeepalive};

use crate::hub::driver::{Hub, HubSocket, Monitor, Ready, Shared, SocketFailed};
use crate::hub::{Application, HubHandle, HubSettings};
use crate::time::Instant;

/// Makes the sockets of a hub from accepted TCP streams: plain TCP, or TLS over it.
pub trait MioAcceptor {
    /// The stream that it makes.
    type Stream: MioStream + 'static;

    /// Makes a stream from a TCP stream that was accepted.
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
pub struct PlainAcceptor;

/// A stream that a hub watches.
pub struct MioSocket<T: MioStream> {
    stream: T,
    registry: Arc<Registry>,
    key: usize,
}

/// A plain TCP connection that a hub watches.
pub type MioTcpSocket = MioSocket<TcpStream>;

/// A server that listens, and drives a hub.
pub struct MioServer<A: Application, C: MioAcceptor = PlainAcceptor> {
    hub: Hub<MioSocket<C::Stream>, A>,
    acceptor: C,
    poll: Poll,
    registry: Arc<Registry>,
    events: Events,
    /// Empty while the server stops.
    listeners: Vec<TcpListener>,
    address: SocketAddr,
    /// Whether a connection may wait to be accepted.
    waiting: bool,
    /// No connection is accepted before this moment: the system had no free descriptor.
    retry: Instant,
    keep_alive: Option<Duration>,
    start: std::time::Instant,
}

/// Prepares streams to be [adopted](Hub::adopt) by a server's hub. Adopt them in the hub's loop, by [`HubHandle::call`]
/// and [`HubContext::hub`](crate::hub::HubContext::hub).
#[derive(Clone, Debug)]
pub struct MioRegistrar {
    registry: Arc<Registry>,
    keep_alive: Option<Duration>,
    start: std::time::Instant,
}

/// The state that the server and its handles share.
struct Shelf {
    shared: Mutex<Shared>,
    waker: Waker,
}

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);
const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);
/// The most connections that are accepted before the sessions have their turns.
const ACCEPTS: usize = 64;
/// The most connections that the system holds until they are accepted.
const BACKLOG: i32 = 1024;
/// The default of the silence before TCP's keep-alive.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// How long to wait if the system has no free descriptor.
const RETRY: Duration = Duration::from_millis(100);

impl<A: Application> MioServer<A> {
    /// Listens for plain TCP, on the first of these addresses that can be bound. `application` makes the application
    /// with the hub's handle.
    ///
    /// # Errors
    /// Fails as [`new`](Self::new) does, and if no address can be bound.
    pub fn bind(
        address: impl ToSocketAddrs,
        settings: HubSettings,
        application: impl FnOnce(HubHandle) -> A,
    ) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        Self::with_acceptor(listener, PlainAcceptor, settings, application)
    }
}

impl<A: Application, C: MioAcceptor> MioServer<A, C> {
    /// Makes a server over a listener. Clones of the listener may serve other servers, one a thread. `application`
    /// makes the application with the hub's handle.
    ///
    /// # Errors
    /// Returns the operating system's error; [`ErrorKind::InvalidInput`] with [`InvalidSettings`](crate::hub::InvalidSettings) if a setting
    /// is invalid.
    pub fn with_acceptor(
        listener: std::net::TcpListener,
        acceptor: C,
        settings: HubSettings,
        application: impl FnOnce(HubHandle) -> A,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let poll = Poll::new()?;
        let registry = Arc::new(poll.registry().try_clone()?);
        let waker = Waker::new(&registry, WAKER)?;
        let shelf = Shelf { shared: Mutex::default(), waker };
        let mut server = Self {
            hub: Hub::new(settings, Arc::new(shelf), application)
                .map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?,
            acceptor,
            poll,
            registry,
            events: Events::with_capacity(1024),
            listeners: Vec::new(),
            address,
            waiting: true,
            retry: Instant::START,
            keep_alive: Some(KEEP_ALIVE),
            start: std::time::Instant::now(),
        };
        server.add_listener(listener)?;
        Ok(server)
    }

    /// Accepts from another listener too: for a name that has several addresses, such as `localhost`.
    ///
    /// # Errors
    /// Returns the operating system's error.
    pub fn add_listener(&mut self, listener: std::net::TcpListener) -> io::Result<()> {
        // std's backlog of 128 is short: a client that does not fit retries a second later.
        SockRef::from(&listener).listen(BACKLOG)?;
        listener.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(listener);
        self.registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        self.listeners.push(listener);
        Ok(())
    }

    /// Sets TCP's keep-alive, for connections that are accepted later and for those of a [`MioRegistrar`] that is made
    /// later: after this silence the system probes the peer; `None` does not set it. The time is clamped to 1 to
    /// 32,767 seconds. Default: 60 s. `TCP_NODELAY` is always set.
    #[must_use]
    pub fn keep_alive(self, silence: Option<Duration>) -> Self {
        // The range that systems accept; beyond it, each connection would be dropped.
        let silence =
            silence.map(|silence| silence.clamp(Duration::from_secs(1), Duration::from_secs(32_767)));
        Self { keep_alive: silence, ..self }
    }

    /// Returns a handle, for other threads.
    #[must_use]
    pub fn handle(&self) -> HubHandle {
        self.hub.handle()
    }

    /// Returns what prepares a stream that was accepted elsewhere for this hub: see [`MioRegistrar`].
    #[must_use]
    pub fn watch(&self) -> MioRegistrar {
        MioRegistrar { registry: Arc::clone(&self.registry), keep_alive: self.keep_alive, start: self.start }
    }

    /// Returns the address of the listener that the server was made with.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the hub is [stopped](Handle::stop) and the last connection has ended. A handler that panics ends
    /// its own connection only.
    ///
    /// # Errors
    /// Returns the operating system's error if it cannot wait.
    pub fn run(mut self) -> io::Result<()> {
        loop {
            let now = now(self.start);
            self.accept(now);
            let hub = &mut self.hub;
            // If a command panics, the remaining ones run in the next turn.
            for _ in 0..caught(|| hub.begin(now)).unwrap_or(0) {
                if let Some(key) = hub.next_turn() {
                    if caught(|| hub.turn(now, key)).is_none() {
                        while caught(|| hub.abandon(key)).is_none() {}
                    }
                }
            }
            if self.hub.is_stopping() {
                self.listeners.clear();
            }
            if self.hub.is_over() {
                return Ok(());
            }
            self.wait()?;
        }
    }

    fn accept(&mut self, now: Instant) {
        if !self.waiting || now < self.retry {
            return;
        }
        let listeners = mem::take(&mut self.listeners);
        self.waiting = false;
        for listener in &listeners {
            self.waiting |= !self.drain(now, listener);
        }
        self.listeners = listeners;
    }

    /// Accepts pending connections, at most `ACCEPTS`. Returns whether none is left.
    fn drain(&mut self, now: Instant, listener: &TcpListener) -> bool {
        for _ in 0..ACCEPTS {
            if !self.hub.admits(now) {
                return false;
            }
            match listener.accept() {
                Ok((stream, peer)) => {
                    // A connection that is declined is dropped.
                    let _ = caught(|| {
                        prepare(SockRef::from(&stream), self.keep_alive)?;
                        let stream = self.acceptor.accept(stream)?;
                        let socket = MioSocket { stream, registry: self.registry.clone(), key: 0 };
                        io::Result::Ok(self.hub.accept(now, socket, peer))
                    });
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return true,
                    // The peer has closed the connection already.
                    ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted => {}
                    _ => {
                        self.retry = now.saturating_add(RETRY);
                        return false;
                    }
                },
            }
        }
        false
    }

    fn wait(&mut self) -> io::Result<()> {
        let now = now(self.start);
        let mut deadline = self.hub.deadline(now);
        if self.waiting && !self.listeners.is_empty() && self.hub.admits(now.max(self.retry)) {
            // Wakes for a pending connection when there is room again.
            deadline = deadline.into_iter().chain([now.max(self.retry)]).min();
        }
        // mio rounds the timeout up, so that the hub wakes once, and not too early.
        let timeout = deadline.map(|deadline| now.saturating_duration_until(deadline));
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            done => done?,
        }
        for event in &self.events {
            match event.token() {
                LISTENER => self.waiting = true,
                WAKER => {}
                Token(key) => self.hub.ready(
                    key,
                    Ready {
                        read: event.is_readable(),
                        write: event.is_writable(),
                        hang_up: event.is_read_closed() || event.is_error(),
                    },
                ),
            }
        }
        Ok(())
    }
}

impl MioAcceptor for PlainAcceptor {
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

impl MioRegistrar {
    /// Prepares a TCP connection for that server, with `TCP_NODELAY` and the server's
    /// [`keep_alive`](Server::keep_alive). Makes it non-blocking.
    ///
    /// # Errors
    /// Returns the operating system's error.
    pub fn tcp(&self, stream: std::net::TcpStream) -> io::Result<MioTcpSocket> {
        self.stream(TcpStream::from_std(stream))
    }

    /// Prepares another stream for that server, with the options of [`tcp`](Self::tcp). Makes its
    /// [TCP connection](Stream::tcp) non-blocking.
    ///
    /// # Errors
    /// Returns the operating system's error.
    pub fn stream<T: MioStream>(&self, mut stream: T) -> io::Result<MioSocket<T>> {
        let tcp = SockRef::from(&*stream.tcp());
        // One that blocks would hold up all sessions.
        tcp.set_nonblocking(true)?;
        prepare(tcp, self.keep_alive)?;
        Ok(MioSocket { stream, registry: Arc::clone(&self.registry), key: 0 })
    }

    /// Returns the time of that server's clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        now(self.start)
    }
}

fn prepare(stream: SockRef<'_>, keep_alive: Option<Duration>) -> io::Result<()> {
    stream.set_tcp_nodelay(true)?;
    match keep_alive {
        Some(silence) => stream.set_tcp_keepalive(&TcpKeepalive::new().with_time(silence)),
        None => Ok(()),
    }
}

fn now(start: std::time::Instant) -> Instant {
    Instant::START.saturating_add(start.elapsed())
}

impl<T: MioStream> MioSocket<T> {
    /// Returns the stream.
    pub const fn get_mut(&mut self) -> &mut T {
        &mut self.stream
    }

    /// Stops watching the stream and returns it: after [`Application::handed_over`].
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

impl<A: Application, C: MioAcceptor> fmt::Debug for MioServer<A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MioServer")
            .field("address", &self.address)
            .field("hub", &self.hub)
            .finish_non_exhaustive()
    }
}

impl Monitor for Shelf {
    fn lock(&self, use_it: &mut dyn FnMut(&mut Shared)) {
        use_it(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn wake(&self) {
        // Fails if the system has no memory; the hub still takes its commands in its next turn.
        let _ = self.waker.wake();
    }
}

/// Returns `None` if `act` panics.
fn caught<T>(act: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(act)).ok()
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
