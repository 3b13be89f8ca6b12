//! Echo, broadcast, opening handshakes and idle memory over loopback. Each server is a process on one core, the generator is
//! on another.
//!
//!     loopback [--quick] [--only PART-OF-A-LIBRARY'S-NAME] [--work PART-OF-A-WORK'S-NAME] [--bun PROGRAM]

use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection, RootCertStore};

use sansocket_peers::clock::{median, quantile};
use sansocket_peers::csv::{attempt, failed, flag, option, row, size};
use sansocket_peers::wire::{Content, Random, content, frame};

const SERVERS: [&str; 14] = [
    "floor",
    "sansocket",
    "sansocket-threads",
    "sansocket-tokio",
    "tungstenite-threads",
    "tokio-tungstenite",
    "fastwebsockets",
    "tokio-websockets",
    "yawc",
    "sockudo-ws",
    "wtx",
    "soketto",
    "axum",
    "uWebSockets",
];
/// Those that perform the opening handshake themselves, or through hyper.
const HANDSHAKES: [&str; 15] = [
    "floor",
    "sansocket",
    "sansocket-threads",
    "sansocket-tokio",
    "sansocket-axum",
    "tungstenite-threads",
    "tokio-tungstenite",
    "fastwebsockets-hyper",
    "tokio-websockets",
    "yawc-hyper",
    "sockudo-ws",
    "wtx",
    "soketto",
    "axum",
    "uWebSockets",
];
/// Those of them that have TLS: rustls, in Bun BoringSSL.
const TLS_HANDSHAKES: [&str; 11] = [
    "sansocket",
    "sansocket-tokio",
    "sansocket-axum",
    "tokio-tungstenite",
    "fastwebsockets-hyper",
    "tokio-websockets",
    "yawc-hyper",
    "sockudo-ws",
    "soketto",
    "axum",
    "uWebSockets",
];
/// Those that can send to all.
const BROADCASTERS: [&str; 3] = ["sansocket", "tokio-tungstenite", "uWebSockets"];
/// Connections that are opened at once.
const STORM: usize = 64;

