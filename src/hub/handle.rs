//! Access to a hub from other threads and from handlers.

#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use super::completion::{Completion, Done, NotDelivered};
use super::context::HubContext;
use super::counters::Counters;
use super::id::SessionId;
use super::session_info::SessionInfo;
use super::shared::{Command, Monitor, Shared};
use crate::arc::Arc;
use crate::close::{CloseCode, cut_reason};
use crate::message::Prepared;

/// Sends commands to a hub from other threads and from its own handlers. A clone is cheap and refers to the same hub.
///
/// No call waits for the hub: it puts a command into a queue, and fails at once if the queue is full. So no call can
/// deadlock, not even in a handler or in a completion. The hub executes commands in the order of the calls.
///
/// If the hub is dropped, it drops the pending commands: it does not call functions and filters, and calls
/// completions with [`NotDelivered::Ended`].
///
/// ```
/// # #[cfg(feature = "mio")] {
/// use sansocket::CloseCode;
/// use sansocket::hub::{HandleError, HubSettings, MioServer, Routes};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = MioServer::bind("127.0.0.1:0", HubSettings::default(), |_| Routes::new())?;
/// let hub = server.handle();
/// let worker = std::thread::spawn(move || {
///     hub.broadcast("the server stops")?;
///     hub.stop(CloseCode::GOING_AWAY)?;
///     Ok::<_, HandleError>(hub)
/// });
/// server.run()?;
/// // After the hub has stopped:
/// let hub = worker.join().unwrap()?;
/// assert_eq!(hub.broadcast("hello"), Err(HandleError::Stopped));
/// # Ok(())
/// # }
/// # main().unwrap();
/// # }
/// ```
#[derive(Clone)]
pub struct HubHandle(Arc<dyn Monitor>);

/// Why a call of a [`HubHandle`] did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum HandleError {
    /// [`HubSettings::max_commands`](super::HubSettings::max_commands) commands are pending already.
    #[error("the hub's queue of commands is full")]
    Full,
    /// The hub has stopped.
    #[error("the hub has stopped")]
    Stopped,
}

impl HubHandle {
    /// Makes a handle over the driver's monitor, whose queue holds this many commands.
    pub(super) fn new(monitor: Arc<dyn Monitor>, commands: usize) -> Self {
        let handle = Self(monitor);
        handle.update(|shared| shared.limit = commands);
        handle
    }

    /// Sends a message to a session, after all messages that were sent to it before.
    ///
    /// A call that succeeds does not mean that the message arrives: the session may end before. Call
    /// [`send_with`](Self::send_with) to learn whether the transport has taken it.
    ///
    /// # Errors
    /// [`HandleError::Full`], [`HandleError::Stopped`].
    pub fn send(&self, id: SessionId, message: impl Into<Prepared>) -> Result<(), HandleError> {
        self.post(Command::Send(id, message.into(), Done::NOBODY))
    }

    /// Sends a message to a session, and calls `done` when the transport has taken the whole message, or when the
    /// message is lost.
    ///
    /// If the call succeeds, `done` is called once: in the hub's thread, or in the thread that drops the hub. It must not
    /// block or panic. If the call fails, `done` is dropped in the caller's thread and not called.
    ///
    /// # Errors
    /// [`HandleError::Full`], [`HandleError::Stopped`].
    pub fn send_with(
        &self,
        id: SessionId,
        message: impl Into<Prepared>,
        done: impl FnOnce(Result<(), NotDelivered>) + Send + 'static,
    ) -> Result<(), HandleError> {
        let done: Completion = Box::new(done);
        self.post(Command::Send(id, message.into(), Done::new(done)))
    }

    /// Sends a message, encoded once, to all open sessions. If there are many, the hub reaches some of them in each
    /// turn, and executes later commands after that; a session that is accepted meanwhile does not get the message.
    ///
    /// # Errors
    /// [`HandleError::Full`], [`HandleError::Stopped`].
    pub fn broadcast(&self, message: impl Into<Prepared>) -> Result<(), HandleError> {
        self.broadcast_to(message, |_| true)
    }

    /// Sends a message to those open sessions that `to` selects, as [`broadcast`](Self::broadcast). `to` is called in
    /// the hub's thread, once for each open session.
    ///
    /// # Errors
    /// [`HandleError::Full`], [`HandleError::Stopped`].
    pub fn broadcast_to(
        &self,
        message: impl Into<Prepared>,
        to: impl FnMut(&SessionInfo) -> bool + Send + 'static,
    ) -> Result<(), HandleError> {
        self.post(Command::Broadcast(message.into(), Box::new(to)))
    }

