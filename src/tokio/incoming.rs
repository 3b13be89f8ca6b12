//! Events that are received while no method waits for them.

#![forbid(unsafe_code)]

use core::mem;
use std::boxed::Box;
use std::vec::Vec;

use crate::buffer::ReceiveBuffer;
use crate::event::{DetachedEvent, Event, Shape};
use crate::message::growing::Growing;

/// The receive buffer, and the events that the application has not taken yet.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) rx: ReceiveBuffer<'static>,
    /// Data, at the front of the buffer. Receiving pauses while it waits.
    pub(super) held: Option<DetachedEvent>,
    /// The memory of the message in progress, while its frame is read straight into that.
    pub(super) straight: Option<Growing>,
    /// Control frames that arrived before it. Boxed, because few connections have one.
    controls: Option<Box<Controls>>,
}

#[derive(Debug, Default)]
struct Controls {
    /// The last Ping, the last Pong and the Close, in order.
    waiting: Vec<(Shape, Box<[u8]>)>,
    /// The payload of the frame that was taken last.
    taken: Box<[u8]>,
}

impl Incoming {
    pub(super) const fn new(rx: ReceiveBuffer<'static>) -> Self {
        Self { rx, held: None, straight: None, controls: None }
    }

    pub(super) fn event(&self, event: DetachedEvent) -> Event<'_> {
        match &self.controls {
            Some(controls) => event.shape.with((&*controls.taken).into()),
            None => self.rx.event(event),
        }
    }

    /// Keeps an event. The payload of data stays at the front of the buffer, whatever is read behind it.
    pub(super) fn hold(&mut self, event: DetachedEvent) {
        if let Shape::Data { .. } = event.shape {
            self.rx.put_back(event.span);
            self.held = Some(event);
            return;
        }
        let mut controls = self.controls.take().unwrap_or_default();
        let payload = self.rx.event(event).payload().as_bytes();
        // One place for each kind bounds the memory, however many frames a peer sends.
        let waiting = &mut controls.waiting;
        waiting.retain(|(shape, _)| mem::discriminant(shape) != mem::discriminant(&event.shape));
        waiting.push((event.shape, payload.into()));
        self.controls = Some(controls);
    }

    /// Keeps the data behind its first `n` bytes as another part of its message.
    pub(super) fn hold_from(&mut self, mut event: DetachedEvent, n: usize) {
        if let Shape::Data { start, .. } = &mut event.shape {
            *start = false;
        }
        event.advance(n);
        self.rx.put_back(event.span);
        self.held = Some(event);
    }

    /// Takes the first kept event, as if it had just been received.
    #[inline]
    pub(super) fn take(&mut self) -> Option<DetachedEvent> {
        if self.is_holding() { self.take_kept() } else { None }
    }

    pub(super) const fn is_holding(&self) -> bool {
        self.held.is_some() || self.controls.is_some()
    }

    fn take_kept(&mut self) -> Option<DetachedEvent> {
        if let Some(controls) = &mut self.controls {
            if !controls.waiting.is_empty() {
                let (shape, payload) = controls.waiting.remove(0);
                controls.taken = payload;
                return Some(DetachedEvent { shape, span: self.rx.span(0) });
            }
            self.controls = None;
        }
        self.held.take().map(|event| self.rx.take_again(event))
    }

    /// Whether a message waits, or the end of one.
    pub(super) fn has_message(&self) -> bool {
        matches!(self.held, Some(DetachedEvent { shape: Shape::Data { end: true, .. }, .. }))
    }

    /// Drops the kept events.
    pub(super) fn discard(&mut self) {
        while self.take().is_some() {}
    }
}
