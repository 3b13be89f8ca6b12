//! Sending on a connection, whatever its role and its extension.

#![forbid(unsafe_code)]

use crate::buffer::TransmitBuffer;
use crate::close::CloseCode;
use crate::connection::Connection;
use crate::error::SendError;
use crate::event::{Data, Payload};
use crate::extension::Extension;
use crate::frame::Kind;
use crate::role::{Client, MaskingKey, Role, Server};

/// The sending side of a connection, together with its transmit buffer.
///
/// [`Connection::outbox`] gives one; a [`Handler`](crate::Handler) is lent one. No call blocks: what finds no
/// room is [`SendError::Blocked`], and nothing has changed. Errors are those of the
/// [`Sender`](crate::Sender)'s methods of the same names.
pub trait Outbox {
    /// Sends a message in one frame.
    ///
    /// # Errors
    /// See [`Sender::send`](crate::Sender::send).
    fn send(&mut self, kind: Kind, payload: &[u8]) -> Result<(), SendError>;

    /// Sends a frame of a message: its first where none is open, else its next; `fin` ends the message.
    ///
    /// # Errors
    /// See [`Sender::fragment`](crate::Sender::fragment).
    fn fragment(&mut self, kind: Kind, payload: &[u8], fin: bool) -> Result<(), SendError>;

    /// Begins a data frame of `len` bytes, whose payload follows through [`write`](Self::write).
    ///
    /// # Errors
    /// See [`Sender::begin`](crate::Sender::begin).
    fn begin(&mut self, kind: Kind, len: u64, fin: bool) -> Result<(), SendError>;

    /// Copies as much of `payload` into the open frame as there is room for, and returns how much that was.
    ///
    /// # Errors
    /// See [`Sender::write`](crate::Sender::write).
    fn write(&mut self, payload: &[u8]) -> Result<usize, SendError>;

    /// Sends a message, or with `fin` unset the next part of one, in as many frames as it takes; `payload` is
    /// advanced past what found room.
    ///
    /// # Errors
    /// See [`Sender::stream`](crate::Sender::stream).
    fn stream(&mut self, kind: Kind, payload: &mut &[u8], fin: bool) -> Result<(), SendError>;

    /// Sends a Ping.
    ///
    /// # Errors
    /// See [`Sender::ping`](crate::Sender::ping).
    fn ping(&mut self, payload: &[u8]) -> Result<(), SendError>;

    /// Sends a Pong.
    ///
    /// # Errors
    /// See [`Sender::pong`](crate::Sender::pong).
    fn pong(&mut self, payload: &[u8]) -> Result<(), SendError>;

    /// Begins the closing handshake, or answers the peer's Close.
    ///
    /// # Errors
    /// See [`Sender::close`](crate::Sender::close).
    fn close(&mut self, code: Option<CloseCode>, reason: &str) -> Result<(), SendError>;

    /// Sends a chunk on as it came: text in as many frames as it takes, as a Close cannot stand inside of one
    /// should the rest be no text; binary frame by frame, a long one of known length in pieces. An echo is
    /// nothing but this.
    ///
    /// # Errors
    /// [`Halt::Blocked`] with what was taken of the chunk: pass it on, and the rest is shown again. Others as
    /// [`stream`](Self::stream) and [`begin`](Self::begin).
    fn relay(&mut self, data: &Data<Payload<'_>>) -> Result<(), Halt> {
        let bytes = data.payload.bytes();
        let mut rest = bytes;
        let sent = if data.kind == Kind::Text {
            self.stream(data.kind, &mut rest, data.end)
        } else if self.left() > 0 {
            self.write_all(&mut rest)
        } else {
            let whole = if data.left == 0 {
                self.fragment(data.kind, bytes, data.fin)
            } else {
                Err(SendError::TooLarge)
            };
            match whole {
                Err(SendError::TooLarge) => self
                    .begin(data.kind, data.left.saturating_add(bytes.len() as u64), data.fin)
                    .and_then(|()| self.write_all(&mut rest)),
                sent => sent,
            }
        };
        sent.map_err(|error| Halt::after(error, bytes.len().saturating_sub(rest.len())))
    }

