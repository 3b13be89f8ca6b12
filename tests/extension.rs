//! The interface for extensions, with one that makes many bytes of each byte received, and one byte of many sent.

mod endpoint;
mod wire;

use endpoint::*;
use sansocket::config::{ControlFrames, Delivery};
use sansocket::error::{EndReason, Violation};
use sansocket::handshake::{
    ClientHandshake, ClientHandshakeEnd, ClientRequest, ExtensionList, ExtensionText, HandshakeError,
    Negotiate,
};
use sansocket::proto::{
    ConnectionState, Encoder, Extension, ExtensionFailed, MIN_BUFFER_LEN, OpCode, Progress, ReceiveError,
    ReservedBits,
};
use sansocket::session::{Buffers, HandlerDriver, ServerSession};
use sansocket::{
    CloseCode, Config, Connection, Ending, Event, Handler, HandlerError, Kind, Outbox, ReceiveBuffer,
    SendError, Server, TransmitBuffer,
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
    fn rsv(&self) -> ReservedBits {
        ReservedBits::RSV1
    }

    fn receive(&mut self, opcode: OpCode, rsv: ReservedBits) -> Result<bool, ReceiveError> {
        assert!(!opcode.is_control(), "an extension never sees a control frame");
        match (opcode, rsv == ReservedBits::RSV1) {
            (OpCode::Continuation, true) => Err(Violation::ReservedBits(4).into()),
            (OpCode::Continuation, false) => Ok(self.coded),
            (_, coded) => {
                self.coded = coded;
                Ok(coded)
            }
        }
    }

    fn decode(&mut self, input: &[u8], output: &mut [u8], _: bool) -> Result<Progress, ReceiveError> {
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
                Some(&BROKEN) => return Err(Violation::Extension.into()),
                Some(byte) => (self.byte, self.left) = (*byte, self.times),
            }
            consumed += 1;
        }
    }

    fn bound(&self, len: usize) -> Option<usize> {
        self.sends.then_some(len.div_ceil(self.times))
    }

    fn send(&mut self) -> ReservedBits {
        ReservedBits::RSV1
    }

    fn encode(&mut self, input: &[u8], output: &mut [u8], last: bool) -> Result<Progress, ExtensionFailed> {
        let mut produced = 0;
        for (consumed, byte) in input.iter().enumerate() {
            let ends = self.seen + 1 == self.times || last && consumed + 1 == input.len();
            if ends {
                let Some(slot) = output.get_mut(produced) else {
                    return Ok(Progress { consumed, produced, more: true });
                };
                *slot = *byte;
                produced += 1;
                self.seen = 0;
            } else {
                self.seen += 1;
            }
        }
        Ok(Progress { consumed: input.len(), produced, more: false })
    }
}

/// Every byte so many times.
fn repeat(times: usize, payload: &[u8]) -> Vec<u8> {
    payload.iter().flat_map(|byte| vec![*byte; times]).collect()
}

type Received<'m> = Endpoint<'m, Server, Repeat>;

#[test]
fn one_frame_gives_many_events() {
    let config = Config::new();
    for (output, pieces) in [(1, 30), (4, 8), (7, 5), (30, 1), (100, 1)] {
        let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN).with_output(output);
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
        config.control = ControlFrames::Reported;
        for output in [1, 2, 64] {
            for at in 0..wire.len() {
                let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN).with_output(output);
                let mut server = Received::with_extension(Repeat::new(5), &config, &mut memory);
                let (front, back) = wire.split_at(at);
                server.feed(front);
                server.feed(back);
                assert_eq!(messages(&server.events), want);
                let pings = server.events.iter().filter(|event| **event == Got::Ping(b"ping".to_vec()));
                assert_eq!(pings.count(), 1);
            }
            let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN).with_output(output);
            let mut server = Received::with_extension(Repeat::new(5), &config, &mut memory);
            server.feed_in(&wire, 1);
            assert_eq!(messages(&server.events), want);
        }
    }
}

/// The events of a connection that receives this in pieces.
fn events(config: &Config, times: usize, output: usize, wire: &[u8], piece: usize) -> Vec<Got> {
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN).with_output(output);
    let mut server = Received::with_extension(Repeat::new(times), config, &mut memory);
    server.feed_in(wire, piece);
    server.events
}

/// A message is one event however it arrives, if it fits the memory: over reads, fragments and Pings between them.
#[test]
fn a_decoded_message_that_fits_is_delivered_whole() {
    let config = Config::new();
    let wire = [
        Server::incoming(RSV1 | TEXT_PART, "é".as_bytes()),
        Server::incoming(PING, b"?"),
        Server::incoming(PART, b""),
        Server::incoming(LAST, "€x".as_bytes()),
        Server::incoming(RSV1 | BINARY, &[7; 100]),
        Server::incoming(RSV1 | TEXT, b""),
    ]
    .concat();
    let want = [
        Got::message(Kind::Text, "é€x".as_bytes()),
        Got::message(Kind::Binary, &[7; 100]),
        Got::message(Kind::Text, b""),
    ];
    for piece in 1..wire.len() {
        assert_eq!(events(&config, 1, 100, &wire, piece), want, "{piece}");
    }
}

