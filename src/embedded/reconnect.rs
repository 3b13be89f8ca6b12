//! A client over embassy-net that connects again whenever its connection has ended.

#![forbid(unsafe_code)]

use core::fmt;
use core::net::Ipv4Addr;
use core::ops::ControlFlow;
use core::time::Duration;

use embassy_futures::select::{Either, select};
use embassy_net::tcp::{ConnectError, TcpSocket};
use embassy_net::{IpAddress, IpEndpoint, Stack};

use super::Transport;
use super::embassy_net::{EmbassyClock, TcpTransport, hang_up};
use super::embedded_io_async::{Clock, passed};
use super::error::Error;
use super::websocket::WebSocket;
use crate::config::ConfigRef;
use crate::config::base::Config;
use crate::handshake::{ClientRequest, RefusedResponse};
use crate::role::Client;
use crate::session::{Backoff, Buffers, Memory};
use crate::time::Instant;

/// A client that connects, runs a session of yours, and connects again when that has ended: after a delay from [`Backoff`], and
/// with an event for each step.
///
/// Each attempt waits until the network has an address, resolves the host, connects, and calls the session. That may put TLS
/// over the TCP stream, and then [opens](ConnectAttempt::open) the WebSocket. Keep-alive is
/// [`Config::keep_alive`]; subprotocols and `Authorization` belong to the [`ClientRequest`].
///
/// ```no_run
/// use core::convert::Infallible;
/// use core::ops::ControlFlow;
/// use core::time::Duration;
///
/// use embassy_net::{Stack, tcp, tcp::TcpSocket};
/// use sansocket::Config;
/// use sansocket::embedded::{Error, Reconnect, ReconnectEvent};
/// use sansocket::handshake::ClientRequest;
/// use sansocket::message::{ArrayStorage, Assembler};
/// use sansocket::session::{Backoff, Memory};
///
/// static CONFIG: Config = Config::new().keep_alive(Some(Duration::from_secs(30)), Some(Duration::from_secs(10)));
///
/// /// The body of a task. `random` is the chip's true random generator.
/// async fn agent(stack: Stack<'_>, mut random: impl FnMut() -> [u8; 4]) {
///     let (mut receive, mut transmit) = ([0; 1024], [0; 1024]);
///     let mut tcp = TcpSocket::new(stack, &mut receive, &mut transmit);
///     let mut memory = Memory { head: [0; 1024], rx: [0; 512], tx: [0; 512] };
///     let request = ClientRequest::parse("ws://192.0.2.1/v1/agent").expect("a URL").protocols(&["agent.v1"]);
///     let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
///     let mut events = |event: ReconnectEvent<'_, Error<tcp::Error>>| {
///         if let ReconnectEvent::Delay(delay) = event {
///             // The log says when the next attempt is.
///             let _ = delay;
///         }
///     };
///     let mut client = Reconnect::new(request, &CONFIG, backoff);
///     let stopped = client.run(stack, &mut tcp, &mut memory, &mut random, &mut events, async |tcp, attempt| {
///         let mut socket = attempt.open(tcp).await?;
///         socket.send("hello").await?;
///         let mut message = Assembler::new(ArrayStorage::<256>::new());
///         while let Some(_command) = socket.recv(&mut message).await? {}
///         Ok(ControlFlow::<Infallible>::Continue(())) // the server has closed: connect again
///     });
///     match stopped.await {}
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Reconnect<'r, C = &'static Config> {
    request: ClientRequest<'r>,
    config: C,
    backoff: Backoff,
    address: Option<IpAddress>,
    connect_timeout: Duration,
    stable_after: Duration,
    denied_delay: Duration,
}

/// A step of [`Reconnect`]. `E` is the error of the session.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReconnectEvent<'e, E> {
    /// An attempt begins. It waits until the network has an address.
    Begin,
    /// The name of the host is resolved.
    Resolve(&'e str),
    /// TCP connects to this address.
    Connect(IpEndpoint),
    /// TCP is connected, and the session runs: TLS and the opening handshake follow.
    Connected,
    /// The connection is open, with this subprotocol.
    Open(Option<&'e str>),
    /// The server answered the request with another response than 101.
    Refused(&'e RefusedResponse<'e>),
    /// There is no TCP connection.
    Unreachable(Unreachable),
    /// The session has failed.
    Failed(&'e E),
    /// The session has ended without an error.
    Ended,
    /// The next attempt is made after this delay.
    Delay(Duration),
}

/// Network: why a [`Reconnect`] has no TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreachable {
    /// The host is a name that has no address; or the feature `embassy-dns` is off, and the host is no address.
    #[error("the host has no address")]
    Unresolved,
    /// TCP could not connect.
    #[error("TCP could not connect: {0:?}")]
    Tcp(ConnectError),
    /// The host was not resolved and connected within the time for it.
    #[error("the host did not answer in time")]
    Timeout,
}

/// One attempt of [`Reconnect`], from an open TCP connection to an open WebSocket.
pub struct ConnectAttempt<'a, K, C, E> {
    request: &'a ClientRequest<'a>,
    config: &'a C,
    buffers: Buffers<'a>,
    keys: &'a mut K,
    events: &'a mut dyn FnMut(ReconnectEvent<'_, E>),
    found: &'a mut Found,
}