/// A request, to be written at once: a fast library could otherwise be measured with more reads than a slow one.
fn request(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

fn main() {
    let (quick, wanted) = (flag("--quick"), option("--work").unwrap_or_default());
    std::panic::set_hook(Box::new(|_| {})); // the reason stands in the row
    raise_descriptors();
    let does = |work: &str| work.contains(&wanted);
    let (seconds, rounds) = if quick { (0.2, 3) } else { (0.4, 5) };
    let servers = start(&SERVERS, None);
    for (payload, connections, depth) in [
        (20, 32, 16),
        (20, 32, 1),
        (1 << 10, 32, 16),
        (16 << 10, 32, 1),
        (1 << 20, 32, 1),
        (64, 1_000, 1),
        (64, 10_000, 1),
    ] {
        let work = format!("loopback-{}-{connections}x{depth}", size(payload));
        if does(&work) && (!quick || connections < 10_000) {
            let rounds = if connections < 10_000 { rounds } else { 3 };
            interleave(&work, "us", rounds, &servers, |server| {
                echo(server, payload, connections, depth, seconds)
            });
        }
    }
    drop(servers);
    if does("loopback-handshakes") {
        let servers = start(&HANDSHAKES, None);
        interleave("loopback-handshakes", "us", rounds, &servers, |server| storm(server, None, seconds));
    }
    if does("loopback-handshakes-tls") {
        let pki = Pki::new();
        let servers = start(&TLS_HANDSHAKES, Some(&pki));
        interleave("loopback-handshakes-tls", "us", rounds, &servers, |server| {
            storm(server, Some(&pki.client), seconds)
        });
    }
    let members = if quick { 1_000 } else { 10_000 };
    for payload in [64, 4 << 10] {
        let work = format!("broadcast-{}-{members}", size(payload));
        let servers = if does(&work) { start(&BROADCASTERS, None) } else { vec![] };
        for server in &servers {
            match attempt(|| broadcast(server, payload, members)) {
                Ok((cpu, p99)) => {
                    row(&work, &server.name, cpu, "us", f64::NAN);
                    row(&format!("{work}-p99"), &server.name, p99, "ms", f64::NAN);
                }
                Err(reason) => failed(&work, &server.name, &reason),
            }
        }
    }
    let idlers = if quick { 1_000 } else { 10_000 };
    let work = format!("idle-{idlers}");
    // Memory that a server once had stays with it: each is a new process.
    let servers = if does(&work) { start(&SERVERS, None) } else { vec![] };
    for server in &servers {
        match attempt(|| idle(server, idlers)) {
            Ok(kib) => row(&work, &server.name, kib, "KiB", f64::NAN),
            Err(reason) => failed(&work, &server.name, &reason),
        }
    }
}

/// Starts those that are asked for.
fn start(names: &[&str], pki: Option<&Pki>) -> Vec<Server> {
    let only = option("--only").unwrap_or_default();
    let asked = names.iter().filter(|name| **name == "floor" || name.contains(&only));
    asked.filter_map(|name| Server::start(name, pki)).collect()
}

/// Measures each server once a round; the value is the median. The ratio is to the floor, if it is among them.
fn interleave(work: &str, unit: &str, rounds: usize, servers: &[Server], run: impl Fn(&Server) -> f64) {
    let mut values: Vec<Result<Vec<f64>, String>> = vec![Ok(vec![]); servers.len()];
    for _ in 0..rounds {
        for (server, values) in servers.iter().zip(&mut values) {
            if let Ok(own) = values {
                match attempt(|| run(server)) {
                    Ok(value) => own.push(value),
                    Err(reason) => *values = Err(reason),
                }
            }
        }
    }
    let floor = servers.iter().position(|server| server.name == "floor");
    let floor = floor.and_then(|floor| values[floor].clone().ok()).unwrap_or_default();
    for (server, values) in servers.iter().zip(&values) {
        match values {
            Ok(own) => {
                let ratios: Vec<f64> = own.iter().zip(&floor).map(|(own, floor)| own / floor).collect();
                row(work, &server.name, median(own), unit, median(&ratios));
            }
            Err(reason) => failed(work, &server.name, reason),
        }
    }
}

/// A process of a server, ended when this is dropped.
struct Server {
    name: String,
    port: u16,
    process: Child,
}

impl Server {
    /// `None`, with a row that says so, if its program is not there.
    fn start(name: &str, pki: Option<&Pki>) -> Option<Self> {
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).stdout(Stdio::piped());
        if name == "uWebSockets" {
            let Some(bun) = option("--bun") else {
                failed("loopback", name, "needs --bun PROGRAM");
                return None;
            };
            command.arg(bun).arg(concat!(env!("CARGO_MANIFEST_DIR"), "/bun/server.js"));
        } else {
            command.arg(std::env::current_exe().unwrap().with_file_name("server")).arg(name);
        }
        if let Some(pki) = pki {
            command.arg("--tls").args(&pki.files);
        }
        let mut process = command.spawn().unwrap();
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let port = port.trim().parse().unwrap_or_else(|_| panic!("{name} did not print its port"));
        Some(Self { name: name.to_owned(), port, process })
    }

    fn id(&self) -> u32 {
        self.process.id()
    }

    /// CPU time of all its threads in ns, also of those that have ended.
    fn cpu(&self) -> f64 {
        let (mut clock, mut time) = (0, libc::timespec { tv_sec: 0, tv_nsec: 0 });
        // SAFETY: the pointers are to values of this frame.
        let failed = unsafe {
            libc::clock_getcpuclockid(self.id() as libc::pid_t, &raw mut clock) != 0
                || libc::clock_gettime(clock, &raw mut time) != 0
        };
        assert!(!failed, "the server has ended");
        time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
    }

    fn resident_kib(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it has ended");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line VmRSS");
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A certificate for the servers, and clients that trust it.
struct Pki {
    files: [PathBuf; 2],
    client: Arc<ClientConfig>,
}

impl Pki {
    fn new() -> Self {
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let file = |name| std::env::current_exe().unwrap().with_file_name(name);
        let files = [file("loopback-certificate.pem"), file("loopback-key.pem")];
        fs::write(&files[0], certified.cert.pem()).unwrap();
        fs::write(&files[1], certified.signing_key.serialize_pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certified.cert.der().clone()).unwrap();
        let mut client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        client.resumption = rustls::client::Resumption::disabled();
        Self { files, client: Arc::new(client) }
    }
}

impl Drop for Pki {
    fn drop(&mut self) {
        let _ = self.files.each_ref().map(fs::remove_file);
    }
}

/// A thousand connections and more need as many descriptors.
fn raise_descriptors() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers are to a value of this frame.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
    }
}

