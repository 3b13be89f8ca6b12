//! A connection over a blocking stream, to read from and to send on.

#![forbid(unsafe_code)]

use core::mem;
use core::time::Duration;
use std::boxed::Box;
use std::io::ErrorKind;
use std::sync::Arc;
use std::vec::Vec;

use bytes::BytesMut;

use super::ready;
use super::stream::BlockingStream;
use super::transport::Blocking;
use crate::close::CloseCode;
use crate::config::base::Config;
use crate::embedded;
use crate::ending::Ending;
use crate::event::Event;
use crate::frame::Kind;
use crate::handshake::{ClientRequest, Decision, RefusedResponse, Request};
use crate::host::error::Error;
use crate::message::Assembler;
use crate::message::message_ref::MessageRef;
use crate::message::owned::Message;
use crate::role::{Client, MaskingKey, Role, Server};
use crate::session::Buffers;

/// A stream that a server accepted, after its request was answered.
///
/// ```no_run
/// use std::net::TcpListener;
///
/// use sansocket::session::{BufferSizes, Buffers};
/// use sansocket::{Config, Error};
/// use sansocket::blocking::{Accepted, WebSocket};
/// use sansocket::handshake::{AcceptOptions, Decision};
///
/// fn serve_one(listener: &TcpListener) -> Result<(), Box<dyn std::error::Error>> {
///     let (stream, _) = listener.accept()?;
///     let buffers = Buffers::with_sizes(BufferSizes::default());
///     let accepted = WebSocket::accept(stream, Config::new(), buffers, |request| match request.path() {
///         "/chat" => Decision::Accept(AcceptOptions::new().protocols(&["chat.v2", "chat.v1"])),
///         _ => Decision::HandOver,
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
pub enum Accepted<S> {
    /// An open connection.
    WebSocket(WebSocket<S, Server>),
    /// [`Decision::HandOver`]: the stream, and the bytes that were read of it.
    HandOver(S, Vec<u8>),
}

/// An open connection over a blocking stream.
///
/// [`recv`](Self::recv) returns whole messages, [`send`](Self::send) takes them. [`read`](Self::read) returns events as they
/// arrive, chunks of messages and control frames, in no memory beside the receive buffer.
///
/// Pings are answered and deadlines are checked only while a call waits. A program that does something else for long
/// has to call [`read_timeout`](Self::read_timeout) now and then, or the peer takes the connection for dead.
///
/// ```no_run
/// use sansocket::{Message, blocking};
///
/// # fn main() -> Result<(), sansocket::Error> {
/// let mut socket = blocking::connect("ws://127.0.0.1:8080/ws")?;
/// socket.send("hello")?;
/// while let Some(message) = socket.recv()? {
///     match message {
///         Message::Text(text) => println!("{text}"),
///         Message::Binary(bytes) => println!("{} bytes", bytes.len()),
///     }
/// }
/// println!("closed: {}", socket.close_reason());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct WebSocket<S, R = Server> {
    socket: embedded::WebSocket<'static, Blocking<S>, R, Arc<Config>>,
    protocol: Option<Box<str>>,
    /// The message that [`recv`](Self::recv) puts together.
    message: Assembler<BytesMut>,
}

/// The sending side of a [`WebSocket`]. [`read`](WebSocket::read) returns it with each event, so that an answer may borrow the
/// event's payload.
///
/// ```no_run
/// use sansocket::{Event, blocking};
///
/// # fn main() -> Result<(), sansocket::Error> {
/// let mut socket = blocking::connect("ws://127.0.0.1:8080/ws")?;
/// loop {
///     let (event, mut out) = socket.read()?;
///     if let Event::Data(data) = event {
///         out.send_fragmented(data.kind, &data.payload, data.end)?;
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Writer<'a, S, R>(&'a mut embedded::Writer<'static, Blocking<S>, R, Arc<Config>>);

/// An event, and the sending side to answer it on.
pub type Received<'a, S, R> = (Event<'a>, Writer<'a, S, R>);

