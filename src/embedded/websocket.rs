//! A connection over a transport, to read from and to send on.

#![forbid(unsafe_code)]

use core::convert::Infallible;

use super::error::Error;
use super::{Time, Transport, report, take_turn};
use crate::buffer::{ReceiveBuffer, TransmitBuffer};
use crate::close::CloseCode;
use crate::config::ConfigRef;
use crate::config::base::Config;
use crate::connection::Connection;
use crate::ending::Ending;
use crate::error::EndReason;
use crate::event::{DetachedEvent, Event};
use crate::extension::NoExtension;
use crate::frame::Kind;
use crate::handshake::{
    ClientHandshake, ClientHandshakeEnd, ClientRequest, Decision, HandshakeError, Request, ServerHandshake,
    ServerHandshakeEnd,
};
use crate::message::message_ref::MessageRef;
use crate::message::{Assembler, MessageStorage};
use crate::outbox::Outbox;
use crate::role::{Client, MaskingKey, Role, Server};
use crate::send::SendError;
use crate::session::Buffers;
use crate::step::Step;
use crate::time::{Due, Instant, Timed};

/// An open connection over a transport.
#[derive(Debug)]
pub struct WebSocket<'b, T, R, C = &'static Config> {
    rx: ReceiveBuffer<'b>,
    link: Writer<'b, T, R, C>,
}

/// The sending side of a [`WebSocket`]. Each event comes with it, so that an answer can borrow from the event.
#[derive(Debug)]
pub struct Writer<'b, T, R, C = &'static Config> {
    transport: T,
    connection: Connection<R, NoExtension, C>,
    tx: TransmitBuffer<'b>,
    time: Time,
    /// A shutdown was begun, and has not completed.
    shutting: bool,
}

/// The result of [`WebSocket::accept`].
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there may be no heap to box it in")]
pub enum Accepted<'b, T, C = &'static Config> {
    /// An open connection with its negotiated subprotocol, one of
    /// [`AcceptOptions::protocols`](crate::handshake::AcceptOptions::protocols).
    WebSocket(WebSocket<'b, T, Server, C>, Option<&'static str>),
    /// [`Decision::HandOver`]: the transport, and the request with the bytes after it.
    HandOver(T, ReceiveBuffer<'b>),
}

/// The result of [`WebSocket::connect`].
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there may be no heap to box it in")]
pub enum Connected<'b, 'u, T, K: MaskingKey, C = &'static Config> {
    /// An open connection with its negotiated subprotocol.
    WebSocket(WebSocket<'b, T, Client<K>, C>, Option<&'u str>),
    /// An answer other than an upgrade, which [`RefusedResponse::parse`](crate::handshake::RefusedResponse::parse) parses.
    Refused(ReceiveBuffer<'b>),
}

impl<'b, T: Transport, C: ConfigRef> WebSocket<'b, T, Server, C> {
    /// Accepts a connection: reads the request, calls `decide` for the answer, and writes that.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Refused`] after an answer other than an upgrade was sent;
    /// [`HandshakeError::Disconnected`] if the handshake ended without an answer.
    ///
    /// Cancel safety: dropping the future drops the transport.
    pub async fn accept<'s>(
        mut transport: T,
        config: C,
        buffers: Buffers<'b>,
        decide: impl FnOnce(&Request<'_>) -> Decision<'s, C>,
    ) -> Result<Accepted<'b, T, C>, Error<T::Error>> {
        let Buffers { mut head, mut rx, mut tx } = buffers;
        let mut time = Time::new(&mut transport);
        let mut handshake = ServerHandshake::new(config, time.now);
        let (mut decide, mut failed) = (Some(decide), None);
        loop {
            let step = handshake.poll(time.now, &mut head, &mut rx, &mut tx, |request| match decide.take() {
                Some(decide) => decide(request),
                None => Decision::HandOver,
            });
            let turned = match step {
                Step::Wait { deadline } => {
                    let input = handshake.spare(&mut head, &mut rx);
                    take_turn(&mut transport, input, &mut tx, deadline, &mut time, &mut handshake).await
                }
                Step::Shutdown => transport.shutdown().await.map(|()| None),
                Step::Done(ServerHandshakeEnd::Opened { protocol }) => {
                    let connection = Connection::new(Server, handshake.config().clone(), time.now);
                    let link = Writer { transport, connection, tx, time, shutting: false };
                    return Ok(Accepted::WebSocket(WebSocket { rx, link }, protocol));
                }
                Step::Done(ServerHandshakeEnd::HandedOver) => return Ok(Accepted::HandOver(transport, head)),
                Step::Done(ServerHandshakeEnd::Refused(refusal)) => return Err(Error::Refused(refusal)),
                Step::Done(ServerHandshakeEnd::Disconnected) => {
                    return Err(failed.map_or(HandshakeError::Disconnected.into(), Error::Transport));
                }
            };
            match turned {
                Ok(None) => {}
                Ok(Some(0)) => handshake.end(&mut head, &mut rx),
                Ok(Some(n)) => handshake.fill(&mut head, &mut rx, n),
                Err(error) => {
                    handshake.transport_failed();
                    failed = Some(error);
                }
            }
        }
    }
}

