//! The application as a `Handler` for each connection, and the state machines that call it.

#![forbid(unsafe_code)]

use crate::buffer::{ReceiveBuffer, TransmitBuffer};
use crate::cause::{Cause, End};
use crate::close::CloseCode;
use crate::config::{Config, ConfigRef};
use crate::connection::{Connection, State, Step};
use crate::event::{Event, Payload, Span};
use crate::extension::{Extension, NoExtension};
use crate::halt::Halt;
use crate::handshake::{Accept, Answer, Decide, HandshakeStep, Refusal, Rejection, Request, ServerHandshake};
use crate::outbox::Outbox;
use crate::role::{Role, Server};
use crate::time::{Due, Instant, Timed};

/// An application's event handler for one connection. Every adapter and the hub call it, so that it runs on every platform.
///
/// A method gets the [`Outbox`] of the connection, which sends and returns the time. No method may wait: if there is no room
/// to send, it returns [`Halt::Blocked`], and is called again. `?` on a [`SendError`](crate::SendError) does that.
///
/// The trait is dyn-compatible: a `Box<dyn Handler + Send>` is a handler, and so is a `&mut` of one.
///
/// ```
/// use sansocket::{Connection, Config, Driver, Event, Halt, Handler, Instant, Kind, Outbox, Payload};
/// use sansocket::{ReceiveBuffer, Server, TransmitBuffer};
///
/// /// Sends "hello", and answers each message with the number of messages so far.
/// struct Counter(u32);
///
/// impl Handler for Counter {
///     fn opened(&mut self, _protocol: Option<&str>, out: &mut Outbox<'_>) -> Result<(), Halt> {
///         Ok(out.send("hello")?)
///     }
///
///     fn event(&mut self, event: Event<Payload<'_>>, out: &mut Outbox<'_>) -> Result<(), Halt> {
///         match event {
///             Event::Data(data) if data.end => {
///                 out.send((self.0 + 1).to_string().as_str())?;
///                 self.0 += 1; // after the send: if that is blocked, the event is delivered again
///                 Ok(())
///             }
///             _ => Ok(()),
///         }
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (mut input, mut output) = ([0; 512], [0; 512]);
/// # let (mut rx, mut tx) = (ReceiveBuffer::new(&mut input)?, TransmitBuffer::new(&mut output)?);
/// // An adapter does this:
/// let mut driver = Driver::new(Connection::new(Server, &Config::DEFAULT, Instant::START), None);
/// let mut handler = Counter(0);
/// rx.feed(b"\x81\x80\0\0\0\0"); // an empty text
/// let _ = driver.poll(Instant::START, &mut handler, &mut rx, &mut tx);
/// assert_eq!(tx.pending(), b"\x81\x05hello\x81\x011");
/// # Ok(())
/// # }
/// ```
pub trait Handler {
    /// Decides about the request of a client. The answer may borrow from the handler but not from the request, so copy what
    /// you need of the request later. The default accepts every upgrade whose `Origin`, if any, is the same host.
    fn request<'s>(&'s mut self, request: &Request<'_>) -> Answer<'s> {
        let _ = request;
        Answer::Accept(Accept::default())
    }

    /// Reports that the request is refused, for [`Refusal::reason`]: it is invalid, was late, failed a check after
    /// [`request`](Self::request), or got [`Answer::Reject`]; not for [`Answer::Respond`]. It is called at most once, and meant
    /// for logging. `request` is `None` if no request could be parsed, and for [`Rejection::Internal`].
    fn refused(&mut self, request: Option<&Request<'_>>, refusal: &Refusal) {
        let _ = (request, refusal);
    }

    /// Reports that the connection is open. `protocol` is the negotiated subprotocol, one of
    /// [`Accept::protocols`](crate::handshake::Accept::protocols).
    ///
    /// # Errors
    /// [`Halt::Blocked`]: the method is called again when there may be room.
    fn opened(&mut self, protocol: Option<&str>, out: &mut Outbox<'_>) -> Result<(), Halt> {
        let _ = (protocol, out);
        Ok(())
    }

