//! A place in the queue that is reserved before there is a message.

#![forbid(unsafe_code)]

use core::{fmt, mem};

use bytes::Bytes;

use super::queue::Item;
use super::sender::Sender;
use super::shared::Shared;
use crate::host::error::Error;
use crate::message::Utf8Bytes;
use crate::message::owned::Message;

/// Room for one message on a [`Sender`]: [`Sender::reserve`].
///
/// Dropping it gives the room back; nothing is sent.
#[must_use = "nothing is sent without a message"]
pub struct SenderPermit<'a>(&'a Shared);

impl Sender {
    /// Waits until a message of any length can be queued, and reserves that room, so that the message is chosen or taken out of a
    /// queue only when it can be queued.
    ///
    /// The [`SenderPermit`] then takes it without a wait and without an error. While it exists, it counts as a message in the
    /// [`QueueLimits`](crate::config::QueueLimits) for all senders of the connection: do not keep it while you wait for something else.
    /// The limit of bytes is checked before the length is known: each reserved message may exceed it, as the first of an empty queue may.
    ///
    /// ```
    /// use sansocket::Error;
    /// use sansocket::tokio::Sender;
    /// use tokio::sync::mpsc;
    ///
    /// /// A message stays in the queue until it can be sent, also if this future is dropped.
    /// async fn forward(sender: &Sender, queue: &mut mpsc::Receiver<String>) -> Result<(), Error> {
    ///     loop {
    ///         let permit = sender.reserve().await?;
    ///         match queue.try_recv() {
    ///             Ok(text) => permit.text(text),
    ///             Err(_) => return Ok(()),
    ///         }
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # use sansocket::{config::{ClientOptions, ServerOptions}, tokio::WebSocket};
    /// # let (near, far) = tokio::io::duplex(4096);
    /// # let (to_accept, to_connect) = (ServerOptions::new(), ClientOptions::new());
    /// # let (server, client) = tokio::join!(
    /// #     WebSocket::accept(near, &to_accept),
    /// #     WebSocket::connect(far, "ws://localhost/", &to_connect)
    /// # );
    /// # let (socket, mut peer) = (server?, client?);
    /// let (sender, _receiver) = socket.into_split();
    /// let (texts, mut queue) = mpsc::channel(2);
    /// texts.send("one".to_owned()).await.unwrap();
    /// texts.send("two".to_owned()).await.unwrap();
    /// forward(&sender, &mut queue).await?;
    /// assert_eq!(peer.recv().await?, Some("one".into()));
    /// assert_eq!(peer.recv().await?, Some("two".into()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Send`] with [`SendError::Closed`](crate::SendError::Closed) if the connection was closed by either side, or has ended.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing, but the call loses its place in the line of those that wait for room.
    pub async fn reserve(&self) -> Result<SenderPermit<'_>, Error> {
        // A message has bytes: none is reserved while the limit of bytes is reached.
        self.wait_for_room(1, |state| state.queue.reserve()).await?;
        Ok(SenderPermit(self.shared()))
    }
}

impl SenderPermit<'_> {
    /// Queues a text, as [`Sender::send`] does. If the connection was closed since the room was reserved, the text is lost.
    pub fn text(self, text: impl Into<Utf8Bytes>) {
        self.put(Message::Text(text.into()));
    }

    /// Queues a binary message, as [`Sender::send`] does. If the connection was closed since the room was reserved, the message is
    /// lost.
    pub fn binary(self, bytes: impl Into<Bytes>) {
        self.put(Message::Binary(bytes.into()));
    }

    fn put(self, message: Message) {
        let lost = self.0.with(|state| {
            state.queue.release();
            if !state.open {
                return Some(message);
            }
            state.push(Item::Message(message));
            None
        });
        // Freed without the lock.
        drop(lost);
        // The place is used.
        mem::forget(self);
    }
}

impl fmt::Debug for SenderPermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SenderPermit").finish_non_exhaustive()
    }
}

impl Drop for SenderPermit<'_> {
    fn drop(&mut self) {
        self.0.with(|state| {
            state.queue.release();
            state.wake_first();
        });
    }
}
