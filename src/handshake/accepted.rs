//! What a server has after it accepted a transport.

#![forbid(unsafe_code)]

/// What a server has after it answered a request: an open connection `W`, nothing, or the request that it left to the caller, as
/// `T`.
///
/// `embedded::WebSocket::accept` and `blocking::WebSocket::accept` return it; they have examples.
#[derive(Debug)]
pub enum Accepted<W, T> {
    /// An open connection.
    WebSocket(W),
    /// [`Decision::Respond`](super::Decision::Respond): the response was sent, with this status, and the transport is dropped. A
    /// request that the server itself refuses is an error instead.
    Responded(u16),
    /// [`Decision::HandOver`](super::Decision::HandOver): the transport, and the bytes that were read from it.
    HandedOver(T),
}

/// Formats the variant and the status, as a transport has no format.
#[cfg(feature = "defmt")]
impl<W, T> defmt::Format for Accepted<W, T> {
    fn format(&self, f: defmt::Formatter<'_>) {
        match self {
            Self::WebSocket(_) => defmt::write!(f, "WebSocket(..)"),
            Self::Responded(status) => defmt::write!(f, "Responded({=u16})", status),
            Self::HandedOver(_) => defmt::write!(f, "HandedOver(..)"),
        }
    }
}
