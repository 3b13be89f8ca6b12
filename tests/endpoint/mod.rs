//! A connection in memory that checks each step it takes, and a pipe between two of them.
#![allow(dead_code, unreachable_pub, reason = "each test crate uses a part of this")]

use std::collections::VecDeque;

pub use super::wire::*;
pub use sansocket::Instant;
use sansocket::proto::{DetachedEvent, Extension, NoExtension, Role};
use sansocket::{
    Chunk, Client, CloseCode, Config, Connection, Ending, Event, Kind, Outbox, ReceiveBuffer, Server, Step,
    TransmitBuffer,
};

/// A client whose keys are of no interest.
pub type TestClient = Client<fn() -> [u8; 4]>;

pub fn client() -> TestClient {
    Client::new(|| KEY)
}

/// A role that a test can make.
pub trait TestRole: Role + Sized {
    fn make() -> Self;
    /// A frame as the peer of this role sends it.
    fn incoming(first: u8, payload: &[u8]) -> Vec<u8> {
        frame(first, Self::SERVER.then_some(KEY), payload)
    }
}

impl TestRole for Server {
    fn make() -> Self {
        Self
    }
}

impl TestRole for TestClient {
    fn make() -> Self {
        client()
    }
}

/// A chunk that owns its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    pub kind: Kind,
    pub payload: Vec<u8>,
    pub start: bool,
    pub end: bool,
    pub fin: bool,
    pub offset: u64,
    pub remaining: u64,
}

impl Data {
    pub fn chunk(&self) -> Chunk<'_> {
        let Self { kind, ref payload, start, end, fin, offset, remaining } = *self;
        let mut chunk = Chunk::new(kind, &payload[..]);
        (chunk.start, chunk.end, chunk.fin) = (start, end, fin);
        (chunk.offset, chunk.remaining) = (offset, remaining);
        chunk
    }
}

impl From<Chunk<'_>> for Data {
    fn from(chunk: Chunk<'_>) -> Self {
        let Chunk { kind, payload, start, end, fin, offset, remaining, .. } = chunk;
        Self { kind, payload: payload.to_vec(), start, end, fin, offset, remaining }
    }
}

/// An event that owns its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    Data(Data),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

impl Got {
    pub fn new(event: Event<'_>) -> Self {
        match event {
            Event::Data(data) => Self::Data(data.into()),
            Event::Ping(payload) => Self::Ping(payload.to_vec()),
            Event::Pong(payload) => Self::Pong(payload.to_vec()),
            Event::Close(code, reason) => {
                Self::Close(code.map(CloseCode::get), reason.to_str().expect("a reason is UTF-8").into())
            }
            other => panic!("{other:?}"),
        }
    }

    /// A message in one frame.
    pub fn message(kind: Kind, payload: &[u8]) -> Self {
        Self::frame(kind, payload, true, true)
    }

    /// A frame of a message.
    pub fn frame(kind: Kind, payload: &[u8], start: bool, fin: bool) -> Self {
        Self::Data(Data { kind, payload: payload.to_vec(), start, end: fin, fin, offset: 0, remaining: 0 })
    }
}

/// Joins the adjacent chunks of each frame, and leaves out a last frame that is not complete: how much of it
/// is delivered depends on how it arrived.
pub fn join(events: Vec<Got>) -> Vec<Got> {
    let mut out: Vec<Got> = Vec::new();
    for event in events {
        match (out.last_mut(), event) {
            (Some(Got::Data(frame)), Got::Data(chunk)) if frame.remaining > 0 => {
                assert_eq!(chunk.offset, frame.offset + frame.payload.len() as u64, "no hole in a frame");
                assert_eq!(
                    frame.remaining,
                    chunk.remaining + chunk.payload.len() as u64,
                    "no byte more or less"
                );
                assert_eq!((frame.kind, frame.fin, false), (chunk.kind, chunk.fin, chunk.start));
                frame.payload.extend(chunk.payload);
                frame.end = chunk.end;
                frame.remaining = chunk.remaining;
            }
            (Some(Got::Data(frame)), other) if frame.remaining > 0 => {
                panic!("{other:?} inside a frame, of which {frame:?} was delivered")
            }
            (_, event) => out.push(event),
        }
    }
    if matches!(out.last(), Some(Got::Data(frame)) if frame.remaining > 0) {
        out.pop();
    }
    out
}

