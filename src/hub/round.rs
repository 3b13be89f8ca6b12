//! Commands that visit one session after the other.
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
pub(super) struct Round {
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
    pub(super) fn begin_round(&mut self, task: Task) {
        self.round = Some(Round { task, from: 0, end: self.places.next_id() });
    }

    /// Continues the current round, at most `visits` sessions far, and subtracts those it visits. A filter that
    /// panics ends its round.
    pub(super) fn go_round(&mut self, visits: &mut usize) {
        let Some(mut round) = self.round.take() else { return };
        while let Some((key, slot)) = self.places.from(round.from) {
            if *visits == 0 {
                self.round = Some(round);
                return;
            }
            *visits = visits.saturating_sub(1);
            round.from = key.saturating_add(1);
            if slot.client.id < round.end {
                match &mut round.task {
                    Task::Broadcast(message, to) => drop(self.send_if(key, message, to)),
                    Task::Close(code) => self.close_at(key, *code, ""),
                }
            }
        }
    }

    /// Calls `act` for every session at once.
    pub(super) fn for_each(&mut self, mut act: impl FnMut(&mut Self, usize)) {
        let mut from = 0;
        while let Some((key, _)) = self.places.from(from) {
            from = key.saturating_add(1);
            act(self, key);
        }
    }
}
