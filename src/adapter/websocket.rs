//! A connection to read from and to send on.

#![forbid(unsafe_code)]

use super::{Buffers, Time, Transport, take_turn};
use crate::buffer::{ReceiveBuffer, TransmitBuffer};
use crate::cause::{Cause, End};
use crate::close::CloseCode;
use crate::config::{Config, ConfigRef};
use crate::connection::{Connection, Step};
use crate::error::SendError;
use crate::event::{Event, Payload};
use crate::extension::NoExtension;
use crate::frame::Kind;
use crate::handshake::{
    Answer, BadHead, ClientHandshake, ClientStep, Connect, HandshakeError, HandshakeStep, Refusal, Request,
    ServerHandshake,
};
use crate::message::{Assembler, MessageRef, Storage};
use crate::outbox::Outbox;
use crate::role::{Client, MaskingKey, Role, Server};
use crate::time::{Due, Instant, Timed};

/// An open connection over a transport.
#[derive(Debug)]
pub struct WebSocket<'b, T, R, C = &'static Config> {
    rx: ReceiveBuffer<'b>,
    link: Sending<'b, T, R, C>,
}

/// The sending side of a [`WebSocket`]: lent together with each event, so that an answer may borrow from it.
#[derive(Debug)]
pub struct Sending<'b, T, R, C = &'static Config> {
    transport: T,
    connection: Connection<R, NoExtension, C>,
    tx: TransmitBuffer<'b>,
    time: Time,
    /// A shutdown was begun, and not seen to end.
    shutting: bool,
}

