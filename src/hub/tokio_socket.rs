//! The sockets of a hub over tokio's streams.

#![forbid(unsafe_code)]

use core::fmt;
use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::boxed::Box;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::ready_list::ReadyList;
use super::socket::{HubSocket, SocketFailed};
use crate::time::Instant;
use crate::tokio::Rewind;
use crate::tokio::clock::Clock;

/// A stream that a hub polls: the type of the sockets of a [`TokioServer`](super::TokioServer).
pub struct TokioSocket<S = TcpStream> {
    stage: Stage<S>,
    list: Arc<ReadyList>,
    waker: Waker,
    /// Bytes that the stream has taken and not passed on.
    taken: usize,
    end: End,
}

/// Makes sockets of streams that were accepted elsewhere, for [`Hub::adopt`](super::driver::Hub::adopt) and
/// [`Hub::accept`](super::driver::Hub::accept). [`TokioServer::socket_factory`](super::TokioServer::socket_factory) returns it.
///
/// ```
/// use std::net::SocketAddr;
///
/// use sansocket::hub::driver::TokioSocketFactory;
/// use sansocket::hub::{HandleError, HubHandle, HubSettings, Routes, TokioServer, TokioSocket};
/// use sansocket::{Event, Handler, HandlerError, Outbox};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
///
/// /// Does nothing: the hub answers Pings.
/// struct Quiet;
///
/// impl Handler for Quiet {
///     fn event(&mut self, _: Event<'_>, _: &mut Outbox<'_>) -> Result<(), HandlerError> {
///         Ok(())
///     }
/// }
///
/// /// Gives a stream whose opening handshake is done, by hyper or axum, to the server.
/// fn adopt(
///     hub: &HubHandle,
///     sockets: TokioSocketFactory,
///     stream: DuplexStream,
///     read: Vec<u8>, // what the HTTP server has read of the stream after the request
///     peer: SocketAddr,
/// ) -> Result<(), HandleError> {
///     hub.call(move |hub| {
///         let Some(hub) = hub.hub::<TokioSocket<DuplexStream>, Routes>() else { return };
///         let socket = sockets.socket_after(stream, read);
///         let _ = hub.adopt(sockets.now(), socket, peer, Box::new(Quiet), Some("chat.v1"));
///     })
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server: TokioServer<_, DuplexStream> = TokioServer::new(HubSettings::default(), |_| Routes::new())?;
/// let (hub, sockets) = (server.handle(), server.socket_factory());
/// let running = tokio::spawn(server.run());
///
/// let (stream, mut client) = tokio::io::duplex(1024);
/// // The first two bytes of a Ping came with the request.
/// adopt(&hub, sockets, stream, b"\x89\x80".to_vec(), "127.0.0.1:50000".parse()?)?;
/// client.write_all(b"\0\0\0\0").await?;
/// let mut frame = [0; 2];
/// client.read_exact(&mut frame).await?;
/// assert_eq!(&frame, b"\x8a\0"); // a Pong
/// # drop(client);
/// # hub.stop(sansocket::CloseCode::GOING_AWAY)?;
/// # running.await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TokioSocketFactory {
    pub(super) list: Arc<ReadyList>,
    pub(super) clock: Clock,
}

/// What makes a stream of a connection that was accepted: a TLS handshake, a PROXY header.
pub(super) type Opening<S> = Pin<Box<dyn Future<Output = io::Result<S>> + Send>>;

/// The progress of shutting the stream down.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Shutting,
    Shut,
}

enum Stage<S> {
    Opening(Opening<S>),
    Open(Rewind<S>),
}

impl TokioSocketFactory {
    pub(super) const fn new(list: Arc<ReadyList>, clock: Clock) -> Self {
        Self { list, clock }
    }

    /// Makes a socket of a stream. Set the options of TCP before.
    pub fn socket<S>(&self, stream: S) -> TokioSocket<S> {
        self.socket_after(stream, Bytes::new())
    }

    /// Makes a socket of a stream of which these bytes have been read already: the hub receives them first.
    pub fn socket_after<S>(&self, stream: S, read: impl Into<Bytes>) -> TokioSocket<S> {
        self.make(Stage::Open(Rewind::new(stream, read.into())))
    }

    /// Makes a socket of a stream that is not ready yet: the hub polls `open` in the turns of the session, whose time for the
    /// opening handshake has begun.
    pub fn socket_from<S>(
        &self,
        open: impl Future<Output = io::Result<S>> + Send + 'static,
    ) -> TokioSocket<S> {
        self.make(Stage::Opening(Box::pin(open)))
    }

