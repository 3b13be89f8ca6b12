//! Sending without a wait.

#![forbid(unsafe_code)]

use tokio::io::{AsyncRead, AsyncWrite};

use super::websocket::WebSocket;
use crate::message::owned::Message;
use crate::role::Role;
use crate::send::SendError;

/// Why `try_send` did not send a message, and the message: of [`WebSocket::try_send`] and
/// [`Sender::try_send`](super::Sender::try_send).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrySendError {
    /// Capacity: there is no room for the message now.
    #[error("there is no room for the message")]
    Full(Message),
    /// The connection was closed.
    #[error("the connection is closed")]
    Closed(Message),
    /// Caller: this message cannot be sent, for the reason that [`WebSocket::send`] and [`Sender::send`](super::Sender::send)
    /// return.
    #[error("{1}")]
    Invalid(Message, SendError),
}

impl TrySendError {
    /// Returns the message.
    #[must_use]
    pub fn into_message(self) -> Message {
        let (Self::Full(message) | Self::Closed(message) | Self::Invalid(message, _)) = self;
        message
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> WebSocket<S, R> {
    /// Sends a message with the next flush, as [`feed`](Self::feed) does, or returns it if that had to wait.
    ///
    /// It writes nothing to the stream: the message leaves with the next method that is awaited. There is room as long as the transmit
    /// buffer has some and holds all of the messages before: of one that is longer than the room, the rest is kept.
    ///
    /// ```
    /// use sansocket::tokio::TrySendError;
    /// # use sansocket::{config::{ClientOptions, ServerOptions}, tokio::WebSocket};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), sansocket::Error> {
    /// # let (near, far) = tokio::io::duplex(4096);
    /// # let (to_accept, to_connect) = (ServerOptions::new(), ClientOptions::new());
    /// # let (server, client) = tokio::join!(
    /// #     WebSocket::accept(near, &to_accept),
    /// #     WebSocket::connect(far, "ws://localhost/", &to_connect)
    /// # );
    /// # let (mut socket, mut peer) = (server?, client?);
    /// match socket.try_send("news") {
    ///     Ok(()) => {}
    ///     Err(TrySendError::Full(_)) => println!("the peer reads slowly: it does not get these news"),
    ///     Err(error) => println!("{error}"),
    /// }
    /// socket.flush().await?; // or whatever else is awaited next
    /// assert_eq!(peer.recv().await?, Some("news".into()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`TrySendError`]: nothing of the message is sent.
    pub fn try_send(&mut self, message: impl Into<Message>) -> Result<(), TrySendError> {
        let message = message.into();
        match self.link.put_message(&message) {
            Some(Ok(())) => Ok(()),
            None => Err(TrySendError::Full(message)),
            Some(Err(SendError::Closed)) => Err(TrySendError::Closed(message)),
            Some(Err(error)) => Err(TrySendError::Invalid(message, error)),
        }
    }
}
