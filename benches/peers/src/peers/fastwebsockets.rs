use ::fastwebsockets::{FragmentCollector, OpCode, Role, WebSocket};

use super::{App, LIMIT, Mode};
use crate::memory_socket::{MemorySocket, block_on};

pub(super) fn run(mut socket: MemorySocket, total: u64, mode: Mode, app: &mut App) -> MemorySocket {
    block_on(async {
        let mut ws = WebSocket::after_handshake(&mut socket, Role::Server);
        ws.set_max_message_size(LIMIT);
        let mut ws = FragmentCollector::new(ws);
        for _ in 0..total {
            let frame = ws.read_frame().await.unwrap();
            assert!(matches!(frame.opcode, OpCode::Text | OpCode::Binary));
            app.message(&frame.payload);
            if mode != Mode::Decode {
                ws.write_frame(frame).await.unwrap();
            }
        }
    });
    socket
}
