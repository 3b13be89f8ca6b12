//! A connection ends when its peer has disappeared, and does not end when its peer is only slow.

use core::convert::Infallible;
use std::time::Duration;

use sansocket::error::{EndReason, Timeout};
use sansocket::handshake::{
    ClientHandshake, ClientHandshakeEnd as End, ClientRequest, HandshakeError, accept_key,
};
use sansocket::session::HandlerDriver;
use sansocket::{
    CloseCode, Config, Connection, Ending, Event, Handler, HandlerError, Instant, Kind, Outbox,
    ReceiveBuffer, Server, Step, TransmitBuffer,
};

const START: Instant = Instant::START;

fn at(seconds: u64) -> Instant {
    START.saturating_add(Duration::from_secs(seconds))
}

/// A connection that forwards what it receives, in a world where the peer reads `rate` bytes at a time.
struct Board<'b> {
    connection: Connection<Server>,
    rx: ReceiveBuffer<'b>,
    tx: TransmitBuffer<'b>,
}

impl<'b> Board<'b> {
    fn new(rx: &'b mut [u8], tx: &'b mut [u8]) -> Self {
        let connection = Connection::new(Server, &Config::DEFAULT, START);
        Self { connection, rx: ReceiveBuffer::new(rx).unwrap(), tx: TransmitBuffer::new(tx).unwrap() }
    }

    /// Polls until there is nothing to do; forwards data.
    fn poll(&mut self, now: Instant) -> Step<Infallible> {
        loop {
            match self.connection.poll(now, &mut self.rx, &mut self.tx) {
                Step::Event(Event::Data(data)) => {
                    self.connection.outbox(START, &mut self.tx).forward(&data).unwrap();
                }
                Step::Event(_) => {}
                Step::Wait { deadline } => return Step::Wait { deadline },
                Step::Shutdown => return Step::Shutdown,
                Step::Done(cause) => return Step::Done(cause),
            }
        }
    }
}

#[test]
fn a_peer_that_is_silent_inside_a_long_frame_is_disconnected() {
    let (mut rx, mut tx) = ([0; 1024], [0; 1024]);
    let mut board = Board::new(&mut rx, &mut tx);
    // A binary frame of 10,000 bytes, of which 100 come.
    board.rx.feed(&[0x82, 0xFE, 0x27, 0x10, 0, 0, 0, 0]);
    board.rx.feed(&[7; 100]);
    let mut now = START;
    for _ in 0..10 {
        match board.poll(now) {
            Step::Wait { deadline } => now = deadline.expect("somebody looks after it"),
            Step::Shutdown => {}
            Step::Done(cause) => {
                assert_eq!(cause.reason, EndReason::Timeout(Timeout::Pong));
                assert!(now <= at(60));
                return;
            }
            step => panic!("{step:?}"),
        }
        board.tx.consume(usize::MAX);
    }
    panic!("it stays for ever");
}

#[test]
fn a_long_frame_may_be_read_slowly() {
    let (mut rx, mut tx) = ([0; 1024], [0; 1024]);
    let mut board = Board::new(&mut rx, &mut tx);
    board.connection.outbox(START, &mut board.tx).begin_frame(Kind::Binary, 1 << 30, true).unwrap();
    // The peer says nothing for an hour, but takes a little every ten seconds.
    for seconds in (0..3600).step_by(10) {
        let _ = board.connection.outbox(START, &mut board.tx).write(&[0; 500]).unwrap();
        assert!(matches!(board.poll(at(seconds)), Step::Wait { .. }), "at {seconds} s");
        board.tx.consume(400);
    }
}

#[test]
fn the_close_deadline_does_not_run_while_pending_bytes_are_written() {
    let (mut rx, mut tx) = ([0; 1024], [0; 65_536]);
    let mut board = Board::new(&mut rx, &mut tx);
    board.connection.outbox(START, &mut board.tx).send(&[0; 60_000]).unwrap();
    board.connection.outbox(START, &mut board.tx).close(Some(CloseCode::NORMAL), "").unwrap();
    for second in 0.. {
        assert!(matches!(board.poll(at(second)), Step::Wait { .. }), "at {second} s");
        board.tx.consume(5_000);
        if board.tx.is_empty() {
            break;
        }
    }
}

