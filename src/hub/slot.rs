//! One session of a hub.

#![forbid(unsafe_code)]

use alloc::string::String;

use super::application::{Application, Choice};
use super::counters::{Counters, count};
use super::exchange::{Exchange, Reply};
use super::handle::{Client, ClientState};
use super::message::{Done, Lost, Message};
use super::note::note_refusal;
use super::pool::{Buffers, Pool};
use super::queue::{Queue, Queued};
use super::settings::Backlog;
use super::socket::{Failed, Io, Ready, Socket};
use super::turn::{STEPS, Turn};
use crate::cause::{Cause, End};
use crate::close::CloseCode;
use crate::config::Config;
use crate::connection::State;
use crate::event::{Event, Payload};
use crate::handler::{Handler, Next, Outcome, Session};
use crate::handshake::{Answer, Refusal, Rejection, Request};
use crate::outbox::{Halt, Outbox};
use crate::time::Instant;

/// Bytes that one session may receive and send before the others have their turn.
const BYTES: usize = 64 * 1024;
/// From so many bytes on, a message is written from where it lies and not copied.
const DIRECT: usize = 1024;

/// A transport, and what is done on it.
pub(super) struct Slot<S, H> {
    pub(super) io: Io<S>,
    pub(super) client: Client,
    session: Session<'static>,
    handler: Option<H>,
    buffers: Buffers,
    queue: Queue,
    /// Bytes of the transmit buffer that the transport took.
    written: u64,
    exchange: Option<Exchange>,
    close: Option<(CloseCode, String)>,
    /// The last moment for an end that has begun.
    limit: Instant,
    /// At capacity: every request is answered with 503.
    pub(super) refuse: bool,
    /// Stands in the list of those that are to be run.
    pub(super) listed: bool,
    /// When something came for the last time.
    pub(super) heard: Instant,
    /// The timer that is set.
    pub(super) timer: Instant,
}

