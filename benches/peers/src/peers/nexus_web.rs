use ::nexus_web::ws::{FrameReader, FrameWriter, Message, Role};

use super::{App, BUFFER, GATHER, LIMIT, Mode};
use crate::memory_socket::MemorySocket;

pub(super) fn run(mut socket: MemorySocket, total: u64, mode: Mode, app: &mut App) -> MemorySocket {
    let mut reader = FrameReader::builder()
        .buffer_capacity(2 * BUFFER)
        .message_capacity(BUFFER)
        .max_frame_size(LIMIT as u64)
        .max_message_size(LIMIT)
        .role(Role::Server)
        .build();
    let mut writer = FrameWriter::new(Role::Server);
    let mut out = vec![0; GATHER + (1 << 20) + 64];
    let mut gathered = 0;
    while app.messages < total {
        while let Some(message) = reader.next().unwrap() {
            let bytes = message.as_bytes();
            app.message(bytes);
            if mode != Mode::Decode {
                let to = &mut out[gathered..];
                gathered += match message {
                    Message::Text(_) => writer.encode_text(bytes, to),
                    Message::Binary(_) => writer.encode_binary(bytes, to),
                    other => panic!("{other:?}"),
                };
            }
            if mode == Mode::Echo || gathered > GATHER {
                socket.send(&out[..gathered]);
                gathered = 0;
            }
        }
        socket.send(&out[..gathered]);
        gathered = 0;
        if app.messages < total {
            reader.compact();
            let n = socket.recv(reader.spare());
            assert!(n > 0, "the end of the stream");
            reader.filled(n);
        }
    }
    socket
}
