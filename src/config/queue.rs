//! How many messages may be pending for one peer.

#![forbid(unsafe_code)]

use crate::close::CloseCode;

/// Limits what is pending for one peer: for a session, of what is sent to it through the hub, and for a connection on tokio, of
/// what its `tokio::Sender`s send. Says what happens beyond.
///
/// An empty queue takes a message of any size. If that is larger than `bytes`, it is not counted: the limits apply to
/// what waits after it. A message that has begun is counted until the transport has taken all of it.
///
/// A hub executes 64 commands in a turn, and then writes. More than the limits in one turn overflows, however fast
/// the peer reads.
///
/// ```
/// use sansocket::CloseCode;
/// use sansocket::config::{Overflow, QueueLimits};
///
/// const LIMITS: QueueLimits =
///     QueueLimits::new().messages(32).bytes(64 * 1024).overflow(Overflow::Close(CloseCode::POLICY_VIOLATION));
///
/// # #[cfg(feature = "hub")] {
/// let settings = sansocket::hub::HubSettings::default().queue(LIMITS);
/// assert_eq!(settings.queue.messages, 32);
/// # }
/// # #[cfg(feature = "tokio")] {
/// let options = sansocket::tokio::SplitOptions::new().queue(LIMITS);
/// assert_eq!(options.queue.messages, 32);
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueLimits {
    /// The most messages, at least one. Default: 256.
    pub messages: usize,
    /// The most bytes. Default: 1 MiB.
    pub bytes: usize,
    /// What happens to a message beyond the limits. Default: [`Overflow::DropNewest`].
    pub overflow: Overflow,
}

/// What happens to a message that exceeds the [`QueueLimits`]. Only whole messages are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Overflow {
    /// The new message is lost.
    DropNewest,
    /// The oldest messages that have not begun are lost instead, if that makes enough room.
    DropOldest,
    /// The new message is lost, and the session or connection is closed with this code, such as 1008 or 1013, after the messages
    /// that were queued before.
    Close(CloseCode),
}

impl QueueLimits {
    /// Creates the default limits; the setters below change single fields.
    #[must_use]
    pub const fn new() -> Self {
        Self { messages: 256, bytes: 1024 * 1024, overflow: Overflow::DropNewest }
    }

    /// Sets [`messages`](Self#structfield.messages): the most messages.
    #[must_use]
    pub const fn messages(mut self, most: usize) -> Self {
        self.messages = most;
        self
    }

    /// Sets [`bytes`](Self#structfield.bytes): the most bytes.
    #[must_use]
    pub const fn bytes(mut self, most: usize) -> Self {
        self.bytes = most;
        self
    }

    /// Sets [`overflow`](Self#structfield.overflow): what happens to a message beyond the limits.
    #[must_use]
    pub const fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Returns whether a message of `len` bytes may wait after so many messages of so many bytes in all, of which the first
    /// has `first`; `None` if there are none.
    pub(crate) fn has_room(&self, messages: usize, bytes: usize, first: Option<usize>, len: usize) -> bool {
        let Some(first) = first else { return true };
        // A message that an empty queue took although it is larger than the limit is not counted.
        let large = if first > self.bytes { first } else { 0 };
        messages < self.messages && bytes.saturating_sub(large).saturating_add(len) <= self.bytes
    }
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self::new()
    }
}
