//! Received events and their payloads.

#![forbid(unsafe_code)]

use crate::close::CloseCode;
use crate::frame::Kind;
use crate::utf8;

/// A received data chunk or control frame. Its payload is borrowed from the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Event<'i> {
    /// The payload of a data frame, or a chunk of it.
    Data(Chunk<'i>),
    /// A Ping, with its payload of at most 125 bytes (RFC 6455 §5.5.2).
    Ping(Payload<'i>),
    /// A Pong, with its payload of at most 125 bytes (RFC 6455 §5.5.3).
    Pong(Payload<'i>),
    /// The peer's Close: its status code, if any, and its reason, which is UTF-8 of at most 123 bytes (RFC 6455
    /// §5.5.1). No event follows it.
    Close(Option<CloseCode>, Payload<'i>),
}

/// The payload of a data frame, or a chunk of it.
///
/// Of a message that an extension decodes, the chunks are independent of the frames on the wire: `fin` equals `end`,
/// `offset` and `remaining` are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Chunk<'i> {
    /// Whether the message is text or binary; also known for a continuation frame.
    pub kind: Kind,
    /// The bytes, unmasked. Text is checked: the chunks of the message so far are the beginning of valid UTF-8.
    pub payload: Payload<'i>,
    /// Whether the message begins with this chunk.
    pub start: bool,
    /// Whether the message ends with this chunk.
    pub end: bool,
    /// The FIN bit of the frame: no other frame of the message follows. It is set on every chunk of such a frame; to
    /// forward chunks, use [`end`](Self::end).
    pub fin: bool,
    /// Bytes of the frame's payload on the wire before this chunk.
    pub offset: u64,
    /// Bytes of the frame's payload on the wire after this chunk.
    pub remaining: u64,
}

/// An event that borrows nothing: it names the place of its payload in the receive buffer.
///
/// [`ReceiveBuffer::event`](crate::ReceiveBuffer::event) returns the [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DetachedEvent {
    pub(crate) shape: Shape,
    pub(crate) span: Span,
}

/// An event without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) enum Shape {
    Data { kind: Kind, start: bool, end: bool, fin: bool, offset: u64, remaining: u64 },
    Ping,
    Pong,
    Close(Option<CloseCode>),
}

/// The place of a payload in a receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) len: usize,
    /// Whether the payload lies in the memory that an extension decodes into.
    #[cfg(feature = "extension")]
    pub(crate) decoded: bool,
}

/// A payload that is borrowed from a buffer. It dereferences to its bytes, and equals a payload of the same bytes.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Payload<'i>(Bytes<'i>);

#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
enum Bytes<'i> {
    Any(&'i [u8]),
    /// A whole text, checked in one pass.
    Text(&'i str),
}

impl<'i> Chunk<'i> {
    /// Creates the chunk that a whole message in one frame is. Change its fields for any other chunk, as tests of a
    /// handler need them.
    ///
    /// ```
    /// use sansocket::{Chunk, Kind};
    ///
    /// let whole = Chunk::new(Kind::Text, "Hello");
    /// assert_eq!((whole.payload.to_str(), whole.start, whole.end), (Some("Hello"), true, true));
    /// ```
    #[must_use]
    pub fn new(kind: Kind, payload: impl Into<Payload<'i>>) -> Self {
        let payload = payload.into();
        Self { kind, payload, start: true, end: true, fin: true, offset: 0, remaining: 0 }
    }
}

impl<'i> Payload<'i> {
    /// Returns the bytes.
    #[inline]
    #[must_use]
    pub const fn as_bytes(self) -> &'i [u8] {
        match self.0 {
            Bytes::Any(bytes) => bytes,
            Bytes::Text(text) => text.as_bytes(),
        }
    }

    /// Returns the payload as text, or `None` if it is not UTF-8 by itself. A whole text always is; a chunk may begin
    /// or end inside a code point. The call checks the bytes again, unless the receiver has checked this payload in one
    /// pass as a whole message.
    #[must_use]
    pub fn to_str(self) -> Option<&'i str> {
        match self.0 {
            Bytes::Any(bytes) => utf8::whole(bytes).ok(),
            Bytes::Text(text) => Some(text),
        }
    }
}

impl<'i> From<&'i [u8]> for Payload<'i> {
    fn from(bytes: &'i [u8]) -> Self {
        Self(Bytes::Any(bytes))
    }
}

impl<'i> From<&'i mut [u8]> for Payload<'i> {
    fn from(bytes: &'i mut [u8]) -> Self {
        Self(Bytes::Any(bytes))
    }
}

impl<'i> From<&'i str> for Payload<'i> {
    fn from(text: &'i str) -> Self {
        Self(Bytes::Text(text))
    }
}

impl<'i, const N: usize> From<&'i [u8; N]> for Payload<'i> {
    fn from(bytes: &'i [u8; N]) -> Self {
        Self(Bytes::Any(bytes))
    }
}

impl PartialEq for Payload<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Payload<'_> {}

impl AsRef<[u8]> for Payload<'_> {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl core::ops::Deref for Payload<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl<'i> Event<'i> {
    /// Returns the payload of any variant.
    #[inline]
    pub(crate) const fn payload(&self) -> Payload<'i> {
        match self {
            Self::Data(chunk) => chunk.payload,
            Self::Ping(payload) | Self::Pong(payload) | Self::Close(_, payload) => *payload,
        }
    }

    /// Returns the event without its payload, which borrows nothing.
    #[inline]
    pub(crate) const fn shape(&self) -> Shape {
        match *self {
            Self::Data(Chunk { kind, payload: _, start, end, fin, offset, remaining }) => {
                Shape::Data { kind, start, end, fin, offset, remaining }
            }
            Self::Ping(_) => Shape::Ping,
            Self::Pong(_) => Shape::Pong,
            Self::Close(code, _) => Shape::Close(code),
        }
    }
}

impl Shape {
    /// Returns the event with this payload.
    #[inline]
    pub(crate) const fn with(self, payload: Payload<'_>) -> Event<'_> {
        match self {
            Self::Data { kind, start, end, fin, offset, remaining } => {
                Event::Data(Chunk { kind, payload, start, end, fin, offset, remaining })
            }
            Self::Ping => Event::Ping(payload),
            Self::Pong => Event::Pong(payload),
            Self::Close(code) => Event::Close(code, payload),
        }
    }
}

impl DetachedEvent {
    /// Removes the first `n` bytes of the payload, which the handler has consumed.
    pub(crate) fn advance(&mut self, n: usize) {
        let n = n.min(self.span.len);
        if let Shape::Data { start, offset, .. } = &mut self.shape {
            *start &= n == 0;
            *offset = offset.saturating_add(n as u64);
        }
        self.span.start = self.span.start.saturating_add(n);
        self.span.len = self.span.len.saturating_sub(n);
    }
}