#[test]
fn a_close_and_the_end_of_the_stream_wait_for_room_to_answer() {
    let (mut rx, mut tx) = ([0; 140], [0; 140]);
    let mut board = Board::new(&mut rx, &mut tx);
    board.connection.outbox(START, &mut board.tx).send(&[0; 136]).unwrap();
    board.rx.feed(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8]);
    board.rx.end();
    assert!(matches!(board.poll(START), Step::Wait { .. }));
    board.tx.consume(140);
    assert!(matches!(board.poll(START), Step::Wait { .. }));
    assert_eq!(board.tx.pending(), [0x88, 2, 0x03, 0xE8]);
    board.tx.consume(4);
    assert_eq!(board.poll(START), Step::Shutdown);
    let both = Some(CloseCode::NORMAL);
    assert_eq!(
        board.poll(START),
        Step::Done(Ending { reason: EndReason::Clean, received: both, sent: both })
    );
}

/// Fills the transmit buffer to the last byte whenever it may.
struct Stream;

impl Handler for Stream {
    fn event(&mut self, _: Event<'_>, _: &mut Outbox<'_>) -> Result<(), HandlerError> {
        Ok(())
    }

    fn writable(&mut self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let len = out.room().saturating_sub(if out.room() > 127 { 4 } else { 2 });
        Ok(out.send(&[0; 200][..len])?)
    }
}

#[test]
fn a_handler_that_always_sends_does_not_starve_pong_and_close() {
    let (mut rx, mut tx) = ([0; 140], [0; 140]);
    let mut board = Board::new(&mut rx, &mut tx);
    let mut driver = HandlerDriver::new(board.connection, None);
    let mut sent = Vec::new();
    for (n, frame) in [&[0x89, 0x81, 0, 0, 0, 0, b'p'][..], &[0x88, 0x80, 0, 0, 0, 0]].iter().enumerate() {
        board.rx.feed(frame);
        for _ in 0..4 {
            let _ = driver.poll(at(n as u64), &mut Stream, &mut board.rx, &mut board.tx);
            sent.extend_from_slice(board.tx.pending());
            board.tx.consume(usize::MAX);
        }
        let reply: &[u8] = if n == 0 { &[0x8A, 1, b'p'] } else { &[0x88, 0] };
        assert!(sent.windows(reply.len()).any(|window| window == reply), "{reply:?}");
    }
}

/// A client that has asked, with 140 bytes to receive.
fn asked<'u>(head: &mut ReceiveBuffer<'_>, tx: &mut TransmitBuffer<'_>) -> (ClientHandshake<'u>, String) {
    let connect = ClientRequest::parse("ws://a/").unwrap();
    let mut handshake = ClientHandshake::new(&Config::DEFAULT, START, [0; 16], &connect, head).unwrap();
    let mut none = [0; 140];
    let mut none = ReceiveBuffer::new(&mut none).unwrap();
    while !matches!(handshake.poll(START, head, &mut none, tx), Step::Wait { .. }) || !tx.is_empty() {
        tx.consume(usize::MAX);
    }
    let accept = String::from_utf8(accept_key(b"AAAAAAAAAAAAAAAAAAAAAA==").to_vec()).unwrap();
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    (handshake, answer)
}

#[test]
fn two_reads_before_a_poll_lose_nothing_behind_the_101() {
    let (mut head, mut rx, mut tx) = ([0; 1024], [0; 140], [0; 140]);
    let mut head = ReceiveBuffer::new(&mut head).unwrap();
    let mut rx = ReceiveBuffer::new(&mut rx).unwrap();
    let mut tx = TransmitBuffer::new(&mut tx).unwrap();
    let (mut handshake, answer) = asked(&mut head, &mut tx);
    let mut stream = answer.into_bytes();
    stream.extend([0x82, 126, 1, 0]);
    stream.extend([9; 256]);
    let mut rest = &stream[..];
    let mut got = Vec::new();
    while !rest.is_empty() {
        // As an adapter that reads until there is nothing: several times before it polls.
        for _ in 0..3 {
            let spare = handshake.spare(&mut head, &rx);
            let n = spare.len().min(rest.len());
            spare[..n].copy_from_slice(&rest[..n]);
            rest = &rest[n..];
            if n > 0 {
                handshake.fill(&mut head, n);
            }
        }
        if let Step::Done(End::Opened { .. }) = handshake.poll(START, &mut head, &mut rx, &mut tx) {
            break;
        }
    }
    got.extend_from_slice(rx.unread());
    got.extend_from_slice(rest);
    assert_eq!(got, stream[stream.len() - 260..]);
}

