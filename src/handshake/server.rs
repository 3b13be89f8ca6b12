//! The server's side of the opening handshake (RFC 6455 §4.2).

#![forbid(unsafe_code)]

use core::convert::Infallible;
use core::marker::PhantomData;

use super::checked::Checked;
use super::decision::{Decide, Decision};
#[cfg(feature = "extension")]
use super::extensions::ExtensionList;
use super::head::Scanner;
use super::negotiate::Negotiate;
use super::rejection::{BadRequest, Refusal, Rejection};
use super::request::Request;
use super::response::Response;
use super::response_body::BodyRest;
use crate::buffer::{ReceiveBuffer, TransmitBuffer};
use crate::config::ConfigRef;
use crate::config::base::Config;
#[cfg(feature = "extension")]
use crate::extension::Extension;
use crate::extension::NoExtension;
use crate::step::Step;
use crate::time::{Due, EXTENSION, Instant, Timed};

/// How the server's side of an opening handshake ended: the `D` of the [`Step`] that [`ServerHandshake::poll`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ServerHandshakeEnd {
    /// The connection is open. The 101 is in the transmit buffer, and what was received after the request in the receive buffer.
    Opened {
        /// The subprotocol that was agreed upon, if it is one of [`AcceptOptions::protocols`](super::AcceptOptions::protocols).
        protocol: Option<&'static str>,
    },
    /// [`Decision::HandOver`]: the caller takes over. The request, and what was received after it, are
    /// [`ReceiveBuffer::unread`] of the head.
    HandedOver,
    /// The handshake ended without a connection: a response with this status is written. Drop the transport.
    Refused(Refusal),
    /// The handshake ended without a response: the peer disconnected, did not read it, or sent no request in time. Drop the
    /// transport.
    Disconnected,
}

/// Drives the server's side of the opening handshake: reads a request, lets the application decide, and sends the
/// response.
///
/// The head of the request, and after it the head of the response, lie in a separate buffer, which the caller can reuse
/// when the handshake is over: its size limits both. The other two buffers are the connection's.
///
/// ```
/// use sansocket::handshake::{Decision, Response, ServerHandshake, ServerHandshakeEnd};
/// use sansocket::{Config, Instant, ReceiveBuffer, Step, TransmitBuffer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (mut head_memory, mut rx_memory, mut tx_memory) = ([0; 512], [0; 512], [0; 512]);
/// # let (mut head, mut rx) = (ReceiveBuffer::new(&mut head_memory)?, ReceiveBuffer::new(&mut rx_memory)?);
/// # let mut tx = TransmitBuffer::new(&mut tx_memory)?;
/// let now = Instant::from_millis(0);
/// let mut handshake = ServerHandshake::new(&Config::DEFAULT, now);
/// // An adapter reads the transport.
/// let request = b"GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
///     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
/// handshake.spare(&mut head, &mut rx)[..request.len()].copy_from_slice(request);
/// handshake.fill(&mut head, &mut rx, request.len());
/// let step = handshake.poll(now, &mut head, &mut rx, &mut tx, |request| match request.path() {
///     "/chat" => Decision::accept(),
///     _ => Decision::Respond(Response::text(404, "not found\n")),
/// });
/// // `rx` and `tx` are now those of a `Connection` with `Server`.
/// assert!(matches!(step, Step::Done(ServerHandshakeEnd::Opened { protocol: None })));
/// assert!(tx.pending().starts_with(b"HTTP/1.1 101 Switching Protocols\r\n"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ServerHandshake<C = &'static Config> {
    config: C,
    scanner: Scanner,
    deadline: Instant,
    /// The hard limit for a response that the peer reads slowly.
    limit: Instant,
    /// The response to a request that has not arrived in time.
    late: Rejection,
    /// The part of the response's body that is not copied to the transmit buffer yet.
    body: BodyRest,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The request is being received.
    Request,
    /// The response is being copied to the transmit buffer: its head from the head buffer, then the rest of its body.
    /// Then the connection opens, or the handshake ends.
    Respond(ServerHandshakeEnd),
    /// The response is written, and the peer has to close.
    Shut(Refusal),
    Done(ServerHandshakeEnd),
}