/// A message that is larger than the memory fills it each time, and text is cut between characters.
#[test]
fn a_decoded_text_is_cut_between_characters() {
    let text = "aé€𐍈".repeat(20);
    for (delivery, whole) in [(Delivery::Frames, true), (Delivery::CodePoints, false)] {
        let mut config = Config::new();
        config.delivery = delivery;
        for output in 4..30 {
            for piece in [1, 2, 3, 7, usize::MAX] {
                let wire = Server::incoming(RSV1 | TEXT, text.as_bytes());
                let got = events(&config, 1, output, &wire, piece);
                assert_eq!(messages(&got), [(Kind::Text, text.clone().into_bytes())]);
                let (last, others) = got.split_last().unwrap();
                for event in &got {
                    let Got::Data(data) = event else { panic!("{event:?}") };
                    assert!(std::str::from_utf8(&data.payload).is_ok(), "{data:?}");
                }
                for event in others.iter().filter(|_| whole) {
                    let Got::Data(data) = event else { panic!("{event:?}") };
                    assert!(
                        data.payload.len() + 3 >= output,
                        "{} of {output}, then {last:?}",
                        data.payload.len()
                    );
                }
            }
        }
    }
}

/// What is decoded and not delivered keeps the buffer: no other connection may get its memory.
#[test]
fn a_buffer_with_decoded_bytes_is_not_empty() {
    let config = Config::new();
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN).with_output(100);
    let mut server = Received::with_extension(Repeat::new(3), &config, &mut memory);
    server.feed(&Server::incoming(RSV1 | BINARY_PART, b"ab"));
    assert_eq!((server.events.len(), server.rx.unread().len(), server.rx.is_empty()), (0, 0, false));
    server.frame(LAST, b"");
    assert_eq!(messages(&server.events), [(Kind::Binary, b"aaabbb".to_vec())]);
    assert!(server.rx.is_empty());
}

/// Chunks are delivered at once.
#[test]
fn decoded_chunks_are_delivered_as_they_arrive() {
    let mut config = Config::new();
    config.delivery = Delivery::Chunks;
    let got = events(&config, 3, 100, &Server::incoming(RSV1 | BINARY, b"abc"), 1);
    let lengths: Vec<_> =
        got.iter().map(|event| matches!(event, Got::Data(data) if data.payload.len() == 3)).collect();
    assert_eq!(lengths, [true; 3]);
}

/// Counts what passes through it.
struct Counting {
    inner: Repeat,
    received: usize,
    decoded: usize,
}

impl Extension for Counting {
    fn rsv(&self) -> ReservedBits {
        self.inner.rsv()
    }

    fn receive(&mut self, opcode: OpCode, rsv: ReservedBits) -> Result<bool, ReceiveError> {
        self.received += 1;
        self.inner.receive(opcode, rsv)
    }

    fn decode(&mut self, input: &[u8], output: &mut [u8], last: bool) -> Result<Progress, ReceiveError> {
        let done = self.inner.decode(input, output, last)?;
        self.decoded += done.produced;
        Ok(done)
    }

    fn bound(&self, len: usize) -> Option<usize> {
        self.inner.bound(len)
    }

    fn send(&mut self) -> ReservedBits {
        self.inner.send()
    }

    fn encode(&mut self, input: &[u8], output: &mut [u8], last: bool) -> Result<Progress, ExtensionFailed> {
        self.inner.encode(input, output, last)
    }
}

impl Counting {
    fn new(times: usize) -> Self {
        Self { inner: Repeat::new(times), received: 0, decoded: 0 }
    }
}

/// A handler that counts what it gets.
#[derive(Default)]
struct Sink(usize);

impl Handler for Sink {
    fn event(&mut self, event: Event<'_>, _: &mut Outbox<'_>) -> Result<(), HandlerError> {
        if let Event::Data(data) = event {
            self.0 += data.payload.len();
        }
        Ok(())
    }
}

/// A bomb is decoded up to the byte that is too much, whatever memory there is.
#[test]
fn a_bomb_is_not_decoded_past_the_limit() {
    let mut config = Config::new();
    config.limits.message = 1000;
    for output in [10, 999, 1000, 1001, 5000] {
        let (mut memory, mut decoded, mut tx) = ([0; 200], vec![0; output], [0; 200]);
        let mut rx = ReceiveBuffer::new(&mut memory).unwrap().with_output(&mut decoded);
        let mut tx = TransmitBuffer::new(&mut tx).unwrap();
        let mut extension = Counting::new(usize::MAX);
        let mut decoder = sansocket::proto::Decoder::<Server, _>::new(&config);
        rx.feed(&Server::incoming(RSV1 | BINARY, b"a"));
        let error = loop {
            match decoder.receive_with(&mut extension, &mut rx) {
                Ok(event) => assert!(event.is_some()),
                Err(error) => break error,
            }
        };
        assert_eq!((error, extension.decoded), (Violation::MessageTooBig.into(), 1001), "{output}");
        // And as a connection: 1009.
        let mut connection =
            Connection::with_extension(Server, Counting::new(usize::MAX), &config, Instant::START);
        rx.clear();
        rx.feed(&Server::incoming(RSV1 | BINARY, b"a"));
        while let sansocket::Step::Event(_) = connection.poll(Instant::START, &mut rx, &mut tx) {}
        assert_eq!(whole_frames(tx.pending())[0].code(), Some(1009));
    }
}

