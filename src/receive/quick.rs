//! The quick path for a whole unfragmented data frame, the most common input.

#![forbid(unsafe_code)]

use super::{Decoder, State, take};
use crate::config::ConfigRef;
use crate::error::Violation;
use crate::event::{Chunk, Payload};
use crate::frame::Kind;
use crate::mask::mask;
use crate::role::Role;
use crate::utf8;

impl<R: Role, C: ConfigRef> Decoder<R, C> {
    /// Receives a whole unfragmented data frame with a length of up to 16 bits. It returns `None` for any other input,
    /// which it leaves unchanged for [`slow`](Self::slow), and after text that is not UTF-8, which sets the failure for
    /// it.
    #[inline(always)]
    pub(crate) fn quick<'i>(&mut self, input: &mut &'i mut [u8]) -> Option<Chunk<'i>> {
        if !QUICK || self.state != State::Header || self.kind.is_some() {
            return None;
        }
        // One load for the whole header. Input that is shorter than the load takes the slow path.
        let word = if R::SERVER {
            u64::from_le_bytes(*input.first_chunk()?)
        } else {
            u32::from_le_bytes(*input.first_chunk()?).into()
        };
        let kind = match word & 0x80FF ^ if R::SERVER { 0x8000 } else { 0 } {
            0x81 => Kind::Text,
            0x82 => Kind::Binary,
            _ => return None,
        };
        let (len, header, key) = match word >> 8 & 0x7F {
            126 => (((word >> 16) as u16).swap_bytes(), 4_usize, word >> 32),
            127 => return None,
            len => (len as u16, 2, word >> 16),
        };
        let limits = &self.config.limits;
        let most = limits.frame.min(limits.message);
        if header == 4 && len < 126 || u64::from(len) > most || limits.fragments == 0 {
            return None;
        }
        let start = if R::SERVER { header.wrapping_add(4) } else { header };
        let end = start.wrapping_add(usize::from(len));
        if input.len() < end {
            return None;
        }
        let payload = take(input, end).get_mut(start..)?;
        if R::SERVER {
            let _ = mask((key as u32).to_le_bytes(), payload);
        }
        let payload = match kind {
            Kind::Binary => Payload::from(payload),
            Kind::Text => match utf8::whole(payload) {
                Ok(text) => Payload::from(text),
                Err(_) => {
                    self.fail(Violation::InvalidUtf8.into());
                    return None;
                }
            },
        };
        self.progressed = true;
        Some(Chunk { kind, payload, start: true, end: true, fin: true, offset: 0, remaining: 0 })
    }
}

/// Whether the quick path is compiled: it takes 1 KiB of code, which is too much for microcontrollers.
const QUICK: bool = cfg!(target_pointer_width = "64");
