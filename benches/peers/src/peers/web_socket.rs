use ::web_socket::{DataType, Event, Frame, MessageType, Stream, WebSocket};

use super::{App, BUFFER, Mode, check_text};
use crate::memory_socket::{MemorySocket, block_on};

/// Its user puts a buffer around the stream, and checks texts.
pub(super) fn run(socket: MemorySocket, total: u64, mode: Mode, app: &mut App) -> MemorySocket {
    block_on(async {
        let mut ws = WebSocket::server(tokio::io::BufReader::with_capacity(BUFFER, socket));
        let mut fragments = vec![];
        for _ in 0..total {
            let mut whole = None;
            let kind = loop {
                match ws.recv().await.unwrap() {
                    Event::Data { ty: DataType::Complete(kind), data } => {
                        whole = Some(data);
                        break kind;
                    }
                    Event::Data { ty: DataType::Stream(stream), data } => {
                        if matches!(stream, Stream::Start(_)) {
                            fragments.clear();
                        }
                        fragments.extend_from_slice(&data);
                        if let Stream::End(kind) = stream {
                            break kind;
                        }
                    }
                    other => panic!("{other:?}"),
                }
            };
            let message: &[u8] = whole.as_deref().unwrap_or(&fragments);
            if kind == MessageType::Text {
                check_text(message);
            }
            app.message(message);
            if mode != Mode::Decode {
                ws.send_raw(Frame { fin: true, opcode: kind as u8, data: message }).await.unwrap();
            }
        }
        ws.stream.into_inner()
    })
}
