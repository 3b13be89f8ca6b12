//! The trait that an application implements for one connection.

#![forbid(unsafe_code)]

use crate::close::CloseCode;
use crate::ending::Ending;
use crate::event::Event;
use crate::handshake::{Decision, Refusal, Request};
use crate::message::message_ref::MessageRef;
use crate::outbox::Outbox;
use crate::send::SendError;
use crate::time::Instant;

/// Declares the methods that [`Handler`] and [`MessageHandler`] have in common, around the one in which they differ.
macro_rules! methods {
    ($($own:tt)*) => {
        /// Decides about the request of a client. The answer may borrow from the handler but not from the request, so copy what
        /// you need of the request later. The default accepts every upgrade whose `Origin`, if any, is the same host.
        fn request<'s>(&'s mut self, request: &Request<'_>) -> Decision<'s> {
            let _ = request;
            Decision::accept()
        }

        /// Reports that the request is refused, for [`Refusal::reason`]: it is invalid, was late, failed a check after
        /// [`request`](Self::request), or got [`Decision::Reject`]; not for [`Decision::Respond`]. It is called at most once, and meant
        /// for logging. `request` is `None` if no request could be parsed, and for [`Rejection::Internal`](crate::handshake::Rejection::Internal).
        fn refused(&mut self, request: Option<&Request<'_>>, refusal: &Refusal) {
            let _ = (request, refusal);
        }

        /// Reports that the connection is open. `protocol` is the negotiated subprotocol, one of
        /// [`AcceptOptions::protocols`](crate::handshake::AcceptOptions::protocols).
        ///
        /// # Errors
        /// [`HandlerError::Blocked`]: the method is called again when there may be room.
        fn opened(&mut self, protocol: Option<&str>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
            let _ = (protocol, out);
            Ok(())
        }

        $($own)*

        /// Reports that the transmit buffer has been written to the transport, so that there is room for more of a long message.
        ///
        /// # Errors
        /// [`HandlerError::Blocked`]: the method is called again when the pending bytes have been written.
        fn writable(&mut self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
            let _ = out;
            Ok(())
        }

        /// Reports a wake-up: another task has something for this connection. `embedded::serve_with` calls it when its `wake` is
        /// ready, a hub after `HubHandle::wake`. Wake-ups that come together are reported once, and none before [`opened`](Self::opened).
        ///
        /// A message may be open that another method has begun: see [`timer`](Self::timer).
        ///
        /// # Errors
        /// [`HandlerError::Blocked`]: the method is called again when there may be room.
        fn woken(&mut self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
            let _ = out;
            Ok(())
        }

        /// Returns when [`timer`](Self::timer) is to be called next; `None` switches it off. It is read after the calls of the other
        /// methods, so that each of them can change it.
        ///
        /// The timer is never early. In a hub it may be late by a sixteenth of the time until the deadline, about 0.5 s at 10 s, so
        /// that the hub wakes once for the deadlines of many sessions. A timer that adds its interval to its last deadline keeps its
        /// average rate. For more precision, set a sequence of nearer deadlines.
        fn deadline(&self) -> Option<Instant> {
            None
        }

        /// Reports that the deadline has passed. Move or remove the deadline here.
        ///
        /// If the new deadline has passed too, `timer` is called again, so that a late periodic timer catches up; after 16 calls
        /// the adapter reads and writes the transport in between. If the deadline was not moved, `timer` is called again when the
        /// transport has read or written something.
        ///
        /// A message may be open that another method has begun, for example by [`forward`](Outbox::forward). To send another
        /// one inside it is an error that closes the connection. If the outbox is not [free](Outbox::is_free), move the deadline and
        /// send later.
        ///
        /// # Errors
        /// [`HandlerError::Blocked`]: the method is called again when there may be room, if the deadline has passed then.
        fn timer(&mut self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
            let _ = out;
            Ok(())
        }

        /// Reports the end of the connection. `reason` is the reason text of the peer's Close. It is called exactly once, and last,
        /// for each connection whose [`opened`](Self::opened) was called, also if a hub is dropped. After the transport has failed,
        /// no other method is called.
        fn closed(&mut self, ending: &Ending, reason: &str) {
            let _ = (ending, reason);
        }
    };
}

