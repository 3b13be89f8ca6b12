//! A connection over a blocking stream, to read from and to send on.

#![forbid(unsafe_code)]

use core::task::Poll;
use core::time::Duration;
use std::boxed::Box;
use std::sync::Arc;
use std::vec::Vec;

use super::ready;
use super::stream::BlockingStream;
use super::transport::Blocking;
use crate::close::CloseCode;
use crate::config::base::Config;
use crate::embedded;
use crate::ending::Ending;
use crate::event::Event;
use crate::frame::Kind;
use crate::handshake::{Accepted, ClientRequest, Decision, RefusedResponse, Request};
use crate::host::error::Error;
use crate::host::server_options::{ServerOptions, note_protocol};
use crate::host::{Agreed, Negotiation, OFF};
use crate::message::Outgoing;
use crate::message::collector::Collector;
use crate::message::outgoing::Frame;
use crate::message::owned::Message;
use crate::role::{Client, MaskingKey, Role, Server};
use crate::send::SendError;
use crate::session::Buffers;

/// An open connection over a blocking stream.
///
/// [`recv`](Self::recv) returns whole messages, [`send`](Self::send) takes them. [`read`](Self::read) returns events as they
/// arrive, chunks of messages and control frames, in no memory beside the receive buffer.
///
/// Pings are answered and deadlines are checked only while a call waits. A program that does something else for long
/// has to call [`read_timeout`](Self::read_timeout) now and then, or the peer takes the connection for dead.
///
/// ```
/// use sansocket::{Message, blocking};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// # let url = format!("ws://{}/ws", listener.local_addr()?);
/// # let server = std::thread::spawn(move || {
/// #     let mut server = blocking::accept(listener.accept().unwrap().0)?;
/// #     assert_eq!(server.recv()?, Some(Message::from("hello")));
/// #     server.send("welcome")?;
/// #     server.close(sansocket::CloseCode::NORMAL, "that was all");
/// #     Ok::<_, sansocket::Error>(())
/// # });
/// let mut socket = blocking::connect(&url)?;
/// socket.send("hello")?;
/// while let Some(message) = socket.recv()? {
///     match message {
///         Message::Text(text) => println!("{text}"),
///         Message::Binary(bytes) => println!("{} bytes", bytes.len()),
///         Message::Ping(_) | Message::Pong(_) | Message::Close(_) => {} // answered
///     }
/// }
/// assert_eq!(socket.close_reason(), "that was all");
/// # server.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct WebSocket<S, R = Server> {
    socket: embedded::WebSocket<'static, Blocking<S>, R, Arc<Config>, Agreed>,
    protocol: Option<Box<str>>,
    /// The message that [`recv`](Self::recv) puts together.
    message: Collector,
}

/// The sending side of a [`WebSocket`]. [`read`](WebSocket::read) returns it with each event, so that an answer may borrow the
/// event's payload.
///
/// ```
/// use sansocket::{Event, blocking};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// # let url = format!("ws://{}/ws", listener.local_addr()?);
/// # let server = std::thread::spawn(move || {
/// #     let mut server = blocking::accept(listener.accept().unwrap().0)?;
/// #     server.send("hello")?;
/// #     assert_eq!(server.recv()?, Some("hello".into()));
/// #     server.close(None, "");
/// #     Ok::<_, sansocket::Error>(())
/// # });
/// let mut socket = blocking::connect(&url)?;
/// while let Some((event, mut out)) = socket.read()? {
///     if let Event::Data(chunk) = event {
///         out.fragment(chunk.kind, &chunk.payload, chunk.end)?; // an echo without a copy
///     }
/// }
/// # server.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Writer<'a, S, R>(&'a mut Inner<S, R>);

type Inner<S, R> = embedded::Writer<'static, Blocking<S>, R, Arc<Config>, Agreed>;