    /// Processes a received event. A handler that has sent a Close still gets what the peer sends before its Close.
    ///
    /// # Errors
    /// [`Halt::Blocked`]: the method is called again with the same event, without the bytes that were taken, when there may be
    /// room. Until then the connection receives nothing, which puts back-pressure on the peer.
    fn event(&mut self, event: Event<Payload<'_>>, out: &mut Outbox<'_>) -> Result<(), Halt>;

    /// Reports that the transmit buffer has been written to the transport, so that there is room for more of a long message.
    ///
    /// # Errors
    /// [`Halt::Blocked`]: the method is called again when the pending bytes have been written.
    fn writable(&mut self, out: &mut Outbox<'_>) -> Result<(), Halt> {
        let _ = out;
        Ok(())
    }

    /// Returns when [`timer`](Self::timer) is to be called next; `None` switches it off. It is read after the calls of the other
    /// methods, so that each of them can change it.
    ///
    /// The timer is never early. In a hub it may be late by a sixteenth of the time until the deadline, about 0.5 s at 10 s, so
    /// that the hub wakes once for the deadlines of many sessions. A timer that adds its interval to its last deadline keeps its
    /// average rate. For more precision, set a sequence of nearer deadlines.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Reports that the deadline has passed. Move or remove the deadline here.
    ///
    /// If the new deadline has passed too, `timer` is called again, so that a late periodic timer catches up; after 16 calls
    /// the adapter reads and writes the transport in between. If the deadline was not moved, `timer` is called again when the
    /// transport has read or written something.
    ///
    /// A message may be open that [`event`](Self::event) has begun, for example by [`relay`](Outbox::relay). To send another
    /// one inside it is an error that closes the connection. If the outbox is not [free](Outbox::is_free), move the deadline and
    /// send later.
    ///
    /// # Errors
    /// [`Halt::Blocked`]: the method is called again when there may be room, if the deadline has passed then.
    fn timer(&mut self, out: &mut Outbox<'_>) -> Result<(), Halt> {
        let _ = out;
        Ok(())
    }

    /// Reports the end of the connection. `reason` is the reason text of the peer's Close. It is called exactly once, and last,
    /// for each connection whose [`opened`](Self::opened) was called, also if a hub is dropped. After the transport has failed,
    /// no other method is called.
    fn closed(&mut self, cause: &Cause, reason: &str) {
        let _ = (cause, reason);
    }
}

/// Implements every method by a call of another handler's.
macro_rules! forward {
    ($self:ident => $handler:expr) => {
        fn request<'s>(&'s mut $self, request: &Request<'_>) -> Answer<'s> {
            $handler.request(request)
        }

        fn refused(&mut $self, request: Option<&Request<'_>>, refusal: &Refusal) {
            $handler.refused(request, refusal);
        }

        fn opened(&mut $self, protocol: Option<&str>, out: &mut Outbox<'_>) -> Result<(), Halt> {
            $handler.opened(protocol, out)
        }

        fn event(&mut $self, event: Event<Payload<'_>>, out: &mut Outbox<'_>) -> Result<(), Halt> {
            $handler.event(event, out)
        }

        fn writable(&mut $self, out: &mut Outbox<'_>) -> Result<(), Halt> {
            $handler.writable(out)
        }

        fn deadline(&$self) -> Option<Instant> {
            $handler.deadline()
        }

        fn timer(&mut $self, out: &mut Outbox<'_>) -> Result<(), Halt> {
            $handler.timer(out)
        }

        fn closed(&mut $self, cause: &Cause, reason: &str) {
            $handler.closed(cause, reason);
        }
    };
}

impl<H: Handler + ?Sized> Handler for &mut H {
    forward!(self => (**self));
}

/// Makes a boxed handler a handler, so that `Box<dyn Handler + Send>` holds one of any type.
#[cfg(feature = "alloc")]
impl<H: Handler + ?Sized> Handler for alloc::boxed::Box<H> {
    forward!(self => (**self));
}

/// A handler for a server at capacity: it answers every request with 503.
#[derive(Clone, Copy, Debug, Default)]
pub struct Busy;

impl Handler for Busy {
    fn request<'s>(&'s mut self, _: &Request<'_>) -> Answer<'s> {
        Answer::Reject(Rejection::Unavailable)
    }

