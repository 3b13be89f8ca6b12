//! Whole messages, and their assembly from frames (RFC 6455 §5.4).

#![forbid(unsafe_code)]

mod message_ref;
#[cfg(feature = "bytes")]
mod owned;

pub use message_ref::MessageRef;
#[cfg(feature = "bytes")]
pub use owned::Message;

use crate::buffer::copy;
use crate::event::{Data, Payload};
use crate::frame::Kind;

/// Memory for a message: a slice ([`Fixed`]), with `alloc` a `Vec`, with `bytes` a `BytesMut`.
pub trait Storage {
    /// Appends `piece`.
    ///
    /// # Errors
    /// [`Full`] if it does not fit; the storage is then unchanged.
    fn push(&mut self, piece: &[u8]) -> Result<(), Full>;
    /// Removes all bytes.
    fn clear(&mut self);
    /// Returns the bytes.
    fn bytes(&self) -> &[u8];
}

/// Capacity: the message is larger than the memory for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message is larger than the memory for it")]
pub struct Full;

/// Assembles messages from the chunks of their frames. [`Limits::message`](crate::Limits::message) bounds how far a growing
/// storage grows.
#[derive(Debug)]
pub struct Assembler<S> {
    storage: S,
    kind: Kind,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The current message did not fit, or its first chunk was not pushed: the rest of it is skipped.
    Passed,
    Open,
    Complete,
}

impl<S: Storage> Assembler<S> {
    /// Creates an assembler with memory for one message.
    #[must_use]
    pub const fn new(storage: S) -> Self {
        Self { storage, kind: Kind::Binary, state: State::Passed }
    }

    /// Appends the next chunk. Returns the kind of the message if it is complete; [`bytes`](Self::bytes) then returns its
    /// payload, until the next message begins. A handler that returns [`Halt::Blocked`](crate::Halt::Blocked) with the whole
    /// chunk as taken gets the last chunk again with an empty payload, for which `push` returns the kind again.
    ///
    /// # Errors
    /// [`Full`], once for each message that does not fit. The rest of that message is skipped; the next message is assembled
    /// as usual.
    pub fn push(&mut self, data: &Data<Payload<'_>>) -> Result<Option<Kind>, Full> {
        if data.start {
            self.storage.clear();
            self.kind = data.kind;
            self.state = State::Open;
        }
        if self.state == State::Open {
            if let Err(full) = self.storage.push(&data.payload) {
                self.storage.clear();
                self.state = State::Passed;
                return Err(full);
            }
            if data.end {
                self.state = State::Complete;
            }
        }
        Ok((self.state == State::Complete).then_some(self.kind))
    }

    /// Returns the assembled bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.storage.bytes()
    }

    /// Returns the message as text; `None` if it is binary or not complete.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        let whole = self.state == State::Complete && self.kind == Kind::Text;
        if whole { core::str::from_utf8(self.bytes()).ok() } else { None }
    }

    /// Returns the storage with the assembled bytes.
    pub fn into_inner(self) -> S {
        self.storage
    }
}

/// A slice as [`Storage`] for a message.
#[derive(Debug)]
pub struct Fixed<'m> {
    memory: &'m mut [u8],
    len: usize,
}

impl<'m> Fixed<'m> {
    /// Creates an empty storage in borrowed memory.
    #[must_use]
    pub const fn new(memory: &'m mut [u8]) -> Self {
        Self { memory, len: 0 }
    }
}

impl Storage for Fixed<'_> {
    fn push(&mut self, piece: &[u8]) -> Result<(), Full> {
        let free = self.memory.get_mut(self.len..).unwrap_or_default();
        if piece.len() > free.len() {
            return Err(Full);
        }
        self.len = self.len.saturating_add(copy(free, piece));
        Ok(())
    }

    fn clear(&mut self) {
        self.len = 0;
    }

    fn bytes(&self) -> &[u8] {
        self.memory.get(..self.len).unwrap_or_default()
    }
}

#[cfg(feature = "alloc")]
impl Storage for alloc::vec::Vec<u8> {
    fn push(&mut self, piece: &[u8]) -> Result<(), Full> {
        self.try_reserve(piece.len()).map_err(|_| Full)?;
        self.extend_from_slice(piece);
        Ok(())
    }

    fn clear(&mut self) {
        self.clear();
    }

    fn bytes(&self) -> &[u8] {
        self
    }
}

#[cfg(feature = "bytes")]
impl Storage for bytes::BytesMut {
    fn push(&mut self, piece: &[u8]) -> Result<(), Full> {
        // `BytesMut::reserve` aborts if there is no memory. `Vec` reports that.
        if !self.try_reclaim(piece.len()) {
            let len = self.len().saturating_add(piece.len());
            let mut grown = alloc::vec::Vec::new();
            grown.try_reserve_exact(len.max(self.capacity().saturating_mul(2))).map_err(|_| Full)?;
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

    fn bytes(&self) -> &[u8] {
        self
    }
}
