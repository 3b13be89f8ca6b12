//! The parts of a [`Config`](crate::Config), and how a connection holds one.

#![forbid(unsafe_code)]

pub(crate) mod base;
#[cfg(feature = "hub")]
mod queue;
mod reference;

#[cfg(feature = "hub")]
pub use queue::{Overflow, QueueLimits};
pub use reference::ConfigRef;

use core::time::Duration;

/// The limits on what a peer sends. A peer that exceeds one fails the connection or gets a refusal, before any memory is
/// used for the excess.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a message, over all its fragments, as delivered. Beyond: Close 1009. Default: 64 MiB.
    pub message: u64,
    /// Bytes of payload of one frame, as received. Beyond: Close 1009. Default: 64 MiB.
    pub frame: u64,
    /// Frames of one message. Beyond: Close 1008. Default: 131,072.
    pub fragments: u32,
    /// Pings within a second (of 2^20 microseconds). Beyond: Close 1008. Default: no limit, as at most one Pong is kept
    /// when the transmit buffer is full.
    pub pings_per_second: Option<u8>,
    /// Bytes of a request's or a response's head; the size of the head buffer is a second limit. Beyond: status 431.
    /// Default: 8 KiB.
    pub head: usize,
    /// Header fields of a request or a response. Beyond: status 431. Default: 128; browsers behind several proxies send
    /// about forty.
    pub headers: usize,
}

/// The deadlines for a peer; `None` switches one off.
///
/// Adapters and the hub read and write the transport once more before they enforce a deadline, however late they are: bytes
/// that have arrived by then count. If part of a request, a response or a Close has arrived by then, its deadline is extended
/// once, by a second.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// The time for the whole opening handshake, from its creation. Default: 10 s.
    pub handshake: Option<Duration>,
    /// The longest time without any received byte, control frames included. Default: off.
    pub idle: Option<Duration>,
    /// The time within which an unfinished message, frame or header has to grow by 1 KiB or to end. Beyond: Close 1008.
    /// Time in which the connection does not receive because its application is blocked does not count. Default: 60 s.
    ///
    /// Over TLS a record counts when it is complete: a peer that sends records of 16 KiB has to send 16 KiB within this time.
    pub message: Option<Duration>,
    /// The time without progress after which a Ping is sent. Progress is the start or the end of a message, a frame outside
    /// of one, or 1 KiB of one. Default: 30 s.
    pub ping: Option<Duration>,
    /// The time within which any byte has to arrive after a Ping. It restarts whenever the transport takes pending bytes.
    /// Default: 20 s.
    pub pong: Option<Duration>,
    /// The time for the closing handshake, and again for closing the transport after it. It restarts whenever the transport
    /// takes bytes that are pending before the Close. Default: 5 s.
    pub close: Option<Duration>,
    /// The longest time in which the transport takes none of the pending bytes. Default: 30 s.
    pub write: Option<Duration>,
}

/// Who answers Ping and Close (RFC 6455 §5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ControlFrames {
    /// The connection answers, and delivers no event.
    #[default]
    Automatic,
    /// The connection answers, and delivers an event.
    Reported,
    /// The connection delivers an event, and the application answers.
    Manual,
}

/// How the payload of a data frame is split into events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Delivery {
    /// A frame that fits the receive buffer is delivered whole, a larger one in chunks.
    #[default]
    Frames,
    /// The part of a frame that has arrived is delivered at once.
    Chunks,
    /// The part of a frame that has arrived is delivered at once, but a chunk of text ends inside a code point only if its
    /// frame does.
    CodePoints,
}