impl<S: BlockingStream> WebSocket<S, Server> {
    /// Opens a connection on a stream that a server accepted: reads the request, and sends the response that `decide`
    /// chooses. For [`Decision::HandOver`] it returns the stream, and the bytes that were read from it; for
    /// [`Decision::Respond`], the status that was sent.
    /// [`accept`](super::accept) does the same with the defaults.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Handshake`] if no request came; [`Error::Rejected`] after a request that cannot be
    /// accepted was refused.
    ///
    /// ```no_run
    /// use std::net::TcpListener;
    ///
    /// use sansocket::Config;
    /// use sansocket::blocking::WebSocket;
    /// use sansocket::handshake::{AcceptOptions, Accepted, Decision, Response};
    /// use sansocket::session::{BufferSizes, Buffers};
    ///
    /// fn serve_one(listener: &TcpListener) -> Result<(), Box<dyn std::error::Error>> {
    ///     let (stream, _) = listener.accept()?;
    ///     let buffers = Buffers::with_sizes(BufferSizes::default());
    ///     let accepted = WebSocket::accept(stream, Config::new(), buffers, |request| match request.path() {
    ///         "/chat" => Decision::Accept(AcceptOptions::new().protocols(&["chat.v2", "chat.v1"])),
    ///         "/health" => Decision::Respond(Response::text(200, "good\n")),
    ///         _ => Decision::HandOver,
    ///     });
    ///     match accepted? {
    ///         Accepted::WebSocket(mut socket) => socket.send("welcome")?,
    ///         Accepted::Responded(_status) => {}
    ///         Accepted::HandedOver((_stream, request)) => println!("{} bytes for the HTTP server", request.len()),
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn accept<'s>(
        stream: S,
        config: impl Into<Arc<Config>>,
        buffers: Buffers<'static>,
        decide: impl FnOnce(&Request<'_>) -> Decision<'s, Arc<Config>>,
    ) -> Result<Accepted<Self, (S, Vec<u8>)>, Error> {
        Self::accept_negotiating(stream, config.into(), buffers, OFF, decide)
    }

    /// Opens a connection as [`accept`](Self::accept) does, with the configuration, the buffers and the compression of `options`.
    /// To accept with their subprotocols and origins, return
    /// [`options.accept_options()`](ServerOptions::accept_options).
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    ///
    /// ```no_run
    /// use std::net::TcpStream;
    ///
    /// use sansocket::blocking::WebSocket;
    /// use sansocket::config::ServerOptions;
    /// use sansocket::handshake::{Accepted, Decision, Response};
    ///
    /// fn serve(stream: TcpStream, options: &ServerOptions) -> Result<(), sansocket::Error> {
    ///     let accepted = WebSocket::accept_with(stream, options, |request| match request.path() {
    ///         "/chat" => Decision::Accept(options.accept_options()),
    ///         _ => Decision::Respond(Response::text(404, "not found\n")),
    ///     });
    ///     let Accepted::WebSocket(mut socket) = accepted? else { return Ok(()) };
    ///     socket.send("welcome")
    /// }
    /// ```
    pub fn accept_with<'s>(
        stream: S,
        options: &ServerOptions,
        decide: impl FnOnce(&Request<'_>) -> Decision<'s, Arc<Config>>,
    ) -> Result<Accepted<Self, (S, Vec<u8>)>, Error> {
        let (config, buffers) = (Arc::clone(&options.config), Buffers::with_sizes(options.sizes));
        Self::accept_negotiating(stream, config, buffers, options.negotiation(), decide)
    }

