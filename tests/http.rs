//! Ordinary HTTP on a hub (RFC 9112), over real TCP: one request with its body, one answer, then the connection
//! closes, however peers behave.
#![cfg(feature = "mio")]

mod hub_server;
mod hub_world;
mod routes_server;
mod session_driver;
mod wire;

use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use hub_server::wait_for;
use hub_world::World;
use routes_server::{Peer, RoutesServer, config};
use sansocket::handshake::{AcceptOptions, Response};
use sansocket::hub::{HubSettings, Routes};
use sansocket::{CloseCode, Config};
use session_driver::{Http, request, upgrade};

/// The most that a body may have.
const LIMIT: usize = 300_000;

/// Bytes that are the same nowhere else.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

fn reversed(body: &[u8]) -> Vec<u8> {
    body.iter().rev().copied().collect()
}

/// Answers a body with its reverse.
fn reverse(routes: Routes) -> Routes {
    routes.post("/reverse", LIMIT, |_, _, body| Response::new(200, "text/plain", reversed(body)))
}

fn post(path: &str, len: usize, more: &[&str]) -> Vec<u8> {
    let len = format!("Content-Length: {len}");
    request("POST", path, &[&["Host: a", &len], more].concat())
}

/// Settings with deadlines in milliseconds.
fn hasty(set: impl FnOnce(&mut Config)) -> HubSettings {
    HubSettings::new(config(set))
}

#[test]
fn a_body_in_pieces_of_every_size() {
    let mut small = HubSettings::default();
    (small.head_buffer, small.receive_buffer, small.transmit_buffer) = (200, 140, 140);
    for settings in [HubSettings::default(), small] {
        let served = RoutesServer::new(settings, |_| reverse(Routes::new()));
        for (len, size) in
            [(0, 1), (1, 1), (200, 1), (5_000, 7), (LIMIT, 1000), (LIMIT, 65_536), (LIMIT, usize::MAX)]
        {
            let body = pattern(len);
            let asked = [&post("/reverse", len, &[])[..], &body].concat();
            let mut peer = served.dial();
            asked.chunks(size).for_each(|piece| peer.write(piece));
            let answer = peer.whole();
            assert_eq!(answer.status, 200, "{len} by {size}");
            answer.check_closing(true);
            assert!(answer.body == reversed(&body), "{len} by {size}");
        }
        served.finish();
    }
}

#[test]
fn a_head_at_every_split() {
    let served = RoutesServer::new(HubSettings::default(), |_| reverse(Routes::new()));
    let asked = [&post("/reverse", 5, &[])[..], b"hello"].concat();
    for at in 1..asked.len() {
        let mut peer = served.dial();
        peer.write(&asked[..at]);
        if at % 8 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        peer.write(&asked[at..]);
        assert_eq!(peer.whole().body, b"olleh", "{at}");
    }
    served.finish();
}

#[test]
fn a_body_beyond_the_limit_is_413_however_much_of_it_comes() {
    let served = RoutesServer::new(HubSettings::default(), |_| {
        reverse(Routes::new()).get("/", |_, _| Response::text(200, "page"))
    });
    for sent in [0, LIMIT + 1, 20 * LIMIT] {
        let mut peer = served.dial();
        peer.write(post("/reverse", sent.max(LIMIT + 1), &[]));
        // All of it is taken, so that the answer is not lost to a reset.
        peer.write(pattern(sent));
        let answer = peer.whole();
        assert_eq!(answer.status, 413);
        answer.check_closing(true);
    }
    for len in ["18446744073709551615", "18446744073709551616", "99999999999999999999999999", "0300001"] {
        let answer = served.ask(request("POST", "/reverse", &["Host: a", &format!("Content-Length: {len}")]));
        assert_eq!(answer.status, 413, "{len}");
    }
    // A GET has none.
    assert_eq!(served.ask(request("GET", "/", &["Host: a", "Content-Length: 1"])).status, 413);
    assert_eq!(served.ask(request("GET", "/", &["Host: a", "Content-Length: 0"])).status, 200);
    served.finish();
}

