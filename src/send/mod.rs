//! The sending half of a connection: data and control frames, without automatic replies (RFC 6455 §5.2-5.6).

#![forbid(unsafe_code)]

#[cfg(feature = "extension")]
mod coded;
mod error;
mod frames;

pub use error::SendError;

#[cfg(feature = "extension")]
pub(crate) use coded::Encode;
pub(crate) use frames::{FrameWriter, Wire};

use crate::buffer::TransmitBuffer;
use crate::close::CloseCode;
#[cfg(feature = "extension")]
use crate::extension::Extension;
use crate::frame::Kind;
use crate::mask::mask;
use crate::role::{Client, MaskingKey, Role, Server};

/// The sending half of a connection: writes frames into a [`TransmitBuffer`], and enforces the order of frames that
/// RFC 6455 §5.4 requires. It sends no automatic replies; [`Connection`](crate::Connection) does.
///
/// It does not check text: make sure that the payload of a text message is UTF-8, or the peer fails the connection
/// (§8.1). [`Outbox::send`](crate::Outbox::send) takes a `&str`.
///
/// A header, and a whole control frame, are written into the transmit buffer completely or not at all.
///
/// ```
/// use sansocket::proto::Encoder;
/// use sansocket::{Kind, Server, TransmitBuffer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut memory = [0; 140];
/// let mut tx = TransmitBuffer::new(&mut memory)?;
/// let mut encoder = Encoder::new(Server);
///
/// encoder.send(&mut tx, Kind::Text, b"Hello")?; // a message in one frame
/// encoder.begin_frame(&mut tx, Kind::Binary, 3, true)?; // one whose payload follows piece by piece
/// encoder.write(&mut tx, &[1, 2])?;
/// encoder.write(&mut tx, &[3])?;
/// assert_eq!(tx.pending(), b"\x81\x05Hello\x82\x03\x01\x02\x03");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Encoder<R> {
    role: R,
    frames: FrameWriter,
}

impl<R: Role> Encoder<R> {
    /// Creates an encoder for the stream of frames directly after the opening handshake.
    #[must_use]
    pub const fn new(role: R) -> Self {
        Self { role, frames: FrameWriter::NEW }
    }

    /// Sends a message in one frame.
    ///
    /// # Errors
    /// [`SendError::Blocked`], [`SendError::TooLarge`] (then [`begin_frame`](Self::begin_frame) or
    /// [`send_fragmented`](Self::send_fragmented) send it), [`SendError::FrameOpen`], [`SendError::MessageOpen`],
    /// [`SendError::Closed`].
    #[inline]
    pub fn send(&mut self, tx: &mut TransmitBuffer<'_>, kind: Kind, payload: &[u8]) -> Result<(), SendError> {
        self.frames.send(&mut Wire::new(tx, self.role.masker()), kind, payload)
    }

    /// Sends a message in one frame, encoded by an extension. The transmit buffer must have room for the
    /// [most](Extension::bound) bytes that the payload can encode to.
    ///
    /// # Errors
    /// Those of [`send`](Self::send); [`SendError::Extension`], after which only a Close with 1011 should be sent.
    #[cfg(feature = "extension")]
    #[inline]
    pub fn send_with<X: Extension>(
        &mut self,
        extension: &mut X,
        tx: &mut TransmitBuffer<'_>,
        kind: Kind,
        payload: &[u8],
    ) -> Result<(), SendError> {
        let mut wire = Wire::new(tx, self.role.masker());
        if extension.is_active()
            && let Some(sent) = Encode::send(extension, &mut self.frames, &mut wire, kind, payload)
        {
            return sent;
        }
        self.frames.send(&mut wire, kind, payload)
    }

    /// Sends a frame of a message: the first frame if no message is open, otherwise the next one. `fin` ends the message.
    ///
    /// # Errors
    /// Those of [`send`](Self::send); [`SendError::MessageOpen`] if a message of another kind is open.
    pub fn fragment(
        &mut self,
        tx: &mut TransmitBuffer<'_>,
        kind: Kind,
        payload: &[u8],
        fin: bool,
    ) -> Result<(), SendError> {
        self.frames.fragment(&mut Wire::new(tx, self.role.masker()), kind, payload, fin)
    }

    /// Begins a data frame of `len` bytes, whose payload [`write`](Self::write) or `write_external` then sends. No
    /// other frame can be sent before its last byte.
    ///
    /// # Errors
    /// Those of [`fragment`](Self::fragment) except [`SendError::TooLarge`]; [`SendError::Overrun`] for 2^63 bytes and
    /// more.
    pub fn begin_frame(
        &mut self,
        tx: &mut TransmitBuffer<'_>,
        kind: Kind,
        len: u64,
        fin: bool,
    ) -> Result<(), SendError> {
        self.frames.begin_frame(&mut Wire::new(tx, self.role.masker()), kind, len, fin)
    }

