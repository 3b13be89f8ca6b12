//! What holds for all bytes, all splits, all sizes of buffers: by random cases, each made from one seed.

mod endpoint;
mod wire;

use endpoint::*;
use proptest::prelude::*;
use sansocket::config::{ControlFrames, Delivery};
use sansocket::error::{EndReason, Violation};
use sansocket::proto::{
    ConnectionState, Decoder, Encoder, Header, HeaderRules, MAX_HEADER_LEN, MIN_BUFFER_LEN, OpCode,
    ReservedBits, Role, Utf8Validator, mask,
};
use sansocket::{Config, Ending, Kind, SendError, Server, TransmitBuffer};

fn cases(cases: u32) -> ProptestConfig {
    // Seeds are printed; files of them are not kept.
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

// ---- traffic ----

const CHARACTERS: [char; 8] = ['a', '\u{7F}', '\u{80}', 'é', '€', '\u{FFFF}', '𐍈', '\u{10FFFF}'];

fn text(random: &mut Random, len: usize) -> String {
    (0..len).map(|_| CHARACTERS[random.below(CHARACTERS.len())]).collect()
}

fn bytes(random: &mut Random, len: usize) -> Vec<u8> {
    (0..len).map(|_| random.below(256) as u8).collect()
}

/// A length: mostly small, sometimes around the places where something changes.
fn length(random: &mut Random) -> usize {
    match random.below(8) {
        0 => 0,
        1 => 120 + random.below(30),
        2 => random.below(1000),
        3 if random.one_in(8) => 65_520 + random.below(40),
        _ => random.below(20),
    }
}

/// Whole frames as one side sends them. Where `defects` are wanted, now and then one with something wrong in it,
/// but never in its length.
fn traffic(random: &mut Random, masked: bool, defects: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut open: Vec<Vec<u8>> = Vec::new();
    for _ in 0..random.below(12) {
        let (mut first, mut payload) = match random.below(12) {
            0 | 1 => {
                let len = random.below(126);
                (PING, bytes(random, len))
            }
            2 => (PONG, vec![b'p'; random.below(126)]),
            3 if random.one_in(4) => {
                let body = match random.below(4) {
                    0 => vec![],
                    // tungstenite does not know 1014, which IANA's registry has had since 2017.
                    1 if defects => close_body(
                        Some(random.below(5200)).filter(|code| *code != 1014).unwrap_or(0) as u16,
                        "why",
                    ),
                    2 if defects => bytes(random, 20),
                    _ => close_body(1000 + random.below(4) as u16, &text(random, 30)),
                };
                (CLOSE, body)
            }
            _ if open.is_empty() => {
                let len = length(random);
                let (kind, payload) = if random.one_in(2) {
                    (TEXT_PART, text(random, len / 2).into_bytes())
                } else {
                    (BINARY_PART, bytes(random, len))
                };
                let pieces = random.below(4).max(1);
                let mut rest = &payload[..];
                for _ in 1..pieces {
                    let (front, back) = rest.split_at(random.below(rest.len() + 1));
                    open.push(front.to_vec());
                    rest = back;
                }
                open.push(rest.to_vec());
                let payload = open.remove(0);
                (if open.is_empty() { kind | 0x80 } else { kind }, payload)
            }
            _ => {
                let payload = open.remove(0);
                (if open.is_empty() { LAST } else { PART }, payload)
            }
        };
        let mut key = masked.then(|| [0; 4].map(|_: u8| random.below(256) as u8));
        if defects && random.one_in(12) {
            match random.below(4) {
                0 => first = random.below(256) as u8,
                1 => first ^= 0x80,
                2 => key = if masked { None } else { Some(KEY) },
                _ => {
                    let at = random.below(payload.len().max(1));
                    if let Some(byte) = payload.get_mut(at) {
                        *byte = random.below(256) as u8;
                    }
                }
            }
        }
        out.extend(frame(first, key, &payload));
    }
    out
}

// ---- (a) any bytes at any split ----

/// Everything that a connection makes of bytes: events, what it sends, how it ends.
type Outcome = (Vec<Got>, Vec<Sent>, Ending);

/// In pieces, of which some may be read past the buffer.
fn outcome<R: TestRole>(
    config: &Config,
    wire: &[u8],
    buffer: usize,
    external: bool,
    mut piece: impl FnMut() -> usize,
) -> Outcome {
    let mut memory = Memory::new(buffer, 100_000);
    let mut end = Endpoint::<R>::new(config, &mut memory);
    let mut rest = wire;
    while !rest.is_empty() && !matches!(end.connection.state(), ConnectionState::Closed) {
        let left = end.connection.external_read_limit(&end.rx);
        let n = piece().clamp(1, rest.len());
        if external && left > 0 {
            let n = n.min(left.try_into().unwrap_or(usize::MAX));
            let mut memory = rest[..n].to_vec();
            if let Some(data) = end.connection.receive_external(end.now, &mut memory) {
                end.events.push(Got::Data(data.into()));
            }
            end.run();
            rest = &rest[n..];
        } else {
            end.feed(&rest[..n]);
            rest = &rest[n..];
        }
    }
    let (sent, cause) = end.finish();
    (join(end.events), sent, cause)
}

fn same_at_every_split<R: TestRole>(wire: &[u8], random: &mut Random) {
    let mut config = Config::new();
    config.control = [ControlFrames::Automatic, ControlFrames::Reported][random.below(2)];
    config.limits.message = if random.one_in(4) { random.below(500) as u64 } else { 1 << 20 };
    config.limits.frame = if random.one_in(4) { random.below(500) as u64 } else { 1 << 20 };
    config.limits.fragments = if random.one_in(4) { random.below(4) as u32 } else { 1000 };
    config.allow_long_length_form = random.one_in(4);
    let whole = outcome::<R>(&config, wire, wire.len().max(MIN_BUFFER_LEN), false, || usize::MAX);
    for delivery in [Delivery::Frames, Delivery::Chunks, Delivery::CodePoints] {
        config.delivery = delivery;
        let buffer = MIN_BUFFER_LEN + random.below(300);
        // Not byte by byte where there are very many.
        let largest = [1, 2, 10, 200][random.below(4)].max(wire.len() / 2000);
        let external = random.one_in(2);
        let split = outcome::<R>(&config, wire, buffer, external, || 1 + random.below(largest));
        assert_eq!(split, whole, "{delivery:?} in {buffer}, pieces up to {largest}, external {external}");
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn right_traffic_is_the_same_at_every_split(seed: u64) {
        let mut random = Random::new(seed);
        same_at_every_split::<Server>(&traffic(&mut random, true, false), &mut random);
        same_at_every_split::<TestClient>(&traffic(&mut random, false, false), &mut random);
    }

    #[test]
    fn broken_traffic_is_the_same_at_every_split(seed: u64) {
        let mut random = Random::new(seed);
        for masked in [true, false] {
            let mut wire = traffic(&mut random, masked, true);
            // Anything may be wrong, lengths as well.
            for _ in 0..random.below(3) {
                let at = random.below(wire.len().max(1));
                if let Some(byte) = wire.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            wire.truncate(wire.len() - if random.one_in(3) { random.below(wire.len() + 1) } else { 0 });
            if masked {
                same_at_every_split::<Server>(&wire, &mut random);
            } else {
                same_at_every_split::<TestClient>(&wire, &mut random);
            }
        }
    }

    #[test]
    fn any_bytes_are_the_same_at_every_split(wire in prop::collection::vec(any::<u8>(), 0..200), seed: u64) {
        let mut random = Random::new(seed);
        same_at_every_split::<Server>(&wire, &mut random);
        same_at_every_split::<TestClient>(&wire, &mut random);
    }
}

/// The low layer alone, over a window of the caller's own.
fn low_layer<R: Role>(
    config: &Config,
    wire: &[u8],
    capacity: usize,
    piece: usize,
) -> (Vec<Got>, Option<Violation>) {
    let mut receiver = Decoder::<R, &Config>::new(config);
    let mut window: Vec<u8> = Vec::new();
    let mut events = Vec::new();
    let mut rest = wire;
    loop {
        let n = piece.min(rest.len()).min(capacity - window.len());
        window.extend(&rest[..n]);
        rest = &rest[n..];
        loop {
            let mut input = &mut window[..];
            let received = receiver.receive(capacity, &mut input);
            let left = input.len();
            match received {
                Ok(Some(event)) => events.push(Got::new(event)),
                Ok(None) => {
                    window.drain(..window.len() - left);
                    break;
                }
                Err(violation) => {
                    assert_eq!(
                        receiver.receive(capacity, &mut &mut [][..]),
                        Err(violation),
                        "for ever after"
                    );
                    return (join(events), Some(violation));
                }
            }
            window.drain(..window.len() - left);
        }
        if rest.is_empty() {
            return (join(events), None);
        }
        assert!(window.len() < capacity, "a full window is never waited with");
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn the_low_layer_agrees_with_the_connection(seed: u64, piece in 1..300_usize) {
        let mut random = Random::new(seed);
        let mut config = Config::new();
        config.control = ControlFrames::Reported;
        let wire = traffic(&mut random, true, true);
        let (events, violation) = low_layer::<Server>(&config, &wire, MIN_BUFFER_LEN + piece, piece);
        let (want, _, cause) = outcome::<Server>(&config, &wire, MIN_BUFFER_LEN, false, || usize::MAX);
        prop_assert_eq!(events, want);
        let end = match cause.reason {
            EndReason::Violation(violation) => Some(violation),
            _ => None,
        };
        prop_assert_eq!(violation, end);
    }
}

// ---- (b) encode, then decode ----

fn opcodes() -> impl Strategy<Value = OpCode> {
    use OpCode::{Binary, Close, Continuation, Ping, Pong, Text};
    prop::sample::select(vec![Continuation, Text, Binary, Close, Ping, Pong])
}

fn lengths() -> impl Strategy<Value = u64> {
    let edges = vec![0, 1, 125, 126, 127, 0xFFFF, 0x1_0000, u64::from(u32::MAX), 1 << 32, (1 << 63) - 1];
    prop_oneof![prop::sample::select(edges), 0..200_u64, 0..70_000_u64, 0..1_u64 << 63]
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn headers_of_any_values_are_decoded_as_they_were_encoded(
        opcode in opcodes(), fin: bool, bits in 0..8_u8, key: Option<[u8; 4]>, len in lengths(), tail: [u8; 3],
        allow_long_length_form: bool,
    ) {
        let all = [ReservedBits::RSV3, ReservedBits::RSV2, ReservedBits::RSV1];
        let union = |bits: u8| {
            (0..3).filter(|i| bits >> i & 1 == 1).fold(ReservedBits::NONE, |rsv, i| rsv.union(all[i]))
        };
        let control = opcode.is_control();
        let header = if control {
            Header { fin: true, rsv: ReservedBits::NONE, opcode, key, len: len % 126 }
        } else {
            Header { fin, rsv: union(bits), opcode, key, len }
        };
        let mut out = [0xA5; MAX_HEADER_LEN];
        let n = header.encode(&mut out);
        prop_assert_eq!(out[n..].iter().filter(|byte| **byte != 0xA5).count(), 0);
        let wire = [&out[..n], &tail].concat();
        prop_assert_eq!(&wire[..n], &endpoint::header(wire[0], key, header.len)[..]);
        let rules = HeaderRules { masked: key.is_some(), rsv: union(7), allow_long_length_form };
        prop_assert_eq!(Header::decode(&wire, &rules), Ok(Some((header, n))));
        for short in 0..n {
            prop_assert_eq!(Header::decode(&wire[..short], &rules), Ok(None));
        }
        // The other role refuses it, and so do rules that have not claimed the bits.
        let other = HeaderRules { masked: key.is_none(), ..rules };
        prop_assert!(Header::decode(&wire, &other).is_err());
        let unclaimed = HeaderRules { rsv: ReservedBits::NONE, ..rules };
        let number = if control { 0 } else { bits };
        let refused = Header::decode(&wire, &unclaimed);
        prop_assert_eq!(refused.is_err(), number != 0);
        prop_assert!(number == 0 || refused == Err(Violation::ReservedBits(number)));
    }

    /// Every length and every cut, against the RFC's formula.
    #[test]
    fn masking_is_the_same_in_any_pieces(key: [u8; 4], payload in prop::collection::vec(any::<u8>(), 0..100), cuts: [usize; 3]) {
        let want: Vec<u8> = payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
        let mut masked = payload.clone();
        let mut rest = &mut masked[..];
        let mut next = key;
        for cut in cuts {
            let (front, back) = rest.split_at_mut(cut % (rest.len() + 1));
            next = mask(next, front);
            rest = back;
        }
        next = mask(next, rest);
        prop_assert_eq!(&masked, &want);
        prop_assert_eq!(next, [0, 1, 2, 3].map(|i| key[(payload.len() + i) % 4]));
        let _ = mask(key, &mut masked);
        prop_assert_eq!(masked, payload);
    }

    /// In any pieces, the same verdict as the standard library's, and at the same byte.
    #[test]
    fn utf8_agrees_with_the_standard_library_at_every_cut(seed: u64, cuts: [usize; 4], change: Option<(usize, u8)>) {
        let mut random = Random::new(seed);
        let len = random.below(60);
        let mut text = text(&mut random, len).into_bytes();
        if let Some((at, byte)) = change {
            let len = text.len().max(1);
            if let Some(slot) = text.get_mut(at % len) {
                *slot = byte;
            }
        }
        let wrong = |text: &[u8]| std::str::from_utf8(text).is_err_and(|error| error.error_len().is_some());
        let mut utf8 = Utf8Validator::NEW;
        let mut fed = 0;
        for cut in cuts.into_iter().map(Some).chain([None]) {
            let left = text.len() - fed;
            let n = cut.map_or(left, |cut| cut % (left + 1));
            let result = utf8.feed(&text[fed..fed + n]);
            fed += n;
            prop_assert_eq!(result.is_err(), wrong(&text[..fed]));
            if result.is_err() {
                break;
            }
            let valid = std::str::from_utf8(&text[..fed]).map_or_else(|error| error.valid_up_to(), str::len);
            prop_assert_eq!(utf8.incomplete(), fed - valid);
        }
    }
}

/// Sends messages in all ways, into a buffer of any size, and receives them on the other side.
fn messages_arrive<R: TestRole, P: TestRole>(seed: u64) {
    let mut random = Random::new(seed);
    let config = Config::new();
    let (rx, tx) = (MIN_BUFFER_LEN + random.below(400), MIN_BUFFER_LEN + random.below(400));
    let mut memory = Memory::new(rx, MIN_BUFFER_LEN);
    let mut peer = Endpoint::<P>::new(&config, &mut memory);
    let mut memory = vec![0xA5; tx];
    let mut tx = TransmitBuffer::new(&mut memory).expect("enough");
    let mut sender = Encoder::new(R::make());
    let mut want = Vec::new();
    for _ in 0..random.below(6) {
        let len = length(&mut random);
        let (kind, payload) = match random.below(2) {
            0 => (Kind::Text, text(&mut random, len / 2).into_bytes()),
            _ => (Kind::Binary, bytes(&mut random, len)),
        };
        let mut rest = &payload[..];
        let mut way = random.below(4);
        let mut begun = false;
        loop {
            let done = match way {
                0 if !begun => {
                    sender.begin_frame(&mut tx, kind, payload.len() as u64, true).map(|()| begun = true)
                }
                0 => sender.write(&mut tx, rest).map(|n| rest = &rest[n..]),
                1 => sender.send_fragmented(&mut tx, kind, &mut rest, true, 1 + random.below(500)),
                2 => {
                    let (now, later) = rest.split_at(rest.len().min(1 + random.below(100)));
                    sender.fragment(&mut tx, kind, now, later.is_empty()).map(|()| rest = later)
                }
                _ => sender.send(&mut tx, kind, rest).map(|()| rest = &[]),
            };
            match done {
                Ok(()) if rest.is_empty() && (way > 0 || begun) => break,
                Ok(()) | Err(SendError::Blocked) => {}
                // Too large for one frame in this buffer: in several.
                Err(SendError::TooLarge) => way = random.below(3),
                Err(error) => panic!("{error:?}"),
            }
            let n = random.below(tx.pending().len() + 1);
            peer.feed(&tx.pending()[..n]);
            tx.consume(n);
        }
        want.push((kind, payload));
    }
    peer.feed(tx.pending());
    assert_eq!(messages(&peer.events), want);
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn what_is_sent_is_received(seed: u64) {
        messages_arrive::<Server, TestClient>(seed);
        messages_arrive::<TestClient, Server>(seed);
    }
}

// ---- (c) another implementation ----

/// Bytes to read, and nowhere to write.
struct Wire<'w>(&'w [u8]);

impl std::io::Read for Wire<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(into)
    }
}

impl std::io::Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What arrives whole, and the verdict.
#[derive(Debug, PartialEq)]
struct Judged {
    messages: Vec<Got>,
    ends: Verdict,
}

#[derive(Debug, PartialEq)]
enum Verdict {
    /// A Close arrived.
    Closed,
    /// A rule was broken.
    Broken,
    /// The stream ended.
    Disconnected,
}

fn tungstenite(wire: &[u8], server: bool) -> Judged {
    use tungstenite::error::{Error, ProtocolError};
    use tungstenite::protocol::{Message, Role, WebSocket};
    let role = if server { Role::Server } else { Role::Client };
    let mut socket = WebSocket::from_raw_socket(Wire(wire), role, None);
    let mut messages = Vec::new();
    let ends = loop {
        match socket.read() {
            Ok(Message::Text(text)) => messages.push(Got::message(Kind::Text, text.as_bytes())),
            Ok(Message::Binary(bytes)) => messages.push(Got::message(Kind::Binary, &bytes)),
            Ok(Message::Ping(payload)) => messages.push(Got::Ping(payload.to_vec())),
            Ok(Message::Pong(payload)) => messages.push(Got::Pong(payload.to_vec())),
            // It answers a code that must not be sent with 1002, and calls it a Close.
            Ok(Message::Close(Some(close)))
                if u16::from(close.code) == 1002 && close.reason == "Protocol violation" =>
            {
                break Verdict::Broken;
            }
            Ok(Message::Close(close)) => {
                let code = close.as_ref().map(|close| u16::from(close.code));
                messages
                    .push(Got::Close(code, close.map_or(String::new(), |close| close.reason.to_string())));
                break Verdict::Closed;
            }
            Ok(Message::Frame(_)) => unreachable!("never read"),
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) | Err(Error::Io(_)) => {
                break Verdict::Disconnected;
            }
            Err(_) => break Verdict::Broken,
        }
    };
    Judged { messages, ends }
}

