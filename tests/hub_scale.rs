//! The work of a hub in one turn, and for one session, does not grow with the number of sessions.
#![cfg(feature = "hub")]

mod hub_world;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hub_world::*;
use proptest::prelude::*;
use sansocket::handshake::Response;
use sansocket::hub::{Capacity, HubSettings, Routes, SessionId, SessionState};
use sansocket::message::Prepared;
use sansocket::{CloseCode, Config, Event, Handler, HandlerError, Outbox};

/// Sessions that one turn of the hub concerns.
const ROUND: usize = 256;
const MANY: usize = 1000;

fn settings(change: impl FnOnce(&mut HubSettings)) -> HubSettings {
    let mut config = Config::new();
    config.timeouts.ping = None;
    let mut settings = HubSettings::new(Arc::new(config));
    change(&mut settings);
    settings
}

/// A world with so many open sessions.
fn crowd(make: impl FnMut() -> Act + 'static, many: usize) -> (World<App>, Vec<Peer>) {
    let mut world = World::new(settings(|settings| settings.max_sessions = 2 * many), |_| App::new(make));
    let peers: Vec<_> = (0..many).map(|_| world.connect()).collect();
    peers.iter().for_each(|peer| peer.feed(REQUEST));
    world.settle();
    for peer in &peers {
        assert!(peer.bytes().starts_with(b"HTTP/1.1 101 "));
    }
    (world, peers)
}

fn heard(peers: &[Peer]) -> usize {
    peers.iter().filter(|peer| !peer.wire().from_hub.is_empty()).count()
}

#[test]
fn a_turn_serves_a_bounded_number_of_sessions() {
    let (mut world, peers) = crowd(echo, MANY);
    peers.iter().for_each(|peer| peer.text("all at once"));
    let mut before = 0;
    while before < MANY {
        world.run();
        let now = heard(&peers);
        assert!(now > before && now - before <= ROUND, "{now} after {before}");
        before = now;
        let due = world.hub.deadline(world.now).is_some_and(|deadline| deadline <= world.now);
        assert_eq!(due, now < MANY, "it waits with sessions to serve");
    }
    world.end();
}

#[test]
fn a_turn_takes_a_bounded_number_of_timers() {
    let timers = Arc::new(AtomicUsize::new(0));
    let count = timers.clone();
    let act = move || -> Act {
        let count = count.clone();
        Box::new(move |now, call, deadline, _| {
            match call {
                Call::Opened => *deadline = Some(now.saturating_add(SECOND)),
                Call::Timer => {
                    *deadline = None;
                    count.fetch_add(1, Ordering::Relaxed);
                }
                _ => {}
            }
            Ok(())
        })
    };
    let (mut world, _peers) = crowd(act, MANY);
    world.now = world.now.saturating_add(2 * SECOND);
    let mut before = 0;
    while before < MANY {
        world.run();
        let now = timers.load(Ordering::Relaxed);
        assert!(now > before && now - before <= ROUND, "{now} after {before}");
        before = now;
        let due = world.hub.deadline(world.now).is_some_and(|deadline| deadline <= world.now);
        assert_eq!(due, now < MANY, "it waits with timers that are due");
    }
    world.end();
}

#[test]
fn a_broadcast_reaches_a_bounded_number_of_sessions_a_turn() {
    let (mut world, peers) = crowd(echo, MANY);
    let visits = Arc::new(AtomicUsize::new(0));
    for number in 0..3 {
        let count = visits.clone();
        let message = Prepared::text(format!("broadcast {number}"));
        world
            .handle
            .broadcast_to(message, move |_| {
                count.fetch_add(1, Ordering::Relaxed);
                true
            })
            .unwrap();
    }
    // Commands take effect in their order, for each session.
    world.handle.send(peers[MANY - 1].id, Prepared::text("behind")).unwrap();
    let mut before = 0;
    let mut turns = 0;
    while before < 3 * MANY {
        world.run();
        turns += 1;
        let now = visits.load(Ordering::Relaxed);
        assert!(now > before && now - before <= ROUND, "{now} after {before}");
        before = now;
    }
    assert!(turns <= 3 * MANY / ROUND + 1, "{turns} turns");
    world.settle();
    assert_eq!(visits.load(Ordering::Relaxed), 3 * MANY);
    let broadcasts = ["broadcast 0", "broadcast 1", "broadcast 2"].map(text);
    for peer in &peers[..MANY - 1] {
        assert_eq!(peer.got(), broadcasts);
    }
    assert_eq!(peers[MANY - 1].got(), [&broadcasts[..], &[text("behind")]].concat());
    world.end();
}

