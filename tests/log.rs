//! The log records of single connections.
#![cfg(all(feature = "std", feature = "log"))]

use std::future::Future;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::thread;

use log::{LevelFilter, Log, Metadata, Record};
use sansocket::blocking::{self, WebSocket, serve};
use sansocket::embedded::{Transferred, Transport, drive};
use sansocket::handshake::{AcceptOptions, Accepted, Decision, Request, Response};
use sansocket::session::{BufferSizes, Buffers, HandlerDriver, ServerSession};
use sansocket::{CloseCode, Config, Connection, Event, Handler, HandlerError, Instant, Outbox, Server, Step};

/// The lines of each thread, by its name.
static LINES: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

struct Lines;

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sansocket"
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let name = thread::current().name().unwrap_or_default().to_owned();
            LINES.lock().unwrap().push((name, record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

struct Nothing;

impl Handler for Nothing {
    fn request<'s>(&'s mut self, request: &Request<'_>) -> Decision<'s> {
        decide(request).unwrap_or(Decision::Respond(Response::text(404, "nothing here\n")))
    }

    fn event(&mut self, _: Event<'_>, _: &mut Outbox<'_>) -> Result<(), HandlerError> {
        Ok(())
    }
}

fn decide<C>(request: &Request<'_>) -> Option<Decision<'static, C>> {
    (request.path() == "/chat").then(|| Decision::Accept(AcceptOptions::new().protocols(&["v1"])))
}

fn start() {
    let _ = log::set_logger(&Lines); // an error if another test has done it
    log::set_max_level(LevelFilter::Debug);
}

/// Runs something in a thread with this name.
fn named<T: Send + 'static>(name: &str, run: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
    thread::Builder::new().name(name.into()).spawn(run).unwrap()
}

fn lines(name: &str) -> Vec<String> {
    let lines = LINES.lock().unwrap();
    lines.iter().filter(|(thread, _)| thread == name).map(|(_, line)| line.clone()).collect()
}

#[test]
fn the_life_of_a_connection_is_logged() {
    start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let buffers = || Buffers::with_sizes(BufferSizes::default());
    let server = named("serve", {
        let listener = listener.try_clone().unwrap();
        move || {
            for _ in 0..3 {
                let (stream, _) = listener.accept().unwrap();
                serve(stream, &mut Nothing, &Config::DEFAULT, &mut buffers()).unwrap();
            }
        }
    });
    named("client", move || {
        let mut socket = blocking::connect(&format!("ws://{address}/chat")).unwrap();
        assert!(socket.close(CloseCode::NORMAL, "").is_clean());
        assert!(socket.recv().unwrap().is_none(), "the end is returned again, and logged once");
        blocking::connect(&format!("ws://{address}/page")).unwrap_err();
    })
    .join()
    .unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /a\x07 HTTP/1.1\r\n\r\n").unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
    server.join().unwrap();
    assert_eq!(
        lines("client"),
        [
            "the connection is open, subprotocol None",
            "the connection has ended: closed cleanly, received 1000, sent 1000",
            "the server refused the connection with status 404",
        ]
    );
    let refused = lines("serve").pop().unwrap();
    assert!(refused.starts_with("the connection has ended: refused with 400: "), "{refused}");
    assert_eq!(
        lines("serve")[..5],
        [
            "a request for \"/chat\"",
            "the upgrade is accepted, subprotocol None",
            "the connection is open",
            "the connection has ended: closed cleanly, received 1000, sent 1000",
            "a request for \"/page\"",
        ]
    );

    let server = named("accept", move || {
        let (stream, _) = listener.accept().unwrap();
        let decide = |request: &Request<'_>| decide(request).unwrap();
        match WebSocket::accept(stream, Config::new(), buffers(), decide).unwrap() {
            Accepted::WebSocket(mut socket) => assert!(socket.recv().is_err()),
            other => panic!("{other:?}"),
        }
    });
    let upgrade = "GET /chat?x HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v1\r\n\r\n";
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(upgrade.as_bytes()).unwrap();
    stream.write_all(&[0x81, 0]).unwrap(); // without a mask
    stream.read_to_end(&mut Vec::new()).unwrap();
    drop(stream);
    server.join().unwrap();
    assert_eq!(
        lines("accept"),
        [
            "a request for \"/chat\"",
            "the upgrade is accepted, subprotocol Some(\"v1\")",
            "the connection is open",
            "the connection has ended: the peer broke a rule: a frame from the client is not masked, sent 1002",
        ]
    );
}

/// A transport that fails.
struct Broken;

impl Transport for Broken {
    type Error = &'static str;

    fn now(&mut self) -> Instant {
        Instant::START
    }

    async fn read_write(
        &mut self,
        _: &mut [u8],
        _: &[u8],
        _: Option<Instant>,
    ) -> Result<Transferred, &'static str> {
        Err("broken")
    }

    async fn shutdown(&mut self) -> Result<(), &'static str> {
        Err("broken")
    }
}

#[test]
fn the_end_of_a_handlers_connection_is_logged_once() {
    start();
    let disconnected = "the connection has ended: disconnected without a Close";
    named("drive", || {
        let connection = Connection::new(Server, &Config::DEFAULT, Instant::START);
        let mut driver = HandlerDriver::new(connection, None);
        let Buffers { mut rx, mut tx, .. } = Buffers::with_sizes(BufferSizes::default());
        let (mut transport, mut handler) = (Broken, Nothing);
        let driving = pin!(drive(&mut transport, &mut driver, &mut handler, &mut rx, &mut tx));
        let ended = driving.poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(ended, Poll::Ready(Err("broken")));
    })
    .join()
    .unwrap();
    assert_eq!(lines("drive"), [disconnected]);

    named("session", || {
        let Buffers { mut head, mut rx, mut tx } = Buffers::with_sizes(BufferSizes::default());
        let mut session = ServerSession::new(&Config::DEFAULT, Instant::START);
        session.transport_failed();
        for _ in 0..2 {
            let step = session.poll(Instant::START, &mut Nothing, &mut head, &mut rx, &mut tx);
            assert!(matches!(step, Step::Done(_)));
        }
    })
    .join()
    .unwrap();
    assert_eq!(lines("session"), ["the connection has ended: disconnected before a response"]);
}
