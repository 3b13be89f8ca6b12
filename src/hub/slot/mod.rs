//! One session of a hub.

#![forbid(unsafe_code)]

mod closing;
mod transfer;

use alloc::sync::Arc;
use core::convert::Infallible;
use core::mem;
use core::time::Duration;

use closing::Closing;

use super::application::Application;
use super::completion::{Done, NotDelivered};
use super::counters::{Counters, count};
use super::exchange::Exchange;
use super::link::Link;
use super::pool::{Buffers, Pool};
use super::queue::Queue;
use super::session_info::{SessionInfo, SessionState};
use super::socket::{HubSocket, Io, Ready, SocketFailed};
use super::turn::{BYTES, STEPS, Turn};
use crate::close::CloseCode;
use crate::config::base::Config;
use crate::config::{Overflow, QueueLimits, Timeouts};
use crate::connection::ConnectionState;
use crate::error::EndReason;
use crate::handler::Handler;
use crate::message::Prepared;
use crate::session::{Outcome, ServerSession};
use crate::step::Step;
use crate::time::{Due, Instant, Timed};

/// A transport, its session, and what the hub keeps for them.
pub(super) struct Slot<S, H> {
    pub(super) io: Io<S>,
    pub(super) client: SessionInfo,
    session: ServerSession<Arc<Config>>,
    handler: Option<H>,
    buffers: Buffers,
    queue: Queue,
    /// Bytes of the transmit buffer that the transport has taken.
    written: u64,
    exchange: Option<Exchange>,
    /// The requested close, until its Close is sent.
    closing: Option<Closing>,
    /// The hard limit for an end that has begun.
    limit: Instant,
    /// When the peer was first seen to have missed a deadline.
    due: Instant,
    /// Whether the deadline was extended, which happens once.
    extended: bool,
    /// Every request is answered with 503, as all places are taken.
    pub(super) refuse: bool,
    /// Whether the connection was seen open.
    opened: bool,
    /// Whether the request is answered as ordinary HTTP.
    ordinary: bool,
    /// Whether a turn of this session is pending.
    pub(super) listed: bool,
    /// When something was received last.
    pub(super) heard: Instant,
    /// The timer that is set.
    pub(super) timer: Instant,
}

impl<S: HubSocket, H: Handler> Slot<S, H> {
    pub(super) fn new(
        socket: S,
        client: SessionInfo,
        session: ServerSession<Arc<Config>>,
        handler: Option<H>,
        now: Instant,
    ) -> Self {
        Self {
            io: Io::new(socket),
            client,
            session,
            handler,
            buffers: Buffers::default(),
            queue: Queue::default(),
            written: 0,
            exchange: None,
            closing: None,
            limit: Instant::NEVER,
            due: Instant::NEVER,
            extended: false,
            refuse: false,
            opened: false,
            ordinary: false,
            listed: false,
            heard: now,
            timer: Instant::NEVER,
        }
    }

    /// The readiness of the socket to wait for before there is anything to do.
    pub(super) fn wants(&self) -> Ready {
        let answer = self.exchange.as_ref().is_some_and(Exchange::has_output);
        self.io.wants(!self.buffers.tx.is_empty() || answer)
    }

    /// Queues a message. An error says why the message is lost, and gives its completion back.
    pub(super) fn send(
        &mut self,
        message: Prepared,
        done: Done,
        backlog: &QueueLimits,
        counters: &mut Counters,
    ) -> Result<(), (NotDelivered, Done)> {
        if self.is_closing() {
            return Err((NotDelivered::Closing, done));
        }
        if self.ordinary || self.refuse {
            return Err((NotDelivered::Ended, done));
        }
        self.queue.push(message, done, backlog, counters).map_err(|done| {
            if let Overflow::Close(code) = backlog.overflow {
                self.close(code, "");
            }
            (NotDelivered::Overflow, done)
        })
    }

