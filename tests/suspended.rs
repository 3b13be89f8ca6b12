//! Servers that SIGSTOP suspends and SIGCONT resumes: input that arrived meanwhile is read before a deadline is enforced.
#![cfg(all(feature = "mio", unix))]

mod hub_server;
#[cfg(feature = "rustls")]
mod pki;
mod wire;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use hub_server::{PATIENCE, REQUEST, connect, head, masked, next};
use sansocket::handshake::Request;
use sansocket::hub::{Application, HubSettings, RequestAction, SessionInfo, driver};
use sansocket::session::{BufferSizes, Buffers};
use sansocket::{CloseCode, Config, Ending, Event, Handler, HandlerError, Outbox, blocking};

/// The server's deadline in each test.
const DEADLINE: Duration = Duration::from_secs(3);
/// How long it is stopped.
const STOPPED: Duration = Duration::from_secs(4);
const MOMENT: Duration = Duration::from_millis(300);
/// Names the server and the deadline to the child.
const ROLE: &str = "SANSOCKET_SUSPENDED";

// ---- the child ----

/// Echoes, and prints how it ended. A text `close` begins the closing handshake.
struct Echo;

impl Handler for Echo {
    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let Event::Data(data) = event else { return Ok(()) };
        match data.payload.as_bytes() {
            b"close" => Err(HandlerError::Close(CloseCode::NORMAL, "")),
            b"swallow" => Ok(()),
            _ => out.forward(&data),
        }
    }

    fn closed(&mut self, cause: &Ending, _: &str) {
        println!("closed {:?}", cause.reason);
    }
}

struct Echoes;

impl Application for Echoes {
    type Handler = Echo;

    fn request<'s>(&'s mut self, _: &mut SessionInfo, _: &Request<'_>) -> RequestAction<'s, Echo> {
        RequestAction::Serve(Echo)
    }
}

/// A client of the address behind the deadline's name, which it says it has a connection to.
#[cfg(feature = "rustls")]
fn client(role: &str) {
    let (address, authority) = role.split_once(' ').unwrap();
    let pairs = authority.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    let authority: Vec<u8> = pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.into()).unwrap();
    println!("\nlistening nowhere");
    let options = sansocket::config::ClientOptions::new().tls_timeout(DEADLINE).tls_roots(roots);
    match blocking::connect_with(&format!("wss://{address}/"), &options) {
        Ok(mut socket) => {
            println!("connected");
            let _ = socket.recv();
        }
        Err(error) => println!("failed: {error:?}"),
    }
}

#[test]
#[ignore = "the server of the other tests, which start it as a process of its own"]
fn server() {
    let role = std::env::var(ROLE).unwrap();
    let (server, deadline) = role.split_once(' ').unwrap();
    #[cfg(feature = "rustls")]
    if server == "client" {
        return client(deadline);
    }
    let mut config = Config::new();
    let timeouts = &mut config.timeouts;
    (timeouts.ping, timeouts.handshake, timeouts.close, timeouts.write) = (None, None, None, None);
    match deadline {
        "idle" => timeouts.idle = Some(DEADLINE),
        "handshake" => timeouts.handshake = Some(DEADLINE),
        "close" => timeouts.close = Some(DEADLINE),
        _ => timeouts.write = Some(DEADLINE),
    }
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("\nlistening {}", listener.local_addr().unwrap());
    if server == "mio" {
        let server = sansocket::hub::MioServer::with_acceptor(
            listener,
            driver::MioPlainAcceptor,
            HubSettings::new(config),
            |_| Echoes,
        );
        return server.unwrap().run().unwrap();
    }
    for stream in listener.incoming() {
        let config = Arc::clone(&config);
        thread::spawn(move || {
            let mut buffers = Buffers::with_sizes(BufferSizes { head: 8192, receive: 1024, transmit: 1024 });
            let _ = blocking::serve(stream.unwrap(), &mut Echo, config, &mut buffers);
        });
    }
}

// ---- the tests ----

/// The child, and what it prints.
struct Server {
    process: Child,
    address: String,
    lines: Receiver<String>,
}

