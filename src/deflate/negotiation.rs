//! permessage-deflate in the opening handshake of a connection, with zlib-rs.

#![forbid(unsafe_code)]

use core::mem;
use std::sync::Arc;

use super::agreement::Agreement;
use super::options::DeflateOptions;
use super::pool::{Pool, Zlib};
use crate::handshake::{ExtensionList, ExtensionText, HandshakeError, Negotiate};

/// Negotiates permessage-deflate for one connection with the codecs of zlib-rs, in either role.
///
/// The memory of a connection with context is reserved when the offer is accepted: if there is none, the server declines.
///
/// ```
/// use std::sync::Arc;
///
/// use sansocket::deflate::{DeflateOptions, Negotiation, Pool};
/// use sansocket::handshake::{ExtensionText, Negotiate};
///
/// let pool = Arc::new(Pool::new(DeflateOptions::new()).ok_or("no memory")?);
/// let server = Negotiation::server(pool); // one for each connection
///
/// let mut offer = ExtensionText::EMPTY;
/// Negotiation::client(DeflateOptions::new().context(true).send_window_bits(15)).offer(&mut offer);
/// assert_eq!(offer.as_str(), Some("permessage-deflate; client_max_window_bits"));
/// # drop(server);
/// # Ok::<_, &str>(())
/// ```
#[derive(Debug)]
pub struct Negotiation(State);

#[derive(Debug)]
enum State {
    /// Nothing was agreed upon, and nothing will be.
    Off,
    /// Nothing will be agreed upon unless the server's decision on the request names a pool.
    Undecided,
    Server(Arc<Pool>),
    Client(DeflateOptions),
    Agreed(Zlib),
}

impl Negotiation {
    /// Accepts no offer, and offers nothing.
    pub const OFF: Self = Self(State::Off);

    /// Accepts no offer unless [`AcceptOptions::deflate`](crate::handshake::AcceptOptions::deflate) names a pool.
    pub(crate) const UNDECIDED: Self = Self(State::Undecided);

    /// Accepts an offer that the options of `pool` allow, or of the pool that
    /// [`AcceptOptions::deflate`](crate::handshake::AcceptOptions::deflate) names.
    #[must_use]
    pub const fn server(pool: Arc<Pool>) -> Self {
        Self(State::Server(pool))
    }

    /// Offers what `options` say.
    #[must_use]
    pub const fn client(options: DeflateOptions) -> Self {
        Self(State::Client(options))
    }
}

impl Negotiate for Negotiation {
    type Extension = Option<Zlib>;

    fn choose_pool(&mut self, pool: &Arc<Pool>) {
        if let State::Server(_) | State::Undecided = self.0 {
            self.0 = State::Server(Arc::clone(pool));
        }
    }

    fn accept(&mut self, offers: ExtensionList<'_>, answer: &mut ExtensionText) {
        if let State::Server(pool) = &self.0 {
            let mut text = ExtensionText::EMPTY;
            let agreement = Agreement::accept(pool.options(), offers, &mut text);
            if let Some(zlib) = agreement.and_then(|agreement| pool.server(&agreement)) {
                *answer = text;
                self.0 = State::Agreed(zlib);
            }
        }
    }

    fn offer(&mut self, offer: &mut ExtensionText) {
        if let State::Client(options) = &self.0 {
            Agreement::offer(options, offer);
        }
    }

    fn confirm(&mut self, mut answer: ExtensionList<'_>) -> Result<(), HandshakeError> {
        let State::Client(options) = &self.0 else {
            return if answer.next().is_some() { Err(HandshakeError::Extension) } else { Ok(()) };
        };
        if let Some(Agreement { server, client }) = Agreement::confirm(options, answer)? {
            let zlib =
                Zlib::with_own_codecs(options, server, client).ok_or(HandshakeError::ExtensionMemory)?;
            self.0 = State::Agreed(zlib);
        }
        Ok(())
    }

    fn open(&mut self) -> Option<Zlib> {
        match mem::replace(&mut self.0, State::Off) {
            State::Agreed(zlib) => Some(zlib),
            State::Off | State::Undecided | State::Server(_) | State::Client(_) => None,
        }
    }
}
