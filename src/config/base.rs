//! The settings of connections: limits, deadlines and modes.

#![forbid(unsafe_code)]

use crate::config::{ControlFrames, Delivery, Limits, Timeouts};
use core::time::Duration;

/// The limits, time-outs and modes of a connection.
///
/// Any number of connections can share one configuration, by a reference or an `Arc`: see
/// [`ConfigRef`](crate::config::ConfigRef). Each field has a
/// `const` setter, so that a configuration can be a `static`. The fields are also public, and can be set one by one.
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
///
/// let mut config = Config::new();
/// config.timeouts.idle = Some(Duration::from_secs(300));
/// assert_eq!(config, Config::new().idle_timeout(Some(Duration::from_secs(300))));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The limits on what a peer sends.
    pub limits: Limits,
    /// The deadlines for a peer.
    pub timeouts: Timeouts,
    /// Who answers control frames. Default: [`ControlFrames::Automatic`].
    pub control: ControlFrames,
    /// How the payload of a data frame is split into events. Default: [`Delivery::Frames`].
    pub delivery: Delivery,
    /// The largest payload, in bytes, of each frame into which
    /// [`Outbox::send_fragmented`](crate::Outbox::send_fragmented) splits a message. Default: what fits the transmit buffer.
    pub largest_fragment: usize,
    /// Whether to accept a length that is encoded in more bytes than it needs. RFC 6455 §5.2 forbids that, but ESP-IDF's
    /// server sends a length of 65,535 in ten bytes. Default: `false`.
    pub allow_long_length_form: bool,
    /// Whether to accept a `Sec-WebSocket-Key` that is not 16 bytes in base64. RFC 6455 §4.2.1 requires that it is, but
    /// ESP-IDF's server does not check it. Default: `false`.
    pub allow_malformed_key: bool,
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
                pings_per_second: None,
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
            control: ControlFrames::Automatic,
            delivery: Delivery::Frames,
            largest_fragment: usize::MAX,
            allow_long_length_form: false,
            allow_malformed_key: false,
        }
    }
}

/// Setters: each returns the configuration with one field changed.
impl Config {
    /// Sets [`Limits::message`]: the most bytes of a message.
    #[must_use]
    pub const fn max_message_len(mut self, bytes: u64) -> Self {
        self.limits.message = bytes;
        self
    }

    /// Sets [`Limits::frame`]: the most bytes of a frame's payload.
    #[must_use]
    pub const fn max_frame_len(mut self, bytes: u64) -> Self {
        self.limits.frame = bytes;
        self
    }

    /// Sets [`Limits::fragments`]: the most frames of a message.
    #[must_use]
    pub const fn max_fragments(mut self, frames: u32) -> Self {
        self.limits.fragments = frames;
        self
    }

    /// Sets [`Limits::pings_per_second`]: the most Pings within a second.
    #[must_use]
    pub const fn max_pings_per_second(mut self, a_second: Option<u8>) -> Self {
        self.limits.pings_per_second = a_second;
        self
    }

    /// Sets [`Limits::head`]: the most bytes of an HTTP head.
    #[must_use]
    pub const fn max_head_len(mut self, bytes: usize) -> Self {
        self.limits.head = bytes;
        self
    }

    /// Sets [`Limits::headers`]: the most fields of an HTTP head.
    #[must_use]
    pub const fn max_headers(mut self, fields: usize) -> Self {
        self.limits.headers = fields;
        self
    }

    /// Sets [`Timeouts::handshake`]: the time for the whole opening handshake.
    #[must_use]
    pub const fn handshake_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeouts.handshake = timeout;
        self
    }

    /// Sets [`Timeouts::idle`]: the longest time in which nothing is received.
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

    /// Sets [`Timeouts::close`]: the time for the closing handshake.
    #[must_use]
    pub const fn close_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeouts.close = timeout;
        self
    }

    /// Sets [`Timeouts::write`]: the longest time in which the transport takes none of the pending bytes.
    #[must_use]
    pub const fn write_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeouts.write = timeout;
        self
    }

    /// Sets [`control`](Self::control): who answers control frames.
    #[must_use]
    pub const fn control_frames(mut self, mode: ControlFrames) -> Self {
        self.control = mode;
        self
    }

    /// Sets [`delivery`](Self::delivery): how the payload of a frame is split into events.
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

    /// Sets [`allow_long_length_form`](Self::allow_long_length_form): whether a length may take more bytes than it needs.
    #[must_use]
    pub const fn long_length_form(mut self, allowed: bool) -> Self {
        self.allow_long_length_form = allowed;
        self
    }

    /// Sets [`allow_malformed_key`](Self::allow_malformed_key): whether the key of a request may be malformed.
    #[must_use]
    pub const fn malformed_key(mut self, allowed: bool) -> Self {
        self.allow_malformed_key = allowed;
        self
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::DEFAULT
    }
}
