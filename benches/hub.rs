//! What a newcomer costs a hub at capacity, and a broadcast a recipient, for a tool that counts instructions:
//! `.ci/instructions` runs it twice and divides the difference.
//!
//!     hub evict SESSIONS ROUNDS         each round accepts a transport and evicts a session
//!     hub broadcast SESSIONS ROUNDS     each round sends 64 bytes to all
//!
//! Prints how many rounds, or recipients, those were. The pipes in memory and their peers are counted too.

#[path = "../tests/hub_world/mod.rs"]
mod hub_world;
#[path = "../tests/wire/mod.rs"]
mod wire;

use hub_world::{App, World, address, echoes};
use sansocket::hub::{Capacity, HubSettings};
use sansocket::message::Prepared;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // Cargo adds `--bench` to a run of its own, which has nothing to do here.
    let [work, sessions, rounds] = args.as_slice() else { return };
    let (sessions, rounds): (usize, usize) = (sessions.parse().unwrap(), rounds.parse().unwrap());
    match work.as_str() {
        "evict" => evict(sessions, rounds),
        "broadcast" => broadcast(sessions, rounds),
        _ => panic!("no work {work}"),
    }
}

fn evict(sessions: usize, rounds: usize) {
    let mut settings = HubSettings::default();
    settings.max_sessions = sessions;
    settings.capacity = Capacity::Evict;
    let mut world = echoes(settings);
    let mut peers = vec![];
    // Those that are being closed have all their places too.
    for _ in 0..sessions + 20 + rounds {
        let (pipe, peer) = World::<App>::pipe();
        assert!(world.hub.accept(world.now, pipe, address()).is_ok());
        world.hub.run(world.now);
        peers.push(peer);
    }
    println!("{rounds}");
}

fn broadcast(sessions: usize, rounds: usize) {
    let mut settings = HubSettings::default();
    settings.max_sessions = sessions;
    let mut world = echoes(settings);
    let peers: Vec<_> = (0..sessions).map(|_| world.open()).collect();
    peers.iter().for_each(|peer| peer.wire().from_hub.reserve(1024));
    let message = Prepared::binary(vec![0x55; 64]);
    for _ in 0..rounds {
        world.handle.broadcast(message.clone()).unwrap();
        world.settle();
        for peer in &peers {
            assert_eq!(peer.wire().from_hub.len(), 66);
            peer.wire().from_hub.clear();
        }
    }
    println!("{}", sessions * rounds);
}
