//! The sending half of a connection by itself: data frames and control frames, without replies (RFC 6455 §5.2-5.6).

#![forbid(unsafe_code)]

mod coded;
mod frames;

#[cfg(feature = "extension")]
pub(crate) use coded::Encode;
#[cfg(not(feature = "extension"))]
use coded::Encode;
pub(crate) use frames::{FrameWriter, Wire};

use crate::buffer::TransmitBuffer;
use crate::close::CloseCode;
use crate::error::SendError;
use crate::extension::{Extension, NoExtension};
use crate::frame::Kind;
use crate::mask::mask;
use crate::role::{Client, MaskingKey, Role, Server};

/// The sending half of a connection: it writes frames into a [`TransmitBuffer`] and keeps the order of frames that
/// RFC 6455 §5.4 asks for. It sends nothing of its own accord; [`Connection`](crate::Connection) does.
///
/// Text is not checked: the caller has to see that the payload of a text message is UTF-8, or the peer fails the
/// connection (§8.1). [`Outbox::send`](crate::Outbox::send) takes a `&str`.
///
/// A frame's header, and a control frame as a whole, enter the transmit buffer whole or not at all: after an error
/// nothing has changed.
#[derive(Debug)]
pub struct Sender<R> {
    role: R,
    frames: FrameWriter,
}

impl<R: Role> Sender<R> {
    /// A sender at the beginning of the stream of frames, directly behind the opening handshake.
    #[must_use]
    pub const fn new(role: R) -> Self {
        Self { role, frames: FrameWriter::NEW }
    }

    /// Sends a message in one frame.
    ///
    /// # Errors
    /// [`SendError::Blocked`], [`SendError::TooLarge`] (then [`begin`](Self::begin) or [`stream`](Self::stream) send
    /// it), [`SendError::FrameOpen`], [`SendError::MessageOpen`], [`SendError::Closed`].
    #[inline]
    pub fn send(&mut self, tx: &mut TransmitBuffer<'_>, kind: Kind, payload: &[u8]) -> Result<(), SendError> {
        self.send_with(&mut NoExtension, tx, kind, payload)
    }

    /// Sends a message in one frame through an extension. The transmit buffer must have room for the
    /// [most](Extension::bound) that the extension makes of the payload.
    ///
    /// # Errors
    /// As [`send`](Self::send); [`SendError::Extension`], after which a Close with 1011 is all that can be sent.
    #[inline]
    pub fn send_with<X: Extension>(
        &mut self,
        extension: &mut X,
        tx: &mut TransmitBuffer<'_>,
        kind: Kind,
        payload: &[u8],
    ) -> Result<(), SendError> {
        let mut wire = Wire::new(tx, self.role.masker());
        if X::ACTIVE {
            if let Some(sent) = Encode::send(extension, &mut self.frames, &mut wire, kind, payload) {
                return sent;
            }
        }
        self.frames.send(&mut wire, kind, payload)
    }

    /// Sends a frame of a message: its first frame where no message is open, else its next. `fin` ends the message.
    /// The first frame with `fin` set is a message in one frame.
    ///
    /// # Errors
    /// As [`send`](Self::send); [`SendError::MessageOpen`] where a message of another kind is open.
    pub fn fragment(
        &mut self,
        tx: &mut TransmitBuffer<'_>,
        kind: Kind,
        payload: &[u8],
        fin: bool,
    ) -> Result<(), SendError> {
        self.frames.fragment(&mut Wire::new(tx, self.role.masker()), kind, payload, fin)
    }

    /// Begins a data frame of `len` bytes, whose payload follows through [`write`](Self::write) or `direct`. Until its
    /// last byte nothing else can be sent.
    ///
    /// # Errors
    /// As [`fragment`](Self::fragment), but never [`SendError::TooLarge`]. [`SendError::Overrun`] for 2^63 bytes and
    /// more.
    pub fn begin(
        &mut self,
        tx: &mut TransmitBuffer<'_>,
        kind: Kind,
        len: u64,
        fin: bool,
    ) -> Result<(), SendError> {
        self.frames.begin(&mut Wire::new(tx, self.role.masker()), kind, len, fin)
    }

    /// Copies as much of `payload` into the open frame as there is room for, and returns how many bytes that was: 0
    /// where the buffer is full.
    ///
    /// # Errors
    /// [`SendError::Overrun`] where `payload` is longer than what the frame [lacks](Self::left).
    pub fn write(&mut self, tx: &mut TransmitBuffer<'_>, payload: &[u8]) -> Result<usize, SendError> {
        self.frames.write(&mut Wire::new(tx, self.role.masker()), payload)
    }