    /// Copies `payload` into the open frame, and advances it past what found room.
    ///
    /// # Errors
    /// [`SendError::Blocked`] where that was not all. See [`Sender::write`](crate::Sender::write).
    fn write_all(&mut self, payload: &mut &[u8]) -> Result<(), SendError> {
        let n = self.write(payload)?;
        *payload = payload.get(n..).unwrap_or_default();
        if payload.is_empty() { Ok(()) } else { Err(SendError::Blocked) }
    }

    /// Payload that the open frame still lacks.
    fn left(&self) -> u64;

    /// Whether a fragmented message has begun and not ended.
    fn is_inside_message(&self) -> bool;

    /// Whether neither a frame nor a message is open, so that a message may be sent.
    fn is_free(&self) -> bool {
        self.left() == 0 && !self.is_inside_message()
    }

    /// Bytes that the transmit buffer takes now.
    fn room(&self) -> usize;

    /// Whether nothing waits to be written.
    fn is_empty(&self) -> bool;
}

/// So that an outbox can be lent on, and be a `dyn Outbox`.
impl<O: Outbox + ?Sized> Outbox for &mut O {
    fn send(&mut self, kind: Kind, payload: &[u8]) -> Result<(), SendError> {
        (**self).send(kind, payload)
    }

    fn fragment(&mut self, kind: Kind, payload: &[u8], fin: bool) -> Result<(), SendError> {
        (**self).fragment(kind, payload, fin)
    }

    fn begin(&mut self, kind: Kind, len: u64, fin: bool) -> Result<(), SendError> {
        (**self).begin(kind, len, fin)
    }

    fn write(&mut self, payload: &[u8]) -> Result<usize, SendError> {
        (**self).write(payload)
    }

    fn stream(&mut self, kind: Kind, payload: &mut &[u8], fin: bool) -> Result<(), SendError> {
        (**self).stream(kind, payload, fin)
    }

    fn ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        (**self).ping(payload)
    }

    fn pong(&mut self, payload: &[u8]) -> Result<(), SendError> {
        (**self).pong(payload)
    }

    fn close(&mut self, code: Option<CloseCode>, reason: &str) -> Result<(), SendError> {
        (**self).close(code, reason)
    }

    fn relay(&mut self, data: &Data<Payload<'_>>) -> Result<(), Halt> {
        (**self).relay(data)
    }

    fn write_all(&mut self, payload: &mut &[u8]) -> Result<(), SendError> {
        (**self).write_all(payload)
    }

    fn left(&self) -> u64 {
        (**self).left()
    }

    fn is_inside_message(&self) -> bool {
        (**self).is_inside_message()
    }

    fn room(&self) -> usize {
        (**self).room()
    }

    fn is_empty(&self) -> bool {
        (**self).is_empty()
    }
}

/// Why a handler did not do all that it was called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// No room to send: call again when the transport has taken something. Of an event's payload the first
    /// `taken` bytes are done with. Where nothing waits to be written there is nothing to wait for, and the
    /// connection is closed with 1011.
    Blocked {
        /// Bytes that are not to be shown again.
        taken: usize,
    },
    /// Close the connection.
    Close(CloseCode, &'static str),
    /// The connection is closing already, and nothing can be sent: not worth a word.
    Closing,
}

impl Halt {
    /// What an error means after `taken` bytes of an event's payload were dealt with.
    #[must_use]
    pub fn after(error: SendError, taken: usize) -> Self {
        match error {
            SendError::Blocked => Self::Blocked { taken },
            error => error.into(),
        }
    }
}

impl From<SendError> for Halt {
    /// So that `?` does what is wanted: an application that misuses the sender closes with 1011.
    fn from(error: SendError) -> Self {
        match error {
            SendError::Blocked => Self::Blocked { taken: 0 },
            SendError::Closed => Self::Closing,
            error => Self::Close(CloseCode::INTERNAL_ERROR, error.reason()),
        }
    }
}

