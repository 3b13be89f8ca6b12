//! An application, one `Handler` a connection, and what drives it.

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

/// What an application does on one connection, event by event. Every adapter and the hub drive it, so that it runs on every
/// platform.
///
/// Each method is lent the [`Outbox`] of the connection, which sends and tells the time. No method may wait: if there is no
/// room to send, it returns [`Halt::Blocked`], and is called again. `?` on a [`SendError`](crate::SendError) does so.
///
/// The trait is dyn-compatible: a `Box<dyn Handler + Send>` is a handler, and so is a `&mut` of one.
///
/// ```
/// use sansocket::{Connection, Config, Driver, Event, Halt, Handler, Instant, Kind, Outbox, Payload};
/// use sansocket::{ReceiveBuffer, Server, TransmitBuffer};
///
/// /// Greets, and answers each message with the number of messages so far.
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
///                 self.0 += 1; // after the send: if that is blocked, the event is shown again
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
/// // What an adapter does:
/// let mut driver = Driver::new(Connection::new(Server, &Config::DEFAULT, Instant::START), None);
/// let mut handler = Counter(0);
/// rx.feed(b"\x81\x80\0\0\0\0"); // an empty text
/// let _ = driver.poll(Instant::START, &mut handler, &mut rx, &mut tx);
/// assert_eq!(tx.pending(), b"\x81\x05hello\x81\x011");
/// # Ok(())
/// # }
/// ```
pub trait Handler {
    /// Answers a server's request. The answer may borrow from the handler but not from the request, so copy what is needed of
    /// that later. By default every upgrade is accepted whose `Origin`, if it has one, is the same host.
    fn request<'s>(&'s mut self, request: &Request<'_>) -> Answer<'s> {
        let _ = request;
        Answer::Accept(Accept::default())
    }

    /// The request gets a refusal, for [`Refusal::reason`]: it cannot be read, came too late, or fails a check behind
    /// [`request`](Self::request); [`Answer::Reject`] too. Not called for [`Answer::Respond`]. Called once at most; the
    /// place to log it. `request` is `None` where there is none that can be read, and for [`Rejection::Internal`].
    fn refused(&mut self, request: Option<&Request<'_>>, refusal: &Refusal) {
        let _ = (request, refusal);
    }

    /// The connection is open. `protocol` is the subprotocol that was agreed upon, one of
    /// [`Accept::protocols`](crate::handshake::Accept::protocols).
    ///
    /// # Errors
    /// [`Halt::Blocked`]: called again when there is room.
    fn opened(&mut self, protocol: Option<&str>, out: &mut Outbox<'_>) -> Result<(), Halt> {
        let _ = (protocol, out);
        Ok(())
    }

    /// Something has arrived. A handler that has sent a Close still gets what the peer sends before its own.
    ///
    /// # Errors
    /// [`Halt::Blocked`]: called again with the same event, less the bytes that were taken, whenever there may be
    /// room; until then nothing more is received.
    fn event(&mut self, event: Event<Payload<'_>>, out: &mut Outbox<'_>) -> Result<(), Halt>;

    /// All that was sent has been written to the transport: the moment to send more of something long.
    ///
    /// # Errors
    /// [`Halt::Blocked`]: called again when that has been written.
    fn writable(&mut self, out: &mut Outbox<'_>) -> Result<(), Halt> {
        let _ = out;
        Ok(())
    }

    /// When [`timer`](Self::timer) is to be called next; `None` switches it off. Read after each call of another method,
    /// so that each of them may move it.
    ///
    /// The timer is never early. In a hub it may be late by a sixteenth of the time that the deadline lies ahead, 0.5 s at 10 s,
    /// so that the deadlines of many sessions fall together and wake the processor once. A timer that adds its interval to its last
    /// deadline keeps its average rate. Whoever needs a moment more exactly sets deadlines that lie less far ahead.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The deadline has passed: move it or take it away.
    ///
    /// A deadline that was moved and has passed again calls `timer` again, so that a periodic timer which is late catches
    /// up; after 16 calls the transport has its turn in between. A deadline that has passed and was not moved calls
    /// `timer` again when the transport has read or written something.
    ///
    /// A message may be open that [`event`](Self::event) has begun, be it by [`relay`](Outbox::relay): no other can be sent
    /// inside it, and to try is an error that closes the connection. Where it is not [free](Outbox::is_free), move the
    /// deadline, and send later.
    ///
    /// # Errors
    /// [`Halt::Blocked`]: called again when there is room, if the deadline has passed then.
    fn timer(&mut self, out: &mut Outbox<'_>) -> Result<(), Halt> {
        let _ = out;
        Ok(())
    }

