//! permessage-deflate in sansocket, in other libraries, and in the bare codec:
//!
//!     deflate-peers [--quick] [--only PART-OF-A-LIBRARY'S-NAME] [--work PART-OF-A-WORK'S-NAME] [--bun PROGRAM] [--python PROGRAM]

#![allow(dead_code, reason = "the modules of the other works have more than this one needs")]

#[path = "../../src/clock.rs"]
mod clock;
mod codec;
#[path = "../../src/csv.rs"]
mod csv;
mod loopback;
mod memory;
mod server;
mod traffic;
#[path = "../../src/wire.rs"]
mod wire;

const SIZES: [usize; 3] = [64, 1 << 10, 16 << 10];

fn main() {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some("serve") {
        return server::serve(&args.next().expect("the name of a server"));
    }
    let (rounds, seconds) = if csv::flag("--quick") { (5, 0.5) } else { (15, 1.5) };
    for context in [false, true] {
        for len in SIZES {
            memory::measure(len, context, rounds);
        }
    }
    std::panic::set_hook(Box::new(|_| {})); // the reason stands in the row
    loopback::measure(&SIZES, rounds.div_ceil(3), seconds);
}
