//! The messages of axum's ws.

use axum_core::Error;
use bytes::Bytes;
use sansocket::message;
pub use sansocket::message::Utf8Bytes;

/// The status code of a Close: a number, as in axum. [`sansocket::CloseCode`] has only those that may be sent.
pub type CloseCode = u16;

/// A message, with the variants of axum's.
///
/// It is not `sansocket::Message`, since the [`CloseCode`] of axum is a number: a program that compares or prints the code, or
/// writes it as a literal, compiles with both crates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Text.
    Text(Utf8Bytes),
    /// Any bytes.
    Binary(Bytes),
    /// A Ping, with at most 125 bytes. The connection has answered one that was received.
    Ping(Bytes),
    /// A Pong, with at most 125 bytes.
    Pong(Bytes),
    /// A Close. The connection has answered one that was received; nothing follows it. To send one begins the closing handshake;
    /// go on with `recv` until it returns `None`.
    Close(Option<CloseFrame>),
}

/// The code and the reason of a Close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseFrame {
    /// The code: see [`close_code`]. To send 1005 sends no code; a code that a Close must not carry is an error of `send`.
    pub code: CloseCode,
    /// The reason. It is sent cut after 123 bytes, at a character.
    pub reason: Utf8Bytes,
}

impl Message {
    /// Creates a text message.
    pub fn text<S>(string: S) -> Self
    where
        S: Into<Utf8Bytes>,
    {
        Self::Text(string.into())
    }

    /// Creates a binary message.
    pub fn binary<B>(bin: B) -> Self
    where
        B: Into<Bytes>,
    {
        Self::Binary(bin.into())
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
    pub fn into_text(self) -> Result<Utf8Bytes, Error> {
        match self {
            Self::Text(text) => Ok(text),
            other => other.into_data().try_into().map_err(Error::new),
        }
    }

    /// Returns the payload as text; of a Close, the reason.
    ///
    /// # Errors
    /// The payload is not UTF-8.
    pub fn to_text(&self) -> Result<&str, Error> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Binary(bytes) | Self::Ping(bytes) | Self::Pong(bytes) => {
                std::str::from_utf8(bytes).map_err(Error::new)
            }
            Self::Close(frame) => Ok(frame.as_ref().map_or("", |frame| &frame.reason)),
        }
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Self {
        Self::Binary(Bytes::copy_from_slice(bytes))
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes.into())
    }
}

impl From<Message> for Vec<u8> {
    fn from(message: Message) -> Self {
        message.into_data().into()
    }
}

impl From<sansocket::Message> for Message {
    fn from(message: sansocket::Message) -> Self {
        match message {
            sansocket::Message::Text(text) => Self::Text(text),
            sansocket::Message::Binary(bytes) => Self::Binary(bytes),
            sansocket::Message::Ping(bytes) => Self::Ping(bytes),
            sansocket::Message::Pong(bytes) => Self::Pong(bytes),
            sansocket::Message::Close(frame) => {
                Self::Close(frame.map(|frame| CloseFrame { code: frame.code.get(), reason: frame.reason }))
            }
        }
    }
}

/// Fails for the code of a Close that must not be sent (RFC 6455 §7.4).
impl TryFrom<Message> for sansocket::Message {
    type Error = InvalidCloseCode;

    fn try_from(message: Message) -> Result<Self, InvalidCloseCode> {
        Ok(match message {
            Message::Text(text) => Self::Text(text),
            Message::Binary(bytes) => Self::Binary(bytes),
            Message::Ping(bytes) => Self::Ping(bytes),
            Message::Pong(bytes) => Self::Pong(bytes),
            // It stands for a Close without a code.
            Message::Close(None | Some(CloseFrame { code: close_code::STATUS, .. })) => Self::Close(None),
            Message::Close(Some(CloseFrame { code, reason })) => {
                let code = sansocket::CloseCode::new(code).ok_or(InvalidCloseCode(code))?;
                Self::Close(Some(message::CloseFrame { code, reason }))
            }
        })
    }
}

/// Caller: a Close must not carry this code (RFC 6455 §7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCloseCode(pub CloseCode);

impl std::fmt::Display for InvalidCloseCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a Close must not carry the code {}", self.0)
    }
}

impl std::error::Error for InvalidCloseCode {}

pub mod close_code {
    //! The codes of a Close as numbers (RFC 6455 §7.4), by axum's names.

    use sansocket::CloseCode;

    /// 1000: the connection has fulfilled its purpose.
    pub const NORMAL: u16 = CloseCode::NORMAL.get();
    /// 1001: the endpoint goes away.
    pub const AWAY: u16 = CloseCode::GOING_AWAY.get();
    /// 1002: a protocol error.
    pub const PROTOCOL: u16 = CloseCode::PROTOCOL_ERROR.get();
    /// 1003: the endpoint cannot accept this type of data.
    pub const UNSUPPORTED: u16 = CloseCode::UNSUPPORTED_DATA.get();
    /// 1005: stands for a Close without a code.
    pub const STATUS: u16 = 1005;
    /// 1006: stands for an end without a Close. It cannot be sent.
    pub const ABNORMAL: u16 = 1006;
    /// 1007: the data does not fit the type of the message.
    pub const INVALID: u16 = CloseCode::INVALID_PAYLOAD.get();
    /// 1008: a message violates the policy of the endpoint.
    pub const POLICY: u16 = CloseCode::POLICY_VIOLATION.get();
    /// 1009: a message is too big to process.
    pub const SIZE: u16 = CloseCode::MESSAGE_TOO_BIG.get();
    /// 1010: the server did not negotiate an extension that the client needs.
    pub const EXTENSION: u16 = CloseCode::MANDATORY_EXTENSION.get();
    /// 1011: the server met an unexpected condition.
    pub const ERROR: u16 = CloseCode::INTERNAL_ERROR.get();
    /// 1012: the server restarts.
    pub const RESTART: u16 = CloseCode::SERVICE_RESTART.get();
    /// 1013: try again later.
    pub const AGAIN: u16 = CloseCode::TRY_AGAIN_LATER.get();
}
