//! The deadline for a message in progress.

mod endpoint;
#[cfg(feature = "hub")]
mod hub_world;
mod wire;

use std::time::Duration;

use endpoint::*;
use proptest::prelude::*;
use sansocket::config::{ControlFrames, Delivery};
use sansocket::error::{EndReason, Timeout};
use sansocket::proto::{ConnectionState, MIN_BUFFER_LEN, Role};
use sansocket::session::HandlerDriver;
use sansocket::{CloseCode, Config, Connection, Ending, Event, Handler, HandlerError, Outbox, Server, Step};

const LIMIT: u64 = 60_000;

/// The deadline for a message alone.
fn config() -> Config {
    let mut config = Config::new();
    let times = &mut config.timeouts;
    assert_eq!(times.message, Some(Duration::from_millis(LIMIT)), "the default");
    (times.idle, times.ping, times.pong, times.write) = (None, None, None, None);
    config
}

/// Lets time pass up to each deadline in turn, for so long.
fn pass<R: Role>(endpoint: &mut Endpoint<'_, R>, millis: u64) {
    let end = endpoint.now.as_micros() + millis * 1000;
    while let Some(deadline) = endpoint.deadline.filter(|deadline| deadline.as_micros() <= end) {
        assert!(deadline > endpoint.now || endpoint.closed.is_some(), "it spins");
        if endpoint.closed.is_some() {
            break;
        }
        endpoint.now = deadline;
        endpoint.run();
    }
    endpoint.now = Instant::from_micros(end);
    endpoint.run();
}

/// Ends as a message that does not get on has to.
fn is_cut<R: Role>(endpoint: &mut Endpoint<'_, R>) {
    let (sent, cause) = endpoint.finish();
    assert_eq!(sent.last().and_then(Sent::code), Some(1008));
    let sent = Some(CloseCode::POLICY_VIOLATION);
    assert_eq!(cause, Ending { reason: EndReason::Timeout(Timeout::Message), received: None, sent });
}

#[test]
fn a_message_or_frame_that_stands_still_is_cut() {
    fn run<R: TestRole>() {
        let key = R::SERVER.then_some(KEY);
        let message = R::incoming(BINARY, &[0; 1000]);
        let begun: [(&str, Vec<u8>); 8] = [
            ("one byte of a header", vec![BINARY]),
            (
                "a header but its last byte",
                header(BINARY, key, 100_000)[..if R::SERVER { 13 } else { 9 }].into(),
            ),
            ("a header", header(BINARY, key, 10)),
            ("a frame but its last byte", message[..message.len() - 1].into()),
            ("a large frame", [header(BINARY, key, 1 << 20), vec![0; 5000]].concat()),
            ("a control frame", R::incoming(PONG, b"abc")[..4].into()),
            ("a fragment", R::incoming(TEXT_PART, b"abc")),
            ("a header behind a fragment", [R::incoming(TEXT_PART, b"abc"), vec![LAST]].concat()),
        ];
        for (what, wire) in begun {
            for delivery in [Delivery::Frames, Delivery::Chunks, Delivery::CodePoints] {
                let mut config = config();
                config.delivery = delivery;
                let mut memory = Memory::new(1200, MIN_BUFFER_LEN);
                let mut endpoint = Endpoint::<R>::new(&config, &mut memory);
                // Messages and silence before it do not matter.
                endpoint.feed(&R::incoming(TEXT, b"before"));
                pass(&mut endpoint, 10 * LIMIT);
                assert_eq!(endpoint.deadline, None, "{what}");
                endpoint.feed(&wire);
                assert_eq!(
                    endpoint.deadline,
                    Some(endpoint.now.saturating_add(Duration::from_millis(LIMIT))),
                    "{what}"
                );
                pass(&mut endpoint, LIMIT - 1);
                assert_eq!(endpoint.connection.state(), ConnectionState::Open, "{what}");
                pass(&mut endpoint, 2);
                is_cut(&mut endpoint);
            }
        }
    }
    run::<Server>();
    run::<TestClient>();
}

