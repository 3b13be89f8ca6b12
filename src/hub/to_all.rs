//! Commands to all sessions: a broadcast, a stop.
//!
//! A turn of the hub visits a limited number of sessions, and the next turn continues after the last. Later commands
//! wait until then, so that each session sees them in their order.

#![forbid(unsafe_code)]

use super::application::Application;
use super::id::SessionId;
use super::machine::Hub;
use super::shared::Filter;
use super::socket::HubSocket;
use crate::close::CloseCode;
use crate::message::Prepared;

/// A command in progress.
pub(super) struct ToAll {
    task: Task,
    /// The smallest key that it has not visited.
    from: usize,
    /// Sessions from this id on were accepted after the command had begun, and are skipped.
    end: SessionId,
}

/// What the command does to each session.
pub(super) enum Task {
    Broadcast(Prepared, Filter),
    Close(CloseCode),
}

impl<S: HubSocket + 'static, A: Application> Hub<S, A> {
    pub(super) fn begin_to_all(&mut self, task: Task) {
        self.to_all = Some(ToAll { task, from: 0, end: self.sessions.next_id() });
    }

    /// Continues the current command, at most `visits` sessions far, and subtracts those it visits. A filter that
    /// panics ends its command.
    pub(super) fn go_on_to_all(&mut self, visits: &mut usize) {
        let Some(mut command) = self.to_all.take() else { return };
        while let Some((key, session)) = self.sessions.from(command.from) {
            if *visits == 0 {
                self.to_all = Some(command);
                return;
            }
            *visits = visits.saturating_sub(1);
            command.from = key.saturating_add(1);
            if session.info.id < command.end {
                match &mut command.task {
                    Task::Broadcast(message, to) => drop(self.send_if(key, message, to)),
                    Task::Close(code) => self.close_at(key, *code, ""),
                }
            }
        }
    }

    /// Calls `act` for every session at once.
    pub(super) fn for_each(&mut self, mut act: impl FnMut(&mut Self, usize)) {
        let mut from = 0;
        while let Some((key, _)) = self.sessions.from(from) {
            from = key.saturating_add(1);
            act(self, key);
        }
    }
}
