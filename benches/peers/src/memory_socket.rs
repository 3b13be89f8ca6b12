//! A socket of memory. A read copies out of the prepared wire, as `recv` does; a write copies into a ring, as `send` does.

use std::io::{self, IoSlice, Read, Write};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use futures::io as futures_io;
use tokio::io as tokio_io;

const RING: usize = 256 * 1024;
/// The most that one read gives.
pub const READ: usize = 65536;

pub struct MemorySocket {
    wire: &'static [u8],
    at: usize,
    passes: u64,
    ring: Vec<u8>,
    ring_at: usize,
    /// All that was written, where somebody looks at it.
    pub written: Option<Vec<u8>>,
}

impl MemorySocket {
    /// Gives the wire this many times, then the end of the stream.
    pub fn new(wire: &'static [u8], passes: u64) -> Self {
        Self { wire, at: 0, passes, ring: vec![0; RING], ring_at: 0, written: None }
    }

    /// Gives the wire once and keeps what is written, without a ring: for handshakes.
    pub fn keeping(wire: &'static [u8]) -> Self {
        Self { wire, at: 0, passes: 1, ring: vec![], ring_at: 0, written: Some(Vec::with_capacity(512)) }
    }

    /// Begins anew with the same ring.
    pub fn reset(&mut self, wire: &'static [u8], passes: u64) {
        (self.wire, self.at, self.passes) = (wire, 0, passes);
    }

    #[inline]
    pub fn recv(&mut self, into: &mut [u8]) -> usize {
        if self.at == self.wire.len() && self.passes > 1 {
            self.at = 0;
            self.passes -= 1;
        }
        let n = into.len().min(READ).min(self.wire.len() - self.at);
        into[..n].copy_from_slice(&self.wire[self.at..self.at + n]);
        self.at += n;
        n
    }

    #[inline]
    pub fn send(&mut self, mut bytes: &[u8]) -> usize {
        if let Some(written) = &mut self.written {
            written.extend_from_slice(bytes);
        }
        let len = bytes.len();
        while !bytes.is_empty() && !self.ring.is_empty() {
            if self.ring_at == RING {
                self.ring_at = 0;
            }
            let n = bytes.len().min(RING - self.ring_at);
            self.ring[self.ring_at..self.ring_at + n].copy_from_slice(&bytes[..n]);
            self.ring_at += n;
            bytes = &bytes[n..];
        }
        len
    }

    fn send_all(&mut self, slices: &[IoSlice<'_>]) -> usize {
        slices.iter().map(|slice| self.send(slice)).sum()
    }
}

impl Read for MemorySocket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Ok(self.recv(into))
    }
}

impl Write for MemorySocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.send(bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(self.send_all(slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl tokio_io::AsyncRead for MemorySocket {
    /// Behind the wire, nothing arrives: the end of the stream would end connections that have replies to write.
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut tokio_io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.recv(into.initialize_unfilled()) {
            0 => Poll::Pending,
            n => {
                into.advance(n);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl tokio_io::AsyncWrite for MemorySocket {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(self.send(bytes)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(self.send_all(slices)))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl futures_io::AsyncRead for MemorySocket {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(self.recv(into)))
    }
}

impl futures_io::AsyncWrite for MemorySocket {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(self.send(bytes)))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl wtx::stream::StreamReader for MemorySocket {
    async fn read(&mut self, into: &mut [u8]) -> wtx::Result<usize> {
        Ok(self.recv(into))
    }
}

impl wtx::stream::StreamWriter for MemorySocket {
    async fn write_all(&mut self, bytes: &[u8]) -> wtx::Result<()> {
        self.send(bytes);
        Ok(())
    }

    async fn write_all_vectored(&mut self, slices: &[&[u8]]) -> wtx::Result<()> {
        for bytes in slices {
            self.send(bytes);
        }
        Ok(())
    }
}

impl embedded_io_async::ErrorType for MemorySocket {
    type Error = std::convert::Infallible;
}

impl embedded_io_async::Read for MemorySocket {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, Self::Error> {
        Ok(self.recv(into))
    }
}

impl embedded_io_async::Write for MemorySocket {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        Ok(self.send(bytes))
    }

    async fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// Polls until the future ends: the socket of memory is always ready. A future that waits for something else would never
/// end.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..10_000 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
    panic!("it waits for what never comes")
}
