//! The sockets of a hub over lwIP.

#![forbid(unsafe_code)]

use alloc::boxed::Box;
use core::fmt;
use core::net::SocketAddr;

use super::socket::{HubSocket, SocketFailed};
use crate::esp_idf_port as port;
pub use crate::esp_idf_port::EspIdfDescriptor;
use crate::time::Instant;

/// A connected socket of lwIP: the type of the sockets of an [`EspIdfServer`](super::EspIdfServer) without TLS.
pub struct EspIdfSocket {
    pub(super) descriptor: i32,
    /// Gives back a socket that was adopted.
    release: Option<Box<dyn FnOnce(i32) + Send>>,
}

/// Makes the sockets of a hub from accepted ones: plain TCP, or the application's TLS over it.
pub trait EspIdfAcceptor {
    /// The stream that it makes.
    type Stream: EspIdfStream + 'static;

    /// Makes a stream from a connection that was accepted.
    ///
    /// # Errors
    /// The connection is closed.
    fn accept(&mut self, socket: EspIdfSocket) -> Result<Self::Stream, SocketFailed>;
}

/// Moves bytes between a hub and an [`EspIdfSocket`].
pub trait EspIdfStream: HubSocket {
    /// Returns the socket to wait for.
    fn socket(&self) -> &EspIdfSocket;
}

/// Accepts plain TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct EspIdfPlainAcceptor;

/// The clock of an [`EspIdfServer`](super::EspIdfServer).
#[derive(Clone, Copy, Debug)]
pub struct EspIdfClock;

impl EspIdfClock {
    /// Returns the current time.
    #[must_use]
    pub fn now() -> Instant {
        port::now()
    }
}

impl EspIdfSocket {
    /// Makes a socket to be [adopted](super::driver::Hub::adopt) from a connected one that was accepted elsewhere and whose opening
    /// handshake is done. Returns it with the address of its peer. Makes it non-blocking. When the socket is dropped,
    /// it is not closed, but passed to `release`.
    ///
    /// # Errors
    /// The descriptor is not a connected socket; it has been passed to `release`.
    pub fn adopt(
        descriptor: EspIdfDescriptor,
        release: impl FnOnce(i32) + Send + 'static,
    ) -> Result<(Self, SocketAddr), SocketFailed> {
        let socket = Self { descriptor: descriptor.get(), release: Some(Box::new(release)) };
        let peer = port::adopt(socket.descriptor)?;
        Ok((socket, peer))
    }

    /// Returns the descriptor, which the caller must close: after [`HandedOver::into_stream`](super::HandedOver::into_stream).
    #[must_use]
    pub fn into_descriptor(mut self) -> i32 {
        self.release = Some(Box::new(|_| {}));
        self.descriptor
    }

    /// Returns a socket that is closed when it is dropped.
    pub(super) const fn own(descriptor: i32) -> Self {
        Self { descriptor, release: None }
    }
}

impl Drop for EspIdfSocket {
    fn drop(&mut self) {
        match self.release.take() {
            Some(release) => release(self.descriptor),
            None => port::close(self.descriptor),
        }
    }
}

impl EspIdfAcceptor for EspIdfPlainAcceptor {
    type Stream = EspIdfSocket;

    fn accept(&mut self, socket: EspIdfSocket) -> Result<EspIdfSocket, SocketFailed> {
        Ok(socket)
    }
}

impl EspIdfStream for EspIdfSocket {
    fn socket(&self) -> &EspIdfSocket {
        self
    }
}

impl HubSocket for EspIdfSocket {
    // Readiness is queried before each wait.
    const DRAINED_BY_SHORT_READ: bool = true;

    fn recv(&mut self, into: &mut [u8]) -> Result<Option<usize>, SocketFailed> {
        port::recv(self.descriptor, into)
    }

    fn send(&mut self, bytes: &[u8], more: &[u8]) -> Result<Option<usize>, SocketFailed> {
        port::send(self.descriptor, if bytes.is_empty() { more } else { bytes })
    }

    fn shutdown(&mut self) -> Result<(), SocketFailed> {
        port::shutdown(self.descriptor)
    }
}

impl fmt::Debug for EspIdfSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EspIdfSocket").field(&self.descriptor).finish()
    }
}
