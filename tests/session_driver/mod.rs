//! Drives a `ServerSession` as an adapter does, over bytes in memory and a clock that the test sets, and checks at each step
//! what an adapter relies on.

#![allow(dead_code, reason = "each test crate uses a part of it")]

pub(crate) use super::wire::masked;
use super::wire::{Sent, whole_frames};

use std::time::Duration;

use sansocket::error::EndReason;
use sansocket::handshake::{AcceptOptions, Decision, Request};
use sansocket::session::{Outcome, ServerSession};
use sansocket::{
    CloseCode, Config, Ending, Event, Handler, HandlerError, Instant, Outbox, ReceiveBuffer, SendError, Step,
    TransmitBuffer,
};

/// RFC 6455 §1.3.
pub(crate) const RFC_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const RFC_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The memory of one connection, used again for the next: whatever the last one left in it must not matter.
pub(crate) struct Memory {
    head: Vec<u8>,
    rx: Vec<u8>,
    tx: Vec<u8>,
}

impl Memory {
    pub(crate) fn new(head: usize, rx: usize, tx: usize) -> Self {
        Self { head: vec![0xA5; head], rx: vec![0xA5; rx], tx: vec![0xA5; tx] }
    }

    pub(crate) fn buffers(&mut self) -> (ReceiveBuffer<'_>, ReceiveBuffer<'_>, TransmitBuffer<'_>) {
        let Self { head, rx, tx } = self;
        (ReceiveBuffer::new(head).unwrap(), ReceiveBuffer::new(rx).unwrap(), TransmitBuffer::new(tx).unwrap())
    }
}

pub(crate) struct Drive<'m, 'c, H> {
    pub(crate) session: ServerSession<&'c Config>,
    pub(crate) handler: H,
    pub(crate) head: ReceiveBuffer<'m>,
    pub(crate) rx: ReceiveBuffer<'m>,
    pub(crate) tx: TransmitBuffer<'m>,
    pub(crate) now: Instant,
    /// What the peer has read.
    pub(crate) out: Vec<u8>,
    /// The most that the peer reads at once; 0 is a peer that does not read.
    pub(crate) take: usize,
    pub(crate) deadline: Option<Instant>,
    pub(crate) shutdowns: usize,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) polls: usize,
}

impl<'m, 'c, H: Handler> Drive<'m, 'c, H> {
    pub(crate) fn new(memory: &'m mut Memory, config: &'c Config, handler: H) -> Self {
        let (head, rx, tx) = memory.buffers();
        let now = Instant::from_millis(1_000);
        Self {
            session: ServerSession::new(config, now),
            handler,
            head,
            rx,
            tx,
            now,
            out: Vec::new(),
            take: usize::MAX,
            deadline: None,
            shutdowns: 0,
            outcome: None,
            polls: 0,
        }
    }

    /// One poll; whether there is something to go on with.
    fn step(&mut self) -> bool {
        let Self { session, handler, head, rx, tx, now, .. } = self;
        let step = session.poll(*now, handler, head, rx, tx);
        self.polls += 1;
        match step {
            Step::Wait { deadline } => {
                assert_eq!(self.outcome, None, "there is nothing after the end");
                assert!(
                    deadline.is_none_or(|at| at > self.now),
                    "a deadline that has passed makes adapters spin"
                );
                self.deadline = deadline;
                let n = self.tx.pending().len().min(self.take);
                self.out.extend_from_slice(&self.tx.pending()[..n]);
                self.tx.consume(n);
                n > 0
            }
            Step::Shutdown => {
                self.shutdowns += 1;
                assert_eq!(self.shutdowns, 1, "the writing side is shut down once");
                assert!(self.tx.is_empty(), "what is written after the shutdown is lost");
                true
            }
            Step::Done(outcome) => {
                assert_eq!(*self.outcome.get_or_insert(outcome), outcome, "the end is the same for ever");
                false
            }
        }
    }

    /// Polls until only input or time can bring more.
    pub(crate) fn pump(&mut self) {
        while self.step() {}
        let Self { session, head, rx, tx, .. } = self;
        let waits = !session.spare(head, rx).is_empty() || !tx.is_empty() || self.deadline.is_some();
        assert!(waits || self.outcome.is_some() || rx.is_ended(), "waits for nothing");
    }

