use ::yawc::{OpCode, Options, Role, WebSocket};
use futures::SinkExt;

use super::{App, LIMIT, Mode};
use crate::memory_socket::{MemorySocket, block_on};

pub(super) fn run(mut socket: MemorySocket, total: u64, mode: Mode, app: &mut App) -> MemorySocket {
    block_on(async {
        let options = Options::default().with_limits(LIMIT, LIMIT).with_utf8();
        let mut ws = WebSocket::from_stream(&mut socket, Role::Server, options).unwrap();
        for _ in 0..total {
            let frame = ws.next_frame().await.unwrap();
            assert!(matches!(frame.opcode(), OpCode::Text | OpCode::Binary));
            app.message(frame.payload());
            match mode {
                Mode::Decode => {}
                Mode::Echo => ws.send(frame).await.unwrap(),
                Mode::EchoGathered => ws.feed(frame).await.unwrap(),
            }
        }
        SinkExt::flush(&mut ws).await.unwrap();
    });
    socket
}
