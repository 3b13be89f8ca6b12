//! A whole client: the opening handshake, then what `client` has.

#![no_std]
#![no_main]

#[path = "../pump.rs"]
mod pump;

use footprint::{config, memory, micros, read, tell, word, write};
use sansocket::handshake::{ClientHandshake, ClientHandshakeEnd, ClientRequest};
use sansocket::{Client, Instant, ReceiveBuffer, Step, TransmitBuffer};

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    loop {
        tell(connect());
    }
}

/// One connection from its request to its end.
fn connect() -> u32 {
    let Ok(request) = ClientRequest::parse("ws://example.org/telemetry") else { return 1 };
    let request = request.protocols(&["telemetry.v1"]);
    let Ok(mut head) = ReceiveBuffer::new(memory!(1024)) else { return 1 };
    let Ok(mut rx) = ReceiveBuffer::new(memory!(1024)) else { return 1 };
    let Ok(mut tx) = TransmitBuffer::new(memory!(1024)) else { return 1 };
    let nonce = core::array::from_fn(|_| word() as u8);
    let Ok(mut handshake) = ClientHandshake::new(config(), now(), nonce, &request, &mut head) else {
        return 1;
    };
    loop {
        match handshake.poll(now(), &mut head, &mut rx, &mut tx) {
            Step::Wait { deadline } => {
                tell(deadline.map_or(0, |moment| moment.as_micros() as u32));
                tx.consume(write(tx.pending()));
                match read(handshake.spare(&mut head, &rx)) {
                    0 => handshake.end(&mut head),
                    n => handshake.fill(&mut head, n),
                }
            }
            Step::Shutdown => tell(2),
            Step::Done(ClientHandshakeEnd::Opened { protocol }) => {
                write(protocol.unwrap_or_default().as_bytes());
                break;
            }
            Step::Done(_) => return 3,
        }
    }
    pump::run(Client::new(|| word().to_ne_bytes()), &mut rx, &mut tx).is_ok().into()
}

fn now() -> Instant {
    Instant::from_micros(micros())
}
