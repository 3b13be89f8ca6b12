//! The state of a connection except for receiving: what is sent, what is pending, and what it waits for.

#![forbid(unsafe_code)]

use crate::buffer::copy;
use crate::close::CloseCode;
use crate::config::ControlFrames;
use crate::config::base::Config;
use crate::ending::Ending;
use crate::error::{EndReason, Violation};
use crate::event::Event;
use crate::frame::MAX_CONTROL_PAYLOAD;
use crate::send::{FrameWriter, SendError, Wire};
use crate::time::Instant;

/// The state of a connection that depends neither on role, extension nor configuration. An [`Outbox`](crate::Outbox)
/// borrows it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) frames: FrameWriter,
    /// When bytes arrived last.
    pub(super) received_at: Instant,
    /// When the peer last made progress: it ended or began a message, or a frame outside of one, or sent 1 KiB of one.
    pub(super) progress_at: Instant,
    /// When the wait for the peer began: for an answer to our last Ping, for its Close, for the end of its stream.
    /// [`Instant::NEVER`] if the next poll starts the wait, as the phase was entered outside of one.
    pub(super) waiting_since: Instant,
    /// When the transport last took pending bytes; [`Instant::NEVER`] if none are pending.
    pub(super) written_at: Instant,
    /// The nearest deadline: before it, deadlines need not be checked.
    pub(super) next_check: Instant,
    pub(super) slot: Slot,
    pub(super) phase: Phase,
    pub(super) our_close: OurClose,
    /// The number of Pings in the current second, and the low bits of that second.
    pub(super) pings: u8,
    pub(super) second: u16,
    /// 0 if no message, and no frame outside of one, was in progress at the last check. Otherwise 1, plus the number of
    /// times that the transport was read for more of it after its deadline.
    pub(super) busy: u8,
}

/// The phase of a connection. It changes only downwards in this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open(Probe),
    /// One side has sent a Close, or ours is pending.
    Closing,
    /// Nothing more is received; the pending bytes are written, then the transport is closed.
    Ending {
        end: EndReason,
        /// [`Step::Shutdown`](crate::Step::Shutdown) was returned.
        shut: bool,
    },
    Closed(EndReason),
}

/// Whether an open connection waits for any byte of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    None,
    /// It waits, but could not send a Ping, as a frame is open.
    Stalled,
    /// A Ping was sent.
    Sent,
}

/// The state of our Close. The inner `None` is a Close without a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OurClose {
    None,
    /// It is pending until there is room.
    Pending(Option<CloseCode>),
    Sent(Option<CloseCode>),
}

/// Memory for the payload of one control frame.
#[derive(Debug)]
pub(super) struct Slot {
    bytes: [u8; MAX_CONTROL_PAYLOAD],
    len: u8,
    pub(super) holds: Holds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    Nothing,
    /// A Pong for which there was no room.
    Pong,
    /// The reason and the code of the peer's Close.
    Close(Option<CloseCode>),
}

