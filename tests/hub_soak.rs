//! The hub over many connections, and for a long time. `.ci/run hub` runs it with
//! `cargo test --release --features mio --test hub_soak -- --ignored --nocapture --test-threads 1`.
#![cfg(all(feature = "mio", target_os = "linux"))]
#![expect(unsafe_code, reason = "an allocator that counts")]

mod hub_server;
mod wire;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use std::{env, thread};

use hub_server::*;
use sansocket::blocking::serve;
use sansocket::config::Overflow;
use sansocket::hub::{HubHandle, HubSettings, SessionId};
use sansocket::message::Prepared;
use sansocket::session::{BufferSizes, Buffers};
use sansocket::{CloseCode, Config};

struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);

// SAFETY: everything is the system's; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as isize, Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    // Memory of zeros costs nothing until it is used: as without counting.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as isize, Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as isize, Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Random enough.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

// ---- connects and cuts ----

/// One connection that ends in one of all the wrong ways, or in the right one.
fn visit(address: SocketAddr, dice: &mut Dice) {
    // The hub refuses and closes as it likes: errors are part of it.
    let Ok(mut stream) = TcpStream::connect(address) else { return };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let _ = stream.set_write_timeout(Some(Duration::from_secs(5)));
    let kind = dice.roll(10);
    let upgraded = kind >= 3 && stream.write_all(REQUEST).is_ok() && head(&mut stream).is_ok();
    match kind {
        0 => drop(stream.write_all(&REQUEST[..dice.roll(REQUEST.len())])),
        1 => {
            let post = b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n";
            let _ = stream.write_all(&[&post[..], &[b'x'; 5000][..dice.roll(5001)]].concat());
            let _ = stream.read(&mut [0; 100]);
        }
        2 => drop(stream.write_all(b"\x16\x03\x01\x02\x00nonsense\r\n\r\n")),
        _ if !upgraded => {}
        // Echoes, and the right end.
        3 | 4 => {
            for _ in 0..dice.roll(20) {
                let _ = stream.write_all(&masked(0x82, &vec![1; dice.roll(20_000)]));
                let _ = next(&mut stream);
            }
            let _ = stream.write_all(&masked(0x88, &[3, 232]));
            while let Ok((first, _)) = next(&mut stream) {
                if first == 0x88 {
                    break;
                }
            }
        }
        // In the middle of a message, of a frame, of a header.
        5 => {
            let bytes = [masked(0x02, &vec![1; dice.roll(40_000)]), masked(0x80, &[2; 500])].concat();
            let _ = stream.write_all(&bytes[..dice.roll(bytes.len())]);
        }
        // A slow reader; and one that reads a little of it.
        6 | 7 => {
            let many = masked(0x82, &vec![1; 60_000]);
            let _ = stream.set_write_timeout(Some(Duration::from_millis(20)));
            for _ in 0..dice.roll(30) {
                if stream.write_all(&many).is_err() {
                    break;
                }
            }
            let _ = stream.read(&mut vec![0; 1 + dice.roll(100_000)]);
        }
        // Against the rules.
        8 => drop(stream.write_all(&[0xFF; 100])),
        _ => drop(stream.write_all(&masked(0x81, b"panic"))),
    }
    match dice.roll(4) {
        0 => drop(stream),
        1 => reset(stream),
        2 => {
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read(&mut [0; 1000]);
        }
        // What was not read makes a reset of it.
        _ => {
            thread::sleep(Duration::from_millis(dice.roll(20) as u64));
            drop(stream);
        }
    }
}

/// So long; how many connections there were.
fn storm(address: SocketAddr, handle: &HubHandle, time: Duration, seed: u64) -> u64 {
    let end = Instant::now() + time;
    let visitors: Vec<_> = (0..24)
        .map(|at| {
            let mut dice = Dice(seed * 1_000_003 + at * 7919 + 1);
            thread::spawn(move || {
                let mut visits = 0;
                while Instant::now() < end {
                    visit(address, &mut dice);
                    visits += 1;
                }
                visits
            })
        })
        .collect();
    let mut dice = Dice(seed + 99);
    let message = Prepared::binary(vec![3; 30_000]);
    let mut stale = SessionId::new(0);
    while Instant::now() < end {
        let _ = handle.broadcast(message.clone());
        for client in handle.sessions() {
            match dice.roll(4) {
                0 => drop(handle.send_with(client.id(), Prepared::text("to you"), |_| {})),
                1 if dice.roll(5) == 0 => drop(handle.close(client.id(), CloseCode::NORMAL, "go")),
                2 => drop(handle.close(stale, CloseCode::NORMAL, "stale")),
                _ => stale = client.id(),
            }
        }
        thread::sleep(Duration::from_millis(3));
    }
    visitors.into_iter().map(|visitor| visitor.join().unwrap()).sum()
}

