//! The time slice of one session, and its result.

#![forbid(unsafe_code)]

use alloc::vec::Vec;

use crate::session::Outcome;
use crate::time::Instant;

/// The most bytes that one session may receive and send in a turn.
pub(super) const BYTES: usize = 64 * 1024;
/// The most steps of one session in a turn.
pub(super) const STEPS: usize = 64;

/// The result of a turn.
pub(super) enum Turn {
    /// There is nothing to do until the socket is ready or this deadline passes.
    Wait(Option<Instant>),
    /// There is more to do after the other sessions' turns.
    Again,
    Ended(Outcome),
    /// The application takes over the request, with these bytes.
    HandOver(Vec<u8>),
}
