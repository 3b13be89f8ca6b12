//! A server over embassy-net's sockets, in one task.

#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::future::{Future, poll_fn};
use core::net::SocketAddr;
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use core::time::Duration;

use embassy_futures::poll_once;
use embassy_futures::select::select3;
use embassy_net::tcp::TcpSocket;
use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;

use super::application::Application;
use super::handle::HubHandle;
use super::machine::Hub;
use super::settings::{HubSettings, InvalidSettings};
use super::shared::{Monitor, Shared};
use super::socket::{HubSocket, Ready, SocketFailed};
use crate::arc::{Arc, arc_dyn};
use crate::embedded::{Clock, EmbassyClock, hang_up, passed};
use crate::time::{GRACE, Instant};

/// A server that serves many connections in one task, over sockets of embassy-net. Handlers need no task of their own.
///
/// ```no_run
/// use embassy_net::{Stack, tcp::TcpSocket};
/// use sansocket::Config;
/// use sansocket::hub::{EmbassyServer, HubSettings, InvalidSettings, Routes};
///
/// /// Runs in a task of its own. Another task can broadcast with the handle.
/// async fn serve(stack: Stack<'static>, routes: Routes) -> Result<(), InvalidSettings> {
///     let settings = HubSettings::new(Config::new().max_message_len(4096))
///         .max_sessions(4)
///         .head_buffer(1024)
///         .receive_buffer(512)
///         .transmit_buffer(512);
///     // One more than there are sessions: it refuses a client with 503, or takes the place of an evicted one.
///     let sockets = (0..5).map(|_| {
///         let memory = || Box::leak(Box::new([0; 2048]));
///         TcpSocket::new(stack, memory(), memory())
///     });
///     let mut server = EmbassyServer::new(80, sockets, settings, |_| routes)?;
///     let hub = server.handle(); // for other tasks
///     # drop(hub);
///     server.run().await;
///     Ok(())
/// }
/// ```
pub struct EmbassyServer<A: Application> {
    hub: Hub<EmbassySocket, A>,
    port: u16,
    /// How long a socket waits until the peer has acknowledged what was sent before both sides closed.
    close: Option<Duration>,
    wake: Arc<Wake>,
    /// The sockets without a session: each hangs up, then listens, and is ready when a peer has connected.
    listening: Vec<Listening>,
    /// The connected sockets that have no session yet.
    connected: Vec<TcpSocket<'static>>,
    returned: Returned,
    /// What is ready; kept for its memory.
    ready: Vec<(usize, Ready)>,
}

/// A connected socket of embassy-net: the type of the sockets of an [`EmbassyServer`]. When it is dropped, its server hangs up
/// and listens on it again.
pub struct EmbassySocket {
    /// `None` only while it is dropped.
    socket: Option<TcpSocket<'static>>,
    returned: Returned,
}

type Listening = Pin<Box<dyn Future<Output = TcpSocket<'static>>>>;
/// The sockets whose sessions have ended.
type Returned = Rc<RefCell<Vec<TcpSocket<'static>>>>;
type Wake = Signal<CriticalSectionRawMutex, ()>;

/// The state that the server and its handles share. It is locked in critical sections, for a push or a copy.
struct EmbassyMonitor {
    shared: Mutex<CriticalSectionRawMutex, RefCell<Shared>>,
    wake: Arc<Wake>,
}

impl<A: Application> EmbassyServer<A> {
    /// Creates a server that listens on `port` with these sockets, which are not connected.
    /// [`HubSettings::max_sessions`] is at most their number. With [`Capacity`](super::Capacity) of either kind, one socket more
    /// lets the server refuse or evict; without it, a client that finds no socket is refused by TCP. `application` makes the
    /// application with the hub's handle.
    ///
    /// # Errors
    /// A setting is invalid.
    pub fn new(
        port: u16,
        sockets: impl IntoIterator<Item = TcpSocket<'static>>,
        mut settings: HubSettings,
        application: impl FnOnce(HubHandle) -> A,
    ) -> Result<Self, InvalidSettings> {
        // A small message must not wait for the acknowledgement of the one before it.
        let sockets: Vec<_> = sockets
            .into_iter()
            .map(|mut socket| {
                socket.set_nagle_enabled(false);
                socket
            })
            .collect();
        settings.max_sessions = settings.max_sessions.min(sockets.len());
        // The network stack is another task of the same executor.
        settings.read_grace = settings.read_grace.max(GRACE);
        let wake = Arc::new(Wake::new());
        let close = settings.config.timeouts.close;
        let monitor = EmbassyMonitor { shared: Mutex::new(RefCell::default()), wake: Arc::clone(&wake) };
        Ok(Self {
            hub: Hub::new(settings, arc_dyn!(monitor, dyn Monitor), application)?,
            port,
            close,
            wake,
            listening: Vec::new(),
            connected: Vec::new(),
            returned: Rc::new(RefCell::new(sockets)),
            ready: Vec::new(),
        })
    }

    /// Returns a handle, for other tasks and for interrupts.
    #[must_use]
    pub fn handle(&self) -> HubHandle {
        self.hub.handle()
    }

    /// Returns the hub.
    pub const fn hub(&mut self) -> &mut Hub<EmbassySocket, A> {
        &mut self.hub
    }

