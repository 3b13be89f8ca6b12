//! The state of a connection apart from what is being received: what is sent, owed and waited for.

#![forbid(unsafe_code)]

use crate::buffer::copy;
use crate::cause::{Cause, End};
use crate::close::CloseCode;
use crate::config::{Config, Control};
use crate::error::{SendError, Violation};
use crate::event::{Event, Payload};
use crate::frame::MAX_CONTROL;
use crate::send::{FrameWriter, Wire};
use crate::time::Instant;

/// Everything of a connection that knows neither role nor extension nor configuration. An
/// [`Outbox`](crate::Outbox) borrows it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) frames: FrameWriter,
    /// When something arrived for the last time.
    pub(super) heard: Instant,
    /// When the peer last got on: when it ended a message, or a frame outside of one, or began one, or sent 1 KiB of it.
    pub(super) grown: Instant,
    /// Since when we wait for the peer: for an answer to our last Ping, for its Close, for the transport's end.
    /// [`Instant::NEVER`] where the next poll is to begin the wait, as the phase began outside of one.
    pub(super) since: Instant,
    /// When the transport last took something of what is pending; [`Instant::NEVER`] where nothing is.
    pub(super) wrote: Instant,
    /// The nearest deadline: before it, time need not be looked at.
    pub(super) next: Instant,
    pub(super) slot: Slot,
    pub(super) phase: Phase,
    pub(super) ours: OurClose,
    /// Pings in the second at hand, and the last digits of that.
    pub(super) pings: u8,
    pub(super) second: u16,
    /// Not 0 where a message, or a frame outside of one, was in progress at the last look: 1, and one more for each time
    /// that the transport was asked for more of it although its time was over.
    pub(super) busy: u8,
}

/// How far a connection has come. It only ever moves down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open(Probe),
    /// One side has sent a Close, or we owe one.
    Closing,
    /// Nothing more is received; what is pending is written, then the transport is closed.
    Ending {
        end: End,
        /// [`Step::Shutdown`](crate::Step::Shutdown) was given.
        shut: bool,
    },
    Closed(End),
}

/// Whether the peer of an open connection is asked for a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    None,
    /// It is to be, but a frame is open.
    Stalled,
    /// A Ping was sent.
    Sent,
}

/// Our Close. The inner `None` is a Close without a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OurClose {
    None,
    /// It is to be sent as soon as it finds room.
    Owed(Option<CloseCode>),
    Sent(Option<CloseCode>),
}

/// The payload of one control frame that is kept.
#[derive(Debug)]
pub(super) struct Slot {
    bytes: [u8; MAX_CONTROL],
    len: u8,
    pub(super) holds: Holds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    Nothing,
    /// A Pong that found no room.
    Pong,
    /// The reason of the peer's Close, and its code.
    Close(Option<CloseCode>),
}

