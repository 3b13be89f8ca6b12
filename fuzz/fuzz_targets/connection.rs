#![no_main]

use core::time::Duration;

use libfuzzer_sys::fuzz_target;
use sansocket::{Ending, Client, CloseCode, Config, Connection, Instant, Kind, ReceiveBuffer, SendError, Server, Step, TransmitBuffer};
use sansocket::config::{ControlFrames, Delivery};
use sansocket::error::EndReason;
use sansocket::proto::{MIN_BUFFER_LEN, NoExtension, Role, ConnectionState};
use sansocket_fuzz::{Frame, Log, Script};

/// Every message repeats it: where text is cut, code points are.
const PATTERN: &[u8] = "aé€🌍".as_bytes();

fuzz_target!(|data: &[u8]| {
    let mut script = Script(data);
    let flags = script.byte();
    let mut config = Config::new();
    config.delivery = [Delivery::Frames, Delivery::Chunks, Delivery::CodePoints][usize::from(flags & 3) % 3];
    config.control = if flags & 4 == 0 { ControlFrames::Automatic } else { ControlFrames::Reported };
    config.timeouts.idle = Some(Duration::from_secs(100));
    if flags & 8 != 0 {
        config.largest_fragment = 20;
    }
    let mut key = 0_u32;
    let keys = move || {
        key = key.wrapping_mul(0x9E37_79B9).wrapping_add(12345);
        key.to_ne_bytes()
    };
    let mut client = Side::new(Client::new(keys), &config, script.byte());
    let mut server = Side::new(Server, &config, script.byte());
    let mut now = Instant::START;
    while !script.0.is_empty() {
        match script.byte() {
            0xFF => now = now.saturating_add(Duration::from_secs(script.byte().into())),
            op if op & 0x80 == 0 => client.operate(now, op, &mut script, &mut server.pipe),
            op => server.operate(now, op, &mut script, &mut client.pipe),
        }
    }

    // Both close, everything arrives, and time passes where nothing else does.
    let mut rounds = 0;
    while client.cause.is_none() || server.cause.is_none() {
        client.finish();
        server.finish();
        let moved =
            client.deliver(usize::MAX, &mut server.pipe) | server.deliver(usize::MAX, &mut client.pipe);
        let deadlines = [client.poll(now), server.poll(now)];
        if !moved && client.tx.is_empty() && server.tx.is_empty() {
            now = deadlines.into_iter().flatten().min().unwrap_or(now);
        }
        rounds += 1;
        assert!(rounds < 20_000, "no end");
    }
    let ends = [client.cause, server.cause].map(|cause| cause.unwrap().reason);
    assert!(!ends.iter().any(|end| matches!(end, EndReason::Violation(_))), "{ends:?}");
    let all = ends == [EndReason::Clean; 2];
    check(&client.sent, &server.log, all);
    check(&server.sent, &client.log, all);
});

/// A message that was sent, as far as it was.
#[derive(Debug)]
struct Message {
    kind: Kind,
    len: usize,
    ended: bool,
}

/// What was received is how what was sent begins, or `all` of it.
fn check(sent: &[Message], log: &Log, all: bool) {
    let mut received: Vec<Message> = vec![];
    for frame in &log.frames {
        let Frame::Data { kind, start, end, payload, .. } = frame else { continue };
        if *start {
            received.push(Message { kind: *kind, len: 0, ended: false });
        }
        let message = received.last_mut().expect("a message that began");
        for byte in payload {
            assert_eq!(*byte, PATTERN[message.len % PATTERN.len()]);
            message.len += 1;
        }
        message.ended = *end;
    }
    for (i, sent) in sent.iter().enumerate() {
        match received.get(i) {
            Some(got) => {
                let same = got.len == sent.len && got.ended == sent.ended;
                let begun = i + 1 == received.len() && !got.ended && got.len <= sent.len;
                assert!(got.kind == sent.kind && (same || begun && !all), "{sent:?} {got:?}");
            }
            // Of a message that only began nothing may have gone out.
            None => assert!(!all || sent.len == 0, "lost: {sent:?}"),
        }
    }
    assert!(received.len() <= sent.len());
}

