//! The interface for extensions (RFC 6455 §9), such as permessage-deflate.

#![forbid(unsafe_code)]

use crate::frame::{OpCode, ReservedBits};
use crate::receive::ReceiveError;

/// An extension, which encodes and decodes the payload of data frames.
///
/// A connection checks the results of its extension. If one is [`ExtensionFailed`] or an impossible [`Progress`], the
/// connection ends with Close 1011 and [`EndReason::Extension`](crate::error::EndReason::Extension), and neither sends
/// nor delivers what the extension left unfinished.
///
/// An extension owns its state. It decodes into the memory of
/// [`ReceiveBuffer::with_output`](crate::ReceiveBuffer::with_output), and encodes into the transmit buffer. It
/// gets the payload of a frame in pieces of any size. A piece of input may result in many pieces of output, or none. It gets
/// no control frame, and may not get a message in one frame without a reserved bit, which is delivered as it was received.
///
/// `Option<X>` is an extension that may not have been agreed upon: `None` does nothing.
///
/// An extension that inverts every bit, and marks the messages by RSV1:
///
/// ```
/// use sansocket::proto::{Decoder, Encoder, Extension, ExtensionFailed, OpCode, Progress, ReceiveError, ReservedBits};
/// use sansocket::{Client, Config, Event, Kind, ReceiveBuffer, Server, TransmitBuffer};
///
/// struct Invert;
///
/// impl Invert {
///     fn copy(input: &[u8], output: &mut [u8]) -> Progress {
///         let n = input.len().min(output.len());
///         output.iter_mut().zip(input).for_each(|(to, from)| *to = !from);
///         Progress { consumed: n, produced: n, more: n < input.len() }
///     }
/// }
///
/// impl Extension for Invert {
///     fn rsv(&self) -> ReservedBits {
///         ReservedBits::RSV1
///     }
///
///     fn receive(&mut self, opcode: OpCode, rsv: ReservedBits) -> Result<bool, ReceiveError> {
///         Ok(opcode == OpCode::Continuation || rsv.contains(ReservedBits::RSV1))
///     }
///
///     fn decode(&mut self, input: &[u8], output: &mut [u8], _last: bool) -> Result<Progress, ReceiveError> {
///         Ok(Self::copy(input, output))
///     }
///
///     fn bound(&self, len: usize) -> Option<usize> {
///         Some(len)
///     }
///
///     fn send(&mut self) -> ReservedBits {
///         ReservedBits::RSV1
///     }
///
///     fn encode(&mut self, input: &[u8], output: &mut [u8], _last: bool) -> Result<Progress, ExtensionFailed> {
///         Ok(Self::copy(input, output))
///     }
/// }
///
/// # #[cfg(feature = "extension")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut memory = [0; 140];
/// let mut tx = TransmitBuffer::new(&mut memory)?;
/// Encoder::new(Server).send_with(&mut Invert, &mut tx, Kind::Text, b"Hello")?;
/// assert_eq!(tx.pending(), [0xC1, 0x05, !b'H', !b'e', !b'l', !b'l', !b'o']);
///
/// let (mut memory, mut decoded) = ([0; 140], [0; 64]);
/// let mut rx = ReceiveBuffer::new(&mut memory)?.with_output(&mut decoded);
/// rx.feed(tx.pending());
/// let mut decoder = Decoder::<Client<fn() -> [u8; 4]>>::new(&Config::DEFAULT);
/// let event = decoder.receive_with(&mut Invert, &mut rx)?;
/// assert!(matches!(event, Some(Event::Data(chunk)) if chunk.payload.to_str() == Some("Hello")));
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "extension"))]
/// # fn main() {}
/// ```
pub trait Extension {
    /// Whether the extension does anything. If `false`, the code that calls it is not compiled.
    const ACTIVE: bool = true;

    /// Returns whether the extension does anything on this connection. If `false`, nothing is sent through it.
    fn is_active(&self) -> bool {
        Self::ACTIVE
    }

    /// Returns the reserved bits that this extension claims on data frames.
    fn rsv(&self) -> ReservedBits;

    /// Processes the header of a data frame, and returns whether its payload is to be decoded.
    ///
    /// # Errors
    /// [`Violation::ReservedBits`](crate::error::Violation::ReservedBits) if a bit is not allowed on this frame, such
    /// as RSV1 on a continuation frame; [`ExtensionFailed`].
    fn receive(&mut self, opcode: OpCode, rsv: ReservedBits) -> Result<bool, ReceiveError>;

