//! An adapter tries the transport once more before it enforces a deadline, however its wait ended.
#![cfg(feature = "alloc")]

mod wire;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sansocket::embedded::{Error, Transferred, Transport, WebSocket, drive, serve};
use sansocket::error::{EndReason, Timeout};
use sansocket::handshake::{Accepted, ClientRequest, Decision, accept_key};
use sansocket::proto::MaskingKey;
use sansocket::session::{BufferSizes, Buffers, HandlerDriver, Outcome};
use sansocket::{
    Client, CloseCode, Config, Connection, Ending, Event, Handler, HandlerError, Instant, Kind, Outbox,
    ReceiveBuffer, Server, TransmitBuffer,
};
use wire::{REQUEST, frame, masked, whole_frames};

const SECOND: Duration = Duration::from_secs(1);

/// A transport in memory whose time passes only in its turns, and which can be stopped in the middle of one.
#[derive(Default)]
struct Wire {
    now: Instant,
    to_us: VecDeque<u8>,
    from_us: Vec<u8>,
    /// Bytes that are taken before it blocks.
    room: usize,
    stops: VecDeque<Stop>,
    /// The peer sends this again in each turn, a thousandth of a second later.
    again: Vec<u8>,
}

/// The process is stopped in the next turn that has nothing to do before `at`; it continues at `until`, and that turn
/// ends early, as a signal ends it. Meanwhile the peer has sent `bytes`, and has read `room` bytes.
#[derive(Default)]
struct Stop {
    at: f64,
    until: f64,
    bytes: Vec<u8>,
    room: usize,
}

fn at(seconds: f64) -> Instant {
    Instant::START.saturating_add(Duration::from_secs_f64(seconds))
}

impl Wire {
    /// What the peer has sent when the wait begins, and what happens then.
    fn new(bytes: &[u8], stops: impl IntoIterator<Item = Stop>) -> Self {
        Self {
            to_us: bytes.to_vec().into(),
            room: usize::MAX,
            stops: stops.into_iter().collect(),
            ..Self::default()
        }
    }

    /// The frames behind the head of an answer, by their first byte and payload.
    fn frames(&self) -> Vec<(u8, Vec<u8>)> {
        let head = self.from_us.windows(4).position(|end| end == b"\r\n\r\n").map_or(0, |at| at + 4);
        whole_frames(&self.from_us[head..]).into_iter().map(|sent| (sent.first, sent.payload)).collect()
    }
}

impl Transport for Wire {
    type Error = Infallible;

    fn now(&mut self) -> Instant {
        self.now
    }

    async fn read_write(
        &mut self,
        input: &mut [u8],
        output: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Transferred, Infallible> {
        if !self.again.is_empty() {
            self.now = self.now.saturating_add(SECOND / 1000);
            self.to_us.extend(&self.again);
        }
        let written = output.len().min(self.room);
        if written > 0 {
            self.room -= written;
            self.from_us.extend(&output[..written]);
            return Ok(Transferred { read: None, written });
        }
        let n = input.len().min(self.to_us.len());
        if n > 0 {
            input.iter_mut().zip(self.to_us.drain(..n)).for_each(|(to, from)| *to = from);
            return Ok(Transferred { read: Some(n), written: 0 });
        }
        match self.stops.front() {
            Some(stop) if deadline.is_none_or(|deadline| at(stop.at) < deadline) => {
                let stop = self.stops.pop_front().unwrap();
                self.now = self.now.max(at(stop.until));
                self.to_us.extend(stop.bytes);
                self.room = self.room.saturating_add(stop.room);
            }
            _ => self.now = self.now.max(deadline.expect("it waits for ever")),
        }
        Ok(Transferred::default())
    }

    async fn shutdown(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

fn config(change: impl FnOnce(&mut sansocket::config::Timeouts)) -> Config {
    let mut config = Config::new();
    config.timeouts.ping = None;
    change(&mut config.timeouts);
    config
}

fn buffers() -> Buffers<'static> {
    Buffers::with_sizes(BufferSizes { head: 8192, receive: 140, transmit: 140 })
}

/// Every turn is ready when it is polled.
fn run<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a turn is pending"),
    }
}

