//! The settings of a hub.

#![forbid(unsafe_code)]

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hint::black_box;
use core::time::Duration;

use crate::buffer::MIN_BUFFER;
use crate::close::CloseCode;
use crate::config::Config;
use crate::frame::MAX_HEADER;
use crate::time::{GRACE, Instant};

/// The settings of a hub. [`Hub::new`](super::Hub::new), and so each driver, refuses settings that cannot serve a
/// session: see [`InvalidSettings`].
///
/// ```
/// use sansocket::hub::Settings;
///
/// let mut settings = Settings::default();
/// assert_eq!(settings.sessions, 1024);
/// settings.sessions = 200;
/// settings.backlog.bytes = 64 * 1024;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// The configuration of handshakes and connections. A route may have its own
    /// ([`Accept::config`](crate::handshake::Accept::config)).
    pub config: Arc<Config>,
    /// The most sessions at once. Default: 1024. Each takes a descriptor, and the process needs a few more: a PC
    /// often grants no more than 1024 (`ulimit -n`). If descriptors run out first, new connections wait to be
    /// accepted: the hub neither refuses nor evicts.
    pub sessions: usize,
    /// What happens to a connection beyond the limit. Default: [`Capacity::Refuse`] with 16.
    pub capacity: Capacity,
    /// The most opening handshakes a second; further connections wait to be accepted. Default: no limit.
    pub handshakes: Option<u32>,
    /// Bytes for the heads of request and answer, for each opening handshake in progress: at least [`MIN_BUFFER`].
    /// Default: 8 KiB.
    pub head: usize,
    /// Bytes of the receive buffer, for each session that is not idle: at least [`MIN_BUFFER`]. Default: 16 KiB and a
    /// header, so that a message of 16 KiB comes in one piece.
    pub rx: usize,
    /// Bytes of the transmit buffer, for each session that is not idle: at least [`MIN_BUFFER`]. Default: as many as
    /// for [`rx`](Self::rx).
    pub tx: usize,
    /// The number of unused buffers of each kind that the hub keeps for the next session. Default: 64.
    pub spare: usize,
    /// How much may be pending for one session of what is sent to it through the hub.
    pub backlog: Backlog,
    /// The most pending commands of [`Handle`](super::Handle)s, beside as many that the hub has taken over and not
    /// yet executed. Default: 4096.
    pub commands: usize,
    /// How long a session waits after its peer has missed a deadline, for bytes that arrived before: for a network
    /// stack that runs in tasks of this program and may have been stopped together with the hub. Default: none, 100
    /// ms on ESP-IDF. The hub reads what is in the socket by then in any case.
    pub grace: Duration,
}

/// The reason why a hub cannot work with its [`Settings`], with the name of the setting that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSettings {
    /// The setting is 0, so that no session could be served.
    #[error("Settings::{0} is 0")]
    Zero(&'static str),
    /// A buffer is smaller than [`MIN_BUFFER`].
    #[error("Settings::{0} is less than {MIN_BUFFER} bytes")]
    TooSmall(&'static str),
    /// There is no memory for the buffers of a single session.
    #[error("no memory for a buffer of Settings::{0} bytes")]
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
    /// [`Settings::sessions`]; for one more, the hub drops the one of them that has been silent for longest since its
    /// closing began.
    Evict,
}

/// Limits what is pending for one session, and says what happens beyond.
///
/// An empty queue takes a message of any size. If that is larger than `bytes`, it is not counted: the backlog limits
/// what waits after it. A message that has begun is counted until the transport has taken all of it.
///
/// A hub executes 64 commands in a turn, and then writes. More than the backlog in one turn overflows, however fast
/// the peer reads.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backlog {
    /// The most messages, at least one. Default: 256.
    pub messages: usize,
    /// The most bytes. Default: 1 MiB.
    pub bytes: usize,
    /// What happens to a message beyond the limits. Default: [`Overflow::DropNewest`].
    pub overflow: Overflow,
}

/// What happens to a message that exceeds the backlog. The hub drops whole messages only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The new message is lost.
    DropNewest,
    /// The oldest messages that have not begun are lost instead, if that makes enough room.
    DropOldest,
    /// The new message is lost, and the session is closed with this code, such as 1008 or 1013, after the messages
    /// that were queued before.
    Close(CloseCode),
}

impl Settings {
    /// Returns the defaults, with this configuration of connections.
    #[must_use]
    pub fn new(config: impl Into<Arc<Config>>) -> Self {
        Self {
            config: config.into(),
            sessions: 1024,
            capacity: Capacity::Refuse(16),
            handshakes: None,
            head: 8 * 1024,
            rx: 16 * 1024 + MAX_HEADER + 2,
            tx: 16 * 1024 + MAX_HEADER + 2,
            spare: 64,
            backlog: Backlog { messages: 256, bytes: 1024 * 1024, overflow: Overflow::DropNewest },
            commands: 4096,
            grace: if cfg!(target_os = "espidf") { GRACE } else { Duration::ZERO },
        }
    }

    /// Checks whether a hub can work with them.
    pub(super) fn check(&self) -> Result<(), InvalidSettings> {
        let counts = [("sessions", self.sessions == 0), ("commands", self.commands == 0)];
        for (name, none) in counts.into_iter().chain([("handshakes", self.handshakes == Some(0))]) {
            if none {
                return Err(InvalidSettings::Zero(name));
            }
        }
        // Holds all buffers at once, as a session does.
        let mut buffers =
            [("head", self.head), ("rx", self.rx), ("tx", self.tx)].map(|size| (size, Vec::<u8>::new()));
        for ((name, size), buffer) in &mut buffers {
            if *size < MIN_BUFFER {
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

impl Default for Settings {
    fn default() -> Self {
        Self::new(Config::DEFAULT)
    }
}

/// Returns when the next transport may be accepted after one at `now`, at `handshakes` a second on average. It makes
/// up for up to `LAG` that a wait has cost.
pub(super) fn pace(pace: Instant, now: Instant, handshakes: Option<u32>) -> Instant {
    let Some(rate) = handshakes else { return now };
    let between = Duration::from_secs(1).checked_div(rate).unwrap_or(Duration::from_secs(1));
    pace.max(Instant::from_micros(now.as_micros().saturating_sub(LAG))).after(between)
}

/// Microseconds.
const LAG: u64 = 10_000;
