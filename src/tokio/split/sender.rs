//! The sending half of a connection.

#![forbid(unsafe_code)]

use core::fmt;
use core::future::poll_fn;
use core::task::{Context, Poll};
use std::sync::Arc;
use std::thread;
use std::vec::Vec;

use bytes::Bytes;

use super::queue::Item;
use super::shared::{Shared, State};
use crate::close::CloseCode;
use crate::config::Overflow;
use crate::ending::Ending;
use crate::host::error::Error;
use crate::message::Prepared;
use crate::message::owned::Message;
use crate::send::SendError;
use crate::tokio::try_send::TrySendError;

/// Sends on a connection that was [split](super::WebSocket::into_split), from any task. A clone sends on the same connection.
///
/// A message is queued, within [`SplitOptions::queue`](super::SplitOptions::queue), and the connection's driver sends it.
///
/// A room keeps the senders of its members, and a member that reads too slowly does not delay the others:
///
/// ```
/// use std::collections::HashMap;
///
/// use sansocket::message::Prepared;
/// use sansocket::tokio::{OfferError, Sender};
///
/// #[derive(Default)]
/// struct Room(HashMap<u64, Sender>);
///
/// impl Room {
///     fn say(&mut self, text: String) {
///         let message = Prepared::from(text); // encoded once
///         self.0.retain(|id, member| match member.offer(&message) {
///             Ok(0) => true,
///             Ok(dropped) => {
///                 println!("{id} reads too slowly: {dropped} older messages are lost");
///                 true
///             }
///             Err(OfferError::Full) => {
///                 println!("{id} reads too slowly: this message is lost");
///                 true
///             }
///             Err(_) => false,
///         });
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), sansocket::Error> {
/// # use sansocket::{config::{ClientOptions, ServerOptions}, tokio::WebSocket};
/// # let (near, far) = tokio::io::duplex(4096);
/// # let (to_accept, to_connect) = (ServerOptions::new(), ClientOptions::new());
/// # let (server, client) = tokio::join!(
/// #     WebSocket::accept(near, &to_accept),
/// #     WebSocket::connect(far, "ws://localhost/", &to_connect)
/// # );
/// # let (socket, mut peer) = (server?, client?);
/// let (sender, receiver) = socket.into_split();
/// let mut room = Room::default();
/// room.0.insert(1, sender);
/// room.say("hello".to_owned());
/// assert_eq!(peer.recv().await?, Some("hello".into()));
/// # drop(receiver);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Sender(Arc<Handle>);

/// One for all clones, so that the last one is noticed.
struct Handle(Arc<Shared>);

/// What waits for the peer of a [`Sender`], the message included that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Queued {
    /// How many messages.
    pub messages: usize,
    /// The bytes of their payloads.
    pub bytes: usize,
}

/// Why [`Sender::offer`] did not queue a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OfferError {
    /// Capacity: too much waits for the peer, and the message is dropped ([`Overflow::DropNewest`], or [`Overflow::DropOldest`] where
    /// dropping older messages makes no room); or all places that are left are [reserved](Sender::reserve).
    #[error("too much is pending for the peer: the message is dropped")]
    Full,
    /// Peer: too much waits for it, so the connection is closed with this code ([`Overflow::Close`]).
    #[error("too much is pending for the peer: the connection closes with code {0}")]
    TooSlow(CloseCode),
    /// The connection was closed before.
    #[error("the connection is closed")]
    Closed,
    /// Caller: this message cannot be sent, for the reason that [`Sender::send`] returns.
    #[error("{0}")]
    Invalid(SendError),
}

