//! A connection that sends what other tasks have queued while it is read.

#![forbid(unsafe_code)]

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;

use super::Transport;
use super::error::Error;
use super::websocket::{Until, WebSocket, recv};
use super::writer::Writer;
use crate::close::CloseCode;
use crate::config::ConfigRef;
use crate::config::base::Config;
use crate::connection::ConnectionState;
use crate::ending::Ending;
use crate::error::MessageTooBig;
use crate::event::Event;
use crate::extension::{Extension, NoExtension};
use crate::message::message_ref::MessageRef;
use crate::message::{Assembler, MessageStorage};
use crate::role::Role;
use crate::send::SendError;

/// An open connection whose reading side also sends the messages of a queue. The queue is the sending side: any number of
/// tasks, and interrupts, put messages into it. [`WebSocket::with_queue`] makes it.
///
/// The queue is a bounded channel of any crate, such as `Channel` of embassy-sync, with messages such as
/// [`ArrayMessage`](crate::message::ArrayMessage). When it is full, the sender chooses: `send` waits, `try_send` refuses the
/// new message. The queue outlives the connection: a new one sends what waits.
///
/// Only a future of this type that is polled sends, answers Pings, and keeps deadlines. While a message waits for room in the
/// transmit buffer, it receives.
///
/// ```
/// use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
/// use embassy_sync::channel::Channel;
/// use sansocket::embedded::{Error, Transport, WebSocket};
/// use sansocket::message::{ArrayMessage, ArrayStorage, Assembler};
/// use sansocket::proto::Role;
///
/// static QUEUE: Channel<CriticalSectionRawMutex, ArrayMessage<32>, 4> = Channel::new();
///
/// /// Any task: a reading that finds no room is left out.
/// fn measured(celsius: i32) {
///     let message = ArrayMessage::format(format_args!("{celsius}")).expect("at most 32 bytes");
///     let _ = QUEUE.try_send(message);
/// }
///
/// /// The task of the connection.
/// async fn run<T: Transport, R: Role>(socket: WebSocket<'_, T, R>) -> Result<(), Error<T::Error>> {
///     let mut socket = socket.with_queue(async || QUEUE.receive().await);
///     let mut command = Assembler::new(ArrayStorage::<64>::new());
///     while let Some(_command) = socket.recv(&mut command).await? {}
///     Ok(()) // the peer has closed
/// }
/// # measured(21);
/// # assert_eq!(QUEUE.len(), 1);
/// ```
#[derive(Debug)]
pub struct QueuedWebSocket<'b, T, R, Q, P, C = &'static Config, X = NoExtension> {
    socket: WebSocket<'b, T, R, C, X>,
    queue: Q,
    /// A message that is not sent completely, and how many bytes of it are sent.
    held: Option<(P, usize)>,
}

impl<'b, T: Transport, R: Role, C: ConfigRef, X: Extension> WebSocket<'b, T, R, C, X> {
    /// Adds a queue whose messages are sent while the connection is read. `queue` returns the next message, for example
    /// `async || CHANNEL.receive().await`. It is dropped and called again, so it has to be cancel safe.
    pub fn with_queue<P, Q: AsyncFnMut() -> P>(self, queue: Q) -> QueuedWebSocket<'b, T, R, Q, P, C, X> {
        QueuedWebSocket { socket: self, queue, held: None }
    }
}

impl<'b, T: Transport, R: Role, Q: AsyncFnMut() -> P, P, C: ConfigRef, X: Extension>
    QueuedWebSocket<'b, T, R, Q, P, C, X>
where
    for<'m> &'m P: Into<MessageRef<'m>>,
{
    /// Waits for the next whole message, as [`WebSocket::recv`] does, and sends meanwhile.
    ///
    /// # Errors
    /// Those of [`WebSocket::recv`], and [`Error::Send`] if a frame or a message of the caller's own is open.
    ///
    /// Cancel safety: as [`WebSocket::recv`]; a message of the queue is sent once.
    pub async fn recv<'m, S: MessageStorage>(
        &mut self,
        message: &'m mut Assembler<S>,
    ) -> Result<Option<MessageRef<'m>>, Error<T::Error>> {
        recv!(self, message)
    }

    /// Waits for the next event, as [`WebSocket::read`] does, and sends meanwhile.
    ///
    /// # Errors
    /// Those of [`WebSocket::read`], and [`Error::Send`] if a frame or a message of the caller's own is open.
    ///
    /// Cancel safety: nothing is lost; call again. A message of the queue is sent once.
    pub async fn read(
        &mut self,
    ) -> Result<Option<(Event<'_>, &mut Writer<'b, T, R, C, X>)>, Error<T::Error>> {
        loop {
            let blocked = self.send_held()?;
            // After the Close, what waits in the queue is for the next connection.
            let open = self.held.is_none() && self.socket.link.connection.state() == ConnectionState::Open;
            let Self { socket, queue, held } = self;
            let event = if blocked {
                socket.next(Until::Written).await?
            } else {
                // The queue first: it cannot keep the peer waiting, as a full transmit buffer comes to the branch above.
                let (mut queued, mut event) = (pin!(queue()), pin!(socket.next(Until::Event)));
                let first = poll_fn(|context| {
                    if open && let Poll::Ready(message) = queued.as_mut().poll(context) {
                        return Poll::Ready(Err(message));
                    }
                    event.as_mut().poll(context).map(Ok)
                });
                match first.await {
                    Ok(event) => event?,
                    Err(message) => {
                        *held = Some((message, 0));
                        Poll::Pending
                    }
                }
            };
            if let Poll::Ready(event) = event {
                return Ok(event.map(|event| self.socket.lend(event)));
            }
        }
    }

    /// Closes the connection, as [`WebSocket::close`] does. What waits in the queue stays there.
    ///
    /// Cancel safety: call again.
    pub async fn close(&mut self, code: impl Into<Option<CloseCode>>, reason: &str) -> Ending {
        self.socket.close(code, reason).await
    }

    /// Returns the connection, to send past the queue, and to ask how it ended.
    pub fn socket(&mut self) -> &mut WebSocket<'b, T, R, C, X> {
        &mut self.socket
    }

    /// Returns the connection, and the message that was taken from the queue and is not sent completely.
    pub fn into_parts(self) -> (WebSocket<'b, T, R, C, X>, Option<P>) {
        (self.socket, self.held.map(|(message, _)| message))
    }

    /// Sends the rest of the message that was taken from the queue. Returns whether there is no room for all of it.
    fn send_held(&mut self) -> Result<bool, Error<T::Error>> {
        let Some((message, sent)) = &mut self.held else { return Ok(false) };
        let message = (&*message).into();
        let mut rest = message.as_bytes().get(*sent..).unwrap_or_default();
        let result = self.socket.link.outbox().send_fragmented(message.kind(), &mut rest, true);
        *sent = message.as_bytes().len().saturating_sub(rest.len());
        match result {
            Ok(()) => self.held = None,
            Err(SendError::Blocked) => return Ok(true),
            // It waits for the end, and is returned by `into_parts`.
            Err(SendError::Closed) => {}
            Err(error) => return Err(Error::Send(error)),
        }
        Ok(false)
    }
}