impl<S: BlockingStream> WebSocket<S, Server> {
    /// Opens a connection on a stream that a server accepted: reads the request, and sends the answer that `decide`
    /// chooses. [`accept`](super::accept) does so with the defaults.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Handshake`] if no request came; [`Error::Rejected`] if the answer is another one than
    /// 101, after it was sent.
    pub fn accept<'s>(
        stream: S,
        config: impl Into<Arc<Config>>,
        buffers: Buffers<'static>,
        decide: impl FnOnce(&Request<'_>) -> Decision<'s, Arc<Config>>,
    ) -> Result<Accepted<S>, Error> {
        Ok(match ready(embedded::WebSocket::accept(Blocking::new(stream), config.into(), buffers, decide))? {
            embedded::Accepted::WebSocket(socket, protocol) => {
                Accepted::WebSocket(Self::over(socket, protocol))
            }
            embedded::Accepted::HandOver(transport, head) => {
                Accepted::HandOver(transport.stream, head.unread().to_vec())
            }
        })
    }
}

impl<S: BlockingStream, K: MaskingKey> WebSocket<S, Client<K>> {
    /// Opens a connection as a client on a stream of your own that leads to `request.address`: another kind than TCP, or a
    /// tunnel. [`connect`](super::connect) makes the stream too.
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Request`], [`Error::Handshake`], [`Error::Refused`].
    pub fn connect(
        stream: S,
        config: impl Into<Arc<Config>>,
        buffers: Buffers<'static>,
        keys: K,
        request: &ClientRequest<'_>,
    ) -> Result<Self, Error> {
        let config = config.into();
        let connected =
            embedded::WebSocket::connect(Blocking::new(stream), Arc::clone(&config), buffers, keys, request);
        match ready(connected)? {
            embedded::Connected::WebSocket(socket, protocol) => Ok(Self::over(socket, protocol)),
            embedded::Connected::Refused(head) => {
                let response = RefusedResponse::parse(&head, &config).map_err(Error::Handshake)?;
                Err(Error::Refused(Box::new(response.into())))
            }
        }
    }
}

impl<S: BlockingStream, R: Role> WebSocket<S, R> {
    fn over(
        socket: embedded::WebSocket<'static, Blocking<S>, R, Arc<Config>>,
        protocol: Option<&str>,
    ) -> Self {
        Self { socket, protocol: protocol.map(Into::into), message: Assembler::new(BytesMut::new()) }
    }

    /// Waits for the next whole message. `None` means that the connection was closed cleanly; every further call returns
    /// it again. Writes first what was sent before.
    ///
    /// Control frames are not shown. They are answered, except with [`ControlFrames::Manual`](crate::config::ControlFrames::Manual): call
    /// [`read`](Self::read) then. [`Limits::message`](crate::config::Limits::message) bounds the memory for the message. A message
    /// of which `read` returned a part is skipped.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Closed`] if the connection did not end cleanly, again on every further call;
    /// [`Error::MessageTooLarge`] if no memory is left for the message: the next call skips the rest of it.
    pub fn recv(&mut self) -> Result<Option<Message>, Error> {
        match ready(self.socket.read_message(&mut self.message)) {
            Ok(kind) => {
                let message = mem::replace(&mut self.message, Assembler::new(BytesMut::new()));
                let message = Message::new(kind, message.into_inner());
                message.map(Some).ok_or_else(|| Error::Transport(ErrorKind::InvalidData.into()))
            }
            Err(embedded::Error::Closed(cause)) if cause.is_clean() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a message of any size in one frame, and writes it to the stream. Takes `"text"`, `&string`, `&bytes` and
    /// `&message`.
    ///
    /// Nothing is received meanwhile. If the peer answers while it reads, as an echo does, and the buffers of both sides
    /// are full, the call waits until the [write deadline](crate::config::Timeouts::write) ends the connection. Send large
    /// messages to such a peer in pieces, and call [`read_or_written`](Self::read_or_written) in between, as
    /// `examples/echo_client.rs` does.
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Closed`], [`Error::Send`].
    pub fn send<'m>(&mut self, message: impl Into<MessageRef<'m>>) -> Result<(), Error> {
        self.sending().send(message)
    }

    /// Returns the subprotocol that both sides agreed on, if any.
    #[must_use]
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// Returns how the connection ended, or `None` while it has not.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        self.socket.ending()
    }

    /// Waits for the next event, and returns it with the sending side to answer it. Writes first what was sent before.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Closed`] after the end, however clean, on every call.
    pub fn read(&mut self) -> Result<Received<'_, S, R>, Error> {
        let (event, link) = ready(self.socket.read())?;
        Ok((event, Writer(link)))
    }

    /// Waits for the next event no longer than `timeout`, and returns `None` then.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_timeout(&mut self, timeout: Duration) -> Result<Option<Received<'_, S, R>>, Error> {
        let limit = self.socket.sending().now().saturating_add(timeout);
        Ok(ready(self.socket.read_until(limit))?.map(|(event, link)| (event, Writer(link))))
    }

    /// Writes what was sent, and returns the next event if one comes before all is written, else `None`. To send something
    /// long and receive meanwhile: fill the [`outbox`](Sending::outbox), call this, handle what comes, and begin again.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_or_flushed(&mut self) -> Result<Option<Received<'_, S, R>>, Error> {
        Ok(ready(self.socket.read_or_flushed())?.map(|(event, link)| (event, Writer(link))))
    }

    /// Returns the stream, for its addresses and options. Bytes that are read or written there break the connection.
    pub fn stream(&mut self) -> &mut S {
        &mut self.socket.sending().transport().stream
    }

    /// Returns the sending side.
    pub fn sending(&mut self) -> Writer<'_, S, R> {
        Writer(self.socket.sending())
    }

    /// Closes the connection: sends a Close, skips what the peer still sends, and waits for the end, at most for
    /// [`Timeouts::close`](crate::config::Timeouts::close) each for the peer's Close and the end of its stream. `code` is a
    /// [`CloseCode`] or `None`.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Send`] if a frame is open, or the reason is longer than 123 bytes.
    pub fn close(&mut self, code: impl Into<Option<CloseCode>>, reason: &str) -> Result<Ending, Error> {
        Ok(ready(self.socket.close(code.into(), reason))?)
    }

    /// Returns the reason in the peer's Close, or an empty text.
    #[must_use]
    pub fn close_reason(&self) -> &str {
        self.socket.close_reason()
    }
}

