//! A hub from inside, and its end.

#![forbid(unsafe_code)]

use alloc::collections::VecDeque;
use core::any::Any;
use core::fmt;

use super::application::Application;
use super::counters::Counters;
use super::handle::{Client, ClientState, Command, Control};
use super::message::{Done, Lost, Message};
use super::socket::Socket;
use super::{Hub, Id};
use crate::close::CloseCode;

impl<S: Socket + 'static, A: Application<S>> Control for Hub<S, A> {
    fn send(&mut self, id: Id, message: Message) -> Result<(), Lost> {
        self.send_then(id, message, Done::NOBODY)
    }

    fn broadcast(&mut self, message: &Message, to: &mut dyn FnMut(&Client) -> bool) -> usize {
        let mut reached = 0usize;
        for key in 0..self.places.len() {
            let slot = self.places.get_mut(key).and_then(|place| place.slot.as_mut());
            let Some(slot) = slot else { continue };
            if slot.client.state != ClientState::Open || !to(&slot.client) {
                continue;
            }
            let sent = slot.send(message.clone(), Done::NOBODY, &self.settings.backlog, &mut self.counters);
            reached = reached.saturating_add(usize::from(sent.is_ok()));
            self.enlist(key);
        }
        reached
    }

    fn close(&mut self, id: Id, code: CloseCode, reason: &str) -> bool {
        let Some(slot) = self.find(id) else { return false };
        slot.close(code, reason);
        self.enlist(id.slot as usize);
        true
    }

    fn clients(&self, see: &mut dyn FnMut(&Client)) {
        self.places.iter().filter_map(|place| place.slot.as_ref()).for_each(|slot| see(&slot.client));
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
            Command::Broadcast(message, mut to) => {
                self.broadcast(&message, &mut to);
            }
            Command::Close(id, code, reason) => {
                self.close(id, code, &reason);
            }
            Command::Run(function) => function(self),
            Command::Stop(code) => self.stop(code),
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
        f.debug_struct("Hub").field("sessions", &self.sessions).finish_non_exhaustive()
    }
}
