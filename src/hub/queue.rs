//! Messages that wait to be sent to one session from outside of its handler.

#![forbid(unsafe_code)]

use alloc::collections::VecDeque;

use super::counters::{Counters, count};
use super::message::{Done, Lost, Message};
use super::settings::{Backlog, Overflow};

/// Messages in their order, of which the first may have been written in part.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<(Message, Done)>,
    /// Bytes of all that wait.
    bytes: usize,
    /// Of the first message the transport has taken so many bytes; it is being written past the transmit buffer.
    direct: Option<usize>,
    /// Behind so many bytes of the transmit buffer's stream the message ends that stands in it.
    copied: VecDeque<(u64, Done)>,
}

/// For so many messages memory is kept.
const KEPT: usize = 8;

impl Queue {
    /// Takes a message in, or gives back whoever is to be told that the backlog has no room for it.
    pub(super) fn push(
        &mut self,
        message: Message,
        done: Done,
        backlog: &Backlog,
        counters: &mut Counters,
    ) -> Result<(), Done> {
        let len = message.len();
        while !self.has_room(self.waiting.len(), self.bytes, len, backlog) {
            let first = self.waiting.front().map_or(0, |(message, _)| message.len());
            // Nobody is dropped for one that does not fit behind the message that has begun.
            let helps = self.direct.is_none() || self.has_room(1, first, len, backlog);
            if backlog.overflow != Overflow::DropOldest || !helps || !self.lose(Lost::Overflow, counters) {
                return Err(done);
            }
        }
        self.bytes = self.bytes.saturating_add(len);
        self.waiting.push_back((message, done));
        count(&mut counters.waiting);
        Ok(())
    }

    /// Whether a message of `len` bytes may wait behind the first `messages`, which have `bytes`.
    fn has_room(&self, messages: usize, bytes: usize, len: usize, backlog: &Backlog) -> bool {
        let Some((first, _)) = self.waiting.front() else { return true };
        // What an empty queue took although it is larger than the backlog takes nothing of the backlog.
        let large = Some(first.len()).filter(|len| *len > backlog.bytes).unwrap_or(0);
        messages < backlog.messages && bytes.saturating_sub(large).saturating_add(len) <= backlog.bytes
    }

    /// The message that is next, unless it has begun.
    pub(super) fn next(&self) -> Option<&Message> {
        if self.direct.is_some() { None } else { self.waiting.front().map(|(message, _)| message) }
    }

    /// Whether a message waits that has not begun.
    pub(super) fn has_waiting(&self) -> bool {
        self.waiting.len() > self.begun()
    }

    /// The next message goes straight to the transport.
    pub(super) fn begin(&mut self) {
        self.direct = Some(0);
    }

    /// What is to be written next of the message that goes straight to the transport.
    pub(super) fn direct(&self) -> Option<[&[u8]; 2]> {
        let ((message, _), at) = self.waiting.front().zip(self.direct)?;
        Some(message.rest(at))
    }

    /// The transport took `n` bytes of it, and it is done where `left` is 0.
    pub(super) fn wrote(&mut self, n: usize, left: usize, counters: &mut Counters) {
        self.direct = self.direct.map(|at| at.saturating_add(n));
        if left > 0 {
            return;
        }
        self.direct = None;
        if let Some(done) = self.take(0) {
            settle(done, Ok(()), counters);
        }
    }

    /// The next message is in the transmit buffer, whose stream now ends at `end`.
    pub(super) fn copied(&mut self, end: u64) {
        if let Some(done) = self.take(0) {
            self.copied.push_back((end, done));
        }
    }

    /// The transport has taken `written` bytes of the transmit buffer's stream.
    pub(super) fn flushed(&mut self, written: u64, counters: &mut Counters) {
        while self.copied.front().is_some_and(|(end, _)| *end <= written) {
            if let Some((_, done)) = self.copied.pop_front() {
                settle(done, Ok(()), counters);
            }
        }
    }

    /// Whether a message stands in the transmit buffer.
    pub(super) fn has_copied(&self) -> bool {
        !self.copied.is_empty()
    }

    /// Nothing may come for long: gives back what memory a burst has taken.
    pub(super) fn shrink(&mut self) {
        if self.waiting.capacity().max(self.copied.capacity()) > KEPT {
            self.waiting.shrink_to(KEPT);
            self.copied.shrink_to(KEPT);
        }
    }

    /// Drops the oldest message that has not begun, and tells its sender why; whether there was one.
    pub(super) fn lose(&mut self, why: Lost, counters: &mut Counters) -> bool {
        let done = self.take(self.begun());
        done.map(|done| settle(done, Err(why), counters)).is_some()
    }

    /// Drops the oldest message of all, as the session has ended; whether there was one.
    pub(super) fn lose_anyhow(&mut self, counters: &mut Counters) -> bool {
        self.direct = None;
        match self.copied.pop_front() {
            Some((_, done)) => settle(done, Err(Lost::Ended), counters),
            None => return self.lose(Lost::Ended, counters),
        }
        true
    }

    /// A message that has begun is finished: only whole ones are dropped.
    fn begun(&self) -> usize {
        usize::from(self.direct.is_some())
    }

    fn take(&mut self, at: usize) -> Option<Done> {
        let (message, done) = self.waiting.remove(at)?;
        self.bytes = self.bytes.saturating_sub(message.len());
        Some(done)
    }
}

/// Counted before it is told: who is told may look at the counters, or panic.
fn settle(done: Done, result: Result<(), Lost>, counters: &mut Counters) {
    counters.waiting = counters.waiting.saturating_sub(1);
    count(if result.is_ok() { &mut counters.delivered } else { &mut counters.lost });
    done.tell(result);
}
