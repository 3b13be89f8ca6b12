//! Names of sessions.

#![forbid(unsafe_code)]

use core::fmt;

/// The name of a session, for as long as its hub lives: no later session gets it again, so that what is meant
/// for one that has ended reaches nobody.
///
/// Written as its number, like [`get`](Self::get).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

impl Id {
    /// As one number: for logs and for other languages.
    #[must_use]
    pub const fn get(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    /// From that number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self { slot: number as u32, generation: (number >> 32) as u32 }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.get(), f)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({})", self.get())
    }
}
