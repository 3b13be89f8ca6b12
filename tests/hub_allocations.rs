//! The memory of a hub: no allocation a message in steady state, no buffer for an idle session, nothing left at the end.
#![cfg(feature = "hub")]
#![expect(unsafe_code, reason = "an allocator that counts")]

mod hub_world;
mod wire;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use hub_world::*;
use sansocket::handshake::Response;
use sansocket::hub::driver::{Hub, HubSocket, Ready, SocketFailed};
use sansocket::hub::{HubSettings, Routes};
use sansocket::message::Prepared;
use sansocket::{Event, Handler, HandlerError, Instant, Outbox};

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
    static BYTES: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: everything is the system's; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        BYTES.with(|bytes| bytes.set(bytes.get() + layout.size() as isize));
        PEAK.with(|peak| peak.set(peak.get().max(bytes())));
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        BYTES.with(|bytes| bytes.set(bytes.get() - layout.size() as isize));
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count() -> usize {
    COUNT.with(Cell::get)
}

fn bytes() -> isize {
    BYTES.with(Cell::get)
}

/// The most that there was at once beyond what there is now.
fn peak(act: impl FnOnce()) -> isize {
    let before = bytes();
    PEAK.with(|peak| peak.set(before));
    act();
    PEAK.with(Cell::get) - before
}

/// The pipes keep memory for this, so that only the hub's is counted.
fn warm(peer: &Peer, bytes: usize) {
    peer.wire().from_hub.reserve(bytes);
    peer.feed(&[]);
}

#[test]
fn an_echo_allocates_nothing() {
    let mut world = echoes(HubSettings::default());
    let peers: Vec<_> = (0..20).map(|_| world.open()).collect();
    let hello = masked(0x81, b"hello");
    peers.iter().for_each(|peer| warm(peer, 100_000));
    let turn = |world: &mut World<App>| {
        for peer in &peers {
            peer.feed(&hello);
        }
        world.run();
        world.now = world.now.saturating_add(Duration::from_micros(10));
        peers.iter().for_each(|peer| peer.wire().from_hub.clear());
    };
    (0..20).for_each(|_| turn(&mut world));
    let before = count();
    (0..1000).for_each(|_| turn(&mut world));
    assert_eq!(count() - before, 0);
    assert_eq!(world.end().messages, 20 * 1020);
}

#[test]
fn a_broadcast_is_encoded_once_and_copies_no_payload() {
    let mut world = echoes(HubSettings::default());
    let peers: Vec<_> = (0..20).map(|_| world.open()).collect();
    peers.iter().for_each(|peer| warm(peer, 1_000_000));
    let message = Prepared::binary(vec![1; 100_000]);
    let small = Prepared::text("small");
    let turn = |world: &mut World<App>| {
        world.handle.broadcast(message.clone()).unwrap();
        world.handle.broadcast(small.clone()).unwrap();
        world.run();
        world.run();
        world.run();
        peers.iter().for_each(|peer| peer.wire().from_hub.clear());
    };
    (0..10).for_each(|_| turn(&mut world));
    let before = count();
    (0..100).for_each(|_| turn(&mut world));
    assert_eq!(count() - before, 0);
    assert_eq!(world.end().delivered, 20 * 2 * 110);
}

/// Idle: open, or accepted and silent; also after a burst, and after half a frame that became whole.
#[test]
fn an_idle_session_owns_no_buffer() {
    let mut settings = HubSettings::default();
    settings.pooled_buffers = 4;
    let pooled = (settings.pooled_buffers * (settings.receive_buffer + settings.transmit_buffer)) as isize;
    let mut world = echoes(settings);
    let many = 200;
    let before = bytes();
    let peers: Vec<_> = (0..many).map(|_| world.open()).collect();
    let each = (bytes() - before) / many;
    println!("an idle session: {each} bytes, those of its pipe included");
    assert!(each < 3000, "{each}");
    let before = bytes();
    for peer in &peers {
        peer.feed(&masked(0x82, &[1; 10_000])[..5000]);
    }
    world.settle();
    assert!(bytes() - before > many * 30_000, "they hold what they wait for");
    for peer in &peers {
        peer.feed(&masked(0x82, &[1; 10_000])[5000..]);
        peer.block();
    }
    world.settle();
    for peer in &peers {
        for _ in 0..200 {
            world.handle.send(peer.id, Prepared::text("burst")).unwrap();
        }
        world.settle();
    }
    for peer in &peers {
        peer.allow(usize::MAX);
    }
    world.settle();
    for peer in &peers {
        assert_eq!(peer.got().len(), 201);
        peer.wire().from_hub = vec![];
        peer.forget();
    }
    let more = bytes() - before;
    println!("more after a burst: {more} bytes, of which the pool may keep {pooled}");
    assert!(more < pooled + many * 1000, "{more}");
    world.end();
    drop(world);

    let mut settings = HubSettings::default();
    settings.pooled_buffers = 0;
    let mut world = echoes(settings);
    let before = bytes();
    let silent: Vec<_> = (0..many).map(|_| world.connect()).collect();
    world.settle();
    let each = (bytes() - before) / many;
    println!("one that has said nothing yet: {each} bytes");
    assert!(each < 3000, "{each}");
    // It can still say it.
    for peer in &silent {
        peer.feed(&REQUEST[..40]);
    }
    world.settle();
    for peer in &silent {
        peer.feed(&REQUEST[40..]);
    }
    world.settle();
    assert!(silent.iter().all(|peer| peer.bytes().starts_with(b"HTTP/1.1 101 ")));
    world.end();
}

