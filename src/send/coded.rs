//! Sending messages that an extension encodes.

#![forbid(unsafe_code)]

use super::frames::{Form, FrameWriter, Wire, first};
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
        let whole = if fin { payload.len() } else { usize::MAX };
        if !frames.coded && (frames.is_inside_message() || self.bound(whole).is_none() || !self.begin()) {
            return None;
        }
        Some(loop {
            if let Err(error) = frames.opcode(kind) {
                break Err(error);
            }
            if !wire.place.is_empty() {
                break Err(SendError::Blocked);
            }
            let fits = frames.fits(wire, largest);
            let part = if fin { Part::Last } else { Part::Inner };
            match encode(self, frames, wire, kind, payload, part, fits) {
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

/// Encodes `payload`, and sends the result as one frame with at most `most` bytes of payload. It sends no frame if the
/// extension has no output yet, unless it has consumed input of a new message, which then begins with an empty frame.
/// If the extension fails, nothing is sent.
fn encode<X: Extension>(
    extension: &mut X,
    frames: &mut FrameWriter,
    wire: &mut Wire<'_>,
    kind: Kind,
    payload: &[u8],
    part: Part,
    most: usize,
) -> Result<Progress, SendError> {
    // Reserves the longest header: a shorter result may have a shorter one.
    let longest = header_len(most as u64, wire.is_masked());
    let size = longest.saturating_add(most);
    let Wire { memory, place, masker } = wire;
    let slot = place.reserve(memory, size).ok_or(SendError::Blocked)?;
    let (_, body) = slot.split_at_mut_checked(longest).ok_or(SendError::Blocked)?;
    let last = part != Part::Inner;
    let (mut opcode, mut rsv) = (OpCode::Continuation, ReservedBits::NONE);
    let encoded = extension.encode(payload, body, last).and_then(|done| {
        if frames.kind.is_none() {
            (opcode, rsv) = (kind.into(), extension.send());
        }
        let truncated = part == Part::Whole && done.more;
        let possible =
            done.is_possible(payload.len(), body.len()) && !truncated && extension.rsv().contains(rsv);
        if possible { Ok(done) } else { Err(ExtensionFailed) }
    });
    let fin = last && encoded.is_ok_and(|done| !done.more);
    let nothing_yet =
        |done: Progress| done.produced == 0 && !fin && (frames.kind.is_some() || done.consumed == 0);
    let done = match encoded {
        Ok(done) if !nothing_yet(done) => done,
        other => {
            place.shrink(size);
            return Ok(other?);
        }
    };
    let len = done.produced as u64;
    let start = header_len(len, masker.is_some());
    if start < longest && longest.saturating_add(done.produced) <= slot.len() {
        slot.copy_within(longest..longest.saturating_add(done.produced), start);
    }
    let (key, body) = Form::of(len, masker.is_some()).write(slot, first(fin, rsv, opcode), len);
    if let Some(masker) = masker {
        masker.begin(key, body.get_mut(..done.produced).unwrap_or_default());
    }
    place.shrink(size.saturating_sub(start.saturating_add(done.produced)));
    frames.kind = (!fin).then_some(kind);
    frames.coded = !fin;
    Ok(done)
}