/// What an attempt has found out.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    opened: Option<Instant>,
    /// The server does not accept the credentials.
    denied: bool,
}

impl<'r, C: ConfigRef> Reconnect<'r, C> {
    /// Creates a client for this request. See the setters for the defaults.
    #[must_use]
    pub const fn new(request: ClientRequest<'r>, config: C, backoff: Backoff) -> Self {
        Self {
            request,
            config,
            backoff,
            address: None,
            connect_timeout: Duration::from_secs(15),
            stable_after: Duration::from_secs(60),
            denied_delay: Duration::from_secs(60),
        }
    }

    /// Sets the address of the host, which is then not resolved. Default: the host of the URL if it is an address, or what DNS
    /// says (feature `embassy-dns`; IPv4).
    #[must_use]
    pub fn address(mut self, address: impl Into<IpAddress>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// Sets the time within which the host has to be resolved and connected. Default: 15 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how long a connection has to be open until it resets the back-off. Default: 60 s.
    #[must_use]
    pub fn stable_after(mut self, duration: Duration) -> Self {
        self.stable_after = duration;
        self
    }

    /// Sets what is added to the delay after a response with status 401 or 403, as the same credentials are not likely to be
    /// accepted soon. Default: 60 s.
    #[must_use]
    pub fn denied_delay(mut self, delay: Duration) -> Self {
        self.denied_delay = delay;
        self
    }

    /// Connects again and again, until a session returns [`ControlFlow::Break`]: then it returns that value.
    ///
    /// `session` gets the TCP connection and the [`ConnectAttempt`]. `random` makes the masking keys (RFC 6455 §10.3: unpredictable)
    /// and the jitter of the delays. `events` is called at each step.
    ///
    /// Cancel safety: dropping the future leaves the socket in its current state; `abort` it before you use it again.
    pub async fn run<'s, const HEAD: usize, const RX: usize, const TX: usize, K, B, E>(
        &mut self,
        stack: Stack<'_>,
        socket: &mut TcpSocket<'s>,
        memory: &mut Memory<HEAD, RX, TX>,
        random: &mut K,
        events: &mut dyn FnMut(ReconnectEvent<'_, E>),
        mut session: impl AsyncFnMut(
            TcpTransport<'_, 's>,
            ConnectAttempt<'_, K, C, E>,
        ) -> Result<ControlFlow<B>, E>,
    ) -> B
    where
        K: FnMut() -> [u8; 4],
    {
        loop {
            events(ReconnectEvent::Begin);
            stack.wait_config_up().await;
            let mut found = Found::default();
            match self.reach(stack, socket, events).await {
                Err(error) => events(ReconnectEvent::Unreachable(error)),
                Ok(()) => {
                    events(ReconnectEvent::Connected);
                    let attempt = ConnectAttempt {
                        request: &self.request,
                        config: &self.config,
                        buffers: memory.buffers(),
                        keys: &mut *random,
                        events: &mut *events,
                        found: &mut found,
                    };
                    let ended = session(TcpTransport::new(socket), attempt).await;
                    if self.is_stable(&found) {
                        self.backoff.reset();
                    }
                    hang_up(socket, self.config.timeouts.close).await;
                    match ended {
                        Ok(flow) => {
                            events(ReconnectEvent::Ended);
                            if let ControlFlow::Break(value) = flow {
                                return value;
                            }
                        }
                        Err(error) => events(ReconnectEvent::Failed(&error)),
                    }
                }
            }
            socket.abort(); // after a failed connect; without effect on a closed socket
            let mut delay = self.backoff.next_delay(u32::from_ne_bytes(random()));
            if found.denied {
                delay = delay.saturating_add(self.denied_delay);
            }
            events(ReconnectEvent::Delay(delay));
            let clock = &mut EmbassyClock;
            let end = clock.now().saturating_add(delay);
            passed(clock, end).await;
        }
    }

    /// Resolves the host and connects to it.
    async fn reach<E>(
        &self,
        stack: Stack<'_>,
        socket: &mut TcpSocket<'_>,
        events: &mut dyn FnMut(ReconnectEvent<'_, E>),
    ) -> Result<(), Unreachable> {
        let url = self.request.url();
        let connect = async {
            let address = match self.address {
                Some(address) => address,
                None => resolve(stack, url.host(), events).await.ok_or(Unreachable::Unresolved)?,
            };
            let endpoint = IpEndpoint::new(address, url.port());
            events(ReconnectEvent::Connect(endpoint));
            socket.connect(endpoint).await.map_err(Unreachable::Tcp)
        };
        let clock = &mut EmbassyClock;
        let end = clock.now().saturating_add(self.connect_timeout);
        match select(connect, passed(clock, end)).await {
            Either::First(connected) => connected,
            Either::Second(_) => Err(Unreachable::Timeout),
        }
    }

    fn is_stable(&self, found: &Found) -> bool {
        let lasted = |opened: Instant| opened.saturating_duration_until(EmbassyClock.now());
        found.opened.is_some_and(|opened| lasted(opened) >= self.stable_after)
    }
}

impl<'a, K: FnMut() -> [u8; 4], C: ConfigRef, E> ConnectAttempt<'a, K, C, E> {
    /// Opens the WebSocket over `transport`, which is the TCP connection, or TLS over it.
    ///
    /// # Errors
    /// Those of [`WebSocket::connect`].
    ///
    /// Cancel safety: dropping the future drops the transport.
    pub async fn open<T: Transport>(
        self,
        transport: T,
    ) -> Result<WebSocket<'a, T, Client<&'a mut K>, C>, Error<T::Error>> {
        let Self { request, config, buffers, keys, events, found } = self;
        let refused = |response: &RefusedResponse<'_>| {
            found.denied = matches!(response.status, 401 | 403);
            events(ReconnectEvent::Refused(response));
        };
        let config = config.clone();
        let socket = WebSocket::connect_with(transport, config, buffers, keys, request, refused).await?;
        found.opened = Some(EmbassyClock.now());
        events(ReconnectEvent::Open(socket.protocol()));
        Ok(socket)
    }
}

impl<K, C, E> fmt::Debug for ConnectAttempt<'_, K, C, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectAttempt").field("request", self.request).finish_non_exhaustive()
    }
}

