//! When which session is to be run.

#![forbid(unsafe_code)]

use alloc::collections::BinaryHeap;
use core::cmp::Reverse;

use super::id::Id;
use crate::time::Instant;

/// Timers of sessions. One that was set to an earlier time leaves the later one behind, which is known by its time.
#[derive(Default)]
pub(super) struct Timers(BinaryHeap<Reverse<(Instant, Id)>>);

impl Timers {
    pub(super) fn set(&mut self, moment: Instant, id: Id) {
        self.0.push(Reverse((moment, id)));
    }

    /// The next one that has passed.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, Id)> {
        let Reverse((moment, _)) = self.0.peek()?;
        if *moment > now { None } else { self.0.pop().map(|Reverse(timer)| timer) }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse((moment, _))| *moment)
    }
}

/// A deadline may be late by a sixteenth of the time that it lies ahead: rounded up to a multiple of a power of two, so
/// that those of many sessions fall together and wake the processor once.
pub(super) fn round_up(now: Instant, deadline: Instant) -> Instant {
    let ahead = deadline.as_micros().saturating_sub(now.as_micros());
    let step = (ahead >> 4).checked_ilog2().map_or(1, |log| 1u64 << log);
    Instant::from_micros(deadline.as_micros().checked_next_multiple_of(step).unwrap_or(u64::MAX))
}
