//! Messages that many sessions can share.

#![forbid(unsafe_code)]

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::arc::{Arc, arc_dyn};
use crate::close::CloseCode;
#[cfg(feature = "bytes")]
use crate::close::cut_reason;
#[cfg(any(feature = "hub", feature = "tokio"))]
use crate::frame::MAX_CONTROL_PAYLOAD;
use crate::frame::{Header, Kind, MAX_HEADER_LEN, OpCode, ReservedBits};
#[cfg(feature = "bytes")]
use crate::message::owned::{CloseFrame, Message};
use crate::outbox::Outbox;
use crate::send::SendError;

/// A message that is encoded once as a server's frame and can be sent to any number of sessions of a hub, or connections on tokio.
///
/// Strings, bytes and every [`Message`](crate::Message), control frames included, convert into it without a copy of the payload.
/// A clone shares the payload. A session writes
/// a frame of 1 KiB or more from where it lies if its transmit buffer is empty, and otherwise copies it there.
///
/// ```
/// use sansocket::Kind;
/// use sansocket::message::Prepared;
///
/// let message = Prepared::from("hello");
/// assert_eq!((message.kind(), message.payload()), (Some(Kind::Text), &b"hello"[..]));
/// assert_eq!(Prepared::from(vec![1, 2]).kind(), Some(Kind::Binary));
/// ```
#[derive(Clone)]
pub struct Prepared {
    opcode: OpCode,
    header: [u8; MAX_HEADER_LEN],
    header_len: u8,
    payload: Arc<dyn AsRef<[u8]> + Send + Sync>,
    /// The compressed frame for all sessions of a hub that may get it, made by the first of them.
    #[cfg(all(feature = "deflate", feature = "hub"))]
    compressed: Option<Arc<std::sync::OnceLock<Option<Vec<u8>>>>>,
}

impl Prepared {
    /// Creates a text message from any owned, static or shared text, such as an `Arc<str>`.
    #[must_use]
    pub fn text(payload: impl AsRef<str> + Send + Sync + 'static) -> Self {
        Self::new(OpCode::Text, Utf8(payload))
    }

    /// Creates a binary message from any owned, static or shared bytes, such as an `Arc<[u8]>`.
    #[must_use]
    pub fn binary(payload: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self::new(OpCode::Binary, payload)
    }

    fn new(opcode: OpCode, payload: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        let len = payload.as_ref().len() as u64;
        let mut header = [0; MAX_HEADER_LEN];
        let header_len =
            Header { fin: true, rsv: ReservedBits::NONE, opcode, key: None, len }.encode(&mut header);
        Self {
            opcode,
            header,
            header_len: (header_len & 0x0F) as u8,
            payload: arc_dyn!(payload, dyn AsRef<[u8]> + Send + Sync),
            #[cfg(all(feature = "deflate", feature = "hub"))]
            compressed: None,
        }
    }

    /// Returns whether the message is text or binary; `None` if it is a control frame.
    #[must_use]
    pub const fn kind(&self) -> Option<Kind> {
        match self.opcode {
            OpCode::Text => Some(Kind::Text),
            OpCode::Binary => Some(Kind::Binary),
            _ => None,
        }
    }