#[test]
fn lengths_that_could_be_read_in_two_ways_are_refused() {
    let served = RoutesServer::new(HubSettings::default(), |_| reverse(Routes::new()));
    for (lines, status) in [
        (&["Transfer-Encoding: chunked"][..], 411),
        (&["Transfer-Encoding: identity"], 411),
        (&["transfer-encoding: x", "Content-Length: 5"], 411),
        (&["Content-Length: 5", "Transfer-Encoding: chunked"], 411),
        (&["Content-Length: 5", "Content-Length: 5"], 400),
        (&["Content-Length: 5", "content-length: 6"], 400),
        (&["Content-Length: 5, 5"], 400),
        (&["Content-Length: +5"], 400),
        (&["Content-Length: -5"], 400),
        (&["Content-Length: 5 5"], 400),
        (&["Content-Length: 0x5"], 400),
        (&["Content-Length: 5."], 400),
        (&["Content-Length:"], 400),
        (&["Content-Length: \u{665}"], 400),
        (&["Content-Length:  5\t"], 200),
        (&["Content-Length: 005"], 200),
    ] {
        let asked = request("POST", "/reverse", &[&["Host: a"], lines].concat());
        let answer = served.ask([&asked[..], b"hello"].concat());
        assert_eq!(answer.status, status, "{lines:?}");
        answer.check_closing(true);
    }
    served.finish();
}

#[test]
fn a_peer_that_expects_100_gets_it() {
    let served = RoutesServer::new(HubSettings::default(), |_| reverse(Routes::new()));
    for expect in ["Expect: 100-continue", "expect: 100-Continue"] {
        let mut peer = served.dial();
        peer.write(post("/reverse", 5, &[expect]));
        assert_eq!(peer.head().line, "HTTP/1.1 100 Continue");
        peer.write("he");
        peer.write("llo");
        assert_eq!(peer.whole().body, b"olleh");
        // Not where its body is here already, and not where it is not wanted.
        let answer = served.ask([&post("/reverse", 5, &[expect])[..], b"hello"].concat());
        assert_eq!((answer.status, &answer.body[..]), (200, &b"olleh"[..]));
        assert_eq!(served.ask(post("/reverse", 0, &[expect])).status, 200);
        assert_eq!(served.ask(post("/reverse", LIMIT + 1, &[expect])).status, 413);
        assert_eq!(served.ask(post("/nowhere", 5, &[expect])).status, 404);
    }
    // "A server that receives a 100-continue expectation in an HTTP/1.0 request MUST ignore that expectation."
    // (RFC 9110 §10.1.1)
    let old = String::from_utf8(post("/reverse", 5, &["Expect: 100-continue"])).unwrap();
    served.rest();
    let all = served.inside(|hub| hub.counters().received) + old.len() as u64;
    let mut peer = served.dial();
    peer.write(old.replace("HTTP/1.1", "HTTP/1.0"));
    wait_for("the request", || served.inside(|hub| hub.counters().received) == all);
    peer.write("hello");
    assert_eq!(peer.whole().body, b"olleh");
    drop(peer);
    served.finish();
}

#[test]
fn an_answer_to_head_has_no_body() {
    let served = RoutesServer::new(HubSettings::default(), |_| {
        reverse(Routes::new())
            .get("/page", |_, _| Response::text(200, "0123456789"))
            .websocket("/ws", |_, _| {
                Err::<sansocket::session::ServiceUnavailable, _>(Response::text(401, "no"))
            })
    });
    for (path, status, len) in
        [("/page", 200, "10"), ("/reverse", 405, "21"), ("/ws", 405, "21"), ("/none", 404, "10")]
    {
        let answer = served.ask(request("HEAD", path, &["Host: a"]));
        assert_eq!((answer.status, answer.field("Content-Length")), (status, Some(len)), "{path}");
        answer.check_closing(false);
        let get = served.ask(request("GET", path, &["Host: a"]));
        get.check_closing(true);
    }
    served.finish();
}