#[test]
fn a_message_that_ends_at_its_deadline_is_accepted() {
    let config = config();
    let mut memory = Memory::new(1200, MIN_BUFFER_LEN);
    let mut server = Endpoint::<Server>::new(&config, &mut memory);
    let wire = Server::incoming(BINARY, &[0; 1000]);
    for _ in 0..20 {
        // Each time a message begins anew, be it with the read that ended the last one.
        server.feed(&wire[..1]);
        pass(&mut server, LIMIT - 1);
        server.feed(&[&wire[1..], &wire[..1]].concat());
        pass(&mut server, LIMIT - 1);
        server.feed(&wire[1..]);
    }
    assert_eq!(messages(&server.events).len(), 40);
    assert_eq!(server.connection.state(), ConnectionState::Open);
}

/// Messages that come whole, then the beginning of one long after: its time counts from there.
#[test]
fn the_time_of_a_message_begins_with_the_message() {
    let config = config();
    let mut memory = Memory::new(1200, MIN_BUFFER_LEN);
    let mut server = Endpoint::<Server>::new(&config, &mut memory);
    let whole = Server::incoming(TEXT, b"whole");
    for _ in 0..10 {
        server.feed(&whole[..3]);
        server.feed(&whole[3..]);
        server.feed(&whole);
        // No step of the clock between the messages and the beginning of the next: its time is their time.
        server.feed(&whole[..1]);
        server.feed(&whole[1..]);
        pass(&mut server, LIMIT - 10);
        server.feed(&whole[..1]);
        pass(&mut server, LIMIT - 10);
        assert_eq!(server.connection.state(), ConnectionState::Open);
        server.feed(&whole[1..]);
    }
}

#[test]
fn control_frames_and_empty_fragments_are_no_progress() {
    let mut config = config();
    config.control = ControlFrames::Reported;
    for filler in [Server::incoming(PING, b"still here"), Server::incoming(PART, b"")] {
        let mut memory = Memory::new(1200, MIN_BUFFER_LEN);
        let mut server = Endpoint::<Server>::new(&config, &mut memory);
        server.feed(&Server::incoming(BINARY_PART, b"begun"));
        for _ in 0..59 {
            pass(&mut server, 1_000);
            server.feed(&filler);
            server.written();
        }
        assert_eq!(server.connection.state(), ConnectionState::Open);
        pass(&mut server, 1_001);
        is_cut(&mut server);
    }
}

#[test]
fn a_message_that_makes_progress_may_take_any_time() {
    let mut config = config();
    config.limits.fragments = u32::MAX;
    let key = Some(KEY);
    let fragment = |payload: &[u8]| Server::incoming(PART, payload);
    let begin = Server::incoming(BINARY_PART, b"");
    // One frame of 200 KiB; fragments of 1 KiB; fragments of ten bytes.
    let streams: [(Vec<u8>, Vec<u8>, u64); 3] = [
        (header(BINARY, key, 200 * 1024), vec![0; 1024], 59_000),
        (begin.clone(), fragment(&[0; 1024]), 59_000),
        (begin, fragment(&[0; 10]), 500),
    ];
    for (begin, piece, millis) in streams {
        let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
        let mut server = Endpoint::<Server>::new(&config, &mut memory);
        server.feed(&begin);
        for _ in 0..(150 * 59_000 / millis) {
            pass(&mut server, millis);
            server.feed(&piece);
            server.events.clear();
        }
        assert_eq!(
            server.connection.state(),
            ConnectionState::Open,
            "{} bytes each {millis} ms",
            piece.len()
        );
        pass(&mut server, 61_000);
        is_cut(&mut server);
    }
}

#[test]
fn payload_received_externally_is_progress() {
    let config = config();
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
    let mut server = Endpoint::<Server>::new(&config, &mut memory);
    server.feed(&header(BINARY, Some([0; 4]), 1 << 25));
    for _ in 0..20 {
        pass(&mut server, 59_000);
        assert!(server.connection.receive_external(server.now, &mut [0; 1024]).is_some());
        server.run();
        assert_eq!(server.closed, None);
    }
    for _ in 0..60 {
        pass(&mut server, 1_000);
        let _ = server.connection.receive_external(server.now, &mut [0; 16]);
        server.run();
    }
    pass(&mut server, 2_000);
    is_cut(&mut server);
}

#[test]
fn the_deadline_can_be_switched_off() {
    let mut config = config();
    config.timeouts.message = None;
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
    let mut server = Endpoint::<Server>::new(&config, &mut memory);
    server.feed(&[BINARY]);
    pass(&mut server, 1 << 40);
    assert_eq!((server.connection.state(), server.deadline), (ConnectionState::Open, None));
}