struct Side<'c, R> {
    connection: Connection<R, NoExtension, &'c Config>,
    rx: ReceiveBuffer<'static>,
    tx: TransmitBuffer<'static>,
    /// On its way to this side.
    pipe: Pipe,
    log: Log,
    delivery: Delivery,
    sent: Vec<Message>,
    /// The frame that was begun is the last of its message.
    fin: bool,
    shut: bool,
    cause: Option<Ending>,
}

#[derive(Default)]
struct Pipe {
    bytes: Vec<u8>,
    ended: bool,
    told: bool,
}

impl<'c, R: Role> Side<'c, R> {
    fn new(role: R, config: &'c Config, more: u8) -> Self {
        let size = MIN_BUFFER_LEN + usize::from(more);
        Self {
            connection: Connection::new(role, config, Instant::START),
            rx: ReceiveBuffer::with_capacity(size).unwrap(),
            tx: TransmitBuffer::with_capacity(size).unwrap(),
            pipe: Pipe::default(),
            log: Log::default(),
            delivery: config.delivery,
            sent: vec![],
            fin: false,
            shut: false,
            cause: None,
        }
    }

    fn operate(&mut self, now: Instant, op: u8, script: &mut Script<'_>, peer: &mut Pipe) {
        let kind = if op & 0x40 == 0 { Kind::Binary } else { Kind::Text };
        let fin = op & 0x20 == 0;
        let scale = usize::from(op >> 4 & 1) * 3;
        let mut len = |this: &Self, fin: bool| this.whole(kind, usize::from(script.byte()) << scale, fin);
        let outcome = match op & 15 {
            0 => {
                let payload = self.payload(len(self, true));
                let mut out = self.connection.outbox(Instant::START, &mut self.tx);
                let sent = match kind {
                    // Inside of a message it is none, and cannot be sent.
                    Kind::Text => out.send(std::str::from_utf8(&payload).unwrap_or_default()),
                    Kind::Binary => out.send(&payload),
                };
                sent.map(|()| self.note(kind, payload.len(), true))
            }
            1 => {
                let payload = self.payload(len(self, fin));
                let sent = self.connection.outbox(Instant::START, &mut self.tx).fragment(kind, &payload, fin);
                sent.map(|()| self.note(kind, payload.len(), fin))
            }
            2 => {
                let len = len(self, fin);
                let begun = self.connection.outbox(Instant::START, &mut self.tx).begin_frame(kind, len as u64, fin);
                begun.map(|()| {
                    self.fin = fin;
                    self.note(kind, 0, fin && len == 0);
                })
            }
            3 => {
                let n = len(self, false);
                self.write(n)
            }
            4 => {
                let payload = self.payload(len(self, fin));
                let mut rest = &payload[..];
                let outcome = self.connection.outbox(Instant::START, &mut self.tx).send_fragmented(kind, &mut rest, fin);
                let done = payload.len() - rest.len();
                if done > 0 || outcome.is_ok() {
                    self.note(kind, done, fin && outcome.is_ok());
                }
                outcome
            }
            5 => self.connection.outbox(Instant::START, &mut self.tx).ping(&PATTERN[..usize::from(op >> 4 & 7)]),
            6 => {
                self.connection.outbox(Instant::START, &mut self.tx).pong(&[b'.'; 126][..usize::from(script.byte()).min(126)])
            }
            7 => {
                let code = CloseCode::new(1000 + u16::from(script.byte()));
                self.connection.outbox(Instant::START, &mut self.tx).close(code, if fin { "bye" } else { "" })
            }
            8..=11 => {
                self.deliver(script.byte().into(), peer);
                Ok(())
            }
            12 if op & 0x70 == 0x70 => {
                self.connection.transport_failed();
                Ok(())
            }
            12 => {
                peer.ended |= op & 0x70 == 0x60;
                Ok(())
            }
            _ => {
                self.poll(now);
                Ok(())
            }
        };
        let out = self.connection.outbox(Instant::START, &mut self.tx);
        match outcome {
            Err(SendError::Blocked) => assert!(!out.is_empty()),
            Err(SendError::FrameOpen) => assert!(out.frame_remaining() > 0),
            Err(SendError::MessageOpen) => assert!(out.is_inside_message()),
            _ => {}
        }
    }

