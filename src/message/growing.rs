//! Memory for a message whose length is known in part.

#![forbid(unsafe_code)]

use alloc::vec::Vec;

use super::MessageStorage;
use crate::error::MessageTooBig;

/// A `Vec` that grows to exactly the announced size of a message. Up to [`AT_ONCE`] bytes are reserved at once; beyond that the
/// capacity is at most four times what has arrived, because a peer may announce more than it sends.
#[derive(Debug, Default)]
pub(crate) struct Growing(pub(crate) Vec<u8>);

/// The most bytes that are reserved before any has arrived.
const AT_ONCE: usize = 256 * 1024;

impl Growing {
    /// Makes room for at least `len` bytes. `left`, which is at least `len`, is how many bytes of the frame have not arrived. With
    /// `last` no other frame follows.
    pub(crate) fn reserve(&mut self, len: usize, left: u64, last: bool) -> Result<(), MessageTooBig> {
        let Self(bytes) = self;
        if bytes.capacity().saturating_sub(bytes.len()) >= len {
            return Ok(());
        }
        let most = AT_ONCE.max(bytes.len().saturating_mul(4)).saturating_sub(bytes.len());
        let more = usize::try_from(left).unwrap_or(usize::MAX).min(most).max(len);
        let reserved = if last { bytes.try_reserve_exact(more) } else { bytes.try_reserve(more) };
        reserved.map_err(|_| MessageTooBig)
    }
}

impl MessageStorage for Growing {
    fn push(&mut self, piece: &[u8]) -> Result<(), MessageTooBig> {
        MessageStorage::push(&mut self.0, piece)
    }

    /// Keeps the reserved memory.
    fn clear(&mut self) {
        self.0.clear();
    }

    fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