impl<C: ConfigRef> ServerHandshake<C> {
    /// Begins the handshake when the transport is accepted.
    #[must_use]
    pub fn new(config: C, now: Instant) -> Self {
        let deadline = now.plus(config.timeouts.handshake);
        Self {
            config,
            scanner: Scanner::default(),
            deadline,
            limit: Instant::NEVER,
            late: Rejection::Timeout,
            body: BodyRest::NONE,
            phase: Phase::Request,
        }
    }

    /// Answers a request with 503 even if it has not arrived in time.
    #[cfg(feature = "hub")]
    pub(crate) fn refuse(&mut self) {
        self.late = Rejection::Unavailable;
    }

    /// Advances the handshake, and returns what to do next. `decide` is called at most once, when the whole head of
    /// the request has arrived; its decision may borrow anything but the request.
    pub fn poll<'s>(
        &mut self,
        now: Instant,
        head: &mut ReceiveBuffer<'_>,
        rx: &mut ReceiveBuffer<'_>,
        tx: &mut TransmitBuffer<'_>,
        decide: impl FnOnce(&Request<'_>) -> Decision<'s, C>,
    ) -> Step<Infallible, ServerHandshakeEnd> {
        self.poll_with(now, head, rx, tx, &mut Once::new(decide))
    }

    /// Advances the handshake as [`poll`](Self::poll) does, and also notifies of refusals.
    pub fn poll_with(
        &mut self,
        now: Instant,
        head: &mut ReceiveBuffer<'_>,
        rx: &mut ReceiveBuffer<'_>,
        tx: &mut TransmitBuffer<'_>,
        decide: &mut impl Decide<C>,
    ) -> Step<Infallible, ServerHandshakeEnd> {
        self.poll_negotiating(now, head, rx, tx, decide, &mut NoExtension)
    }

