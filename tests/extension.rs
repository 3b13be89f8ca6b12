//! The seam for extensions, with one that is the opposite of neutral: on receipt every byte becomes many, on
//! sending many become one.

mod common;

use common::*;
use sansocket::frame::{OpCode, Rsv};
use sansocket::{
    Config, Control, Delivery, End, Extension, Kind, MIN_BUFFER, Progress, SendError, Sender, Server, State,
    TransmitBuffer, Violation,
};

const RSV1: u8 = 0x40;

/// A byte on the wire stands for so many of the same in the message.
#[derive(Clone, Copy, Debug)]
struct Repeat {
    times: usize,
    /// Receiving: the message passes through here, and of `byte` so many are still to be delivered.
    coded: bool,
    byte: u8,
    left: usize,
    /// Sending: so many bytes of the group were seen.
    seen: usize,
    /// Messages that are sent pass through here.
    sends: bool,
}

impl Repeat {
    fn new(times: usize) -> Self {
        Self { times, coded: false, byte: 0, left: 0, seen: 0, sends: true }
    }
}

/// Stands for itself, where it is received, that nothing can be made of the payload.
const BROKEN: u8 = 0xEE;

impl Extension for Repeat {
    fn rsv(&self) -> Rsv {
        Rsv::RSV1
    }

    fn receive(&mut self, opcode: OpCode, rsv: Rsv) -> Result<bool, Violation> {
        assert!(!opcode.is_control(), "an extension never sees a control frame");
        match (opcode, rsv == Rsv::RSV1) {
            (OpCode::Continuation, true) => Err(Violation::ReservedBits(4)),
            (OpCode::Continuation, false) => Ok(self.coded),
            (_, coded) => {
                self.coded = coded;
                Ok(coded)
            }
        }
    }

    fn decode(&mut self, input: &[u8], output: &mut [u8], _: bool) -> Result<Progress, Violation> {
        let (mut input, mut produced, mut consumed) = (input.iter(), 0, 0);
        loop {
            let n = self.left.min(output.len() - produced);
            output[produced..produced + n].fill(self.byte);
            produced += n;
            self.left -= n;
            if self.left > 0 {
                return Ok(Progress { consumed, produced, more: true });
            }
            match input.next() {
                None => return Ok(Progress { consumed, produced, more: false }),
                Some(&BROKEN) => return Err(Violation::Extension),
                Some(byte) => (self.byte, self.left) = (*byte, self.times),
            }
            consumed += 1;
        }
    }

    fn bound(&self, len: usize) -> Option<usize> {
        self.sends.then_some(len.div_ceil(self.times))
    }

    fn send(&mut self) -> Rsv {
        Rsv::RSV1
    }

    fn encode(&mut self, input: &[u8], output: &mut [u8], last: bool) -> Progress {
        let mut produced = 0;
        for (consumed, byte) in input.iter().enumerate() {
            let ends = self.seen + 1 == self.times || last && consumed + 1 == input.len();
            if ends {
                let Some(slot) = output.get_mut(produced) else {
                    return Progress { consumed, produced, more: true };
                };
                *slot = *byte;
                produced += 1;
                self.seen = 0;
            } else {
                self.seen += 1;
            }
        }
        Progress { consumed: input.len(), produced, more: false }
    }
}

/// Every byte so many times.
fn repeat(times: usize, payload: &[u8]) -> Vec<u8> {
    payload.iter().flat_map(|byte| vec![*byte; times]).collect()
}

type Received<'m> = Endpoint<'m, Server, Repeat>;

#[test]
fn one_input_gives_many_events() {
    let config = Config::new();
    for (output, pieces) in [(1, 30), (4, 8), (7, 5), (30, 1), (100, 1)] {
        let mut memory = Memory::new(MIN_BUFFER, MIN_BUFFER).with_output(output);
        let mut server = Received::with_extension(Repeat::new(10), &config, &mut memory);
        server.frame(RSV1 | BINARY, b"abc");
        assert_eq!(server.events.len(), pieces, "{output} bytes of memory");
        for (i, event) in server.events.iter().enumerate() {
            let Got::Data(data) = event else { panic!("{event:?}") };
            let place = (i == 0, i + 1 == pieces);
            assert_eq!(
                (data.start, data.end, data.payload.len() <= output),
                (place.0, place.1, true),
                "{data:?}"
            );
        }
        assert_eq!(messages(&server.events), [(Kind::Binary, repeat(10, b"abc"))]);
    }
}

