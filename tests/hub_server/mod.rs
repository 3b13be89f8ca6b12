//! A hub that echoes, its clients over TCP, and the descriptors and memory of the process.
#![allow(dead_code, unreachable_pub, reason = "each test file uses some of it")]

pub use super::wire::{REQUEST, masked};
use super::wire::{header_len, payload_len};

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sansocket::handshake::Request;
use sansocket::hub::{Application, HubHandle, RequestAction, SessionInfo};
#[cfg(feature = "mio")]
use sansocket::hub::{HubSettings, MioServer};
use sansocket::{Event, Handler, HandlerError, Outbox};

/// How long a test waits before it fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Echoes; panics where the test says so.
pub struct Echo;

impl Handler for Echo {
    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let Event::Data(data) = event else { return Ok(()) };
        assert_ne!(data.payload.as_bytes(), b"panic", "on purpose");
        out.forward(&data)
    }
}

pub struct Echoes;

impl Application for Echoes {
    type Handler = Echo;

    fn request<'s>(&'s mut self, _: &mut SessionInfo, request: &Request<'_>) -> RequestAction<'s, Echo> {
        if request.path() == "/body" { RequestAction::ReadBody(100_000) } else { RequestAction::Serve(Echo) }
    }
}

/// A hub in a thread of its own.
pub struct HubServer {
    pub handle: HubHandle,
    pub address: SocketAddr,
    pub thread: JoinHandle<()>,
}

impl HubServer {
    #[cfg(feature = "mio")]
    pub fn new(settings: HubSettings) -> Self {
        Self::of(MioServer::bind("127.0.0.1:0", settings, |_| Echoes).unwrap())
    }

    #[cfg(feature = "mio")]
    pub fn of(server: MioServer<Echoes>) -> Self {
        Self::spawn(server.handle(), server.address(), move || server.run().unwrap())
    }

    pub fn spawn(handle: HubHandle, address: SocketAddr, run: impl FnOnce() + Send + 'static) -> Self {
        let thread = thread::Builder::new().name(format!("hub {}", address.port()));
        Self { handle, address, thread: thread.spawn(run).unwrap() }
    }

    pub fn stop(self) -> HubHandle {
        self.handle.stop(sansocket::CloseCode::GOING_AWAY).unwrap();
        self.thread.join().unwrap();
        self.handle
    }
}

/// Waits for what must come to be, if nothing is wrong, much sooner than it gives up.
pub fn wait_for(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Through the opening handshake.
pub fn open(address: SocketAddr) -> TcpStream {
    let mut stream = connect(address);
    stream.write_all(REQUEST).unwrap();
    opened(&mut stream);
    stream
}

/// The answer to a request, byte by byte, so that nothing behind it is taken.
pub fn opened(stream: &mut TcpStream) {
    let head = head(stream).unwrap();
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
}

pub fn head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    Ok(head)
}

/// The next frame of a server: its first byte and its payload.
pub fn next(stream: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 10];
    stream.read_exact(&mut head[..2])?;
    let len = header_len(head[1]);
    stream.read_exact(&mut head[2..len])?;
    let mut payload = vec![0; payload_len(&head)];
    stream.read_exact(&mut payload)?;
    Ok((head[0], payload))
}

pub fn echo(stream: &mut TcpStream, text: &str) {
    stream.write_all(&masked(0x81, text.as_bytes())).unwrap();
    assert_eq!(next(stream).unwrap(), (0x81, text.into()));
}

/// Closes with a reset.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "a socket option that std does not have")]
pub fn reset(stream: TcpStream) {
    use std::os::fd::AsRawFd;
    #[repr(C)]
    struct Linger {
        on: i32,
        seconds: i32,
    }
    unsafe extern "C" {
        fn setsockopt(fd: i32, level: i32, name: i32, value: *const Linger, len: u32) -> i32;
    }
    let linger = Linger { on: 1, seconds: 0 };
    // SAFETY: the descriptor is open, and the option is of this type and size. SOL_SOCKET and SO_LINGER are Linux's.
    assert_eq!(unsafe { setsockopt(stream.as_raw_fd(), 1, 13, &linger, 8) }, 0);
}

pub fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Resident bytes of this process.
pub fn resident() -> u64 {
    field("/proc/self/status", "VmRSS:") * 1024
}

/// How many descriptors this process may have.
pub fn most_descriptors() -> usize {
    field("/proc/self/limits", "Max open files") as usize
}

/// How often this thread went to sleep by itself, and for how many hundredths of a second it ran.
pub fn restlessness(thread: &thread::Thread) -> (u64, u64) {
    let thread = thread.name().unwrap();
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path();
        if fs::read_to_string(path.join("comm")).unwrap_or_default().trim() == thread {
            let stat = fs::read_to_string(path.join("stat")).unwrap();
            // Its name, in brackets, has a space.
            let ran: Vec<u64> = stat.split(' ').skip(14).take(2).map(|n| n.parse().unwrap()).collect();
            return (field(path.join("status"), "voluntary_ctxt_switches:"), ran.iter().sum());
        }
    }
    panic!("no thread {thread}");
}

fn field(path: impl AsRef<std::path::Path>, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