    /// A length near `len` after which a text that ends is one.
    fn whole(&self, kind: Kind, mut len: usize, fin: bool) -> usize {
        let at = self.sent.last().filter(|message| !message.ended).map_or(0, |message| message.len);
        while kind == Kind::Text && fin && !matches!((at + len) % PATTERN.len(), 0 | 1 | 3 | 6) {
            len += 1;
        }
        len
    }

    /// The next `len` bytes of the message at hand, or of a new one.
    fn payload(&self, len: usize) -> Vec<u8> {
        let at = self.sent.last().filter(|message| !message.ended).map_or(0, |message| message.len);
        PATTERN.iter().copied().cycle().skip(at % PATTERN.len()).take(len).collect()
    }

    fn note(&mut self, kind: Kind, len: usize, ended: bool) {
        match self.sent.last_mut() {
            Some(message) if !message.ended => {
                message.len += len;
                message.ended = ended;
            }
            _ => self.sent.push(Message { kind, len, ended }),
        }
    }

    fn write(&mut self, len: usize) -> Result<(), SendError> {
        let payload = self.payload(len);
        let mut out = self.connection.outbox(Instant::START, &mut self.tx);
        if out.frame_remaining() == 0 {
            return Ok(());
        }
        let n = out.write(&payload)?;
        let ended = out.frame_remaining() == 0 && self.fin;
        let kind = self.sent.last().unwrap().kind;
        self.note(kind, n, ended);
        Ok(())
    }

    /// Polls until there is nothing to do.
    fn poll(&mut self, now: Instant) -> Option<Instant> {
        for _ in 0..10_000 {
            match self.connection.poll(now, &mut self.rx, &mut self.tx) {
                Step::Event(event) => self.log.event(event, self.delivery),
                Step::Wait { deadline } => {
                    assert!(self.cause.is_none());
                    return deadline;
                }
                Step::Shutdown => {
                    assert!(!self.shut && self.tx.is_empty());
                    self.shut = true;
                }
                Step::Done(cause) => {
                    assert_eq!(self.cause.unwrap_or(cause), cause);
                    assert_eq!(self.connection.state(), ConnectionState::Closed);
                    self.cause = Some(cause);
                    return None;
                }
            }
        }
        panic!("a spin")
    }

    /// Ends what was begun, then the connection.
    fn finish(&mut self) {
        let out = self.connection.outbox(Instant::START, &mut self.tx);
        if out.frame_remaining() > 0 {
            let left = out.frame_remaining() as usize;
            let _ = self.write(left);
        } else {
            let _ = self.connection.outbox(Instant::START, &mut self.tx).close(Some(CloseCode::NORMAL), "");
        }
    }

    /// The transport takes and brings up to `n` bytes; whether it did anything.
    fn deliver(&mut self, n: usize, peer: &mut Pipe) -> bool {
        let out = n.min(self.tx.pending().len());
        if !peer.ended {
            peer.bytes.extend(&self.tx.pending()[..out]);
        }
        self.tx.consume(out);
        let over = (self.shut || self.cause.is_some()) && self.tx.is_empty() && !peer.ended;
        peer.ended |= over;
        let brought = n.min(self.pipe.bytes.len());
        let brought = self.rx.feed(&self.pipe.bytes[..brought]);
        self.pipe.bytes.drain(..brought);
        let end = self.pipe.ended && self.pipe.bytes.is_empty() && !self.pipe.told;
        if end {
            self.pipe.told = true;
            self.rx.end();
        }
        out > 0 || over || brought > 0 || end
    }
}
