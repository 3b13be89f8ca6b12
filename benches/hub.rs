//! What a newcomer costs a hub at capacity, for a tool that counts instructions: `.ci/instructions` runs it twice and divides
//! the difference.
//!
//!     hub evict SESSIONS ROUNDS     each round accepts a transport and evicts a session
//!
//! Prints how many rounds those were.

#[path = "../tests/hub_world/mod.rs"]
mod hub_world;
#[path = "../tests/wire/mod.rs"]
mod wire;

use hub_world::{App, World, address, echoes};
use sansocket::hub::{Capacity, HubSettings};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // Cargo adds `--bench` to a run of its own, which has nothing to do here.
    let [_, sessions, rounds] = args.as_slice() else { return };
    let (sessions, rounds): (usize, usize) = (sessions.parse().unwrap(), rounds.parse().unwrap());
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