fn ours<R: TestRole>(wire: &[u8]) -> Judged {
    let mut config = Config::new();
    config.control = ControlFrames::Reported;
    let (events, _, cause) = outcome::<R>(&config, wire, MIN_BUFFER_LEN, false, || 1000);
    let mut out: Vec<Got> = Vec::new();
    let mut open: Option<(Kind, Vec<u8>)> = None;
    for event in events {
        match event {
            Got::Data(frame) => {
                let (_, payload) = open.get_or_insert_with(|| (frame.kind, Vec::new()));
                payload.extend(frame.payload);
                if let (true, Some((kind, payload))) = (frame.end, open.take_if(|_| frame.end)) {
                    out.push(Got::message(kind, &payload));
                }
            }
            other => out.push(other),
        }
    }
    let ends = match cause.reason {
        EndReason::Clean => Verdict::Closed,
        EndReason::Violation(_) => Verdict::Broken,
        _ => Verdict::Disconnected,
    };
    Judged { messages: out, ends }
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn tungstenite_comes_to_the_same_verdict(seed: u64, defects: bool) {
        let mut random = Random::new(seed);
        let wire = traffic(&mut random, true, defects);
        prop_assert_eq!(ours::<Server>(&wire), tungstenite(&wire, true));
        let wire = traffic(&mut random, false, defects);
        prop_assert_eq!(ours::<TestClient>(&wire), tungstenite(&wire, false));
    }
}

