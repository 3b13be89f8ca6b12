//! Serves an ordinary HTTP request with its body (RFC 9112). The connection closes after one response.
//!
//! A turn receives and sends a limited number of bytes, and no byte of a body is moved once it is in memory.

#![forbid(unsafe_code)]

use alloc::borrow::Cow;
use alloc::vec::Vec;

use super::application::Application;
use super::log::log_refusal;
use super::session::{STEPS, Turn, TurnEnd};
use super::session_info::SessionInfo;
use super::socket::{HubSocket, Io, SocketFailed};
use crate::arc::Arc;
use crate::config::base::Config;
use crate::handshake::{BadRequest, Refusal, Rejection, Request, Response};
use crate::session::Outcome;
use crate::time::Instant;

pub(super) struct Exchange {
    config: Arc<Config>,
    /// The bytes of the request that have arrived: its head, then its body.
    request: Vec<u8>,
    head: usize,
    /// The length of the whole request.
    len: usize,
    /// The output: heads, then a body, which is written from where it lies.
    heads: Vec<u8>,
    body: Cow<'static, [u8]>,
    /// How many bytes of the output are written.
    written: usize,
    phase: Phase,
    deadline: Instant,
    /// The hard limit for a response that the peer reads slowly, and for a close.
    limit: Instant,
    /// A refusal that the application has not been notified of yet.
    unreported: Option<Refusal>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Receive,
    Respond(Refusal),
    /// The response is written, and the peer has to close.
    Drain(Refusal),
}

impl Exchange {
    /// Begins with the bytes of the request that have arrived. Its body may have at most `limit` bytes.
    pub(super) fn new(received: Vec<u8>, limit: usize, config: Arc<Config>, now: Instant) -> Self {
        let end = received
            .windows(4)
            .position(|end| end == b"\r\n\r\n")
            .map_or(received.len(), |at| at.saturating_add(4));
        let mut exchange = Self {
            deadline: now.plus(config.timeouts.handshake),
            config,
            request: received,
            head: end,
            len: end,
            heads: Vec::new(),
            body: Cow::Borrowed(&[]),
            written: 0,
            phase: Phase::Receive,
            limit: Instant::NEVER,
            unreported: None,
        };
        let asked =
            exchange.request().and_then(|request| Ok((body_len(&request, limit)?, expects(&request))));
        match asked {
            Ok((len, expects)) => {
                exchange.len = end.saturating_add(len);
                let rest = exchange.len.saturating_sub(exchange.request.len());
                // Reserves all of it at once, so that a growing body is not moved again and again.
                if exchange.request.try_reserve_exact(rest).is_err() {
                    exchange.reject(Rejection::NoMemory, now);
                } else if expects && rest > 0 {
                    exchange.heads = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec();
                }
            }
            Err(rejection) => exchange.reject(rejection, now),
        }
        exchange
    }

    /// Brings the end forward to `limit`.
    pub(super) fn hurry(&mut self, limit: Instant) {
        self.limit = self.limit.min(limit);
        self.deadline = self.deadline.min(self.limit);
    }

