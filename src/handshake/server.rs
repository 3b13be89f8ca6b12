//! The server's side of the opening handshake (RFC 6455 §4.2).

#![forbid(unsafe_code)]

use core::marker::PhantomData;

use super::head::{BadHead, Scanner};
use super::key::{AcceptKey, accept_key};
use super::origin::Origin;
use super::request::Request;
use super::response::{Fault, Refusal, Rejection, Response, write_switch};
use crate::buffer::{ReceiveBuffer, TransmitBuffer};
use crate::config::{Config, ConfigRef};
use crate::time::{Due, EXTENSION, Instant, Timed};

/// What a server makes of a request.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'s, C = &'static Config> {
    /// The upgrade is welcome. Where the request is none, or a wrong one, it is refused as it deserves.
    Accept(Accept<'s, C>),
    /// A refusal in the server's own words, for this reason.
    Reject(Rejection),
    /// Another answer, which closes the connection: a page, a 401, a 404.
    Respond(Response<'s>),
    /// The request is somebody else's: its bytes stay in the buffer, untouched.
    HandOver,
}

/// Answers a request, and is told of a refusal.
pub trait Decide<C = &'static Config> {
    /// Answers the request, which is here whole. Called once at most.
    fn decide<'s>(&'s mut self, request: &Request<'_>) -> Answer<'s, C>;

    /// Is told that the request gets a refusal, for [`Refusal::reason`]: it cannot be read, came too late, or fails
    /// a check behind [`decide`](Self::decide); [`Answer::Reject`] too. Not called for [`Answer::Respond`]. Called
    /// once at most. `request` is `None` where there is none that can be read, and for [`Rejection::Internal`].
    fn refused(&mut self, request: Option<&Request<'_>>, refusal: &Refusal) {
        let _ = (request, refusal);
    }
}

/// How an upgrade is accepted.
#[derive(Clone, Copy, Debug)]
pub struct Accept<'s, C = &'static Config> {
    /// The subprotocols that are spoken here, the best first: the first that the client offers too is agreed
    /// upon.
    pub protocols: &'static [&'static str],
    /// Refuse with 400 where none is agreed upon; otherwise the connection goes on without.
    pub protocol_required: bool,
    /// Which pages may open a connection.
    pub origin: Origin<'s>,
    /// Further fields of the 101.
    pub headers: &'s [(&'s str, &'s str)],
    /// Settings for the connection; otherwise those of the handshake. So routes have limits, deadlines and a
    /// control mode of their own.
    pub config: Option<C>,
}

impl<C> Default for Accept<'_, C> {
    fn default() -> Self {
        Self {
            protocols: &[],
            protocol_required: false,
            origin: Origin::default(),
            headers: &[],
            config: None,
        }
    }
}

impl<'s> Answer<'s> {
    /// The same answer for a connection that holds its configuration in another way.
    pub(crate) fn with_config<C: ConfigRef>(self) -> Answer<'s, C> {
        match self {
            Self::Accept(Accept { protocols, protocol_required, origin, headers, config }) => {
                let config = config.map(C::from_static);
                Answer::Accept(Accept { protocols, protocol_required, origin, headers, config })
            }
            Self::Reject(rejection) => Answer::Reject(rejection),
            Self::Respond(response) => Answer::Respond(response),
            Self::HandOver => Answer::HandOver,
        }
    }
}

/// What [`ServerHandshake::poll`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum HandshakeStep {
    /// Write the transmit buffer, read into [`ServerHandshake::spare`], or let time pass until the deadline;
    /// then poll again.
    Wait {
        /// The latest moment for the next poll.
        deadline: Option<Instant>,
    },
    /// Shut the writing side of the transport down, then poll again.
    Shutdown,
    /// The 101 is in the transmit buffer, and what came behind the request in the receive buffer: the
    /// connection is open, with the subprotocol that was agreed upon, one of [`Accept::protocols`].
    Open(Option<&'static str>),
    /// [`Answer::HandOver`]: the request, and what came behind it, are [`ReceiveBuffer::filled`] of the head.
    HandOver,
    /// Over, without a connection: the request got this answer, and it is written. Drop the transport.
    Refused(Refusal),
    /// Over, without an answer: the peer was gone, did not read it, or asked for nothing in time. Drop the
    /// transport.
    Vanished,
}

