//! Owned whole messages.

#![forbid(unsafe_code)]

use alloc::string::String;
use alloc::vec::Vec;
use core::str::Utf8Error;

use bytes::Bytes;

use super::Utf8Bytes;
use crate::close::CloseCode;
#[cfg(feature = "tokio")]
use crate::frame::MAX_CONTROL_PAYLOAD;

/// An owned message: text, binary, or a control frame (RFC 6455 §5.5, §5.6). A clone shares the bytes.
///
/// ```
/// use sansocket::Message;
///
/// let message = Message::from("hello");
/// match &message {
///     Message::Text(text) => assert_eq!(text.to_uppercase(), "HELLO"),
///     Message::Binary(bytes) => assert_eq!(bytes[0], 1),
///     Message::Ping(_) | Message::Pong(_) | Message::Close(_) => {}
/// }
/// ```
///
/// What is received is one allocation of exactly its size. A Ping and a Close are answered by the connection before they are
/// returned, unless the mode is [`ControlFrames::Manual`](crate::config::ControlFrames::Manual). With
/// [`ControlFrames::Automatic`](crate::config::ControlFrames::Automatic), the default, no control frame is returned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Text.
    Text(Utf8Bytes),
    /// Any bytes.
    Binary(Bytes),
    /// A Ping, with at most 125 bytes. The peer answers it with a Pong of the same payload.
    Ping(Bytes),
    /// A Pong, with at most 125 bytes: the answer to a Ping, or unsolicited (RFC 6455 §5.5.3).
    Pong(Bytes),
    /// A Close, with a code and a reason or without both. Nothing follows it. To send it begins the closing handshake, or, if
    /// that has begun, does nothing.
    Close(Option<CloseFrame>),
}

/// The code and the reason of a Close (RFC 6455 §5.5.1).
///
/// ```
/// use sansocket::message::CloseFrame;
/// use sansocket::{CloseCode, Message};
///
/// let close = Message::Close(Some(CloseFrame { code: CloseCode::NORMAL, reason: "bye".into() }));
/// assert_eq!(close.to_text(), Ok("bye"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CloseFrame {
    /// The code.
    pub code: CloseCode,
    /// The reason. It is sent cut after 123 bytes, at a character.
    pub reason: Utf8Bytes,
}

impl Message {
    /// Creates a text message.
    #[must_use]
    pub fn text(text: impl Into<Utf8Bytes>) -> Self {
        Self::Text(text.into())
    }

    /// Creates a binary message.
    #[must_use]
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        Self::Binary(bytes.into())
    }

    /// Returns whether the message is text or binary, not a control frame.
    #[must_use]
    pub const fn is_data(&self) -> bool {
        matches!(self, Self::Text(_) | Self::Binary(_))
    }

    /// Returns the payload; of a Close, the reason.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) | Self::Ping(bytes) | Self::Pong(bytes) => bytes,
            Self::Close(frame) => frame.as_ref().map_or(&[], |frame| frame.reason.as_bytes()),
        }
    }

    /// Returns the payload as text; of a Close, the reason.
    ///
    /// # Errors
    /// The payload is not UTF-8.
    pub fn to_text(&self) -> Result<&str, Utf8Error> {
        match self {
            Self::Text(text) => Ok(text),
            _ => core::str::from_utf8(self.as_bytes()),
        }
    }

    /// Returns the payload; of a Close, the reason. Nothing is copied.
    #[must_use]
    pub fn into_data(self) -> Bytes {
        match self {
            Self::Text(text) => text.into(),
            Self::Binary(bytes) | Self::Ping(bytes) | Self::Pong(bytes) => bytes,
            Self::Close(frame) => frame.map(|frame| frame.reason).unwrap_or_default().into(),
        }
    }

    /// Returns the payload as text; of a Close, the reason. Nothing is copied.
    ///
    /// # Errors
    /// The payload is not UTF-8.
    pub fn into_text(self) -> Result<Utf8Bytes, Utf8Error> {
        match self {
            Self::Text(text) => Ok(text),
            other => other.into_data().try_into(),
        }
    }
}

impl Message {
    /// Returns whether it is a Ping or Pong with more than the 125 bytes that one carries. A Close is cut.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_too_long(&self) -> bool {
        matches!(self, Self::Ping(payload) | Self::Pong(payload) if payload.len() > MAX_CONTROL_PAYLOAD)
    }
}

#[cfg(feature = "std")]
impl CloseFrame {
    /// Splits a Close into its code and its reason, which is empty without a code.
    pub(crate) fn split(frame: Option<&Self>) -> (Option<CloseCode>, &str) {
        frame.map_or((None, ""), |frame| (Some(frame.code), &*frame.reason))
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

impl From<Utf8Bytes> for Message {
    fn from(text: Utf8Bytes) -> Self {
        Self::Text(text)
    }
}

impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Self {
        Self::Binary(Bytes::copy_from_slice(bytes))
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

impl From<Message> for Bytes {
    fn from(message: Message) -> Self {
        message.into_data()
    }
}

impl From<Message> for Vec<u8> {
    fn from(message: Message) -> Self {
        message.into_data().into()
    }
}
