//! What is measured: the server's end of a connection that is fed from memory. All subjects do the same: copy
//! a buffer full of frames in, as a read of the transport would, and take every message out of it.

use std::hint::black_box;
use std::io::{self, ErrorKind, Read, Write};

use sansocket::handshake::{Decision, ServerHandshake};
use sansocket::proto::mask;
use sansocket::session::HandlerDriver;
use sansocket::{
    Config, Connection, Event, Handler, HandlerError, Instant, Outbox, ReceiveBuffer, Server, Step,
    TransmitBuffer,
};
use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};

/// Bytes of a receive buffer; one for a frame of this payload is longer by the header.
const BUFFER: usize = 64 * 1024;
const NOW: Instant = Instant::START;
/// Behind the receive buffer. Where both buffers begin at the same place of a page, an older glibc takes many
/// times as long on a Zen processor to copy 2 KiB and more from one to the other.
const SKEW: usize = 2048;
static CONFIG: Config = Config::new();

/// Frames as a client sends them.
#[derive(Clone)]
pub(crate) struct Wire {
    pub(crate) bytes: Vec<u8>,
    pub(crate) messages: usize,
    /// Bytes of a payload.
    payload: usize,
    /// Bytes of memory that hold it, or its echo.
    memory: usize,
}

impl Wire {
    /// As many messages as fit the buffer, at least one.
    pub(crate) fn new(text: bool, payload: &[u8]) -> Self {
        let mut frame = vec![if text { 0x81 } else { 0x82 }];
        match payload.len() {
            len @ 0..=125 => frame.push(0x80 | len as u8),
            len @ 126..=0xFFFF => {
                frame.push(0x80 | 126);
                frame.extend((len as u16).to_be_bytes());
            }
            len => {
                frame.push(0x80 | 127);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        let key = [0x37, 0xFA, 0x21, 0x3D];
        frame.extend(key);
        frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        let memory = BUFFER.max(frame.len());
        let messages = memory / frame.len();
        Self { bytes: frame.repeat(messages), messages, payload: payload.len(), memory }
    }

    /// The same frames, as fragments of one message.
    pub(crate) fn into_fragments(mut self) -> Self {
        let len = self.bytes.len() / self.messages;
        for first in self.bytes.iter_mut().step_by(len).skip(1) {
            *first = 0;
        }
        self.bytes[0] &= 0x7F;
        self.bytes[len * (self.messages - 1)] |= 0x80;
        self
    }
}

/// The subject of this name, ready to take all of `wire` at every call; it panics where that fails.
pub(crate) fn subject(name: &str, wire: Wire) -> Box<dyn FnMut()> {
    match name {
        "receive" => {
            let mut end = End::new(wire);
            Box::new(move || end.receive::<false>())
        }
        "fragments" => {
            let mut end = End::new(wire.into_fragments());
            Box::new(move || end.receive::<false>())
        }
        "poll" => {
            let mut end = End::new(wire);
            Box::new(move || end.poll())
        }
        "echo" => {
            let mut end = End::new(wire);
            Box::new(move || end.receive::<true>())
        }
        "handler" => handler::<false>(wire),
        "handler-echo" => handler::<true>(wire),
        "unmask" => {
            let (mut payload, messages) = (vec![0x55; wire.payload + 1], wire.messages);
            Box::new(move || {
                for _ in 0..messages {
                    // The payload of a frame begins anywhere.
                    let _ = mask(black_box([1, 2, 3, 4]), black_box(&mut payload[1..]));
                }
            })
        }
        "handshake" => {
            let (request, messages) = (request(wire.payload), wire.messages);
            let mut memory = HandshakeMemory::default();
            Box::new(move || (0..messages).for_each(|_| memory.handshake(&request)))
        }
        "tungstenite-receive" => tungstenite::<false>(wire),
        "tungstenite-echo" => tungstenite::<true>(wire),
        "reference-receive" => reference::<false>(wire),
        "reference-echo" => reference::<true>(wire),
        _ => panic!("no subject {name}"),
    }
}

/// A client's request with a cookie of so many bytes.
pub(crate) fn request(cookie: usize) -> Vec<u8> {
    let cookie = "c".repeat(cookie);
    format!(
        "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nCookie: {cookie}\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    .into_bytes()
}

/// The buffers of a server's opening handshake.
pub(crate) struct HandshakeMemory([[u8; 2048]; 3]);

impl Default for HandshakeMemory {
    fn default() -> Self {
        Self([[0; 2048]; 3])
    }
}

impl HandshakeMemory {
    pub(crate) fn handshake(&mut self, request: &[u8]) {
        let [head, rx, tx] = &mut self.0;
        let mut head = ReceiveBuffer::new(head).unwrap();
        let (mut rx, mut tx) = (ReceiveBuffer::new(rx).unwrap(), TransmitBuffer::new(tx).unwrap());
        let mut handshake = ServerHandshake::new(&CONFIG, NOW);
        handshake.spare(&mut head, &mut rx)[..request.len()].copy_from_slice(black_box(request));
        handshake.fill(&mut head, &mut rx, request.len());
        let step = handshake.poll(NOW, &mut head, &mut rx, &mut tx, |_| Decision::accept());
        assert!(matches!(step, Step::Done(_)), "{step:?}");
        assert!(black_box(tx.pending()).starts_with(b"HTTP/1.1 101 "));
    }
}

struct End {
    wire: Wire,
    connection: Connection<Server>,
    rx: ReceiveBuffer<'static>,
    tx: TransmitBuffer<'static>,
}

impl End {
    fn new(wire: Wire) -> Self {
        let (rx, tx) = buffers(&wire);
        Self { wire, connection: Connection::new(Server, &CONFIG, NOW), rx, tx }
    }

    fn receive<const ECHO: bool>(&mut self) {
        let Self { wire, connection, rx, tx } = self;
        assert_eq!(rx.feed(&wire.bytes), wire.bytes.len());
        let mut messages = 0;
        while let Step::Event(Event::Data(data)) = connection.poll(NOW, rx, tx) {
            messages += 1;
            if ECHO {
                connection.outbox(NOW, tx).fragment(data.kind, &data.payload, true).unwrap();
            } else {
                black_box(data.payload.as_bytes());
            }
        }
        assert_eq!(messages, wire.messages);
        tx.consume(black_box(tx.pending()).len());
    }

    fn poll(&mut self) {
        let Self { wire, connection, rx, tx } = self;
        assert_eq!(rx.feed(&wire.bytes), wire.bytes.len());
        let mut messages = 0;
        while let Step::Event(event) = connection.poll_detached(NOW, rx, tx) {
            messages += 1;
            if let Event::Data(data) = rx.event(event) {
                black_box(data.payload.as_bytes());
            }
        }
        assert_eq!(messages, wire.messages);
    }
}

/// The buffers of a connection, lent, so that any set of features will do.
fn buffers(wire: &Wire) -> (ReceiveBuffer<'static>, TransmitBuffer<'static>) {
    let rx = ReceiveBuffer::new(&mut vec![0; wire.memory + SKEW].leak()[..wire.memory]).unwrap();
    (rx, TransmitBuffer::new(vec![0; wire.memory].leak()).unwrap())
}

/// An application's handler behind a driver.
fn handler<const ECHO: bool>(wire: Wire) -> Box<dyn FnMut()> {
    struct App<const ECHO: bool>(usize);

    impl<const ECHO: bool> Handler for App<ECHO> {
        fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
            let Event::Data(data) = event else { return Ok(()) };
            if ECHO {
                out.forward(&data)?;
            } else {
                black_box(data.payload.as_bytes());
            }
            self.0 += 1;
            Ok(())
        }
    }

    let (mut rx, mut tx) = buffers(&wire);
    let mut driver = HandlerDriver::new(Connection::new(Server, &CONFIG, NOW), None);
    Box::new(move || {
        let mut app = App::<ECHO>(0);
        assert_eq!(rx.feed(&wire.bytes), wire.bytes.len());
        assert!(matches!(driver.poll(NOW, &mut app, &mut rx, &mut tx), Step::Wait { .. }));
        assert_eq!(app.0, wire.messages);
        tx.consume(black_box(tx.pending()).len());
    })
}

fn tungstenite<const ECHO: bool>(wire: Wire) -> Box<dyn FnMut()> {
    let messages = wire.messages;
    let config = WebSocketConfig::default().read_buffer_size(wire.memory).write_buffer_size(wire.memory);
    let mut end = WebSocket::from_raw_socket(Memory { wire, at: 0 }, Role::Server, Some(config));
    Box::new(move || {
        end.get_mut().at = 0;
        for _ in 0..messages {
            let message = end.read().unwrap();
            if ECHO {
                end.write(message).unwrap();
            } else {
                black_box(message);
            }
        }
        if ECHO {
            end.flush().unwrap();
        }
    })
}

/// A transport that has the wire's bytes to read, and takes everything.
struct Memory {
    wire: Wire,
    at: usize,
}

impl Read for Memory {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = (&self.wire.bytes[self.at..]).read(buf)?;
        self.at += n;
        if n == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(n) }
    }
}