    /// The peer sends `bytes`, in one piece as far as the buffers allow; how many were read.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        self.pump();
        while !rest.is_empty() && self.outcome.is_none() {
            let spare = self.session.spare(&mut self.head, &mut self.rx);
            let n = spare.len().min(rest.len());
            if n == 0 {
                break;
            }
            spare[..n].copy_from_slice(&rest[..n]);
            rest = &rest[n..];
            self.session.fill(&mut self.head, &mut self.rx, n);
            self.pump();
        }
        bytes.len() - rest.len()
    }

    /// The same, all of it.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        assert_eq!(self.feed(bytes), bytes.len(), "not everything was read: {:?}", self.outcome);
    }

    /// The same in pieces of `size` bytes.
    pub(crate) fn send_by(&mut self, bytes: &[u8], size: usize) {
        bytes.chunks(size).for_each(|piece| self.send(piece));
    }

    /// The peer has shut its writing side down.
    pub(crate) fn end(&mut self) {
        self.pump();
        self.session.end(&mut self.head, &mut self.rx);
        self.pump();
    }

    pub(crate) fn pass(&mut self, duration: Duration) {
        self.now = self.now.saturating_add(duration);
        self.pump();
    }

    /// Time passes up to the deadline.
    pub(crate) fn pass_deadline(&mut self) {
        self.now = self.now.max(self.deadline.expect("no deadline"));
        self.pump();
    }

    /// The peer reads whatever there is, until there is no more.
    pub(crate) fn read_all(&mut self) {
        self.take = usize::MAX;
        self.pump();
    }

    /// What the peer has read since the last time.
    pub(crate) fn taken(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// The status that the request was refused with, once that is over.
    pub(crate) fn refused(&self) -> Option<u16> {
        match self.outcome? {
            Outcome::Refused(refusal) => Some(refusal.status),
            _ => None,
        }
    }

    /// Sends a request that is to be accepted, and takes the 101 off the output.
    pub(crate) fn open(&mut self, request: &[u8]) -> Http {
        self.send(request);
        let head = Http::take(&mut self.out);
        assert_eq!(head.status, 101, "{head:?}");
        head
    }

    /// Ends the connection with a Close of 1000 and the end of the stream, and checks that it is clean.
    pub(crate) fn finish(&mut self) {
        self.read_all();
        self.send(&masked(0x88, &1000_u16.to_be_bytes()));
        self.end();
        let normal = Some(CloseCode::NORMAL);
        let clean = Ending { reason: EndReason::Clean, received: normal, sent: normal };
        assert_eq!((self.outcome, self.shutdowns), (Some(Outcome::Closed(clean)), 1));
    }
}

/// Every way in which a test cuts its input: in two at every place, and into pieces of the same size.
pub(crate) fn cuts(bytes: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    let halves = (0..bytes.len()).map(move |at| {
        let (a, b) = bytes.split_at(at);
        if a.is_empty() { vec![b] } else { vec![a, b] }
    });
    halves.chain([1, 2, 3, 7, 61].map(|size| bytes.chunks(size).collect()))
}

/// A request for `path` with the sample key of the RFC, and further lines.
pub(crate) fn upgrade(path: &str, more: &[&str]) -> Vec<u8> {
    let key = format!("Sec-WebSocket-Key: {RFC_KEY}");
    let lines = ["Host: server.example.com", "Upgrade: websocket", "Connection: Upgrade", &key];
    let lines: Vec<_> =
        lines.into_iter().chain(["Sec-WebSocket-Version: 13"]).chain(more.iter().copied()).collect();
    request("GET", path, &lines)
}

pub(crate) fn request(method: &str, path: &str, lines: &[&str]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    for line in lines {
        head.push_str(line);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// An answer as a peer reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Http {
    pub(crate) status: u16,
    pub(crate) line: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Http {
    /// All of an answer and its body, which ends with the bytes.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let mut bytes = bytes.to_vec();
        let mut http = Self::take(&mut bytes);
        http.body = bytes;
        http
    }

    /// Takes the head off the front.
    pub(crate) fn take(bytes: &mut Vec<u8>) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no answer: {}", bytes.escape_ascii()));
        let head = String::from_utf8(bytes.drain(..end + 4).collect()).unwrap();
        let mut lines = head[..end].split("\r\n");
        let line = lines.next().unwrap().to_owned();
        let status = line.strip_prefix("HTTP/1.1 ").unwrap().split(' ').next().unwrap().parse().unwrap();
        let fields =
            lines.map(|line| line.split_once(": ").unwrap()).map(|(n, v)| (n.to_owned(), v.to_owned()));
        Self { status, line, fields: fields.collect(), body: Vec::new() }
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut all = self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let first = all.next();
        assert!(all.next().is_none(), "{name} twice: {self:?}");
        first.map(|(_, value)| value.as_str())
    }

    /// What every refusal has to have.
    pub(crate) fn check_closing(&self, has_body: bool) {
        let len: usize = self.field("Content-Length").unwrap().parse().unwrap();
        assert_eq!(self.body.len(), if has_body { len } else { 0 }, "{self:?}");
        let connection = self.field("Connection").unwrap();
        assert!(connection.split(", ").any(|token| token == "close"), "{self:?}");
    }
}