/// The complete messages among events.
pub fn messages(events: &[Got]) -> Vec<(Kind, Vec<u8>)> {
    let mut out = Vec::new();
    let mut open: Option<(Kind, Vec<u8>)> = None;
    for event in events {
        if let Got::Data(chunk) = event {
            assert_eq!(chunk.start, open.is_none(), "a message starts once: {chunk:?}");
            let (kind, payload) = open.get_or_insert_with(|| (chunk.kind, Vec::new()));
            assert_eq!(*kind, chunk.kind);
            payload.extend(&chunk.payload);
            if chunk.end {
                out.extend(open.take());
            }
        }
    }
    out
}

/// The memory of an endpoint.
pub struct Memory {
    rx: Vec<u8>,
    tx: Vec<u8>,
    output: Vec<u8>,
}

impl Memory {
    pub fn new(rx: usize, tx: usize) -> Self {
        // Not zeros: a byte that nobody wrote shows.
        Self { rx: vec![0xA5; rx], tx: vec![0xA5; tx], output: Vec::new() }
    }

    /// With memory for an extension to decode into.
    pub fn with_output(self, output: usize) -> Self {
        Self { output: vec![0xA5; output], ..self }
    }
}

/// A connection with its buffers, which checks what holds for every step: a deadline lies ahead, Shutdown
/// comes at most once and before Closed, nothing comes after Closed, and Closed stays the same.
pub struct Endpoint<'m, R, X = NoExtension> {
    pub connection: Connection<R, X, &'m Config>,
    pub rx: ReceiveBuffer<'m>,
    pub tx: TransmitBuffer<'m>,
    pub now: Instant,
    pub events: Vec<Got>,
    pub deadline: Option<Instant>,
    pub shutdown: bool,
    pub closed: Option<Ending>,
}

impl<'m, R: TestRole> Endpoint<'m, R> {
    pub fn new(config: &'m Config, memory: &'m mut Memory) -> Self {
        Self::of(Connection::new(R::make(), config, Instant::START), memory)
    }
}

#[cfg(feature = "extension")]
impl<'m, R: TestRole, X: Extension> Endpoint<'m, R, X> {
    pub fn with_extension(extension: X, config: &'m Config, memory: &'m mut Memory) -> Self {
        Self::of(Connection::with_extension(R::make(), extension, config, Instant::START), memory)
    }
}

impl<'m, R: Role, X: Extension> Endpoint<'m, R, X> {
    pub fn of(connection: Connection<R, X, &'m Config>, memory: &'m mut Memory) -> Self {
        let Memory { rx, tx, output } = memory;
        let rx = ReceiveBuffer::new(rx).expect("140 bytes at least");
        #[cfg(feature = "extension")]
        let rx = rx.with_output(output);
        #[cfg(not(feature = "extension"))]
        assert!(output.is_empty());
        Self {
            connection,
            rx,
            tx: TransmitBuffer::new(tx).expect("140 bytes at least"),
            now: Instant::START,
            events: Vec::new(),
            deadline: None,
            shutdown: false,
            closed: None,
        }
    }