/// A few bytes that decode to megabytes do not hold up the other connections of a thread.
#[test]
fn a_poll_decodes_a_bounded_number_of_bytes() {
    let config = Config::new();
    let (mut memory, mut decoded, mut tx) = ([0; 200], vec![0; 1000], [0; 200]);
    let mut rx = ReceiveBuffer::new(&mut memory).unwrap().with_output(&mut decoded);
    let mut tx = TransmitBuffer::new(&mut tx).unwrap();
    let connection = Connection::with_extension(Server, Counting::new(500_000), &config, Instant::START);
    let (mut driver, mut sink) = (HandlerDriver::new(connection, None), Sink::default());
    rx.feed(&Server::incoming(RSV1 | BINARY, b"ab"));
    for turn in 1.. {
        let before = sink.0;
        let step = driver.poll(Instant::START, &mut sink, &mut rx, &mut tx);
        let sansocket::Step::Wait { deadline } = step else { panic!("{step:?}") };
        assert!(sink.0 - before <= 65_000 + 1000, "{}", sink.0 - before);
        // There is more to do at once, or the message is complete.
        assert_eq!(deadline == Some(Instant::START), sink.0 < 1_000_000, "{turn}: {}", sink.0);
        if sink.0 == 1_000_000 {
            break;
        }
    }
}

/// A message in one frame without a reserved bit takes the short cut, where there is one.
#[cfg(target_pointer_width = "64")]
#[test]
fn a_plain_frame_is_not_shown_to_the_extension() {
    let (mut memory, mut decoded) = ([0; 200], [0; 200]);
    let mut rx = ReceiveBuffer::new(&mut memory).unwrap().with_output(&mut decoded);
    let mut extension = Counting::new(2);
    let mut decoder = sansocket::proto::Decoder::<Server>::new(&Config::DEFAULT);
    for (first, shown) in [(TEXT, 0), (RSV1 | TEXT, 1), (BINARY, 1), (TEXT_PART, 2), (LAST, 3), (BINARY, 3)] {
        rx.feed(&Server::incoming(first, b"ab"));
        let event = decoder.receive_with(&mut extension, &mut rx);
        let _ = event.map(|event| assert!(event.is_some(), "{first:02x}"));
        assert_eq!(extension.received, shown, "{first:02x}");
    }
}

/// Agrees to `x-repeat`.
#[derive(Default)]
struct Repeating(Option<Repeat>);

impl Negotiate for Repeating {
    type Extension = Option<Repeat>;

    fn accept(&mut self, offers: ExtensionList<'_>, answer: &mut ExtensionText) {
        let times =
            offers.flatten().find(|offer| offer.name() == "x-repeat").and_then(|offer| offer.params().next());
        let digit = times.and_then(|times| times.value?.bytes().next());
        if let Some(digit @ b'1'..=b'9') = digit {
            answer.push("x-repeat");
            self.0 = Some(Repeat::new(usize::from(digit - b'0')));
        }
    }

    fn offer(&mut self, offer: &mut ExtensionText) {
        offer.push("x-repeat; times=3");
    }

    fn confirm(&mut self, answer: ExtensionList<'_>) -> Result<(), HandshakeError> {
        for element in answer {
            match element {
                Ok(element) if element.name() == "x-repeat" => self.0 = Some(Repeat::new(3)),
                _ => return Err(HandshakeError::Extension),
            }
        }
        Ok(())
    }

    fn open(&mut self) -> Option<Repeat> {
        self.0.take()
    }
}

/// A client and a session of a server agree, or do not, and talk so.
#[test]
fn a_session_and_a_client_negotiate_an_extension() {
    let now = Instant::START;
    for (server_agrees, client_offers) in [(true, true), (false, true), (true, false)] {
        let config = Config::new();
        let mut server_memory = sansocket::session::Memory { head: [0; 512], rx: [0; 256], tx: [0; 256] };
        let mut decoded = [0; 100];
        let Buffers { mut head, rx, mut tx } = server_memory.buffers();
        let mut rx = rx.with_output(&mut decoded);
        let request = ClientRequest::parse("ws://a/").unwrap();
        let mut client_memory = sansocket::session::Memory { head: [0; 512], rx: [0; 256], tx: [0; 256] };
        let mut near = client_memory.buffers();
        let mut repeating = Repeating::default();
        let mut handshake = match client_offers {
            true => {
                ClientHandshake::offering(&config, now, [7; 16], &request, &mut near.head, &mut repeating)
            }
            false => ClientHandshake::new(&config, now, [7; 16], &request, &mut near.head),
        }
        .unwrap();
        // A name that the server does not know.
        let rename = |bytes: &[u8]| match server_agrees {
            true => bytes.to_vec(),
            false => String::from_utf8_lossy(bytes).replace("x-repeat;", "x-others;").into_bytes(),
        };
        let mut session = ServerSession::negotiating(&config, now, Repeating::default());
        let (mut echo, mut opened) = (Echo, false);
        for _ in 0..20 {
            if !opened {
                let step = handshake.poll_negotiating(
                    now,
                    &mut near.head,
                    &mut near.rx,
                    &mut near.tx,
                    &mut repeating,
                );
                opened = matches!(step, sansocket::Step::Done(ClientHandshakeEnd::Opened { protocol: None }));
            }
            let bytes = rename(near.tx.pending());
            near.tx.consume(usize::MAX);
            session.spare(&mut head, &mut rx)[..bytes.len()].copy_from_slice(&bytes);
            session.fill(&mut head, &mut rx, bytes.len());
            let _ = session.poll(now, &mut echo, &mut head, &mut rx, &mut tx);
            if !opened {
                let bytes = tx.pending().to_vec();
                tx.consume(usize::MAX);
                handshake.spare(&mut near.head, &near.rx)[..bytes.len()].copy_from_slice(&bytes);
                handshake.fill(&mut near.head, bytes.len());
            }
        }
        let agreed = server_agrees && client_offers;
        let extension = repeating.open();
        assert_eq!((opened, extension.is_some()), (true, agreed));
        let mut connection = Connection::with_extension(client(), extension, &config, now);
        connection.outbox(now, &mut near.tx).send("aaabbb").unwrap();
        let sent = whole_frames(near.tx.pending());
        assert_eq!(&sent[0].payload, if agreed { &b"ab"[..] } else { b"aaabbb" });
        rx.feed(near.tx.pending());
        let _ = session.poll(now, &mut echo, &mut head, &mut rx, &mut tx);
        let want = if agreed { frame(RSV1 | TEXT, None, b"ab") } else { frame(TEXT, None, b"aaabbb") };
        assert_eq!(tx.pending(), want);
    }
}

