//! What `sansocket::tokio` costs a message, for a tool that counts instructions: `.ci/instructions` runs it twice and divides
//! the difference.
//!
//!     tokio SUBJECT SIZE ROUNDS
//!
//! Each round takes a buffer full of messages. Prints how many messages that were.

#[path = "../tests/wire/mod.rs"]
mod wire;

use std::future::Future;
use std::hint::black_box;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use sansocket::session::BufferSizes;
use sansocket::tokio::WebSocket;
use sansocket::{Config, Error, Server};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wire::masked;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // Cargo adds `--bench` to a run of its own, which has nothing to do here.
    let [name, size, rounds] = args.as_slice() else { return };
    let (size, rounds): (usize, usize) = (size.parse().unwrap(), rounds.parse().unwrap());
    let frame = masked(0x82, &vec![0x55; size]);
    let (one, messages) = (frame.len(), (64 * 1024 / frame.len()).max(1));
    let len = one * messages;
    println!("{}", messages * rounds);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _context = runtime.enter(); // for its deadlines
    for (subject, each) in [("receive", len), ("send", len), ("feed", len), ("turn", one)] {
        if name.strip_prefix("tokio-") == Some(subject) {
            let stream = Memory { wire: frame.repeat(messages), at: 0, each, arrived: true };
            return block_on(run(subject, stream, messages * rounds)).unwrap();
        }
    }
    panic!("no subject {name}");
}

async fn run(subject: &str, stream: Memory, messages: usize) -> Result<(), Error> {
    let sizes = BufferSizes { head: 256, receive: stream.wire.len(), transmit: stream.wire.len() };
    let mut socket = WebSocket::after_upgrade(stream, b"", Server, None, Config::new(), sizes);
    for _ in 0..messages {
        let message = socket.recv().await?.unwrap();
        match subject {
            "receive" => drop(black_box(message)),
            "send" => socket.send(message).await?,
            // It leaves before the next `recv` waits.
            _ => socket.feed(message).await?,
        }
    }
    Ok(())
}

/// A transport that takes everything. `each` bytes of the wire have arrived at a time; the next read has to
/// wait.
struct Memory {
    wire: Vec<u8>,
    at: usize,
    each: usize,
    arrived: bool,
}

impl AsyncRead for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.arrived = !self.arrived;
        if self.arrived {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.at == self.wire.len() {
            self.at = 0;
        }
        let to = self.at + self.each;
        into.put_slice(&self.wire[self.at..to]);
        self.at = to;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Memory {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(black_box(bytes).len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Polls until the future ends.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}
