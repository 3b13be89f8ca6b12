//! Whatever happens to a hub's sessions in whatever order: frames and messages are whole and in their order, every
//! completion is told once and tells the truth, and every count agrees.
#![cfg(feature = "hub")]

mod pipe;

use std::collections::HashMap;
use std::time::Duration;

use pipe::*;
use proptest::prelude::*;
use sansocket::hub::{Capacity, Lost, Overflow, Settings};
use sansocket::{CloseCode, Config, Event, Kind};

#[derive(Clone, Debug)]
enum Deed {
    Connect,
    /// The next bytes of what this peer has to say.
    Say(usize, usize),
    Allow(usize, usize),
    Block(usize),
    Most(usize, usize),
    Send(usize, usize),
    Broadcast(usize),
    Close(usize),
    Fin(usize),
    Cut(usize),
    Pass(u64),
    Turn,
}

fn deed() -> impl Strategy<Value = Deed> {
    let peer = 0..8usize;
    let len = prop_oneof![4 => 4..200usize, 2 => 900..1200usize, 1 => 2000..70_000usize];
    prop_oneof![
        2 => Just(Deed::Connect),
        8 => (peer.clone(), prop_oneof![1..20usize, 20..5000usize]).prop_map(|(peer, n)| Deed::Say(peer, n)),
        6 => (peer.clone(), prop_oneof![1..20usize, 20..5000usize, Just(usize::MAX)])
            .prop_map(|(peer, n)| Deed::Allow(peer, n)),
        2 => peer.clone().prop_map(Deed::Block),
        1 => (peer.clone(), 1..2000usize).prop_map(|(peer, n)| Deed::Most(peer, n)),
        8 => (peer.clone(), len.clone()).prop_map(|(peer, len)| Deed::Send(peer, len)),
        2 => len.prop_map(Deed::Broadcast),
        1 => peer.clone().prop_map(Deed::Close),
        1 => peer.clone().prop_map(Deed::Fin),
        1 => peer.prop_map(Deed::Cut),
        1 => (1..8000u64).prop_map(Deed::Pass),
        6 => Just(Deed::Turn),
    ]
}

/// Frames of all sorts: echoed at once, in fragments, in one long frame; a Ping; a fragmented message around it.
fn speech(seed: usize) -> Vec<u8> {
    let mut bytes = REQUEST.to_vec();
    for at in 0..40usize {
        let payload: Vec<u8> = (0..(at * 7919 + seed * 104_729) % 3000).map(|n| n as u8).collect();
        match (at + seed) % 4 {
            0 => bytes.extend(frame(0x82, &payload)),
            1 => bytes.extend(frame(0x81, &b"fragments".repeat(1 + at))),
            2 => {
                bytes.extend(frame(0x02, &payload));
                bytes.extend(frame(0x89, b"inside"));
                bytes.extend(frame(0x80, &payload));
            }
            _ => bytes.extend(frame(0x89, &[at as u8; 100])),
        }
    }
    bytes
}

/// Echoes text in fragments of 7 bytes, whatever the room, and all else as it came.
fn scribe() -> Act {
    let (mut text, mut at) = (Vec::new(), 0);
    Box::new(move |_, call, _, out| {
        if let Call::Event(Event::Data(data)) = &call {
            if data.kind == Kind::Binary {
                return out.relay(data);
            }
            if at == 0 && data.start {
                text.clear();
            }
            if at == 0 {
                text.extend_from_slice(data.payload.bytes());
            }
            if !data.end {
                return Ok(());
            }
            while at < text.len() {
                let piece = &text[at..text.len().min(at + 7)];
                let end = at + piece.len() == text.len();
                out.fragment(Kind::Text, piece, end)?;
                at += piece.len();
            }
            at = 0;
        }
        Ok(())
    })
}