impl<S: Socket, H: Handler> Slot<S, H> {
    pub(super) fn new(
        socket: S,
        client: Client,
        session: Session<'static>,
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
            close: None,
            limit: Instant::NEVER,
            refuse: false,
            listed: false,
            heard: now,
            timer: Instant::NEVER,
        }
    }

    /// What the socket has to become before there is anything to do.
    pub(super) fn wants(&self) -> Ready {
        let answer = self.exchange.as_ref().is_some_and(Exchange::has_output);
        self.io.wants(!self.buffers.tx.is_empty() || answer)
    }

    /// Queues a message.
    pub(super) fn send(
        &mut self,
        message: Message,
        done: Done,
        backlog: &Backlog,
        counters: &mut Counters,
    ) -> Result<(), Lost> {
        let lost = match self.queue.push(message, done, backlog) {
            Queued::Yes => return Ok(()),
            Queued::Instead(others) => {
                counters.lost = counters.lost.saturating_add(others);
                return Ok(());
            }
            Queued::Refused => Lost::Overflow,
            Queued::Fatal(code) => {
                self.close(code, "");
                Lost::Overflow
            }
        };
        count(&mut counters.lost);
        Err(lost)
    }

    /// It is to be closed.
    pub(super) fn close(&mut self, code: CloseCode, reason: &str) {
        self.close.get_or_insert_with(|| (code, reason.into()));
    }

    /// Whether it is to be closed, or is being closed.
    pub(super) fn is_closing(&self) -> bool {
        self.close.is_some() || self.client.state == ClientState::Closing
    }

    /// There is no more time for it.
    pub(super) fn cut(&mut self, now: Instant) {
        self.limit = now;
        if let Some(exchange) = &mut self.exchange {
            exchange.hurry(now);
        }
    }

    /// Does all that can be done now.
    pub(super) fn run<A: Application<S, Handler = H>>(
        &mut self,
        now: Instant,
        application: &mut A,
        config: &'static Config,
        pool: &mut Pool,
        counters: &mut Counters,
    ) -> Turn {
        let turn = self.go_on(now, application, config, pool, counters);
        match turn {
            // The last of what is encrypted may wait for room: it goes before we do.
            Turn::Ended(outcome) if !is_given_up(&outcome) && self.io.flush() == Ok(false) => {
                self.end_by(now.plus(config.timeouts.close));
                if now < self.limit { Turn::Wait(self.limit.as_deadline()) } else { turn }
            }
            turn => turn,
        }
    }

    fn go_on<A: Application<S, Handler = H>>(
        &mut self,
        now: Instant,
        application: &mut A,
        config: &'static Config,
        pool: &mut Pool,
        counters: &mut Counters,
    ) -> Turn {
        let mut budget = BYTES;
        for step in 0..STEPS {
            if let Some(exchange) = &mut self.exchange {
                if self.close.take().is_some() {
                    self.client.state = ClientState::Closing;
                    exchange.hurry(now.plus(config.timeouts.close));
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
            if let Some((code, reason)) = self.close.take() {
                // No Close stands before the 101.
                if self.session.connection().is_none() {
                    self.session.reset();
                }
                // However slowly the peer reads what stands before the Close.
                self.end_by(now.at_slowest(config.timeouts.close));
                // What was sent before goes before it, as far as there is room.
                self.feed();
                self.session.close(&mut self.buffers.tx, code, &reason);
            }
            // What has come, and what there is room for, goes before the time: we may be late ourselves.
            if step == 0 && self.transfer(now, &mut budget, counters).is_err() || now >= self.limit {
                self.session.reset();
            }
            let Buffers { head, rx, tx } = &mut self.buffers;
            let mut reply = None;
            let mut link = Link {
                application: &mut *application,
                handler: &mut self.handler,
                client: &mut self.client,
                messages: &mut counters.messages,
                refuse: self.refuse,
                reply: &mut reply,
            };
            let step = self.session.poll(now, &mut link, head, rx, tx);
            self.note_state(pool, counters);
            match step {
                Next::Wait { deadline } => match self.turn(now, &mut budget, counters) {
                    Ok(true) => {}
                    Ok(false) => {
                        if self.is_idle() {
                            pool.take(&mut self.buffers);
                            self.queue.shrink();
                        }
                        let limit = self.limit.as_deadline();
                        return Turn::Wait(deadline.into_iter().chain(limit).min());
                    }
                    Err(Failed) => self.session.reset(),
                },
                Next::Shutdown => {
                    self.end_by(now.plus(config.timeouts.close));
                    if self.io.socket.shutdown().is_err() {
                        self.session.reset();
                    }
                    // What it threw away may have been all that there is to wait for.
                    self.io.ready(Ready { read: true, ..Ready::default() });
                }
                Next::Done(Outcome::HandOver) => {
                    let received = self.buffers.head.filled().to_vec();
                    let Some(reply) = reply else { return Turn::HandOver(received) };
                    self.exchange = Some(Exchange::new(received, reply, config, now));
                    pool.take(&mut self.buffers);
                }
                Next::Done(outcome) => return Turn::Ended(outcome),
            }
        }
        Turn::Again
    }

    /// Nobody will get the first message of those that wait, and who sent it is told; whether there was one.
    pub(super) fn lose_one(&mut self) -> bool {
        self.queue.lose_one()
    }

    /// The end: gives its buffers back.
    pub(super) fn end(&mut self, pool: &mut Pool) {
        pool.take(&mut self.buffers);
    }

    fn end_by(&mut self, limit: Instant) {
        self.limit = self.limit.min(limit);
    }

    /// Whether it has no need of its buffers until something comes.
    fn is_idle(&self) -> bool {
        let Buffers { head, rx, tx } = &self.buffers;
        match self.session.connection() {
            // Nothing of the request is here yet, or all of the answer is gone.
            None => {
                let ended = head.is_ended() || rx.is_ended();
                head.is_empty() && rx.is_empty() && tx.is_empty() && !ended
            }
            Some(_) => self.session.is_idle(rx, tx),
        }
    }

    fn note_state(&mut self, pool: &mut Pool, counters: &mut Counters) {
        let Some(connection) = self.session.connection() else { return };
        if self.client.state == ClientState::Handshake {
            pool.take_head(&mut self.buffers);
            count(&mut counters.opened);
        }
        self.client.state =
            if connection.state() == State::Open { ClientState::Open } else { ClientState::Closing };
    }

    /// One turn of writing and reading; whether anything moved.
    fn turn(&mut self, now: Instant, budget: &mut usize, counters: &mut Counters) -> Result<bool, Failed> {
        let fed = self.feed();
        let moved = self.transfer(now, budget, counters)? || fed;
        if !moved {
            self.io.flush()?;
        }
        Ok(moved)
    }

    fn transfer(
        &mut self,
        now: Instant,
        budget: &mut usize,
        counters: &mut Counters,
    ) -> Result<bool, Failed> {
        let mut moved = false;
        if let Some(frame) = self.queue.direct() {
            if let Some(n) = self.io.send(frame, counters)? {
                moved = true;
                *budget = budget.saturating_sub(n);
                let left = self.buffers.tx.preceded(n);
                if self.queue.wrote(n, left) {
                    count(&mut counters.delivered);
                }
            }
        } else if let Some(n) = self.io.send([self.buffers.tx.pending(), &[]], counters)? {
            moved = true;
            *budget = budget.saturating_sub(n);
            self.buffers.tx.consume(n);
            self.written = self.written.saturating_add(n as u64);
            let own = !self.queue.has_copied();
            let delivered = self.queue.flushed(self.written);
            counters.delivered = counters.delivered.saturating_add(delivered);
            // The handler has had its turn, and may fill the buffer anew when it hears that it is empty.
            if own && self.buffers.tx.is_empty() {
                self.feed();
            }
        }
        let Buffers { head, rx, .. } = &mut self.buffers;
        if let Some(n) = self.io.recv(self.session.spare(head, rx), counters)? {
            moved = true;
            self.session.fill(head, rx, n);
            self.heard = now;
            *budget = budget.saturating_sub(n);
        }
        Ok(moved)
    }

    /// Moves on what waits in the queue, where a message may begin; whether it did.
    fn feed(&mut self) -> bool {
        let mut moved = false;
        // One lot at a time: the buffer is to be empty now and then, which is when the handler may go on.
        if self.queue.has_copied() {
            return false;
        }
        while let Some(message) = self.queue.next() {
            let (len, room) = (message.len(), self.buffers.tx.capacity());
            let Some(mut out) = self.session.outbox(&mut self.buffers.tx) else { break };
            // The handler's own message goes first.
            if !out.is_free() || out.connection.state() != State::Open {
                break;
            }
            if out.is_empty() && (len >= DIRECT || len > room) {
                self.buffers.tx.precede(len);
                self.queue.begin();
            } else if out.send(message.kind(), message.payload()).is_ok() {
                let end = self.written.saturating_add(self.buffers.tx.pending().len() as u64);
                self.queue.copied(end);
            } else {
                break;
            }
            moved = true;
        }
        moved
    }
}

/// Whether a session ended because there was no more to hope for.
const fn is_given_up(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Closed(cause) => matches!(cause.end, End::Timeout(_) | End::Vanished),
        Outcome::Vanished => true,
        Outcome::Refused(_) | Outcome::HandOver => false,
    }
}

