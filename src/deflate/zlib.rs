//! The codecs of zlib-rs.

#![forbid(unsafe_code)]

use core::fmt;
use std::boxed::Box;
use std::vec::Vec;

use zlib_rs::{DeflateConfig, DeflateFlush, InflateFlush, Status};

use super::options::DeflateOptions;
use super::{Deflate, Inflate, InvalidDeflate};
use crate::buffer::copy;
use crate::extension::{ExtensionFailed, Progress};

/// What ends a compressed message, and is not sent (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// Decompresses with zlib-rs. It takes 48 KB.
///
/// It decompresses for a window of 15 bits, as zlib-rs has the memory for that in any case: a peer that exceeds a smaller window
/// is served. A message that refers to data before a block with BFINAL is refused, as zlib-rs forgets that data.
pub struct ZlibInflate(Box<[zlib_rs::Inflate; 1]>);

/// Compresses with zlib-rs. It takes 165 KB with a window of 12 bits and memory level 5, 381 KB with 15 and 8.
pub struct ZlibDeflate(Box<[Compressor; 1]>);

struct Compressor {
    zlib: zlib_rs::Deflate,
    /// Something of the message was compressed.
    begun: bool,
    /// The end of a message, for which there was no room.
    end: [u8; 16],
    end_from: usize,
    end_len: usize,
}

impl ZlibInflate {
    /// Creates the decompressor of a new stream; `None` if there is no memory for it.
    #[must_use]
    pub fn new() -> Option<Self> {
        has_memory(48 * 1024)?;
        boxed(|| zlib_rs::Inflate::new(false, 15)).map(Self)
    }
}

impl Inflate for ZlibInflate {
    fn inflate(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), InvalidDeflate> {
        let [zlib] = &mut *self.0;
        let (mut rest, mut room) = (input, &mut *output);
        loop {
            let before = (zlib.total_in(), zlib.total_out());
            let status = zlib.decompress(rest, room, InflateFlush::NoFlush).map_err(|_| InvalidDeflate)?;
            let read = zlib.total_in().wrapping_sub(before.0) as usize;
            let written = zlib.total_out().wrapping_sub(before.1) as usize;
            rest = rest.get(read..).unwrap_or_default();
            room = room.get_mut(written..).unwrap_or_default();
            let ended = status == Status::StreamEnd;
            if ended {
                // A block with BFINAL: another may follow (RFC 7692 §7.2.3.4).
                zlib.reset(false);
            }
            if rest.is_empty() || room.is_empty() || !ended && (read, written) == (0, 0) {
                break;
            }
        }
        let room = room.len();
        Ok((input.len().saturating_sub(rest.len()), output.len().saturating_sub(room)))
    }

    fn finish(&mut self) -> Result<(), InvalidDeflate> {
        let [zlib] = &mut *self.0;
        let before = (zlib.total_in(), zlib.total_out());
        // With `Block` zlib stops at the end of the block. One byte more shows whether it would have gone on.
        let status = zlib.decompress(&[0, 0, 0xFF, 0xFF, 0], &mut [0], InflateFlush::Block);
        let done = (zlib.total_in().wrapping_sub(before.0), zlib.total_out().wrapping_sub(before.1));
        if status == Ok(Status::Ok) && done == (4, 0) { Ok(()) } else { Err(InvalidDeflate) }
    }

    fn end(&mut self, context: bool) {
        let [zlib] = &mut *self.0;
        if !context {
            zlib.reset(false);
        }
    }
}

impl fmt::Debug for ZlibInflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ZlibInflate")
    }
}

impl ZlibDeflate {
    /// Creates the compressor of a new stream, with the level and the memory of `options` and a window of `window_bits`. `None` if
    /// zlib has no window that is so small, as with 8 bits, or if there is no memory for it.
    #[must_use]
    pub fn new(options: &DeflateOptions, window_bits: u8) -> Option<Self> {
        if !(9..=15).contains(&window_bits) {
            return None;
        }
        let options = options.checked();
        has_memory(memory(window_bits, options.memory_level))?;
        let config = DeflateConfig {
            level: options.level.into(),
            // Negative: without zlib's header.
            window_bits: i32::from(window_bits).wrapping_neg(),
            mem_level: options.memory_level.into(),
            ..DeflateConfig::default()
        };
        let compressor = || Compressor {
            zlib: zlib_rs::Deflate::new_with_config(config),
            begun: false,
            end: [0; 16],
            end_from: 0,
            end_len: 0,
        };
        boxed(compressor).map(Self)
    }
}

