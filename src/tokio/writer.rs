//! The sending side of a connection, beside an event that is borrowed from it.

#![forbid(unsafe_code)]

use core::future::poll_fn;

use tokio::io::{AsyncRead, AsyncWrite};

use super::link::{Events, Link};
use super::outgoing::{Body, Shape};
use crate::close::CloseCode;
use crate::frame::Kind;
use crate::host::error::Error;
use crate::message::message_ref::MessageRef;
use crate::outbox::Outbox;
use crate::role::Role;

/// The sending side of a [`WebSocket`](super::WebSocket). [`read`](super::WebSocket::read) returns it with each event, so that an
/// answer may borrow the event's payload.
///
/// A message is written to the stream by the next method that is awaited, of this type or of the `WebSocket`. The methods wait only if
/// the transmit buffer is full. They receive nothing while they wait, because the event lies in the receive buffer.
#[derive(Debug)]
pub struct Writer<'a, S, R>(pub(super) &'a mut Link<S, R>);

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> Writer<'_, S, R> {
    /// Sends a message of any size, and waits until the stream has taken all of it.
    ///
    /// # Errors
    /// As [`feed`](Self::feed).
    ///
    /// # Cancel safety
    /// The message is sent whole or not at all. To know which, call [`feed`](Self::feed) and [`flush`](Self::flush).
    pub async fn send<'m>(&mut self, message: impl Into<MessageRef<'m>>) -> Result<(), Error> {
        self.feed(message).await?;
        self.flush().await
    }

    /// Sends a message of any size in one frame, with the next flush. What the transmit buffer does not take of it is copied.
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Ended`]; [`Error::Send`] if a Close was sent or received, or a message is open.
    ///
    /// # Cancel safety
    /// If the future is dropped before it is ready, the message is not sent.
    pub async fn feed<'m>(&mut self, message: impl Into<MessageRef<'m>>) -> Result<(), Error> {
        let message = message.into();
        self.put(message.kind(), message.as_bytes(), Shape::Message).await
    }

    /// Sends a frame of a message, of any size: the first frame if no message is open, otherwise the next one. `fin` ends the
    /// message. The caller has to make sure that text is UTF-8. With `fin` it sends a message
    /// uncompressed.
    ///
    /// # Errors
    /// As [`feed`](Self::feed).
    ///
    /// # Cancel safety
    /// If the future is dropped before it is ready, the frame is not sent.
    pub async fn fragment(&mut self, kind: Kind, payload: &[u8], fin: bool) -> Result<(), Error> {
        self.put(kind, payload, Shape::Fragment(fin)).await
    }

    /// Sends a Ping with at most 125 bytes of payload.
    ///
    /// # Errors
    /// As [`feed`](Self::feed); [`Error::Send`] if the payload is too long.
    ///
    /// # Cancel safety
    /// If the future is dropped before it is ready, the Ping is not sent.
    pub async fn ping(&mut self, payload: &[u8]) -> Result<(), Error> {
        self.until(|link| link.put_control(|out| out.ping(payload))).await?.map_err(Error::Send)
    }

    /// Sends a Pong with at most 125 bytes of payload: the answer to a Ping, or unsolicited (RFC 6455 §5.5.3).
    ///
    /// # Errors
    /// As [`feed`](Self::feed); [`Error::Send`] if the payload is too long.
    ///
    /// # Cancel safety
    /// If the future is dropped before it is ready, the Pong is not sent.
    pub async fn pong(&mut self, payload: &[u8]) -> Result<(), Error> {
        self.until(|link| link.put_control(|out| out.pong(payload))).await?.map_err(Error::Send)
    }

    /// Sends a Close, and does not wait for the peer's: go on with [`read`](super::WebSocket::read) until it returns `None`. With
    /// [`ControlFrames::Manual`](crate::config::ControlFrames::Manual) it answers the peer's Close.
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Ended`].
    ///
    /// # Cancel safety
    /// If the future is dropped before it is ready, the Close is not sent.
    pub async fn close(&mut self, code: impl Into<Option<CloseCode>>, reason: &str) -> Result<(), Error> {
        let code = code.into();
        self.until(|link| link.put_close(code, reason)).await
    }

    /// Waits until the stream has taken and passed on all that was sent.
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Ended`].
    ///
    /// # Cancel safety
    /// Nothing is lost: call again.
    pub async fn flush(&mut self) -> Result<(), Error> {
        self.until(|link| link.is_flushed().then_some(())).await
    }

    /// Returns the outbox, which never waits; `None` as long as the transmit buffer has not taken all of an earlier message
    /// ([`flush`](Self::flush) waits for that).
    pub fn outbox(&mut self) -> Option<Outbox<'_>> {
        self.0.try_outbox(self.0.io.time())
    }

    async fn put(&mut self, kind: Kind, payload: &[u8], shape: Shape) -> Result<(), Error> {
        let body = Body::Borrowed(payload);
        self.until(|link| link.put(kind, body, shape)).await?.map_err(Error::Send)
    }

    async fn until<T>(&mut self, mut goal: impl FnMut(&mut Link<S, R>) -> Option<T>) -> Result<T, Error> {
        poll_fn(|cx| self.0.poll_until(cx, None, Events::Hold, &mut goal)).await
    }
}
