//! Counters of what a hub has done.

#![forbid(unsafe_code)]

use crate::ending::Ending;
use crate::error::{EndReason, Timeout};
use crate::handshake::{BadRequest, Refusal, Rejection};
use crate::session::Outcome;

/// Counts what a hub has done since it was made. [`HubHandle::counters`](super::HubHandle::counters) returns a copy.
///
/// ```
/// use sansocket::hub::Counters;
///
/// /// The number of transports that the hub has now.
/// fn live(counters: &Counters) -> u64 {
///     counters.accepted - counters.ended
/// }
///
/// assert_eq!(live(&Counters::default()), 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Transports that were accepted.
    pub accepted: u64,
    /// Connections that were opened: opening handshakes that succeeded, and adopted connections.
    pub opened: u64,
    /// Transports that have ended, for any reason.
    pub ended: u64,
    /// Bytes that transports received.
    pub received: u64,
    /// Bytes that transports took.
    pub sent: u64,
    /// Messages that handlers have received whole.
    pub messages: u64,
    /// Messages that were sent through the hub and that a transport has taken whole. A broadcast counts once for each
    /// session.
    pub delivered: u64,
    /// Messages that were sent through the hub and that were refused or dropped. A broadcast counts once for each session.
    pub lost: u64,
    /// Messages that were sent through the hub and are pending. At every moment the hub has handled
    /// `delivered + lost + waiting` messages.
    pub waiting: u64,
    /// Handlers that panicked.
    pub panicked: u64,
    /// Requests that were not upgraded, by reason.
    pub refused: RefusedCounters,
    /// Connections that are closed, by reason.
    pub closed: ClosedCounters,
}

/// Requests that were not upgraded, by reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RefusedCounters {
    /// The application responded with a status below 400: a page, a redirect.
    pub responded: u64,
    /// The application responded with 401 or 403.
    pub forbidden: u64,
    /// The application responded with 404 or 405.
    pub not_found: u64,
    /// The application responded with another status from 400 to 499.
    pub declined: u64,
    /// The application responded with a status of 500 or above, or its response could not be written: 500.
    pub failed: u64,
    /// The page's origin is not allowed: 403.
    pub origin: u64,
    /// Not an HTTP request: 400.
    pub not_http: u64,
    /// The server supports none of the offered subprotocols: 400.
    pub protocol: u64,
    /// A field of the upgrade is missing, wrong, or present twice, or the length of the body is malformed or missing:
    /// 400, 411.
    pub bad_request: u64,
    /// The request for an upgrade has another method than GET: 405.
    pub method: u64,
    /// The request took too long: 408.
    pub timeout: u64,
    /// The body is too large: 413.
    pub body: u64,
    /// The request is no upgrade to version 13 of WebSocket, where the server accepts only that: 426.
    pub upgrade: u64,
    /// The head is larger than its limit or its memory: 431.
    pub head: u64,
    /// The head has more header fields than its limit: 431.
    pub fields: u64,
    /// All places are taken, or there is no memory for the body: 503.
    pub unavailable: u64,
    /// The peer disconnected, sent no request in time, or was closed before there was a response.
    pub disconnected: u64,
    /// Requests that were handed over.
    pub handed_over: u64,
}

/// Connections that are closed, by reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ClosedCounters {
    /// Both sides sent a Close.
    pub clean: u64,
    /// The peer broke a rule.
    pub violation: u64,
    /// Nothing was received, or a Ping was not answered.
    pub silent_peer: u64,
    /// A message had begun, and made no progress.
    pub stalled_message: u64,
    /// The peer did not answer a Close.
    pub unanswered_close: u64,
    /// The peer did not read in time.
    pub unread_output: u64,
    /// The extension failed.
    pub extension: u64,
    /// The handler left a frame unfinished.
    pub unfinished_frame: u64,
    /// The transport ended without a Close.
    pub disconnected: u64,
}

impl Counters {
    /// Counts the end of a session.
    pub(super) fn end(&mut self, outcome: Outcome) {
        count(match outcome {
            Outcome::Closed(ending) => self.closed.by(ending),
            Outcome::HandedOver => &mut self.refused.handed_over,
            Outcome::Disconnected => &mut self.refused.disconnected,
            Outcome::Refused(refusal) => self.refused.by(refusal),
        });
    }
}

impl RefusedCounters {
    const fn by(&mut self, refusal: Refusal) -> &mut u64 {
        let Some(reason) = refusal.reason else {
            return match refusal.status {
                ..=399 => &mut self.responded,
                401 | 403 => &mut self.forbidden,
                404 | 405 => &mut self.not_found,
                400..=499 => &mut self.declined,
                _ => &mut self.failed,
            };
        };
        match reason {
            Rejection::BadRequest(BadRequest::NotHttp) => &mut self.not_http,
            Rejection::BadRequest(BadRequest::Protocol) => &mut self.protocol,
            Rejection::BadRequest(_) | Rejection::LengthRequired => &mut self.bad_request,
            Rejection::Forbidden => &mut self.origin,
            Rejection::MethodNotAllowed => &mut self.method,
            Rejection::Timeout => &mut self.timeout,
            Rejection::BodyTooLarge => &mut self.body,
            Rejection::UpgradeRequired => &mut self.upgrade,
            Rejection::TooLarge => &mut self.head,
            Rejection::TooManyFields => &mut self.fields,
            Rejection::Internal => &mut self.failed,
            #[cfg(feature = "http")]
            Rejection::NotImplemented => &mut self.failed,
            Rejection::NoMemory | Rejection::Unavailable => &mut self.unavailable,
        }
    }
}

impl ClosedCounters {
    const fn by(&mut self, ending: Ending) -> &mut u64 {
        match ending.reason {
            EndReason::Clean => &mut self.clean,
            EndReason::Violation(_) => &mut self.violation,
            EndReason::Timeout(Timeout::Idle | Timeout::Pong) => &mut self.silent_peer,
            EndReason::Timeout(Timeout::Message) => &mut self.stalled_message,
            EndReason::Timeout(Timeout::Close) => &mut self.unanswered_close,
            EndReason::Timeout(Timeout::Write) => &mut self.unread_output,
            EndReason::Extension => &mut self.extension,
            EndReason::UnfinishedFrame => &mut self.unfinished_frame,
            EndReason::Disconnected => &mut self.disconnected,
        }
    }
}

pub(super) const fn count(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}