    /// Serves until the hub is [stopped](HubHandle::stop) and the last connection has ended.
    ///
    /// Cancel safety: the sessions stay, and go on with the next call.
    pub async fn run(&mut self) {
        loop {
            let now = EmbassyClock.now();
            self.accept(now);
            self.hub.run(now);
            if self.hub.is_stopping() {
                self.listening.clear();
                self.connected.clear();
            } else {
                self.listen();
            }
            if self.hub.is_over() {
                return;
            }
            self.wait(now).await;
        }
    }

    /// Gives the connected sockets to the hub, as long as it admits them.
    fn accept(&mut self, now: Instant) {
        while self.hub.admits(now) {
            let Some(socket) = self.connected.pop() else { return };
            // A peer that has gone already has no address, and its socket is returned.
            let peer = socket.remote_endpoint().map(|peer| SocketAddr::new(peer.addr.into(), peer.port));
            let socket = EmbassySocket { socket: Some(socket), returned: Rc::clone(&self.returned) };
            if let Some(peer) = peer {
                // A connection that is declined is dropped.
                let _ = self.hub.accept(now, socket, peer);
            }
        }
    }

    /// Listens on the sockets whose sessions have ended.
    fn listen(&mut self) {
        let (port, close) = (self.port, self.close);
        for mut socket in self.returned.borrow_mut().drain(..) {
            self.listening.push(Box::pin(async move {
                loop {
                    hang_up(&mut socket, close).await;
                    if socket.accept(port).await.is_ok() {
                        return socket;
                    }
                }
            }));
        }
    }

    /// Waits until a socket is ready, a handle has a command, or a deadline has passed.
    async fn wait(&mut self, now: Instant) {
        let deadline = self.hub.deadline(now).unwrap_or(Instant::NEVER);
        let (wake, mut clock) = (Arc::clone(&self.wake), EmbassyClock);
        let sockets = poll_fn(|context| self.poll_sockets(now, context));
        select3(sockets, wake.wait(), passed(&mut clock, deadline)).await;
    }

    fn poll_sockets(&mut self, now: Instant, context: &mut Context<'_>) -> Poll<()> {
        let mut found = false;
        if self.hub.admits(now) {
            let Self { listening, connected, .. } = self;
            listening.retain_mut(|listening| match listening.as_mut().poll(context) {
                Poll::Ready(socket) => {
                    connected.push(socket);
                    false
                }
                Poll::Pending => true,
            });
            found = !connected.is_empty();
        }
        let wanted = self.hub.wants().filter_map(|(key, socket, wants)| {
            let read = wants.read && socket.is_readable(context);
            let write = wants.write && socket.is_writable(context);
            (read || write).then_some((key, Ready { read, write, hang_up: false }))
        });
        self.ready.extend(wanted);
        for (key, ready) in self.ready.drain(..) {
            found = true;
            self.hub.ready(key, ready);
        }
        if found { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl<A: Application> fmt::Debug for EmbassyServer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbassyServer").field("hub", &self.hub).finish_non_exhaustive()
    }
}

impl EmbassySocket {
    /// Returns whether bytes, an end of the stream or a failure can be read. Otherwise it wakes the task when they can.
    fn is_readable(&self, context: &mut Context<'_>) -> bool {
        let Some(socket) = &self.socket else { return true };
        // embassy-net's wait does not end at the end of the stream.
        pin!(socket.wait_read_ready()).poll(context).is_ready() || !socket.may_recv()
    }

    /// Returns whether bytes can be written or writing fails. Otherwise it wakes the task when they can.
    fn is_writable(&self, context: &mut Context<'_>) -> bool {
        let Some(socket) = &self.socket else { return true };
        pin!(socket.wait_write_ready()).poll(context).is_ready() || !socket.may_send()
    }
}

impl HubSocket for EmbassySocket {
    // Readiness is queried before each wait.
    const DRAINED_BY_SHORT_READ: bool = true;

    fn recv(&mut self, into: &mut [u8]) -> Result<Option<usize>, SocketFailed> {
        finished(self.socket.as_mut().map(|socket| poll_once(socket.read(into))))
    }

    fn send(&mut self, bytes: &[u8], more: &[u8]) -> Result<Option<usize>, SocketFailed> {
        let bytes = if bytes.is_empty() { more } else { bytes };
        finished(self.socket.as_mut().map(|socket| poll_once(socket.write(bytes))))
    }

    fn shutdown(&mut self) -> Result<(), SocketFailed> {
        self.socket.as_mut().ok_or(SocketFailed)?.close();
        Ok(())
    }
}

fn finished<E>(polled: Option<Poll<Result<usize, E>>>) -> Result<Option<usize>, SocketFailed> {
    match polled {
        Some(Poll::Ready(Ok(n))) => Ok(Some(n)),
        Some(Poll::Pending) => Ok(None),
        Some(Poll::Ready(Err(_))) | None => Err(SocketFailed),
    }
}

impl Drop for EmbassySocket {
    fn drop(&mut self) {
        self.returned.borrow_mut().extend(self.socket.take());
    }
}

impl fmt::Debug for EmbassySocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbassySocket").finish_non_exhaustive()
    }
}

impl Monitor for EmbassyMonitor {
    fn lock(&self, use_it: &mut dyn FnMut(&mut Shared)) {
        self.shared.lock(|shared| use_it(&mut shared.borrow_mut()));
    }

    fn wake(&self) {
        self.wake.signal(());
    }
}