/// Formats the address by its `Display`, and of a refusal the status.
#[cfg(feature = "defmt")]
impl<E: defmt::Format> defmt::Format for ReconnectEvent<'_, E> {
    fn format(&self, f: defmt::Formatter<'_>) {
        match self {
            Self::Begin => defmt::write!(f, "Begin"),
            Self::Resolve(host) => defmt::write!(f, "Resolve({=str})", host),
            Self::Connect(endpoint) => defmt::write!(f, "Connect({})", defmt::Display2Format(endpoint)),
            Self::Connected => defmt::write!(f, "Connected"),
            Self::Open(protocol) => defmt::write!(f, "Open({})", protocol),
            Self::Refused(response) => defmt::write!(f, "Refused({=u16}, ..)", response.status),
            Self::Unreachable(error) => defmt::write!(f, "Unreachable({})", error),
            Self::Failed(error) => defmt::write!(f, "Failed({})", error),
            Self::Ended => defmt::write!(f, "Ended"),
            Self::Delay(delay) => defmt::write!(f, "Delay({})", delay),
        }
    }
}

/// Formats embassy-net's error by its `Debug`, as [`TcpServeError`](super::TcpServeError) does.
#[cfg(feature = "defmt")]
impl defmt::Format for Unreachable {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{}", defmt::Debug2Format(self));
    }
}

/// Returns the address of a host.
async fn resolve<E>(
    stack: Stack<'_>,
    host: &str,
    events: &mut dyn FnMut(ReconnectEvent<'_, E>),
) -> Option<IpAddress> {
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Some(IpAddress::Ipv4(address));
    }
    events(ReconnectEvent::Resolve(host));
    lookup(stack, host).await
}

#[cfg(feature = "embassy-dns")]
async fn lookup(stack: Stack<'_>, host: &str) -> Option<IpAddress> {
    stack.dns_query(host, embassy_net::dns::DnsQueryType::A).await.ok()?.first().copied()
}

#[cfg(not(feature = "embassy-dns"))]
async fn lookup(_: Stack<'_>, _: &str) -> Option<IpAddress> {
    None
}
