use ::tokio_websockets::{Limits, ServerBuilder};
use futures::{SinkExt, StreamExt};

use super::{App, Mode};
use crate::memory_socket::{MemorySocket, block_on};

pub(super) fn run(mut socket: MemorySocket, total: u64, mode: Mode, app: &mut App) -> MemorySocket {
    block_on(async {
        let mut ws = ServerBuilder::new().limits(Limits::unlimited()).serve(&mut socket);
        for _ in 0..total {
            let message = ws.next().await.unwrap().unwrap();
            assert!(message.is_text() || message.is_binary());
            app.message(message.as_payload());
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