impl Server {
    fn new(server: &str, deadline: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "server", "--ignored", "--nocapture"])
            .env(ROLE, format!("{server} {deadline}"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (tell, lines) = channel();
        thread::spawn(move || output.lines().map_while(Result::ok).all(|line| tell.send(line).is_ok()));
        let mut server = Self { process, address: String::new(), lines };
        server.address = server.expect("listening ");
        server
    }

    /// The rest of the next line that begins so.
    fn expect(&self, start: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap();
            if let Some(rest) = line.strip_prefix(start) {
                return rest.to_owned();
            }
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.process.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Stops it, lets `meanwhile` happen a little later, and has it go on when the deadline is over.
    fn stopped(&self, meanwhile: impl FnOnce()) {
        thread::sleep(MOMENT);
        self.signal("-STOP");
        thread::sleep(MOMENT);
        meanwhile();
        thread::sleep(STOPPED);
        self.signal("-CONT");
    }

    fn dial(&self) -> TcpStream {
        connect(self.address.parse().unwrap())
    }

    fn open(&self) -> TcpStream {
        let mut stream = self.dial();
        stream.write_all(REQUEST).unwrap();
        assert_eq!(status(&mut stream), "101");
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The status of an answer, whose head is read to its end.
fn status(stream: &mut TcpStream) -> String {
    String::from_utf8(head(stream).unwrap()[9..12].to_vec()).unwrap()
}

fn away() -> (u8, Vec<u8>) {
    (0x88, CloseCode::GOING_AWAY.get().to_be_bytes().to_vec())
}

/// Over mio, and over blocking sockets, at the same time.
fn on_both(deadline: &str, test: impl Fn(Server) + Sync) {
    thread::scope(|scope| {
        for server in ["mio", "blocking"] {
            let test = &test;
            scope.spawn(move || test(Server::new(server, deadline)));
        }
    });
}

#[test]
fn what_came_meanwhile_is_heard() {
    on_both("idle", |server| {
        let (mut speaks, mut silent) = (server.open(), server.open());
        server.stopped(|| speaks.write_all(&masked(0x81, b"z")).unwrap());
        assert_eq!(next(&mut speaks).unwrap(), (0x81, b"z".to_vec()));
        assert_eq!(next(&mut silent).unwrap(), away());
        assert_eq!(next(&mut speaks).unwrap(), away());
    });
}

#[test]
fn a_request_that_came_meanwhile_is_answered() {
    on_both("handshake", |server| {
        let (mut whole, mut half, mut none) = (server.dial(), server.dial(), server.dial());
        // More than one read takes.
        let request = [&REQUEST[..REQUEST.len() - 2], b"X: ", &[b'x'; 5000], b"\r\n\r\n"].concat();
        whole.write_all(&request[..100]).unwrap();
        half.write_all(&request[..100]).unwrap();
        server.stopped(|| whole.write_all(&request[100..]).unwrap());
        assert_eq!(status(&mut whole), "101");
        whole.write_all(&masked(0x81, b"z")).unwrap();
        assert_eq!(next(&mut whole).unwrap(), (0x81, b"z".to_vec()));
        assert_eq!(status(&mut half), "408");
        assert_eq!(none.read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn a_close_that_came_meanwhile_is_clean() {
    for answers in [true, false] {
        on_both("close", |server| {
            let mut client = server.open();
            client.write_all(&masked(0x81, b"close")).unwrap();
            assert_eq!(next(&mut client).unwrap(), (0x88, vec![0x03, 0xE8]));
            server.stopped(|| {
                // The answer stands behind what was on its way.
                client.write_all(&masked(0x82, b"swallow").repeat(5000)).unwrap();
                if answers {
                    client.write_all(&masked(0x88, &[0x03, 0xE8])).unwrap();
                }
            });
            assert_eq!(server.expect("closed "), if answers { "Clean" } else { "Timeout(Close)" });
        });
    }
}

#[test]
fn a_peer_that_read_meanwhile_gets_the_rest() {
    const MIB: usize = 1 << 20;
    // More than all that lies between here and there.
    const MESSAGES: usize = 48;
    on_both("write", |server| {
        let (reads, deaf) = (server.open(), server.open());
        let (mut reads, deaf) = (&reads, &deaf);
        thread::scope(|scope| {
            for mut stream in [reads, deaf] {
                scope.spawn(move || {
                    let message = masked(0x82, &vec![7; MIB]);
                    (0..MESSAGES).all(|_| stream.write_all(&message).is_ok())
                });
            }
            thread::sleep(MOMENT);
            let (begin, begun) = channel();
            let reader = scope.spawn(move || {
                begun.recv().unwrap();
                let mut echo = vec![0; MIB + 10];
                for _ in 0..MESSAGES {
                    // The length in 64 bits is 8 bytes behind the first two.
                    reads.read_exact(&mut echo).unwrap();
                    assert!(echo[0] == 0x82 && echo[10..].iter().all(|byte| *byte == 7));
                }
            });
            server.stopped(|| begin.send(()).unwrap());
            reader.join().unwrap();
            assert_eq!(server.expect("closed "), "Timeout(Write)");
            let _ = deaf.shutdown(std::net::Shutdown::Both);
        });
    });
}

#[test]
fn a_storm_of_signals_changes_no_verdict() {
    on_both("idle", |server| {
        let (mut speaks, mut silent) = (server.open(), server.open());
        let process = server.process.id().to_string();
        let script = "while kill -STOP $0 && kill -CONT $0; do :; done";
        let mut storm =
            Command::new("sh").args(["-c", script, &process]).stderr(Stdio::null()).spawn().unwrap();
        for _ in 0..20 {
            speaks.write_all(&masked(0x81, b"z")).unwrap();
            assert_eq!(next(&mut speaks).unwrap(), (0x81, b"z".to_vec()));
            thread::sleep(DEADLINE / 10);
        }
        assert_eq!(next(&mut silent).unwrap(), away());
        storm.kill().unwrap();
        storm.wait().unwrap();
        server.signal("-CONT");
        assert_eq!(next(&mut speaks).unwrap(), away());
    });
}

#[cfg(feature = "rustls")]
#[test]
fn a_tls_handshake_that_came_meanwhile_is_completed() {
    let pki = pki::Pki::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let authority: String = pki.authority().iter().map(|byte| format!("{byte:02x}")).collect();
    for answers in [true, false] {
        let client = Server::new("client", &format!("{} {authority}", listener.local_addr().unwrap()));
        let (stream, _) = listener.accept().unwrap();
        // Its hello is on the way.
        stream.peek(&mut [0]).unwrap();
        let (config, mut peer) = (pki.server.clone(), None);
        client.stopped(|| {
            peer = Some(thread::spawn(move || {
                let tls = blocking::NetStream::tls_server(stream, &config).unwrap();
                if answers {
                    let mut socket = blocking::accept(tls).unwrap();
                    let _ = socket.send("hello");
                } else {
                    thread::sleep(2 * STOPPED);
                }
            }));
        });
        let said =
            client.lines.iter().find(|line| line == "connected" || line.starts_with("failed")).unwrap();
        assert!(said.starts_with(if answers { "connected" } else { "failed" }), "{said}");
        assert!(answers || said.contains("TimedOut"), "{said}");
        peer.unwrap().join().unwrap();
    }
}
