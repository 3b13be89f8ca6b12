//! Sending frames: a refused call changes nothing, a blocked call can be repeated, and all ways of sending write the same bytes.

mod endpoint;
mod wire;

use std::cell::Cell;
use std::fmt;

use endpoint::*;
use sansocket::error::BufferTooSmall;
use sansocket::proto::{Encoder, MAX_CLOSE_REASON, MAX_CONTROL_PAYLOAD, MIN_BUFFER_LEN};
use sansocket::{
    CloseCode, Config, Connection, Kind, ReceiveBuffer, SendError, Server, Step, TransmitBuffer,
};

/// A sender with its buffer.
struct Rig<'m, R> {
    sender: Encoder<R>,
    tx: TransmitBuffer<'m>,
}

impl<'m, R: TestRole> Rig<'m, R> {
    fn new(memory: &'m mut [u8]) -> Self {
        Self { sender: Encoder::new(R::make()), tx: TransmitBuffer::new(memory).expect("140 bytes at least") }
    }

    /// The transport takes everything.
    fn written(&mut self) -> Vec<u8> {
        let bytes = self.tx.pending().to_vec();
        self.tx.consume(bytes.len());
        bytes
    }

    fn sent(&mut self) -> Vec<(u8, Vec<u8>)> {
        let sent = whole_frames(&self.written());
        assert!(sent.iter().all(|sent| sent.key.is_some() != R::SERVER), "a client masks, a server does not");
        sent.into_iter().map(|sent| (sent.first, sent.payload)).collect()
    }

    /// Everything is refused with this error, and nothing changes by it.
    fn refuses(&mut self, error: SendError) {
        let before =
            (self.tx.pending().to_vec(), self.sender.frame_remaining(), self.sender.is_inside_message());
        let Self { sender, tx } = self;
        let text = &b"text"[..];
        let mut payload = text;
        let results = [
            sender.send(tx, Kind::Text, text),
            sender.fragment(tx, Kind::Text, text, true),
            sender.fragment(tx, Kind::Text, text, false),
            sender.begin_frame(tx, Kind::Text, 4, true),
            sender.send_fragmented(tx, Kind::Text, &mut payload, true, usize::MAX),
            sender.ping(tx, text),
            sender.pong(tx, text),
            sender.close(tx, Some(CloseCode::NORMAL), "text"),
        ];
        assert_eq!(results, [Err(error); 8]);
        assert_eq!(payload, text);
        assert_eq!((tx.pending().to_vec(), sender.frame_remaining(), sender.is_inside_message()), before);
    }
}

/// Runs a test in both roles.
macro_rules! both {
    ($test:ident) => {
        $test::<Server>();
        $test::<TestClient>();
    };
}

/// First bytes and payloads.
fn owned<const N: usize>(frames: [(u8, &[u8]); N]) -> Vec<(u8, Vec<u8>)> {
    frames.map(|(first, payload)| (first, payload.to_vec())).into()
}

#[test]
fn a_blocked_call_changes_nothing() {
    fn run<R: TestRole>() {
        let mut memory = [0xA5; MIN_BUFFER_LEN];
        let mut rig = Rig::<R>::new(&mut memory);
        let mut pings = 0;
        while rig.sender.ping(&mut rig.tx, b"").is_ok() {
            pings += 1;
        }
        rig.refuses(SendError::Blocked);
        // A little is written: no room yet, as little is not worth moving what is behind it.
        rig.tx.consume(6);
        rig.refuses(SendError::Blocked);
        rig.tx.consume(100);
        rig.sender.send(&mut rig.tx, Kind::Text, b"room").expect("room");
        let header = if R::SERVER { 2 } else { 6 };
        assert_eq!(rig.tx.pending().len(), pings * header - 106 + header + 4);
    }
    both!(run);
}

