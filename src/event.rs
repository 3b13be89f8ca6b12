//! Received events and their payloads.

#![forbid(unsafe_code)]

use crate::close::CloseCode;
use crate::frame::Kind;

/// A received data chunk or control frame.
///
/// `P` is the type of the payload: a [`Span`], which names a place in the receive buffer and borrows nothing, or a borrowed
/// [`Payload`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<P = Span> {
    /// The payload of a data frame, or a chunk of it.
    Data(Chunk<P>),
    /// A Ping, with its payload of at most 125 bytes (RFC 6455 §5.5.2).
    Ping(P),
    /// A Pong, with its payload of at most 125 bytes (RFC 6455 §5.5.3).
    Pong(P),
    /// The peer's Close: its status code, if any, and its reason, which is UTF-8 of at most 123 bytes (RFC 6455 §5.5.1). No
    /// event follows it.
    Close(Option<CloseCode>, P),
}

/// The payload of a data frame, or a chunk of it.
///
/// A chunk that an extension has decoded counts as a separate frame: `fin` equals `end`, `offset` and `remaining` are 0, as the
/// lengths on the wire do not apply to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<P = Span> {
    /// Whether the message is text or binary; also known for a continuation frame.
    pub kind: Kind,
    /// The bytes, unmasked. Text is checked: the chunks of the message so far are the beginning of valid UTF-8.
    pub payload: P,
    /// Whether the message begins with this chunk.
    pub start: bool,
    /// Whether the message ends with this chunk.
    pub end: bool,
    /// The FIN bit of the frame: no other frame of the message follows. It is set on every chunk of such a frame; to forward
    /// chunks, use [`end`](Self::end).
    pub fin: bool,
    /// Bytes of the frame's payload on the wire before this chunk.
    pub offset: u64,
    /// Bytes of the frame's payload on the wire after this chunk.
    pub remaining: u64,
}

/// The place of a payload in a [`ReceiveBuffer`](crate::ReceiveBuffer).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    pub(crate) start: usize,
    pub(crate) len: usize,
    /// Whether the payload lies in the memory that an extension decodes into.
    pub(crate) decoded: bool,
}

/// A payload that is borrowed from a buffer. It dereferences to its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'i>(Bytes<'i>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bytes<'i> {
    Any(&'i [u8]),
    /// A whole text, checked in one pass.
    Text(&'i str),
}

impl Span {
    /// Returns the length of the payload in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Returns whether the payload is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
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

    /// Returns the payload as text, or `None` if it is not UTF-8 by itself. A whole text always is; a chunk may begin or end
    /// inside a code point. The call checks the bytes again, unless the receiver has checked this payload in one pass as a
    /// whole message.
    #[must_use]
    pub fn to_str(self) -> Option<&'i str> {
        match self.0 {
            Bytes::Any(bytes) => core::str::from_utf8(bytes).ok(),
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

impl core::ops::Deref for Payload<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl<P> Event<P> {
    /// Converts the payload of the event with `name`, and keeps everything else.
    #[inline]
    pub fn map<Q>(self, name: impl FnOnce(P) -> Q) -> Event<Q> {
        match self {
            Self::Data(data) => Event::Data(data.map(name)),
            Self::Ping(payload) => Event::Ping(name(payload)),
            Self::Pong(payload) => Event::Pong(name(payload)),
            Self::Close(code, reason) => Event::Close(code, name(reason)),
        }
    }
}

impl<P: Copy> Event<P> {
    /// Returns the payload of any variant.
    #[inline]
    pub(crate) const fn payload(&self) -> P {
        match self {
            Self::Data(data) => data.payload,
            Self::Ping(payload) | Self::Pong(payload) | Self::Close(_, payload) => *payload,
        }
    }

    /// Returns the event with this payload. Unlike with `map`, the code that computes it is not repeated in every arm.
    #[inline]
    pub(crate) fn with<Q>(&self, payload: Q) -> Event<Q> {
        self.map(|_| payload)
    }
}

impl Event<Span> {
    /// Shortens the event to `rest`, the part of its payload that the handler has not taken.
    pub(crate) fn advance(&mut self, rest: Span) {
        match self {
            Self::Data(data) => {
                let taken = data.payload.len.saturating_sub(rest.len);
                data.payload = rest;
                data.start &= taken == 0;
                data.offset = data.offset.saturating_add(taken as u64);
            }
            Self::Ping(span) | Self::Pong(span) | Self::Close(_, span) => *span = rest,
        }
    }
}

impl<P> Chunk<P> {
    /// Converts the payload of the chunk with `name`, and keeps everything else.
    #[inline]
    pub fn map<Q>(self, name: impl FnOnce(P) -> Q) -> Chunk<Q> {
        let Self { kind, payload, start, end, fin, offset, remaining } = self;
        Chunk { kind, payload: name(payload), start, end, fin, offset, remaining }
    }
}