/// Reads a request, lets the application answer it, and sends the answer.
///
/// The head of the request, and after it the head of the answer, lie in a buffer of their own, which is given
/// back when the handshake is over: its size limits both. The other two buffers are the connection's.
#[derive(Debug)]
pub struct ServerHandshake<C = &'static Config> {
    config: C,
    scanner: Scanner,
    deadline: Instant,
    /// The last moment for an answer that is read slowly.
    limit: Instant,
    /// The answer to a request that is not here in time.
    late: Rejection,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The request is being received.
    Request,
    /// The answer is on its way: its head out of the head buffer, then the rest of its body. Then an open
    /// connection, or the end.
    Answer {
        body: &'static [u8],
        end: HandshakeStep,
    },
    /// The answer is written; the peer is to close.
    Shut(Refusal),
    Done(HandshakeStep),
}

impl<C: ConfigRef> ServerHandshake<C> {
    /// Directly behind the accept of a transport.
    #[must_use]
    pub fn new(config: C, now: Instant) -> Self {
        let deadline = now.plus(config.timeouts.handshake);
        Self {
            config,
            scanner: Scanner::default(),
            deadline,
            limit: Instant::NEVER,
            late: Rejection::Timeout,
            phase: Phase::Request,
        }
    }

    /// Whoever asks is to hear that there is no room, even where his time is over.
    #[cfg(feature = "hub")]
    pub(crate) fn refuse(&mut self) {
        self.late = Rejection::Unavailable;
    }

    /// Does what is to be done and says what comes next. `decide` is called once, when the request is here
    /// whole; what it answers may borrow anything but the request.
    pub fn poll<'s>(
        &mut self,
        now: Instant,
        head: &mut ReceiveBuffer<'_>,
        rx: &mut ReceiveBuffer<'_>,
        tx: &mut TransmitBuffer<'_>,
        decide: impl FnOnce(&Request<'_>) -> Answer<'s, C>,
    ) -> HandshakeStep {
        self.poll_with(now, head, rx, tx, &mut Once(Some(decide), PhantomData))
    }

    /// Does what [`poll`](Self::poll) does, and tells of refusals too.
    pub fn poll_with(
        &mut self,
        now: Instant,
        head: &mut ReceiveBuffer<'_>,
        rx: &mut ReceiveBuffer<'_>,
        tx: &mut TransmitBuffer<'_>,
        decide: &mut impl Decide<C>,
    ) -> HandshakeStep {
        if let Phase::Request = self.phase {
            self.read(now, head, rx, decide);
        }
        if let Phase::Answer { body, end } = self.phase {
            head.consume(tx.feed(head.filled()));
            let n = if head.is_empty() { tx.feed(body) } else { 0 };
            let body = body.get(n..).unwrap_or_default();
            let all = head.is_empty() && body.is_empty();
            self.phase = match end {
                HandshakeStep::Refused(refusal) if all && tx.is_empty() => {
                    // What is written is gone: now the peer may learn that this was all.
                    self.phase = Phase::Shut(refusal);
                    self.deadline = now.plus(self.config.timeouts.close);
                    return HandshakeStep::Shutdown;
                }
                HandshakeStep::Open(_) if all => Phase::Done(end),
                _ => Phase::Answer { body, end },
            };
            // A page may take its time, as long as it is taken at all.
            if matches!(end, HandshakeStep::Refused(_)) && tx.take_moved() {
                self.deadline = now.plus(self.config.timeouts.write).min(self.limit);
            }
        }
        if let Phase::Shut(refusal) = self.phase {
            // Whatever follows a refused upgrade is not read as a request.
            rx.consume(usize::MAX);
            if rx.is_ended() {
                self.phase = Phase::Done(HandshakeStep::Refused(refusal));
            }
        }
        let late = now >= self.deadline;
        match self.phase {
            Phase::Shut(refusal) if late => self.phase = Phase::Done(HandshakeStep::Refused(refusal)),
            // The peer does not read: without the whole answer there is no connection.
            Phase::Answer { .. } if late => self.phase = Phase::Done(HandshakeStep::Vanished),
            _ => {}
        }
        match self.phase {
            Phase::Done(step) => step,
            _ => HandshakeStep::Wait { deadline: self.deadline.as_deadline() },
        }
    }