#[test]
fn a_frame_larger_than_the_buffer_is_an_error() {
    fn run<R: TestRole>() {
        let header = if R::SERVER { 4 } else { 8 };
        for capacity in [MIN_BUFFER_LEN, 141, 500] {
            let mut memory = vec![0xA5; capacity];
            let mut rig = Rig::<R>::new(&mut memory);
            let payload = vec![b'x'; capacity - header + 1];
            for full in [false, true] {
                if full {
                    rig.sender.ping(&mut rig.tx, b"").expect("room");
                }
                let Rig { sender, tx } = &mut rig;
                assert_eq!(sender.send(tx, Kind::Text, &payload), Err(SendError::TooLarge));
                assert_eq!(sender.fragment(tx, Kind::Text, &payload, false), Err(SendError::TooLarge));
                assert!(!sender.is_inside_message());
                // One byte less fits, if only into an empty buffer.
                let most = sender.send(tx, Kind::Text, &payload[1..]);
                assert_eq!(most, if full { Err(SendError::Blocked) } else { Ok(()) });
                rig.written();
            }
        }
    }
    both!(run);
}

#[test]
fn inside_a_frame_nothing_else_is_sent() {
    fn run<R: TestRole>() {
        let mut memory = [0xA5; MIN_BUFFER_LEN];
        let mut rig = Rig::<R>::new(&mut memory);
        rig.sender.begin_frame(&mut rig.tx, Kind::Binary, 10, false).expect("room");
        rig.refuses(SendError::FrameOpen);
        assert_eq!(rig.sender.write(&mut rig.tx, &[0; 11]), Err(SendError::Overrun));
        assert_eq!(rig.sender.write(&mut rig.tx, b"nine byte"), Ok(9));
        assert_eq!(rig.sender.write(&mut rig.tx, b"ss"), Err(SendError::Overrun));
        assert_eq!(rig.sender.frame_remaining(), 1);
        rig.refuses(SendError::FrameOpen);
        assert_eq!(rig.sender.write(&mut rig.tx, b"s"), Ok(1));
        assert_eq!(rig.sender.write(&mut rig.tx, b"s"), Err(SendError::Overrun));
        assert_eq!(rig.sender.write(&mut rig.tx, b""), Ok(0));
        rig.sender.ping(&mut rig.tx, b"").expect("the frame has ended");
        rig.sender.begin_frame(&mut rig.tx, Kind::Binary, 0, true).expect("room");
        rig.sender.ping(&mut rig.tx, b"").expect("an empty frame has ended with its header");
        assert_eq!(rig.sent(), owned([(BINARY_PART, b"nine bytes"), (PING, b""), (LAST, b""), (PING, b"")]));
    }
    both!(run);
}

#[test]
fn inside_a_message_only_its_fragments_are_sent() {
    fn run<R: TestRole>() {
        let mut memory = [0xA5; MIN_BUFFER_LEN];
        let mut rig = Rig::<R>::new(&mut memory);
        rig.sender.fragment(&mut rig.tx, Kind::Text, b"a", false).expect("room");
        let Rig { sender, tx } = &mut rig;
        let before = tx.pending().to_vec();
        let refused = [
            sender.send(tx, Kind::Text, b"x"),
            sender.send(tx, Kind::Binary, b"x"),
            sender.fragment(tx, Kind::Binary, b"x", true),
            sender.begin_frame(tx, Kind::Binary, 1, true),
            sender.send_fragmented(tx, Kind::Binary, &mut &b"x"[..], true, usize::MAX),
        ];
        assert_eq!(refused, [Err(SendError::MessageOpen); 5]);
        assert_eq!(tx.pending(), before);
        // All ways of sending more of it, with control frames between them.
        sender.fragment(tx, Kind::Text, b"", false).expect("room");
        sender.pong(tx, b"p").expect("room");
        sender.send_fragmented(tx, Kind::Text, &mut &b"b"[..], false, usize::MAX).expect("room");
        sender.begin_frame(tx, Kind::Text, 1, false).expect("room");
        assert_eq!(sender.write(tx, b"c"), Ok(1));
        sender.ping(tx, b"q").expect("room");
        sender.send_fragmented(tx, Kind::Text, &mut &b""[..], true, usize::MAX).expect("room");
        assert!(!sender.is_inside_message());
        sender.begin_frame(tx, Kind::Binary, 1, true).expect("room");
        assert_eq!(sender.write(tx, b"d"), Ok(1));
        sender.send(tx, Kind::Text, b"e").expect("room");
        let want = owned([
            (TEXT_PART, b"a"),
            (PART, b""),
            (PONG, b"p"),
            (PART, b"b"),
            (PART, b"c"),
            (PING, b"q"),
            (LAST, b""),
            (BINARY, b"d"),
            (TEXT, b"e"),
        ]);
        assert_eq!(rig.sent(), want);
    }
    both!(run);
}

