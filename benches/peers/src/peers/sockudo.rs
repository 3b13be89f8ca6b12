use futures::{SinkExt, StreamExt};
use sockudo_ws::{Config, Message, WebSocketStream};

use super::{App, LIMIT, Mode};
use crate::memory_socket::{MemorySocket, block_on};

pub(super) fn run(mut socket: MemorySocket, total: u64, mode: Mode, app: &mut App) -> MemorySocket {
    let mut config = Config::default();
    (config.max_message_size, config.max_frame_size) = (LIMIT, LIMIT);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _context = runtime.enter(); // for its deadlines
    block_on(async {
        let mut ws = WebSocketStream::server(&mut socket, config);
        for _ in 0..total {
            let message = ws.next().await.unwrap().unwrap();
            let (Message::Text(bytes) | Message::Binary(bytes)) = &message else { panic!("{message:?}") };
            app.message(bytes);
            match mode {
                Mode::Decode => {}
                Mode::Echo => ws.send(message).await.unwrap(),
                Mode::EchoGathered => ws.feed(message).await.unwrap(),
            }
        }
        SinkExt::flush(&mut ws).await.unwrap();
    });
    socket
}
