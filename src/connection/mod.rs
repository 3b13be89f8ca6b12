//! A whole connection: events, replies, the closing handshake and every deadline, driven by `poll`.

#![forbid(unsafe_code)]

mod closing;
mod deadlines;
mod link;

pub(crate) use link::Link;

use self::link::{Holds, Phase};
use crate::buffer::{Opened, ReceiveBuffer, TransmitBuffer};
use crate::cause::{Cause, End};
use crate::close::CloseCode;
use crate::config::{Config, ConfigRef};
use crate::error::{ExtensionFailed, ReceiveError};
use crate::event::{Data, Event, Payload, Span};
use crate::extension::{Extension, NoExtension};
use crate::receive::Receiver;
use crate::role::Role;
use crate::send::Wire;
use crate::time::{Due, Instant, Timed};

/// What [`Connection::poll`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an event that is not looked at is lost"]
pub enum Step<P = Span> {
    /// Something has arrived. Poll again when it is dealt with.
    Event(Event<P>),
    /// Nothing to do: write the transmit buffer to the transport, read the transport into the receive
    /// buffer, or let time pass until the deadline; then poll again.
    Wait {
        /// The latest moment for the next poll.
        deadline: Option<Instant>,
    },
    /// Everything was sent and written: shut the writing side of the transport down (TCP's FIN), then poll
    /// again. Comes once at the most.
    Shutdown,
    /// The end: drop the transport. The same answer for ever after.
    Closed(Cause),
}

/// The state of a connection (RFC 6455 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Both sides may send.
    Open,
    /// The closing handshake has begun: a Close was sent, received, or is owed.
    Closing,
    /// Over.
    Closed,
}

/// An open WebSocket connection in either role: a state machine that is polled with the time and two buffers.
///
/// It owns about two hundred bytes and no buffer. `R` is the role ([`Server`](crate::Server) or
/// [`Client`](crate::Client)), `X` an extension, `C` how it holds its configuration ([`ConfigRef`]).
///
/// # Contract
///
/// 1. Call [`poll`](Self::poll) (or [`receive`](Self::receive), whose events borrow the receive buffer) with the time, until it
///    returns [`Step::Wait`]. Process each event before the next call: that call, and [`ReceiveBuffer::spare`], overwrite the
///    payload.
/// 2. After `Wait`, write [`TransmitBuffer::pending`] to the transport and report it by
///    [`consume`](TransmitBuffer::consume); read the transport into [`ReceiveBuffer::spare`], if that is not empty, and report
///    it by [`fill`](ReceiveBuffer::fill). Call `poll` again when either has happened, and at the deadline at the latest.
///    Read the clock once for each wake-up, not for each poll; time must not go back.
/// 3. After [`Step::Shutdown`], shut the writing side of the transport down, and poll again. It is returned once at most.
/// 4. [`Step::Closed`] is the end, and is returned by every call from then on. Drop the transport.
/// 5. If the transport fails, call [`reset`](Self::reset); the next poll returns `Closed`.
///
/// Between polls, and while an event is processed, send by [`outbox`](Self::outbox). What is sent counts as pending at once,
/// and changes the deadlines: poll again before you wait. To an application that cannot take an event now,
/// [`tend`](Self::tend) offers everything but events: replies to what was received before, deadlines, the closing
/// handshake.
///
/// A call to `poll` decodes at most one data frame or one chunk of one, and what control frames the receive buffer holds before it. It touches each
/// received byte once (unmasking, UTF-8), copies no payload, and does not wait, allocate or panic.
///
/// ```
/// use sansocket::{Config, Connection, Event, Instant, ReceiveBuffer, Server, Step, TransmitBuffer};
///
/// static CONFIG: Config = Config::new().max_message_len(4096);
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut input, mut output) = ([0; 512], [0; 512]);
/// let (mut rx, mut tx) = (ReceiveBuffer::new(&mut input)?, TransmitBuffer::new(&mut output)?);
/// let now = Instant::START;
/// let mut connection = Connection::new(Server, &CONFIG, now);
///
/// // A masked Text "Hello" and a Ping arrive (RFC 6455 §5.7).
/// rx.feed(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\x89\x80\0\0\0\0");
/// let mut events = 0;
/// while let Step::Event(event) = connection.receive(now, &mut rx, &mut tx) {
///     if let Event::Data(data) = event {
///         assert_eq!(data.payload.text(), Some("Hello"));
///         connection.outbox(now, &mut tx).relay(&data).expect("there is room");
///     }
///     events += 1;
/// }
/// assert_eq!(events, 1); // the Ping was answered, and not shown
/// assert_eq!(tx.pending(), b"\x81\x05Hello\x8a\x00");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Connection<R, X = NoExtension, C = &'static Config> {
    pub(crate) receiver: Receiver<R, C>,
    pub(crate) link: Link,
    pub(crate) role: R,
    pub(crate) extension: X,
}

