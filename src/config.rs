//! Settings: limits, deadlines, modes, leniencies.

#![forbid(unsafe_code)]

use core::time::Duration;

/// What a connection is told before it begins; shared by reference among any number of connections.
///
/// Every field is public and [`Config::new`] is `const`, so that settings live in a `static`:
///
/// ```
/// use sansocket::Config;
/// static CONFIG: Config = {
///     let mut config = Config::new();
///     config.limits.message = 64 * 1024;
///     config
/// };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// How much a peer may ask for.
    pub limits: Limits,
    /// How long a peer may take.
    pub timeouts: Timeouts,
    /// Who answers control frames. Default: [`Control::Automatic`].
    pub control: Control,
    /// In what pieces data frames are delivered. Default: [`Delivery::Frames`].
    pub delivery: Delivery,
    /// The largest payload, in bytes, of the frames that [`Sender::stream`](crate::Sender::stream) cuts a
    /// message into. Default: as much as the transmit buffer takes.
    pub largest_fragment: usize,
    /// Leniency, off by default: read a length that takes more bytes than it needs (RFC 6455 §5.2 forbids
    /// it; ESP-IDF's server sends 65535 in the 10-byte form).
    pub allow_long_length_form: bool,
    /// Leniency, off by default: accept a `Sec-WebSocket-Key` that is not 16 bytes in base64 (RFC 6455
    /// §4.2.1 demands it; ESP-IDF does not check).
    pub allow_malformed_key: bool,
}

/// How much a peer may ask for. What exceeds a limit fails the connection, or is refused, and costs no
/// memory before that.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a message, over all its fragments, as delivered. Beyond: Close 1009. Default: 64 MiB.
    pub message: u64,
    /// Bytes of payload of one frame, as received. Beyond: Close 1009. Default: 64 MiB.
    pub frame: u64,
    /// Frames of one message. Beyond: Close 1008. Default: 131,072.
    pub fragments: u32,
    /// Pings within a second (of 2^20 microseconds). Beyond: Close 1008. Default: no limit, as none is ever kept, and
    /// all that find no room are answered by one Pong.
    pub pings: Option<u8>,
    /// Bytes of a request's or an answer's head; the memory that holds it is a limit of its own.
    /// Beyond: status 431. Default: 8 KiB.
    pub head: usize,
    /// Fields of a request's or an answer's head. Beyond: status 431. Default: 128; browsers behind several proxies
    /// send some forty.
    pub headers: usize,
}

/// How long a peer may take; `None` switches a deadline off.
///
/// Adapters and the hub enforce a deadline only after they have tried the transport once more, however late they are: what
/// has come by then counts. Where something has come, but not yet all of a request, an answer or a Close, the deadline for
/// that is extended once, by a second.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// The whole opening handshake, from the first call on. Default: 10 s.
    pub handshake: Option<Duration>,
    /// Nothing at all was received, control frames included. Default: off.
    pub idle: Option<Duration>,
    /// A message, a frame or a header that has begun has to grow by 1 KiB, or to end, within this time. Beyond: Close
    /// 1008. Time in which the connection does not receive because its application is blocked does not count. Default:
    /// 60 s.
    pub message: Option<Duration>,
    /// A Ping is sent when the peer has ended no message, and no frame outside of one, for this time, nor begun one, nor
    /// sent 1 KiB of one. Default: 30 s.
    pub ping: Option<Duration>,
    /// After a Ping something, be it the Pong, has to arrive within this time. While the transport takes what waits
    /// to be written, that time begins anew. Default: 20 s.
    pub pong: Option<Duration>,
    /// The closing handshake, and after it the closing of the transport: so long each, and anew while the transport takes
    /// what stands before the Close. Default: 5 s.
    pub close: Option<Duration>,
    /// The peer takes none of what waits in the transmit buffer. Default: 30 s.
    pub write: Option<Duration>,
}

/// Who answers Ping and Close (RFC 6455 §5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Control {
    /// The connection answers, and the application does not see them.
    #[default]
    Automatic,
    /// The connection answers, and the application is told.
    Told,
    /// The application is told, and answers.
    Manual,
}

/// In what pieces a data frame's payload is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Delivery {
    /// A frame that fits the receive buffer is delivered whole, a larger one in chunks.
    #[default]
    Frames,
    /// Whatever has arrived of a frame is delivered at once.
    Chunks,
    /// The same, but no chunk of text ends within a code point, unless its frame does.
    CodePoints,
}

impl Config {
    /// The defaults.
    pub const DEFAULT: Self = Self::new();

    /// The defaults, to be changed field by field.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            limits: Limits {
                message: 64 * 1024 * 1024,
                frame: 64 * 1024 * 1024,
                fragments: 131_072,
                pings: None,
                head: 8 * 1024,
                headers: 128,
            },
            timeouts: Timeouts {
                handshake: Some(Duration::from_secs(10)),
                idle: None,
                message: Some(Duration::from_secs(60)),
                ping: Some(Duration::from_secs(30)),
                pong: Some(Duration::from_secs(20)),
                close: Some(Duration::from_secs(5)),
                write: Some(Duration::from_secs(30)),
            },
            control: Control::Automatic,
            delivery: Delivery::Frames,
            largest_fragment: usize::MAX,
            allow_long_length_form: false,
            allow_malformed_key: false,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::DEFAULT
    }
}
