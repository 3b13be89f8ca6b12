//! Serves connections with a [`Hub`] over ESP-IDF's sockets (lwIP), without `std`, in one task.
//!
//! `sansocket_port.c` of the component in `examples/esp-idf` implements the C functions that this module calls. It is
//! compiled with the headers of the installed IDF version, so that this module depends on no struct, constant or
//! errno of lwIP.

#![forbid(unsafe_code)]

pub use crate::esp_idf_port::Descriptor;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::esp_idf_port::{self as port, Interest, Locked};
use crate::hub::driver::{Hub, Monitor, Ready, Shared, SocketFailed};
use crate::hub::{Application, HubHandle, HubSettings, InvalidSettings};
use crate::time::{GRACE, Instant};

/// A connected socket of lwIP.
pub struct EspIdfSocket {
    descriptor: i32,
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

/// Moves bytes between a hub and a [`EspIdfSocket`].
pub trait EspIdfStream: crate::hub::driver::HubSocket {
    /// Returns the socket to wait for.
    fn socket(&self) -> &EspIdfSocket;
}

/// Accepts plain TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct EspIdfPlain;

/// A server that listens, and drives a hub. A system has one at a time, as there is one wake-up.
pub struct EspIdfServer<A: Application, C: EspIdfAcceptor = EspIdfPlain> {
    hub: Hub<C::Stream, A>,
    acceptor: C,
    listener: Option<EspIdfSocket>,
    /// No connection is accepted before this moment: the system had no free socket.
    retry: Instant,
    /// The sockets to wait for and their keys; kept for their memory.
    interests: Vec<Interest>,
    keys: Vec<usize>,
    /// Dropped last, so that a new server finds this one's port closed.
    _only: Only,
}

/// The right to use the port, which has one wake-up and one lock.
struct Only;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// The reason why a [`Server`] cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EspIdfStartError {
    /// There is a server already.
    #[error("there is a server already")]
    Taken,
    /// A setting is invalid.
    #[error(transparent)]
    Settings(#[from] InvalidSettings),
    /// The port cannot listen: the address is in use, or there is no free socket.
    #[error("the port cannot listen: the address is in use, or no socket is free")]
    Port(#[from] SocketFailed),
}

/// The state that the server and its handles share.
struct Port(Locked<Shared>);

/// Returns the time of the port's clock, which the hub uses.
#[must_use]
pub fn esp_idf_now() -> Instant {
    port::now()
}

/// The most connections that are accepted before the sessions have their turns.
const ACCEPTS: usize = 16;
/// How long to wait if the system has no free socket or no memory.
const RETRY: core::time::Duration = core::time::Duration::from_millis(100);

impl EspIdfSocket {
    /// Makes a socket to be [adopted](Hub::adopt) from a connected one that was accepted elsewhere and whose opening
    /// handshake is done. Returns it with the address of its peer. Makes it non-blocking. When the socket is dropped,
    /// it is not closed, but passed to `release`.
    ///
    /// # Errors
    /// The descriptor is not a connected socket; it has been passed to `release`.
    pub fn adopt(
        descriptor: Descriptor,
        release: impl FnOnce(i32) + Send + 'static,
    ) -> Result<(Self, SocketAddr), SocketFailed> {
        let socket = Self { descriptor: descriptor.get(), release: Some(Box::new(release)) };
        let peer = port::adopt(socket.descriptor)?;
        Ok((socket, peer))
    }

    /// Returns the descriptor, which the caller must close: after [`Application::handed_over`].
    #[must_use]
    pub fn into_descriptor(mut self) -> i32 {
        self.release = Some(Box::new(|_| {}));
        self.descriptor
    }

    const fn own(descriptor: i32) -> Self {
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

impl<A: Application> EspIdfServer<A> {
    /// Listens on `port` for plain TCP. With port 0 it does not listen, and serves adopted connections only.
    /// `application` makes the application with the hub's handle.
    ///
    /// # Errors
    /// Fails as [`with`](Self::with) does.
    pub fn new(
        port: u16,
        settings: HubSettings,
        application: impl FnOnce(HubHandle) -> A,
    ) -> Result<Self, EspIdfStartError> {
        Self::with_acceptor(EspIdfPlain, port, settings, application)
    }
}

impl<A: Application, C: EspIdfAcceptor> EspIdfServer<A, C> {
    /// Listens on `port`, as [`new`](Server::new), for the streams that `acceptor` makes.
    ///
    /// # Errors
    /// [`EspIdfStartError`] says what failed.
    pub fn with_acceptor(
        acceptor: C,
        port: u16,
        mut settings: HubSettings,
        application: impl FnOnce(HubHandle) -> A,
    ) -> Result<Self, EspIdfStartError> {
        let only = Only::take()?;
        port::start()?;
        // lwIP runs in another task.
        settings.read_grace = settings.read_grace.max(GRACE);
        let backlog = u32::try_from(settings.max_sessions).unwrap_or(u32::MAX);
        let listener = if port == 0 { None } else { Some(EspIdfSocket::own(port::listen(port, backlog)?)) };
        let shared = Port(Locked::new(Shared::default()));
        Ok(Self {
            hub: Hub::new(settings, Arc::new(shared), application)?,
            acceptor,
            listener,
            retry: Instant::START,
            interests: Vec::new(),
            keys: Vec::new(),
            _only: only,
        })
    }

    /// Returns a handle, for other tasks.
    #[must_use]
    pub fn handle(&self) -> HubHandle {
        self.hub.handle()
    }

    /// Returns the hub.
    pub const fn hub(&mut self) -> &mut Hub<C::Stream, A> {
        &mut self.hub
    }

    /// Serves until the hub is [stopped](Handle::stop) and the last connection has ended.
    ///
    /// # Errors
    /// The port cannot wait.
    pub fn run(mut self) -> Result<(), SocketFailed> {
        loop {
            let now = port::now();
            self.accept(now);
            self.hub.run(now);
            if self.hub.is_stopping() {
                self.listener = None;
            }
            if self.hub.is_over() {
                return Ok(());
            }
            self.wait(now)?;
        }
    }

    fn accept(&mut self, now: Instant) {
        let Some(listener) = &self.listener else { return };
        for _ in 0..ACCEPTS {
            if now < self.retry || !self.hub.admits(now) {
                return;
            }
            match port::accept(listener.descriptor) {
                Ok(Some((socket, peer))) => {
                    // A connection that is declined is closed.
                    if let Ok(stream) = self.acceptor.accept(EspIdfSocket::own(socket)) {
                        let _ = self.hub.accept(now, stream, peer);
                    }
                }
                Ok(None) => return,
                Err(SocketFailed) => self.retry = now.saturating_add(RETRY),
            }
        }
    }

    fn wait(&mut self, now: Instant) -> Result<(), SocketFailed> {
        self.interests.clear();
        self.keys.clear();
        for (key, socket, wants) in self.hub.wants() {
            let read = if wants.read { port::READ } else { 0 };
            let wants = read | if wants.write { port::WRITE } else { 0 };
            if wants != 0 {
                self.interests.push(Interest { socket: socket.socket().descriptor, wants, ready: 0 });
                self.keys.push(key);
            }
        }
        let mut deadline = self.hub.deadline(now);
        if let Some(listener) = &self.listener {
            if now < self.retry {
                deadline = deadline.into_iter().chain([self.retry]).min();
            } else if self.hub.admits(now) {
                // The last interest, the listener, has no key.
                self.interests.push(Interest { socket: listener.descriptor, wants: port::READ, ready: 0 });
            }
        }
        port::wait(&mut self.interests, port::now(), deadline)?;
        for (interest, key) in self.interests.iter().zip(&self.keys) {
            if interest.ready != 0 {
                let (read, write) = (interest.ready & port::READ != 0, interest.ready & port::WRITE != 0);
                self.hub.ready(*key, Ready { read, write, hang_up: false });
            }
        }
        Ok(())
    }
}

impl EspIdfAcceptor for EspIdfPlain {
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

impl Only {
    fn take() -> Result<Self, EspIdfStartError> {
        if TAKEN.swap(true, Ordering::AcqRel) { Err(EspIdfStartError::Taken) } else { Ok(Self) }
    }
}

impl Drop for Only {
    fn drop(&mut self) {
        TAKEN.store(false, Ordering::Release);
    }
}

impl crate::hub::driver::HubSocket for EspIdfSocket {
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
        f.debug_tuple("Socket").field(&self.descriptor).finish()
    }
}

impl<A: Application, C: EspIdfAcceptor> fmt::Debug for EspIdfServer<A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EspIdfServer").field("hub", &self.hub).finish_non_exhaustive()
    }
}

impl Monitor for Port {
    fn lock(&self, use_it: &mut dyn FnMut(&mut Shared)) {
        self.0.with(use_it);
    }

    fn wake(&self) {
        port::wake();
    }
}