/// Fragments, control frames between them, messages that do not pass through: all splits, all deliveries.
#[test]
fn received_at_every_split() {
    let wire = [
        Server::incoming(RSV1 | TEXT_PART, b"one"),
        Server::incoming(PING, b"ping"),
        Server::incoming(PART, b""),
        Server::incoming(LAST, b"two"),
        Server::incoming(TEXT, "plain κόσμε".as_bytes()),
        Server::incoming(RSV1 | BINARY, b""),
        Server::incoming(BINARY_PART, b"plain"),
        Server::incoming(LAST, b""),
        Server::incoming(RSV1 | TEXT, &[b'x'; 20]),
    ]
    .concat();
    let want = [
        (Kind::Text, repeat(5, b"onetwo")),
        (Kind::Text, "plain κόσμε".into()),
        (Kind::Binary, vec![]),
        (Kind::Binary, b"plain".to_vec()),
        (Kind::Text, vec![b'x'; 100]),
    ];
    for delivery in [Delivery::Frames, Delivery::Chunks, Delivery::CodePoints] {
        let mut config = Config::new();
        config.delivery = delivery;
        config.control = Control::Told;
        for output in [1, 2, 64] {
            for at in 0..wire.len() {
                let mut memory = Memory::new(MIN_BUFFER, MIN_BUFFER).with_output(output);
                let mut server = Received::with_extension(Repeat::new(5), &config, &mut memory);
                let (front, back) = wire.split_at(at);
                server.feed(front);
                server.feed(back);
                assert_eq!(messages(&server.events), want);
                let pings = server.events.iter().filter(|event| **event == Got::Ping(b"ping".to_vec()));
                assert_eq!(pings.count(), 1);
            }
            let mut memory = Memory::new(MIN_BUFFER, MIN_BUFFER).with_output(output);
            let mut server = Received::with_extension(Repeat::new(5), &config, &mut memory);
            server.feed_in(&wire, 1);
            assert_eq!(messages(&server.events), want);
        }
    }
}

/// How a connection ends that receives this; the bytes that were delivered before.
fn fails(config: &Config, times: usize, output: usize, wire: &[u8]) -> (Violation, Option<u16>, usize) {
    let run = |piece: usize| {
        let mut memory = Memory::new(MIN_BUFFER, MIN_BUFFER).with_output(output);
        let mut server = Received::with_extension(Repeat::new(times), config, &mut memory);
        server.feed_in(wire, piece);
        assert_ne!(server.connection.state(), State::Open, "{wire:02x?} breaks no rule");
        let delivered = server.events.iter().map(|event| match event {
            Got::Data(data) => data.payload.len(),
            _ => 0,
        });
        let delivered = delivered.sum();
        let (sent, cause) = server.finish();
        let End::Violation(violation) = cause.end else { panic!("{cause:?}") };
        (violation, sent[0].code(), delivered)
    };
    let slow = run(1);
    let fast = run(usize::MAX);
    assert_eq!((slow.0, slow.1), (fast.0, fast.1));
    assert!(fast.2 <= slow.2, "no more in one piece: {} {}", slow.2, fast.2);
    slow
}

#[test]
fn limits_are_for_what_is_delivered() {
    let mut config = Config::new();
    config.limits.message = 25;
    // 20 of 30 bytes are delivered, then 5 more would be too many with the 5 behind them.
    let (violation, code, delivered) = fails(&config, 10, 10, &Server::incoming(RSV1 | BINARY, b"abc"));
    assert_eq!((violation, code, delivered), (Violation::MessageTooBig, Some(1009), 20));
    // Over fragments, and however much a byte expands to.
    let wire = [
        Server::incoming(RSV1 | BINARY_PART, b"a"),
        Server::incoming(PART, b"b"),
        Server::incoming(LAST, b"c"),
    ];
    assert_eq!(fails(&config, 10, 10, &wire.concat()).2, 20);
    let (violation, _, delivered) = fails(&config, 1_000_000_000, 5, &Server::incoming(RSV1 | BINARY, b"a"));
    assert_eq!((violation, delivered), (Violation::MessageTooBig, 25));
    // A frame is measured as it is received.
    config.limits.frame = 2;
    assert_eq!(fails(&config, 1, 10, &Server::incoming(RSV1 | BINARY, b"abc")).0, Violation::FrameTooBig);
    // Just as much as is allowed, for each message.
    config.limits.frame = 25;
    let mut memory = Memory::new(MIN_BUFFER, MIN_BUFFER).with_output(7);
    let mut server = Received::with_extension(Repeat::new(5), &config, &mut memory);
    for _ in 0..3 {
        server.frame(RSV1 | BINARY, b"abcde");
        server.frame(BINARY, &[0; 25]);
    }
    assert_eq!(messages(&server.events).len(), 6);
    assert_eq!(fails(&config, 1, 9, &Server::incoming(BINARY, &[0; 26])).0, Violation::FrameTooBig);
}

