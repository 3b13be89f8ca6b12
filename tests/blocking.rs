//! `blocking` over TCP, against itself and against tungstenite.
#![cfg(feature = "std")]

mod wire;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sansocket::blocking::{BlockingStream, WebSocket, serve};
use sansocket::config::ControlFrames;
use sansocket::error::{EndReason, Timeout};
use sansocket::handshake::{
    AcceptOptions, Accepted, ClientRequest, Decision, Refusal, Rejection, Request, Response,
};
use sansocket::proto::SystemKeys;
use sansocket::session::{BufferSizes, Buffers, Outcome, ServiceUnavailable};
use sansocket::{
    Client, CloseCode, Config, Ending, Error, Event, Handler, HandlerError, Kind, Message, Outbox, SendError,
    Server,
};
use tungstenite::Message as Theirs;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode as TheirCode;

const PATIENCE: Duration = Duration::from_secs(10);

/// A connected pair of sockets on loopback.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    (client, server)
}

fn buffers() -> Buffers<'static> {
    Buffers::with_sizes(BufferSizes { head: 4096, receive: 1024, transmit: 1024 })
}

fn accept(stream: TcpStream, config: &Config) -> WebSocket<TcpStream, Server> {
    let accept = AcceptOptions::new().protocols(&["chat"]);
    match WebSocket::accept(stream, config, buffers(), |_| Decision::Accept(accept)).unwrap() {
        Accepted::WebSocket(socket) => socket,
        other => panic!("{other:?}"),
    }
}

fn connect(stream: TcpStream, config: &Config) -> WebSocket<TcpStream, Client<SystemKeys>> {
    let request = ClientRequest::parse("ws://localhost/").unwrap();
    WebSocket::connect(stream, config, buffers(), SystemKeys::new().unwrap(), &request).unwrap()
}

/// Echoes frames as they are, until the end.
fn echo_until_closed<R: sansocket::proto::Role>(
    mut socket: WebSocket<TcpStream, R>,
) -> Result<Ending, Error> {
    loop {
        match socket.recv() {
            Ok(Some(message)) => socket.send(&message)?,
            Ok(None) => return Ok(socket.ending().unwrap()),
            Err(Error::Ended(cause)) => return Ok(cause),
            Err(error) => return Err(error),
        }
    }
}

fn in_thread<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    thread::spawn(f)
}

#[test]
fn tungstenite_talks_to_our_server() {
    let (theirs, ours) = pair();
    let server = in_thread(move || echo_until_closed(accept(ours, &Config::DEFAULT)));
    let (mut client, response) = tungstenite::client("ws://localhost/", theirs).unwrap();
    assert_eq!(response.status(), 101);

    let long = vec![0xA5; 1 << 20];
    for message in [
        Theirs::text("Grüß dich"),
        Theirs::binary(vec![1, 2, 3]),
        Theirs::text(""),
        Theirs::binary(long),
        Theirs::text("ü".repeat(100_000)),
    ] {
        client.send(message.clone()).unwrap();
        assert_eq!(client.read().unwrap(), message);
    }
    client.send(Theirs::Ping("are you there".into())).unwrap();
    assert_eq!(client.read().unwrap(), Theirs::Pong("are you there".into()));

    let bye = CloseFrame { code: TheirCode::Normal, reason: "bye".into() };
    client.close(Some(bye)).unwrap();
    let echoed = client.read().unwrap();
    assert!(matches!(echoed, Theirs::Close(Some(frame)) if frame.code == TheirCode::Normal));
    assert!(matches!(client.read(), Err(tungstenite::Error::ConnectionClosed)));
    drop(client);
    let cause = server.join().unwrap().unwrap();
    assert_eq!(
        cause,
        Ending { reason: EndReason::Clean, received: Some(CloseCode::NORMAL), sent: Some(CloseCode::NORMAL) }
    );
}