/// A connection whose peer did not agree is as one without.
#[test]
fn an_extension_that_was_not_agreed_upon_does_nothing() {
    let config = Config::new();
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
    let mut server = Endpoint::<Server, Option<Repeat>>::with_extension(None, &config, &mut memory);
    server.out().send("plain").unwrap();
    server.out().send_fragmented(Kind::Binary, &mut &b"as well"[..], true).unwrap();
    assert_eq!(server.written(), [frame(TEXT, None, b"plain"), frame(BINARY, None, b"as well")].concat());
    server.frame(TEXT, b"got");
    assert_eq!(messages(&server.events), [(Kind::Text, b"got".to_vec())]);
    server.frame(RSV1 | TEXT, b"not agreed");
    let (sent, ending) = server.finish();
    assert_eq!(
        (sent[0].code(), ending.reason),
        (Some(1002), EndReason::Violation(Violation::ReservedBits(4)))
    );

    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN).with_output(20);
    let agreed = Some(Repeat::new(2));
    let mut server = Endpoint::<Server, Option<Repeat>>::with_extension(agreed, &config, &mut memory);
    server.frame(RSV1 | TEXT, b"ab");
    server.out().send("ccdd").unwrap();
    assert_eq!(messages(&server.events), [(Kind::Text, b"aabb".to_vec())]);
    assert_eq!(server.written(), frame(RSV1 | TEXT, None, b"cd"));
}

/// How a connection ends that receives this; the bytes that were delivered before.
fn fails(config: &Config, times: usize, output: usize, wire: &[u8]) -> (Violation, Option<u16>, usize) {
    let run = |piece: usize| {
        let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN).with_output(output);
        let mut server = Received::with_extension(Repeat::new(times), config, &mut memory);
        server.feed_in(wire, piece);
        assert_ne!(server.connection.state(), ConnectionState::Open, "{wire:02x?} breaks no rule");
        let delivered = server.events.iter().map(|event| match event {
            Got::Data(data) => data.payload.len(),
            _ => 0,
        });
        let delivered = delivered.sum();
        let (sent, cause) = server.finish();
        let EndReason::Violation(violation) = cause.reason else { panic!("{cause:?}") };
        (violation, sent[0].code(), delivered)
    };
    let slow = run(1);
    let fast = run(usize::MAX);
    assert_eq!((slow.0, slow.1), (fast.0, fast.1));
    assert!(fast.2 <= slow.2, "no more in one piece: {} {}", slow.2, fast.2);
    slow
}

#[test]
fn limits_count_the_decoded_bytes() {
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
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN).with_output(7);
    let mut server = Received::with_extension(Repeat::new(5), &config, &mut memory);
    for _ in 0..3 {
        server.frame(RSV1 | BINARY, b"abcde");
        server.frame(BINARY, &[0; 25]);
    }
    assert_eq!(messages(&server.events).len(), 6);
    assert_eq!(fails(&config, 1, 9, &Server::incoming(BINARY, &[0; 26])).0, Violation::FrameTooBig);
}

#[test]
fn text_is_checked_after_decoding() {
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
        let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN).with_output(output);
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
fn the_extension_sets_its_reserved_bits() {
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
}

/// What does not pass through the extension lies in the receive buffer, and can be read past it; what does
/// cannot.
#[test]
fn external_reads_are_for_frames_without_the_extension() {
    let config = Config::new();
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN).with_output(10);
    let mut server = Received::with_extension(Repeat::new(2), &config, &mut memory);
    server.feed(&header(BINARY, Some([0; 4]), 1000));
    assert_eq!(server.connection.external_read_limit(&server.rx), 1000);
    let mut piece = [7; 1000];
    let data = server.connection.receive_external(server.now, &mut piece).expect("payload");
    assert!(data.start && data.end && data.payload.len() == 1000);
    server.feed(&header(RSV1 | BINARY, Some([0; 4]), 1000));
    assert_eq!(server.connection.external_read_limit(&server.rx), 0);
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
            let mut sender = Encoder::new(R::make());
            let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
            sender.send_with(&mut Repeat::new(1), &mut tx, Kind::Binary, &payload).expect("room");
            assert!(!sender.is_inside_message(), "{len}");
            let sent = whole_frames(tx.pending());
            assert_eq!((sent.len(), sent[0].first, sent[0].key.is_some()), (1, RSV1 | BINARY, !R::SERVER));
            assert!(sent[0].payload == payload, "{len}");
        }
    }
    run::<Server>();
    run::<TestClient>();
}

#[test]
fn a_sent_message_may_shrink() {
    let mut memory = [0xA5; MIN_BUFFER_LEN];
    let mut tx = TransmitBuffer::new(&mut memory).expect("enough");
    let mut sender = Encoder::new(Server);
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
    sender
        .send_fragmented_with(&mut extension, &mut tx, Kind::Text, &mut rest, true, usize::MAX)
        .expect("room");
    let want = [frame(TEXT, None, b"plain"), frame(TEXT, None, b"plain as well")].concat();
    assert_eq!(tx.pending(), want);
}

