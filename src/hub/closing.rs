//! A close that was asked for, while what was sent before it goes first.

#![forbid(unsafe_code)]

use alloc::string::String;
use core::time::Duration;

use crate::close::CloseCode;
use crate::time::Instant;

/// What the Close says, and how long it waits.
pub(super) struct Closing {
    pub(super) code: CloseCode,
    pub(super) reason: String,
    /// Known from the first turn on.
    times: Option<Times>,
}

struct Times {
    /// How long the transport may take nothing.
    time: Option<Duration>,
    /// When it has taken nothing for so long.
    patience: Instant,
    /// However much it takes.
    until: Instant,
}

impl Closing {
    pub(super) fn new(code: CloseCode, reason: &str) -> Self {
        Self { code, reason: reason.into(), times: None }
    }

    /// The first turn: the last moment for the end.
    pub(super) fn begin(&mut self, now: Instant, time: Option<Duration>) -> Instant {
        // The Close and its answer have the rest of the ten times that there are.
        let until = now.plus(time.map(|time| time.saturating_mul(9)));
        self.times.get_or_insert(Times { time, patience: now.plus(time), until }).until.plus(time)
    }

    /// The transport took some of what goes first.
    pub(super) fn took(&mut self, now: Instant) {
        if let Some(times) = &mut self.times {
            times.patience = now.plus(times.time).min(times.until);
        }
    }

    /// When nothing more is waited for.
    pub(super) fn patience(&self) -> Instant {
        self.times.as_ref().map_or(Instant::NEVER, |times| times.patience)
    }
}
