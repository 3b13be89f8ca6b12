//! How a connection ended.

#![forbid(unsafe_code)]

use crate::close::CloseCode;
use crate::error::Violation;

/// Why a connection ended. Each connection has exactly one cause.
///
/// [`Connection::reason`](crate::Connection::reason) returns the reason text of the peer's Close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What ended the connection.
    pub end: End,
    /// The status code of the peer's Close; `None` if no Close with a code was received.
    pub received: Option<CloseCode>,
    /// The status code of our Close; `None` if no Close with a code was sent.
    pub sent: Option<CloseCode>,
}

/// What ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum End {
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
    /// The application closed inside a frame that it had begun, so that no Close could be sent.
    #[error("a frame was left unfinished")]
    Abandoned,
    /// The transport ended or failed before the closing handshake was complete.
    #[error("disconnected without a Close")]
    Vanished,
}

/// Which deadline passed; see [`Timeouts`](crate::Timeouts).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Timeout {
    /// Nothing was received.
    #[error("nothing was received")]
    Idle,
    /// An unfinished message or frame did not grow by 1 KiB.
    #[error("a message stalled")]
    Message,
    /// A Ping was not answered.
    #[error("a Ping was not answered")]
    Pong,
    /// Our Close was not answered.
    #[error("a Close was not answered")]
    Close,
    /// The transport took none of the pending bytes.
    #[error("the peer reads nothing")]
    Write,
}

impl Cause {
    /// Returns whether the closing handshake was completed.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.end == End::Clean
    }

    /// Returns _The WebSocket Connection Close Code_ (§7.1.5), as browsers report it: the received code, 1005 after a closing
    /// handshake whose received Close had no code, and 1006 otherwise.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self.received {
            Some(code) => code.get(),
            None if self.is_clean() => 1005,
            None => 1006,
        }
    }
}
