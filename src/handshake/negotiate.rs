//! The negotiation of an extension in the opening handshake.

#![forbid(unsafe_code)]

use super::client::HandshakeError;
use super::extensions::{ExtensionList, ExtensionText};
use crate::extension::{Extension, NoExtension};

/// Negotiates an extension in the opening handshake of one connection (RFC 6455 §9.1), in either role. It keeps what was agreed
/// upon, until the connection opens.
///
/// [`NoExtension`](crate::proto::NoExtension) negotiates nothing. An extension that a peer can decline is an `Option`:
///
/// ```
/// # use sansocket::proto::{Extension, ExtensionFailed, OpCode, Progress, ReceiveError, ReservedBits};
/// use sansocket::handshake::{ExtensionList, ExtensionText, HandshakeError, Negotiate};
///
/// # #[derive(Clone, Copy)]
/// struct Invert; // an `Extension`
///
/// #[derive(Default)]
/// struct Inverting(Option<Invert>);
///
/// impl Negotiate for Inverting {
///     type Extension = Option<Invert>;
///
///     fn accept(&mut self, offers: ExtensionList<'_>, answer: &mut ExtensionText) {
///         if offers.flatten().any(|offer| offer.name() == "x-invert") {
///             answer.push("x-invert");
///             self.0 = Some(Invert);
///         }
///     }
///
///     fn offer(&mut self, offer: &mut ExtensionText) {
///         offer.push("x-invert");
///     }
///
///     fn confirm(&mut self, answer: ExtensionList<'_>) -> Result<(), HandshakeError> {
///         for element in answer {
///             match element {
///                 Ok(element) if element.name() == "x-invert" => self.0 = Some(Invert),
///                 _ => return Err(HandshakeError::Extension),
///             }
///         }
///         Ok(())
///     }
///
///     fn open(&mut self) -> Option<Invert> {
///         self.0.take()
///     }
/// }
/// # impl Extension for Invert {
/// #     fn rsv(&self) -> ReservedBits { ReservedBits::RSV1 }
/// #     fn receive(&mut self, _: OpCode, _: ReservedBits) -> Result<bool, ReceiveError> { Ok(false) }
/// #     fn decode(&mut self, _: &[u8], _: &mut [u8], _: bool) -> Result<Progress, ReceiveError> { Err(ExtensionFailed.into()) }
/// #     fn bound(&self, _: usize) -> Option<usize> { None }
/// #     fn send(&mut self) -> ReservedBits { ReservedBits::RSV1 }
/// #     fn encode(&mut self, _: &[u8], _: &mut [u8], _: bool) -> Result<Progress, ExtensionFailed> { Err(ExtensionFailed) }
/// # }
///
/// let mut offer = ExtensionText::EMPTY;
/// Inverting::default().offer(&mut offer);
/// assert_eq!(offer.as_str(), Some("x-invert"));
/// ```
pub trait Negotiate {
    /// The extension of the connection.
    type Extension: Extension;

    /// Server: takes the pool that [`AcceptOptions::deflate`](super::AcceptOptions::deflate) names for the request, before
    /// [`accept`](Self::accept). Default: ignores it.
    #[cfg(feature = "deflate")]
    fn choose_pool(&mut self, pool: &alloc::sync::Arc<crate::deflate::Pool>) {
        let _ = pool;
    }

    /// Server: chooses among the offers of a request that is accepted, and writes its answer, which stays empty to decline them
    /// all. It is called before the 101 is written, so that the memory for the extension can be reserved.
    fn accept(&mut self, offers: ExtensionList<'_>, answer: &mut ExtensionText);

    /// Client: writes its offer, which stays empty to offer nothing.
    fn offer(&mut self, offer: &mut ExtensionText);

    /// Client: reads the answer to its offer, which has no element if the server declines.
    ///
    /// # Errors
    /// [`HandshakeError::Extension`], [`HandshakeError::ExtensionParameters`]: the handshake fails.
    fn confirm(&mut self, answer: ExtensionList<'_>) -> Result<(), HandshakeError>;

    /// Returns the extension that was agreed upon. Called once, when the connection opens.
    fn open(&mut self) -> Self::Extension;
}

impl Negotiate for NoExtension {
    type Extension = Self;

    fn accept(&mut self, _: ExtensionList<'_>, _: &mut ExtensionText) {}

    fn offer(&mut self, _: &mut ExtensionText) {}

    fn confirm(&mut self, mut answer: ExtensionList<'_>) -> Result<(), HandshakeError> {
        // "an extension that was not present in the client's handshake"
        if answer.next().is_some() { Err(HandshakeError::Extension) } else { Ok(()) }
    }

    fn open(&mut self) -> Self {
        Self
    }
}
