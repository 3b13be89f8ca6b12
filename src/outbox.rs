//! The sending side of a connection, for all roles and extensions.

#![forbid(unsafe_code)]

use core::fmt;

use crate::buffer::TransmitBuffer;
use crate::close::CloseCode;
use crate::config::ConfigRef;
use crate::config::base::Config;
use crate::connection::{Connection, Link};
use crate::event::Chunk;
use crate::extension::Extension;
use crate::frame::Kind;
use crate::handler::HandlerError;
use crate::message::message_ref::MessageRef;
use crate::role::Role;
#[cfg(feature = "extension")]
use crate::send::Encode;
use crate::send::{SendError, Wire};
use crate::time::Instant;

/// The sending side of a connection, together with its transmit buffer.
///
/// [`Connection::outbox`] creates one; a [`Handler`](crate::Handler) gets one in each call. Frames go into the transmit
/// buffer, from which the adapter writes them to the transport. No call blocks: if there is no room, it returns
/// [`SendError::Blocked`]. After a Close was sent, and after the connection has ended, every call that sends returns
/// [`SendError::Closed`].
///
/// An outbox has no type parameters: it is the same type for servers and clients, with and without an extension.
///
/// ```
/// use sansocket::{CloseCode, Config, Connection, Instant, Kind, SendError, Server, TransmitBuffer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let now = Instant::from_millis(0);
/// let mut connection = Connection::new(Server, &Config::DEFAULT, now);
/// let mut memory = [0; 140];
/// let mut tx = TransmitBuffer::new(&mut memory)?;
///
/// let mut out = connection.outbox(now, &mut tx);
/// out.send("Hello")?; // a message in one frame
/// out.fragment(Kind::Binary, &[1, 2], false)?; // a message in two frames
/// out.fragment(Kind::Binary, &[3], true)?;
/// assert_eq!(out.send(&[0; 130]), Err(SendError::Blocked));
/// out.close(CloseCode::NORMAL, "bye")?;
/// assert_eq!(out.send("late"), Err(SendError::Closed));
/// assert_eq!(tx.pending(), b"\x81\x05Hello\x02\x02\x01\x02\x80\x01\x03\x88\x05\x03\xe8bye");
/// # Ok(())
/// # }
/// ```
pub struct Outbox<'a> {
    link: &'a mut Link,
    wire: Wire<'a>,
    /// The extension, if any. Without the feature no connection has one, and firmware links no code for it.
    #[cfg(feature = "extension")]
    encoder: Option<&'a mut (dyn Encode + 'a)>,
    config: &'a Config,
    now: Instant,
}

impl<R: Role, X: Extension, C: ConfigRef> Connection<R, X, C> {
    /// Returns the sending side of the connection, which sends into `tx`.
    ///
    /// `now` is the time of the current poll, which [`Outbox::now`] returns.
    #[inline]
    pub fn outbox<'a>(&'a mut self, now: Instant, tx: &'a mut TransmitBuffer<'_>) -> Outbox<'a> {
        let config = self.decoder.config();
        let Self { link, role, extension, .. } = self;
        #[cfg(not(feature = "extension"))]
        let _ = extension;
        Outbox {
            link,
            wire: Wire::new(tx, role.masker()),
            #[cfg(feature = "extension")]
            encoder: if extension.is_active() { Some(extension) } else { None },
            config,
            now,
        }
    }
}

