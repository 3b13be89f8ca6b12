//! A server over tokio's streams, in one task.

#![forbid(unsafe_code)]

use core::fmt;
use core::future::{Future, poll_fn, ready};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::boxed::Box;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::vec::Vec;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::task::{coop::unconstrained, yield_now};

use super::application::Application;
use super::handle::HubHandle;
use super::host_server::{Listeners, TcpOptions, listen, new_hub};
use super::machine::Hub;
use super::ready_list::{ReadyList, Watch};
use super::settings::HubSettings;
use super::socket::Ready;
use super::tokio_socket::{Opening, TokioSocket, TokioSocketFactory};
use crate::tokio::clock::{Clock, Timer};

/// A server that serves thousands of connections in one task of tokio: those of its listeners, and those that the application gives
/// it.
///
/// ```
/// use sansocket::hub::{HubSettings, Routes, TokioServer};
/// use sansocket::{CloseCode, HandlerError, MessageHandler, MessageRef, Outbox, tokio::connect};
///
/// struct Echo;
///
/// impl MessageHandler for Echo {
///     fn message(&mut self, message: MessageRef<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
///         Ok(out.send(message)?)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let routes = Routes::new().messages("/", |_, _| Ok(Echo));
/// let server = TokioServer::bind("127.0.0.1:0", HubSettings::default(), |_| routes).await?;
/// let address = server.address().unwrap();
/// let hub = server.handle(); // for other tasks and threads
/// let running = tokio::spawn(server.run());
///
/// let mut client = connect(&format!("ws://{address}/")).await?;
/// client.send("hello").await?;
/// assert_eq!(client.recv().await?, Some("hello".into()));
///
/// hub.stop(CloseCode::GOING_AWAY)?;
/// assert_eq!(client.recv().await?, None); // the server has closed the connection
/// running.await?;
/// # Ok(())
/// # }
/// ```
///
/// `S` is the type of the streams: TCP, TLS over it ([`with_acceptor`](Self::with_acceptor)), or what an HTTP server has upgraded
/// ([`new`](Self::new)). A server that takes several kinds has an enum or a `Box<dyn ..>` that implements `AsyncRead` and
/// `AsyncWrite`.
///
/// One server is one task, and uses one core at a time. For more, spawn several, each with a clone of one listener. Handlers run in
/// that task and must not block it.
pub struct TokioServer<A: Application, S = TcpStream>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    hub: Hub<TokioSocket<S>, A>,
    listeners: Listeners<Listener<S>>,
    address: Option<SocketAddr>,
    options: TcpOptions,
    sockets: TokioSocketFactory,
    /// Empty between two polls; kept for its memory.
    taken: Vec<Arc<Watch>>,
    /// Woken when a connection may wait to be accepted.
    pending: Waker,
    timer: Timer,
}

/// A listener, and what makes streams of the connections that it accepts.
struct Listener<S> {
    tcp: TcpListener,
    acceptor: Box<dyn FnMut(TcpStream) -> Opening<S> + Send>,
}

/// What the server does after a turn.
enum Next {
    /// The next turn, after other tasks have had theirs.
    Turn,
    End,
}

/// The key of the listeners.
const LISTENER: usize = usize::MAX;
/// How long a deadline waits for the runtime to look at its sockets.
const LOOK: Duration = Duration::from_millis(1);

impl<A: Application> TokioServer<A> {
    /// Creates a server that listens for plain TCP, on the first of these addresses that can be bound. `application` makes
    /// the application with the hub's handle.
    ///
    /// # Errors
    /// Fails as [`with_acceptor`](Self::with_acceptor) does, and if no address can be bound.
    pub async fn bind(
        address: impl ToSocketAddrs,
        settings: HubSettings,
        application: impl FnOnce(HubHandle) -> A,
    ) -> io::Result<Self> {
        Self::from_listener(TcpListener::bind(address).await?, settings, application)
    }

    /// Creates a server that accepts plain TCP from a listener, as [`with_acceptor`](Self::with_acceptor).
    ///
    /// # Errors
    /// Fails as [`with_acceptor`](Self::with_acceptor) does.
    pub fn from_listener(
        listener: TcpListener,
        settings: HubSettings,
        application: impl FnOnce(HubHandle) -> A,
    ) -> io::Result<Self> {
        Self::with_acceptor(listener, |tcp| ready(Ok(tcp)), settings, application)
    }
}

