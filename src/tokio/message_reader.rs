//! A message as a reader.

#![forbid(unsafe_code)]

use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io::{self, ErrorKind};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::websocket::WebSocket;
use crate::event::{Event, Shape};
use crate::frame::Kind;
use crate::host::error::Error;
use crate::message::owned::Message;
use crate::role::Role;

/// Reads one message of any length as it arrives, as an [`AsyncRead`]: [`WebSocket::message_reader`].
///
/// The end of the message is the end of this reader. The bytes of a text are UTF-8, but a read may end inside a character. A read also
/// writes what was fed, and answers Pings.
///
/// [`Limits::message`](crate::config::Limits::message) bounds the length of the message.
///
/// # Errors
/// Each is an `io::Error` that contains an [`Error`]; `From<Error> for io::Error` lists the kinds. If the connection ends inside the
/// message, even cleanly, the error is [`UnexpectedEof`](io::ErrorKind::UnexpectedEof). A text that is not UTF-8, and a message beyond the
/// limit, are [`InvalidData`](io::ErrorKind::InvalidData).
///
/// # Dropping
/// The next [`recv`](WebSocket::recv) or [`message_reader`](WebSocket::message_reader) skips the unread rest of the message, even if
/// nothing of it was read.
///
/// # Cancel safety
/// Nothing is lost if a `read` of `AsyncReadExt` is dropped. What a dropped `read_exact` or `read_to_end` has read is in their buffers.
#[derive(Debug)]
pub struct MessageReader<'a, S, R> {
    socket: &'a mut WebSocket<S, R>,
    begun: Begun,
}

/// What is left of a message.
#[derive(Debug)]
struct Begun {
    kind: Kind,
    /// What was received of it before there was a reader.
    ahead: Bytes,
    /// Nothing follows that.
    ended: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> WebSocket<S, R> {
    /// Waits for the next text or binary message to begin, and returns a reader of it. `None` as for [`recv`](Self::recv).
    ///
    /// Control frames that the configuration reports are skipped. Do not use it with
    /// [`ControlFrames::Manual`](crate::config::ControlFrames::Manual): nothing answers them then.
    ///
    /// ```
    /// use sansocket::Kind;
    /// # use sansocket::{config::{ClientOptions, ServerOptions}, tokio::WebSocket};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// # let (near, far) = tokio::io::duplex(4096);
    /// # let (to_accept, to_connect) = (ServerOptions::new(), ClientOptions::new());
    /// # let (server, client) = tokio::join!(
    /// #     WebSocket::accept(near, &to_accept),
    /// #     WebSocket::connect(far, "ws://localhost/", &to_connect)
    /// # );
    /// # let (mut socket, mut peer) = (server?, client?);
    /// # tokio::spawn(async move { peer.send(vec![7; 100_000]).await.map(|()| peer) });
    /// # let mut file = Vec::new();
    /// if let Some(mut message) = socket.message_reader().await? {
    ///     assert_eq!(message.kind(), Kind::Binary);
    ///     // A large message goes to a file or to another service without lying in memory.
    ///     let n = tokio::io::copy(&mut message, &mut file).await?;
    ///     assert_eq!(n, 100_000);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`recv`](Self::recv), except that no memory is needed.
    ///
    /// # Cancel safety
    /// Nothing is lost: the next call returns the message.
    pub async fn message_reader(&mut self) -> Result<Option<MessageReader<'_, S, R>>, Error> {
        let begun = poll_fn(|cx| self.poll_begin(cx)).await?;
        Ok(begun.map(|begun| MessageReader { socket: self, begun }))
    }

    /// Waits for the beginning of a message, which then belongs to its reader.
    fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Begun>, Error>> {
        while let Some(message) = self.unread.as_mut().and_then(|unread| unread.pop()) {
            let (kind, ahead) = match message? {
                Message::Text(text) => (Kind::Text, text.into()),
                Message::Binary(bytes) => (Kind::Binary, bytes),
                Message::Ping(_) | Message::Pong(_) | Message::Close(_) => continue,
            };
            return Poll::Ready(Ok(Some(Begun { kind, ahead, ended: true })));
        }
        // Of a `recv` that was dropped.
        self.end_straight();
        if let Some((kind, part)) = self.message.take_part() {
            return Poll::Ready(Ok(Some(Begun { kind, ahead: part.into(), ended: false })));
        }
        loop {
            let Some(event) = ready!(self.poll_event(cx))? else { return Poll::Ready(Ok(None)) };
            if let Shape::Data { kind, start: true, .. } = event.shape {
                self.incoming.hold_from(event, 0);
                return Poll::Ready(Ok(Some(Begun { kind, ahead: Bytes::new(), ended: false })));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> MessageReader<'_, S, R> {
    /// Returns whether the message is text or binary.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.begun.kind
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> AsyncRead for MessageReader<'_, S, R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { socket, begun } = self.get_mut();
        let before = into.remaining();
        if !begun.ahead.is_empty() {
            let n = before.min(begun.ahead.len());
            into.put_slice(&begun.ahead.split_to(n));
        }
        while into.remaining() == before && before > 0 && !begun.ended {
            let event = match ready!(socket.poll_event(cx)) {
                Ok(Some(event)) => event,
                // The peer has closed inside of the message.
                Ok(None) => {
                    return Poll::Ready(Err(match socket.ending() {
                        Some(ending) => io::Error::new(ErrorKind::UnexpectedEof, Error::Ended(ending)),
                        None => ErrorKind::UnexpectedEof.into(),
                    }));
                }
                Err(error) => return Poll::Ready(Err(error.into())),
            };
            if let Event::Data(chunk) = socket.incoming.event(event) {
                let n = chunk.payload.len().min(before);
                into.put_slice(chunk.payload.get(..n).unwrap_or_default());
                let all = n == chunk.payload.len();
                begun.ended = all && chunk.end;
                if !all {
                    socket.incoming.hold_from(event, n);
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