impl Outbox<'_> {
    /// Returns the time of the current poll, as the adapter read it from its clock.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Sends a whole message in one frame: a `&str` as text, bytes as binary.
    ///
    /// # Errors
    /// - [`SendError::Blocked`]: there is no room now.
    /// - [`SendError::TooLarge`]: the frame is larger than the whole transmit buffer;
    ///   [`send_fragmented`](Self::send_fragmented) and [`begin_frame`](Self::begin_frame) send payloads of any size.
    /// - [`SendError::FrameOpen`], [`SendError::MessageOpen`]: a frame or a message is not finished.
    /// - [`SendError::Extension`]: the extension failed, and the connection ends.
    /// - [`SendError::Closed`]: a Close was sent, or the connection has ended.
    #[inline]
    pub fn send<'m>(&mut self, message: impl Into<MessageRef<'m>>) -> Result<(), SendError> {
        let message = message.into();
        self.send_bytes(message.kind(), message.as_bytes())
    }

    /// Sends a whole message of this kind in one frame. Text is not checked.
    #[inline]
    pub(crate) fn send_bytes(&mut self, kind: Kind, payload: &[u8]) -> Result<(), SendError> {
        let frames = self.link.open()?;
        #[cfg(feature = "extension")]
        if let Some(encoder) = &mut self.encoder
            && let Some(sent) = encoder.send(frames, &mut self.wire, kind, payload)
        {
            return self.encoded(sent);
        }
        frames.send(&mut self.wire, kind, payload)
    }

    /// Sends a formatted text in one frame, as `write!` formats it, without memory of its own. It is formatted twice,
    /// and has to fit into the transmit buffer. An extension does not encode it.
    ///
    /// ```
    /// use sansocket::{Config, Connection, Instant, Server, TransmitBuffer};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut memory = [0; 140];
    /// # let mut tx = TransmitBuffer::new(&mut memory)?;
    /// let mut connection = Connection::new(Server, &Config::DEFAULT, Instant::START);
    /// connection.outbox(Instant::START, &mut tx).send_fmt(format_args!("{{\"celsius\":{}}}", 21))?;
    /// assert_eq!(tx.pending(), b"\x81\x0e{\"celsius\":21}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`send`](Self::send) except [`SendError::Extension`]; [`SendError::Format`] if the value returns an
    /// error, or another text the second time.
    pub fn send_fmt(&mut self, text: fmt::Arguments<'_>) -> Result<(), SendError> {
        self.link.open()?.send_fmt(&mut self.wire, text)
    }

    /// Sends a frame of a message: the first frame if no message is open, otherwise the next one. `fin` ends the message. No
    /// extension encodes it: with `fin`, this sends a message uncompressed, as a secret beside text of another party should be.
    ///
    /// This method, [`write`](Self::write) and [`send_fragmented`](Self::send_fragmented) do not check text, as it can
    /// be split anywhere. Make sure that the whole message is UTF-8; otherwise the peer fails the connection (RFC 6455
    /// §8.1). Received text is UTF-8.
    ///
    /// # Errors
    /// Those of [`send`](Self::send); [`SendError::MessageOpen`] if a message of another kind is open.
    pub fn fragment(&mut self, kind: Kind, payload: &[u8], fin: bool) -> Result<(), SendError> {
        self.link.open()?.fragment(&mut self.wire, kind, payload, fin)
    }

    /// Begins a data frame of `len` bytes, whose payload [`write`](Self::write) then sends. No other frame can be sent
    /// before its last byte. A handler that returns [`HandlerError::Close`] inside the frame ends the connection
    /// without a Close ([`EndReason::UnfinishedFrame`](crate::error::EndReason::UnfinishedFrame)).
    ///
    /// # Errors
    /// Those of [`fragment`](Self::fragment) except [`SendError::TooLarge`]; [`SendError::Overrun`] for 2^63 bytes and
    /// more.
    pub fn begin_frame(&mut self, kind: Kind, len: u64, fin: bool) -> Result<(), SendError> {
        self.link.open()?.begin_frame(&mut self.wire, kind, len, fin)
    }

    /// Copies as much of `payload` into the open frame as there is room for, and returns how many bytes that was: 0 if
    /// the buffer is full.
    ///
    /// # Errors
    /// [`SendError::Overrun`] if `payload` is longer than what the frame [lacks](Self::frame_remaining);
    /// [`SendError::Closed`].
    pub fn write(&mut self, payload: &[u8]) -> Result<usize, SendError> {
        self.link.open()?.write(&mut self.wire, payload)
    }

    /// Sends a message, or the next part of one, in as many frames as the free room and [`Config::largest_fragment`]
    /// require. `fin` ends the message.
    ///
    /// # Errors
    /// [`SendError::Blocked`] if only a part of `payload` was sent: `payload` is advanced past that part, so call again
    /// with the rest. Otherwise those of [`send`](Self::send) except [`SendError::TooLarge`];
    /// [`SendError::MessageOpen`] if a message of another kind is open.
    pub fn send_fragmented(&mut self, kind: Kind, payload: &mut &[u8], fin: bool) -> Result<(), SendError> {
        let frames = self.link.open()?;
        let largest = self.config.largest_fragment;
        #[cfg(feature = "extension")]
        if let Some(encoder) = &mut self.encoder
            && let Some(sent) = encoder.send_fragmented(frames, &mut self.wire, kind, payload, fin, largest)
        {
            return self.encoded(sent);
        }
        frames.send_fragmented(&mut self.wire, kind, payload, fin, largest)
    }

    /// Forwards a received chunk, as an echo does. Binary frames are forwarded frame by frame, a frame that is longer
    /// than the transmit buffer in pieces of one open frame. Text is sent in frames of its own: if its rest is not
    /// UTF-8, the connection has to send a Close, which cannot stand inside a frame. So is what an extension encodes.
    ///
    /// # Errors
    /// [`HandlerError::Blocked`] with the number of bytes that were sent: return it from the handler, to get the rest
    /// again. Otherwise the errors of [`send_fragmented`](Self::send_fragmented) and
    /// [`begin_frame`](Self::begin_frame), converted.
    // It passes the fields one by one. A handler that passes a reference copies the chunk, in vectors, right after the driver has
    // written it in words, and the processor waits for all of them to reach its cache.
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub fn forward(&mut self, data: &Chunk<'_>) -> Result<(), HandlerError> {
        let Chunk { kind, payload, fin, end, remaining, .. } = *data;
        self.forward_bytes(kind, payload.as_bytes(), fin, end, remaining)
    }

    fn forward_bytes(
        &mut self,
        kind: Kind,
        bytes: &[u8],
        fin: bool,
        end: bool,
        remaining: u64,
    ) -> Result<(), HandlerError> {
        let mut rest = bytes;
        let sent = if kind == Kind::Text || self.is_encoding() {
            self.send_fragmented(kind, &mut rest, end)
        } else if self.frame_remaining() > 0 {
            self.write_all(&mut rest)
        } else {
            let whole =
                if remaining == 0 { self.fragment(kind, bytes, fin) } else { Err(SendError::TooLarge) };
            match whole {
                Err(SendError::TooLarge) => self
                    .begin_frame(kind, remaining.saturating_add(bytes.len() as u64), fin)
                    .and_then(|()| self.write_all(&mut rest)),
                sent => sent,
            }
        };
        sent.map_err(|error| HandlerError::blocked_after(error, bytes.len().saturating_sub(rest.len())))
    }

    /// Copies `payload` into the open frame, and advances it past the bytes that were copied.
    ///
    /// # Errors
    /// [`SendError::Blocked`] if there was no room for all of it; those of [`write`](Self::write).
    pub fn write_all(&mut self, payload: &mut &[u8]) -> Result<(), SendError> {
        let n = self.write(payload)?;
        *payload = payload.get(n..).unwrap_or_default();
        if payload.is_empty() { Ok(()) } else { Err(SendError::Blocked) }
    }

    /// Sends a Ping with at most 125 bytes of payload. The peer's Pong is delivered as an event unless
    /// [`Config::control`] is automatic. The connection sets no deadline for it.
    ///
    /// # Errors
    /// [`SendError::Blocked`], [`SendError::FrameOpen`], [`SendError::ControlTooLong`], [`SendError::Closed`].
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.link.open()?.ping(&mut self.wire, payload)
    }

    /// Sends a Pong with at most 125 bytes of payload, as the answer to a Ping or unsolicited (RFC 6455 §5.5.3).
    ///
    /// # Errors
    /// Those of [`ping`](Self::ping).
    pub fn pong(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.link.open()?.pong(&mut self.wire, payload)
    }

    /// Sends a Close, which begins the closing handshake or answers the peer's Close. A reason needs a code, and is cut
    /// after 123 bytes, at a character. Nothing can be sent after it.
    ///
    /// # Errors
    /// Those of [`ping`](Self::ping); [`SendError::ReasonWithoutCode`].
    pub fn close(&mut self, code: impl Into<Option<CloseCode>>, reason: &str) -> Result<(), SendError> {
        self.link.close(&mut self.wire, code.into(), reason)
    }

    /// Ends the connection if the extension has failed.
    #[cfg(feature = "extension")]
    fn encoded(&mut self, sent: Result<(), SendError>) -> Result<(), SendError> {
        if let Err(SendError::Extension(_)) = sent {
            self.link.fail_extension();
        }
        sent
    }

    /// Returns whether [`send_fragmented`](Self::send_fragmented) passes a message through an extension, unless one is open
    /// that does not.
    const fn is_encoding(&self) -> bool {
        #[cfg(feature = "extension")]
        return self.encoder.is_some() && self.frame_remaining() == 0;
        #[cfg(not(feature = "extension"))]
        false
    }

    /// Returns how many bytes of payload the open frame still lacks; 0 if no frame is open.
    #[must_use]
    pub const fn frame_remaining(&self) -> u64 {
        self.link.frames.frame_remaining()
    }

    /// Returns whether a fragmented message is open.
    #[must_use]
    pub const fn is_inside_message(&self) -> bool {
        self.link.frames.is_inside_message()
    }

    /// Returns whether neither a frame nor a message is open, so that a message can be sent.
    #[must_use]
    pub const fn is_free(&self) -> bool {
        self.frame_remaining() == 0 && !self.is_inside_message()
    }

    /// Returns how many bytes the transmit buffer takes now, headers included.
    #[must_use]
    pub const fn room(&self) -> usize {
        self.wire.room()
    }

    /// Returns whether no byte is pending to be written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.wire.place.is_empty()
    }
}

impl fmt::Debug for Outbox<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("now", &self.now).field("room", &self.room()).finish_non_exhaustive()
    }
}
