//! Which violations of the protocol each library notices by itself.

#![no_std]
#![no_main]

use edge_ws::FrameHeader;
use embedded_websocket::{WebSocketServer, WebSocketState};
use figures::{CONFIG, println};
use sansocket::Server;
use sansocket::proto::{MIN_BUFFER_LEN, Decoder};

/// Frames that RFC 6455 forbids a client, with a key of zeros; and zeros to go behind them.
const WRONG: [(&[u8], usize); 9] = [
    (b"\x81\x82\0\0\0\0\xc3\x28", 0),           // text that is not UTF-8
    (b"\x82\x01x", 0),                          // no mask
    (b"\xc2\x81\0\0\0\0x", 0),                  // a reserved bit
    (b"\x09\x80\0\0\0\0", 0),                   // a fragmented Ping
    (b"\x89\xfe\0\x7e\0\0\0\0", 126),           // a Ping of 126 bytes
    (b"\x80\x81\0\0\0\0x", 0),                  // a continuation of nothing
    (b"\x01\x81\0\0\0\0x\x81\x81\0\0\0\0x", 0), // a message inside another
    (b"\x82\xfe\0\x01\0\0\0\0x", 0),            // a length in too many bytes
    (b"\x88\x82\0\0\0\0\x03\xed", 0),           // a Close with 1005
];

/// Whether an error tells that the frames are wrong.
type Judge = fn(&mut [u8]) -> bool;

const JUDGES: [(&str, Judge); 3] =
    [("sansocket", sansocket), ("embedded-websocket", embedded_websocket), ("edge-ws", edge_ws)];

#[riscv_rt::entry]
fn main() -> ! {
    let memory = &mut [0; MIN_BUFFER_LEN];
    for (name, notices) in JUDGES {
        let noticed = WRONG.iter().filter(|(frames, zeros)| {
            let len = frames.len() + zeros;
            let input = &mut memory[..len];
            input.fill(0);
            input[..frames.len()].copy_from_slice(frames);
            notices(input)
        });
        println!("notices {name} {} of {}", noticed.count(), WRONG.len());
    }
    println!("done");
    loop {
        riscv::asm::wfi();
    }
}

fn sansocket(mut input: &mut [u8]) -> bool {
    let mut receiver = Decoder::<Server>::new(&CONFIG);
    loop {
        match receiver.receive(MIN_BUFFER_LEN, &mut input) {
            Ok(Some(_)) => {}
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}

fn embedded_websocket(mut input: &mut [u8]) -> bool {
    let mut websocket = WebSocketServer::new_server();
    websocket.state = WebSocketState::Open;
    while !input.is_empty() {
        let Ok(read) = websocket.read(input, &mut [0; 128]) else { return true };
        input = &mut input[read.len_from..];
    }
    false
}

fn edge_ws(mut input: &mut [u8]) -> bool {
    while !input.is_empty() {
        let Ok((header, n)) = FrameHeader::deserialize(input) else { return true };
        input = &mut input[n + header.payload_len as usize..];
    }
    false
}
