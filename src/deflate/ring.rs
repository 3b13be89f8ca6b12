//! The decompressor of miniz_oxide over a window in the caller's memory.

#![forbid(unsafe_code)]

use core::fmt;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress_with_limit};

use super::agreement::Agreement;
use super::options::DeflateOptions;
use super::per_message::PerMessage;
use super::{Inflate, InvalidDeflate, NoDeflate};
use crate::buffer::copy;
use crate::handshake::{ExtensionList, ExtensionText, HandshakeError, Negotiate};

/// The memory of a [`RingInflate`]: 10.5 KB of tables, and a window of `WINDOW` bytes, a power of two from 256 to 32,768.
pub struct RingMemory<const WINDOW: usize> {
    tables: DecompressorOxide,
    window: [u8; WINDOW],
}

/// Decompresses without a heap, in a [`RingMemory`].
///
/// A distance beyond the window is refused. One beyond the beginning of the stream gives zeros: the window is cleared before a
/// connection uses it, so that it does not show what another one has received.
///
/// ```
/// use sansocket::deflate::{Inflate, InvalidDeflate, RingInflate, RingMemory};
///
/// let mut memory = RingMemory::<512>::new(); // window bits: 9
/// let mut inflate = RingInflate::new(&mut memory);
/// let mut output = [0; 64];
/// // RFC 7692 §7.2.3.1: "Hello"
/// let (_, len) = inflate.inflate(b"\xf2\x48\xcd\xc9\xc9\x07\x00", &mut output)?;
/// inflate.finish()?;
/// assert_eq!((&output[..len], inflate.window_bits()), (&b"Hello"[..], 9));
/// # Ok::<_, InvalidDeflate>(())
/// ```
pub struct RingInflate<'m> {
    tables: &'m mut DecompressorOxide,
    window: &'m mut [u8],
    /// Where the next byte goes in the window.
    at: usize,
}

impl<const WINDOW: usize> RingMemory<WINDOW> {
    /// Creates the memory. It fails to compile if `WINDOW` is not a power of two from 256 to 32,768.
    #[must_use]
    pub fn new() -> Self {
        const { assert!(WINDOW.is_power_of_two() && WINDOW >= 256 && WINDOW <= 32_768) }
        Self { tables: DecompressorOxide::new(), window: [0; WINDOW] }
    }
}

impl<const WINDOW: usize> Default for RingMemory<WINDOW> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const WINDOW: usize> fmt::Debug for RingMemory<WINDOW> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RingMemory")
    }
}

impl<'m> RingInflate<'m> {
    /// Begins a new stream: clears the window.
    #[must_use]
    pub fn new<const WINDOW: usize>(memory: &'m mut RingMemory<WINDOW>) -> Self {
        let mut this = Self { tables: &mut memory.tables, window: &mut memory.window, at: 0 };
        this.end(false);
        this
    }

    /// Returns the bits of the window, for [`DeflateOptions::receive_window_bits`](super::DeflateOptions::receive_window_bits).
    #[must_use]
    pub const fn window_bits(&self) -> u8 {
        self.window.len().trailing_zeros() as u8
    }

    /// Decompresses into the window, at most `most` bytes and up to its end. Returns the status, how much was read, and where what
    /// was written begins and ends.
    fn step(&mut self, input: &[u8], most: usize, flags: u32) -> (TINFLStatus, usize, &[u8]) {
        let start = self.at;
        let flags = flags | TINFL_FLAG_HAS_MORE_INPUT;
        let (status, read, written) =
            decompress_with_limit(self.tables, input, self.window, start, most, flags);
        let end = start.saturating_add(written);
        self.at = if end < self.window.len() { end } else { 0 };
        (status, read, self.window.get(start..end).unwrap_or_default())
    }
}

/// Negotiates permessage-deflate for one connection of a server that decompresses in a [`RingMemory`] and sends uncompressed:
/// for `embedded::serve_negotiating` and `ServerSession::negotiating`. Clients that cannot limit their window to that of the
/// memory send uncompressed.
///
/// ```
/// use sansocket::deflate::{RingMemory, RingNegotiation};
/// use sansocket::session::ServerSession;
/// use sansocket::{Config, Instant};
///
/// let mut memory = RingMemory::<4096>::new();
/// let negotiate = RingNegotiation::new(&mut memory);
/// let session = ServerSession::negotiating(&Config::DEFAULT, Instant::START, negotiate);
/// # drop(session);
/// ```
#[derive(Debug)]
pub struct RingNegotiation<'m> {
    inflate: Option<RingInflate<'m>>,
    agreement: Option<Agreement>,
}

impl<'m> RingNegotiation<'m> {
    /// Begins a new stream in `memory`: clears the window.
    #[must_use]
    pub fn new<const WINDOW: usize>(memory: &'m mut RingMemory<WINDOW>) -> Self {
        Self { inflate: Some(RingInflate::new(memory)), agreement: None }
    }
}

impl<'m> Negotiate for RingNegotiation<'m> {
    type Extension = Option<PerMessage<RingInflate<'m>, NoDeflate>>;

    fn accept(&mut self, offers: ExtensionList<'_>, answer: &mut ExtensionText) {
        let bits = self.inflate.as_ref().map_or(15, RingInflate::window_bits);
        // A context of the peer costs nothing, and nothing is sent compressed.
        let options =
            const { DeflateOptions::new().context(true).send_window_bits(15) }.receive_window_bits(bits);
        self.agreement = Agreement::accept(&options, offers, answer);
    }

    fn offer(&mut self, _: &mut ExtensionText) {}

    fn confirm(&mut self, mut answer: ExtensionList<'_>) -> Result<(), HandshakeError> {
        if answer.next().is_some() { Err(HandshakeError::Extension) } else { Ok(()) }
    }

    fn open(&mut self) -> Self::Extension {
        let Agreement { server, client } = self.agreement.take()?;
        Some(PerMessage::new(self.inflate.take()?, NoDeflate, client, server, None))
    }
}

impl Inflate for RingInflate<'_> {
    fn inflate(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), InvalidDeflate> {
        let (mut consumed, mut produced) = (0usize, 0usize);
        loop {
            let rest = input.get(consumed..).unwrap_or_default();
            let room = output.get_mut(produced..).unwrap_or_default();
            let (status, read, written) = self.step(rest, room.len(), 0);
            consumed = consumed.saturating_add(read);
            produced = produced.saturating_add(copy(room, written));
            match status {
                // A block with BFINAL: another may follow (RFC 7692 §7.2.3.4). The window is kept.
                TINFLStatus::Done => {
                    self.tables.init();
                    if consumed == input.len() {
                        break;
                    }
                }
                TINFLStatus::HasMoreOutput if produced < output.len() => {}
                TINFLStatus::HasMoreOutput | TINFLStatus::NeedsMoreInput => break,
                _ => return Err(InvalidDeflate),
            }
        }
        Ok((consumed, produced))
    }

    fn finish(&mut self) -> Result<(), InvalidDeflate> {
        // Room for one byte, although a block without content needs none: without room the status would not tell more.
        let (status, read, written) = self.step(&[0, 0, 0xFF, 0xFF], 1, TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY);
        let ended = status == TINFLStatus::BlockBoundary && read == 4 && written.is_empty();
        if ended { Ok(()) } else { Err(InvalidDeflate) }
    }

    fn end(&mut self, context: bool) {
        if !context {
            self.tables.init();
            self.window.fill(0);
            self.at = 0;
        }
    }
}

impl fmt::Debug for RingInflate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RingInflate")
    }
}
