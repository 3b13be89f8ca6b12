//! A hub from inside, and its end.

#![forbid(unsafe_code)]

use alloc::collections::VecDeque;
use core::any::Any;
use core::fmt;

use super::application::Application;
use super::counters::Counters;
use super::handle::{Client, ClientState, Command, Control};
use super::message::{Done, Lost, Message};
use super::round::Task;
use super::socket::Socket;
use super::{Hub, Id};
use crate::close::CloseCode;

impl<S: Socket + 'static, A: Application<S>> Control for Hub<S, A> {
    fn send(&mut self, id: Id, message: Message) -> Result<(), Lost> {
        self.send_then(id, message, Done::NOBODY)
    }

    fn broadcast(&mut self, message: &Message, to: &mut dyn FnMut(&Client) -> bool) -> usize {
        let mut reached = 0usize;
        self.for_each(|hub, key| {
            reached = reached.saturating_add(usize::from(hub.send_if(key, message, to)));
        });
        reached
    }

    fn close(&mut self, id: Id, code: CloseCode, reason: &str) -> bool {
        if self.find(id).is_none() {
            return false;
        }
        self.close_at(id.key(), code, reason);
        true
    }

    fn clients(&self, see: &mut dyn FnMut(&Client)) {
        self.places.iter().for_each(|(_, slot)| see(&slot.client));
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn hub(&mut self) -> &mut dyn Any {
        self
    }
}

impl<S: Socket + 'static, A: Application<S>> Hub<S, A> {
    /// Does what a handle has asked for.
    pub(super) fn obey(&mut self, command: Command) {
        match command {
            Command::Send(id, message, done) => {
                let _ = self.send_then(id, message, done);
            }
            Command::Broadcast(message, to) => self.begin_round(Task::Broadcast(message, to)),
            Command::Close(id, code, reason) => {
                self.close(id, code, &reason);
            }
            Command::Run(function) => function(self),
            Command::Stop(code) => {
                self.stopping = true;
                self.begin_round(Task::Close(code));
            }
        }
    }

    /// Sends a message to a session if that is open and `to` selects it; whether it was queued.
    pub(super) fn send_if(
        &mut self,
        key: usize,
        message: &Message,
        to: &mut dyn FnMut(&Client) -> bool,
    ) -> bool {
        let Some(slot) = self.places.get(key) else { return false };
        if slot.client.state != ClientState::Open || !to(&slot.client) {
            return false;
        }
        let sent = slot.send(message.clone(), Done::NOBODY, &self.settings.backlog, &mut self.counters);
        self.enlist(key);
        sent.is_ok()
    }

    pub(super) fn close_at(&mut self, key: usize, code: CloseCode, reason: &str) {
        if let Some(slot) = self.places.get(key) {
            slot.close(code, reason);
            self.enlist(key);
        }
    }
}

/// What still waits is lost, and whoever waits for it is told.
impl<S, A: Application<S>> Drop for Hub<S, A> {
    fn drop(&mut self) {
        let mut commands = VecDeque::new();
        let counters = self.counters;
        self.handle.update(|shared| {
            shared.ended = true;
            shared.counters = counters;
            shared.clients.clear();
            commands = shared.take_commands();
        });
    }
}

impl<S, A: Application<S>> fmt::Debug for Hub<S, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("sessions", &self.places.len()).finish_non_exhaustive()
    }
}
