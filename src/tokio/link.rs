//! The polled loop of an open connection: every public method is a wait on it.
//!
//! The awaited loop of `embedded` keeps its buffers while it waits. This one takes them for a poll and gives them back, unless
//! bytes lie in them, so that an idle connection has none.

#![forbid(unsafe_code)]

use core::mem;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::boxed::Box;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::direct::Direct;
use super::incoming::Incoming;
use super::io::Io;
use super::spare;
use super::tracker::Member;
use crate::buffer::TransmitBuffer;
use crate::config::base::Config;
use crate::connection::Connection;
use crate::ending::Ending;
use crate::error::EndReason;
use crate::event::{DetachedEvent, Event};
#[cfg(feature = "deflate")]
use crate::extension::Extension;
use crate::frame::Kind;
use crate::host::Agreed;
use crate::host::error::Error;
use crate::log::EndLog;
use crate::role::Role;
use crate::session::Outcome;
use crate::step::Step;
use crate::time::{Due, Instant, Timed};

/// A connection, its stream, and what it has to write.
#[derive(Debug)]
pub(super) struct Link<S, R> {
    pub(super) io: Io<S>,
    pub(super) connection: Connection<R, Agreed, Arc<Config>>,
    pub(super) tx: TransmitBuffer<'static>,
    /// The payload that the open frame lacks: a message that is longer than the room is put into the buffer in pieces, or
    /// written without it.
    pub(super) rest: Bytes,
    /// The message that the extension encodes, of which [`rest`](Self::rest) is not yet encoded.
    pub(super) coding: Option<Kind>,
    /// Boxed, as an idle connection has none.
    pub(super) direct: Option<Box<Direct>>,
    /// The moment at which the connection ends at the latest.
    pub(super) limit: Instant,
    /// The time of the last round.
    pub(super) now: Instant,
    /// Bytes were read or written, or the connection has ended, since this was last set to false.
    pub(super) moved: bool,
    /// The first of the pending bytes is written, but not flushed. It counts as pending until then, so that the write
    /// deadline holds for flushing too.
    unflushed: bool,
    /// The stream is being shut down, until this moment.
    shutting: bool,
    shut_by: Instant,
    /// Why the stream failed. The connection reports it after everything that was received before.
    failed: Option<io::Error>,
    /// Nothing can be read any more.
    deaf: bool,
    /// The last read has filled the buffer, so that more may have arrived: one more read precedes the next write.
    filled: bool,
    /// When a deadline was first seen to have passed; [`Instant::NEVER`] if none has.
    late: Instant,
    /// A deadline was extended already.
    extended: bool,
    /// The tracker that counts the connection, and may close it.
    pub(super) member: Option<Box<Member>>,
    /// Bytes of the receive and of the transmit buffer.
    sizes: [u32; 2],
    end_log: EndLog,
}

/// What happens to events while a method waits for something else.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Events {
    /// The first with data is kept for the next read, and receiving pauses. Of Pings and of Pongs the last is kept.
    Hold,
    Discard,
}

