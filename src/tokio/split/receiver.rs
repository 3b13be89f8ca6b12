//! The receiving half of a connection.

#![forbid(unsafe_code)]

use core::fmt;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::sync::Arc;
use std::thread;

use ::tokio::task::coop;
use futures_core::{FusedStream, Stream};

use super::shared::Shared;
use crate::ending::Ending;
use crate::host::error::Error;
use crate::message::owned::Message;

/// Receives on a connection that was [split](super::WebSocket::into_split). It is also a `Stream` of messages.
///
/// The driver receives some messages ahead ([`SplitOptions::read_ahead`](super::SplitOptions::read_ahead)), and then stops reading
/// until somebody takes one: the peer is slowed down, and a Ping that it sent behind those messages waits, too.
///
/// # Dropping
///
/// What the peer sends is discarded from then on, up to its Close: the [`Sender`](super::Sender)s go on. When the last of them is
/// dropped too, the connection is closed with code 1001. A receiver that is dropped by a panic of its task closes with code 1011, also
/// if there are senders.
pub struct Receiver {
    pub(super) shared: Arc<Shared>,
    /// The `Stream` has returned its end.
    ended: bool,
}

impl Receiver {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared, ended: false }
    }

    /// Waits for the next whole message, as [`WebSocket::recv`](super::WebSocket::recv) does. `None` means that the connection was closed
    /// cleanly; every further call returns it again.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Ended`] if the connection did not end cleanly, again on every further call;
    /// [`Error::MessageTooBig`] if there was no memory for a message: more may follow.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn recv(&mut self) -> Result<Option<Message>, Error> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Returns how the connection ended; `None` while it has not.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        self.shared.end().map(|end| end.ending)
    }

    /// Returns the reason in the peer's Close, once the connection has ended; empty if there is none.
    #[must_use]
    pub fn close_reason(&self) -> &str {
        self.shared.end().map_or("", |end| &end.reason)
    }

    /// Returns the subprotocol that both sides agreed on, if any.
    #[must_use]
    pub fn protocol(&self) -> Option<&str> {
        self.shared.protocol()
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Error>> {
        let budget = ready!(coop::poll_proceed(cx));
        // Read before the queue: what was received before the end is in the queue then.
        let end = self.shared.end();
        let next = ready!(self.shared.with(|state| state.poll_next(cx, end.is_some())));
        budget.made_progress();
        Poll::Ready(match (next, end) {
            (Some(message), _) => message.map(Some),
            (None, Some(end)) if !end.ending.is_clean() => Err(Error::Ended(end.ending)),
            (None, _) => Ok(None),
        })
    }
}

/// The messages that [`Receiver::recv`] returns, then its error, if any, then `None`. After an [`Error::MessageTooBig`] more
/// may follow.
impl Stream for Receiver {
    type Item = Result<Message, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let receiver = self.get_mut();
        if receiver.ended {
            return Poll::Ready(None);
        }
        let message = ready!(receiver.poll_recv(cx));
        receiver.ended = !matches!(message, Ok(Some(_)) | Err(Error::MessageTooBig));
        Poll::Ready(message.transpose())
    }
}

impl FusedStream for Receiver {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // What is unread is freed without the lock.
        drop(self.shared.with(|state| state.drop_receiver(thread::panicking())));
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("ending", &self.ending()).finish_non_exhaustive()
    }
}
