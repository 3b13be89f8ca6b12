use ::sansocket::message::Assembler;
use ::sansocket::session::{BufferSizes, HandlerDriver, ServerSession};
use ::sansocket::{
    Config, Connection, Event, Handler, HandlerError, Instant, Message, Outbox, ReceiveBuffer, SendError,
    Server, Step, TransmitBuffer,
};
use futures::{SinkExt, StreamExt};

use super::{App, BUFFER, LIMIT, Mode};
use crate::memory_socket::{MemorySocket, block_on};

static CONFIG: Config = Config::new();

/// The receive and the transmit buffer. They do not begin at the same place of a page: see README.md.
fn buffers() -> (ReceiveBuffer<'static>, TransmitBuffer<'static>) {
    let rx = ReceiveBuffer::with_capacity(BUFFER + 64).unwrap();
    (rx, TransmitBuffer::with_capacity(BUFFER + 2048).unwrap())
}

fn flush(socket: &mut MemorySocket, tx: &mut TransmitBuffer<'_>) {
    if !tx.is_empty() {
        let n = socket.send(tx.pending());
        tx.consume(n);
    }
}

/// A connection that is polled.
pub(super) fn connection(mut socket: MemorySocket, total: u64, mode: Mode, app: &mut App) -> MemorySocket {
    let (mut rx, mut tx) = buffers();
    let mut connection = Connection::new(Server, &CONFIG, Instant::START);
    let mut whole = Assembler::new(Vec::new());
    while app.messages < total {
        match connection.poll(Instant::START, &mut rx, &mut tx) {
            Step::Event(Event::Data(chunk)) => {
                let message = match (chunk.start && chunk.end, &chunk) {
                    (true, chunk) => chunk.payload.as_bytes(),
                    (false, chunk) => match whole.push(chunk).unwrap() {
                        Some(_) => whole.as_bytes(),
                        None => continue,
                    },
                };
                app.message(message);
                if mode == Mode::Decode {
                    continue;
                }
                let mut rest = message;
                let fits = message.len() + 14 <= BUFFER;
                if !fits {
                    flush(&mut socket, &mut tx);
                    connection
                        .outbox(Instant::START, &mut tx)
                        .begin_frame(chunk.kind, message.len() as u64, true)
                        .unwrap();
                }
                loop {
                    let mut outbox = connection.outbox(Instant::START, &mut tx);
                    let sent = if fits {
                        outbox.fragment(chunk.kind, message, true)
                    } else {
                        outbox.write_all(&mut rest)
                    };
                    match sent {
                        Err(SendError::Blocked) => flush(&mut socket, &mut tx),
                        sent => break sent.unwrap(),
                    }
                }
                if mode == Mode::Echo {
                    flush(&mut socket, &mut tx);
                }
            }
            Step::Event(_) => {}
            Step::Wait { .. } => {
                flush(&mut socket, &mut tx);
                let n = socket.recv(rx.spare());
                assert!(n > 0, "the end of the stream");
                rx.fill(n);
            }
            step => panic!("{step:?}"),
        }
    }
    flush(&mut socket, &mut tx);
    socket
}

/// The same as an application writes it: a handler that forwards what it gets, behind a `ServerSession`.
pub(super) fn handler(mut socket: MemorySocket, total: u64, mode: Mode, app: &mut App) -> MemorySocket {
    struct Echo<'a> {
        app: &'a mut App,
        whole: Assembler<Vec<u8>>,
        echo: bool,
    }

    impl Handler for Echo<'_> {
        fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
            let Event::Data(chunk) = event else { return Ok(()) };
            if self.echo {
                // What does not fit is shown again.
                out.forward(&chunk)?;
            }
            if chunk.start && chunk.end {
                self.app.message(&chunk.payload);
            } else if self.whole.push(&chunk).unwrap().is_some() {
                self.app.message(self.whole.as_bytes());
            }
            Ok(())
        }
    }

    let (mut rx, mut tx) = buffers();
    let mut head = ReceiveBuffer::with_capacity(256).unwrap();
    let connection = Connection::new(Server, &CONFIG, Instant::START);
    let mut session = ServerSession::open(HandlerDriver::new(connection, None));
    let mut handler = Echo { app, whole: Assembler::new(Vec::new()), echo: mode != Mode::Decode };
    loop {
        let step = session.poll(Instant::START, &mut handler, &mut head, &mut rx, &mut tx);
        let Step::Wait { .. } = step else { panic!("the end: {step:?}") };
        let sent = !tx.is_empty();
        flush(&mut socket, &mut tx);
        if handler.app.messages >= total {
            return socket;
        }
        let n = socket.recv(session.spare(&mut head, &mut rx));
        assert!(n > 0 || sent, "the end of the stream");
        session.fill(&mut head, &mut rx, n);
    }
}

/// The connection of `sansocket::tokio`, with owned messages.
pub(super) fn tokio(mut socket: MemorySocket, total: u64, mode: Mode, app: &mut App) -> MemorySocket {
    let config = Config::new().max_message_len(LIMIT as u64);
    let runtime = ::tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _context = runtime.enter(); // for its deadlines
    block_on(async {
        let sizes = BufferSizes { head: 256, receive: BUFFER + 64, transmit: BUFFER + 2048 };
        let mut ws =
            ::sansocket::tokio::WebSocket::after_upgrade(&mut socket, b"", Server, None, config, sizes);
        for _ in 0..total {
            let message = ws.next().await.unwrap().unwrap();
            app.message(message.as_bytes());
            match mode {
                Mode::Decode => {}
                Mode::Echo => ws.send(message).await.unwrap(),
                Mode::EchoGathered => ws.feed(message).await.unwrap(),
            }
        }
        if mode == Mode::EchoGathered {
            SinkExt::<Message>::flush(&mut ws).await.unwrap();
        }
    });
    socket
}
