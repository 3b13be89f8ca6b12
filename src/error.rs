//! Errors, named by blame: the peer's ([`Violation`]), the caller's and lack of room ([`SendError`]).

#![forbid(unsafe_code)]

use crate::close::CloseCode;

/// A rule that the peer broke. The connection fails with [`Violation::close_code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// §5.2: a reserved bit that no extension has claimed.
    #[error("reserved bits {0:#05b} are set without an extension that claims them")]
    ReservedBits(u8),
    /// §5.2: opcodes 3-7 and 0xB-0xF are reserved.
    #[error("opcode {0:#x} is reserved")]
    ReservedOpcode(u8),
    /// §5.5: "All control frames [...] MUST NOT be fragmented."
    #[error("a control frame is fragmented")]
    FragmentedControl,
    /// §5.5: "All control frames MUST have a payload length of 125 bytes or less".
    #[error("a control frame is longer than 125 bytes")]
    LongControl,
    /// §5.1: "The server MUST close the connection upon receiving a frame that is not masked."
    #[error("a frame from the client is not masked")]
    NotMasked,
    /// §5.1: "A client MUST close a connection if it detects a masked frame."
    #[error("a frame from the server is masked")]
    Masked,
    /// §5.2: "the minimal number of bytes MUST be used to encode the length".
    #[error("a length takes more bytes than it needs")]
    LongLengthForm,
    /// §5.2: "the most significant bit MUST be 0".
    #[error("a length of 2^63 bytes or more")]
    LengthBit,
    /// §5.4: a continuation frame while no message is open.
    #[error("a continuation frame without a message to continue")]
    UnexpectedContinuation,
    /// §5.4: a new message inside an unfinished one.
    #[error("a new message begins inside an unfinished one")]
    UnfinishedMessage,
    /// §5.5.1: a Close frame with a body of one byte.
    #[error("a Close frame with a body of one byte")]
    CloseBody,
    /// §7.4: a status code that must not be sent.
    #[error("status code {0} must not be sent")]
    CloseCode(u16),
    /// §8.1: text, or the reason of a Close frame, that is not UTF-8.
    #[error("text that is not UTF-8")]
    InvalidUtf8,
    /// A frame beyond [`Limits::frame`](crate::Limits::frame).
    #[error("a frame beyond the limit")]
    FrameTooBig,
    /// A message beyond [`Limits::message`](crate::Limits::message).
    #[error("a message beyond the limit")]
    MessageTooBig,
    /// A message of more frames than [`Limits::fragments`](crate::Limits::fragments).
    #[error("a message in more fragments than the limit")]
    TooManyFragments,
    /// More Pings within a second than [`Limits::pings`](crate::Limits::pings).
    #[error("more Pings than the limit")]
    TooManyPings,
    /// An extension cannot decode the payload.
    #[error("a payload that the extension cannot decode")]
    Extension,
}

impl Violation {
    /// The status code that the peer is sent (RFC 6455 §7.4.1).
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::InvalidUtf8 | Self::Extension => CloseCode::INVALID_PAYLOAD,
            Self::FrameTooBig | Self::MessageTooBig => CloseCode::MESSAGE_TOO_BIG,
            Self::TooManyFragments | Self::TooManyPings => CloseCode::POLICY_VIOLATION,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}

/// Why nothing more is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// Peer: it broke a rule.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// Extension: it failed.
    #[error(transparent)]
    Extension(#[from] ExtensionFailed),
}

/// Extension: it failed by itself, for want of memory for example, or it did not keep to the contract of
/// [`Extension`](crate::Extension). The peer is not to blame: the connection is closed with 1011.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the extension failed")]
pub struct ExtensionFailed;

impl ReceiveError {
    /// The status code that the peer is sent (RFC 6455 §7.4.1).
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::Violation(violation) => violation.close_code(),
            Self::Extension(ExtensionFailed) => CloseCode::INTERNAL_ERROR,
        }
    }
}

/// Why nothing was sent. Unless it says otherwise, nothing has changed and the call may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// Capacity, for the moment: write [`TransmitBuffer::pending`](crate::TransmitBuffer::pending) to the
    /// transport, then call again.
    #[error("the transmit buffer is full: write it to the transport, then send again")]
    Blocked,
    /// Capacity, for good: the frame is larger than the whole transmit buffer. `begin` and `stream` send
    /// payloads of any size.
    #[error("the frame is larger than the whole transmit buffer")]
    TooLarge,
    /// Caller: a frame that was begun still lacks payload, and nothing else may come between.
    #[error("a frame that was begun still lacks payload")]
    FrameOpen,
    /// Caller: a fragmented message of another kind is not finished.
    #[error("another message is not finished")]
    MessageOpen,
    /// Caller: more payload than the frame was begun with.
    #[error("more payload than the frame was begun with")]
    Overrun,
    /// Caller: a control frame carries 125 bytes at most, a reason 123.
    #[error("a control frame carries 125 bytes, a reason 123")]
    ControlTooLong,
    /// Caller: the reason of a Close without a status code has no place in the frame.
    #[error("a reason needs a status code")]
    ReasonWithoutCode,
    /// Extension: it failed, and the message cannot be sent or finished. A [`Connection`](crate::Connection) closes with
    /// 1011; beside a [`Sender`](crate::Sender) do the same.
    #[error(transparent)]
    Extension(#[from] ExtensionFailed),
    /// State: a Close was sent or the connection has ended; no frame may follow.
    #[error("the connection is closing: no frame may follow")]
    Closed,
}

impl SendError {
    /// The error in a Close's reason, where an application that misuses the sender closes with 1011.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Blocked | Self::Closed | Self::Extension(_) => "",
            Self::TooLarge => "frame too large to send",
            Self::FrameOpen => "frame not finished",
            Self::MessageOpen => "message not finished",
            Self::Overrun => "frame overrun",
            Self::ControlTooLong => "control frame too long",
            Self::ReasonWithoutCode => "reason without a code",
        }
    }
}

/// Caller: the memory is smaller than [`MIN_BUFFER`](crate::MIN_BUFFER).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a buffer needs at least 140 bytes")]
pub struct BufferTooSmall;
