//! Room that is reserved before there is a message.

#![forbid(unsafe_code)]

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::link::Link;
use super::outgoing::{Body, Shape};
use super::websocket::WebSocket;
use crate::frame::Kind;
use crate::host::error::Error;
use crate::message::Utf8Bytes;
use crate::role::Role;
use crate::send::SendError;

/// Room for one message on a [`WebSocket`]: [`WebSocket::reserve`].
///
/// Dropping it gives the room back; nothing is sent.
#[derive(Debug)]
#[must_use = "nothing is sent without a message"]
pub struct Permit<'a, S, R>(&'a mut Link<S, R>);

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> WebSocket<S, R> {
    /// Waits until a message of any length can be sent, and reserves that room, so that the message is chosen or taken out of a queue
    /// only when it can be sent.
    ///
    /// The [`Permit`] then takes it without a wait and without an error; an extension that fails ends the connection. While this waits,
    /// the connection answers Pings and receives at most one message, as for [`send`](Self::send).
    ///
    /// ```
    /// use sansocket::Error;
    /// use sansocket::tokio::WebSocket;
    /// use tokio::net::TcpStream;
    /// use tokio::sync::mpsc;
    ///
    /// /// A message stays in the queue until it can be sent, also if this future is dropped.
    /// async fn forward(socket: &mut WebSocket<TcpStream>, queue: &mut mpsc::Receiver<String>) -> Result<(), Error> {
    ///     loop {
    ///         let permit = socket.reserve().await?;
    ///         match queue.try_recv() {
    ///             Ok(text) => permit.text(text),
    ///             Err(_) => return socket.flush().await,
    ///         }
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # use sansocket::{config::ServerOptions, tokio::connect};
    /// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    /// # let url = format!("ws://{}/", listener.local_addr().unwrap());
    /// # let server = tokio::spawn(async move {
    /// #     WebSocket::accept(listener.accept().await.unwrap().0, &ServerOptions::new()).await
    /// # });
    /// # let mut peer = connect(&url).await?;
    /// # let mut socket = server.await.unwrap()?;
    /// let (sender, mut queue) = mpsc::channel(2);
    /// sender.send("one".to_owned()).await.unwrap();
    /// sender.send("two".to_owned()).await.unwrap();
    /// forward(&mut socket, &mut queue).await?;
    /// assert_eq!(peer.recv().await?, Some("one".into()));
    /// assert_eq!(peer.recv().await?, Some("two".into()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Ended`]; [`Error::Send`] if a Close was sent or received, or a message is open that was begun in
    /// parts.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn reserve(&mut self) -> Result<Permit<'_, S, R>, Error> {
        self.until(Link::check_room).await?.map_err(Error::Send)?;
        Ok(Permit(&mut self.link))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> Permit<'_, S, R> {
    /// Sends a text with the next flush, as [`WebSocket::feed`] does.
    pub fn text(self, text: impl Into<Utf8Bytes>) {
        self.put(Kind::Text, text.into().shared());
    }

    /// Sends a binary message with the next flush, as [`WebSocket::feed`] does.
    pub fn binary(self, bytes: impl Into<Bytes>) {
        self.put(Kind::Binary, &bytes.into());
    }

    fn put(self, kind: Kind, payload: &Bytes) {
        // Nothing has changed since there was room: the permit borrows the connection.
        let put = self.0.put(kind, Body::Owned(payload), Shape::Message);
        debug_assert!(matches!(put, Some(Ok(()) | Err(SendError::Extension(_)))), "{put:?}");
    }
}
