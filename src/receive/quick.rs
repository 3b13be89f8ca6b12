//! The quick paths for a data frame that has arrived whole, the most common input.

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
    /// Returns whether a whole data frame is the next in `input`. One of 64 KiB or more is not recognised.
    #[cfg(feature = "tokio")]
    pub(crate) fn has_data(&self, input: &[u8]) -> bool {
        self.state == State::Header
            && Short::parse::<R>(input).is_some_and(|frame| {
                frame.first & 0x08 == 0 && input.len() >= frame.start.saturating_add(frame.len.into())
            })
    }

    /// Receives a whole unfragmented data frame with a length of up to 16 bits. It returns `None` for any other input,
    /// which it leaves unchanged for [`slow`](Self::slow), and after text that is not UTF-8, which sets the failure for
    /// it.
    #[inline(always)]
    pub(crate) fn quick<'i>(&mut self, input: &mut &'i mut [u8]) -> Option<Chunk<'i>> {
        if !QUICK || self.state != State::Header || self.kind.is_some() {
            return None;
        }
        let short = Short::parse::<R>(input)?;
        let kind = match short.first {
            0x81 => Kind::Text,
            0x82 => Kind::Binary,
            _ => return None,
        };
        let limits = &self.config.limits;
        let most = limits.frame.min(limits.message);
        if u64::from(short.len) > most || limits.fragments == 0 {
            return None;
        }
        let payload = short.payload::<R>(input)?;
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

    /// Receives a fragment of a message as [`quick`](Self::quick) does a whole one.
    #[inline(always)]
    pub(super) fn quick_fragment<'i>(&mut self, input: &mut &'i mut [u8]) -> Option<Chunk<'i>> {
        if !QUICK || self.state != State::Header {
            return None;
        }
        let short = Short::parse::<R>(input)?;
        let (kind, message, fragments) = match (short.first & 0x7F, self.kind) {
            (0, Some(kind)) => (kind, self.message, self.fragments),
            (1, None) => (Kind::Text, 0, 0),
            (2, None) => (Kind::Binary, 0, 0),
            _ => return None,
        };
        let limits = &self.config.limits;
        let len = u64::from(short.len);
        if len > limits.frame || len > limits.message.saturating_sub(message) || fragments >= limits.fragments
        {
            return None;
        }
        let payload = &*short.payload::<R>(input)?;
        if self.kind.is_none() {
            self.start(kind);
        }
        self.fragments = fragments.saturating_add(1);
        let fin = short.first & 0x80 != 0;
        if kind == Kind::Text && (self.utf8.feed(payload).is_err() || fin && self.utf8.incomplete() > 0) {
            self.fail(Violation::InvalidUtf8.into());
            return None;
        }
        self.grow(len).ok()?;
        Some(Chunk { fin, ..self.deliver(Payload::from(payload), fin) })
    }
}

/// The header of a frame with a length of up to 16 bits, masked if the peer is a client.
struct Short {
    first: u8,
    len: u16,
    /// The length of the header.
    start: usize,
    key: [u8; 4],
}

impl Short {
    #[inline(always)]
    fn parse<R: Role>(input: &[u8]) -> Option<Self> {
        // One load for the whole header. Input that is shorter than the load takes the slow path.
        let word = if R::SERVER {
            u64::from_le_bytes(*input.first_chunk()?)
        } else {
            u32::from_le_bytes(*input.first_chunk()?).into()
        };
        if (word & 0x8000 != 0) != R::SERVER {
            return None;
        }
        let (len, header, key) = match word >> 8 & 0x7F {
            126 => (((word >> 16) as u16).swap_bytes(), 4_usize, word >> 32),
            127 => return None,
            len => (len as u16, 2, word >> 16),
        };
        if header == 4 && len < 126 {
            return None;
        }
        let start = if R::SERVER { header.wrapping_add(4) } else { header };
        Some(Self { first: word as u8, len, start, key: (key as u32).to_le_bytes() })
    }

    /// Takes the frame off the front of `input` if it is whole, and returns its payload, unmasked.
    #[inline(always)]
    fn payload<'i, R: Role>(&self, input: &mut &'i mut [u8]) -> Option<&'i mut [u8]> {
        let end = self.start.wrapping_add(usize::from(self.len));
        if input.len() < end {
            return None;
        }
        let payload = take(input, end).get_mut(self.start..)?;
        if R::SERVER {
            let _ = mask(self.key, payload);
        }
        Some(payload)
    }
}

/// Whether the quick path is compiled: it takes 1 KiB of code, which is too much for microcontrollers.
const QUICK: bool = cfg!(target_pointer_width = "64");
