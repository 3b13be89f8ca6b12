//! The end of a connection (RFC 6455 §7): closing handshake, failures, and the transport's end.

#![forbid(unsafe_code)]

use super::{Connection, Phase, Slot, Step};
use crate::buffer::TransmitBuffer;
use crate::cause::{Cause, End};
use crate::close::{CloseCode, MAX_REASON};
use crate::error::{SendError, Violation};
use crate::extension::Extension;
use crate::role::Role;
use crate::time::Instant;

impl<R: Role, X: Extension> Connection<'_, R, X> {
    pub(crate) fn close(
        &mut self,
        tx: &mut TransmitBuffer<'_>,
        code: Option<CloseCode>,
        reason: &str,
    ) -> Result<(), SendError> {
        if self.is_over() {
            return Err(SendError::Closed);
        }
        self.sender.close(tx, code, reason)?;
        self.close_sent(code);
        Ok(())
    }

    /// The application has failed: closes as soon as there is room, without a reason if there is none now.
    /// Where a frame was begun and will not be finished, nothing can follow it, and the connection ends.
    pub(crate) fn close_anyhow(&mut self, tx: &mut TransmitBuffer<'_>, code: CloseCode, reason: &str) {
        // Too long a reason is no reason to stay open.
        let reason = if reason.len() > MAX_REASON { "" } else { reason };
        match self.close(tx, Some(code), reason) {
            Err(SendError::Blocked) => self.close_later(code),
            Err(SendError::FrameOpen) => {
                self.owed = None;
                self.end(End::Abandoned);
            }
            _ => {}
        }
    }

    /// Somebody else than the handler wants an end: the frame that it has open may be finished first.
    pub(crate) fn close_soon(&mut self, tx: &mut TransmitBuffer<'_>, code: CloseCode, reason: &str) {
        if let Err(SendError::Blocked | SendError::FrameOpen | SendError::ControlTooLong) =
            self.close(tx, Some(code), reason)
        {
            self.close_later(code);
        }
    }

    fn close_later(&mut self, code: CloseCode) {
        self.owed = Some(Some(code));
        self.stamped &= self.phase != Phase::Open;
        self.phase = Phase::Closing;
        self.next = Instant::START;
    }

    /// Writes what is left, closes the transport, and waits until the peer has done the same.
    pub(super) fn finish(
        &mut self,
        now: Instant,
        ended: bool,
        tx: &TransmitBuffer<'_>,
        end: End,
        shut: bool,
    ) -> Step {
        let late = now >= self.since.plus(self.receiver.config().timeouts.close);
        let written = self.owed.is_none() && tx.is_empty();
        // "The server MUST close the underlying TCP connection immediately; the client SHOULD wait for the
        // server to close the connection but MAY close the connection at any time" (§5.5.1)
        if written && !shut && (R::SERVER || end != End::Clean || ended || late) {
            self.phase = Phase::Ending { end, shut: true };
            return Step::Shutdown;
        }
        if late || written && ended {
            self.phase = Phase::Closed(end);
            return self.closed(end);
        }
        Step::Wait { deadline: self.deadline(now).as_deadline() }
    }

    /// The peer broke a rule: "the endpoint SHOULD send a Close frame with an appropriate status code [...]
    /// before proceeding to _Close the WebSocket Connection_" (§7.1.7).
    pub(super) fn fail(&mut self, violation: Violation) {
        self.owe(violation.close_code());
        self.end(End::Violation(violation));
    }

    /// A Close is to be sent, unless one was, or an open frame stands in its way for good.
    pub(super) fn owe(&mut self, code: CloseCode) {
        self.owed = (!self.sender.is_closed() && self.sender.left() == 0).then_some(Some(code));
    }

    pub(super) fn end(&mut self, end: End) {
        self.phase = Phase::Ending { end, shut: false };
        self.stamped = false;
        self.next = Instant::START;
    }

    /// Our Close is in the transmit buffer.
    pub(super) fn close_sent(&mut self, code: Option<CloseCode>) {
        self.sent = code;
        self.owed = None;
        self.next = Instant::START;
        if self.slot_use == Slot::Pong {
            self.slot_use = Slot::Empty;
        }
        if let Phase::Open | Phase::Closing = self.phase {
            if self.receiver.is_closed() {
                self.end(End::Clean);
            } else {
                self.phase = Phase::Closing;
                self.stamped = false;
            }
        }
    }

    pub(super) fn closed(&self, end: End) -> Step {
        Step::Closed(Cause { end, received: self.received, sent: self.sent })
    }
}