/// A session's handler, which the application gives it when the request is here.
struct Link<'a, S, A: Application<S>> {
    application: &'a mut A,
    handler: &'a mut Option<A::Handler>,
    client: &'a mut Client,
    messages: &'a mut u64,
    refuse: bool,
    /// Given where the hub itself is to answer what was handed over.
    reply: &'a mut Option<Reply>,
}

impl<S, A: Application<S>> Handler for Link<'_, S, A> {
    fn request<'s>(&'s mut self, request: &Request<'_>) -> Answer<'s> {
        if self.refuse {
            return Answer::Reject(Rejection::Unavailable);
        }
        let id = self.client.id;
        let choice = self.application.request(self.client, request);
        (self.client.id, self.client.state) = (id, ClientState::Handshake);
        let answer = match choice {
            Choice::Handler(handler) => self.handler.insert(handler).request(request),
            Choice::Answer(Answer::Accept(_)) => Answer::Reject(Rejection::Internal),
            Choice::Accept(handler, accept) => {
                *self.handler = Some(handler);
                Answer::Accept(accept)
            }
            Choice::Answer(answer) => answer,
            Choice::Page(page) => {
                note_refusal(self.client, Some(request), &Refusal::answered(page.status));
                *self.reply = Some(Reply::Page(page));
                Answer::HandOver
            }
            Choice::Body(limit) => {
                *self.reply = Some(Reply::Body(limit));
                Answer::HandOver
            }
        };
        if let Answer::Respond(response) = &answer {
            note_refusal(self.client, Some(request), &Refusal::answered(response.status));
        }
        answer
    }

    fn refused(&mut self, request: Option<&Request<'_>>, refusal: &Refusal) {
        note_refusal(self.client, request, refusal);
        self.application.refused(self.client, request, refusal);
        if let Some(handler) = self.handler {
            handler.refused(request, refusal);
        }
    }

    fn opened(&mut self, now: Instant, protocol: Option<usize>, out: &mut impl Outbox) -> Result<(), Halt> {
        self.handler.as_mut().map_or(Ok(()), |handler| handler.opened(now, protocol, out))
    }

    fn event(&mut self, now: Instant, event: Event<Payload<'_>>, out: &mut impl Outbox) -> Result<(), Halt> {
        let last = matches!(&event, Event::Data(data) if data.end);
        let done = self.handler.as_mut().map_or(Ok(()), |handler| handler.event(now, event, out));
        // One that is blocked comes again.
        if last && !matches!(done, Err(Halt::Blocked { .. })) {
            count(self.messages);
        }
        done
    }

    fn writable(&mut self, now: Instant, out: &mut impl Outbox) -> Result<(), Halt> {
        self.handler.as_mut().map_or(Ok(()), |handler| handler.writable(now, out))
    }

    fn deadline(&self) -> Option<Instant> {
        self.handler.as_ref().and_then(Handler::deadline)
    }

    fn timer(&mut self, now: Instant, out: &mut impl Outbox) -> Result<(), Halt> {
        self.handler.as_mut().map_or(Ok(()), |handler| handler.timer(now, out))
    }

    fn closed(&mut self, cause: &Cause, reason: &str) {
        if let Some(handler) = self.handler {
            handler.closed(cause, reason);
        }
    }
}
