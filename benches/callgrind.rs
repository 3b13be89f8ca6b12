//! Work of a known size, for a tool that counts instructions: `.ci/instructions` runs it twice and divides the
//! difference.
//!
//!     callgrind SUBJECT SIZE ROUNDS     each round takes a buffer full of binary messages
//!
//! Prints how many messages it took.

mod subject;

use subject::{Wire, subject};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // Cargo adds `--bench` to a run of its own, which has nothing to do here.
    let [name, size, rounds] = args.as_slice() else { return };
    let (size, rounds): (usize, usize) = (size.parse().unwrap(), rounds.parse().unwrap());
    let wire = Wire::new(false, &vec![0x55; size]);
    println!("{}", wire.messages * rounds);
    let mut run = subject(name, wire);
    for _ in 0..rounds {
        run();
    }
}
