//! Sending on a connection, whatever its role and its extension.

#![forbid(unsafe_code)]

use crate::buffer::TransmitBuffer;
use crate::close::CloseCode;
use crate::connection::Connection;
use crate::error::SendError;
use crate::extension::Extension;
use crate::frame::Kind;
use crate::role::Role;

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

    /// Payload that the open frame still lacks.
    fn left(&self) -> u64;

    /// Whether a fragmented message has begun and not ended.
    fn is_inside_message(&self) -> bool;

    /// Bytes that the transmit buffer takes now.
    fn room(&self) -> usize;

    /// Whether nothing waits to be written.
    fn is_empty(&self) -> bool;
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
        sender.stream_with(extension, tx, kind, payload, fin, receiver.config().fragment)
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
