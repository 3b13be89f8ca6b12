//! Whole messages, and their assembly from frames (RFC 6455 §5.4).

#![forbid(unsafe_code)]

pub(crate) mod message_ref;
#[cfg(feature = "bytes")]
pub(crate) mod owned;
#[cfg(feature = "hub")]
mod prepared;

#[cfg(feature = "hub")]
pub use prepared::Prepared;

use crate::buffer::copy;
use crate::error::MessageTooBig;
use crate::event::Chunk;
use crate::frame::Kind;

/// Memory for a message: a slice ([`SliceStorage`]), with `alloc` a `Vec`, with `bytes` a `BytesMut`.
pub trait MessageStorage {
    /// Appends `piece`.
    ///
    /// # Errors
    /// [`MessageTooBig`] if it does not fit; the storage is then unchanged.
    fn push(&mut self, piece: &[u8]) -> Result<(), MessageTooBig>;
    /// Removes all bytes.
    fn clear(&mut self);
    /// Returns the bytes.
    fn as_bytes(&self) -> &[u8];
}

/// Assembles messages from the chunks of their frames. [`Limits::message`](crate::config::Limits::message) bounds how far a growing
/// storage grows.
#[derive(Debug)]
pub struct Assembler<S> {
    storage: S,
    kind: Kind,
    state: ConnectionState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConnectionState {
    /// The current message did not fit, or its first chunk was not pushed: the rest of it is skipped.
    Passed,
    Open,
    Complete,
}

impl<S: MessageStorage> Assembler<S> {
    /// Creates an assembler with memory for one message.
    #[must_use]
    pub const fn new(storage: S) -> Self {
        Self { storage, kind: Kind::Binary, state: ConnectionState::Passed }
    }

    /// Appends the next chunk. Returns the kind of the message if it is complete; [`bytes`](Self::bytes) then returns its
    /// payload, until the next message begins. A handler that returns [`HandlerError::Blocked`](crate::HandlerError::Blocked) with the whole
    /// chunk as taken gets the last chunk again with an empty payload, for which `push` returns the kind again.
    ///
    /// # Errors
    /// [`MessageTooBig`], once for each message that does not fit. The rest of that message is skipped; the next message is assembled
    /// as usual.
    pub fn push(&mut self, data: &Chunk<'_>) -> Result<Option<Kind>, MessageTooBig> {
        if data.start {
            self.storage.clear();
            self.kind = data.kind;
            self.state = ConnectionState::Open;
        }
        if self.state == ConnectionState::Open {
            if let Err(full) = self.storage.push(&data.payload) {
                self.storage.clear();
                self.state = ConnectionState::Passed;
                return Err(full);
            }
            if data.end {
                self.state = ConnectionState::Complete;
            }
        }
        Ok((self.state == ConnectionState::Complete).then_some(self.kind))
    }

    /// Returns the assembled bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.storage.as_bytes()
    }

    /// Returns the message as text; `None` if it is binary or not complete.
    #[must_use]
    pub fn to_str(&self) -> Option<&str> {
        let whole = self.state == ConnectionState::Complete && self.kind == Kind::Text;
        if whole { core::str::from_utf8(self.as_bytes()).ok() } else { None }
    }

    /// Returns the storage with the assembled bytes.
    pub fn into_inner(self) -> S {
        self.storage
    }
}

/// A slice as [`MessageStorage`] for a message.
#[derive(Debug)]
pub struct SliceStorage<'m> {
    memory: &'m mut [u8],
    len: usize,
}

impl<'m> SliceStorage<'m> {
    /// Creates an empty storage in borrowed memory.
    #[must_use]
    pub const fn new(memory: &'m mut [u8]) -> Self {
        Self { memory, len: 0 }
    }
}

impl MessageStorage for SliceStorage<'_> {
    fn push(&mut self, piece: &[u8]) -> Result<(), MessageTooBig> {
        let free = self.memory.get_mut(self.len..).unwrap_or_default();
        if piece.len() > free.len() {
            return Err(MessageTooBig);
        }
        self.len = self.len.saturating_add(copy(free, piece));
        Ok(())
    }

    fn clear(&mut self) {
        self.len = 0;
    }

    fn as_bytes(&self) -> &[u8] {
        self.memory.get(..self.len).unwrap_or_default()
    }
}

#[cfg(feature = "alloc")]
impl MessageStorage for alloc::vec::Vec<u8> {
    fn push(&mut self, piece: &[u8]) -> Result<(), MessageTooBig> {
        self.try_reserve(piece.len()).map_err(|_| MessageTooBig)?;
        self.extend_from_slice(piece);
        Ok(())
    }

    fn clear(&mut self) {
        self.clear();
    }

    fn as_bytes(&self) -> &[u8] {
        self
    }
}

#[cfg(feature = "bytes")]
impl MessageStorage for bytes::BytesMut {
    fn push(&mut self, piece: &[u8]) -> Result<(), MessageTooBig> {
        // `BytesMut::reserve` aborts if there is no memory. `Vec` reports that.
        if !self.try_reclaim(piece.len()) {
            let len = self.len().saturating_add(piece.len());
            let mut grown = alloc::vec::Vec::new();
            grown.try_reserve_exact(len.max(self.capacity().saturating_mul(2))).map_err(|_| MessageTooBig)?;
            grown.extend_from_slice(self);
            // Takes over the memory of the `Vec`.
            *self = grown.into_iter().collect();
        }
        self.extend_from_slice(piece);
        Ok(())
    }

    fn clear(&mut self) {
        self.clear();
    }

    fn as_bytes(&self) -> &[u8] {
        self
    }
}
