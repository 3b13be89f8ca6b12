//! A stream that wakes the task that polled it last, once for each change.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Default)]
struct State {
    /// What has arrived.
    input: Vec<u8>,
    ended: bool,
    /// What was written.
    output: Vec<u8>,
    /// Bytes that may be written.
    room: usize,
    /// Flushing and shutting down have to wait.
    held: bool,
    shut: bool,
    /// One place for reading, writing, flushing and shutting down.
    waker: Option<Waker>,
}

/// The end that is polled.
pub(crate) struct Audited(Arc<Mutex<State>>);

/// The end that a test holds.
pub(crate) struct Far(Arc<Mutex<State>>);

pub(crate) fn pair() -> (Audited, Far) {
    let state = Arc::<Mutex<State>>::default();
    (Audited(Arc::clone(&state)), Far(state))
}

impl Far {
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.0.lock().unwrap();
        change(&mut state);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        self.change(|state| state.input.extend(bytes));
    }

    pub(crate) fn end(&self) {
        self.change(|state| state.ended = true);
    }

    pub(crate) fn take(&self, room: usize) {
        self.change(|state| state.room += room);
    }

    pub(crate) fn hold(&self, held: bool) {
        self.change(|state| state.held = held);
    }

    pub(crate) fn taken(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap().output)
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.0.lock().unwrap().shut
    }
}

impl Audited {
    fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        act: impl FnOnce(&mut State) -> Option<T>,
    ) -> Poll<io::Result<T>> {
        let mut state = self.0.lock().unwrap();
        match act(&mut state) {
            Some(done) => Poll::Ready(Ok(done)),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl AsyncRead for Audited {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll(cx, |state| {
            let n = state.input.len().min(buffer.remaining());
            buffer.put_slice(&state.input[..n]);
            state.input.drain(..n);
            (n > 0 || state.ended).then_some(())
        })
    }
}

impl AsyncWrite for Audited {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(cx, |state| {
            let n = state.room.min(from.len());
            state.room -= n;
            state.output.extend(&from[..n]);
            (n > 0).then_some(n)
        })
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |state| (!state.held).then_some(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |state| {
            state.shut |= !state.held;
            state.shut.then_some(())
        })
    }
}