/// Why an operation on a connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error<E> {
    /// The transport failed, and the connection has ended with it.
    #[error("the transport failed")]
    Transport(#[source] E),
    /// The connection has ended.
    #[error("the connection is closed: {}", .0.end)]
    Closed(Cause),
    /// The caller asked for what cannot be sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The request cannot be written as it was asked for.
    #[error(transparent)]
    Head(#[from] BadHead),
    /// No opening handshake.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The request got another answer than an upgrade.
    #[error("refused with {0}")]
    Refused(Refusal),
    /// The message is larger than the memory for it.
    #[error("the message is larger than the memory for it")]
    MessageTooLarge,
}

/// What became of a transport that a server accepted.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there may be no heap to box it in")]
pub enum Accepted<'b, T, C = &'static Config> {
    /// A connection, with the subprotocol that was agreed upon, one of
    /// [`Accept::protocols`](crate::handshake::Accept::protocols).
    WebSocket(WebSocket<'b, T, Server, C>, Option<&'static str>),
    /// [`Answer::HandOver`]: the transport, and the request with what came behind it.
    HandOver(T, ReceiveBuffer<'b>),
}

/// What became of a transport on which a client asked for a connection.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there may be no heap to box it in")]
pub enum Connected<'b, 'u, T, K: MaskingKey, C = &'static Config> {
    /// A connection, with this subprotocol.
    WebSocket(WebSocket<'b, T, Client<K>, C>, Option<&'u str>),
    /// Another answer: [`Reply::parse`](crate::handshake::Reply::parse) reads it.
    Refused(ReceiveBuffer<'b>),
}

impl<'b, T: Transport, C: ConfigRef> WebSocket<'b, T, Server, C> {
    /// Reads a request, answers it as `decide` says, and gives the connection where there is one.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Refused`] when the answer was another one, and has been sent;
    /// [`HandshakeError::Vanished`] where there was no request.
    ///
    /// Cancel safety: where the future is dropped, the transport is dropped with it.
    pub async fn accept<'s>(
        mut transport: T,
        config: C,
        buffers: Buffers<'b>,
        decide: impl FnOnce(&Request<'_>) -> Answer<'s, C>,
    ) -> Result<Accepted<'b, T, C>, Error<T::Error>> {
        let Buffers { mut head, mut rx, mut tx } = buffers;
        let mut time = Time::new(&mut transport);
        let mut handshake = ServerHandshake::new(config, time.now);
        let (mut decide, mut failed) = (Some(decide), None);
        loop {
            let step = handshake.poll(time.now, &mut head, &mut rx, &mut tx, |request| match decide.take() {
                Some(decide) => decide(request),
                None => Answer::HandOver,
            });
            let turned = match step {
                HandshakeStep::Wait { deadline } => {
                    let input = handshake.spare(&mut head, &mut rx);
                    take_turn(&mut transport, input, &mut tx, deadline, &mut time, &mut handshake).await
                }
                HandshakeStep::Shutdown => transport.shutdown().await.map(|()| None),
                HandshakeStep::Open(protocol) => {
                    let connection = Connection::new(Server, handshake.config().clone(), time.now);
                    let link = Sending { transport, connection, tx, time, shutting: false };
                    return Ok(Accepted::WebSocket(WebSocket { rx, link }, protocol));
                }
                HandshakeStep::HandOver => return Ok(Accepted::HandOver(transport, head)),
                HandshakeStep::Refused(refusal) => return Err(Error::Refused(refusal)),
                HandshakeStep::Vanished => {
                    return Err(failed.map_or(HandshakeError::Vanished.into(), Error::Transport));
                }
            };
            match turned {
                Ok(None) => {}
                Ok(Some(n)) => handshake.fill(&mut head, &mut rx, n),
                Err(error) => {
                    handshake.reset();
                    failed = Some(error);
                }
            }
        }
    }
}

impl<'b, T: Transport, K: MaskingKey, C: ConfigRef> WebSocket<'b, T, Client<K>, C> {
    /// Asks for a connection. The key of the handshake comes from the source of masking keys.
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Head`], [`Error::Handshake`].
    ///
    /// Cancel safety: where the future is dropped, the transport is dropped with it.
    pub async fn connect<'u>(
        mut transport: T,
        config: C,
        buffers: Buffers<'b>,
        mut keys: K,
        connect: &Connect<'u>,
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
                ClientStep::Wait { deadline } => {
                    let input = handshake.spare(&mut head, &rx);
                    let turned =
                        take_turn(&mut transport, input, &mut tx, deadline, &mut time, &mut handshake).await;
                    if let Some(n) = turned.map_err(Error::Transport)? {
                        handshake.fill(&mut head, n);
                    }
                }
                ClientStep::Open(protocol) => {
                    let connection = Connection::new(Client(keys), config, time.now);
                    let link = Sending { transport, connection, tx, time, shutting: false };
                    return Ok(Connected::WebSocket(WebSocket { rx, link }, protocol));
                }
                ClientStep::Refused => return Ok(Connected::Refused(head)),
                ClientStep::Failed(error) => return Err(error.into()),
            }
        }
    }
}

impl<'b, T: Transport, R: Role, C: ConfigRef> WebSocket<'b, T, R, C> {
    /// A connection that is open already: after a foreign handshake, what came behind it lies in `rx`.
    #[must_use]
    pub fn new(
        mut transport: T,
        connection: Connection<R, NoExtension, C>,
        rx: ReceiveBuffer<'b>,
        tx: TransmitBuffer<'b>,
    ) -> Self {
        let time = Time::new(&mut transport);
        Self { rx, link: Sending { transport, connection, tx, time, shutting: false } }
    }

    /// The transport, the connection and its buffers: for [`drive`](super::drive), or to go on by hand.
    #[must_use]
    pub fn into_parts(self) -> (T, Connection<R, NoExtension, C>, ReceiveBuffer<'b>, TransmitBuffer<'b>) {
        let Sending { transport, connection, tx, .. } = self.link;
        (transport, connection, self.rx, tx)
    }

    /// The next event, and the sending side to answer it on. What was sent before is written first.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Closed`] at the end, and for ever after.
    ///
    /// Cancel safety: nothing is lost; call again.
    pub async fn read(&mut self) -> Result<(Event<Payload<'_>>, &mut Sending<'b, T, R, C>), Error<T::Error>> {
        loop {
            if let Some(event) = self.next(Until::Event).await? {
                return Ok((event.map(|span| self.rx.payload(span)), &mut self.link));
            }
        }
    }

    /// The same, but no longer than until `limit` by the transport's [clock](Sending::now): then `None`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// Cancel safety: nothing is lost; call again.
    pub async fn read_until(
        &mut self,
        limit: Instant,
    ) -> Result<Option<(Event<Payload<'_>>, &mut Sending<'b, T, R, C>)>, Error<T::Error>> {
        let event = self.next(Until::Time(limit)).await?;
        Ok(event.map(|event| (event.map(|span| self.rx.payload(span)), &mut self.link)))
    }

    /// The next event; or `None` as soon as all that was sent is written, be it at once. For sending something long without
    /// going deaf: fill the [`outbox`](Sending::outbox), call this, and deal with what comes.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// Cancel safety: nothing is lost; call again.
    pub async fn read_or_written(
        &mut self,
    ) -> Result<Option<(Event<Payload<'_>>, &mut Sending<'b, T, R, C>)>, Error<T::Error>> {
        if self.link.tx.is_empty() {
            return Ok(None);
        }
        let event = self.next(Until::Written).await?;
        Ok(event.map(|event| (event.map(|span| self.rx.payload(span)), &mut self.link)))
    }

    /// The next message, put together from its fragments. Control frames are passed over.
    ///
    /// # Errors
    /// As [`read`](Self::read); [`Error::MessageTooLarge`] where it exceeds `message`: the rest of it is
    /// passed over by the next call.
    ///
    /// Cancel safety: what had arrived of the message stays in `message`; call again with the same.
    pub async fn read_message<S: Storage>(
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

    /// Closes the connection: sends a Close, passes over what the peer still sends, and waits for its end.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Send`] where a frame is open, or the reason is too long.
    ///
    /// Cancel safety: call again.
    pub async fn close(&mut self, code: Option<CloseCode>, reason: &str) -> Result<Cause, Error<T::Error>> {
        match self.link.close(code, reason).await {
            // The peer was first.
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

    async fn next(&mut self, until: Until) -> Result<Option<Event>, Error<T::Error>> {
        if !self.link.tx.is_empty() {
            // As in `push`.
            let now = self.link.transport.now();
            if self.link.connection.due(now) != Due::No {
                let step = Step::Wait { deadline: Some(now) };
                if let Some(n) = self.link.turn(step, self.rx.spare()).await? {
                    self.rx.fill(n);
                }
            } else {
                self.link.time.now = now;
                let step = self.link.connection.tend(now, &mut self.link.tx);
                if !matches!(step, Step::Wait { .. }) {
                    self.link.turn(step, &mut []).await?;
                }
            }
        }
        let limit = if let Until::Time(limit) = until { Some(limit) } else { None };
        // However short the time, and however late we are: what is ready is written and read.
        let mut over = false;
        loop {
            let Sending { connection, tx, time, .. } = &mut self.link;
            let step = match connection.poll(time.now, &mut self.rx, tx) {
                Step::Event(event) => return Ok(Some(event)),
                Step::Wait { .. } if over => return Ok(None),
                Step::Wait { .. } if until == Until::Written && tx.is_empty() => return Ok(None),
                Step::Wait { deadline } => Step::Wait { deadline: deadline.into_iter().chain(limit).min() },
                step => step,
            };
            over = limit.is_some_and(|limit| self.link.transport.now() >= limit);
            if let Some(n) = self.link.turn(step, self.rx.spare()).await? {
                self.rx.fill(n);
            }
        }
    }

    /// The sending side.
    pub fn sending(&mut self) -> &mut Sending<'b, T, R, C> {
        &mut self.link
    }

    /// How the connection ended; `None` while it has not.
    #[must_use]
    pub const fn cause(&self) -> Option<Cause> {
        self.link.connection.cause()
    }

    /// The reason in the peer's Close, empty where there was none.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.link.connection.reason()
    }
}

/// What ends the wait for an event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    Event,
    Time(Instant),
    Written,
}