    fn event(&mut self, _: Event<Payload<'_>>, _: &mut Outbox<'_>) -> Result<(), Halt> {
        Ok(())
    }
}

/// What the caller of [`Session::poll`] or [`Driver::poll`] has to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Next<D> {
    /// Write the transmit buffer, read from the peer, or wait until the deadline; then poll again.
    Wait {
        /// The latest moment for the next poll; `None` if there is no deadline.
        deadline: Option<Instant>,
    },
    /// Shut down the writing side of the transport, then poll again.
    Shutdown,
    /// Drop the transport: the connection has ended.
    Done(D),
}

/// A connection with its handler, after the opening handshake.
#[derive(Debug)]
pub struct Driver<R, X = NoExtension, C = &'static Config> {
    connection: Connection<R, X, C>,
    /// The event of which the handler has not taken everything.
    held: Option<Event<Span>>,
    protocol: Option<&'static str>,
    stage: Stage,
    /// Something was sent since `writable` was called last.
    sent: bool,
}

/// Which of `opened` and `closed` were called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    New,
    /// `opened` was called, and blocked.
    Opening,
    Open,
    Closed,
}

/// A limit on the calls of a handler's timer within one poll.
struct Ticks {
    left: u8,
    /// The passed deadline that waits until the transport has read or written something.
    stood: Option<Instant>,
}

impl Ticks {
    /// A late handler catches up in portions, so that the transport is read and written in between.
    const NEW: Self = Self { left: 16, stood: None };
}

impl<R: Role, X: Extension, C: ConfigRef> Driver<R, X, C> {
    /// Creates a driver for a connection that has just been opened, with its subprotocol.
    #[must_use]
    pub const fn new(connection: Connection<R, X, C>, protocol: Option<&'static str>) -> Self {
        Self { connection, held: None, protocol, stage: Stage::New, sent: true }
    }

    /// Returns the connection.
    #[must_use]
    pub const fn connection(&self) -> &Connection<R, X, C> {
        &self.connection
    }

    /// Reports that the transport failed. The next poll calls [`Handler::closed`], and no other method.
    pub fn reset(&mut self) {
        self.connection.reset();
    }

    /// Processes received bytes, deadlines and pending replies, calls the handler, and returns what the caller has to do next.
    pub fn poll(
        &mut self,
        now: Instant,
        handler: &mut (impl Handler + ?Sized),
        rx: &mut ReceiveBuffer<'_>,
        tx: &mut TransmitBuffer<'_>,
    ) -> Next<Cause> {
        let mut ticks = Ticks::NEW;
        let step = self.run(now, handler, &mut ticks, rx, tx);
        self.sent |= !tx.is_empty();
        match step {
            Step::Wait { deadline } => {
                // A deadline that has passed waits for the transport, unless the calls of this poll are used up.
                let timer = handler.deadline().filter(|moment| *moment > now || ticks.left == 0);
                let timer = timer.map(|moment| moment.max(now));
                Next::Wait { deadline: deadline.into_iter().chain(timer).min() }
            }
            Step::Closed(cause) => {
                let told = core::mem::replace(&mut self.stage, Stage::Closed);
                if matches!(told, Stage::Opening | Stage::Open) {
                    handler.closed(&cause, self.connection.reason());
                }
                Next::Done(cause)
            }
            Step::Shutdown => Next::Shutdown,
            Step::Event(_) => Next::Wait { deadline: Some(now) },
        }
    }

