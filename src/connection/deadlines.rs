//! How long the peer may take: silence, Ping and Pong, a Close that is not answered, writes that go nowhere.

#![forbid(unsafe_code)]

use super::{Connection, Phase, Probe, Slot};
use crate::buffer::{Place, TransmitBuffer};
use crate::cause::{End, Timeout};
use crate::close::CloseCode;
use crate::error::SendError;
use crate::extension::Extension;
use crate::role::Role;
use crate::time::Instant;

impl<R: Role, X: Extension> Connection<'_, R, X> {
    /// Lets deadlines pass, and sends a Ping where it is time for one.
    pub(super) fn check_time(&mut self, now: Instant, tx: &mut TransmitBuffer<'_>) {
        let times = &self.receiver.config().timeouts;
        if self.writing && now >= self.wrote.plus(times.write) {
            // Whatever the reason was before, it stays.
            let timeout = End::Timeout(Timeout::Write);
            self.phase =
                Phase::Closed(if let Phase::Ending { end, .. } = self.phase { end } else { timeout });
            return;
        }
        match self.phase {
            Phase::Open if now >= self.heard.plus(times.idle) => self.give_up(Timeout::Idle),
            Phase::Open if self.probe != Probe::None && now >= self.since.plus(times.pong) => {
                self.give_up(Timeout::Pong);
            }
            Phase::Open if self.probe != Probe::Sent && now >= self.heard.plus(times.ping) => {
                match self.sender.ping(tx, &[]) {
                    Ok(()) => self.probe(Probe::Sent, now),
                    // No Ping stands inside a frame: then the frame has to go on in the Pong's time.
                    Err(SendError::FrameOpen) if self.probe == Probe::None => self.probe(Probe::Stalled, now),
                    Err(_) => {}
                }
            }
            Phase::Closing if now >= self.since.plus(times.close) => {
                self.owed = None;
                self.end(End::Timeout(Timeout::Close));
                // This was the wait; there is no other.
                self.stamped = true;
            }
            _ => {}
        }
    }

    /// The deadline for the adapter; and for us, whether `poll` may take the short way.
    pub(super) fn schedule(&mut self, now: Instant) -> Option<Instant> {
        let deadline = self.deadline(now);
        // A Ping that found no room is tried again at each poll.
        let ping = self.heard.plus(self.receiver.config().timeouts.ping);
        let pinged = self.probe != Probe::None || now < ping;
        let quiet =
            self.phase == Phase::Open && self.owed.is_none() && self.slot_use == Slot::Empty && pinged;
        self.next = if quiet { deadline } else { Instant::START };
        deadline.as_deadline()
    }

    /// Nothing is owed, no deadline has passed, and all that came was taken: the deadline that was named before stands. It
    /// may be earlier than what was heard since allows; then it is computed anew when it comes.
    pub(super) fn wait(
        &mut self,
        now: Instant,
        place: &mut Place,
        tx: &mut TransmitBuffer<'_>,
    ) -> Option<Instant> {
        if core::mem::take(&mut place.fresh) {
            self.heard = now;
        }
        if tx.take_moved() || !self.writing {
            self.wrote = now;
        }
        let writing = !tx.is_empty();
        if writing && !self.writing {
            self.next = self.next.min(now.plus(self.receiver.config().timeouts.write));
        }
        self.writing = writing;
        self.next.as_deadline()
    }

    /// Counts a Ping; whether there are not too many.
    pub(super) fn allows_ping(&mut self, now: Instant) -> bool {
        let Some(most) = self.receiver.config().limits.pings else { return true };
        let second = ((now.as_micros() >> 20) & 0xFFFF) as u16;
        if self.second != second {
            self.second = second;
            self.pings = 0;
        }
        let allowed = self.pings < most;
        self.pings = self.pings.saturating_add(1);
        allowed || self.phase != Phase::Open
    }

    pub(super) fn probe(&mut self, probe: Probe, now: Instant) {
        self.probe = probe;
        self.since = now;
    }

    /// The nearest of the deadlines that lie ahead. What has passed was dealt with, or cannot be yet (a Ping that
    /// finds no room).
    pub(super) fn deadline(&self, now: Instant) -> Instant {
        let times = &self.receiver.config().timeouts;
        let write = if self.writing { self.wrote.plus(times.write) } else { Instant::NEVER };
        let (first, second) = match self.phase {
            Phase::Open if self.probe != Probe::None => {
                (self.heard.plus(times.idle), self.since.plus(times.pong))
            }
            Phase::Open => (self.heard.plus(times.idle), self.heard.plus(times.ping)),
            _ => (self.since.plus(times.close), Instant::NEVER),
        };
        let ahead = |moment: Instant| if moment > now { moment } else { Instant::NEVER };
        ahead(write).min(ahead(first)).min(ahead(second))
    }

    pub(super) fn give_up(&mut self, timeout: Timeout) {
        self.owe(CloseCode::GOING_AWAY);
        self.end(End::Timeout(timeout));
    }
}
