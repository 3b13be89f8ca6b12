//! Sending messages that an extension encodes.

#![forbid(unsafe_code)]

use super::frames::{Form, FrameWriter, Wire, first};
use crate::buffer::{copy, move_within};
use crate::extension::{Extension, ExtensionFailed, Progress};
use crate::frame::{Kind, OpCode, ReservedBits, header_len};
use crate::send::SendError;

/// The sending side of an [`Extension`] as a dyn-compatible trait, as an outbox has no type parameter. A program
/// without an extension links none of the code behind it.
///
/// Both methods return `None` if the message is to be sent unencoded.
pub(crate) trait Encode {
    /// Sends a message in one frame, if there is room for the most bytes that it can encode to.
    fn send(
        &mut self,
        frames: &mut FrameWriter,
        wire: &mut Wire<'_>,
        kind: Kind,
        payload: &[u8],
    ) -> Option<Result<(), SendError>>;

    /// Sends a message, or the next part of one, in frames.
    fn send_fragmented(
        &mut self,
        frames: &mut FrameWriter,
        wire: &mut Wire<'_>,
        kind: Kind,
        payload: &mut &[u8],
        fin: bool,
        largest: usize,
    ) -> Option<Result<(), SendError>>;
}

impl<X: Extension> Encode for X {
    fn send(
        &mut self,
        frames: &mut FrameWriter,
        wire: &mut Wire<'_>,
        kind: Kind,
        payload: &[u8],
    ) -> Option<Result<(), SendError>> {
        if let Err(error) = frames.check_free() {
            return Some(Err(error));
        }
        let bound = self.bound(payload.len())?;
        Some(match header_len(bound as u64, wire.is_masked()).saturating_add(bound) {
            size if size > wire.capacity() => Err(SendError::TooLarge),
            size if size > wire.room() => Err(SendError::Blocked),
            _ if !self.begin() => return None,
            _ => match encode(self, frames, wire, kind, payload, Part::Whole, bound) {
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            },
        })
    }

    fn send_fragmented(
        &mut self,
        frames: &mut FrameWriter,
        wire: &mut Wire<'_>,
        kind: Kind,
        payload: &mut &[u8],
        fin: bool,
        largest: usize,
    ) -> Option<Result<(), SendError>> {
        // All frames of a message are encoded, or none.
        let len = if fin { payload.len() } else { usize::MAX };
        if !frames.coded && (frames.is_inside_message() || self.bound(len).is_none()) {
            return None;
        }
        Some(loop {
            if let Err(error) = frames.opcode(kind) {
                break Err(error);
            }
            let most = fits(wire, largest.max(1));
            // Waiting for the transport costs less than many small frames.
            if most < payload.len().clamp(1, largest.max(1)) && !wire.place.is_empty() {
                break Err(SendError::Blocked);
            }
            if !frames.coded && !self.begin() {
                return None;
            }
            let part = if fin { Part::Last } else { Part::Inner };
            match encode(self, frames, wire, kind, payload, part, most) {
                Ok(Progress { consumed, more, .. }) => {
                    *payload = payload.get(consumed..).unwrap_or_default();
                    if !more {
                        break Ok(());
                    }
                }
                Err(error) => break Err(error),
            }
        })
    }
}

/// Which part of its message a piece of payload is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The whole message, to be sent in one frame.
    Whole,
    Inner,
    Last,
}

/// Returns the most payload that can be added to the last frame if it can grow, or otherwise that a new frame can carry.
fn fits(wire: &mut Wire<'_>, largest: usize) -> usize {
    let masked = wire.is_masked();
    if wire.place.growing().is_some_and(|len| len >= largest) {
        wire.place.set_growing(None);
    }
    let growing = wire.place.growing();
    let before = growing.unwrap_or(0);
    let frame = growing.map_or(0, |len| header_len(len as u64, masked).saturating_add(len));
    let all = wire.room().saturating_add(frame);
    all.saturating_sub(header_len(all as u64, masked)).min(largest).saturating_sub(before)
}

/// Encodes `payload`, and sends the result with at most `most` bytes of payload: in the last frame if it can grow, otherwise
/// in a new one. It sends no frame if the extension has no output yet, unless it has consumed input of a new message, which
/// then begins with an empty frame. If the extension fails, nothing is sent.
fn encode<X: Extension>(
    extension: &mut X,
    frames: &mut FrameWriter,
    wire: &mut Wire<'_>,
    kind: Kind,
    payload: &[u8],
    part: Part,
    most: usize,
) -> Result<Progress, SendError> {
    let Wire { memory, place, masker } = wire;
    let masked = masker.is_some();
    let growing = place.growing();
    let before = growing.unwrap_or(0);
    // Reserves the longest header: a shorter result may have a shorter one.
    let longest = header_len(before.saturating_add(most) as u64, masked);
    let (header, frame) = match growing {
        Some(len) => {
            let header = header_len(len as u64, masked);
            (header, header.saturating_add(len))
        }
        None => (longest, 0),
    };
    let size = longest.saturating_add(before).saturating_add(most).saturating_sub(frame);
    let slot = place.reserve_behind(memory, frame, size).ok_or(SendError::Blocked)?;
    let start = header.saturating_add(before);
    let room = slot.get_mut(start..start.saturating_add(most)).ok_or(SendError::Blocked)?;
    let last = part != Part::Inner;
    let (mut opcode, mut rsv) = (OpCode::Continuation, ReservedBits::NONE);
    let encoded = extension.encode(payload, room, last).and_then(|done| {
        if frames.kind.is_none() {
            (opcode, rsv) = (kind.into(), extension.send());
        }
        let truncated = part == Part::Whole && done.more;
        let possible = done.is_possible(payload.len(), most) && !truncated && extension.rsv().contains(rsv);
        if possible { Ok(done) } else { Err(ExtensionFailed) }
    });
    let fin = last && encoded.is_ok_and(|done| !done.more);
    let nothing_yet =
        |done: Progress| done.produced == 0 && !fin && (frames.kind.is_some() || done.consumed == 0);
    let done = match encoded {
        Ok(done) if !nothing_yet(done) => done,
        other => {
            place.shrink(size);
            place.set_growing(growing);
            return Ok(other?);
        }
    };
    let len = before.saturating_add(done.produced);
    let (begun, key) = grown_header(slot, header);
    let form = Form::of(len as u64, masked);
    if form.header != header {
        move_within(slot, header, len, form.header);
    }
    let new = first(fin, rsv, opcode);
    let (key_slot, body) = form.write(slot, if growing.is_some() { begun | new } else { new }, len as u64);
    if let Some(masker) = masker {
        frames.key = if growing.is_some() {
            copy(key_slot, &key);
            masker.go_on(frames.key, body.get_mut(before..len).unwrap_or_default())
        } else {
            masker.begin(key_slot, body.get_mut(..len).unwrap_or_default())
        };
    }
    place.shrink(frame.saturating_add(size).saturating_sub(form.header.saturating_add(len)));
    place.set_growing((!fin).then_some(len));
    frames.kind = (!fin).then_some(kind);
    frames.coded = !fin;
    Ok(done)
}

/// Returns the first byte, and the masking key, of a frame with a header of this length.
fn grown_header(frame: &[u8], header: usize) -> (u8, [u8; 4]) {
    let key = frame.get(..header).and_then(<[u8]>::last_chunk);
    (frame.first().copied().unwrap_or(0), key.copied().unwrap_or_default())
}
