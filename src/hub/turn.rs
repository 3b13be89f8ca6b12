//! What one session may do at a time, and what comes of it.

#![forbid(unsafe_code)]

use alloc::vec::Vec;

use crate::handler::Outcome;
use crate::time::Instant;

/// Bytes that one session may receive and send before the others have their turn.
pub(super) const BYTES: usize = 64 * 1024;
/// Steps of one session before the others have their turn.
pub(super) const STEPS: usize = 64;

/// What a turn led to.
pub(super) enum Turn {
    /// Nothing to do until the socket is ready or the time has come.
    Wait(Option<Instant>),
    /// There is more to do, but the others go first.
    Again,
    Ended(Outcome),
    /// The request belongs to somebody else, with these bytes.
    HandOver(Vec<u8>),
}
