//! A server over mio's poll.

#![forbid(unsafe_code)]

use core::fmt;
use core::time::Duration;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::SockRef;

use super::application::Application;
use super::handle::HubHandle;
use super::host_server::{Listeners, listen, new_hub};
use super::machine::Hub;
use super::mio_socket::{MioAcceptor, MioPlainAcceptor, MioSocket, MioSocketFactory};
use super::settings::HubSettings;
use super::socket::Ready;

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
    listeners: Listeners<TcpListener>,
    address: SocketAddr,
}

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);
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
        let wake = move || {
            // Fails if the system has no memory; the hub still takes its commands in its next turn.
            let _ = waker.wake();
        };
        let mut server = Self {
            hub: new_hub(settings, wake, application)?,
            acceptor,
            sockets: MioSocketFactory::new(poll.registry().try_clone()?),
            poll,
            events: Events::with_capacity(1024),
            listeners: Listeners::new(),
            address,
        };
        server.add_listener(listener)?;
        Ok(server)
    }

    /// Accepts from another listener too: for a name that has several addresses, such as `localhost`.
    ///
    /// # Errors
    /// Returns the operating system's error.
    pub fn add_listener(&mut self, listener: std::net::TcpListener) -> io::Result<()> {
        listen(SockRef::from(&listener))?;
        listener.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(listener);
        self.poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        self.listeners.add(listener);
        Ok(())
    }

    /// Sets TCP's keep-alive, for connections that are accepted later and for those of a [`MioSocketFactory`] that is
    /// made later: after this silence the system probes the peer; `None` does not set it. The time is clamped to 1 to
    /// 32,767 seconds. Default: 60 s. `TCP_NODELAY` is always set.
    #[must_use]
    pub fn keep_alive(mut self, silence: Option<Duration>) -> Self {
        self.sockets.options.keep_alive(silence);
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
            let Self { hub, listeners, sockets, acceptor, .. } = &mut self;
            listeners.accept(hub, now, TcpListener::accept, |_, stream| {
                sockets.accepted(acceptor.accept(stream)?)
            });
            hub.run_caught(now);
            if hub.is_over() {
                return Ok(());
            }
            self.wait()?;
        }
    }

    fn wait(&mut self) -> io::Result<()> {
        let now = self.sockets.now();
        let deadline = self.listeners.deadline(&self.hub, now);
        // mio rounds the timeout up, so that the hub wakes once, and not too early.
        let timeout = deadline.map(|deadline| now.saturating_duration_until(deadline));
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            done => done?,
        }
        for event in &self.events {
            match event.token() {
                LISTENER => self.listeners.ready(),
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
