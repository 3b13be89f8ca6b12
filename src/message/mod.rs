//! Whole messages, and their assembly from frames (RFC 6455 §5.4).

#![forbid(unsafe_code)]

mod array;
#[cfg(feature = "std")]
pub(crate) mod collector;
#[cfg(feature = "std")]
pub(crate) mod growing;
pub(crate) mod message_ref;
#[cfg(feature = "std")]
pub(crate) mod outgoing;
#[cfg(feature = "bytes")]
pub(crate) mod owned;
#[cfg(any(feature = "hub", feature = "tokio"))]
mod prepared;

mod storage;
#[cfg(feature = "bytes")]
mod utf8_bytes;
mod whole;

pub use array::ArrayMessage;
#[cfg(feature = "std")]
pub use outgoing::Outgoing;
#[cfg(feature = "bytes")]
pub use owned::CloseFrame;
#[cfg(any(feature = "hub", feature = "tokio"))]
pub use prepared::Prepared;
pub use storage::{ArrayStorage, MessageStorage, SliceStorage};
#[cfg(feature = "bytes")]
pub use utf8_bytes::Utf8Bytes;
pub use whole::WholeMessages;

use crate::error::MessageTooBig;
use crate::event::Chunk;
use crate::frame::Kind;
use message_ref::MessageRef;

/// Assembles messages from the chunks of their frames. [`Limits::message`](crate::config::Limits::message) bounds how far a growing
/// storage grows.
///
/// [`WholeMessages`] does this for a handler. Use an assembler with `embedded::WebSocket::recv`, or where a handler needs more than
/// whole messages:
///
/// ```
/// use sansocket::message::{ArrayStorage, Assembler};
/// use sansocket::{Event, Handler, HandlerError, MessageRef, Outbox};
///
/// /// Says that a message was too long, and continues.
/// struct Commands(Assembler<ArrayStorage<64>>);
///
/// impl Handler for Commands {
///     fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
///         let Event::Data(chunk) = event else { return Ok(()) };
///         if self.0.push(&chunk).is_err() {
///             let _ = out.send("too long"); // without room the peer gets no notice
///         }
///         match self.0.message() {
///             Some(MessageRef::Text("ping")) => Ok(out.send("pong")?),
///             Some(_) => Ok(out.send("unknown command")?),
///             None => Ok(()), // more chunks follow
///         }
///     }
/// }
///
/// # use sansocket::session::HandlerDriver;
/// # use sansocket::{Config, Connection, Instant, ReceiveBuffer, Server, TransmitBuffer};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut handler = Commands(Assembler::new(ArrayStorage::new()));
/// # let (mut input, mut output) = ([0; 512], [0; 512]);
/// # let (mut rx, mut tx) = (ReceiveBuffer::new(&mut input)?, TransmitBuffer::new(&mut output)?);
/// # let mut driver = HandlerDriver::new(Connection::new(Server, &Config::DEFAULT, Instant::START), None);
/// # rx.feed(b"\x01\x82\0\0\0\0pi\x80\x82\0\0\0\0ng"); // "ping" in two fragments
/// # let _ = driver.poll(Instant::START, &mut handler, &mut rx, &mut tx);
/// # assert_eq!(tx.pending(), b"\x81\x04pong");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Assembler<S> {
    storage: S,
    kind: Kind,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The current message did not fit, or its first chunk was not pushed: the rest of it is skipped.
    Skipping,
    Open,
    Complete,
}

impl<S: MessageStorage> Assembler<S> {
    /// Creates an assembler with memory for one message.
    #[must_use]
    pub const fn new(storage: S) -> Self {
        Self { storage, kind: Kind::Binary, state: State::Skipping }
    }

    /// Appends the next chunk. Returns the kind of the message if it is complete; [`message`](Self::message) then returns it, until
    /// the next message begins.
    ///
    /// A handler may be blocked when it answers the message, and gets the last chunk again. `push` then returns the kind again, and
    /// appends nothing.
    ///
    /// # Errors
    /// [`MessageTooBig`], once for each message that does not fit. The rest of that message is skipped; the next message is assembled
    /// as usual.
    pub fn push(&mut self, data: &Chunk<'_>) -> Result<Option<Kind>, MessageTooBig> {
        if data.start {
            self.storage.clear();
            self.kind = data.kind;
            self.state = State::Open;
        }
        if self.state == State::Open {
            if let Err(full) = self.storage.push(&data.payload) {
                self.storage.clear();
                self.state = State::Skipping;
                return Err(full);
            }
            if data.end {
                self.state = State::Complete;
            }
        }
        Ok((self.state == State::Complete).then_some(self.kind))
    }

    /// Returns the bytes that were assembled so far.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.storage.as_bytes()
    }

    /// Returns the message; `None` if it is not complete.
    #[must_use]
    pub fn message(&self) -> Option<MessageRef<'_>> {
        let payload = (self.state == State::Complete).then(|| self.as_bytes())?;
        MessageRef::new(self.kind, payload.into())
    }

    /// Returns the kind of the message that has begun and not ended.
    #[cfg(feature = "std")]
    const fn open(&self) -> Option<Kind> {
        match self.state {
            State::Open => Some(self.kind),
            State::Skipping | State::Complete => None,
        }
    }

    /// Forgets the message. A `Vec` of more than 4 KiB gives its memory back.
    pub fn clear(&mut self) {
        self.storage.clear();
        self.state = State::Skipping;
    }

    /// Returns the storage with the bytes that were assembled.
    pub fn into_inner(self) -> S {
        self.storage
    }
}
