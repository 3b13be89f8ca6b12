//! Delays between attempts to reconnect.

#![forbid(unsafe_code)]

use core::time::Duration;

/// Computes the delays between a client's attempts to reconnect: random times below a ceiling that doubles with each attempt.
///
/// > The first reconnect attempt SHOULD be delayed by a random amount of time. [...] Should the first reconnect
/// > attempt fail, subsequent reconnect attempts SHOULD be delayed by increasingly longer amounts of time, using a
/// > method such as truncated binary exponential backoff. (RFC 6455 §7.2.3)
///
/// Each delay is uniformly distributed below the ceiling ("full jitter"), so that the clients of a server that restarts do not
/// reconnect all at once.
///
/// ```
/// use core::time::Duration;
/// use sansocket::session::Backoff;
///
/// let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// let random = || 0x8000_0000; // from a generator, which need not be a cryptographic one
/// assert_eq!(backoff.next_delay(random()), Duration::from_millis(500));
/// assert_eq!(backoff.next_delay(random()), Duration::from_millis(1000));
/// // The connection has lasted for a while:
/// backoff.reset();
/// assert_eq!(backoff.next_delay(random()), Duration::from_millis(500));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: u32,
    longest: u32,
    /// The ceiling of the next delay, in milliseconds.
    ceiling: u32,
}

impl Backoff {
    /// Creates a backoff whose first delay is shorter than `first`, and every delay shorter than `longest`. Both are rounded
    /// down to milliseconds and limited to 49 days. A `first` above `longest` counts as `longest`.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        let (first, longest) = (millis(first), millis(longest));
        // A ceiling of 0 would never grow.
        let first = if first == 0 { 1 } else { first };
        let first = if first < longest { first } else { longest };
        Self { first, longest, ceiling: first }
    }

    /// Returns the delay before the next attempt, which is the ceiling times `random` / 2³², and doubles the ceiling.
    ///
    /// Take `random` from the chip's generator, or from the source of the masking keys: `proto::SystemKeys` on a host. Clients
    /// that use equal numbers reconnect at the same time.
    ///
    /// ```
    /// # #[cfg(feature = "std")]
    /// # fn main() -> std::io::Result<()> {
    /// use core::time::Duration;
    /// use sansocket::proto::{MaskingKey, SystemKeys};
    /// use sansocket::session::Backoff;
    ///
    /// let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
    /// let mut keys = SystemKeys::new()?;
    /// let delay = backoff.next_delay(u32::from_ne_bytes(keys.masking_key()));
    /// assert!(delay < Duration::from_secs(1));
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "std"))]
    /// # fn main() {}
    /// ```
    #[must_use]
    pub fn next_delay(&mut self, random: u32) -> Duration {
        let share = u64::from(self.ceiling).wrapping_mul(u64::from(random)) >> 32;
        self.ceiling = self.ceiling.saturating_mul(2).min(self.longest);
        Duration::from_millis(share)
    }

    /// Resets the ceiling to the first one. Call it when a connection has been stable for a while, for example a minute, and not
    /// as soon as it is open: otherwise a client retries every second at a server that accepts each connection and drops it.
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
            assert_eq!(backoff.next_delay(TOP), Duration::from_millis(ceiling - 1));
        }
        backoff.reset();
        assert_eq!(backoff.next_delay(TOP), Duration::from_millis(999));
    }

    #[test]
    fn a_first_wait_of_nothing_grows() {
        let mut backoff = Backoff::new(Duration::ZERO, Duration::from_secs(5));
        let waits: u128 = (0..20).map(|_| backoff.next_delay(TOP).as_millis()).sum();
        assert!(waits > 5_000, "{waits}");
        assert_eq!(Backoff::new(Duration::ZERO, Duration::ZERO).next_delay(TOP), Duration::ZERO);
    }

    #[test]
    fn the_share_is_linear() {
        for (random, millis) in [(0, 0), (1, 0), (1 << 30, 250), (1 << 31, 500), (3 << 30, 750)] {
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
            assert_eq!(backoff.next_delay(random), Duration::from_millis(millis), "{random}");
        }
    }

    #[test]
    fn every_duration_is_taken() {
        let mut backoff = Backoff::new(Duration::MAX, Duration::MAX);
        let longest = Duration::from_millis(u64::from(TOP) - 1);
        assert_eq!((backoff.next_delay(TOP), backoff.next_delay(TOP)), (longest, longest));
        // A first wait longer than the longest is as long as that.
        let mut backoff = Backoff::new(Duration::from_secs(9), Duration::from_secs(3));
        assert_eq!(backoff.next_delay(TOP), Duration::from_millis(2999));
        let mut none = Backoff::new(Duration::ZERO, Duration::ZERO);
        assert_eq!((none.next_delay(TOP), none.next_delay(TOP)), (Duration::ZERO, Duration::ZERO));
    }
}
