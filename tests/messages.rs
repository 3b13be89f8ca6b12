//! Whole messages for a handler: each once, in order, whatever the pieces, buffers, delays and blocked calls.

mod endpoint;
mod wire;

use endpoint::*;
use proptest::prelude::*;
use sansocket::config::Delivery;
use sansocket::message::{ArrayStorage, MessageStorage, SliceStorage, WholeMessages};
use sansocket::proto::MIN_BUFFER_LEN;
use sansocket::session::HandlerDriver;
use sansocket::{
    CloseCode, Config, Connection, Ending, HandlerError, Kind, MessageHandler, MessageRef, Outbox,
    ReceiveBuffer, Server, Step, TransmitBuffer,
};

/// The longest message of the traffic.
const LONGEST: usize = 600;
const CHARACTERS: [char; 5] = ['a', '\u{7F}', 'é', '€', '𐍈'];

type Owned = (Kind, Vec<u8>);

fn owned(message: MessageRef<'_>) -> Owned {
    (message.kind(), message.as_bytes().to_vec())
}

/// Records each message after it was answered, and is blocked at random.
struct Recorder {
    random: Random,
    got: Vec<Owned>,
    /// The message for which there was no room.
    blocked: Option<Owned>,
    closed: Option<(Ending, String)>,
}

impl Recorder {
    fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), got: Vec::new(), blocked: None, closed: None }
    }
}

impl MessageHandler for Recorder {
    fn message(&mut self, message: MessageRef<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        if let Some(blocked) = self.blocked.replace(owned(message)) {
            assert_eq!(blocked, owned(message), "the same message again");
        }
        if !out.is_empty() && self.random.one_in(3) {
            // However many bytes it claims to have taken, the message comes whole.
            return Err(HandlerError::Blocked { consumed: self.random.below(2 * LONGEST) });
        }
        out.send(message.as_bytes().get(..100.min(message.as_bytes().len())).unwrap_or_default())?;
        self.got.extend(self.blocked.take());
        Ok(())
    }

    fn closed(&mut self, ending: &Ending, reason: &str) {
        self.closed = Some((*ending, reason.into()));
    }
}

/// Messages, and the frames in which a client sends them: in fragments, with Pings in between, and a Close at the end.
fn traffic(random: &mut Random) -> (Vec<Owned>, Vec<u8>) {
    let (mut messages, mut bytes) = (Vec::new(), Vec::new());
    for _ in 0..random.below(10) {
        let len =
            [random.below(20), random.below(LONGEST), MIN_BUFFER_LEN - 8 + random.below(5)][random.below(3)];
        let (kind, first, payload) = if random.one_in(2) {
            let text: String = (0..len / 4).map(|_| CHARACTERS[random.below(CHARACTERS.len())]).collect();
            (Kind::Text, TEXT_PART, text.into_bytes())
        } else {
            (Kind::Binary, BINARY_PART, (0..len).map(|_| random.below(256) as u8).collect())
        };
        let (mut rest, mut first) = (&payload[..], first);
        for left in (0..[1, 1, 2, 5][random.below(4)]).rev() {
            let len = if left == 0 { rest.len() } else { random.below(rest.len() + 1) };
            let (piece, behind) = rest.split_at(len);
            bytes.extend(frame(if left == 0 { first | LAST } else { first }, Some(KEY), piece));
            if random.one_in(4) {
                bytes.extend(frame(PING, Some(KEY), b"there?"));
            }
            (rest, first) = (behind, PART);
        }
        messages.push((kind, payload));
    }
    bytes.extend(frame(CLOSE, Some(KEY), &close_body(1000, "")));
    (messages, bytes)
}

/// Brings these bytes to a handler, and takes what it sends, in random pieces, until the connection has ended.
fn drive<S: MessageStorage>(
    random: &mut Random,
    mut input: &[u8],
    handler: &mut WholeMessages<Recorder, S>,
) -> (Ending, Vec<u8>) {
    let mut config = Config::new();
    config.delivery = [Delivery::Frames, Delivery::Chunks, Delivery::CodePoints][random.below(3)];
    let size = |random: &mut Random| MIN_BUFFER_LEN + [random.below(8), random.below(1000)][random.below(2)];
    let (mut rx, mut tx) = (vec![0xA5; size(random)], vec![0xA5; size(random)]);
    let (mut rx, mut tx) = (ReceiveBuffer::new(&mut rx).unwrap(), TransmitBuffer::new(&mut tx).unwrap());
    let mut driver = HandlerDriver::new(Connection::new(Server, &config, Instant::START), None);
    let largest = [1, 20, 1000][random.below(3)];
    let mut output = Vec::new();
    for turn in 0.. {
        assert!(turn < 100_000, "it never ends");
        match driver.poll(Instant::START, handler, &mut rx, &mut tx) {
            Step::Done(ending) => return (ending, output),
            Step::Wait { .. } | Step::Shutdown => {}
        }
        let n = random.below(largest + 1).min(tx.pending().len());
        output.extend(&tx.pending()[..n]);
        tx.consume(n);
        let spare = rx.spare();
        let n = random.below(largest + 1).min(spare.len()).min(input.len());
        spare[..n].copy_from_slice(&input[..n]);
        input = &input[n..];
        if n > 0 {
            rx.fill(n);
        } else if input.is_empty() && !rx.is_ended() && tx.is_empty() && random.one_in(20) {
            rx.end();
        }
    }
    unreachable!()
}