/// An application's event handler for one connection. Every adapter and the hub call it, so that it runs on every platform.
///
/// A method gets the [`Outbox`] of the connection, which sends and returns the time. No method may wait: if there is no room
/// to send, it returns [`HandlerError::Blocked`], and is called again. `?` on a [`SendError`](crate::SendError) does that.
///
/// The trait is dyn-compatible: a `Box<dyn Handler + Send>` is a handler, and so is a `&mut` of one.
///
/// ```
/// use sansocket::{Connection, Config, Event, HandlerError, Handler, Instant, Kind, Outbox, ReceiveBuffer, Server, TransmitBuffer};
/// use sansocket::session::HandlerDriver;
///
/// /// Sends "hello", and answers each message with the number of messages so far.
/// struct Counter(u32);
///
/// impl Handler for Counter {
///     fn opened(&mut self, _protocol: Option<&str>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
///         Ok(out.send("hello")?)
///     }
///
///     fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
///         match event {
///             Event::Data(data) if data.end => {
///                 out.send((self.0 + 1).to_string().as_str())?;
///                 self.0 += 1; // after the send: if that is blocked, the event is delivered again
///                 Ok(())
///             }
///             _ => Ok(()),
///         }
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (mut input, mut output) = ([0; 512], [0; 512]);
/// # let (mut rx, mut tx) = (ReceiveBuffer::new(&mut input)?, TransmitBuffer::new(&mut output)?);
/// // An adapter does this:
/// let mut driver = HandlerDriver::new(Connection::new(Server, &Config::DEFAULT, Instant::START), None);
/// let mut handler = Counter(0);
/// rx.feed(b"\x81\x80\0\0\0\0"); // an empty text
/// let _ = driver.poll(Instant::START, &mut handler, &mut rx, &mut tx);
/// assert_eq!(tx.pending(), b"\x81\x05hello\x81\x011");
/// # Ok(())
/// # }
/// ```
pub trait Handler {
    methods! {
        /// Processes a received event. A handler that has sent a Close still gets what the peer sends before its Close.
        ///
        /// # Errors
        /// [`HandlerError::Blocked`]: the method is called again with the same event, without the bytes that were taken, when there may be
        /// room. Until then the connection receives nothing, which puts back-pressure on the peer.
        fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError>;
    }
}

