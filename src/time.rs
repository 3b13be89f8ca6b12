//! Time, passed in by the caller: the library reads no clock.

#![forbid(unsafe_code)]

use core::ops::{Add, Sub};
use core::time::Duration;

/// A moment on the caller's monotonic clock, in microseconds since a start that the caller chooses.
///
/// 64 bits of microseconds last for 584,000 years, so arithmetic saturates and never wraps.
///
/// ```
/// use core::time::Duration;
/// use sansocket::Instant;
///
/// let now = Instant::from_millis(1_500);
/// let later = now + Duration::from_secs(2);
/// assert_eq!(later.as_micros(), 3_500_000);
/// assert_eq!((later - now, now - later), (Duration::from_secs(2), Duration::ZERO));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Instant(u64);

impl Instant {
    /// The start of the clock.
    pub const START: Self = Self(0);
    /// A moment later than every reading of a clock: a deadline that is switched off.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// Creates the moment `micros` microseconds after the start.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Creates the moment `millis` milliseconds after the start.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// Returns the microseconds since the start.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Returns the moment `duration` later, saturated at the end of the clock.
    #[must_use]
    // 64-bit arithmetic is long where registers have 32 bits, and time is not on the fast path there.
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    pub const fn saturating_add(self, duration: Duration) -> Self {
        let micros =
            duration.as_secs().saturating_mul(1_000_000).saturating_add(duration.subsec_micros() as u64);
        Self(self.0.saturating_add(micros))
    }

    /// Returns the time until `later`, or zero if that has passed.
    #[must_use]
    pub const fn saturating_duration_until(self, later: Self) -> Duration {
        Duration::from_micros(later.0.saturating_sub(self.0))
    }

    /// Returns the moment `duration` later, or [`NEVER`](Self::NEVER) for `None`.
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    pub(crate) const fn plus(self, duration: Option<Duration>) -> Self {
        match duration {
            Some(duration) => self.saturating_add(duration),
            None => Self::NEVER,
        }
    }

    /// Returns the moment ten times `duration` later: the limit of a deadline that restarts whenever the peer reads
    /// something.
    pub(crate) fn at_slowest(self, duration: Option<Duration>) -> Self {
        (0..10).fold(self, |moment, _| moment.plus(duration))
    }

    /// Converts to the form that adapters use: `None` if there is no deadline.
    pub(crate) fn as_deadline(self) -> Option<Self> {
        (self != Self::NEVER).then_some(self)
    }
}

/// Saturates, as [`saturating_add`](Instant::saturating_add) does.
impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        self.saturating_add(duration)
    }
}

/// Returns the time from the right moment to the left one, or zero if the left one is earlier.
impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        earlier.saturating_duration_until(self)
    }
}

/// The moment has the same distance from the start of embassy-time's clock.
#[cfg(feature = "embassy-net")]
impl From<embassy_time::Instant> for Instant {
    fn from(moment: embassy_time::Instant) -> Self {
        Self::from_micros(moment.as_micros())
    }
}

/// The moment has the same distance from the start of embassy-time's clock. One beyond the range of that clock becomes its end.
#[cfg(feature = "embassy-net")]
impl From<Instant> for embassy_time::Instant {
    fn from(moment: Instant) -> Self {
        Self::try_from_micros(moment.as_micros()).unwrap_or(Self::MAX)
    }
}

/// A state machine whose deadlines an adapter enforces.
///
/// A wait can end late: a signal, a stopped process or a suspended machine delays it. Before a poll at `now` for which a
/// deadline is [due](Due), the adapter therefore reads and writes the transport once more, after it has read the clock.
pub(crate) trait Timed {
    /// Returns which deadline a poll at `now` would enforce.
    fn due(&self, now: Instant) -> Due;

    /// Extends the deadline by [`EXTENSION`] from `now`, because a part of what the peer has to send has arrived.
    fn extend(&mut self, now: Instant);
}

/// Which deadline of the peer has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// None has passed.
    No,
    /// The peer sent or read nothing in time.
    Anything,
    /// The peer did not complete its request, its answer, or its Close and the end of its stream in time.
    All,
}

/// How much time [`Timed::extend`] adds.
pub(crate) const EXTENSION: Duration = Duration::from_secs(1);
/// How long a network stack that was suspended together with us may take to deliver what its interface holds.
pub(crate) const GRACE: Duration = Duration::from_millis(100);

#[cfg(all(test, feature = "embassy-net"))]
mod tests {
    use super::Instant;

    #[test]
    fn moments_of_embassy_time_convert_both_ways() {
        let moment = Instant::from_micros(1_234_567_890);
        assert_eq!(Instant::from(embassy_time::Instant::from(moment)), moment);
        assert_eq!(embassy_time::Instant::from(Instant::NEVER), embassy_time::Instant::MAX);
    }
}