    fn run(
        &mut self,
        now: Instant,
        handler: &mut (impl Handler + ?Sized),
        ticks: &mut Ticks,
        rx: &mut ReceiveBuffer<'_>,
        tx: &mut TransmitBuffer<'_>,
    ) -> Step {
        if self.connection.state() == State::Closed {
            return self.connection.tend(now, tx);
        }
        // Replies go first, before the handler uses up the room.
        let (link, mut wire) = self.connection.parts(tx);
        link.reply(&mut wire);
        if self.stage != Stage::Open {
            self.stage = Stage::Opening;
            let outcome = handler.opened(self.protocol, &mut self.connection.outbox(now, tx));
            if self.settle(outcome, tx).is_some() {
                return self.connection.tend(now, tx);
            }
            self.stage = Stage::Open;
        }
        if self.sent && tx.is_empty() {
            self.sent = false;
            let outcome = handler.writable(&mut self.connection.outbox(now, tx));
            self.settle(outcome, tx);
        }
        loop {
            // The timer goes before events, which may use up the room each time.
            self.tick(now, handler, ticks, tx);
            if let Some(event) = self.held {
                let span = event.payload();
                let shown = event.with(rx.held(span));
                if let Some(taken) = self.show(now, shown, handler, tx) {
                    self.hold(event, taken, rx);
                    break;
                }
                rx.release(span, span.len);
                self.held = None;
            }
            match self.connection.receive(now, rx, tx) {
                Step::Event(event) => {
                    let (shape, len) = (event.with(()), event.payload().len());
                    if let Some(taken) = self.show(now, event, handler, tx) {
                        let span = rx.span(len);
                        rx.hold(span);
                        self.hold(shape.with(span), taken, rx);
                        break;
                    }
                }
                Step::Wait { deadline } => {
                    if !self.tick(now, handler, ticks, tx) {
                        return Step::Wait { deadline };
                    }
                }
                Step::Shutdown => return Step::Shutdown,
                Step::Closed(cause) => return Step::Closed(cause),
            }
        }
        // The handler is blocked inside an event; its timer still runs.
        while self.tick(now, handler, ticks, tx) {}
        self.connection.tend(now, tx)
    }

    /// Calls the handler's timer if it is due, and returns whether it was.
    fn tick(
        &mut self,
        now: Instant,
        handler: &mut (impl Handler + ?Sized),
        ticks: &mut Ticks,
        tx: &mut TransmitBuffer<'_>,
    ) -> bool {
        let deadline = handler.deadline();
        if ticks.left == 0 || deadline == ticks.stood || deadline.is_none_or(|moment| moment > now) {
            return false;
        }
        ticks.left = ticks.left.saturating_sub(1);
        let outcome = handler.timer(&mut self.connection.outbox(now, tx));
        let blocked = self.settle(outcome, tx).is_some();
        let moved = handler.deadline();
        if blocked || moved == deadline {
            ticks.stood = moved;
        }
        true
    }

    /// Delivers an event to the handler. If the handler is blocked, returns how many bytes it took.
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    fn show(
        &mut self,
        now: Instant,
        event: Event<Payload<'_>>,
        handler: &mut (impl Handler + ?Sized),
        tx: &mut TransmitBuffer<'_>,
    ) -> Option<usize> {
        let outcome = handler.event(event, &mut self.connection.outbox(now, tx));
        self.settle(outcome, tx)
    }

    /// Keeps the rest of an event whose payload was put back.
    #[inline(never)] // long, called twice, and not on the fast path
    fn hold(&mut self, mut event: Event<Span>, taken: usize, rx: &mut ReceiveBuffer<'_>) {
        event.advance(rx.release(event.payload(), taken));
        self.held = Some(event);
    }

    /// Processes the result of a handler's method. If the handler is blocked, returns how many bytes it took.
    fn settle(&mut self, outcome: Result<(), Halt>, tx: &mut TransmitBuffer<'_>) -> Option<usize> {
        let empty = tx.is_empty();
        let (link, mut wire) = self.connection.parts(tx);
        match outcome {
            // No byte is pending, so that there will never be more room.
            Err(Halt::Blocked { .. }) if empty => {
                link.close_anyhow(&mut wire, CloseCode::INTERNAL_ERROR, "");
                None
            }
            Err(Halt::Blocked { taken }) => Some(taken),
            Err(Halt::Close(code, reason)) => {
                link.close_anyhow(&mut wire, code, reason);
                None
            }
            Err(Halt::Closing) | Ok(()) => None,
        }
    }
}

/// The whole life of a server's connection: opening handshake, handler and closing handshake.
///
/// An adapter needs to drive only this, with three buffers.
#[derive(Debug)]
pub struct Session<C = &'static Config> {
    phase: Phase<C>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there may be no heap to box it in")]