fn run(deeds: &[Deed], overflow: Overflow, capacity: Capacity) {
    let mut settings = Settings::default();
    let mut config = Config::new();
    config.timeouts.ping = Some(Duration::from_secs(5));
    config.timeouts.pong = Some(Duration::from_secs(5));
    config.timeouts.write = Some(Duration::from_secs(5));
    settings.config = Box::leak(Box::new(config));
    settings.sessions = 5;
    settings.capacity = capacity;
    settings.rx = 1500;
    settings.tx = 1500;
    settings.backlog.messages = 12;
    settings.backlog.bytes = 100_000;
    settings.backlog.overflow = overflow;
    let mut world = World::new(settings, |_| App::new(scribe));
    let told = Told::default();
    let mut peers: Vec<(Peer, Vec<u8>, usize)> = vec![];
    // What was sent to whom, by number.
    let mut sent: HashMap<usize, usize> = HashMap::new();
    let mut results: HashMap<usize, Result<(), Lost>> = HashMap::new();
    let mut number = 0;
    for deed in deeds {
        let peer = |at: usize| (!peers.is_empty()).then(|| at % peers.len());
        match *deed {
            Deed::Connect => {
                if world.hub.admits(world.now) {
                    let peer = world.connect();
                    peers.push((peer, speech(peers.len()), 0));
                }
            }
            Deed::Say(at, n) => {
                if let Some((peer, speech, said)) = peer(at).map(|at| &mut peers[at]) {
                    let end = speech.len().min(*said + n);
                    peer.feed(&speech[*said..end]);
                    *said = end;
                }
            }
            Deed::Allow(at, n) => drop(peer(at).map(|at| peers[at].0.allow(n))),
            Deed::Block(at) => drop(peer(at).map(|at| peers[at].0.block())),
            Deed::Most(at, n) => drop(peer(at).map(|at| peers[at].0.wire().most = n)),
            Deed::Send(at, len) => {
                if let Some(at) = peer(at) {
                    let message = numbered(number, len).1;
                    world.handle.send_then(peers[at].0.id, message, told.done(number)).unwrap();
                    sent.insert(number, at);
                    number += 1;
                }
            }
            Deed::Broadcast(len) => {
                world.handle.broadcast(numbered(1_000_000 + number, len).1).unwrap();
                number += 1;
            }
            Deed::Close(at) => {
                if let Some(at) = peer(at) {
                    world.handle.close(peers[at].0.id, CloseCode::NORMAL, "").unwrap();
                }
            }
            Deed::Fin(at) => drop(peer(at).map(|at| peers[at].0.fin())),
            Deed::Cut(at) => drop(peer(at).map(|at| peers[at].0.cut())),
            Deed::Pass(millis) => drop(world.pass(Duration::from_millis(millis))),
            Deed::Turn => world.run(),
        }
    }
    // Whoever is still there reads, or goes.
    world.settle();
    for (at, (peer, ..)) in peers.iter().enumerate() {
        if at % 2 == 0 { peer.allow(usize::MAX) } else { peer.fin() }
    }
    world.settle();
    world.handle.stop(CloseCode::GOING_AWAY).unwrap();
    world.pass(60 * SECOND);
    assert!(world.hub.is_over());
    let counters = world.end();
    assert!(peers.iter().all(|(peer, ..)| peer.is_gone()));
    for (number, result) in told.take() {
        assert_eq!(results.insert(number, result), None, "told twice");
    }
    assert_eq!(results.len(), sent.len(), "somebody waits for ever");
    let pipes = |count: fn(&Peer) -> u64| peers.iter().map(|(peer, ..)| count(peer)).sum::<u64>();
    assert_eq!(counters.received, pipes(|peer| peer.wire().received));
    assert_eq!(counters.sent, pipes(|peer| peer.wire().sent));
    assert_eq!(counters.accepted, peers.len() as u64);
    let mut arrived = HashMap::new();
    for (at, (peer, ..)) in peers.iter().enumerate() {
        let bytes = peer.bytes();
        let end = bytes.windows(4).position(|end| end == b"\r\n\r\n").map_or(bytes.len(), |end| end + 4);
        if !bytes.starts_with(b"HTTP/1.1 101 ") {
            continue;
        }
        peer.wire().from_hub = bytes[end..].to_vec();
        let mut last = None;
        for got in peer.got() {
            // The hub's own messages say who they are; those of the echo begin otherwise, or are longer than that.
            let Got::Data { text: false, payload, frames: 1 } = got else { continue };
            let Some(number) = payload.first_chunk().map(|number| u32::from_be_bytes(*number) as usize)
            else {
                continue;
            };
            let own = payload[4..].iter().all(|byte| *byte == number as u8);
            let (known, to) = (number % 1_000_000, sent.get(&number));
            if own && known < deeds.len() && (number >= 1_000_000 || to.is_some()) {
                assert!(number >= 1_000_000 || to == Some(&at), "somebody else's message");
                assert!(last < Some(known), "out of order");
                last = Some(known);
                if number < 1_000_000 {
                    arrived.insert(number, ());
                }
            }
        }
    }
    // What was told to be written is there; what was told to be lost is not there whole, or was cut off behind it.
    for (number, result) in &results {
        assert_eq!(result.is_ok(), arrived.contains_key(number), "{number}: {result:?}");
    }
    let ok = results.values().filter(|result| result.is_ok()).count() as u64;
    assert!(counters.delivered >= ok);
}

proptest! {
    #[test]
    fn order_wholeness_and_counts(
        deeds in proptest::collection::vec(deed(), 1..120),
        overflow in prop_oneof![
            Just(Overflow::DropNewest),
            Just(Overflow::DropOldest),
            Just(Overflow::Close(CloseCode::TRY_AGAIN_LATER)),
        ],
        capacity in prop_oneof![Just(Capacity::Refuse(2)), Just(Capacity::Evict)],
    ) {
        run(&deeds, overflow, capacity);
    }
}
