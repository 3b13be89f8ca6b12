//! The states of a session, and which of them go together.

#![forbid(unsafe_code)]

use alloc::boxed::Box;

use super::Session;
use crate::hub::exchange::Exchange;
use crate::hub::session_info::SessionState;

/// What a session is. It changes only downwards in this list.
pub(in crate::hub) enum Stage {
    /// The request is received, or the 101 is sent.
    Handshake,
    /// All places are taken: the session takes none, and the response to its request is 503.
    Excess,
    /// The response to the request is not 101: the handshake sends it, or the application takes over.
    Http,
    /// The body of the request is to be read, at most this many bytes. An [`Exchange`] follows in the same turn.
    ReadBody(usize),
    /// The body of the request is read, or the response to it is sent.
    Exchange(Box<Exchange>),
    /// A WebSocket connection, until its end.
    WebSocket,
}

impl Stage {
    /// Whether the session will never be a WebSocket connection.
    pub(super) const fn is_http(&self) -> bool {
        match self {
            Self::Handshake | Self::WebSocket => false,
            Self::Excess | Self::Http | Self::ReadBody(_) | Self::Exchange(_) => true,
        }
    }

    /// Records that the response to the request is not 101.
    pub(in crate::hub) fn refuse(&mut self) {
        if let Self::Handshake = self {
            *self = Self::Http;
        }
    }
}

impl<S, H> Session<S, H> {
    /// Returns whether the parts of the state agree. Builds with debug assertions check it after each turn.
    ///
    /// | stage | state | requested close | queue | buffers |
    /// | --- | --- | --- | --- | --- |
    /// | handshake | handshake | no | any | any |
    /// | handshake | closing | any | any | any |
    /// | excess, HTTP | handshake | no | empty | any |
    /// | excess, HTTP | closing | any | empty | any |
    /// | exchange | handshake | no | empty | none |
    /// | exchange | closing | any | empty | none |
    /// | WebSocket | open | no | any | any |
    /// | WebSocket | closing | any | any | any |
    pub(super) fn is_legal(&self) -> bool {
        let before = matches!(self.info.state, SessionState::Handshake) && self.closing.is_none();
        let closing = matches!(self.info.state, SessionState::Closing);
        match &self.stage {
            Stage::Handshake => before || closing,
            Stage::Excess | Stage::Http => (before || closing) && self.queue.is_empty(),
            Stage::Exchange(_) => (before || closing) && self.queue.is_empty() && self.buffers.is_none(),
            Stage::WebSocket => {
                closing || matches!(self.info.state, SessionState::Open) && self.closing.is_none()
            }
            Stage::ReadBody(_) => false,
        }
    }
}
