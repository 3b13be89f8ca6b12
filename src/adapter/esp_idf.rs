//! ESP-IDF's sockets (lwIP) without `std`: one task, one [`Hub`].
//!
//! The few functions of C that this stands on are implemented by `sansocket_port.c` of the component in
//! `examples/esp-idf`, which is compiled with the headers of the IDF version at hand: no struct, constant or errno of lwIP
//! is known here.

#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::hub::{Application, Failed, Handle, Hub, InvalidSettings, Monitor, Ready, Settings, Shared};
use crate::port::{self, Interest, Locked};
use crate::time::{GRACE, Instant};

/// A connected socket of lwIP.
pub struct Socket {
    descriptor: i32,
    /// Of a socket that is somebody else's.
    release: Option<Box<dyn FnOnce(i32) + Send>>,
}

/// What a hub's sockets are made of: TCP, or the application's TLS over it.
pub trait Acceptor {
    /// What becomes of a socket.
    type Stream: Stream + 'static;

    /// A connection was accepted.
    ///
    /// # Errors
    /// It is closed.
    fn accept(&mut self, socket: Socket) -> Result<Self::Stream, Failed>;
}

/// What passes bytes between a hub and a [`Socket`].
pub trait Stream: crate::hub::Socket {
    /// The socket below, to be waited for.
    fn socket(&self) -> &Socket;
}

/// Plain TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

/// A server: listens, and drives a hub. One at a time in a system, as there is one wake-up.
pub struct Server<A: Application<C::Stream>, C: Acceptor = Plain> {
    hub: Hub<C::Stream, A>,
    acceptor: C,
    listener: Option<Socket>,
    /// No accept before: the system was out of sockets.
    retry: Instant,
    /// What is waited for, and whose it is; kept from turn to turn for its memory.
    interests: Vec<Interest>,
    keys: Vec<usize>,
    /// Dropped last.
    _only: Only,
}

/// Who has it may use the port: there is one wake-up, and one lock.
struct Only;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// Why a [`Server`] cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is a server already.
    #[error("there is a server already")]
    Taken,
    /// Nobody could be served with these settings.
    #[error(transparent)]
    Settings(#[from] InvalidSettings),
    /// The port could not be prepared, or cannot listen: the address is in use, or sockets are short.
    #[error("the port cannot listen: the address is in use, or sockets are short")]
    Port(#[from] Failed),
}

/// What the server and its handles share.
struct Port(Locked<Shared>);

/// The time by the port's clock, which is the hub's.
#[must_use]
pub fn now() -> Instant {
    port::now()
}

/// Connections that are accepted before the others have their turn.
const ACCEPTS: usize = 16;
/// How long to wait where the system has no socket or memory for another connection.
const RETRY: core::time::Duration = core::time::Duration::from_millis(100);

impl Socket {
    /// A connected socket that was accepted elsewhere and whose opening handshake is done, to be [adopted](Hub::adopt), and
    /// where it comes from. It becomes non-blocking. At the end it is not closed, but given back to `release`.
    ///
    /// # Errors
    /// It is no connected socket; by then it has been given back.
    pub fn adopt(
        descriptor: i32,
        release: impl FnOnce(i32) + Send + 'static,
    ) -> Result<(Self, SocketAddr), Failed> {
        let socket = Self { descriptor, release: Some(Box::new(release)) };
        let peer = port::adopt(descriptor)?;
        Ok((socket, peer))
    }

    /// The descriptor, which is the caller's to close from now on: after [`Application::hand_over`].
    #[must_use]
    pub fn into_descriptor(mut self) -> i32 {
        self.release = Some(Box::new(|_| {}));
        self.descriptor
    }

    const fn own(descriptor: i32) -> Self {
        Self { descriptor, release: None }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        match self.release.take() {
            Some(release) => release(self.descriptor),
            None => port::close(self.descriptor),
        }
    }
}

impl<A: Application<Socket>> Server<A> {
    /// Listens on `port` for plain TCP, or for 0 does not: then there are only connections that are adopted. The
    /// application is made with the hub's handle.
    ///
    /// # Errors
    /// As [`with`](Self::with).
    pub fn new(
        port: u16,
        settings: Settings,
        application: impl FnOnce(Handle) -> A,
    ) -> Result<Self, StartError> {
        Self::with(Plain, port, settings, application)
    }
}

impl<A: Application<C::Stream>, C: Acceptor> Server<A, C> {
    /// Listens on `port` for what `acceptor` makes of a connection, or for 0 does not: as [`new`](Server::new).
    ///
    /// # Errors
    /// [`StartError`].
    pub fn with(
        acceptor: C,
        port: u16,
        mut settings: Settings,
        application: impl FnOnce(Handle) -> A,
    ) -> Result<Self, StartError> {
        let only = Only::take()?;
        port::start()?;
        // lwIP is a task beside the loop's.
        settings.grace = settings.grace.max(GRACE);
        let backlog = u32::try_from(settings.sessions).unwrap_or(u32::MAX);
        let listener = if port == 0 { None } else { Some(Socket::own(port::listen(port, backlog)?)) };
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

    /// A handle, for other tasks.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.hub.handle()
    }

    /// The hub.
    pub const fn hub(&mut self) -> &mut Hub<C::Stream, A> {
        &mut self.hub
    }

    /// Serves until it is [stopped](Handle::stop), and the last connection has ended.
    ///
    /// # Errors
    /// The port cannot wait.
    pub fn run(mut self) -> Result<(), Failed> {
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
                    // One that is not welcome is closed by that.
                    if let Ok(stream) = self.acceptor.accept(Socket::own(socket)) {
                        let _ = self.hub.accept(now, stream, peer);
                    }
                }
                Ok(None) => return,
                Err(Failed) => self.retry = now.after(RETRY),
            }
        }
    }

    fn wait(&mut self, now: Instant) -> Result<(), Failed> {
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
                // Without a key: behind all that have one.
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

impl Acceptor for Plain {
    type Stream = Socket;

    fn accept(&mut self, socket: Socket) -> Result<Socket, Failed> {
        Ok(socket)
    }
}

impl Stream for Socket {
    fn socket(&self) -> &Socket {
        self
    }
}

impl Only {
    fn take() -> Result<Self, StartError> {
        if TAKEN.swap(true, Ordering::AcqRel) { Err(StartError::Taken) } else { Ok(Self) }
    }
}

impl Drop for Only {
    fn drop(&mut self) {
        TAKEN.store(false, Ordering::Release);
    }
}

impl crate::hub::Socket for Socket {
    // Readiness is asked for each time.
    const DRAINED_BY_SHORT_READ: bool = true;

    fn recv(&mut self, into: &mut [u8]) -> Result<Option<usize>, Failed> {
        port::recv(self.descriptor, into)
    }

    fn send(&mut self, bytes: &[u8], more: &[u8]) -> Result<Option<usize>, Failed> {
        port::send(self.descriptor, if bytes.is_empty() { more } else { bytes })
    }

    fn shutdown(&mut self) -> Result<(), Failed> {
        port::shutdown(self.descriptor)
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Socket").field(&self.descriptor).finish()
    }
}

impl<A: Application<C::Stream>, C: Acceptor> fmt::Debug for Server<A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("hub", &self.hub).finish_non_exhaustive()
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
