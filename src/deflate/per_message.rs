//! The extension: which messages are compressed, and where a compressed message ends (RFC 7692 §6, §7.2).

#![forbid(unsafe_code)]

use super::agreement::Direction;
use super::{Deflate, Inflate, InvalidDeflate};
use crate::error::Violation;
use crate::extension::{Extension, ExtensionFailed, Progress};
use crate::frame::{OpCode, ReservedBits};
use crate::receive::ReceiveError;

/// permessage-deflate on one connection, over a codec for each direction.
#[derive(Debug)]
pub struct PerMessage<I, D> {
    inflate: I,
    deflate: D,
    /// Shorter messages are sent uncompressed.
    min_len: usize,
    /// Whether messages may refer to earlier ones.
    receive_context: bool,
    send_context: bool,
    #[cfg(all(feature = "deflate", feature = "hub"))]
    send_window_bits: u8,
    /// The message that is being received is compressed.
    receiving: bool,
    /// Some of its payload was read.
    some_received: bool,
    /// A byte of it that was decompressed without room for it.
    spare: Option<u8>,
    /// Some of the message that is being sent was compressed.
    some_sent: bool,
}

/// The shortest message that is compressed without a context, unless the owner sets another length.
const MIN_LEN: usize = 256;

impl<I: Inflate, D: Deflate> PerMessage<I, D> {
    /// Creates the state of a connection whose codecs are those of a new stream. `receive` and `send` are the directions of the
    /// [`Agreement`](super::Agreement) as this side sees them, and `min_len` is
    /// [`DeflateOptions::min_len`](super::DeflateOptions::min_len).
    #[must_use]
    pub fn new(inflate: I, deflate: D, receive: Direction, send: Direction, min_len: Option<usize>) -> Self {
        Self {
            inflate,
            deflate,
            min_len: min_len.unwrap_or(if send.context { 0 } else { MIN_LEN }),
            receive_context: receive.context,
            send_context: send.context,
            #[cfg(all(feature = "deflate", feature = "hub"))]
            send_window_bits: send.window_bits,
            receiving: false,
            some_received: false,
            spare: None,
            some_sent: false,
        }
    }

    /// Returns whether the peer may get a message of `len` bytes that was compressed without its context, with this window.
    #[cfg(all(feature = "deflate", feature = "hub"))]
    pub(crate) fn takes_shared(&self, window_bits: u8, len: usize) -> bool {
        let least = if self.send_context { self.min_len.max(MIN_LEN) } else { self.min_len };
        self.send_window_bits >= window_bits && len >= least
    }

    /// Records that such a message is sent between two messages of this extension. It is in the peer's window, and not in that of the
    /// compressor, which begins anew.
    #[cfg(all(feature = "deflate", feature = "hub"))]
    pub(crate) fn skip_shared(&mut self) {
        if self.send_context {
            self.deflate.end(false);
        }
    }

    /// Decompresses one byte more of what was read, to know whether the output is complete.
    fn look_ahead(&mut self) -> Result<bool, InvalidDeflate> {
        let mut byte = [0];
        let (_, produced) = self.inflate.inflate(&[], &mut byte)?;
        self.spare = byte.get(..produced).and_then(|byte| byte.first()).copied();
        Ok(produced > 0)
    }
}

impl<I: Inflate, D: Deflate> Extension for PerMessage<I, D> {
    fn rsv(&self) -> ReservedBits {
        ReservedBits::RSV1
    }

    fn receive(&mut self, opcode: OpCode, rsv: ReservedBits) -> Result<bool, ReceiveError> {
        let compressed = rsv.contains(ReservedBits::RSV1);
        if opcode == OpCode::Continuation {
            // "An endpoint MUST NOT set the "Per-Message Compressed" bit of control frames and non-first fragments of a data message.
            // An endpoint receiving such a frame MUST _Fail the WebSocket Connection_." (§6.1)
            return if compressed { Err(Violation::ReservedBits(4).into()) } else { Ok(self.receiving) };
        }
        if compressed && !self.inflate.begin() {
            return Err(ExtensionFailed.into());
        }
        self.receiving = compressed;
        self.some_received = false;
        Ok(compressed)
    }

    fn decode(&mut self, input: &[u8], output: &mut [u8], last: bool) -> Result<Progress, ReceiveError> {
        let (mut produced, room) = match (self.spare, output) {
            // Without any memory the connection fails, and the peer is not to blame.
            (None, []) if !input.is_empty() => return Ok(Progress { consumed: 0, produced: 0, more: true }),
            (Some(byte), [slot, room @ ..]) => {
                (*slot, self.spare) = (byte, None);
                (1usize, room)
            }
            (_, output) => (0, output),
        };
        let (consumed, written) = self.inflate.inflate(input, room)?;
        let full = written == room.len();
        produced = produced.saturating_add(written);
        self.some_received |= consumed > 0;
        let rest = consumed < input.len() || self.spare.is_some();
        // Looks ahead only at the end, so that a message that fills the output exactly is delivered at once.
        if rest || full && produced > 0 && (!last || self.look_ahead()?) {
            return Ok(Progress { consumed, produced, more: true });
        }
        if last {
            // A message without any payload is taken for an empty one, although it lacks its block: some peers send it.
            if self.some_received {
                self.inflate.finish()?;
            }
            self.inflate.end(self.receive_context);
            self.receiving = false;
        }
        Ok(Progress { consumed, produced, more: false })
    }

    fn bound(&self, len: usize) -> Option<usize> {
        (len >= self.min_len && self.deflate.is_available()).then(|| self.deflate.bound(len))
    }

    fn begin(&mut self) -> bool {
        self.deflate.begin()
    }

    fn send(&mut self) -> ReservedBits {
        ReservedBits::RSV1
    }

    fn encode(&mut self, input: &[u8], output: &mut [u8], last: bool) -> Result<Progress, ExtensionFailed> {
        self.some_sent |= !input.is_empty();
        let done = if self.some_sent {
            self.deflate.deflate(input, output, last)?
        } else if let (true, Some(slot)) = (last, output.first_mut()) {
            // zlib makes nothing of no input: the header of a block without content, built by hand (§7.2.3.6).
            *slot = 0;
            Progress { consumed: 0, produced: 1, more: false }
        } else {
            Progress { consumed: 0, produced: 0, more: last }
        };
        if last && !done.more {
            // Compressed is sent even if it did not shrink: the peer's window has to be that of the compressor.
            self.deflate.end(self.send_context);
            self.some_sent = false;
        }
        Ok(done)
    }
}

impl From<InvalidDeflate> for ReceiveError {
    fn from(InvalidDeflate: InvalidDeflate) -> Self {
        Violation::Extension.into()
    }
}