/// Many short broadcasts cost as much as one long one.
#[test]
fn broadcasts_of_one_turn_share_its_visits() {
    let (mut world, peers) = crowd(echo, 100);
    for _ in 0..50 {
        world.handle.broadcast(Prepared::text("x")).unwrap();
    }
    world.run();
    let got: usize = peers.iter().map(|peer| peer.got().len()).sum();
    assert!((1..=ROUND).contains(&got), "{got}");
    world.settle();
    let got: usize = peers.iter().map(|peer| peer.got().len()).sum::<usize>() + got;
    assert_eq!(got, 50 * 100);
    world.end();
}

#[test]
fn a_broadcast_does_not_reach_sessions_that_join_during_it() {
    let (mut world, peers) = crowd(echo, MANY);
    world.handle.broadcast(Prepared::text("early")).unwrap();
    world.run();
    assert!(heard(&peers) < MANY, "it is under way");
    let late = world.connect();
    late.feed(REQUEST);
    // Who ends meanwhile is no hindrance, wherever the broadcast stands.
    peers[ROUND].cut();
    peers[MANY - 2].cut();
    world.settle();
    assert!(late.bytes().ends_with(b"\r\n\r\n"), "no message behind the 101");
    assert!(peers[MANY - 1].got() == [text("early")]);
    world.handle.broadcast(Prepared::text("for all")).unwrap();
    world.settle();
    assert_eq!(late.got(), [text("for all")]);
    world.end();
}

#[test]
fn a_filter_that_panics_ends_its_broadcast_only() {
    let (mut world, peers) = crowd(echo, MANY);
    let last = peers[MANY / 2].id;
    world
        .handle
        .broadcast_to(Prepared::text("half"), move |session| {
            assert!(session.id() < last, "on purpose");
            true
        })
        .unwrap();
    world.handle.broadcast(Prepared::text("all")).unwrap();
    world.settle();
    assert_eq!(peers[0].got(), ["half", "all"].map(text));
    assert_eq!(peers[MANY - 1].got(), [text("all")]);
    world.end();
}

#[test]
fn a_stop_closes_a_bounded_number_of_sessions_a_turn() {
    let (mut world, peers) = crowd(echo, MANY);
    world.handle.broadcast(Prepared::text("before")).unwrap();
    world.handle.stop(CloseCode::GOING_AWAY).unwrap();
    world.handle.broadcast(Prepared::text("too late")).unwrap();
    let closing = |world: &mut World<App>| {
        let hub = world.hub.context();
        hub.sessions().filter(|session| session.state() == SessionState::Closing).count()
    };
    let mut before = 0;
    while before < MANY {
        world.run();
        let now = closing(&mut world);
        assert!(now - before <= ROUND, "{now} after {before}");
        assert!(now == 0 || world.hub.is_stopping() && !world.hub.admits(world.now));
        before = now;
    }
    world.settle();
    for peer in &peers {
        assert_eq!(peer.got(), [text("before"), Got::Close(1001)]);
        peer.bye(1001);
    }
    world.settle();
    assert!(world.hub.is_over());
}

/// Its work is one session's: keys and ids stand for one another, and ids never come again.
#[test]
fn ids_are_never_given_twice() {
    let mut world = echoes(settings(|settings| settings.max_sessions = 3));
    let mut last: Option<SessionId> = None;
    let mut open = vec![];
    for round in 0..200 {
        let peer = world.open();
        assert!(last < Some(peer.id), "{:?} after {last:?}", peer.id);
        last = Some(peer.id);
        open.push(peer);
        if open.len() == 3 {
            open.remove(round % 3).cut();
            world.settle();
        }
    }
    world.end();
}

