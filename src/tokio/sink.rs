//! A connection as `Stream` and `Sink`, whose halves two tasks may poll.

#![forbid(unsafe_code)]

use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll, Waker, ready};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Wake;

use futures_core::{FusedStream, Stream};
use futures_sink::Sink;
use tokio::io::{AsyncRead, AsyncWrite};

use super::link::Events;
use super::websocket::WebSocket;
use crate::close::CloseCode;
use crate::host::error::Error;
use crate::message::owned::Message;
use crate::role::Role;
use crate::send::SendError;

/// The tasks that poll the two halves of a connection. A stream remembers one waker for each direction, and both halves read
/// and write: so it wakes this, and this wakes both.
#[derive(Debug, Default)]
pub(super) struct Wakers(Mutex<[Option<Waker>; 2]>);

/// Which half polls, by its place in [`Wakers`].
#[derive(Clone, Copy)]
enum Half {
    Stream,
    Sink,
}

impl Wakers {
    fn set(&self, half: Half, waker: &Waker) {
        let mut wakers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [stream, sink] = &mut *wakers;
        let mine = match half {
            Half::Stream => stream,
            Half::Sink => sink,
        };
        match mine {
            Some(known) => known.clone_from(waker),
            None => *mine = Some(waker.clone()),
        }
    }

    fn take(&self, half: Half) -> Option<Waker> {
        let mut wakers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [stream, sink] = &mut *wakers;
        match half {
            Half::Stream => stream.take(),
            Half::Sink => sink.take(),
        }
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        for waker in [self.take(Half::Stream), self.take(Half::Sink)].into_iter().flatten() {
            waker.wake();
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role + Unpin> WebSocket<S, R> {
    /// Polls for one half, and wakes the other if anything happened that it may wait for.
    fn poll_half<T>(
        &mut self,
        half: Half,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Self, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let wakers = Arc::clone(self.wakers.get_or_insert_default());
        wakers.set(half, cx.waker());
        let both = Waker::from(Arc::clone(&wakers));
        let polled = poll(self, &mut Context::from_waker(&both));
        let other = match half {
            Half::Stream => Half::Sink,
            Half::Sink => Half::Stream,
        };
        if mem::take(&mut self.link.moved)
            && let Some(waker) = wakers.take(other)
        {
            waker.wake();
        }
        polled
    }
}

/// The messages that [`WebSocket::recv`] returns, then its error, if any, then `None`. After an [`Error::MessageTooBig`] more
/// may follow.
impl<S: AsyncRead + AsyncWrite + Unpin, R: Role + Unpin> Stream for WebSocket<S, R> {
    type Item = Result<Message, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let socket = self.get_mut();
        if socket.ended {
            return Poll::Ready(None);
        }
        let message = ready!(socket.poll_half(Half::Stream, cx, Self::poll_recv));
        socket.ended = !matches!(message, Ok(Some(_)) | Err(Error::MessageTooBig));
        Poll::Ready(message.transpose())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role + Unpin> FusedStream for WebSocket<S, R> {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

/// `poll_ready` waits until a message of any length can be put, so that `start_send` never fails for want of room. After a Close
/// was sent or received, `start_send` fails, except for a Close, which does nothing. `poll_flush`
/// waits until the transport has all of them. `poll_close` flushes, sends a Close with code 1000, and waits for the end, within
/// the same time as [`WebSocket::close`]; messages that the peer sends before its Close are left to the `Stream`, and if nobody
/// takes them, the connection ends with a time-out.
impl<S: AsyncRead + AsyncWrite + Unpin, R: Role + Unpin> Sink<Message> for WebSocket<S, R> {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.get_mut().poll_half(Half::Sink, cx, |socket, cx| {
            let Self { link, incoming, .. } = socket;
            link.poll_until(cx, Some(incoming), Events::Hold, |link| match link.is_open() {
                true => link.is_ready().then_some(()),
                // `start_send` says so, unless the message is a Close.
                false => Some(()),
            })
        })
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        let put = self.get_mut().link.put_message(&message);
        put.unwrap_or(Err(SendError::Blocked)).map_err(Error::Send)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.get_mut().poll_half(Half::Sink, cx, |socket, cx| {
            let Self { link, incoming, .. } = socket;
            link.poll_until(cx, Some(incoming), Events::Hold, |link| link.is_flushed().then_some(()))
        })
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.get_mut().poll_half(Half::Sink, cx, |socket, cx| {
            let ending = ready!(socket.poll_close_with(cx, Some(CloseCode::NORMAL), "", Events::Hold))?;
            Poll::Ready(if ending.is_clean() { Ok(()) } else { Err(Error::Ended(ending)) })
        })
    }
}