#[test]
fn the_buffers_of_a_handler_that_panics_serve_the_next_session() {
    let settings = HubSettings::default();
    let smallest = settings.receive_buffer.min(settings.transmit_buffer) as isize;
    let mut world = World::new(settings, |_| {
        App::new(|| {
            Box::new(|_, call, _, _| {
                assert!(!matches!(call, Call::Event(_)), "on purpose");
                Ok(())
            })
        })
    });
    for turn in 0..3 {
        let most = peak(|| {
            let peer = world.open();
            peer.text("x");
            world.settle();
            assert!(peer.is_gone());
        });
        assert!(turn == 0 || most < smallest, "{most} bytes more in turn {turn}");
    }
    assert_eq!(world.end().panicked, 3);
}

/// A peer that asks for a WebSocket, takes the response, and is silent from then on.
struct Silent {
    unread: &'static [u8],
    written: usize,
}

thread_local! {
    /// The key of the transport that the hub has taken last.
    static KEY: Cell<usize> = const { Cell::new(0) };
}

impl HubSocket for Silent {
    fn attach(&mut self, key: usize) -> Result<(), SocketFailed> {
        KEY.set(key);
        Ok(())
    }

    fn recv(&mut self, into: &mut [u8]) -> Result<Option<usize>, SocketFailed> {
        let n = into.len().min(self.unread.len());
        let (now, later) = self.unread.split_at(n);
        into[..n].copy_from_slice(now);
        self.unread = later;
        Ok((n > 0).then_some(n))
    }

    fn send(&mut self, bytes: &[u8], more: &[u8]) -> Result<Option<usize>, SocketFailed> {
        self.written += bytes.len() + more.len();
        Ok(Some(bytes.len() + more.len()))
    }

    fn shutdown(&mut self) -> Result<(), SocketFailed> {
        Ok(())
    }
}

/// All that a hub holds for a session, with its share of the hub's lists. A connection has one more field where a program links an
/// extension.
#[test]
fn a_hundred_thousand_idle_sessions_take_less_than_a_kibibyte_each() {
    const LIMIT: usize = if cfg!(feature = "extension") { 920 } else { 864 };
    struct Quiet;

    impl Handler for Quiet {
        fn event(&mut self, _: Event<'_>, _: &mut Outbox<'_>) -> Result<(), HandlerError> {
            Ok(())
        }
    }

    let each = |many: usize| {
        let settings = HubSettings::default().max_sessions(many).handshakes_per_second(None);
        let before = bytes();
        let routes = |_| Routes::new().websocket("/ws", |_, _| Ok(Quiet));
        let mut hub = Hub::new(settings, Arc::new(Shelf::default()), routes).unwrap();
        let now = Instant::START;
        for _ in 0..many {
            assert!(hub.accept(now, Silent { unread: REQUEST, written: 0 }, address()).is_ok());
            let key = KEY.get();
            hub.ready(key, Ready { read: true, write: true, hang_up: false });
            hub.run(now);
            assert!(hub.socket(key).is_some_and(|socket| socket.written > 100), "no response");
        }
        assert_eq!(hub.handle().sessions().len(), many);
        let each = (bytes() - before) as usize / many;
        println!("{each} bytes for each of {many} idle sessions");
        each
    };
    let (few, many) = (each(10_000), each(100_000));
    assert!(few <= LIMIT && many <= LIMIT, "{few} bytes with 10,000, {many} with 100,000");
}

