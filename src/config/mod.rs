//! The parts of a [`Config`](crate::Config), and the trait by which a connection holds one.

#![forbid(unsafe_code)]

pub(crate) mod base;
#[cfg(any(feature = "hub", feature = "tokio"))]
mod queue;
mod reference;

#[cfg(any(feature = "hub", feature = "tokio"))]
pub use queue::{Overflow, QueueLimits};
pub use reference::ConfigRef;

#[cfg(feature = "std")]
pub use crate::host::options::ClientOptions;
#[cfg(feature = "std")]
pub use crate::host::server_options::ServerOptions;

use core::time::Duration;

/// The limits on what a peer sends.
///
/// If the peer exceeds a limit of a message, a frame or Pings, the connection sends a Close with the code named below and ends.
/// If it exceeds a limit of an HTTP head, the handshake is refused. Both happen as soon as the excess is known, before any
/// memory is used for it.
///
/// ```
/// use sansocket::error::{EndReason, Violation};
/// use sansocket::{Config, Connection, Instant, ReceiveBuffer, Server, TransmitBuffer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// static CONFIG: Config = Config::new().max_message_len(4);
/// let (mut input, mut output) = ([0; 512], [0; 512]);
/// let (mut rx, mut tx) = (ReceiveBuffer::new(&mut input)?, TransmitBuffer::new(&mut output)?);
/// let mut connection = Connection::new(Server, &CONFIG, Instant::START);
///
/// rx.feed(b"\x82\x85\0\0\0\0"); // the header of a message of five bytes
/// let _ = connection.poll(Instant::START, &mut rx, &mut tx);
/// assert_eq!(&tx.pending()[..4], b"\x88\x02\x03\xf1"); // Close 1009
///
/// connection.transport_failed(); // the peer disconnects instead of answering
/// let _ = connection.poll(Instant::START, &mut rx, &mut tx);
/// let ending = connection.ending().ok_or("not ended")?;
/// assert_eq!(ending.reason, EndReason::Violation(Violation::MessageTooBig));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The most bytes of a message, over all its fragments, as delivered. Beyond: Close 1009. Default: 64 MiB.
    pub message: u64,
    /// The most bytes of one frame's payload, as received. Beyond: Close 1009. Default: 64 MiB.
    pub frame: u64,
    /// The most frames of one message. Beyond: Close 1008. Default: 131,072.
    pub fragments: u32,
    /// The most Pings within a second (of 2^20 microseconds). Beyond: Close 1008. Default: `None`, no limit, since a Ping that
    /// finds no room for its Pong takes no memory: the Pong waits in one slot, which the next Ping overwrites.
    pub pings_per_second: Option<u8>,
    /// The most bytes of a request's or a response's head. The size of the head buffer is a second limit. Beyond: a server
    /// responds with 431, a client fails. Default: 8 KiB.
    pub head: usize,
    /// The most fields of a request's or a response's head. Beyond: a server responds with 431, a client fails. Default: 128.
    /// Browsers behind several proxies send about forty.
    pub headers: usize,
}

