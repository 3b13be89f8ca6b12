//! The description of a session.

#![forbid(unsafe_code)]

use core::net::SocketAddr;

use super::id::SessionId;

/// Describes a session: to the application, to filters of a broadcast, and in lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    pub(super) id: SessionId,
    pub(super) peer: SocketAddr,
    tag: u32,
    /// The number of its route; 0 without one.
    pub(super) route: u32,
    pub(super) state: SessionState,
}

/// The phase of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SessionState {
    /// The hub receives the request or sends the response.
    Handshake,
    /// Both sides may send.
    Open,
    /// The closing handshake has begun, or a close was requested. Messages that were sent before may still be
    /// written; later ones are lost with [`NotDelivered::Closing`](super::NotDelivered::Closing).
    Closing,
}

impl SessionInfo {
    pub(super) const fn new(id: SessionId, peer: SocketAddr) -> Self {
        Self { id, peer, tag: 0, route: 0, state: SessionState::Handshake }
    }

    /// Returns the id.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// Returns the address of the peer, as the driver has it from the accept.
    #[must_use]
    pub const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Returns the phase.
    #[must_use]
    pub const fn state(&self) -> SessionState {
        self.state
    }

    /// Returns the number that the application has set, 0 if none: for a room, a user or a route.
    #[must_use]
    pub const fn tag(&self) -> u32 {
        self.tag
    }

    /// Sets the [`tag`](Self::tag). An application can do so when it accepts the transport or sees the request.
    pub const fn set_tag(&mut self, tag: u32) {
        self.tag = tag;
    }
}
