//! The seam for extensions (RFC 6455 §9), such as permessage-deflate.

#![forbid(unsafe_code)]

use crate::error::Violation;
use crate::frame::{OpCode, Rsv};

/// Changes the payload of data frames on their way.
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
    /// Reserved bits where they may not stand, as RSV1 on a continuation frame.
    fn receive(&mut self, opcode: OpCode, rsv: Rsv) -> Result<bool, Violation>;

    /// Decodes `input` into `output`. `last` says that the message ends with this input. All input must be
    /// consumed unless [`Progress::more`] is set, and that only for want of room in `output`.
    ///
    /// # Errors
    /// [`Violation::Extension`] where the input cannot be decoded.
    fn decode(&mut self, input: &[u8], output: &mut [u8], last: bool) -> Result<Progress, Violation>;

    /// The most bytes that `len` bytes, sent as one message, encode to; `None` where the message is to be
    /// sent as it is.
    fn bound(&self, len: usize) -> Option<usize>;

    /// The reserved bits of the first frame of an encoded message.
    fn send(&mut self) -> Rsv;

    /// Encodes `input` into `output`. `last` says that the message ends with this input.
    /// [`Progress::more`] says that not everything found room.
    fn encode(&mut self, input: &[u8], output: &mut [u8], last: bool) -> Progress;
}

/// How far a piece of work got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes of input that need not be shown again.
    pub consumed: usize,
    /// Bytes of output that were written.
    pub produced: usize,
    /// The output was too small: call again with more room and the rest of the input, be it empty.
    pub more: bool,
}

/// No extension: the payload is sent and delivered as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoExtension;

impl Extension for NoExtension {
    const ACTIVE: bool = false;

    fn rsv(&self) -> Rsv {
        Rsv::NONE
    }

    fn receive(&mut self, _: OpCode, _: Rsv) -> Result<bool, Violation> {
        Ok(false)
    }

    fn decode(&mut self, _: &[u8], _: &mut [u8], _: bool) -> Result<Progress, Violation> {
        Ok(Progress::default())
    }

    fn bound(&self, _: usize) -> Option<usize> {
        None
    }

    fn send(&mut self) -> Rsv {
        Rsv::NONE
    }

    fn encode(&mut self, _: &[u8], _: &mut [u8], _: bool) -> Progress {
        Progress::default()
    }
}
