//! Why a frame was not received.

#![forbid(unsafe_code)]

use crate::close::CloseCode;
use crate::error::Violation;
use crate::extension::ExtensionFailed;

/// Why receiving failed; it cannot be resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ReceiveError {
    /// Peer: it violated the protocol or a limit.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// Extension: it failed, without fault of the peer.
    #[error(transparent)]
    Extension(#[from] ExtensionFailed),
}

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
