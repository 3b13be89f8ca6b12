//! Whole messages in an array.

#![forbid(unsafe_code)]

use core::fmt;

use super::message_ref::MessageRef;
use super::storage::{ArrayStorage, MessageStorage};
use crate::error::MessageTooBig;
use crate::frame::Kind;

/// An owned whole message of at most `N` bytes, without a heap: for queues between the tasks of firmware.
///
/// ```
/// use sansocket::MessageRef;
/// use sansocket::message::ArrayMessage;
///
/// let message = ArrayMessage::<32>::format(format_args!("{{\"celsius\":{}}}", 21))?;
/// assert_eq!(MessageRef::from(&message), MessageRef::Text("{\"celsius\":21}"));
/// assert!(ArrayMessage::<4>::text("hello").is_err());
/// # Ok::<_, sansocket::error::MessageTooBig>(())
/// ```
#[derive(Clone)]
pub struct ArrayMessage<const N: usize> {
    kind: Kind,
    storage: ArrayStorage<N>,
}

impl<const N: usize> ArrayMessage<N> {
    /// Creates a text message.
    ///
    /// # Errors
    /// [`MessageTooBig`]: the text has more than `N` bytes.
    pub fn text(text: &str) -> Result<Self, MessageTooBig> {
        Self::new(Kind::Text, text.as_bytes())
    }

    /// Creates a binary message.
    ///
    /// # Errors
    /// [`MessageTooBig`]: there are more than `N` bytes.
    pub fn binary(bytes: &[u8]) -> Result<Self, MessageTooBig> {
        Self::new(Kind::Binary, bytes)
    }

    /// Creates a text message of what is formatted.
    ///
    /// # Errors
    /// [`MessageTooBig`]: the text has more than `N` bytes, or its formatting failed.
    pub fn format(text: fmt::Arguments<'_>) -> Result<Self, MessageTooBig> {
        let mut storage = ArrayStorage::new();
        fmt::write(&mut Appended(&mut storage), text).map_err(|fmt::Error| MessageTooBig)?;
        Ok(Self { kind: Kind::Text, storage })
    }

    fn new(kind: Kind, payload: &[u8]) -> Result<Self, MessageTooBig> {
        let mut storage = ArrayStorage::new();
        storage.push(payload)?;
        Ok(Self { kind, storage })
    }
}

/// Appends what is formatted.
struct Appended<'a, const N: usize>(&'a mut ArrayStorage<N>);

impl<const N: usize> fmt::Write for Appended<'_, N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push(text.as_bytes()).map_err(|MessageTooBig| fmt::Error)
    }
}

impl<'m, const N: usize> From<&'m ArrayMessage<N>> for MessageRef<'m> {
    fn from(message: &'m ArrayMessage<N>) -> Self {
        // A text is UTF-8, as it was made from texts.
        let payload = message.storage.as_bytes();
        Self::new(message.kind, payload.into()).unwrap_or(Self::Binary(payload))
    }
}

impl<const N: usize> fmt::Debug for ArrayMessage<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        MessageRef::from(self).fmt(f)
    }
}
