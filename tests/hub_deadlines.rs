//! Deadlines of a hub: slow peers, a late hub, and transports that never finish.
#![cfg(feature = "hub")]

mod hub_world;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hub_world::*;
use sansocket::handshake::{AcceptOptions, Response};
use sansocket::hub::{Capacity, HubSettings, Routes};
use sansocket::{CloseCode, Config, Event, Handler, HandlerError, Outbox};

fn settings(change: impl FnOnce(&mut HubSettings)) -> HubSettings {
    let mut settings = HubSettings::default();
    change(&mut settings);
    settings
}

struct Quiet;

impl Handler for Quiet {
    fn event(&mut self, _: Event<'_>, _: &mut Outbox<'_>) -> Result<(), HandlerError> {
        Ok(())
    }
}

/// The first bytes of a message that is never sent whole.
fn endless() -> Vec<u8> {
    let mut bytes = vec![0x82, 0x80 | 127];
    bytes.extend((64 * 1024 * 1024u64 - 1).to_be_bytes());
    bytes.extend([0; 4 + 100_000]);
    bytes
}

const CLOSE: Duration = Duration::from_secs(5);

/// Who reads a little now and then puts off the end, but ten times the time for closing at the most.
#[test]
fn a_peer_that_reads_slowly_does_not_put_off_the_end() {
    for (direct, stops) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut world = echoes(settings(|_| {}));
        let peer = world.open();
        peer.block();
        if direct {
            world.handle.send(peer.id, numbered(1, 1_000_000).1).unwrap();
        } else {
            peer.feed(&endless());
        }
        world.settle();
        if stops {
            world.handle.stop(CloseCode::GOING_AWAY).unwrap();
        } else {
            world.handle.close(peer.id, CloseCode::GOING_AWAY, "").unwrap();
        }
        world.settle();
        let began = world.now;
        while !peer.is_gone() {
            assert!(
                began.saturating_duration_until(world.now) <= 10 * CLOSE,
                "direct: {direct}, stops: {stops}"
            );
            peer.feed(&[0; 10]);
            peer.allow(10);
            world.pass(SECOND);
        }
        assert!(began.saturating_duration_until(world.now) > CLOSE, "it has some time");
        assert_eq!(world.hub.is_over(), stops);
    }
}

/// What stands before the Close has the time for closing, its answer has it anew.
#[test]
fn a_peer_that_reads_in_time_is_waited_for() {
    let mut world = echoes(settings(|_| {}));
    let peer = world.open();
    peer.block();
    world.handle.send(peer.id, numbered(1, 40).1).unwrap();
    world.settle();
    world.handle.close(peer.id, CloseCode::GOING_AWAY, "").unwrap();
    world.settle();
    for _ in 0..4 {
        peer.allow(15);
        world.pass(SECOND);
    }
    assert!(matches!(peer.got()[..], [Got::Data { .. }, Got::Close(1001)]));
    world.pass(2 * SECOND);
    assert!(!peer.is_gone());
    peer.bye(1001);
    world.settle();
    assert!(peer.is_gone());
    assert_eq!(world.end().closed.clean, 1);
}

/// Those that linger when they are to make room are cut off before newcomers are kept out.
#[test]
fn evicted_sessions_that_do_not_read_lock_nobody_out() {
    let mut world = echoes(settings(|settings| {
        settings.max_sessions = 2;
        settings.capacity = Capacity::Evict;
    }));
    for _ in 0..30 {
        let peer = world.open();
        peer.block();
        peer.feed(&endless());
        world.settle();
        world.now = world.now.saturating_add(SECOND / 100);
        assert!(world.handle.sessions().len() <= 2 + 8);
        assert!(world.hub.admits(world.now));
    }
    let (peer, counters) = (world.open(), world.handle.counters());
    peer.text("in");
    world.settle();
    assert_eq!(peer.got(), [text("in")]);
    assert!(counters.ended >= 20, "{counters:?}");
}

