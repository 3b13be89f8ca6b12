//! The messages that wait for a peer, and the senders that wait for room.

#![forbid(unsafe_code)]

use core::task::Waker;
use std::collections::VecDeque;
use std::vec::Vec;

use bytes::Bytes;

use crate::config::{Overflow, QueueLimits};
use crate::frame::MAX_CONTROL_PAYLOAD;
use crate::message::Prepared;
use crate::message::owned::Message;
use crate::send::SendError;

/// A message in the queue.
#[derive(Debug)]
pub(super) enum Item {
    Message(Message),
    Prepared(Prepared),
    Ping(Bytes),
}

/// Messages in their order, within limits.
#[derive(Debug)]
pub(super) struct Queue {
    limits: QueueLimits,
    items: VecDeque<Item>,
    /// Bytes of all of them, and of the message that has begun.
    bytes: usize,
    /// Bytes of the message that has left the queue, but has not left the connection whole.
    begun: Option<usize>,
    /// Messages for which a place is reserved.
    reserved: usize,
    /// The sends that wait for room, in the order of their calls.
    waiting: VecDeque<(u64, Option<Waker>)>,
    /// The number of the next one.
    next: u64,
}

impl Item {
    /// Refuses a control frame with more than the 125 bytes that one carries: the driver could only close the connection for it.
    pub(super) fn check(&self) -> Result<(), SendError> {
        let too_long = match self {
            Self::Message(message) => message.is_too_long(),
            Self::Prepared(message) => message.is_too_long(),
            Self::Ping(payload) => payload.len() > MAX_CONTROL_PAYLOAD,
        };
        if too_long { Err(SendError::ControlTooLong) } else { Ok(()) }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Message(message) => message.as_bytes().len(),
            Self::Prepared(message) => message.payload().len(),
            Self::Ping(payload) => payload.len(),
        }
    }
}

impl Queue {
    pub(super) const fn new(limits: QueueLimits) -> Self {
        Self {
            limits,
            items: VecDeque::new(),
            bytes: 0,
            begun: None,
            reserved: 0,
            waiting: VecDeque::new(),
            next: 0,
        }
    }

    /// Messages and bytes that wait.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.items.len().saturating_add(usize::from(self.begun.is_some())), self.bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) const fn overflow(&self) -> Overflow {
        self.limits.overflow
    }

    /// Whether the send with this number, or one without a number, may queue a message of this length now.
    pub(super) fn admits(&self, number: Option<u64>, len: usize) -> bool {
        self.waiting.front().map(|(first, _)| *first) == number && self.has_room(len)
    }

    fn has_room(&self, len: usize) -> bool {
        self.has_place(self.count().0) && self.would_have_room(len)
    }

    /// Whether a message of this length would have room if no place were reserved.
    pub(super) fn would_have_room(&self, len: usize) -> bool {
        let (messages, bytes) = self.count();
        let first = self.begun.or_else(|| self.items.front().map(Item::len));
        self.limits.has_room(messages, bytes, first, len)
    }

    /// Whether reserved places leave one free where so many messages wait.
    fn has_place(&self, messages: usize) -> bool {
        messages.saturating_add(self.reserved) < self.limits.messages.max(1)
    }

    /// Reserves a place, which counts as a message without bytes.
    pub(super) fn reserve(&mut self) {
        self.reserved = self.reserved.saturating_add(1);
    }

    /// Gives a reserved place back.
    pub(super) fn release(&mut self) {
        self.reserved = self.reserved.saturating_sub(1);
    }

    pub(super) fn push(&mut self, item: Item) {
        self.bytes = self.bytes.saturating_add(item.len());
        self.items.push_back(item);
    }

    /// Makes room for a message whose turn it is not yet, by the policy. Returns what was dropped for it; `None` if there is no room.
    pub(super) fn make_room(&mut self, item: &Item) -> Option<Vec<Item>> {
        let mut dropped = Vec::new();
        // No message is dropped for one that does not fit after the message that has begun and into the places left.
        let helps = self.has_place(usize::from(self.begun.is_some()))
            && self.limits.has_room(1, self.begun.unwrap_or(0), self.begun, item.len());
        while !self.has_room(item.len()) {
            if self.limits.overflow != Overflow::DropOldest || !helps {
                return None;
            }
            dropped.push(self.pop()?);
        }
        Some(dropped)
    }

    /// Takes the next message, which has begun from now on. The one before it has left.
    pub(super) fn begin(&mut self) -> Option<Item> {
        self.bytes = self.bytes.saturating_sub(self.begun.take().unwrap_or(0));
        let item = self.pop()?;
        self.begun = Some(item.len());
        self.bytes = self.bytes.saturating_add(item.len());
        Some(item)
    }

    fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        self.bytes = self.bytes.saturating_sub(item.len());
        // A burst leaves no memory behind.
        if self.items.is_empty() {
            self.items.shrink_to(KEPT);
        }
        Some(item)
    }

    /// Drops everything that waits: nothing can be sent any more.
    pub(super) fn clear(&mut self) -> VecDeque<Item> {
        (self.bytes, self.begun) = (0, None);
        core::mem::take(&mut self.items)
    }

    /// Enters a send into the line, or renews its waker. Returns its number.
    pub(super) fn wait(&mut self, number: Option<u64>, waker: &Waker) -> u64 {
        let place = self.waiting.iter_mut().find(|(known, _)| Some(*known) == number);
        if let Some((number, known)) = place {
            *known = Some(waker.clone());
            return *number;
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.waiting.push_back((number, Some(waker.clone())));
        number
    }

    /// Takes a send out of the line.
    pub(super) fn leave(&mut self, number: u64) {
        self.waiting.retain(|(known, _)| *known != number);
    }

    /// The first send in the line, to be woken when there may be room for it.
    pub(super) fn first_waker(&mut self) -> Option<Waker> {
        self.waiting.front_mut()?.1.take()
    }

    pub(super) fn all_wakers(&mut self) -> impl Iterator<Item = Waker> {
        self.waiting.iter_mut().filter_map(|(_, waker)| waker.take())
    }
}

/// The number of messages whose memory is kept.
const KEPT: usize = 8;
