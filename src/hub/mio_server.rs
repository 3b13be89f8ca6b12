//! A server over mio's poll.

#![forbid(unsafe_code)]

use core::time::Duration;
use core::{fmt, mem};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::vec::Vec;

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::SockRef;

use super::application::Application;
use super::handle::HubHandle;
use super::machine::Hub;
use super::mio_socket::{MioAcceptor, MioPlainAcceptor, MioSocket, MioSocketFactory};
use super::settings::HubSettings;
use super::shared::{Monitor, Shared};
use super::socket::Ready;
use crate::time::Instant;

/// A server that listens on TCP and serves thousands of connections on one thread, with mio.
///
/// ```
/// use sansocket::hub::{HubSettings, MioServer, Routes};
/// use sansocket::{CloseCode, HandlerError, MessageHandler, MessageRef, Outbox, blocking};
///
/// struct Echo;
///
/// impl MessageHandler for Echo {
///     fn message(&mut self, message: MessageRef<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
///         Ok(out.send(message)?)
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let routes = Routes::new().messages("/", |_, _| Ok(Echo));
/// let server = MioServer::bind("127.0.0.1:0", HubSettings::default(), |_| routes)?;
/// let address = server.address();
/// let hub = server.handle(); // for other threads
/// let running = std::thread::spawn(|| server.run());
///
/// let mut client = blocking::connect(&format!("ws://{address}/"))?;
/// client.send("hello")?;
/// assert_eq!(client.recv()?, Some("hello".into()));
///
/// hub.stop(CloseCode::GOING_AWAY)?;
/// assert_eq!(client.recv()?, None); // the server has closed the connection
/// running.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
///
/// One server uses one core. For one server a core, give clones of a listener to
/// [`from_listener`](Self::from_listener), each in its own thread.
///
/// The type of a server without TLS is `MioServer<A>`, where `A` is the application.
pub struct MioServer<A: Application, C: MioAcceptor = MioPlainAcceptor> {
    hub: Hub<MioSocket<C::Stream>, A>,
    acceptor: C,
    poll: Poll,
    sockets: MioSocketFactory,
    events: Events,
    /// Empty while the server stops.
    listeners: Vec<TcpListener>,
    address: SocketAddr,
    /// Whether a connection may wait to be accepted.
    waiting: bool,
    /// No connection is accepted before this moment: the system had no free descriptor.
    retry: Instant,
}

/// The state that the server and its handles share.
struct MioMonitor {
    shared: Mutex<Shared>,
    waker: Waker,
}

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);
/// The most connections that are accepted before the sessions have their turns.
const ACCEPTS: usize = 64;
/// The most connections that the system holds until they are accepted.
const MAX_PENDING: i32 = 1024;
/// How long to wait if the system has no free descriptor.
const RETRY: Duration = Duration::from_millis(100);

impl<A: Application> MioServer<A> {
    /// Creates a server that listens for plain TCP, on the first of these addresses that can be bound. `application` makes
    /// the application with the hub's handle.
    ///
    /// # Errors
    /// Fails as [`with_acceptor`](Self::with_acceptor) does, and if no address can be bound.
    pub fn bind(
        address: impl ToSocketAddrs,
        settings: HubSettings,
        application: impl FnOnce(HubHandle) -> A,
    ) -> io::Result<Self> {
        Self::from_listener(std::net::TcpListener::bind(address)?, settings, application)
    }

    /// Creates a server that accepts plain TCP from a listener, as [`with_acceptor`](Self::with_acceptor).
    ///
    /// # Errors
    /// Fails as [`with_acceptor`](Self::with_acceptor) does.
    pub fn from_listener(
        listener: std::net::TcpListener,
        settings: HubSettings,
        application: impl FnOnce(HubHandle) -> A,
    ) -> io::Result<Self> {
        Self::with_acceptor(listener, MioPlainAcceptor, settings, application)
    }
}

impl<A: Application, C: MioAcceptor> MioServer<A, C> {
    /// Creates a server that accepts from a listener, and makes a stream of each connection with `acceptor`: TLS with
    /// [`TlsAcceptor`](super::TlsAcceptor). Clones of the listener may serve other servers. `application` makes the
    /// application with the hub's handle.
    ///
    /// # Errors
    /// Returns the operating system's error; [`ErrorKind::InvalidInput`] with [`InvalidSettings`](super::InvalidSettings) if a setting
    /// is invalid.
    pub fn with_acceptor(
        listener: std::net::TcpListener,
        acceptor: C,
        settings: HubSettings,
        application: impl FnOnce(HubHandle) -> A,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let monitor = MioMonitor { shared: Mutex::default(), waker };
        let mut server = Self {
            hub: Hub::new(settings, Arc::new(monitor), application)
                .map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?,
            acceptor,
            sockets: MioSocketFactory::new(poll.registry().try_clone()?),
            poll,
            events: Events::with_capacity(1024),
            listeners: Vec::new(),
            address,
            waiting: true,
            retry: Instant::START,
        };
        server.add_listener(listener)?;
        Ok(server)
    }

    /// Accepts from another listener too: for a name that has several addresses, such as `localhost`.
    ///
    /// # Errors
    /// Returns the operating system's error.
    pub fn add_listener(&mut self, listener: std::net::TcpListener) -> io::Result<()> {
        // std's queue of 128 is short: a peer that does not fit tries again a second later.
        SockRef::from(&listener).listen(MAX_PENDING)?;
        listener.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(listener);
        self.poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        self.listeners.push(listener);
        Ok(())
    }

    /// Sets TCP's keep-alive, for connections that are accepted later and for those of a [`MioSocketFactory`] that is
    /// made later: after this silence the system probes the peer; `None` does not set it. The time is clamped to 1 to
    /// 32,767 seconds. Default: 60 s. `TCP_NODELAY` is always set.
    #[must_use]
    pub fn keep_alive(mut self, silence: Option<Duration>) -> Self {
        // The range that systems accept; beyond it, each connection would be dropped.
        let silence =
            silence.map(|silence| silence.clamp(Duration::from_secs(1), Duration::from_secs(32_767)));
        self.sockets.keep_alive = silence;
        self
    }

    /// Returns a handle, for other threads.
    #[must_use]
    pub fn handle(&self) -> HubHandle {
        self.hub.handle()
    }

    /// Returns what makes sockets of connections that were accepted elsewhere.
    #[must_use]
    pub fn socket_factory(&self) -> MioSocketFactory {
        self.sockets.clone()
    }

    /// Returns the address of the listener that the server was made with.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the hub is [stopped](HubHandle::stop) and the last connection has ended. A handler that panics ends
    /// its own connection only.
    ///
    /// # Errors
    /// Returns the operating system's error if it cannot wait.
    pub fn run(mut self) -> io::Result<()> {
        loop {
            let now = self.sockets.now();
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
                        let socket = self.sockets.accepted(self.acceptor.accept(stream)?)?;
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
        let now = self.sockets.now();
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

impl<A: Application, C: MioAcceptor> fmt::Debug for MioServer<A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MioServer")
            .field("address", &self.address)
            .field("hub", &self.hub)
            .finish_non_exhaustive()
    }
}

impl Monitor for MioMonitor {
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