    /// Sends a message, or with `fin` unset the next part of one, in as many frames as the room and `largest` ask for.
    /// `largest` is the most payload of a frame, in bytes.
    ///
    /// # Errors
    /// [`SendError::Blocked`] where `payload` did not find room; it has been advanced past what did, so write the buffer
    /// to the transport and call again with what is left. Others as [`fragment`](Self::fragment), but never
    /// [`SendError::TooLarge`].
    pub fn stream(
        &mut self,
        tx: &mut TransmitBuffer<'_>,
        kind: Kind,
        payload: &mut &[u8],
        fin: bool,
        largest: usize,
    ) -> Result<(), SendError> {
        self.stream_with(&mut NoExtension, tx, kind, payload, fin, largest)
    }

    /// Sends a message, or the next part of one, in frames through an extension: see [`stream`](Self::stream).
    ///
    /// # Errors
    /// As [`stream`](Self::stream); [`SendError::Extension`], after which a Close with 1011 is all that can be sent.
    pub fn stream_with<X: Extension>(
        &mut self,
        extension: &mut X,
        tx: &mut TransmitBuffer<'_>,
        kind: Kind,
        payload: &mut &[u8],
        fin: bool,
        largest: usize,
    ) -> Result<(), SendError> {
        let mut wire = Wire::new(tx, self.role.masker());
        if X::ACTIVE {
            if let Some(sent) =
                Encode::stream(extension, &mut self.frames, &mut wire, kind, payload, fin, largest)
            {
                return sent;
            }
        }
        self.frames.stream(&mut wire, kind, payload, fin, largest)
    }

    /// Sends a Ping with at most 125 bytes of payload.
    ///
    /// # Errors
    /// [`SendError::Blocked`], [`SendError::FrameOpen`], [`SendError::ControlTooLong`], [`SendError::Closed`].
    pub fn ping(&mut self, tx: &mut TransmitBuffer<'_>, payload: &[u8]) -> Result<(), SendError> {
        self.frames.ping(&mut Wire::new(tx, self.role.masker()), payload)
    }

    /// Sends a Pong with at most 125 bytes of payload: those of a Ping, or unasked for (§5.5.3).
    ///
    /// # Errors
    /// As [`ping`](Self::ping).
    pub fn pong(&mut self, tx: &mut TransmitBuffer<'_>, payload: &[u8]) -> Result<(), SendError> {
        self.frames.pong(&mut Wire::new(tx, self.role.masker()), payload)
    }

    /// Sends a Close, after which nothing can be sent. A reason needs a code and has at most 123 bytes.
    ///
    /// # Errors
    /// As [`ping`](Self::ping); [`SendError::ReasonWithoutCode`].
    pub fn close(
        &mut self,
        tx: &mut TransmitBuffer<'_>,
        code: Option<CloseCode>,
        reason: &str,
    ) -> Result<(), SendError> {
        self.frames.close(&mut Wire::new(tx, self.role.masker()), code, reason)
    }

    /// Bytes of payload that the frame which was begun still lacks; 0 where none is open.
    #[must_use]
    pub const fn left(&self) -> u64 {
        self.frames.left()
    }

    /// Whether a fragmented message has begun and not ended.
    #[must_use]
    pub const fn is_inside_message(&self) -> bool {
        self.frames.is_inside_message()
    }

    /// Whether a Close was sent.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.frames.is_closed()
    }
}

impl Sender<Server> {
    /// Counts `payload` as sent in the open frame: the caller writes it to the transport itself, directly behind all
    /// that is pending (a vectored write), and before anything that is sent after.
    ///
    /// # Errors
    /// [`SendError::Overrun`] as for [`write`](Self::write).
    pub fn direct<'p>(&mut self, payload: &'p [u8]) -> Result<&'p [u8], SendError> {
        self.frames.count(payload.len())?;
        Ok(payload)
    }
}

impl<K: MaskingKey> Sender<Client<K>> {
    /// Masks `payload` in place and counts it as sent in the open frame: the caller writes it to the transport itself,
    /// directly behind all that is pending (a vectored write), and before anything that is sent after.
    ///
    /// # Errors
    /// [`SendError::Overrun`] as for [`write`](Self::write).
    pub fn direct<'p>(&mut self, payload: &'p mut [u8]) -> Result<&'p [u8], SendError> {
        self.frames.count(payload.len())?;
        self.frames.key = mask(self.frames.key, payload);
        Ok(payload)
    }
}