impl Link {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            frames: FrameWriter::NEW,
            heard: now,
            grown: now,
            since: now,
            wrote: Instant::NEVER,
            next: Instant::START,
            slot: Slot { bytes: [0; MAX_CONTROL], len: 0, holds: Holds::Nothing },
            phase: Phase::Open(Probe::None),
            ours: OurClose::None,
            pings: 0,
            second: 0,
            busy: 0,
        }
    }

    /// What may be open for sending, as long as anything may be sent.
    #[inline]
    pub(crate) fn open(&mut self) -> Result<&mut FrameWriter, SendError> {
        if self.is_over() { Err(SendError::Closed) } else { Ok(&mut self.frames) }
    }

    /// Whether the connection has ended, be it that a Close is still to be written: nothing is received any
    /// more, and nothing may be sent.
    pub(crate) const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ending { .. } | Phase::Closed(_))
    }

    pub(super) const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open(_))
    }

    pub(crate) const fn owes_close(&self) -> bool {
        matches!(self.ours, OurClose::Owed(_))
    }

    /// The peer of an open connection is asked for a sign of life.
    pub(super) const fn is_probing(&self) -> bool {
        matches!(self.phase, Phase::Open(Probe::Stalled | Probe::Sent))
    }

    /// A sign of life. It ends the wait for one, whose deadline may be later than that of the next Ping.
    #[inline]
    pub(super) fn hear(&mut self, now: Instant) {
        self.heard = now;
        if self.is_probing() {
            self.phase = Phase::Open(Probe::None);
            self.next = Instant::START;
        }
    }

    /// Sends what is owed, where it finds room; a Close goes before a Pong.
    pub(crate) fn reply(&mut self, wire: &mut Wire<'_>) {
        if let OurClose::Owed(code) = self.ours {
            if self.frames.close(wire, code, "").is_ok() {
                self.close_sent(code);
            }
        } else if self.slot.holds == Holds::Pong && self.frames.pong(wire, self.slot.bytes()).is_ok() {
            self.slot.holds = Holds::Nothing;
        }
    }

    /// Replies to an event; whether the application is told of it.
    pub(super) fn answer(
        &mut self,
        now: Instant,
        event: &Event<Payload<'_>>,
        wire: &mut Wire<'_>,
        config: &Config,
    ) -> bool {
        let Config { control, limits, .. } = config;
        match *event {
            Event::Data(_) => return true,
            Event::Ping(_) if !self.allows_ping(now, limits.pings) => {
                self.fail(Violation::TooManyPings);
                return false;
            }
            // "an endpoint MUST send a Pong frame in response, unless it already received a Close frame"
            Event::Ping(payload) if *control != Control::Manual && self.is_open() => {
                // "the endpoint MAY elect to send a Pong frame for only the most recently processed Ping frame"
                if self.slot.holds == Holds::Pong || self.frames.pong(wire, &payload).is_err() {
                    self.store(Holds::Pong, &payload);
                }
            }
            Event::Ping(_) | Event::Pong(_) => {}
            Event::Close(code, reason) => self.close_received(code, &reason, *control != Control::Manual),
        }
        *control != Control::Automatic
    }

    pub(super) fn store(&mut self, holds: Holds, payload: &[u8]) {
        self.slot.len = (copy(&mut self.slot.bytes, payload) & 0x7F) as u8;
        self.slot.holds = holds;
        self.next = Instant::START;
    }

    pub(super) const fn cause(&self, end: End) -> Cause {
        let received = if let Holds::Close(code) = self.slot.holds { code } else { None };
        let sent = if let OurClose::Sent(code) = self.ours { code } else { None };
        Cause { end, received, sent }
    }

    /// Whether the parts of the state agree. Every poll of a build with debug assertions checks it.
    ///
    /// | phase | our Close | slot |
    /// | --- | --- | --- |
    /// | open | none | nothing or a Pong |
    /// | closing | owed | anything |
    /// | closing | sent | nothing |
    /// | closing | none: the application answers | the peer's Close |
    /// | ending, closed: clean | sent | the peer's Close |
    /// | ending, closed: abandoned | none, as a frame is open | anything |
    /// | ending, closed: otherwise | any | anything |
    pub(super) fn is_legal(&self) -> bool {
        use OurClose as Ours;
        let legal = match (self.phase, self.ours, self.slot.holds) {
            (Phase::Open(_), Ours::None, Holds::Nothing | Holds::Pong)
            | (Phase::Closing, Ours::Owed(_), _)
            | (Phase::Closing, Ours::Sent(_), Holds::Nothing)
            | (Phase::Closing, Ours::None, Holds::Close(_)) => true,
            (Phase::Ending { end, .. } | Phase::Closed(end), ours, holds) => match end {
                End::Clean => matches!((ours, holds), (Ours::Sent(_), Holds::Close(_))),
                End::Abandoned => ours == Ours::None && self.frames.left() > 0,
                End::Violation(_) | End::Timeout(_) | End::Extension | End::Vanished => true,
            },
            _ => false,
        };
        legal && matches!(self.ours, Ours::Sent(_)) == self.frames.is_closed()
    }
}

impl Slot {
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}