#[test]
fn more_bytes_than_the_frame_has_are_an_error() {
    let mut memory = [0xA5; MIN_BUFFER_LEN];
    let mut server = Rig::<Server>::new(&mut memory);
    assert_eq!(server.sender.write(&mut server.tx, b"x"), Err(SendError::Overrun));
    assert_eq!(server.sender.write_external(b"x"), Err(SendError::Overrun));
    server.sender.begin_frame(&mut server.tx, Kind::Binary, 3, true).expect("room");
    assert_eq!(server.sender.write_external(b"four"), Err(SendError::Overrun));
    assert_eq!(server.sender.frame_remaining(), 3);
    let mut memory = [0xA5; MIN_BUFFER_LEN];
    let mut client = Rig::<TestClient>::new(&mut memory);
    client.sender.begin_frame(&mut client.tx, Kind::Binary, 3, true).expect("room");
    let mut four = *b"four";
    assert_eq!(client.sender.write_external(&mut four), Err(SendError::Overrun));
    assert_eq!((&four, client.sender.frame_remaining()), (b"four", 3), "nothing is masked either");
}

#[test]
fn a_control_payload_above_125_bytes_is_an_error() {
    fn run<R: TestRole>() {
        let mut memory = [0xA5; MIN_BUFFER_LEN];
        let mut rig = Rig::<R>::new(&mut memory);
        let Rig { sender, tx } = &mut rig;
        let refused = [sender.ping(tx, &[0; MAX_CONTROL_PAYLOAD + 1]), sender.pong(tx, &[0; 1000])];
        assert_eq!(refused, [Err(SendError::ControlTooLong); 2]);
        assert!(tx.is_empty() && !sender.is_closed());
        // The longest that there are fit the smallest buffer.
        sender.ping(tx, &[1; MAX_CONTROL_PAYLOAD]).expect("room");
        assert_eq!(rig.sent(), [(PING, vec![1; MAX_CONTROL_PAYLOAD])]);
        let Rig { sender, tx } = &mut rig;
        sender.close(tx, CloseCode::NORMAL, &"x".repeat(MAX_CLOSE_REASON)).expect("room");
        assert_eq!(rig.sent(), [(CLOSE, close_body(1000, &"x".repeat(MAX_CLOSE_REASON)))]);
    }
    both!(run);
}

#[test]
fn a_reason_above_123_bytes_is_cut_at_a_character() {
    for (reason, cut) in [
        ("x".repeat(124), "x".repeat(123)),
        ("ä".repeat(100), "ä".repeat(61)),
        (format!("x{}", "€".repeat(100)), format!("x{}", "€".repeat(40))),
    ] {
        let mut memory = [0xA5; MIN_BUFFER_LEN];
        let mut rig = Rig::<Server>::new(&mut memory);
        rig.sender.close(&mut rig.tx, CloseCode::NORMAL, &reason).expect("room");
        assert_eq!(rig.sent(), [(CLOSE, close_body(1000, &cut))]);
    }
}

/// A text that is another one each time.
struct Unsteady(Cell<usize>, &'static [&'static str]);

impl fmt::Display for Unsteady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.1.get(self.0.replace(self.0.get() + 1));
        text.map_or(Err(fmt::Error), |text| f.write_str(text))
    }
}

