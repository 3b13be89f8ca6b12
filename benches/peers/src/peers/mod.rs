//! Each library as a server: it reads messages from the socket of memory and, where asked, sends each back.
//!
//! A library is one function of type [`Run`] and one line in [`ALL`]. `frames` first compares every message and every echo
//! with what was sent.

mod embedded_websocket;
mod fastwebsockets;
mod nexus_web;
mod sansocket;
mod sockudo;
mod soketto;
mod tokio_websockets;
mod tungstenite;
mod web_socket;
mod websocket_sans_io;
mod websocketz;
mod wslay;
mod wtx;
mod yawc;

use std::hint::black_box;

pub use websocketz::NoKeys;

use crate::floor;
use crate::memory_socket::MemorySocket;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Decode,
    /// Each reply is written by itself.
    Echo,
    /// Replies may be gathered until the input is used up.
    EchoGathered,
}

/// The application: it looks at both ends of a message and counts it.
#[derive(Default)]
pub struct App {
    pub messages: u64,
    /// All messages, where they are compared.
    pub kept: Option<Vec<Vec<u8>>>,
}

impl App {
    #[inline]
    pub fn message(&mut self, message: &[u8]) {
        self.messages += 1;
        black_box((message.first(), message.last()));
        if let Some(kept) = &mut self.kept {
            kept.push(message.to_vec());
        }
    }
}

/// Takes so many messages out of the socket, and returns it.
pub type Run = fn(MemorySocket, u64, Mode, &mut App) -> MemorySocket;

pub struct Peer {
    pub name: &'static str,
    pub run: Run,
    /// The modes that it can do.
    pub modes: &'static [Mode],
}

const DECODE_ECHO: &[Mode] = &[Mode::Decode, Mode::Echo];
const EVERY: &[Mode] = &[Mode::Decode, Mode::Echo, Mode::EchoGathered];
const GATHERED: &[Mode] = &[Mode::Decode, Mode::EchoGathered];

/// The floor is the first.
pub const ALL: &[Peer] = &[
    Peer { name: "floor", run: floor::connection, modes: EVERY },
    Peer { name: "sansocket", run: sansocket::connection, modes: EVERY },
    Peer { name: "sansocket-handler", run: sansocket::handler, modes: GATHERED },
    Peer { name: "sansocket-tokio", run: sansocket::tokio, modes: EVERY },
    Peer { name: "tungstenite", run: tungstenite::run, modes: EVERY },
    Peer { name: "fastwebsockets", run: fastwebsockets::run, modes: DECODE_ECHO },
    Peer { name: "tokio-websockets", run: tokio_websockets::run, modes: EVERY },
    Peer { name: "yawc", run: yawc::run, modes: EVERY },
    Peer { name: "sockudo-ws", run: sockudo::run, modes: EVERY },
    Peer { name: "wtx", run: wtx::run, modes: DECODE_ECHO },
    Peer { name: "web-socket", run: web_socket::run, modes: DECODE_ECHO },
    Peer { name: "soketto", run: soketto::run, modes: EVERY },
    Peer { name: "nexus-web", run: nexus_web::run, modes: EVERY },
    Peer { name: "websocket-sans-io", run: websocket_sans_io::run, modes: EVERY },
    Peer { name: "websocketz", run: websocketz::run, modes: DECODE_ECHO },
    Peer { name: "embedded-websocket", run: embedded_websocket::run, modes: EVERY },
    Peer { name: "wslay", run: wslay::run, modes: EVERY },
];

/// The header of an unmasked whole message, and its length.
#[inline]
pub fn header(opcode: u8, len: usize) -> ([u8; 10], usize) {
    let mut bytes = [0; 10];
    bytes[0] = 0x80 | opcode;
    match len {
        0..=125 => {
            bytes[1] = len as u8;
            (bytes, 2)
        }
        126..=0xFFFF => {
            bytes[1] = 126;
            bytes[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            (bytes, 4)
        }
        _ => {
            bytes[1] = 127;
            bytes[2..].copy_from_slice(&(len as u64).to_be_bytes());
            (bytes, 10)
        }
    }
}

/// Checks a text for those libraries that leave it to their user.
fn check_text(text: &[u8]) {
    std::str::from_utf8(text).expect("UTF-8");
}

/// The largest message that any of them has to take.
const LIMIT: usize = 64 << 20;
/// What is gathered of replies, where the library leaves that to its user.
const GATHER: usize = 49152;
const BUFFER: usize = 65536;
