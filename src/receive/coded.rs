//! Payload that an extension decodes.

#![forbid(unsafe_code)]

use super::{Decoder, State, take};
use crate::buffer::Opened;
use crate::config::{ConfigRef, Delivery};
use crate::error::Violation;
use crate::event::{Chunk, Payload};
use crate::extension::{Extension, ExtensionFailed, Progress};
use crate::frame::Kind;
use crate::receive::ReceiveError;
use crate::role::Role;
use crate::utf8;

impl<R: Role, C: ConfigRef> Decoder<R, C> {
    /// Decodes the part of a payload that has arrived with the extension. The output stays in the buffer until the
    /// message ends or the memory is full, unless [`Delivery`] asks for it earlier.
    pub(super) fn decoded<'i, X: Extension>(
        &mut self,
        extension: &mut X,
        view: &mut Opened<'i, '_>,
    ) -> Result<Option<Chunk<'i>>, ReceiveError> {
        let arrived = self.arrived(view.input.len());
        if let Some(fresh) = view.input.get_mut(self.ready..arrived) {
            self.unmask(fresh);
        }
        self.ready = arrived;
        let last = self.fin && self.ready as u64 == self.left;
        let Opened { input, output, place, .. } = &mut *view;
        let source = input.get(..arrived).unwrap_or_default();
        let (held, room) = place.room(output);
        // One byte above the limit shows that the message is too big.
        let allowed = self.config.limits.message.saturating_sub(self.message).saturating_add(1);
        let len = usize::try_from(allowed).map_or(room.len(), |allowed| allowed.min(room.len()));
        let room = room.get_mut(..len).unwrap_or_default();
        let done = extension.decode(source, room, last)?;
        // Fails also if there is no memory to decode into.
        if !done.is_possible(arrived, room.len()) {
            return Err(ExtensionFailed.into());
        }
        let Progress { consumed, produced, more } = done;
        self.grow(produced as u64)?;
        let end = last && !more;
        let text = self.kind == Some(Kind::Text);
        let whole = end && held == 0 && !self.delivered;
        if text && !whole {
            self.utf8.feed(room.get(..produced).unwrap_or_default()).map_err(|_| Violation::InvalidUtf8)?;
            if end && self.utf8.incomplete() > 0 {
                return Err(Violation::InvalidUtf8.into());
            }
        }
        place.add(produced);
        let held = held.saturating_add(produced);
        let full = held == output.len();
        take(input, consumed);
        self.advance(consumed);
        self.more = more;
        if self.left == 0 && !more {
            self.state = State::Header;
        }
        let cut = if text { self.utf8.incomplete() } else { 0 };
        let n = match self.config.delivery {
            _ if end => held,
            Delivery::Chunks => held,
            Delivery::Frames if !full => 0,
            // Memory that is smaller than a code point delivers a part of it.
            Delivery::Frames | Delivery::CodePoints if full && held <= cut => held,
            Delivery::Frames | Delivery::CodePoints => held.saturating_sub(cut),
        };
        if n == 0 && !end {
            return Ok(None);
        }
        let bytes = view.take_decoded(n);
        let payload = if text && whole {
            Payload::from(utf8::whole(bytes).map_err(|_| Violation::InvalidUtf8)?)
        } else {
            Payload::from(bytes)
        };
        Ok(Some(self.deliver(payload, end)))
    }
}
