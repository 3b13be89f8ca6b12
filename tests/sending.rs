//! Sending: what is refused and changes nothing, what resumes, and what all ways of sending have in common.

mod common;

use std::cell::Cell;

use common::*;
use sansocket::frame::{MAX_CONTROL, MAX_HEADER};
use sansocket::{
    Client, CloseCode, Config, Kind, MAX_REASON, MIN_BUFFER, MaskingKey, Role, SendError, Sender, Server, TransmitBuffer,
};

/// A sender with its buffer.
struct Rig<'m, R> {
    sender: Sender<R>,
    tx: TransmitBuffer<'m>,
}

impl<'m, R: Role> Rig<'m, R> {
    fn new(role: R, memory: &'m mut [u8]) -> Self {
        Self { sender: Sender::new(role), tx: TransmitBuffer::new(memory).expect("140 bytes at least") }
    }

    fn written(&mut self) -> Vec<u8> {
        let bytes = self.tx.pending().to_vec();
        self.tx.consume(bytes.len());
        bytes
    }

    /// Tries everything that could be refused, and says how; nothing may change by it.
    fn refused(&mut self) -> [Result<(), SendError>; 7] {
        let before = (self.tx.pending().to_vec(), self.sender.left(), self.sender.is_inside_message());
        let Self { sender, tx } = self;
        let mut payload = &[b'x'; 100][..];
        let results = [
            sender.send(tx, Kind::Text, payload),
            sender.fragment(tx, Kind::Text, payload, true),
            sender.begin(tx, Kind::Text, 100, true),
            sender.stream(tx, Kind::Text, &mut payload, true, usize::MAX),
            sender.ping(tx, &[b'x'; 100]),
            sender.pong(tx, &[b'x'; 100]),
            sender.close(tx, Some(CloseCode::NORMAL), &"x".repeat(100)),
        ];
        assert_eq!(payload.len(), 100);
        assert_eq!((tx.pending().to_vec(), sender.left(), sender.is_inside_message()), before);
        results
    }
}

/// Both roles.
fn both(test: fn(&mut dyn FnMut(&mut dyn FnMut(Rigged<'_, '_>)))) {
    test(&mut |run| {
        run(Rigged::Server(&mut Rig::new(Server, &mut [0xA5; 200])));
        run(Rigged::Client(&mut Rig::new(client(), &mut [0xA5; 200])));
    });
}

enum Rigged<'r, 'm> {
    Server(&'r mut Rig<'m, Server>),
    Client(&'r mut Rig<'m, TestClient>),
}
