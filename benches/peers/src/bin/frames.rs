//! Decoding and echoing in memory.
//!
//!     frames [--quick] [--only PART-OF-A-LIBRARY'S-NAME] [--work PART-OF-A-WORK'S-NAME]

use sansocket_peers::clock::{cpu_ns, median};
use sansocket_peers::csv::{attempt, failed, flag, option, row, size};
use sansocket_peers::memory_socket::{MemorySocket, READ};
use sansocket_peers::peers::{ALL, App, Mode, Peer};
use sansocket_peers::wire::{Content, Traffic, messages, traffic};

fn main() {
    let (rounds, only) = (if flag("--quick") { 7 } else { 31 }, option("--only").unwrap_or_default());
    let peers: Vec<&Peer> =
        ALL.iter().filter(|peer| peer.name == "floor" || peer.name.contains(&only)).collect();
    let wanted = option("--work").unwrap_or_default();
    std::panic::set_hook(Box::new(|_| {})); // the reason stands in the row
    for mode in [Mode::Decode, Mode::Echo, Mode::EchoGathered] {
        for traffic in works() {
            let work = match mode {
                Mode::Decode => format!("decode-{}", traffic.name),
                Mode::Echo => format!("echo-{}", traffic.name.replace("bin-", "")),
                Mode::EchoGathered => format!("echo-gathered-{}", traffic.name.replace("bin-", "")),
            };
            if work.contains(&wanted) && (mode == Mode::Decode || traffic.content == Content::Binary) {
                measure(&work, mode, &traffic, &peers, rounds);
            }
        }
    }
}

fn works() -> Vec<Traffic> {
    let mut works = vec![];
    for (name, content) in [("bin", Content::Binary), ("ascii", Content::Ascii), ("utf8", Content::Mixed)] {
        for len in [16, 125, 1 << 10, 16 << 10, 64 << 10] {
            works.push(traffic(format!("{name}-{}", size(len)), content, len, None));
        }
    }
    for fragment in [4096, 64] {
        works.push(traffic(
            format!("bin-1M-in-{}", size(fragment)),
            Content::Binary,
            1 << 20,
            Some(fragment),
        ));
    }
    works
}

/// Measures each library once a round, after a pass that is not timed: it pays for what the one before has left in the heap
/// and in the caches.
fn measure(work: &str, mode: Mode, traffic: &Traffic, peers: &[&Peer], rounds: usize) {
    let mut able = vec![];
    for peer in peers.iter().filter(|peer| peer.modes.contains(&mode)) {
        match attempt(|| check(peer, mode, traffic)) {
            Ok(()) => able.push(*peer),
            Err(reason) => failed(work, peer.name, &reason),
        }
    }
    let count = traffic.messages.len() as u64;
    // Many enough that the growth of the first message's memory does not count.
    let passes = if traffic.fragmented { 12 } else { ((4 << 20) / traffic.bytes.len() as u64).max(1) };
    let mut times = vec![vec![]; able.len()];
    let mut socket = MemorySocket::new(traffic.bytes, passes);
    for _ in 0..rounds {
        for (peer, times) in able.iter().zip(&mut times) {
            socket.reset(traffic.bytes, 1);
            socket = (peer.run)(socket, count, mode, &mut App::default());
            socket.reset(traffic.bytes, passes);
            let began = cpu_ns();
            socket = (peer.run)(socket, count * passes, mode, &mut App::default());
            times.push((cpu_ns() - began) / (count * passes) as f64);
        }
    }
    for (peer, own) in able.iter().zip(&times) {
        let ratios: Vec<f64> = own.iter().zip(&times[0]).map(|(own, floor)| own / floor).collect();
        row(work, peer.name, median(own), "ns", median(&ratios));
    }
}

/// Every message comes out, and comes back. What is no UTF-8 does not, also where a read cuts its frame.
fn check(peer: &Peer, mode: Mode, traffic: &Traffic) {
    let mut socket = MemorySocket::new(traffic.bytes, 2);
    socket.written = Some(vec![]);
    let mut app = App { kept: Some(vec![]), ..App::default() };
    let expected = || traffic.messages.iter().chain(traffic.messages);
    let count = traffic.messages.len() * 2;
    let socket = (peer.run)(socket, count as u64, mode, &mut app);
    assert!(app.kept.unwrap().iter().eq(expected()), "other messages than were sent");
    if mode != Mode::Decode {
        let opcode = if traffic.content == Content::Binary { 2 } else { 1 };
        let echoed = messages(&socket.written.unwrap());
        assert_eq!(echoed.len(), count, "messages in the echo");
        assert!(
            echoed.iter().zip(expected()).all(|(got, sent)| got.0 == opcode && got.1 == *sent),
            "another echo"
        );
    }
    if traffic.content != Content::Binary {
        let each = traffic.bytes.len() / traffic.messages.len();
        for bad in [0, READ / each] {
            let mut bytes = traffic.bytes[..(bad + 1) * each].to_vec();
            let last = traffic.messages[bad].last().unwrap();
            bytes[(bad + 1) * each - 1] ^= last ^ 0xFF; // masked as before
            let socket = MemorySocket::new(bytes.leak(), 1);
            let taken = attempt(|| (peer.run)(socket, bad as u64 + 1, mode, &mut App::default()));
            let cut = if bad > 0 || each > READ { " where a read has cut its frame" } else { "" };
            assert!(taken.is_err(), "takes a text that is not UTF-8{cut}");
        }
    }
}
