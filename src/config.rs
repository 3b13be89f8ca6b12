//! Settings: limits, deadlines, modes and leniencies.

#![forbid(unsafe_code)]

use core::ops::Deref;
use core::time::Duration;

/// The limits, time-outs and modes of connections. Any number of connections share one: see [`ConfigRef`].
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
    /// The limits on what a peer sends.
    pub limits: Limits,
    /// The deadlines for a peer.
    pub timeouts: Timeouts,
    /// Who answers control frames. Default: [`Control::Automatic`].
    pub control: Control,
    /// How the payload of a data frame is split into events. Default: [`Delivery::Frames`].
    pub delivery: Delivery,
    /// The largest payload, in bytes, of the frames that [`Outbox::stream`](crate::Outbox::stream) splits a message into.
    /// Default: as much as the transmit buffer takes.
    pub largest_fragment: usize,
    /// Leniency, off by default: accept a length that is encoded in more bytes than it needs (RFC 6455 §5.2 forbids
    /// it; ESP-IDF's server sends 65535 in the 10-byte form).
    pub allow_long_length_form: bool,
    /// Leniency, off by default: accept a `Sec-WebSocket-Key` that is not 16 bytes in base64 (RFC 6455 §4.2.1 requires
    /// that; ESP-IDF does not check it).
    pub allow_malformed_key: bool,
}

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
    pub pings: Option<u8>,
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
pub enum Control {
    /// The connection answers, and delivers no event.
    #[default]
    Automatic,
    /// The connection answers, and delivers an event.
    Told,
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

impl Config {
    /// The default configuration.
    pub const DEFAULT: Self = Self::new();

    /// Creates the default configuration; the setters below change single fields.
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

/// Setters: each returns the configuration with one field changed.
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

    /// Sets [`Timeouts::ping`] and [`Timeouts::pong`]: the time without progress before a Ping is sent, and the time after
    /// it within which any byte has to arrive.
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

    /// Sets [`delivery`](Self::delivery): how payloads are split into events.
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

/// A pointer by which a connection holds its [`Config`]: a reference, or with `alloc` an `Arc`. Both take one machine word.
///
/// - `&'static Config` points to a `static`, as in firmware. It is the default of every type parameter `C`.
/// - `&'c Config` points to a configuration that outlives its connections. Code that takes any connection is generic over
///   `C: ConfigRef`; `Connection<Server>` without that parameter means `'static`.
/// - `Arc<Config>` holds settings that are known only at run time. `blocking` and `hub` use it.
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
    /// Converts a `'static` configuration, such as the one that a handler returns in
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

/// Copies the configuration, about 150 bytes, so that `&CONFIG` of a `static` converts where an `Arc` is expected.
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
