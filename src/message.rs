//! Messages put together from their frames (RFC 6455 §5.4).

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

/// Memory for a message: a slice, or with `alloc` a `Vec` or a `BytesMut`.
pub trait Storage {
    /// Puts `piece` behind what is here.
    ///
    /// # Errors
    /// [`Full`] where it does not fit, with nothing changed.
    fn push(&mut self, piece: &[u8]) -> Result<(), Full>;
    /// Forgets everything.
    fn clear(&mut self);
    /// What is here.
    fn bytes(&self) -> &[u8];
}

/// Capacity: the message is larger than the memory for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message is larger than the memory for it")]
pub struct Full;

/// Puts the chunks of a message together. [`Limits::message`](crate::Limits::message) bounds what a growing
/// storage holds.
#[derive(Debug)]
pub struct Assembler<S> {
    storage: S,
    kind: Kind,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The message at hand did not fit, or its beginning was not seen: the rest of it is passed over.
    Passed,
    Open,
    Complete,
}

impl<S: Storage> Assembler<S> {
    /// An assembler over memory for one message.
    #[must_use]
    pub const fn new(storage: S) -> Self {
        Self { storage, kind: Kind::Binary, state: State::Passed }
    }

    /// Takes the next chunk; the kind of the message where it is complete, and [`bytes`](Self::bytes) are all
    /// of it. They stay until the next message begins: a chunk that is shown again with nothing left in it, as
    /// a [`Handler`](crate::Handler) may be that said it is blocked, gives the same answer.
    ///
    /// # Errors
    /// [`Full`], once for each message that does not fit; the rest of that message is passed over, and the
    /// stream stays in step.
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

    /// What has been put together.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.storage.bytes()
    }

    /// The same as text: `None` where the message is binary, or not complete.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        let whole = self.state == State::Complete && self.kind == Kind::Text;
        if whole { core::str::from_utf8(self.bytes()).ok() } else { None }
    }

    /// The memory, with what is in it.
    pub fn into_inner(self) -> S {
        self.storage
    }
}

/// A slice as memory for a message.
#[derive(Debug)]
pub struct Fixed<'m> {
    memory: &'m mut [u8],
    len: usize,
}

impl<'m> Fixed<'m> {
    /// Over this memory.
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
        // Where `reserve` would have to allocate it does not return if there is no memory: that is asked of a `Vec`.
        if !self.try_reclaim(piece.len()) {
            let len = self.len().saturating_add(piece.len());
            let mut grown = alloc::vec::Vec::new();
            grown.try_reserve_exact(len.max(self.capacity().saturating_mul(2))).map_err(|_| Full)?;
            grown.extend_from_slice(self);
            // Takes the memory of the `Vec` over.
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