#[test]
fn our_client_talks_to_tungstenite() {
    let (ours, theirs) = pair();
    let server = in_thread(move || {
        let mut socket = tungstenite::accept(theirs).unwrap();
        loop {
            match socket.read() {
                Ok(message @ (Theirs::Text(_) | Theirs::Binary(_))) => socket.send(message).unwrap(),
                Ok(_) => {}
                Err(error) => return error.to_string(),
            }
        }
    });
    let mut client = connect(ours, &Config::DEFAULT);
    let long = vec![0x5A; 1 << 20];
    for sent in [Message::from("Grüß dich"), Message::from(long), Message::from(vec![])] {
        client.send(&sent).unwrap();
        assert_eq!(client.recv().unwrap(), Some(sent));
    }
    for (part, fin) in [("three ", false), ("frag", false), ("ments", true)] {
        client.writer().fragment(Kind::Text, part.as_bytes(), fin).unwrap();
    }
    assert_eq!(client.recv().unwrap(), Some(Message::from("three fragments")));
    let cause = client.close(Some(CloseCode::NORMAL), "done");
    assert_eq!((cause.reason, cause.code()), (EndReason::Clean, 1000));
    assert!(server.join().unwrap().contains("closed"), "tungstenite saw a clean end");
}

#[test]
fn an_event_is_answered_without_a_copy() {
    let (client, server) = pair();
    let server = in_thread(move || {
        let mut socket = accept(server, &Config::DEFAULT);
        // The payload lies in the receive buffer while it is sent.
        while let Some((Event::Data(data), mut out)) = socket.read().unwrap() {
            out.fragment(data.kind, &data.payload, data.fin).unwrap();
        }
    });
    let mut client = connect(client, &Config::DEFAULT);
    client.send("hello").unwrap();
    match client.read().unwrap() {
        Some((Event::Data(data), _)) => assert_eq!(data.payload.to_str(), Some("hello")),
        other => panic!("{:?}", other.map(|(event, _)| event)),
    }
    client.close(None, "");
    server.join().unwrap();
}

#[test]
fn a_server_that_does_something_else_first_has_sent_its_response() {
    let (client, server) = pair();
    let (done, wait) = std::sync::mpsc::channel();
    let server = in_thread(move || {
        let mut server = accept(server, &Config::DEFAULT);
        wait.recv().unwrap(); // neither reads nor writes until the client is open
        server.close(None, "")
    });
    let client = connect(client, &Config::DEFAULT);
    done.send(()).unwrap();
    assert!(echo_until_closed(client).unwrap().is_clean());
    assert!(server.join().unwrap().is_clean());
}

#[test]
fn close_always_ends_the_connection_and_returns_how() {
    // With a reason that is too long; again; and afterwards.
    let (client, server) = pair();
    let server = in_thread(move || {
        let mut server = accept(server, &Config::DEFAULT);
        assert_eq!(server.recv().unwrap(), None);
        server.close_reason().to_owned()
    });
    let mut client = connect(client, &Config::DEFAULT);
    assert_eq!(client.ending(), None);
    let ending = client.close(CloseCode::NORMAL, &"x".repeat(124));
    assert_eq!((ending.reason, ending.sent), (EndReason::Clean, Some(CloseCode::NORMAL)));
    assert_eq!(server.join().unwrap(), "x".repeat(123), "the reason is cut");
    assert_eq!((client.close(None, ""), client.ending()), (ending, Some(ending)));
    for _ in 0..2 {
        assert_eq!(client.recv().unwrap(), None);
        assert!(client.read().unwrap().is_none());
        assert!(matches!(client.read_timeout(Duration::ZERO).unwrap(), Poll::Ready(None)));
        assert!(matches!(client.send("late"), Err(Error::Send(SendError::Closed))));
    }
    // Inside a frame.
    let (client, server) = pair();
    let server = in_thread(move || echo_until_closed(accept(server, &Config::DEFAULT)));
    let mut client = connect(client, &Config::DEFAULT);
    client.writer().outbox().begin_frame(Kind::Binary, 10, true).unwrap();
    assert_eq!(client.close(CloseCode::NORMAL, "").reason, EndReason::UnfinishedFrame);
    let error = client.recv().unwrap_err();
    assert_eq!(error.ending().map(|ending| ending.reason), Some(EndReason::UnfinishedFrame));
    assert!(!error.is_disconnect() && !error.is_timeout());
    drop(client);
    assert_eq!(server.join().unwrap().unwrap().reason, EndReason::Disconnected);
    // The peer has gone.
    let (client, server) = pair();
    let server = in_thread(move || drop(accept(server, &Config::DEFAULT)));
    let mut client = connect(client, &Config::DEFAULT);
    server.join().unwrap();
    assert_eq!(client.close(CloseCode::NORMAL, "bye").reason, EndReason::Disconnected);
    assert!(client.recv().unwrap_err().is_disconnect());
    // The peer does not answer.
    let (client, server) = pair();
    let mut config = Config::new();
    config.timeouts.close = Some(Duration::from_millis(50));
    let server = in_thread(move || {
        let server = accept(server, &Config::DEFAULT);
        thread::sleep(Duration::from_millis(500));
        drop(server);
    });
    let mut client = connect(client, &config);
    assert_eq!(client.close(CloseCode::NORMAL, "").reason, EndReason::Timeout(Timeout::Close));
    assert!(client.recv().unwrap_err().is_timeout());
    server.join().unwrap();
}

