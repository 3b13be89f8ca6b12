//! Access to a hub from other threads and from handlers.

#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;
use core::net::SocketAddr;

use super::completion::{Completion, Done, NotDelivered};
use super::counters::Counters;
use super::id::SessionId;
use crate::close::{CloseCode, MAX_CLOSE_REASON};
use crate::message::Prepared;

/// Sends commands to a hub from other threads and from its own handlers. Clones are cheap and refer to the same hub.
///
/// No call waits for the hub: it puts a command into a queue, and fails at once if the queue is full. So no call can
/// deadlock, not even in a handler or in a completion. The hub executes commands in the order of the calls.
///
/// If the hub is dropped, it drops the pending commands: it does not call functions and filters, and calls
/// completions with [`NotDelivered::Ended`].
///
/// ```
/// # use std::sync::{Arc, Mutex};
/// # use sansocket::hub::driver::{Hub, HubSocket, Monitor, Shared, SocketFailed};
/// # use sansocket::hub::{HandleError, HubSettings, Routes};
/// # use sansocket::message::Prepared;
/// # use sansocket::{CloseCode, Instant};
/// # struct Tcp;
/// # impl HubSocket for Tcp {
/// #     fn recv(&mut self, _: &mut [u8]) -> Result<Option<usize>, SocketFailed> { Ok(None) }
/// #     fn send(&mut self, _: &[u8], _: &[u8]) -> Result<Option<usize>, SocketFailed> { Ok(None) }
/// #     fn shutdown(&mut self) -> Result<(), SocketFailed> { Ok(()) }
/// # }
/// # struct Driver(Mutex<Shared>);
/// # impl Monitor for Driver {
/// #     fn lock(&self, use_it: &mut dyn FnMut(&mut Shared)) { use_it(&mut self.0.lock().unwrap()) }
/// #     fn wake(&self) {}
/// # }
/// # let driver = Arc::new(Driver(Mutex::default()));
/// # let mut hub = Hub::new(HubSettings::default(), driver, |_| Routes::<Tcp>::new())?;
/// let handle = hub.handle(); // of an adapter: `server.handle()`
/// let worker = std::thread::spawn(move || {
///     handle.broadcast(Prepared::text("the server stops"))?;
///     handle.stop(CloseCode::GOING_AWAY)?;
///     Ok::<_, HandleError>(handle)
/// });
/// let handle = worker.join().unwrap()?;
/// # hub.run(Instant::START);
/// # assert!(hub.is_over());
/// # drop(hub);
/// // After the hub has stopped:
/// assert_eq!(handle.broadcast(Prepared::text("hello")), Err(HandleError::Stopped));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct HubHandle(Arc<dyn Monitor>);

/// Guards the state that a hub and its handles share, and wakes the hub. A driver implements it once.
pub trait Monitor: Send + Sync {
    /// Calls `use_it` with the shared state, and excludes all other callers meanwhile.
    fn lock(&self, use_it: &mut dyn FnMut(&mut Shared));

    /// Ends the driver's current wait for its transports, or the next one if it does not wait. Must not block.
    ///
    /// It is called outside of [`lock`](Self::lock), also by several threads at once. Each call has to wake the hub
    /// by itself: it must not rely on another call that has not returned, whose thread may be preempted.
    fn wake(&self);
}

/// The state that a hub and its handles share. A [`Monitor`] starts with the default and passes it to each lock.
#[derive(Default)]
pub struct Shared {
    commands: VecDeque<Command>,
    pub(super) limit: usize,
    /// Whether a stop is among the commands.
    stop: bool,
    /// Whether the hub was woken since it last took the commands.
    woken: bool,
    /// How often the hub has taken the commands.
    taken: u32,
    pub(super) clients: BTreeMap<usize, SessionInfo>,
    pub(super) counters: Counters,
    /// The hub is dropped: no command is accepted.
    pub(super) ended: bool,
}

pub(super) enum Command {
    Send(SessionId, Prepared, Done),
    Broadcast(Prepared, Filter),
    Close(SessionId, CloseCode, String),
    Run(Function),
    Stop(CloseCode),
}

pub(super) type Function = Box<dyn FnOnce(&mut dyn HubContext) + Send>;
pub(super) type Filter = Box<dyn FnMut(&SessionInfo) -> bool + Send>;

/// The reason why a call did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandleError {
    /// [`Settings::commands`](super::Settings::commands) commands are pending already.
    #[error("the hub's queue is full")]
    Full,
    /// The hub has stopped.
    #[error("the hub has stopped")]
    Stopped,
    /// The reason is longer than [`MAX_CLOSE_REASON`] bytes.
    #[error("the reason has more than {MAX_CLOSE_REASON} bytes")]
    ReasonTooLong,
}