#[test]
fn interim_answers_are_passed_over_up_to_a_bound() {
    // A server that sends nothing else keeps a client no longer than that.
    for (count, end) in [(16, End::Opened { protocol: None }), (2_000, End::Failed(HandshakeError::Interim))]
    {
        assert_eq!(behind_interim_answers(count), end, "{count}");
    }
}

/// How a handshake ends whose answer stands behind so many interim ones.
fn behind_interim_answers(count: usize) -> End<'static> {
    let mut memory = vec![0; 60_000];
    let (mut rx, mut tx) = ([0; 140], [0; 140]);
    let mut head = ReceiveBuffer::new(&mut memory).unwrap();
    let mut tx = TransmitBuffer::new(&mut tx).unwrap();
    let (mut handshake, answer) = asked(&mut head, &mut tx);
    let mut rx = ReceiveBuffer::new(&mut rx).unwrap();
    let mut stream = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(count);
    stream.extend_from_slice(answer.as_bytes());
    let mut rest = &stream[..];
    loop {
        let spare = handshake.spare(&mut head, &rx);
        let n = spare.len().min(rest.len());
        spare[..n].copy_from_slice(&rest[..n]);
        rest = &rest[n..];
        handshake.fill(&mut head, n);
        match handshake.poll(START, &mut head, &mut rx, &mut tx) {
            Step::Wait { .. } | Step::Shutdown => {}
            Step::Done(end) => return end,
        }
    }
}

/// Begins a frame and fails inside it, or answers a Close itself when there is no room.
struct Failing {
    begin: bool,
}

impl Handler for Failing {
    fn event(&mut self, _: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        if self.begin {
            out.begin_frame(Kind::Binary, 10, true)?;
        } else {
            while out.send(b"full").is_ok() {}
        }
        Err(HandlerError::Close(CloseCode::GOING_AWAY, "failed"))
    }
}

/// Where a connection under this handler ends after `frame`, and what was sent; without time passing.
fn ends(config: &Config, begin: bool, frame: &[u8]) -> (EndReason, Vec<u8>) {
    let (mut rx, mut tx) = ([0; 140], [0; 140]);
    let mut rx = ReceiveBuffer::new(&mut rx).unwrap();
    let mut tx = TransmitBuffer::new(&mut tx).unwrap();
    let mut driver = HandlerDriver::new(Connection::new(Server, config, START), None);
    let mut sent = Vec::new();
    rx.feed(frame);
    for _ in 0..10 {
        match driver.poll(START, &mut Failing { begin }, &mut rx, &mut tx) {
            Step::Shutdown => rx.end(),
            Step::Done(cause) => return (cause.reason, sent),
            Step::Wait { .. } => {
                sent.extend_from_slice(tx.pending());
                tx.consume(usize::MAX);
            }
        }
    }
    panic!("no end without a deadline");
}

#[test]
fn a_handler_that_fails_inside_a_frame_ends_the_connection_at_once() {
    assert_eq!(ends(&Config::DEFAULT, true, &[0x81, 0x81, 0, 0, 0, 0, b'x']).0, EndReason::UnfinishedFrame);
}

#[test]
fn a_handler_may_answer_a_close_that_finds_no_room() {
    let mut config = Config::new();
    config.control = sansocket::config::ControlFrames::Manual;
    let (end, sent) = ends(&config, false, &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8]);
    assert_eq!(end, EndReason::Clean);
    assert!(sent.ends_with(&[0x88, 2, 0x03, 0xE9]), "the code is the handler's: {sent:?}");
}
