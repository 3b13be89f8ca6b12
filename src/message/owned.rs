//! Owned whole messages.

#![forbid(unsafe_code)]

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use bytestring::ByteString;

use super::message_ref::MessageRef;
use crate::frame::Kind;

/// An owned whole message: text or binary (RFC 6455 §5.6). A clone shares the bytes.
///
/// ```
/// use sansocket::Message;
///
/// let message = Message::from("hello");
/// match &message {
///     Message::Text(text) => assert_eq!(text.to_uppercase(), "HELLO"),
///     Message::Binary(bytes) => assert_eq!(bytes[0], 1),
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Text. It dereferences to `str`, and converts from and into a `String`.
    Text(ByteString),
    /// Any bytes. They dereference to `[u8]`, and convert from and into a `Vec<u8>`.
    Binary(Bytes),
}

impl Message {
    /// Creates a message of this kind; `None` if the kind is text, and the bytes are not UTF-8.
    #[must_use]
    pub fn new(kind: Kind, bytes: impl Into<Bytes>) -> Option<Self> {
        let bytes = bytes.into();
        match kind {
            Kind::Text => ByteString::try_from(bytes).ok().map(Self::Text),
            Kind::Binary => Some(Self::Binary(bytes)),
        }
    }

    /// Returns the payload.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        MessageRef::from(self).as_bytes()
    }

    /// Returns the text; `None` if the message is binary.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(_) => None,
        }
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<ByteString> for Message {
    fn from(text: ByteString) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes.into())
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

impl<'m> From<&'m Message> for MessageRef<'m> {
    fn from(message: &'m Message) -> Self {
        match message {
            Message::Text(text) => Self::Text(text),
            Message::Binary(bytes) => Self::Binary(bytes),
        }
    }
}
