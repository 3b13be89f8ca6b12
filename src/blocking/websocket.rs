//! A connection over a blocking stream, to read from and to send on.

#![forbid(unsafe_code)]

use core::mem;
use core::time::Duration;
use std::boxed::Box;
use std::io::ErrorKind;
use std::vec::Vec;

use bytes::BytesMut;

use super::error::Error;
use super::ready;
use super::stream::Stream;
use super::transport::Blocking;
use crate::adapter::{self, Buffers};
use crate::cause::Cause;
use crate::close::CloseCode;
use crate::config::Config;
use crate::event::{Event, Payload};
use crate::frame::Kind;
use crate::handshake::{Answer, Connect, Reply, Request};
use crate::message::{Assembler, Message, MessageRef};
use crate::role::{Client, MaskingKey, Role, Server};

/// What became of a stream that a server accepted.
///
/// ```no_run
/// use std::net::TcpListener;
///
/// use sansocket::Config;
/// use sansocket::adapter::Buffers;
/// use sansocket::blocking::{Accepted, Error, WebSocket};
/// use sansocket::handshake::{Accept, Answer};
///
/// fn serve_one(listener: &TcpListener) -> Result<(), Box<dyn std::error::Error>> {
///     let (stream, _) = listener.accept()?;
///     let buffers = Buffers::with_capacity(8192, 16384, 16384)?;
///     let accepted = WebSocket::accept(stream, &Config::DEFAULT, buffers, |request| match request.path() {
///         "/chat" => Answer::Accept(Accept { protocols: &["chat.v2", "chat.v1"], ..Accept::default() }),
///         _ => Answer::HandOver,
///     });
///     match accepted? {
///         Accepted::WebSocket(mut socket) => socket.send("welcome")?,
///         Accepted::HandOver(_stream, request) => println!("{} bytes for the HTTP server", request.len()),
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "taken apart at once")]
pub enum Accepted<'c, S> {
    /// An open connection.
    WebSocket(WebSocket<'c, S, Server>),
    /// [`Answer::HandOver`]: the stream, and the bytes that were read of it.
    HandOver(S, Vec<u8>),
}

/// An open connection over a blocking stream.
///
/// [`recv`](Self::recv) gives whole messages, [`send`](Self::send) takes them. [`read`](Self::read) gives what arrives as
/// it arrives, control frames included, without memory beside the receive buffer, together with the sending side.
///
/// Pings are answered, and deadlines kept, while a call waits: a program that does something else for longer than its
/// peer's patience has to call [`read_timeout`](Self::read_timeout) now and then.
///
/// ```no_run
/// use sansocket::{Message, blocking};
///
/// # fn main() -> Result<(), blocking::Error> {
/// let mut socket = blocking::connect("ws://127.0.0.1:8080/ws")?;
/// socket.send("hello")?;
/// while let Some(message) = socket.recv()? {
///     match message {
///         Message::Text(text) => println!("{text}"),
///         Message::Binary(bytes) => println!("{} bytes", bytes.len()),
///     }
/// }
/// println!("closed: {}", socket.reason());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct WebSocket<'c, S, R = Server> {
    socket: adapter::WebSocket<'c, 'static, Blocking<S>, R>,
    protocol: Option<Box<str>>,
    /// The message that [`recv`](Self::recv) puts together.
    message: Assembler<BytesMut>,
}

