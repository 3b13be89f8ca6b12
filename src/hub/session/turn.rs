//! The turn of a session: what it does when it is its turn, and how much of it.

#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Session, Stage};
use crate::arc::Arc;
use crate::connection::ConnectionState;
use crate::error::EndReason;
#[cfg(feature = "deflate")]
use crate::extension::Extension;
use crate::handler::Handler;
use crate::hub::application::Application;
use crate::hub::completion::NotDelivered;
use crate::hub::counters::{Counters, count};
use crate::hub::exchange::Exchange;
use crate::hub::pool::{Buffers, Pool};
use crate::hub::session_info::SessionState;
use crate::hub::socket::{HubSocket, Ready, SocketFailed};
use crate::session::Outcome;
use crate::step::Step;
use crate::time::{Due, Instant, Timed};

/// What a session works with in its turn.
pub(in crate::hub) struct Turn<'t, A> {
    pub(in crate::hub) now: Instant,
    /// Bytes that the session may still receive and send.
    pub(in crate::hub) budget: usize,
    pub(in crate::hub) application: &'t mut A,
    pub(in crate::hub) pool: &'t mut Pool,
    pub(in crate::hub) counters: &'t mut Counters,
}

/// How a turn ended.
pub(in crate::hub) enum TurnEnd {
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
pub(in crate::hub) const STEPS: usize = 64;

impl<'t, A> Turn<'t, A> {
    pub(in crate::hub) const fn new(
        now: Instant,
        application: &'t mut A,
        pool: &'t mut Pool,
        counters: &'t mut Counters,
    ) -> Self {
        Self { now, budget: BYTES, application, pool, counters }
    }
}

impl<S: HubSocket, H: Handler> Session<S, H> {
    /// Gives the session a turn. If its peer has missed a deadline, it waits for `grace` before it enforces the deadline. After a
    /// panic of its handler, its buffers are in `lent`.
    pub(in crate::hub) fn run<A: Application<Handler = H>>(
        &mut self,
        turn: &mut Turn<'_, A>,
        lent: &mut Option<Box<Buffers>>,
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
        let end = self.go_on(turn, lent);
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

    /// Does what can be done in this turn.
    fn go_on<A: Application<Handler = H>>(
        &mut self,
        turn: &mut Turn<'_, A>,
        lent: &mut Option<Box<Buffers>>,
    ) -> TurnEnd {
        if !matches!(self.stage, Stage::Exchange(_)) {
            let head = self.server.connection().is_none();
            let buffers = lent.insert(self.buffers.take().unwrap_or_else(|| turn.pool.lend(head)));
            let end = self.take_steps(turn, buffers);
            let exchange = matches!(self.stage, Stage::Exchange(_));
            let idle = exchange || matches!(end, TurnEnd::Wait(_)) && self.is_idle(buffers);
            self.buffers = lent.take();
            if idle {
                self.return_buffers(turn.pool);
                self.queue.shrink();
            }
            if !exchange {
                return end;
            }
        }
        self.run_exchange(turn)
    }

    fn run_exchange<A: Application<Handler = H>>(&mut self, turn: &mut Turn<'_, A>) -> TurnEnd {
        let Stage::Exchange(exchange) = &mut self.stage else { return TurnEnd::Again };
        if self.closing.take().is_some() {
            exchange.hurry(turn.now.plus(self.server.config().timeouts.close));
        }
        let before = turn.counters.received;
        let end = exchange.run(turn, &self.info, &mut self.io);
        if turn.counters.received > before {
            self.heard = turn.now;
        }
        end
    }

    /// Takes steps until there is nothing to do, or the turn has lasted long enough.
    fn take_steps<A: Application<Handler = H>>(
        &mut self,
        turn: &mut Turn<'_, A>,
        buffers: &mut Buffers,
    ) -> TurnEnd {
        for step in 0..STEPS {
            if turn.budget == 0 {
                break;
            }
            if let Some(end) = self.step(turn, buffers, step == 0) {
                return end;
            }
        }
        TurnEnd::Again
    }

    /// Polls the handshake or the connection once, and does what it asks for. `None`: there may be more to do.
    fn step<A: Application<Handler = H>>(
        &mut self,
        turn: &mut Turn<'_, A>,
        buffers: &mut Buffers,
        first: bool,
    ) -> Option<TurnEnd> {
        let now = turn.now;
        #[cfg(feature = "deflate")]
        if self.server.connection().is_some_and(|connection| connection.extension.is_active()) {
            turn.pool.lend_output(buffers);
        }
        if first && !self.io.is_readable() {
            // The queue's messages leave before the poll, which then need not be repeated.
            self.feed(now, turn.pool, &mut buffers.tx);
        }
        if first && self.transfer(turn, buffers).is_err() || now >= self.limit {
            self.server.transport_failed();
        }
        if self.heard == now && !self.extended && self.server.due(now) == Due::All {
            self.extended = true;
            self.server.extend(now);
        }
        self.go_on_closing(turn, buffers);
        let step = self.poll(turn, buffers);
        self.update_state(turn, buffers);
        match step {
            Step::Wait { deadline } => return self.wait(turn, buffers, deadline),
            Step::Shutdown => {
                self.end_by(now.plus(self.timeouts().close));
                if self.io.socket.shutdown().is_err() {
                    self.server.transport_failed();
                }
                // The discarded input may have been all there is to wait for.
                self.io.ready(Ready { read: true, ..Ready::default() });
            }
            Step::Done(Outcome::HandedOver) => {
                let received = buffers.head.unread().to_vec();
                let Stage::ReadBody(limit) = self.stage else { return Some(TurnEnd::HandOver(received)) };
                let exchange = Exchange::new(received, limit, Arc::clone(self.server.config()), now);
                self.stage = Stage::Exchange(Box::new(exchange));
                return Some(TurnEnd::Again);
            }
            Step::Done(outcome) => return Some(TurnEnd::Ended(outcome)),
        }
        None
    }

    /// Writes and reads. If nothing moves, ends the turn.
    fn wait<A>(
        &mut self,
        turn: &mut Turn<'_, A>,
        buffers: &mut Buffers,
        deadline: Option<Instant>,
    ) -> Option<TurnEnd> {
        match self.write_and_read(turn, buffers) {
            // The poll has stopped before its end, so that others get their turns.
            Ok(_) if deadline.is_some_and(|moment| moment <= turn.now) => Some(TurnEnd::Again),
            // Nothing moves without a budget.
            Ok(moved) if moved || turn.budget == 0 => None,
            Ok(_) => {
                let limit = self.limit.min(self.queue_deadline()).as_deadline();
                Some(TurnEnd::Wait(deadline.into_iter().chain(limit).min()))
            }
            Err(SocketFailed) => {
                self.server.transport_failed();
                None
            }
        }
    }

    /// Updates stage and state after a poll.
    fn update_state<A>(&mut self, turn: &mut Turn<'_, A>, buffers: &mut Buffers) {
        let Some(connection) = self.server.connection() else { return };
        let state = connection.state();
        if !matches!(self.stage, Stage::WebSocket) {
            self.stage = Stage::WebSocket;
            turn.pool.take_head(buffers);
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