/// Echoes; a text `close` begins the closing handshake.
#[derive(Default)]
struct Echo {
    got: usize,
    cause: Option<Ending>,
}

impl Handler for Echo {
    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let Event::Data(data) = event else { return Ok(()) };
        self.got += data.payload.len();
        match data.payload.as_bytes() {
            b"close" => Err(HandlerError::Close(CloseCode::NORMAL, "")),
            _ if data.kind == Kind::Text => out.forward(&data),
            _ => Ok(()),
        }
    }

    fn closed(&mut self, cause: &Ending, _: &str) {
        self.cause = Some(*cause);
    }
}

/// Serves what the wire brings; what was sent, and how it ended.
fn served(config: &Config, wire: &mut Wire) -> (Vec<(u8, Vec<u8>)>, Outcome) {
    let outcome = run(serve(wire, &mut Echo::default(), config, &mut buffers())).unwrap();
    (wire.frames(), outcome)
}

fn end(outcome: Outcome) -> EndReason {
    match outcome {
        Outcome::Closed(cause) => cause.reason,
        other => panic!("{other:?}"),
    }
}

fn request_and(bytes: &[u8]) -> Vec<u8> {
    [REQUEST, bytes].concat()
}

const AWAY: [u8; 2] = [0x03, 0xE9];

#[test]
fn input_that_came_during_a_stall_is_read() {
    let config = config(|timeouts| timeouts.idle = Some(2 * SECOND));
    let stop = Stop { at: 0.3, until: 3.3, bytes: masked(0x81, b"z"), ..Stop::default() };
    let mut wire = Wire::new(REQUEST, [stop]);
    let (frames, outcome) = served(&config, &mut wire);
    assert_eq!(frames, [(0x81, b"z".to_vec()), (0x88, AWAY.to_vec())]);
    assert_eq!(end(outcome), EndReason::Timeout(Timeout::Idle));
}

#[test]
fn a_silent_peer_is_disconnected_however_the_wait_ended() {
    let config = config(|timeouts| timeouts.idle = Some(2 * SECOND));
    // Stopped over the deadline, before it and often.
    let often = (0..100).map(|n| f64::from(n) / 10.0);
    for stops in [vec![(0.3, 3.3)], vec![(0.3, 1.0)], often.map(|at| (at, at + 0.1)).collect()] {
        let stops = stops.into_iter().map(|(at, until)| Stop { at, until, ..Stop::default() });
        let (frames, outcome) = served(&config, &mut Wire::new(REQUEST, stops));
        assert_eq!(frames, [(0x88, AWAY.to_vec())]);
        assert_eq!(end(outcome), EndReason::Timeout(Timeout::Idle));
    }
}

#[test]
fn an_end_of_stream_during_a_stall_is_not_a_timeout() {
    /// Ends when the peer has said all.
    struct Ends(Wire);
    impl Transport for Ends {
        type Error = Infallible;

        fn now(&mut self) -> Instant {
            self.0.now
        }

        async fn read_write(
            &mut self,
            input: &mut [u8],
            output: &[u8],
            deadline: Option<Instant>,
        ) -> Result<Transferred, Infallible> {
            let turn = self.0.read_write(input, output, deadline).await?;
            let ended = turn == Transferred::default() && self.0.stops.is_empty() && !input.is_empty();
            Ok(if ended { Transferred { read: Some(0), written: 0 } } else { turn })
        }

        async fn shutdown(&mut self) -> Result<(), Infallible> {
            Ok(())
        }
    }
    let config = config(|timeouts| timeouts.idle = Some(2 * SECOND));
    let stop = Stop { at: 0.3, until: 3.3, ..Stop::default() };
    let mut wire = Ends(Wire::new(REQUEST, [stop]));
    let outcome = run(serve(&mut wire, &mut Echo::default(), &config, &mut buffers())).unwrap();
    assert_eq!(end(outcome), EndReason::Disconnected);
}

