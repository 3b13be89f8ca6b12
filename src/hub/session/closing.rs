//! A requested close: its Close waits until the messages that were sent before it are written.

#![forbid(unsafe_code)]

use alloc::string::String;
use core::mem;
use core::time::Duration;

use super::{Session, Turn};
use crate::close::CloseCode;
use crate::handler::Handler;
use crate::hub::completion::{Done, NotDelivered};
use crate::hub::pool::Buffers;
use crate::hub::socket::HubSocket;
use crate::send::SendError;
use crate::time::Instant;

/// The code and the reason of the Close, and how long it waits.
pub(super) struct Closing {
    code: Option<CloseCode>,
    reason: String,
    /// The sender of the Close, if it was sent as a message.
    done: Done,
    /// Set in the first turn.
    times: Option<Times>,
}

struct Times {
    /// How long the transport may take nothing before the messages are dropped.
    time: Option<Duration>,
    /// When that time ends, if the transport takes nothing from now on.
    queue_deadline: Instant,
    /// When the messages are dropped in any case.
    until: Instant,
}

impl Closing {
    pub(super) fn new(code: Option<CloseCode>, reason: &str, done: Done) -> Self {
        Self { code, reason: reason.into(), done, times: None }
    }

    /// Starts the wait in the first turn. Returns the latest moment for the end of the session.
    fn begin(&mut self, now: Instant, time: Option<Duration>) -> Instant {
        // The Close and the peer's have the last of ten times `time`.
        let until = now.plus(time.map(|time| time.saturating_mul(9)));
        self.times.get_or_insert(Times { time, queue_deadline: now.plus(time), until }).until.plus(time)
    }

    /// Restarts the wait, when the transport has taken some of the messages.
    pub(super) fn took(&mut self, now: Instant) {
        if let Some(times) = &mut self.times {
            times.queue_deadline = now.plus(times.time).min(times.until);
        }
    }

    /// When the messages are dropped.
    fn queue_deadline(&self) -> Instant {
        self.times.as_ref().map_or(Instant::NEVER, |times| times.queue_deadline)
    }
}

impl<S: HubSocket, H: Handler> Session<S, H> {
    /// When the messages before a requested close are dropped; [`Instant::NEVER`] without one.
    pub(super) fn queue_deadline(&self) -> Instant {
        self.closing.as_ref().map_or(Instant::NEVER, |closing| closing.queue_deadline())
    }

    /// Sends the requested Close, once the messages that were sent before it are written or dropped.
    pub(super) fn go_on_closing<A>(&mut self, turn: &mut Turn<'_, A>, buffers: &mut Buffers) {
        let now = turn.now;
        let time = self.timeouts().close;
        let Some(closing) = &mut self.closing else { return };
        if self.server.connection().is_none() {
            // No Close can be sent before the 101.
            self.server.transport_failed();
            self.closing = None;
            return;
        }
        let limit = closing.begin(now, time);
        let late = now >= closing.queue_deadline();
        self.end_by(limit);
        self.feed(now, turn.pool, &mut buffers.tx);
        while late && self.queue.lose(NotDelivered::Closing, turn.counters) {}
        let (Some(closing), false) = (&mut self.closing, self.queue.has_waiting()) else { return };
        // An earlier Close is sent as soon as it has room: its code stays.
        if self.server.connection().is_some_and(|connection| connection.link.is_close_pending()) {
            self.closing = None;
            return;
        }
        let sent =
            self.server.outbox(now, &mut buffers.tx).map(|mut out| out.close(closing.code, &closing.reason));
        match sent {
            // The Close waits for room for its reason.
            Some(Err(SendError::Blocked)) if !late && !closing.reason.is_empty() => return,
            Some(Err(SendError::Blocked | SendError::FrameOpen)) => {
                self.server.close(&mut buffers.tx, closing.code, "");
            }
            Some(Ok(())) => {
                let end = self.written.saturating_add(buffers.tx.pending().len() as u64);
                self.queue.closed(end, mem::replace(&mut closing.done, Done::NOBODY), turn.counters);
            }
            _ => {}
        }
        self.closing = None;
    }
}
