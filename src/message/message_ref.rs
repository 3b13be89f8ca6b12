//! Borrowed whole messages.

#![forbid(unsafe_code)]

use crate::event::Payload;
use crate::frame::Kind;

/// A borrowed whole message: text or binary (RFC 6455 §5.6).
///
/// Strings and bytes convert into it, so that a function with a parameter `impl Into<MessageRef<'_>>` takes both:
///
/// ```
/// use sansocket::MessageRef;
///
/// assert_eq!(MessageRef::from("hello"), MessageRef::Text("hello"));
/// assert_eq!(MessageRef::from(&[1, 2]), MessageRef::Binary(&[1, 2]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum MessageRef<'m> {
    /// Text.
    Text(&'m str),
    /// Any bytes.
    Binary(&'m [u8]),
}

impl<'m> MessageRef<'m> {
    /// Makes a message of a kind; `None` if the kind is text, and the payload is not UTF-8.
    pub(crate) fn new(kind: Kind, payload: Payload<'m>) -> Option<Self> {
        match kind {
            Kind::Text => payload.to_str().map(Self::Text),
            Kind::Binary => Some(Self::Binary(payload.as_bytes())),
        }
    }

    /// Returns whether the message is text or binary.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Text(_) => Kind::Text,
            Self::Binary(_) => Kind::Binary,
        }
    }

    /// Returns the payload.
    #[must_use]
    pub const fn as_bytes(self) -> &'m [u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

impl<'m> From<&'m str> for MessageRef<'m> {
    fn from(text: &'m str) -> Self {
        Self::Text(text)
    }
}

impl<'m> From<&'m [u8]> for MessageRef<'m> {
    fn from(bytes: &'m [u8]) -> Self {
        Self::Binary(bytes)
    }
}

impl<'m, const N: usize> From<&'m [u8; N]> for MessageRef<'m> {
    fn from(bytes: &'m [u8; N]) -> Self {
        Self::Binary(bytes)
    }
}

#[cfg(feature = "alloc")]
impl<'m> From<&'m alloc::string::String> for MessageRef<'m> {
    fn from(text: &'m alloc::string::String) -> Self {
        Self::Text(text)
    }
}

#[cfg(feature = "alloc")]
impl<'m> From<&'m alloc::vec::Vec<u8>> for MessageRef<'m> {
    fn from(bytes: &'m alloc::vec::Vec<u8>) -> Self {
        Self::Binary(bytes)
    }
}