/// Streams through the extension and reads it back on the other side.
#[test]
fn a_message_passes_through_both_sides() {
    for (times, capacity, taken, part, largest) in [
        (3, MIN_BUFFER_LEN, 1, 100, usize::MAX),
        (3, MIN_BUFFER_LEN, usize::MAX, 1, usize::MAX),
        (1, MIN_BUFFER_LEN, 50, 1000, usize::MAX),
        (1, MIN_BUFFER_LEN, 50, 1000, 7),
        (50, 200, usize::MAX, 77, usize::MAX),
        (50, 5000, usize::MAX, 5000, 1),
        (1, 5000, usize::MAX, 5000, usize::MAX),
    ] {
        let config = Config::new();
        let payload = repeat(times, &"ab€".repeat(800 / times).into_bytes());
        let kind = if times == 1 { Kind::Text } else { Kind::Binary };
        let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN).with_output(11);
        let mut server = Received::with_extension(Repeat::new(times), &config, &mut memory);
        let mut memory = vec![0xA5; capacity];
        let mut tx = TransmitBuffer::new(&mut memory).expect("enough");
        let mut sender = Encoder::new(client());
        let mut extension = Repeat::new(times);
        let mut wire = Vec::new();
        let parts: Vec<_> = payload.chunks(part).collect();
        for (i, mut rest) in parts.iter().copied().enumerate() {
            let fin = i + 1 == parts.len();
            while let Err(error) =
                sender.send_fragmented_with(&mut extension, &mut tx, kind, &mut rest, fin, largest)
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
        for (i, sent) in whole_frames(&wire).iter().enumerate() {
            assert_eq!(sent.first & 0x7F, if i == 0 { RSV1 | (kind as u8 + 1) } else { 0 });
            assert!(sent.payload.len() <= largest);
        }
    }
}

/// A message that is sent in many parts is a frame for each time that the transport takes bytes, not for each part: some
/// peers limit the frames of a message.
#[test]
fn parts_share_a_frame_until_the_transport_takes_it() {
    fn run<R: TestRole>() {
        for (part, parts, taken, largest) in [
            (5, 1, usize::MAX, usize::MAX),
            (1, 300, 1000, usize::MAX),
            (5, 30_000, 50, usize::MAX),
            (3, 100, 1000, 100),
        ] {
            let config = Config::new();
            let payload: Vec<u8> = (0..part * parts).map(|i| (i % 200) as u8).collect();
            let mut memory = vec![0xA5; 70_100];
            let mut tx = TransmitBuffer::new(&mut memory).unwrap();
            let mut sender = Encoder::new(R::make());
            let mut extension = Repeat::new(1);
            let (mut wire, mut writes) = (Vec::new(), 0);
            for (i, mut rest) in payload.chunks(part).enumerate() {
                let fin = i + 1 == parts;
                while sender.send_fragmented_with(
                    &mut extension,
                    &mut tx,
                    Kind::Binary,
                    &mut rest,
                    fin,
                    largest,
                ) == Err(SendError::Blocked)
                {
                    wire.extend_from_slice(tx.pending());
                    tx.consume(usize::MAX);
                    writes += 1;
                }
                if i % taken == taken - 1 {
                    let n = tx.pending().len().min(part);
                    wire.extend_from_slice(&tx.pending()[..n]);
                    tx.consume(n);
                    writes += 1;
                }
            }
            wire.extend_from_slice(tx.pending());
            let sent = whole_frames(&wire);
            let most = payload.len().div_ceil(largest) + writes + 1;
            assert!(sent.len() <= most, "{part} {parts}: {} frames, {writes} writes", sent.len());
            assert!(sent.iter().all(|sent| sent.payload.len() <= largest));
            assert_eq!(sent.iter().flat_map(|sent| sent.payload.clone()).collect::<Vec<u8>>(), payload);
            assert_eq!(sent.iter().filter(|sent| sent.first & 0x80 != 0).count(), 1);
            // As the peer sees it.
            if !R::SERVER {
                let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN).with_output(150_000);
                let mut peer = Received::with_extension(Repeat::new(1), &config, &mut memory);
                peer.feed(&wire);
                assert!(messages(&peer.events) == [(Kind::Binary, payload)]);
            }
        }
    }
    run::<Server>();
    run::<TestClient>();
}

/// A reply between two parts begins a new frame.
#[test]
fn a_control_frame_ends_the_frame_before_it() {
    let config = Config::new();
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
    let mut server = Received::with_extension(Repeat::new(1), &config, &mut memory);
    let stream = |server: &mut Received<'_>, part: &str, fin| {
        server.out().send_fragmented(Kind::Text, &mut part.as_bytes(), fin).unwrap();
    };
    stream(&mut server, "a", false);
    stream(&mut server, "b", false);
    server.frame(PING, b"?");
    stream(&mut server, "c", false);
    stream(&mut server, "d", true);
    stream(&mut server, "next", true);
    let want = [
        frame(RSV1 | TEXT_PART, None, b"ab"),
        frame(PONG, None, b"?"),
        frame(LAST, None, b"cd"),
        frame(RSV1 | TEXT, None, b"next"),
    ];
    assert_eq!(server.written(), want.concat());
}

