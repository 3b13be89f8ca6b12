//! The sending side of a connection over a transport.

#![forbid(unsafe_code)]

use core::convert::Infallible;

use super::error::Error;
use super::{Time, Transport, take_turn};
use crate::buffer::TransmitBuffer;
use crate::close::CloseCode;
use crate::config::ConfigRef;
use crate::config::base::Config;
use crate::connection::Connection;
use crate::error::EndReason;
use crate::extension::{Extension, NoExtension};
use crate::frame::Kind;
use crate::log::EndLog;
use crate::message::message_ref::MessageRef;
use crate::outbox::Outbox;
use crate::role::Role;
use crate::send::SendError;
use crate::session::Outcome;
use crate::step::Step;
use crate::time::{Due, Instant, Timed};

/// The sending side of a [`WebSocket`](super::WebSocket). Each event comes with it, so that an answer can borrow from the event.
#[derive(Debug)]
pub struct Writer<'b, T, R, C = &'static Config, X = NoExtension> {
    pub(super) transport: T,
    pub(crate) connection: Connection<R, X, C>,
    pub(super) tx: TransmitBuffer<'b>,
    pub(super) time: Time,
    /// A shutdown was begun, and has not completed.
    shutting: bool,
    end_log: EndLog,
}

impl<'b, T: Transport, R: Role, C: ConfigRef, X: Extension> Writer<'b, T, R, C, X> {
    /// Creates the sending side of a connection that has just been opened.
    pub(super) fn new(
        transport: T,
        connection: Connection<R, X, C>,
        tx: TransmitBuffer<'b>,
        time: Time,
    ) -> Self {
        Self { transport, connection, tx, time, shutting: false, end_log: EndLog::new() }
    }

    /// Sends a whole message of any size in one frame, or in several if an extension encodes it, and writes it to the
    /// transport: a `&str` as text, bytes as binary. It
    /// receives nothing meanwhile. If the peer answers while it reads, as an echo does, and the buffers of both sides are full,
    /// the call waits until the [write deadline](crate::config::Timeouts::write) ends the connection: send large messages to such
    /// a peer in pieces, and call [`WebSocket::read_or_flushed`](super::WebSocket::read_or_flushed) in between.
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Ended`], [`Error::Send`].
    ///
    /// Cancel safety: a message that fits into the transmit buffer is sent completely or not at all. The frame of a larger one
    /// may be open: send the rest of it before anything else. [`Outbox::frame_remaining`] returns how many bytes it lacks.
    pub async fn send<'m>(&mut self, message: impl Into<MessageRef<'m>>) -> Result<(), Error<T::Error>> {
        self.feed(message).await?;
        self.flush().await
    }

    /// Sends a whole message as [`send`](Self::send) does, but leaves what finds room in the transmit buffer there.
    /// [`flush`](Self::flush) and the next [`read`](super::WebSocket::read) write it, so that many small messages need one write.
    ///
    /// # Errors
    /// Those of [`send`](Self::send).
    ///
    /// Cancel safety: as [`send`](Self::send).
    pub async fn feed<'m>(&mut self, message: impl Into<MessageRef<'m>>) -> Result<(), Error<T::Error>> {
        let message = message.into();
        match self.when_there_is_room(|out| out.send(message)).await {
            Err(Error::Send(SendError::TooLarge)) => {}
            sent => return sent,
        }
        let (kind, mut rest) = (message.kind(), message.as_bytes());
        if self.connection.extension.is_active() {
            return self.when_there_is_room(|out| out.send_fragmented(kind, &mut rest, true)).await;
        }
        self.when_there_is_room(|out| out.begin_frame(kind, rest.len() as u64, true)).await?;
        self.when_there_is_room(|out| out.write_all(&mut rest)).await
    }

    /// Sends a frame of a message: the first frame if no message is open, otherwise the next one. `fin` ends the message. The
    /// frame has to fit into the transmit buffer. Make sure that text is UTF-8. No extension encodes it: with `fin`, this sends a
    /// message uncompressed.
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

    /// Sends a Close, and does not wait for the peer's; [`WebSocket::close`](super::WebSocket::close) does.
    ///
    /// # Errors
    /// Those of [`send`](Self::send).
    ///
    /// Cancel safety: the frame is sent completely or not at all.
    pub async fn close(
        &mut self,
        code: impl Into<Option<CloseCode>>,
        reason: &str,
    ) -> Result<(), Error<T::Error>> {
        let code = code.into();
        self.when_there_is_room(|out| out.close(code, reason)).await?;
        self.flush().await
    }

    /// Writes all pending bytes to the transport.
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Ended`].
    ///
    /// Cancel safety: nothing is lost; call again.
    pub async fn flush(&mut self) -> Result<(), Error<T::Error>> {
        while !self.tx.is_empty() {
            self.push().await?;
        }
        Ok(())
    }

    /// Returns the [`Outbox`], which sends without waiting. [`flush`](Self::flush) and the next [`read`](super::WebSocket::read) write
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

    /// Begins to close in any case, without the reason if there is no room for it now.
    pub(super) fn begin_close(&mut self, code: Option<CloseCode>, reason: &str) {
        let (link, mut wire) = self.connection.parts(&mut self.tx);
        link.close_at_once(&mut wire, code, reason);
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
    pub(super) async fn turn(
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
            Step::Done(ending) => {
                self.end_log.log(Some(Outcome::Closed(ending)));
                return Err(Error::Ended(ending));
            }
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
                let step = self.connection.poll_without_receiving(self.time.now, &mut self.tx);
                self.end_log.log(self.connection.ending().map(Outcome::Closed));
                match step {
                    // The connection has ended before the transport failed.
                    Step::Done(ending) if ending.reason != EndReason::Disconnected => {
                        Err(Error::Ended(ending))
                    }
                    _ => Err(Error::Transport(error)),
                }
            }
        }
    }
}
