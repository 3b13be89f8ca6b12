//! Messages that many sessions can share.

#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;

use crate::frame::{Header, Kind, MAX_HEADER, Rsv};

/// A message that is encoded once as a server's frame and can be sent to any number of sessions.
///
/// The payload is shared: a clone does not copy it. A session writes a frame of 1 KiB or more from where it lies if its
/// transmit buffer is empty, and otherwise copies it there.
///
/// ```
/// use sansocket::Kind;
/// use sansocket::hub::Message;
///
/// let message = Message::text("hello");
/// assert_eq!((message.kind(), message.payload()), (Kind::Text, &b"hello"[..]));
/// ```
#[derive(Clone)]
pub struct Message {
    kind: Kind,
    header: [u8; MAX_HEADER],
    header_len: u8,
    payload: Arc<dyn AsRef<[u8]> + Send + Sync>,
}

impl Message {
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
        let mut header = [0; MAX_HEADER];
        let header_len =
            Header { fin: true, rsv: Rsv::NONE, opcode: kind.into(), key: None, len }.encode(&mut header);
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
    pub(super) fn len(&self) -> usize {
        usize::from(self.header_len).saturating_add(self.payload().len())
    }

    /// Returns the frame from its byte `at` on, in two pieces.
    pub(super) fn rest(&self, at: usize) -> [&[u8]; 2] {
        let header = self.header.get(..usize::from(self.header_len)).unwrap_or_default();
        let payload = self.payload();
        match header.get(at..) {
            Some(header) => [header, payload],
            None => [payload.get(at.saturating_sub(header.len())..).unwrap_or_default(), &[]],
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("kind", &self.kind).field("len", &self.payload().len()).finish()
    }
}

struct Utf8<T>(T);

impl<T: AsRef<str>> AsRef<[u8]> for Utf8<T> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref().as_bytes()
    }
}

/// Notifies the sender of a message, once, of what became of it.
pub(super) struct Done(Option<Told>);

pub(super) type Told = Box<dyn FnOnce(Result<(), Lost>) + Send>;

/// The reason why the transport did not take a message, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Lost {
    /// The session does not exist, it ended before the transport had taken the whole message, or it is an ordinary HTTP
    /// request.
    #[error("the session has ended")]
    Ended,
    /// The session is closing, and nothing may follow a Close (RFC 6455 §5.5.1). Messages that are sent after a close
    /// are lost with this. So are pending messages when the handler or the peer closes, or when the peer does not
    /// read them in the time for [`Handle::close`](super::Handle::close).
    #[error("the session is closing")]
    Closing,
    /// More is pending for the peer than [`Backlog`](super::Backlog) allows.
    #[error("too much waits for a peer that reads too slowly")]
    Overflow,
}

impl Done {
    pub(super) const NOBODY: Self = Self(None);

    pub(super) const fn new(done: Told) -> Self {
        Self(Some(done))
    }

    pub(super) fn tell(mut self, result: Result<(), Lost>) {
        if let Some(done) = self.0.take() {
            done(result);
        }
    }

    /// Drops the completion without calling it: the call that was to send the message returns the error.
    pub(super) fn forget(mut self) {
        self.0 = None;
    }
}

/// Reports a message that is dropped as lost, wherever that happens.
impl Drop for Done {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done(Err(Lost::Ended));
        }
    }
}