#[test]
fn responses_without_a_body_and_invalid_responses() {
    let served = RoutesServer::new(HubSettings::default(), |_| {
        let mut routes = Routes::new().get("/status/*", |_, request| {
            Response::text(request.path().rsplit('/').next().unwrap().parse().unwrap(), "body")
        });
        for (path, name, value) in [
            ("/split", "X-A", "a\r\nX-B: b"),
            ("/name", "X A", "a"),
            ("/length", "Content-Length", "3"),
            ("/twice", "connection", "keep-alive"),
        ] {
            routes = routes.get(path, move |_, _| Response::text(200, "body").with_header(name, value));
        }
        routes
    });
    for (status, answered) in
        [(200, 200), (404, 404), (599, 599), (199, 500), (101, 500), (600, 500), (0, 500)]
    {
        let answer = served.ask(request("GET", &format!("/status/{status}"), &["Host: a"]));
        assert_eq!(answer.status, answered);
        answer.check_closing(true);
    }
    for status in [204, 304] {
        let answer = served.ask(request("GET", &format!("/status/{status}"), &["Host: a"]));
        assert_eq!(
            (answer.status, answer.field("Content-Length"), &answer.body[..]),
            (status, None, &b""[..])
        );
    }
    for path in ["/split", "/name", "/length", "/twice"] {
        let answer = served.ask(request("GET", path, &["Host: a"]));
        assert_eq!((answer.status, answer.field("X-B")), (500, None), "{path}");
        answer.check_closing(true);
    }
    served.finish();
}

#[test]
fn input_after_a_request_is_not_read_as_a_request() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let served = RoutesServer::new(HubSettings::default(), |_| {
        let counted = asked.clone();
        Routes::new()
            .get("/", move |_, _| {
                counted.fetch_add(1, Ordering::SeqCst);
                Response::text(200, "page")
            })
            .post("/reverse", LIMIT, move |_, _, body| {
                asked.fetch_add(1, Ordering::SeqCst);
                Response::new(200, "text/plain", reversed(body))
            })
    });
    let get = request("GET", "/", &["Host: a"]);
    let garbage = pattern(1_000_000);
    for (first, body) in [
        (get.clone(), &b"page"[..]),
        ([&post("/reverse", 5, &[])[..], b"hello"].concat(), b"olleh"),
        (request("GET", "/nowhere", &["Host: a"]), b"not found\n"),
        (post("/", 5, &[]), b"not with this method\n"),
    ] {
        for behind in [&get, &garbage, &upgrade("/", &[])] {
            let answer = served.ask([&first[..], behind].concat());
            assert!(answer.body == body, "one answer to {}", first.escape_ascii());
        }
    }
    assert_eq!(count.load(Ordering::SeqCst), 6);
    served.finish();
}

#[test]
fn a_slow_body_ends_at_the_deadline() {
    let settings = hasty(|config| {
        config.timeouts.handshake = Some(Duration::from_millis(300));
        config.timeouts.close = Some(Duration::from_millis(300));
    });
    let served = RoutesServer::new(settings, |_| reverse(Routes::new()));
    // Not a byte of it, a part, and one byte after the other for ever.
    for sent in [0, 4] {
        let mut peer = served.dial();
        peer.write(post("/reverse", 5, &[]));
        peer.write(&b"hello"[..sent]);
        let answer = peer.whole();
        assert_eq!(answer.status, 408);
        answer.check_closing(true);
    }
    let mut peer = served.dial();
    peer.write(post("/reverse", LIMIT, &[]));
    let mut drip = peer.stream.try_clone().unwrap();
    let dripping = thread::spawn(move || {
        let mut bytes = 0;
        while std::io::Write::write_all(&mut drip, b"x").is_ok() && bytes < LIMIT {
            bytes += 1;
            thread::sleep(Duration::from_millis(10));
        }
        bytes
    });
    assert_eq!(peer.head().status, 408);
    drop(peer);
    assert!(dripping.join().unwrap() < LIMIT);
    assert_eq!(served.inside(|control| control.counters().refused.timeout), 3);
    served.finish();
}

