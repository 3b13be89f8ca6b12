//! What a hub has done so far.

#![forbid(unsafe_code)]

use crate::cause::{Cause, End, Timeout};
use crate::handler::Outcome;

/// What a hub has done since it began; a copy can be had at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Transports that were accepted.
    pub accepted: u64,
    /// Connections that were opened: handshakes that succeeded.
    pub opened: u64,
    /// Transports that are gone, whatever they were.
    pub ended: u64,
    /// Bytes that came from transports.
    pub received: u64,
    /// Bytes that transports took.
    pub sent: u64,
    /// Messages that came.
    pub messages: u64,
    /// Messages that were sent through the hub, and written to a transport whole.
    pub delivered: u64,
    /// Messages that were sent through the hub, and lost.
    pub lost: u64,
    /// Handlers that panicked.
    pub panicked: u64,
    /// Requests that were not upgraded.
    pub refused: Refused,
    /// Connections that are closed.
    pub closed: Closed,
}

/// Requests that were not upgraded, by what they were answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Refused {
    /// Statuses below 400: pages.
    pub answered: u64,
    /// 401 and 403.
    pub forbidden: u64,
    /// 404 and 405.
    pub not_found: u64,
    /// 408: the request took too long.
    pub timeout: u64,
    /// 503: at capacity.
    pub unavailable: u64,
    /// Other statuses from 400 to 499: wrong requests.
    pub bad_request: u64,
    /// Other statuses from 500 on.
    pub failed: u64,
    /// The peer vanished, asked for nothing in time, or was closed before there was an answer.
    pub vanished: u64,
    /// Requests that were handed over.
    pub handed_over: u64,
}

/// Connections that are closed, by cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Closed {
    /// Both sides sent a Close.
    pub clean: u64,
    /// The peer broke a rule.
    pub violation: u64,
    /// Nothing was received, or a Ping was not answered.
    pub silent: u64,
    /// A Close was not answered.
    pub unanswered: u64,
    /// The peer did not read.
    pub unread: u64,
    /// The handler left a frame unfinished.
    pub abandoned: u64,
    /// The transport ended without a Close.
    pub vanished: u64,
}

impl Counters {
    pub(super) fn end(&mut self, outcome: Outcome) {
        count(match outcome {
            Outcome::Closed(cause) => self.closed.by(cause),
            Outcome::HandOver => &mut self.refused.handed_over,
            Outcome::Vanished => &mut self.refused.vanished,
            Outcome::Refused(status) => match status {
                ..=399 => &mut self.refused.answered,
                401 | 403 => &mut self.refused.forbidden,
                404 | 405 => &mut self.refused.not_found,
                408 => &mut self.refused.timeout,
                503 => &mut self.refused.unavailable,
                400..=499 => &mut self.refused.bad_request,
                _ => &mut self.refused.failed,
            },
        });
    }
}

impl Closed {
    const fn by(&mut self, cause: Cause) -> &mut u64 {
        match cause.end {
            End::Clean => &mut self.clean,
            End::Violation(_) => &mut self.violation,
            End::Timeout(Timeout::Idle | Timeout::Pong) => &mut self.silent,
            End::Timeout(Timeout::Close) => &mut self.unanswered,
            End::Timeout(Timeout::Write) => &mut self.unread,
            End::Abandoned => &mut self.abandoned,
            End::Vanished => &mut self.vanished,
        }
    }
}

pub(super) const fn count(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}
