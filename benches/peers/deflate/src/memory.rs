//! Echo in memory, in one thread: the codec alone, sansocket and yawc with the same window, level and memory level.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use futures::SinkExt;
use sansocket::deflate::{DeflateOptions, Direction, Zlib};
use sansocket::{Config, Connection, Event, Instant, ReceiveBuffer, Server, Step, TransmitBuffer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use yawc::{CompressionLevel, Options, Role, WebSocket};

use crate::clock::{Candidate, interleave};
use crate::codec::Codec;
use crate::csv::{option, row, size};
use crate::traffic::Traffic;

const BUFFER: usize = 40 << 10;
const LEVEL: u8 = 2;
const BITS: u8 = 12;
const MEMORY: u8 = 5;

/// Measures echoes of messages of this size, in ns a message.
pub fn measure(len: usize, context: bool, rounds: usize) {
    let work = format!("deflate-{}{}", if context { "context-" } else { "" }, size(len));
    let of = |name: &str| option(name).unwrap_or_default();
    let (wanted, only) = (of("--work"), of("--only"));
    if !work.contains(&wanted) {
        return;
    }
    let traffic: &Traffic = Box::leak(Box::new(Traffic::new(len, context)));
    let each = traffic.messages.len();
    let mut candidates = vec![
        Candidate { name: "floor", run: floor(traffic, context) },
        Candidate { name: "sansocket", run: sansocket(traffic, context) },
        Candidate { name: "yawc", run: yawc(traffic, context) },
    ];
    candidates.retain(|one| one.name == "floor" || one.name.contains(&only));
    for timing in interleave(&mut candidates, rounds, 20_000.0) {
        row(&work, &timing.name, timing.ns / each as f64, "ns", timing.ratio);
    }
}

fn floor(traffic: &'static Traffic, context: bool) -> Box<dyn FnMut(usize)> {
    let mut codec = Codec::new(LEVEL, BITS, MEMORY, context);
    let (mut message, mut reply) = (vec![0; BUFFER], vec![0; BUFFER]);
    Box::new(move |passes| {
        for _ in 0..passes {
            for (payload, expected) in traffic.payloads.iter().zip(&traffic.messages) {
                let len = codec.inflate(payload, &mut message);
                assert_eq!(len, expected.len());
                codec.deflate(&message[..len], &mut reply);
            }
        }
    })
}

/// A connection that is polled, and answers from the memory of the event.
fn sansocket(traffic: &'static Traffic, context: bool) -> Box<dyn FnMut(usize)> {
    static CONFIG: Config = Config::new();
    let side = Direction { context, window_bits: BITS };
    let options = DeflateOptions::new()
        .context(context)
        .send_window_bits(BITS)
        .level(LEVEL)
        .memory_level(MEMORY)
        .min_len(0);
    let zlib = Zlib::with_own_codecs(&options, side, side).unwrap();
    let mut connection = Connection::with_extension(Server, Some(zlib), &CONFIG, Instant::START);
    let mut rx = ReceiveBuffer::with_capacity(BUFFER + 64).unwrap().with_output_capacity(BUFFER + 512);
    let mut tx = TransmitBuffer::with_capacity(BUFFER + 2048).unwrap();
    Box::new(move |passes| {
        for _ in 0..passes {
            let (mut wire, mut got) = (&traffic.wire[..], 0);
            loop {
                match connection.poll(Instant::START, &mut rx, &mut tx) {
                    Step::Event(Event::Data(data)) => {
                        assert!(data.start && data.end && data.payload.len() == traffic.messages[got].len());
                        got += 1;
                        let (kind, payload) = (data.kind, data.payload);
                        let mut outbox = connection.outbox(Instant::START, &mut tx);
                        outbox.send_fragmented(kind, &mut payload.as_bytes(), true).unwrap();
                        // A write for each reply.
                        let n = std::hint::black_box(tx.pending()).len();
                        tx.consume(n);
                    }
                    Step::Wait { .. } if wire.is_empty() => break,
                    Step::Wait { .. } => {
                        let spare = rx.spare();
                        let n = spare.len().min(wire.len());
                        spare[..n].copy_from_slice(&wire[..n]);
                        rx.fill(n);
                        wire = &wire[n..];
                    }
                    step => panic!("{step:?}"),
                }
            }
            assert_eq!(got, traffic.messages.len());
        }
    })
}

fn yawc(traffic: &'static Traffic, context: bool) -> Box<dyn FnMut(usize)> {
    let mut agreed = format!("permessage-deflate; server_max_window_bits={BITS}");
    let mut options = Options::default()
        .with_compression_level(CompressionLevel::new(LEVEL.into()))
        .with_server_max_window_bits(BITS)
        .with_compression_threshold(0)
        .with_utf8();
    if !context {
        agreed += "; server_no_context_takeover; client_no_context_takeover";
        options = options.server_no_context_takeover().client_no_context_takeover();
    }
    let socket = Memory { wire: &traffic.wire, at: 0 };
    let mut ws =
        WebSocket::from_stream_with_extensions(socket, Role::Server, Some(&agreed), options).unwrap();
    Box::new(move |passes| {
        for _ in 0..passes * traffic.messages.len() {
            block_on(async {
                let frame = ws.next_frame().await.unwrap();
                ws.send(frame).await.unwrap();
            });
        }
    })
}

/// Gives the wire again and again, and takes all that is written.
struct Memory {
    wire: &'static [u8],
    at: usize,
}

impl AsyncRead for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let n = into.remaining().min(self.wire.len() - self.at);
        into.put_slice(&self.wire[self.at..self.at + n]);
        self.at = (self.at + n) % self.wire.len();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Memory {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(std::hint::black_box(bytes).len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}
