//! The settings of a hub.

#![forbid(unsafe_code)]

use alloc::vec::Vec;
use core::hint::black_box;
use core::time::Duration;

use super::compression::Negotiation;
use crate::arc::Arc;
use crate::buffer::MIN_BUFFER_LEN;
use crate::config::QueueLimits;
use crate::config::base::Config;
use crate::time::{GRACE, Instant};

/// The settings of a hub. A driver refuses settings that cannot serve a session: see [`InvalidSettings`].
///
/// There is a setter for each field; the fields are public too.
///
/// ```
/// use core::time::Duration;
///
/// use sansocket::Config;
/// use sansocket::hub::{Capacity, HubSettings};
///
/// let config = Config::new().max_message_len(64 * 1024).idle_timeout(Some(Duration::from_secs(300)));
/// let settings = HubSettings::new(config).max_sessions(200).capacity(Capacity::Evict);
/// assert_eq!(settings.max_sessions, 200);
/// assert_eq!(settings.max_commands, 4096);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HubSettings {
    /// The configuration of handshakes and connections. A route may have its own
    /// ([`AcceptOptions::config`](crate::handshake::AcceptOptions::config)).
    pub config: Arc<Config>,
    /// The most sessions at once. Default: 1024. Each takes a descriptor, and the process needs a few more: a PC
    /// often grants no more than 1024 (`ulimit -n`). If descriptors run out first, new connections wait to be
    /// accepted: the hub neither refuses nor evicts.
    pub max_sessions: usize,
    /// What happens to a connection beyond the limit. Default: [`Capacity::Refuse`] with 16.
    pub capacity: Capacity,
    /// The most opening handshakes a second; further connections wait to be accepted. Default: no limit.
    pub handshakes_per_second: Option<u32>,
    /// Bytes for the heads of request and response, for each opening handshake in progress: at least [`MIN_BUFFER_LEN`].
    /// Default: 8 KiB.
    pub head_buffer: usize,
    /// Bytes of the receive buffer, for each session that is not idle: at least [`MIN_BUFFER_LEN`]. Default: 66 KiB, so that
    /// one read takes the largest segment that a system puts together.
    pub receive_buffer: usize,
    /// Bytes of the transmit buffer, for each session that is not idle: at least [`MIN_BUFFER_LEN`]. Default: 66 KiB.
    pub transmit_buffer: usize,
    /// The number of unused buffers of each kind that the hub keeps for the next session. Default: 64.
    pub pooled_buffers: usize,
    /// How much may be pending for one session of what is sent to it through the hub.
    pub queue: QueueLimits,
    /// The most pending commands of [`HubHandle`](super::HubHandle)s, beside as many that the hub has taken over and not
    /// yet executed. Default: 4096.
    pub max_commands: usize,
    /// How long a session waits after its peer has missed a deadline, for bytes that arrived before: for a network
    /// stack that runs in tasks of this program and may have been stopped together with the hub. Default: none, 100
    /// ms on ESP-IDF. The hub reads what is in the socket by then in any case.
    pub read_grace: Duration,
    /// The codecs with which messages are compressed (RFC 7692), for clients that offer it. Hubs that get clones of the settings share
    /// them. `None`: no compression.
    #[cfg(feature = "deflate")]
    pub deflate: Option<Arc<crate::deflate::Pool>>,
}

