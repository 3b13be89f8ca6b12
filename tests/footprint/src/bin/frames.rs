//! A server's frames and connection, without the opening handshake.

#![no_std]
#![no_main]

#[path = "../pump.rs"]
mod pump;

use sansocket::{ReceiveBuffer, TransmitBuffer};

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    let (Ok(mut rx), Ok(mut tx)) =
        (ReceiveBuffer::new(footprint::memory!(1024)), TransmitBuffer::new(footprint::memory!(1024)))
    else {
        loop {}
    };
    loop {
        rx.clear();
        tx.clear();
        footprint::tell(pump::run(sansocket::Server, &mut rx, &mut tx).is_ok().into());
    }
}
