//! The seam for extensions (RFC 6455 §9), such as permessage-deflate.

#![forbid(unsafe_code)]

use crate::error::{ExtensionFailed, ReceiveError};
use crate::frame::{OpCode, Rsv};

/// An extension: it changes the payload of data frames on their way.
///
/// A connection trusts no extension. One that returns an error of its own, or a [`Progress`] that cannot be, ends the
/// connection with Close 1011 and [`End::Extension`](crate::End::Extension): nothing that it has left unfinished is sent
/// or delivered.
///
/// An extension owns what state it needs; the memory it decodes into is lent by
/// [`ReceiveBuffer::with_output`](crate::ReceiveBuffer::with_output), the memory it encodes into is the
/// transmit buffer. It sees every data frame, never a control frame, and the bytes of a frame in pieces of
/// any size. One piece of input may give many pieces of output, or none.
pub trait Extension {
    /// Whether there is anything to do at all; the code for it is left out where there is not.
    const ACTIVE: bool = true;

    /// The reserved bits that this extension claims on data frames.
    fn rsv(&self) -> Rsv;

    /// The header of a data frame has arrived: whether its payload is to be decoded.
    ///
    /// # Errors
    /// [`Violation::ReservedBits`](crate::Violation::ReservedBits) where they may not stand, as RSV1 on a continuation
    /// frame; [`ExtensionFailed`].
    fn receive(&mut self, opcode: OpCode, rsv: Rsv) -> Result<bool, ReceiveError>;

    /// Decodes `input` into `output`. `last` says that the message ends with this input.
    ///
    /// # Errors
    /// [`Violation::Extension`](crate::Violation::Extension) where the input cannot be decoded; [`ExtensionFailed`].
    fn decode(&mut self, input: &[u8], output: &mut [u8], last: bool) -> Result<Progress, ReceiveError>;

    /// The most bytes that `len` bytes, sent as one message, encode to. `None` sends the message as it is.
    fn bound(&self, len: usize) -> Option<usize>;

    /// The reserved bits of the first frame of an encoded message, out of those that it [claims](Self::rsv).
    fn send(&mut self) -> Rsv;

    /// Encodes `input` into `output`. `last` says that the message ends with this input.
    ///
    /// # Errors
    /// [`ExtensionFailed`].
    fn encode(&mut self, input: &[u8], output: &mut [u8], last: bool) -> Result<Progress, ExtensionFailed>;
}

/// How far a piece of work got. All of the input is consumed unless [`more`](Self::more) is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes of input that need not be shown again.
    pub consumed: usize,
    /// Bytes of output that were written.
    pub produced: usize,
    /// The output was too small: something was written to it, and the next call brings room and the rest of the input, be
    /// it empty.
    pub more: bool,
}

impl Progress {
    /// Whether work on `input` bytes, with room for `output` bytes, can have got so far.
    pub(crate) const fn is_possible(self, input: usize, output: usize) -> bool {
        let stuck = if self.more { self.produced == 0 } else { self.consumed < input };
        !stuck && self.consumed <= input && self.produced <= output
    }
}

/// No extension: the payload is sent and delivered as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoExtension;

impl Extension for NoExtension {
    const ACTIVE: bool = false;

    fn rsv(&self) -> Rsv {
        Rsv::NONE
    }

    fn receive(&mut self, _: OpCode, _: Rsv) -> Result<bool, ReceiveError> {
        Ok(false)
    }

    fn decode(&mut self, _: &[u8], _: &mut [u8], _: bool) -> Result<Progress, ReceiveError> {
        Ok(Progress::default())
    }

    fn bound(&self, _: usize) -> Option<usize> {
        None
    }

    fn send(&mut self) -> Rsv {
        Rsv::NONE
    }

    fn encode(&mut self, _: &[u8], _: &mut [u8], _: bool) -> Result<Progress, ExtensionFailed> {
        Ok(Progress::default())
    }
}