/// Why a hub cannot work with its [`HubSettings`], with the name of the setting that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum InvalidSettings {
    /// The setting is 0, so that no session could be served.
    #[error("HubSettings::{0} is 0")]
    Zero(&'static str),
    /// A buffer is smaller than [`MIN_BUFFER_LEN`].
    #[error("HubSettings::{0} is less than {MIN_BUFFER_LEN} bytes")]
    TooSmall(&'static str),
    /// There is no memory for the buffers of a single session.
    #[error("no memory for a buffer of HubSettings::{0} bytes")]
    NoMemory(&'static str),
}

/// What happens to a connection when every place is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Capacity {
    /// Responds with 503 once the request has arrived, or at the handshake deadline if it has arrived in part. At most this many connections wait for that at once, beside the sessions; further ones wait to be
    /// accepted.
    Refuse(usize),
    /// Closes the session that has been silent for longest with 1013, as [`HubHandle::close`](super::HubHandle::close)
    /// does, to make room. While evicted sessions close, up to eight sessions may exist beyond
    /// [`HubSettings::max_sessions`]; for one more, the hub drops the one of them that has been silent for longest since its
    /// closing began.
    Evict,
}

impl HubSettings {
    /// Creates the default settings with this configuration of connections; the setters below change single fields.
    #[must_use]
    pub fn new(config: impl Into<Arc<Config>>) -> Self {
        Self {
            config: config.into(),
            max_sessions: 1024,
            capacity: Capacity::Refuse(16),
            handshakes_per_second: None,
            head_buffer: 8 * 1024,
            // Sixteen pages and a half: where an allocator places both side by side, copies between them do not meet the
            // slow case of addresses that are equal modulo a page.
            receive_buffer: 66 * 1024,
            transmit_buffer: 66 * 1024,
            pooled_buffers: 64,
            queue: QueueLimits::new(),
            max_commands: 4096,
            read_grace: if cfg!(target_os = "espidf") { GRACE } else { Duration::ZERO },
            #[cfg(feature = "deflate")]
            deflate: None,
        }
    }
}

/// Setters: each returns the settings with one field changed.
impl HubSettings {
    /// Sets [`max_sessions`](Self#structfield.max_sessions): the most sessions at once.
    #[must_use]
    pub fn max_sessions(mut self, most: usize) -> Self {
        self.max_sessions = most;
        self
    }

    /// Sets [`capacity`](Self#structfield.capacity): what happens to a connection beyond the limit.
    #[must_use]
    pub fn capacity(mut self, capacity: Capacity) -> Self {
        self.capacity = capacity;
        self
    }

    /// Sets [`handshakes_per_second`](Self#structfield.handshakes_per_second): the most opening handshakes a second.
    #[must_use]
    pub fn handshakes_per_second(mut self, most: Option<u32>) -> Self {
        self.handshakes_per_second = most;
        self
    }

    /// Sets [`head_buffer`](Self#structfield.head_buffer): bytes for the heads of request and response.
    #[must_use]
    pub fn head_buffer(mut self, bytes: usize) -> Self {
        self.head_buffer = bytes;
        self
    }

    /// Sets [`receive_buffer`](Self#structfield.receive_buffer): bytes of the receive buffer.
    #[must_use]
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.receive_buffer = bytes;
        self
    }

    /// Sets [`transmit_buffer`](Self#structfield.transmit_buffer): bytes of the transmit buffer.
    #[must_use]
    pub fn transmit_buffer(mut self, bytes: usize) -> Self {
        self.transmit_buffer = bytes;
        self
    }

    /// Sets [`pooled_buffers`](Self#structfield.pooled_buffers): the most unused buffers of each kind.
    #[must_use]
    pub fn pooled_buffers(mut self, most: usize) -> Self {
        self.pooled_buffers = most;
        self
    }

    /// Sets [`queue`](Self#structfield.queue): how much may be pending for one session.
    #[must_use]
    pub fn queue(mut self, limits: QueueLimits) -> Self {
        self.queue = limits;
        self
    }

    /// Sets [`max_commands`](Self#structfield.max_commands): the most pending commands.
    #[must_use]
    pub fn max_commands(mut self, most: usize) -> Self {
        self.max_commands = most;
        self
    }

    /// Sets [`read_grace`](Self#structfield.read_grace): how long a session waits after its peer has missed a deadline.
    #[must_use]
    pub fn read_grace(mut self, grace: Duration) -> Self {
        self.read_grace = grace;
        self
    }

    /// Sets [`deflate`](Self::deflate): messages are compressed with clients that offer it. A broadcast is compressed once for all of
    /// them. Default: no compression.
    ///
    /// Compression shows the length of what a message repeats. A route whose messages have secrets beside text of another party
    /// declines it with [`AcceptOptions::decline_extensions`](crate::handshake::AcceptOptions::decline_extensions); one that is to have
    /// other windows, levels or contexts sets [`AcceptOptions::deflate`](crate::handshake::AcceptOptions::deflate).
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn deflate(mut self, pool: impl Into<Arc<crate::deflate::Pool>>) -> Self {
        self.deflate = Some(pool.into());
        self
    }
}

impl HubSettings {
    /// Returns what negotiates the extension of one session.
    pub(super) fn negotiation(&self) -> Negotiation {
        #[cfg(feature = "deflate")]
        return self
            .deflate
            .as_ref()
            .map_or(Negotiation::UNDECIDED, |pool| Negotiation::server(Arc::clone(pool)));
        #[cfg(not(feature = "deflate"))]
        crate::extension::NoExtension
    }

    /// Checks whether a hub can work with them.
    pub(super) fn check(&self) -> Result<(), InvalidSettings> {
        let counts = [("max_sessions", self.max_sessions == 0), ("max_commands", self.max_commands == 0)];
        for (name, none) in
            counts.into_iter().chain([("handshakes_per_second", self.handshakes_per_second == Some(0))])
        {
            if none {
                return Err(InvalidSettings::Zero(name));
            }
        }
        // Holds all buffers at once, as a session does.
        let mut buffers = [
            ("head_buffer", self.head_buffer),
            ("receive_buffer", self.receive_buffer),
            ("transmit_buffer", self.transmit_buffer),
        ]
        .map(|size| (size, Vec::<u8>::new()));
        for ((name, size), buffer) in &mut buffers {
            if *size < MIN_BUFFER_LEN {
                return Err(InvalidSettings::TooSmall(name));
            }
            // Without `black_box` the compiler may remove the allocation.
            if black_box(buffer).try_reserve_exact(*size).is_err() {
                return Err(InvalidSettings::NoMemory(name));
            }
        }
        drop(black_box(buffers));
        Ok(())
    }
}

impl Default for HubSettings {
    fn default() -> Self {
        Self::new(Config::DEFAULT)
    }
}

/// Returns when the next transport may be accepted after one at `now`, at `handshakes` a second on average. It makes
/// up for up to `LAG` that a wait has cost.
pub(super) fn pace(pace: Instant, now: Instant, handshakes: Option<u32>) -> Instant {
    let Some(rate) = handshakes else { return now };
    let between = Duration::from_secs(1).checked_div(rate).unwrap_or(Duration::from_secs(1));
    pace.max(Instant::from_micros(now.as_micros().saturating_sub(LAG))).saturating_add(between)
}

/// Microseconds.
const LAG: u64 = 10_000;
