//! The hub: its sessions, their turns and their deadlines.

#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::mem;
use core::net::SocketAddr;

use super::application::Application;
use super::compression::NONE;
use super::context::HubContext;
use super::counters::{Counters, count};
use super::handed_over::HandedOver;
use super::handle::HubHandle;
use super::id::SessionId;
use super::pool::{Buffers, Pool};
use super::session::{Session, Turn, TurnEnd};
use super::session_info::SessionInfo;
use super::sessions::Sessions;
use super::settings::{Capacity, HubSettings, InvalidSettings, pace};
use super::shared::{Command, Monitor, Owner};
use super::socket::{HubSocket, Ready};
use super::timers::{Timers, round_up};
use super::to_all::ToAll;
use crate::arc::Arc;
use crate::close::CloseCode;
use crate::connection::Connection;
use crate::log::log_debug;
use crate::role::Server;
use crate::session::{HandlerDriver, Outcome, ServerSession};
use crate::time::Instant;

/// Runs many sessions, and owns what they share. It does no I/O: [the driver](crate::hub::driver) does.
///
/// ```
/// use std::io::{ErrorKind, Read, Write};
/// use std::net::{Shutdown, TcpListener, TcpStream};
/// use std::sync::{Arc, Mutex};
/// use std::time::Duration;
///
/// use sansocket::Instant;
/// use sansocket::hub::driver::{Hub, HubSocket, Monitor, Ready, Shared, SocketFailed};
/// use sansocket::hub::{HubHandle, HubSettings, Routes};
///
/// /// A socket that does not block.
/// struct Tcp(TcpStream);
///
/// fn done(result: std::io::Result<usize>) -> Result<Option<usize>, SocketFailed> {
///     match result {
///         Ok(n) => Ok(Some(n)),
///         Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
///         Err(_) => Err(SocketFailed),
///     }
/// }
///
/// impl HubSocket for Tcp {
///     fn recv(&mut self, into: &mut [u8]) -> Result<Option<usize>, SocketFailed> {
///         done(self.0.read(into))
///     }
///     fn send(&mut self, bytes: &[u8], more: &[u8]) -> Result<Option<usize>, SocketFailed> {
///         done(self.0.write(if bytes.is_empty() { more } else { bytes }))
///     }
///     fn shutdown(&mut self) -> Result<(), SocketFailed> {
///         self.0.shutdown(Shutdown::Write).map_err(|_| SocketFailed)
///     }
/// }
///
/// /// A driver that does not wait needs no wake-up.
/// struct Lock(Mutex<Shared>);
///
/// impl Monitor for Lock {
///     fn lock(&self, use_it: &mut dyn FnMut(&mut Shared)) {
///         use_it(&mut self.0.lock().unwrap());
///     }
///     fn wake(&self) {}
/// }
///
/// fn serve(listener: TcpListener, routes: impl FnOnce(HubHandle) -> Routes) -> std::io::Result<()> {
///     let start = std::time::Instant::now();
///     let monitor = Arc::new(Lock(Mutex::default()));
///     let mut hub = Hub::new(HubSettings::default(), monitor, routes).map_err(std::io::Error::other)?;
///     listener.set_nonblocking(true)?;
///     while !hub.is_over() {
///         let now = Instant::START.saturating_add(start.elapsed());
///         while hub.admits(now) {
///             let Ok((stream, peer)) = listener.accept() else { break };
///             stream.set_nonblocking(true)?;
///             let _ = hub.accept(now, Tcp(stream), peer);
///         }
///         // This driver tries each transport in each turn. A real one waits until one is ready, until it is woken, or
///         // until `hub.deadline(now)`.
///         let keys: Vec<usize> = hub.wants().map(|(key, _, _)| key).collect();
///         keys.into_iter().for_each(|key| hub.ready(key, Ready { read: true, write: true, hang_up: false }));
///         hub.run(now);
///         let _ = hub.deadline(now);
///         std::thread::sleep(Duration::from_millis(1));
///     }
///     Ok(())
/// }
/// # let listener = TcpListener::bind("127.0.0.1:0").unwrap();
/// # let address = listener.local_addr().unwrap();
/// # let server = std::thread::spawn(move || serve(listener, |hub| {
/// #     Routes::new().get("/", move |_, _| {
/// #         hub.stop(sansocket::CloseCode::GOING_AWAY).unwrap();
/// #         sansocket::handshake::Response::text(200, "hello")
/// #     })
/// # }));
/// # let mut peer = TcpStream::connect(address).unwrap();
/// # peer.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
/// # let mut response = String::new();
/// # peer.read_to_string(&mut response).unwrap();
/// # assert!(response.starts_with("HTTP/1.1 200 OK") && response.ends_with("hello"));
/// # drop(peer);
/// # server.join().unwrap().unwrap();
/// ```
///
/// When a hub is dropped, it drops its transports, calls each handler's [`Handler::closed`](crate::Handler::closed)
/// with [`EndReason::Disconnected`](crate::error::EndReason::Disconnected), and calls the completions of the pending messages.
pub struct Hub<S: HubSocket + 'static, A: Application> {
    pub(super) application: A,
    pub(super) settings: HubSettings,
    pub(super) sessions: Sessions<S, A::Handler>,
    /// The keys of the sessions that have a turn pending.
    pub(super) turns: VecDeque<usize>,
    pub(super) timers: Timers,
    pub(super) pool: Pool,
    /// The buffers of the session whose turn it is.
    lent: Option<Box<Buffers>>,
    pub(super) counters: Counters,
    pub(super) commands: VecDeque<Command>,
    /// A command to all sessions that is in progress.
    pub(super) to_all: Option<ToAll>,
    /// The number of sessions whose response is 503 as all places are taken.
    pub(super) refused: usize,
    /// No transport is accepted before this moment.
    pub(super) pace: Instant,
    pub(super) stopping: bool,
    /// Dropped last, so that handles work until then.
    pub(super) handle: Owner,
}

