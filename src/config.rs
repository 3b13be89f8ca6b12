//! Settings: limits, deadlines, modes, leniencies.

#![forbid(unsafe_code)]

use core::ops::Deref;
use core::time::Duration;

/// Limits, time-outs and modes of connections. Any number of connections share one: see [`ConfigRef`].
///
/// There is a `const` setter for each field, so that a configuration can be a `static`; the fields are public too.
///
/// ```
/// use core::time::Duration;
///
/// use sansocket::Config;
///
/// static CONFIG: Config = Config::new()
///     .max_message_len(64 * 1024)
///     .keep_alive(Some(Duration::from_secs(20)), Some(Duration::from_secs(10)));
/// assert_eq!(CONFIG.limits.message, 64 * 1024);
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
    ///
    /// Over TLS a record counts when it is complete: a peer that sends records of 16 KiB needs 16 KiB within this time.
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

/// The setters: each returns the configuration with one field changed.
impl Config {
    /// Sets [`Limits::message`]: bytes of a message.
    #[must_use]
    pub const fn max_message_len(mut self, bytes: u64) -> Self {
        self.limits.message = bytes;
        self
    }

    /// Sets [`Limits::frame`]: bytes of a frame's payload.
    #[must_use]
    pub const fn max_frame_len(mut self, bytes: u64) -> Self {
        self.limits.frame = bytes;
        self
    }

    /// Sets [`Limits::fragments`]: frames of a message.
    #[must_use]
    pub const fn max_fragments(mut self, frames: u32) -> Self {
        self.limits.fragments = frames;
        self
    }

    /// Sets [`Limits::pings`]: Pings within a second.
    #[must_use]
    pub const fn max_pings(mut self, a_second: Option<u8>) -> Self {
        self.limits.pings = a_second;
        self
    }

    /// Sets [`Limits::head`]: bytes of an HTTP head.
    #[must_use]
    pub const fn max_head_len(mut self, bytes: usize) -> Self {
        self.limits.head = bytes;
        self
    }

    /// Sets [`Limits::headers`]: fields of an HTTP head.
    #[must_use]
    pub const fn max_headers(mut self, fields: usize) -> Self {
        self.limits.headers = fields;
        self
    }

    /// Sets [`Timeouts::handshake`].
    #[must_use]
    pub const fn handshake_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeouts.handshake = timeout;
        self
    }

    /// Sets [`Timeouts::idle`].
    #[must_use]
    pub const fn idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeouts.idle = timeout;
        self
    }

    /// Sets [`Timeouts::ping`] and [`Timeouts::pong`]: after how long a silence a Ping is sent, and within what time after
    /// it something has to arrive.
    #[must_use]
    pub const fn keep_alive(mut self, ping_after: Option<Duration>, pong_within: Option<Duration>) -> Self {
        self.timeouts.ping = ping_after;
        self.timeouts.pong = pong_within;
        self
    }

    /// Sets [`Timeouts::close`].
    #[must_use]
    pub const fn close_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeouts.close = timeout;
        self
    }

    /// Sets [`Timeouts::write`].
    #[must_use]
    pub const fn write_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeouts.write = timeout;
        self
    }

    /// Sets [`control`](Self::control): who answers control frames.
    #[must_use]
    pub const fn control_frames(mut self, mode: Control) -> Self {
        self.control = mode;
        self
    }

    /// Sets [`delivery`](Self::delivery): in what pieces frames are delivered.
    #[must_use]
    pub const fn deliver(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }

    /// Sets [`largest_fragment`](Self::largest_fragment), in bytes.
    #[must_use]
    pub const fn max_fragment_len(mut self, bytes: usize) -> Self {
        self.largest_fragment = bytes;
        self
    }

    /// Sets [`allow_long_length_form`](Self::allow_long_length_form).
    #[must_use]
    pub const fn long_length_form(mut self, allowed: bool) -> Self {
        self.allow_long_length_form = allowed;
        self
    }

    /// Sets [`allow_malformed_key`](Self::allow_malformed_key).
    #[must_use]
    pub const fn malformed_key(mut self, allowed: bool) -> Self {
        self.allow_malformed_key = allowed;
        self
    }
}

/// How a connection holds its [`Config`]: by reference, or with `alloc` counted in an `Arc`. Both take one pointer.
///
/// - `&'static Config`, a `static`: what firmware has, and the default of every type parameter `C`.
/// - `&'c Config`, a configuration that is read at start and outlives its connections. Code that takes any connection is
///   generic over `C: ConfigRef`; without that parameter, `Connection<Server>` means `'static`.
/// - `Arc<Config>`: what hosts have, whose settings are known at run time. `blocking` and `hub` hold it so.
///
/// ```
/// use sansocket::{Config, Connection, Instant, Server};
///
/// let config = Config::new().max_message_len(4096);
/// let borrowed = Connection::new(Server, &config, Instant::START);
/// # #[cfg(feature = "alloc")] {
/// let counted = Connection::new(Server, std::sync::Arc::new(config.clone()), Instant::START);
/// # }
/// ```
pub trait ConfigRef: Deref<Target = Config> + Clone {
    /// A configuration that lives for ever, such as the one that a handler names in
    /// [`Accept::config`](crate::handshake::Accept::config). An `Arc` holds a copy.
    fn from_static(config: &'static Config) -> Self;
}

impl ConfigRef for &Config {
    #[inline]
    fn from_static(config: &'static Config) -> Self {
        config
    }
}

#[cfg(all(feature = "alloc", target_has_atomic = "ptr"))]
impl ConfigRef for alloc::sync::Arc<Config> {
    fn from_static(config: &'static Config) -> Self {
        config.into()
    }
}

/// Copies the configuration, about 150 bytes: for `&CONFIG`, a `static`, where an `Arc` is wanted.
#[cfg(all(feature = "alloc", target_has_atomic = "ptr"))]
impl From<&Config> for alloc::sync::Arc<Config> {
    fn from(config: &Config) -> Self {
        Self::new(config.clone())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::DEFAULT
    }
}