/// The deadlines for a peer. `None` switches a deadline off.
///
/// Adapters and the hub read and write the transport once more before they enforce a deadline, even if they are late: bytes
/// that have arrived by then count. If a part of a request, a response or a Close has arrived by then, its deadline is extended
/// once, by a second.
///
/// ```
/// use core::time::Duration;
///
/// use sansocket::error::{EndReason, Timeout};
/// use sansocket::{Config, Connection, Instant, ReceiveBuffer, Server, TransmitBuffer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // A Ping after 20 s without progress; the peer is disconnected 10 s later if nothing arrives.
/// static CONFIG: Config =
///     Config::new().keep_alive(Some(Duration::from_secs(20)), Some(Duration::from_secs(10)));
/// let (mut input, mut output) = ([0; 512], [0; 512]);
/// let (mut rx, mut tx) = (ReceiveBuffer::new(&mut input)?, TransmitBuffer::new(&mut output)?);
/// let mut connection = Connection::new(Server, &CONFIG, Instant::START);
///
/// let _ = connection.poll(Instant::from_millis(20_000), &mut rx, &mut tx);
/// assert_eq!(tx.pending(), b"\x89\0"); // a Ping
/// tx.consume(2);
/// for millis in [20_000, 30_000, 30_000, 40_000, 40_000] {
///     let _ = connection.poll(Instant::from_millis(millis), &mut rx, &mut tx);
///     tx.consume(usize::MAX);
/// }
/// assert_eq!(connection.ending().map(|ending| ending.reason), Some(EndReason::Timeout(Timeout::Pong)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// The time for the whole opening handshake, from the creation of its state machine. Default: 10 s.
    pub handshake: Option<Duration>,
    /// The longest time in which no byte is received. Control frames count as received bytes. Default: `None`.
    pub idle: Option<Duration>,
    /// The time within which an unfinished message, frame or header has to end or to grow by 1 KiB. Beyond: Close 1008. The time
    /// in which the connection does not receive because its application is blocked does not count. Default: 60 s.
    ///
    /// Over TLS a record counts when it is complete: a peer that sends records of 16 KiB has to send 16 KiB within this time.
    pub message: Option<Duration>,
    /// The time without progress after which a Ping is sent. Progress is the start or the end of a message, 1 KiB of a message,
    /// or a control frame outside of a message. Default: 30 s.
    pub ping: Option<Duration>,
    /// The time within which any byte has to arrive after a Ping. It restarts whenever the transport takes pending bytes.
    /// Default: 20 s.
    pub pong: Option<Duration>,
    /// The time for the closing handshake, and after that again for closing the transport. It restarts whenever the transport
    /// takes bytes that are pending before the Close. Default: 5 s.
    pub close: Option<Duration>,
    /// The longest time in which the transport takes none of the pending bytes. Default: 30 s.
    pub write: Option<Duration>,
}

/// Who answers Pings and Closes (RFC 6455 §5.5).
///
/// ```
/// use sansocket::config::ControlFrames;
/// use sansocket::{Config, Connection, Event, Instant, ReceiveBuffer, Server, Step, TransmitBuffer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// static CONFIG: Config = Config::new().control_frames(ControlFrames::Manual);
/// let (mut input, mut output) = ([0; 512], [0; 512]);
/// let (mut rx, mut tx) = (ReceiveBuffer::new(&mut input)?, TransmitBuffer::new(&mut output)?);
/// let now = Instant::START;
/// let mut connection = Connection::new(Server, &CONFIG, now);
///
/// rx.feed(b"\x89\x81\0\0\0\0!"); // a Ping with payload "!"
/// assert!(matches!(connection.poll(now, &mut rx, &mut tx), Step::Event(Event::Ping(_))));
/// assert_eq!(tx.pending(), b""); // nothing is answered, so the application does
/// connection.outbox(now, &mut tx).pong(b"!")?;
/// assert_eq!(tx.pending(), b"\x8a\x01!");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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
///
/// ```
/// use sansocket::config::Delivery;
/// use sansocket::{Config, Connection, Event, Instant, ReceiveBuffer, Server, Step, TransmitBuffer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// static FRAMES: Config = Config::new();
/// static CHUNKS: Config = Config::new().deliver(Delivery::Chunks);
/// for (config, delivered) in [(&FRAMES, false), (&CHUNKS, true)] {
///     let (mut input, mut output) = ([0; 512], [0; 512]);
///     let (mut rx, mut tx) = (ReceiveBuffer::new(&mut input)?, TransmitBuffer::new(&mut output)?);
///     let mut connection = Connection::new(Server, config, Instant::START);
///
///     rx.feed(b"\x82\x85\0\0\0\0abc"); // three of the five bytes of a frame
///     let step = connection.poll(Instant::START, &mut rx, &mut tx);
///     let part = matches!(step, Step::Event(Event::Data(chunk)) if chunk.remaining == 2 && !chunk.end);
///     assert_eq!(part, delivered);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Delivery {
    /// A frame that fits the receive buffer is one event. A larger one comes in chunks.
    #[default]
    Frames,
    /// Each part of a frame is an event as soon as it has arrived.
    Chunks,
    /// Each part of a frame is an event as soon as it has arrived, but a chunk of text ends inside a code point only if its
    /// frame does.
    CodePoints,
}