/// Whole messages that may be larger than the room go behind others as long as they fit, too.
#[test]
fn several_messages_are_sent_in_one_write() {
    let mut memory = [0xA5; 200];
    let mut tx = TransmitBuffer::new(&mut memory).unwrap();
    let mut sender = Encoder::new(Server);
    let mut extension = Repeat::new(1);
    for _ in 0..4 {
        let sent = sender.send_fragmented_with(
            &mut extension,
            &mut tx,
            Kind::Text,
            &mut &[b'x'; 40][..],
            true,
            usize::MAX,
        );
        sent.unwrap();
    }
    let sent = sender.send_fragmented_with(
        &mut extension,
        &mut tx,
        Kind::Text,
        &mut &[b'x'; 40][..],
        true,
        usize::MAX,
    );
    assert_eq!(sent, Err(SendError::Blocked));
    assert_eq!(tx.pending(), frame(RSV1 | TEXT, None, &[b'x'; 40]).repeat(4));
}

/// A message that has begun is open, although the extension has made nothing of it yet, and no other way of
/// sending gets into it.
#[test]
fn a_message_that_the_extension_holds_is_open() {
    let mut memory = [0xA5; MIN_BUFFER_LEN];
    let mut tx = TransmitBuffer::new(&mut memory).expect("enough");
    let mut sender = Encoder::new(Server);
    let mut extension = Repeat::new(4);
    let x = &mut extension;
    sender.send_fragmented_with(x, &mut tx, Kind::Text, &mut &b"aa"[..], false, usize::MAX).expect("room");
    assert!(sender.is_inside_message());
    tx.consume(0);
    let before = tx.pending().to_vec();
    assert_eq!(sender.send_with(x, &mut tx, Kind::Text, b"bbbb"), Err(SendError::MessageOpen));
    assert_eq!(sender.fragment(&mut tx, Kind::Text, b"bbbb", false), Err(SendError::MessageOpen));
    assert_eq!(sender.begin_frame(&mut tx, Kind::Text, 4, false), Err(SendError::MessageOpen));
    assert_eq!(tx.pending(), before);
    tx.consume(usize::MAX);
    sender.send_fragmented_with(x, &mut tx, Kind::Text, &mut &b"aabbbb"[..], true, usize::MAX).expect("room");
    let mut wire = before;
    wire.extend(tx.pending());
    let sent = whole_frames(&wire);
    let payload: Vec<u8> = sent.iter().flat_map(|sent| sent.payload.clone()).collect();
    assert_eq!(payload, b"ab");
    assert_eq!(sent[0].first & 0x7F, RSV1 | 1);
    assert_eq!(sent.last().map(|sent| sent.first & 0x80), Some(0x80));
    // And then the others may again.
    tx.consume(usize::MAX);
    sender.fragment(&mut tx, Kind::Text, b"plain", true).expect("room");
    assert_eq!(tx.pending(), frame(TEXT, None, b"plain"));
}

// ---- extensions that fail ----

/// What an extension returns that is not what it should be.
#[derive(Clone, Copy, Debug)]
struct Wrong {
    receive: Result<bool, ReceiveError>,
    decode: Result<Progress, ReceiveError>,
    bound: Option<usize>,
    rsv: ReservedBits,
    encode: Result<Progress, ExtensionFailed>,
    /// It encodes so many times before it returns that.
    good: usize,
}

/// One that claims to have taken and given one byte.
const RIGHT: Wrong = Wrong {
    receive: Ok(true),
    decode: Ok(progress(1, 1, false)),
    bound: Some(1),
    rsv: ReservedBits::RSV1,
    encode: Ok(progress(1, 1, false)),
    good: 0,
};

const fn progress(consumed: usize, produced: usize, more: bool) -> Progress {
    Progress { consumed, produced, more }
}

impl Extension for Wrong {
    fn rsv(&self) -> ReservedBits {
        ReservedBits::RSV1
    }

    fn receive(&mut self, _: OpCode, _: ReservedBits) -> Result<bool, ReceiveError> {
        self.receive
    }

    fn decode(&mut self, _: &[u8], _: &mut [u8], _: bool) -> Result<Progress, ReceiveError> {
        self.decode
    }

    fn bound(&self, _: usize) -> Option<usize> {
        self.bound
    }

    fn send(&mut self) -> ReservedBits {
        self.rsv
    }

    fn encode(&mut self, _: &[u8], _: &mut [u8], _: bool) -> Result<Progress, ExtensionFailed> {
        let good = self.good > 0;
        self.good = self.good.saturating_sub(1);
        if good { RIGHT.encode } else { self.encode }
    }
}

/// Work on `input` bytes with room for `output` bytes that cannot have got so far.
fn impossible(input: usize, output: usize) -> Vec<Progress> {
    let mut all = vec![
        // It asks for room without having used any.
        progress(0, 0, true),
        progress(input, 0, true),
        // More than there is.
        progress(input + 1, 1, false),
        progress(usize::MAX, 1, true),
        progress(input, output + 1, false),
        progress(0, usize::MAX, true),
        progress(usize::MAX, usize::MAX, true),
    ];
    if input > 0 {
        // Not all of the input, for no reason.
        all.extend([progress(0, 0, false), progress(input - 1, 1, false), progress(0, output, false)]);
    }
    all
}

/// The connection ends as one has to whose extension has failed, and with nothing but these frames on the wire.
fn is_blamed<R: TestRole>(endpoint: &mut Endpoint<'_, R, Wrong>, before: &[u8]) {
    assert_eq!(endpoint.out().send("more"), Err(SendError::Closed));
    let (sent, cause) = endpoint.finish();
    let firsts: Vec<u8> = sent.iter().map(|sent| sent.first).collect();
    assert_eq!(firsts, [before, &[CLOSE]].concat());
    assert_eq!(sent.last().and_then(Sent::code), Some(1011));
    let sent = Some(CloseCode::INTERNAL_ERROR);
    assert_eq!(cause, Ending { reason: EndReason::Extension, received: None, sent });
}

