//! One session of a hub: a transport, its handshake or connection, and what is pending for it.

#![forbid(unsafe_code)]

mod closing;
mod stage;
mod transfer;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::time::Duration;

use closing::Closing;
pub(super) use stage::Stage;

use super::application::Application;
use super::callbacks::Callbacks;
use super::completion::{Done, NotDelivered};
use super::compression::Negotiation;
use super::counters::{Counters, count};
use super::exchange::Exchange;
use super::pool::{Buffers, Pool};
use super::queue::Queue;
use super::session_info::{SessionInfo, SessionState};
use super::socket::{HubSocket, Io, Ready, SocketFailed};
use crate::arc::Arc;
use crate::close::CloseCode;
use crate::config::base::Config;
use crate::config::{Overflow, QueueLimits, Timeouts};
use crate::connection::ConnectionState;
use crate::error::EndReason;
#[cfg(feature = "deflate")]
use crate::extension::Extension;
use crate::handler::Handler;
use crate::message::Prepared;
use crate::session::{Outcome, ServerSession};
use crate::step::Step;
use crate::time::{Due, Instant, Timed};

/// A transport, its handshake or connection, and what the hub keeps for them.
pub(super) struct Session<S, H> {
    pub(super) info: SessionInfo,
    pub(super) io: Io<S>,
    stage: Stage,
    /// The opening handshake, then the connection.
    server: ServerSession<Arc<Config>, Negotiation>,
    handler: Option<H>,
    buffers: Buffers,
    queue: Queue,
    /// Bytes of the transmit buffer that the transport has taken.
    written: u64,
    /// The requested close, until its Close is sent.
    closing: Option<Box<Closing>>,
    /// The hard limit for an end that has begun.
    limit: Instant,
    /// When the peer was first seen to have missed a deadline.
    due: Instant,
    /// Whether the deadline was extended, which happens once.
    extended: bool,
    /// Whether a turn of this session is pending.
    pub(super) scheduled: bool,
    /// When something was received last.
    pub(super) heard: Instant,
    /// The timer that is set.
    pub(super) timer: Instant,
}

/// What a session works with in its turn.
pub(super) struct Turn<'t, A> {
    pub(super) now: Instant,
    /// Bytes that the session may still receive and send.
    pub(super) budget: usize,
    pub(super) application: &'t mut A,
    pub(super) pool: &'t mut Pool,
    pub(super) counters: &'t mut Counters,
}

/// How a turn ended.
pub(super) enum TurnEnd {
    /// There is nothing to do until the socket is ready or this deadline passes.
    Wait(Option<Instant>),
    /// There is more to do after the other sessions' turns.
    Again,
    Ended(Outcome),
    /// The application takes over the request, with these bytes.
    HandOver(Vec<u8>),
}

/// The most bytes that one session may receive and send in a turn.
const BYTES: usize = 128 * 1024;
/// The most steps of one session in a turn.
pub(super) const STEPS: usize = 64;

impl<'t, A> Turn<'t, A> {
    pub(super) const fn new(
        now: Instant,
        application: &'t mut A,
        pool: &'t mut Pool,
        counters: &'t mut Counters,
    ) -> Self {
        Self { now, budget: BYTES, application, pool, counters }
    }
}

impl<S: HubSocket, H: Handler> Session<S, H> {
    /// Begins with the opening handshake. `excess`: all places are taken, and the response is 503.
    pub(super) fn new(
        socket: S,
        info: SessionInfo,
        config: Arc<Config>,
        negotiate: Negotiation,
        excess: bool,
        now: Instant,
    ) -> Self {
        let mut server = ServerSession::negotiating(config, now, negotiate);
        if excess {
            server.refuse();
        }
        let session = Self::open(socket, info, server, None, now);
        Self { stage: if excess { Stage::Excess } else { Stage::Handshake }, ..session }
    }

    /// Begins with this handshake or connection.
    pub(super) fn open(
        socket: S,
        info: SessionInfo,
        server: ServerSession<Arc<Config>, Negotiation>,
        handler: Option<H>,
        now: Instant,
    ) -> Self {
        Self {
            info,
            io: Io::new(socket),
            stage: Stage::Handshake,
            server,
            handler,
            buffers: Buffers::default(),
            queue: Queue::default(),
            written: 0,
            closing: None,
            limit: Instant::NEVER,
            due: Instant::NEVER,
            extended: false,
            scheduled: false,
            heard: now,
            timer: Instant::NEVER,
        }
    }

    /// Whether the session takes no place, as all are taken.
    pub(super) const fn is_excess(&self) -> bool {
        matches!(self.stage, Stage::Excess)
    }

    /// Whether the session is closing, or a close is requested.
    pub(super) fn is_closing(&self) -> bool {
        self.info.state == SessionState::Closing
    }

    /// The readiness of the socket to wait for before there is anything to do.
    pub(super) fn wants(&self) -> Ready {
        let output = match &self.stage {
            Stage::Exchange(exchange) => exchange.has_output(),
            _ => !self.buffers.tx.is_empty(),
        };
        self.io.wants(output)
    }