impl<'b, T: Transport, K: MaskingKey, C: ConfigRef> WebSocket<'b, T, Client<K>, C> {
    /// Opens a connection over `transport`: sends the request, and checks the answer. It takes the key of the handshake from
    /// `keys`, the source of masking keys.
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Head`], [`Error::Handshake`].
    ///
    /// Cancel safety: dropping the future drops the transport.
    pub async fn connect<'u>(
        mut transport: T,
        config: C,
        buffers: Buffers<'b>,
        mut keys: K,
        connect: &ClientRequest<'u>,
    ) -> Result<Connected<'b, 'u, T, K, C>, Error<T::Error>> {
        let Buffers { mut head, mut rx, mut tx } = buffers;
        let mut nonce = [0; 16];
        for part in nonce.chunks_exact_mut(4) {
            part.copy_from_slice(&keys.masking_key());
        }
        let mut time = Time::new(&mut transport);
        let mut handshake = ClientHandshake::new(config.clone(), time.now, nonce, connect, &mut head)?;
        loop {
            match handshake.poll(time.now, &mut head, &mut rx, &mut tx) {
                Step::Wait { deadline } => {
                    let input = handshake.spare(&mut head, &rx);
                    let turned =
                        take_turn(&mut transport, input, &mut tx, deadline, &mut time, &mut handshake).await;
                    match turned.map_err(Error::Transport)? {
                        None => {}
                        Some(0) => handshake.end(&mut head),
                        Some(n) => handshake.fill(&mut head, n),
                    }
                }
                // The handshake shuts nothing down.
                Step::Shutdown => {}
                Step::Done(ClientHandshakeEnd::Opened { protocol }) => {
                    let connection = Connection::new(Client(keys), config, time.now);
                    let link = Writer { transport, connection, tx, time, shutting: false };
                    return Ok(Connected::WebSocket(WebSocket { rx, link }, protocol));
                }
                Step::Done(ClientHandshakeEnd::Refused) => return Ok(Connected::Refused(head)),
                Step::Done(ClientHandshakeEnd::Failed(error)) => return Err(error.into()),
            }
        }
    }
}

impl<'b, T: Transport, R: Role, C: ConfigRef> WebSocket<'b, T, R, C> {
    /// Creates a `WebSocket` from a connection whose opening handshake was done elsewhere. `rx` has to hold the bytes that
    /// arrived after the handshake.
    #[must_use]
    pub fn new(
        mut transport: T,
        connection: Connection<R, NoExtension, C>,
        rx: ReceiveBuffer<'b>,
        tx: TransmitBuffer<'b>,
    ) -> Self {
        let time = Time::new(&mut transport);
        Self { rx, link: Writer { transport, connection, tx, time, shutting: false } }
    }

    /// Returns the transport, the connection and its buffers, for [`drive`](super::drive) or your own loop.
    #[must_use]
    pub fn into_parts(self) -> (T, Connection<R, NoExtension, C>, ReceiveBuffer<'b>, TransmitBuffer<'b>) {
        let Writer { transport, connection, tx, .. } = self.link;
        (transport, connection, self.rx, tx)
    }

    /// Waits for the next event, and returns it with the sending side to answer it. Bytes that are pending are written
    /// meanwhile.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Closed`] after the end of the connection, from every call.
    ///
    /// Cancel safety: nothing is lost; call again.
    pub async fn read(&mut self) -> Result<(Event<'_>, &mut Writer<'b, T, R, C>), Error<T::Error>> {
        loop {
            if let Some(event) = self.next(Until::Event).await? {
                return Ok((self.rx.event(event), &mut self.link));
            }
        }
    }

    /// Waits for the next event, but no longer than until `limit` on the transport's [clock](Sending::now). Returns `None` if
    /// that has passed.
    ///
    /// # Errors
    /// Those of [`read`](Self::read).
    ///
    /// Cancel safety: nothing is lost; call again.
    pub async fn read_until(
        &mut self,
        limit: Instant,
    ) -> Result<Option<(Event<'_>, &mut Writer<'b, T, R, C>)>, Error<T::Error>> {
        let event = self.next(Until::Time(limit)).await?;
        Ok(event.map(|event| (self.rx.event(event), &mut self.link)))
    }

    /// Waits for the next event, or until all pending bytes are written, and then returns `None`; at once if none are pending.
    /// Use it to receive while you send a long message: fill the [`outbox`](Sending::outbox), call this, process the event, and
    /// repeat.
    ///
    /// # Errors
    /// Those of [`read`](Self::read).
    ///
    /// Cancel safety: nothing is lost; call again.
    pub async fn read_or_flushed(
        &mut self,
    ) -> Result<Option<(Event<'_>, &mut Writer<'b, T, R, C>)>, Error<T::Error>> {
        if self.link.tx.is_empty() {
            return Ok(None);
        }
        let event = self.next(Until::Written).await?;
        Ok(event.map(|event| (self.rx.event(event), &mut self.link)))
    }

    /// Waits for the next whole message, and returns its kind; `message` then holds its payload. Events of control frames are
    /// discarded.
    ///
    /// # Errors
    /// Those of [`read`](Self::read); [`Error::MessageTooLarge`] if the message does not fit into `message`. The next call
    /// skips the rest of it.
    ///
    /// Cancel safety: the part of the message that has arrived stays in `message`; call again with the same assembler.
    pub async fn read_message<S: MessageStorage>(
        &mut self,
        message: &mut Assembler<S>,
    ) -> Result<Kind, Error<T::Error>> {
        loop {
            if let (Event::Data(data), _) = self.read().await? {
                if let Some(kind) = message.push(&data).map_err(|_| Error::MessageTooLarge)? {
                    return Ok(kind);
                }
            }
        }
    }

    /// Closes the connection: sends a Close, discards what the peer still sends, and waits for the end of the connection.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Send`] if a frame is open, or the reason is too long.
    ///
    /// Cancel safety: call again.
    pub async fn close(&mut self, code: Option<CloseCode>, reason: &str) -> Result<Ending, Error<T::Error>> {
        match self.link.close(code, reason).await {
            // The peer has closed before.
            Ok(()) | Err(Error::Send(SendError::Closed)) => {}
            Err(error) => return Err(error),
        }
        loop {
            match self.read().await {
                Ok(_) => {}
                Err(Error::Closed(cause)) => return Ok(cause),
                Err(error) => return Err(error),
            }
        }
    }

    async fn next(&mut self, until: Until) -> Result<Option<DetachedEvent>, Error<T::Error>> {
        if !self.link.tx.is_empty() {
            // As in `push`.
            let now = self.link.transport.now();
            if self.link.connection.due(now) != Due::No {
                let step = Step::Wait { deadline: Some(now) };
                let read = self.link.turn(step, self.rx.spare()).await?;
                report(read, &mut self.rx);
            } else {
                self.link.time.now = now;
                let step = self.link.connection.poll_without_receiving(now, &mut self.link.tx);
                if !matches!(step, Step::Wait { .. }) {
                    self.link.turn(step, &mut []).await?;
                }
            }
        }
        let limit = if let Until::Time(limit) = until { Some(limit) } else { None };
        // One turn is taken in any case, so that what is ready is read and written even after the limit.
        let mut over = false;
        loop {
            let Writer { connection, tx, time, .. } = &mut self.link;
            let step = match connection.poll_detached(time.now, &mut self.rx, tx) {
                Step::Event(event) => return Ok(Some(event)),
                Step::Wait { .. } if over => return Ok(None),
                Step::Wait { .. } if until == Until::Written && tx.is_empty() => return Ok(None),
                Step::Wait { deadline } => Step::Wait { deadline: deadline.into_iter().chain(limit).min() },
                Step::Shutdown => Step::Shutdown,
                Step::Done(ending) => Step::Done(ending),
            };
            over = limit.is_some_and(|limit| self.link.transport.now() >= limit);
            let read = self.link.turn(step, self.rx.spare()).await?;
            report(read, &mut self.rx);
        }
    }

    /// Returns the sending side.
    pub fn sending(&mut self) -> &mut Writer<'b, T, R, C> {
        &mut self.link
    }

    /// Returns how the connection ended; `None` while it has not.
    #[must_use]
    pub const fn ending(&self) -> Option<Ending> {
        self.link.connection.ending()
    }

    /// Returns the reason text of the peer's Close; empty if there is none.
    #[must_use]
    pub fn close_reason(&self) -> &str {
        self.link.connection.close_reason()
    }
}