    /// Copies as much of `payload` into the open frame as there is room for, and returns how many bytes that was: 0 if
    /// the buffer is full.
    ///
    /// # Errors
    /// [`SendError::Overrun`] if `payload` is longer than what the frame [lacks](Self::frame_remaining).
    pub fn write(&mut self, tx: &mut TransmitBuffer<'_>, payload: &[u8]) -> Result<usize, SendError> {
        self.frames.write(&mut Wire::new(tx, self.role.masker()), payload)
    }

    /// Sends a message, or the next part of one, in as many frames as the free room and `largest` require. `largest` is
    /// the most payload of a frame, in bytes. `fin` ends the message.
    ///
    /// # Errors
    /// [`SendError::Blocked`] if only a part of `payload` was sent: `payload` is advanced past that part, so write the
    /// buffer to the transport and call again with the rest. Otherwise those of [`fragment`](Self::fragment) except
    /// [`SendError::TooLarge`].
    pub fn send_fragmented(
        &mut self,
        tx: &mut TransmitBuffer<'_>,
        kind: Kind,
        payload: &mut &[u8],
        fin: bool,
        largest: usize,
    ) -> Result<(), SendError> {
        self.frames.send_fragmented(&mut Wire::new(tx, self.role.masker()), kind, payload, fin, largest)
    }

    /// Sends a message, or the next part of one, in frames that an extension encodes: see
    /// [`send_fragmented`](Self::send_fragmented).
    ///
    /// # Errors
    /// Those of [`send_fragmented`](Self::send_fragmented); [`SendError::Extension`], after which only a Close with
    /// 1011 should be sent.
    #[cfg(feature = "extension")]
    pub fn send_fragmented_with<X: Extension>(
        &mut self,
        extension: &mut X,
        tx: &mut TransmitBuffer<'_>,
        kind: Kind,
        payload: &mut &[u8],
        fin: bool,
        largest: usize,
    ) -> Result<(), SendError> {
        let mut wire = Wire::new(tx, self.role.masker());
        if extension.is_active()
            && let Some(sent) =
                Encode::send_fragmented(extension, &mut self.frames, &mut wire, kind, payload, fin, largest)
        {
            return sent;
        }
        self.frames.send_fragmented(&mut wire, kind, payload, fin, largest)
    }

    /// Sends a Ping with at most 125 bytes of payload.
    ///
    /// # Errors
    /// [`SendError::Blocked`], [`SendError::FrameOpen`], [`SendError::ControlTooLong`], [`SendError::Closed`].
    pub fn ping(&mut self, tx: &mut TransmitBuffer<'_>, payload: &[u8]) -> Result<(), SendError> {
        self.frames.ping(&mut Wire::new(tx, self.role.masker()), payload)
    }

    /// Sends a Pong with at most 125 bytes of payload, as the answer to a Ping or unsolicited (§5.5.3).
    ///
    /// # Errors
    /// Those of [`ping`](Self::ping).
    pub fn pong(&mut self, tx: &mut TransmitBuffer<'_>, payload: &[u8]) -> Result<(), SendError> {
        self.frames.pong(&mut Wire::new(tx, self.role.masker()), payload)
    }

    /// Sends a Close, after which nothing can be sent. A reason needs a code, and is cut after 123 bytes, at a character.
    ///
    /// # Errors
    /// Those of [`ping`](Self::ping); [`SendError::ReasonWithoutCode`].
    pub fn close(
        &mut self,
        tx: &mut TransmitBuffer<'_>,
        code: impl Into<Option<CloseCode>>,
        reason: &str,
    ) -> Result<(), SendError> {
        self.frames.close(&mut Wire::new(tx, self.role.masker()), code.into(), reason)
    }

    /// Returns how many bytes of payload the open frame still lacks; 0 if no frame is open.
    #[must_use]
    pub const fn frame_remaining(&self) -> u64 {
        self.frames.frame_remaining()
    }

    /// Returns whether a fragmented message is open.
    #[must_use]
    pub const fn is_inside_message(&self) -> bool {
        self.frames.is_inside_message()
    }

    /// Returns whether a Close was sent.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.frames.is_closed()
    }
}

impl Encoder<Server> {
    /// Counts `payload` as sent in the open frame. Write it to the transport yourself, directly after the pending bytes
    /// (in a vectored write) and before anything that is sent later.
    ///
    /// # Errors
    /// [`SendError::Overrun`] if `payload` is longer than what the frame [lacks](Self::frame_remaining).
    pub fn write_external<'p>(&mut self, payload: &'p [u8]) -> Result<&'p [u8], SendError> {
        self.frames.count(payload.len())?;
        Ok(payload)
    }
}

impl<K: MaskingKey> Encoder<Client<K>> {
    /// Masks `payload` in place, and counts it as sent in the open frame. Write it to the transport yourself, directly
    /// after the pending bytes (in a vectored write) and before anything that is sent later.
    ///
    /// # Errors
    /// [`SendError::Overrun`] if `payload` is longer than what the frame [lacks](Self::frame_remaining).
    pub fn write_external<'p>(&mut self, payload: &'p mut [u8]) -> Result<&'p [u8], SendError> {
        self.frames.count(payload.len())?;
        self.frames.key = mask(self.frames.key, payload);
        Ok(payload)
    }
}