    /// The connection has ended, with the reason in the peer's Close. Called once, and last, for each connection whose
    /// [`opened`](Self::opened) was called, also where a hub is dropped. Nothing else is called on a connection whose
    /// transport has failed.
    fn closed(&mut self, cause: &Cause, reason: &str) {
        let _ = (cause, reason);
    }
}

/// Every method calls that of another handler.
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

/// One handler of any type: `Box<dyn Handler + Send>`.
#[cfg(feature = "alloc")]
impl<H: Handler + ?Sized> Handler for alloc::boxed::Box<H> {
    forward!(self => (**self));
}

/// What a server serves that is at capacity: 503 to every request.
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

/// What [`Session::poll`] and [`Driver::poll`] ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Next<D> {
    /// Write the transmit buffer, read what the peer sends, or let time pass until the deadline; then poll again.
    Wait {
        /// The latest moment for the next poll.
        deadline: Option<Instant>,
    },
    /// Shut the writing side of the transport down, then poll again.
    Shutdown,
    /// Over: drop the transport. The same answer for ever after.
    Done(D),
}

/// A connection with its handler, after the opening handshake.
#[derive(Debug)]
pub struct Driver<R, X = NoExtension, C = &'static Config> {
    connection: Connection<R, X, C>,
    /// An event that the handler could not take whole.
    held: Option<Event<Span>>,
    protocol: Option<&'static str>,
    stage: Stage,
    /// Something was sent since the handler last heard that all is written.
    sent: bool,
}

/// What the handler was told of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    New,
    /// `opened` was called, and is to be called again.
    Opening,
    Open,
    Closed,
}

/// The calls of a handler's timer within one poll.
struct Ticks {
    left: u8,
    /// A deadline that waits for the transport.
    stood: Option<Instant>,
}

impl Ticks {
    /// A handler that is far behind catches up in portions, so that the transport is served in between.
    const NEW: Self = Self { left: 16, stood: None };
}

impl<R: Role, X: Extension, C: ConfigRef> Driver<R, X, C> {
    /// A connection that has just been opened.
    #[must_use]
    pub const fn new(connection: Connection<R, X, C>, protocol: Option<&'static str>) -> Self {
        Self { connection, held: None, protocol, stage: Stage::New, sent: true }
    }

    /// The connection.
    #[must_use]
    pub const fn connection(&self) -> &Connection<R, X, C> {
        &self.connection
    }

    /// The transport failed: the next poll calls [`Handler::closed`], and nothing else.
    pub fn reset(&mut self) {
        self.connection.reset();
    }