#[test]
fn messages_that_are_fed_leave_together() {
    let (client, server) = pair();
    let server = in_thread(move || echo_until_closed(accept(server, &Config::DEFAULT)));
    let mut client = connect(client, &Config::DEFAULT);
    let long = vec![7; 5000]; // longer than the transmit buffer
    client.feed("short").unwrap();
    client.feed(&long).unwrap();
    client.feed("last").unwrap();
    for message in [Message::from("short"), Message::from(long), Message::from("last")] {
        assert_eq!(client.recv().unwrap(), Some(message), "recv writes what was fed");
    }
    client.feed("flushed").unwrap();
    client.flush().unwrap();
    assert_eq!(client.recv().unwrap(), Some(Message::from("flushed")));
    assert!(client.close(None, "").is_clean());
    server.join().unwrap().unwrap();
}

#[test]
fn reading_can_give_up_and_go_on() {
    let (client, server) = pair();
    let server = in_thread(move || echo_until_closed(accept(server, &Config::DEFAULT)));
    let mut client = connect(client, &Config::DEFAULT);
    let longest = client.stream().read_timeout().unwrap().unwrap();
    assert!(client.read_timeout(Duration::from_millis(30)).unwrap().is_pending());
    // The system was asked to wait, and for no longer than that; it rounds.
    let waited = client.stream().read_timeout().unwrap().unwrap();
    assert!(waited < Duration::from_millis(50) && waited < longest, "{waited:?} after {longest:?}");
    client.send(b"now").unwrap();
    let event = client.read_timeout(PATIENCE).unwrap();
    assert!(matches!(event, Poll::Ready(Some((Event::Data(data), _))) if *data.payload == *b"now"));
    client.close(None, "");
    assert_eq!(server.join().unwrap().unwrap().code(), 1005);
}

#[test]
fn frames_sent_in_a_row_leave_in_one_write() {
    let (client, server) = pair();
    let server = in_thread(move || echo_until_closed(accept(server, &Config::DEFAULT)));
    let mut client = connect(client, &Config::DEFAULT);
    let mut sending = client.writer();
    let mut out = sending.outbox();
    for n in 0..10 {
        out.send(&[n]).unwrap();
    }
    assert_eq!(out.send(&[0; 2000]), Err(SendError::TooLarge));
    for n in 0..10 {
        assert_eq!(client.recv().unwrap(), Some(Message::from(vec![n])));
    }
    client.close(None, "");
    server.join().unwrap().unwrap();
}

