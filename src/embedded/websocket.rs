//! A connection over a transport, to read from and to send on.

#![forbid(unsafe_code)]

use core::task::Poll;

use super::error::Error;
use super::writer::Writer;
use super::{Time, Transport, report};
use crate::buffer::{ReceiveBuffer, TransmitBuffer};
use crate::close::CloseCode;
use crate::config::ConfigRef;
use crate::config::base::Config;
use crate::connection::Connection;
use crate::ending::Ending;
use crate::error::MessageTooBig;
use crate::event::{DetachedEvent, Event};
use crate::extension::{Extension, NoExtension};
use crate::message::message_ref::MessageRef;
use crate::message::{Assembler, MessageStorage};
use crate::role::Role;
use crate::session::Buffers;
use crate::step::Step;
use crate::time::{Due, Instant, Timed};

/// An open connection over a transport, to read from and to send on.
///
/// [`recv`](Self::recv) puts whole messages together in memory of the caller's, [`read`](Self::read) returns events as they
/// arrive, in no memory beside the receive buffer. Both return `Ok(None)` after a clean end, and from then on.
///
/// Pings are answered and deadlines are checked only while a future of this type is polled.
///
/// ```
/// use sansocket::embedded::{Error, Transport, WebSocket};
/// use sansocket::handshake::ClientRequest;
/// use sansocket::message::{ArrayStorage, Assembler};
/// use sansocket::session::Memory;
/// use sansocket::{CloseCode, Config, Ending, MessageRef};
///
/// static CONFIG: Config = Config::new().max_message_len(256);
///
/// /// Answers each "temperature?", and closes when the server says "bye".
/// async fn run<T: Transport>(
///     transport: T,
///     random: impl FnMut() -> [u8; 4], // the chip's generator
///     request: &ClientRequest<'_>,
/// ) -> Result<Option<Ending>, Error<T::Error>> {
///     let mut memory = Memory { head: [0; 1024], rx: [0; 512], tx: [0; 512] };
///     let mut socket = WebSocket::connect(transport, &CONFIG, memory.buffers(), random, request).await?;
///     let mut message = Assembler::new(ArrayStorage::<256>::new());
///     while let Some(message) = socket.recv(&mut message).await? {
///         match message {
///             MessageRef::Text("temperature?") => socket.send("21").await?,
///             MessageRef::Text("bye") => return Ok(Some(socket.close(CloseCode::NORMAL, "").await)),
///             _ => {}
///         }
///     }
///     Ok(socket.ending()) // the server has closed
/// }
///
/// # use futures_util::{SinkExt, StreamExt};
/// # use sansocket::{Instant, embedded::Transferred};
/// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// # use tokio_tungstenite::tungstenite::Message;
/// # struct Duplex(tokio::io::DuplexStream);
/// # impl Transport for Duplex {
/// #     type Error = std::io::Error;
/// #     fn now(&mut self) -> Instant {
/// #         Instant::START
/// #     }
/// #     async fn read_write(&mut self, rx: &mut [u8], tx: &[u8], _: Option<Instant>) -> std::io::Result<Transferred> {
/// #         match tx.is_empty() {
/// #             true => Ok(Transferred { read: Some(self.0.read(rx).await?), written: 0 }),
/// #             false => Ok(Transferred { read: None, written: self.0.write(tx).await? }),
/// #         }
/// #     }
/// #     async fn shutdown(&mut self) -> std::io::Result<()> {
/// #         self.0.shutdown().await
/// #     }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let (near, far) = tokio::io::duplex(1024);
/// # let server = tokio::spawn(async {
/// #     let mut server = tokio_tungstenite::accept_async(far).await.unwrap();
/// #     server.send(Message::text("temperature?")).await.unwrap();
/// #     assert_eq!(server.next().await.unwrap().unwrap(), Message::text("21"));
/// #     server.send(Message::text("bye")).await.unwrap();
/// #     while let Some(Ok(_)) = server.next().await {}
/// # });
/// # let (transport, random) = (Duplex(near), || [7; 4]);
/// let request = ClientRequest::parse("ws://example.com/").unwrap();
/// let ending = run(transport, random, &request).await.unwrap();
/// assert!(ending.unwrap().is_clean()); // after "bye"
/// # server.await.unwrap();
/// # }
/// ```
#[derive(Debug)]
pub struct WebSocket<'b, T, R, C = &'static Config, X = NoExtension> {
    pub(super) rx: ReceiveBuffer<'b>,
    pub(crate) link: Writer<'b, T, R, C, X>,
    pub(super) protocol: Option<&'b str>,
    /// The memory of the head, which only the opening handshake needs.
    pub(super) head: &'b mut [u8],
}

/// Reads until a message is complete. A macro, as two types have the method `read`.
macro_rules! recv {
    ($socket:ident, $message:ident) => {
        loop {
            let Some((event, _)) = $socket.read().await? else { return Ok(None) };
            let Event::Data(chunk) = &event else { continue };
            if $message.push(chunk).map_err(|MessageTooBig| Error::MessageTooBig)?.is_some() {
                return Ok($message.message());
            }
        }
    };
}

