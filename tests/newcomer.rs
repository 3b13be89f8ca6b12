//! Programs that a newcomer writes with the public API, each against a peer of another library. Each has a limit of lines, as
//! rustfmt sets them.
#![cfg(all(feature = "mio", feature = "embassy-net", target_os = "linux"))]

#[path = "newcomer/chat.rs"]
mod chat;
#[path = "newcomer/client.rs"]
mod client;
#[path = "newcomer/echo_server.rs"]
mod echo_server;
#[path = "newcomer/sensor.rs"]
mod sensor;

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use embassy_futures::block_on;
use embedded_io_async::{ErrorKind, ErrorType};
use sansocket::embedded::CloseWrite;
use sansocket::hub::{HubHandle, MioServer, Routes};
use sansocket::session::Outcome;
use sansocket::{CloseCode, Message};
use tungstenite::protocol::frame::coding::CloseCode as TheirCode;
use tungstenite::{Message as Theirs, WebSocket};

/// How long a peer waits for what has to come: a test that fails does not hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lines of a program that are neither empty nor a comment.
fn lines(program: &str, name: &str) -> usize {
    let code = program.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    let count = code.count();
    println!("{name}: {count} lines");
    count
}

#[test]
fn programs_of_a_newcomer_are_short() {
    assert!(lines(include_str!("newcomer/client.rs"), "client") <= 8);
    assert!(lines(include_str!("newcomer/echo_server.rs"), "echo server") <= 13);
    assert!(lines(include_str!("newcomer/chat.rs"), "chat") <= 36);
    assert!(lines(include_str!("newcomer/sensor.rs"), "sensor") <= 46);
}

#[test]
fn client_asks_a_server_of_tungstenite() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut socket = tungstenite::accept(stream).unwrap();
        assert_eq!(socket.read().unwrap(), Theirs::text("how are you?"));
        socket.send(Theirs::text("fine")).unwrap();
        let Theirs::Close(Some(close)) = socket.read().unwrap() else { panic!("no Close with a code") };
        assert_eq!(close.code, TheirCode::Normal);
        assert!(matches!(socket.read(), Err(tungstenite::Error::ConnectionClosed)));
    });
    assert_eq!(client::ask(&url, "how are you?").unwrap(), Some(Message::from("fine")));
    server.join().unwrap();
}

#[test]
fn echo_server_answers_a_client_of_tungstenite() {
    let running = Running::new(echo_server::server("127.0.0.1:0").unwrap());
    let mut client = running.connect("/");
    for message in [Theirs::text("hello"), Theirs::binary(vec![7; 100_000]), Theirs::text("")] {
        client.send(message.clone()).unwrap();
        assert!(client.read().unwrap() == message);
    }
    running.stop(client);
}

#[test]
fn chat_sends_each_line_to_all() {
    let running = Running::new(chat::server("127.0.0.1:0").unwrap());
    let mut anna = running.connect("/chat?name=anna");
    assert_eq!(anna.read().unwrap(), Theirs::text("anna: has joined"));
    let mut ben = running.connect("/chat?name=ben");
    for client in [&mut anna, &mut ben] {
        assert_eq!(client.read().unwrap(), Theirs::text("ben: has joined"));
    }
    ben.send(Theirs::text("hello")).unwrap();
    for client in [&mut anna, &mut ben] {
        assert_eq!(client.read().unwrap(), Theirs::text("ben: hello"));
    }
    ben.send(Theirs::binary(vec![1])).unwrap();
    let Theirs::Close(Some(close)) = ben.read().unwrap() else { panic!("no Close with a code") };
    assert_eq!((close.code, close.reason.as_str()), (TheirCode::Unsupported, "a chat takes text"));
    drop(ben);
    assert_eq!(anna.read().unwrap(), Theirs::text("ben: has left"));
    running.stop(anna);
}

#[test]
fn sensor_sends_measurements_and_obeys_a_client_of_tungstenite() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let board = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let half = Half(Arc::new(stream));
        block_on(sensor::run((half.clone(), half), || -21)).unwrap()
    });
    let mut client = connect(address, "/");
    let reading = Theirs::text("{\"celsius\":-21}");
    assert_eq!(client.read().unwrap(), reading);
    client.send(Theirs::text("interval 3600000")).unwrap();
    client.send(Theirs::text("turn around")).unwrap();
    while client.read().map(|message| message == reading).unwrap() {}
    client.send(Theirs::text("turn around")).unwrap();
    assert_eq!(client.read().unwrap(), Theirs::text("unknown command"), "no reading for an hour");
    client.send(Theirs::text("interval 10")).unwrap();
    assert_eq!(client.read().unwrap(), reading);
    client.send(Theirs::text("a command of more than 32 bytes, which is too long")).unwrap();
    let close = loop {
        match client.read().unwrap() {
            Theirs::Close(close) => break close.unwrap(),
            message => assert_eq!(message, reading),
        }
    };
    assert_eq!(close.code, TheirCode::Size);
    assert!(matches!(client.read(), Err(tungstenite::Error::ConnectionClosed)));
    drop(client);
    let Outcome::Closed(cause) = board.join().unwrap() else { panic!("no connection") };
    assert_eq!(cause.sent, Some(CloseCode::MESSAGE_TOO_BIG));
}

/// A server in a thread.
struct Running {
    address: SocketAddr,
    handle: HubHandle,
    thread: thread::JoinHandle<io::Result<()>>,
}

impl Running {
    fn new(server: MioServer<Routes>) -> Self {
        let (address, handle) = (server.address(), server.handle());
        Self { address, handle, thread: thread::spawn(|| server.run()) }
    }

    fn connect(&self, path: &str) -> WebSocket<TcpStream> {
        connect(self.address, path)
    }

    /// Stops the server, whose last client this is.
    fn stop(self, mut client: WebSocket<TcpStream>) {
        self.handle.stop(CloseCode::GOING_AWAY).unwrap();
        let Theirs::Close(Some(close)) = client.read().unwrap() else { panic!("no Close with a code") };
        assert_eq!(close.code, TheirCode::Away);
        assert!(matches!(client.read(), Err(tungstenite::Error::ConnectionClosed)));
        drop(client);
        self.thread.join().unwrap().unwrap();
    }
}

fn connect(address: SocketAddr, path: &str) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    tungstenite::client(format!("ws://{address}{path}"), stream).unwrap().0
}

/// A half of the socket that a board's network stack would give.
#[derive(Clone)]
struct Half(Arc<TcpStream>);

impl ErrorType for Half {
    type Error = ErrorKind;
}

impl embedded_io_async::Read for Half {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, ErrorKind> {
        ready(|| (&*self.0).read(into)).await
    }
}

impl embedded_io_async::Write for Half {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        ready(|| (&*self.0).write(bytes)).await
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl CloseWrite for Half {
    async fn close(&mut self) -> Result<(), ErrorKind> {
        self.0.shutdown(Shutdown::Write).map_err(|_| ErrorKind::Other)
    }
}

/// Calls again after a moment what would block.
async fn ready(mut call: impl FnMut() -> io::Result<usize>) -> Result<usize, ErrorKind> {
    poll_fn(|context| match call() {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            thread::sleep(Duration::from_millis(1));
            context.waker().wake_by_ref();
            Poll::Pending
        }
        result => Poll::Ready(result.map_err(|_| ErrorKind::Other)),
    })
    .await
}
