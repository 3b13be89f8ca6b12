//! The board, and nothing that uses it: what is subtracted from the others.

#![no_std]
#![no_main]

use footprint::{config, memory, micros, read, tell, write};

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    let memory = memory!(64);
    tell(config().largest_fragment as u32);
    loop {
        let n = read(memory).wrapping_add(write(memory));
        tell((n as u32).wrapping_add(micros() as u32));
    }
}
