//! How a connection ended.

#![forbid(unsafe_code)]

use crate::close::CloseCode;
use crate::error::EndReason;

/// Why a connection ended. Each connection has exactly one cause.
///
/// [`Connection::close_reason`](crate::Connection::close_reason) returns the reason text of the peer's Close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// What ended the connection.
    pub reason: EndReason,
    /// The status code of the peer's Close; `None` if no Close with a code was received.
    pub received: Option<CloseCode>,
    /// The status code of our Close; `None` if no Close with a code was sent.
    pub sent: Option<CloseCode>,
}

impl Ending {
    /// Returns whether the closing handshake was completed.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.reason == EndReason::Clean
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
