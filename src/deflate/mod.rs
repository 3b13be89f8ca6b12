//! permessage-deflate (RFC 7692): compressed messages.
//!
//! Compression is off unless a program asks for it with [`DeflateOptions`]. Feature `deflate` compresses and decompresses with
//! zlib-rs. Feature `deflate-receive` needs no heap: it decompresses in memory that the caller provides, and sends uncompressed.
//!
//! A peer may end a block with BFINAL inside of a message (RFC 7692 §7.2.3.4): both decompressors go on with the next block. A later
//! block or message may refer to data before such a block; the one of feature `deflate-receive` serves that, and zlib-rs has forgotten
//! the data, so that the connection ends with 1007. The compressors here never set BFINAL.
//!
//! [`PerMessage`] is the [`Extension`](crate::proto::Extension) over two codecs, and [`Agreement`] is the negotiation; both can be
//! used with a codec of another library, through [`Inflate`] and [`Deflate`].

#![forbid(unsafe_code)]

mod agreement;
#[cfg(feature = "deflate")]
mod negotiation;
mod options;
mod per_message;
#[cfg(feature = "deflate")]
mod pool;
#[cfg(feature = "deflate-receive")]
mod ring;
#[cfg(feature = "deflate")]
mod zlib;

pub use agreement::{Agreement, Direction};
#[cfg(feature = "deflate")]
pub use negotiation::Negotiation;
pub use options::DeflateOptions;
pub use per_message::PerMessage;
#[cfg(feature = "deflate")]
pub use pool::{Lease, Pool, Zlib};
#[cfg(feature = "deflate-receive")]
pub use ring::{RingInflate, RingMemory, RingNegotiation};
#[cfg(feature = "deflate")]
pub use zlib::{ZlibDeflate, ZlibInflate};

use crate::extension::{ExtensionFailed, Progress};

/// Decompresses the messages that one side of a connection sends: a stream of raw DEFLATE (RFC 1951).
pub trait Inflate {
    /// Begins a message. Returns `false` if there is no memory for it, so that the connection ends with 1011.
    fn begin(&mut self) -> bool {
        true
    }

    /// Decompresses `input` into `output`, and returns how much it has read and written. It stops only when all input is read
    /// and all that follows from it is written, or when `output` is full. A block with BFINAL does not end the stream: the next
    /// block follows at the next byte.
    ///
    /// # Errors
    /// [`InvalidDeflate`].
    fn inflate(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), InvalidDeflate>;

    /// Decompresses the four bytes `00 00 FF FF`, which the sender has removed from the end of the message (RFC 7692 §7.2.2).
    ///
    /// # Errors
    /// [`InvalidDeflate`] if these bytes are not the rest of a block without content, because the message is truncated.
    fn finish(&mut self) -> Result<(), InvalidDeflate>;

    /// Ends a message. `context` says whether the next one may refer to it; otherwise all that was decompressed is forgotten.
    fn end(&mut self, context: bool);
}

/// Compresses the messages that one side of a connection sends: a stream of raw DEFLATE (RFC 1951).
pub trait Deflate {
    /// Returns whether there is memory to compress a message, now and with [`begin`](Self::begin).
    fn is_available(&self) -> bool {
        true
    }

    /// Begins a message. Returns `false` if there is no memory for it, so that it is sent uncompressed.
    fn begin(&mut self) -> bool {
        true
    }

    /// Returns the most bytes that `len` bytes are compressed to, in any number of calls.
    fn bound(&self, len: usize) -> usize;

    /// Compresses `input` into `output`. With `last` the message ends with this input, and the result with a block without content
    /// but for its last four bytes `00 00 FF FF`, which are not written (RFC 7692 §7.2.1). [`Progress::more`] says that `output`
    /// was too small: the next call gets the rest of the input, and more room.
    ///
    /// # Errors
    /// [`ExtensionFailed`].
    fn deflate(&mut self, input: &[u8], output: &mut [u8], last: bool) -> Result<Progress, ExtensionFailed>;

    /// Ends a message. `context` says whether the next one may refer to it; otherwise all that was compressed is forgotten.
    fn end(&mut self, context: bool);
}

/// Peer: compressed data that is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[error("compressed data that is not valid")]
pub struct InvalidDeflate;

/// No compressor: all messages are sent uncompressed.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoDeflate;

impl Deflate for NoDeflate {
    fn is_available(&self) -> bool {
        false
    }

    fn begin(&mut self) -> bool {
        false
    }

    fn bound(&self, len: usize) -> usize {
        len
    }

    fn deflate(&mut self, _: &[u8], _: &mut [u8], _: bool) -> Result<Progress, ExtensionFailed> {
        Err(ExtensionFailed)
    }

    fn end(&mut self, _: bool) {}
}
