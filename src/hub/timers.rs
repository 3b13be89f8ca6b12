//! The timers of sessions.

#![forbid(unsafe_code)]

use alloc::collections::BTreeSet;

use super::id::SessionId;
use crate::time::Instant;

/// Timers of sessions, at most one each.
#[derive(Default)]
pub(super) struct Timers(BTreeSet<(Instant, SessionId)>);

impl Timers {
    /// Moves the timer of a session from `timer` to `moment`; [`Instant::NEVER`] is none.
    pub(super) fn set(&mut self, id: SessionId, timer: &mut Instant, moment: Instant) {
        if *timer != moment {
            self.0.remove(&(*timer, id));
            if moment != Instant::NEVER {
                self.0.insert((moment, id));
            }
            *timer = moment;
        }
    }

    /// Removes the first timer that has passed.
    pub(super) fn pop(&mut self, now: Instant) -> Option<SessionId> {
        let (moment, _) = self.0.first()?;
        if *moment > now { None } else { self.0.pop_first().map(|(_, id)| id) }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(moment, _)| *moment)
    }
}

/// Rounds a deadline up to a multiple of a power of two, by at most a sixteenth of the time that it lies ahead, so
/// that those of many sessions coincide and wake the processor once.
pub(super) fn round_up(now: Instant, deadline: Instant) -> Instant {
    let ahead = deadline.as_micros().saturating_sub(now.as_micros());
    let step = (ahead >> 4).checked_ilog2().map_or(1, |log| 1u64 << log);
    Instant::from_micros(deadline.as_micros().checked_next_multiple_of(step).unwrap_or(u64::MAX))
}