/// Of what was there in time when the hub comes too late, nothing counts as late.
#[test]
fn a_late_hub_reads_before_it_enforces_a_deadline() {
    let world = |change: fn(&mut Config)| {
        let mut config = Config::new();
        change(&mut config);
        let config = Arc::new(config);
        echoes(settings(|settings| settings.config = config))
    };
    let late = |seconds: u32, world: &mut World<App>| {
        world.now = world.now.saturating_add(seconds * SECOND);
        world.settle();
    };

    let mut pong = world(|_| {});
    let peer = pong.open();
    pong.pass(32 * SECOND);
    assert_eq!(peer.got(), [Got::Ping(vec![])]);
    peer.frame(0x8A, b"");
    late(60, &mut pong);
    assert!(matches!(peer.got()[..], [] | [Got::Ping(_)]));
    assert!(!peer.is_gone());

    let mut idle = world(|config| config.timeouts.idle = Some(20 * SECOND));
    let peer = idle.open();
    peer.text("here");
    late(25, &mut idle);
    assert_eq!(peer.got(), [text("here")]);

    let mut handshake = world(|_| {});
    let peer = handshake.connect();
    handshake.settle();
    peer.feed(REQUEST);
    late(11, &mut handshake);
    assert!(peer.bytes().starts_with(b"HTTP/1.1 101 "));

    let mut write = world(|_| {});
    let peer = write.open();
    peer.block();
    peer.text("x");
    write.settle();
    peer.allow(1000);
    late(40, &mut write);
    assert!(peer.got().contains(&text("x")));
    assert!(!peer.is_gone());
}

