//! An open connection together with its handler.

#![forbid(unsafe_code)]

use core::convert::Infallible;

use crate::buffer::{ReceiveBuffer, TransmitBuffer};
use crate::close::CloseCode;
use crate::config::ConfigRef;
use crate::config::base::Config;
use crate::connection::{Connection, ConnectionState};
use crate::event::{Chunk, DetachedEvent, Event, Shape, Span};
use crate::extension::{Extension, NoExtension};
use crate::handler::{Handler, HandlerError};
use crate::role::Role;
use crate::step::Step;
use crate::time::{Due, Instant, Timed};

/// A connection with its handler, after the opening handshake, in either role.
///
/// If the handler is [blocked](HandlerError::Blocked), the driver keeps the event and delivers the rest of it when
/// there may be room. The contract is that of [`Connection`] without events: on [`Step::Wait`] write and read the
/// transport, on [`Step::Shutdown`] shut down its writing side, on [`Step::Done`] drop it.
///
/// ```
/// use sansocket::session::HandlerDriver;
/// use sansocket::{Config, Connection, Event, Handler, HandlerError, Instant, Outbox};
/// use sansocket::{ReceiveBuffer, Server, Step, TransmitBuffer};
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
/// let (mut input, mut output) = ([0; 512], [0; 512]);
/// let (mut rx, mut tx) = (ReceiveBuffer::new(&mut input)?, TransmitBuffer::new(&mut output)?);
/// let now = Instant::START; // of your clock
/// let mut driver = HandlerDriver::new(Connection::new(Server, &Config::DEFAULT, now), None);
/// let mut received = &b"\x81\x82\0\0\0\0Hi\x88\x80\0\0\0\0"[..]; // "Hi", and a Close
/// let mut sent = Vec::new();
/// let ending = loop {
///     match driver.poll(now, &mut Echo, &mut rx, &mut tx) {
///         Step::Wait { deadline: _ } => {
///             sent.extend_from_slice(tx.pending());
///             tx.consume(tx.pending().len());
///             match std::io::Read::read(&mut received, rx.spare())? {
///                 0 => rx.end(),
///                 n => rx.fill(n),
///             }
///         }
///         Step::Shutdown => {} // of the transport's writing side
///         Step::Done(ending) => break ending,
///     }
/// };
/// assert_eq!(sent, b"\x81\x02Hi\x88\x00");
/// assert!(ending.is_clean());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct HandlerDriver<R, X = NoExtension, C = &'static Config> {
    pub(crate) connection: Connection<R, X, C>,
    /// The event of which the handler has not taken everything.
    pub(crate) blocked: Option<DetachedEvent>,
    protocol: Option<&'static str>,
    stage: Stage,
    /// Something was sent since `writable` was called last.
    sent: bool,
    /// A wake-up was not yet reported.
    woken: bool,
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
struct TimerCalls {
    left: u8,
    /// The passed deadline that waits until the transport has read or written something.
    waiting: Option<Instant>,
}

/// The decoded bytes after which a poll delivers no more events of a connection with an extension. Whole messages that were sent
/// uncompressed do not count: the receive buffer limits them.
#[cfg(feature = "extension")]
const MOST_DECODED: usize = 64 * 1024;

impl TimerCalls {
    /// A late handler catches up in portions, so that the transport is read and written in between.
    const NEW: Self = Self { left: 16, waiting: None };
}

impl<R: Role, X: Extension, C: ConfigRef> HandlerDriver<R, X, C> {
    /// Creates a driver for a connection that has just been opened, with its subprotocol.
    #[must_use]
    pub const fn new(connection: Connection<R, X, C>, protocol: Option<&'static str>) -> Self {
        Self { connection, blocked: None, protocol, stage: Stage::New, sent: true, woken: false }
    }

    /// Returns the connection.
    #[must_use]
    pub const fn connection(&self) -> &Connection<R, X, C> {
        &self.connection
    }

    /// Wakes the handler: the next poll calls [`Handler::woken`].
    pub const fn wake(&mut self) {
        self.woken = true;
    }

    /// Reports that the transport failed. The next poll calls [`Handler::closed`], and no other method.
    pub fn transport_failed(&mut self) {
        self.connection.transport_failed();
    }

    /// Processes received bytes, deadlines and pending replies, calls the handler, and returns what the caller has to
    /// do next.
    pub fn poll(
        &mut self,
        now: Instant,
        handler: &mut (impl Handler + ?Sized),
        rx: &mut ReceiveBuffer<'_>,
        tx: &mut TransmitBuffer<'_>,
    ) -> Step<Infallible> {
        let mut calls = TimerCalls::NEW;
        let step = self.run(now, handler, &mut calls, rx, tx);
        self.sent |= !tx.is_empty();
        match step {
            Step::Wait { deadline } => {
                // A deadline that has passed waits for the transport, unless the calls of this poll are used up.
                let timer = handler.deadline().filter(|moment| *moment > now || calls.left == 0);
                let timer = timer.map(|moment| moment.max(now));
                Step::Wait { deadline: deadline.into_iter().chain(timer).min() }
            }
            Step::Done(ending) => {
                let before = core::mem::replace(&mut self.stage, Stage::Closed);
                if matches!(before, Stage::Opening | Stage::Open) {
                    handler.closed(&ending, self.connection.close_reason());
                }
                Step::Done(ending)
            }
            Step::Shutdown => Step::Shutdown,
        }
    }

