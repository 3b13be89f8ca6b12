//! A server's frames and connection, without the opening handshake.

#![no_std]
#![no_main]

#[path = "../pump.rs"]
mod pump;

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    loop {
        footprint::tell(pump::run(sansocket::Server).is_ok().into());
    }
}