// ---- (e), (f) a client and a server of ours ----

/// What an application does next.
#[derive(Clone, Debug)]
enum Action {
    Send(Kind, Vec<u8>),
    Fragments(Kind, Vec<Vec<u8>>),
    Stream(Kind, Vec<u8>),
    Begin(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Close,
}

fn actions(random: &mut Random, close: bool) -> Vec<Action> {
    let mut out = Vec::new();
    for _ in 0..random.below(12) {
        let len = length(random).min(5000);
        let kind = if random.one_in(2) { Kind::Text } else { Kind::Binary };
        let payload = match kind {
            Kind::Text => text(random, len / 2).into_bytes(),
            Kind::Binary => bytes(random, len),
        };
        out.push(match random.below(5) {
            0 => Action::Send(kind, payload),
            1 => Action::Fragments(kind, payload.chunks(1 + random.below(120)).map(<[u8]>::to_vec).collect()),
            2 => Action::Stream(kind, payload),
            3 => Action::Begin(kind, payload),
            _ => Action::Ping(payload.into_iter().take(125).collect()),
        });
    }
    if close {
        out.push(Action::Close);
    }
    out
}

/// An application with its endpoint.
struct Side<'m, R> {
    end: Endpoint<'m, R>,
    actions: std::vec::IntoIter<Action>,
    /// The action at hand, how many bytes or fragments of it were sent, and whether it has begun.
    current: Option<Action>,
    done: usize,
    begun: bool,
    /// Messages that were sent whole.
    sent: Vec<(Kind, Vec<u8>)>,
    resets: bool,
}