fn soak(time: Duration) {
    let mut settings = HubSettings::default();
    settings.config = {
        let mut config = Config::new();
        config.timeouts.handshake = Some(Duration::from_secs(1));
        config.timeouts.close = Some(Duration::from_secs(1));
        config.timeouts.write = Some(Duration::from_secs(1));
        Arc::new(config)
    };
    // Few, so that as many are kept after the first storm as after the second.
    settings.pooled_buffers = 4;
    settings.queue.bytes = 200_000;
    settings.queue.overflow = Overflow::DropOldest;
    // A panic on purpose says so on stderr, thousands of times.
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.to_string();
        if !text.contains("on purpose") {
            eprintln!("{text}");
        }
    }));
    let server = HubServer::new(settings);
    let quiet = || {
        wait_for("somebody stays", || server.handle.sessions().is_empty());
        wait_for("counters", || {
            let counters = server.handle.counters();
            counters.accepted == counters.ended
        });
        (descriptors(), LIVE.load(Relaxed))
    };
    // What is kept for ever is there after this.
    let mut visits = storm(server.address, &server.handle, time / 5, 1);
    let (descriptors, live) = quiet();
    visits += storm(server.address, &server.handle, time * 4 / 5, 2);
    let (descriptors_then, live_then) = quiet();
    println!(
        "{visits} connections; {live} bytes and {descriptors} descriptors before, {live_then} and \
         {descriptors_then} behind"
    );
    assert_eq!(descriptors, descriptors_then);
    assert!(live_then - live < 100_000, "{live} bytes, then {live_then}");
    let counters = server.stop().counters();
    println!("{counters:?}");
    let closed = &counters.closed;
    for count in [
        counters.panicked,
        counters.delivered,
        counters.lost,
        counters.messages,
        counters.refused.not_http,
        counters.refused.disconnected,
        closed.clean,
        closed.violation,
        closed.disconnected,
    ] {
        assert!(count > 0, "{counters:?}");
    }
}

#[test]
fn a_short_soak() {
    soak(Duration::from_secs(3));
}

#[test]
#[ignore = "30 s"]
fn a_soak() {
    soak(Duration::from_secs(30));
}

// ---- beside a thread for each connection ----

/// Echoes a second of `clients` connections, each with one message under way.
fn echoes_a_second(address: SocketAddr, clients: usize, len: usize) -> u64 {
    let time = Duration::from_secs(2);
    let payload = vec![1; len];
    let start = Instant::now();
    let visitors: Vec<_> = (0..clients)
        .map(|_| {
            let (mut stream, message, payload) = (open(address), masked(0x82, &payload), payload.clone());
            thread::spawn(move || {
                let mut count = 0;
                while start.elapsed() < time {
                    stream.write_all(&message).unwrap();
                    let mut got = 0;
                    // A long message may come in pieces.
                    while got < len {
                        got += next(&mut stream).unwrap().1.len();
                    }
                    assert_eq!(got, payload.len());
                    count += 1;
                }
                count
            })
        })
        .collect();
    let count: u64 = visitors.into_iter().map(|visitor| visitor.join().unwrap()).sum();
    count / time.as_secs()
}

#[test]
#[ignore = "12 s"]
fn beside_a_thread_for_each_connection() {
    // With these buffers a message of 16 KiB does not fit whole, and with those it does.
    for (len, room) in [(64, 16 * 1024), (16 * 1024, 16 * 1024), (16 * 1024, 16 * 1024 + 16)] {
        let mut settings = HubSettings::default();
        (settings.receive_buffer, settings.transmit_buffer) = (room, room);
        let server = HubServer::new(settings);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let threads = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                thread::spawn(move || {
                    let stream = stream.unwrap();
                    stream.set_nodelay(true).unwrap();
                    let mut buffers =
                        Buffers::with_sizes(BufferSizes { head: 8192, receive: room, transmit: room });
                    let _ = serve(stream, &mut Echo, &Config::DEFAULT, &mut buffers);
                });
            }
        });
        let (hub, threads) = (echoes_a_second(server.address, 50, len), echoes_a_second(threads, 50, len));
        let ratio = hub as f64 / threads as f64;
        println!(
            "50 connections, {len} bytes, buffers of {room}: the hub {hub} echoes/s, threads {threads}: {ratio:.2}"
        );
        assert!(hub > 0 && threads > 0);
        server.stop();
    }
}

