//! When to connect again.

#![forbid(unsafe_code)]

use core::time::Duration;

/// How long a client waits before it connects again: a random time below a ceiling that doubles with each failure.
///
/// > The first reconnect attempt SHOULD be delayed by a random amount of time. [...] Should the first reconnect
/// > attempt fail, subsequent reconnect attempts SHOULD be delayed by increasingly longer amounts of time, using a
/// > method such as truncated binary exponential backoff. (RFC 6455 §7.2.3)
///
/// The time is drawn from all below the ceiling ("full jitter"): the thousand clients of a server that restarts come
/// back evenly, not all at once.
///
/// ```
/// use core::time::Duration;
/// use sansocket::Backoff;
///
/// let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// let random = || 0x8000_0000; // of a generator; it need not be a cryptographic one
/// assert_eq!(backoff.wait(random()), Duration::from_millis(500));
/// assert_eq!(backoff.wait(random()), Duration::from_millis(1000));
/// // The connection has lasted for a while:
/// backoff.reset();
/// assert_eq!(backoff.wait(random()), Duration::from_millis(500));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: u32,
    longest: u32,
    /// Of the next wait, in milliseconds.
    ceiling: u32,
}

impl Backoff {
    /// The first wait is shorter than `first`, and none is longer than `longest`; both are counted in milliseconds,
    /// 49 days at most.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        let (first, longest) = (millis(first), millis(longest));
        // Of nothing, twice as much is nothing.
        let first = if first == 0 { 1 } else { first };
        let first = if first < longest { first } else { longest };
        Self { first, longest, ceiling: first }
    }

    /// How long to wait now, as a share of the ceiling that `random` is of 2³²; the next ceiling is twice as high.
    ///
    /// `random` comes from what the client has for its masking keys: `u32::from_ne_bytes(keys.masking_key())` of
    /// `blocking::SystemKeys`, or the chip's generator. Where all clients draw the same number all come back at once.
    #[must_use]
    pub fn wait(&mut self, random: u32) -> Duration {
        let share = u64::from(self.ceiling).wrapping_mul(u64::from(random)) >> 32;
        self.ceiling = self.ceiling.saturating_mul(2).min(self.longest);
        Duration::from_millis(share)
    }

    /// The ceiling is as low as at the beginning: for when a connection has proved stable. Not as soon as one is
    /// open: a server that accepts each client and drops it at once would be asked without a pause.
    pub fn reset(&mut self) {
        self.ceiling = self.first;
    }
}

const fn millis(duration: Duration) -> u32 {
    let millis = duration.as_millis();
    if millis < u32::MAX as u128 { millis as u32 } else { u32::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOP: u32 = u32::MAX;

    #[test]
    fn the_ceiling_doubles_up_to_the_longest() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        // The largest random number is one step below the ceiling.
        for ceiling in [1000, 2000, 4000, 5000, 5000] {
            assert_eq!(backoff.wait(TOP), Duration::from_millis(ceiling - 1));
        }
        backoff.reset();
        assert_eq!(backoff.wait(TOP), Duration::from_millis(999));
    }

    #[test]
    fn a_first_wait_of_nothing_grows() {
        let mut backoff = Backoff::new(Duration::ZERO, Duration::from_secs(5));
        let waits: u128 = (0..20).map(|_| backoff.wait(TOP).as_millis()).sum();
        assert!(waits > 5_000, "{waits}");
        assert_eq!(Backoff::new(Duration::ZERO, Duration::ZERO).wait(TOP), Duration::ZERO);
    }

    #[test]
    fn the_share_is_linear() {
        for (random, millis) in [(0, 0), (1, 0), (1 << 30, 250), (1 << 31, 500), (3 << 30, 750)] {
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
            assert_eq!(backoff.wait(random), Duration::from_millis(millis), "{random}");
        }
    }

    #[test]
    fn no_duration_is_too_long_and_none_too_short() {
        let mut backoff = Backoff::new(Duration::MAX, Duration::MAX);
        let longest = Duration::from_millis(u64::from(TOP) - 1);
        assert_eq!((backoff.wait(TOP), backoff.wait(TOP)), (longest, longest));
        // A first wait longer than the longest is as long as that.
        let mut backoff = Backoff::new(Duration::from_secs(9), Duration::from_secs(3));
        assert_eq!(backoff.wait(TOP), Duration::from_millis(2999));
        let mut none = Backoff::new(Duration::ZERO, Duration::ZERO);
        assert_eq!((none.wait(TOP), none.wait(TOP)), (Duration::ZERO, Duration::ZERO));
    }
}