    /// Begins to close the session: refuses further messages, and sends the Close after those that wait.
    pub(super) fn close(&mut self, code: CloseCode, reason: &str) {
        self.client.state = SessionState::Closing;
        self.closing.get_or_insert_with(|| Closing::new(code, reason));
    }

    /// Whether the session is closing, or a close is requested.
    pub(super) fn is_closing(&self) -> bool {
        self.client.state == SessionState::Closing
    }

    /// Ends the session in its next turn.
    pub(super) fn cut(&mut self, now: Instant) {
        self.limit = now;
        if let Some(exchange) = &mut self.exchange {
            exchange.hurry(now);
        }
    }

    /// Gives the session a turn.
    pub(super) fn run<A: Application<Handler = H>>(
        &mut self,
        now: Instant,
        grace: Duration,
        application: &mut A,
        pool: &mut Pool,
        counters: &mut Counters,
    ) -> Turn {
        if self.is_due(now) {
            self.due = self.due.min(now);
            let end = self.due.saturating_add(grace);
            if now < end {
                return Turn::Wait(Some(end));
            }
            // Tries both directions once more, whatever readiness the driver has reported.
            self.io.ready(Ready { read: true, write: true, ..Ready::default() });
        } else {
            self.due = Instant::NEVER;
        }
        let turn = self.go_on(now, application, pool, counters);
        match turn {
            // The last encrypted bytes may wait for room: they are flushed first.
            Turn::Ended(outcome) if !is_given_up(&outcome) && self.io.flush() == Ok(false) => {
                self.end_by(now.plus(self.timeouts().close));
                if now < self.limit { Turn::Wait(self.limit.as_deadline()) } else { turn }
            }
            turn => turn,
        }
    }

    /// Whether a turn at `now` ends the session because the peer has taken too long.
    fn is_due(&self, now: Instant) -> bool {
        let patience = self.closing.as_ref().map_or(Instant::NEVER, Closing::patience);
        match &self.exchange {
            Some(exchange) => exchange.is_due(now),
            None => now >= self.limit.min(patience) || self.session.due(now) != Due::No,
        }
    }

    fn go_on<A: Application<Handler = H>>(
        &mut self,
        now: Instant,
        application: &mut A,
        pool: &mut Pool,
        counters: &mut Counters,
    ) -> Turn {
        let mut budget = BYTES;
        for step in 0..STEPS {
            if let Some(exchange) = &mut self.exchange {
                if self.closing.take().is_some() {
                    exchange.hurry(now.plus(self.session.config().timeouts.close));
                }
                let before = counters.received;
                let turn = exchange.run(now, application, &self.client, &mut self.io, counters);
                if counters.received > before {
                    self.heard = now;
                }
                return turn;
            }
            if budget == 0 {
                break;
            }
            pool.lend(&mut self.buffers, self.session.connection().is_none());
            if step == 0 && self.transfer(now, &mut budget, counters).is_err() || now >= self.limit {
                self.session.transport_failed();
            }
            if self.heard == now && !self.extended && self.session.due(now) == Due::All {
                self.extended = true;
                self.session.extend(now);
            }
            self.go_on_closing(now, counters);
            let (next, body) = self.poll(now, application, counters);
            self.note_state(pool, counters);
            match next {
                Step::Wait { deadline } => match self.turn(now, &mut budget, counters) {
                    // Nothing moves without a budget.
                    Ok(moved) if moved || budget == 0 => {}
                    Ok(_) => {
                        if self.is_idle() {
                            pool.take(&mut self.buffers);
                            self.queue.shrink();
                        }
                        let patience = self.closing.as_ref().map_or(Instant::NEVER, Closing::patience);
                        let limit = self.limit.min(patience).as_deadline();
                        return Turn::Wait(deadline.into_iter().chain(limit).min());
                    }
                    Err(SocketFailed) => self.session.transport_failed(),
                },
                Step::Shutdown => {
                    self.end_by(now.plus(self.timeouts().close));
                    if self.io.socket.shutdown().is_err() {
                        self.session.transport_failed();
                    }
                    // The discarded input may have been all there is to wait for.
                    self.io.ready(Ready { read: true, ..Ready::default() });
                }
                Step::Done(Outcome::HandedOver) => {
                    let received = self.buffers.head.unread().to_vec();
                    let Some(limit) = body else { return Turn::HandOver(received) };
                    self.exchange =
                        Some(Exchange::new(received, limit, Arc::clone(self.session.config()), now));
                    pool.take(&mut self.buffers);
                }
                Step::Done(outcome) => return Turn::Ended(outcome),
            }
        }
        Turn::Again
    }