/// A frame as the peer of a server reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) fin: bool,
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn frame(fin: bool, opcode: u8, payload: impl AsRef<[u8]>) -> Frame {
    Frame { fin, opcode, payload: payload.as_ref().to_vec() }
}

/// The frames that a server has sent, all of them whole.
pub(crate) fn frames(bytes: &[u8]) -> Vec<Frame> {
    whole_frames(bytes).into_iter().map(Frame::from).collect()
}

impl From<Sent> for Frame {
    fn from(Sent { first, key, payload }: Sent) -> Self {
        assert_eq!((first & 0x70, key), (0, None), "reserved bits, or a mask");
        Self { fin: first & 0x80 != 0, opcode: first & 0xF, payload }
    }
}

/// The data messages of these frames, and between which the rules of fragmentation hold.
pub(crate) fn messages(frames: &[Frame]) -> Vec<(u8, Vec<u8>)> {
    let mut messages = Vec::new();
    let mut open: Option<(u8, Vec<u8>)> = None;
    for frame in frames.iter().filter(|frame| frame.opcode < 8) {
        let mut message = match (open.take(), frame.opcode) {
            (None, 1 | 2) => (frame.opcode, Vec::new()),
            (Some(message), 0) => message,
            (open, opcode) => panic!("opcode {opcode} inside of {open:?}"),
        };
        message.1.extend_from_slice(&frame.payload);
        if frame.fin { messages.push(message) } else { open = Some(message) }
    }
    assert_eq!(open, None, "a message without an end");
    messages
}

/// An application that answers requests as a test says, echoes, and records every call.
pub(crate) struct App<F> {
    decide: F,
    /// Sent as soon as the connection is open.
    pub(crate) hello: Option<&'static str>,
    pub(crate) requests: usize,
    pub(crate) opened: Vec<Option<String>>,
    pub(crate) data: Vec<u8>,
    pub(crate) closed: Vec<(Ending, String)>,
}

impl<F: FnMut(&Request<'_>) -> Decision<'static>> App<F> {
    pub(crate) fn new(decide: F) -> Self {
        Self { decide, hello: None, requests: 0, opened: vec![], data: vec![], closed: vec![] }
    }
}

impl<F: FnMut(&Request<'_>) -> Decision<'static>> Handler for App<F> {
    fn request<'s>(&'s mut self, request: &Request<'_>) -> Decision<'s> {
        self.requests += 1;
        (self.decide)(request)
    }

    fn opened(&mut self, protocol: Option<&str>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        if let Some(hello) = self.hello {
            out.send(hello)?;
        }
        self.opened.push(protocol.map(str::to_owned));
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let Event::Data(data) = event else { return Ok(()) };
        let bytes = data.payload.as_bytes();
        let mut rest = bytes;
        let outcome = out.send_fragmented(data.kind, &mut rest, data.end);
        let taken = bytes.len() - rest.len();
        self.data.extend_from_slice(&bytes[..taken]);
        outcome.map_err(|error| match error {
            SendError::Blocked => HandlerError::Blocked { consumed: taken },
            other => other.into(),
        })
    }

    fn closed(&mut self, cause: &Ending, reason: &str) {
        self.closed.push((*cause, reason.to_owned()));
    }
}

/// What an application that accepts everything answers.
pub(crate) fn accept(_: &Request<'_>) -> Decision<'static> {
    Decision::accept()
}

/// The answer to a request that is refused, from an application that accepts `accepted`.
pub(crate) fn ask(config: &Config, accepted: AcceptOptions<'static>, request: &[u8]) -> Http {
    let mut memory = Memory::new(16 * 1024, 256, 256);
    let mut drive = Drive::new(&mut memory, config, App::new(|_| Decision::Accept(accepted.clone())));
    drive.feed(request);
    drive.end();
    Http::parse(&drive.out)
}

/// Text that lives as long as the test crate runs.
pub(crate) fn leak(text: impl Into<String>) -> &'static str {
    Box::leak(text.into().into_boxed_str())
}
