//! How long the peer may take: silence, Ping and Pong, a message that does not get on, a Close that is not answered,
//! writes that go nowhere.

#![forbid(unsafe_code)]

use core::time::Duration;

use super::Step;
use super::link::{Holds, Link, Phase, Probe};
use crate::buffer::Place;
use crate::cause::{End, Timeout};
use crate::close::CloseCode;
use crate::config::Timeouts;
use crate::error::SendError;
use crate::send::Wire;
use crate::time::{Due, EXTENSION, Instant};

impl Link {
    /// What does not depend on input. Gives a step where nothing is to be received any more.
    pub(super) fn keep_house(
        &mut self,
        now: Instant,
        ended: bool,
        wire: &mut Wire<'_>,
        times: &Timeouts,
    ) -> Option<Step> {
        // Neither time nor room changes what has ended.
        if !matches!(self.phase, Phase::Closed(_)) {
            self.pass_time(now, wire, times);
        }
        self.finish(now, ended, wire, times)
    }

    fn pass_time(&mut self, now: Instant, wire: &mut Wire<'_>, times: &Timeouts) {
        let moved = wire.place.take_moved();
        self.note_writing(now, moved, wire);
        // What the peer is to answer, a Ping or a Close, may stand behind much else: it has time from there.
        let behind = match self.phase {
            Phase::Open(Probe::None) | Phase::Closed(_) => false,
            Phase::Open(Probe::Stalled) => true,
            Phase::Open(Probe::Sent) | Phase::Closing | Phase::Ending { .. } => !wire.place.is_empty(),
        };
        if moved && behind {
            self.since = now;
        }
        self.stamp(now);
        self.check_time(now, wire, times);
        // Behind the deadlines: what one of them owes is to leave now, as nothing else may wake us.
        self.reply(wire);
        self.note_writing(now, false, wire);
        self.stamp(now);
    }

    fn note_writing(&mut self, now: Instant, moved: bool, wire: &Wire<'_>) {
        if wire.place.is_empty() {
            self.wrote = Instant::NEVER;
        } else if moved || self.wrote == Instant::NEVER {
            self.wrote = now;
        }
    }

    /// The wait of a phase that no poll has seen begins now.
    fn stamp(&mut self, now: Instant) {
        if self.since == Instant::NEVER {
            self.since = now;
        }
    }

    /// Lets deadlines pass, and sends a Ping where it is time for one.
    fn check_time(&mut self, now: Instant, wire: &mut Wire<'_>, times: &Timeouts) {
        let (passed, _) = self.clock(now, times);
        if passed & WRITE != 0 {
            // Whatever the reason was before, it stays.
            let timeout = End::Timeout(Timeout::Write);
            self.phase =
                Phase::Closed(if let Phase::Ending { end, .. } = self.phase { end } else { timeout });
        } else if passed & IDLE != 0 {
            self.give_up(Timeout::Idle, CloseCode::GOING_AWAY);
        } else if passed & ANSWER != 0 && self.is_open() {
            self.give_up(Timeout::Pong, CloseCode::GOING_AWAY);
        } else if passed & ANSWER != 0 && self.phase == Phase::Closing {
            self.withdraw();
            // This was the wait; there is no other.
            self.phase = Phase::Ending { end: End::Timeout(Timeout::Close), shut: false };
            self.next = Instant::START;
        } else if passed & PING != 0 {
            match self.frames.ping(wire, &[]) {
                Ok(()) => self.probe(Probe::Sent, now),
                // No Ping stands inside a frame: then the frame has to go on in the Pong's time.
                Err(SendError::FrameOpen) if !self.is_probing() => self.probe(Probe::Stalled, now),
                Err(_) => {}
            }
        }
    }

    /// Nothing is received in this poll, so that the peer's silence may be our own: it is waited for anew.
    pub(super) fn excuse_silence(&mut self, now: Instant, times: &Timeouts) {
        self.busy = 0;
        if self.clock(now, times).0 & (IDLE | ANSWER) != 0 {
            self.hear(now);
        }
    }

    /// All that has arrived was looked at, and there is nothing to do: the deadline for the adapter. An error where the
    /// peer takes too long for a message.
    pub(super) fn rest(
        &mut self,
        now: Instant,
        progress: (bool, bool),
        times: &Timeouts,
    ) -> Result<Option<Instant>, Timeout> {
        self.look(now, progress);
        let (passed, mut next) = self.clock(now, times);
        if passed & MESSAGE != 0 {
            // We may be late ourselves, and more may lie where that came from which has just arrived: the transport is
            // asked once more, and again as long as it brings something, but not for ever.
            if self.busy > 1 && self.heard != now || self.busy == u8::MAX {
                return Err(Timeout::Message);
            }
            self.busy = self.busy.saturating_add(1);
            next = next.min(now.after(MOMENT));
        }
        Ok(self.schedule(passed, next))
    }

