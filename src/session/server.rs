//! A server's connection from the opening handshake to its end.

#![forbid(unsafe_code)]

use core::convert::Infallible;
use core::fmt;

use crate::buffer::{ReceiveBuffer, TransmitBuffer};
use crate::close::CloseCode;
use crate::config::ConfigRef;
use crate::config::base::Config;
use crate::connection::{Connection, ConnectionState};
use crate::ending::Ending;
use crate::error::EndReason;
use crate::event::Event;
use crate::extension::NoExtension;
use crate::handler::{Handler, HandlerError, forward};
use crate::handshake::{Decide, Decision, Negotiate, Refusal, Request, ServerHandshake, ServerHandshakeEnd};
use crate::log::{EndLog, Quoted, log_debug};
use crate::outbox::Outbox;
use crate::role::Server;
use crate::session::HandlerDriver;
use crate::step::Step;
use crate::time::{Due, Instant, Timed};

/// The whole life of a server's connection: opening handshake, handler and closing handshake.
///
/// An adapter for servers needs to drive only this, with three buffers. On [`Step::Wait`] it writes
/// [`pending`](TransmitBuffer::pending) bytes and reads into [`spare`](Self::spare), on [`Step::Shutdown`] it shuts
/// down the writing side of the transport, on [`Step::Done`] it drops the transport.
///
/// ```
/// use sansocket::session::{Memory, Outcome, ServerSession};
/// use sansocket::{Config, Event, Handler, HandlerError, Instant, Outbox, Step};
///
/// struct Echo;
///
/// impl Handler for Echo {
///     fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
///         match event {
///             Event::Data(chunk) => out.forward(&chunk),
///             _ => Ok(()),
///         }
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut memory = Memory { head: [0; 512], rx: [0; 256], tx: [0; 256] };
/// let buffers = memory.buffers();
/// let (mut head, mut rx, mut tx) = (buffers.head, buffers.rx, buffers.tx);
/// let now = Instant::START; // of your clock
/// let mut session = ServerSession::new(&Config::DEFAULT, now);
/// let mut received = &b"GET / HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
///     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n\
///     \x81\x82\0\0\0\0Hi\x88\x80\0\0\0\0"[..]; // a request, "Hi", and a Close
/// let mut sent = Vec::new();
/// let outcome = loop {
///     match session.poll(now, &mut Echo, &mut head, &mut rx, &mut tx) {
///         Step::Wait { deadline: _ } => {
///             sent.extend_from_slice(tx.pending());
///             tx.consume(tx.pending().len());
///             let spare = session.spare(&mut head, &mut rx);
///             if spare.is_empty() {
///                 continue; // nothing is to be read now
///             }
///             match std::io::Read::read(&mut received, spare)? {
///                 0 => session.end(&mut head, &mut rx),
///                 n => session.fill(&mut head, &mut rx, n),
///             }
///         }
///         Step::Shutdown => {} // of the transport's writing side
///         Step::Done(outcome) => break outcome,
///     }
/// };
/// assert!(sent.starts_with(b"HTTP/1.1 101 ") && sent.ends_with(b"\x81\x02Hi\x88\x00"));
/// assert!(matches!(outcome, Outcome::Closed(ending) if ending.is_clean()));
/// # Ok(())
/// # }
/// ```
///
/// `N` negotiates an extension.
pub struct ServerSession<C = &'static Config, N: Negotiate = NoExtension> {
    phase: Phase<C, N>,
    end_log: EndLog,
}

#[expect(clippy::large_enum_variant, reason = "there may be no heap to box it in")]
enum Phase<C, N: Negotiate> {
    Handshake(ServerHandshake<C>, N),
    Open(HandlerDriver<Server, N::Extension, C>),
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Outcome {
    /// The connection was open, and has ended.
    Closed(Ending),
    /// The response to the request was not an upgrade.
    Refused(Refusal),
    /// The opening handshake ended without an answer: the peer disconnected, did not read it, or sent no request in time.
    Disconnected,
    /// [`Decision::HandOver`]: the head buffer [holds](ReceiveBuffer::unread) the request and the bytes after it.
    HandedOver,
}

/// A handler as the one that decides about a request.
struct Deciding<'h, H: ?Sized>(&'h mut H);

impl<H: Handler + ?Sized> Handler for Deciding<'_, H> {
    forward!(self => self.0);

    fn opened(&mut self, protocol: Option<&str>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        log_debug!("the connection is open");
        self.0.opened(protocol, out)
    }

    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        self.0.event(event, out)
    }
}

impl<H: Handler + ?Sized, C: ConfigRef> Decide<C> for Deciding<'_, H> {
    fn decide<'s>(&'s mut self, request: &Request<'_>) -> Decision<'s, C> {
        log_debug!("a request for {}", Quoted(request.path().as_bytes()));
        self.0.request(request).with_config()
    }

    fn refused(&mut self, request: Option<&Request<'_>>, refusal: &Refusal) {
        self.0.refused(request, refusal);
    }
}