#[test]
fn a_formatted_text_is_sent_whole_or_not_at_all() {
    fn run<R: TestRole>() {
        let mut memory = [0xA5; MIN_BUFFER_LEN];
        let mut tx = TransmitBuffer::new(&mut memory).expect("enough");
        let mut connection = Connection::new(R::make(), &Config::DEFAULT, Instant::START);
        let mut out = connection.outbox(Instant::START, &mut tx);
        out.send_fmt(format_args!("{}+{}", 1, "ä".repeat(10))).expect("room");
        out.send_fmt(format_args!("")).expect("room");
        let room = out.room();
        let long = "x".repeat(120);
        assert_eq!(out.send_fmt(format_args!("{long}{}", 2)), Err(SendError::Blocked));
        assert_eq!(out.send_fmt(format_args!("{long}{long}")), Err(SendError::TooLarge));
        for texts in [&["abc", "ab"][..], &["abc", "abcd"], &["abc"], &[]] {
            let unsteady = Unsteady(Cell::new(0), texts);
            assert_eq!(out.send_fmt(format_args!("x{unsteady}")), Err(SendError::Format), "{texts:?}");
        }
        assert_eq!(out.room(), room, "what failed left nothing behind");
        out.send("and on").expect("room");
        out.fragment(Kind::Binary, b"x", false).expect("room");
        assert_eq!(out.send_fmt(format_args!("{}", 1)), Err(SendError::MessageOpen));
        let sent = whole_frames(tx.pending()).into_iter().map(|sent| (sent.first, sent.payload));
        let text = |text: &str| (TEXT, text.as_bytes().to_vec());
        let expected =
            [text(&format!("1+{}", "ä".repeat(10))), text(""), text("and on"), (0x02, b"x".to_vec())];
        assert!(sent.eq(expected));
    }
    both!(run);
}

/// After a Close nothing is sent, whatever else was open.
#[test]
fn after_a_close_nothing_is_sent() {
    fn run<R: TestRole>() {
        for inside in [false, true] {
            let mut memory = [0xA5; MIN_BUFFER_LEN];
            let mut rig = Rig::<R>::new(&mut memory);
            if inside {
                rig.sender.fragment(&mut rig.tx, Kind::Binary, b"", false).expect("room");
                rig.written();
            }
            rig.sender.close(&mut rig.tx, None, "").expect("room");
            assert!(rig.sender.is_closed());
            rig.refuses(SendError::Closed);
            assert_eq!(rig.sent(), owned([(CLOSE, b"")]));
            rig.refuses(SendError::Closed);
        }
    }
    both!(run);
}

/// A frame that is begun, in whatever pieces its payload follows, is the frame that `send` sends.
#[test]
fn a_frame_in_pieces_equals_a_frame_at_once() {
    fn run<R: TestRole>() {
        for len in [0, 1, 2, 3, 4, 5, 125, 126, 127, 300, 65_535, 65_536] {
            let payload: Vec<u8> = (0..len).map(|i| (i * 31 + i / 256) as u8).collect();
            let mut memory = vec![0xA5; len + 14];
            let want = {
                let mut large = vec![0; len + MIN_BUFFER_LEN];
                let mut rig = Rig::<R>::new(&mut large);
                rig.sender.send(&mut rig.tx, Kind::Binary, &payload).expect("room");
                rig.written()
            };
            memory.resize(MIN_BUFFER_LEN, 0xA5);
            for piece in [1, 2, 3, 5, 64, 139, 140, 1000] {
                if piece < 64 && len > 1000 {
                    continue;
                }
                let mut rig = Rig::<R>::new(&mut memory);
                rig.sender.begin_frame(&mut rig.tx, Kind::Binary, len as u64, true).expect("room");
                let mut wire = Vec::new();
                let mut random = Random::new(piece as u64);
                for mut piece in payload.chunks(piece) {
                    while !piece.is_empty() {
                        let n = rig.sender.write(&mut rig.tx, piece).expect("no overrun");
                        piece = &piece[n..];
                        // The transport takes some of it.
                        let taken = 1 + random.below(rig.tx.pending().len());
                        wire.extend(&rig.tx.pending()[..taken.min(rig.tx.pending().len())]);
                        rig.tx.consume(taken);
                    }
                }
                wire.extend(rig.written());
                assert_eq!(rig.sender.frame_remaining(), 0);
                assert!(wire == want, "{len} bytes in pieces of {piece}");
            }
        }
    }
    both!(run);
}

