//! Messages through an extension on their way out.

#![forbid(unsafe_code)]

use super::frames::{Form, FrameWriter, Wire, first};
use crate::error::SendError;
use crate::extension::{Extension, Progress};
use crate::frame::{Kind, OpCode, Rsv, header_len};

/// The sending side of an [`Extension`], whatever its type: an outbox knows none. All code for it stands behind this
/// trait, so that a program without an extension links none of it.
///
/// Both methods give `None` where the message is sent as it is.
pub(crate) trait Encode {
    /// A message in one frame, where the worst that the extension makes of it fits.
    fn send(
        &mut self,
        frames: &mut FrameWriter,
        wire: &mut Wire<'_>,
        kind: Kind,
        payload: &[u8],
    ) -> Option<Result<(), SendError>>;

    /// A message, or the next part of one, in frames.
    fn stream(
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
            _ => {
                encode(self, frames, wire, kind, payload, true, bound);
                Ok(())
            }
        })
    }

    fn stream(
        &mut self,
        frames: &mut FrameWriter,
        wire: &mut Wire<'_>,
        kind: Kind,
        payload: &mut &[u8],
        fin: bool,
        largest: usize,
    ) -> Option<Result<(), SendError>> {
        // A message that has begun goes on as it began.
        if !frames.coded && (frames.is_inside_message() || self.bound(0).is_none()) {
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
            let Progress { consumed, produced, more } = encode(self, frames, wire, kind, payload, fin, fits);
            *payload = payload.get(consumed..).unwrap_or_default();
            // The extension wants more room than there ever is.
            if more && consumed == 0 && produced == 0 {
                break Err(SendError::TooLarge);
            }
            if payload.is_empty() && !more {
                break Ok(());
            }
        })
    }
}

/// Sends one frame of what the extension makes of `payload`, at most `most` bytes and a header. It sends no frame where
/// the extension makes nothing of the payload yet, unless it is the first: the message has begun.
fn encode<X: Extension>(
    extension: &mut X,
    frames: &mut FrameWriter,
    wire: &mut Wire<'_>,
    kind: Kind,
    payload: &[u8],
    fin: bool,
    most: usize,
) -> Progress {
    // The frame may turn out shorter than the room, and its header with it.
    let longest = header_len(most as u64, wire.is_masked());
    let size = longest.saturating_add(most);
    let Wire { memory, place, masker } = wire;
    let Some(slot) = place.reserve(memory, size) else { return Progress::default() };
    let Some((_, body)) = slot.split_at_mut_checked(longest) else { return Progress::default() };
    let done = extension.encode(payload, body, fin);
    let fin = fin && !done.more && done.consumed >= payload.len();
    if done.produced == 0 && !fin && (frames.kind.is_some() || done.consumed == 0) {
        place.shrink(size);
        return done;
    }
    let (opcode, rsv) = if frames.kind.is_none() {
        (kind.into(), extension.send())
    } else {
        (OpCode::Continuation, Rsv::NONE)
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
    done
}
