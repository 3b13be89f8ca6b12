use ::websocket_sans_io::{
    FrameInfo, Opcode, WebsocketFrameDecoder, WebsocketFrameEncoder, WebsocketFrameEvent,
};

use super::{App, BUFFER, GATHER, Mode, check_text};
use crate::memory_socket::MemorySocket;

/// Its user puts messages together and checks texts.
pub(super) fn run(mut socket: MemorySocket, total: u64, mode: Mode, app: &mut App) -> MemorySocket {
    let mut decoder = WebsocketFrameDecoder::new();
    let mut encoder = WebsocketFrameEncoder::new();
    let mut buffer = vec![0; BUFFER];
    let mut message: Vec<u8> = vec![];
    let mut out: Vec<u8> = Vec::with_capacity(BUFFER);
    while app.messages < total {
        let n = socket.recv(&mut buffer);
        assert!(n > 0, "the end of the stream");
        let mut at = 0;
        while app.messages < total {
            let done = decoder.add_data(&mut buffer[at..n]).unwrap();
            let chunk = at..at + done.consumed_bytes;
            at = chunk.end;
            match done.event {
                None if chunk.is_empty() => break,
                None => {}
                Some(WebsocketFrameEvent::Start { frame_info, .. }) => {
                    assert!(frame_info.is_reasonable() && frame_info.mask.is_some());
                    if frame_info.opcode != Opcode::Continuation {
                        message.clear();
                    }
                }
                Some(WebsocketFrameEvent::PayloadChunk { .. }) => message.extend_from_slice(&buffer[chunk]),
                Some(WebsocketFrameEvent::End { frame_info, .. }) if !frame_info.fin => {}
                Some(WebsocketFrameEvent::End { original_opcode: opcode, .. }) => {
                    if opcode == Opcode::Text {
                        check_text(&message);
                    }
                    app.message(&message);
                    if mode != Mode::Decode {
                        let payload_length = message.len() as _;
                        let info = FrameInfo { opcode, payload_length, mask: None, fin: true, reserved: 0 };
                        out.extend_from_slice(&encoder.start_frame(&info));
                        out.extend_from_slice(&message);
                    }
                    if mode == Mode::Echo || out.len() > GATHER {
                        socket.send(&out);
                        out.clear();
                    }
                }
            }
        }
        socket.send(&out);
        out.clear();
    }
    socket
}
