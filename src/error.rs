//! Errors, grouped by blame: the peer ([`Violation`]), or the caller and capacity ([`SendError`]).

#![forbid(unsafe_code)]

use crate::close::CloseCode;

/// A rule that the peer broke. The connection fails with [`Violation::close_code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// §5.2: a reserved bit is set that no extension claims.
    #[error("reserved bits {0:#05b} are set without an extension that claims them")]
    ReservedBits(u8),
    /// §5.2: the opcode is reserved (3-7 and 0xB-0xF).
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
    /// §5.5.1: the body of a Close frame is one byte long.
    #[error("a Close frame with a body of one byte")]
    CloseBody,
    /// §7.4: a Close frame carries a status code that must not be sent.
    #[error("status code {0} must not be sent")]
    CloseCode(u16),
    /// §8.1: text, or the reason of a Close frame, is not UTF-8.
    #[error("text that is not UTF-8")]
    InvalidUtf8,
    /// A frame exceeds [`Limits::frame`](crate::Limits::frame).
    #[error("a frame beyond the limit")]
    FrameTooBig,
    /// A message exceeds [`Limits::message`](crate::Limits::message).
    #[error("a message beyond the limit")]
    MessageTooBig,
    /// A message has more frames than [`Limits::fragments`](crate::Limits::fragments).
    #[error("a message in more fragments than the limit")]
    TooManyFragments,
    /// The peer sent more Pings within a second than [`Limits::pings`](crate::Limits::pings).
    #[error("more Pings than the limit")]
    TooManyPings,
    /// The extension cannot decode the payload.
    #[error("a payload that the extension cannot decode")]
    Extension,
}

impl Violation {
    /// Returns the status code of the Close that the connection sends to the peer (RFC 6455 §7.4.1).
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

/// Why receiving failed; it cannot be resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// Peer: it violated the protocol or a limit.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// Extension: it failed, without fault of the peer.
    #[error(transparent)]
    Extension(#[from] ExtensionFailed),
}

/// Extension: it failed internally, for example for lack of memory, or violated the contract of
/// [`Extension`](crate::Extension). The peer is not to blame: the connection closes with 1011.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the extension failed")]
pub struct ExtensionFailed;

impl ReceiveError {
    /// Returns the status code of the Close that the connection sends to the peer (RFC 6455 §7.4.1).
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::Violation(violation) => violation.close_code(),
            Self::Extension(ExtensionFailed) => CloseCode::INTERNAL_ERROR,
        }
    }
}

/// Why a call sent nothing. Unless a variant says otherwise, the call changed nothing and can be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// Capacity, temporary: write [`TransmitBuffer::pending`](crate::TransmitBuffer::pending) to the transport, then call
    /// again.
    #[error("the transmit buffer is full: write it to the transport, then send again")]
    Blocked,
    /// Capacity, permanent: the frame is larger than the whole transmit buffer. `begin` and `stream` send payloads of any
    /// size.
    #[error("the frame is larger than the whole transmit buffer")]
    TooLarge,
    /// Caller: the open frame still lacks payload, and no other frame can be sent inside it.
    #[error("the open frame still lacks payload")]
    FrameOpen,
    /// Caller: a fragmented message is open, to which the frame does not belong.
    #[error("another message is not finished")]
    MessageOpen,
    /// Caller: the payload is longer than what the open frame lacks, or the length is 2^63 bytes or more.
    #[error("more payload than the frame can take")]
    Overrun,
    /// Caller: the payload of a control frame is longer than 125 bytes, or a reason longer than 123.
    #[error("a control frame carries at most 125 bytes, a reason 123")]
    ControlTooLong,
    /// Caller: a Close frame cannot carry a reason without a status code.
    #[error("a reason needs a status code")]
    ReasonWithoutCode,
    /// Extension: it failed, and the message cannot be sent or finished. A [`Connection`](crate::Connection) then closes with
    /// 1011; a caller of [`Sender`](crate::Sender) should send that Close itself.
    #[error(transparent)]
    Extension(#[from] ExtensionFailed),
    /// State: a Close was sent, or the connection has ended. No frame can follow.
    #[error("the connection is closing: no frame may follow")]
    Closed,
}

impl SendError {
    /// Returns the reason of the Close with 1011 that a [`Handler`](crate::Handler) causes when it returns this error.
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

/// Caller: the memory for a buffer is smaller than [`MIN_BUFFER`](crate::MIN_BUFFER).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a buffer needs at least 140 bytes")]
pub struct BufferTooSmall;
