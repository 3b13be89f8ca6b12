//! Payload that an extension decodes.

#![forbid(unsafe_code)]

use super::{Decoder, State, take};
use crate::config::ConfigRef;
use crate::error::Violation;
use crate::event::{Chunk, Payload};
use crate::extension::{Extension, ExtensionFailed, Progress};
use crate::frame::Kind;
use crate::receive::ReceiveError;
use crate::role::Role;

impl<R: Role, C: ConfigRef> Decoder<R, C> {
    /// Decodes the part of a payload that has arrived with the extension.
    pub(super) fn decoded<'i, X: Extension>(
        &mut self,
        extension: &mut X,
        input: &mut &'i mut [u8],
        output: &mut &'i mut [u8],
    ) -> Result<Option<Chunk<'i>>, ReceiveError> {
        let arrived = self.arrived(input.len());
        if let Some(fresh) = input.get_mut(self.ready..arrived) {
            self.unmask(fresh);
        }
        self.ready = arrived;
        let last = self.fin && self.ready as u64 == self.left;
        let source = input.get(..self.ready).unwrap_or_default();
        let done = extension.decode(source, output, last)?;
        // Fails also if there is no memory to decode into.
        if !done.is_possible(self.ready, output.len()) {
            return Err(ExtensionFailed.into());
        }
        let Progress { consumed, produced, more } = done;
        take(input, consumed);
        self.more = more;
        self.grow(produced as u64)?;
        let end = last && !more;
        if produced == 0 && !end {
            self.left = self.left.saturating_sub(consumed as u64);
            self.ready = self.ready.saturating_sub(consumed);
            if self.left == 0 {
                self.state = State::Header;
            }
            return Ok(None);
        }
        let payload = take(output, produced);
        if self.kind == Some(Kind::Text) {
            self.utf8.feed(payload).map_err(|_| Violation::InvalidUtf8)?;
            if end && self.utf8.incomplete() > 0 {
                return Err(Violation::InvalidUtf8.into());
            }
        }
        let data = self.deliver(Payload::from(payload), consumed);
        Ok(Some(Chunk { fin: data.end, offset: 0, remaining: 0, ..data }))
    }
}
