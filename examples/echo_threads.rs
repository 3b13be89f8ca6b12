//! The echo server with a thread for each connection, over blocking sockets: it needs only feature `std`, so that it serves
//! with ESP-IDF's standard library (esp-idf-svc) as well, once the network is up.
//!
//!     cargo run --release --example echo_threads --features std
//!
//! Behind a load balancer that passes TCP on it takes the clients' addresses from the PROXY protocol: `--proxy-from`.

#[path = "common/cli.rs"]
mod cli;
#[path = "echo/handler.rs"]
mod handler;
#[path = "common/listen.rs"]
mod listen;
#[path = "common/logger.rs"]
mod logger;
mod proxy;
#[cfg(not(target_os = "espidf"))]
#[path = "common/signals.rs"]
mod signals;

use std::error::Error;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use std::{fmt, io, thread, time};

use handler::{Echo, Escaped};
use sansocket::blocking::serve;
use sansocket::handshake::{Decision, Request};
use sansocket::proto::MIN_BUFFER_LEN;
use sansocket::session::{BufferSizes, Buffers, Outcome, ServiceUnavailable};
use sansocket::{CloseCode, Config, Ending, Event, Handler, HandlerError, Instant, Outbox};

const HELP: &str = "\
The WebSocket echo server of sansocket, with a thread for each connection.

Usage: echo_threads [OPTIONS]

  --listen HOST:PORT   where to listen, on every address of HOST [127.0.0.1:8080]
  --buffer BYTES       receive and transmit buffer of a connection, from 140 [18432]
  --proxy-from IP      a load balancer: each connection from there begins with a PROXY header, of version 1
                       or 2, and no other may; may be given several times
  --help               print this help

SIGINT and SIGTERM close every connection with 1001 and end the server; a second one ends it at once.
";

const ADDRESS: &str = if cfg!(target_os = "espidf") { "0.0.0.0:80" } else { "127.0.0.1:8080" };
/// Connections at once. Each has a thread, its stack and three buffers.
const CONNECTIONS: usize = if cfg!(target_os = "espidf") { 4 } else { 64 };
/// The most clients beyond them that get a 503 at once. Further ones are dropped.
const REFUSALS: usize = 8;
/// Stacks of the threads that serve a connection, and that accept. ESP-IDF's default is too little for both.
const STACK: usize = 32 * 1024;
const ACCEPT_STACK: usize = 16 * 1024;
/// How long a PROXY header may take. A load balancer sends it at once.
const PROXY_HEADER: Duration = Duration::from_secs(3);
/// How often each thread looks whether the server stops.
const TICK: Duration = Duration::from_millis(250);
/// How long the connections have then for their closing handshakes.
const CLOSING: Duration = Duration::from_secs(6);

/// Connections, with those that are refused.
static OPEN: AtomicUsize = AtomicUsize::new(0);
static STOPPING: AtomicBool = AtomicBool::new(false);

struct Options {
    listen: Vec<SocketAddr>,
    buffer: usize,
    proxies: Vec<IpAddr>,
}

fn main() {
    cli::run("echo_threads", HELP, options(), run);
}

fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let listeners = listen::bind(&options.listen)?;
    #[cfg(not(target_os = "espidf"))]
    signals::on_stop(|| STOPPING.store(true, Ordering::Relaxed))?;
    let options = Arc::new(options);
    for listener in listeners {
        logger::line(format_args!("listening: open http://{}/", listener.local_addr()?));
        let options = Arc::clone(&options);
        thread::Builder::new().stack_size(ACCEPT_STACK).spawn(move || accept(&listener, &options))?;
    }
    while !STOPPING.load(Ordering::Relaxed) {
        thread::sleep(TICK);
    }
    let end = time::Instant::now() + CLOSING;
    while OPEN.load(Ordering::Relaxed) > 0 && time::Instant::now() < end {
        thread::sleep(Duration::from_millis(10));
    }
    logger::finish();
    Ok(())
}

