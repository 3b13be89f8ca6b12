//! A stream, its clock and its timer.

#![forbid(unsafe_code)]

use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::io::{self, ErrorKind, IoSlice};

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use super::clock::{Clock, Timer};
use crate::embedded::{Transferred, Transport};
use crate::time::Instant;

/// A stream, and a clock that starts when the stream is wrapped.
#[derive(Debug)]
pub(super) struct Io<S> {
    pub(super) stream: S,
    clock: Clock,
    timer: Timer,
    /// Bytes were written that the stream may still hold in a buffer of its own.
    unflushed: bool,
    /// How long a shutdown may take, from the start of time.
    patience: Instant,
}

impl<S> Io<S> {
    pub(super) fn new(stream: S, patience: Option<Duration>) -> Self {
        let patience = Instant::START.plus(patience);
        Self { stream, clock: Clock::new(), timer: Timer::default(), unflushed: false, patience }
    }

    pub(super) fn time(&self) -> Instant {
        self.clock.now()
    }

    /// Ready when this moment has passed.
    pub(super) fn poll_deadline(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        self.timer.poll_deadline(cx, self.clock, deadline)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Io<S> {
    /// Reads once into memory that is not empty; 0 is the end of the stream.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(into);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Reads once behind what is there; 0 is the end of the stream.
    pub(super) fn poll_read_buf(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut impl BufMut,
    ) -> Poll<io::Result<usize>> {
        pin!(self.stream.read_buf(into)).poll(cx)
    }

    /// Writes once; `from` is not empty.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.stream).poll_write(cx, from))?;
        self.unflushed = true;
        Poll::Ready(if n == 0 { Err(ErrorKind::WriteZero.into()) } else { Ok(n) })
    }

    /// Writes once slices of which the first is not empty.
    pub(super) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, from))?;
        self.unflushed = true;
        Poll::Ready(if n == 0 { Err(ErrorKind::WriteZero.into()) } else { Ok(n) })
    }

    /// Flushes the stream, if something was written.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.stream).poll_shutdown(cx)) {
            // The peer has closed the connection already.
            Err(error) if error.kind() == ErrorKind::NotConnected => Poll::Ready(Ok(())),
            done => Poll::Ready(done),
        }
    }

    fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut [u8],
        output: &[u8],
        deadline: Option<Instant>,
    ) -> Poll<io::Result<Transferred>> {
        let mut turn = Transferred::default();
        if !output.is_empty()
            && let Poll::Ready(written) = self.poll_write(cx, output)
        {
            turn.written = written?;
        }
        if turn.written == output.len()
            && let Poll::Ready(flushed) = self.poll_flush(cx)
        {
            flushed?;
        }
        if !input.is_empty()
            && let Poll::Ready(read) = self.poll_read(cx, input)
        {
            turn.read = Some(read?);
        }
        if turn == Transferred::default() {
            ready!(self.poll_deadline(cx, deadline));
        }
        Poll::Ready(Ok(turn))
    }
}

/// For the opening handshake, whose code works over any [`Transport`].
impl<S: AsyncRead + AsyncWrite + Unpin> Transport for Io<S> {
    type Error = io::Error;

    fn now(&mut self) -> Instant {
        self.time()
    }

    async fn read_write(
        &mut self,
        input: &mut [u8],
        output: &[u8],
        deadline: Option<Instant>,
    ) -> io::Result<Transferred> {
        poll_fn(|cx| self.poll_turn(cx, input, output, deadline)).await
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        let patience =
            self.patience.as_deadline().map(|until| Instant::START.saturating_duration_until(until));
        let done = poll_fn(|cx| self.poll_shutdown(cx));
        match patience {
            // Does not wait for a peer that reads nothing.
            Some(patience) => timeout(patience, done).await.unwrap_or(Ok(())),
            None => done.await,
        }
    }
}
