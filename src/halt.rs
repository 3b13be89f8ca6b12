//! Why a handler stopped.

#![forbid(unsafe_code)]

use crate::close::CloseCode;
use crate::error::SendError;

/// Why a [`Handler`](crate::Handler) stopped before it had done all that it was called for.
///
/// `?` turns a [`SendError`] into one: [`SendError::Blocked`] waits for room, [`SendError::Closed`] and
/// [`SendError::Extension`], which end the connection by themselves, are ignored, and every other error, which is a mistake
/// of the application, closes the connection with 1011.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// There is no room to send: the handler is called again when the transport has taken something. The first `taken`
    /// bytes of an event's payload are not shown again. If nothing waits to be written, no room will ever come, and the
    /// connection is closed with 1011.
    Blocked {
        /// Bytes that are not to be shown again.
        taken: usize,
    },
    /// The connection is to be closed with this code and this reason.
    Close(CloseCode, &'static str),
    /// The connection is closing already, and nothing can be sent. Nothing is done about it.
    Closing,
}

impl Halt {
    /// What an error of the outbox means when `taken` bytes of an event's payload have been processed before it.
    #[must_use]
    pub fn after(error: SendError, taken: usize) -> Self {
        match error {
            SendError::Blocked => Self::Blocked { taken },
            error => error.into(),
        }
    }
}

impl From<SendError> for Halt {
    /// As [`Halt::after`] with no byte taken.
    fn from(error: SendError) -> Self {
        match error {
            SendError::Blocked => Self::Blocked { taken: 0 },
            SendError::Closed | SendError::Extension(_) => Self::Closing,
            error => Self::Close(CloseCode::INTERNAL_ERROR, error.reason()),
        }
    }
}