fn accept(listener: &TcpListener, options: &Arc<Options>) {
    while !STOPPING.load(Ordering::Relaxed) {
        let Ok((stream, peer)) = listener.accept() else {
            // The system has no descriptor for it, or the client is gone already: others may come.
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        let place = Place(OPEN.fetch_add(1, Ordering::Relaxed));
        if place.0 >= CONNECTIONS + REFUSALS {
            continue;
        }
        let options = Arc::clone(options);
        let serve = move || {
            let mut client = Client { peer, origin: None, full: place.0 >= CONNECTIONS };
            let outcome = client.serve(stream, &options);
            client.log(outcome);
            drop(place);
        };
        if let Err(error) = thread::Builder::new().stack_size(STACK).spawn(serve) {
            logger::line(format_args!("{peer}: no thread: {error}"));
        }
    }
}

/// One of the connections, and how many there were before it.
struct Place(usize);

impl Drop for Place {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who is served.
struct Client {
    /// The other end of TCP, then what the load balancer says.
    peer: SocketAddr,
    origin: Option<Vec<u8>>,
    /// There is no room for it.
    full: bool,
}

impl Client {
    fn serve(&mut self, stream: TcpStream, options: &Options) -> io::Result<Outcome> {
        // An IPv6 listener shows the peers of IPv4 as ::ffff:192.0.2.1.
        if options.proxies.contains(&self.peer.ip().to_canonical()) {
            self.peer = proxy::read(&stream, PROXY_HEADER)?.unwrap_or(self.peer);
        }
        let mut buffers = Buffers::with_sizes(BufferSizes {
            head: 4096,
            receive: options.buffer,
            transmit: options.buffer,
        });
        if self.full {
            return serve(stream, &mut ServiceUnavailable, &Config::DEFAULT, &mut buffers);
        }
        let echo = Echo::new(|_: fmt::Arguments<'_>| {});
        let mut handler = Stoppable { handler: echo, look: Instant::START, origin: &mut self.origin };
        serve(stream, &mut handler, &Config::DEFAULT, &mut buffers)
    }

    fn log(&self, outcome: io::Result<Outcome>) {
        let peer = self.peer;
        match (outcome, &self.origin) {
            (Ok(Outcome::Closed(ending)), _) => {
                logger::line(format_args!("{peer}: closed: {}, code {}", ending.reason, ending.code()));
            }
            (Ok(Outcome::Refused(refusal)), Some(origin)) => {
                logger::line(format_args!("{peer}: refused with {refusal}; Origin {}", Escaped(origin)));
            }
            (Ok(Outcome::Refused(refusal)), None) => {
                logger::line(format_args!("{peer}: refused with {refusal}"));
            }
            (Ok(_), _) => logger::line(format_args!("{peer}: no request")),
            (Err(error), _) => logger::line(format_args!("{peer}: {error}")),
        }
    }
}

/// A handler whose connection is closed when the server stops: a blocking read ends for nothing else than its deadline,
/// so it looks now and then.
struct Stoppable<'c, H> {
    handler: H,
    /// When to look next.
    look: Instant,
    origin: &'c mut Option<Vec<u8>>,
}

impl<H: Handler> Handler for Stoppable<'_, H> {
    fn request<'s>(&'s mut self, request: &Request<'_>) -> Decision<'s> {
        *self.origin = request.headers().get("Origin").map(<[u8]>::to_vec);
        self.handler.request(request)
    }

    fn opened(&mut self, protocol: Option<&str>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        self.look = out.now().saturating_add(TICK);
        self.handler.opened(protocol, out)
    }

    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        self.handler.event(event, out)
    }

    fn writable(&mut self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        self.handler.writable(out)
    }

    fn deadline(&self) -> Option<Instant> {
        self.handler.deadline().into_iter().chain([self.look]).min()
    }

    fn timer(&mut self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let now = out.now();
        if self.look <= now {
            // Within a frame there can be no Close.
            if STOPPING.load(Ordering::Relaxed) && out.is_free() {
                return Err(HandlerError::Close(CloseCode::GOING_AWAY, ""));
            }
            self.look = now.saturating_add(TICK);
        }
        self.handler.timer(out)
    }

    fn closed(&mut self, ending: &Ending, reason: &str) {
        self.handler.closed(ending, reason);
    }
}

fn options() -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::*;

    let (mut listen, mut buffer, mut proxies) = (ADDRESS.to_owned(), 18 * 1024, Vec::new());
    let mut parser = lexopt::Parser::from_env();
    let p = &mut parser;
    while let Some(arg) = p.next()? {
        match arg {
            Long("listen") => listen = cli::text(p)?,
            Long("buffer") => buffer = cli::number(p, "--buffer", MIN_BUFFER_LEN..=1024 * 1024)?,
            Long("proxy-from") => {
                let text = cli::text(p)?;
                let ip: Result<IpAddr, _> = text.parse();
                proxies.push(ip.map_err(|_| format!("--proxy-from takes an IP address, not '{text}'"))?);
            }
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(Options { listen: listen::resolve(&listen)?, buffer, proxies }))
}
