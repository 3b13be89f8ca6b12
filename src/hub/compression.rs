//! Compressed messages in a hub: which frame of a queued message a session sends.

#![forbid(unsafe_code)]

#[cfg(feature = "deflate")]
pub(super) use crate::deflate::Negotiation;
#[cfg(not(feature = "deflate"))]
pub(super) use crate::extension::NoExtension as Negotiation;

use super::pool::Pool;
use crate::extension::Extension;
use crate::handshake::Negotiate;
use crate::message::Prepared;

/// The extension of a session, if both sides agreed on one.
pub(super) type Agreed = <Negotiation as Negotiate>::Extension;

/// No extension was agreed on.
#[cfg(feature = "deflate")]
pub(super) const NONE: Agreed = None;
#[cfg(not(feature = "deflate"))]
pub(super) const NONE: Agreed = crate::extension::NoExtension;

/// How a message goes to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// In its own frame.
    Plain,
    /// In the compressed frame that sessions share.
    Shared,
    /// As the session's extension encodes it.
    Own,
}

impl Form {
    /// Selects the form of `message` for a session with this extension, and a transmit buffer for `room` bytes.
    pub(super) fn of(message: &Prepared, extension: &Agreed, pool: &Pool, room: usize) -> Self {
        // RFC 7692 §6.1: "An endpoint MUST NOT set the RSV1 bit of control frames".
        if message.kind().is_none() || !extension.is_active() {
            return Self::Plain;
        }
        #[cfg(feature = "deflate")]
        if let (Some(shared), Some(extension)) = (&pool.deflate, extension) {
            let bits = shared.window_bits();
            let allowed = extension.takes_shared(bits, message.payload().len());
            if allowed && message.compressed(shared).is_some() {
                return Self::Shared;
            }
        }
        #[cfg(not(feature = "deflate"))]
        let _ = pool;
        // An extension writes to the transmit buffer only. What does not fit there goes uncompressed, which needs no memory.
        let fits = |bound: usize| bound.saturating_add(crate::frame::MAX_HEADER_LEN) <= room;
        if extension.bound(message.payload().len()).is_some_and(fits) { Self::Own } else { Self::Plain }
    }
}

/// Records that a frame that sessions share goes before the next message of the extension.
pub(super) fn skip_shared(extension: &mut Agreed) {
    #[cfg(feature = "deflate")]
    if let Some(extension) = extension {
        extension.skip_shared();
    }
    #[cfg(not(feature = "deflate"))]
    let _ = extension;
}