#[test]
fn a_refusal_shows_status_headers_and_body() {
    let (client, server) = pair();
    let server = in_thread(move || {
        let response = Response::text(401, "who are you?").with_headers(&[("WWW-Authenticate", "Basic")]);
        WebSocket::accept(server, &Config::DEFAULT, buffers(), |_| Decision::Respond(response)).unwrap()
    });
    let request = ClientRequest::parse("ws://localhost/").unwrap();
    let keys = SystemKeys::new().unwrap();
    let refused = WebSocket::connect(client, &Config::DEFAULT, buffers(), keys, &request).unwrap_err();
    assert_eq!(refused.to_string(), "the server refused the connection with status 401");
    let response = refused.response().unwrap();
    assert_eq!((response.status, &*response.body), (401, &b"who are you?"[..]));
    assert_eq!(response.header("www-authenticate"), Some(&b"Basic"[..]));
    assert!(matches!(server.join().unwrap(), Accepted::Responded(401)));
}

#[test]
fn a_peer_may_reset_the_transport_after_a_refusal() {
    for by_handler in [false, true] {
        let (mut client, server) = pair();
        let server = in_thread(move || {
            if by_handler {
                return serve(server, &mut ServiceUnavailable, &Config::DEFAULT, &mut buffers()).unwrap();
            }
            let busy = Response::text(503, "later");
            match WebSocket::accept(server, &Config::DEFAULT, buffers(), |_| Decision::Respond(busy)) {
                Ok(Accepted::Responded(status)) => Outcome::Refused(Refusal::by_application(status)),
                other => panic!("{other:?}"),
            }
        });
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        // What is left unread makes a reset of the close.
        client.read_exact(&mut [0; 16]).unwrap();
        drop(client);
        let reason = by_handler.then_some(Rejection::Unavailable);
        let outcome = server.join().unwrap();
        let text = if by_handler { "refused with 503: " } else { "responded with 503" };
        assert!(outcome.to_string().starts_with(text), "{outcome}");
        match outcome {
            Outcome::Refused(refusal) => assert_eq!((refusal.status, refusal.reason), (503, reason)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_request_can_be_handed_over() {
    let (mut client, server) = pair();
    client.write_all(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc").unwrap();
    let decide = |request: &Request<'_>| {
        assert!(!request.is_upgrade());
        Decision::HandOver
    };
    match WebSocket::accept(server, &Config::DEFAULT, buffers(), decide).unwrap() {
        Accepted::HandedOver((_, bytes)) => {
            assert_eq!(bytes, b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn at_capacity_the_answer_is_503() {
    let (mut client, server) = pair();
    let server =
        in_thread(move || serve(server, &mut ServiceUnavailable, &Config::DEFAULT, &mut buffers()).unwrap());
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n"), "{answer}");
    drop(client);
    assert_eq!(server.join().unwrap(), Outcome::Refused(Rejection::Unavailable.into()));
}

/// Sends without end, and remembers how that ended.
#[derive(Default)]
struct Flood {
    cause: Option<Ending>,
}

impl Handler for Flood {
    fn request<'s>(&'s mut self, _: &Request<'_>) -> Decision<'s> {
        Decision::accept()
    }

    fn event(&mut self, _: Event<'_>, _: &mut Outbox<'_>) -> Result<(), HandlerError> {
        Ok(())
    }

    fn writable(&mut self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        loop {
            out.send(&[0; 500])?;
        }
    }

    fn closed(&mut self, cause: &Ending, _: &str) {
        assert_eq!(self.cause, None, "`closed` is called once");
        self.cause = Some(*cause);
    }
}

#[test]
fn a_peer_that_does_not_read_is_disconnected_at_the_write_deadline() {
    let (mut client, server) = pair();
    let server = in_thread(move || {
        let mut config = Config::new();
        config.timeouts.write = Some(Duration::from_millis(200));
        let mut flood = Flood::default();
        let outcome = serve(server, &mut flood, &config, &mut buffers());
        (outcome.unwrap(), flood.cause)
    });
    client
        .write_all(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        )
        .unwrap();
    let (outcome, cause) = server.join().unwrap();
    let cause = cause.unwrap();
    assert_eq!(cause.reason, EndReason::Timeout(Timeout::Write));
    assert_eq!(outcome, Outcome::Closed(cause));
}

#[test]
fn a_peer_that_disconnects_is_reported() {
    let (client, server) = pair();
    let server = in_thread(move || echo_until_closed(accept(server, &Config::DEFAULT)));
    let client = connect(client, &Config::DEFAULT);
    drop(client);
    assert_eq!(server.join().unwrap().unwrap().reason, EndReason::Disconnected);
}

#[test]
fn input_before_a_half_close_is_answered() {
    let (client, server) = pair();
    let server = in_thread(move || echo_until_closed(accept(server, &Config::DEFAULT)));
    let raw = client.try_clone().unwrap();
    let mut client = connect(client, &Config::DEFAULT);
    client.send("last words").unwrap();
    raw.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.recv().unwrap(), Some(Message::from("last words")));
    assert_eq!(server.join().unwrap().unwrap().reason, EndReason::Disconnected);
}

#[test]
fn a_silent_peer_gets_a_ping_and_is_then_disconnected() {
    let (client, server) = pair();
    let mut told = Config::new();
    told.control = ControlFrames::Reported;
    let server = in_thread(move || {
        let mut config = Config::new();
        config.timeouts.ping = Some(Duration::from_millis(50));
        config.timeouts.pong = Some(Duration::from_secs(1));
        echo_until_closed(accept(server, &config))
    });
    let mut client = connect(client, &told);
    // As long as Pings are answered, the connection stays.
    for _ in 0..3 {
        let (event, _) = client.read().unwrap().unwrap();
        assert!(matches!(event, Event::Ping(_)), "{event:?}");
    }
    // Nobody reads any more; the Close that follows is not answered either.
    thread::sleep(Duration::from_millis(1500));
    drop(client);
    assert_eq!(server.join().unwrap().unwrap().reason, EndReason::Timeout(Timeout::Pong));
}

#[test]
fn two_clients_draw_different_keys() {
    let key = |keys: &mut SystemKeys| sansocket::proto::MaskingKey::masking_key(keys);
    let (mut a, mut b) = (SystemKeys::new().unwrap(), SystemKeys::new().unwrap());
    let first: Vec<_> = (0..4).map(|_| key(&mut a)).collect();
    let second: Vec<_> = (0..4).map(|_| key(&mut b)).collect();
    assert_ne!(first, second);
    assert!(first.iter().any(|key| *key != first[0]));
}

/// A stream that keeps what is written to itself until it is flushed, as TLS libraries do.
struct Buffered(std::io::BufWriter<TcpStream>);

impl Read for Buffered {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0.get_mut().read(buf)
    }
}

impl Write for Buffered {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl BlockingStream for Buffered {
    fn set_read_timeout(&mut self, timeout: Option<Duration>) -> std::io::Result<()> {
        self.0.get_ref().set_read_timeout(timeout)
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) -> std::io::Result<()> {
        self.0.get_ref().set_write_timeout(timeout)
    }

    fn shutdown(&mut self) -> std::io::Result<()> {
        self.0.get_ref().shutdown(Shutdown::Write)
    }
}

/// A stream of memory that gives one piece for each read, and counts how often its time-out was set.
struct Pieces {
    pieces: VecDeque<Vec<u8>>,
    timeouts: usize,
}

impl Read for Pieces {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let piece = self.pieces.pop_front().unwrap_or_default();
        buf[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }
}

impl Write for Pieces {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl BlockingStream for &mut Pieces {
    fn set_read_timeout(&mut self, _: Option<Duration>) -> std::io::Result<()> {
        self.timeouts += 1;
        Ok(())
    }

    fn set_write_timeout(&mut self, _: Option<Duration>) -> std::io::Result<()> {
        self.timeouts += 1;
        Ok(())
    }

    fn shutdown(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An echo that a timer calls at the same moment, whatever is received.
#[derive(Default)]
struct Timed {
    timer: Option<sansocket::Instant>,
    received: usize,
}

impl Handler for Timed {
    fn opened(&mut self, _: Option<&str>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        self.timer = Some(out.now() + PATIENCE);
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let Event::Data(chunk) = event else { return Ok(()) };
        self.received += 1;
        out.forward(&chunk)
    }

    fn deadline(&self) -> Option<sansocket::Instant> {
        self.timer
    }
}

#[test]
fn a_deadline_that_comes_nearer_does_not_set_the_time_out_for_each_read() {
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let pieces = [request.to_vec()].into_iter().chain((0..1000).map(|_| wire::masked(0x82, b"message")));
    let mut stream = Pieces { pieces: pieces.collect(), timeouts: 0 };
    let mut handler = Timed::default();
    let outcome = serve(&mut stream, &mut handler, &Config::DEFAULT, &mut buffers()).unwrap();
    assert!(outcome.is_disconnect());
    assert_eq!(handler.received, 1000);
    // The test itself may take long, but not so long that the time that is left is halved so often.
    assert!(stream.timeouts < 50, "{} time-outs for 1000 messages", stream.timeouts);
}

#[test]
fn a_stream_with_a_buffer_of_its_own_is_flushed() {
    let (client, server) = pair();
    let server = Buffered(std::io::BufWriter::with_capacity(1 << 16, server));
    let server = in_thread(move || serve(server, &mut Flood::default(), &Config::DEFAULT, &mut buffers()));
    let mut client = connect(client, &Config::DEFAULT);
    client.read().unwrap();
    drop(client);
    assert!(server.join().unwrap().is_err());
}

#[test]
fn a_server_that_always_sends_still_reads() {
    let (client, server) = pair();
    let server = in_thread(move || {
        let mut config = Config::new();
        config.timeouts.ping = Some(Duration::from_millis(100));
        config.timeouts.pong = Some(Duration::from_secs(2));
        let mut flood = Flood::default();
        let _ = serve(server, &mut flood, &config, &mut buffers());
        flood.cause.unwrap()
    });
    let mut told = Config::new();
    told.control = ControlFrames::Reported;
    let mut client = connect(client, &told);
    client.writer().ping(b"do you hear me?").unwrap();
    let (began, mut pongs) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(3) {
        pongs += usize::from(matches!(client.read().unwrap(), Some((Event::Pong(_), _))));
    }
    assert_eq!(pongs, 1);
    assert_eq!(client.close(Some(CloseCode::NORMAL), "enough").reason, EndReason::Clean);
    assert_eq!(server.join().unwrap().reason, EndReason::Clean);
}

/// Both sides' memory is far too small for the message, and the peer answers as it reads.
#[test]
fn a_long_send_still_reads() {
    let (client, server) = pair();
    let server = in_thread(move || {
        let mut server = accept(server, &Config::DEFAULT);
        while let Some((event, mut out)) = server.read()? {
            if let Event::Data(data) = event {
                out.send_fragmented(data.kind, &data.payload, data.end)?;
            }
        }
        Ok::<_, Error>(server.ending().unwrap())
    });
    let mut client = connect(client, &Config::DEFAULT);
    assert!(client.read_or_flushed().unwrap().is_pending(), "nothing is to be written");
    let len = 20 << 20;
    client.writer().outbox().begin_frame(Kind::Binary, len, true).unwrap();
    let (mut left, mut echoed) = (len, 0);
    while echoed < len {
        while left > 0 {
            let chunk = [7; 4096];
            let chunk = &chunk[..left.min(4096) as usize];
            match client.writer().outbox().write(chunk).unwrap() {
                0 => break,
                n => left -= n as u64,
            }
        }
        let event = if left > 0 { client.read_or_flushed() } else { client.read_timeout(PATIENCE) };
        match event.unwrap() {
            Poll::Ready(Some((Event::Data(data), _))) => echoed += data.payload.len() as u64,
            Poll::Ready(Some(_)) => {}
            Poll::Ready(None) => panic!("closed"),
            Poll::Pending => assert!(left > 0, "the echo does not come"),
        }
    }
    client.close(None, "");
    assert_eq!(server.join().unwrap().unwrap().reason, EndReason::Clean);
}

#[test]
fn a_read_with_a_timeout_of_zero_writes_and_reads() {
    let (client, server) = pair();
    let server = in_thread(move || echo_until_closed(accept(server, &Config::DEFAULT)));
    let mut client = connect(client, &Config::DEFAULT);
    client.writer().outbox().send("in the buffer").unwrap();
    let began = Instant::now();
    loop {
        if let Poll::Ready(Some((Event::Data(data), _))) = client.read_timeout(Duration::ZERO).unwrap() {
            assert_eq!(data.payload.to_str(), Some("in the buffer"));
            break;
        }
        assert!(began.elapsed() < PATIENCE);
    }
    client.close(None, "");
    server.join().unwrap().unwrap();
}

/// As `accept` and `connect` of the standard library give them.
fn untouched_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

#[test]
fn every_connection_sends_small_messages_at_once() {
    let (client, server) = untouched_pair();
    assert!(!client.nodelay().unwrap() && !server.nodelay().unwrap());
    let server = in_thread(move || {
        let mut server = accept(server, &Config::DEFAULT);
        assert!(server.stream().nodelay().unwrap());
        echo_until_closed(server)
    });
    assert!(connect(client, &Config::DEFAULT).stream().nodelay().unwrap());
    server.join().unwrap().unwrap();

    // Whatever the stream is wrapped in.
    let (client, server) = untouched_pair();
    let server = in_thread(move || {
        let stream = sansocket::blocking::NetStream::from(server);
        let mut server = sansocket::blocking::accept(Box::new(stream)).unwrap();
        assert!(server.stream().tcp().nodelay().unwrap());
        server.recv().map(|_| ())
    });
    drop(connect(client, &Config::DEFAULT));
    assert!(matches!(server.join().unwrap(), Err(Error::Ended(_))));

    struct HandsOver;
    impl Handler for HandsOver {
        fn request<'s>(&'s mut self, _: &Request<'_>) -> Decision<'s> {
            Decision::HandOver
        }

        fn event(&mut self, _: Event<'_>, _: &mut Outbox<'_>) -> Result<(), HandlerError> {
            Ok(())
        }
    }
    let (mut client, mut server) = untouched_pair();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let outcome = serve(&mut server, &mut HandsOver, &Config::DEFAULT, &mut buffers()).unwrap();
    assert_eq!(outcome, Outcome::HandedOver);
    assert!(server.nodelay().unwrap());
}

#[test]
fn a_stream_that_does_not_block_is_an_error() {
    fn check<T>(result: Result<T, Error>) {
        let Err(Error::Transport(error)) = result else { panic!("no error of the stream") };
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("set_nonblocking"), "{error}");
    }
    let mut config = Config::new();
    config.timeouts.handshake = None;

    let (client, server) = untouched_pair();
    server.set_nonblocking(true).unwrap();
    check(WebSocket::accept(server.try_clone().unwrap(), &config, buffers(), |_| Decision::HandOver));
    let served = serve(server, &mut ServiceUnavailable, &config, &mut buffers());
    check(served.map_err(Error::Transport));
    drop(client);
    let (client, _server) = untouched_pair();
    client.set_nonblocking(true).unwrap();
    let request = ClientRequest::parse("ws://localhost/").unwrap();
    check(WebSocket::connect(client, &config, buffers(), SystemKeys::new().unwrap(), &request));

    // In the middle of a connection.
    let (client, server) = untouched_pair();
    let server = in_thread(move || echo_until_closed(accept(server, &Config::DEFAULT)));
    let mut client = connect(client, &Config::DEFAULT);
    client.stream().set_nonblocking(true).unwrap();
    check(client.recv());
    drop(client);
    assert_eq!(server.join().unwrap().unwrap().reason, EndReason::Disconnected);
}
