//! What connections over tokio hold on the heap: idle, and under attack.
#![cfg(feature = "tokio")]
#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use sansocket::config::{Overflow, QueueLimits};
use sansocket::error::{EndReason, Violation};
use sansocket::message::Prepared;
use sansocket::session::BufferSizes;
use sansocket::tokio::{SplitOptions, WebSocket};
use sansocket::{CloseCode, Config, Error, Event, Server};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::yield_now;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: everything is the system's; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        LIVE.with(|live| live.set(live.get() + layout.size() as isize));
        PEAK.with(|peak| peak.set(peak.get().max(LIVE.with(Cell::get))));
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

/// A peer that sends a frame so many times, then nothing. It takes everything that is written, or nothing.
struct Peer {
    frame: &'static [u8],
    times: usize,
    reads: bool,
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        while self.times > 0 && into.remaining() >= self.frame.len() {
            into.put_slice(self.frame);
            self.times -= 1;
        }
        if into.filled().len() == before { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}

impl AsyncWrite for Peer {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        if self.reads { Poll::Ready(Ok(from.len())) } else { Poll::Pending }
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn open(frame: &'static [u8], times: usize, reads: bool) -> WebSocket<Peer> {
    let peer = Peer { frame, times, reads };
    WebSocket::after_upgrade(peer, b"", Server, None, config(), BufferSizes::default())
}

/// Shared by all, as those of a server are.
fn config() -> Arc<Config> {
    static SHARED: OnceLock<Arc<Config>> = OnceLock::new();
    Arc::clone(SHARED.get_or_init(Arc::default))
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(future)
}

const HELLO: &[u8] = &[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];

#[test]
fn an_idle_connection_has_no_buffers() {
    const N: usize = 1000;
    run(async {
        let before = LIVE.with(Cell::get);
        let tasks: Vec<_> = (0..N)
            .map(|_| {
                let mut socket = open(HELLO, 1, true);
                tokio::spawn(async move {
                    while let Some(message) = socket.recv().await? {
                        socket.feed(message).await?;
                    }
                    Ok::<_, Error>(())
                })
            })
            .collect();
        for _ in 0..100 {
            yield_now().await;
        }
        let each = (LIVE.with(Cell::get) - before) as usize / N;
        println!(
            "{each} bytes on the heap for an idle connection with its task, {} of them a WebSocket",
            size_of::<WebSocket<Peer>>()
        );
        assert!(each < 1536, "{each}");
        assert!(!tasks.iter().any(tokio::task::JoinHandle::is_finished));
    });
}

/// A connection that compresses, between its messages: without context its codecs are in the pool.
#[cfg(feature = "deflate")]
#[test]
fn an_idle_connection_that_compresses_takes_64_bytes_more() {
    use futures_util::{FutureExt, StreamExt};
    use sansocket::config::ServerOptions;
    use sansocket::deflate::{DeflateOptions, Pool, Zlib};

    // "Hello", compressed (RFC 7692 §7.2.3.1), with a key of zeros.
    const COMPRESSED: &[u8] = b"\xC1\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\x00";
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    const N: usize = 200;

    /// Returns the bytes of each connection that has echoed a message.
    async fn idle(options: &ServerOptions, message: &[u8]) -> isize {
        let frame: &'static [u8] = [REQUEST, message].concat().leak();
        let before = LIVE.with(Cell::get);
        let mut sockets = Vec::with_capacity(N);
        for _ in 0..N {
            let peer = Peer { frame, times: 1, reads: true };
            let mut socket = WebSocket::accept(peer, options).await.unwrap();
            assert_eq!(socket.is_compressed(), message == COMPRESSED);
            let received = socket.recv().await.unwrap().unwrap();
            assert_eq!(received, "Hello".into());
            socket.send(received).await.unwrap();
            assert!(socket.next().now_or_never().is_none());
            sockets.push(socket);
        }
        let each = (LIVE.with(Cell::get) - before) / N as isize;
        drop(sockets);
        each
    }

    run(async {
        let plain = ServerOptions::new();
        let pool = Arc::new(Pool::new(DeflateOptions::new()).unwrap());
        let compressed = ServerOptions::new().deflate(Arc::clone(&pool));
        // What the thread keeps for all connections is allocated in the first rounds.
        for _ in 0..3 {
            idle(&plain, HELLO).await;
            idle(&compressed, COMPRESSED).await;
        }
        let more = idle(&compressed, COMPRESSED).await - idle(&plain, HELLO).await;
        // What a connection has in itself, whether it compresses or not, counts too.
        let state = size_of::<Option<Zlib>>() as isize;
        println!("{state} bytes in a connection, and {more} beside it");
        assert!(state + more.max(0) <= 64, "{state} {more}");
        assert_eq!(pool.free(), (pool.options().decompressors, pool.options().compressors));
    });
}

#[test]
fn events_and_their_answers_cost_no_allocation() {
    run(async {
        let mut socket = open(HELLO, 3000, true);
        let mut before = 0;
        for n in 0..3000 {
            if n == 1000 {
                before = ALLOCATIONS.with(Cell::get);
            }
            let (event, mut out) = socket.read().await.unwrap().unwrap();
            let Event::Data(chunk) = event else { panic!("{event:?}") };
            out.fragment(chunk.kind, &chunk.payload, chunk.end).await.unwrap();
        }
        assert_eq!(ALLOCATIONS.with(Cell::get), before);
    });
}

/// A peer that announces a message of so many bytes, sends a part of it, and then nothing.
struct Large {
    header: Vec<u8>,
    sends: usize,
    /// The largest memory that was to be read into.
    largest: Arc<AtomicUsize>,
}

impl AsyncRead for Large {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.largest.fetch_max(into.remaining(), Ordering::Relaxed);
        let header = self.header.len().min(into.remaining());
        into.put_slice(&self.header[..header]);
        self.header.drain(..header);
        let n = into.remaining().min(self.sends).min(50_000);
        into.put_slice(&[b'x'; 50_000][..n]);
        self.sends -= n;
        if header + n == 0 { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}

impl AsyncWrite for Large {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(from.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A connection on which a text of this length was announced.
fn large(announced: usize, sends: usize) -> (WebSocket<Large>, Arc<AtomicUsize>) {
    let mut header = vec![0x81, 0xFF];
    header.extend_from_slice(&(announced as u64).to_be_bytes());
    header.extend_from_slice(&[0; 4]);
    let largest = Arc::<AtomicUsize>::default();
    let peer = Large { header, sends, largest: Arc::clone(&largest) };
    (WebSocket::after_upgrade(peer, b"", Server, None, config(), BufferSizes::default()), largest)
}

#[test]
fn a_large_message_is_read_straight_into_its_one_allocation() {
    run(async {
        for (len, most) in [(100_000, 1), (250_000, 1), (10_000_000, 5)] {
            // The buffers of this thread are there from the first round on.
            for round in 0..2 {
                let (mut socket, largest) = large(len, len);
                let (allocations, live) = (ALLOCATIONS.with(Cell::get), LIVE.with(Cell::get));
                let message = socket.recv().await.unwrap().unwrap();
                let allocations = ALLOCATIONS.with(Cell::get) - allocations;
                let grown = (LIVE.with(Cell::get) - live) as usize;
                assert_eq!(message.as_bytes().len(), len);
                assert!(message.as_bytes().iter().all(|byte| *byte == b'x'));
                assert!(largest.load(Ordering::Relaxed) > len / 2, "not read into its own memory");
                if round == 1 {
                    assert!(allocations <= most, "{len}: {allocations}");
                    // What is left beside it is the receive buffer, which waits for the next read.
                    assert!(grown <= len + 16 * 1024, "{len}: {grown}");
                }
            }
        }
    });
}

#[test]
fn a_message_that_is_announced_and_not_sent_takes_no_memory() {
    run(async {
        for sent in [1, 20_000] {
            let (mut socket, _) = large(60_000_000, sent);
            let before = LIVE.with(Cell::get);
            PEAK.with(|peak| peak.set(before));
            assert!(socket.recv().await.unwrap_err().is_timeout());
            let grown = PEAK.with(Cell::get) - before;
            assert!(grown < 350 * 1024, "{grown}");
        }
    });
}

/// How much the heap grows until the connection waits or has ended.
async fn growth(mut socket: WebSocket<Peer>) -> (isize, Result<Option<sansocket::Message>, Error>) {
    let before = LIVE.with(Cell::get);
    PEAK.with(|peak| peak.set(before));
    let received = socket.recv().await;
    (PEAK.with(Cell::get) - before, received)
}

#[test]
fn a_flood_of_pings_makes_nothing_grow() {
    const PING: &[u8; 131] = &{
        let mut ping = [0; 131];
        (ping[0], ping[1]) = (0x89, 0xfd);
        ping
    };
    run(async {
        let (grown, received) = growth(open(PING, 32 * 1024 * 1024 / PING.len(), false)).await;
        assert!(
            matches!(received, Err(Error::Ended(ending)) if matches!(ending.reason, EndReason::Timeout(_)))
        );
        assert!(grown < 64 * 1024, "{grown}");
    });
}

#[test]
fn empty_continuations_make_nothing_grow() {
    run(async {
        // The first frame of a message is the only one that is not a continuation.
        let mut socket = open(&[0x00, 0x80, 0, 0, 0, 0], 1_000_000, true);
        assert!(matches!(socket.recv().await, Err(Error::Ended(_))));
        let peer = Peer { frame: &[0x00, 0x80, 0, 0, 0, 0], times: 1_000_000, reads: true };
        let first = [0x01, 0x80, 0, 0, 0, 0];
        let socket =
            WebSocket::after_upgrade(peer, &first, Server, None, Config::new(), BufferSizes::default());
        let (grown, received) = growth(socket).await;
        let Err(Error::Ended(ending)) = received else { panic!("{received:?}") };
        assert_eq!(ending.reason, EndReason::Violation(Violation::TooManyFragments));
        assert!(grown < 64 * 1024, "{grown}");
    });
}

#[test]
fn a_slow_reader_makes_nothing_grow() {
    run(async {
        let mut socket = open(HELLO, 0, false);
        let before = LIVE.with(Cell::get);
        PEAK.with(|peak| peak.set(before));
        let mut fed = 0;
        let refused = loop {
            match socket.feed("0123456789").await {
                Ok(()) => fed += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, Error::Ended(_)) && fed > 1000, "{fed}");
        assert!(PEAK.with(Cell::get) - before < 64 * 1024);
    });
}

/// The halves and the driver of a connection, whose task is idle.
#[test]
fn an_idle_split_connection_has_no_buffers() {
    const N: usize = 1000;
    run(async {
        let before = LIVE.with(Cell::get);
        let halves: Vec<_> = (0..N).map(|_| open(HELLO, 1, true).into_split()).collect();
        for _ in 0..100 {
            yield_now().await;
        }
        for (sender, _) in &halves {
            sender.send("hello").await.unwrap();
        }
        for _ in 0..100 {
            yield_now().await;
        }
        assert!(halves.iter().all(|(sender, _)| sender.queued().messages == 0));
        let each = (LIVE.with(Cell::get) - before) as usize / N;
        println!("{each} bytes on the heap for an idle split connection with its driver");
        assert!(each < 2240, "{each}");
    });
}

#[test]
fn a_slow_reader_of_a_split_connection_costs_no_more_than_its_queue() {
    const LIMIT: usize = 100_000;
    for overflow in [Overflow::DropNewest, Overflow::DropOldest, Overflow::Close(CloseCode::POLICY_VIOLATION)]
    {
        run(async {
            let limits = QueueLimits::new().bytes(LIMIT).overflow(overflow);
            let (sender, _receiver, driver) =
                open(HELLO, 0, false).into_split_with(SplitOptions::new().queue(limits));
            tokio::spawn(driver);
            let before = LIVE.with(Cell::get);
            PEAK.with(|peak| peak.set(before));
            let mut lost = 0;
            for _ in 0..10_000 {
                // Nobody shares it.
                let message = Prepared::from(vec![0; 1000]);
                lost += sender.offer(&message).unwrap_or(1);
                yield_now().await;
            }
            let grown = PEAK.with(Cell::get) - before;
            assert!(grown < (LIMIT + 64 * 1024) as isize, "{overflow:?} {grown}");
            assert!(lost > 9000, "{overflow:?} {lost}");
        });
    }
}

/// A peer that sends more than anybody takes.
#[test]
fn what_a_split_connection_receives_ahead_costs_no_more_than_its_limit() {
    run(async {
        let before = LIVE.with(Cell::get);
        PEAK.with(|peak| peak.set(before));
        let (_sender, _receiver, driver) =
            open(HELLO, 1_000_000, true).into_split_with(SplitOptions::new().read_ahead(100_000));
        tokio::spawn(driver);
        for _ in 0..1000 {
            yield_now().await;
        }
        let grown = PEAK.with(Cell::get) - before;
        assert!(grown < 250_000, "{grown}");
        assert!(grown > 50_000, "{grown}");
    });
}

/// A message for many is on the heap once.
#[test]
fn a_prepared_message_is_shared_by_all_queues() {
    run(async {
        let halves: Vec<_> = (0..100).map(|_| open(HELLO, 0, false).into_split()).collect();
        let before = LIVE.with(Cell::get);
        let message = Prepared::from(vec![0; 1_000_000]);
        for (sender, _) in &halves {
            assert_eq!(sender.offer(&message), Ok(0));
        }
        for _ in 0..100 {
            yield_now().await;
        }
        let grown = LIVE.with(Cell::get) - before;
        assert!(grown < 1_000_000 + 100 * 20_000, "{grown}");
    });
}