impl<S: BlockingStream, R: Role> Writer<'_, S, R> {
    /// Sends a message, as [`WebSocket::send`] does.
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Closed`], [`Error::Send`].
    pub fn send<'m>(&mut self, message: impl Into<MessageRef<'m>>) -> Result<(), Error> {
        Ok(ready(self.0.send(message))?)
    }

    /// Sends a frame of a message: the first if no message is open, else the next. `fin` ends the message. The frame is at
    /// most as large as the transmit buffer. The caller has to make sure that text is UTF-8.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn fragment(&mut self, kind: Kind, payload: &[u8], fin: bool) -> Result<(), Error> {
        Ok(ready(self.0.fragment(kind, payload, fin))?)
    }

    /// Sends a message, or with `fin` unset the next part of one, of any size, in as many frames as the buffer
    /// and [`Config::largest_fragment`] require, and writes it to the stream. The caller has to make sure that text is
    /// UTF-8.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_fragmented(&mut self, kind: Kind, payload: &[u8], fin: bool) -> Result<(), Error> {
        Ok(ready(self.0.send_fragmented(kind, payload, fin))?)
    }

    /// Sends a Pong with at most 125 bytes of payload: those of a Ping that it answers, or any (RFC 6455 §5.5.3).
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

    /// Sends a Close, and does not wait for the peer's.
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

    /// Returns an outbox that never waits. What is sent there is written by [`flush`](Self::flush) and by the next
    /// [`read`](WebSocket::read), so that many small messages leave in one write.
    pub fn outbox(&mut self) -> crate::Outbox<'_> {
        self.0.outbox()
    }
}
