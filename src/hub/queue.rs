//! The pending messages of one session: those that are sent through the hub, not by the handler.

#![forbid(unsafe_code)]

use alloc::collections::VecDeque;

use super::completion::{Done, NotDelivered};
use super::counters::{Counters, count};
use crate::config::{Overflow, QueueLimits};
use crate::message::Prepared;

/// Messages in their order. The first may have been written in part.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<(Prepared, Done)>,
    /// Bytes of all pending messages.
    bytes: usize,
    /// The first message, if it is written directly, past the transmit buffer.
    direct: Option<Direct>,
    /// The messages in the transmit buffer: where each ends, in bytes since the session began.
    copied: VecDeque<(u64, Done)>,
}

/// A message that is written from where it lies.
struct Direct {
    /// Bytes that the transport has taken.
    at: usize,
    /// Whether it is the compressed frame that sessions share.
    shared: bool,
}

/// The number of messages whose memory is kept.
const KEPT: usize = 8;

impl Queue {
    /// Queues a message. An error means that there is no room; it gives the completion back.
    pub(super) fn push(
        &mut self,
        message: Prepared,
        done: Done,
        limits: &QueueLimits,
        counters: &mut Counters,
    ) -> Result<(), Done> {
        let len = message.len();
        let first = |queue: &Self| queue.waiting.front().map(|(message, _)| message.len());
        while !limits.has_room(self.waiting.len(), self.bytes, first(self), len) {
            let begun = first(self).filter(|_| self.direct.is_some());
            // No message is dropped for one that does not fit after the message that has begun.
            let helps = limits.has_room(1, begun.unwrap_or(0), begun, len);
            if limits.overflow != Overflow::DropOldest
                || !helps
                || !self.lose(NotDelivered::Overflow, counters)
            {
                return Err(done);
            }
        }
        self.bytes = self.bytes.saturating_add(len);
        self.waiting.push_back((message, done));
        count(&mut counters.waiting);
        Ok(())
    }

    /// The next message, unless it has begun.
    pub(super) fn next(&self) -> Option<&Prepared> {
        if self.direct.is_some() { None } else { self.waiting.front().map(|(message, _)| message) }
    }

    /// Whether no message is pending.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.copied.is_empty()
    }

    /// Whether a message that has not begun waits.
    pub(super) fn has_waiting(&self) -> bool {
        self.waiting.len() > self.begun()
    }

    /// Begins to write the next message directly, or the compressed frame that sessions `shared`.
    pub(super) fn begin(&mut self, shared: bool) {
        self.direct = Some(Direct { at: 0, shared });
    }

    /// Returns the rest of the message that is written directly.
    pub(super) fn direct(&self) -> Option<[&[u8]; 2]> {
        let ((message, _), direct) = self.waiting.front().zip(self.direct.as_ref())?;
        Some(message.rest(direct.at, direct.shared))
    }

    /// Records that the transport took `n` bytes of that message, and that `left` bytes remain.
    pub(super) fn wrote(&mut self, n: usize, left: usize, counters: &mut Counters) {
        if let Some(direct) = &mut self.direct {
            direct.at = direct.at.saturating_add(n);
        }
        if left > 0 {
            return;
        }
        self.direct = None;
        if let Some(done) = self.take(0) {
            settle(done, Ok(()), counters);
        }
    }

    /// Records that the next message was copied into the transmit buffer, and ends at `end`.
    pub(super) fn copied(&mut self, end: u64) {
        if let Some(done) = self.take(0) {
            self.copied.push_back((end, done));
        }
    }

    /// Records that the Close is in the transmit buffer, and ends at `end`.
    pub(super) fn closed(&mut self, end: u64, done: Done, counters: &mut Counters) {
        if !done.is_nobody() {
            count(&mut counters.waiting);
            self.copied.push_back((end, done));
        }
    }

    /// Records that the transport has taken `written` bytes of the transmit buffer since the session began.
    pub(super) fn flushed(&mut self, written: u64, counters: &mut Counters) {
        while self.copied.front().is_some_and(|(end, _)| *end <= written) {
            if let Some((_, done)) = self.copied.pop_front() {
                settle(done, Ok(()), counters);
            }
        }
    }

    /// Whether a message is in the transmit buffer.
    pub(super) fn has_copied(&self) -> bool {
        !self.copied.is_empty()
    }

    /// Releases the memory of a burst.
    pub(super) fn shrink(&mut self) {
        if self.waiting.capacity().max(self.copied.capacity()) > KEPT {
            self.waiting.shrink_to(KEPT);
            self.copied.shrink_to(KEPT);
        }
    }

    /// Drops the oldest message that has not begun, and notifies its sender. Returns whether there was one.
    pub(super) fn lose(&mut self, why: NotDelivered, counters: &mut Counters) -> bool {
        let done = self.take(self.begun());
        done.map(|done| settle(done, Err(why), counters)).is_some()
    }

    /// Drops the oldest message, even if it has begun: the session has ended. Returns whether there was one.
    pub(super) fn lose_anyhow(&mut self, counters: &mut Counters) -> bool {
        self.direct = None;
        match self.copied.pop_front() {
            Some((_, done)) => settle(done, Err(NotDelivered::Ended), counters),
            None => return self.lose(NotDelivered::Ended, counters),
        }
        true
    }

    /// How many messages at the front have begun. They are finished: only whole messages are dropped.
    fn begun(&self) -> usize {
        usize::from(self.direct.is_some())
    }

    fn take(&mut self, at: usize) -> Option<Done> {
        let (message, done) = self.waiting.remove(at)?;
        self.bytes = self.bytes.saturating_sub(message.len());
        Some(done)
    }
}

/// Counts a message that is no longer pending, then notifies its sender, who may read the counters, or panic.
fn settle(done: Done, result: Result<(), NotDelivered>, counters: &mut Counters) {
    counters.waiting = counters.waiting.saturating_sub(1);
    count(if result.is_ok() { &mut counters.delivered } else { &mut counters.lost });
    done.tell(result);
}