impl<'b, T: Transport, R: Role, C: ConfigRef> Sending<'b, T, R, C> {
    /// Sends a whole message of any size in one frame, and writes it to the transport: text where it is given a `&str`,
    /// binary where it is given bytes. Nothing is received meanwhile. If the peer answers while it reads, as an echo does,
    /// and the memory of both sides is full, the call waits until the write deadline ends the connection. Send large
    /// messages to such a peer in pieces, and read in between.
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Closed`], [`Error::Send`].
    ///
    /// Cancel safety: a message that fits the transmit buffer is sent whole or not at all. Of a larger one the
    /// frame may have been begun; then [`outbox`](Self::outbox) says how much it [lacks](Outbox::left), and
    /// nothing else can be sent before.
    pub async fn send<'m>(&mut self, message: impl Into<MessageRef<'m>>) -> Result<(), Error<T::Error>> {
        let message = message.into();
        let (kind, payload) = (message.kind(), message.as_bytes());
        match self.when_there_is_room(|out| out.send(message)).await {
            Err(Error::Send(SendError::TooLarge)) => {
                self.when_there_is_room(|out| out.begin(kind, payload.len() as u64, true)).await?;
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

    /// Sends a frame of a message: the first if no message is open, else the next. `fin` ends the message. The frame is at
    /// most as large as the transmit buffer. The caller has to make sure that text is UTF-8.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// Cancel safety: the frame is sent whole or not at all.
    pub async fn fragment(&mut self, kind: Kind, payload: &[u8], fin: bool) -> Result<(), Error<T::Error>> {
        self.when_there_is_room(|out| out.fragment(kind, payload, fin)).await?;
        self.flush().await
    }

    /// Sends a message, or with `fin` unset the next part of one, of any size, in as many frames as the buffer
    /// and [`Config::largest_fragment`] ask for, and writes it to the transport. The caller has to make sure that text is
    /// UTF-8.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// Cancel safety: part of the payload may have been sent.
    pub async fn stream(&mut self, kind: Kind, payload: &[u8], fin: bool) -> Result<(), Error<T::Error>> {
        let mut rest = payload;
        self.when_there_is_room(|out| out.stream(kind, &mut rest, fin)).await?;
        self.flush().await
    }

    /// Sends a Pong with at most 125 bytes of payload: those of a Ping, or unasked for.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// Cancel safety: the frame is sent whole or not at all.
    pub async fn pong(&mut self, payload: &[u8]) -> Result<(), Error<T::Error>> {
        self.when_there_is_room(|out| out.pong(payload)).await?;
        self.flush().await
    }

    /// Sends a Ping with at most 125 bytes of payload.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// Cancel safety: the frame is sent whole or not at all.
    pub async fn ping(&mut self, payload: &[u8]) -> Result<(), Error<T::Error>> {
        self.when_there_is_room(|out| out.ping(payload)).await?;
        self.flush().await
    }

    /// Sends a Close, without waiting for the peer's.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// Cancel safety: the frame is sent whole or not at all.
    pub async fn close(&mut self, code: Option<CloseCode>, reason: &str) -> Result<(), Error<T::Error>> {
        self.when_there_is_room(|out| out.close(code, reason)).await?;
        self.flush().await
    }

    /// Writes everything that was sent to the transport.
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

    /// The sending side without waiting: what is sent here is written by [`flush`](Self::flush) and by the
    /// next [`read`](WebSocket::read), so that many small messages leave in one write.
    pub fn outbox(&mut self) -> Outbox<'_> {
        self.connection.outbox(self.time.now, &mut self.tx)
    }

    /// The transport. What is written to it past the connection breaks the stream.
    pub fn transport(&mut self) -> &mut T {
        &mut self.transport
    }

    /// The time by the transport's clock.
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

    /// One turn of writing.
    async fn push(&mut self) -> Result<(), Error<T::Error>> {
        // The application may have worked for long: the peer's time to read begins now. Where its time is over, the
        // transport goes first.
        let now = self.transport.now();
        if self.connection.due(now) != Due::No {
            self.turn(Step::Wait { deadline: Some(now) }, &mut []).await?;
        } else {
            self.time.now = now;
        }
        match self.connection.tend(self.time.now, &mut self.tx) {
            Step::Wait { .. } if self.tx.is_empty() => Ok(()),
            step => self.turn(step, &mut []).await.map(|_| ()),
        }
    }

    /// Does what a step that is no event asks for; how many bytes were read.
    async fn turn(&mut self, step: Step, input: &mut [u8]) -> Result<Option<usize>, Error<T::Error>> {
        self.shutting |= step == Step::Shutdown;
        let done = match step {
            _ if self.shutting => {
                let done = self.transport.shutdown().await;
                self.shutting = false;
                done.map(|()| None)
            }
            Step::Closed(cause) => return Err(Error::Closed(cause)),
            Step::Wait { deadline } => {
                let Self { transport, connection, tx, time, .. } = self;
                take_turn(transport, input, tx, deadline, time, connection).await
            }
            Step::Shutdown => Ok(None),
            Step::Event(_) => return Ok(None),
        };
        match done {
            Ok(read) => Ok(read),
            Err(error) => {
                self.connection.reset();
                match self.connection.tend(self.time.now, &mut self.tx) {
                    // What ended the connection came before: the peer may reset what is over.
                    Step::Closed(cause) if cause.end != End::Vanished => Err(Error::Closed(cause)),
                    _ => Err(Error::Transport(error)),
                }
            }
        }
    }
}
