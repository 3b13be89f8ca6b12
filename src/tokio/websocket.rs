//! An open connection, to read from and to send on.

#![forbid(unsafe_code)]

use core::convert::Infallible;
use core::future::{Future, poll_fn};
use core::task::{Context, Poll, ready};
use std::boxed::Box;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::coop;

use super::incoming::Incoming;
use super::io::Io;
use super::last_words::{Guarded, guard};
use super::link::{Events, Link};
use super::sink::Wakers;
use super::unread::Unread;
use super::writer::Writer;
use crate::buffer::{ReceiveBuffer, TransmitBuffer};
use crate::close::CloseCode;
use crate::config::base::Config;
use crate::connection::Connection;
use crate::ending::Ending;
use crate::event::{DetachedEvent, Event, Shape};
use crate::host::Agreed;
use crate::host::error::Error;
use crate::message::Prepared;
use crate::message::collector::Collector;
use crate::message::owned::Message;
use crate::role::{Role, Server};

/// An open connection over an asynchronous stream.
///
/// [`recv`](Self::recv) returns whole messages, [`send`](Self::send) takes them. It is also a `Stream` of messages and a `Sink`
/// for them. [`read`](Self::read) returns events as they arrive, without an allocation.
///
/// The connection answers Pings and enforces deadlines while any of its methods is awaited. A task that awaits something else should
/// do so in a `select!` beside `recv`:
///
/// ```
/// use sansocket::Error;
/// use sansocket::tokio::WebSocket;
/// use tokio::net::TcpStream;
/// use tokio::sync::mpsc;
///
/// async fn run(mut socket: WebSocket<TcpStream>, mut outgoing: mpsc::Receiver<String>) -> Result<(), Error> {
///     loop {
///         tokio::select! {
///             message = socket.recv() => match message? {
///                 Some(message) => println!("{message:?}"),
///                 None => return Ok(()),
///             },
///             Some(text) = outgoing.recv() => socket.send(text).await?,
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// # use sansocket::{CloseCode, config::ServerOptions, tokio::connect};
/// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
/// # let url = format!("ws://{}/", listener.local_addr().unwrap());
/// let (queue, outgoing) = mpsc::channel(8);
/// # let running = tokio::spawn(async move {
/// #     let stream = listener.accept().await.unwrap().0;
/// #     run(WebSocket::accept(stream, &ServerOptions::new()).await?, outgoing).await
/// # });
/// # let mut peer = connect(&url).await?;
/// queue.send("news".to_owned()).await.unwrap();
/// assert_eq!(peer.recv().await?, Some("news".into()));
/// assert!(peer.close(CloseCode::NORMAL, "").await.is_clean());
/// assert!(running.await.unwrap().is_ok());
/// # Ok(())
/// # }
/// ```
///
/// # Dropping
///
/// Dropping a `WebSocket` drops the stream. No Close is sent, and what was fed and not written is lost: call
/// [`close`](Self::close) first.
///
/// If a panic of its task drops it, a Close with code 1011 is written, as far as the stream takes it at once.
///
/// # Splitting
///
/// A `select!` as above needs none. `StreamExt::split` of the crate `futures-util` returns two halves for two tasks; each drives
/// the whole connection while it is polled. [`into_split`](Self::into_split) returns a sender that can be cloned and a receiver, and
/// spawns a task that drives the connection, also while both are idle.
#[derive(Debug)]
pub struct WebSocket<S, R = Server> {
    pub(super) link: Guarded<S, R>,
    pub(super) incoming: Incoming,
    /// The message that is put together.
    pub(super) message: Collector,
    protocol: Option<Box<str>>,
    /// The wakers of the tasks that poll the two halves of `StreamExt::split`.
    pub(super) wakers: Option<Arc<Wakers>>,
    /// The `Stream` has returned its end.
    pub(super) ended: bool,
    /// What was received while the connection was split.
    pub(super) unread: Option<Box<Unread>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> WebSocket<S, R> {
    pub(super) fn over(
        io: Io<S>,
        connection: Connection<R, Agreed, Arc<Config>>,
        (rx, tx): (ReceiveBuffer<'static>, TransmitBuffer<'static>),
        protocol: Option<&str>,
    ) -> Self {
        Self {
            link: guard(Link::new(io, connection, tx, rx.capacity())),
            incoming: Incoming::new(rx),
            message: Collector::new(),
            protocol: protocol.map(Into::into),
            wakers: None,
            ended: false,
            unread: None,
        }
    }

    /// Waits for the next whole message. `None` means that the connection was closed cleanly; every further call returns it
    /// again. Writes what was fed, and answers Pings, meanwhile.
    ///
    /// Text and binary only, unless the configuration has another mode than
    /// [`ControlFrames::Automatic`](crate::config::ControlFrames::Automatic): then a Ping, a Pong and the peer's Close are messages
    /// too. The connection answers them, except with [`ControlFrames::Manual`](crate::config::ControlFrames::Manual). After the
    /// Close comes `None`. While other methods wait, of
    /// the Pings and of the Pongs that arrive the last is kept.
    ///
    /// The payload is in memory of exactly its size. What the receive buffer does not hold of a large frame is read straight into that
    /// memory, unless the message is compressed: up to 256 KiB are reserved at once, and beyond that at most four times of what has
    /// come. A message of which `read` returned a part is skipped.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Ended`] if the connection did not end cleanly, again on every further call;
    /// [`Error::MessageTooBig`] if no memory is left for the message: the next call skips the rest of it.
    ///
    /// # Cancel safety
    /// Nothing is lost: what has arrived of a message stays.
    pub async fn recv(&mut self) -> Result<Option<Message>, Error> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Waits for the next event, and returns it with the sending side to answer it on. `None` as for [`recv`](Self::recv).
    ///
    /// The event borrows the receive buffer: nothing is allocated. A message that is longer than that comes in several chunks. The part
    /// of a message that a dropped [`recv`](Self::recv) has received does not come again.
    ///
    /// ```
    /// use sansocket::tokio::WebSocket;
    /// use sansocket::{Error, Event};
    /// use tokio::net::TcpStream;
    ///
    /// async fn echo(mut socket: WebSocket<TcpStream>) -> Result<(), Error> {
    ///     while let Some((event, mut out)) = socket.read().await? {
    ///         if let Event::Data(chunk) = event {
    ///             out.fragment(chunk.kind, &chunk.payload, chunk.end).await?;
    ///         }
    ///     }
    ///     Ok(())
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # use sansocket::{config::ServerOptions, tokio::connect};
    /// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    /// # let url = format!("ws://{}/", listener.local_addr().unwrap());
    /// # tokio::spawn(async move {
    /// #     let stream = listener.accept().await.unwrap().0;
    /// #     echo(WebSocket::accept(stream, &ServerOptions::new()).await?).await
    /// # });
    /// let mut client = connect(&url).await?;
    /// client.send("hello").await?;
    /// assert_eq!(client.recv().await?, Some("hello".into()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Ended`].
    ///
    /// # Cancel safety
    /// Nothing is lost: an event that is returned is the only one that was taken.
    pub async fn read(&mut self) -> Result<Option<(Event<'_>, Writer<'_, S, R>)>, Error> {
        if self.unread.as_ref().is_some_and(|unread| !unread.is_empty()) {
            let Self { unread: Some(unread), link, .. } = self else { return Ok(None) };
            return Ok(unread.read()?.map(|event| (event, Writer(link))));
        }
        self.end_straight();
        let event = poll_fn(|cx| self.poll_event(cx)).await?;
        if matches!(event, Some(DetachedEvent { shape: Shape::Data { .. }, .. })) {
            // The part that a dropped `recv` has received: a later one would take it for the whole beginning of the message.
            let _ = self.message.take_part();
        }
        Ok(event.map(|event| (self.incoming.event(event), Writer(&mut self.link))))
    }

    /// Sends a message of any size, and waits until the stream has taken all of it. Takes `"text"`, a `String`, a `Vec<u8>`,
    /// `Bytes` and a [`Message`]; owned payloads are not copied but into the transmit buffer. A Close begins the closing handshake,
    /// or does nothing if that has begun; call [`close`](Self::close) to wait for its end.
    ///
    /// While it waits, Pings are answered, and the next message is received, but not more than one: a peer that sends and does not
    /// read is waited for until the [write deadline](crate::config::Timeouts::write).
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Ended`]; [`Error::Send`] if a Close was sent or received, a message of
    /// [`Writer::fragment`] is open, or the payload of a Ping or Pong is longer than 125 bytes.
    ///
    /// # Cancel safety
    /// The message is sent whole or not at all. To know which, call [`feed`](Self::feed) and [`flush`](Self::flush).
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        self.feed(message).await?;
        self.flush().await
    }

    /// Sends a message with the next flush: many small ones leave in one write. [`flush`](Self::flush), [`recv`](Self::recv) and
    /// every other method that waits write it. Waits only if the transmit buffer is full.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    /// If the future is dropped before it is ready, the message is not sent.
    pub fn feed(&mut self, message: impl Into<Message>) -> impl Future<Output = Result<(), Error>> {
        // Converted outside of the future, which would otherwise have room for both types.
        let message = message.into();
        async move { self.until(|link| link.put_message(&message)).await?.map_err(Error::Send) }
    }

    /// Sends a message that is shared with other connections, as [`send`](Self::send) does. Its payload is copied at most into
    /// the transmit buffer; a server writes a long one from where it lies.
    ///
    /// ```
    /// use sansocket::message::Prepared;
    /// # use sansocket::{config::{ClientOptions, ServerOptions}, tokio::WebSocket};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), sansocket::Error> {
    /// # let (near, far) = tokio::io::duplex(4096);
    /// # let (to_accept, to_connect) = (ServerOptions::new(), ClientOptions::new());
    /// # let (server, client) = tokio::join!(
    /// #     WebSocket::accept(near, &to_accept),
    /// #     WebSocket::connect(far, "ws://localhost/", &to_connect)
    /// # );
    /// # let (mut socket, mut peer) = (server?, client?);
    /// let message = Prepared::from("hello");
    /// socket.send_prepared(&message).await?;
    /// assert_eq!(peer.recv().await?, Some("hello".into()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    /// As [`send`](Self::send).
    pub async fn send_prepared(&mut self, message: &Prepared) -> Result<(), Error> {
        self.until(|link| link.put_prepared(message)).await?.map_err(Error::Send)?;
        self.flush().await
    }

    /// Waits until the stream has taken and passed on all that was fed.
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Ended`].
    ///
    /// # Cancel safety
    /// Nothing is lost: call again.
    pub async fn flush(&mut self) -> Result<(), Error> {
        self.until(|link| link.is_flushed().then_some(())).await
    }

    /// Sends a Ping with at most 125 bytes of payload, behind what was fed. The connection sends Pings of its own
    /// ([`Timeouts::ping`](crate::config::Timeouts::ping)); [`recv`](Self::recv) and [`read`](Self::read) return the Pongs.
    ///
    /// # Errors
    /// As [`send`](Self::send); [`Error::Send`] if the payload is too long.
    ///
    /// # Cancel safety
    /// The Ping is sent whole or not at all.
    pub async fn ping(&mut self, payload: &[u8]) -> Result<(), Error> {
        self.until(|link| link.put_control(|out| out.ping(payload))).await?.map_err(Error::Send)?;
        self.flush().await
    }

    /// Sends a Pong with at most 125 bytes of payload: the answer to a Ping, or unsolicited (RFC 6455 §5.5.3).
    ///
    /// # Errors
    /// As [`ping`](Self::ping).
    ///
    /// # Cancel safety
    /// The Pong is sent whole or not at all.
    pub async fn pong(&mut self, payload: &[u8]) -> Result<(), Error> {
        self.until(|link| link.put_control(|out| out.pong(payload))).await?.map_err(Error::Send)?;
        self.flush().await
    }

    /// Closes the connection: sends what was fed and then a Close, discards what the peer still sends, and waits for the end of the
    /// connection. `code` is a [`CloseCode`] or `None`; a reason without a code is left out, and one of more than 123
    /// bytes is cut.
    ///
    /// It always ends: within [`Timeouts::close`](crate::config::Timeouts::close) each for the peer's Close and the end of its
    /// stream, and where the peer takes what was fed slowly, within ten times that. The reason is then
    /// [`EndReason::Timeout`](crate::error::EndReason::Timeout) with [`Timeout::Close`](crate::error::Timeout::Close), or with
    /// [`Timeout::Write`](crate::error::Timeout::Write) if the peer took nothing at all. A reason for which the connection was ending
    /// already stays.
    ///
    /// # Cancel safety
    /// Call again. The time that it may take has begun with the first call.
    pub async fn close(&mut self, code: impl Into<Option<CloseCode>>, reason: &str) -> Ending {
        let code = code.into();
        poll_fn(|cx| {
            loop {
                match ready!(self.poll_close_with(cx, code, reason, Events::Discard)) {
                    Ok(ending) => return Poll::Ready(ending),
                    Err(_) => self.link.connection.transport_failed(),
                }
            }
        })
        .await
    }

    /// Returns how the connection ended; `None` while it has not.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        self.link.connection.ending()
    }

    /// Returns the reason in the peer's Close; empty if there is none.
    #[must_use]
    pub fn close_reason(&self) -> &str {
        self.link.connection.close_reason()
    }

    /// Returns the subprotocol that both sides agreed on, if any.
    #[must_use]
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// Returns whether both sides agreed on permessage-deflate.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        self.link.connection.extension.is_some()
    }

    /// Returns the sending side, which takes borrowed messages and frames. It receives nothing while it waits.
    pub fn writer(&mut self) -> Writer<'_, S, R> {
        Writer(&mut self.link)
    }

    /// Returns the stream, for its addresses and options.
    #[must_use]
    pub fn stream(&self) -> &S {
        &self.link.io.stream
    }

    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Error>> {
        if let Some(unread) = &mut self.unread {
            if let Some(message) = unread.pop() {
                return Poll::Ready(message.map(Some));
            }
            self.unread = None;
        }
        // Not polled as a detached event, whose text would be checked a second time.
        let budget = ready!(coop::poll_proceed(cx));
        if let Some(chunk) = self.link.take_whole(&mut self.incoming) {
            budget.made_progress();
            let message = self.message.push(Event::Data(chunk)).map_err(|_| Error::MessageTooBig)?;
            return Poll::Ready(Ok(message));
        }
        drop(budget);
        loop {
            if self.incoming.straight.is_none() && self.link.is_worth_straight(&self.incoming) {
                self.incoming.straight = self.message.lend_storage();
            }
            let Some(event) = ready!(self.poll_event(cx))? else { return Poll::Ready(Ok(None)) };
            self.end_straight();
            let event = self.incoming.event(event);
            if let Some(message) = self.message.push(event).map_err(|_| Error::MessageTooBig)? {
                return Poll::Ready(Ok(Some(message)));
            }
        }
    }

    pub(super) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<DetachedEvent>, Error>> {
        // So that a buffer full of small messages does not block the other tasks.
        let budget = ready!(coop::poll_proceed(cx));
        let event = ready!(self.link.poll_event(cx, &mut self.incoming));
        budget.made_progress();
        if matches!(event, Ok(DetachedEvent { shape: Shape::Close(_), .. })) {
            self.link.answer_close(cx);
        }
        Poll::Ready(match event {
            Ok(event) => Ok(Some(event)),
            Err(Error::Ended(ending)) if ending.is_clean() => Ok(None),
            Err(error) => Err(error),
        })
    }

    /// The next bytes go through the receive buffer.
    pub(super) fn end_straight(&mut self) {
        if let Some(storage) = self.incoming.straight.take() {
            self.message.return_storage(storage);
        }
    }

    /// Drops what was received, the part of a message included.
    pub(super) fn discard(&mut self) {
        self.end_straight();
        let _ = self.message.take_part();
        self.incoming.discard();
    }

    /// Waits until `goal` returns something; meanwhile one event is received ahead.
    pub(super) async fn until<T>(
        &mut self,
        mut goal: impl FnMut(&mut Link<S, R>) -> Option<T>,
    ) -> Result<T, Error> {
        let Self { link, incoming, .. } = self;
        poll_fn(|cx| link.poll_until(cx, Some(incoming), Events::Hold, &mut goal)).await
    }

    /// Sends a Close, and waits for the end.
    pub(super) fn poll_close_with(
        &mut self,
        cx: &mut Context<'_>,
        code: Option<CloseCode>,
        reason: &str,
        events: Events,
    ) -> Poll<Result<Ending, Error>> {
        if events == Events::Discard {
            self.discard();
        }
        let Self { link, incoming, .. } = self;
        // Also while there is no room for the Close.
        link.limit_life();
        // Only the first Close is sent.
        let never: Result<Infallible, Error> = ready!(link.poll_until(cx, Some(incoming), events, |link| {
            link.put_close(code, reason);
            None
        }));
        let Err(error) = never;
        Poll::Ready(link.connection.ending().ok_or(error))
    }
}
