//! The hub: many sessions, their turns and deadlines.

#![forbid(unsafe_code)]

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::mem;
use core::net::SocketAddr;

use super::application::Application;
use super::context::HubContext;
use super::counters::{Counters, count};
use super::handed_over::HandedOver;
use super::handle::HubHandle;
use super::id::SessionId;
use super::note::note;
use super::places::Places;
use super::pool::Pool;
use super::round::Round;
use super::session_info::SessionInfo;
use super::settings::{Capacity, HubSettings, InvalidSettings, pace};
use super::shared::{Command, Monitor, Owner};
use super::slot::Slot;
use super::socket::{HubSocket, Ready};
use super::timers::{Timers, round_up};
use super::turn::Turn;
use crate::close::CloseCode;
use crate::connection::Connection;
use crate::role::Server;
use crate::session::{HandlerDriver, Outcome, ServerSession};
use crate::time::Instant;

/// Drives many sessions, and owns what they share.
///
/// When a hub is dropped, it drops its transports, calls each handler's [`Handler::closed`](crate::Handler::closed)
/// with [`EndReason::Disconnected`](crate::error::EndReason::Disconnected), and calls the completions of the pending messages.
pub struct Hub<S: HubSocket + 'static, A: Application> {
    pub(super) application: A,
    pub(super) settings: HubSettings,
    pub(super) places: Places<S, A::Handler>,
    /// The keys of the sessions that have a turn pending.
    pub(super) list: VecDeque<usize>,
    pub(super) timers: Timers,
    pub(super) pool: Pool,
    pub(super) counters: Counters,
    pub(super) commands: VecDeque<Command>,
    /// A broadcast or a stop in progress, which visits one session after the other.
    pub(super) round: Option<Round>,
    /// The number of sessions that are answered with 503.
    pub(super) refused: usize,
    /// No transport is accepted before this moment.
    pub(super) pace: Instant,
    pub(super) stopping: bool,
    /// Dropped last, so that handles work until then.
    pub(super) handle: Owner,
}

