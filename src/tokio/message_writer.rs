//! A message as a writer.

#![forbid(unsafe_code)]

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io::{self, ErrorKind};

use tokio::io::{AsyncRead, AsyncWrite};

use super::link::{Events, Link};
use super::websocket::WebSocket;
use crate::frame::Kind;
use crate::host::error::Error;
use crate::role::Role;
use crate::send::SendError;
use crate::utf8::Utf8Validator;

/// Writes one message of any length in frames, as an [`AsyncWrite`]: [`WebSocket::message_writer`].
///
/// A write goes into the transmit buffer, which is sent by a flush or when it is full. Each write makes at least one frame, unless the
/// connection compresses: put a `tokio::io::BufWriter` around this for many small writes. Text that is not UTF-8 is an error and is
/// not sent.
///
/// `shutdown` ends the message, even an empty one, and flushes it. The connection stays open.
///
/// While a write waits for room, the connection answers Pings and receives at most one message.
///
/// # Errors
/// Each is an `io::Error` that contains an [`Error`]; `From<Error> for io::Error` lists the kinds. Text that is not UTF-8 is
/// [`ErrorKind::InvalidData`], with [`InvalidUtf8`](crate::error::InvalidUtf8) inside; a write after `shutdown` is
/// [`ErrorKind::BrokenPipe`].
///
/// # Dropping
/// A message that was begun and not ended stays open: the peer waits for the rest of it, and every later message fails with
/// [`SendError::MessageOpen`], also through another writer. Pings, Pongs and [`close`](WebSocket::close) still work. Dropping a writer
/// that has written nothing changes nothing.
///
/// # Cancel safety
/// The writer stays usable after a future of `AsyncWriteExt` is dropped. A dropped `write` has sent nothing; a dropped `write_all` may
/// have sent the beginning of its bytes.
#[derive(Debug)]
#[must_use = "nothing is sent unless it is written to and shut down"]
pub struct MessageWriter<'a, S, R> {
    socket: &'a mut WebSocket<S, R>,
    kind: Kind,
    /// What was written of a text.
    text: Utf8Validator,
    progress: Progress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    New,
    Begun,
    Ended,
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> WebSocket<S, R> {
    /// Returns a writer of one message, for a payload that is not in memory as a whole.
    ///
    /// ```
    /// use sansocket::Kind;
    /// # use sansocket::{config::{ClientOptions, ServerOptions}, tokio::WebSocket};
    /// use tokio::io::AsyncWriteExt;
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
    /// let mut file = &b"any length"[..];
    /// let mut message = socket.message_writer(Kind::Text);
    /// tokio::io::copy(&mut file, &mut message).await?;
    /// message.shutdown().await?; // without this, the message stays open
    /// assert_eq!(peer.recv().await?, Some("any length".into()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn message_writer(&mut self, kind: Kind) -> MessageWriter<'_, S, R> {
        MessageWriter { socket: self, kind, text: Utf8Validator::NEW, progress: Progress::New }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> MessageWriter<'_, S, R> {
    fn poll_until<T>(
        &mut self,
        cx: &mut Context<'_>,
        goal: impl FnMut(&mut Link<S, R>) -> Option<T>,
    ) -> Poll<io::Result<T>> {
        let WebSocket { link, incoming, .. } = &mut *self.socket;
        link.poll_until(cx, Some(incoming), Events::Hold, goal).map_err(io::Error::from)
    }

    /// Puts a part of the message, or its end. Returns how many bytes were put.
    fn poll_put(&mut self, cx: &mut Context<'_>, part: &[u8], fin: bool) -> Poll<io::Result<usize>> {
        let (kind, first) = (self.kind, self.progress == Progress::New);
        let put = ready!(self.poll_until(cx, |link| link.put_part(kind, part, fin, first)))?;
        let n = put.map_err(Error::Send)?;
        self.progress = if fin { Progress::Ended } else { Progress::Begun };
        Poll::Ready(Ok(n))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> AsyncWrite for MessageWriter<'_, S, R> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let writer = self.get_mut();
        if writer.progress == Progress::Ended {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        if from.is_empty() {
            return Poll::Ready(Ok(0));
        }
        // Only as much is checked as the buffer may take.
        let part = from.get(..writer.socket.link.tx_size()).unwrap_or(from);
        let mut checked = writer.text;
        if writer.kind == Kind::Text {
            checked.feed(part).map_err(invalid)?;
        }
        let n = ready!(writer.poll_put(cx, part, false))?;
        if n == part.len() {
            writer.text = checked;
        } else if writer.kind == Kind::Text {
            writer.text.feed(part.get(..n).unwrap_or_default()).map_err(invalid)?;
        }
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_until(cx, |link| link.is_flushed().then_some(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let writer = self.get_mut();
        if writer.progress != Progress::Ended {
            if writer.text.incomplete() > 0 {
                return Poll::Ready(Err(invalid(crate::utf8::InvalidUtf8)));
            }
            ready!(writer.poll_put(cx, &[], true))?;
        }
        writer.poll_until(cx, |link| link.is_flushed().then_some(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> Link<S, R> {
    /// Puts as much of a part as there is room for; `None` if there is no room. The last part of a message is put whole.
    fn put_part(
        &mut self,
        kind: Kind,
        part: &[u8],
        fin: bool,
        first: bool,
    ) -> Option<Result<usize, SendError>> {
        let mut out = self.try_outbox(self.now)?;
        if first && out.is_inside_message() {
            return Some(Err(SendError::MessageOpen));
        }
        let mut rest = part;
        let sent = out.send_fragmented(kind, &mut rest, fin);
        let n = part.len().saturating_sub(rest.len());
        match sent {
            Err(SendError::Blocked) if n == 0 => None,
            Ok(()) | Err(SendError::Blocked) => Some(Ok(n)),
            Err(error) => Some(Err(error)),
        }
    }
}

fn invalid(error: crate::utf8::InvalidUtf8) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}