/// It neither gets on nor is it silent: it is asked all the same, and its answer counts.
#[test]
fn a_peer_that_drips_gets_pings() {
    let mut config = config();
    config.timeouts.message = None;
    config.timeouts.ping = Some(Duration::from_secs(30));
    config.timeouts.pong = Some(Duration::from_secs(20));
    let mut memory = Memory::new(1200, MIN_BUFFER_LEN);
    let mut server = Endpoint::<Server>::new(&config, &mut memory);
    server.feed(&header(BINARY, Some(KEY), 1_000));
    let mut pings = 0;
    for _ in 0..100 {
        pass(&mut server, 10_000);
        server.feed(&[0]);
        pings += server.sent().iter().filter(|sent| sent.first == PING).count();
        server.written();
    }
    assert_eq!(server.connection.state(), ConnectionState::Open);
    assert!((30..=34).contains(&pings), "{pings} Pings in 1,000 s");
    // A byte every 29 s is none within the time for the answer.
    let mut memory = Memory::new(1200, MIN_BUFFER_LEN);
    let mut server = Endpoint::<Server>::new(&config, &mut memory);
    server.feed(&header(BINARY, Some(KEY), 1_000));
    for _ in 0..3 {
        pass(&mut server, 29_000);
        server.rx.feed(&[0]);
        server.run();
    }
    assert_eq!(server.finish().1.reason, EndReason::Timeout(Timeout::Pong));
}

/// A handler that takes nothing until it may.
struct Busy {
    blocked: bool,
    got: usize,
}

impl Handler for Busy {
    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        if self.blocked {
            while out.send(b"x").is_ok() {}
            return Err(HandlerError::Blocked { consumed: 0 });
        }
        if let Event::Data(data) = event {
            self.got += data.payload.len();
        }
        Ok(())
    }
}

#[test]
fn time_in_which_the_handler_is_blocked_does_not_count() {
    let mut config = config();
    config.delivery = Delivery::Chunks;
    let (mut rx, mut tx) = ([0; 140], [0; 140]);
    let mut rx = sansocket::ReceiveBuffer::new(&mut rx).unwrap();
    let mut tx = sansocket::TransmitBuffer::new(&mut tx).unwrap();
    let mut driver = HandlerDriver::new(Connection::new(Server, &config, Instant::START), None);
    let mut handler = Busy { blocked: true, got: 0 };
    rx.feed(&header(BINARY, Some(KEY), 300));
    // The message has begun before the handler is blocked.
    let step = driver.poll(Instant::START, &mut handler, &mut rx, &mut tx);
    assert!(matches!(step, Step::Wait { deadline: Some(_) }), "{step:?}");
    rx.feed(&[0; 100]);
    // It takes ten minutes until something is written, then a second in which the rest arrives bit by bit.
    for minute in 0..10 {
        let step = driver.poll(Instant::from_millis(minute * 60_000), &mut handler, &mut rx, &mut tx);
        assert_eq!(step, Step::Wait { deadline: None });
    }
    tx.consume(usize::MAX);
    handler.blocked = false;
    for second in 0..50 {
        let now = Instant::from_millis(600_000 + second * 1_000);
        let step = driver.poll(now, &mut handler, &mut rx, &mut tx);
        assert!(matches!(step, Step::Wait { .. }), "{step:?}");
        assert_eq!(driver.connection().state(), ConnectionState::Open);
        rx.feed(&[0; 4]);
    }
    let now = Instant::from_millis(651_000);
    let _ = driver.poll(now, &mut handler, &mut rx, &mut tx);
    assert_eq!((driver.connection().state(), handler.got), (ConnectionState::Open, 300));
}

/// The process was stopped, or its application did not read, in the middle of a message: what lies in the transport is
/// received first, in however many reads.
#[test]
fn received_bytes_are_processed_before_the_deadline_is_enforced() {
    let config = config();
    for (piece, size) in [(1, 500), (134, 1000), (700, 700), (1, 2)] {
        let mut memory = Memory::new(1200, MIN_BUFFER_LEN);
        let mut server = Endpoint::<Server>::new(&config, &mut memory);
        let wire = Server::incoming(BINARY, &vec![0; size]);
        server.feed(&wire[..6]);
        server.now = server.now.saturating_add(Duration::from_secs(3600));
        // A poll that comes before the transport was read does not judge; then a read each millisecond.
        server.run();
        for chunk in wire[6..].chunks(piece) {
            if server.connection.state() != ConnectionState::Open {
                break;
            }
            let deadline = server.deadline.expect("the transport is asked at once");
            assert!(deadline <= server.now.saturating_add(Duration::from_millis(1)));
            server.now = deadline;
            server.rx.feed(chunk);
            server.run();
        }
        if size / piece <= 250 {
            assert_eq!(messages(&server.events).len(), 1);
            pass(&mut server, 10 * LIMIT);
            assert_eq!(server.connection.state(), ConnectionState::Open);
        } else {
            // A byte a millisecond is no read of what lay there.
            is_cut(&mut server);
        }
    }
}