impl Outcome {
    /// Returns whether the peer disconnected before the session was complete.
    #[must_use]
    pub fn is_disconnect(&self) -> bool {
        match self {
            Self::Closed(ending) => matches!(ending.reason, EndReason::Disconnected),
            Self::Disconnected => true,
            Self::Refused(_) | Self::HandedOver => false,
        }
    }
}

impl core::fmt::Display for Outcome {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Closed(ending) => ending.fmt(f),
            Self::Refused(Refusal { status, reason: None }) => write!(f, "responded with {status}"),
            Self::Refused(refusal) => write!(f, "refused with {refusal}"),
            Self::Disconnected => f.write_str("disconnected before a response"),
            Self::HandedOver => f.write_str("handed over"),
        }
    }
}

impl<C: ConfigRef> ServerSession<C> {
    /// Creates a session for a transport that was just accepted.
    #[must_use]
    pub fn new(config: C, now: Instant) -> Self {
        Self::negotiating(config, now, NoExtension)
    }

    /// Creates a session for a connection whose opening handshake was done elsewhere.
    #[must_use]
    pub const fn open(driver: HandlerDriver<Server, NoExtension, C>) -> Self {
        Self::of(driver)
    }
}

impl<C: ConfigRef, N: Negotiate> ServerSession<C, N> {
    /// Creates a session as [`new`](ServerSession::new) does, which negotiates an extension.
    #[must_use]
    pub fn negotiating(config: C, now: Instant, negotiate: N) -> Self {
        let phase = Phase::Handshake(ServerHandshake::new(config, now), negotiate);
        Self { phase, end_log: EndLog::new() }
    }

    /// Creates a session for an open connection with an extension.
    pub(crate) const fn of(driver: HandlerDriver<Server, N::Extension, C>) -> Self {
        Self { phase: Phase::Open(driver), end_log: EndLog::new() }
    }

    /// Answers with 503 also if no request arrives in time, as the server is at capacity.
    #[cfg(feature = "hub")]
    pub(crate) fn refuse(&mut self) {
        if let Phase::Handshake(handshake, _) = &mut self.phase {
            handshake.refuse();
        }
    }

    /// Processes received bytes, deadlines and pending replies, calls the handler, and returns what the caller has to
    /// do next.
    pub fn poll(
        &mut self,
        now: Instant,
        handler: &mut (impl Handler + ?Sized),
        head: &mut ReceiveBuffer<'_>,
        rx: &mut ReceiveBuffer<'_>,
        tx: &mut TransmitBuffer<'_>,
    ) -> Step<Infallible, Outcome> {
        let step = self.poll_with(now, &mut Deciding(handler), head, rx, tx);
        if let Step::Done(outcome) = &step {
            self.end_log.log(Some(*outcome));
        }
        step
    }

    /// Polls with a handler that decides about the request itself, with a configuration of type `C`.
    pub(crate) fn poll_with(
        &mut self,
        now: Instant,
        handler: &mut (impl Handler + Decide<C>),
        head: &mut ReceiveBuffer<'_>,
        rx: &mut ReceiveBuffer<'_>,
        tx: &mut TransmitBuffer<'_>,
    ) -> Step<Infallible, Outcome> {
        if let Phase::Handshake(handshake, negotiate) = &mut self.phase {
            match handshake.poll_negotiating(now, head, rx, tx, handler, negotiate) {
                Step::Wait { deadline } => return Step::Wait { deadline },
                Step::Shutdown => return Step::Shutdown,
                Step::Done(ServerHandshakeEnd::HandedOver) => return Step::Done(Outcome::HandedOver),
                Step::Done(ServerHandshakeEnd::Refused(refusal)) => {
                    return Step::Done(Outcome::Refused(refusal));
                }
                Step::Done(ServerHandshakeEnd::Disconnected) => return Step::Done(Outcome::Disconnected),
                Step::Done(ServerHandshakeEnd::Opened { protocol }) => {
                    let config = handshake.config().clone();
                    let connection = Connection::opened(Server, negotiate.open(), config, now);
                    self.phase = Phase::Open(HandlerDriver::new(connection, protocol));
                }
            }
        }
        let Phase::Open(driver) = &mut self.phase else { return Step::Wait { deadline: None } };
        match driver.poll(now, handler, rx, tx) {
            Step::Wait { deadline } => Step::Wait { deadline },
            Step::Shutdown => Step::Shutdown,
            Step::Done(ending) => Step::Done(Outcome::Closed(ending)),
        }
    }