    fn accept_negotiating<'s>(
        stream: S,
        config: Arc<Config>,
        buffers: Buffers<'static>,
        negotiate: Negotiation,
        decide: impl FnOnce(&Request<'_>) -> Decision<'s, Arc<Config>>,
    ) -> Result<Accepted<Self, (S, Vec<u8>)>, Error> {
        let transport = Blocking::new(stream);
        let mut own = None;
        let decide = note_protocol(decide, &mut own);
        let accepted = embedded::WebSocket::accept_negotiating(transport, config, buffers, negotiate, decide);
        Ok(match ready(accepted)? {
            Accepted::WebSocket(socket) => {
                let protocol = socket.protocol();
                Accepted::WebSocket(Self::over(socket, protocol.or(own.as_deref())))
            }
            Accepted::Responded(status) => Accepted::Responded(status),
            Accepted::HandedOver((transport, Buffers { head, .. })) => {
                Accepted::HandedOver((transport.stream, head.unread().to_vec()))
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
        Self::connect_negotiating(stream, config.into(), buffers, keys, request, OFF)
    }

    pub(super) fn connect_negotiating(
        stream: S,
        config: Arc<Config>,
        buffers: Buffers<'static>,
        keys: K,
        request: &ClientRequest<'_>,
        negotiate: Negotiation,
    ) -> Result<Self, Error> {
        let mut refused = None;
        let refuse = |response: &RefusedResponse<'_>| refused = Some(Box::new((*response).into()));
        let transport = Blocking::new(stream);
        let opened = embedded::WebSocket::open(transport, config, buffers, keys, request, negotiate, refuse);
        match ready(opened) {
            Ok((socket, protocol)) => Ok(Self::over(socket, protocol)),
            Err(error) => Err(refused.map_or_else(|| error.into(), Error::Refused)),
        }
    }
}

#[expect(clippy::type_complexity, reason = "an alias would hide that it is an event with the sending side")]
impl<S: BlockingStream, R: Role> WebSocket<S, R> {
    fn over(
        mut socket: embedded::WebSocket<'static, Blocking<S>, R, Arc<Config>, Agreed>,
        protocol: Option<&str>,
    ) -> Self {
        socket.add_output();
        Self { socket, protocol: protocol.map(Into::into), message: Collector::new() }
    }

    /// Waits for the next whole message. Writes first what was fed before. Returns `Ok(None)` after a clean end, and from then
    /// on.
    ///
    /// Text and binary only, unless the configuration has another mode than
    /// [`ControlFrames::Automatic`](crate::config::ControlFrames::Automatic): then a Ping, a Pong and the peer's Close are messages
    /// too. The connection answers them, except with [`ControlFrames::Manual`](crate::config::ControlFrames::Manual). After the
    /// Close comes `None`.
    ///
    /// [`Limits::message`](crate::config::Limits::message) bounds the memory for the message. A message of which `read` returned
    /// a part is skipped.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Ended`] if the connection did not end cleanly, again from every later call;
    /// [`Error::MessageTooBig`] if no memory is left for the message: the next call skips the rest of it.
    pub fn recv(&mut self) -> Result<Option<Message>, Error> {
        while let Some((event, _)) = ready(self.socket.read())? {
            if let Some(message) = self.message.push(event).map_err(|_| Error::MessageTooBig)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// Waits for the next event, and returns it with the sending side to answer it. Writes first what was fed before. Returns
    /// `Ok(None)` after a clean end, and from then on.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Ended`] if the connection did not end cleanly, again from every later call.
    pub fn read(&mut self) -> Result<Option<(Event<'_>, Writer<'_, S, R>)>, Error> {
        Ok(ready(self.socket.read())?.map(lend))
    }

    /// Reads as [`read`](Self::read) does, but no longer than `timeout`: then it returns [`Poll::Pending`].
    ///
    /// ```
    /// use std::task::Poll;
    /// use std::time::Duration;
    ///
    /// use sansocket::{Event, blocking};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let url = format!("ws://{}/ws", listener.local_addr()?);
    /// # let server = std::thread::spawn(move || {
    /// #     let mut server = blocking::accept(listener.accept().unwrap().0)?;
    /// #     server.recv()?; // until the client has paused
    /// #     server.send("late")?;
    /// #     server.close(None, "");
    /// #     Ok::<_, sansocket::Error>(())
    /// # });
    /// let mut socket = blocking::connect(&url)?;
    /// let (mut chunks, mut pauses) = (0, 0);
    /// loop {
    ///     match socket.read_timeout(Duration::from_millis(5))? {
    ///         Poll::Ready(Some((Event::Data(_), _))) => chunks += 1,
    ///         Poll::Ready(Some(_)) => {}
    ///         Poll::Ready(None) => break,   // closed
    ///         Poll::Pending => {
    ///             pauses += 1; // time for something else
    ///             # if pauses == 1 { socket.send("go on")?; }
    ///         }
    ///     }
    /// }
    /// assert_eq!(chunks, 1);
    /// assert!(pauses > 0);
    /// # server.join().unwrap()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_timeout(
        &mut self,
        timeout: Duration,
    ) -> Result<Poll<Option<(Event<'_>, Writer<'_, S, R>)>>, Error> {
        let limit = self.socket.writer().now().saturating_add(timeout);
        Ok(ready(self.socket.read_until(limit))?.map(|event| event.map(lend)))
    }

    /// Reads as [`read`](Self::read) does, but no longer than until everything is written: then, or if nothing waits to be
    /// written, it returns [`Poll::Pending`]. To send something long and receive meanwhile: fill the
    /// [`outbox`](Writer::outbox), call this, process the event, and repeat.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_or_flushed(&mut self) -> Result<Poll<Option<(Event<'_>, Writer<'_, S, R>)>>, Error> {
        Ok(ready(self.socket.read_or_flushed())?.map(|event| event.map(lend)))
    }

    /// Sends a message of any size in one frame, and writes it to the stream. Takes `"text"`, `&string`, `&bytes` and
    /// `&message`, which may be a control frame: a Close begins the closing handshake, or does nothing if that has begun.
    ///
    /// Nothing is received meanwhile. If the peer answers while it reads, as an echo does, and the buffers of both sides
    /// are full, the call waits until the [write deadline](crate::config::Timeouts::write) ends the connection. Send large
    /// messages to such a peer in pieces, and call [`read_or_flushed`](Self::read_or_flushed) in between, as
    /// `examples/echo_client.rs` does.
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Ended`], [`Error::Send`].
    pub fn send<'m>(&mut self, message: impl Into<Outgoing<'m>>) -> Result<(), Error> {
        self.writer().send(message)
    }

    /// Sends a message as [`send`](Self::send) does, but leaves what finds room in the transmit buffer there.
    /// [`flush`](Self::flush) and the next read write it, so that many small messages need one write.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn feed<'m>(&mut self, message: impl Into<Outgoing<'m>>) -> Result<(), Error> {
        self.writer().feed(message)
    }

    /// Writes everything that was fed to the stream.
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Ended`].
    pub fn flush(&mut self) -> Result<(), Error> {
        self.writer().flush()
    }

    /// Sends a Ping with at most 125 bytes of payload.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), Error> {
        self.writer().ping(payload)
    }

    /// Sends a Pong with at most 125 bytes of payload: those of a Ping that it answers, or any (RFC 6455 §5.5.3).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn pong(&mut self, payload: &[u8]) -> Result<(), Error> {
        self.writer().pong(payload)
    }