#[test]
fn a_read_into_an_empty_slice_is_not_the_end_of_the_stream() {
    /// Passes on what a reader returns, which is 0 for an empty slice, and writes one byte a turn.
    struct Careless {
        to_us: VecDeque<u8>,
        from_us: Vec<u8>,
        empty: usize,
    }
    impl Transport for Careless {
        type Error = Infallible;

        fn now(&mut self) -> Instant {
            Instant::START
        }

        async fn read_write(
            &mut self,
            input: &mut [u8],
            output: &[u8],
            _: Option<Instant>,
        ) -> Result<Transferred, Infallible> {
            self.empty += usize::from(input.is_empty());
            let n = input.len().min(self.to_us.len());
            input.iter_mut().zip(self.to_us.drain(..n)).for_each(|(to, byte)| *to = byte);
            self.from_us.extend(output.first());
            Ok(Transferred { read: Some(n), written: output.len().min(1) })
        }

        async fn shutdown(&mut self) -> Result<(), Infallible> {
            Ok(())
        }
    }
    let texts = [masked(0x81, &[b'x'; 100]).repeat(20), masked(0x88, &[])].concat();
    let mut wire = Careless { to_us: request_and(&texts).into(), from_us: vec![], empty: 0 };
    let outcome = run(serve(&mut wire, &mut Echo::default(), &Config::DEFAULT, &mut buffers())).unwrap();
    assert!(wire.empty > 0, "the receive buffer was full");
    assert_eq!(end(outcome), EndReason::Clean);
    let sent = Wire { from_us: wire.from_us, ..Wire::default() }.frames();
    let echoed = sent.iter().filter(|(_, payload)| payload[..] == [b'x'; 100]).count();
    assert_eq!((echoed, sent.len()), (20, 21));
}

#[test]
fn a_request_that_arrived_in_time_is_answered() {
    let config = config(|timeouts| timeouts.handshake = Some(2 * SECOND));
    // It takes many reads: none is larger than the receive buffer.
    let long =
        [&REQUEST[..REQUEST.len() - 2], format!("X: {}\r\n\r\n", "x".repeat(4000)).as_bytes()].concat();
    for request in [REQUEST, &long] {
        for cut in [1, request.len() / 2, request.len() - 1] {
            let bytes = [&request[cut..], &masked(0x88, &[])].concat();
            let stop = Stop { at: 0.3, until: 3.3, bytes, ..Stop::default() };
            let mut wire = Wire::new(&request[..cut], [stop]);
            let (frames, outcome) = served(&config, &mut wire);
            assert_eq!((frames, end(outcome)), (vec![(0x88, vec![])], EndReason::Clean), "cut at {cut}");
        }
        let stop = Stop { at: 0.3, until: 3.3, bytes: request[100..].to_vec(), ..Stop::default() };
        let wire = Wire::new(&request[..100], [stop]);
        let accepted = WebSocket::accept(wire, &config, buffers(), |_| Decision::accept());
        assert!(matches!(run(accepted), Ok(Accepted::WebSocket(..))));
    }
}

#[test]
fn an_incomplete_request_is_refused_soon_after_its_deadline() {
    let config = config(|timeouts| timeouts.handshake = Some(2 * SECOND));
    let mut wire = Wire { again: vec![b'a'], room: usize::MAX, ..Wire::default() };
    let outcome = run(serve(&mut wire, &mut Echo::default(), &config, &mut buffers())).unwrap();
    assert!(matches!(outcome, Outcome::Refused(refusal) if refusal.status == 408), "{outcome:?}");
}

#[test]
fn a_close_that_arrived_in_time_is_clean() {
    let config = config(|timeouts| timeouts.close = Some(2 * SECOND));
    // Behind much that was on its way.
    for len in [0, 100, 20_000] {
        let bytes = [masked(0x82, &vec![7; len]), masked(0x88, &[0x03, 0xE8])].concat();
        let stop = Stop { at: 0.3, until: 3.3, bytes, ..Stop::default() };
        let mut wire = Wire::new(&request_and(&masked(0x81, b"close")), [stop]);
        let mut echo = Echo::default();
        let outcome = run(serve(&mut wire, &mut echo, &config, &mut buffers())).unwrap();
        assert_eq!((end(outcome), echo.got), (EndReason::Clean, 5 + len));
    }
}

