//! The error of a connection over a transport.

#![forbid(unsafe_code)]

use crate::ending::Ending;
use crate::error::EndReason;
use crate::handshake::{HandshakeError, HeadError, Refusal};
use crate::send::SendError;

/// Why an operation on a connection over a [`Transport`](super::Transport) failed. The root of the crate has the same error for
/// hosts, with the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error<E> {
    /// Network: the transport failed, and the connection has ended with it.
    #[error("the transport failed")]
    Transport(#[source] E),
    /// The connection has ended, and not cleanly: the peer broke a rule, a deadline passed, or the peer disconnected.
    #[error("the connection has ended: {}", .0.reason)]
    Ended(Ending),
    /// Caller: this cannot be sent, or not now.
    #[error(transparent)]
    Send(#[from] SendError),
    /// Caller: the request cannot be sent.
    #[error(transparent)]
    Request(#[from] HeadError),
    /// Peer: the opening handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// Server: it answered the request with this status instead of 101.
    #[error("the server refused the connection with status {0}")]
    Refused(u16),
    /// Client: its request was refused, for this reason.
    #[error("refused with {0}")]
    Rejected(Refusal),
    /// Capacity: the message is larger than the memory for it.
    #[error("the message is larger than the memory for it")]
    MessageTooBig,
}

impl<E> Error<E> {
    /// Returns whether the transport failed, or ended before the connection did.
    #[must_use]
    pub fn is_disconnect(&self) -> bool {
        match self {
            Self::Transport(_) | Self::Handshake(HandshakeError::Disconnected) => true,
            Self::Ended(ending) => ending.reason == EndReason::Disconnected,
            _ => false,
        }
    }

    /// Returns whether a deadline passed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::Handshake(error) => *error == HandshakeError::Timeout,
            Self::Ended(ending) => matches!(ending.reason, EndReason::Timeout(_)),
            _ => false,
        }
    }

    /// Returns how the connection ended, for [`Error::Ended`].
    #[must_use]
    pub const fn ending(&self) -> Option<Ending> {
        match self {
            Self::Ended(ending) => Some(*ending),
            _ => None,
        }
    }
}
