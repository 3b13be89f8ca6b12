//! The ids of sessions.

#![forbid(unsafe_code)]

use core::fmt;

/// Identifies a session. A hub never gives the same id to two sessions, so that a message for a session that has
/// ended reaches no other session.
///
/// Ids are numbers that a hub gives in the order in which it accepts transports. An id is displayed as the number
/// that [`get`](Self::get) returns.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SessionId(u64);

impl SessionId {
    pub(super) const FIRST: Self = Self(0);

    /// Returns the id as a number: for logs and for other languages.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Creates the id with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the next id. At a million sessions a second the numbers last for half a million years.
    pub(super) const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// The key under which a driver watches the session's transport. Unlike the id, a later session may reuse it. The
    /// largest keys that a `usize` of 32 bits can hold stay free for a driver's own use.
    pub(super) const fn key(self) -> usize {
        (self.0 & 0x7FFF_FFFF) as usize
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({})", self.0)
    }
}