/// Frames of one size, to be sent again and again; replies are compared by their first byte.
struct Frames {
    bytes: Vec<u8>,
    each: usize,
    first: Vec<u8>,
    payload: usize,
}

impl Frames {
    fn new(payload: usize) -> Self {
        let mut random = Random(0x0123_4567);
        let (mut bytes, mut first) = (vec![], vec![]);
        for _ in 0..((512 << 10) / payload).clamp(4, 1024) {
            let message = content(Content::Binary, payload, &mut random);
            first.push(message[0]);
            frame(&mut bytes, true, 2, &message, (random.next() as u32).to_le_bytes());
        }
        Self { each: bytes.len() / first.len(), bytes, first, payload }
    }
}

/// A client: what it has to send, and where it is in what it receives.
struct Connection {
    stream: TcpStream,
    unsent: usize,
    sent_to: usize,
    writing: bool,
    header: Vec<u8>,
    left: usize,
    received: usize,
}

impl Connection {
    fn open(server: &Server, nth: usize, path: &str) -> Self {
        let mut stream = dial(server.port, nth);
        stream.write_all(request(path).as_bytes()).unwrap();
        check_response(&mut stream);
        stream.set_nonblocking(true).unwrap();
        Self { stream, unsent: 0, sent_to: 0, writing: false, header: vec![], left: 0, received: 0 }
    }