/// Sessions come and go, in every way, and their timers with them.
#[test]
fn nothing_is_left_behind() {
    let mut world = World::new(HubSettings::default(), |_| {
        App::new(|| {
            Box::new(|now, call, deadline, out| {
                match call {
                    Call::Event(Event::Data(data)) => {
                        *deadline = Some(now.saturating_add(Duration::from_millis(1)));
                        out.forward(&data)?;
                    }
                    Call::Timer => *deadline = None,
                    _ => {}
                }
                Ok(())
            })
        })
    });
    let round = |world: &mut World<App>| {
        for way in 0..100 {
            let peer = if way % 5 == 0 { world.connect() } else { world.open() };
            for _ in 0..3 {
                peer.feed(if way % 5 == 0 { b"" } else { b"\x81\x81\0\0\0\0x" });
                world.pass(Duration::from_millis(3));
            }
            world.handle.send(peer.id, numbered(1, 2000).1).unwrap();
            peer.feed(&masked(0x82, &[0; 1000])[..500 * (way % 2)]);
            world.run();
            if way % 3 == 0 {
                peer.cut()
            } else {
                peer.fin()
            }
            world.settle();
        }
        world.hub.application().ended = vec![];
        world.hub.application().closed.lock().unwrap().clear();
    };
    (0..3).for_each(|_| round(&mut world));
    let before = bytes();
    (0..5).for_each(|_| round(&mut world));
    assert!(bytes() - before < 1000, "{}", bytes() - before);
    world.end();
}

/// Everything that grows with the number of sessions: places, the list for handles, timers, who is to be run, commands.
#[test]
fn memory_follows_the_number_of_sessions_down() {
    let mut settings = HubSettings::default();
    settings.max_sessions = 5000;
    settings.pooled_buffers = 0;
    let mut world = echoes(settings);
    let rest = |world: &mut World<App>| {
        world.hub.application().ended = vec![];
        *world.hub.application().closed.lock().unwrap() = vec![];
        // A queue that was long is given back by and by.
        for _ in 0..20 {
            world.handle.broadcast(Prepared::text("x")).unwrap();
            world.settle();
        }
        world.forget();
        bytes()
    };
    // The one that is last to come stays: nothing that is kept for others may stand below it.
    let round = |world: &mut World<App>, many: usize| {
        let mut peers: Vec<_> = (0..many).map(|_| world.connect()).collect();
        peers.iter().for_each(|peer| peer.feed(REQUEST));
        world.settle();
        for _ in 0..many.min(4000) {
            world.handle.send(peers[0].id, Prepared::text("x")).unwrap();
        }
        world.settle();
        let last = peers.pop().unwrap();
        peers.iter().for_each(Peer::cut);
        drop(peers);
        world.settle();
        last.wire().from_hub = vec![];
        last
    };
    let few = round(&mut world, 10);
    let before = rest(&mut world);
    let last = round(&mut world, 5000);
    few.wire().from_hub = vec![];
    let after = rest(&mut world);
    last.wire().from_hub = vec![];
    println!("{} bytes are left of 5000 sessions", after - before);
    assert!(after - before < 10_000, "{}", after - before);
    world.end();
}

const PAGE: usize = 4 << 20;
static PAGE_BYTES: [u8; PAGE] = [7; PAGE];

/// Beside its body an answer takes memory for its head only, and beside that of a request's body there is nothing of its
/// size.
#[test]
fn a_response_and_a_body_take_their_own_size() {
    const HEAD: isize = 1024;
    let mut world = World::new(HubSettings::default(), |_| {
        Routes::new()
            .get("/owned", |_, _| Response::new(200, "a/b", vec![7; PAGE]))
            .get("/static", |_, _| Response::new(200, "a/b", &PAGE_BYTES))
            .post("/body", PAGE, |_, _, body| Response::text(200, body.len().to_string()))
    });
    let ask = |world: &mut World<Routes>, path: &str| {
        let peer = world.connect();
        peer.block();
        peer.feed(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        let peak = peak(|| assert!(world.settle() > 0));
        peer.cut();
        world.settle();
        peak
    };
    ask(&mut world, "/none");
    let least = ask(&mut world, "/none");
    let owned = ask(&mut world, "/owned");
    assert!(owned <= PAGE as isize + least + HEAD, "{owned}");
    let fixed = ask(&mut world, "/static");
    assert!(fixed <= least + HEAD, "{fixed}");

    let peer = world.connect();
    peer.feed(format!("POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: {PAGE}\r\n\r\n").as_bytes());
    let mut body = peak(|| assert!(world.settle() > 0));
    let mut held = body;
    for piece in PAGE_BYTES.chunks(50_000) {
        peer.feed(piece);
        let before = bytes();
        body = body.max(held + peak(|| assert!(world.settle() > 0)));
        held += bytes() - before;
    }
    assert!(peer.bytes().ends_with(b"4194304"));
    assert!(body <= PAGE as isize + least + HEAD, "{body}");
    // The answer waits without the request.
    assert!(held <= least + HEAD, "{held}");
    world.end();
}
