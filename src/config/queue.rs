//! How many messages may be pending for one peer.

#![forbid(unsafe_code)]

use crate::close::CloseCode;

/// Limits what is pending for one session, and says what happens beyond.
///
/// An empty queue takes a message of any size. If that is larger than `bytes`, it is not counted: the backlog limits
/// what waits after it. A message that has begun is counted until the transport has taken all of it.
///
/// A hub executes 64 commands in a turn, and then writes. More than the backlog in one turn overflows, however fast
/// the peer reads.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueLimits {
    /// The most messages, at least one. Default: 256.
    pub messages: usize,
    /// The most bytes. Default: 1 MiB.
    pub bytes: usize,
    /// What happens to a message beyond the limits. Default: [`Overflow::DropNewest`].
    pub overflow: Overflow,
}

/// What happens to a message that exceeds the backlog. The hub drops whole messages only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The new message is lost.
    DropNewest,
    /// The oldest messages that have not begun are lost instead, if that makes enough room.
    DropOldest,
    /// The new message is lost, and the session is closed with this code, such as 1008 or 1013, after the messages
    /// that were queued before.
    Close(CloseCode),
}
