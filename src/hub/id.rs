//! Names of sessions.

#![forbid(unsafe_code)]

use core::fmt;

/// The name of a session. A hub never gives the same id to two sessions, so that what is meant for a session that has ended
/// reaches nobody.
///
/// Ids are numbers that a hub gives in the order in which it accepts transports. An id is displayed as its number, which is
/// that of [`get`](Self::get).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u64);

impl Id {
    pub(super) const FIRST: Self = Self(0);

    /// The id as a number: for logs and for other languages.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The id with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The id after this one. At a million sessions a second the numbers last for half a million years.
    pub(super) const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// The key under which a driver watches the session's transport: unlike the id, it may serve a later session too. The
    /// largest keys that a `usize` of 32 bits can hold stay free for a driver's own use.
    pub(super) const fn key(self) -> usize {
        (self.0 & 0x7FFF_FFFF) as usize
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({})", self.0)
    }
}
