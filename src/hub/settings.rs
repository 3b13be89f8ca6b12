//! Settings of a hub.

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

/// What a hub is told before it begins. [`Hub::new`](super::Hub::new), and so each driver, refuses settings with which it could
/// serve nobody: see [`InvalidSettings`].
///
/// ```
/// use sansocket::hub::Settings;
///
/// let mut settings = Settings::default();
/// settings.sessions = 200;
/// settings.backlog.bytes = 64 * 1024;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Of handshakes and connections; a route may have settings of its own
    /// ([`Accept::config`](crate::handshake::Accept::config)).
    pub config: Arc<Config>,
    /// Sessions at once. Default: 1024. Each takes a descriptor, and the process a few beside: a PC often grants no more
    /// than 1024 (`ulimit -n`). Where they run out before the places do, newcomers wait to be accepted: nobody is refused,
    /// and nobody goes to make room.
    pub sessions: usize,
    /// What happens to one more. Default: [`Capacity::Refuse`] with 16.
    pub capacity: Capacity,
    /// Opening handshakes a second; what exceeds them waits to be accepted. Default: no limit.
    pub handshakes: Option<u32>,
    /// Bytes for the heads of request and answer, for each opening handshake under way: at least
    /// [`MIN_BUFFER`]. Default: 8 KiB.
    pub head: usize,
    /// Bytes to receive into, for each session that is not idle: at least [`MIN_BUFFER`]. Default: 16 KiB and a
    /// header, so that a message of 16 KiB comes in one piece.
    pub rx: usize,
    /// Bytes to send from, for each session that is not idle: at least [`MIN_BUFFER`]. Default: as many as for
    /// [`rx`](Self::rx).
    pub tx: usize,
    /// Buffers that are kept for the next session when nobody needs them. Default: 64.
    pub spare: usize,
    /// How much may wait for one session of what is sent to it through the hub.
    pub backlog: Backlog,
    /// Commands of [`Handle`](super::Handle)s that may wait for the hub, beside as many that it has taken over and not yet
    /// done. Default: 4096.
    pub commands: usize,
    /// How long a session whose peer has taken too long waits for what came before: for a network stack that runs in
    /// tasks of this program and may have been stopped together with the hub. Default: none, 100 ms on ESP-IDF. What is in
    /// the socket by then is read in any case.
    pub grace: Duration,
}

/// Why no hub can be made with these [`Settings`]: which of them is wrong, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSettings {
    /// With none of it nobody would be served.
    #[error("Settings::{0} is 0")]
    Zero(&'static str),
    /// A buffer is smaller than [`MIN_BUFFER`].
    #[error("Settings::{0} is less than {MIN_BUFFER} bytes")]
    TooSmall(&'static str),
    /// There is no memory for the buffers of a single session.
    #[error("no memory for a buffer of Settings::{0} bytes")]
    NoMemory(&'static str),
}

/// What happens to a connection for which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    /// It is answered with 503, when its request is here, or what is here of it in time. So many may wait for that at
    /// once, beside the sessions; further ones wait to be accepted.
    Refuse(usize),
    /// The session that has been silent for longest is closed with 1013, as by [`Handle::close`](super::Handle::close), to
    /// make room. While they are being closed, up to eight sessions may exist beyond [`Settings::sessions`]; for one more,
    /// the one of them that has been silent for longest since its closing began is cut off.
    Evict,
}

/// How much may wait for one peer, and what happens beyond.
///
/// An empty queue takes a message of any size. If that is larger than `bytes`, it is not counted: the backlog limits what
/// waits after it. A message that has begun is counted until the transport has taken all of it.
///
/// A hub obeys 64 commands in a turn, and then writes. More than the backlog in one turn overflows, however fast the peer
/// reads.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backlog {
    /// Messages, at least one. Default: 256.
    pub messages: usize,
    /// Bytes. Default: 1 MiB.
    pub bytes: usize,
    /// Default: [`Overflow::DropNewest`].
    pub overflow: Overflow,
}

/// What happens to a message for which there is no room. Always a whole message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// It is lost.
    DropNewest,
    /// The messages that have waited longest and have not begun are lost instead, if that makes enough room.
    DropOldest,
    /// It is lost, and the session is closed with this code, such as 1008 or 1013, after the messages that were queued
    /// before.
    Close(CloseCode),
}

impl Settings {
    /// The defaults, with these settings of a connection.
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

    /// Whether a hub can work with them.
    pub(super) fn check(&self) -> Result<(), InvalidSettings> {
        let counts = [("sessions", self.sessions == 0), ("commands", self.commands == 0)];
        for (name, none) in counts.into_iter().chain([("handshakes", self.handshakes == Some(0))]) {
            if none {
                return Err(InvalidSettings::Zero(name));
            }
        }
        // Held until all are there, as by a session.
        let mut buffers =
            [("head", self.head), ("rx", self.rx), ("tx", self.tx)].map(|size| (size, Vec::<u8>::new()));
        for ((name, size), buffer) in &mut buffers {
            if *size < MIN_BUFFER {
                return Err(InvalidSettings::TooSmall(name));
            }
            // The compiler would leave out what is not looked at.
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

/// When the next transport may be accepted after one at `now`, for so many a second on average: what was missed in the
/// time that a wait may take is made up for.
pub(super) fn pace(pace: Instant, now: Instant, handshakes: Option<u32>) -> Instant {
    let Some(rate) = handshakes else { return now };
    let between = Duration::from_secs(1).checked_div(rate).unwrap_or(Duration::from_secs(1));
    pace.max(Instant::from_micros(now.as_micros().saturating_sub(LAG))).after(between)
}

/// Microseconds.
const LAG: u64 = 10_000;
