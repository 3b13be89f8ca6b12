//! Settings: limits, deadlines, modes and leniencies.

#![forbid(unsafe_code)]

use crate::config::{ControlFrames, Delivery, Limits, Timeouts};
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
    /// Who answers control frames. Default: [`ControlFrames::Automatic`].
    pub control: ControlFrames,
    /// How the payload of a data frame is split into events. Default: [`Delivery::Frames`].
    pub delivery: Delivery,
    /// The largest payload, in bytes, of the frames that [`Outbox::send_fragmented`](crate::Outbox::send_fragmented) splits a message into.
    /// Default: as much as the transmit buffer takes.
    pub largest_fragment: usize,
    /// Leniency, off by default: accept a length that is encoded in more bytes than it needs (RFC 6455 §5.2 forbids
    /// it; ESP-IDF's server sends 65535 in the 10-byte form).
    pub allow_long_length_form: bool,
    /// Leniency, off by default: accept a `Sec-WebSocket-Key` that is not 16 bytes in base64 (RFC 6455 §4.2.1 requires
    /// that; ESP-IDF does not check it).
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

    /// Sets [`Limits::pings_per_second`]: Pings within a second.
    #[must_use]
    pub const fn max_pings_per_second(mut self, a_second: Option<u8>) -> Self {
        self.limits.pings_per_second = a_second;
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
    pub const fn control_frames(mut self, mode: ControlFrames) -> Self {
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

impl Default for Config {
    fn default() -> Self {
        Self::DEFAULT
    }
}