#[test]
fn a_peer_that_sends_without_end_does_not_postpone_the_close_deadline() {
    let config = config(|timeouts| timeouts.close = Some(2 * SECOND));
    let mut wire = Wire::new(&request_and(&masked(0x81, b"close")), []);
    wire.again = masked(0x82, b"more");
    let (_, outcome) = served(&config, &mut wire);
    assert_eq!(end(outcome), EndReason::Timeout(Timeout::Close));
}

#[test]
fn a_peer_that_read_during_a_stall_is_not_disconnected() {
    let config = config(|timeouts| timeouts.write = Some(2 * SECOND));
    let stops = [
        Stop { at: 0.3, until: 3.3, room: 10, ..Stop::default() },
        Stop { at: 3.4, until: 6.5, room: usize::MAX, bytes: masked(0x88, &[]) },
    ];
    let answer = 129;
    let mut wire = Wire::new(&request_and(&masked(0x81, &[b'x'; 100])), stops);
    wire.room = answer;
    let (frames, outcome) = served(&config, &mut wire);
    assert_eq!(frames, [(0x81, vec![b'x'; 100]), (0x88, vec![])]);
    assert_eq!(end(outcome), EndReason::Clean);
    // One that has not is.
    let mut wire = Wire::new(&request_and(&masked(0x81, &[b'x'; 100])), []);
    wire.room = answer;
    assert_eq!(end(served(&config, &mut wire).1), EndReason::Timeout(Timeout::Write));
}

#[test]
fn a_peer_that_sends_and_does_not_read_is_disconnected() {
    let config = config(|timeouts| timeouts.write = Some(2 * SECOND));
    let mut wire = Wire::new(&request_and(&masked(0x81, b"an echo")), []);
    wire.room = 129;
    wire.again = masked(0x82, b"more");
    assert_eq!(end(served(&config, &mut wire).1), EndReason::Timeout(Timeout::Write));
}

/// A client's keys: zeros.
#[derive(Debug)]
struct Zeros;

impl MaskingKey for Zeros {
    fn masking_key(&mut self) -> [u8; 4] {
        [0; 4]
    }
}

fn answer() -> Vec<u8> {
    let accept = String::from_utf8(accept_key(b"AAAAAAAAAAAAAAAAAAAAAA==").to_vec()).unwrap();
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .into_bytes()
}

fn connected(config: &Config, wire: Wire) -> WebSocket<'static, Wire, Client<Zeros>, &Config> {
    let connect = ClientRequest::parse("ws://a/").unwrap();
    run(WebSocket::connect(wire, config, buffers(), Zeros, &connect)).unwrap()
}

#[test]
fn a_response_that_arrived_in_time_is_read() {
    let config = config(|timeouts| timeouts.handshake = Some(2 * SECOND));
    let answer = answer();
    for cut in [0, 1, 60, answer.len() - 1] {
        let stop = Stop { at: 0.3, until: 3.3, bytes: answer[cut..].to_vec(), ..Stop::default() };
        let mut socket = connected(&config, Wire::new(&answer[..cut], [stop]));
        socket.transport().to_us.extend(frame(0x81, None, b"hello"));
        let (event, _) = run(socket.read()).unwrap().unwrap();
        assert!(matches!(event, Event::Data(data) if data.payload.as_bytes() == b"hello"));
    }
    // A refusal's body too.
    let refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 300\r\n\r\n";
    let bytes = [&refusal[20..], &[b'x'; 300]].concat();
    let stop = Stop { at: 0.3, until: 3.3, bytes, ..Stop::default() };
    let connect = ClientRequest::parse("ws://a/").unwrap();
    let wire = Wire::new(&refusal[..20], [stop]);
    let mut len = 0;
    let connect = WebSocket::connect_with(wire, &config, buffers(), Zeros, &connect, |response| {
        len = response.body.len()
    });
    assert_eq!(run(connect).map(drop), Err(Error::Refused(403)));
    assert_eq!(len, 300);
}