/// The same with payload that is written past the buffer.
#[test]
fn a_payload_written_by_the_caller_equals_a_copied_one() {
    let payload: Vec<u8> = (0..1000_u32).map(|i| i as u8).collect();
    let mut large = [0; 1100];
    for cut in [0, 1, 2, 3, 500, 997, 1000] {
        let (front, back) = payload.split_at(cut);

        let mut server = Rig::<Server>::new(&mut large);
        server.sender.send(&mut server.tx, Kind::Binary, &payload).expect("room");
        let want = server.written();
        server.sender.begin_frame(&mut server.tx, Kind::Binary, 1000, true).expect("room");
        let mut wire = server.written();
        wire.extend(server.sender.write_external(front).expect("no overrun"));
        assert_eq!(server.sender.frame_remaining(), 1000 - cut as u64);
        wire.extend(server.sender.write_external(back).expect("no overrun"));
        assert_eq!(wire, want);
        server.sender.ping(&mut server.tx, b"").expect("the frame has ended");

        // Through the buffer, past it, and through it again.
        let mut client = Rig::<TestClient>::new(&mut large);
        client.sender.send(&mut client.tx, Kind::Binary, &payload).expect("room");
        let want = client.written();
        client.sender.begin_frame(&mut client.tx, Kind::Binary, 1000, true).expect("room");
        let mut wire = client.written();
        wire.extend(client.sender.write_external(&mut front.to_vec()).expect("no overrun"));
        let (middle, back) = back.split_at(back.len() / 3);
        assert_eq!(client.sender.write(&mut client.tx, middle), Ok(middle.len()));
        wire.extend(client.written());
        wire.extend(client.sender.write_external(&mut back.to_vec()).expect("no overrun"));
        assert_eq!(wire, want);
    }
}

/// Streams a message to the end, with a transport that takes `taken` bytes at a time; the frames.
fn stream<R: TestRole>(capacity: usize, parts: &[&[u8]], largest: usize, taken: usize) -> Vec<(u8, Vec<u8>)> {
    let mut memory = vec![0xA5; capacity];
    let mut rig = Rig::<R>::new(&mut memory);
    let mut wire = Vec::new();
    for (i, part) in parts.iter().enumerate() {
        let mut rest = *part;
        let fin = i + 1 == parts.len();
        loop {
            let before = rest.len();
            match rig.sender.send_fragmented(&mut rig.tx, Kind::Text, &mut rest, fin, largest) {
                Ok(()) => break,
                Err(error) => assert_eq!(error, SendError::Blocked),
            }
            assert!(rest.len() < before || !rig.tx.is_empty(), "there is something to wait for");
            let n = taken.min(rig.tx.pending().len());
            wire.extend(&rig.tx.pending()[..n]);
            rig.tx.consume(n);
        }
        assert!(rest.is_empty());
        assert_eq!(rig.sender.is_inside_message(), !fin);
    }
    wire.extend(rig.written());
    whole_frames(&wire).into_iter().map(|sent| (sent.first, sent.payload)).collect()
}

#[test]
fn a_long_message_is_cut_into_fragments() {
    fn run<R: TestRole>() {
        let text: Vec<u8> = (0..2000_u32).map(|i| b'a' + (i % 26) as u8).collect();
        for capacity in [MIN_BUFFER_LEN, 141, 200, 4000] {
            for len in [0, 1, 125, 126, 131, 132, 133, 500, 2000] {
                for largest in [0, 1, 7, 125, 126, 500, usize::MAX] {
                    if largest < 7 && len > 200 {
                        continue;
                    }
                    for taken in [1, 50, usize::MAX] {
                        let sent = stream::<R>(capacity, &[&text[..len]], largest, taken);
                        let sizes: Vec<_> = sent.iter().map(|(_, payload)| payload.len()).collect();
                        let case = format!("{len} in {capacity}, at most {largest}: {sizes:?}");
                        assert!(sent.iter().all(|(_, payload)| payload.len() <= largest.max(1)), "{case}");
                        assert_eq!(sent.iter().flat_map(|(_, payload)| payload).count(), len);
                        assert!(sent.iter().flat_map(|(_, payload)| payload).eq(&text[..len]), "{case}");
                        for (i, (first, _)) in sent.iter().enumerate() {
                            let fin = if i + 1 == sent.len() { 0x80 } else { 0 };
                            assert_eq!(*first, fin | u8::from(i == 0), "{case}");
                        }
                        // As few as there can be: all but the last are as large as the buffer lets them.
                        let most = largest.clamp(1, capacity - 10);
                        assert!(sent.len() <= len.div_ceil(most).max(1), "{case}");
                    }
                }
            }
        }
    }
    both!(run);
}

