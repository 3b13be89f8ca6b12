//! The end of a connection (RFC 6455 §7): the closing handshake, failures, and closing the transport.

#![forbid(unsafe_code)]

use core::convert::Infallible;

use super::deadlines::ANSWER;
use super::link::{Holds, Link, OurClose, Phase};
use crate::close::CloseCode;
use crate::config::Timeouts;
use crate::error::{EndReason, Violation};
use crate::send::{SendError, Wire};
use crate::step::Step;
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

    /// Closes for a handler that stopped. The Close is sent as soon as there is room, without the reason if there is
    /// none now. If a frame is open, it will not be finished, and the connection ends without a Close.
    pub(crate) fn close_at_once(&mut self, wire: &mut Wire<'_>, code: Option<CloseCode>, reason: &str) {
        // A reason that cannot be sent must not prevent the Close.
        let reason = if code.is_none() { "" } else { reason };
        match self.close(wire, code, reason) {
            Err(SendError::Blocked) => self.defer_close(code),
            Err(SendError::FrameOpen) => {
                self.drop_pending_close();
                self.end(EndReason::UnfinishedFrame);
            }
            _ => {}
        }
    }

    /// Closes for a caller other than the handler, which can finish its open frame first.
    pub(crate) fn close_after_frame(&mut self, wire: &mut Wire<'_>, code: Option<CloseCode>, reason: &str) {
        if let Err(SendError::Blocked | SendError::FrameOpen) = self.close(wire, code, reason) {
            self.defer_close(code);
        }
    }

    fn defer_close(&mut self, code: Option<CloseCode>) {
        self.our_close = OurClose::Pending(code);
        self.begin_closing();
        self.next_check = Instant::START;
    }

    /// Enters the closing handshake if the connection is open.
    pub(super) fn begin_closing(&mut self) {
        if self.is_open() {
            self.enter(Phase::Closing);
        }
    }

    /// Enters a phase, and starts its wait for the peer.
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.waiting_since = Instant::NEVER;
        self.next_check = Instant::START;
    }

    /// Waits until the pending bytes are written, shuts down the transport, and waits until the peer has done so. Returns
    /// `None` while events can be received.
    pub(super) fn finish(
        &mut self,
        now: Instant,
        ended: bool,
        wire: &Wire<'_>,
        times: &Timeouts,
    ) -> Option<Step<Infallible>> {
        if let Phase::Ending { end, shut } = self.phase {
            let (passed, next) = self.deadlines(now, times);
            let late = passed & ANSWER != 0;
            let written = !self.is_close_pending() && wire.place.is_empty();
            // "The server MUST close the underlying TCP connection immediately; the client SHOULD wait for the
            // server to close the connection but MAY close the connection at any time" (§5.5.1)
            if written && !shut && (!wire.is_masked() || !matches!(end, EndReason::Clean) || ended || late) {
                self.phase = Phase::Ending { end, shut: true };
                return Some(Step::Shutdown);
            }
            if !(late || written && ended) {
                return Some(Step::Wait { deadline: next.as_deadline() });
            }
            self.phase = Phase::Closed(end);
        }
        match self.phase {
            Phase::Closed(end) => Some(Step::Done(self.ending(end))),
            _ => None,
        }
    }

    /// Fails the connection for a violation: "the endpoint SHOULD send a Close frame with an appropriate status code
    /// [...] before proceeding to _Close the WebSocket Connection_" (§7.1.7).
    pub(super) fn fail(&mut self, violation: Violation) {
        self.close_for(EndReason::Violation(violation), violation.close_code());
    }

    /// Fails the connection with 1011, as the extension failed without fault of the peer.
    pub(crate) fn fail_extension(&mut self) {
        self.close_for(EndReason::Extension, CloseCode::INTERNAL_ERROR);
    }

    /// Ends the connection. Makes a Close pending, unless one was sent, or an open frame will never be finished.
    #[inline(never)]
    pub(super) fn close_for(&mut self, end: EndReason, code: CloseCode) {
        if !self.frames.is_closed() {
            self.our_close = if self.frames.frame_remaining() == 0 {
                OurClose::Pending(Some(code))
            } else {
                OurClose::None
            };
        }
        self.end(end);
    }

    /// Drops a pending Close, which can no longer be sent.
    pub(super) fn drop_pending_close(&mut self) {
        if let OurClose::Pending(_) = self.our_close {
            self.our_close = OurClose::None;
        }
    }

    #[inline(never)]
    pub(super) fn end(&mut self, end: EndReason) {
        self.enter(Phase::Ending { end, shut: false });
    }

    /// Ends the connection, as the transport failed.
    pub(super) fn reset(&mut self) {
        self.end_at_once(EndReason::Disconnected);
    }

    /// Ends the connection without a wait. A reason for which it was ending already stays.
    pub(super) fn end_at_once(&mut self, end: EndReason) {
        let end = match self.phase {
            Phase::Closed(_) => return,
            Phase::Ending { end, .. } => end,
            Phase::Open(_) | Phase::Closing => end,
        };
        self.phase = Phase::Closed(end);
        self.drop_pending_close();
        self.next_check = Instant::START;
    }

    /// Updates the state after our Close was put into the transmit buffer.
    pub(super) fn close_sent(&mut self, code: Option<CloseCode>) {
        self.our_close = OurClose::Sent(code);
        self.next_check = Instant::START;
        if self.slot.holds == Holds::Pong {
            self.slot.holds = Holds::Nothing;
        }
        match (self.phase, self.slot.holds) {
            (Phase::Open(_) | Phase::Closing, Holds::Close(_)) => self.end(EndReason::Clean),
            // The wait for the peer's Close starts here.
            (Phase::Open(_) | Phase::Closing, _) => self.enter(Phase::Closing),
            _ => {}
        }
    }

    /// Updates the state after the peer's Close was received.
    pub(super) fn close_received(&mut self, code: Option<CloseCode>, reason: &[u8], answer: bool) {
        self.store(Holds::Close(code), reason);
        match self.our_close {
            OurClose::Sent(_) => self.end(EndReason::Clean),
            // "the endpoint typically echos the status code it received"
            OurClose::None if answer => {
                self.our_close = OurClose::Pending(code);
                self.begin_closing();
            }
            OurClose::None | OurClose::Pending(_) => self.begin_closing(),
        }
    }
}
