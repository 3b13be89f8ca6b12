//! How a connection ended.

#![forbid(unsafe_code)]

use crate::close::CloseCode;
use crate::error::Violation;

/// Why a connection is over: exactly one for each connection.
///
/// The reason that the peer gave is [`Connection::reason`](crate::Connection::reason).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What ended it.
    pub end: End,
    /// The status code of the peer's Close, where one was received and bore a code.
    pub received: Option<CloseCode>,
    /// The status code of our Close, where one was sent and bore a code.
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
    /// The extension failed, or there is no memory for what it decodes
    /// ([`ReceiveBuffer::with_output`](crate::ReceiveBuffer::with_output)).
    #[error("the extension failed")]
    Extension,
    /// The application failed inside a frame that it had begun, so that no Close could be sent.
    #[error("a frame was begun and not finished")]
    Abandoned,
    /// The transport ended or failed without a Close of the peer.
    #[error("the peer vanished without a Close")]
    Vanished,
}

/// Which deadline passed; see [`Timeouts`](crate::Timeouts).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Timeout {
    /// Nothing was received.
    #[error("nothing was received")]
    Idle,
    /// A message or a frame had begun, and did not get on.
    #[error("a message does not get on")]
    Message,
    /// A Ping was not answered.
    #[error("a Ping was not answered")]
    Pong,
    /// Our Close was not answered.
    #[error("a Close was not answered")]
    Close,
    /// The peer took nothing of what was to be written.
    #[error("the peer reads nothing")]
    Write,
}

impl Cause {
    /// Whether the closing handshake was completed.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.end == End::Clean
    }

    /// _The WebSocket Connection Close Code_ (§7.1.5), as browsers report it: the code that was received,
    /// 1005 for a Close without one, 1006 where there was no Close.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self.received {
            Some(code) => code.get(),
            None if self.is_clean() => 1005,
            None => 1006,
        }
    }
}