#[test]
fn a_fragmented_message_is_taken_in_parts() {
    let sent = stream::<TestClient>(MIN_BUFFER_LEN, &[b"one ", b"two ", &[b'x'; 300], b""], usize::MAX, 10);
    assert_eq!((&sent[0], &sent[1]), (&(TEXT_PART, b"one ".to_vec()), &(PART, b"two ".to_vec())));
    assert_eq!(sent.last(), Some(&(LAST, vec![])));
    assert_eq!(sent.iter().map(|(_, payload)| payload.len()).sum::<usize>(), 308);
}

/// The connection streams by its own setting.
#[test]
fn the_length_of_fragments_is_a_setting() {
    let mut config = Config::new();
    config.largest_fragment = 3;
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
    let mut server = Endpoint::<Server>::new(&config, &mut memory);
    server.out().send_fragmented(Kind::Text, &mut &b"abcdefgh"[..], true).expect("room");
    let sent: Vec<_> = server.sent().into_iter().map(|sent| (sent.first, sent.payload)).collect();
    assert_eq!(sent, owned([(TEXT_PART, b"abc"), (PART, b"def"), (LAST, b"gh")]));
    // Frames that are sent whole stay whole.
    server.out().send("abcdefgh").expect("room");
    assert_eq!(server.sent().len(), 1);
}

/// However little the transport takes at a time: what is pending is what was sent, less what was taken, and
/// `room` is the truth to the byte.
#[test]
fn a_slow_reader_gets_everything_once() {
    fn run<R: TestRole>() {
        for capacity in [MIN_BUFFER_LEN, 150, 333] {
            for seed in 1..40 {
                let mut random = Random::new(seed);
                let mut memory = vec![0xA5; capacity];
                let mut rig = Rig::<R>::new(&mut memory);
                let header = if R::SERVER { 2 } else { 6 };
                let (mut want, mut pending) = (Vec::new(), Vec::new());
                let mut wire = Vec::new();
                for i in 0..200 {
                    let room = rig.tx.room();
                    // Now and then exactly what fits, and one byte more.
                    let len = match random.below(4) {
                        0 => room.saturating_sub(header),
                        1 => (room + 1).saturating_sub(header),
                        _ => random.below(60),
                    };
                    let payload = vec![i as u8; len.min(125)];
                    let size = header + payload.len();
                    let done = rig.sender.send(&mut rig.tx, Kind::Binary, &payload);
                    assert_eq!(done, if size <= room { Ok(()) } else { Err(SendError::Blocked) });
                    if done.is_ok() {
                        let frame = frame(BINARY, (!R::SERVER).then_some(KEY), &payload);
                        want.extend(&frame);
                        pending.extend(&frame);
                    }
                    assert_eq!(rig.tx.pending(), pending);
                    assert_eq!(rig.tx.is_empty(), pending.is_empty());
                    let n = random.below(50).min(pending.len());
                    wire.extend(pending.drain(..n));
                    rig.tx.consume(n);
                    assert_eq!(rig.tx.pending(), pending);
                }
                wire.extend(rig.written());
                assert_eq!(wire, want);
                assert_eq!(rig.tx.room(), capacity, "all of it is free again");
            }
        }
    }
    both!(run);
}

#[test]
fn buffers() {
    assert_eq!(ReceiveBuffer::new(&mut [0; MIN_BUFFER_LEN - 1]).err(), Some(BufferTooSmall));
    assert_eq!(TransmitBuffer::new(&mut [0; MIN_BUFFER_LEN - 1]).err(), Some(BufferTooSmall));
    let mut memory = [0; MIN_BUFFER_LEN];
    let mut tx = TransmitBuffer::new(&mut memory).expect("enough");
    assert_eq!((tx.capacity(), tx.room(), tx.is_empty()), (MIN_BUFFER_LEN, MIN_BUFFER_LEN, true));
    Encoder::new(Server).send(&mut tx, Kind::Binary, &[1; 98]).expect("room");
    assert_eq!((tx.pending().len(), tx.room(), tx.is_empty()), (100, 40, false));
    // More than there is cannot be taken away.
    tx.consume(1000);
    assert_eq!((tx.pending(), tx.room()), (&[][..], MIN_BUFFER_LEN));
}