/// One connection whose messages are put together in `storage`.
fn connection<S: MessageStorage>(seed: u64, storage: S) {
    let mut random = Random::new(seed);
    let (messages, bytes) = traffic(&mut random);
    let mut handler = WholeMessages::new(Recorder::new(seed ^ 1 << 40), storage);
    let (ending, output) = drive(&mut random, &bytes, &mut handler);
    assert!(ending.is_clean(), "{ending:?}");
    let recorder = handler.handler();
    assert!(recorder.got == messages, "the same messages, each once, in order");
    assert_eq!(recorder.closed, Some((ending, String::new())));
    let answers = whole_frames(&output).iter().filter(|frame| frame.first == BINARY).count();
    assert_eq!(answers, messages.len(), "one answer to each");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_message_comes_once_and_in_order(seed: u64) {
        connection(seed, ArrayStorage::<LONGEST>::new());
        connection(seed, SliceStorage::new(&mut [0; LONGEST]));
        #[cfg(feature = "alloc")]
        connection(seed, Vec::new());
        #[cfg(feature = "bytes")]
        connection(seed, bytes::BytesMut::new());
    }

    #[test]
    fn a_message_that_exceeds_the_storage_closes_with_1009(seed: u64) {
        let mut random = Random::new(seed);
        let (messages, bytes) = traffic(&mut random);
        let mut handler = WholeMessages::new(Recorder::new(seed), ArrayStorage::<50>::new());
        let (ending, output) = drive(&mut random, &bytes, &mut handler);
        let got = &handler.handler().got;
        assert!(got[..] == messages[..got.len()], "a beginning of the messages, without a gap");
        match messages.get(got.len()) {
            None => assert!(ending.is_clean()),
            Some((_, too_big)) => {
                assert!(too_big.len() > 50);
                assert_eq!(ending.sent, Some(CloseCode::MESSAGE_TOO_BIG));
                let close = whole_frames(&output).into_iter().find(|frame| frame.first == CLOSE).unwrap();
                // Without the reason where there was no room for it.
                assert!(close_body(1009, "the message is too big").starts_with(&close.payload));
            }
        }
    }
}

/// Polls once with all of the input and room for all of the output.
fn poll_once<S: MessageStorage>(handler: &mut WholeMessages<Recorder, S>, input: &[u8]) {
    let (mut rx, mut tx) = ([0; 512], [0; 512]);
    let (mut rx, mut tx) = (ReceiveBuffer::new(&mut rx).unwrap(), TransmitBuffer::new(&mut tx).unwrap());
    let connection = Connection::new(Server, &Config::DEFAULT, Instant::START);
    let mut driver = HandlerDriver::new(connection, None);
    rx.feed(input);
    let _ = driver.poll(Instant::START, handler, &mut rx, &mut tx);
}

#[test]
fn a_message_that_lies_whole_in_the_buffer_needs_no_storage() {
    let mut handler = WholeMessages::new(Recorder::new(7), ArrayStorage::<0>::new());
    poll_once(&mut handler, &frame(TEXT, Some(KEY), &[b'x'; 300]));
    assert_eq!(handler.handler().got, [(Kind::Text, vec![b'x'; 300])]);
}

#[test]
fn a_handler_serves_one_connection_after_another() {
    let mut handler = WholeMessages::new(Recorder::new(7), ArrayStorage::<4>::new());
    // The first connection is lost inside a message, the second one closed for a message that is too big.
    poll_once(&mut handler, &frame(TEXT_PART, Some(KEY), b"lost"));
    let too_big = [frame(TEXT_PART, Some(KEY), b"1234"), frame(LAST, Some(KEY), b"5")].concat();
    poll_once(&mut handler, &[too_big, frame(TEXT, Some(KEY), b"late")].concat());
    assert_eq!(handler.handler().got, []);
    let fits = [frame(BINARY_PART, Some(KEY), b"12"), frame(LAST, Some(KEY), b"34")].concat();
    poll_once(&mut handler, &fits);
    assert_eq!(handler.handler().got, [(Kind::Binary, b"1234".to_vec())]);
}

#[cfg(feature = "alloc")]
#[test]
fn a_vec_gives_much_memory_back() {
    let mut storage = Vec::new();
    MessageStorage::push(&mut storage, &[7; 100]).unwrap();
    MessageStorage::clear(&mut storage);
    assert!(storage.is_empty() && storage.capacity() >= 100);
    MessageStorage::push(&mut storage, &[7; 5000]).unwrap();
    MessageStorage::clear(&mut storage);
    assert_eq!(storage.capacity(), 0);
}
