//! One session of a hub: a transport, its handshake or connection, and what is pending for it.

#![forbid(unsafe_code)]

mod closing;
mod stage;
mod transfer;
mod turn;

use alloc::boxed::Box;
use core::convert::Infallible;

use closing::Closing;
pub(super) use stage::Stage;
pub(super) use turn::{STEPS, Turn, TurnEnd};

use super::application::Application;
use super::callbacks::Callbacks;
use super::completion::{Done, NotDelivered};
use super::compression::Negotiation;
use super::counters::Counters;
use super::pool::{Buffers, Pool};
use super::queue::Queue;
use super::session_info::{SessionInfo, SessionState};
use super::socket::{HubSocket, Io, Ready};
use crate::arc::Arc;
use crate::close::CloseCode;
use crate::config::base::Config;
use crate::config::{Overflow, QueueLimits, Timeouts};
use crate::handler::Handler;
use crate::message::Prepared;
use crate::session::{Outcome, ServerSession};
use crate::step::Step;
use crate::time::Instant;

/// A transport, its handshake or connection, and what the hub keeps for them.
pub(super) struct Session<S, H> {
    pub(super) info: SessionInfo,
    pub(super) io: Io<S>,
    stage: Stage,
    /// The opening handshake, then the connection.
    server: ServerSession<Arc<Config>, Negotiation>,
    handler: Option<H>,
    /// `None` while the session is idle.
    buffers: Option<Box<Buffers>>,
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
            buffers: None,
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
            _ => self.buffers.as_ref().is_some_and(|buffers| !buffers.tx.is_empty()),
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
        let mut buffers = self.buffers.take().unwrap_or_default();
        match self.poll(turn, &mut buffers) {
            Step::Done(outcome) => outcome,
            Step::Wait { .. } | Step::Shutdown => Outcome::Disconnected,
        }
    }

    /// Returns the buffers to the pool.
    pub(super) fn return_buffers(&mut self, pool: &mut Pool) {
        if let Some(buffers) = self.buffers.take() {
            pool.take(buffers);
        }
    }

    /// The time-outs: of the route, once its request is accepted.
    fn timeouts(&self) -> &Timeouts {
        &self.server.config().timeouts
    }

    fn end_by(&mut self, limit: Instant) {
        self.limit = self.limit.min(limit);
    }

    /// Whether the session needs no buffers until something arrives.
    fn is_idle(&self, buffers: &Buffers) -> bool {
        let Buffers { head, rx, tx } = buffers;
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
    fn poll<A: Application<Handler = H>>(
        &mut self,
        turn: &mut Turn<'_, A>,
        buffers: &mut Buffers,
    ) -> Step<Infallible, Outcome> {
        let Buffers { head, rx, tx } = buffers;
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
}