/// The sending side of a [`WebSocket`]. [`read`](WebSocket::read) lends it with each event, whose payload lies in the receive
/// buffer: an echo needs no copy.
///
/// ```no_run
/// use sansocket::{Event, blocking};
///
/// # fn main() -> Result<(), blocking::Error> {
/// let mut socket = blocking::connect("ws://127.0.0.1:8080/ws")?;
/// loop {
///     let (event, mut out) = socket.read()?;
///     if let Event::Data(data) = event {
///         out.stream(data.kind, &data.payload, data.end)?;
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Sending<'a, 'c, S, R>(&'a mut adapter::Sending<'c, 'static, Blocking<S>, R>);

/// An event, and the sending side to answer it on.
pub type Received<'a, 'c, S, R> = (Event<Payload<'a>>, Sending<'a, 'c, S, R>);

impl<'c, S: Stream> WebSocket<'c, S, Server> {
    /// Reads a request, answers it as `decide` says, and gives the connection where there is one. [`accept`](super::accept)
    /// does so with the defaults.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Handshake`] where no request came; [`Error::Rejected`] when the answer was another
    /// one than 101, and has been sent.
    pub fn accept<'s>(
        stream: S,
        config: &'c Config,
        buffers: Buffers<'static>,
        decide: impl FnOnce(&Request<'_>) -> Answer<'s>,
    ) -> Result<Accepted<'c, S>, Error> {
        Ok(match ready(adapter::WebSocket::accept(Blocking::new(stream), config, buffers, decide))? {
            adapter::Accepted::WebSocket(socket, protocol) => {
                Accepted::WebSocket(Self::over(socket, protocol))
            }
            adapter::Accepted::HandOver(transport, head) => {
                Accepted::HandOver(transport.stream, head.filled().to_vec())
            }
        })
    }
}

impl<'c, S: Stream, K: MaskingKey> WebSocket<'c, S, Client<K>> {
    /// Asks for a connection on a stream that leads to `request.address`: of another kind than TCP, or through a tunnel.
    /// [`connect`](super::connect) makes the stream too.
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Request`], [`Error::Handshake`], [`Error::Refused`].
    pub fn connect(
        stream: S,
        config: &'c Config,
        buffers: Buffers<'static>,
        keys: K,
        request: &Connect<'_>,
    ) -> Result<Self, Error> {
        let connected = adapter::WebSocket::connect(Blocking::new(stream), config, buffers, keys, request);
        match ready(connected)? {
            adapter::Connected::WebSocket(socket, protocol) => Ok(Self::over(socket, protocol)),
            adapter::Connected::Refused(head) => {
                let response = Reply::parse(&head, config).map_err(Error::Handshake)?;
                Err(Error::Refused(Box::new(response.into())))
            }
        }
    }
}

impl<'c, S: Stream, R: Role> WebSocket<'c, S, R> {
    fn over(socket: adapter::WebSocket<'c, 'static, Blocking<S>, R>, protocol: Option<&str>) -> Self {
        Self { socket, protocol: protocol.map(Into::into), message: Assembler::new(BytesMut::new()) }
    }

    /// The next message, whole; `None` once the connection has been closed cleanly, and for ever after. What was sent
    /// before is written first. Control frames are dealt with as [`Config::control`] says, and not shown: with
    /// [`Control::Manual`](crate::Control::Manual), call [`read`](Self::read) instead.
    ///
    /// [`Limits::message`](crate::Limits::message) bounds the memory for it. A message of which `read` has taken a part is
    /// passed over.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Closed`] where the end is not a clean one, and for ever after;
    /// [`Error::MessageTooLarge`] where there is no memory for the message: the next call passes over the rest of it.
    pub fn recv(&mut self) -> Result<Option<Message>, Error> {
        match ready(self.socket.read_message(&mut self.message)) {
            Ok(kind) => {
                let message = mem::replace(&mut self.message, Assembler::new(BytesMut::new()));
                let message = Message::new(kind, message.into_inner());
                message.map(Some).ok_or_else(|| Error::Transport(ErrorKind::InvalidData.into()))
            }
            Err(adapter::Error::Closed(cause)) if cause.is_clean() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a message of any size in one frame, and writes it to the stream: `"text"`, `&string`, `&bytes`, `&message`.
    ///
    /// Nothing is received meanwhile: where the peer answers while it reads, as an echo does, and the memory of both sides
    /// is full, the call waits until the write deadline. To send large messages to such a peer, send them in pieces, and
    /// call [`read_or_written`](Self::read_or_written) in between, as `examples/echo_client.rs` does.
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Closed`], [`Error::Send`].
    pub fn send<'m>(&mut self, message: impl Into<MessageRef<'m>>) -> Result<(), Error> {
        self.sending().send(message)
    }

    /// The subprotocol that was agreed upon.
    #[must_use]
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// How the connection ended; `None` while it has not.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        self.socket.cause()
    }

    /// The next event, and the sending side to answer it on. What was sent before is written first.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Closed`] at the end, and for ever after.
    pub fn read(&mut self) -> Result<Received<'_, 'c, S, R>, Error> {
        let (event, link) = ready(self.socket.read())?;
        Ok((event, Sending(link)))
    }

    /// The same, but no longer than for this time: then `None`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_timeout(&mut self, timeout: Duration) -> Result<Option<Received<'_, 'c, S, R>>, Error> {
        let limit = self.socket.sending().now().after(timeout);
        Ok(ready(self.socket.read_until(limit))?.map(|(event, link)| (event, Sending(link))))
    }

    /// The next event; or `None` as soon as all that was sent is written, be it at once. For sending something long without
    /// going deaf: fill the [`outbox`](Sending::outbox), call this, and deal with what comes.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_or_written(&mut self) -> Result<Option<Received<'_, 'c, S, R>>, Error> {
        Ok(ready(self.socket.read_or_written())?.map(|(event, link)| (event, Sending(link))))
    }

    /// The stream: its peer's address, its options. What is read or written past the connection breaks it.
    pub fn stream(&mut self) -> &mut S {
        &mut self.socket.sending().transport().stream
    }

    /// The sending side.
    pub fn sending(&mut self) -> Sending<'_, 'c, S, R> {
        Sending(self.socket.sending())
    }

    /// Closes the connection: sends a Close, passes over what the peer still sends, and waits for its end.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Send`] where a frame is open, or the reason is too long.
    pub fn close(&mut self, code: impl Into<Option<CloseCode>>, reason: &str) -> Result<Cause, Error> {
        Ok(ready(self.socket.close(code.into(), reason))?)
    }

    /// The reason in the peer's Close, empty where there was none.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.socket.reason()
    }
}

