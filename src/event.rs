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
    /// The FIN bit of the frame: no other frame of this message follows.
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

/// A payload, borrowed from the memory in which it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'i> {
    /// Bytes, or a chunk of text.
    Bytes(&'i [u8]),
    /// A text that came whole, in one frame, and was checked in one pass.
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
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Text(text) => text.as_bytes(),
        }
    }

    /// The payload as text, where it is UTF-8 by itself. Free of charge for [`Payload::Text`]; bytes are
    /// looked through.
    #[must_use]
    pub fn text(self) -> Option<&'i str> {
        match self {
            Self::Bytes(bytes) => core::str::from_utf8(bytes).ok(),
            Self::Text(text) => Some(text),
        }
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

impl Event<Span> {
    /// Where the payload lies.
    pub(crate) fn span(&self) -> Span {
        match self {
            Self::Data(data) => data.payload,
            Self::Ping(span) | Self::Pong(span) | Self::Close(_, span) => *span,
        }
    }

    /// The same event after `n` bytes of its payload are done with.
    pub(crate) fn advanced(mut self, n: usize) -> Self {
        if let Self::Data(data) = &mut self {
            data.start &= n == 0;
            data.offset = data.offset.saturating_add(n as u64);
        }
        self
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
