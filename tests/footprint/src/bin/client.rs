//! A client's frames and connection, without the opening handshake.

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
        let role = sansocket::Client::new(|| footprint::word().to_ne_bytes());
        footprint::tell(pump::run(role, &mut rx, &mut tx).is_ok().into());
    }
}
