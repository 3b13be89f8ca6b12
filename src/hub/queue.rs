//! What waits to be sent to one session from outside of its handler.

#![forbid(unsafe_code)]

use alloc::collections::VecDeque;

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

/// What became of a message that was to be queued.
pub(super) enum Queued {
    Yes,
    /// So many others were dropped for it.
    Instead(u64),
    Refused,
    /// The session is to be closed.
    Fatal(crate::CloseCode),
}

impl Queue {
    pub(super) fn push(&mut self, message: Message, done: Done, backlog: &Backlog) -> Queued {
        let len = message.len();
        let fits = |messages: usize, bytes: usize| {
            messages < backlog.messages && bytes.saturating_add(len) <= backlog.bytes
        };
        // A message that has begun is finished: only whole ones are dropped.
        let begun = self.waiting.front().filter(|_| self.direct.is_some());
        let (begun, stays) = begun.map_or((0, 0), |(message, _)| (1, message.len()));
        let mut dropped = 0u64;
        while !fits(self.waiting.len(), self.bytes) {
            match backlog.overflow {
                Overflow::DropOldest if fits(begun, stays) => {
                    if let Some((message, done)) = self.waiting.remove(begun) {
                        self.bytes = self.bytes.saturating_sub(message.len());
                        done.tell(Err(Lost::Overflow));
                        dropped = dropped.saturating_add(1);
                    }
                }
                Overflow::DropOldest | Overflow::DropNewest => {
                    done.tell(Err(Lost::Overflow));
                    return Queued::Refused;
                }
                Overflow::Close(code) => {
                    done.tell(Err(Lost::Overflow));
                    return Queued::Fatal(code);
                }
            }
        }
        self.bytes = self.bytes.saturating_add(len);
        self.waiting.push_back((message, done));
        if dropped > 0 { Queued::Instead(dropped) } else { Queued::Yes }
    }

    /// The message that is next, unless it has begun.
    pub(super) fn next(&self) -> Option<&Message> {
        if self.direct.is_some() { None } else { self.waiting.front().map(|(message, _)| message) }
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

    /// The transport took `n` bytes of it, and it is done where `left` is 0; whether it is.
    pub(super) fn wrote(&mut self, n: usize, left: usize) -> bool {
        self.direct = self.direct.map(|at| at.saturating_add(n));
        if left > 0 {
            return false;
        }
        self.direct = None;
        if let Some((message, done)) = self.waiting.pop_front() {
            self.bytes = self.bytes.saturating_sub(message.len());
            done.tell(Ok(()));
        }
        true
    }

    /// The next message is in the transmit buffer, whose stream now ends at `end`.
    pub(super) fn copied(&mut self, end: u64) {
        if let Some((message, done)) = self.waiting.pop_front() {
            self.bytes = self.bytes.saturating_sub(message.len());
            self.copied.push_back((end, done));
        }
    }

    /// The transport has taken `written` bytes of the transmit buffer's stream; how many messages that completes.
    pub(super) fn flushed(&mut self, written: u64) -> u64 {
        let mut count = 0u64;
        while self.copied.front().is_some_and(|(end, _)| *end <= written) {
            if let Some((_, done)) = self.copied.pop_front() {
                done.tell(Ok(()));
                count = count.saturating_add(1);
            }
        }
        count
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

    /// The first will not be sent; whether there was one.
    pub(super) fn lose_one(&mut self) -> bool {
        let done = match self.copied.pop_front() {
            Some((_, done)) => Some(done),
            None => self.waiting.pop_front().map(|(_, done)| done),
        };
        done.map(|done| done.tell(Err(Lost::Ended))).is_some()
    }
}
