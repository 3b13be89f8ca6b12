//! A client's frames and connection, without the opening handshake.

#![no_std]
#![no_main]

#[path = "../pump.rs"]
mod pump;

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    loop {
        let role = sansocket::Client(|| footprint::word().to_ne_bytes());
        footprint::tell(pump::run(role).is_ok().into());
    }
}
