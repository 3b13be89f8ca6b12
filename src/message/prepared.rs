//! Messages that many sessions can share.

#![forbid(unsafe_code)]

use alloc::sync::Arc;
use core::fmt;

use crate::frame::{Header, Kind, MAX_HEADER_LEN, ReservedBits};

/// A message that is encoded once as a server's frame and can be sent to any number of sessions.
///
/// The payload is shared: a clone does not copy it. A session writes a frame of 1 KiB or more from where it lies if its
/// transmit buffer is empty, and otherwise copies it there.
///
/// ```
/// use sansocket::Kind;
/// use sansocket::message::Prepared;
///
/// let message = Prepared::text("hello");
/// assert_eq!((message.kind(), message.payload()), (Kind::Text, &b"hello"[..]));
/// ```
#[derive(Clone)]
pub struct Prepared {
    kind: Kind,
    header: [u8; MAX_HEADER_LEN],
    header_len: u8,
    payload: Arc<dyn AsRef<[u8]> + Send + Sync>,
}

impl Prepared {
    /// Makes a text message from an owned, static or shared text: `String`, `&'static str`, `Arc<str>`.
    #[must_use]
    pub fn text(payload: impl AsRef<str> + Send + Sync + 'static) -> Self {
        Self::new(Kind::Text, Utf8(payload))
    }

    /// Makes a binary message from owned, static or shared bytes: `Vec<u8>`, `&'static [u8]`, `Arc<[u8]>`, `Bytes`.
    #[must_use]
    pub fn binary(payload: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self::new(Kind::Binary, payload)
    }

    fn new(kind: Kind, payload: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        let len = payload.as_ref().len() as u64;
        let mut header = [0; MAX_HEADER_LEN];
        let header_len = Header { fin: true, rsv: ReservedBits::NONE, opcode: kind.into(), key: None, len }
            .encode(&mut header);
        Self { kind, header, header_len: (header_len & 0x0F) as u8, payload: Arc::new(payload) }
    }

    /// Returns whether the message is text or binary.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        (*self.payload).as_ref()
    }

    /// The length of the frame in bytes.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.header_len).saturating_add(self.payload().len())
    }

    /// Returns the frame from its byte `at` on, in two pieces.
    pub(crate) fn rest(&self, at: usize) -> [&[u8]; 2] {
        let header = self.header.get(..usize::from(self.header_len)).unwrap_or_default();
        let payload = self.payload();
        match header.get(at..) {
            Some(header) => [header, payload],
            None => [payload.get(at.saturating_sub(header.len())..).unwrap_or_default(), &[]],
        }
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("kind", &self.kind).field("len", &self.payload().len()).finish()
    }
}

struct Utf8<T>(T);

impl<T: AsRef<str>> AsRef<[u8]> for Utf8<T> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref().as_bytes()
    }
}