impl Deflate for ZlibDeflate {
    fn bound(&self, len: usize) -> usize {
        bound(len)
    }

    fn deflate(&mut self, input: &[u8], output: &mut [u8], last: bool) -> Result<Progress, ExtensionFailed> {
        let [compressor] = &mut *self.0;
        compressor.deflate(input, output, last)
    }

    fn end(&mut self, context: bool) {
        let [compressor] = &mut *self.0;
        (compressor.begun, compressor.end_from, compressor.end_len) = (false, 0, 0);
        if !context {
            compressor.zlib.reset();
        }
    }
}

impl Compressor {
    fn deflate(&mut self, input: &[u8], output: &mut [u8], last: bool) -> Result<Progress, ExtensionFailed> {
        let mut done = Progress::default();
        if last && !self.begun && output.len() >= bound(input.len()) {
            // The whole message with its end fits: one call, instead of two.
            (done.consumed, done.produced) = self.compress(input, output, DeflateFlush::SyncFlush)?;
            let whole = output.get(..done.produced).and_then(|whole| whole.strip_suffix(&TAIL));
            let len = whole.filter(|_| done.produced < output.len()).map(<[u8]>::len);
            done.produced = len.ok_or(ExtensionFailed)?;
            return Ok(done);
        }
        self.begun = true;
        if self.end_len == 0 {
            // First the message up to its last block, then the end apart, as its last bytes are not sent.
            let flush = if last { DeflateFlush::Block } else { DeflateFlush::NoFlush };
            (done.consumed, done.produced) = self.compress(input, output, flush)?;
            done.more = done.produced == output.len();
            if done.more || !last {
                return Ok(done);
            }
            let mut end = [0; 16];
            let (_, len) = self.compress(&[], &mut end, DeflateFlush::SyncFlush)?;
            (self.end, self.end_from, self.end_len) = (end, 0, len);
            if !end.get(..len).is_some_and(|end| end.ends_with(&TAIL)) {
                return Err(ExtensionFailed);
            }
        }
        let end = self.end.get(self.end_from..self.end_len.saturating_sub(TAIL.len())).unwrap_or_default();
        let n = copy(output.get_mut(done.produced..).unwrap_or_default(), end);
        self.end_from = self.end_from.saturating_add(n);
        done.produced = done.produced.saturating_add(n);
        done.more = n < end.len();
        Ok(done)
    }

    fn compress(
        &mut self,
        input: &[u8],
        output: &mut [u8],
        flush: DeflateFlush,
    ) -> Result<(usize, usize), ExtensionFailed> {
        let (mut rest, mut room) = (input, &mut *output);
        loop {
            let before = (self.zlib.total_in(), self.zlib.total_out());
            self.zlib.compress(rest, room, flush).map_err(|_| ExtensionFailed)?;
            let read = self.zlib.total_in().wrapping_sub(before.0) as usize;
            let written = self.zlib.total_out().wrapping_sub(before.1) as usize;
            rest = rest.get(read..).unwrap_or_default();
            room = room.get_mut(written..).unwrap_or_default();
            // zlib takes no more than 4 GiB at once.
            if rest.is_empty() || room.is_empty() || (read, written) == (0, 0) {
                break;
            }
        }
        let room = room.len();
        Ok((input.len().saturating_sub(rest.len()), output.len().saturating_sub(room)))
    }
}

impl fmt::Debug for ZlibDeflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ZlibDeflate")
    }
}

/// Returns the most bytes that a message is compressed to. Measured: random bytes grow by 13.8 % at level 1, whose codes are fixed.
pub(super) const fn bound(len: usize) -> usize {
    len.saturating_add(len / 8).saturating_add(len / 64).saturating_add(32)
}

/// Returns the bytes that a compressor allocates at most: its hash table, two windows, symbols, and the state itself.
const fn memory(window_bits: u8, memory_level: u8) -> usize {
    let window = 1_usize << (window_bits & 15);
    let symbols = 64_usize << (memory_level & 15);
    window.saturating_mul(4).saturating_add(symbols.saturating_mul(7)).saturating_add(136 * 1024)
}

/// Asks the allocator for `bytes`, and frees them: the constructors of zlib-rs panic where there is no memory.
fn has_memory(bytes: usize) -> Option<()> {
    Vec::<u8>::new().try_reserve_exact(bytes).ok()
}

/// A box, or `None` if there is no memory for it.
fn boxed<T>(value: impl FnOnce() -> T) -> Option<Box<[T; 1]>> {
    let mut memory = Vec::new();
    memory.try_reserve_exact(1).ok()?;
    memory.push(value());
    memory.try_into().ok()
}