impl<'m, R: Role> Side<'m, R> {
    fn new(end: Endpoint<'m, R>, actions: Vec<Action>) -> Self {
        let actions = actions.into_iter();
        Self { end, actions, current: None, done: 0, begun: false, sent: Vec::new(), resets: false }
    }

    /// Sends what finds room.
    fn act(&mut self) {
        while self.end.closed.is_none() {
            if self.current.is_none() {
                self.current = self.actions.next();
                (self.done, self.begun) = (0, false);
            }
            let Some(action) = self.current.clone() else { return };
            match self.attempt(&action) {
                Ok(true) => {
                    self.sent.extend(match action {
                        Action::Send(kind, payload)
                        | Action::Stream(kind, payload)
                        | Action::Begin(kind, payload) => Some((kind, payload)),
                        Action::Fragments(kind, pieces) => Some((kind, pieces.concat())),
                        Action::Ping(_) | Action::Close => None,
                    });
                    self.current = None;
                }
                Ok(false) | Err(SendError::Blocked) => return,
                Err(SendError::TooLarge) => {
                    let Action::Send(kind, payload) = action else {
                        panic!("only a whole frame is too large")
                    };
                    self.current = Some(Action::Stream(kind, payload));
                }
                Err(SendError::Closed) => {
                    // The connection is closing: what was not sent is not sent any more.
                    self.current = None;
                    self.actions = Vec::new().into_iter();
                    return;
                }
                Err(error) => panic!("{error:?} for {action:?}"),
            }
        }
    }