    /// Begins the closing handshake. The Close is sent without the reason if there is no room for it now. The handler
    /// can finish a frame that it has begun within the time for the closing handshake, which restarts whenever the
    /// transport takes pending bytes. The call has no effect if no connection is open. Poll after it.
    pub fn close(&mut self, tx: &mut TransmitBuffer<'_>, code: impl Into<Option<CloseCode>>, reason: &str) {
        if let Phase::Open(driver) = &mut self.phase {
            let (link, mut wire) = driver.connection.parts(tx);
            link.close_after_frame(&mut wire, code.into(), reason);
        }
    }

    /// Wakes the handler: the next poll calls [`Handler::woken`]. The call has no effect before the connection is open.
    pub const fn wake(&mut self) {
        if let Phase::Open(driver) = &mut self.phase {
            driver.wake();
        }
    }

    /// Returns the connection; `None` before it is open.
    #[must_use]
    pub const fn connection(&self) -> Option<&Connection<Server, N::Extension, C>> {
        match &self.phase {
            Phase::Handshake(..) => None,
            Phase::Open(driver) => Some(&driver.connection),
        }
    }

    /// Returns the configuration in force: that of [`AcceptOptions::config`](crate::handshake::AcceptOptions::config),
    /// if any, after the request is accepted.
    #[cfg(feature = "hub")]
    pub(crate) const fn config(&self) -> &C {
        match &self.phase {
            Phase::Handshake(handshake, _) => handshake.config(),
            Phase::Open(driver) => driver.connection.config(),
        }
    }

    /// Returns the extension of the connection; `None` before it is open.
    #[cfg(feature = "hub")]
    pub(crate) const fn extension(&mut self) -> Option<&mut N::Extension> {
        match &mut self.phase {
            Phase::Handshake(..) => None,
            Phase::Open(driver) => Some(&mut driver.connection.extension),
        }
    }

    /// Returns the sending side of the connection; `None` before it is open.
    pub fn outbox<'a>(&'a mut self, now: Instant, tx: &'a mut TransmitBuffer<'_>) -> Option<Outbox<'a>> {
        match &mut self.phase {
            Phase::Handshake(..) => None,
            Phase::Open(driver) => Some(driver.connection.outbox(now, tx)),
        }
    }

    /// Returns whether the connection is open, and both buffers are empty. The buffers can then serve another
    /// connection, and this one can continue with other buffers of the same size.
    #[must_use]
    pub fn is_idle(&self, rx: &ReceiveBuffer<'_>, tx: &TransmitBuffer<'_>) -> bool {
        let open = match &self.phase {
            Phase::Handshake(..) => false,
            Phase::Open(driver) => {
                driver.blocked.is_none() && driver.connection.state() == ConnectionState::Open
            }
        };
        open && rx.is_empty() && !rx.is_ended() && tx.is_empty()
    }

    /// Returns the memory to read the transport into; empty if nothing is to be read now. Report with
    /// [`fill`](Self::fill) how many bytes arrived.
    pub fn spare<'a>(&self, head: &'a mut ReceiveBuffer<'_>, rx: &'a mut ReceiveBuffer<'_>) -> &'a mut [u8] {
        match &self.phase {
            Phase::Handshake(handshake, _) => handshake.spare(head, rx),
            Phase::Open(_) => rx.spare(),
        }
    }

    /// Reports that `n` bytes were read into [`spare`](Self::spare).
    pub fn fill(&self, head: &mut ReceiveBuffer<'_>, rx: &mut ReceiveBuffer<'_>, n: usize) {
        match &self.phase {
            Phase::Handshake(handshake, _) => handshake.fill(head, rx, n),
            Phase::Open(_) => rx.fill(n),
        }
    }

    /// Reports the end of the stream: the peer will send nothing more.
    pub fn end(&self, head: &mut ReceiveBuffer<'_>, rx: &mut ReceiveBuffer<'_>) {
        match &self.phase {
            Phase::Handshake(handshake, _) => handshake.end(head, rx),
            Phase::Open(_) => rx.end(),
        }
    }

    /// Reports that the transport failed. The next poll calls [`Handler::closed`] if the connection was open.
    pub fn transport_failed(&mut self) {
        match &mut self.phase {
            Phase::Handshake(handshake, _) => handshake.transport_failed(),
            Phase::Open(driver) => driver.transport_failed(),
        }
    }
}

impl<C: ConfigRef, N: Negotiate> Timed for ServerSession<C, N> {
    fn due(&self, now: Instant) -> Due {
        match &self.phase {
            Phase::Handshake(handshake, _) => handshake.due(now),
            Phase::Open(driver) => driver.due(now),
        }
    }

    fn extend(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Handshake(handshake, _) => handshake.extend(now),
            Phase::Open(driver) => driver.extend(now),
        }
    }
}

impl<C: ConfigRef, N: Negotiate> fmt::Debug for ServerSession<C, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.connection().map(Connection::state);
        f.debug_struct("ServerSession").field("connection", &state).finish_non_exhaustive()
    }
}
