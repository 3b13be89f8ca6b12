//! The deadlines of a connection: idle time, Ping and Pong, a stalled message, an unanswered Close, a stalled write.

#![forbid(unsafe_code)]

use core::convert::Infallible;
use core::time::Duration;

use super::link::{Holds, Link, Phase, Probe};
use crate::buffer::Place;
use crate::close::CloseCode;
use crate::config::Timeouts;
use crate::error::{EndReason, Timeout};
use crate::send::{SendError, Wire};
use crate::step::Step;
use crate::time::{Due, EXTENSION, Instant};

impl Link {
    /// Sends pending replies, applies deadlines, and advances the closing. Returns `Some` if no more input may be
    /// processed.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        ended: bool,
        wire: &mut Wire<'_>,
        times: &Timeouts,
    ) -> Option<Step<Infallible>> {
        // Neither time nor room changes a connection that has ended.
        if !matches!(self.phase, Phase::Closed(_)) {
            self.pass_time(now, wire, times);
        }
        self.finish(now, ended, wire, times)
    }

    fn pass_time(&mut self, now: Instant, wire: &mut Wire<'_>, times: &Timeouts) {
        let moved = wire.place.take_moved();
        // A Ping or a Close may be queued behind other bytes: the wait for the answer restarts while those are written.
        let behind = match self.phase {
            Phase::Open(Probe::None) | Phase::Closed(_) => false,
            Phase::Open(Probe::Stalled) => true,
            Phase::Open(Probe::Sent) | Phase::Closing | Phase::Ending { .. } => !wire.place.is_empty(),
        };
        if moved && behind {
            self.waiting_since = now;
        }
        self.start_waits(now, moved, wire);
        self.check_time(now, wire, times);
        // After the deadlines: a reply that one of them makes pending must be sent now, as no later event may cause a
        // poll.
        self.reply(wire);
        self.start_waits(now, false, wire);
    }

    /// Starts the wait for the transport, and that of a phase that was entered outside of a poll.
    #[inline(never)] // 64-bit comparisons are long where registers have 32 bits
    fn start_waits(&mut self, now: Instant, moved: bool, wire: &Wire<'_>) {
        self.note_writing(now, moved, wire);
        if self.waiting_since == Instant::NEVER {
            self.waiting_since = now;
        }
    }

    fn note_writing(&mut self, now: Instant, moved: bool, wire: &Wire<'_>) {
        if wire.place.is_empty() {
            self.written_at = Instant::NEVER;
        } else if moved || self.written_at == Instant::NEVER {
            self.written_at = now;
        }
    }

    /// Enforces the deadlines that have passed, and sends a Ping if one is due.
    fn check_time(&mut self, now: Instant, wire: &mut Wire<'_>, times: &Timeouts) {
        let (passed, _) = self.deadlines(now, times);
        if passed & WRITE != 0 {
            // A reason for which the connection is ending already stays.
            let timeout = EndReason::Timeout(Timeout::Write);
            self.phase =
                Phase::Closed(if let Phase::Ending { end, .. } = self.phase { end } else { timeout });
        } else if passed & IDLE != 0 {
            self.time_out(Timeout::Idle, CloseCode::GOING_AWAY);
        } else if passed & ANSWER != 0 && self.is_open() {
            self.time_out(Timeout::Pong, CloseCode::GOING_AWAY);
        } else if passed & ANSWER != 0 && self.phase == Phase::Closing {
            self.drop_pending_close();
            // The wait is over; the phase does not start another.
            self.phase = Phase::Ending { end: EndReason::Timeout(Timeout::Close), shut: false };
            self.next_check = Instant::START;
        } else if passed & PING != 0 {
            match self.frames.ping(wire, &[]) {
                Ok(()) => self.probe(Probe::Sent, now),
                // A Ping cannot be sent inside a frame: instead the peer must send or read something in the Pong's time.
                Err(SendError::FrameOpen) if !self.is_probing() => self.probe(Probe::Stalled, now),
                Err(_) => {}
            }
        }
    }

    /// Restarts the waits for the peer that have passed, as this poll does not receive what the peer may have sent.
    pub(super) fn restart_waits(&mut self, now: Instant, times: &Timeouts) {
        self.busy = 0;
        if self.deadlines(now, times).0 & (IDLE | ANSWER) != 0 {
            self.note_received(now);
        }
    }

    /// Returns the deadline for the adapter when all received bytes were processed. Fails if a message has stalled.
    pub(super) fn deadline_after_input(
        &mut self,
        now: Instant,
        progress: (bool, bool),
        times: &Timeouts,
    ) -> Result<Option<Instant>, Timeout> {
        self.note_progress(now, progress);
        let (passed, mut next) = self.deadlines(now, times);
        if passed & MESSAGE != 0 {
            // This poll may be late, and the transport may hold more bytes. So the transport is read once more, and again
            // as long as it delivers bytes, up to a limit.
            if self.busy > 1 && self.received_at != now || self.busy == u8::MAX {
                return Err(Timeout::Message);
            }
            self.busy = self.busy.saturating_add(1);
            next = next.min(now.saturating_add(MOMENT));
        }
        Ok(self.schedule(passed, next))
    }

    /// Returns the deadline for the adapter, and sets the one before which `poll` can take the quick path.
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    pub(super) fn schedule(&mut self, passed: u8, next: Instant) -> Option<Instant> {
        // A Ping for which there was no room is tried again at each poll.
        let quiet =
            self.is_open() && self.slot.holds == Holds::Nothing && (self.is_probing() || passed & PING == 0);
        self.next_check = if quiet { next } else { Instant::START };
        next.as_deadline()
    }

    /// Returns the deadline for the adapter when no reply is pending, no deadline has passed, and all received bytes were
    /// processed. The previous deadline is kept; if received bytes have moved it, it is computed again when it passes.
    pub(super) fn cached_deadline(
        &mut self,
        now: Instant,
        progress: (bool, bool),
        place: &mut Place,
        wire: &mut Wire<'_>,
        times: &Timeouts,
    ) -> Option<Instant> {
        if core::mem::take(&mut place.fresh) {
            self.received_at = now;
        }
        let writing = self.written_at != Instant::NEVER;
        let moved = wire.place.take_moved();
        self.note_writing(now, moved, wire);
        // A wait that begins may have an earlier deadline than the previous one.
        if self.note_progress(now, progress) {
            self.check_at(now.plus(times.message));
        }
        if !writing && self.written_at != Instant::NEVER {
            self.check_at(now.plus(times.write));
        }
        self.next_check.as_deadline()
    }

    /// Has the deadlines checked at `moment` at the latest.
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    fn check_at(&mut self, moment: Instant) {
        self.next_check = self.next_check.min(moment);
    }

    /// Records the progress of the peer, and returns whether it has begun a message or a frame.
    fn note_progress(&mut self, now: Instant, (busy, progressed): (bool, bool)) -> bool {
        let begun = busy && self.busy == 0;
        if progressed || begun {
            self.progress_at = now;
            self.busy = 1;
        }
        if !busy {
            self.busy = 0;
        }
        begun
    }

    /// Counts a Ping, and returns whether there were at most `most` within the current second.
    pub(super) fn allows_ping(&mut self, now: Instant, most: Option<u8>) -> bool {
        let Some(most) = most else { return true };
        let second = ((now.as_micros() >> 20) & 0xFFFF) as u16;
        if self.second != second {
            self.second = second;
            self.pings = 0;
        }
        let allowed = self.pings < most;
        self.pings = self.pings.saturating_add(1);
        allowed || !self.is_open()
    }

    fn probe(&mut self, probe: Probe, now: Instant) {
        self.phase = Phase::Open(probe);
        self.waiting_since = now;
    }

    /// Returns which deadlines have passed, and the nearest of the others.
    #[inline(never)]
    pub(super) fn deadlines(&self, now: Instant, times: &Timeouts) -> (u8, Instant) {
        let (mut idle, mut ping, mut message) = (Instant::NEVER, Instant::NEVER, Instant::NEVER);
        let (mut peer, mut answer) = (self.waiting_since, &times.close);
        if let Phase::Open(probe) = self.phase {
            idle = self.received_at;
            answer = &times.pong;
            match probe {
                Probe::None => (peer, ping) = (Instant::NEVER, self.progress_at.max(self.waiting_since)),
                Probe::Stalled => ping = self.progress_at,
                Probe::Sent => {}
            }
            if self.busy > 0 {
                message = self.progress_at;
            }
        }
        let waits = [
            (self.written_at, &times.write),
            (idle, &times.idle),
            (peer, answer),
            (ping, &times.ping),
            (message, &times.message),
        ];
        let (mut passed, mut next) = (0, Instant::NEVER);
        for (since, time) in waits {
            let moment = since.plus(*time);
            passed <<= 1;
            if moment > now {
                next = next.min(moment);
            } else {
                passed |= 1;
            }
        }
        (passed, next)
    }

    pub(super) fn time_out(&mut self, timeout: Timeout, code: CloseCode) {
        self.close_for(EndReason::Timeout(timeout), code);
    }

    /// Returns which deadline a poll at `now` would enforce, including that of a message that may have grown by then.
    pub(super) fn due(&self, now: Instant, times: &Timeouts) -> Due {
        let (passed, _) = self.deadlines(now, times);
        match self.phase {
            Phase::Closed(_) => Due::No,
            Phase::Closing | Phase::Ending { .. } if passed & ANSWER != 0 => Due::All,
            _ if passed & !PING != 0 => Due::Anything,
            _ => Due::No,
        }
    }

    /// Extends the deadline for the peer's Close and for the end of its stream.
    pub(super) fn extend(&mut self, now: Instant, times: &Timeouts) {
        if let Phase::Closing | Phase::Ending { .. } = self.phase {
            let late = self.waiting_since.plus(times.close).saturating_duration_until(now);
            self.waiting_since = self.waiting_since.saturating_add(late.saturating_add(EXTENSION));
        }
    }
}

/// Flags of [`deadlines`](Link::deadlines): the deadlines for writing, for idle time, for a Pong or the closing
/// handshake, for sending a Ping, and for a message in progress.
const WRITE: u8 = 1 << 4;
const IDLE: u8 = 1 << 3;
pub(super) const ANSWER: u8 = 1 << 2;
const PING: u8 = 1 << 1;
const MESSAGE: u8 = 1;

/// How long the transport is read for more of a message whose deadline has passed.
const MOMENT: Duration = Duration::from_millis(1);