    /// Whether all of it was sent.
    fn attempt(&mut self, action: &Action) -> Result<bool, SendError> {
        let Self { end, done, begun, .. } = self;
        let mut out = end.out();
        match action {
            Action::Send(Kind::Text, payload) => out.send(std::str::from_utf8(payload).expect("text"))?,
            Action::Send(Kind::Binary, payload) => out.send(&payload[..])?,
            Action::Ping(payload) => out.ping(payload)?,
            Action::Close => out.close(None, "")?,
            Action::Fragments(kind, pieces) => {
                if pieces.is_empty() {
                    out.fragment(*kind, b"", true)?;
                }
                while let Some(piece) = pieces.get(*done) {
                    out.fragment(*kind, piece, *done + 1 == pieces.len())?;
                    *done += 1;
                }
            }
            Action::Stream(kind, payload) => {
                let mut rest = &payload[*done..];
                let result = out.send_fragmented(*kind, &mut rest, true);
                *done = payload.len() - rest.len();
                result?;
            }
            Action::Begin(kind, payload) => {
                if !*begun {
                    out.begin_frame(*kind, payload.len() as u64, true)?;
                    *begun = true;
                }
                *done += out.write(&payload[*done..])?;
                return Ok(*done == payload.len());
            }
        }
        Ok(true)
    }

