//! A connection over a blocking stream, to read from and to send on.

#![forbid(unsafe_code)]

use core::time::Duration;
use std::io;

use super::keys::SystemKeys;
use super::ready;
use super::stream::Stream;
use super::transport::Blocking;
use crate::adapter::{self, Buffers};
use crate::cause::Cause;
use crate::close::CloseCode;
use crate::config::Config;
use crate::event::{Event, Payload};
use crate::frame::Kind;
use crate::handshake::{Answer, Connect, Request};
use crate::message::{Assembler, Storage};
use crate::role::{Client, MaskingKey, Role, Server};

/// What an operation on a blocking connection fails with.
pub type Error = adapter::Error<io::Error>;

/// What became of a stream that a server accepted.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "taken apart at once")]
pub enum Accepted<'c, S> {
    /// A connection, with the subprotocol at this place of
    /// [`Accept::protocols`](crate::handshake::Accept::protocols).
    WebSocket(WebSocket<'c, S, Server>, Option<usize>),
    /// [`Answer::HandOver`]: the stream, and the bytes that were read of it.
    HandOver(S, std::vec::Vec<u8>),
}

/// What became of a stream on which a client asked for a connection.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "taken apart at once")]
pub enum Connected<'c, 'u, S, K: MaskingKey = SystemKeys> {
    /// A connection, with this subprotocol.
    WebSocket(WebSocket<'c, S, Client<K>>, Option<&'u str>),
    /// Another answer: [`Reply::parse`](crate::handshake::Reply::parse) reads it.
    Refused(crate::ReceiveBuffer<'static>),
}

/// An open connection over a blocking stream.
#[derive(Debug)]
pub struct WebSocket<'c, S, R = Server>(adapter::WebSocket<'c, 'static, Blocking<S>, R>);

/// The sending side of a [`WebSocket`].
#[derive(Debug)]
pub struct Sending<'a, 'c, S, R>(&'a mut adapter::Sending<'c, 'static, Blocking<S>, R>);

/// An event, and the sending side to answer it on.
pub type Received<'a, 'c, S, R> = (Event<Payload<'a>>, Sending<'a, 'c, S, R>);

impl<'c, S: Stream> WebSocket<'c, S, Server> {
    /// Reads a request, answers it as `decide` says, and gives the connection where there is one.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Refused`] when the answer was another one, and has been sent.
    pub fn accept<'s>(
        stream: S,
        config: &'c Config,
        buffers: Buffers<'static>,
        decide: impl FnOnce(&Request<'_>) -> Answer<'s>,
    ) -> Result<Accepted<'c, S>, Error> {
        let accepted = adapter::WebSocket::accept(Blocking::new(stream), config, buffers, decide);
        Ok(match ready(accepted)? {
            adapter::Accepted::WebSocket(socket, protocol) => Accepted::WebSocket(Self(socket), protocol),
            adapter::Accepted::HandOver(transport, head) => {
                Accepted::HandOver(transport.stream, head.filled().to_vec())
            }
        })
    }
}

impl<'c, S: Stream, K: MaskingKey> WebSocket<'c, S, Client<K>> {
    /// Asks for a connection on a stream that leads to `connect.address`.
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Head`], [`Error::Handshake`].
    pub fn connect<'u>(
        stream: S,
        config: &'c Config,
        buffers: Buffers<'static>,
        keys: K,
        connect: &Connect<'u>,
    ) -> Result<Connected<'c, 'u, S, K>, Error> {
        let connected = adapter::WebSocket::connect(Blocking::new(stream), config, buffers, keys, connect);
        Ok(match ready(connected)? {
            adapter::Connected::WebSocket(socket, protocol) => Connected::WebSocket(Self(socket), protocol),
            adapter::Connected::Refused(head) => Connected::Refused(head),
        })
    }
}

impl<'c, S: Stream, R: Role> WebSocket<'c, S, R> {
    /// The next event, and the sending side to answer it on. What was sent before is written first.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Closed`] at the end, and for ever after.
    pub fn read(&mut self) -> Result<Received<'_, 'c, S, R>, Error> {
        ready(self.0.read()).map(|(event, link)| (event, Sending(link)))
    }

    /// The same, but no longer than for this time: then `None`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_timeout(&mut self, timeout: Duration) -> Result<Option<Received<'_, 'c, S, R>>, Error> {
        let limit = self.0.sending().now().after(timeout);
        Ok(ready(self.0.read_until(limit))?.map(|(event, link)| (event, Sending(link))))
    }