/// A connection and its transmit buffer, for as long as something is sent.
pub struct Outgoing<'a, 'b, 'c, R, X> {
    pub(crate) connection: &'a mut Connection<'c, R, X>,
    pub(crate) tx: &'a mut TransmitBuffer<'b>,
}

impl<'b, 'c, R: Role, X: Extension> Outgoing<'_, 'b, 'c, R, X> {
    /// Both, as long as anything may be sent.
    #[inline]
    fn open(&mut self) -> Result<(&mut Connection<'c, R, X>, &mut TransmitBuffer<'b>), SendError> {
        if self.connection.is_over() { Err(SendError::Closed) } else { Ok((self.connection, self.tx)) }
    }
}

impl<'c, R: Role, X: Extension> Connection<'c, R, X> {
    /// The sending side, together with the buffer that it sends into.
    #[inline]
    pub fn outbox<'a, 'b>(&'a mut self, tx: &'a mut TransmitBuffer<'b>) -> Outgoing<'a, 'b, 'c, R, X> {
        Outgoing { connection: self, tx }
    }
}

impl<X: Extension> Outgoing<'_, '_, '_, Server, X> {
    /// Counts `payload` as sent in the open frame without a copy: see [`Sender::direct`](crate::Sender::direct).
    ///
    /// # Errors
    /// [`SendError::Overrun`], [`SendError::Closed`].
    pub fn direct<'p>(&mut self, payload: &'p [u8]) -> Result<&'p [u8], SendError> {
        self.open()?.0.sender.direct(payload)
    }
}

impl<K: MaskingKey, X: Extension> Outgoing<'_, '_, '_, Client<K>, X> {
    /// Masks `payload` and counts it as sent in the open frame without a copy: see
    /// [`Sender::direct`](crate::Sender::direct).
    ///
    /// # Errors
    /// [`SendError::Overrun`], [`SendError::Closed`].
    pub fn direct<'p>(&mut self, payload: &'p mut [u8]) -> Result<&'p [u8], SendError> {
        self.open()?.0.sender.direct(payload)
    }
}

impl<R: Role, X: Extension> Outbox for Outgoing<'_, '_, '_, R, X> {
    #[inline]
    fn send(&mut self, kind: Kind, payload: &[u8]) -> Result<(), SendError> {
        let (Connection { sender, extension, .. }, tx) = self.open()?;
        sender.send_with(extension, tx, kind, payload)
    }

    fn fragment(&mut self, kind: Kind, payload: &[u8], fin: bool) -> Result<(), SendError> {
        let (connection, tx) = self.open()?;
        connection.sender.fragment(tx, kind, payload, fin)
    }

    fn begin(&mut self, kind: Kind, len: u64, fin: bool) -> Result<(), SendError> {
        let (connection, tx) = self.open()?;
        connection.sender.begin(tx, kind, len, fin)
    }

    fn write(&mut self, payload: &[u8]) -> Result<usize, SendError> {
        let (connection, tx) = self.open()?;
        connection.sender.write(tx, payload)
    }

    fn stream(&mut self, kind: Kind, payload: &mut &[u8], fin: bool) -> Result<(), SendError> {
        let (Connection { sender, extension, receiver, .. }, tx) = self.open()?;
        sender.stream_with(extension, tx, kind, payload, fin, receiver.config().largest_fragment)
    }

    fn ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        let (connection, tx) = self.open()?;
        connection.sender.ping(tx, payload)
    }

    fn pong(&mut self, payload: &[u8]) -> Result<(), SendError> {
        let (connection, tx) = self.open()?;
        connection.sender.pong(tx, payload)
    }

    fn close(&mut self, code: Option<CloseCode>, reason: &str) -> Result<(), SendError> {
        self.connection.close(self.tx, code, reason)
    }

    fn left(&self) -> u64 {
        self.connection.sender.left()
    }

    fn is_inside_message(&self) -> bool {
        self.connection.sender.is_inside_message()
    }

    fn room(&self) -> usize {
        self.tx.room()
    }

    fn is_empty(&self) -> bool {
        self.tx.is_empty()
    }
}