/// A microcontroller has one of these for each connection: what it may take there.
const _: () =
    assert!(usize::BITS > 32 || size_of::<Connection<crate::role::Server>>() <= 256, "above 256 bytes");

impl<R: Role, C: ConfigRef> Connection<R, NoExtension, C> {
    /// A connection whose opening handshake, by whomever, has just ended.
    #[must_use]
    pub fn new(role: R, config: C, now: Instant) -> Self {
        Self { receiver: Receiver::new(config), link: Link::new(now), role, extension: NoExtension }
    }
}

impl<R: Role, X: Extension, C: ConfigRef> Connection<R, X, C> {
    /// A connection whose messages pass through an extension, which was negotiated in the opening handshake.
    #[cfg(feature = "extension")]
    #[must_use]
    pub fn with_extension(role: R, extension: X, config: C, now: Instant) -> Self {
        Self { receiver: Receiver::new(config), link: Link::new(now), role, extension }
    }

    /// Does what is to be done and says what comes next. Never blocks, and borrows nothing: what an event
    /// names is [`ReceiveBuffer::payload`], until the next poll or read.
    ///
    /// Read the clock once for each time the transport wakes you, not for each poll.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    pub fn poll(&mut self, now: Instant, rx: &mut ReceiveBuffer<'_>, tx: &mut TransmitBuffer<'_>) -> Step {
        match self.receive(now, rx, tx) {
            Step::Event(event) => {
                let event = event.map(|payload| payload.len());
                Step::Event(event.map(|len| rx.span(len)))
            }
            Step::Wait { deadline } => Step::Wait { deadline },
            Step::Shutdown => Step::Shutdown,
            Step::Closed(cause) => Step::Closed(cause),
        }
    }

    /// [`poll`](Self::poll) with events that borrow the receive buffer: a text that came whole is a `&str`
    /// from the pass that checked it.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    pub fn receive<'r>(
        &mut self,
        now: Instant,
        rx: &'r mut ReceiveBuffer<'_>,
        tx: &mut TransmitBuffer<'_>,
    ) -> Step<Payload<'r>> {
        let mut view = rx.open();
        // Nothing is owed and no deadline has passed: time and the transmit buffer need not be touched.
        if now < self.link.next && !X::ACTIVE {
            if let Some(data) = self.receiver.quick(&mut view.input) {
                view.close(false);
                self.link.hear(now);
                return Step::Event(Event::Data(data));
            }
        }
        // By value, as otherwise it lay on the stack before the quick path as well.
        self.slow(now, view, tx)
    }

    #[cfg(feature = "hub")]
    pub(crate) const fn config(&self) -> &C {
        self.receiver.config()
    }

    /// Does what is to be done without receiving: replies, deadlines, the closing handshake. For an
    /// application that cannot take another event yet.
    pub fn tend(&mut self, now: Instant, tx: &mut TransmitBuffer<'_>) -> Step {
        let times = &self.receiver.config().timeouts;
        self.link.excuse_silence(now, times);
        let mut wire = Wire::new(tx, self.role.masker());
        let step = match self.link.keep_house(now, false, &mut wire, times) {
            Some(step) => step,
            None => {
                let (passed, next) = self.link.clock(now, times);
                Step::Wait { deadline: self.link.schedule(passed, next) }
            }
        };
        debug_assert!(self.link.is_legal(), "{:?}", self.link);
        step
    }

    /// The transport failed: the connection has ended, whatever it was doing.
    pub fn reset(&mut self) {
        self.link.reset();
    }

    /// How many bytes the transport may read straight into other memory, to be given to
    /// [`absorb`](Self::absorb): the rest of a frame's payload of which the receive buffer holds nothing.
    #[must_use]
    pub fn absorbable(&self, rx: &ReceiveBuffer<'_>) -> u64 {
        if !self.link.is_over() && rx.is_empty() { self.receiver.absorbable() } else { 0 }
    }

    /// Unmasks and checks `memory`, payload that the transport has read into it, and delivers it in place;
    /// no more than [`absorbable`](Self::absorbable). A chunk may end inside a code point, whatever
    /// [`Delivery`](crate::Delivery) says. `None` where the peer broke a rule, or the connection has
    /// ended meanwhile: poll tells.
    pub fn absorb<'m>(&mut self, now: Instant, memory: &'m mut [u8]) -> Option<Data<Payload<'m>>> {
        if self.link.is_over() {
            return None;
        }
        self.link.hear(now);
        self.receiver.absorb(memory).unwrap_or_else(|violation| {
            self.link.fail(violation);
            None
        })
    }

    /// How far the connection has come.
    #[must_use]
    pub const fn state(&self) -> State {
        match self.link.phase {
            Phase::Open(_) => State::Open,
            Phase::Closing | Phase::Ending { .. } => State::Closing,
            Phase::Closed(_) => State::Closed,
        }
    }

    /// How the connection ended: what [`Step::Closed`] said. `None` while it has not.
    #[must_use]
    pub const fn cause(&self) -> Option<Cause> {
        match self.link.phase {
            Phase::Closed(end) => Some(self.link.cause(end)),
            _ => None,
        }
    }

    /// The reason in the peer's Close, empty where there was none.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self.link.slot.holds {
            Holds::Close(_) => core::str::from_utf8(self.link.slot.bytes()).unwrap_or_default(),
            Holds::Nothing | Holds::Pong => "",
        }
    }

    /// The state, and where what it sends goes.
    pub(crate) fn parts<'a>(&'a mut self, tx: &'a mut TransmitBuffer<'_>) -> (&'a mut Link, Wire<'a>) {
        (&mut self.link, Wire::new(tx, self.role.masker()))
    }

    #[inline(never)]
    fn slow<'r>(
        &mut self,
        now: Instant,
        mut view: Opened<'r>,
        tx: &mut TransmitBuffer<'_>,
    ) -> Step<Payload<'r>> {
        let step = self.step(now, &mut view, tx);
        debug_assert!(self.link.is_legal(), "{:?}", self.link);
        step
    }

    fn step<'r>(
        &mut self,
        now: Instant,
        view: &mut Opened<'r>,
        tx: &mut TransmitBuffer<'_>,
    ) -> Step<Payload<'r>> {
        let Self { receiver, link, role, extension } = self;
        let mut wire = Wire::new(tx, role.masker());
        let mut outcome = None;
        if now < link.next {
            match take(receiver, extension, view) {
                Ok(Some(Event::Data(data))) => {
                    link.hear(now);
                    return Step::Event(Event::Data(data));
                }
                Ok(None) if !view.place.ended && !link.is_probing() => {
                    let progress = receiver.progress(view.input);
                    let times = &receiver.config().timeouts;
                    return Step::Wait { deadline: link.wait(now, progress, view.place, &mut wire, times) };
                }
                received => outcome = Some(received),
            }
        }
        if core::mem::take(&mut view.place.fresh) {
            link.hear(now);
        }
        loop {
            let config = receiver.config();
            match link.keep_house(now, view.place.ended, &mut wire, &config.timeouts) {
                Some(Step::Closed(cause)) => return Step::Closed(cause),
                Some(Step::Wait { deadline }) => {
                    // "An endpoint MUST NOT continue to attempt to process data [...] from the remote endpoint after
                    // being instructed to _Fail the WebSocket Connection_." (§7.1.7)
                    view.input = &mut [];
                    view.close(false);
                    return Step::Wait { deadline };
                }
                Some(_) => return Step::Shutdown,
                None => {}
            }
            let received = match outcome.take() {
                Some(received) => received,
                None => take(receiver, extension, view),
            };
            match received {
                Ok(Some(event)) => {
                    if link.answer(now, &event, &mut wire, receiver.config()) {
                        // What was begun above has deadlines that nobody has computed yet.
                        link.next = Instant::START;
                        return Step::Event(event);
                    }
                }
                // Both may have said all there was to say, with our Close waiting for room.
                Ok(None) if view.place.ended && !link.owes_close() => link.end(End::Vanished),
                Ok(None) => {
                    let progress = receiver.progress(view.input);
                    match link.rest(now, progress, &receiver.config().timeouts) {
                        Ok(deadline) => return Step::Wait { deadline },
                        Err(timeout) => link.give_up(timeout, CloseCode::POLICY_VIOLATION),
                    }
                }
                Err(ReceiveError::Violation(violation)) => link.fail(violation),
                Err(ReceiveError::Extension(ExtensionFailed)) => link.fail_extension(),
            }
        }
    }
}

impl<R: Role, X: Extension, C: ConfigRef> Timed for Connection<R, X, C> {
    fn due(&self, now: Instant) -> Due {
        self.link.due(now, &self.receiver.config().timeouts)
    }

    fn extend(&mut self, now: Instant) {
        self.link.extend(now, &self.receiver.config().timeouts);
    }
}

/// The next event, or why there is none any more.
#[inline]
fn take<'r, R: Role, X: Extension, C: ConfigRef>(
    receiver: &mut Receiver<R, C>,
    extension: &mut X,
    view: &mut Opened<'r>,
) -> Result<Option<Event<Payload<'r>>>, ReceiveError> {
    let memory = view.output.len();
    let received = receiver.receive_with(extension, view.capacity, &mut view.input, &mut view.output);
    view.close(X::ACTIVE && view.output.len() != memory);
    received
}