/// Rounds of one poll, until others get their turn.
pub(super) const ROUNDS: u32 = 64;
/// How long a deadline waits for the runtime to look at its sockets: it does so before its timers.
const LOOK: Duration = Duration::from_millis(1);
impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> Link<S, R> {
    pub(super) fn new(
        io: Io<S>,
        connection: Connection<R, Agreed, Arc<Config>>,
        tx: TransmitBuffer<'static>,
        receive_buffer: usize,
    ) -> Self {
        let sizes = [receive_buffer, tx.capacity()].map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX));
        Self {
            io,
            connection,
            tx,
            rest: Bytes::new(),
            coding: None,
            direct: None,
            limit: Instant::NEVER,
            now: Instant::START,
            moved: false,
            unflushed: false,
            shutting: false,
            shut_by: Instant::NEVER,
            failed: None,
            deaf: false,
            filled: false,
            late: Instant::NEVER,
            extended: false,
            member: None,
            sizes,
            end_log: EndLog::new(),
        }
    }

    /// Waits for the next event.
    pub(super) fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        incoming: &mut Incoming,
    ) -> Poll<Result<DetachedEvent, Error>> {
        for _ in 0..ROUNDS {
            if let Some(event) = incoming.take() {
                return Poll::Ready(Ok(event));
            }
            if let Some(chunk) = self.take_whole(incoming) {
                let (shape, len) = (Event::Data(chunk).shape(), chunk.payload.len());
                return Poll::Ready(Ok(DetachedEvent { shape, span: incoming.rx.span(len) }));
            }
            if incoming.rx.is_empty() && !self.filled && self.is_open() && self.write_on(cx) {
                continue;
            }
            if let Some(event) = ready!(self.poll_round(cx, Some(incoming)))? {
                return Poll::Ready(Ok(event));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Waits until `goal` returns something. Without `incoming`, nothing is received meanwhile.
    pub(super) fn poll_until<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut incoming: Option<&mut Incoming>,
        events: Events,
        mut goal: impl FnMut(&mut Self) -> Option<T>,
    ) -> Poll<Result<T, Error>> {
        let mut settled = None;
        for _ in 0..ROUNDS {
            if let Some(reached) = goal(self) {
                return Poll::Ready(Ok(reached));
            }
            // While the stream takes everything, no other work is needed.
            let settled_now = settled.unwrap_or_else(|| self.is_settled(cx, incoming.as_deref_mut()));
            settled = Some(settled_now && self.write_on(cx));
            if settled == Some(true) {
                continue;
            }
            let event = ready!(self.poll_round(cx, incoming.as_deref_mut()))?;
            if let (Some(event), Some(incoming), Events::Hold) = (event, &mut incoming, events) {
                incoming.hold(event);
                self.moved = true;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Returns whether the transport has taken everything that was sent.
    pub(super) fn is_flushed(&self) -> bool {
        self.tx.is_empty() && self.rest.is_empty() && self.coding.is_none()
    }

    /// Returns the length of the receive buffer.
    pub(super) const fn rx_size(&self) -> usize {
        self.sizes[0] as usize
    }

    /// Returns the length of the transmit buffer.
    pub(super) const fn tx_size(&self) -> usize {
        self.sizes[1] as usize
    }

    /// Gives the transmit buffer memory.
    pub(super) fn lend(&mut self) {
        if self.tx.capacity() == 0 {
            self.tx.attach(spare::take(self.sizes[1] as usize));
        }
    }

    /// Polls the connection once, and the stream if the connection returns no event. Pending only if no bytes move.
    fn poll_round(
        &mut self,
        cx: &mut Context<'_>,
        mut incoming: Option<&mut Incoming>,
    ) -> Poll<Result<Option<DetachedEvent>, Error>> {
        self.lend();
        let told = self.follow_tracker();
        let now = self.io.time();
        self.now = now;
        ready!(self.poll_late(cx, now, incoming.as_deref_mut()));
        if now >= self.limit {
            self.connection.close_timed_out();
        }
        let filled = mem::take(&mut self.filled);
        let open = self.connection.is_quiet(now)
            && incoming.as_ref().is_some_and(|incoming| incoming.held.is_none());
        // The connection needs no poll before something arrives.
        let idle = open && incoming.as_ref().is_some_and(|incoming| incoming.rx.is_empty());
        if (idle || open && filled) && self.try_read(cx, incoming.as_deref_mut()) {
            self.filled &= !filled;
            return Poll::Ready(Ok(None));
        }
        #[cfg(feature = "deflate")]
        if let (true, Some(incoming)) = (self.connection.extension.is_active(), &mut incoming) {
            incoming.rx.attach_output(|| spare::take(self.sizes[0] as usize));
        }
        let step = match &mut incoming {
            Some(Incoming { rx, held: None, .. }) => self.connection.poll_detached(now, rx, &mut self.tx),
            _ => match self.connection.poll_without_receiving(now, &mut self.tx) {
                Step::Wait { deadline } => Step::Wait { deadline },
                Step::Shutdown => Step::Shutdown,
                Step::Done(ending) => Step::Done(ending),
            },
        };
        let deadline = match step {
            Step::Event(event) => return Poll::Ready(Ok(Some(event))),
            Step::Done(ending) => {
                ready!(self.poll_shut(cx, now));
                return Poll::Ready(Err(self.end(ending)));
            }
            Step::Wait { deadline } => deadline,
            Step::Shutdown => {
                self.shutting = true;
                self.shut_by = now.plus(self.connection.config().timeouts.close);
                Some(now)
            }
        };
        let written = self.write_on(cx);
        // A read moves the unread bytes in the buffer. A send while a whole message waits there does not read, to save that copy.
        let spared = idle || written && incoming.as_ref().is_some_and(|incoming| incoming.has_message());
        if (!spared && self.try_read(cx, incoming.as_deref_mut())) || written {
            return Poll::Ready(Ok(None));
        }
        if let Some(error) = &self.failed {
            return if let Some(Incoming { held: None, .. }) = incoming {
                self.connection.transport_failed();
                Poll::Ready(Ok(None))
            } else {
                // The application can still read what was received before the failure.
                Poll::Ready(Err(Error::Transport(error.kind().into())))
            };
        }
        let deadline = deadline.into_iter().chain(self.limit.as_deadline()).min();
        let is_told = !told && self.member.as_ref().is_some_and(|member| member.poll_closing(cx).is_some());
        if is_told || self.io.poll_deadline(cx, deadline).is_ready() {
            return Poll::Ready(Ok(None));
        }
        self.give_back(incoming);
        Poll::Pending
    }

    /// The connection may end before the stream is shut down. The shutdown continues as long as it would wait for a Close.
    fn poll_shut(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        if self.shutting && self.is_flushed() && now < self.shut_by {
            if self.io.poll_shutdown(cx).is_pending() {
                ready!(self.io.poll_deadline(cx, self.shut_by.as_deadline()));
            }
            self.shutting = false;
        }
        Poll::Ready(())
    }

    /// Tries the stream once more before a deadline is enforced: bytes that have arrived count, even if this poll is late.
    fn poll_late(&mut self, cx: &mut Context<'_>, now: Instant, incoming: Option<&mut Incoming>) -> Poll<()> {
        let quiet = self.connection.is_quiet(now);
        let due = if quiet { Due::No } else { self.connection.due(now) };
        if due == Due::No {
            self.late = Instant::NEVER;
            return Poll::Ready(());
        }
        self.write_on(cx);
        let read = self.try_read(cx, incoming);
        if read && due == Due::All && !self.extended {
            self.extended = true;
            self.connection.extend(now);
        }
        self.late = self.late.min(now);
        let looked = self.late.saturating_add(LOOK);
        if read || now >= looked { Poll::Ready(()) } else { self.io.poll_deadline(cx, Some(looked)) }
    }

    /// Writes what is pending, once. Returns whether something was written.
    pub(super) fn write_on(&mut self, cx: &mut Context<'_>) -> bool {
        self.refill();
        let written = self.failed.is_none() && self.write(cx);
        self.moved |= written;
        if written && self.tx.is_empty() {
            // So that a connection that only sends keeps taking the short cut.
            self.connection.note_written();
        }
        written
    }

    /// Reads once. Returns whether something was read.
    pub(super) fn try_read(&mut self, cx: &mut Context<'_>, incoming: Option<&mut Incoming>) -> bool {
        let read = !self.deaf && incoming.is_some_and(|incoming| self.read(cx, incoming));
        self.moved |= read;
        read
    }

    fn write(&mut self, cx: &mut Context<'_>) -> bool {
        let pending = self.tx.pending().get(usize::from(self.unflushed)..).unwrap_or_default();
        let done = if self.direct.is_some() {
            self.poll_direct(cx)
        } else if !pending.is_empty() {
            self.io.poll_write(cx, pending).map_ok(|n| {
                // All but the last byte, which is consumed when the stream is flushed.
                let before = usize::from(mem::replace(&mut self.unflushed, true));
                self.tx.consume(n.saturating_add(before).saturating_sub(1));
            })
        } else if self.shutting {
            self.io.poll_shutdown(cx).map_ok(|()| self.shutting = false)
        } else if self.unflushed {
            self.io.poll_flush(cx).map_ok(|()| {
                self.unflushed = false;
                self.tx.consume(1);
            })
        } else {
            // Bytes that were read with the opening handshake.
            return match self.io.poll_flush(cx) {
                Poll::Ready(Err(error)) => {
                    self.failed = Some(error);
                    true
                }
                _ => false,
            };
        };
        match done {
            Poll::Pending => false,
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(error)) => {
                self.failed = Some(error);
                self.shutting = false;
                true
            }
        }
    }

    fn read(&mut self, cx: &mut Context<'_>, incoming: &mut Incoming) -> bool {
        if let Some(read) = self.read_straight(cx, incoming) {
            return read;
        }
        let rx = &mut incoming.rx;
        if rx.capacity() == 0 {
            rx.attach(spare::take(self.sizes[0] as usize));
        }
        let spare = rx.spare();
        if spare.is_empty() {
            return false;
        }
        let room = spare.len();
        match self.io.poll_read(cx, spare) {
            Poll::Pending => false,
            Poll::Ready(Ok(n)) => {
                self.filled = n == room;
                if n == 0 {
                    rx.end()
                } else {
                    rx.fill(n)
                }
                true
            }
            Poll::Ready(Err(error)) => {
                self.read_failed(error);
                true
            }
        }
    }

    pub(super) fn read_failed(&mut self, error: io::Error) {
        self.deaf = true;
        self.failed.get_or_insert(error);
    }

    /// Gives empty buffers back before a wait, so that other connections can use them.
    fn give_back(&mut self, incoming: Option<&mut Incoming>) {
        if let Some(memory) = self.tx.detach() {
            spare::give(memory);
        }
        if let Some(incoming) = incoming {
            incoming.rx.detach().into_iter().for_each(spare::give);
            #[cfg(feature = "deflate")]
            incoming.rx.detach_output().into_iter().for_each(spare::give);
        }
    }

    fn end(&mut self, ending: Ending) -> Error {
        self.end_log.log(Some(Outcome::Closed(ending)));
        self.moved = true;
        (self.rest, self.coding, self.direct) = (Bytes::new(), None, None);
        match self.failed.take() {
            Some(error) if ending.reason == EndReason::Disconnected => Error::Transport(error),
            _ => Error::Ended(ending),
        }
    }
}