    /// Whether a turn at `now` ends the exchange because the peer has taken too long.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.deadline
    }

    /// Whether anything waits to be written.
    pub(super) fn has_output(&self) -> bool {
        self.written < self.heads.len().saturating_add(self.body.len())
    }

    /// Does what can be done in this turn.
    pub(super) fn run<S: HubSocket, A: Application>(
        &mut self,
        turn: &mut Turn<'_, A>,
        session: &SessionInfo,
        io: &mut Io<S>,
    ) -> TurnEnd {
        match self.go_on(turn, session, io) {
            Ok(end) => end,
            Err(SocketFailed) => TurnEnd::Ended(self.failed()),
        }
    }

    /// The outcome if the transport fails now.
    pub(super) fn failed(&self) -> Outcome {
        match self.phase {
            Phase::Drain(status) => Outcome::Refused(status),
            Phase::Receive | Phase::Respond(_) => Outcome::Disconnected,
        }
    }

    fn go_on<S: HubSocket, A: Application>(
        &mut self,
        turn: &mut Turn<'_, A>,
        session: &SessionInfo,
        io: &mut Io<S>,
    ) -> Result<TurnEnd, SocketFailed> {
        for _ in 0..STEPS {
            if turn.budget == 0 {
                break;
            }
            if let Some(refusal) = self.unreported.take() {
                let request = self.request().ok();
                log_refusal(session, request.as_ref(), &refusal);
                turn.application.refused(session, request.as_ref(), &refusal);
            }
            if self.write(turn, io)? {
                continue;
            }
            let end = match self.phase {
                Phase::Receive if self.request.len() >= self.len => {
                    self.call(turn, session);
                    None
                }
                Phase::Receive => self.receive(turn, io)?,
                Phase::Respond(refusal) => self.finish(turn, io, refusal)?,
                Phase::Drain(refusal) => self.drain(turn, io, refusal)?,
            };
            if let Some(end) = end {
                return Ok(end);
            }
        }
        Ok(TurnEnd::Again)
    }

    /// Writes output. Returns whether some was written and more is left.
    fn write<S: HubSocket, A>(
        &mut self,
        turn: &mut Turn<'_, A>,
        io: &mut Io<S>,
    ) -> Result<bool, SocketFailed> {
        let Some(n) = io.send(self.output(), &mut turn.budget, turn.counters)? else { return Ok(false) };
        self.written = self.written.saturating_add(n);
        // 100 is not the response: the handshake deadline holds for the body.
        if self.phase != Phase::Receive {
            self.deadline = turn.now.plus(self.config.timeouts.write).min(self.limit);
        }
        Ok(self.has_output())
    }

    /// Calls the application with the whole request.
    fn call<A: Application>(&mut self, turn: &mut Turn<'_, A>, session: &SessionInfo) {
        self.request.truncate(self.len);
        match self.request() {
            Ok(request) => {
                let body = self.request.get(self.head..).unwrap_or_default();
                let response = turn.application.body(session, &request, body);
                log_refusal(session, Some(&request), &Refusal::by_application(response.status()));
                self.respond(response, None, turn.now);
            }
            Err(rejection) => self.reject(rejection, turn.now),
        }
    }

    /// Reads part of the body.
    fn receive<S: HubSocket, A>(
        &mut self,
        turn: &mut Turn<'_, A>,
        io: &mut Io<S>,
    ) -> Result<Option<TurnEnd>, SocketFailed> {
        let mut chunk = [0; CHUNK];
        let missing = self.len.saturating_sub(self.request.len()).min(CHUNK);
        let memory = chunk.get_mut(..missing).unwrap_or_default();
        match io.recv(memory, &mut turn.budget, turn.counters)? {
            Some(0) => return Ok(Some(TurnEnd::Ended(Outcome::Disconnected))),
            Some(n) => self.request.extend_from_slice(memory.get(..n).unwrap_or_default()),
            None if turn.now >= self.deadline => self.reject(Rejection::Timeout, turn.now),
            None => return self.wait(io),
        }
        Ok(None)
    }

    /// Waits until the response is written, then shuts the writing side down.
    fn finish<S: HubSocket, A>(
        &mut self,
        turn: &Turn<'_, A>,
        io: &mut Io<S>,
        refusal: Refusal,
    ) -> Result<Option<TurnEnd>, SocketFailed> {
        if !self.has_output() {
            io.socket.shutdown()?;
            self.phase = Phase::Drain(refusal);
            self.deadline = turn.now.plus(self.config.timeouts.close);
            return Ok(None);
        }
        if turn.now >= self.deadline {
            return Ok(Some(TurnEnd::Ended(Outcome::Disconnected)));
        }
        self.wait(io)
    }

    /// Discards what arrives after the request, until the peer has closed its side.
    fn drain<S: HubSocket, A>(
        &mut self,
        turn: &mut Turn<'_, A>,
        io: &mut Io<S>,
        refusal: Refusal,
    ) -> Result<Option<TurnEnd>, SocketFailed> {
        if turn.now < self.deadline {
            match io.recv(&mut [0; CHUNK], &mut turn.budget, turn.counters)? {
                None => return self.wait(io),
                Some(1..) => return Ok(None),
                Some(0) => {}
            }
        }
        Ok(Some(TurnEnd::Ended(Outcome::Refused(refusal))))
    }

    fn wait<S: HubSocket>(&self, io: &mut Io<S>) -> Result<Option<TurnEnd>, SocketFailed> {
        io.flush()?;
        Ok(Some(TurnEnd::Wait(self.deadline.as_deadline())))
    }

    fn request(&self) -> Result<Request<'_>, Rejection> {
        Request::parse(self.request.get(..self.head).unwrap_or_default(), &self.config)
    }

    fn reject(&mut self, reason: Rejection, now: Instant) {
        self.unreported = Some(reason.into());
        self.respond(reason.into(), Some(reason), now);
    }

    /// The output that is not written yet.
    fn output(&self) -> [&[u8]; 2] {
        match self.heads.get(self.written..) {
            Some(head) => [head, &self.body],
            None => {
                let at = self.written.saturating_sub(self.heads.len());
                [self.body.get(at..).unwrap_or_default(), &[]]
            }
        }
    }

    /// Begins the response, and releases the body of the request.
    fn respond(&mut self, response: Response<'static>, reason: Option<Rejection>, now: Instant) {
        let to_head = self.request().is_ok_and(|request| request.method() == "HEAD");
        self.request.truncate(self.head);
        self.request.shrink_to_fit();
        let (status, head, body) = response.encode(to_head);
        self.heads.extend(head);
        self.body = body;
        self.phase = Phase::Respond(Refusal { status, reason });
        let write = self.config.timeouts.write;
        self.limit = self.limit.min(now.at_slowest(write));
        self.deadline = now.plus(write).min(self.limit);
    }
}

/// The most bytes that are read at once.
const CHUNK: usize = 1024;

/// Returns the length of a request's body, or why it is not received (RFC 9112 §6.3).
fn body_len(request: &Request<'_>, limit: usize) -> Result<usize, Rejection> {
    if request.headers().get("Transfer-Encoding").is_some() {
        return Err(Rejection::LengthRequired);
    }
    let mut lengths = request.headers().all("Content-Length");
    let Some(len) = lengths.next() else { return Ok(0) };
    let digits = !len.is_empty() && len.iter().all(u8::is_ascii_digit);
    if lengths.next().is_some() || !digits {
        return Err(BadRequest::Length.into());
    }
    match core::str::from_utf8(len).ok().and_then(|len| len.parse().ok()) {
        Some(len) if len <= limit => Ok(len),
        _ => Err(Rejection::BodyTooLarge),
    }
}

/// Whether the peer waits for 100 before it sends the body (RFC 9110 §10.1.1).
fn expects(request: &Request<'_>) -> bool {
    // "A server that receives a 100-continue expectation in an HTTP/1.0 request MUST ignore that expectation."
    let expect = request.header("Expect").filter(|_| request.is_http_1_1());
    expect.is_some_and(|value| value.eq_ignore_ascii_case("100-continue"))
}