/// What a hub promises of evictions, by a list.
#[derive(Default)]
struct Model {
    /// Who was heard last stands last.
    staying: Vec<SessionId>,
    leaving: Vec<SessionId>,
}

proptest! {
    /// The connection that was silent for longest is evicted, whatever peers send and in any order of closing.
    #[test]
    fn the_session_that_was_silent_for_longest_is_evicted(deeds in proptest::collection::vec((0..4u8, 0..6usize), 1..80)) {
        const PLACES: usize = 4;
        let mut world = echoes(settings(|settings| {
            settings.max_sessions = PLACES;
            settings.capacity = Capacity::Evict;
        }));
        let mut peers: Vec<Peer> = vec![];
        let mut model = Model::default();
        for (deed, which) in deeds {
            let peer = peers.get(which % peers.len().max(1)).cloned();
            match (deed, peer) {
                (0, Some(peer)) => {
                    // One that is being closed is heard too.
                    peer.text("here");
                    let order = if model.staying.contains(&peer.id) { &mut model.staying } else { &mut model.leaving };
                    order.retain(|id| *id != peer.id);
                    order.push(peer.id);
                }
                (1, Some(peer)) => {
                    world.handle.close(peer.id, CloseCode::NORMAL, "").unwrap();
                    if model.staying.contains(&peer.id) {
                        model.staying.retain(|id| *id != peer.id);
                        model.leaving.push(peer.id);
                    }
                }
                (2, Some(peer)) => {
                    peer.cut();
                    model.staying.retain(|id| *id != peer.id);
                    model.leaving.retain(|id| *id != peer.id);
                }
                _ => {
                    let cut = (model.staying.len() + model.leaving.len() + 1 >= PLACES + 8 && !model.leaving.is_empty())
                        .then(|| model.leaving.remove(0));
                    if model.staying.len() == PLACES {
                        let silent = model.staying.remove(0);
                        model.leaving.push(silent);
                    }
                    let peer = world.connect();
                    peer.feed(REQUEST);
                    model.staying.push(peer.id);
                    peers.push(peer);
                    peers.retain(|peer| Some(peer.id) != cut);
                }
            }
            world.settle();
            world.now = world.now.saturating_add(SECOND / 1000);
            peers.retain(|peer| !peer.is_gone());
            let mut staying = vec![];
            let mut leaving = vec![];
            for session in world.handle.sessions() {
                let closing = session.state() == SessionState::Closing;
                if closing { leaving.push(session.id()) } else { staying.push(session.id()) }
            }
            let sorted = |ids: &[SessionId]| {
                let mut ids = ids.to_vec();
                ids.sort();
                ids
            };
            prop_assert_eq!(staying, sorted(&model.staying));
            prop_assert_eq!(leaving, sorted(&model.leaving));
        }
        world.end();
    }
}

// ---- one session's turn ----

/// Bytes that one session receives and sends in a turn.
const BYTES: u64 = 128 * 1024;
const LARGE: usize = 4 << 20;
static LARGE_PAGE: [u8; LARGE] = [7; LARGE];

fn pages() -> World<Routes> {
    World::new(settings(|_| {}), |_| {
        Routes::new()
            .get("/owned", |_, _| Response::new(200, "a/b", LARGE_PAGE.to_vec()))
            .get("/static", |_, _| Response::new(200, "a/b", &LARGE_PAGE))
            .post("/body", LARGE, |_, _, body| Response::text(200, format!("{} bytes", body.len())))
            .websocket("/ws", |_, _| Ok::<_, Response<'_>>(Quick))
    })
}

/// Answers every message.
struct Quick;

impl Handler for Quick {
    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        match event {
            Event::Data(data) => out.forward(&data),
            _ => Ok(()),
        }
    }
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
}