    fn send(&mut self, frames: &Frames) {
        while self.unsent > 0 {
            let within = self.sent_to % frames.each;
            let end = (self.sent_to + self.unsent * frames.each - within).min(frames.bytes.len());
            match self.stream.write(&frames.bytes[self.sent_to..end]) {
                Ok(n) => {
                    self.unsent -= (within + n) / frames.each;
                    self.sent_to = (self.sent_to + n) % frames.bytes.len();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Returns how many messages have come, all of the right length.
    fn receive(&mut self, frames: &Frames, buffer: &mut [u8]) -> usize {
        let n = match self.stream.read(buffer) {
            Ok(0) => panic!("the server has closed"),
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return 0,
            Err(error) => panic!("{error}"),
        };
        let (mut bytes, before) = (&buffer[..n], self.received);
        while let [first, rest @ ..] = bytes {
            if self.left > 0 {
                let n = self.left.min(bytes.len());
                self.left -= n;
                self.received += usize::from(self.left == 0);
                bytes = &bytes[n..];
                continue;
            }
            self.header.push(*first);
            bytes = rest;
            let len = match self.header[..] {
                [0x82, len @ ..=125] => usize::from(len),
                [0x82, 126, high, low] => usize::from(u16::from_be_bytes([high, low])),
                [0x82, 127, a, b, c, d, e, f, g, h] => u64::from_be_bytes([a, b, c, d, e, f, g, h]) as usize,
                [0x82] | [0x82, 126 | 127, ..] => continue,
                _ => panic!("an unexpected frame: {:?}", self.header),
            };
            assert_eq!(len, frames.payload, "the length of a message");
            let expected = frames.first[self.received % frames.first.len()];
            assert!(bytes.first().is_none_or(|first| *first == expected), "another payload");
            self.left = len;
            self.header.clear();
        }
        self.received - before
    }
}

/// Reads a response that accepts.
fn check_response(stream: &mut impl Read) {
    let (mut head, mut len) = ([0; 1024], 0);
    while !head[..len].ends_with(b"\r\n\r\n") {
        let n = stream.read(&mut head[len..]).unwrap();
        assert!(n > 0, "no response");
        len += n;
    }
    let head = std::str::from_utf8(&head[..len]).unwrap();
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
}

/// Rotates over loopback addresses, so that ports do not run out.
fn dial(port: u16, nth: usize) -> TcpStream {
    let address = |host: u32, port: u16| libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: host.to_be() },
        sin_zero: [0; 8],
    };
    let (from, to) = (address(0x7F00_0001 + (nth % 64) as u32, 0), address(0x7F00_0001, port));
    let len = size_of::<libc::sockaddr_in>() as u32;
    let on = 1_i32;
    // SAFETY: a descriptor of our own, and pointers to values of this frame with their lengths.
    unsafe {
        let descriptor = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        assert!(descriptor >= 0, "socket: {}", io::Error::last_os_error());
        let stream = TcpStream::from_raw_fd(descriptor);
        libc::setsockopt(
            descriptor,
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            4,
        );
        assert_eq!(libc::bind(descriptor, (&raw const from).cast(), len), 0);
        let connected = libc::connect(descriptor, (&raw const to).cast(), len);
        assert_eq!(connected, 0, "connect: {}", io::Error::last_os_error());
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }
}

/// epoll over the connections, by index.
struct Poller {
    epoll: i32,
    events: Vec<libc::epoll_event>,
}

impl Poller {
    fn new(connections: &[Connection]) -> Self {
        // SAFETY: the descriptor is closed when this is dropped.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        let this = Self { epoll, events: vec![libc::epoll_event { events: 0, u64: 0 }; 1024] };
        for (i, connection) in connections.iter().enumerate() {
            this.watch(connection, i, libc::EPOLL_CTL_ADD);
        }
        this
    }

    fn watch(&self, connection: &Connection, index: usize, operation: i32) {
        let events = libc::EPOLLIN | if connection.writing { libc::EPOLLOUT } else { 0 };
        let mut event = libc::epoll_event { events: events as u32, u64: index as u64 };
        // SAFETY: both descriptors live.
        let done =
            unsafe { libc::epoll_ctl(self.epoll, operation, connection.stream.as_raw_fd(), &raw mut event) };
        assert_eq!(done, 0);
    }

    fn wait(&mut self) -> Vec<usize> {
        // SAFETY: the memory holds so many events.
        let n =
            unsafe { libc::epoll_wait(self.epoll, self.events.as_mut_ptr(), self.events.len() as i32, 100) };
        self.events[..n.max(0) as usize].iter().map(|event| event.u64 as usize).collect()
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        // SAFETY: nobody else has this descriptor.
        unsafe { libc::close(self.epoll) };
    }
}

/// Returns CPU time of the server, in us a message.
fn echo(server: &Server, payload: usize, connections: usize, depth: usize, seconds: f64) -> f64 {
    let frames = Frames::new(payload);
    let mut connections: Vec<Connection> =
        (0..connections).map(|nth| Connection::open(server, nth, "/ws")).collect();
    let mut poller = Poller::new(&connections);
    for connection in &mut connections {
        connection.unsent = depth;
    }
    let mut buffer = vec![0; 256 << 10];
    let began = Instant::now();
    let mut measured: Option<(f64, usize)> = None;
    let mut messages = 0;
    let mut ready: Vec<usize> = (0..connections.len()).collect();
    loop {
        for i in ready {
            let connection = &mut connections[i];
            let received = connection.receive(&frames, &mut buffer);
            messages += received;
            connection.unsent += received;
            connection.send(&frames);
            let full = connection.unsent > 0;
            if full != connection.writing {
                connection.writing = full;
                poller.watch(connection, i, libc::EPOLL_CTL_MOD);
            }
        }
        let elapsed = began.elapsed().as_secs_f64();
        match measured {
            None if elapsed > seconds * 0.3 => measured = Some((server.cpu(), messages)),
            Some((cpu, before)) if elapsed > seconds * 1.3 && messages > before => {
                return (server.cpu() - cpu) / 1e3 / (messages - before) as f64;
            }
            _ if elapsed > 20.0 => panic!("nothing came in 20 s"),
            _ => {}
        }
        ready = poller.wait();
    }
}

/// Returns CPU time of the server, in us a connection that is opened and reset. Many are opened at once; with TLS each
/// performs a whole handshake, as clients do that have not been here before.
fn storm(server: &Server, tls: Option<&Arc<ClientConfig>>, seconds: f64) -> f64 {
    let (began, cpu, mut count) = (Instant::now(), server.cpu(), 0);
    while began.elapsed().as_secs_f64() < seconds {
        let mut streams: Vec<TcpStream> = (0..STORM).map(|nth| dial(server.port, count + nth)).collect();
        match tls {
            None => {
                let request = request("/ws");
                streams.iter_mut().for_each(|stream| stream.write_all(request.as_bytes()).unwrap());
                streams.iter_mut().for_each(check_response);
            }
            Some(config) => over_tls(&mut streams, config),
        }
        streams.iter().for_each(reset);
        count += STORM;
    }
    (server.cpu() - cpu) / 1e3 / count as f64
}

fn over_tls(streams: &mut [TcpStream], config: &Arc<ClientConfig>) {
    let begin = |stream: &mut TcpStream| {
        let name = "127.0.0.1".try_into().unwrap();
        let mut tls = ClientConnection::new(Arc::clone(config), name).unwrap();
        tls.writer().write_all(request("/ws").as_bytes()).unwrap(); // leaves behind the handshake
        while tls.wants_write() {
            tls.write_tls(stream).unwrap();
        }
        tls
    };
    let mut clients: Vec<ClientConnection> = streams.iter_mut().map(begin).collect();
    for (tls, stream) in clients.iter_mut().zip(&mut *streams) {
        while tls.is_handshaking() || tls.wants_write() {
            tls.complete_io(stream).unwrap();
        }
    }
    for (tls, stream) in clients.iter_mut().zip(streams) {
        check_response(&mut rustls::Stream::new(tls, stream));
    }
}

/// Makes the drop of this stream a reset, which leaves no port behind.
fn reset(stream: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let len = size_of::<libc::linger>() as u32;
    // SAFETY: a live descriptor, and a pointer to a value of this frame with its length.
    unsafe {
        let linger = (&raw const linger).cast();
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, linger, len);
    }
}

/// Returns CPU time of the server in us a recipient, and the p99 of the time in ms until a member has the message. One
/// member in a hundred never reads.
fn broadcast(server: &Server, payload: usize, members: usize) -> (f64, f64) {
    const ROUNDS: usize = 10;
    let frames = Frames::new(payload);
    let mut connections: Vec<Connection> =
        (0..members).map(|nth| Connection::open(server, nth, "/all")).collect();
    let slow = members / 100;
    let mut readers = connections.split_off(slow);
    thread::sleep(Duration::from_millis(200));
    let mut poller = Poller::new(&readers);
    let (mut buffer, cpu, mut delays) = (vec![0; 64 << 10], server.cpu(), vec![]);
    for _ in 0..ROUNDS {
        let (sent, mut missing) = (Instant::now(), readers.len());
        readers[0].unsent = 1;
        readers[0].send(&frames);
        while missing > 0 {
            assert!(sent.elapsed() < Duration::from_secs(10), "{missing} members got nothing");
            for i in poller.wait() {
                let received = readers[i].receive(&frames, &mut buffer);
                delays.extend(std::iter::repeat_n(sent.elapsed().as_secs_f64() * 1e3, received));
                missing -= received;
            }
        }
    }
    ((server.cpu() - cpu) / 1e3 / (ROUNDS * members) as f64, quantile(&delays, 0.99))
}

/// Returns resident memory in KiB a connection that has echoed one message.
fn idle(server: &Server, count: usize) -> f64 {
    let (frames, before) = (Frames::new(64), server.resident_kib());
    let mut connections: Vec<Connection> =
        (0..count).map(|nth| Connection::open(server, nth, "/ws")).collect();
    let mut buffer = [0; 4096];
    for some in connections.chunks_mut(500) {
        for connection in &mut *some {
            connection.unsent = 1;
            connection.send(&frames);
        }
        for connection in some {
            while connection.receive(&frames, &mut buffer) == 0 {
                thread::yield_now();
            }
        }
    }
    thread::sleep(Duration::from_millis(1500));
    (server.resident_kib() - before) / count as f64
}
