//! How long the peer may take: silence, Ping and Pong, a Close that is not answered, writes that go nowhere.

#![forbid(unsafe_code)]

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
        if moved || !self.writing {
            self.wrote = now;
        }
        // What the peer is to answer, a Ping or a Close, may stand behind much else: it has time from there.
        let behind = match self.phase {
            Phase::Open(Probe::None) | Phase::Closed(_) => false,
            Phase::Open(Probe::Stalled) => true,
            Phase::Open(Probe::Sent) | Phase::Closing | Phase::Ending { .. } => !wire.place.is_empty(),
        };
        if moved && behind {
            self.since = now;
        }
        self.writing = !wire.place.is_empty();
        self.stamp(now);
        self.check_time(now, wire, times);
        // Behind the deadlines: what one of them owes is to leave now, as nothing else may wake us.
        self.reply(wire);
        self.writing = !wire.place.is_empty();
        self.stamp(now);
    }

    /// The wait of a phase that no poll has seen begins now.
    fn stamp(&mut self, now: Instant) {
        if self.since == Instant::NEVER {
            self.since = now;
        }
    }

    /// Lets deadlines pass, and sends a Ping where it is time for one.
    fn check_time(&mut self, now: Instant, wire: &mut Wire<'_>, times: &Timeouts) {
        if self.writing && now >= self.wrote.plus(times.write) {
            // Whatever the reason was before, it stays.
            let timeout = End::Timeout(Timeout::Write);
            self.phase =
                Phase::Closed(if let Phase::Ending { end, .. } = self.phase { end } else { timeout });
            return;
        }
        match self.phase {
            Phase::Open(_) if now >= self.heard.plus(times.idle) => self.give_up(Timeout::Idle),
            Phase::Open(probe) if probe != Probe::None && now >= self.since.plus(times.pong) => {
                self.give_up(Timeout::Pong);
            }
            Phase::Open(probe) if probe != Probe::Sent && now >= self.heard.plus(times.ping) => {
                match self.frames.ping(wire, &[]) {
                    Ok(()) => self.probe(Probe::Sent, now),
                    // No Ping stands inside a frame: then the frame has to go on in the Pong's time.
                    Err(SendError::FrameOpen) if probe == Probe::None => self.probe(Probe::Stalled, now),
                    Err(_) => {}
                }
            }
            Phase::Closing if now >= self.since.plus(times.close) => {
                self.withdraw();
                // This was the wait; there is no other.
                self.phase = Phase::Ending { end: End::Timeout(Timeout::Close), shut: false };
                self.next = Instant::START;
            }
            _ => {}
        }
    }

    /// Nothing is received in this poll, so that the peer's silence may be our own: it is waited for anew.
    pub(super) fn excuse_silence(&mut self, now: Instant, times: &Timeouts) {
        let pong = if self.is_probing() { self.since.plus(times.pong) } else { Instant::NEVER };
        if self.is_open() && now >= self.heard.plus(times.idle).min(pong) {
            self.heard = now;
            self.phase = Phase::Open(Probe::None);
        }
    }

    /// The deadline for the adapter; and for us, whether `poll` may take the short way.
    pub(super) fn schedule(&mut self, now: Instant, times: &Timeouts) -> Option<Instant> {
        let deadline = self.deadline(now, times);
        // A Ping that found no room is tried again at each poll.
        let pinged = self.is_probing() || now < self.heard.plus(times.ping);
        let quiet = self.is_open() && self.slot.holds == Holds::Nothing && pinged;
        self.next = if quiet { deadline } else { Instant::START };
        deadline.as_deadline()
    }

    /// Nothing is owed, no deadline has passed, and all that came was taken: the deadline that was named before stands. It
    /// may be earlier than what was heard since allows; then it is computed anew when it comes.
    pub(super) fn wait(
        &mut self,
        now: Instant,
        place: &mut Place,
        wire: &mut Wire<'_>,
        times: &Timeouts,
    ) -> Option<Instant> {
        if core::mem::take(&mut place.fresh) {
            self.heard = now;
        }
        if wire.place.take_moved() || !self.writing {
            self.wrote = now;
        }
        let writing = !wire.place.is_empty();
        if writing && !self.writing {
            self.next = self.next.min(now.plus(times.write));
        }
        self.writing = writing;
        self.next.as_deadline()
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

    /// The nearest of the deadlines that lie ahead. What has passed was dealt with, or cannot be yet (a Ping that
    /// finds no room).
    pub(super) fn deadline(&self, now: Instant, times: &Timeouts) -> Instant {
        let write = if self.writing { self.wrote.plus(times.write) } else { Instant::NEVER };
        let (first, second) = match self.phase {
            Phase::Open(Probe::None) => (self.heard.plus(times.idle), self.heard.plus(times.ping)),
            Phase::Open(_) => (self.heard.plus(times.idle), self.since.plus(times.pong)),
            _ => (self.since.plus(times.close), Instant::NEVER),
        };
        let ahead = |moment: Instant| if moment > now { moment } else { Instant::NEVER };
        ahead(write).min(ahead(first)).min(ahead(second))
    }

    fn give_up(&mut self, timeout: Timeout) {
        self.owe(CloseCode::GOING_AWAY);
        self.end(End::Timeout(timeout));
    }

    /// What a poll at `now` ends the connection for.
    pub(super) fn due(&self, now: Instant, times: &Timeouts) -> Due {
        let passed = |since: Instant, time| now >= since.plus(time);
        let silent = match self.phase {
            Phase::Open(probe) => {
                passed(self.heard, times.idle) || probe != Probe::None && passed(self.since, times.pong)
            }
            Phase::Closing | Phase::Ending { .. } if passed(self.since, times.close) => return Due::All,
            Phase::Closing | Phase::Ending { .. } => false,
            Phase::Closed(_) => return Due::No,
        };
        let unread = self.writing && passed(self.wrote, times.write);
        if silent || unread { Due::Anything } else { Due::No }
    }

    /// Gives the peer a little more time for its Close and for its end.
    pub(super) fn extend(&mut self, now: Instant, times: &Timeouts) {
        if let Phase::Closing | Phase::Ending { .. } = self.phase {
            let late = self.since.plus(times.close).until(now);
            self.since = self.since.after(late.saturating_add(EXTENSION));
        }
    }
}
