//! What an idle connection holds on the heap after one message, beside plain hyper and axum's own ws.
#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::ready;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::Router;
use axum::response::Response;
use axum::routing::any;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::task::yield_now;

struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: everything is the system's; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.with(|live| live.set(live.get() + layout.size() as isize));
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.with(|live| live.set(live.get() - layout.size() as isize));
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const N: usize = 1000;
const HEAD: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const HELLO: &[u8] = &[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];

/// A client that asks for an upgrade, sends "Hello" when it has the response, and then nothing. It counts what it gets.
struct Peer {
    next: &'static [u8],
    then: &'static [u8],
    got: Arc<AtomicUsize>,
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.next.is_empty() {
            return Poll::Pending;
        }
        into.put_slice(self.next);
        self.next = b"";
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        if from.ends_with(b"Hello") {
            self.got.fetch_add(1, Ordering::Relaxed);
        }
        if from.starts_with(b"HTTP/1.1 101") {
            self.next = std::mem::take(&mut self.then);
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(from.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Bytes on the heap for each of 1,000 idle connections of this server.
fn idle(app: Router) -> isize {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let got = Arc::new(AtomicUsize::new(0));
        let serve = |count| {
            for _ in 0..count {
                let peer = Peer { next: HEAD, then: HELLO, got: Arc::clone(&got) };
                let service = TowerToHyperService::new(app.clone());
                tokio::spawn(
                    http1::Builder::new().serve_connection(TokioIo::new(peer), service).with_upgrades(),
                );
            }
        };
        let wait = async |count| {
            while got.load(Ordering::Relaxed) < count {
                yield_now().await;
            }
            for _ in 0..100 {
                yield_now().await;
            }
        };
        serve(10); // what exists once
        wait(10).await;
        let before = LIVE.with(Cell::get);
        serve(N);
        wait(10 + N).await;
        (LIVE.with(Cell::get) - before) / N as isize
    })
}

/// The least that hyper needs: an upgrade whose task has 64 bytes to read into.
async fn plain(mut request: axum::extract::Request) -> Response {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut stream = TokioIo::new(upgrade.await.unwrap());
        let mut buffer = [0; 64];
        while let Ok(_n @ 1..) = stream.read(&mut buffer).await {
            stream.write_all(b"Hello").await.unwrap();
        }
    });
    Response::builder().status(101).header("connection", "upgrade").body(Default::default()).unwrap()
}

#[test]
fn an_idle_connection_takes_less_than_a_kilobyte_and_a_half_over_plain_hyper() {
    let ours = any(|ws: sansocket_axum::WebSocketUpgrade| {
        ready(ws.on_upgrade(|mut socket| async move {
            while let Some(Ok(message)) = socket.recv().await {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
        }))
    });
    let theirs = any(|ws: axum::extract::ws::WebSocketUpgrade| {
        ready(ws.on_upgrade(|mut socket| async move {
            while let Some(Ok(message)) = socket.recv().await {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
        }))
    });
    let plain = idle(Router::new().route("/", any(plain)));
    let theirs = idle(Router::new().route("/", theirs));
    let ours = idle(Router::new().route("/", ours));
    println!(
        "library,bytes_over_plain_hyper\nsansocket-axum,{}\naxum,{}\nplain hyper: {plain}",
        ours - plain,
        theirs - plain
    );
    assert!(ours - plain < 1536, "{ours} - {plain}");
    assert!(theirs > 10 * ours, "the measurement does not see buffers: {theirs}");
}
