use ::soketto::connection::{Builder, Mode as Role};
use futures::io::{BufReader, BufWriter};

use super::{App, BUFFER, LIMIT, Mode};
use crate::memory_socket::{MemorySocket, block_on};

/// Its examples put buffers around the stream. Its user checks texts.
pub(super) fn run(mut socket: MemorySocket, total: u64, mode: Mode, app: &mut App) -> MemorySocket {
    block_on(async {
        let stream = BufReader::with_capacity(BUFFER, BufWriter::new(&mut socket));
        let mut builder = Builder::new(stream, Role::Server);
        builder.set_max_message_size(LIMIT);
        builder.set_max_frame_size(LIMIT);
        let (mut sender, mut receiver) = builder.finish();
        let mut message = Vec::new();
        for _ in 0..total {
            message.clear();
            let text = receiver.receive_data(&mut message).await.unwrap().is_text();
            let checked = text.then(|| std::str::from_utf8(&message).expect("UTF-8"));
            app.message(&message);
            if mode == Mode::Decode {
                continue;
            }
            match checked {
                Some(text) => sender.send_text(text).await.unwrap(),
                None => sender.send_binary(&message).await.unwrap(),
            }
            if mode == Mode::Echo {
                sender.flush().await.unwrap();
            }
        }
        sender.flush().await.unwrap();
    });
    socket
}
