//! Streams for tests: one that moves few bytes at a time and is not ready now and then, and a way to drop a future at each
//! await.
#![allow(dead_code, reason = "each test uses a part of this")]

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use proptest::prelude::*;
use sansocket::Client;
use sansocket::config::{ClientOptions, ServerOptions};
use sansocket::proto::SystemKeys;
use sansocket::tokio::WebSocket;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

/// A stream that moves at most so many bytes in a call, and says "not ready" in some calls.
pub(crate) struct Choppy<S> {
    pub(crate) inner: S,
    at_most: usize,
    /// Of 256 calls, so many are not ready.
    lazy: u8,
    random: u64,
    vectored: bool,
    /// Calls of `poll_read` and `poll_write`.
    pub(crate) calls: Arc<AtomicUsize>,
}

impl<S> Choppy<S> {
    pub(crate) fn new(inner: S, at_most: usize, lazy: u8, seed: u64) -> Self {
        Self { inner, at_most, lazy, random: seed | 1, vectored: seed % 2 == 1, calls: Arc::default() }
    }

    fn is_lazy(&mut self, cx: &Context<'_>) -> bool {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let lazy = (self.random >> 32) as u8 >= 255 - self.lazy && self.lazy > 0;
        if lazy {
            cx.waker().wake_by_ref();
        }
        lazy
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Choppy<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_lazy(cx) {
            return Poll::Pending;
        }
        let mut part = vec![0; self.at_most.min(buffer.remaining())];
        let mut part = ReadBuf::new(&mut part);
        let polled = Pin::new(&mut self.inner).poll_read(cx, &mut part);
        buffer.put_slice(part.filled());
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Choppy<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_lazy(cx) {
            return Poll::Pending;
        }
        let n = self.at_most.min(from.len());
        Pin::new(&mut self.inner).poll_write(cx, &from[..n])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all: Vec<u8> = from.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.poll_write(cx, &all)
    }

    fn is_write_vectored(&self) -> bool {
        self.vectored
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_lazy(cx) {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_lazy(cx) {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Polls a future once, and drops it.
pub(crate) async fn once<F: Future>(future: F) -> Poll<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// Drops the future at each await, and makes it anew, until it is ready.
#[macro_export]
macro_rules! dropped_at_each_await {
    ($future:expr) => {
        loop {
            match $crate::choppy::once($future).await {
                std::task::Poll::Ready(output) => break output,
                std::task::Poll::Pending => tokio::task::yield_now().await,
            }
        }
    };
}

pub(crate) type Pair<S> = (WebSocket<S>, WebSocket<S, Client<SystemKeys>>);

/// A server and a client, over these ends of a stream.
pub(crate) async fn over<S: AsyncRead + AsyncWrite + Unpin>(
    server: S,
    client: S,
    to_accept: &ServerOptions,
    to_connect: &ClientOptions,
) -> Pair<S> {
    let (server, client) = tokio::join!(
        WebSocket::accept(server, to_accept),
        WebSocket::connect(client, "ws://localhost/", to_connect)
    );
    (server.unwrap(), client.unwrap())
}

/// A server and a client, over a stream that keeps so many bytes in each direction.
pub(crate) async fn pair(bytes: usize) -> Pair<DuplexStream> {
    let (server, client) = duplex(bytes);
    over(server, client, &ServerOptions::new(), &ClientOptions::new()).await
}

/// What a stream is like, and how large buffers are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    keeps: usize,
    at_most: usize,
    lazy: u8,
    seed: u64,
    buffer: usize,
}

pub(crate) fn shape() -> impl Strategy<Value = Shape> {
    (
        prop_oneof![1..8_usize, 100..2000_usize],
        prop_oneof![Just(1), 1..300_usize],
        0..200_u8,
        any::<u64>(),
        140..600_usize,
    )
        .prop_map(|(keeps, at_most, lazy, seed, buffer)| Shape { keeps, at_most, lazy, seed, buffer })
}

/// A server and a client over such a stream.
pub(crate) async fn choppy_pair(shape: Shape) -> Pair<Choppy<DuplexStream>> {
    let Shape { keeps, at_most, lazy, seed, buffer } = shape;
    let (server, client) = duplex(keeps);
    over(
        Choppy::new(server, at_most, lazy, seed),
        Choppy::new(client, at_most, lazy, !seed),
        &ServerOptions::new().receive_buffer(buffer).transmit_buffer(buffer),
        &ClientOptions::new().receive_buffer(buffer).transmit_buffer(buffer),
    )
    .await
}

/// Runs a test in paused time.
pub(crate) fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(future)
}