    fn run(
        &mut self,
        now: Instant,
        handler: &mut (impl Handler + ?Sized),
        calls: &mut TimerCalls,
        rx: &mut ReceiveBuffer<'_>,
        tx: &mut TransmitBuffer<'_>,
    ) -> Step<Infallible> {
        if self.connection.state() == ConnectionState::Closed {
            return self.connection.poll_without_receiving(now, tx);
        }
        // Replies go first, before the handler uses up the room.
        let (link, mut wire) = self.connection.parts(tx);
        link.reply(&mut wire);
        if self.stage != Stage::Open {
            self.stage = Stage::Opening;
            let outcome = handler.opened(self.protocol, &mut self.connection.outbox(now, tx));
            if self.apply(outcome, tx).is_some() {
                return self.connection.poll_without_receiving(now, tx);
            }
            self.stage = Stage::Open;
        }
        if self.sent && tx.is_empty() {
            self.sent = false;
            let outcome = handler.writable(&mut self.connection.outbox(now, tx));
            self.apply(outcome, tx);
        }
        if self.woken {
            let outcome = handler.woken(&mut self.connection.outbox(now, tx));
            self.woken = self.apply(outcome, tx).is_some();
        }
        #[cfg(feature = "extension")]
        let mut decoded = 0_usize;
        'events: loop {
            // The timer goes before events, which may use up the room each time.
            self.call_timer(now, handler, calls, tx);
            #[cfg(feature = "extension")]
            if decoded >= MOST_DECODED {
                // A few received bytes may decode to megabytes: the transport, and other connections, get their turn.
                return Step::Wait { deadline: Some(now) };
            }
            let event = if let Some(event) = self.blocked.take() {
                let event = rx.take_again(event);
                rx.event(event)
            } else {
                let mut view = rx.open();
                // Whole frames are delivered for as long as nothing else is to be done.
                while let Some(data) = self.connection.quick_frame(now, &mut view) {
                    let Chunk { kind, payload, start, end, fin, .. } = data;
                    let len = payload.len();
                    let outcome = handler.event(Event::Data(data), &mut self.connection.outbox(now, tx));
                    if let Some(consumed) = self.apply(outcome, tx) {
                        let shape = Shape::Data { kind, start, end, fin, offset: 0, remaining: 0 };
                        self.keep_rest(shape, rx.span(len), consumed, rx);
                        break 'events;
                    }
                    self.call_timer(now, handler, calls, tx);
                }
                match self.connection.slow(now, view, tx) {
                    Step::Event(event) => event,
                    Step::Wait { deadline } => {
                        if !self.call_timer(now, handler, calls, tx) {
                            return Step::Wait { deadline };
                        }
                        continue;
                    }
                    Step::Shutdown => return Step::Shutdown,
                    Step::Done(ending) => return Step::Done(ending),
                }
            };
            let (shape, len) = (event.shape(), event.payload().len());
            #[cfg(feature = "extension")]
            if self.connection.extension.is_active() {
                decoded = decoded.saturating_add(len);
            }
            let outcome = handler.event(event, &mut self.connection.outbox(now, tx));
            if let Some(consumed) = self.apply(outcome, tx) {
                self.keep_rest(shape, rx.span(len), consumed, rx);
                break;
            }
        }
        // The handler is blocked inside an event; its timer still runs.
        while self.call_timer(now, handler, calls, tx) {}
        self.connection.poll_without_receiving(now, tx)
    }

    /// Calls the handler's timer if it is due, and returns whether it was.
    fn call_timer(
        &mut self,
        now: Instant,
        handler: &mut (impl Handler + ?Sized),
        calls: &mut TimerCalls,
        tx: &mut TransmitBuffer<'_>,
    ) -> bool {
        let deadline = handler.deadline();
        if calls.left == 0 || deadline == calls.waiting || deadline.is_none_or(|moment| moment > now) {
            return false;
        }
        calls.left = calls.left.saturating_sub(1);
        let outcome = handler.timer(&mut self.connection.outbox(now, tx));
        let blocked = self.apply(outcome, tx).is_some();
        let moved = handler.deadline();
        if blocked || moved == deadline {
            calls.waiting = moved;
        }
        true
    }

    /// Keeps what the handler has not consumed of the event that it got.
    #[cfg_attr(target_pointer_width = "64", cold)]
    fn keep_rest(&mut self, shape: Shape, span: Span, consumed: usize, rx: &mut ReceiveBuffer<'_>) {
        let mut event = DetachedEvent { shape, span };
        event.advance(consumed);
        rx.put_back(event.span);
        self.blocked = Some(event);
    }

    /// Processes the result of a handler's method. If the handler is blocked, returns how many bytes it consumed.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    fn apply(&mut self, outcome: Result<(), HandlerError>, tx: &mut TransmitBuffer<'_>) -> Option<usize> {
        match outcome {
            Ok(()) => None,
            Err(error) => self.stop(error, tx),
        }
    }

    #[cfg_attr(target_pointer_width = "64", cold)]
    fn stop(&mut self, error: HandlerError, tx: &mut TransmitBuffer<'_>) -> Option<usize> {
        let empty = tx.is_empty();
        let (link, mut wire) = self.connection.parts(tx);
        match error {
            // No byte is pending, so that there will never be more room.
            HandlerError::Blocked { .. } if empty => {
                link.close_at_once(&mut wire, Some(CloseCode::INTERNAL_ERROR), "");
                None
            }
            HandlerError::Blocked { consumed } => Some(consumed),
            HandlerError::Close(code, reason) => {
                link.close_at_once(&mut wire, Some(code), reason);
                None
            }
            HandlerError::Closing => None,
        }
    }
}

impl<R: Role, X: Extension, C: ConfigRef> Timed for HandlerDriver<R, X, C> {
    fn due(&self, now: Instant) -> Due {
        self.connection.due(now)
    }

    fn extend(&mut self, now: Instant) {
        self.connection.extend(now);
    }
}
