//! The settings of a hub.

#![forbid(unsafe_code)]

use crate::config::{Overflow, QueueLimits};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hint::black_box;
use core::time::Duration;

use crate::buffer::MIN_BUFFER_LEN;
use crate::config::base::Config;
use crate::frame::MAX_HEADER_LEN;
use crate::time::{GRACE, Instant};

/// The settings of a hub. [`Hub::new`](super::Hub::new), and so each driver, refuses settings that cannot serve a
/// session: see [`InvalidSettings`].
///
/// ```
/// use sansocket::hub::HubSettings;
///
/// let mut settings = HubSettings::default();
/// assert_eq!(settings.max_sessions, 1024);
/// settings.max_sessions = 200;
/// settings.queue.bytes = 64 * 1024;
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
    /// Bytes for the heads of request and answer, for each opening handshake in progress: at least [`MIN_BUFFER_LEN`].
    /// Default: 8 KiB.
    pub head_buffer: usize,
    /// Bytes of the receive buffer, for each session that is not idle: at least [`MIN_BUFFER_LEN`]. Default: 16 KiB and a
    /// header, so that a message of 16 KiB comes in one piece.
    pub receive_buffer: usize,
    /// Bytes of the transmit buffer, for each session that is not idle: at least [`MIN_BUFFER_LEN`]. Default: as many as
    /// for [`rx`](Self::receive_buffer).
    pub transmit_buffer: usize,
    /// The number of unused buffers of each kind that the hub keeps for the next session. Default: 64.
    pub pooled_buffers: usize,
    /// How much may be pending for one session of what is sent to it through the hub.
    pub queue: QueueLimits,
    /// The most pending commands of [`Handle`](super::Handle)s, beside as many that the hub has taken over and not
    /// yet executed. Default: 4096.
    pub max_commands: usize,
    /// How long a session waits after its peer has missed a deadline, for bytes that arrived before: for a network
    /// stack that runs in tasks of this program and may have been stopped together with the hub. Default: none, 100
    /// ms on ESP-IDF. The hub reads what is in the socket by then in any case.
    pub read_grace: Duration,
}

/// The reason why a hub cannot work with its [`HubSettings`], with the name of the setting that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
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
pub enum Capacity {
    /// Answers the connection with 503 once its request has arrived, or at the handshake deadline if it has arrived
    /// in part. At most this many connections wait for that at once, beside the sessions; further ones wait to be
    /// accepted.
    Refuse(usize),
    /// Closes the session that has been silent for longest with 1013, as [`Handle::close`](super::Handle::close)
    /// does, to make room. While evicted sessions close, up to eight sessions may exist beyond
    /// [`HubSettings::max_sessions`]; for one more, the hub drops the one of them that has been silent for longest since its
    /// closing began.
    Evict,
}

impl HubSettings {
    /// Returns the defaults, with this configuration of connections.
    #[must_use]
    pub fn new(config: impl Into<Arc<Config>>) -> Self {
        Self {
            config: config.into(),
            max_sessions: 1024,
            capacity: Capacity::Refuse(16),
            handshakes_per_second: None,
            head_buffer: 8 * 1024,
            receive_buffer: 16 * 1024 + MAX_HEADER_LEN + 2,
            transmit_buffer: 16 * 1024 + MAX_HEADER_LEN + 2,
            pooled_buffers: 64,
            queue: QueueLimits { messages: 256, bytes: 1024 * 1024, overflow: Overflow::DropNewest },
            max_commands: 4096,
            read_grace: if cfg!(target_os = "espidf") { GRACE } else { Duration::ZERO },
        }
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
