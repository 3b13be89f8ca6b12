//! Why a handler stopped.

#![forbid(unsafe_code)]

use crate::close::CloseCode;
use crate::error::SendError;

/// Why a method of a [`Handler`](crate::Handler) returned before it was done.
///
/// `?` converts a [`SendError`]: [`SendError::Blocked`] waits for room; [`SendError::Closed`] and [`SendError::Extension`]
/// become [`Closing`](Self::Closing), as the connection ends anyway; every other error is a mistake of the application and
/// closes the connection with 1011.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The transmit buffer has no room: the handler is called again when the transport has taken bytes, with the event less
    /// the first `taken` bytes of its payload. If no byte is pending, there will never be room, and the connection closes
    /// with 1011.
    Blocked {
        /// How many bytes of the event's payload the handler has processed.
        taken: usize,
    },
    /// Closes the connection with this code and this reason.
    Close(CloseCode, &'static str),
    /// The connection is closing already, and nothing can be sent. It has no effect.
    Closing,
}

impl Halt {
    /// Converts an error of the outbox that occurred after `taken` bytes of an event's payload were processed.
    #[must_use]
    pub fn after(error: SendError, taken: usize) -> Self {
        match error {
            SendError::Blocked => Self::Blocked { taken },
            error => error.into(),
        }
    }
}

impl From<SendError> for Halt {
    /// Converts an error as [`Halt::after`] with no byte taken.
    fn from(error: SendError) -> Self {
        match error {
            SendError::Blocked => Self::Blocked { taken: 0 },
            SendError::Closed | SendError::Extension(_) => Self::Closing,
            error => Self::Close(CloseCode::INTERNAL_ERROR, error.reason()),
        }
    }
}