    /// Queues a message. An error says why the message is lost, and gives its completion back.
    pub(super) fn send(
        &mut self,
        message: Prepared,
        done: Done,
        limits: &QueueLimits,
        counters: &mut Counters,
    ) -> Result<(), (NotDelivered, Done)> {
        if self.is_closing() {
            return Err((NotDelivered::Closing, done));
        }
        if self.stage.is_http() {
            return Err((NotDelivered::Ended, done));
        }
        if message.is_too_long() {
            return Err((NotDelivered::ControlTooLong, done));
        }
        if let Some((code, reason)) = message.close() {
            self.close_with(Closing::new(code, reason, done));
            return Ok(());
        }
        self.queue.push(message, done, limits, counters).map_err(|done| {
            if let Overflow::Close(code) = limits.overflow {
                self.close(code, "");
            }
            (NotDelivered::Overflow, done)
        })
    }

    /// Wakes the handler in the session's next turn.
    pub(super) const fn wake(&mut self) {
        self.server.wake();
    }

    /// Begins to close the session: refuses further messages, and sends the Close after those that wait.
    pub(super) fn close(&mut self, code: CloseCode, reason: &str) {
        self.close_with(Closing::new(Some(code), reason, Done::NOBODY));
    }

    fn close_with(&mut self, closing: Closing) {
        self.info.state = SessionState::Closing;
        self.closing.get_or_insert_with(|| Box::new(closing));
    }

    /// Ends the session in its next turn.
    pub(super) fn cut(&mut self, now: Instant) {
        self.limit = now;
        if let Stage::Exchange(exchange) = &mut self.stage {
            exchange.hurry(now);
        }
    }

    /// Gives the session a turn. If its peer has missed a deadline, it waits for `grace` before it enforces the deadline.
    pub(super) fn run<A: Application<Handler = H>>(
        &mut self,
        turn: &mut Turn<'_, A>,
        grace: Duration,
    ) -> TurnEnd {
        if !self.is_due(turn.now) {
            self.due = Instant::NEVER;
        } else {
            self.due = self.due.min(turn.now);
            let end = self.due.saturating_add(grace);
            if turn.now < end {
                return TurnEnd::Wait(Some(end));
            }
            // Tries both directions once more, whatever readiness the driver has reported.
            self.io.ready(Ready { read: true, write: true, ..Ready::default() });
        }
        let end = self.go_on(turn);
        debug_assert!(self.is_legal());
        match end {
            // The last encrypted bytes may wait for room: they are flushed first.
            TurnEnd::Ended(outcome) if !is_given_up(&outcome) && self.io.flush() == Ok(false) => {
                self.end_by(turn.now.plus(self.timeouts().close));
                if turn.now < self.limit { TurnEnd::Wait(self.limit.as_deadline()) } else { end }
            }
            end => end,
        }
    }

    /// Whether a turn at `now` ends the session because the peer has taken too long.
    fn is_due(&self, now: Instant) -> bool {
        match &self.stage {
            Stage::Exchange(exchange) => exchange.is_due(now),
            _ => now >= self.limit.min(self.queue_deadline()) || self.server.due(now) != Due::No,
        }
    }

    /// Takes steps until there is nothing to do, or the turn has lasted long enough.
    fn go_on<A: Application<Handler = H>>(&mut self, turn: &mut Turn<'_, A>) -> TurnEnd {
        for step in 0..STEPS {
            if let Stage::Exchange(exchange) = &mut self.stage {
                if self.closing.take().is_some() {
                    exchange.hurry(turn.now.plus(self.server.config().timeouts.close));
                }
                let before = turn.counters.received;
                let end = exchange.run(turn, &self.info, &mut self.io);
                if turn.counters.received > before {
                    self.heard = turn.now;
                }
                return end;
            }
            if turn.budget == 0 {
                break;
            }
            if let Some(end) = self.step(turn, step == 0) {
                return end;
            }
        }
        TurnEnd::Again
    }

    /// Polls the handshake or the connection once, and does what it asks for. `None`: there may be more to do.
    fn step<A: Application<Handler = H>>(&mut self, turn: &mut Turn<'_, A>, first: bool) -> Option<TurnEnd> {
        let now = turn.now;
        turn.pool.lend(&mut self.buffers, self.server.connection().is_none());
        #[cfg(feature = "deflate")]
        if self.server.connection().is_some_and(|connection| connection.extension.is_active()) {
            turn.pool.lend_output(&mut self.buffers);
        }
        if first && self.transfer(turn).is_err() || now >= self.limit {
            self.server.transport_failed();
        }
        if self.heard == now && !self.extended && self.server.due(now) == Due::All {
            self.extended = true;
            self.server.extend(now);
        }
        self.go_on_closing(turn);
        let step = self.poll(turn);
        self.update_state(turn);
        match step {
            Step::Wait { deadline } => return self.wait(turn, deadline),
            Step::Shutdown => {
                self.end_by(now.plus(self.timeouts().close));
                if self.io.socket.shutdown().is_err() {
                    self.server.transport_failed();
                }
                // The discarded input may have been all there is to wait for.
                self.io.ready(Ready { read: true, ..Ready::default() });
            }
            Step::Done(Outcome::HandedOver) => {
                let received = self.buffers.head.unread().to_vec();
                let Stage::ReadBody(limit) = self.stage else { return Some(TurnEnd::HandOver(received)) };
                let exchange = Exchange::new(received, limit, Arc::clone(self.server.config()), now);
                self.stage = Stage::Exchange(Box::new(exchange));
                turn.pool.take(&mut self.buffers);
            }
            Step::Done(outcome) => return Some(TurnEnd::Ended(outcome)),
        }
        None
    }