    /// The deadline for the adapter; and for us, whether `poll` may take the short way.
    pub(super) fn schedule(&mut self, passed: u8, next: Instant) -> Option<Instant> {
        // A Ping that found no room is tried again at each poll.
        let quiet =
            self.is_open() && self.slot.holds == Holds::Nothing && (self.is_probing() || passed & PING == 0);
        self.next = if quiet { next } else { Instant::START };
        next.as_deadline()
    }

    /// Nothing is owed, no deadline has passed, and all that came was taken: the deadline that was named before stands. It
    /// may be earlier than what was heard since allows; then it is computed anew when it comes.
    pub(super) fn wait(
        &mut self,
        now: Instant,
        progress: (bool, bool),
        place: &mut Place,
        wire: &mut Wire<'_>,
        times: &Timeouts,
    ) -> Option<Instant> {
        if core::mem::take(&mut place.fresh) {
            self.heard = now;
        }
        let writing = self.wrote != Instant::NEVER;
        let moved = wire.place.take_moved();
        self.note_writing(now, moved, wire);
        // What begins has a deadline that may come before the one that was named.
        if self.look(now, progress) {
            self.next = self.next.min(now.plus(times.message));
        }
        if !writing && self.wrote != Instant::NEVER {
            self.next = self.next.min(now.plus(times.write));
        }
        self.next.as_deadline()
    }

    /// Notes how the peer gets on; whether it has begun something.
    fn look(&mut self, now: Instant, (busy, grew): (bool, bool)) -> bool {
        let begun = busy && self.busy == 0;
        if grew || begun {
            self.grown = now;
            self.busy = 1;
        }
        if !busy {
            self.busy = 0;
        }
        begun
    }

    /// Counts a Ping; whether there are at most so many within a second.
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
        self.since = now;
    }

    /// Which deadlines have passed, and the nearest of those that lie ahead.
    #[inline(never)]
    pub(super) fn clock(&self, now: Instant, times: &Timeouts) -> (u8, Instant) {
        let (mut idle, mut ping, mut message) = (Instant::NEVER, Instant::NEVER, Instant::NEVER);
        let (mut peer, mut answer) = (self.since, &times.close);
        if let Phase::Open(probe) = self.phase {
            idle = self.heard;
            answer = &times.pong;
            match probe {
                Probe::None => (peer, ping) = (Instant::NEVER, self.grown.max(self.since)),
                Probe::Stalled => ping = self.grown,
                Probe::Sent => {}
            }
            if self.busy > 0 {
                message = self.grown;
            }
        }
        let waits = [
            (self.wrote, &times.write),
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

    pub(super) fn give_up(&mut self, timeout: Timeout, code: CloseCode) {
        self.owe(code);
        self.end(End::Timeout(timeout));
    }

    /// What a poll at `now` ends the connection for. A message that may have got on by then counts as well.
    pub(super) fn due(&self, now: Instant, times: &Timeouts) -> Due {
        let (passed, _) = self.clock(now, times);
        match self.phase {
            Phase::Closed(_) => Due::No,
            Phase::Closing | Phase::Ending { .. } if passed & ANSWER != 0 => Due::All,
            _ if passed & !PING != 0 => Due::Anything,
            _ => Due::No,
        }
    }

    /// Gives the peer a little more time for its Close and for its end.
    pub(super) fn extend(&mut self, now: Instant, times: &Timeouts) {
        if let Phase::Closing | Phase::Ending { .. } = self.phase {
            let late = self.since.plus(times.close).until(now);
            self.since = self.since.after(late.saturating_add(EXTENSION));
        }
    }
}

/// Deadlines that [`clock`](Link::clock) tells: for writing, for silence, for a Pong or for closing, for a Ping to be sent,
/// for a message in progress.
const WRITE: u8 = 1 << 4;
const IDLE: u8 = 1 << 3;
pub(super) const ANSWER: u8 = 1 << 2;
const PING: u8 = 1 << 1;
const MESSAGE: u8 = 1;

/// So long, the transport is asked for the rest of what it has just begun to deliver.
const MOMENT: Duration = Duration::from_millis(1);