#[test]
fn a_response_of_any_size_is_sent_in_turns() {
    let mut world = pages();
    let other = world.open();
    let readers: Vec<_> = ["/owned", "/static"].map(|path| (path, world.connect())).into();
    for (path, reader) in &readers {
        reader.feed(&get(path));
    }
    let mut turns = 0u64;
    let mut pages = vec![vec![]; 2];
    while readers.iter().any(|(_, reader)| !reader.wire().shut) {
        other.text("here");
        let before: Vec<_> = readers.iter().map(|(_, reader)| reader.wire().sent).collect();
        world.run();
        assert_eq!(other.got(), [text("here")]);
        for ((_, reader), (page, before)) in readers.iter().zip(pages.iter_mut().zip(before)) {
            let sent = reader.wire().sent - before;
            assert!(sent <= BYTES, "{sent} bytes in a turn");
            page.extend(reader.bytes());
        }
        turns += 1;
    }
    assert!(turns <= LARGE as u64 / BYTES + 3, "{turns} turns");
    for page in pages {
        let head = page.len() - LARGE;
        assert!(page.starts_with(b"HTTP/1.1 200 ") && page[..head].ends_with(b"\r\n\r\n"));
        assert!(page[head..] == LARGE_PAGE);
    }
    world.end();
}

/// However little the transport takes at a time.
#[test]
fn a_response_has_a_limit_of_steps_a_turn() {
    let mut world = pages();
    let reader = world.connect();
    reader.wire().most = 1;
    reader.feed(&get("/owned"));
    for _ in 0..10 {
        let before = reader.wire().writes;
        world.run();
        let writes = reader.wire().writes - before;
        assert!((1..=64).contains(&writes), "{writes}");
    }
    world.end();
}

#[test]
fn a_body_is_read_in_turns_and_so_is_input_after_the_response() {
    let mut world = pages();
    let other = world.open();
    let peer = world.connect();
    peer.feed(format!("POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n").as_bytes());
    peer.feed(&LARGE_PAGE);
    // Nobody reads this.
    peer.feed(&LARGE_PAGE);
    let mut turns = 0;
    while peer.wire().received < 2 * LARGE as u64 {
        other.text("here");
        let before = peer.wire().received;
        world.run();
        let received = peer.wire().received - before;
        // The head of the request has a turn's share of its own.
        assert!(received <= 2 * BYTES && (turns == 0 || received <= BYTES), "{received} bytes in a turn");
        assert_eq!(other.got(), [text("here")]);
        turns += 1;
        assert!(turns < 1000);
    }
    let answer = peer.bytes();
    assert!(answer.ends_with(format!("\r\n\r\n{LARGE} bytes").as_bytes()), "{}", answer.escape_ascii());
    world.end();
}

#[test]
fn a_body_without_memory_is_refused() {
    let mut world = World::new(settings(|_| {}), |_| {
        Routes::new().post("/", usize::MAX, |_, _, _| Response::text(200, ""))
    });
    let peer = world.connect();
    // Of 4 GiB a quarter may be had.
    let len = usize::MAX / 4 * if usize::BITS > 32 { 1 } else { 3 };
    peer.feed(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {len}\r\n\r\n").as_bytes());
    peer.fin();
    world.settle();
    let answer = peer.bytes();
    assert!(answer.starts_with(b"HTTP/1.1 503 "), "{}", answer.escape_ascii());
    assert_eq!(world.end().panicked, 0);
}

/// Whatever takes bytes: a message that is written from where it lies, one that is received, and their echo.
#[test]
fn a_message_of_any_size_is_sent_in_turns() {
    let (mut world, peers) = crowd(echo, 2);
    let [reader, other] = &peers[..] else { unreachable!() };
    world.handle.send(reader.id, Prepared::binary(LARGE_PAGE.as_slice())).unwrap();
    reader.feed(&masked(0x82, &LARGE_PAGE));
    let moved = |peer: &Peer| {
        let wire = peer.wire();
        (wire.received, wire.sent + wire.received)
    };
    let whole = moved(reader).0 + LARGE as u64;
    while moved(reader).0 < whole {
        other.text("here");
        let before = moved(reader).1;
        world.run();
        let moved = moved(reader).1 - before;
        assert!(moved > 0 && moved <= BYTES, "{moved} bytes in a turn");
        assert_eq!(other.got(), [text("here")]);
    }
    world.settle();
    let got = reader.got();
    assert!(matches!(&got[..], [Got::Data { payload, .. }, Got::Data { payload: echo, .. }]
        if **payload == LARGE_PAGE && **echo == LARGE_PAGE));
    world.end();
}
