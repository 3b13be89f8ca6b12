//! Owned messages from the events of a connection.

#![forbid(unsafe_code)]

use alloc::string::String;
use alloc::vec::Vec;
use core::mem;

use bytes::Bytes;

use super::growing::Growing;
use super::owned::{CloseFrame, Message};
use super::{Assembler, Utf8Bytes};
use crate::error::MessageTooBig;
use crate::event::{Chunk, Event};
use crate::frame::Kind;

/// Makes owned messages of events. Each is one allocation of exactly its size.
#[derive(Debug)]
pub(crate) struct Collector(Assembler<Growing>);

impl Collector {
    pub(crate) const fn new() -> Self {
        Self(Assembler::new(Growing(Vec::new())))
    }

    /// Adds an event, and returns the message that is complete with it.
    pub(crate) fn push(&mut self, event: Event<'_>) -> Result<Option<Message>, MessageTooBig> {
        Ok(Some(match event {
            Event::Data(chunk) if chunk.start && chunk.end => whole(&chunk)?,
            Event::Data(chunk) => {
                let Some(kind) = self.append(&chunk).inspect_err(|_| *self = Self::new())? else {
                    return Ok(None);
                };
                let Growing(mut bytes) = mem::replace(self, Self::new()).0.into_inner();
                bytes.shrink_to_fit();
                match kind {
                    Kind::Text => text(bytes),
                    Kind::Binary => Message::Binary(bytes.into()),
                }
            }
            Event::Ping(payload) => Message::Ping(Bytes::copy_from_slice(&payload)),
            Event::Pong(payload) => Message::Pong(Bytes::copy_from_slice(&payload)),
            Event::Close(code, reason) => Message::Close(
                code.map(|code| CloseFrame { code, reason: reason.to_str().unwrap_or_default().into() }),
            ),
        }))
    }

    /// Appends a chunk to its message. Returns its kind if it is complete. A message of which the beginning is missing is skipped.
    fn append(&mut self, chunk: &Chunk<'_>) -> Result<Option<Kind>, MessageTooBig> {
        if chunk.start {
            self.0.clear();
        }
        if chunk.start || self.0.open().is_some() {
            let len = chunk.payload.len();
            self.0.storage.reserve(len, chunk.remaining.saturating_add(len as u64), chunk.fin)?;
        }
        self.0.push(chunk)
    }

    /// Takes what has come of a message that has not ended. The rest of it is skipped, unless somebody else receives it.
    #[cfg(feature = "tokio")]
    pub(crate) fn take_part(&mut self) -> Option<(Kind, Vec<u8>)> {
        let kind = self.0.open()?;
        Some((kind, mem::replace(self, Self::new()).0.into_inner().0))
    }

    /// Takes the memory of a message that has begun and not ended, to receive more of it there until it comes back.
    #[cfg(feature = "tokio")]
    pub(crate) fn lend_storage(&mut self) -> Option<Growing> {
        self.0.open()?;
        Some(mem::take(&mut self.0.storage))
    }

    /// Puts the memory back.
    #[cfg(feature = "tokio")]
    pub(crate) fn return_storage(&mut self, storage: Growing) {
        self.0.storage = storage;
    }
}

/// A message that came in one chunk.
fn whole(chunk: &Chunk<'_>) -> Result<Message, MessageTooBig> {
    if chunk.kind == Kind::Text
        && let Some(checked) = chunk.payload.to_str()
    {
        let mut text = String::new();
        text.try_reserve_exact(checked.len()).map_err(|_| MessageTooBig)?;
        text.push_str(checked);
        return Ok(Message::Text(text.into()));
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(chunk.payload.len()).map_err(|_| MessageTooBig)?;
    bytes.extend_from_slice(&chunk.payload);
    Ok(Message::Binary(bytes.into()))
}

/// The connection has checked every chunk, so nothing is replaced.
fn text(bytes: Vec<u8>) -> Message {
    let text = String::from_utf8(bytes);
    let text = text.unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    Message::Text(Utf8Bytes::from(text))
}