impl Sender {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(Arc::new(Handle(shared)))
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }

    /// Whether there is no clone of this.
    pub(super) fn is_alone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Queues a message, and waits for room in the queue: a peer that reads slowly slows down its senders. Those that wait get
    /// room in the order of their calls.
    ///
    /// The wait ends when the connection does: a peer that reads nothing meets the
    /// [write deadline](crate::config::Timeouts::write). A message that was queued is lost if the connection ends before it has left.
    ///
    /// # Errors
    /// [`Error::Send`]: [`SendError::Closed`] if the connection was closed by either side, or has ended;
    /// [`SendError::ControlTooLong`] if the payload of a Ping or Pong is longer than 125 bytes.
    ///
    /// # Cancel safety
    /// If the future is dropped before it is ready, the message is not sent.
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), Error> {
        self.put(Item::Message(message.into())).await
    }

    /// Queues a message that is shared with other connections, and waits for room as [`send`](Self::send) does.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    /// If the future is dropped before it is ready, the message is not sent.
    pub async fn send_prepared(&self, message: &Prepared) -> Result<(), Error> {
        self.put(Item::Prepared(message.clone())).await
    }

    /// Queues a message at once, or returns it.
    ///
    /// # Errors
    /// [`TrySendError::Full`] if there is no room, or a [`send`](Self::send) or [`reserve`](Self::reserve) waits for it; [`TrySendError::Closed`];
    /// [`TrySendError::Invalid`] if the payload of a Ping or Pong is longer than 125 bytes.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), TrySendError> {
        let message = message.into();
        if message.is_too_long() {
            return Err(TrySendError::Invalid(message, SendError::ControlTooLong));
        }
        let item = Item::Message(message);
        let (item, open) =
            self.shared().with(|state| match state.open && state.queue.admits(None, item.len()) {
                true => {
                    state.push(item);
                    (None, true)
                }
                false => (Some(item), state.open),
            });
        match item {
            Some(Item::Message(message)) if open => Err(TrySendError::Full(message)),
            Some(Item::Message(message)) => Err(TrySendError::Closed(message)),
            _ => Ok(()),
        }
    }

    /// Queues a message at once, and if there is no room, does what [`QueueLimits::overflow`](crate::config::QueueLimits::overflow) says:
    /// for one message to many peers, of which some read slowly. Returns how many older messages were dropped for it.
    ///
    /// # Errors
    /// [`OfferError`] if the message is not queued.
    pub fn offer(&self, message: &Prepared) -> Result<usize, OfferError> {
        let item = Item::Prepared(message.clone());
        item.check().map_err(OfferError::Invalid)?;
        // The dropped messages leave the lock before their memory is freed.
        let offered = self.shared().with(|state| offer(state, item));
        offered.map(|dropped| dropped.len())
    }

    /// Sends a Ping with at most 125 bytes of payload, behind what is queued. The connection sends Pings of its own
    /// ([`Timeouts::ping`](crate::config::Timeouts::ping)).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    /// If the future is dropped before it is ready, the Ping is not sent.
    pub async fn ping(&self, payload: &[u8]) -> Result<(), Error> {
        self.put(Item::Ping(Bytes::copy_from_slice(payload))).await
    }

    /// Closes the connection: sends what is queued and then a Close, for which the driver needs neither half. The first of several
    /// calls counts. [`closed`](Self::closed) waits for the end.
    ///
    /// `code` is a [`CloseCode`] or `None`; a reason without a code is left out, and one of more than 123 bytes is cut.
    ///
    /// The end comes within [`Timeouts::close`](crate::config::Timeouts::close) each for the peer's Close and the end of its stream, and
    /// where the peer takes slowly what is queued, within ten times that. Until its Close, what the peer sends is left to the
    /// [`Receiver`](super::Receiver): one that takes nothing lets the closing handshake time out, unless it is dropped.
    pub fn close(&self, code: impl Into<Option<CloseCode>>, reason: &str) {
        let code = code.into();
        self.shared().with(|state| state.close(code, reason));
    }

    /// Returns whether nothing can be sent any more: after a [`close`](Self::close), the peer's Close, or the end.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared().with(|state| !state.open)
    }

    /// Waits for the end of the connection, and returns how it ended.
    ///
    /// # Cancel safety
    /// Call again.
    pub async fn closed(&self) -> Ending {
        self.shared().ended().await.ending
    }

    /// Returns how much waits for the peer. The connection itself holds as much as its transmit buffer on top.
    #[must_use]
    pub fn queued(&self) -> Queued {
        let (messages, bytes) = self.shared().with(|state| state.queue.count());
        Queued { messages, bytes }
    }

    async fn put(&self, item: Item) -> Result<(), Error> {
        item.check().map_err(Error::Send)?;
        let (len, mut item) = (item.len(), Some(item));
        self.wait_for_room(len, |state| {
            if let Some(item) = item.take() {
                state.push(item);
            }
        })
        .await
    }

    /// Waits until it is this call's turn and the queue has room for a message of this length, and takes that room.
    pub(super) async fn wait_for_room(
        &self,
        len: usize,
        mut take: impl FnMut(&mut State),
    ) -> Result<(), Error> {
        let mut turn = Turn { shared: self.shared(), number: None };
        poll_fn(|cx| turn.poll(cx, len, &mut take)).await.map_err(Error::Send)
    }
}

/// The place of a send in the line. If it is dropped, the next one gets its turn.
struct Turn<'s> {
    shared: &'s Shared,
    number: Option<u64>,
}

impl Turn<'_> {
    fn poll(
        &mut self,
        cx: &Context<'_>,
        len: usize,
        take: &mut impl FnMut(&mut State),
    ) -> Poll<Result<(), SendError>> {
        self.shared.with(|state| {
            if !state.open {
                return Poll::Ready(Err(SendError::Closed));
            }
            if !state.queue.admits(self.number, len) {
                self.number = Some(state.queue.wait(self.number, cx.waker()));
                return Poll::Pending;
            }
            take(state);
            Poll::Ready(Ok(()))
        })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        self.shared.with(|state| {
            state.queue.leave(number);
            state.wake_first();
        });
    }
}

/// Queues a message by the policy. Returns what was dropped for it.
fn offer(state: &mut State, item: Item) -> Result<Vec<Item>, OfferError> {
    if !state.open {
        return Err(OfferError::Closed);
    }
    let dropped = state.queue.make_room(&item).ok_or_else(|| match state.queue.overflow() {
        // The peer is not slow where only reserved places are in the way.
        Overflow::Close(code) if !state.queue.would_have_room(item.len()) => {
            state.close(Some(code), "");
            OfferError::TooSlow(code)
        }
        Overflow::Close(_) | Overflow::DropNewest | Overflow::DropOldest => OfferError::Full,
    })?;
    state.push(item);
    Ok(dropped)
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.with(|state| state.drop_sender(thread::panicking()));
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("queued", &self.queued()).finish_non_exhaustive()
    }
}
