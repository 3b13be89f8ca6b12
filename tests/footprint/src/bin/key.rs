//! The answer to a key: SHA-1 and base64.

#![no_std]
#![no_main]

use footprint::{config, memory, micros, read, tell, write};
use sansocket::handshake::accept_key;

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    let memory = memory!(64);
    tell(config().largest_fragment as u32);
    loop {
        let n = read(memory).wrapping_add(write(memory));
        tell((n as u32).wrapping_add(micros() as u32));
        // A key may have any length.
        write(&accept_key(memory.get(..n).unwrap_or_default()));
    }
}