#[test]
fn text_is_checked_as_delivered() {
    let config = Config::new();
    let invalid = |times, output, payload: &[u8]| {
        let (violation, code, _) = fails(&config, times, output, &Server::incoming(RSV1 | TEXT, payload));
        assert_eq!((violation, code), (Violation::InvalidUtf8, Some(1007)));
    };
    for output in [1, 2, 3, 100] {
        // As received it is text, as delivered not.
        invalid(2, output, "é".as_bytes());
        invalid(1, output, b"ok\xC3");
        invalid(1, output, b"\xED\xA0\x80");
        // Code points cut by the memory they are delivered in are none the worse for it.
        let text = "aé€𐍈".repeat(10);
        let mut memory = Memory::new(MIN_BUFFER, MIN_BUFFER).with_output(output);
        let mut server = Received::with_extension(Repeat::new(1), &config, &mut memory);
        server.frame(RSV1 | TEXT, text.as_bytes());
        assert_eq!(messages(&server.events), [(Kind::Text, text.into_bytes())]);
        // Bytes need not be text.
        server.frame(RSV1 | BINARY, b"\xFF\xC3");
        assert_eq!(messages(&server.events)[1], (Kind::Binary, b"\xFF\xC3".to_vec()));
        server.frame(RSV1 | TEXT, b"and then text again");
        assert_eq!(messages(&server.events).len(), 3);
    }
}

#[test]
fn reserved_bits_stand_where_the_extension_has_them() {
    let config = Config::new();
    let begun = Server::incoming(RSV1 | TEXT_PART, b"a");
    let cases = [
        // The extension's own rule.
        ([&begun[..], &Server::incoming(RSV1 | LAST, b"b")].concat(), 4),
        // Never on a control frame.
        (Server::incoming(RSV1 | PING, b""), 4),
        (Server::incoming(RSV1 | CLOSE, b""), 4),
        // Bits that it has not claimed.
        (Server::incoming(0x20 | TEXT, b"a"), 2),
        (Server::incoming(0x50 | TEXT, b"a"), 5),
    ];
    for (wire, bits) in cases {
        let (violation, code, _) = fails(&config, 2, 10, &wire);
        assert_eq!((violation, code), (Violation::ReservedBits(bits), Some(1002)));
    }
    let (violation, code, _) = fails(&config, 2, 10, &Server::incoming(RSV1 | TEXT, &[b'a', BROKEN]));
    assert_eq!((violation, code), (Violation::Extension, Some(1007)));
    // No memory to decode into.
    assert_eq!(fails(&config, 2, 0, &Server::incoming(RSV1 | TEXT, b"a")).0, Violation::Extension);
}

/// What does not pass through the extension lies in the receive buffer, and can be read past it; what does
/// cannot.
#[test]
fn absorbing_beside_an_extension() {
    let config = Config::new();
    let mut memory = Memory::new(MIN_BUFFER, MIN_BUFFER).with_output(10);
    let mut server = Received::with_extension(Repeat::new(2), &config, &mut memory);
    server.feed(&header(BINARY, Some([0; 4]), 1000));
    assert_eq!(server.connection.absorbable(&server.rx), 1000);
    let mut piece = [7; 1000];
    let data = server.connection.absorb(server.now, &mut piece).expect("payload");
    assert!(data.start && data.end && data.payload.len() == 1000);
    server.feed(&header(RSV1 | BINARY, Some([0; 4]), 1000));
    assert_eq!(server.connection.absorbable(&server.rx), 0);
    server.feed(&[7; 1000]);
    assert_eq!(messages(&server.events), [(Kind::Binary, vec![7; 2000])]);
}

// ---- sending ----

/// The worst case that an extension announces finds room, at every length where the header grows.
#[test]
fn send_has_room_for_the_worst_case() {
    fn run<R: TestRole>() {
        for len in (0..300).chain(65_520..65_545) {
            let mut memory = vec![0xA5; 65_700];
            let mut tx = TransmitBuffer::new(&mut memory).expect("enough");
            let mut sender = Sender::new(R::make());
            let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
            sender.send_with(&mut Repeat::new(1), &mut tx, Kind::Binary, &payload).expect("room");
            assert!(!sender.is_inside_message(), "{len}");
            let sent = frames(tx.pending());
            assert_eq!((sent.len(), sent[0].first, sent[0].key.is_some()), (1, RSV1 | BINARY, !R::SERVER));
            assert!(sent[0].payload == payload, "{len}");
        }
    }
    run::<Server>();
    run::<TestClient>();
}