    /// Where the transport is to be read into: the memory, and how much of it. Say what came with
    /// [`fill`](Self::fill).
    ///
    /// Never more than the receive buffer holds: so what comes behind the head finds room there.
    pub fn spare<'a>(&self, head: &'a mut ReceiveBuffer<'_>, rx: &'a mut ReceiveBuffer<'_>) -> &'a mut [u8] {
        match self.phase {
            Phase::Request => {
                let limit = rx.capacity().saturating_sub(self.scanner.unseen(head.filled().len()));
                let room = self.config.limits.head.saturating_sub(head.filled().len());
                let spare = head.spare();
                let n = spare.len().min(limit).min(room);
                spare.get_mut(..n).unwrap_or_default()
            }
            Phase::Shut(_) => rx.spare(),
            Phase::Answer { .. } | Phase::Done(_) => &mut [],
        }
    }

    /// `n` bytes were read into [`spare`](Self::spare); 0 is the end of the stream.
    pub fn fill(&self, head: &mut ReceiveBuffer<'_>, rx: &mut ReceiveBuffer<'_>, n: usize) {
        if let Phase::Request = self.phase { head.fill(n) } else { rx.fill(n) }
    }

    /// The settings of the connection, once it is [open](HandshakeStep::Open): those of [`Accept::config`],
    /// otherwise the handshake's.
    #[must_use]
    pub const fn config(&self) -> &C {
        &self.config
    }

    /// The transport failed.
    pub fn reset(&mut self) {
        self.phase = Phase::Done(match self.phase {
            Phase::Shut(refusal) => HandshakeStep::Refused(refusal),
            _ => HandshakeStep::Vanished,
        });
    }

    fn read(
        &mut self,
        now: Instant,
        head: &mut ReceiveBuffer<'_>,
        rx: &mut ReceiveBuffer<'_>,
        decide: &mut impl Decide<C>,
    ) {
        let filled = head.filled();
        let (mut rest, mut to_head) = (&[][..], false);
        let request = match self.scanner.find(filled) {
            Ok(Some(len)) => {
                let (head, behind) = filled.split_at_checked(len).unwrap_or((filled, &[]));
                rest = behind;
                Request::parse(head, &self.config)
            }
            Ok(None) if filled.len() >= self.config.limits.head.min(head.capacity()) => {
                Err(Rejection::TooLarge)
            }
            Ok(None) if !head.is_ended() && now < self.deadline => return,
            Ok(None) if head.is_ended() || filled.is_empty() => {
                self.phase = Phase::Done(HandshakeStep::Vanished);
                return;
            }
            Ok(None) => Err(self.late),
            Err(_) => Err(Fault::NotHttp.into()),
        };
        let decision = match &request {
            Ok(request) => {
                to_head = request.method() == "HEAD";
                match decide.decide(request) {
                    Answer::Accept(accept) => accept.check(request, &self.config),
                    Answer::Reject(rejection) => Err(rejection),
                    Answer::Respond(response) => Ok(Decision::Respond(response, None)),
                    Answer::HandOver => {
                        self.phase = Phase::Done(HandshakeStep::HandOver);
                        return;
                    }
                }
            }
            Err(rejection) => Err(*rejection),
        };
        let told = decision.is_err();
        let decision = match decision {
            Ok(decision) => decision,
            Err(rejection) => {
                decide.refused(request.as_ref().ok(), &rejection.into());
                Decision::Respond(rejection.response(), Some(rejection))
            }
        };
        if let Decision::Switch { config, .. } = &decision {
            if let Some(config) = config {
                self.config = config.clone();
            }
            // A frame may come with the request.
            rx.feed(rest);
        } else {
            let write = self.config.timeouts.write;
            self.deadline = now.plus(write);
            self.limit = now.at_slowest(write);
        }
        if head.is_ended() {
            rx.fill(0);
        }
        let written = head.rewrite(|memory| decision.write(memory, to_head));
        // What is to be answered cannot be written: the peer learns that much.
        let (end, body) = written.unwrap_or_else(|_| {
            let reason = Rejection::Internal;
            if !told {
                decide.refused(None, &reason.into());
            }
            let body = head.rewrite(|memory| reason.response().write(memory, to_head).unwrap_or_default());
            (HandshakeStep::Refused(reason.into()), body)
        });
        self.phase = Phase::Answer { body, end };
    }
}