    /// One turn of an adapter: whether there was anything but waiting.
    fn turn(&mut self) -> bool {
        self.act();
        let steps = self.end.run();
        self.act();
        // What was sent behind the last poll needs another.
        self.end.run();
        steps.len() > 1
    }
}

/// Both to the end. With `cuts` the transport may stall for long, or break.
fn pair(seed: u64, cuts: bool) {
    let mut random = Random::new(seed);
    let mut configs = [Config::new(), Config::new()];
    for config in &mut configs {
        config.delivery = [Delivery::Frames, Delivery::Chunks, Delivery::CodePoints][random.below(3)];
        config.control = [ControlFrames::Automatic, ControlFrames::Reported][random.below(2)];
        config.largest_fragment = [usize::MAX, 1 + random.below(300)][random.below(2)];
    }
    let size = |random: &mut Random| {
        MIN_BUFFER_LEN + if random.one_in(2) { random.below(8) } else { random.below(1000) }
    };
    let mut memory = [(); 2].map(|()| Memory::new(size(&mut random), size(&mut random)));
    let [first, second] = &mut memory;
    let who = random.below(3);
    let plan = actions(&mut random, who != 1);
    let mut client = Side::new(Endpoint::<TestClient>::new(&configs[0], first), plan);
    let plan = actions(&mut random, who != 0);
    let mut server = Side::new(Endpoint::<Server>::new(&configs[1], second), plan);
    let (mut up, mut down) = (Pipe::default(), Pipe::default());
    let mut now = 0;
    let largest = [1, 20, 1000][random.below(3)];
    let mut broken = false;
    for turn in 0.. {
        assert!(turn < 1_000_000, "it never ends");
        client.end.now = Instant::from_micros(now);
        server.end.now = Instant::from_micros(now);
        let mut busy = false;
        if random.one_in(2) {
            busy |= client.turn();
        }
        if random.one_in(2) {
            busy |= server.turn();
        }
        let stalled = cuts && random.one_in(50);
        if !broken && !stalled {
            let mut n = || random.below(largest + 1);
            busy |= up.pull(&mut client.end, n()) | up.push(&mut server.end, n());
            busy |= down.pull(&mut server.end, n()) | down.push(&mut client.end, n());
        }
        // A side that has shut down, or is gone, sends the end behind all that it has written; to one that is
        // gone nothing arrives.
        up.ended |= (client.end.shutdown || client.end.closed.is_some()) && client.end.tx.is_empty();
        down.ended |= (server.end.shutdown || server.end.closed.is_some()) && server.end.tx.is_empty();
        if server.end.closed.is_some() {
            up.drop_all();
        }
        if client.end.closed.is_some() {
            down.drop_all();
        }
        if client.end.closed.is_some() && server.end.closed.is_some() {
            break;
        }
        if cuts && random.one_in(2000) {
            broken = true;
        }
        if broken {
            // The transport reports it sooner or later, to each side in its own way.
            if random.one_in(3) && !client.resets {
                client.resets = true;
                client.end.connection.transport_failed();
            }
            if random.one_in(3) && !server.end.rx.is_ended() {
                server.end.rx.end();
            }
            if random.one_in(3) {
                server.end.written();
                client.end.written();
            }
        }
        now += if stalled { 1_000_000 * random.below(40) as u64 } else { random.below(100) as u64 };
        // Nothing moves: sleep until something is due.
        if !busy && random.one_in(20) {
            client.turn();
            server.turn();
            let due = [client.end.deadline.filter(|_| client.end.closed.is_none()), server.end.deadline];
            let sent = client.end.tx.is_empty() && server.end.tx.is_empty();
            let quiet = sent && up.is_empty() && down.is_empty();
            if let (Some(due), true) = (due.into_iter().flatten().min(), quiet && random.one_in(10)) {
                now = now.max(due.as_micros());
            }
        }
    }
    let causes = [client.end.closed, server.end.closed].map(|cause| cause.expect("closed"));
    if !cuts {
        assert!(causes.iter().all(Ending::is_clean), "{causes:?}");
    }
    // Whoever ends cleanly has received everything that was sent before the Close; else a beginning of it.
    for (cause, got, sent) in
        [(causes[0], &client.end.events, &server.sent), (causes[1], &server.end.events, &client.sent)]
    {
        let got = messages(got);
        assert!(got.len() <= sent.len() && got[..] == sent[..got.len()], "intact and in order");
        assert!(!cause.is_clean() || got.len() == sent.len(), "all of it: {} of {}", got.len(), sent.len());
    }
}

proptest! {
    #![proptest_config(cases(250))]

    #[test]
    fn a_pair_ends_cleanly(seed: u64) {
        pair(seed, false);
    }

    #[test]
    fn a_pair_over_a_pipe_that_breaks_ends(seed: u64) {
        pair(seed, true);
    }
}