    /// A frame from the peer, and all steps that follow from it.
    pub fn frame(&mut self, first: u8, payload: &[u8]) -> Vec<&'static str> {
        self.feed(&frame(first, R::SERVER.then_some(KEY), payload))
    }

    pub fn out(&mut self) -> Outbox<'_> {
        self.connection.outbox(Instant::START, &mut self.tx)
    }

    /// One poll; the name of the step.
    pub fn step(&mut self) -> &'static str {
        let step = self.connection.poll_detached(self.now, &mut self.rx, &mut self.tx);
        self.note(step)
    }

    /// The same without receiving.
    pub fn poll_without_receiving(&mut self) -> &'static str {
        let step = match self.connection.poll_without_receiving(self.now, &mut self.tx) {
            Step::Wait { deadline } => Step::Wait { deadline },
            Step::Shutdown => Step::Shutdown,
            Step::Done(cause) => Step::Done(cause),
        };
        self.note(step)
    }

    fn note(&mut self, step: Step<DetachedEvent>) -> &'static str {
        if let Some(cause) = self.closed {
            assert_eq!(step, Step::Done(cause), "closed is closed, for the same reason");
        }
        match step {
            Step::Event(event) => {
                self.events.push(Got::new(self.rx.event(event)));
                "Event"
            }
            Step::Wait { deadline } => {
                assert!(
                    deadline.is_none_or(|moment| moment > self.now),
                    "a deadline in the past: a busy loop"
                );
                self.deadline = deadline;
                "Wait"
            }
            Step::Shutdown => {
                assert!(!self.shutdown, "Shutdown comes once");
                assert!(self.tx.is_empty(), "all was written before");
                self.shutdown = true;
                "Shutdown"
            }
            Step::Done(cause) => {
                self.closed = Some(cause);
                "Done"
            }
        }
    }

    /// Polls until there is nothing to do; the steps.
    pub fn run(&mut self) -> Vec<&'static str> {
        let mut steps = Vec::new();
        loop {
            let step = self.step();
            steps.push(step);
            assert!(steps.len() < 100_000, "it never ends");
            if matches!(step, "Wait" | "Done") {
                return steps;
            }
        }
    }

    /// Bytes from the peer, in as few pieces as the buffer takes.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<&'static str> {
        self.feed_in(bytes, usize::MAX)
    }

    /// The same in pieces of this size at most.
    pub fn feed_in(&mut self, mut bytes: &[u8], piece: usize) -> Vec<&'static str> {
        let mut steps = Vec::new();
        while !bytes.is_empty() {
            let n = self.rx.feed(&bytes[..bytes.len().min(piece)]);
            bytes = &bytes[n..];
            let more = self.run();
            if self.closed.is_some() {
                bytes = &[];
            } else {
                assert!(n > 0 || self.rx.is_empty(), "a full buffer is never waited with");
            }
            steps.extend(more);
        }
        steps
    }

    /// The transport has ended.
    pub fn eof(&mut self) -> Vec<&'static str> {
        self.rx.end();
        self.run()
    }

    /// Lets time pass.
    pub fn after(&mut self, millis: u64) -> Vec<&'static str> {
        self.now = Instant::from_micros(self.now.as_micros() + millis * 1000);
        self.run()
    }

    /// Lets time pass until the deadline.
    pub fn at_deadline(&mut self) -> Vec<&'static str> {
        self.now = self.deadline.expect("a deadline");
        self.run()
    }

    /// The transport takes everything.
    pub fn written(&mut self) -> Vec<u8> {
        let bytes = self.tx.pending().to_vec();
        self.tx.consume(bytes.len());
        bytes
    }

    /// The same as frames.
    pub fn sent(&mut self) -> Vec<Sent> {
        whole_frames(&self.written())
    }

    /// Goes on to the end, with a peer that closes its side: what was sent, and the cause.
    pub fn finish(&mut self) -> (Vec<Sent>, Ending) {
        let mut sent = Vec::new();
        for _ in 0..10 {
            self.run();
            sent.extend(self.written());
            if self.shutdown && !self.rx.is_ended() {
                self.rx.end();
            }
            if let Some(cause) = self.closed {
                assert_eq!(self.run(), ["Done"], "for ever after");
                return (whole_frames(&sent), cause);
            }
            if !self.shutdown && self.tx.is_empty() {
                self.eof();
            }
        }
        panic!("the connection does not end")
    }
}

/// Random numbers, the same ones for the same seed (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16;
        (number % end.max(1) as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// One direction of a transport between two endpoints: it splits and delays as it likes, and holds a bounded
/// number of bytes.
#[derive(Default)]
pub struct Pipe {
    bytes: VecDeque<u8>,
    /// The writer has shut down.
    pub ended: bool,
}

impl Pipe {
    const CAPACITY: usize = 1000;

    /// Moves at most `n` bytes from the sender; whether any moved.
    pub fn pull<R: Role>(&mut self, from: &mut Endpoint<'_, R>, n: usize) -> bool {
        let n = n.min(from.tx.pending().len()).min(Self::CAPACITY - self.bytes.len());
        self.bytes.extend(&from.tx.pending()[..n]);
        from.tx.consume(n);
        n > 0
    }

    /// Moves at most `n` bytes to the receiver, then the end; whether anything moved.
    pub fn push<R: Role>(&mut self, to: &mut Endpoint<'_, R>, n: usize) -> bool {
        let n = n.min(to.rx.spare().len()).min(self.bytes.len());
        let piece: Vec<u8> = self.bytes.drain(..n).collect();
        assert_eq!(to.rx.feed(&piece), n);
        let end = self.ended && self.bytes.is_empty() && !to.rx.is_ended();
        if end {
            to.rx.end();
        }
        n > 0 || end
    }

    /// Whether nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The reader is gone: what is written is lost.
    pub fn drop_all(&mut self) {
        self.bytes.clear();
    }
}