#[test]
fn send_shrinks() {
    let mut memory = [0xA5; MIN_BUFFER];
    let mut tx = TransmitBuffer::new(&mut memory).expect("enough");
    let mut sender = Sender::new(Server);
    let mut extension = Repeat::new(10);
    // What would be too large by itself fits.
    sender.send_with(&mut extension, &mut tx, Kind::Text, &repeat(10, &[b'x'; 100])).expect("room");
    assert_eq!(tx.pending(), frame(RSV1 | TEXT, None, &[b'x'; 100]));
    let before = tx.pending().to_vec();
    assert_eq!(sender.send_with(&mut extension, &mut tx, Kind::Text, &[b'x'; 400]), Err(SendError::Blocked));
    assert_eq!(
        sender.send_with(&mut extension, &mut tx, Kind::Text, &[b'x'; 1400]),
        Err(SendError::TooLarge)
    );
    assert_eq!(tx.pending(), before);
    tx.consume(usize::MAX);
    // Message by message it may be left out.
    extension.sends = false;
    sender.send_with(&mut extension, &mut tx, Kind::Text, b"plain").expect("room");
    let mut rest = &b"plain as well"[..];
    sender.stream_with(&mut extension, &mut tx, Kind::Text, &mut rest, true, usize::MAX).expect("room");
    let want = [frame(TEXT, None, b"plain"), frame(TEXT, None, b"plain as well")].concat();
    assert_eq!(tx.pending(), want);
}

/// Streams through the extension and reads it back on the other side.
#[test]
fn stream_through_both_sides() {
    for (times, capacity, taken, part, largest) in [
        (3, MIN_BUFFER, 1, 100, usize::MAX),
        (3, MIN_BUFFER, usize::MAX, 1, usize::MAX),
        (1, MIN_BUFFER, 50, 1000, usize::MAX),
        (1, MIN_BUFFER, 50, 1000, 7),
        (50, 200, usize::MAX, 77, usize::MAX),
        (50, 5000, usize::MAX, 5000, 1),
        (1, 5000, usize::MAX, 5000, usize::MAX),
    ] {
        let config = Config::new();
        let payload = repeat(times, &"ab€".repeat(800 / times).into_bytes());
        let kind = if times == 1 { Kind::Text } else { Kind::Binary };
        let mut memory = Memory::new(MIN_BUFFER, MIN_BUFFER).with_output(11);
        let mut server = Received::with_extension(Repeat::new(times), &config, &mut memory);
        let mut memory = vec![0xA5; capacity];
        let mut tx = TransmitBuffer::new(&mut memory).expect("enough");
        let mut sender = Sender::new(client());
        let mut extension = Repeat::new(times);
        let mut wire = Vec::new();
        let parts: Vec<_> = payload.chunks(part).collect();
        for (i, mut rest) in parts.iter().copied().enumerate() {
            let fin = i + 1 == parts.len();
            while let Err(error) = sender.stream_with(&mut extension, &mut tx, kind, &mut rest, fin, largest)
            {
                assert_eq!(error, SendError::Blocked);
                let n = taken.min(tx.pending().len());
                assert!(n > 0, "there is something to wait for");
                wire.extend(&tx.pending()[..n]);
                tx.consume(n);
            }
            assert_eq!(sender.is_inside_message(), !fin, "a message is open from its first part to its last");
        }
        wire.extend(tx.pending());
        server.feed(&wire);
        assert!(messages(&server.events) == [(kind, payload)], "{times} {capacity} {taken} {part} {largest}");
        for (i, sent) in frames(&wire).iter().enumerate() {
            assert_eq!(sent.first & 0x7F, if i == 0 { RSV1 | (kind as u8 + 1) } else { 0 });
            assert!(sent.payload.len() <= largest);
        }
    }
}

