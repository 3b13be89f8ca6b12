//! A server over ESP-IDF's sockets (lwIP), without `std`, in one task.
//!
//! `sansocket_port.c` of the component in `examples/esp-idf` implements the C functions that this module calls. It is
//! compiled with the headers of the installed IDF version, so that this module depends on no struct, constant or
//! errno of lwIP.

#![forbid(unsafe_code)]

use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use super::application::Application;
use super::esp_idf_socket::{EspIdfAcceptor, EspIdfPlainAcceptor, EspIdfSocket, EspIdfStream};
use super::handle::HubHandle;
use super::machine::Hub;
use super::settings::{HubSettings, InvalidSettings};
use super::shared::{Monitor, Shared};
use super::socket::{Ready, SocketFailed};
use crate::arc::Arc;
use crate::esp_idf_port::{self as port, Interest, Locked};
use crate::time::{GRACE, Instant};

/// A server that listens on TCP and serves many connections in one task, over ESP-IDF's sockets. A system has one at a
/// time, as there is one wake-up.
///
/// ```no_run
/// use sansocket::Config;
/// use sansocket::hub::{EspIdfServer, EspIdfStartError, HubSettings, Routes};
///
/// /// Runs in a task of its own, when the network is up.
/// fn serve(routes: Routes) -> Result<(), EspIdfStartError> {
///     let settings = HubSettings::new(Config::new().max_message_len(4096))
///         .max_sessions(8)
///         .head_buffer(1024)
///         .receive_buffer(1024)
///         .transmit_buffer(1024);
///     let server = EspIdfServer::bind(80, settings, |_| routes)?;
///     let hub = server.handle(); // for other tasks
///     # drop(hub);
///     Ok(server.run()?)
/// }
/// ```
pub struct EspIdfServer<A: Application, C: EspIdfAcceptor = EspIdfPlainAcceptor> {
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

/// Why there is no [`EspIdfServer`], or why it cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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
struct PortMonitor(Locked<Shared>);

/// The most connections that are accepted before the sessions have their turns.
const ACCEPTS: usize = 16;
/// How long to wait if the system has no free socket or no memory.
const RETRY: core::time::Duration = core::time::Duration::from_millis(100);

impl<A: Application> EspIdfServer<A> {
    /// Creates a server that listens on `port` for plain TCP. With port 0 it does not listen, and serves
    /// [adopted](Hub::adopt) connections only. `application` makes the application with the hub's handle.
    ///
    /// # Errors
    /// [`EspIdfStartError`] says what failed.
    pub fn bind(
        port: u16,
        settings: HubSettings,
        application: impl FnOnce(HubHandle) -> A,
    ) -> Result<Self, EspIdfStartError> {
        Self::with_acceptor(port, EspIdfPlainAcceptor, settings, application)
    }
}

impl<A: Application, C: EspIdfAcceptor> EspIdfServer<A, C> {
    /// Creates a server that listens on `port`, as [`bind`](Self::bind), and makes a stream of each connection with
    /// `acceptor`: for TLS.
    ///
    /// # Errors
    /// [`EspIdfStartError`] says what failed.
    pub fn with_acceptor(
        port: u16,
        acceptor: C,
        mut settings: HubSettings,
        application: impl FnOnce(HubHandle) -> A,
    ) -> Result<Self, EspIdfStartError> {
        let only = Only::take()?;
        port::start()?;
        // lwIP runs in another task.
        settings.read_grace = settings.read_grace.max(GRACE);
        let pending = u32::try_from(settings.max_sessions).unwrap_or(u32::MAX);
        let listener = if port == 0 { None } else { Some(EspIdfSocket::own(port::listen(port, pending)?)) };
        let monitor = PortMonitor(Locked::new(Shared::default()));
        Ok(Self {
            hub: Hub::new(settings, Arc::new(monitor), application)?,
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

    /// Serves until the hub is [stopped](HubHandle::stop) and the last connection has ended.
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

impl<A: Application, C: EspIdfAcceptor> fmt::Debug for EspIdfServer<A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EspIdfServer").field("hub", &self.hub).finish_non_exhaustive()
    }
}

impl Monitor for PortMonitor {
    fn lock(&self, use_it: &mut dyn FnMut(&mut Shared)) {
        self.0.with(use_it);
    }

    fn wake(&self) {
        port::wake();
    }
}
