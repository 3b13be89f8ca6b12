//! Messages that were received before their connection was reunited.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use crate::event::{Chunk, Event, Payload};
use crate::host::error::Error;
use crate::message::owned::{CloseFrame, Message};

#[derive(Debug)]
pub(super) struct Unread {
    messages: VecDeque<Result<Message, Error>>,
    /// The message that was lent last.
    lent: Option<Message>,
}

impl Unread {
    pub(super) const fn new(messages: VecDeque<Result<Message, Error>>) -> Self {
        Self { messages, lent: None }
    }

    pub(super) fn pop(&mut self) -> Option<Result<Message, Error>> {
        self.messages.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Lends the next message as an event.
    pub(super) fn read(&mut self) -> Result<Option<Event<'_>>, Error> {
        self.lent = self.pop().transpose()?;
        Ok(self.lent.as_ref().map(|message| match message {
            Message::Text(text) => Event::Data(Chunk::new(crate::frame::Kind::Text, &**text)),
            Message::Binary(bytes) => Event::Data(Chunk::new(crate::frame::Kind::Binary, &**bytes)),
            Message::Ping(payload) => Event::Ping(Payload::from(&**payload)),
            Message::Pong(payload) => Event::Pong(Payload::from(&**payload)),
            Message::Close(frame) => {
                let (code, reason) = CloseFrame::split(frame.as_ref());
                Event::Close(code, Payload::from(reason))
            }
        }))
    }
}