/// What ends the wait for an event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    Event,
    Time(Instant),
    Written,
}

impl<'b, T: Transport, R: Role, C: ConfigRef> Writer<'b, T, R, C> {
    /// Sends a whole message of any size in one frame, and writes it to the transport: a `&str` as text, bytes as binary. It
    /// receives nothing meanwhile. If the peer answers while it reads, as an echo does, and the buffers of both sides are full,
    /// the call waits until the write deadline ends the connection. Send large messages to such a peer with
    /// [`outbox`](Self::outbox) and [`read_or_written`](WebSocket::read_or_flushed).
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Closed`], [`Error::Send`].
    ///
    /// Cancel safety: a message that fits into the transmit buffer is sent completely or not at all. The frame of a larger one
    /// may be open: send the rest of it before anything else. [`Outbox::frame_remaining`] returns how many bytes it lacks.
    pub async fn send<'m>(&mut self, message: impl Into<MessageRef<'m>>) -> Result<(), Error<T::Error>> {
        let message = message.into();
        let (kind, payload) = (message.kind(), message.as_bytes());
        match self.when_there_is_room(|out| out.send(message)).await {
            Err(Error::Send(SendError::TooLarge)) => {
                self.when_there_is_room(|out| out.begin_frame(kind, payload.len() as u64, true)).await?;
                let mut rest = payload;
                while !rest.is_empty() {
                    let n = self.outbox().write(rest)?;
                    rest = rest.get(n..).unwrap_or_default();
                    self.flush().await?;
                }
            }
            sent => sent?,
        }
        self.flush().await
    }

    /// Sends a frame of a message: the first frame if no message is open, otherwise the next one. `fin` ends the message. The
    /// frame has to fit into the transmit buffer. Make sure that text is UTF-8.
    ///
    /// # Errors
    /// Those of [`send`](Self::send).
    ///
    /// Cancel safety: the frame is sent completely or not at all.
    pub async fn fragment(&mut self, kind: Kind, payload: &[u8], fin: bool) -> Result<(), Error<T::Error>> {
        self.when_there_is_room(|out| out.fragment(kind, payload, fin)).await?;
        self.flush().await
    }

    /// Sends a message of any size, or the next part of one, in as many frames as the buffer and
    /// [`Config::largest_fragment`] require, and writes it to the transport. `fin` ends the message. Make sure that text is
    /// UTF-8.
    ///
    /// # Errors
    /// Those of [`send`](Self::send).
    ///
    /// Cancel safety: part of the payload may have been sent.
    pub async fn send_fragmented(
        &mut self,
        kind: Kind,
        payload: &[u8],
        fin: bool,
    ) -> Result<(), Error<T::Error>> {
        let mut rest = payload;
        self.when_there_is_room(|out| out.send_fragmented(kind, &mut rest, fin)).await?;
        self.flush().await
    }

    /// Sends a Pong with at most 125 bytes of payload, as the answer to a Ping or unsolicited.
    ///
    /// # Errors
    /// Those of [`send`](Self::send).
    ///
    /// Cancel safety: the frame is sent completely or not at all.
    pub async fn pong(&mut self, payload: &[u8]) -> Result<(), Error<T::Error>> {
        self.when_there_is_room(|out| out.pong(payload)).await?;
        self.flush().await
    }

    /// Sends a Ping with at most 125 bytes of payload.
    ///
    /// # Errors
    /// Those of [`send`](Self::send).
    ///
    /// Cancel safety: the frame is sent completely or not at all.
    pub async fn ping(&mut self, payload: &[u8]) -> Result<(), Error<T::Error>> {
        self.when_there_is_room(|out| out.ping(payload)).await?;
        self.flush().await
    }

    /// Sends a Close, and does not wait for the peer's; [`WebSocket::close`] does.
    ///
    /// # Errors
    /// Those of [`send`](Self::send).
    ///
    /// Cancel safety: the frame is sent completely or not at all.
    pub async fn close(&mut self, code: Option<CloseCode>, reason: &str) -> Result<(), Error<T::Error>> {
        self.when_there_is_room(|out| out.close(code, reason)).await?;
        self.flush().await
    }

    /// Writes all pending bytes to the transport.
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Closed`].
    ///
    /// Cancel safety: nothing is lost; call again.
    pub async fn flush(&mut self) -> Result<(), Error<T::Error>> {
        while !self.tx.is_empty() {
            self.push().await?;
        }
        Ok(())
    }

    /// Returns the [`Outbox`], which sends without waiting. [`flush`](Self::flush) and the next [`read`](WebSocket::read) write
    /// what it sends, so that many small messages need one write.
    pub fn outbox(&mut self) -> Outbox<'_> {
        self.connection.outbox(self.time.now, &mut self.tx)
    }

    /// Returns the transport. Do not read from it or write to it: that corrupts the stream.
    pub fn transport(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Returns the time of the transport's clock.
    pub fn now(&mut self) -> Instant {
        self.transport.now()
    }

    async fn when_there_is_room(
        &mut self,
        mut send: impl FnMut(&mut Outbox<'_>) -> Result<(), SendError>,
    ) -> Result<(), Error<T::Error>> {
        loop {
            match send(&mut self.outbox()) {
                Err(SendError::Blocked) => self.push().await?,
                sent => return sent.map_err(Error::Send),
            }
        }
    }

    /// Takes one turn of writing.
    async fn push(&mut self) -> Result<(), Error<T::Error>> {
        // The application may have worked for long: the write deadline starts now. If a deadline is due, the transport is
        // written first.
        let now = self.transport.now();
        if self.connection.due(now) != Due::No {
            self.turn(Step::Wait { deadline: Some(now) }, &mut []).await?;
        } else {
            self.time.now = now;
        }
        match self.connection.poll_without_receiving(self.time.now, &mut self.tx) {
            Step::Wait { .. } if self.tx.is_empty() => Ok(()),
            step => self.turn(step, &mut []).await.map(|_| ()),
        }
    }

    /// Executes a step other than an event, and returns how many bytes were read.
    async fn turn(
        &mut self,
        step: Step<Infallible>,
        input: &mut [u8],
    ) -> Result<Option<usize>, Error<T::Error>> {
        self.shutting |= step == Step::Shutdown;
        let done = match step {
            _ if self.shutting => {
                let done = self.transport.shutdown().await;
                self.shutting = false;
                done.map(|()| None)
            }
            Step::Done(cause) => return Err(Error::Closed(cause)),
            Step::Wait { deadline } => {
                let Self { transport, connection, tx, time, .. } = self;
                take_turn(transport, input, tx, deadline, time, connection).await
            }
            Step::Shutdown => Ok(None),
        };
        match done {
            Ok(read) => Ok(read),
            Err(error) => {
                self.connection.transport_failed();
                match self.connection.poll_without_receiving(self.time.now, &mut self.tx) {
                    // The connection has ended before the transport failed.
                    Step::Done(cause) if cause.reason != EndReason::Disconnected => Err(Error::Closed(cause)),
                    _ => Err(Error::Transport(error)),
                }
            }
        }
    }
}