#[test]
fn a_body_that_arrived_in_time_is_processed() {
    let mut world = World::new(settings(|_| {}), |_| {
        Routes::new().post("/up", 100, |_, _, body| Response::text(200, format!("{} bytes", body.len())))
    });
    for (rest, status) in [(&b"cde"[..], "200"), (b"cd", "408")] {
        let peer = world.connect();
        peer.feed(b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
        world.settle();
        peer.feed(rest);
        world.now = world.now.saturating_add(60 * SECOND);
        world.settle();
        let answer = peer.bytes();
        assert!(answer.starts_with(format!("HTTP/1.1 {status} ").as_bytes()), "{}", answer.escape_ascii());
    }
}

/// What a socket has not passed on yet, TLS's last record, is not thrown away with it.
#[test]
fn the_end_waits_until_the_socket_is_flushed() {
    for flushes in [true, false] {
        for upgrade in [true, false] {
            let mut world = World::new(settings(|_| {}), |_| {
                Routes::new()
                    .get("/page", |_, _| Response::text(200, "a page"))
                    .websocket("/ws", |_, _| Ok::<_, Response<'_>>(Quiet))
            });
            let peer = world.connect();
            peer.wire().keeps = true;
            if upgrade {
                peer.feed(REQUEST);
                peer.bye(1000);
            } else {
                peer.feed(b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n");
                peer.fin();
            }
            world.settle();
            assert!(peer.wire().shut && !peer.is_gone(), "{upgrade}");
            world.pass(CLOSE - SECOND);
            assert!(!peer.is_gone(), "{upgrade}");
            if flushes {
                peer.wire().keeps = false;
                peer.allow(1);
                world.settle();
            } else {
                world.pass(2 * SECOND);
            }
            assert!(peer.is_gone(), "{upgrade} {flushes}");
            let counters = world.end();
            assert_eq!(
                (counters.closed.clean, counters.refused.responded),
                if upgrade { (1, 0) } else { (0, 1) }
            );
        }
    }
}

/// It is counted as what it was answered with.
#[test]
fn a_page_that_cannot_be_written_is_a_500() {
    let mut world = World::new(settings(|_| {}), |_| {
        Routes::new()
            .get("/status", |_, _| Response::text(99, "x"))
            .get("/header", |_, _| Response::text(200, "x").with_header("A", "b\r\nC: d"))
    });
    for path in ["/status", "/header"] {
        let peer = world.connect();
        peer.feed(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        peer.fin();
        world.settle();
        assert!(peer.bytes().starts_with(b"HTTP/1.1 500 "));
    }
    let refused = world.end().refused;
    assert_eq!((refused.failed, refused.responded), (2, 0));
}

/// One that panics ends nothing but itself, however many there are.
#[test]
fn a_completion_that_panics_ends_nothing_else() {
    static TOLD: AtomicUsize = AtomicUsize::new(0);
    let mut world = echoes(settings(|_| {}));
    let peer = world.open();
    peer.block();
    for n in 0..5 {
        let done = |_| {
            TOLD.fetch_add(1, Ordering::Relaxed);
            panic!("on purpose");
        };
        world.handle.send_with(peer.id, numbered(n, 10).1, done).unwrap();
    }
    world.settle();
    peer.cut();
    world.settle();
    assert!(peer.is_gone());
    assert_eq!((TOLD.load(Ordering::Relaxed), world.handle.sessions().len()), (5, 0));
    let other = world.open();
    other.text("alive");
    world.settle();
    assert_eq!(other.got(), [text("alive")]);
}

/// The time for closing is that of the route's settings, not of the hub's: for one that does not answer the Close, for one
/// that reads slowly what stands before it, and for the end of TCP behind both Closes.
#[test]
fn a_route_has_its_own_time_for_closing() {
    static LONG: Config = {
        let mut config = Config::new();
        config.timeouts.close = Some(Duration::from_secs(120));
        config.timeouts.ping = None;
        config.timeouts.write = None;
        config
    };
    static SHORT: Config = {
        let mut config = Config::new();
        config.timeouts.close = Some(Duration::from_secs(5));
        config.timeouts.ping = None;
        config.timeouts.write = None;
        config
    };
    for (hub, route) in [(&SHORT, &LONG), (&LONG, &SHORT)] {
        let close = route.timeouts.close.unwrap();
        let world = || {
            let mut world = World::new(settings(|settings| settings.config = hub.into()), |_| {
                let accept = AcceptOptions::new().config(route);
                Routes::new().websocket_with("/ws", accept, |_, _| Ok(Quiet))
            });
            let peer = world.open();
            (world, peer)
        };
        let shut = |world: &mut World<Routes>, peer: &Peer| {
            world.handle.close(peer.id, CloseCode::GOING_AWAY, "").unwrap();
            world.settle();
        };
        // It reads nothing of what goes first: that is given up, then the Close.
        let (mut slow, peer) = world();
        peer.block();
        slow.handle.send(peer.id, numbered(1, 1_000_000).1).unwrap();
        slow.settle();
        shut(&mut slow, &peer);
        slow.pass(close - SECOND);
        assert!(!peer.is_gone());
        slow.pass(9 * close + 2 * SECOND);
        assert!(peer.is_gone());
        // It reads the Close and does not answer.
        let (mut mute, peer) = world();
        shut(&mut mute, &peer);
        mute.pass(close - SECOND);
        assert!(!peer.is_gone());
        mute.pass(2 * close);
        assert!(peer.is_gone());
        // It answers the Close, and does not close TCP.
        let (mut open, peer) = world();
        shut(&mut open, &peer);
        peer.frame(0x88, &1001u16.to_be_bytes());
        open.settle();
        assert!(peer.wire().shut);
        open.pass(close - SECOND);
        assert!(!peer.is_gone());
        open.pass(2 * SECOND);
        assert!(peer.is_gone());
        // What the transport keeps to itself has that time too.
        let (mut tls, peer) = world();
        peer.wire().keeps = true;
        peer.bye(1000);
        tls.settle();
        tls.pass(close - SECOND);
        assert!(!peer.is_gone());
        tls.pass(2 * SECOND);
        assert!(peer.is_gone());
    }
}

/// Who stops in a compressed message holds a decompressor of the pool until the deadline of the message, and no longer. Meanwhile a
/// compressed message of another peer ends that one's connection with 1011, and uncompressed ones are served.
#[cfg(feature = "deflate")]
#[test]
fn a_compressed_message_that_stalls_gives_its_decompressor_back() {
    use sansocket::deflate::{DeflateOptions, Pool};

    // RFC 7692 §7.2.3.1: "Hello"
    const HELLO: &[u8] = b"\xf2\x48\xcd\xc9\xc9\x07\x00";

    fn open(world: &mut World<App>) -> Peer {
        let peer = world.connect();
        peer.feed(REQUEST.trim_ascii_end());
        peer.feed(b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n");
        world.settle();
        let head = String::from_utf8(peer.bytes()).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("permessage-deflate"), "{head}");
        peer
    }

    let pool = Arc::new(Pool::new(DeflateOptions::new().decompressors(2)).unwrap());
    let mut config = Config::new();
    config.timeouts.ping = None;
    let message = config.timeouts.message.unwrap();
    let mut world = echoes(HubSettings::new(config).deflate(Arc::clone(&pool)));
    let stalled = [open(&mut world), open(&mut world)];
    for peer in &stalled {
        peer.frame(0x41, &HELLO[..3]);
    }
    world.settle();
    assert_eq!(pool.free().0, 0);
    let (third, plain) = (open(&mut world), open(&mut world));
    third.frame(0xC1, HELLO);
    plain.text("plain");
    world.settle();
    assert_eq!((third.got(), plain.got()), (vec![Got::Close(1011)], vec![text("plain")]));

    // Timers are late by a sixteenth, and the closing handshake has its own time.
    world.pass(message + message / 8 + 2 * CLOSE);
    assert_eq!(pool.free().0, 2);
    for peer in &stalled {
        assert!(matches!(peer.got()[..], [Got::Close(_)]) && peer.is_gone());
    }
    let later = open(&mut world);
    later.frame(0xC1, HELLO);
    world.settle();
    assert_eq!(later.got(), [text("Hello")]);
    world.end();
}