#[test]
fn a_large_answer_to_a_slow_reader_comes_whole() {
    let large = Arc::new(pattern(5_000_000));
    let served = RoutesServer::new(HubSettings::default(), |_| {
        let large = large.clone();
        Routes::new()
            .get("/large", move |_, _| Response::new(200, "application/octet-stream", large.to_vec()))
            // As the refusal of an upgrade as well.
            .websocket("/ws", |_, _| {
                Err::<sansocket::session::ServiceUnavailable, _>(Response::text(403, pattern(5_000_000)))
            })
    });
    for (asked, status) in [(request("GET", "/large", &["Host: a"]), 200), (upgrade("/ws", &[]), 403)] {
        let mut peer = served.dial();
        peer.write(asked);
        // Another has its answer meanwhile.
        assert_eq!(served.ask(request("GET", "/none", &["Host: a"])).status, 404);
        let mut bytes = Vec::new();
        let mut chunk = vec![0; 100_000];
        loop {
            match std::io::Read::read(&mut peer.stream, &mut chunk).unwrap() {
                0 => break,
                n => bytes.extend(&chunk[..n]),
            }
            thread::sleep(Duration::from_millis(2));
        }
        let answer = Http::parse(&bytes);
        assert_eq!(answer.status, status);
        assert!(answer.body == *large);
    }
    served.finish();
}

/// A page that does not fit what the system keeps between two sockets.
const HUGE: usize = 32 * 1024 * 1024;

fn huge(routes: Routes) -> Routes {
    routes.get("/huge", |_, _| Response::new(200, "application/octet-stream", vec![0; HUGE]))
}

fn ask_for_huge(served: &RoutesServer) -> Peer {
    let mut peer = served.dial();
    peer.write(request("GET", "/huge", &["Host: a"]));
    assert_eq!(peer.head().status, 200);
    peer
}

#[test]
fn a_reader_that_stops_is_disconnected_at_the_write_deadline() {
    let settings = hasty(|config| config.timeouts.write = Some(Duration::from_millis(300)));
    let served = RoutesServer::new(settings, |_| huge(Routes::new()));
    let mut peer = ask_for_huge(&served);
    served.rest();
    assert!(peer.drain(|| {}) < HUGE as u64);
    assert_eq!(served.inside(|control| control.counters().refused.disconnected), 1);
    served.finish();
}

#[test]
fn peers_that_disconnect_do_not_disturb_others() {
    let served = RoutesServer::new(HubSettings::default(), |_| {
        huge(reverse(Routes::new())).get("/", |_, _| Response::text(200, "page"))
    });
    for _ in 0..20 {
        // In the head, in the body, behind the request, in the answer; orderly, and with a reset, which is what unread
        // bytes bring about.
        served.dial().write("POST /rev");
        served.dial().write([&post("/reverse", 100, &[])[..], b"part"].concat());
        served.dial().write(post("/reverse", 100, &["Expect: 100-continue"]));
        served.dial().write([&post("/reverse", 5, &[])[..], b"hello"].concat());
        served.dial().write(request("GET", "/", &["Host: a"]));
        served.dial().write(post("/reverse", LIMIT + 1, &[]));
        let mut reader = ask_for_huge(&served);
        reader.write("more");
        drop(reader);
    }
    served.rest();
    assert_eq!(served.ask(request("GET", "/", &["Host: a"])).body, b"page");
    let counters = served.inside(|control| control.counters());
    assert_eq!((counters.accepted, counters.opened, counters.panicked), (141, 0, 0));
    served.finish();
}

