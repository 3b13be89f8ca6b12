//! The hub from outside: from other threads, and from handlers.

#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;
use core::net::SocketAddr;

use super::counters::Counters;
use super::id::Id;
use super::message::{Done, Lost, Message};
use crate::close::{CloseCode, MAX_REASON};

/// A hub as other threads and its own handlers see it. Cheap to clone.
///
/// No call waits for the hub: what it is asked for goes into a queue, and where that is full the call fails at once.
/// So none of them can lock, wherever it is called from.
#[derive(Clone)]
pub struct Handle(Arc<dyn Monitor>);

/// What a hub and its handles share, behind a lock, and how the hub is woken. A driver has one.
pub trait Monitor: Send + Sync {
    /// Calls `use_it` with what is shared, and nobody else meanwhile.
    fn lock(&self, use_it: &mut dyn FnMut(&mut Shared));

    /// Ends the hub's wait for its transports, the one at hand or the next. Must not block.
    fn wake(&self);
}

/// What a hub and its handles share.
#[derive(Default)]
pub struct Shared {
    commands: VecDeque<Command>,
    pub(super) limit: usize,
    pub(super) clients: BTreeMap<usize, Client>,
    pub(super) counters: Counters,
    /// Nobody is there any more to do anything.
    pub(super) ended: bool,
}

pub(super) enum Command {
    Send(Id, Message, Done),
    Broadcast(Message, Filter),
    Close(Id, CloseCode, String),
    Run(Function),
    Stop(CloseCode),
}

pub(super) type Function = Box<dyn FnOnce(&mut dyn Control) + Send>;
pub(super) type Filter = Box<dyn FnMut(&Client) -> bool + Send>;

/// The queue of a hub is full, or the hub is gone: nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// [`Settings::commands`](super::Settings::commands) wait already.
    #[error("the hub's queue is full")]
    Full,
    /// The hub has stopped.
    #[error("the hub has stopped")]
    Stopped,
    /// A reason has at most [`MAX_REASON`] bytes.
    #[error("the reason has more than {MAX_REASON} bytes")]
    ReasonTooLong,
}

/// A session, as lists and filters show it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Client {
    /// Its name.
    pub id: Id,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// How far it has come.
    pub state: ClientState,
    /// Whatever the application has set when it saw the request, 0 before: a route, a room.
    pub group: u32,
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientState {
    /// The request is being received, or answered.
    Handshake,
    /// Both sides may send.
    Open,
    /// The closing handshake has begun.
    Closing,
}

/// A hub from inside, for what [`Handle::run`] runs there.
pub trait Control {
    /// Sends a message to a session.
    ///
    /// # Errors
    /// [`Lost`], and nothing was sent.
    fn send(&mut self, id: Id, message: Message) -> Result<(), Lost>;

    /// Sends a message to all open sessions that `to` selects; to how many.
    fn broadcast(&mut self, message: &Message, to: &mut dyn FnMut(&Client) -> bool) -> usize;

    /// Closes a session; whether there was one.
    fn close(&mut self, id: Id, code: CloseCode, reason: &str) -> bool;

    /// Calls `see` for each session.
    fn clients(&self, see: &mut dyn FnMut(&Client));

    /// What was done so far.
    fn counters(&self) -> Counters;

    /// All of it: a [`Hub`](super::Hub) of the driver's socket and the application, to be downcast to.
    fn hub(&mut self) -> &mut dyn Any;
}

impl Handle {
    /// Over what the driver has made.
    #[must_use]
    pub fn new(monitor: Arc<dyn Monitor>) -> Self {
        Self(monitor)
    }

    /// Sends a message to a session. That it was queued does not mean that it arrives: the session may end before.
    ///
    /// # Errors
    /// [`HandleError::Full`], [`HandleError::Stopped`].
    pub fn send(&self, id: Id, message: Message) -> Result<(), HandleError> {
        self.post(Command::Send(id, message, Done::NOBODY))
    }

    /// The same, and `done` is told, once and in the hub's thread, when the transport has taken the message, or why it
    /// never will. It must not block, nor panic.
    ///
    /// # Errors
    /// [`HandleError::Full`], [`HandleError::Stopped`]; `done` is told as well.
    pub fn send_then(
        &self,
        id: Id,
        message: Message,
        done: impl FnOnce(Result<(), Lost>) + Send + 'static,
    ) -> Result<(), HandleError> {
        self.post(Command::Send(id, message, Done::new(done)))
    }

