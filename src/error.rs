//! Why a connection ended, which rule the peer broke, and the errors of buffers and messages.
//!
//! [`SendError`](crate::SendError) says why nothing was sent.

#![forbid(unsafe_code)]

#[cfg(feature = "std")]
pub use crate::host::error::{ConnectError, ConnectPhase};
#[cfg(feature = "std")]
pub use crate::host::redirect::RedirectError;
pub use crate::utf8::InvalidUtf8;

use crate::close::CloseCode;

/// A rule that the peer broke. The connection sends a Close with [`Violation::close_code`], and ends.
///
/// ```
/// use sansocket::error::{EndReason, Violation};
/// use sansocket::{CloseCode, Config, Connection, Instant, ReceiveBuffer, Server, TransmitBuffer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut input, mut output) = ([0; 512], [0; 512]);
/// let (mut rx, mut tx) = (ReceiveBuffer::new(&mut input)?, TransmitBuffer::new(&mut output)?);
/// let now = Instant::START;
/// let mut connection = Connection::new(Server, &Config::DEFAULT, now);
///
/// rx.feed(b"\x81\x05Hello"); // a client has to mask its frames
/// let _ = connection.poll(now, &mut rx, &mut tx);
/// assert_eq!(tx.pending(), b"\x88\x02\x03\xea"); // Close 1002
/// connection.transport_failed();
/// let _ = connection.poll(now, &mut rx, &mut tx);
///
/// let reason = connection.ending().ok_or("not ended")?.reason;
/// assert_eq!(reason, EndReason::Violation(Violation::NotMasked));
/// assert_eq!(reason.to_string(), "the peer broke a rule: a frame from the client is not masked");
/// assert_eq!(Violation::NotMasked.close_code(), CloseCode::PROTOCOL_ERROR);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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
    /// A frame exceeds [`Limits::frame`](crate::config::Limits::frame).
    #[error("a frame beyond the limit")]
    FrameTooBig,
    /// A message exceeds [`Limits::message`](crate::config::Limits::message).
    #[error("a message beyond the limit")]
    MessageTooBig,
    /// A message has more frames than [`Limits::fragments`](crate::config::Limits::fragments).
    #[error("a message in more fragments than the limit")]
    TooManyFragments,
    /// The peer sent more Pings within a second than [`Limits::pings_per_second`](crate::config::Limits::pings_per_second).
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

/// What ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum EndReason {
    /// Both sides sent a Close: "the WebSocket connection is said to have been closed _cleanly_" (§7.1.4).
    #[error("closed cleanly")]
    Clean,
    /// The peer broke a rule.
    #[error("the peer broke a rule: {0}")]
    Violation(Violation),
    /// A deadline passed.
    #[error("a deadline passed: {0}")]
    Timeout(Timeout),
    /// The extension failed, or the receive buffer has no memory for its output
    /// ([`ReceiveBuffer::with_output`](crate::ReceiveBuffer::with_output)).
    #[error("the extension failed")]
    Extension,
    /// The application closed the connection inside a frame that it had begun, so that no Close could be sent.
    #[error("a frame was left unfinished")]
    UnfinishedFrame,
    /// The transport ended or failed before the closing handshake was complete.
    #[error("disconnected without a Close")]
    Disconnected,
}

/// Which deadline passed; see [`Timeouts`](crate::config::Timeouts).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Timeout {
    /// Nothing was received.
    #[error("nothing was received")]
    Idle,
    /// An unfinished message or frame did not grow by 1 KiB.
    #[error("a message stalled")]
    Message,
    /// Nothing was received after a Ping.
    #[error("a Ping was not answered")]
    Pong,
    /// The peer did not answer a Close.
    #[error("a Close was not answered")]
    Close,
    /// The transport took none of the pending bytes.
    #[error("the peer reads nothing")]
    Write,
}

/// An error: the message is larger than the memory for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[error("the message is larger than the memory for it")]
pub struct MessageTooBig;

/// An error: the memory for a buffer is smaller than [`MIN_BUFFER_LEN`](crate::proto::MIN_BUFFER_LEN), 140 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[error("a buffer needs at least 140 bytes")]
pub struct BufferTooSmall;
