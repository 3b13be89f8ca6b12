//! What has been received.

#![forbid(unsafe_code)]

use crate::close::CloseCode;
use crate::frame::Kind;

/// Something that has arrived from the peer.
///
/// `P` is how the payload is named: a [`Span`] of the receive buffer, which borrows nothing, or a borrowed
/// [`Payload`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<P = Span> {
    /// Payload of a data frame: all of it or a chunk.
    Data(Data<P>),
    /// A Ping, with its payload of at most 125 bytes (RFC 6455 §5.5.2).
    Ping(P),
    /// A Pong, with its payload of at most 125 bytes (RFC 6455 §5.5.3).
    Pong(P),
    /// The peer's Close: its status code, where it has one, and its reason, UTF-8 of at most 123 bytes
    /// (RFC 6455 §5.5.1). Nothing is received after it.
    Close(Option<CloseCode>, P),
}

/// A data frame's payload, or the chunk of it that is here.
///
/// A chunk that an extension has decoded counts as a frame of its own: `fin` is `end`, `offset` and `left` are 0. Lengths on
/// the wire say nothing about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<P = Span> {
    /// What the message is made of; a continuation frame bears the kind of its message.
    pub kind: Kind,
    /// The bytes, unmasked. Text has been checked: together with all that came before, the chunk is a valid
    /// beginning of a text.
    pub payload: P,
    /// The message begins with this chunk.
    pub start: bool,
    /// The message ends with this chunk.
    pub end: bool,
    /// The FIN bit of the frame: no other frame of this message follows. True of every chunk of such a frame:
    /// to pass a chunk on, use [`end`](Self::end).
    pub fin: bool,
    /// Bytes of the frame's payload, as received, that came before this chunk.
    pub offset: u64,
    /// Bytes of the frame's payload, as received, that are still to come.
    pub left: u64,
}

/// The place of a payload in a [`ReceiveBuffer`](crate::ReceiveBuffer).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    pub(crate) start: usize,
    pub(crate) len: usize,
    /// In the memory that an extension decodes into.
    pub(crate) decoded: bool,
}

/// A payload, borrowed from the memory in which it lies: dereferences to its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'i>(Bytes<'i>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bytes<'i> {
    Any(&'i [u8]),
    /// A whole text that was checked in one pass.
    Text(&'i str),
}

impl Span {
    /// Bytes of payload.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether the payload is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<'i> Payload<'i> {
    /// The bytes.
    #[inline]
    #[must_use]
    pub const fn bytes(self) -> &'i [u8] {
        match self.0 {
            Bytes::Any(bytes) => bytes,
            Bytes::Text(text) => text.as_bytes(),
        }
    }

    /// The payload as text, where it is UTF-8 by itself: a whole text always is, a chunk of one may begin or
    /// end inside a code point. Free of charge where the pass that checked the text has just been made; looked
    /// through once more otherwise.
    #[must_use]
    pub fn text(self) -> Option<&'i str> {
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
        self.bytes()
    }
}

impl<P> Event<P> {
    /// The same event with its payload named in another way.
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
    /// The payload, whatever it is part of.
    #[inline]
    pub(crate) const fn payload(&self) -> P {
        match self {
            Self::Data(data) => data.payload,
            Self::Ping(payload) | Self::Pong(payload) | Self::Close(_, payload) => *payload,
        }
    }

    /// The same event with this payload: `map` would repeat what finds it in every arm.
    #[inline]
    pub(crate) fn with<Q>(&self, payload: Q) -> Event<Q> {
        self.map(|_| payload)
    }
}

impl Event<Span> {
    /// `rest` is left of the payload.
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

impl<P> Data<P> {
    /// The same chunk with its payload named in another way.
    #[inline]
    pub fn map<Q>(self, name: impl FnOnce(P) -> Q) -> Data<Q> {
        let Self { kind, payload, start, end, fin, offset, left } = self;
        Data { kind, payload: name(payload), start, end, fin, offset, left }
    }
}