#[test]
fn a_peer_that_has_half_closed_gets_its_response() {
    let served = RoutesServer::new(HubSettings::default(), |_| {
        reverse(Routes::new()).get("/", |_, _| Response::text(200, "page"))
    });
    for (asked, status) in [
        (request("GET", "/", &["Host: a"]), 200),
        ([&post("/reverse", 5, &[])[..], b"hello"].concat(), 200),
        (request("PUT", "/", &["Host: a"]), 405),
    ] {
        let mut peer = served.dial();
        peer.write(asked);
        peer.stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(peer.whole().status, status);
    }
    // What is cut off is answered by nobody.
    let mut peer = served.dial();
    peer.write([&post("/reverse", 100, &[])[..], b"part"].concat());
    peer.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(peer.rest(), b"");
    drop(peer);
    served.finish();
}

/// A hub on a virtual clock, with a peer that asks this and reads nothing.
fn asks(asked: &[u8]) -> (World<Routes>, hub_world::Peer) {
    let routes = reverse(Routes::new()).get("/", |_, _| Response::text(200, "page".repeat(1000)));
    let mut world = World::new(HubSettings::default(), |_| routes);
    let peer = world.connect();
    peer.block();
    peer.feed(asked);
    world.settle();
    (world, peer)
}

#[test]
fn an_answer_may_be_read_slowly_but_not_for_ever() {
    let write = Config::DEFAULT.timeouts.write.unwrap();
    for piece in [1, 1000] {
        let (mut world, peer) = asks(&request("GET", "/", &["Host: a"]));
        let mut turns = 0;
        while !peer.is_gone() && !peer.wire().shut {
            peer.allow(piece);
            world.pass(write - Duration::from_millis(1));
            turns += 1;
            assert!(turns < 100, "a place is held for ever");
        }
        assert_eq!(peer.wire().shut, piece == 1000, "{} bytes", peer.bytes().len());
        world.end();
    }
}

#[test]
fn a_close_and_a_stop_end_an_exchange_in_the_time_for_closing() {
    let close = Config::DEFAULT.timeouts.close.unwrap();
    let part = [&post("/reverse", 100, &[])[..], b"part"].concat();
    let get = request("GET", "/", &["Host: a"]);
    for stop in [false, true] {
        for (asked, room, outcome) in [
            // While the body comes: 408, where that is read.
            (&part, 10_000, "HTTP/1.1 408"),
            (&part, 0, ""),
            // While the answer goes: it may come to its end.
            (&get, 10_000, "HTTP/1.1 200"),
            (&get, 2, "HT"),
        ] {
            let (mut world, peer) = asks(asked);
            if stop {
                world.hub.stop(CloseCode::GOING_AWAY);
            } else {
                assert!(world.hub.context().close(peer.id, CloseCode::GOING_AWAY, ""));
            }
            world.pass(close / 2);
            assert!(!peer.is_gone(), "it has its time");
            peer.allow(room);
            world.pass(close * 2);
            assert!(peer.is_gone(), "{outcome:?} {stop}");
            let output = peer.bytes();
            assert!(output.starts_with(outcome.as_bytes()), "{}", output.escape_ascii());
            assert_eq!(world.hub.is_over(), stop);
            world.end();
        }
    }
}

#[test]
fn requests_of_http_1_0_are_answered() {
    let served = RoutesServer::new(HubSettings::default(), |_| {
        Routes::new().get("/", |_, _| Response::text(200, "page")).websocket_with(
            "/ws",
            AcceptOptions::new(),
            |_, _| Ok(sansocket::session::ServiceUnavailable),
        )
    });
    let answer = served.ask("GET / HTTP/1.0\r\n\r\n");
    assert_eq!((answer.status, &answer.body[..]), (200, &b"page"[..]));
    let old = String::from_utf8(upgrade("/ws", &[])).unwrap().replace("HTTP/1.1", "HTTP/1.0");
    assert_eq!(served.ask(old).status, 400);
    served.finish();
}
