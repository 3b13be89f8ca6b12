//! A stream, its clock and its timer.

#![forbid(unsafe_code)]

use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::boxed::Box;
use std::io::{self, ErrorKind, IoSlice};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant as Moment, Sleep, sleep_until, timeout};

use crate::embedded::{Transferred, Transport};
use crate::time::Instant;

/// A stream with a clock, which begins with it.
#[derive(Debug)]
pub(super) struct Io<S> {
    pub(super) stream: S,
    start: Moment,
    timer: Option<Timer>,
    /// Something was written that the stream may keep to itself.
    unflushed: bool,
    /// How long a shutdown may take.
    patience: Option<Duration>,
}

#[derive(Debug)]
struct Timer {
    sleep: Pin<Box<Sleep>>,
    set: Instant,
}

impl<S> Io<S> {
    pub(super) fn new(stream: S, patience: Option<Duration>) -> Self {
        Self { stream, start: Moment::now(), timer: None, unflushed: false, patience }
    }

    pub(super) fn time(&self) -> Instant {
        Instant::START.saturating_add(self.start.elapsed())
    }

    /// Ready when this moment has passed. A timer that is set for an earlier moment is left where it is until it fires: most
    /// deadlines are only put off.
    pub(super) fn poll_deadline(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let Some((deadline, at)) = deadline.and_then(|deadline| {
            Some((deadline, self.start.checked_add(Duration::from_micros(deadline.as_micros()))?))
        }) else {
            return Poll::Pending;
        };
        let timer =
            self.timer.get_or_insert_with(|| Timer { sleep: Box::pin(sleep_until(at)), set: deadline });
        loop {
            if deadline < timer.set || timer.sleep.is_elapsed() && timer.set < deadline {
                timer.sleep.as_mut().reset(at);
                timer.set = deadline;
            }
            ready!(timer.sleep.as_mut().poll(cx));
            if timer.set >= deadline {
                return Poll::Ready(());
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Io<S> {
    /// Reads once into memory that is not empty; 0 is the end of the stream.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(into);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Writes once bytes that are not none.
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

    /// Makes the stream pass on what it took.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.stream).poll_shutdown(cx)) {
            // The peer was first.
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
        if !output.is_empty() {
            if let Poll::Ready(written) = self.poll_write(cx, output) {
                turn.written = written?;
            }
        }
        if turn.written == output.len() {
            if let Poll::Ready(flushed) = self.poll_flush(cx) {
                flushed?;
            }
        }
        if !input.is_empty() {
            if let Poll::Ready(read) = self.poll_read(cx, input) {
                turn.read = Some(read?);
            }
        }
        if turn == Transferred::default() {
            ready!(self.poll_deadline(cx, deadline));
        }
        Poll::Ready(Ok(turn))
    }
}

/// For the opening handshake, which the code for every [`Transport`] does.
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
        let patience = self.patience;
        let done = poll_fn(|cx| self.poll_shutdown(cx));
        match patience {
            // A peer that takes nothing does not keep us.
            Some(patience) => timeout(patience, done).await.unwrap_or(Ok(())),
            None => done.await,
        }
    }
}