impl Link {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            frames: FrameWriter::NEW,
            received_at: now,
            progress_at: now,
            waiting_since: now,
            written_at: Instant::NEVER,
            next_check: Instant::START,
            slot: Slot { bytes: [0; MAX_CONTROL_PAYLOAD], len: 0, holds: Holds::Nothing },
            phase: Phase::Open(Probe::None),
            our_close: OurClose::None,
            pings: 0,
            second: 0,
            busy: 0,
        }
    }

    /// Returns the frame writer, if the connection has not ended.
    #[inline]
    pub(crate) fn open(&mut self) -> Result<&mut FrameWriter, SendError> {
        if self.is_over() { Err(SendError::Closed) } else { Ok(&mut self.frames) }
    }

    /// Returns whether the connection has ended, possibly with a Close still to be written: nothing more is received, and
    /// nothing can be sent.
    pub(crate) const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ending { .. } | Phase::Closed(_))
    }

    pub(super) const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open(_))
    }

    pub(crate) const fn is_close_pending(&self) -> bool {
        matches!(self.our_close, OurClose::Pending(_))
    }

    /// Returns whether an open connection waits for any byte of the peer.
    pub(super) const fn is_probing(&self) -> bool {
        matches!(self.phase, Phase::Open(Probe::Stalled | Probe::Sent))
    }

    /// Records that bytes arrived. That ends a probe, after which the next Ping may be due earlier than `next`.
    #[inline]
    pub(super) fn note_received(&mut self, now: Instant) {
        self.received_at = now;
        if self.is_probing() {
            self.end_probe();
        }
    }

    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    fn end_probe(&mut self) {
        self.phase = Phase::Open(Probe::None);
        self.next_check = Instant::START;
    }

    /// Sends a pending Close, or otherwise a pending Pong, if there is room.
    pub(crate) fn reply(&mut self, wire: &mut Wire<'_>) {
        if let OurClose::Pending(code) = self.our_close {
            if self.frames.close(wire, code, "").is_ok() {
                self.close_sent(code);
            }
        } else if self.slot.holds == Holds::Pong && self.frames.pong(wire, self.slot.bytes()).is_ok() {
            self.slot.holds = Holds::Nothing;
        }
    }

    /// Replies to an event, and returns whether to deliver it to the application.
    pub(super) fn reply_to(
        &mut self,
        now: Instant,
        event: &Event<'_>,
        wire: &mut Wire<'_>,
        config: &Config,
    ) -> bool {
        let Config { control, limits, .. } = config;
        match *event {
            Event::Data(_) => return true,
            Event::Ping(_) if !self.allows_ping(now, limits.pings_per_second) => {
                self.fail(Violation::TooManyPings);
                return false;
            }
            // "an endpoint MUST send a Pong frame in response, unless it already received a Close frame"
            Event::Ping(payload) if *control != ControlFrames::Manual && self.is_open() => {
                // "the endpoint MAY elect to send a Pong frame for only the most recently processed Ping frame"
                if self.slot.holds == Holds::Pong || self.frames.pong(wire, &payload).is_err() {
                    self.store(Holds::Pong, &payload);
                }
            }
            Event::Ping(_) | Event::Pong(_) => {}
            Event::Close(code, reason) => {
                self.close_received(code, &reason, *control != ControlFrames::Manual)
            }
        }
        *control != ControlFrames::Automatic
    }

    #[inline(never)]
    pub(super) fn store(&mut self, holds: Holds, payload: &[u8]) {
        self.slot.len = (copy(&mut self.slot.bytes, payload) & 0x7F) as u8;
        self.slot.holds = holds;
        self.next_check = Instant::START;
    }

    pub(super) const fn ending(&self, end: EndReason) -> Ending {
        let received = if let Holds::Close(code) = self.slot.holds { code } else { None };
        let sent = if let OurClose::Sent(code) = self.our_close { code } else { None };
        Ending { reason: end, received, sent }
    }

    /// Returns whether the parts of the state agree. Builds with debug assertions check it at each poll.
    ///
    /// | phase | our Close | slot |
    /// | --- | --- | --- |
    /// | open | none | nothing or a Pong |
    /// | closing | pending | anything |
    /// | closing | sent | nothing |
    /// | closing | none: the application answers | the peer's Close |
    /// | ending, closed: clean | sent | the peer's Close |
    /// | ending, closed: abandoned | none, as a frame is open | anything |
    /// | ending, closed: otherwise | any | anything |
    pub(super) fn is_legal(&self) -> bool {
        use OurClose as Ours;
        let legal = match (self.phase, self.our_close, self.slot.holds) {
            (Phase::Open(_), Ours::None, Holds::Nothing | Holds::Pong)
            | (Phase::Closing, Ours::Pending(_), _)
            | (Phase::Closing, Ours::Sent(_), Holds::Nothing)
            | (Phase::Closing, Ours::None, Holds::Close(_)) => true,
            (Phase::Ending { end, .. } | Phase::Closed(end), our_close, holds) => match end {
                EndReason::Clean => matches!((our_close, holds), (Ours::Sent(_), Holds::Close(_))),
                EndReason::UnfinishedFrame => our_close == Ours::None && self.frames.frame_remaining() > 0,
                EndReason::Violation(_)
                | EndReason::Timeout(_)
                | EndReason::Extension
                | EndReason::Disconnected => true,
            },
            _ => false,
        };
        legal && matches!(self.our_close, Ours::Sent(_)) == self.frames.is_closed()
    }
}

impl Slot {
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}