impl<C: ConfigRef> Timed for ServerHandshake<C> {
    fn due(&self, now: Instant) -> Due {
        let done = matches!(self.phase, Phase::Done(_));
        if !done && now >= self.deadline { Due::All } else { Due::No }
    }

    fn extend(&mut self, now: Instant) {
        self.deadline = now.after(EXTENSION);
    }
}

/// A closure that decides; what it answers borrows for `'a`.
struct Once<'a, F, C>(Option<F>, PhantomData<Answer<'a, C>>);

impl<'a, F: FnOnce(&Request<'_>) -> Answer<'a, C>, C> Decide<C> for Once<'a, F, C> {
    fn decide<'s>(&'s mut self, request: &Request<'_>) -> Answer<'s, C> {
        self.0.take().map_or(Answer::HandOver, |decide| decide(request))
    }
}

/// What a request is answered with; nothing of it borrows the request.
enum Decision<'s, C> {
    Switch {
        key: AcceptKey,
        protocol: Option<&'static str>,
        headers: &'s [(&'s str, &'s str)],
        config: Option<C>,
    },
    Respond(Response<'s>, Option<Rejection>),
}

impl<'s, C> Accept<'s, C> {
    fn check(self, request: &Request<'_>, config: &Config) -> Result<Decision<'s, C>, Rejection> {
        let key = request.check_upgrade(config)?;
        if !self.origin.allows(request) {
            return Err(Rejection::Forbidden);
        }
        let offered = |name: &str| request.protocols().any(|offer| offer == name.as_bytes());
        let protocol = self.protocols.iter().copied().find(|name| offered(name));
        if protocol.is_none() && self.protocol_required {
            return Err(Fault::Protocol.into());
        }
        let (headers, config) = (self.headers, self.config);
        Ok(Decision::Switch { key: accept_key(key), protocol, headers, config })
    }
}

impl<C> Decision<'_, C> {
    /// Writes the head of the answer: how long it is, what comes of it, and what is left of its body.
    fn write(
        &self,
        memory: &mut [u8],
        to_head: bool,
    ) -> (usize, Result<(HandshakeStep, &'static [u8]), BadHead>) {
        let (end, written) = match self {
            Self::Switch { key, protocol, headers, .. } => (
                HandshakeStep::Open(*protocol),
                write_switch(memory, key, *protocol, headers).map(|n| (n, &[][..])),
            ),
            Self::Respond(response, reason) => {
                let refusal = Refusal { status: response.status, reason: *reason };
                (HandshakeStep::Refused(refusal), response.write(memory, to_head))
            }
        };
        match written {
            Ok((n, body)) => (n, Ok((end, body))),
            Err(bad) => (0, Err(bad)),
        }
    }
}