enum Phase<C> {
    Handshake(ServerHandshake<C>),
    Open(Driver<Server, NoExtension, C>),
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The connection was open, and has ended.
    Closed(Cause),
    /// The response to the request was not an upgrade.
    Refused(Refusal),
    /// The opening handshake ended without an answer: the peer disconnected, did not read it, or sent no request in time.
    Vanished,
    /// [`Answer::HandOver`]: the head buffer [holds](ReceiveBuffer::filled) the request and the bytes after it.
    HandOver,
}

/// A handler as the one that decides about a request.
struct Deciding<'h, H: ?Sized>(&'h mut H);

impl<H: Handler + ?Sized> Handler for Deciding<'_, H> {
    forward!(self => self.0);
}

impl<H: Handler + ?Sized, C: ConfigRef> Decide<C> for Deciding<'_, H> {
    fn decide<'s>(&'s mut self, request: &Request<'_>) -> Answer<'s, C> {
        self.0.request(request).with_config()
    }

    fn refused(&mut self, request: Option<&Request<'_>>, refusal: &Refusal) {
        self.0.refused(request, refusal);
    }
}

impl Outcome {
    /// Returns whether the peer disconnected before the session was complete.
    #[must_use]
    pub fn is_vanished(&self) -> bool {
        match self {
            Self::Closed(cause) => cause.end == End::Vanished,
            Self::Vanished => true,
            Self::Refused(_) | Self::HandOver => false,
        }
    }
}

impl<C: ConfigRef> Session<C> {
    /// Creates a session for a transport that was just accepted.
    #[must_use]
    pub fn new(config: C, now: Instant) -> Self {
        Self { phase: Phase::Handshake(ServerHandshake::new(config, now)) }
    }

    /// Answers with 503 also if no request arrives in time, as the server is at capacity.
    #[cfg(feature = "hub")]
    pub(crate) fn refuse(&mut self) {
        if let Phase::Handshake(handshake) = &mut self.phase {
            handshake.refuse();
        }
    }

    /// Creates a session for a connection whose opening handshake was done elsewhere.
    #[must_use]
    pub const fn open(driver: Driver<Server, NoExtension, C>) -> Self {
        Self { phase: Phase::Open(driver) }
    }

    /// Processes received bytes, deadlines and pending replies, calls the handler, and returns what the caller has to do next.
    pub fn poll(
        &mut self,
        now: Instant,
        handler: &mut (impl Handler + ?Sized),
        head: &mut ReceiveBuffer<'_>,
        rx: &mut ReceiveBuffer<'_>,
        tx: &mut TransmitBuffer<'_>,
    ) -> Next<Outcome> {
        self.poll_with(now, &mut Deciding(handler), head, rx, tx)
    }

    /// Polls with a handler that decides about the request itself, with a configuration of type `C`.
    pub(crate) fn poll_with(
        &mut self,
        now: Instant,
        handler: &mut (impl Handler + Decide<C>),
        head: &mut ReceiveBuffer<'_>,
        rx: &mut ReceiveBuffer<'_>,
        tx: &mut TransmitBuffer<'_>,
    ) -> Next<Outcome> {
        if let Phase::Handshake(handshake) = &mut self.phase {
            match handshake.poll_with(now, head, rx, tx, handler) {
                HandshakeStep::Wait { deadline } => return Next::Wait { deadline },
                HandshakeStep::Shutdown => return Next::Shutdown,
                HandshakeStep::HandOver => return Next::Done(Outcome::HandOver),
                HandshakeStep::Refused(refusal) => return Next::Done(Outcome::Refused(refusal)),
                HandshakeStep::Vanished => return Next::Done(Outcome::Vanished),
                HandshakeStep::Open(protocol) => {
                    let connection = Connection::new(Server, handshake.config().clone(), now);
                    self.phase = Phase::Open(Driver::new(connection, protocol));
                }
            }
        }
        let Phase::Open(driver) = &mut self.phase else { return Next::Wait { deadline: None } };
        match driver.poll(now, handler, rx, tx) {
            Next::Wait { deadline } => Next::Wait { deadline },
            Next::Shutdown => Next::Shutdown,
            Next::Done(cause) => Next::Done(Outcome::Closed(cause)),
        }
    }