impl<S: HubSocket + 'static, A: Application> Hub<S, A> {
    /// Makes a hub without sessions. `monitor` is the driver's. `application` makes the application, and may use the
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
        let places = Places::new(settings.capacity == Capacity::Evict);
        Ok(Self {
            application: application(handle.clone()),
            settings,
            places,
            list: VecDeque::new(),
            timers: Timers::default(),
            pool,
            counters: Counters::default(),
            commands: VecDeque::new(),
            round: None,
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
            Capacity::Evict => self.places.len() < self.settings.max_sessions.saturating_add(LEAVING),
        };
        !self.stopping && now >= self.pace && room
    }

    /// Whether every place is taken. Sessions that are answered with 503 take no place.
    fn is_full(&self) -> bool {
        self.places.len().saturating_sub(self.refused) >= self.settings.max_sessions
    }

    /// Adds a session over a transport that the driver has accepted.
    ///
    /// # Errors
    /// Returns the transport if [`Application::accept`] declines it or it cannot be watched.
    pub fn accept(&mut self, now: Instant, socket: S, peer: SocketAddr) -> Result<SessionId, S> {
        self.pace = pace(self.pace, now, self.settings.handshakes_per_second);
        let id = self.places.new_id();
        let mut client = SessionInfo::new(id, peer);
        let welcome = self.application.accept(&mut client);
        count(&mut self.counters.accepted);
        if !welcome {
            count(&mut self.counters.ended);
            return Err(socket);
        }
        let full = self.is_full();
        if full && self.settings.capacity == Capacity::Evict {
            self.evict(now);
        }
        let refuse = full && matches!(self.settings.capacity, Capacity::Refuse(_));
        let mut session = ServerSession::new(Arc::clone(&self.settings.config), now);
        if refuse {
            session.refuse();
        }
        let mut slot = Slot::new(socket, client, session, None, now);
        slot.refuse = refuse;
        self.seat(slot)
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
        let client = SessionInfo::new(self.places.new_id(), peer);
        let driver =
            HandlerDriver::new(Connection::new(Server, Arc::clone(&self.settings.config), now), protocol);
        self.seat(Slot::new(socket, client, ServerSession::open(driver), Some(handler), now))
    }

    /// Reports that a transport is ready. Ignores a key without a session.
    pub fn ready(&mut self, key: usize, ready: Ready) {
        if let Some(slot) = self.places.get(key) {
            slot.io.ready(ready);
            self.enlist(key);
        }
    }

    /// Lists the transports, each with its key and the readiness to wait for before there is anything to do on it.
    /// For drivers that ask before each wait; a driver that is notified of changes of readiness watches for
    /// everything and does not call this.
    pub fn wants(&self) -> impl Iterator<Item = (usize, &S, Ready)> {
        self.places.iter().map(|(key, slot)| (key, &slot.io.socket, slot.wants()))
    }

    /// Returns the transport under this key.
    pub fn socket(&mut self, key: usize) -> Option<&mut S> {
        self.places.get(key).map(|slot| &mut slot.io.socket)
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
        self.go_round(&mut visits);
        for _ in 0..COMMANDS {
            // Commands take effect in their order.
            if self.round.is_some() {
                break;
            }
            let Some(command) = self.commands.pop_front() else { break };
            self.obey(command);
            self.go_round(&mut visits);
        }
        for _ in 0..ROUND {
            let Some(id) = self.timers.pop(now) else { break };
            if let Some(slot) = self.find(id) {
                slot.timer = Instant::NEVER;
                self.enlist(id.key());
            }
        }
        self.list.len().min(ROUND)
    }

    /// Returns the key of the next session whose turn is due.
    pub fn next_turn(&mut self) -> Option<usize> {
        self.list.pop_front()
    }

    /// Gives one session a turn.
    pub fn turn(&mut self, now: Instant, key: usize) {
        let Some(slot) = self.places.get(key) else { return };
        slot.listed = false;
        let (state, tag, id) = (slot.client.state, slot.client.tag(), slot.client.id);
        let turn = slot.run(
            now,
            self.settings.read_grace,
            &mut self.application,
            &mut self.pool,
            &mut self.counters,
        );
        if (state, tag) != (slot.client.state, slot.client.tag()) {
            note!("{:?} is {:?}", id, slot.client.state);
            let client = &slot.client;
            self.handle.update(|shared| shared.show(key, Some(client)));
        }
        match turn {
            Turn::Wait(deadline) => {
                let moment = deadline.map_or(Instant::NEVER, |deadline| round_up(now, deadline));
                self.timers.set(id, &mut slot.timer, moment);
                self.places.reorder(key);
            }
            Turn::Again => self.enlist(key),
            Turn::Ended(outcome) => {
                self.leave(key, Some(outcome));
            }
            Turn::HandOver(received) => {
                if let Some(slot) = self.leave(key, Some(Outcome::HandedOver)) {
                    let request = HandedOver::new(slot.io.socket, received);
                    self.application.handed_over(&slot.client, request);
                }
            }
        }
    }

    /// Drops a session whose turn has panicked. If this call panics too, call it again.
    pub fn abandon(&mut self, key: usize) {
        note!("the handler of place {:?} panicked", key);
        self.leave(key, None);
    }

    /// Returns the latest moment for the next [`run`](Self::run); `None`: no deadline. Call it before each wait: it
    /// also publishes the counters to handles.
    #[must_use]
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let mut commands = self.round.is_some() || !self.commands.is_empty();
        self.handle.update(|shared| {
            shared.counters = self.counters;
            // Commands that were queued after the turn had taken the others: their wake-up may have been consumed.
            commands |= shared.has_commands();
        });
        if commands || !self.list.is_empty() {
            return Some(now);
        }
        let pace = (now < self.pace).then_some(self.pace);
        self.timers.next().into_iter().chain(pace).min()
    }

    /// Returns whether the hub was stopped and its last session has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.stopping && self.places.len() == 0
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
        let leaving = self.places.oldest(true);
        if self.places.staying() >= self.settings.max_sessions {
            if let Some(key) = self.places.oldest(false) {
                note!("place {:?} is evicted", key);
                self.close_at(key, CloseCode::TRY_AGAIN_LATER, "");
            }
        }
        if self.places.len().saturating_add(1) >= self.settings.max_sessions.saturating_add(LEAVING) {
            if let Some(slot) = leaving.and_then(|key| self.places.get(key)) {
                let id = slot.client.id;
                note!("{:?} is dropped to make room", id);
                slot.cut(now);
                self.enlist(id.key());
            }
        }
    }

    /// Adds a session.
    fn seat(&mut self, mut slot: Slot<S, A::Handler>) -> Result<SessionId, S> {
        let id = slot.client.id;
        note!("{:?} from {:?}", id, slot.client.peer);
        let key = id.key();
        if slot.io.socket.attach(key).is_err() {
            count(&mut self.counters.ended);
            return Err(slot.io.socket);
        }
        self.handle.update(|shared| shared.show(key, Some(&slot.client)));
        self.refused = self.refused.saturating_add(usize::from(slot.refuse));
        self.places.insert(slot);
        self.enlist(key);
        Ok(id)
    }

    pub(super) fn leave(&mut self, key: usize, outcome: Option<Outcome>) -> Option<Slot<S, A::Handler>> {
        // A completion may panic: then the driver calls this again, and the other messages are still queued.
        while self.places.get(key)?.lose_one(&mut self.counters) {}
        let mut slot = self.places.remove(key)?;
        match outcome {
            Some(outcome) => self.counters.end(outcome),
            None => count(&mut self.counters.panicked),
        }
        trim(&mut self.list);
        self.timers.set(slot.client.id, &mut slot.timer, Instant::NEVER);
        self.refused = self.refused.saturating_sub(usize::from(slot.refuse));
        count(&mut self.counters.ended);
        self.handle.update(|shared| shared.show(key, None));
        note!("{:?} has ended: {:?}", slot.client.id, outcome);
        slot.end(&mut self.pool);
        self.application.ended(&slot.client, outcome);
        Some(slot)
    }

    /// Publishes a session's changes to handles.
    pub(super) fn show(&mut self, key: usize) {
        if let Some(slot) = self.places.get(key) {
            self.handle.update(|shared| shared.show(key, Some(&slot.client)));
        }
    }

    pub(super) fn find(&mut self, id: SessionId) -> Option<&mut Slot<S, A::Handler>> {
        self.places.get(id.key()).filter(|slot| slot.client.id == id)
    }

    /// Gives a session a turn, after it has become ready or was changed from outside.
    pub(super) fn enlist(&mut self, key: usize) {
        if let Some(slot) = self.places.get(key) {
            if !mem::replace(&mut slot.listed, true) {
                self.list.push_back(key);
            }
            self.places.reorder(key);
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