#[cfg(feature = "hub")]
mod in_a_hub {
    use std::time::Duration;

    use sansocket::hub::HubSettings;

    use super::hub_world::*;

    #[test]
    fn a_session_that_drips_is_cut_and_counted() {
        let mut world = echoes(HubSettings::default());
        let peer = world.open();
        peer.feed(&masked(0x82, &[0; 200])[..8]);
        let mut bytes = 8;
        while !peer.is_gone() && bytes < 100 {
            world.pass(Duration::from_secs(8));
            peer.feed(&[0]);
            bytes += 1;
            if peer.wire().shut {
                peer.fin();
            }
        }
        // A minute, and a sixteenth of it, by which a hub may be late.
        assert!(bytes <= 8 + 9, "{bytes} bytes");
        assert!(peer.got().contains(&Got::Close(1008)));
        assert_eq!(world.end().closed.stalled_message, 1);
    }
}

// ---- properties ----

/// A data message in fragments, with control frames between them, or a control frame alone.
fn stream(server: bool) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let key = server.then_some(KEY);
    let fragments = prop::collection::vec((0..3000_usize, any::<bool>()), 1..6);
    let message = fragments.prop_map(move |fragments| {
        let last = fragments.len() - 1;
        let mut wire = Vec::new();
        for (i, (len, ping)) in fragments.into_iter().enumerate() {
            let opcode = if i == 0 { BINARY_PART } else { PART };
            let fin = if i == last { 0x80 } else { 0 };
            wire.extend(frame(opcode | fin, key, &vec![7; len]));
            if ping && i < last {
                wire.extend(frame(PING, key, b"?"));
            }
        }
        wire
    });
    let control = (0..126_usize).prop_map(move |len| frame(PONG, key, &vec![7; len]));
    prop::collection::vec(prop_oneof![4 => message, 1 => control], 1..5)
}

/// One endpoint, and a peer that sends these bytes in pieces of `piece` bytes, one each `interval` (microseconds), with a
/// pause before each message.
struct Drip<'c, R> {
    connection: Connection<R, sansocket::proto::NoExtension, &'c Config>,
    rx: sansocket::ReceiveBuffer<'static>,
    tx: sansocket::TransmitBuffer<'static>,
    now: u64,
    deadline: Option<u64>,
    closed: Option<Ending>,
    sent: Vec<u8>,
}

impl<'c, R: Role> Drip<'c, R> {
    fn new(role: R, config: &'c Config, rx: usize) -> Self {
        Self {
            connection: Connection::new(role, config, Instant::START),
            rx: sansocket::ReceiveBuffer::new(vec![0; rx].leak()).unwrap(),
            tx: sansocket::TransmitBuffer::new(vec![0; 200].leak()).unwrap(),
            now: 0,
            deadline: None,
            closed: None,
            sent: Vec::new(),
        }
    }

    fn poll(&mut self) {
        let now = Instant::from_micros(self.now);
        for polls in 0.. {
            assert!(polls < 10_000, "it spins");
            match self.connection.poll(now, &mut self.rx, &mut self.tx) {
                Step::Event(_) => {}
                Step::Wait { deadline } => {
                    assert!(deadline.is_none_or(|deadline| deadline > now));
                    self.deadline = deadline.map(Instant::as_micros);
                    self.sent.extend_from_slice(self.tx.pending());
                    if self.tx.is_empty() {
                        return;
                    }
                    self.tx.consume(usize::MAX);
                }
                Step::Shutdown => self.rx.end(),
                Step::Done(cause) => {
                    self.closed = Some(cause);
                    return;
                }
            }
        }
    }