#[test]
fn a_receive_buffer_moves_the_rest_to_the_front_and_ends_once() {
    let (mut memory, mut more) = ([0; MIN_BUFFER_LEN], [0; MIN_BUFFER_LEN]);
    let mut rx = ReceiveBuffer::new(&mut memory).expect("enough");
    let mut tx = TransmitBuffer::new(&mut more).expect("enough");
    let mut connection = Connection::new(Server, &Config::DEFAULT, Instant::START);
    let mut receive = |rx: &mut ReceiveBuffer<'_>| {
        matches!(connection.poll_detached(Instant::START, rx, &mut tx), Step::Event(_))
    };
    assert_eq!(rx.spare().len(), MIN_BUFFER_LEN);
    // A frame of 60 bytes, and the first 40 bytes of one of 264.
    let begun = [&[0x82, 0xFE, 1, 0, 0, 0, 0, 0][..], &[2; 32]].concat();
    assert_eq!(rx.feed(&[Server::incoming(BINARY, &[1; 54]), begun.clone()].concat()), 100);
    assert!(receive(&mut rx));
    assert_eq!(rx.unread(), begun);
    assert_eq!(rx.feed(&[2; 200]), 100);
    assert_eq!(rx.unread(), [&begun[..], &[2; 100]].concat());
    assert_eq!(rx.spare().len(), 0);
    assert!(receive(&mut rx));
    assert!(rx.is_empty() && !rx.is_ended());
    assert_eq!(rx.spare().len(), MIN_BUFFER_LEN);
    rx.fill(0);
    assert!(rx.is_empty() && !rx.is_ended(), "no bytes are not the end");
    rx.fill(1000);
    assert_eq!(rx.unread().len(), MIN_BUFFER_LEN, "no more than there is room for");
    rx.end();
    assert_eq!((rx.is_ended(), rx.spare().len(), rx.feed(b"x")), (true, 0, 0));
    assert_eq!(rx.unread().len(), MIN_BUFFER_LEN, "what came before the end stays");
}

#[cfg(feature = "alloc")]
#[test]
fn buffers_of_their_own() {
    assert_eq!(ReceiveBuffer::with_capacity(MIN_BUFFER_LEN - 1).err(), Some(BufferTooSmall));
    assert_eq!(TransmitBuffer::with_capacity(MIN_BUFFER_LEN - 1).err(), Some(BufferTooSmall));
    let mut tx = TransmitBuffer::with_capacity(1000).expect("enough");
    Encoder::new(Server).send(&mut tx, Kind::Text, &[b'x'; 900]).expect("room");
    let mut rx = ReceiveBuffer::with_capacity(1000).expect("enough");
    assert_eq!(rx.feed(tx.pending()), 904);
}

#[test]
fn a_close_reason_needs_a_code() {
    let mut memory = [0; 140];
    let mut tx = TransmitBuffer::new(&mut memory).unwrap();
    let mut sender = Encoder::new(Server);
    assert_eq!(sender.close(&mut tx, None, "why"), Err(SendError::ReasonWithoutCode));
    assert!(tx.is_empty() && !sender.is_closed());
    assert_eq!(sender.close(&mut tx, None, ""), Ok(()));
    assert_eq!(tx.pending(), [0x88, 0]);
}

/// Two connections with the same source would mask with the same keys.
#[test]
fn a_client_cannot_be_cloned() {
    struct Of<T>(core::marker::PhantomData<T>);
    trait Otherwise {
        const CLONE: bool = false;
    }
    impl<T> Otherwise for Of<T> {}
    impl<T: Clone> Of<T> {
        const CLONE: bool = true;
    }
    const { assert!(Of::<Server>::CLONE) };
    const { assert!(!Of::<TestClient>::CLONE) };
    const { assert!(!Of::<sansocket::Client<fn() -> [u8; 4]>>::CLONE) };
}