impl Write for Memory {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(black_box(buf).len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The floor: header, unmasking in place, no check of anything, no state, no UTF-8.
fn reference<const ECHO: bool>(wire: Wire) -> Box<dyn FnMut()> {
    let mut rx = vec![0; wire.memory + SKEW];
    let mut tx = Vec::with_capacity(wire.memory);
    Box::new(move || {
        let mut input = &mut rx[..wire.bytes.len()];
        input.copy_from_slice(&wire.bytes);
        tx.clear();
        while let [first, second, rest @ ..] = input {
            let (first, short) = (*first, *second & 0x7F);
            let (len, rest) = match short {
                126 => {
                    let (len, rest) = rest.split_first_chunk_mut::<2>().unwrap();
                    (u16::from_be_bytes(*len).into(), rest)
                }
                127 => {
                    let (len, rest) = rest.split_first_chunk_mut::<8>().unwrap();
                    (u64::from_be_bytes(*len) as usize, rest)
                }
                short => (short.into(), rest),
            };
            let (key, rest) = rest.split_first_chunk_mut::<4>().unwrap();
            let (payload, rest) = rest.split_at_mut(len);
            unmask(*key, payload);
            if ECHO {
                tx.extend([first, short]);
                match short {
                    126 => tx.extend((len as u16).to_be_bytes()),
                    127 => tx.extend((len as u64).to_be_bytes()),
                    _ => {}
                }
                tx.extend_from_slice(payload);
            } else {
                black_box(payload);
            }
            input = rest;
        }
        black_box(&tx);
    })
}

/// As one writes it down: words, then bytes.
fn unmask(key: [u8; 4], payload: &mut [u8]) {
    let [a, b, c, d] = key;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut words = payload.chunks_exact_mut(8);
    for chunk in &mut words {
        let masked = u64::from_ne_bytes((&*chunk).try_into().unwrap());
        chunk.copy_from_slice(&(masked ^ word).to_ne_bytes());
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}