    /// Writes and reads. If nothing moves, gives the buffers back if they are not needed, and ends the turn.
    fn wait<A>(&mut self, turn: &mut Turn<'_, A>, deadline: Option<Instant>) -> Option<TurnEnd> {
        match self.write_and_read(turn) {
            // The poll has stopped before its end, so that others get their turns.
            Ok(_) if deadline.is_some_and(|moment| moment <= turn.now) => Some(TurnEnd::Again),
            // Nothing moves without a budget.
            Ok(moved) if moved || turn.budget == 0 => None,
            Ok(_) => {
                if self.is_idle() {
                    turn.pool.take(&mut self.buffers);
                    self.queue.shrink();
                }
                let limit = self.limit.min(self.queue_deadline()).as_deadline();
                Some(TurnEnd::Wait(deadline.into_iter().chain(limit).min()))
            }
            Err(SocketFailed) => {
                self.server.transport_failed();
                None
            }
        }
    }

    /// Drops the oldest message: the session has ended. Returns whether there was one.
    pub(super) fn lose_one(&mut self, counters: &mut Counters) -> bool {
        self.queue.lose_anyhow(counters)
    }

    /// Drops the connection and notifies the handler. Returns how the session ended.
    pub(super) fn abandon<A: Application<Handler = H>>(&mut self, turn: &mut Turn<'_, A>) -> Outcome {
        if let Stage::Exchange(exchange) = &self.stage {
            return exchange.failed();
        }
        self.server.transport_failed();
        match self.poll(turn) {
            Step::Done(outcome) => outcome,
            Step::Wait { .. } | Step::Shutdown => Outcome::Disconnected,
        }
    }

    /// Returns the buffers to the pool, at the end.
    pub(super) fn end(&mut self, pool: &mut Pool) {
        pool.take(&mut self.buffers);
    }

    /// The time-outs: of the route, once its request is accepted.
    fn timeouts(&self) -> &Timeouts {
        &self.server.config().timeouts
    }

    fn end_by(&mut self, limit: Instant) {
        self.limit = self.limit.min(limit);
    }

    /// Whether the session needs no buffers until something arrives.
    fn is_idle(&self) -> bool {
        let Buffers { head, rx, tx } = &self.buffers;
        match self.server.connection() {
            // Nothing of the request has arrived, or all of the response is sent.
            None => {
                let ended = head.is_ended() || rx.is_ended();
                head.is_empty() && rx.is_empty() && tx.is_empty() && !ended
            }
            Some(_) => self.server.is_idle(rx, tx),
        }
    }

    /// Lets the handshake or the connection and its handler do what can be done now.
    fn poll<A: Application<Handler = H>>(&mut self, turn: &mut Turn<'_, A>) -> Step<Infallible, Outcome> {
        let Buffers { head, rx, tx } = &mut self.buffers;
        let mut callbacks = Callbacks {
            application: turn.application,
            handler: &mut self.handler,
            info: &mut self.info,
            stage: &mut self.stage,
            messages: &mut turn.counters.messages,
        };
        let step = self.server.poll_with(turn.now, &mut callbacks, head, rx, tx);
        while self.stage.is_http() && self.queue.lose(NotDelivered::Ended, turn.counters) {}
        step
    }

    /// Updates stage and state after a poll.
    fn update_state<A>(&mut self, turn: &mut Turn<'_, A>) {
        let Some(connection) = self.server.connection() else { return };
        let state = connection.state();
        if !matches!(self.stage, Stage::WebSocket) {
            self.stage = Stage::WebSocket;
            turn.pool.take_head(&mut self.buffers);
            count(&mut turn.counters.opened);
        }
        let open = state == ConnectionState::Open && self.closing.is_none();
        self.info.state = if open { SessionState::Open } else { SessionState::Closing };
        if state == ConnectionState::Closing {
            // "The application MUST NOT send any more data frames after sending a Close frame." (RFC 6455 §5.5.1)
            while self.queue.lose(NotDelivered::Closing, turn.counters) {}
        }
    }
}

/// Whether the session ended because the peer does not react.
const fn is_given_up(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Closed(ending) => matches!(ending.reason, EndReason::Timeout(_) | EndReason::Disconnected),
        Outcome::Disconnected => true,
        Outcome::Refused(_) | Outcome::HandedOver => false,
    }
}