    /// Sends a message, encoded once, to all open sessions. Where there are many, the hub reaches some in each turn, and does
    /// later commands after that; a session that is accepted meanwhile does not get the message.
    ///
    /// # Errors
    /// [`HandleError::Full`], [`HandleError::Stopped`].
    pub fn broadcast(&self, message: Message) -> Result<(), HandleError> {
        self.broadcast_to(message, |_| true)
    }

    /// The same to those of them that `to` selects.
    ///
    /// # Errors
    /// [`HandleError::Full`], [`HandleError::Stopped`].
    pub fn broadcast_to(
        &self,
        message: Message,
        to: impl FnMut(&Client) -> bool + Send + 'static,
    ) -> Result<(), HandleError> {
        self.post(Command::Broadcast(message, Box::new(to)))
    }

    /// Begins the closing handshake of a session; one that is not open yet is dropped.
    ///
    /// # Errors
    /// [`HandleError`].
    pub fn close(&self, id: Id, code: CloseCode, reason: &str) -> Result<(), HandleError> {
        if reason.len() > MAX_REASON {
            return Err(HandleError::ReasonTooLong);
        }
        self.post(Command::Close(id, code, reason.into()))
    }

    /// Runs a function in the hub's loop, between two sessions. It must not block.
    ///
    /// # Errors
    /// [`HandleError::Full`], [`HandleError::Stopped`].
    pub fn run(&self, function: impl FnOnce(&mut dyn Control) + Send + 'static) -> Result<(), HandleError> {
        self.post(Command::Run(Box::new(function)))
    }

    /// Stops gracefully: no connection is accepted any more, every session is closed with `code`, and when the last has
    /// ended the driver returns. However slowly peers read, that is after ten times [`Timeouts::close`](crate::Timeouts) at
    /// the latest, unless it is off.
    ///
    /// # Errors
    /// [`HandleError::Stopped`]; it finds room in a full queue.
    pub fn stop(&self, code: CloseCode) -> Result<(), HandleError> {
        self.post(Command::Stop(code))
    }

    /// A copy of the list of sessions. The lock is held for a few of them at a time, so that neither the hub nor another
    /// thread waits for the whole copy: a session that begins or ends meanwhile may be missing, or in the list still.
    #[must_use]
    pub fn clients(&self) -> Vec<Client> {
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

    /// What the hub has done, as of its last turn.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        self.0.lock(&mut |shared| counters = shared.counters);
        counters
    }

    fn post(&self, command: Command) -> Result<(), HandleError> {
        let mut command = Some(command);
        let mut outcome = Ok(());
        let mut first = false;
        self.0.lock(&mut |shared| {
            let urgent = matches!(command, Some(Command::Stop(_)));
            if shared.ended {
                outcome = Err(HandleError::Stopped);
            } else if shared.commands.len() >= shared.limit && !urgent {
                outcome = Err(HandleError::Full);
            } else {
                first = shared.commands.is_empty();
                shared.commands.extend(command.take());
            }
        });
        // Who was before has woken the hub already. What was refused is dropped here, outside of the lock.
        if first {
            self.0.wake();
        }
        outcome
    }

    /// For the hub's own turn: what it is asked for, in exchange for an empty queue.
    pub(super) fn take_commands(&self, commands: &mut VecDeque<Command>) {
        self.0.lock(&mut |shared| core::mem::swap(&mut shared.commands, commands));
    }

    /// For the hub: changes what is shared.
    pub(super) fn update(&self, mut change: impl FnMut(&mut Shared)) {
        self.0.lock(&mut |shared| change(shared));
    }
}

/// Sessions that are copied while the lock is held.
const COPIED: usize = 32;

impl Shared {
    /// What handles see of the session with this key.
    pub(super) fn show(&mut self, key: usize, client: Option<&Client>) {
        match client {
            Some(client) => self.clients.insert(key, client.clone()),
            None => self.clients.remove(&key),
        };
    }

    pub(super) fn has_commands(&self) -> bool {
        !self.commands.is_empty()
    }

    /// Everything that waits, when the hub ends.
    pub(super) fn take_commands(&mut self) -> VecDeque<Command> {
        core::mem::take(&mut self.commands)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle")
    }
}