/// Describes a session, in lists, to filters and to the application.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Identifies the session.
    pub id: SessionId,
    /// The address of the peer, as the driver has it from the accept.
    pub peer: SocketAddr,
    /// The phase of the session.
    pub state: SessionState,
    /// A number that the application may set when it accepts the transport or sees the request, for a route or a
    /// room. Default: 0. [`Routes`](super::Routes) sets the number of the route.
    pub tag: u32,
}

/// The phase of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// The hub receives the request or sends the answer.
    Handshake,
    /// Both sides may send.
    Open,
    /// The closing handshake has begun, or a close was requested. Messages that were sent before may still be
    /// written; later ones are lost with [`NotDelivered::Closing`].
    Closing,
}

/// Gives access to a hub from inside, to a function that [`HubHandle::call`] runs there. Its calls take effect at once.
pub trait HubContext {
    /// Sends a message to a session, as [`HubHandle::send`].
    ///
    /// # Errors
    /// [`NotDelivered`]: nothing was sent.
    fn send(&mut self, id: SessionId, message: Prepared) -> Result<(), NotDelivered>;

    /// Sends a message to a session and calls `done`, as [`HubHandle::send_with`].
    ///
    /// # Errors
    /// [`NotDelivered`]: nothing was sent, and `done` is dropped and not called.
    fn send_with(
        &mut self,
        id: SessionId,
        message: Prepared,
        done: Box<dyn FnOnce(Result<(), NotDelivered>) + Send>,
    ) -> Result<(), NotDelivered>;

    /// Sends a message to all open sessions that `to` selects. Returns how many sessions have queued it.
    fn broadcast(&mut self, message: &Prepared, to: &mut dyn FnMut(&SessionInfo) -> bool) -> usize;

    /// Closes a session, as [`HubHandle::close`]. Returns whether there was one.
    ///
    /// # Errors
    /// [`HandleError::ReasonTooLong`]: nothing was done.
    fn close(&mut self, id: SessionId, code: CloseCode, reason: &str) -> Result<bool, HandleError>;

    /// Calls `see` for each session.
    fn sessions(&self, see: &mut dyn FnMut(&SessionInfo));

    /// Returns what the hub has done up to now.
    fn counters(&self) -> Counters;

    /// Returns the whole hub, to be downcast to the [`Hub`](super::Hub) of the driver's socket and the application.
    fn hub(&mut self) -> &mut dyn Any;
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
    /// [`send_then`](Self::send_then) to learn whether the transport has taken it.
    ///
    /// # Errors
    /// [`HandleError::Full`], [`HandleError::Stopped`].
    pub fn send(&self, id: SessionId, message: Prepared) -> Result<(), HandleError> {
        self.post(Command::Send(id, message, Done::NOBODY))
    }

    /// Sends a message to a session, and calls `done` when the transport has taken the whole message, or when the message
    /// is lost.
    ///
    /// If the call succeeds, `done` is called once: in the hub's thread, or in the thread that drops the hub. It must not
    /// block or panic. If the call fails, `done` is dropped in the caller's thread and not called.
    ///
    /// # Errors
    /// [`HandleError::Full`], [`HandleError::Stopped`].
    pub fn send_with(
        &self,
        id: SessionId,
        message: Prepared,
        done: impl FnOnce(Result<(), NotDelivered>) + Send + 'static,
    ) -> Result<(), HandleError> {
        let done: Completion = Box::new(done);
        self.post(Command::Send(id, message, Done::new(done)))
    }

    /// Sends a message, encoded once, to all open sessions. If there are many, the hub reaches some of them in each
    /// turn, and executes later commands after that; a session that is accepted meanwhile does not get the message.
    ///
    /// # Errors
    /// [`HandleError::Full`], [`HandleError::Stopped`].
    pub fn broadcast(&self, message: Prepared) -> Result<(), HandleError> {
        self.broadcast_to(message, |_| true)
    }

    /// Sends a message to those open sessions that `to` selects, as [`broadcast`](Self::broadcast). `to` is called in the
    /// hub's thread.
    ///
    /// # Errors
    /// [`HandleError::Full`], [`HandleError::Stopped`].
    pub fn broadcast_to(
        &self,
        message: Prepared,
        to: impl FnMut(&SessionInfo) -> bool + Send + 'static,
    ) -> Result<(), HandleError> {
        self.post(Command::Broadcast(message, Box::new(to)))
    }