    /// Begins the closing handshake. The Close is sent without the reason if there is no room for it now, or if the reason is
    /// too long. The handler can finish a frame that it has begun within the time for the closing handshake, which restarts
    /// whenever the transport takes pending bytes. The call has no effect if no connection is open. Poll after it.
    pub fn close(&mut self, tx: &mut TransmitBuffer<'_>, code: CloseCode, reason: &str) {
        if let Phase::Open(driver) = &mut self.phase {
            let (link, mut wire) = driver.connection.parts(tx);
            link.close_soon(&mut wire, code, reason);
        }
    }

    /// Returns the connection; `None` before it is open.
    #[must_use]
    pub const fn connection(&self) -> Option<&Connection<Server, NoExtension, C>> {
        match &self.phase {
            Phase::Handshake(_) => None,
            Phase::Open(driver) => Some(&driver.connection),
        }
    }

    /// Returns the configuration in force: that of [`Accept::config`](crate::handshake::Accept::config), if any, after the
    /// request is accepted.
    #[cfg(feature = "hub")]
    pub(crate) const fn config(&self) -> &C {
        match &self.phase {
            Phase::Handshake(handshake) => handshake.config(),
            Phase::Open(driver) => driver.connection.config(),
        }
    }

    /// Returns the sending side of the connection; `None` before it is open.
    pub fn outbox<'a>(&'a mut self, now: Instant, tx: &'a mut TransmitBuffer<'_>) -> Option<Outbox<'a>> {
        match &mut self.phase {
            Phase::Handshake(_) => None,
            Phase::Open(driver) => Some(driver.connection.outbox(now, tx)),
        }
    }

    /// Returns whether the connection is open, and both buffers are empty. The buffers can then serve another connection, and
    /// this one can continue with other buffers of the same size.
    #[must_use]
    pub fn is_idle(&self, rx: &ReceiveBuffer<'_>, tx: &TransmitBuffer<'_>) -> bool {
        let open = match &self.phase {
            Phase::Handshake(_) => false,
            Phase::Open(driver) => driver.held.is_none() && driver.connection.state() == State::Open,
        };
        open && rx.is_empty() && !rx.is_ended() && tx.is_empty()
    }

    /// Returns the memory to read the transport into; empty if nothing is to be read now. Report with [`fill`](Self::fill) how
    /// many bytes arrived.
    pub fn spare<'a>(&self, head: &'a mut ReceiveBuffer<'_>, rx: &'a mut ReceiveBuffer<'_>) -> &'a mut [u8] {
        match &self.phase {
            Phase::Handshake(handshake) => handshake.spare(head, rx),
            Phase::Open(_) => rx.spare(),
        }
    }

    /// Reports that `n` bytes were read into [`spare`](Self::spare); 0 is the end of the stream.
    pub fn fill(&self, head: &mut ReceiveBuffer<'_>, rx: &mut ReceiveBuffer<'_>, n: usize) {
        match &self.phase {
            Phase::Handshake(handshake) => handshake.fill(head, rx, n),
            Phase::Open(_) => rx.fill(n),
        }
    }

    /// Reports that the transport failed. The next poll calls [`Handler::closed`] if the connection was open.
    pub fn reset(&mut self) {
        match &mut self.phase {
            Phase::Handshake(handshake) => handshake.reset(),
            Phase::Open(driver) => driver.reset(),
        }
    }
}

impl<R: Role, X: Extension, C: ConfigRef> Timed for Driver<R, X, C> {
    fn due(&self, now: Instant) -> Due {
        self.connection.due(now)
    }

    fn extend(&mut self, now: Instant) {
        self.connection.extend(now);
    }
}

impl<C: ConfigRef> Timed for Session<C> {
    fn due(&self, now: Instant) -> Due {
        match &self.phase {
            Phase::Handshake(handshake) => handshake.due(now),
            Phase::Open(driver) => driver.due(now),
        }
    }

    fn extend(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Handshake(handshake) => handshake.extend(now),
            Phase::Open(driver) => driver.extend(now),
        }
    }
}
