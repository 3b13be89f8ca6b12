//! Connections that are counted, and closed together.

#![forbid(unsafe_code)]

use core::fmt;
use core::pin::pin;
use core::task::{Context, Waker};
use core::time::Duration;
use std::boxed::Box;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::vec::Vec;

use ::tokio::io::{AsyncRead, AsyncWrite};
use ::tokio::sync::Notify;
use ::tokio::time::timeout;

use super::link::Link;
use super::websocket::WebSocket;
use crate::close::CloseCode;
use crate::role::Role;

/// Counts connections and closes all of them, for the shutdown of a server. A clone is the same tracker.
///
/// A connection is counted from [`WebSocket::track`] on until its [`WebSocket`] is dropped; one that was
/// [split](WebSocket::into_split), until it has ended.
///
/// ```
/// use std::time::Duration;
///
/// use sansocket::config::ServerOptions;
/// use sansocket::tokio::{Tracker, WebSocket};
/// use sansocket::{CloseCode, Error};
/// use tokio::net::TcpStream;
///
/// async fn echo(stream: TcpStream, tracker: Tracker) -> Result<(), Error> {
///     let mut socket = WebSocket::accept(stream, &ServerOptions::new()).await?;
///     socket.track(&tracker);
///     while let Some(message) = socket.recv().await? { // `None` after `close_all`, too
///         socket.send(message).await?;
///     }
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
/// # let url = format!("ws://{}/", listener.local_addr().unwrap());
/// let tracker = Tracker::new();
/// # let accepting = tracker.clone();
/// # tokio::spawn(async move { echo(listener.accept().await.unwrap().0, accepting).await });
/// # let mut client = sansocket::tokio::connect(&url).await?;
/// # client.send("hello").await?;
/// # assert_eq!(client.recv().await?, Some("hello".into()));
/// # let client = tokio::spawn(async move { client.recv().await.map(|end| (end, client)) });
/// assert_eq!(tracker.len(), 1);
/// tracker.close_all(CloseCode::GOING_AWAY, "the server stops");
/// assert_eq!(tracker.wait(Duration::from_secs(10)).await, 0);
/// # assert_eq!(client.await.unwrap()?.1.close_reason(), "the server stops");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Tracker(Arc<Inner>);

#[derive(Default)]
struct Inner {
    members: Mutex<Members>,
    /// Set once.
    closing: OnceLock<Closing>,
    /// Notifies those who wait until no member is left.
    empty: Notify,
}

#[derive(Default)]
struct Members {
    next: u64,
    wakers: HashMap<u64, Arc<Slot>>,
}

/// The waker of the task that polls a connection.
type Slot = Mutex<Option<Waker>>;

/// The code and the reason with which all are closed.
pub(super) struct Closing {
    pub(super) code: Option<CloseCode>,
    pub(super) reason: Box<str>,
}

/// The membership of a connection, which ends when this is dropped.
pub(super) struct Member {
    tracker: Arc<Inner>,
    number: u64,
    waker: Arc<Slot>,
}

impl Tracker {
    /// Creates a tracker of no connections.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns how many connections are tracked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.members().wakers.len()
    }

    /// Returns whether no connection is tracked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Closes all connections, also those that are tracked later: each sends what was fed or queued before, and then a Close. The first
    /// of several calls counts. `code` is a [`CloseCode`] or `None`; a reason without a code is left out, and one of more
    /// than 123 bytes is cut.
    ///
    /// A connection that was split is closed by its driver, whatever its halves do. Any other is closed by its task as soon as that
    /// awaits one of its methods: `recv` returns `None` when the peer has answered, sends fail with
    /// [`SendError::Closed`](crate::SendError::Closed). Each takes as long as [`WebSocket::close`] may take.
    pub fn close_all(&self, code: impl Into<Option<CloseCode>>, reason: &str) {
        let code = code.into();
        let reason = if code.is_some() { reason } else { "" };
        if self.0.closing.set(Closing { code, reason: reason.into() }).is_err() {
            return;
        }
        let slots: Vec<_> = self.0.members().wakers.values().cloned().collect();
        for slot in slots {
            let waker = lock(&slot).take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Waits until no connection is tracked, at most for this time. Returns how many are left, 0 if all have ended.
    ///
    /// # Cancel safety
    /// Call again.
    pub async fn wait(&self, at_most: Duration) -> usize {
        let _ = timeout(at_most, self.ended()).await;
        self.len()
    }

    async fn ended(&self) {
        loop {
            let mut notified = pin!(self.0.empty.notified());
            notified.as_mut().enable();
            if self.is_empty() {
                return;
            }
            notified.await;
        }
    }

    pub(super) fn join(&self) -> Member {
        let waker = Arc::new(Slot::default());
        let mut members = self.0.members();
        let number = members.next;
        members.next = members.next.wrapping_add(1);
        members.wakers.insert(number, Arc::clone(&waker));
        Member { tracker: Arc::clone(&self.0), number, waker }
    }
}

impl<S, R> WebSocket<S, R> {
    /// Counts the connection in a [`Tracker`], which can close it, until it is dropped. A tracker that counted it before no longer
    /// does. [`into_split`](Self::into_split) keeps it counted.
    pub fn track(&mut self, tracker: &Tracker) {
        self.link.member = Some(Box::new(tracker.join()));
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> Link<S, R> {
    /// Returns whether the connection's tracker closes it.
    pub(super) fn is_told_to_close(&self) -> bool {
        self.member.as_ref().is_some_and(|member| member.closing().is_some())
    }

    /// Closes the connection if its tracker closes it, and returns whether it does.
    pub(super) fn follow_tracker(&mut self) -> bool {
        let Some(member) = self.member.take_if(|member| member.closing().is_some()) else { return false };
        if let Some(closing) = member.closing() {
            self.limit_life();
            // Repeated until there is room and no frame is open. A second Close is not sent.
            let _ = self.put_control(|out| out.close(closing.code, &closing.reason));
        }
        self.member = Some(member);
        true
    }
}

impl Member {
    /// Returns what the tracker closes with, if it does.
    pub(super) fn closing(&self) -> Option<&Closing> {
        self.tracker.closing.get()
    }

    /// Returns what the tracker closes with; otherwise it wakes this task when it does.
    pub(super) fn poll_closing(&self, cx: &Context<'_>) -> Option<&Closing> {
        if self.closing().is_none() {
            let mut known = lock(&self.waker);
            match &mut *known {
                Some(known) => known.clone_from(cx.waker()),
                None => *known = Some(cx.waker().clone()),
            }
        }
        // Checked after the waker is stored, so that no call is missed.
        self.closing()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut members = self.tracker.members();
        members.wakers.remove(&self.number);
        let last = members.wakers.is_empty();
        drop(members);
        if last {
            self.tracker.empty.notify_waiters();
        }
    }
}

impl Inner {
    fn members(&self) -> MutexGuard<'_, Members> {
        lock(&self.members)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Tracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracker").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").finish_non_exhaustive()
    }
}