    /// Wakes the handler of a session: the hub calls [`Handler::woken`](crate::Handler::woken), for example to send what
    /// another thread has left for it. Several calls may lead to one call there. A session whose connection is not open yet
    /// is not woken: its handler looks in [`Handler::opened`](crate::Handler::opened).
    ///
    /// # Errors
    /// [`HandleError::Full`], [`HandleError::Stopped`].
    pub fn wake(&self, id: SessionId) -> Result<(), HandleError> {
        self.post(Command::Wake(id))
    }

    /// Closes a session: sends the messages that were sent to it before, and then a Close. Later messages are lost
    /// with [`NotDelivered::Closing`]. The first of several calls counts: its code and reason are sent. A reason is cut
    /// after 123 bytes, at a character.
    ///
    /// The messages wait until the transport has taken nothing for [`Timeouts::close`](crate::config::Timeouts::close),
    /// and nine times as long in all. Then the hub drops those that have not begun, with [`NotDelivered::Closing`], and
    /// sends the Close, without the reason if the transmit buffer is full or the handler has a frame open. After ten
    /// times `Timeouts::close` it drops the transport. A session whose opening handshake is not complete is dropped at
    /// once.
    ///
    /// # Errors
    /// [`HandleError::Full`], [`HandleError::Stopped`].
    pub fn close(&self, id: SessionId, code: CloseCode, reason: &str) -> Result<(), HandleError> {
        self.post(Command::Close(id, code, cut_reason(reason).into()))
    }

    /// Calls a function in the hub's thread, between the turns of two sessions. It must not block.
    ///
    /// # Errors
    /// [`HandleError::Full`], [`HandleError::Stopped`].
    pub fn call(
        &self,
        function: impl FnOnce(&mut HubContext<'_>) + Send + 'static,
    ) -> Result<(), HandleError> {
        self.post(Command::Call(Box::new(function)))
    }

    /// Stops gracefully, after all earlier commands: accepts no further connection, [closes](Self::close) every
    /// session with `code`, and lets the driver return when the last session has ended. That is after ten times
    /// [`Timeouts::close`](crate::config::Timeouts::close) at the latest, unless that is off.
    ///
    /// The first of several calls counts: its code is sent. A stop takes no room in the queue.
    ///
    /// # Errors
    /// [`HandleError::Stopped`].
    pub fn stop(&self, code: CloseCode) -> Result<(), HandleError> {
        self.post(Command::Stop(code))
    }

    /// Returns a copy of the list of sessions. It holds the lock for a few sessions at a time, so that neither the
    /// hub nor another thread waits for the whole copy: a session that begins or ends meanwhile may be missing, or
    /// still in the list.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionInfo> {
        let mut sessions = Vec::new();
        let mut from = Some(0);
        while let Some(key) = from.take() {
            sessions.reserve(COPIED);
            self.0.lock(&mut |shared| {
                let mut rest = shared.sessions.range(key..);
                sessions.extend(rest.by_ref().take(COPIED).map(|(_, session)| session.clone()));
                from = rest.next().map(|(key, _)| *key);
            });
        }
        sessions
    }

    /// Returns the counters at the end of the hub's last turn. [`HubContext::counters`] returns the current ones.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        self.0.lock(&mut |shared| counters = shared.counters);
        counters
    }

    fn post(&self, command: Command) -> Result<(), HandleError> {
        let mut command = Some(command);
        let mut outcome = Ok(());
        let mut wake = None;
        self.0.lock(&mut |shared| {
            outcome = shared.push(&mut command);
            wake = (outcome.is_ok() && !shared.woken).then_some(shared.taken);
        });
        if let Some(taken) = wake {
            self.0.wake();
            // Set after the wake-up: this thread may have been preempted before it, and others must not rely on it.
            // Not set if the hub has taken the commands meanwhile: then it may have used up this wake-up already.
            self.0.lock(&mut |shared| shared.woken |= shared.taken == taken);
        }
        // Drops a refused command outside of the lock.
        if let Some(Command::Send(_, _, done)) = command {
            done.forget();
        }
        outcome
    }

    /// Changes the shared state, on behalf of the hub.
    pub(super) fn update(&self, mut change: impl FnMut(&mut Shared)) {
        self.0.lock(&mut |shared| change(shared));
    }
}

/// The number of sessions that are copied while the lock is held.
const COPIED: usize = 32;

impl fmt::Debug for HubHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HubHandle")
    }
}
