use ::tungstenite::protocol::{Role, WebSocketConfig};
use ::tungstenite::{Message, WebSocket};

use super::{App, LIMIT, Mode};
use crate::memory_socket::MemorySocket;

pub(super) fn run(mut socket: MemorySocket, total: u64, mode: Mode, app: &mut App) -> MemorySocket {
    let config = WebSocketConfig::default().max_frame_size(Some(LIMIT)).max_message_size(Some(LIMIT));
    let mut ws = WebSocket::from_raw_socket(&mut socket, Role::Server, Some(config));
    for _ in 0..total {
        let message = ws.read().unwrap();
        match &message {
            Message::Binary(bytes) => app.message(bytes),
            Message::Text(text) => app.message(text.as_bytes()),
            other => panic!("{other:?}"),
        }
        match mode {
            Mode::Decode => {}
            Mode::Echo => ws.send(message).unwrap(),
            Mode::EchoGathered => ws.write(message).unwrap(),
        }
    }
    ws.flush().unwrap();
    drop(ws);
    socket
}