impl<A: Application, S: AsyncRead + AsyncWrite + Unpin + 'static> TokioServer<A, S> {
    /// Creates a server that accepts from a listener, and makes a stream of each connection with `acceptor`. Its future is polled in
    /// the turns of the session, and the time for the opening handshake
    /// ([`Timeouts::handshake`](crate::config::Timeouts::handshake)) includes it. An error drops the connection.
    ///
    /// ```
    /// # #[cfg(feature = "tokio-rustls-no-provider")]
    /// # mod tls {
    /// use std::sync::Arc;
    ///
    /// use sansocket::hub::{HubSettings, Routes, TokioServer};
    /// use tokio::net::TcpListener;
    /// use tokio_rustls::TlsAcceptor;
    ///
    /// /// `config` has the certificate and its key.
    /// async fn serve(config: rustls::ServerConfig, routes: Routes) -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:8443").await?;
    ///     let tls = TlsAcceptor::from(Arc::new(config));
    ///     let accept = move |tcp| tls.accept(tcp);
    ///     TokioServer::with_acceptor(listener, accept, HubSettings::default(), |_| routes)?.run().await;
    ///     Ok(())
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns the operating system's error; [`ErrorKind::InvalidInput`] with [`InvalidSettings`](super::InvalidSettings) if a setting
    /// is invalid.
    pub fn with_acceptor<F: Future<Output = io::Result<S>> + Send + 'static>(
        listener: TcpListener,
        acceptor: impl FnMut(TcpStream) -> F + Send + 'static,
        settings: HubSettings,
        application: impl FnOnce(HubHandle) -> A,
    ) -> io::Result<Self> {
        let mut server = Self::new(settings, application)?;
        server.add_listener(listener, acceptor)?;
        Ok(server)
    }

    /// Creates a server without a listener: it serves the streams that the application gives it through a
    /// [`TokioSocketFactory`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] with [`InvalidSettings`](super::InvalidSettings) if a setting is invalid.
    pub fn new(mut settings: HubSettings, application: impl FnOnce(HubHandle) -> A) -> io::Result<Self> {
        // The runtime looks at its sockets before its timers, but not if a signal has ended its wait.
        settings.read_grace = settings.read_grace.max(LOOK);
        let list = Arc::<ReadyList>::default();
        let notified = Arc::clone(&list);
        Ok(Self {
            hub: new_hub(settings, move || notified.notify(), application)?,
            listeners: Listeners::new(),
            address: None,
            options: TcpOptions::DEFAULT,
            pending: list.waker(LISTENER),
            sockets: TokioSocketFactory::new(list, Clock::new()),
            taken: Vec::new(),
            timer: Timer::default(),
        })
    }

    /// Accepts from another listener too, with an acceptor of its own, as [`with_acceptor`](Self::with_acceptor).
    ///
    /// # Errors
    /// Returns the operating system's error.
    pub fn add_listener<F: Future<Output = io::Result<S>> + Send + 'static>(
        &mut self,
        listener: TcpListener,
        mut acceptor: impl FnMut(TcpStream) -> F + Send + 'static,
    ) -> io::Result<()> {
        listen(SockRef::from(&listener))?;
        self.address = self.address.or(Some(listener.local_addr()?));
        let acceptor = Box::new(move |tcp| -> Opening<S> { Box::pin(acceptor(tcp)) });
        self.listeners.add(Listener { tcp: listener, acceptor });
        Ok(())
    }

    /// Sets TCP's keep-alive for connections of the listeners: after this silence the system probes the peer; `None` does not
    /// set it. The time is clamped to 1 to 32,767 seconds. Default: 60 s. `TCP_NODELAY` is always set.
    #[must_use]
    pub fn keep_alive(mut self, silence: Option<Duration>) -> Self {
        self.options.keep_alive(silence);
        self
    }

    /// Returns a handle, for other tasks and threads.
    #[must_use]
    pub fn handle(&self) -> HubHandle {
        self.hub.handle()
    }

    /// Returns what makes sockets of streams that were accepted elsewhere.
    #[must_use]
    pub fn socket_factory(&self) -> TokioSocketFactory {
        self.sockets.clone()
    }

    /// Returns the address of the first listener.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Serves until the hub is [stopped](HubHandle::stop) and the last connection has ended. A handler that panics ends
    /// its own connection only.
    ///
    /// The future is `Send` if the application, its handlers and the streams are, as those of [`Routes`](super::Routes) are: it can
    /// be spawned.
    ///
    /// # Cancel safety
    /// Dropping the future drops the hub: connections are cut, handles return [`HandleError::Stopped`](super::HandleError::Stopped).
    pub async fn run(mut self) {
        // The hub bounds its turns by itself, and gives way after each of them. In the middle of a turn tokio's own budget would make
        // the streams of the remaining sessions seem not to be ready.
        unconstrained(async {
            while let Next::Turn = poll_fn(|cx| self.poll_turn(cx)).await {
                yield_now().await;
            }
        })
        .await;
    }

    /// Gives the hub a turn. Pending if there is nothing to do until a stream is ready, a deadline passes or a handle is used.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let Self { hub, listeners, sockets, pending, options, .. } = self;
        let (sockets, TokioSocketFactory { list, clock }) = (&*sockets, &*sockets);
        list.take(&mut self.taken, |key| match key {
            LISTENER => listeners.ready(),
            key => hub.ready(key, Ready { read: true, write: true, hang_up: false }),
        });
        let accept =
            |listener: &Listener<S>| match listener.tcp.poll_accept(&mut Context::from_waker(pending)) {
                Poll::Ready(accepted) => accepted,
                Poll::Pending => Err(ErrorKind::WouldBlock.into()),
            };
        let now = clock.now();
        listeners.accept(hub, now, accept, |listener, tcp| {
            options.set(SockRef::from(&tcp))?;
            Ok(sockets.socket_from((listener.acceptor)(tcp)))
        });
        hub.run_caught(now);
        if hub.is_over() {
            return Poll::Ready(Next::End);
        }
        let now = clock.now();
        let deadline = listeners.deadline(hub, now);
        let waits = deadline.is_none_or(|deadline| deadline > now) && list.wait(cx.waker());
        if waits && self.timer.poll_deadline(cx, *clock, deadline).is_pending() {
            Poll::Pending
        } else {
            Poll::Ready(Next::Turn)
        }
    }
}

impl<A: Application, S: AsyncRead + AsyncWrite + Unpin + 'static> fmt::Debug for TokioServer<A, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokioServer")
            .field("address", &self.address)
            .field("hub", &self.hub)
            .finish_non_exhaustive()
    }
}