/// An application's handler for one connection, message by message. [`WholeMessages`] makes it a [`Handler`], which puts
/// fragmented messages together.
///
/// Its methods are those of [`Handler`], with [`message`](Self::message) instead of [`event`](Handler::event). Pings, Pongs and
/// the peer's Close are not reported to it.
///
/// ```
/// use sansocket::message::{ArrayStorage, WholeMessages};
/// use sansocket::session::HandlerDriver;
/// use sansocket::{
///     Config, Connection, HandlerError, Instant, MessageHandler, MessageRef, Outbox, ReceiveBuffer, Server, TransmitBuffer,
/// };
///
/// /// Switches a lamp.
/// struct Lamp {
///     on: bool,
/// }
///
/// impl MessageHandler for Lamp {
///     fn message(&mut self, message: MessageRef<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
///         let on = message == MessageRef::Text("on");
///         out.send(if on { "is on" } else { "is off" })?;
///         self.on = on; // after the send: if that is blocked, the message is delivered again
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (mut input, mut output) = ([0; 512], [0; 512]);
/// # let (mut rx, mut tx) = (ReceiveBuffer::new(&mut input)?, TransmitBuffer::new(&mut output)?);
/// let mut handler = WholeMessages::new(Lamp { on: false }, ArrayStorage::<16>::new());
/// // An adapter does this:
/// let mut driver = HandlerDriver::new(Connection::new(Server, &Config::DEFAULT, Instant::START), None);
/// rx.feed(b"\x01\x81\0\0\0\0o\x80\x81\0\0\0\0n"); // "on" in two fragments
/// let _ = driver.poll(Instant::START, &mut handler, &mut rx, &mut tx);
/// assert_eq!(tx.pending(), b"\x81\x05is on");
/// assert!(handler.handler().on);
/// # Ok(())
/// # }
/// ```
///
/// [`WholeMessages`]: crate::message::WholeMessages
pub trait MessageHandler {
    methods! {
        /// Processes a received message. A handler that has sent a Close still gets the messages that the peer sends before its
        /// Close.
        ///
        /// # Errors
        /// [`HandlerError::Blocked`]: the method is called again with the same message when there may be room, whatever
        /// `consumed` is. Until then the connection receives nothing, which puts back-pressure on the peer.
        fn message(&mut self, message: MessageRef<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError>;
    }
}

/// Implements the methods of [`Handler`] or [`MessageHandler`] by calls of another handler's: all of them, or without `opened`
/// and the one in which the traits differ.
macro_rules! forward {
    ($self:ident => $handler:expr, $method:ident($what:ty)) => {
        forward!($self => $handler);

        fn opened(&mut $self, protocol: Option<&str>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
            $handler.opened(protocol, out)
        }

        fn $method(&mut $self, what: $what, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
            $handler.$method(what, out)
        }
    };
    ($self:ident => $handler:expr) => {
        fn request<'s>(&'s mut $self, request: &Request<'_>) -> Decision<'s> {
            $handler.request(request)
        }

        fn refused(&mut $self, request: Option<&Request<'_>>, refusal: &Refusal) {
            $handler.refused(request, refusal);
        }

        fn writable(&mut $self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
            $handler.writable(out)
        }

        fn woken(&mut $self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
            $handler.woken(out)
        }

        fn deadline(&$self) -> Option<Instant> {
            $handler.deadline()
        }

        fn timer(&mut $self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
            $handler.timer(out)
        }

        fn closed(&mut $self, ending: &Ending, reason: &str) {
            $handler.closed(ending, reason);
        }
    };
}

pub(crate) use forward;

impl<H: Handler + ?Sized> Handler for &mut H {
    forward!(self => (**self), event(Event<'_>));
}

impl<H: MessageHandler + ?Sized> MessageHandler for &mut H {
    forward!(self => (**self), message(MessageRef<'_>));
}

/// Makes a boxed handler a handler, so that `Box<dyn Handler + Send>` holds one of any type.
#[cfg(feature = "alloc")]
impl<H: Handler + ?Sized> Handler for alloc::boxed::Box<H> {
    forward!(self => (**self), event(Event<'_>));
}

/// Makes a boxed handler a handler, as for [`Handler`].
#[cfg(feature = "alloc")]
impl<H: MessageHandler + ?Sized> MessageHandler for alloc::boxed::Box<H> {
    forward!(self => (**self), message(MessageRef<'_>));
}

/// Why a method of a [`Handler`](crate::Handler) returned before it was done.
///
/// `?` converts a [`SendError`]: [`SendError::Blocked`] waits for room; [`SendError::Closed`] and [`SendError::Extension`]
/// become [`Closing`](Self::Closing), as the connection ends anyway; every other error is a mistake of the application and
/// closes the connection with 1011.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum HandlerError {
    /// The transmit buffer has no room: the handler is called again when the transport has taken bytes, with the event less
    /// the first `consumed` bytes of its payload. If no byte is pending, there will never be room, and the connection closes
    /// with 1011.
    #[error("there is no room to send")]
    Blocked {
        /// How many bytes of the event's payload the handler has processed.
        consumed: usize,
    },
    /// Closes the connection with this code and this reason.
    #[error("closes with {0}: {1}")]
    Close(CloseCode, &'static str),
    /// The connection is closing already, and nothing can be sent. It has no effect.
    #[error("the connection is closing")]
    Closing,
}

impl HandlerError {
    /// Converts an error of the outbox that occurred after `consumed` bytes of an event's payload were processed.
    #[must_use]
    pub fn blocked_after(error: SendError, consumed: usize) -> Self {
        match error {
            SendError::Blocked => Self::Blocked { consumed },
            error => error.into(),
        }
    }
}

impl From<SendError> for HandlerError {
    /// Converts an error as [`HandlerError::blocked_after`] with no byte consumed.
    fn from(error: SendError) -> Self {
        match error {
            SendError::Blocked => Self::Blocked { consumed: 0 },
            SendError::Closed | SendError::Extension(_) => Self::Closing,
            error => Self::Close(CloseCode::INTERNAL_ERROR, error.reason()),
        }
    }
}
