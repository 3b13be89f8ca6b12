//! A whole connection: events, replies, the closing handshake and every deadline, driven by `poll`.

#![forbid(unsafe_code)]

mod closing;
mod deadlines;

use crate::buffer::{Opened, ReceiveBuffer, TransmitBuffer, copy};
use crate::cause::{Cause, End};
use crate::close::CloseCode;
use crate::config::{Config, Control};
use crate::error::Violation;
use crate::event::{Data, Event, Payload, Span};
use crate::extension::{Extension, NoExtension};
use crate::frame::MAX_CONTROL;
use crate::receive::Receiver;
use crate::role::Role;
use crate::send::Sender;
use crate::time::Instant;

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

/// A WebSocket connection after its opening handshake, on either side.
///
/// It owns about two hundred bytes and no buffer. See the [crate's overview](crate) for how to drive it.
#[derive(Debug)]
pub struct Connection<'c, R, X = NoExtension> {
    pub(crate) receiver: Receiver<'c, R>,
    pub(crate) sender: Sender<R>,
    pub(crate) extension: X,
    /// When something arrived for the last time.
    heard: Instant,
    /// Since when we wait for the peer: for an answer to our Ping, for its Close, for the transport's end.
    since: Instant,
    /// When the transport last took something of what is pending.
    wrote: Instant,
    /// The nearest deadline: before it, time need not be looked at.
    next: Instant,
    /// A Pong that found no room, or the reason of the peer's Close.
    slot: [u8; MAX_CONTROL],
    slot_len: u8,
    slot_use: Slot,
    phase: Phase,
    /// A Close that is to be sent as soon as it finds room.
    owed: Option<Option<CloseCode>>,
    /// Codes that were sent and received.
    sent: Option<CloseCode>,
    received: Option<CloseCode>,
    probe: Probe,
    /// Pings in the second at hand, and the last digits of that.
    pings: u8,
    second: u16,
    /// `since` stands for the phase at hand.
    stamped: bool,
    /// Something waits in the transmit buffer since `wrote`.
    writing: bool,
}

/// A microcontroller has one of these for each connection: what it may take there.
const _: () = assert!(
    usize::BITS > 32 || size_of::<Connection<'static, crate::role::Server>>() <= 256,
    "above 256 bytes"
);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Empty,
    Pong,
    Reason,
}

/// Whether the peer is asked for a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    None,
    /// It is to be, but a frame is open.
    Stalled,
    /// A Ping was sent.
    Sent,
}

/// How far the connection has come. It only ever moves down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// We have sent a Close, or the peer has.
    Closing,
    /// Nothing more is received; what is pending is written, then the transport is closed.
    Ending {
        end: End,
        /// [`Step::Shutdown`] was given.
        shut: bool,
    },
    Closed(End),
}

impl<'c, R: Role> Connection<'c, R> {
    /// A connection whose opening handshake, by whomever, has just ended.
    #[must_use]
    pub fn new(role: R, config: &'c Config, now: Instant) -> Self {
        Self::with_extension(role, NoExtension, config, now)
    }
}

impl<'c, R: Role, X: Extension> Connection<'c, R, X> {
    /// The same with an extension that was negotiated.
    #[must_use]
    pub fn with_extension(role: R, extension: X, config: &'c Config, now: Instant) -> Self {
        Self {
            receiver: Receiver::new(config),
            sender: Sender::new(role),
            extension,
            heard: now,
            since: now,
            wrote: now,
            next: Instant::START,
            slot: [0; MAX_CONTROL],
            slot_len: 0,
            slot_use: Slot::Empty,
            phase: Phase::Open,
            owed: None,
            sent: None,
            received: None,
            probe: Probe::None,
            pings: 0,
            second: 0,
            stamped: false,
            writing: false,
        }
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
        if now < self.next && !X::ACTIVE {
            if let Some(data) = self.receiver.quick(&mut view.input) {
                view.close(false);
                return self.heard_data(now, data);
            }
        }
        // By value, as otherwise it lay on the stack before the quick path as well.
        self.slow(now, view, tx)
    }