    /// Drops the oldest message: the session has ended. Returns whether there was one.
    pub(super) fn lose_one(&mut self, counters: &mut Counters) -> bool {
        self.queue.lose_anyhow(counters)
    }

    /// Drops the connection and notifies the handler. Returns how the session ended.
    pub(super) fn abandon<A: Application<Handler = H>>(
        &mut self,
        application: &mut A,
        counters: &mut Counters,
    ) -> Outcome {
        if let Some(exchange) = &self.exchange {
            return exchange.failed();
        }
        self.session.transport_failed();
        // A reset session does not use the time.
        match self.poll(Instant::START, application, counters) {
            (Step::Done(outcome), _) => outcome,
            (Step::Wait { .. } | Step::Shutdown, _) => Outcome::Disconnected,
        }
    }

    /// Returns the buffers to the pool, at the end.
    pub(super) fn end(&mut self, pool: &mut Pool) {
        pool.take(&mut self.buffers);
    }

    /// The time-outs: of the route, once its request is accepted.
    fn timeouts(&self) -> &Timeouts {
        &self.session.config().timeouts
    }

    fn end_by(&mut self, limit: Instant) {
        self.limit = self.limit.min(limit);
    }

    /// Whether the session needs no buffers until something arrives.
    fn is_idle(&self) -> bool {
        let Buffers { head, rx, tx } = &self.buffers;
        match self.session.connection() {
            // Nothing of the request has arrived, or all of the answer is sent.
            None => {
                let ended = head.is_ended() || rx.is_ended();
                head.is_empty() && rx.is_empty() && tx.is_empty() && !ended
            }
            Some(_) => self.session.is_idle(rx, tx),
        }
    }

    /// Lets the session and its handler do what can be done now.
    fn poll<A: Application<Handler = H>>(
        &mut self,
        now: Instant,
        application: &mut A,
        counters: &mut Counters,
    ) -> (Step<Infallible, Outcome>, Option<usize>) {
        let Buffers { head, rx, tx } = &mut self.buffers;
        let mut body = None;
        let mut link = Link {
            application,
            handler: &mut self.handler,
            client: &mut self.client,
            messages: &mut counters.messages,
            refuse: self.refuse,
            ordinary: &mut self.ordinary,
            body: &mut body,
        };
        let next = self.session.poll_with(now, &mut link, head, rx, tx);
        // The session will never be a WebSocket connection.
        while self.ordinary && self.queue.lose(NotDelivered::Ended, counters) {}
        (next, body)
    }

    fn note_state(&mut self, pool: &mut Pool, counters: &mut Counters) {
        let Some(connection) = self.session.connection() else { return };
        let state = connection.state();
        if !mem::replace(&mut self.opened, true) {
            pool.take_head(&mut self.buffers);
            count(&mut counters.opened);
        }
        let open = state == ConnectionState::Open && self.closing.is_none();
        self.client.state = if open { SessionState::Open } else { SessionState::Closing };
        if state == ConnectionState::Closing {
            // "The application MUST NOT send any more data frames after sending a Close frame." (RFC 6455 §5.5.1)
            while self.queue.lose(NotDelivered::Closing, counters) {}
        }
    }
}

/// Whether the session ended because the peer does not react.
const fn is_given_up(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Closed(cause) => matches!(cause.reason, EndReason::Timeout(_) | EndReason::Disconnected),
        Outcome::Disconnected => true,
        Outcome::Refused(_) | Outcome::HandedOver => false,
    }
}