impl<S: Stream, R: Role> Sending<'_, '_, S, R> {
    /// Sends a message, as [`WebSocket::send`] does.
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Closed`], [`Error::Send`].
    pub fn send<'m>(&mut self, message: impl Into<MessageRef<'m>>) -> Result<(), Error> {
        let message = message.into();
        Ok(ready(self.0.send(message.kind(), message.as_bytes()))?)
    }

    /// Sends a frame of a message: its first where none is open, else its next; `fin` ends the message. At
    /// most as large as the transmit buffer.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn fragment(&mut self, kind: Kind, payload: &[u8], fin: bool) -> Result<(), Error> {
        Ok(ready(self.0.fragment(kind, payload, fin))?)
    }

    /// Sends a message, or with `fin` unset the next part of one, of any size, in as many frames as the buffer
    /// and [`Config::largest_fragment`] ask for, and writes it to the stream.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn stream(&mut self, kind: Kind, payload: &[u8], fin: bool) -> Result<(), Error> {
        Ok(ready(self.0.stream(kind, payload, fin))?)
    }

    /// Sends a Pong with at most 125 bytes of payload: those of a Ping, or unasked for.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn pong(&mut self, payload: &[u8]) -> Result<(), Error> {
        Ok(ready(self.0.pong(payload))?)
    }

    /// Sends a Ping with at most 125 bytes of payload.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), Error> {
        Ok(ready(self.0.ping(payload))?)
    }

    /// Sends a Close, without waiting for the peer's.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn close(&mut self, code: impl Into<Option<CloseCode>>, reason: &str) -> Result<(), Error> {
        Ok(ready(self.0.close(code.into(), reason))?)
    }

    /// Writes everything that was sent to the stream.
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Closed`].
    pub fn flush(&mut self) -> Result<(), Error> {
        Ok(ready(self.0.flush())?)
    }

    /// The sending side without waiting: what is sent here is written by [`flush`](Self::flush) and by the
    /// next [`read`](WebSocket::read), so that many small messages leave in one write.
    pub fn outbox(&mut self) -> crate::Outbox<'_> {
        self.0.outbox()
    }
}