    /// Advances the handshake as [`poll_with`](Self::poll_with) does, and negotiates an extension. When the connection is
    /// [open](ServerHandshakeEnd::Opened), [`Negotiate::open`] returns the extension for
    #[cfg_attr(
        feature = "extension",
        doc = "[`Connection::with_extension`](crate::Connection::with_extension)."
    )]
    #[cfg_attr(not(feature = "extension"), doc = "its `Connection`.")]
    ///
    /// If the answer is longer than an [`ExtensionText`](super::ExtensionText), the response is 500.
    pub fn poll_negotiating(
        &mut self,
        now: Instant,
        head: &mut ReceiveBuffer<'_>,
        rx: &mut ReceiveBuffer<'_>,
        tx: &mut TransmitBuffer<'_>,
        decide: &mut impl Decide<C>,
        negotiate: &mut impl Negotiate,
    ) -> Step<Infallible, ServerHandshakeEnd> {
        if let Phase::Request = self.phase {
            self.read(now, head, rx, decide, negotiate);
        }
        if let Phase::Respond(end) = self.phase {
            head.consume(tx.feed(head.unread()));
            if head.is_empty() {
                self.body.consume(tx.feed(self.body.as_bytes()));
            }
            let all = head.is_empty() && self.body.as_bytes().is_empty();
            if let ServerHandshakeEnd::Refused(refusal) = end {
                if all && tx.is_empty() {
                    // The transport has taken the whole response: shut the writing side down.
                    self.phase = Phase::Shut(refusal);
                    self.deadline = now.plus(self.config.timeouts.close);
                    return Step::Shutdown;
                }
                // A long response may take longer, as long as the peer reads.
                if tx.take_moved() {
                    self.deadline = now.plus(self.config.timeouts.write).min(self.limit);
                }
            } else if all {
                self.phase = Phase::Done(end);
            }
        }
        if let Phase::Shut(refusal) = self.phase {
            // What follows a refused upgrade is not read as a request.
            rx.consume(usize::MAX);
            if rx.is_ended() {
                self.phase = Phase::Done(ServerHandshakeEnd::Refused(refusal));
            }
        }
        if now >= self.deadline && matches!(self.phase, Phase::Respond(_) | Phase::Shut(_)) {
            // The peer does not read, and without the whole response there is no connection; or it does not close.
            self.transport_failed();
        }
        match self.phase {
            Phase::Done(end) => Step::Done(end),
            _ => Step::Wait { deadline: self.deadline.as_deadline() },
        }
    }

    /// Returns the memory to read the transport into; call [`fill`](Self::fill) after the read.
    ///
    /// It is never larger than the receive buffer, so that what follows the head fits there.
    pub fn spare<'a>(&self, head: &'a mut ReceiveBuffer<'_>, rx: &'a mut ReceiveBuffer<'_>) -> &'a mut [u8] {
        match self.phase {
            Phase::Request => {
                let limit = rx.capacity().saturating_sub(self.scanner.unseen(head.unread().len()));
                let room = self.config.limits.head.saturating_sub(head.unread().len());
                let spare = head.spare();
                let n = spare.len().min(limit).min(room);
                spare.get_mut(..n).unwrap_or_default()
            }
            Phase::Shut(_) => rx.spare(),
            Phase::Respond(_) | Phase::Done(_) => &mut [],
        }
    }

    /// Reports that `n` bytes were read into [`spare`](Self::spare).
    pub fn fill(&self, head: &mut ReceiveBuffer<'_>, rx: &mut ReceiveBuffer<'_>, n: usize) {
        if let Phase::Request = self.phase { head.fill(n) } else { rx.fill(n) }
    }

    /// Reports the end of the stream: the peer will send nothing more.
    pub fn end(&self, head: &mut ReceiveBuffer<'_>, rx: &mut ReceiveBuffer<'_>) {
        if let Phase::Request = self.phase { head.end() } else { rx.end() }
    }

    /// Returns the configuration of the connection, once it is [open](ServerHandshakeEnd::Opened): that of
    /// [`AcceptOptions::config`](super::AcceptOptions::config), otherwise the handshake's.
    #[must_use]
    pub const fn config(&self) -> &C {
        &self.config
    }

    /// Reports that the transport failed.
    pub fn transport_failed(&mut self) {
        self.phase = Phase::Done(match self.phase {
            Phase::Shut(refusal) => ServerHandshakeEnd::Refused(refusal),
            _ => ServerHandshakeEnd::Disconnected,
        });
    }

    /// Returns the request, or the reason to refuse it, and what follows it. Returns `None` if it is incomplete, and if the peer
    /// has disconnected.
    fn find<'h>(
        &mut self,
        now: Instant,
        head: &'h ReceiveBuffer<'_>,
    ) -> Option<(Result<Request<'h>, Rejection>, &'h [u8])> {
        let filled = head.unread();
        let rejection = match self.scanner.find(filled) {
            Ok(Some(len)) => {
                let (head, rest) = filled.split_at_checked(len).unwrap_or((filled, &[]));
                return Some((Request::parse(head, &self.config), rest));
            }
            Ok(None) if filled.len() >= self.config.limits.head.min(head.capacity()) => Rejection::TooLarge,
            Ok(None) if !head.is_ended() && now < self.deadline => return None,
            Ok(None) if head.is_ended() || filled.is_empty() => {
                self.phase = Phase::Done(ServerHandshakeEnd::Disconnected);
                return None;
            }
            Ok(None) => self.late,
            Err(_) => BadRequest::NotHttp.into(),
        };
        Some((Err(rejection), &[]))
    }

    /// Reads the request, lets the application decide, and writes the response over the request.
    fn read<N: Negotiate>(
        &mut self,
        now: Instant,
        head: &mut ReceiveBuffer<'_>,
        rx: &mut ReceiveBuffer<'_>,
        decide: &mut impl Decide<C>,
        negotiate: &mut N,
    ) {
        let Some((request, rest)) = self.find(now, head) else { return };
        let mut to_head = false;
        let decided = match &request {
            Ok(request) => {
                to_head = request.method() == "HEAD";
                match decide.decide(request) {
                    Decision::Accept(accept) => accept.check(request, &self.config),
                    Decision::Reject(rejection) => Err(rejection),
                    Decision::Respond(response) => Ok(Checked::Respond(response, None)),
                    Decision::HandOver => {
                        self.phase = Phase::Done(ServerHandshakeEnd::HandedOver);
                        return;
                    }
                }
            }
            Err(rejection) => Err(*rejection),
        };
        let notified = decided.is_err();
        #[cfg(feature = "extension")]
        let mut decided = decided;
        #[cfg(feature = "extension")]
        if let (
            true,
            Ok(request),
            Ok(Checked::Switch {
                extensions: Some(extensions),
                #[cfg(feature = "deflate")]
                deflate,
                ..
            }),
        ) = (N::Extension::ACTIVE, &request, &mut decided)
        {
            #[cfg(feature = "deflate")]
            if let Some(pool) = deflate {
                negotiate.choose_pool(pool);
            }
            negotiate.accept(ExtensionList::new(request.headers()), extensions);
        }
        #[cfg(not(feature = "extension"))]
        let _ = negotiate;
        let checked = match decided {
            Ok(checked) => checked,
            Err(rejection) => {
                decide.refused(request.as_ref().ok(), &rejection.into());
                Checked::Respond(rejection.into(), Some(rejection))
            }
        };
        if let Checked::Switch { config, .. } = &checked {
            if let Some(config) = config {
                self.config = config.clone();
            }
            // Frames may arrive with the request.
            rx.feed(rest);
        } else {
            let write = self.config.timeouts.write;
            self.deadline = now.plus(write);
            self.limit = now.at_slowest(write);
        }
        if head.is_ended() {
            rx.end();
        }
        let written = head.rewrite(|memory| checked.write(memory, to_head));
        // The response cannot be written: sends 500 instead.
        let (end, body) = written.unwrap_or_else(|_| {
            let reason = Rejection::Internal;
            if !notified {
                decide.refused(None, &reason.into());
            }
            let body = head.rewrite(|memory| Response::from(reason).write(memory, to_head));
            (ServerHandshakeEnd::Refused(reason.into()), body.unwrap_or(BodyRest::NONE))
        });
        self.body = body;
        self.phase = Phase::Respond(end);
    }
}

impl<C: ConfigRef> Timed for ServerHandshake<C> {
    fn due(&self, now: Instant) -> Due {
        let done = matches!(self.phase, Phase::Done(_));
        if !done && now >= self.deadline { Due::All } else { Due::No }
    }

    fn extend(&mut self, now: Instant) {
        self.deadline = now.saturating_add(EXTENSION);
    }
}

/// A closure that decides; its decision borrows for `'a`.
pub(crate) struct Once<'a, F, C>(Option<F>, PhantomData<Decision<'a, C>>);

impl<'a, F: FnOnce(&Request<'_>) -> Decision<'a, C>, C> Once<'a, F, C> {
    pub(crate) const fn new(decide: F) -> Self {
        Self(Some(decide), PhantomData)
    }
}

impl<'a, F: FnOnce(&Request<'_>) -> Decision<'a, C>, C> Decide<C> for Once<'a, F, C> {
    fn decide<'s>(&'s mut self, request: &Request<'_>) -> Decision<'s, C> {
        self.0.take().map_or(Decision::HandOver, |decide| decide(request))
    }
}