// ---- ten thousand ----

const CLIENTS: &str = "SANSOCKET_CLIENTS";

/// The peers of [`ten_thousand_idle_connections`], in a process of their own for their descriptors.
#[test]
#[ignore = "is started by another test"]
fn peers() {
    let Ok(told) = env::var(CLIENTS) else { return };
    let (address, count) = told.split_once(' ').unwrap();
    let (address, count): (SocketAddr, usize) = (address.parse().unwrap(), count.parse().unwrap());
    let mut streams: Vec<TcpStream> = vec![];
    while streams.len() < count {
        // No more at once than may wait to be accepted: the system drops others for a second.
        let from = streams.len();
        for _ in from..count.min(from + 100) {
            let mut stream = connect(address);
            stream.write_all(REQUEST).unwrap();
            streams.push(stream);
        }
        streams[from..].iter_mut().for_each(opened);
    }
    println!("\nopen");
    for stream in &mut streams {
        assert_eq!(next(stream).unwrap(), (0x81, b"to all".to_vec()));
    }
    println!("\nheard");
    for stream in &mut streams {
        assert_eq!(next(stream).unwrap().0, 0x88);
        stream.write_all(&masked(0x88, &[3, 233])).unwrap();
    }
    for stream in &mut streams {
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
    println!("\nclosed");
}

#[test]
#[ignore = "needs 10,100 descriptors: ulimit -n"]
fn ten_thousand_idle_connections() {
    let count = 10_000.min(most_descriptors() - 100);
    let mut settings = HubSettings::default();
    settings.max_sessions = 20_000;
    settings.config = {
        let mut config = Config::new();
        // They are to be idle, and this machine may be slow.
        config.timeouts.ping = None;
        config.timeouts.handshake = Some(Duration::from_secs(60));
        config.timeouts.close = Some(Duration::from_secs(60));
        Arc::new(config)
    };
    let server = HubServer::new(settings);
    // Once through everything, so that code and the first memory are there.
    let warm: Vec<_> = (0..50).map(|_| open(server.address)).collect();
    drop(warm);
    wait_for("warm", || server.handle.sessions().is_empty());
    let (live, rss) = (LIVE.load(Relaxed), resident());
    let mut peers = Command::new(env::current_exe().unwrap())
        .args(["--ignored", "--exact", "peers", "--nocapture"])
        .env(CLIENTS, format!("{} {count}", server.address))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    let mut lines = BufReader::new(peers.stdout.take().unwrap()).lines();
    let mut until = |what: &str| assert!(lines.any(|line| line.unwrap() == what), "{what}");
    until("open");
    println!("all were opened in {} ms", start.elapsed().as_millis());
    wait_for("open", || server.handle.counters().opened as usize == 50 + count);
    let (live_then, rss_then) = (LIVE.load(Relaxed), resident());
    println!(
        "{count} idle connections on one thread: {} bytes each of the heap, {} of resident memory",
        (live_then - live) as usize / count,
        rss_then.saturating_sub(rss) as usize / count
    );
    assert!((live_then - live) as usize / count < 1024);
    let (slept, ran) = restlessness(server.thread.thread());
    thread::sleep(Duration::from_secs(2));
    let (slept_then, ran_then) = restlessness(server.thread.thread());
    println!("in 2 s of silence: {} wake-ups, {} ms", slept_then - slept, (ran_then - ran) * 10);
    assert!(slept_then - slept < 5);
    let start = Instant::now();
    server.handle.broadcast(Prepared::text("to all")).unwrap();
    until("heard");
    println!("a broadcast to all was heard in {} ms", start.elapsed().as_millis());
    let start = Instant::now();
    server.handle.stop(CloseCode::GOING_AWAY).unwrap();
    until("closed");
    server.thread.join().unwrap();
    println!("all were closed in {} ms", start.elapsed().as_millis());
    assert!(peers.wait().unwrap().success());
    let counters = server.handle.counters();
    assert_eq!((counters.closed.clean as usize, counters.delivered as usize), (count, count));
    assert!(count == 10_000, "only {count}: raise the limit of descriptors");
}
