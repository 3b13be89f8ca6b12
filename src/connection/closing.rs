//! The end of a connection (RFC 6455 §7): closing handshake, failures, and the transport's end.

#![forbid(unsafe_code)]

use super::Step;
use super::deadlines::ANSWER;
use super::link::{Holds, Link, OurClose, Phase};
use crate::cause::End;
use crate::close::{CloseCode, MAX_REASON};
use crate::config::Timeouts;
use crate::error::{SendError, Violation};
use crate::send::Wire;
use crate::time::Instant;

impl Link {
    pub(crate) fn close(
        &mut self,
        wire: &mut Wire<'_>,
        code: Option<CloseCode>,
        reason: &str,
    ) -> Result<(), SendError> {
        self.open()?.close(wire, code, reason)?;
        self.close_sent(code);
        Ok(())
    }

    /// The application has failed: closes as soon as there is room, without a reason if there is none now.
    /// Where a frame was begun and will not be finished, nothing can follow it, and the connection ends.
    pub(crate) fn close_anyhow(&mut self, wire: &mut Wire<'_>, code: CloseCode, reason: &str) {
        // Too long a reason is no reason to stay open.
        let reason = if reason.len() > MAX_REASON { "" } else { reason };
        match self.close(wire, Some(code), reason) {
            Err(SendError::Blocked) => self.close_later(code),
            Err(SendError::FrameOpen) => {
                self.withdraw();
                self.end(End::Abandoned);
            }
            _ => {}
        }
    }

    /// Somebody else than the handler wants an end: the frame that it has open may be finished first.
    pub(crate) fn close_soon(&mut self, wire: &mut Wire<'_>, code: CloseCode, reason: &str) {
        if let Err(SendError::Blocked | SendError::FrameOpen | SendError::ControlTooLong) =
            self.close(wire, Some(code), reason)
        {
            self.close_later(code);
        }
    }

    fn close_later(&mut self, code: CloseCode) {
        self.ours = OurClose::Owed(Some(code));
        self.begin_closing();
        self.next = Instant::START;
    }

    /// The closing handshake has begun, if it had not before.
    pub(super) fn begin_closing(&mut self) {
        if self.is_open() {
            self.enter(Phase::Closing);
        }
    }

    /// A phase begins, and with it a wait for the peer.
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.since = Instant::NEVER;
        self.next = Instant::START;
    }

    /// Writes what is left, closes the transport, and waits until the peer has done the same. No step while events are
    /// received.
    pub(super) fn finish(
        &mut self,
        now: Instant,
        ended: bool,
        wire: &Wire<'_>,
        times: &Timeouts,
    ) -> Option<Step> {
        if let Phase::Ending { end, shut } = self.phase {
            let (passed, next) = self.clock(now, times);
            let late = passed & ANSWER != 0;
            let written = !self.owes_close() && wire.place.is_empty();
            // "The server MUST close the underlying TCP connection immediately; the client SHOULD wait for the
            // server to close the connection but MAY close the connection at any time" (§5.5.1)
            if written && !shut && (!wire.is_masked() || end != End::Clean || ended || late) {
                self.phase = Phase::Ending { end, shut: true };
                return Some(Step::Shutdown);
            }
            if !(late || written && ended) {
                return Some(Step::Wait { deadline: next.as_deadline() });
            }
            self.phase = Phase::Closed(end);
        }
        match self.phase {
            Phase::Closed(end) => Some(Step::Closed(self.cause(end))),
            _ => None,
        }
    }

    /// The peer broke a rule: "the endpoint SHOULD send a Close frame with an appropriate status code [...]
    /// before proceeding to _Close the WebSocket Connection_" (§7.1.7).
    pub(super) fn fail(&mut self, violation: Violation) {
        self.owe(violation.close_code());
        self.end(End::Violation(violation));
    }

    /// The extension failed, which is none of the peer's faults.
    pub(crate) fn fail_extension(&mut self) {
        self.owe(CloseCode::INTERNAL_ERROR);
        self.end(End::Extension);
    }

    /// A Close is to be sent, unless one was, or an open frame stands in its way for good.
    pub(super) fn owe(&mut self, code: CloseCode) {
        if !self.frames.is_closed() {
            self.ours = if self.frames.left() == 0 { OurClose::Owed(Some(code)) } else { OurClose::None };
        }
    }

    /// A Close that is owed has no way to leave any more.
    pub(super) fn withdraw(&mut self) {
        if let OurClose::Owed(_) = self.ours {
            self.ours = OurClose::None;
        }
    }

    pub(super) fn end(&mut self, end: End) {
        self.enter(Phase::Ending { end, shut: false });
    }

    /// The transport failed: the connection has ended, whatever it was doing. Why it ended before stays.
    pub(super) fn reset(&mut self) {
        let end = match self.phase {
            Phase::Closed(_) => return,
            Phase::Ending { end, .. } => end,
            Phase::Open(_) | Phase::Closing => End::Vanished,
        };
        self.phase = Phase::Closed(end);
        self.withdraw();
        self.next = Instant::START;
    }

    /// Our Close is in the transmit buffer.
    pub(super) fn close_sent(&mut self, code: Option<CloseCode>) {
        self.ours = OurClose::Sent(code);
        self.next = Instant::START;
        if self.slot.holds == Holds::Pong {
            self.slot.holds = Holds::Nothing;
        }
        match (self.phase, self.slot.holds) {
            (Phase::Open(_) | Phase::Closing, Holds::Close(_)) => self.end(End::Clean),
            // The peer has all of its time from here.
            (Phase::Open(_) | Phase::Closing, _) => self.enter(Phase::Closing),
            _ => {}
        }
    }

    /// The peer's Close was received.
    pub(super) fn close_received(&mut self, code: Option<CloseCode>, reason: &[u8], answer: bool) {
        self.store(Holds::Close(code), reason);
        match self.ours {
            OurClose::Sent(_) => self.end(End::Clean),
            // "the endpoint typically echos the status code it received"
            OurClose::None if answer => {
                self.ours = OurClose::Owed(code);
                self.begin_closing();
            }
            OurClose::None | OurClose::Owed(_) => self.begin_closing(),
        }
    }
}