#[test]
fn an_extension_that_fails_to_decode_ends_the_connection_with_1011() {
    fn run<R: TestRole>() {
        const OUTPUT: usize = 10;
        let config = Config::new();
        let failed = ReceiveError::from(ExtensionFailed);
        for len in [0, 1, 5] {
            let mut wrongs: Vec<Wrong> = impossible(len, OUTPUT)
                .into_iter()
                .map(|progress| Wrong { decode: Ok(progress), ..RIGHT })
                .collect();
            wrongs.push(Wrong { decode: Err(failed), ..RIGHT });
            wrongs.push(Wrong { receive: Err(failed), ..RIGHT });
            for wrong in wrongs {
                let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN).with_output(OUTPUT);
                let mut endpoint = Endpoint::<R, Wrong>::with_extension(wrong, &config, &mut memory);
                // What lies behind the frame is not swallowed, and not answered any more.
                let wire = [R::incoming(RSV1 | BINARY, &vec![7; len]), R::incoming(PING, b"x")].concat();
                endpoint.feed(&wire);
                assert_eq!(messages(&endpoint.events), [], "{wrong:?}");
                is_blamed(&mut endpoint, &[]);
            }
        }
        // No memory to decode into.
        let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
        let wrong = Wrong { decode: Ok(progress(0, 0, true)), ..RIGHT };
        let mut endpoint = Endpoint::<R, Wrong>::with_extension(wrong, &config, &mut memory);
        endpoint.feed(&R::incoming(RSV1 | BINARY, b"a"));
        is_blamed(&mut endpoint, &[]);
    }
    run::<Server>();
    run::<TestClient>();
}

#[test]
fn an_extension_reports_a_violation_of_the_peer() {
    let config = Config::new();
    for violation in [Violation::Extension, Violation::ReservedBits(1)] {
        for wrong in [
            Wrong { decode: Err(violation.into()), ..RIGHT },
            Wrong { receive: Err(violation.into()), ..RIGHT },
        ] {
            let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN).with_output(10);
            let mut server = Endpoint::<Server, Wrong>::with_extension(wrong, &config, &mut memory);
            server.feed(&Server::incoming(RSV1 | BINARY, b"a"));
            let (sent, cause) = server.finish();
            assert_eq!(cause.reason, EndReason::Violation(violation));
            assert_eq!(sent[0].code(), Some(violation.close_code().get()));
        }
    }
}

/// Everything that an extension can return wrongly for `payload`, sent in one frame or in several.
fn wrong_encoders(payload: usize, room: usize) -> Vec<Wrong> {
    let mut all: Vec<Wrong> = impossible(payload, room)
        .into_iter()
        .map(|progress| Wrong { encode: Ok(progress), bound: Some(room), ..RIGHT })
        .collect();
    let right = Ok(progress(payload, 1, false));
    all.push(Wrong { encode: Err(ExtensionFailed), bound: Some(room), ..RIGHT });
    // A reserved bit that it has not claimed.
    all.push(Wrong { encode: right, rsv: ReservedBits::RSV2, bound: Some(room), ..RIGHT });
    all.push(Wrong {
        encode: right,
        rsv: ReservedBits::RSV1.union(ReservedBits::RSV3),
        bound: Some(room),
        ..RIGHT
    });
    all
}

#[test]
fn an_extension_that_fails_to_encode_sends_nothing_and_ends_the_connection_with_1011() {
    fn run<R: TestRole>() {
        let config = Config::new();
        for len in [0, 1, 5] {
            let payload = &b"hello"[..len];
            let mut truncated = wrong_encoders(len, 5);
            // It breaks its own bound: what it has made is a part of the message.
            truncated.push(Wrong { encode: Ok(progress(len, 5, true)), bound: Some(5), ..RIGHT });
            for wrong in truncated {
                let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
                let mut endpoint = Endpoint::<R, Wrong>::with_extension(wrong, &config, &mut memory);
                endpoint.out().ping(b"before").unwrap();
                let sent = endpoint.out().send(payload);
                assert_eq!(sent, Err(SendError::Extension(ExtensionFailed)), "{wrong:?}");
                is_blamed(&mut endpoint, &[PING]);
            }
            let room = MIN_BUFFER_LEN - if R::SERVER { 4 } else { 8 };
            for wrong in wrong_encoders(len, room) {
                let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
                let mut endpoint = Endpoint::<R, Wrong>::with_extension(wrong, &config, &mut memory);
                let sent = endpoint.out().send_fragmented(Kind::Text, &mut &payload[..], true);
                assert_eq!(sent, Err(SendError::Extension(ExtensionFailed)), "{wrong:?}");
                is_blamed(&mut endpoint, &[]);
            }
        }
        // In the middle of a message, whose first frame is on its way.
        let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
        let wrong = Wrong { encode: Ok(progress(0, 0, false)), good: 1, ..RIGHT };
        let mut endpoint = Endpoint::<R, Wrong>::with_extension(wrong, &config, &mut memory);
        endpoint.out().send_fragmented(Kind::Text, &mut &b"x"[..], false).unwrap();
        let first = endpoint.sent();
        assert_eq!(first.len(), 1);
        endpoint.tx.consume(usize::MAX);
        let sent = endpoint.out().send_fragmented(Kind::Text, &mut &b"x"[..], true);
        assert_eq!(sent, Err(SendError::Extension(ExtensionFailed)));
        is_blamed(&mut endpoint, &[]);
    }
    run::<Server>();
    run::<TestClient>();
}

