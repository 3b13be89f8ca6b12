//! Executes the commands of handles, and ends all sessions when a hub is dropped.

#![forbid(unsafe_code)]

use alloc::boxed::Box;
use core::any::Any;
use core::fmt;

use super::application::Application;
use super::completion::{Done, NotDelivered};
use super::context::Inside;
use super::counters::{Counters, count};
use super::id::SessionId;
use super::machine::Hub;
use super::session::Turn;
use super::session_info::{SessionInfo, SessionState};
use super::shared::Command;
use super::socket::HubSocket;
use super::to_all::Task;
use crate::close::CloseCode;
use crate::log::log_debug;
use crate::message::Prepared;
use crate::time::Instant;

impl<S: HubSocket + 'static, A: Application> Inside for Hub<S, A> {
    fn submit(&mut self, id: SessionId, message: Prepared, done: Done) -> Result<(), (NotDelivered, Done)> {
        // What is too long for the compressor of a session, which writes to the transmit buffer, is compressed apart.
        let long = message.len().saturating_add(message.len() / 4) >= self.settings.transmit_buffer;
        let message = if long { self.pool.shared(message) } else { message };
        let sent = match self.sessions.get(id.key()).filter(|session| session.info.id == id) {
            Some(session) => session.send(message, done, &self.settings.queue, &mut self.counters),
            None => Err((NotDelivered::Ended, done)),
        };
        self.report_sent(id.key(), sent)
    }

    fn broadcast(&mut self, message: &Prepared, to: &mut dyn FnMut(&SessionInfo) -> bool) -> usize {
        let (message, mut reached) = (&self.pool.shared(message.clone()), 0usize);
        self.for_each(|hub, key| {
            reached = reached.saturating_add(usize::from(hub.send_if(key, message, to)));
        });
        reached
    }

    fn wake(&mut self, id: SessionId) -> bool {
        let Some(session) = self.find(id) else { return false };
        session.wake();
        self.schedule(id.key());
        true
    }

    fn close(&mut self, id: SessionId, code: CloseCode, reason: &str) -> bool {
        let there = self.find(id).is_some();
        if there {
            self.close_at(id.key(), code, reason);
        }
        there
    }

    fn sessions(&self) -> Box<dyn Iterator<Item = &SessionInfo> + '_> {
        Box::new(self.sessions.iter().map(|(_, session)| &session.info))
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn application(&mut self) -> &mut dyn Any {
        &mut self.application
    }

    fn hub(&mut self) -> &mut dyn Any {
        self
    }
}

impl<S: HubSocket + 'static, A: Application> Hub<S, A> {
    /// Executes a command of a handle.
    pub(super) fn obey(&mut self, command: Command) {
        match command {
            Command::Send(id, message, done) => {
                if let Err((lost, done)) = self.submit(id, message, done) {
                    done.tell(Err(lost));
                }
            }
            Command::Broadcast(message, to) => {
                let message = self.pool.shared(message);
                self.begin_to_all(Task::Broadcast(message, to));
            }
            Command::Wake(id) => {
                self.wake(id);
            }
            Command::Close(id, code, reason) => {
                Inside::close(self, id, code, &reason);
            }
            Command::Call(function) => function(&mut self.context()),
            Command::Stop(code) => {
                self.stopping = true;
                self.begin_to_all(Task::Close(code));
            }
        }
    }

    fn report_sent(
        &mut self,
        key: usize,
        sent: Result<(), (NotDelivered, Done)>,
    ) -> Result<(), (NotDelivered, Done)> {
        if let Err((lost, _)) = &sent {
            log_debug!("a message for session {:?} is lost: {:?}", key, lost);
            count(&mut self.counters.lost);
            // An overflow may close the session.
            self.publish(key);
        }
        self.schedule(key);
        sent
    }

    /// Sends a message to a session if the session is open and `to` selects it. Returns whether it was queued.
    pub(super) fn send_if(
        &mut self,
        key: usize,
        message: &Prepared,
        to: &mut dyn FnMut(&SessionInfo) -> bool,
    ) -> bool {
        let Some(session) = self.sessions.get(key) else { return false };
        if session.info.state != SessionState::Open || !to(&session.info) {
            return false;
        }
        let sent = session.send(message.clone(), Done::NOBODY, &self.settings.queue, &mut self.counters);
        self.report_sent(key, sent).is_ok()
    }

    /// Begins to close a session, after the messages that were sent to it before.
    pub(super) fn close_at(&mut self, key: usize, code: CloseCode, reason: &str) {
        if let Some(session) = self.sessions.get(key) {
            session.close(code, reason);
            self.publish(key);
            self.schedule(key);
        }
    }

    /// Ends all remaining sessions.
    fn abandon_all(&mut self) {
        self.for_each(|hub, key| {
            let Self { sessions, application, pool, counters, .. } = hub;
            if let Some(session) = sessions.get(key) {
                // A session whose transport has failed does not use the time.
                let outcome = session.abandon(&mut Turn::new(Instant::START, application, pool, counters));
                hub.remove(key, Some(outcome));
            }
        });
        // The commands that were taken from the handles, but not executed.
        while let Some(command) = self.commands.pop_front() {
            if let Command::Send(_, _, done) = command {
                count(&mut self.counters.lost);
                done.tell(Err(NotDelivered::Ended));
            }
        }
        let counters = self.counters;
        self.handle.update(|shared| shared.counters = counters);
    }
}

/// Ends every session, and notifies its handler and the senders of its pending messages.
impl<S: HubSocket + 'static, A: Application> Drop for Hub<S, A> {
    fn drop(&mut self) {
        struct Rest<'a, S: HubSocket + 'static, A: Application>(&'a mut Hub<S, A>);
        impl<S: HubSocket + 'static, A: Application> Drop for Rest<'_, S, A> {
            fn drop(&mut self) {
                self.0.abandon_all();
            }
        }
        // If one of them panics, the others are notified while the panic unwinds.
        Rest(self).0.abandon_all();
    }
}

impl<S: HubSocket + 'static, A: Application> fmt::Debug for Hub<S, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("sessions", &self.sessions.len()).finish_non_exhaustive()
    }
}