    /// Does what is to be done, calls the handler, and says what comes next.
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
                // One that has passed waits for the transport, unless there is more to catch up.
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
        // Before the handler fills what room there is.
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
            // Before events, which may use up all the room each time.
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
        // The handler is blocked inside an event: its timer runs all the same.
        while self.tick(now, handler, ticks, tx) {}
        self.connection.tend(now, tx)
    }

    /// Calls the handler's timer if that is due; whether it was.
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

    /// Shows an event to the handler; the bytes that were taken where it is to be shown again.
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

    /// Keeps what the handler did not take of an event whose payload was put back.
    #[inline(never)] // long, called twice, and not on the fast path
    fn hold(&mut self, mut event: Event<Span>, taken: usize, rx: &mut ReceiveBuffer<'_>) {
        event.advance(rx.release(event.payload(), taken));
        self.held = Some(event);
    }

    /// What a handler's outcome means; the bytes that were taken where it is to be called again.
    fn settle(&mut self, outcome: Result<(), Halt>, tx: &mut TransmitBuffer<'_>) -> Option<usize> {
        let empty = tx.is_empty();
        let (link, mut wire) = self.connection.parts(tx);
        match outcome {
            // Blocked, and nothing to wait for: it would stay so for ever.
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

/// A server's connection from the first byte to the last: opening handshake, handler, closing.
///
/// Together with its three buffers this is all that an adapter has to drive.
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
    /// A connection was open, and is closed.
    Closed(Cause),
    /// The request got another answer than an upgrade.
    Refused(Refusal),
    /// There was no request, or nobody to read the answer.
    Vanished,
    /// [`Answer::HandOver`]: the request, and what came behind it, are [`ReceiveBuffer::filled`] of the head.
    HandOver,
}

/// A handler that decides about a request.
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
    /// Whether the peer was gone before there was an end.
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
    /// Directly behind the accept of a transport.
    #[must_use]
    pub fn new(config: C, now: Instant) -> Self {
        Self { phase: Phase::Handshake(ServerHandshake::new(config, now)) }
    }

    /// At capacity: a request that is not here in time is answered with 503 as well.
    #[cfg(feature = "hub")]
    pub(crate) fn refuse(&mut self) {
        if let Phase::Handshake(handshake) = &mut self.phase {
            handshake.refuse();
        }
    }

    /// Behind a foreign handshake, with a connection that is open.
    #[must_use]
    pub const fn open(driver: Driver<Server, NoExtension, C>) -> Self {
        Self { phase: Phase::Open(driver) }
    }

    /// Does what is to be done, calls the handler, and says what comes next.
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

    /// A poll with a handler that decides about the request by itself: its configuration is counted where ours is.
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

    /// Begins the closing handshake, without a reason where there is no room for one now. A frame that the handler
    /// has begun may be finished, in the time for the closing handshake, which begins anew while the transport takes
    /// some of it. Nothing happens where no connection is
    /// open; poll then.
    pub fn close(&mut self, tx: &mut TransmitBuffer<'_>, code: CloseCode, reason: &str) {
        if let Phase::Open(driver) = &mut self.phase {
            let (link, mut wire) = driver.connection.parts(tx);
            link.close_soon(&mut wire, code, reason);
        }
    }

    /// The connection, once it is open.
    #[must_use]
    pub const fn connection(&self) -> Option<&Connection<Server, NoExtension, C>> {
        match &self.phase {
            Phase::Handshake(_) => None,
            Phase::Open(driver) => Some(&driver.connection),
        }
    }

    /// The settings in force: those of [`Accept::config`](crate::handshake::Accept::config) once the request is accepted.
    #[cfg(feature = "hub")]
    pub(crate) const fn config(&self) -> &C {
        match &self.phase {
            Phase::Handshake(handshake) => handshake.config(),
            Phase::Open(driver) => driver.connection.config(),
        }
    }

    /// The sending side of the connection, once it is open.
    pub fn outbox<'a>(&'a mut self, now: Instant, tx: &'a mut TransmitBuffer<'_>) -> Option<Outbox<'a>> {
        match &mut self.phase {
            Phase::Handshake(_) => None,
            Phase::Open(driver) => Some(driver.connection.outbox(now, tx)),
        }
    }

    /// Whether the connection is open and both of its buffers are empty: they can serve another meanwhile, and it
    /// goes on with any others of the same size.
    #[must_use]
    pub fn is_idle(&self, rx: &ReceiveBuffer<'_>, tx: &TransmitBuffer<'_>) -> bool {
        let open = match &self.phase {
            Phase::Handshake(_) => false,
            Phase::Open(driver) => driver.held.is_none() && driver.connection.state() == State::Open,
        };
        open && rx.is_empty() && !rx.is_ended() && tx.is_empty()
    }

    /// Where the transport is to be read into; empty where nothing is to be read now. Say what came with
    /// [`fill`](Self::fill).
    pub fn spare<'a>(&self, head: &'a mut ReceiveBuffer<'_>, rx: &'a mut ReceiveBuffer<'_>) -> &'a mut [u8] {
        match &self.phase {
            Phase::Handshake(handshake) => handshake.spare(head, rx),
            Phase::Open(_) => rx.spare(),
        }
    }

    /// `n` bytes were read into [`spare`](Self::spare); 0 is the end of the stream.
    pub fn fill(&self, head: &mut ReceiveBuffer<'_>, rx: &mut ReceiveBuffer<'_>, n: usize) {
        match &self.phase {
            Phase::Handshake(handshake) => handshake.fill(head, rx, n),
            Phase::Open(_) => rx.fill(n),
        }
    }

    /// The transport failed: the next poll tells the handler, where a connection was open.
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
