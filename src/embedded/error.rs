//! The error of a connection over a transport.

#![forbid(unsafe_code)]

use crate::ending::Ending;
use crate::handshake::{HandshakeError, HeadError, Refusal};
use crate::send::SendError;

/// Why an operation on a connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error<E> {
    /// The transport failed, and the connection has ended with it.
    #[error("the transport failed")]
    Transport(#[source] E),
    /// The connection has ended.
    #[error("the connection is closed: {}", .0.reason)]
    Closed(Ending),
    /// The caller tried to send an invalid frame, or a frame in the wrong state.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The caller's request is invalid.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The opening handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The server answered the request with something other than an upgrade.
    #[error("refused with {0}")]
    Refused(Refusal),
    /// The message is larger than the memory for it.
    #[error("the message is larger than the memory for it")]
    MessageTooLarge,
}
