//! The two halves of a connection, put together again.

#![forbid(unsafe_code)]

use core::any::TypeId;
use core::fmt;
use core::future::poll_fn;
use core::task::Poll;
use std::boxed::Box;
use std::sync::Arc;

use super::{Receiver, Sender};
use crate::tokio::unread::Unread;
use crate::tokio::websocket::WebSocket;

/// [`Receiver::reunite`] did not succeed: both halves, and why.
#[derive(Debug)]
pub struct ReuniteError {
    /// The sender.
    pub sender: Sender,
    /// The receiver.
    pub receiver: Receiver,
    /// Why they are still two.
    pub reason: NotReunited,
}

/// Why two halves cannot be put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotReunited {
    /// Caller: the halves belong to two connections.
    #[error("the halves are not of the same connection")]
    OtherConnection,
    /// Caller: there are clones of the sender.
    #[error("there are other senders for the connection")]
    OtherSenders,
    /// Caller: the connection has another stream or role than was asked for.
    #[error("the connection has another type")]
    OtherType,
    /// The connection has ended, and its stream is closed. The receiver still returns what has come before.
    #[error("the connection has ended")]
    Ended,
}

impl Receiver {
    /// Puts the connection together again that [`into_split`](WebSocket::into_split) has split. The driver first sends what is queued.
    /// The `WebSocket` returns the messages that were received ahead before it receives others.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), sansocket::Error> {
    /// use sansocket::tokio::WebSocket;
    /// use tokio::io::DuplexStream;
    /// # use sansocket::config::{ClientOptions, ServerOptions};
    /// # let (near, far) = tokio::io::duplex(4096);
    /// # let (to_accept, to_connect) = (ServerOptions::new(), ClientOptions::new());
    /// # let (server, client) = tokio::join!(
    /// #     WebSocket::accept(near, &to_accept),
    /// #     WebSocket::connect(far, "ws://localhost/", &to_connect)
    /// # );
    /// # let (socket, mut peer) = (server?, client?);
    ///
    /// let (sender, receiver) = socket.into_split();
    /// sender.send("hello").await?;
    /// let mut socket: WebSocket<DuplexStream> = receiver.reunite(sender).await.map_err(|error| error.reason).unwrap();
    /// # assert_eq!(peer.recv().await?, Some("hello".into()));
    /// # peer.send("answer").await?;
    /// assert_eq!(socket.recv().await?, Some("answer".into()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ReuniteError`], which returns both halves.
    ///
    /// # Cancel safety
    /// Dropping the future drops both halves.
    pub async fn reunite<S: 'static, R: 'static>(
        self,
        sender: Sender,
    ) -> Result<WebSocket<S, R>, ReuniteError> {
        let reason = if !Arc::ptr_eq(&self.shared, sender.shared()) {
            NotReunited::OtherConnection
        } else if !sender.is_alone() {
            NotReunited::OtherSenders
        } else if self.shared.socket != TypeId::of::<WebSocket<S, R>>() {
            NotReunited::OtherType
        } else if let Some(socket) = self.take_socket().await {
            return Ok(socket);
        } else {
            NotReunited::Ended
        };
        Err(ReuniteError { sender, receiver: self, reason })
    }

    /// Waits until the driver hands over the connection; `None` if it has ended.
    async fn take_socket<S: 'static, R: 'static>(&self) -> Option<WebSocket<S, R>> {
        poll_fn(|cx| {
            let ended = self.shared.end().is_some();
            match self.shared.with(|state| state.poll_reunite(cx)) {
                Poll::Ready((socket, unread)) => Poll::Ready(socket.downcast().ok().map(|socket| {
                    let mut socket: WebSocket<S, R> = *socket;
                    socket.unread = (!unread.is_empty()).then(|| Box::new(Unread::new(unread)));
                    socket
                })),
                Poll::Pending if ended => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}

impl fmt::Display for ReuniteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl core::error::Error for ReuniteError {}