    #[cfg(feature = "hub")]
    pub(crate) const fn config(&self) -> &'c Config {
        self.receiver.config()
    }

    /// Does what is to be done without receiving: replies, deadlines, the closing handshake. For an
    /// application that cannot take another event yet.
    pub fn tend(&mut self, now: Instant, tx: &mut TransmitBuffer<'_>) -> Step {
        let times = &self.receiver.config().timeouts;
        let pong = if self.probe != Probe::None { self.since.plus(times.pong) } else { Instant::NEVER };
        // What the peer says is not received here: its silence may be our own, and is waited for anew.
        if self.phase == Phase::Open && now >= self.heard.plus(times.idle).min(pong) {
            self.heard = now;
            self.probe = Probe::None;
        }
        match self.keep_house(now, false, tx) {
            Some(step) => step,
            None => Step::Wait { deadline: self.schedule(now) },
        }
    }

    /// The transport failed: the connection has ended, whatever it was doing.
    pub fn reset(&mut self) {
        if !matches!(self.phase, Phase::Closed(_)) {
            let end = if let Phase::Ending { end, .. } = self.phase { end } else { End::Vanished };
            self.phase = Phase::Closed(end);
            // It has no way to leave any more.
            self.owed = None;
            self.next = Instant::START;
        }
    }

    /// How many bytes the transport may read straight into other memory, to be given to
    /// [`absorb`](Self::absorb): the rest of a frame's payload of which the receive buffer holds nothing.
    #[must_use]
    pub fn absorbable(&self, rx: &ReceiveBuffer<'_>) -> u64 {
        if !self.is_over() && rx.is_empty() { self.receiver.absorbable() } else { 0 }
    }

    /// Unmasks and checks `memory`, payload that the transport has read into it, and delivers it in place;
    /// no more than [`absorbable`](Self::absorbable). A chunk may end inside a code point, whatever
    /// [`Delivery`](crate::Delivery) says. `None` where the peer broke a rule, or the connection has
    /// ended meanwhile: poll tells.
    pub fn absorb<'m>(&mut self, now: Instant, memory: &'m mut [u8]) -> Option<Data<Payload<'m>>> {
        if self.is_over() {
            return None;
        }
        self.hear(now);
        self.receiver.absorb(memory).unwrap_or_else(|violation| {
            self.fail(violation);
            None
        })
    }

    /// How far the connection has come.
    #[must_use]
    pub const fn state(&self) -> State {
        match self.phase {
            Phase::Open => State::Open,
            Phase::Closing | Phase::Ending { .. } => State::Closing,
            Phase::Closed(_) => State::Closed,
        }
    }

    /// How the connection ended: what [`Step::Closed`] said. `None` while it has not.
    #[must_use]
    pub const fn cause(&self) -> Option<Cause> {
        match self.phase {
            Phase::Closed(end) => Some(Cause { end, received: self.received, sent: self.sent }),
            _ => None,
        }
    }

    /// The reason in the peer's Close, empty where there was none.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self.slot_use {
            Slot::Reason => core::str::from_utf8(self.slot()).unwrap_or_default(),
            Slot::Empty | Slot::Pong => "",
        }
    }

    /// The sending half: what it has open.
    #[must_use]
    pub const fn sender(&self) -> &Sender<R> {
        &self.sender
    }

    /// Whether the connection has ended, be it that a Close is still to be written: nothing is received any
    /// more, and nothing may be sent.
    pub(crate) const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ending { .. } | Phase::Closed(_))
    }

    #[inline]
    fn take<'r>(&mut self, view: &mut Opened<'r>) -> Result<Option<Event<Payload<'r>>>, Violation> {
        let memory = view.output.len();
        let received =
            self.receiver.receive_with(&mut self.extension, view.capacity, &mut view.input, &mut view.output);
        view.close(X::ACTIVE && view.output.len() != memory);
        received
    }

    #[inline]
    fn heard_data<'r>(&mut self, now: Instant, data: Data<Payload<'r>>) -> Step<Payload<'r>> {
        self.hear(now);
        Step::Event(Event::Data(data))
    }

    /// A sign of life. It ends the wait for one, whose deadline may be later than that of the next Ping.
    #[inline]
    fn hear(&mut self, now: Instant) {
        self.heard = now;
        if self.probe != Probe::None {
            self.probe = Probe::None;
            self.next = Instant::START;
        }
    }

    #[inline(never)]
    fn slow<'r>(
        &mut self,
        now: Instant,
        mut view: Opened<'r>,
        tx: &mut TransmitBuffer<'_>,
    ) -> Step<Payload<'r>> {
        let mut outcome = None;
        if now < self.next {
            match self.take(&mut view) {
                Ok(Some(Event::Data(data))) => return self.heard_data(now, data),
                Ok(None) if !view.place.ended && self.probe == Probe::None => {
                    return Step::Wait { deadline: self.wait(now, view.place, tx) };
                }
                received => outcome = Some(received),
            }
        }
        if core::mem::take(&mut view.place.fresh) {
            self.hear(now);
        }
        loop {
            match self.keep_house(now, view.place.ended, tx) {
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
                None => self.take(&mut view),
            };
            match received {
                Ok(Some(event)) => {
                    if matches!(event, Event::Ping(_)) && !self.allows_ping(now) {
                        self.fail(Violation::TooManyPings);
                    } else if self.answer(&event, tx) {
                        // What was begun above has deadlines that nobody has computed yet.
                        self.next = Instant::START;
                        return Step::Event(event);
                    }
                }
                // Both may have said all there was to say, with our Close waiting for room.
                Ok(None) if view.place.ended && self.owed.is_none() => self.end(End::Vanished),
                Ok(None) => return Step::Wait { deadline: self.schedule(now) },
                Err(violation) => self.fail(violation),
            }
        }
    }

    /// Replies to an event; whether the application is told of it.
    fn answer(&mut self, event: &Event<Payload<'_>>, tx: &mut TransmitBuffer<'_>) -> bool {
        let control = self.receiver.config().control;
        match *event {
            Event::Data(_) => return true,
            // "an endpoint MUST send a Pong frame in response, unless it already received a Close frame"
            Event::Ping(payload) if control != Control::Manual && self.phase == Phase::Open => {
                // "the endpoint MAY elect to send a Pong frame for only the most recently processed Ping frame"
                if self.slot_use == Slot::Pong || self.sender.pong(tx, &payload).is_err() {
                    self.store(Slot::Pong, &payload);
                }
            }
            Event::Ping(_) | Event::Pong(_) => {}
            Event::Close(code, reason) => {
                self.received = code;
                self.store(Slot::Reason, &reason);
                if self.sender.is_closed() {
                    self.end(End::Clean);
                } else {
                    self.phase = Phase::Closing;
                    // "the endpoint typically echos the status code it received"
                    if control != Control::Manual && self.owed.is_none() {
                        self.owed = Some(code);
                    }
                }
            }
        }
        control != Control::Automatic
    }

    /// What does not depend on input. Gives a step where nothing is to be received any more.
    fn keep_house(&mut self, now: Instant, ended: bool, tx: &mut TransmitBuffer<'_>) -> Option<Step> {
        // Neither time nor room changes what has ended.
        if let Phase::Closed(end) = self.phase {
            return Some(self.closed(end));
        }
        let moved = tx.take_moved();
        if moved || !self.writing {
            self.wrote = now;
        }
        // What the peer is to answer, a Ping or a Close, may stand behind much else: it has time from there.
        let waiting = !tx.is_empty() && (self.probe == Probe::Sent || self.stamped);
        if moved && (waiting || self.probe == Probe::Stalled) {
            self.since = now;
        }
        self.writing = !tx.is_empty();
        self.stamp(now);
        self.check_time(now, tx);
        // Behind the deadlines: what one of them owes is to leave now, as nothing else may wake us.
        self.reply(tx);
        self.writing = !tx.is_empty();
        self.stamp(now);
        match self.phase {
            Phase::Open | Phase::Closing => None,
            Phase::Ending { end, shut } => Some(self.finish(now, ended, tx, end, shut)),
            Phase::Closed(end) => Some(self.closed(end)),
        }
    }

    /// The phase at hand, where it is not the open one, began now if it was not seen before.
    fn stamp(&mut self, now: Instant) {
        if !self.stamped && self.phase != Phase::Open {
            self.stamped = true;
            self.since = now;
        }
    }

    /// Sends what is owed, where it finds room; a Close goes before a Pong.
    pub(crate) fn reply(&mut self, tx: &mut TransmitBuffer<'_>) {
        if let Some(code) = self.owed {
            if self.sender.close(tx, code, "").is_ok() {
                self.close_sent(code);
            }
        } else if self.slot_use == Slot::Pong {
            let payload = self.slot.get(..usize::from(self.slot_len)).unwrap_or_default();
            if self.sender.pong(tx, payload).is_ok() {
                self.slot_use = Slot::Empty;
            }
        }
    }

    fn store(&mut self, slot_use: Slot, payload: &[u8]) {
        self.slot_len = (copy(&mut self.slot, payload) & 0x7F) as u8;
        self.slot_use = slot_use;
        self.next = Instant::START;
    }

    fn slot(&self) -> &[u8] {
        self.slot.get(..usize::from(self.slot_len)).unwrap_or_default()
    }
}