/// A message that has begun is open, although the extension has made nothing of it yet, and no other way of
/// sending gets into it.
#[test]
fn a_message_in_the_extension_is_open() {
    let mut memory = [0xA5; MIN_BUFFER];
    let mut tx = TransmitBuffer::new(&mut memory).expect("enough");
    let mut sender = Sender::new(Server);
    let mut extension = Repeat::new(4);
    let x = &mut extension;
    sender.stream_with(x, &mut tx, Kind::Text, &mut &b"aa"[..], false, usize::MAX).expect("room");
    assert!(sender.is_inside_message());
    tx.consume(0);
    let before = tx.pending().to_vec();
    assert_eq!(sender.send_with(x, &mut tx, Kind::Text, b"bbbb"), Err(SendError::MessageOpen));
    assert_eq!(sender.fragment(&mut tx, Kind::Text, b"bbbb", false), Err(SendError::MessageOpen));
    assert_eq!(sender.begin(&mut tx, Kind::Text, 4, false), Err(SendError::MessageOpen));
    assert_eq!(tx.pending(), before);
    tx.consume(usize::MAX);
    sender.stream_with(x, &mut tx, Kind::Text, &mut &b"aabbbb"[..], true, usize::MAX).expect("room");
    let mut wire = before;
    wire.extend(tx.pending());
    let sent = frames(&wire);
    let payload: Vec<u8> = sent.iter().flat_map(|sent| sent.payload.clone()).collect();
    assert_eq!(payload, b"ab");
    assert_eq!(sent[0].first & 0x7F, RSV1 | 1);
    assert_eq!(sent.last().map(|sent| sent.first & 0x80), Some(0x80));
    // And then the others may again.
    tx.consume(usize::MAX);
    sender.fragment(&mut tx, Kind::Text, b"plain", true).expect("room");
    assert_eq!(tx.pending(), frame(TEXT, None, b"plain"));
}

/// Takes nothing and gives nothing.
struct Stuck;

impl Extension for Stuck {
    fn rsv(&self) -> Rsv {
        Rsv::RSV1
    }

    fn receive(&mut self, _: OpCode, _: Rsv) -> Result<bool, Violation> {
        Ok(true)
    }

    fn decode(&mut self, _: &[u8], _: &mut [u8], _: bool) -> Result<Progress, Violation> {
        Ok(Progress::default())
    }

    fn bound(&self, _: usize) -> Option<usize> {
        Some(0)
    }

    fn send(&mut self) -> Rsv {
        Rsv::RSV1
    }

    fn encode(&mut self, _: &[u8], _: &mut [u8], _: bool) -> Progress {
        Progress { more: true, ..Progress::default() }
    }
}

/// An extension that is wrong does not make any call run for ever.
#[test]
fn an_extension_that_is_stuck() {
    let config = Config::new();
    let mut memory = Memory::new(MIN_BUFFER, MIN_BUFFER).with_output(10);
    let mut server = Endpoint::<Server, Stuck>::with_extension(Stuck, &config, &mut memory);
    server.frame(TEXT, b"x");
    assert_eq!(server.finish().1.end, End::Violation(Violation::Extension));

    let mut memory = Memory::new(MIN_BUFFER, MIN_BUFFER).with_output(10);
    let mut server = Endpoint::<Server, Stuck>::with_extension(Stuck, &config, &mut memory);
    assert!(server.out().stream(Kind::Text, &mut &b"x"[..], true).is_err());
}

/// A whole connection: replies and the closing handshake are as without.
#[test]
fn a_connection_with_an_extension() {
    let mut config = Config::new();
    config.largest_fragment = 4;
    let mut memory = Memory::new(MIN_BUFFER, MIN_BUFFER).with_output(10);
    let mut client = Endpoint::<TestClient, Repeat>::with_extension(Repeat::new(3), &config, &mut memory);
    client.out().send(Kind::Text, b"aaabbb").expect("room");
    let mut rest = &repeat(3, b"stream")[..];
    while client.out().stream(Kind::Text, &mut rest, true) == Err(SendError::Blocked) {
        let n = client.tx.pending().len();
        let mut memory = Memory::new(MIN_BUFFER, MIN_BUFFER).with_output(10);
        let mut server = Received::with_extension(Repeat::new(3), &config, &mut memory);
        server.feed(client.tx.pending());
        client.tx.consume(n);
        if !messages(&server.events).is_empty() {
            assert_eq!(messages(&server.events), [(Kind::Text, b"aaabbb".to_vec())]);
        }
    }
    client.frame(PING, b"?");
    client.frame(RSV1 | TEXT, b"xy");
    client.frame(CLOSE, b"");
    let (sent, cause) = client.finish();
    assert_eq!(sent.iter().rev().take(2).map(|sent| sent.first).collect::<Vec<_>>(), [CLOSE, PONG]);
    assert_eq!(messages(&client.events), [(Kind::Text, b"xxxyyy".to_vec())]);
    assert_eq!(cause.end, End::Clean);
}
