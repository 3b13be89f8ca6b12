//! What the servers on hosts share: they accept connections, guard what handles share with the hub, and outlive panics of an
//! application.

#![forbid(unsafe_code)]

use core::time::Duration;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::vec::Vec;

use socket2::{SockRef, TcpKeepalive};

use super::application::Application;
use super::handle::HubHandle;
use super::machine::Hub;
use super::settings::HubSettings;
use super::shared::{Monitor, Shared};
use super::socket::HubSocket;
use crate::time::Instant;

/// The state that a server and its handles share, and what wakes the server.
struct HostMonitor<W> {
    shared: Mutex<Shared>,
    wake: W,
}

/// The listeners of a server.
pub(super) struct Listeners<L> {
    /// Empty while the server stops.
    listeners: Vec<L>,
    /// Whether a connection may wait to be accepted.
    waiting: bool,
    /// No connection is accepted before this moment: the system had no free descriptor.
    retry: Instant,
}

/// The options of TCP that a server sets.
#[derive(Clone, Copy, Debug)]
pub(super) struct TcpOptions {
    keep_alive: Option<Duration>,
}

/// The most connections that are accepted before the sessions have their turns.
const ACCEPTS: usize = 64;
/// The most connections that the system holds until they are accepted.
const MAX_PENDING: i32 = 1024;
/// How long to wait if the system has no free descriptor.
const RETRY: Duration = Duration::from_millis(100);

/// Makes a hub whose handles call `wake`.
pub(super) fn new_hub<S: HubSocket + 'static, A: Application>(
    settings: HubSettings,
    wake: impl Fn() + Send + Sync + 'static,
    application: impl FnOnce(HubHandle) -> A,
) -> io::Result<Hub<S, A>> {
    let monitor = HostMonitor { shared: Mutex::default(), wake };
    Hub::new(settings, Arc::new(monitor), application)
        .map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))
}

/// Lets the system hold as many connections as a server needs: std's queue of 128 is short, and a peer that does not fit
/// tries again a second later.
pub(super) fn listen(listener: SockRef<'_>) -> io::Result<()> {
    listener.listen(MAX_PENDING)
}

impl<S: HubSocket + 'static, A: Application> Hub<S, A> {
    /// Does what [`run`](Self::run) does. A turn that panics ends its own session only; if a command panics, the remaining
    /// ones run in the next call.
    pub(super) fn run_caught(&mut self, now: Instant) {
        for _ in 0..caught(|| self.begin(now)).unwrap_or(0) {
            if let Some(key) = self.next_turn()
                && caught(|| self.turn(now, key)).is_none()
            {
                while caught(|| self.abandon(key)).is_none() {}
            }
        }
    }
}

impl<L> Listeners<L> {
    pub(super) const fn new() -> Self {
        Self { listeners: Vec::new(), waiting: false, retry: Instant::START }
    }

    pub(super) fn add(&mut self, listener: L) {
        self.listeners.push(listener);
        self.waiting = true;
    }

    /// Records that a connection may wait to be accepted.
    pub(super) const fn ready(&mut self) {
        self.waiting = true;
    }

    /// Accepts pending connections with `accept`, and adds those of which `open` makes a socket. A connection that is declined is
    /// dropped.
    pub(super) fn accept<S: HubSocket + 'static, A: Application, T>(
        &mut self,
        hub: &mut Hub<S, A>,
        now: Instant,
        mut accept: impl FnMut(&L) -> io::Result<(T, SocketAddr)>,
        mut open: impl FnMut(&mut L, T) -> io::Result<S>,
    ) {
        if !self.waiting || now < self.retry {
            return;
        }
        let Self { listeners, waiting, retry } = self;
        *waiting = false;
        for listener in listeners {
            *waiting |= !drain(listener, hub, now, retry, &mut accept, &mut open);
        }
    }

    /// Returns the latest moment for the next turn, as [`Hub::deadline`]. Drops the listeners if the hub is stopping.
    pub(super) fn deadline<S: HubSocket + 'static, A: Application>(
        &mut self,
        hub: &Hub<S, A>,
        now: Instant,
    ) -> Option<Instant> {
        if hub.is_stopping() {
            self.listeners.clear();
        }
        // Wakes for a pending connection when there is room again.
        let next = now.max(self.retry);
        let accept = self.waiting && !self.listeners.is_empty() && hub.admits(next);
        hub.deadline(now).into_iter().chain(accept.then_some(next)).min()
    }
}

impl TcpOptions {
    pub(super) const DEFAULT: Self = Self { keep_alive: Some(Duration::from_secs(60)) };

    /// After this silence the system probes the peer; `None` does not set it.
    pub(super) fn keep_alive(&mut self, silence: Option<Duration>) {
        // The range that systems accept; beyond it, each connection would be dropped.
        self.keep_alive =
            silence.map(|silence| silence.clamp(Duration::from_secs(1), Duration::from_secs(32_767)));
    }

    pub(super) fn set(self, tcp: SockRef<'_>) -> io::Result<()> {
        tcp.set_tcp_nodelay(true)?;
        match self.keep_alive {
            Some(silence) => tcp.set_tcp_keepalive(&TcpKeepalive::new().with_time(silence)),
            None => Ok(()),
        }
    }
}

impl<W: Fn() + Send + Sync> Monitor for HostMonitor<W> {
    fn lock(&self, use_it: &mut dyn FnMut(&mut Shared)) {
        use_it(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn wake(&self) {
        (self.wake)();
    }
}

/// Accepts pending connections, at most `ACCEPTS`. Returns whether none is left.
fn drain<L, S: HubSocket + 'static, A: Application, T>(
    listener: &mut L,
    hub: &mut Hub<S, A>,
    now: Instant,
    retry: &mut Instant,
    accept: &mut impl FnMut(&L) -> io::Result<(T, SocketAddr)>,
    open: &mut impl FnMut(&mut L, T) -> io::Result<S>,
) -> bool {
    for _ in 0..ACCEPTS {
        if !hub.admits(now) {
            return false;
        }
        match accept(listener) {
            Ok((stream, peer)) => {
                let _ = caught(|| io::Result::Ok(hub.accept(now, open(listener, stream)?, peer)));
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => return true,
                // The peer has closed the connection already.
                ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted => {}
                _ => {
                    *retry = now.saturating_add(RETRY);
                    return false;
                }
            },
        }
    }
    false
}

/// Returns `None` if `act` panics.
fn caught<T>(act: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(act)).ok()
}