    /// Returns the time of the server's clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    fn make<S>(&self, stage: Stage<S>) -> TokioSocket<S> {
        let list = Arc::clone(&self.list);
        TokioSocket { stage, list, waker: Waker::noop().clone(), taken: 0, end: End::Open }
    }
}

impl<S> TokioSocket<S> {
    /// Returns the stream; `None` while its TLS handshake, or whatever else opens it, is in progress.
    pub const fn get_mut(&mut self) -> Option<&mut S> {
        match &mut self.stage {
            Stage::Opening(_) => None,
            Stage::Open(stream) => Some(stream.get_mut()),
        }
    }

    /// Returns the stream: after [`HandedOver::into_stream`](super::HandedOver::into_stream). `None` if it is not open yet: then
    /// no request has arrived on it.
    pub fn into_stream(self) -> Option<S> {
        match self.stage {
            Stage::Opening(_) => None,
            Stage::Open(stream) => Some(stream.into_parts().0),
        }
    }
}

impl<S> Stage<S> {
    /// Returns the stream, once it is open.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&mut Rewind<S>>> {
        if let Self::Opening(opening) = self {
            match opening.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(stream)) => *self = Self::Open(Rewind::new(stream, Bytes::new())),
            }
        }
        match self {
            Self::Opening(_) => Poll::Pending,
            Self::Open(stream) => Poll::Ready(Ok(stream)),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TokioSocket<S> {
    /// Calls `act` with the stream, once it is open, and with the context of the session.
    fn poll<T>(
        &mut self,
        act: impl FnOnce(Pin<&mut Rewind<S>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Result<Option<T>, SocketFailed> {
        let cx = &mut Context::from_waker(&self.waker);
        let done = match self.stage.poll(cx) {
            Poll::Ready(Ok(stream)) => act(Pin::new(stream), cx),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
        match done {
            Poll::Pending => Ok(None),
            Poll::Ready(Ok(done)) => Ok(Some(done)),
            Poll::Ready(Err(_)) => Err(SocketFailed),
        }
    }
}

// A short read is not the last: only one that finds nothing makes the stream wake the hub.
impl<S: AsyncRead + AsyncWrite + Unpin> HubSocket for TokioSocket<S> {
    fn attach(&mut self, key: usize) -> Result<(), SocketFailed> {
        self.waker = self.list.waker(key);
        Ok(())
    }

    fn recv(&mut self, into: &mut [u8]) -> Result<Option<usize>, SocketFailed> {
        self.poll(|stream, cx| {
            let mut into = ReadBuf::new(into);
            stream.poll_read(cx, &mut into).map_ok(|()| into.filled().len())
        })
    }

    /// Returns how many bytes the stream took only when it has passed them on, so that TCP has what is reported as written. The
    /// hub offers the same bytes again until then.
    fn send(&mut self, bytes: &[u8], more: &[u8]) -> Result<Option<usize>, SocketFailed> {
        if self.taken == 0 {
            let written = self.poll(|stream, cx| match (bytes, more) {
                (bytes, []) => stream.poll_write(cx, bytes),
                ([], more) => stream.poll_write(cx, more),
                _ => stream.poll_write_vectored(cx, &[IoSlice::new(bytes), IoSlice::new(more)]),
            })?;
            match written {
                None => return Ok(None),
                Some(n) => self.taken = n,
            }
        }
        let flushed = self.poll(|stream, cx| stream.poll_flush(cx))?;
        Ok(flushed.map(|()| mem::take(&mut self.taken)))
    }

    fn flush(&mut self) -> Result<bool, SocketFailed> {
        match (self.end, &self.stage) {
            (End::Shut, _) | (_, Stage::Opening(_)) => return Ok(true),
            (End::Open, _) => return Ok(self.poll(|stream, cx| stream.poll_flush(cx))?.is_some()),
            (End::Shutting, _) => {}
        }
        let shut = self.poll(|stream, cx| match stream.poll_shutdown(cx) {
            // The peer has closed first.
            Poll::Ready(Err(error)) if error.kind() == ErrorKind::NotConnected => Poll::Ready(Ok(())),
            done => done,
        })?;
        if shut.is_some() {
            self.end = End::Shut;
        }
        Ok(shut.is_some())
    }

    /// [`flush`](HubSocket::flush) continues what the stream cannot do at once.
    fn shutdown(&mut self) -> Result<(), SocketFailed> {
        match self.stage {
            Stage::Opening(_) => Err(SocketFailed),
            Stage::Open(_) => {
                self.end = End::Shutting;
                self.flush().map(|_| ())
            }
        }
    }
}

impl<S> fmt::Debug for TokioSocket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = matches!(self.stage, Stage::Open(_));
        f.debug_struct("TokioSocket").field("open", &open).finish_non_exhaustive()
    }
}