    /// Returns the payload; of a Close, the code in two bytes and the reason.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        (*self.payload).as_ref()
    }

    /// Returns the payload as bytes that share it.
    #[cfg(feature = "tokio")]
    pub(crate) fn to_bytes(&self) -> bytes::Bytes {
        struct Shared(Arc<dyn AsRef<[u8]> + Send + Sync>);

        impl AsRef<[u8]> for Shared {
            fn as_ref(&self) -> &[u8] {
                (*self.0).as_ref()
            }
        }

        bytes::Bytes::from_owner(Shared(Arc::clone(&self.payload)))
    }

    /// Returns the code and the reason, if this is a Close.
    pub(crate) fn close(&self) -> Option<(Option<CloseCode>, &str)> {
        if self.opcode != OpCode::Close {
            return None;
        }
        let Some((code, reason)) = self.payload().split_first_chunk() else { return Some((None, "")) };
        let reason = core::str::from_utf8(reason).unwrap_or_default();
        Some((CloseCode::new(u16::from_be_bytes(*code)), reason))
    }

    /// Returns whether it is a control frame with more than the 125 bytes that one carries.
    #[cfg(any(feature = "hub", feature = "tokio"))]
    pub(crate) fn is_too_long(&self) -> bool {
        self.opcode.is_control() && self.payload().len() > MAX_CONTROL_PAYLOAD
    }

    /// Sends it into a transmit buffer.
    pub(crate) fn put(&self, out: &mut Outbox<'_>) -> Result<(), SendError> {
        match (self.opcode, self.close()) {
            (_, Some((code, reason))) => out.close(code, reason),
            (OpCode::Ping, _) => out.ping(self.payload()),
            (OpCode::Pong, _) => out.pong(self.payload()),
            _ => out.send_bytes(self.kind().unwrap_or(Kind::Binary), self.payload()),
        }
    }

    /// Returns the length of the frame in bytes.
    #[cfg(feature = "hub")]
    pub(crate) fn len(&self) -> usize {
        usize::from(self.header_len).saturating_add(self.payload().len())
    }

    /// Returns the header of the frame.
    pub(crate) fn header(&self) -> &[u8] {
        self.header.get(..usize::from(self.header_len)).unwrap_or_default()
    }

    /// Lets the sessions that get this message, or clones of it, share one compressed frame.
    #[cfg(all(feature = "deflate", feature = "hub"))]
    pub(crate) fn share(mut self) -> Self {
        self.compressed.get_or_insert_default();
        self
    }

    /// Returns the compressed frame, if the sessions share one and it is shorter. The first call makes it.
    #[cfg(all(feature = "deflate", feature = "hub"))]
    pub(crate) fn compressed(&self, pool: &crate::deflate::Pool) -> Option<&[u8]> {
        let kind = self.kind()?;
        let frame = self.compressed.as_ref()?.get_or_init(|| pool.frame(kind, self.payload()));
        frame.as_deref()
    }

    /// Returns the compressed frame that sessions share, if it was made.
    #[cfg(feature = "hub")]
    fn shared(&self) -> Option<&[u8]> {
        #[cfg(feature = "deflate")]
        return self.compressed.as_ref()?.get()?.as_deref();
        #[cfg(not(feature = "deflate"))]
        None
    }

    /// Returns the frame from its byte `at` on, in two pieces; with `shared` the compressed one that sessions share.
    #[cfg(feature = "hub")]
    pub(crate) fn rest(&self, at: usize, shared: bool) -> [&[u8]; 2] {
        if let Some(frame) = self.shared().filter(|_| shared) {
            return [frame.get(at..).unwrap_or_default(), &[]];
        }
        let (header, payload) = (self.header(), self.payload());
        match header.get(at..) {
            Some(header) => [header, payload],
            None => [payload.get(at.saturating_sub(header.len())..).unwrap_or_default(), &[]],
        }
    }
}

impl From<&'static str> for Prepared {
    fn from(text: &'static str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Prepared {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<&'static [u8]> for Prepared {
    fn from(bytes: &'static [u8]) -> Self {
        Self::binary(bytes)
    }
}

impl<const N: usize> From<&'static [u8; N]> for Prepared {
    fn from(bytes: &'static [u8; N]) -> Self {
        Self::binary(bytes)
    }
}

impl From<Vec<u8>> for Prepared {
    fn from(bytes: Vec<u8>) -> Self {
        Self::binary(bytes)
    }
}

#[cfg(feature = "bytes")]
impl From<bytes::Bytes> for Prepared {
    fn from(bytes: bytes::Bytes) -> Self {
        Self::binary(bytes)
    }
}

#[cfg(feature = "bytes")]
impl From<Message> for Prepared {
    fn from(message: Message) -> Self {
        match message {
            Message::Text(text) => Self::text(text),
            Message::Binary(bytes) => Self::binary(bytes),
            Message::Ping(payload) => Self::new(OpCode::Ping, payload),
            Message::Pong(payload) => Self::new(OpCode::Pong, payload),
            Message::Close(frame) => Self::new(OpCode::Close, close_body(frame.as_ref())),
        }
    }
}

/// The payload of a Close (RFC 6455 §5.5.1).
#[cfg(feature = "bytes")]
fn close_body(frame: Option<&CloseFrame>) -> Vec<u8> {
    frame.map_or_else(Vec::new, |frame| {
        let mut body = Vec::from(frame.code.get().to_be_bytes());
        body.extend_from_slice(cut_reason(&frame.reason).as_bytes());
        body
    })
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("opcode", &self.opcode).field("len", &self.payload().len()).finish()
    }
}

struct Utf8<T>(T);

impl<T: AsRef<str>> AsRef<[u8]> for Utf8<T> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref().as_bytes()
    }
}