pub(super) use recv;

/// What ends the wait for an event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    Event,
    Time(Instant),
    Written,
}

impl<'b, T: Transport, R: Role, C: ConfigRef, X: Extension> WebSocket<'b, T, R, C, X> {
    /// Creates a `WebSocket` from a connection whose opening handshake was done elsewhere. `rx` has to hold the bytes that
    /// arrived after the handshake.
    #[must_use]
    pub fn new(
        mut transport: T,
        connection: Connection<R, X, C>,
        rx: ReceiveBuffer<'b>,
        tx: TransmitBuffer<'b>,
    ) -> Self {
        let time = Time::new(&mut transport);
        Self { rx, link: Writer::new(transport, connection, tx, time), protocol: None, head: &mut [] }
    }

    /// Adds memory to decode into, of the size of the receive buffer, if an extension was agreed upon.
    #[cfg(feature = "std")]
    pub(crate) fn add_output(&mut self) {
        #[cfg(feature = "extension")]
        if self.link.connection.extension.is_active() {
            self.rx.add_output(self.rx.capacity());
        }
    }

    /// Returns the transport, the connection and all buffers, for [`drive`](super::drive) or your own loop; or, after
    /// [`Buffers::clear`], for another connection. [`Buffers::head`] has no memory if that was [taken](Self::take_head), if it was
    /// not borrowed, or after [`new`](Self::new): give such buffers a `head` again before the next opening handshake, which would not
    /// fit.
    ///
    /// ```
    /// use sansocket::embedded::{Error, Transport, WebSocket};
    /// use sansocket::handshake::{Accepted, Decision};
    /// use sansocket::session::Buffers;
    /// use sansocket::{Config, Server};
    ///
    /// /// Serves one connection after another in the same buffers.
    /// async fn serve<T: Transport>(
    ///     mut next: impl AsyncFnMut() -> T,
    ///     mut buffers: Buffers<'_>,
    ///     mut talk: impl AsyncFnMut(&mut WebSocket<'_, T, Server>) -> Result<(), Error<T::Error>>,
    /// ) -> Result<(), Error<T::Error>> {
    ///     loop {
    ///         buffers.clear();
    ///         let accepted = WebSocket::accept(next().await, &Config::DEFAULT, buffers, |_| Decision::accept());
    ///         let Accepted::WebSocket(mut socket) = accepted.await? else { return Ok(()) };
    ///         talk(&mut socket).await?;
    ///         (_, _, buffers) = socket.into_parts();
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn into_parts(self) -> (T, Connection<R, X, C>, Buffers<'b>) {
        let Writer { transport, connection, tx, .. } = self.link;
        (transport, connection, Buffers { head: ReceiveBuffer::lent(self.head), rx: self.rx, tx })
    }

