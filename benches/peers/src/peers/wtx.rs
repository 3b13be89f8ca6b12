use ::wtx::collection::Vector;
use ::wtx::rng::Xorshift64;
use ::wtx::web_socket::{Frame, WebSocketBuffer, WebSocketOwned, WebSocketPayloadOrigin};

use super::{App, BUFFER, Mode};
use crate::memory_socket::{MemorySocket, block_on};

pub(super) fn run(mut socket: MemorySocket, total: u64, mode: Mode, app: &mut App) -> MemorySocket {
    block_on(async {
        let buffer = WebSocketBuffer::with_capacity(BUFFER, 0, 0).unwrap();
        let mut ws: WebSocketOwned<(), _, _, false> =
            WebSocketOwned::new((), false, Xorshift64::new(7), &mut socket, buffer);
        let (mut common, mut reader, mut writer) = ws.split_mut();
        let mut memory = Vector::new();
        for _ in 0..total {
            memory.clear();
            let origin = WebSocketPayloadOrigin::Adaptive;
            let mut frame = reader.read_frame(&mut memory, &mut common, origin).await.unwrap();
            app.message(frame.payload());
            if mode != Mode::Decode {
                let opcode = frame.op_code();
                let mut reply = Frame::new_fin(opcode, &mut **frame.payload_mut());
                writer.write_frame(&mut common, &mut reply).await.unwrap();
            }
        }
    });
    socket
}
