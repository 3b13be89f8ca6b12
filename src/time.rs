//! Time as the caller tells it: the library owns no clock.

#![forbid(unsafe_code)]

use core::time::Duration;

/// A moment on the caller's monotonic clock, in microseconds since a beginning of the caller's choice.
///
/// 64 bits of microseconds last for 584,000 years, so arithmetic saturates and never wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The beginning of the clock.
    pub const START: Self = Self(0);
    /// Later than every moment that a clock tells: a deadline that is switched off.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// The moment that lies this many microseconds after the beginning.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The moment that lies this many milliseconds after the beginning.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// Microseconds since the beginning.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The moment `duration` later; a duration beyond the end of the clock is never reached.
    #[must_use]
    #[inline(never)] // 64-bit arithmetic is long where registers have 32 bits, and time is not on the fast path
    pub const fn after(self, duration: Duration) -> Self {
        let micros =
            duration.as_secs().saturating_mul(1_000_000).saturating_add(duration.subsec_micros() as u64);
        Self(self.0.saturating_add(micros))
    }

    /// How long it is until `later`; zero where that has passed.
    #[must_use]
    pub const fn until(self, later: Self) -> Duration {
        Duration::from_micros(later.0.saturating_sub(self.0))
    }

    /// The moment `duration` later, or never where there is no such deadline.
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    pub(crate) const fn plus(self, duration: Option<Duration>) -> Self {
        match duration {
            Some(duration) => self.after(duration),
            None => Self::NEVER,
        }
    }

    /// The last moment for what a peer takes little by little, and has this long for each time: ten times as late.
    pub(crate) fn at_slowest(self, duration: Option<Duration>) -> Self {
        (0..10).fold(self, |moment, _| moment.plus(duration))
    }

    /// As an adapter wants it: `None` where nothing is to be waited for.
    pub(crate) fn as_deadline(self) -> Option<Self> {
        (self != Self::NEVER).then_some(self)
    }
}

/// What ends when its peer takes too long.
///
/// A wait can end in many ways: at its deadline, by a signal, in a process that was stopped or on a machine that was
/// suspended. So before a poll at `now` that is [due](Due), the transport is read and written once more, after the clock.
pub(crate) trait Timed {
    /// What a poll at `now` ends it for.
    fn due(&self, now: Instant) -> Due;

    /// Something has come that may not be all: there is a little more time for the rest, from `now` on.
    fn extend(&mut self, now: Instant);
}

/// What a peer has taken too long for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// It has time.
    No,
    /// To say or to read anything.
    Anything,
    /// To send all of something: of a request, of an answer, or of what stands before its Close and the end.
    All,
}

/// What [`Timed::extend`] gives.
pub(crate) const EXTENSION: Duration = Duration::from_secs(1);
/// How long a network stack that was stopped together with us may take to hand over what its interface holds.
pub(crate) const GRACE: Duration = Duration::from_millis(100);
