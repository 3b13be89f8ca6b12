//! Whole messages, and their assembly from frames (RFC 6455 §5.4).

#![forbid(unsafe_code)]

pub(crate) mod message_ref;
#[cfg(feature = "bytes")]
pub(crate) mod owned;
#[cfg(feature = "hub")]
mod prepared;

mod storage;
mod whole;

#[cfg(feature = "hub")]
pub use prepared::Prepared;
pub use storage::{ArrayStorage, MessageStorage, SliceStorage};
pub use whole::WholeMessages;

use crate::error::MessageTooBig;
use crate::event::Chunk;
use crate::frame::Kind;
use message_ref::MessageRef;

/// Assembles messages from the chunks of their frames. [`Limits::message`](crate::config::Limits::message) bounds how far a growing
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
    Skipping,
    Open,
    Complete,
}

impl<S: MessageStorage> Assembler<S> {
    /// Creates an assembler with memory for one message.
    #[must_use]
    pub const fn new(storage: S) -> Self {
        Self { storage, kind: Kind::Binary, state: State::Skipping }
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
            self.state = State::Open;
        }
        if self.state == State::Open {
            if let Err(full) = self.storage.push(&data.payload) {
                self.storage.clear();
                self.state = State::Skipping;
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
    pub fn as_bytes(&self) -> &[u8] {
        self.storage.as_bytes()
    }

    /// Returns the message; `None` if it is not complete.
    #[must_use]
    pub fn message(&self) -> Option<MessageRef<'_>> {
        let payload = (self.state == State::Complete).then(|| self.as_bytes())?;
        MessageRef::new(self.kind, payload.into())
    }

    /// Returns the message as text; `None` if it is binary or not complete.
    #[must_use]
    pub fn to_str(&self) -> Option<&str> {
        match self.message()? {
            MessageRef::Text(text) => Some(text),
            MessageRef::Binary(_) => None,
        }
    }

    /// Forgets the message, and frees memory of which the storage has much.
    pub fn clear(&mut self) {
        self.storage.clear();
        self.state = State::Skipping;
    }

    /// Returns the storage with the assembled bytes.
    pub fn into_inner(self) -> S {
        self.storage
    }
}