    /// Closes the connection, and returns how it ended: sends a Close, discards what the peer still sends, and waits for the end
    /// of the connection, at most for [`Timeouts::close`](crate::config::Timeouts::close) each for the peer's Close and the end
    /// of its stream. `code` is a [`CloseCode`] or `None`. A reason is cut after 123 bytes, at a character, and without
    /// a code it is left out.
    ///
    /// It never fails: if the stream does, the [`Ending`] has [`EndReason::Disconnected`](crate::error::EndReason). If a frame is
    /// open, the connection ends without a Close.
    pub fn close(&mut self, code: impl Into<Option<CloseCode>>, reason: &str) -> Ending {
        ready(self.socket.close(code, reason))
    }

    /// Returns how the connection ended; `None` while it has not.
    #[must_use]
    pub const fn ending(&self) -> Option<Ending> {
        self.socket.ending()
    }

    /// Returns the reason in the peer's Close; empty if there is none.
    #[must_use]
    pub fn close_reason(&self) -> &str {
        self.socket.close_reason()
    }

    /// Returns the subprotocol that both sides agreed on, if any.
    #[must_use]
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// Returns whether both sides agreed on permessage-deflate.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub const fn is_compressed(&self) -> bool {
        self.socket.link.connection.extension.is_some()
    }

    /// Returns the sending side.
    pub fn writer(&mut self) -> Writer<'_, S, R> {
        Writer(self.socket.writer())
    }

    /// Returns the stream, for its addresses and options. Do not read from it or write to it: that corrupts the connection.
    pub fn stream(&mut self) -> &mut S {
        &mut self.socket.transport().stream
    }
}

/// An event with the sending side, as [`WebSocket::read`] returns it.
fn lend<'a, S, R>((event, writer): (Event<'a>, &'a mut Inner<S, R>)) -> (Event<'a>, Writer<'a, S, R>) {
    (event, Writer(writer))
}

impl<S: BlockingStream, R: Role> Writer<'_, S, R> {
    /// Sends a message, as [`WebSocket::send`] does.
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Ended`], [`Error::Send`].
    pub fn send<'m>(&mut self, message: impl Into<Outgoing<'m>>) -> Result<(), Error> {
        self.feed(message)?;
        self.flush()
    }

    /// Sends a message into the transmit buffer, as [`WebSocket::feed`] does.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn feed<'m>(&mut self, message: impl Into<Outgoing<'m>>) -> Result<(), Error> {
        Ok(match message.into().0 {
            Frame::Data(message) => ready(self.0.feed(message)),
            Frame::Ping(payload) => ready(self.0.ping(payload)),
            Frame::Pong(payload) => ready(self.0.pong(payload)),
            Frame::Close(code, reason) => match ready(self.0.close(code, reason)) {
                Err(embedded::Error::Send(SendError::Closed)) => Ok(()),
                closed => closed,
            },
        }?)
    }

    /// Sends a frame of a message: the first if no message is open, else the next. `fin` ends the message. The frame is at
    /// most as large as the transmit buffer. The caller has to make sure that text is UTF-8. With `fin` this sends a message
    /// uncompressed.
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
        Ok(ready(self.0.close(code, reason))?)
    }

    /// Writes everything that was sent to the stream.
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Ended`].
    pub fn flush(&mut self) -> Result<(), Error> {
        Ok(ready(self.0.flush())?)
    }

    /// Returns an outbox that never waits. What is sent there is written by [`flush`](Self::flush) and by the next
    /// [`read`](WebSocket::read), so that many small messages leave in one write.
    pub fn outbox(&mut self) -> crate::Outbox<'_> {
        self.0.outbox()
    }
}