impl<S: HubSocket + 'static, A: Application> Hub<S, A> {
    /// Creates a hub without sessions. `monitor` is the driver's. `application` makes the application, and may use the
    /// handle: the hub executes its commands in the first turn.
    ///
    /// # Errors
    /// A setting is invalid. Then `application` is not called.
    pub fn new(
        settings: HubSettings,
        monitor: Arc<dyn Monitor>,
        application: impl FnOnce(HubHandle) -> A,
    ) -> Result<Self, InvalidSettings> {
        settings.check()?;
        let pool = Pool::new(&settings);
        let handle = Owner::new(HubHandle::new(monitor, settings.max_commands));
        let sessions = Sessions::new(settings.capacity == Capacity::Evict);
        Ok(Self {
            application: application(handle.clone()),
            settings,
            sessions,
            turns: VecDeque::new(),
            timers: Timers::default(),
            pool,
            lent: None,
            counters: Counters::default(),
            commands: VecDeque::new(),
            to_all: None,
            refused: 0,
            pace: Instant::START,
            stopping: false,
            handle,
        })
    }

    /// Returns whether a transport may be accepted now. If only [`HubSettings::handshakes_per_second`] forbids it,
    /// [`deadline`](Self::deadline) includes the moment from which it is allowed.
    #[must_use]
    pub fn admits(&self, now: Instant) -> bool {
        let room = match self.settings.capacity {
            Capacity::Refuse(waiting) => !self.is_full() || self.refused < waiting,
            // Evicted sessions exceed the limit while they close.
            Capacity::Evict => self.sessions.len() < self.settings.max_sessions.saturating_add(LEAVING),
        };
        !self.stopping && now >= self.pace && room
    }

    /// Whether every place is taken. A session whose response is 503 takes none.
    fn is_full(&self) -> bool {
        self.sessions.len().saturating_sub(self.refused) >= self.settings.max_sessions
    }

    /// Adds a session over a transport that the driver has accepted.
    ///
    /// # Errors
    /// Returns the transport if [`Application::accept`] declines it or it cannot be watched.
    pub fn accept(&mut self, now: Instant, socket: S, peer: SocketAddr) -> Result<SessionId, S> {
        self.pace = pace(self.pace, now, self.settings.handshakes_per_second);
        let id = self.sessions.new_id();
        let mut info = SessionInfo::new(id, peer);
        let accepted = self.application.accept(&mut info);
        count(&mut self.counters.accepted);
        if !accepted {
            count(&mut self.counters.ended);
            return Err(socket);
        }
        let full = self.is_full();
        if full && self.settings.capacity == Capacity::Evict {
            self.evict(now);
        }
        let excess = full && matches!(self.settings.capacity, Capacity::Refuse(_));
        let config = Arc::clone(&self.settings.config);
        let negotiate = self.settings.negotiation();
        self.add(Session::new(socket, info, config, negotiate, excess, now))
    }

    /// Adds a session over a transport whose opening handshake is done already, with its handler and the subprotocol
    /// that was agreed upon.
    ///
    /// # Errors
    /// Returns the transport, unchanged, if all places are taken, the hub is stopping, or it cannot be watched.
    pub fn adopt(
        &mut self,
        now: Instant,
        socket: S,
        peer: SocketAddr,
        handler: A::Handler,
        protocol: Option<&'static str>,
    ) -> Result<SessionId, S> {
        if self.stopping || self.is_full() {
            return Err(socket);
        }
        count(&mut self.counters.accepted);
        let info = SessionInfo::new(self.sessions.new_id(), peer);
        let driver = HandlerDriver::new(
            Connection::opened(Server, NONE, Arc::clone(&self.settings.config), now),
            protocol,
        );
        self.add(Session::open(socket, info, ServerSession::of(driver), Some(handler), now))
    }

    /// Reports that a transport is ready. Ignores a key without a session.
    pub fn ready(&mut self, key: usize, ready: Ready) {
        if let Some(session) = self.sessions.get(key) {
            session.io.ready(ready);
            self.schedule(key);
        }
    }

    /// Lists the transports, each with its key and the readiness to wait for before there is anything to do on it.
    /// For drivers that ask before each wait; a driver that is notified of changes of readiness watches for
    /// everything and does not call this.
    pub fn wants(&self) -> impl Iterator<Item = (usize, &S, Ready)> {
        self.sessions.iter().map(|(key, session)| (key, &session.io.socket, session.wants()))
    }

    /// Returns the transport under this key.
    pub fn socket(&mut self, key: usize) -> Option<&mut S> {
        self.sessions.get(key).map(|session| &mut session.io.socket)
    }

    /// Executes commands and timers, and gives each session that has something to do a turn, within the limits of
    /// [a turn](crate::hub#how-long-a-turn-takes).
    pub fn run(&mut self, now: Instant) {
        for _ in 0..self.begin(now) {
            if let Some(key) = self.next_turn() {
                self.turn(now, key);
            }
        }
    }

    /// Executes commands and timers: the first part of [`run`](Self::run). Returns how many turns are due. For
    /// drivers that catch panics of single turns: call [`next_turn`](Self::next_turn) and [`turn`](Self::turn) that
    /// often.
    pub fn begin(&mut self, now: Instant) -> usize {
        // Commands that are left after a panic come first.
        if self.commands.is_empty() {
            let Self { handle, commands, .. } = self;
            handle.update(|shared| shared.take_commands(commands));
        }
        trim(&mut self.commands);
        let mut visits = ROUND;
        self.go_on_to_all(&mut visits);
        for _ in 0..COMMANDS {
            // Commands take effect in their order.
            if self.to_all.is_some() {
                break;
            }
            let Some(command) = self.commands.pop_front() else { break };
            self.obey(command);
            self.go_on_to_all(&mut visits);
        }
        for _ in 0..ROUND {
            let Some(id) = self.timers.pop(now) else { break };
            if let Some(session) = self.find(id) {
                session.timer = Instant::NEVER;
                self.schedule(id.key());
            }
        }
        self.turns.len().min(ROUND)
    }

    /// Returns the key of the next session whose turn is due.
    pub fn next_turn(&mut self) -> Option<usize> {
        self.turns.pop_front()
    }

    /// Gives one session a turn.
    pub fn turn(&mut self, now: Instant, key: usize) {
        let Some(session) = self.sessions.get(key) else { return };
        session.scheduled = false;
        let (state, tag, id) = (session.info.state, session.info.tag(), session.info.id);
        let mut turn = Turn::new(now, &mut self.application, &mut self.pool, &mut self.counters);
        let end = session.run(&mut turn, &mut self.lent, self.settings.read_grace);
        if (state, tag) != (session.info.state, session.info.tag()) {
            log_debug!("{:?} is {:?}", id, session.info.state);
            let info = &session.info;
            self.handle.update(|shared| shared.show(key, Some(info)));
        }
        match end {
            TurnEnd::Wait(deadline) => {
                let moment = deadline.map_or(Instant::NEVER, |deadline| round_up(now, deadline));
                self.timers.set(id, &mut session.timer, moment);
                self.sessions.reorder(key);
            }
            TurnEnd::Again => self.schedule(key),
            TurnEnd::Ended(outcome) => {
                self.remove(key, Some(outcome));
            }
            TurnEnd::HandOver(received) => {
                if let Some(session) = self.remove(key, Some(Outcome::HandedOver)) {
                    let request = HandedOver::new(session.io.socket, received);
                    self.application.handed_over(&session.info, request);
                }
            }
        }
    }

    /// Drops a session whose turn has panicked. If this call panics too, call it again.
    pub fn abandon(&mut self, key: usize) {
        log_debug!("the handler of session {:?} panicked", key);
        if let Some(buffers) = self.lent.take() {
            self.pool.take(buffers);
        }
        self.remove(key, None);
    }

    /// Returns the latest moment for the next [`run`](Self::run); `None`: no deadline. Call it before each wait: it
    /// also publishes the counters to handles.
    #[must_use]
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let mut commands = self.to_all.is_some() || !self.commands.is_empty();
        self.handle.update(|shared| {
            shared.counters = self.counters;
            // Commands that were queued after the turn had taken the others: their wake-up may have been consumed.
            commands |= shared.has_commands();
        });
        if commands || !self.turns.is_empty() {
            return Some(now);
        }
        let pace = (now < self.pace).then_some(self.pace);
        self.timers.next().into_iter().chain(pace).min()
    }

    /// Returns whether the hub was stopped and its last session has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.stopping && self.sessions.len() == 0
    }

    /// Returns whether the hub is stopping: the driver must not accept further transports.
    #[must_use]
    pub const fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Stops gracefully, as [`HubHandle::stop`], but at once: before pending commands.
    pub fn stop(&mut self, code: CloseCode) {
        self.stopping = true;
        self.for_each(|hub, key| hub.close_at(key, code, ""));
    }

    /// Returns the application.
    pub const fn application(&mut self) -> &mut A {
        &mut self.application
    }

    /// Returns the hub as a function in its thread sees it.
    pub fn context(&mut self) -> HubContext<'_> {
        HubContext::new(self)
    }

    /// Returns a handle to the hub.
    #[must_use]
    pub fn handle(&self) -> HubHandle {
        self.handle.clone()
    }

    /// Closes the session that has been silent for longest, unless enough are closing already. Drops the transport of
    /// the longest closing session if the new one takes the last place beyond the limit.
    fn evict(&mut self, now: Instant) {
        let leaving = self.sessions.oldest(true);
        if self.sessions.staying() >= self.settings.max_sessions
            && let Some(key) = self.sessions.oldest(false)
        {
            log_debug!("session {:?} is evicted", key);
            self.close_at(key, CloseCode::TRY_AGAIN_LATER, "");
        }
        if self.sessions.len().saturating_add(1) >= self.settings.max_sessions.saturating_add(LEAVING)
            && let Some(session) = leaving.and_then(|key| self.sessions.get(key))
        {
            let id = session.info.id;
            log_debug!("{:?} is dropped to make room", id);
            session.cut(now);
            self.schedule(id.key());
        }
    }

    /// Adds a session, and watches its transport.
    fn add(&mut self, mut session: Session<S, A::Handler>) -> Result<SessionId, S> {
        let id = session.info.id;
        log_debug!("{:?} from {:?}", id, session.info.peer);
        let key = id.key();
        if session.io.socket.attach(key).is_err() {
            count(&mut self.counters.ended);
            return Err(session.io.socket);
        }
        self.handle.update(|shared| shared.show(key, Some(&session.info)));
        self.refused = self.refused.saturating_add(usize::from(session.is_excess()));
        self.sessions.insert(session);
        self.schedule(key);
        Ok(id)
    }

    /// Removes a session that has ended; `None`: its handler has panicked.
    pub(super) fn remove(&mut self, key: usize, outcome: Option<Outcome>) -> Option<Session<S, A::Handler>> {
        // A completion may panic: then the driver calls this again, and the other messages are still queued.
        while self.sessions.get(key)?.lose_one(&mut self.counters) {}
        let mut session = self.sessions.remove(key)?;
        match outcome {
            Some(outcome) => self.counters.end(outcome),
            None => count(&mut self.counters.panicked),
        }
        trim(&mut self.turns);
        self.timers.set(session.info.id, &mut session.timer, Instant::NEVER);
        self.refused = self.refused.saturating_sub(usize::from(session.is_excess()));
        count(&mut self.counters.ended);
        self.handle.update(|shared| shared.show(key, None));
        log_debug!("{:?} has ended: {:?}", session.info.id, outcome);
        session.return_buffers(&mut self.pool);
        self.application.ended(&session.info, outcome);
        Some(session)
    }

    /// Publishes a session's changes to handles.
    pub(super) fn publish(&mut self, key: usize) {
        if let Some(session) = self.sessions.get(key) {
            self.handle.update(|shared| shared.show(key, Some(&session.info)));
        }
    }

    pub(super) fn find(&mut self, id: SessionId) -> Option<&mut Session<S, A::Handler>> {
        self.sessions.get(id.key()).filter(|session| session.info.id == id)
    }

    /// Gives a session a turn, after it has become ready or was changed from outside.
    pub(super) fn schedule(&mut self, key: usize) {
        if let Some(session) = self.sessions.get(key) {
            if !mem::replace(&mut session.scheduled, true) {
                self.turns.push_back(key);
            }
            self.sessions.reorder(key);
        }
    }
}

/// Releases memory that a queue no longer needs, by halves: each step costs no more than what filled the queue.
fn trim<T>(queue: &mut VecDeque<T>) {
    if queue.capacity() > 64 && queue.capacity() / 4 > queue.len() {
        queue.shrink_to(queue.capacity() / 2);
    }
}

/// Sessions that may exist beyond the limit while evicted ones close.
const LEAVING: usize = 8;
/// Commands that the hub executes before sessions have their turns: a longer burst is written in between, so that a
/// peer that reads loses none of it.
const COMMANDS: usize = 64;
/// The most sessions in one turn of the hub: that have their own turn in it, whose timers are due, that a command
/// reaches. Then the driver looks for new connections and for transports that have become ready.
const ROUND: usize = 256;
