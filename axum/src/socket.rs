//! An open connection.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum_core::Error;
use futures_core::{FusedStream, Stream};
use futures_sink::Sink;
use http::HeaderValue;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use sansocket::tokio as ws;

use crate::Message;

/// The connection below a [`WebSocket`], with all methods of `sansocket`.
pub type Connection = ws::WebSocket<TokioIo<Upgraded>>;

/// An open connection, with the methods of axum's.
///
/// Its [`Connection`] has more: borrowed events, `feed`, `flush`, `close`, readers, writers, a split into owned halves. Get it by
/// [`get_mut`](Self::get_mut) and [`into_inner`](Self::into_inner). They are no methods of this type, since a program for axum may
/// call those of `StreamExt` and `SinkExt` by the same names.
///
/// # Errors
///
/// They are those of axum, around a [`sansocket::Error`]:
///
/// ```
/// use sansocket_axum::WebSocket;
///
/// async fn wait(mut socket: WebSocket) {
///     while let Some(message) = socket.recv().await {
///         if let Err(error) = message {
///             match error.into_inner().downcast_ref::<sansocket::Error>() {
///                 Some(error) if error.is_disconnect() => println!("the peer has gone"),
///                 Some(error) if error.is_timeout() => println!("a deadline has passed: {error}"),
///                 error => println!("{error:?}"),
///             }
///         }
///     }
/// }
/// ```
///
/// # Dropping
///
/// Dropping a `WebSocket` drops the connection without a Close, as in axum. If it is dropped because its task panics, the peer gets a
/// Close with 1011.
pub struct WebSocket {
    /// Boxed, so that the futures that hold this are small.
    inner: Box<Connection>,
    protocol: Option<HeaderValue>,
    /// `recv` has returned its end.
    ended: bool,
}

impl WebSocket {
    /// Waits for the next message; `None` after the end. A Ping is answered before it is returned, a Close too.
    ///
    /// # Errors
    /// The connection has ended otherwise than by a Close of the peer. `None` follows.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn recv(&mut self) -> Option<Result<Message, Error>> {
        if self.ended {
            return None;
        }
        let received = self.get_mut().recv().await;
        self.note(received.transpose())
    }

    /// Sends a message, and waits until the stream has taken all of it. While it waits, Pings are answered.
    ///
    /// # Errors
    /// The connection has ended, a Close was sent or received, a control frame is longer than 125 bytes, or the code of a Close must
    /// not be sent.
    ///
    /// # Cancel safety
    /// The message is sent whole or not at all.
    pub async fn send(&mut self, msg: Message) -> Result<(), Error> {
        let message = sansocket::Message::try_from(msg).map_err(Error::new)?;
        self.get_mut().send(message).await.map_err(Error::new)
    }

    /// Returns the subprotocol that both sides agreed on, if any.
    #[must_use]
    pub fn protocol(&self) -> Option<&HeaderValue> {
        self.protocol.as_ref()
    }

    /// Returns the connection, for what this type does not have.
    ///
    /// Its `recv` returns Pings, Pongs and the Close too: see [`into_inner`](Self::into_inner).
    ///
    /// ```
    /// use sansocket::{CloseCode, Ending};
    /// use sansocket_axum::WebSocket;
    ///
    /// async fn full(mut socket: WebSocket) -> Ending {
    ///     socket.get_mut().close(CloseCode::TRY_AGAIN_LATER, "full").await
    /// }
    /// ```
    pub fn get_mut(&mut self) -> &mut Connection {
        &mut self.inner
    }

    /// Returns the connection.
    ///
    /// Its `recv` returns Pings, Pongs and the Close too, as [`recv`](Self::recv) does, unless [`WebSocketUpgrade::options`] has set
    /// another mode. The connection has answered them. A program that sends on what it receives has to leave them out: the Close of
    /// one member would close the connections of all others.
    ///
    /// ```
    /// use std::collections::HashMap;
    /// use std::sync::{Arc, Mutex};
    ///
    /// use sansocket::message::Prepared;
    /// use sansocket::tokio::Sender;
    /// use sansocket_axum::WebSocket;
    ///
    /// type Room = Arc<Mutex<HashMap<u64, Sender>>>;
    ///
    /// async fn member(socket: WebSocket, id: u64, room: Room) {
    ///     let (sender, mut receiver) = socket.into_inner().into_split();
    ///     room.lock().unwrap().insert(id, sender);
    ///     while let Ok(Some(message)) = receiver.recv().await {
    ///         if message.is_data() {
    ///             let message = Prepared::from(message); // encoded once
    ///             for member in room.lock().unwrap().values() {
    ///                 let _ = member.offer(&message); // a slow member loses it
    ///             }
    ///         }
    ///     }
    ///     room.lock().unwrap().remove(&id);
    /// }
    /// # async fn handler(ws: sansocket_axum::WebSocketUpgrade) -> axum::response::Response {
    /// #     ws.on_upgrade(|socket| member(socket, 1, Room::default()))
    /// # }
    /// # let _: axum::Router = axum::Router::new().route("/", axum::routing::any(handler));
    /// ```
    ///
    /// [`WebSocketUpgrade::options`]: crate::WebSocketUpgrade::options
    #[must_use]
    pub fn into_inner(self) -> Connection {
        *self.inner
    }

    pub(crate) fn new(inner: Connection) -> Self {
        let protocol = inner.protocol().and_then(|protocol| protocol.parse().ok());
        Self { inner: Box::new(inner), protocol, ended: false }
    }

    /// Converts what was received, and remembers the end.
    fn note(
        &mut self,
        received: Option<Result<sansocket::Message, sansocket::Error>>,
    ) -> Option<Result<Message, Error>> {
        self.ended = !matches!(received, Some(Ok(_) | Err(sansocket::Error::MessageTooBig)));
        received.map(|received| received.map(Into::into).map_err(Error::new))
    }

    fn pin(self: Pin<&mut Self>) -> Pin<&mut Connection> {
        Pin::new(self.get_mut().get_mut())
    }
}

impl Stream for WebSocket {
    type Item = Result<Message, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let socket = self.get_mut();
        if socket.ended {
            return Poll::Ready(None);
        }
        let received = ready!(Pin::new(socket.get_mut()).poll_next(cx));
        Poll::Ready(socket.note(received))
    }
}

impl FusedStream for WebSocket {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

impl Sink<Message> for WebSocket {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.pin().poll_ready(cx).map_err(Error::new)
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        let message = sansocket::Message::try_from(message).map_err(Error::new)?;
        self.pin().start_send(message).map_err(Error::new)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.pin().poll_flush(cx).map_err(Error::new)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.pin().poll_close(cx).map_err(Error::new)
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("protocol", &self.protocol)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
