//! Serves an ordinary HTTP request with its body (RFC 9112). The connection closes after one answer.
//!
//! A turn receives and sends a limited number of bytes, and no byte of a body is moved once it is in memory.

#![forbid(unsafe_code)]

use alloc::borrow::Cow;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::application::Application;
use super::counters::Counters;
use super::note::note_refusal;
use super::session_info::SessionInfo;
use super::socket::{HubSocket, Io, SocketFailed};
use super::turn::{BYTES, STEPS, Turn};
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
    stage: Stage,
    deadline: Instant,
    /// The hard limit for an answer that the peer reads slowly, and for a close.
    limit: Instant,
    /// A refusal that the application has not been notified of yet.
    untold: Option<Refusal>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Receive,
    Answer(Refusal),
    /// The answer is written, and the peer has to close.
    Shut(Refusal),
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
            stage: Stage::Receive,
            limit: Instant::NEVER,
            untold: None,
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

    pub(super) fn run<S: HubSocket, A: Application>(
        &mut self,
        now: Instant,
        application: &mut A,
        session: &SessionInfo,
        io: &mut Io<S>,
        counters: &mut Counters,
    ) -> Turn {
        match self.go_on(now, application, session, io, counters) {
            Ok(turn) => turn,
            Err(SocketFailed) => Turn::Ended(self.failed()),
        }
    }

    /// The outcome if the transport fails now.
    pub(super) fn failed(&self) -> Outcome {
        match self.stage {
            Stage::Shut(status) => Outcome::Refused(status),
            Stage::Receive | Stage::Answer(_) => Outcome::Disconnected,
        }
    }

    /// Does what can be done now.
    fn go_on<S: HubSocket, A: Application>(
        &mut self,
        now: Instant,
        application: &mut A,
        session: &SessionInfo,
        io: &mut Io<S>,
        counters: &mut Counters,
    ) -> Result<Turn, SocketFailed> {
        let end = |outcome| Ok(Turn::Ended(outcome));
        let mut budget = BYTES;
        for _ in 0..STEPS {
            if budget == 0 {
                break;
            }
            if let Some(refusal) = self.untold.take() {
                let request = self.request().ok();
                note_refusal(session, request.as_ref(), &refusal);
                application.refused(session, request.as_ref(), &refusal);
            }
            if let Some(n) = io.send(self.output(), &mut budget, counters)? {
                self.written = self.written.saturating_add(n);
                // 100 is not the answer: the handshake deadline holds for the body.
                if self.stage != Stage::Receive {
                    self.deadline = now.plus(self.config.timeouts.write).min(self.limit);
                }
                if self.has_output() {
                    continue;
                }
            }
            match self.stage {
                Stage::Receive if self.request.len() >= self.len => {
                    self.request.truncate(self.len);
                    match self.request() {
                        Ok(request) => {
                            let body = self.request.get(self.head..).unwrap_or_default();
                            let response = application.body(session, &request, body);
                            note_refusal(session, Some(&request), &Refusal::answered(response.status()));
                            self.answer(response, None, now);
                        }
                        Err(rejection) => self.reject(rejection, now),
                    }
                    continue;
                }
                Stage::Answer(refusal) if !self.has_output() => {
                    io.socket.shutdown()?;
                    self.stage = Stage::Shut(refusal);
                    self.deadline = now.plus(self.config.timeouts.close);
                    continue;
                }
                Stage::Answer(_) if now >= self.deadline => return end(Outcome::Disconnected),
                Stage::Shut(refusal) if now >= self.deadline => return end(Outcome::Refused(refusal)),
                _ => {}
            }
            let mut chunk = [0; 1024];
            let room = match self.stage {
                Stage::Receive => self.len.saturating_sub(self.request.len()).min(chunk.len()),
                Stage::Answer(_) => 0,
                // Discards what arrives after the request.
                Stage::Shut(_) => chunk.len(),
            };
            let Some(chunk) = chunk.get_mut(..room).filter(|chunk| !chunk.is_empty()) else {
                return self.rest(io);
            };
            match (io.recv(chunk, &mut budget, counters)?, self.stage) {
                (Some(0), Stage::Shut(refusal)) => return end(Outcome::Refused(refusal)),
                (Some(0), _) => return end(Outcome::Disconnected),
                (Some(n), Stage::Receive) => {
                    self.request.extend_from_slice(chunk.get(..n).unwrap_or_default());
                }
                (Some(_), _) => {}
                (None, Stage::Receive) if now >= self.deadline => {
                    self.reject(Rejection::Timeout, now);
                }
                (None, _) => return self.rest(io),
            }
        }
        Ok(Turn::Again)
    }

    fn rest<S: HubSocket>(&self, io: &mut Io<S>) -> Result<Turn, SocketFailed> {
        io.flush()?;
        Ok(Turn::Wait(self.deadline.as_deadline()))
    }

    fn request(&self) -> Result<Request<'_>, Rejection> {
        Request::parse(self.request.get(..self.head).unwrap_or_default(), &self.config)
    }

    fn reject(&mut self, reason: Rejection, now: Instant) {
        self.untold = Some(reason.into());
        self.answer(reason.into(), Some(reason), now);
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

    /// Starts the answer, and releases the body of the request.
    fn answer(&mut self, response: Response<'static>, reason: Option<Rejection>, now: Instant) {
        let to_head = self.request().is_ok_and(|request| request.method() == "HEAD");
        self.request.truncate(self.head);
        self.request.shrink_to_fit();
        let (status, head, body) = response.encode(to_head);
        self.heads.extend(head);
        self.body = body;
        self.stage = Stage::Answer(Refusal { status, reason });
        let write = self.config.timeouts.write;
        self.limit = self.limit.min(now.at_slowest(write));
        self.deadline = now.plus(write).min(self.limit);
    }
}

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

/// Whether the client waits for 100 before it sends the body (RFC 9110 §10.1.1).
fn expects(request: &Request<'_>) -> bool {
    // "A server that receives a 100-continue expectation in an HTTP/1.0 request MUST ignore that expectation."
    let expect = request.header("Expect").filter(|_| request.is_http_1_1());
    expect.is_some_and(|value| value.eq_ignore_ascii_case("100-continue"))
}