    /// Lets time pass, with a poll at each deadline.
    fn pass(&mut self, micros: u64) {
        let end = self.now + micros;
        while let Some(deadline) = self.deadline.filter(|deadline| *deadline <= end && self.closed.is_none())
        {
            self.now = deadline;
            self.poll();
        }
        if self.closed.is_none() {
            self.now = end;
        }
    }

    /// Sends as `piece` and `interval` say, until all is sent or the connection is over.
    fn send(&mut self, bytes: &[u8], piece: usize, interval: u64) {
        for mut piece in bytes.chunks(piece) {
            while !piece.is_empty() && self.closed.is_none() {
                piece = &piece[self.rx.feed(piece)..];
                self.poll();
            }
            self.pass(interval);
        }
    }
}

fn drips<R: TestRole>(messages: &[Vec<u8>], cut: f64, piece: usize, slowness: f64, pause: u64, rx: usize) {
    let config = config();
    let mut drip = Drip::new(R::make(), &config, rx);
    // Below half of 1 KiB in the time that there is for it.
    let interval = (piece as f64 * LIMIT as f64 * 1000.0 / 512.0 * slowness) as u64;
    let (last, whole) = messages.split_last().unwrap();
    // So long, a message may take: each KiB of it twice the time, at the most.
    let bound = |bytes: usize| (2 * (bytes as u64 / 1024) + 3) * LIMIT * 1000;
    for message in whole {
        drip.pass(pause);
        let start = drip.now;
        drip.send(message, piece, interval);
        assert!(drip.now - start <= bound(message.len()) + interval, "{} ms", (drip.now - start) / 1000);
    }
    if drip.closed.is_none() {
        drip.pass(pause);
        let start = drip.now;
        // At least its first byte, at most all but the last.
        let len = 1 + ((last.len() - 2) as f64 * cut) as usize;
        drip.send(&last[..len], piece, interval);
        drip.pass(2 * LIMIT * 1000);
        assert!(drip.now - start <= bound(len) + interval + 2 * LIMIT * 1000);
    }
    let cause = drip.closed.expect("it was cut");
    assert_eq!(cause.reason, EndReason::Timeout(Timeout::Message));
    assert_eq!(cause.sent, Some(CloseCode::POLICY_VIOLATION));
    let close = whole_frames(&drip.sent).pop().unwrap();
    assert_eq!((close.first, close.code()), (CLOSE, Some(1008)));
}

fn streams<R: TestRole>(messages: &[Vec<u8>], piece: usize, slowness: f64, pause: u64, rx: usize) {
    let config = config();
    let mut drip = Drip::new(R::make(), &config, rx);
    // Headers and control frames count for nothing: they are less than a half of each 1.5 KiB of these streams, or end in
    // time by themselves.
    let interval = (piece as f64 * LIMIT as f64 * 1000.0 / 3072.0 * slowness) as u64;
    for message in messages {
        drip.pass(pause);
        drip.send(message, piece, interval);
        assert_eq!(drip.closed, None);
    }
    drip.pass(10 * LIMIT * 1000);
    assert_eq!((drip.closed, drip.deadline), (None, None));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_input_that_drips_ends_in_bounded_time(
        (server, messages) in any::<bool>().prop_flat_map(|server| (Just(server), stream(server))),
        cut in 0.0..1.0,
        piece in 1..200_usize,
        slowness in 1.0..20.0,
        pause in prop_oneof![Just(0_u64), Just(1_000), Just(3_600_000_000)],
        rx in prop_oneof![Just(MIN_BUFFER_LEN), Just(1000), Just(5000)],
    ) {
        if server {
            drips::<Server>(&messages, cut, piece, slowness, pause, rx);
        } else {
            drips::<TestClient>(&messages, cut, piece, slowness, pause, rx);
        }
    }

    #[test]
    fn a_stream_that_gets_on_is_never_cut(
        (server, messages) in any::<bool>().prop_flat_map(|server| (Just(server), stream(server))),
        piece in 1..1500_usize,
        slowness in 0.0..1.0,
        pause in prop_oneof![Just(0_u64), Just(1_000), Just(3_600_000_000)],
        rx in prop_oneof![Just(MIN_BUFFER_LEN), Just(1000), Just(5000)],
    ) {
        if server {
            streams::<Server>(&messages, piece, slowness, pause, rx);
        } else {
            streams::<TestClient>(&messages, piece, slowness, pause, rx);
        }
    }
}
