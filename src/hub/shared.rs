//! The state that a hub and its handles share, and the queue of commands in it.

#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use core::{fmt, mem};

use super::completion::Done;
use super::context::HubContext;
use super::counters::Counters;
use super::handle::{HandleError, HubHandle};
use super::id::SessionId;
use super::session_info::SessionInfo;
use crate::close::CloseCode;
use crate::message::Prepared;

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
    pub(super) woken: bool,
    /// How often the hub has taken the commands.
    pub(super) taken: u32,
    pub(super) sessions: BTreeMap<usize, SessionInfo>,
    pub(super) counters: Counters,
    /// The hub is dropped: no command is accepted.
    ended: bool,
}

/// What a handle asks of its hub.
pub(super) enum Command {
    Send(SessionId, Prepared, Done),
    Broadcast(Prepared, Filter),
    Wake(SessionId),
    Close(SessionId, CloseCode, String),
    Call(Function),
    Stop(CloseCode),
}

pub(super) type Function = Box<dyn FnOnce(&mut HubContext<'_>) + Send>;
pub(super) type Filter = Box<dyn FnMut(&SessionInfo) -> bool + Send>;

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sessions, commands, .. } = self;
        let (sessions, commands) = (sessions.len(), commands.len());
        f.debug_struct("Shared")
            .field("sessions", &sessions)
            .field("commands", &commands)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Publishes the session with this key, or removes it.
    pub(super) fn show(&mut self, key: usize, session: Option<&SessionInfo>) {
        match session {
            Some(session) => self.sessions.insert(key, session.clone()),
            None => self.sessions.remove(&key),
        };
    }

    pub(super) fn has_commands(&self) -> bool {
        !self.commands.is_empty()
    }

    /// Queues a command. Drops a stop that follows another.
    pub(super) fn push(&mut self, command: &mut Option<Command>) -> Result<(), HandleError> {
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

    /// Exchanges the queued commands for an empty queue.
    pub(super) fn take_commands(&mut self, commands: &mut VecDeque<Command>) {
        mem::swap(&mut self.commands, commands);
        (self.stop, self.woken) = (false, false);
        self.taken = self.taken.wrapping_add(1);
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
            shared.sessions.clear();
            commands = mem::take(&mut shared.commands);
            let sends = commands.iter().filter(|command| matches!(command, Command::Send(..))).count();
            shared.counters.lost = shared.counters.lost.saturating_add(sends as u64);
        });
        // Dropped outside of the lock, as this calls the completions.
        drop(commands);
    }
}