    /// Waits for the next whole message, and puts it together in `message`. Control frames are not reported. Returns `Ok(None)`
    /// after a clean end, and from then on.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Ended`] if the connection did not end cleanly, again from every later call;
    /// [`Error::MessageTooBig`] if the message does not fit into `message`: the next call skips the rest of it.
    ///
    /// Cancel safety: the part of the message that has arrived stays in `message`; call again with the same assembler.
    pub async fn recv<'m, S: MessageStorage>(
        &mut self,
        message: &'m mut Assembler<S>,
    ) -> Result<Option<MessageRef<'m>>, Error<T::Error>> {
        recv!(self, message)
    }

    /// Waits for the next event, and returns it with the sending side to answer it. Bytes that are pending are written
    /// meanwhile. Returns `Ok(None)` after a clean end, and from then on.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Ended`] if the connection did not end cleanly, again from every later call.
    ///
    /// Cancel safety: nothing is lost; call again.
    pub async fn read(
        &mut self,
    ) -> Result<Option<(Event<'_>, &mut Writer<'b, T, R, C, X>)>, Error<T::Error>> {
        loop {
            if let Poll::Ready(event) = self.next(Until::Event).await? {
                return Ok(event.map(|event| self.lend(event)));
            }
        }
    }

    /// Reads as [`read`](Self::read) does, but no longer than until `limit` on the transport's [clock](Writer::now): then it
    /// returns [`Poll::Pending`].
    ///
    /// # Errors
    /// Those of [`read`](Self::read).
    ///
    /// Cancel safety: nothing is lost; call again.
    pub async fn read_until(
        &mut self,
        limit: Instant,
    ) -> Result<Poll<Option<(Event<'_>, &mut Writer<'b, T, R, C, X>)>>, Error<T::Error>> {
        let event = self.next(Until::Time(limit)).await?;
        Ok(event.map(|event| event.map(|event| self.lend(event))))
    }

    /// Reads as [`read`](Self::read) does, but no longer than until all pending bytes are written: then, or if none are pending,
    /// it returns [`Poll::Pending`]. Use it to receive while you send a long message: fill the [`outbox`](Writer::outbox), call
    /// this, process the event, and repeat.
    ///
    /// # Errors
    /// Those of [`read`](Self::read).
    ///
    /// Cancel safety: nothing is lost; call again.
    pub async fn read_or_flushed(
        &mut self,
    ) -> Result<Poll<Option<(Event<'_>, &mut Writer<'b, T, R, C, X>)>>, Error<T::Error>> {
        if self.link.tx.is_empty() {
            return Ok(Poll::Pending);
        }
        let event = self.next(Until::Written).await?;
        Ok(event.map(|event| event.map(|event| self.lend(event))))
    }

    /// Sends a message, and writes it to the transport: see [`Writer::send`].
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Ended`], [`Error::Send`].
    pub async fn send<'m>(&mut self, message: impl Into<MessageRef<'m>>) -> Result<(), Error<T::Error>> {
        self.link.send(message).await
    }

    /// Sends a message into the transmit buffer: see [`Writer::feed`].
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Ended`], [`Error::Send`].
    pub async fn feed<'m>(&mut self, message: impl Into<MessageRef<'m>>) -> Result<(), Error<T::Error>> {
        self.link.feed(message).await
    }

    /// Writes all pending bytes to the transport: see [`Writer::flush`].
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Ended`].
    pub async fn flush(&mut self) -> Result<(), Error<T::Error>> {
        self.link.flush().await
    }

    /// Sends a Ping with at most 125 bytes of payload: see [`Writer::ping`].
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Ended`], [`Error::Send`].
    pub async fn ping(&mut self, payload: &[u8]) -> Result<(), Error<T::Error>> {
        self.link.ping(payload).await
    }

    /// Sends a Pong with at most 125 bytes of payload: see [`Writer::pong`].
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Ended`], [`Error::Send`].
    pub async fn pong(&mut self, payload: &[u8]) -> Result<(), Error<T::Error>> {
        self.link.pong(payload).await
    }

    /// Closes the connection, and returns how it ended: sends a Close, discards what the peer still sends, and waits for the end
    /// of the connection, at most for [`Timeouts::close`](crate::config::Timeouts::close) each for the peer's Close and the end
    /// of its stream. `code` is a [`CloseCode`] or `None`. A reason is cut after 123 bytes, at a character, and without
    /// a code it is left out.
    ///
    /// It never fails: if the transport does, the [`Ending`] has [`EndReason::Disconnected`](crate::error::EndReason). If a frame
    /// is open, the connection ends without a Close.
    ///
    /// Cancel safety: call again.
    pub async fn close(&mut self, code: impl Into<Option<CloseCode>>, reason: &str) -> Ending {
        self.link.begin_close(code.into(), reason);
        loop {
            // Until the read says so, the transport may not be shut down yet. Every error ends the connection.
            let more = matches!(self.read().await, Ok(Some(_)));
            match self.ending() {
                Some(ending) if !more => return ending,
                _ => {}
            }
        }
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

    /// Returns the subprotocol that both sides agreed on, if any.
    #[must_use]
    pub const fn protocol(&self) -> Option<&'b str> {
        self.protocol
    }

    /// Takes the borrowed memory of [`Buffers::head`](crate::session::Buffers::head), which only the opening handshake needs: for
    /// example for an [`Assembler`], as [`SliceStorage`](crate::message::SliceStorage). The next call returns an empty slice. A
    /// head that owns its memory has freed it by now.
    pub fn take_head(&mut self) -> &'b mut [u8] {
        core::mem::take(&mut self.head)
    }

    /// Returns the sending side.
    pub fn writer(&mut self) -> &mut Writer<'b, T, R, C, X> {
        &mut self.link
    }

    /// Returns the transport. Do not read from it or write to it: that corrupts the stream.
    pub fn transport(&mut self) -> &mut T {
        self.link.transport()
    }

    /// Lends an event with the sending side.
    pub(super) fn lend(&mut self, event: DetachedEvent) -> (Event<'_>, &mut Writer<'b, T, R, C, X>) {
        (self.rx.event(event), &mut self.link)
    }

    /// Returns the next event, `None` at a clean end, and `Pending` if what `until` names comes first.
    pub(super) async fn next(
        &mut self,
        until: Until,
    ) -> Result<Poll<Option<DetachedEvent>>, Error<T::Error>> {
        match self.advance(until).await {
            Ok(Some(event)) => Ok(Poll::Ready(Some(event))),
            Ok(None) => Ok(Poll::Pending),
            Err(Error::Ended(ending)) if ending.is_clean() => Ok(Poll::Ready(None)),
            Err(error) => Err(error),
        }
    }

    async fn advance(&mut self, until: Until) -> Result<Option<DetachedEvent>, Error<T::Error>> {
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
}