    /// Closes a session: sends the messages that were sent to it before, and then a Close. Later messages are lost
    /// with [`NotDelivered::Closing`]. The first of several calls counts: its code and reason are sent.
    ///
    /// The messages wait until the transport has taken nothing for [`Timeouts::close`](crate::config::Timeouts), and nine
    /// times as long in all. Then the hub drops those that have not begun, with [`NotDelivered::Closing`], and sends the
    /// Close, without the reason if the transmit buffer is full or the handler has a frame open. After ten times
    /// `Timeouts::close` it drops the transport. A session whose opening handshake is not complete is dropped at
    /// once.
    ///
    /// # Errors
    /// Any [`HandleError`]: nothing is done.
    pub fn close(&self, id: SessionId, code: CloseCode, reason: &str) -> Result<(), HandleError> {
        check_reason(reason)?;
        self.post(Command::Close(id, code, reason.into()))
    }

    /// Runs a function in the hub's loop, between two sessions. It must not block.
    ///
    /// # Errors
    /// [`HandleError::Full`], [`HandleError::Stopped`].
    pub fn call(
        &self,
        function: impl FnOnce(&mut dyn HubContext) + Send + 'static,
    ) -> Result<(), HandleError> {
        self.post(Command::Run(Box::new(function)))
    }

    /// Stops gracefully, after all earlier commands: accepts no further connection, [closes](Self::close) every
    /// session with `code`, and lets the driver return when the last session has ended. That is after ten times
    /// [`Timeouts::close`](crate::config::Timeouts) at the latest, unless that is off.
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
        let mut clients = Vec::new();
        let mut from = Some(0);
        while let Some(key) = from.take() {
            clients.reserve(COPIED);
            self.0.lock(&mut |shared| {
                let mut rest = shared.clients.range(key..);
                clients.extend(rest.by_ref().take(COPIED).map(|(_, client)| client.clone()));
                from = rest.next().map(|(key, _)| *key);
            });
        }
        clients
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

    /// Exchanges the queued commands for an empty queue, at the start of the hub's turn.
    pub(super) fn take_commands(&self, commands: &mut VecDeque<Command>) {
        self.0.lock(&mut |shared| {
            core::mem::swap(&mut shared.commands, commands);
            (shared.stop, shared.woken) = (false, false);
            shared.taken = shared.taken.wrapping_add(1);
        });
    }

    /// Changes the shared state, on behalf of the hub.
    pub(super) fn update(&self, mut change: impl FnMut(&mut Shared)) {
        self.0.lock(&mut |shared| change(shared));
    }
}

/// The number of sessions that are copied while the lock is held.
const COPIED: usize = 32;

impl Shared {
    /// Publishes the session with this key, or removes it.
    pub(super) fn show(&mut self, key: usize, client: Option<&SessionInfo>) {
        match client {
            Some(client) => self.clients.insert(key, client.clone()),
            None => self.clients.remove(&key),
        };
    }

    pub(super) fn has_commands(&self) -> bool {
        !self.commands.is_empty()
    }

    /// Queues a command. Drops a stop that follows another.
    fn push(&mut self, command: &mut Option<Command>) -> Result<(), HandleError> {
        let stop = matches!(command, Some(Command::Stop(_)));
        let queued = self.commands.len().saturating_sub(usize::from(self.stop));
        if self.ended {
            return Err(HandleError::Stopped);
        }
        if !stop && queued >= self.limit {
            return Err(HandleError::Full);
        }
        if !(stop && self.stop) {
            self.commands.extend(command.take());
        }
        self.stop |= stop;
        Ok(())
    }
}

/// The hub's own handle. When it is dropped, the handles of others fail, and pending messages are lost.
pub(super) struct Owner(HubHandle);

impl Owner {
    pub(super) const fn new(handle: HubHandle) -> Self {
        Self(handle)
    }
}

impl core::ops::Deref for Owner {
    type Target = HubHandle;

    fn deref(&self) -> &HubHandle {
        &self.0
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let mut commands = VecDeque::new();
        self.0.update(|shared| {
            shared.ended = true;
            shared.clients.clear();
            commands = core::mem::take(&mut shared.commands);
            let sends = commands.iter().filter(|command| matches!(command, Command::Send(..))).count();
            shared.counters.lost = shared.counters.lost.saturating_add(sends as u64);
        });
        // Dropped outside of the lock, as this calls the completions.
        drop(commands);
    }
}

/// Checks that the reason fits a Close: at most [`MAX_CLOSE_REASON`] bytes.
pub(super) const fn check_reason(reason: &str) -> Result<(), HandleError> {
    if reason.len() > MAX_CLOSE_REASON { Err(HandleError::ReasonTooLong) } else { Ok(()) }
}

impl fmt::Debug for HubHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HubHandle")
    }
}