    /// Decodes `input` into `output`. `last` says that the message ends with this input.
    ///
    /// # Errors
    /// [`Violation::Extension`](crate::error::Violation::Extension) if the input cannot be decoded; [`ExtensionFailed`].
    fn decode(&mut self, input: &[u8], output: &mut [u8], last: bool) -> Result<Progress, ReceiveError>;

    /// Returns the most bytes that a message of `len` bytes encodes to. `None` sends the message unencoded. `len` is
    /// [`usize::MAX`] for a message whose length is not known when it begins.
    fn bound(&self, len: usize) -> Option<usize>;

    /// Begins a message that is to be encoded, and for which there is room. Returns `false` to send it unencoded. It may be called
    /// several times before the first [`encode`](Self::encode) of a message.
    fn begin(&mut self) -> bool {
        true
    }

    /// Returns the reserved bits of the first frame of an encoded message, among those that it [claims](Self::rsv).
    fn send(&mut self) -> ReservedBits;

    /// Encodes `input` into `output`. `last` says that the message ends with this input.
    ///
    /// # Errors
    /// [`ExtensionFailed`].
    fn encode(&mut self, input: &[u8], output: &mut [u8], last: bool) -> Result<Progress, ExtensionFailed>;
}

/// How much a call encoded or decoded. All of the input is consumed unless [`more`](Self::more) is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes of input that were processed.
    pub consumed: usize,
    /// Bytes of output that were written.
    pub produced: usize,
    /// Whether the output was too small. Then at least one byte was written, and the next call gets more room and the
    /// rest of the input, which may be empty.
    pub more: bool,
}

#[cfg(feature = "extension")]
impl Progress {
    /// Returns whether the result is possible for `input` bytes and room for `output` bytes.
    pub(crate) const fn is_possible(self, input: usize, output: usize) -> bool {
        let stuck = if self.more { self.produced == 0 } else { self.consumed < input };
        !stuck && self.consumed <= input && self.produced <= output
    }
}

/// No extension: payloads are sent and delivered unchanged.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoExtension;

impl Extension for NoExtension {
    const ACTIVE: bool = false;

    fn rsv(&self) -> ReservedBits {
        ReservedBits::NONE
    }

    fn receive(&mut self, _: OpCode, _: ReservedBits) -> Result<bool, ReceiveError> {
        Ok(false)
    }

    fn decode(&mut self, _: &[u8], _: &mut [u8], _: bool) -> Result<Progress, ReceiveError> {
        Ok(Progress::default())
    }

    fn bound(&self, _: usize) -> Option<usize> {
        None
    }

    fn send(&mut self) -> ReservedBits {
        ReservedBits::NONE
    }

    fn encode(&mut self, _: &[u8], _: &mut [u8], _: bool) -> Result<Progress, ExtensionFailed> {
        Ok(Progress::default())
    }
}

impl<X: Extension> Extension for Option<X> {
    const ACTIVE: bool = X::ACTIVE;

    fn is_active(&self) -> bool {
        self.as_ref().is_some_and(X::is_active)
    }

    fn rsv(&self) -> ReservedBits {
        self.as_ref().map_or(ReservedBits::NONE, X::rsv)
    }

    fn receive(&mut self, opcode: OpCode, rsv: ReservedBits) -> Result<bool, ReceiveError> {
        self.as_mut().map_or(Ok(false), |extension| extension.receive(opcode, rsv))
    }

    fn decode(&mut self, input: &[u8], output: &mut [u8], last: bool) -> Result<Progress, ReceiveError> {
        match self {
            Some(extension) => extension.decode(input, output, last),
            None => Err(ExtensionFailed.into()),
        }
    }

    fn bound(&self, len: usize) -> Option<usize> {
        self.as_ref()?.bound(len)
    }

    fn begin(&mut self) -> bool {
        self.as_mut().is_some_and(X::begin)
    }

    fn send(&mut self) -> ReservedBits {
        self.as_mut().map_or(ReservedBits::NONE, X::send)
    }

    fn encode(&mut self, input: &[u8], output: &mut [u8], last: bool) -> Result<Progress, ExtensionFailed> {
        match self {
            Some(extension) => extension.encode(input, output, last),
            None => Err(ExtensionFailed),
        }
    }
}

/// Extension: it failed internally, for example for lack of memory, or violated the contract of
/// [`Extension`](crate::proto::Extension). The peer is not to blame: the connection closes with 1011.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[error("the extension failed")]
pub struct ExtensionFailed;