#[test]
fn a_pong_that_was_here_in_time_counts() {
    let config = config(|timeouts| {
        timeouts.ping = Some(SECOND);
        timeouts.pong = Some(2 * SECOND);
    });
    let stops = [
        Stop { at: 1.1, until: 4.0, bytes: frame(0x8A, None, &[]), ..Stop::default() },
        Stop { at: 4.2, until: 4.3, bytes: frame(0x81, None, b"z"), ..Stop::default() },
    ];
    let mut socket = connected(&config, Wire::new(&answer(), stops));
    let (event, _) = run(socket.read()).unwrap().unwrap();
    assert!(matches!(event, Event::Data(data) if data.payload.as_bytes() == b"z"));
    // Nobody answers the second Ping.
    let lost = run(socket.read()).map(|_| ());
    assert!(
        matches!(lost, Err(Error::Ended(cause)) if cause.reason == EndReason::Timeout(Timeout::Pong)),
        "{lost:?}"
    );
}

#[test]
fn a_read_with_a_limit_gives_what_is_here() {
    let config = config(|_| {});
    for until in [0.4, 3.3] {
        let stop = Stop { at: 0.3, until, bytes: frame(0x81, None, b"z"), ..Stop::default() };
        let mut socket = connected(&config, Wire::new(&answer(), [stop]));
        let event = run(socket.read_until(at(0.4))).unwrap();
        assert!(
            matches!(event, Poll::Ready(Some((Event::Data(data), _))) if data.payload.as_bytes() == b"z")
        );
        assert!(run(socket.read_until(at(0.4))).unwrap().is_pending());
    }
}

#[test]
fn an_application_that_has_worked_for_long_does_not_blame_the_peer() {
    let config = config(|timeouts| {
        timeouts.idle = Some(2 * SECOND);
        timeouts.write = Some(2 * SECOND);
        timeouts.close = Some(2 * SECOND);
    });
    let work = |socket: &mut WebSocket<'_, Wire, Client<Zeros>, &Config>, bytes: &[u8]| {
        let wire = socket.transport();
        wire.now = wire.now.saturating_add(60 * SECOND);
        wire.to_us.extend(bytes);
    };
    let text = frame(0x81, None, b"z");
    for queued in [false, true] {
        let mut socket = connected(&config, Wire::new(&answer(), []));
        // Two at once: the second lies in the buffer while the first is dealt with.
        socket.transport().to_us.extend([&text[..], &text].concat());
        assert!(matches!(run(socket.read()).unwrap(), Some((Event::Data(_), _))));
        if queued {
            socket.writer().outbox().send("later").unwrap();
        }
        assert!(matches!(run(socket.read()).unwrap(), Some((Event::Data(_), _))));
        work(&mut socket, &text);
        if queued {
            run(socket.send("now")).unwrap();
            assert_eq!(socket.transport().frames().len(), 2);
            work(&mut socket, &text);
        }
        assert!(matches!(run(socket.read()).unwrap(), Some((Event::Data(_), _))));
        // The same for the answer to our Close.
        socket.writer().outbox().close(None, "").unwrap();
        assert!(run(socket.read_until(at(0.0))).is_ok());
        work(&mut socket, &frame(0x88, None, &[]));
        let cause = run(socket.close(None, ""));
        assert_eq!(cause.reason, EndReason::Clean);
    }
}

#[test]
fn a_connection_that_is_driven_late_is_heard_first() {
    let config = config(|timeouts| timeouts.idle = Some(2 * SECOND));
    for (bytes, ends) in [(masked(0x88, &[]), EndReason::Clean), (vec![], EndReason::Timeout(Timeout::Idle))]
    {
        let mut wire = Wire::new(&bytes, []);
        wire.now = at(60.0);
        let mut driver = HandlerDriver::new(Connection::new(Server, &config, Instant::START), None);
        let (mut rx, mut tx) =
            (ReceiveBuffer::with_capacity(140).unwrap(), TransmitBuffer::with_capacity(140).unwrap());
        let mut echo = Echo::default();
        let cause = run(drive(&mut wire, &mut driver, &mut echo, &mut rx, &mut tx)).unwrap();
        assert_eq!(cause.reason, ends);
    }
}