/// A sender by itself sends nothing of a message whose extension has failed.
#[test]
fn an_encoder_reports_that_its_extension_failed() {
    for wrong in wrong_encoders(5, 5) {
        let mut memory = [0; MIN_BUFFER_LEN];
        let mut tx = TransmitBuffer::new(&mut memory).unwrap();
        let mut sender = Encoder::new(Server);
        let mut wrong = wrong;
        let sent = sender.send_with(&mut wrong, &mut tx, Kind::Text, b"hello");
        assert_eq!(sent, Err(SendError::Extension(ExtensionFailed)), "{wrong:?}");
        let sent = sender.send_fragmented_with(&mut wrong, &mut tx, Kind::Text, &mut &b"hello"[..], true, 5);
        assert_eq!(sent, Err(SendError::Extension(ExtensionFailed)), "{wrong:?}");
        assert!(tx.is_empty());
        sender.close(&mut tx, Some(CloseCode::INTERNAL_ERROR), "").unwrap();
    }
}

// ---- forwarding ----

struct Echo;

impl Handler for Echo {
    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        if let Event::Data(data) = event { out.forward(&data) } else { Ok(()) }
    }
}

/// What the extension makes of a message is forwarded as a message, whatever lengths its frames had on the wire.
#[test]
fn an_echo_over_an_extension_returns_the_message() {
    let config = Config::new();
    let wire = [
        Server::incoming(RSV1 | BINARY, &[b'a'; 20]),
        Server::incoming(RSV1 | BINARY_PART, b"bc"),
        Server::incoming(PART, b""),
        Server::incoming(LAST, b"d"),
        Server::incoming(RSV1 | TEXT, "é".as_bytes()),
        Server::incoming(RSV1 | BINARY, b""),
        Server::incoming(BINARY, &[b'p'; 300]),
    ]
    .concat();
    for times in [1, 2, 30] {
        for (output, tx, taken) in [(8, 400, usize::MAX), (300, 140, 7), (1, 140, 140), (1000, 140, 1)] {
            for repeated in [true, false] {
                let (mut memory, mut decoded) = ([0; 200], vec![0; output]);
                let mut rx = ReceiveBuffer::new(&mut memory).unwrap().with_output(&mut decoded);
                let mut memory = vec![0; tx];
                let mut tx = TransmitBuffer::new(&mut memory).unwrap();
                let mut extension = Repeat::new(times);
                extension.sends = repeated;
                let connection = Connection::with_extension(Server, extension, &config, Instant::START);
                let mut driver = HandlerDriver::new(connection, None);
                let (mut rest, mut sent) = (&wire[..], Vec::new());
                for _ in 0..100_000 {
                    rest = &rest[rx.feed(rest)..];
                    let _ = driver.poll(Instant::START, &mut Echo, &mut rx, &mut tx);
                    let n = taken.min(tx.pending().len());
                    sent.extend_from_slice(&tx.pending()[..n]);
                    tx.consume(n);
                    if n == 0 && rest.is_empty() {
                        break;
                    }
                }
                let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN).with_output(64);
                let mut client =
                    Endpoint::<TestClient, Repeat>::with_extension(Repeat::new(times), &config, &mut memory);
                client.feed(&sent);
                if times == 1 {
                    let text = (Kind::Text, "é".as_bytes().to_vec());
                    assert_eq!(messages(&client.events)[2], text);
                }
                let mut got = messages(&client.events);
                // A text of which each byte comes twice is none.
                let want = [b"a".repeat(20), b"bcd".to_vec(), "é".into(), vec![]].map(|m| repeat(times, &m));
                let valid = if times == 1 { 4 } else { 2 };
                assert_eq!(got.drain(..valid).map(|(_, bytes)| bytes).collect::<Vec<_>>(), want[..valid]);
                if times == 1 {
                    assert_eq!(got, [(Kind::Binary, vec![b'p'; 300])]);
                }
            }
        }
    }
}

/// A decoded chunk counts as a frame of its own: what is computed from it is right.
#[test]
fn a_decoded_chunk_counts_decoded_bytes() {
    let mut config = Config::new();
    config.delivery = Delivery::Chunks;
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN).with_output(8);
    let mut server = Received::with_extension(Repeat::new(2), &config, &mut memory);
    server.feed(&Server::incoming(RSV1 | BINARY, b"abcdefghij"));
    for (i, event) in server.events.iter().enumerate() {
        let Got::Data(data) = event else { panic!("{event:?}") };
        assert_eq!((data.offset, data.remaining), (0, 0));
        assert_eq!((data.start, data.end, data.fin), (i == 0, i == 2, i == 2));
    }
    assert_eq!(server.events.len(), 3);
}

/// A whole connection: replies and the closing handshake are as without.
#[test]
fn a_connection_runs_with_an_extension() {
    let mut config = Config::new();
    config.largest_fragment = 4;
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN).with_output(10);
    let mut client = Endpoint::<TestClient, Repeat>::with_extension(Repeat::new(3), &config, &mut memory);
    client.out().send("aaabbb").expect("room");
    let mut rest = &repeat(3, b"stream")[..];
    while client.out().send_fragmented(Kind::Text, &mut rest, true) == Err(SendError::Blocked) {
        let n = client.tx.pending().len();
        let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN).with_output(10);
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
    assert_eq!(cause.reason, EndReason::Clean);
}
