use ::embedded_websocket::{
    WebSocketKey, WebSocketReceiveMessageType as Received, WebSocketSendMessageType as Sent, WebSocketServer,
};

use super::{App, BUFFER, GATHER, Mode, check_text};
use crate::memory_socket::MemorySocket;

/// Its user puts messages together and checks texts. 0.9.5 fails where a read cuts a header, so that this one gives it
/// whole headers; and it never goes on behind a fragment that a read has cut.
pub(super) fn run(mut socket: MemorySocket, total: u64, mode: Mode, app: &mut App) -> MemorySocket {
    let mut ws = WebSocketServer::new_server();
    ws.server_accept(&WebSocketKey::from("Z7OY1UwHOx/nkSz38kfPwg=="), None, &mut [0; 256]).unwrap();
    let mut buffer = vec![0; BUFFER];
    let (mut start, mut end) = (0, 0);
    let mut message = vec![0; (1 << 20) + 64];
    let mut len = 0;
    let mut out = vec![0; GATHER + (1 << 20) + 64];
    let mut gathered = 0;
    let mut stuck = 0;
    while app.messages < total {
        while app.messages < total && has_header(&buffer[start..end]) {
            let read = ws.read(&buffer[start..end], &mut message[len..]).unwrap();
            if read.len_from == 0 {
                stuck += 1;
                assert!(stuck < 100, "never goes on behind a fragment that a read has cut");
                break;
            }
            stuck = 0;
            start += read.len_from;
            len += read.len_to;
            if read.end_of_message {
                let text = matches!(read.message_type, Received::Text);
                let whole = &message[..len];
                if text {
                    check_text(whole);
                }
                app.message(whole);
                if mode != Mode::Decode {
                    let kind = if text { Sent::Text } else { Sent::Binary };
                    gathered += ws.write(kind, true, whole, &mut out[gathered..]).unwrap();
                }
                if mode == Mode::Echo || gathered > GATHER {
                    socket.send(&out[..gathered]);
                    gathered = 0;
                }
                len = 0;
            }
        }
        socket.send(&out[..gathered]);
        gathered = 0;
        buffer.copy_within(start..end, 0);
        (start, end) = (0, end - start);
        if app.messages < total {
            assert!(end < buffer.len(), "never goes on behind a fragment that a read has cut");
            let n = socket.recv(&mut buffer[end..]);
            assert!(n > 0, "the end of the stream");
            end += n;
        }
    }
    socket
}

fn has_header(bytes: &[u8]) -> bool {
    match bytes {
        [_, second, ..] => {
            bytes.len() >= 14 || (second & 0x7F < 126 && bytes.len() >= 6 + usize::from(second & 0x7F))
        }
        _ => false,
    }
}