    /// The next event; or `None` as soon as all that was sent is written, be it at once. For sending something long without
    /// going deaf: fill the [`outbox`](Sending::outbox), call this, and deal with what comes.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_or_written(&mut self) -> Result<Option<Received<'_, 'c, S, R>>, Error> {
        Ok(ready(self.0.read_or_written())?.map(|(event, link)| (event, Sending(link))))
    }

    /// The next message, put together from its fragments. Control frames are passed over.
    ///
    /// # Errors
    /// As [`read`](Self::read); [`Error::MessageTooLarge`] where it exceeds `message`.
    pub fn read_message<M: Storage>(&mut self, message: &mut Assembler<M>) -> Result<Kind, Error> {
        ready(self.0.read_message(message))
    }

    /// The stream: its peer's address, its options. What is read or written past the connection breaks it.
    pub fn stream(&mut self) -> &mut S {
        &mut self.0.sending().transport().stream
    }

    /// The sending side.
    pub fn sending(&mut self) -> Sending<'_, 'c, S, R> {
        Sending(self.0.sending())
    }

    /// Closes the connection: sends a Close, passes over what the peer still sends, and waits for its end.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Send`] where a frame is open, or the reason is too long.
    pub fn close(&mut self, code: Option<CloseCode>, reason: &str) -> Result<Cause, Error> {
        ready(self.0.close(code, reason))
    }

    /// The reason in the peer's Close, empty where there was none.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.0.reason()
    }
}

impl<S: Stream, R: Role> Sending<'_, '_, S, R> {
    /// Sends a message of any size in one frame, and writes it to the stream. Nothing is received meanwhile:
    /// where the peer answers as it reads, as an echo does, and both sides' memory is full, it stands still until
    /// the write deadline. Send large messages in pieces then, and read in between, as `examples/echo_client.rs`
    /// does.
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Closed`], [`Error::Send`].
    pub fn send(&mut self, kind: Kind, payload: &[u8]) -> Result<(), Error> {
        ready(self.0.send(kind, payload))
    }

    /// Sends a frame of a message: its first where none is open, else its next; `fin` ends the message. At
    /// most as large as the transmit buffer.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn fragment(&mut self, kind: Kind, payload: &[u8], fin: bool) -> Result<(), Error> {
        ready(self.0.fragment(kind, payload, fin))
    }

    /// Sends a message, or with `fin` unset the next part of one, of any size, in as many frames as the buffer
    /// and [`Config::largest_fragment`] ask for, and writes it to the stream.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn stream(&mut self, kind: Kind, payload: &[u8], fin: bool) -> Result<(), Error> {
        ready(self.0.stream(kind, payload, fin))
    }

    /// Sends a Pong with at most 125 bytes of payload: those of a Ping, or unasked for.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn pong(&mut self, payload: &[u8]) -> Result<(), Error> {
        ready(self.0.pong(payload))
    }

    /// Sends a Ping with at most 125 bytes of payload.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), Error> {
        ready(self.0.ping(payload))
    }

    /// Sends a Close, without waiting for the peer's.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn close(&mut self, code: Option<CloseCode>, reason: &str) -> Result<(), Error> {
        ready(self.0.close(code, reason))
    }

    /// Writes everything that was sent to the stream.
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Closed`].
    pub fn flush(&mut self) -> Result<(), Error> {
        ready(self.0.flush())
    }

    /// The sending side without waiting: what is sent here is written by [`flush`](Self::flush) and by the
    /// next [`read`](WebSocket::read), so that many small messages leave in one write.
    pub fn outbox(&mut self) -> impl crate::Outbox {
        self.0.outbox()
    }
}
