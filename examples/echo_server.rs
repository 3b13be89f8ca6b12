//! The echo server on a PC: open the address that it prints in a browser.
//!
//!     cargo run --release --example echo_server --features mio,rustls
//!
//! One thread, or a few, for all connections. What it does on a connection is `echo/handler.rs`, which also runs on boards.

#[path = "common/cli.rs"]
mod cli;
#[path = "echo/handler.rs"]
mod handler;
#[path = "common/listen.rs"]
mod listen;
#[path = "common/logger.rs"]
mod logger;
#[path = "common/server.rs"]
mod server;
#[path = "common/signals.rs"]
mod signals;
mod tls;

use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fmt, io, thread};

use handler::{Echo, Escaped};
use rustls::ServerConfig;
#[cfg(feature = "deflate")]
use sansocket::deflate::{DeflateOptions, Pool};
use sansocket::handshake::{OriginPolicy, Refusal, Rejection, Request};
use sansocket::hub::driver::{MioAcceptor, MioPlainAcceptor};
use sansocket::hub::{Application, HubSettings, MioServer, RequestAction, SessionInfo, TlsAcceptor};
use sansocket::proto::MIN_BUFFER_LEN;
use sansocket::session::Outcome;
use sansocket::{CloseCode, Config};

const HELP: &str = "\
The WebSocket echo server of sansocket.

Usage: echo_server [OPTIONS]

  --listen HOST:PORT       where to listen, on every address of HOST; may be given several times
                           [127.0.0.1:8080]
  --origin WHICH           pages that may connect: 'same' for those of the request's Host, 'any', or an
                           origin such as https://app.example; may be given several times [same]
  --max-message BYTES      longest message [67108864]; an echo is forwarded in parts, without memory for it
  --max-head BYTES         longest head of a request [8192]
  --max-headers N          most fields of a head [128]
  --buffer BYTES           receive and transmit buffer of a connection, from 140 [18432]
  --max-connections N      connections at once; beyond them 503 [256]
  --threads N              threads, each with its share of the connections [1]
  --handshake-timeout S    seconds for the opening handshake [10]
  --idle-timeout S         seconds in which nothing is received, Pongs included [off]
  --message-timeout S      seconds in which a message in progress gets on by less than 1 KiB [60]
  --ping-interval S        seconds of silence before a Ping [30]
  --pong-timeout S         seconds in which something has to arrive after a Ping [20]
  --write-timeout S        seconds in which the client takes nothing of what is sent to it [30]
  --close-timeout S        seconds for the closing handshake [5]
  --deflate                compress messages with clients that offer it (feature `deflate`)
  --deflate-context        the same, and keep the context of each connection, which takes 210 KB
  --deflate-window BITS    the window for messages that are sent, 9 to 15 [12]
  --deflate-level N        effort, 1 to 9 [2]
  --allow-malformed-key    accept a Sec-WebSocket-Key that is not 16 bytes
  --tls-cert FILE          TLS: the certificate chain, PEM
  --tls-key FILE           and its private key, PEM
  --quiet                  no log of connections and frames
  --help                   print this help

0 switches a time-out off. SIGINT and SIGTERM close every connection with 1001 and end the server; a second one ends it
at once.
";

struct Options {
    listen: Vec<SocketAddr>,
    origins: Vec<AllowedOrigin>,
    buffer: usize,
    connections: usize,
    threads: usize,
    quiet: bool,
    tls: Option<Arc<ServerConfig>>,
    config: Config,
    #[cfg(feature = "deflate")]
    deflate: Option<DeflateOptions>,
}

/// Which pages may connect.
enum AllowedOrigin {
    SameHost,
    Any,
    Origin(String),
}

/// The most that options may ask for: bytes of a buffer, connections, threads.
const MEMORY: usize = 64 * 1024 * 1024;
const CONNECTIONS: usize = 1_000_000;
const THREADS: usize = 256;

fn main() {
    cli::run("echo_server", HELP, options(), run);
}

fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let listeners = listen::bind(&options.listen)?;
    let head = options.config.limits.head;
    let settings = HubSettings::new(options.config)
        .max_sessions(options.connections)
        .head_buffer(head)
        .receive_buffer(options.buffer)
        .transmit_buffer(options.buffer);
    #[cfg(feature = "deflate")]
    let settings = match options.deflate {
        Some(deflate) => settings.deflate(Pool::new(deflate).ok_or("no memory for the codecs")?),
        None => settings,
    };
    let app = App {
        log: if options.quiet { |_| {} } else { log },
        origins: options.origins.into(),
        most: options.connections,
        open: Arc::default(),
    };
    let served = match options.tls {
        Some(config) => serve("https", listeners, TlsAcceptor(config), &settings, &app, options.threads),
        None => serve("http", listeners, MioPlainAcceptor, &settings, &app, options.threads),
    };
    logger::finish();
    served
}

/// Until a signal comes, or a thread fails: each accepts from all listeners.
fn serve<C: MioAcceptor + Clone + Send>(
    scheme: &str,
    listeners: Vec<TcpListener>,
    acceptor: C,
    settings: &HubSettings,
    app: &App,
    threads: usize,
) -> Result<(), Box<dyn Error>>
where
    C::Stream: Send,
{
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
    let mut servers = Vec::new();
    for _ in 0..threads {
        let clones = listeners.iter().map(TcpListener::try_clone).collect::<io::Result<Vec<_>>>()?;
        servers.push(server::new(clones, acceptor.clone(), settings.clone(), |_| app.clone())?);
    }
    // A listener that stays here would let clients connect while the servers stop.
    drop(listeners);
    let handles: Vec<_> = servers.iter().map(MioServer::handle).collect();
    let stop = move || {
        for handle in &handles {
            let _ = handle.stop(CloseCode::GOING_AWAY);
        }
    };
    signals::on_stop(stop.clone())?;
    if let Some(first) = addresses.first() {
        logger::line(format_args!("Starting server on port: '{}'", first.port()));
    }
    logger::line(format_args!("Registering URI handlers"));
    for address in addresses {
        logger::line(format_args!("listening: open {scheme}://{address}/"));
    }
    thread::scope(|scope| {
        let mut running = Vec::new();
        for server in servers {
            let served = || {
                let served = server.run();
                // The others are nothing without it.
                stop();
                served
            };
            running.push(thread::Builder::new().spawn_scoped(scope, served).inspect_err(|_| stop())?);
        }
        for thread in running {
            thread.join().map_err(|_| "a thread has panicked")??;
        }
        Ok(())
    })
}

#[derive(Clone)]
struct App {
    log: fn(fmt::Arguments<'_>),
    origins: Arc<[AllowedOrigin]>,
    /// Connections of all threads, and the most that there may be.
    open: Arc<AtomicUsize>,
    most: usize,
}

impl Application for App {
    type Handler = Echo<fn(fmt::Arguments<'_>)>;

    fn request<'s>(
        &'s mut self,
        session: &mut SessionInfo,
        request: &Request<'_>,
    ) -> RequestAction<'s, Self::Handler> {
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return RequestAction::Reject(Rejection::Unavailable);
        }
        session.set_tag(COUNTED);
        let mut echo = Echo::new(self.log);
        let allowed = self.origins.iter().any(|origin| origin.allows(request));
        echo.origin = if allowed { OriginPolicy::Any } else { OriginPolicy::List(&[]) };
        RequestAction::Serve(echo)
    }

    fn refused(&mut self, session: &SessionInfo, request: Option<&Request<'_>>, refusal: &Refusal) {
        let peer = session.peer();
        match request.and_then(|request| request.headers().get("Origin")) {
            Some(origin) => {
                (self.log)(format_args!("Refused {peer} with {refusal}; Origin {}", Escaped(origin)))
            }
            None => (self.log)(format_args!("Refused {peer} with {refusal}")),
        }
    }

    fn ended(&mut self, session: &SessionInfo, outcome: Option<Outcome>) {
        // The handler's own answer, such as 404.
        if let Some(Outcome::Refused(Refusal { status: status @ 400.., reason: None, .. })) = outcome {
            (self.log)(format_args!("Refused {} with {status}", session.peer()));
        }
        if session.tag() == COUNTED {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The group of those that have a place.
const COUNTED: u32 = 1;

impl AllowedOrigin {
    fn allows(&self, request: &Request<'_>) -> bool {
        match self {
            Self::SameHost => OriginPolicy::SameHost.allows(request),
            Self::Any => true,
            Self::Origin(allowed) => OriginPolicy::List(&[allowed]).allows(request),
        }
    }
}

impl FromStr for AllowedOrigin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "same" => Ok(Self::SameHost),
            "any" => Ok(Self::Any),
            _ if is_origin(text) => Ok(Self::Origin(text.into())),
            _ => Err(format!(
                "--origin takes 'same', 'any' or an origin such as https://app.example, not '{text}'"
            )),
        }
    }
}

/// Whether it is an origin as clients send it (RFC 6454 §6.2): one with a path would match none.
fn is_origin(text: &str) -> bool {
    match text.split_once("://") {
        None => text == "null",
        Some(("", _) | ("http" | "https", "")) => false,
        Some((_, host)) => {
            text.bytes().all(|byte| byte.is_ascii_graphic()) && !host.contains(['/', '?', '#'])
        }
    }
}

fn log(line: fmt::Arguments<'_>) {
    logger::line(format_args!("ws_echo_server: {line}"));
}

fn options() -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::*;

    let mut config = Config::new();
    let (mut listen, mut origins) = (Vec::new(), Vec::new());
    let (mut buffer, mut connections, mut threads, mut quiet) = (18 * 1024, 256, 1, false);
    let (mut chain, mut key) = (None, None);
    #[cfg(feature = "deflate")]
    let (mut compress, mut deflate) = (false, DeflateOptions::new());
    let mut parser = lexopt::Parser::from_env();
    let p = &mut parser;
    while let Some(arg) = p.next()? {
        match arg {
            Long("listen") => listen.extend(listen::resolve(&cli::text(p)?)?),
            Long("origin") => origins.push(cli::text(p)?.parse()?),
            Long("max-message") => {
                config.limits.message = cli::number(p, "--max-message", 0..=u64::MAX)?;
                config.limits.frame = config.limits.message;
            }
            Long("max-head") => config.limits.head = cli::number(p, "--max-head", MIN_BUFFER_LEN..=MEMORY)?,
            Long("max-headers") => config.limits.headers = cli::number(p, "--max-headers", 1..=MEMORY)?,
            Long("buffer") => buffer = cli::number(p, "--buffer", MIN_BUFFER_LEN..=MEMORY)?,
            Long("max-connections") => connections = cli::number(p, "--max-connections", 1..=CONNECTIONS)?,
            Long("threads") => threads = cli::number(p, "--threads", 1..=THREADS)?,
            Long("handshake-timeout") => config.timeouts.handshake = cli::seconds(p, "--handshake-timeout")?,
            Long("idle-timeout") => config.timeouts.idle = cli::seconds(p, "--idle-timeout")?,
            Long("ping-interval") => config.timeouts.ping = cli::seconds(p, "--ping-interval")?,
            Long("message-timeout") => config.timeouts.message = cli::seconds(p, "--message-timeout")?,
            Long("pong-timeout") => config.timeouts.pong = cli::seconds(p, "--pong-timeout")?,
            Long("write-timeout") => config.timeouts.write = cli::seconds(p, "--write-timeout")?,
            Long("close-timeout") => config.timeouts.close = cli::seconds(p, "--close-timeout")?,
            #[cfg(feature = "deflate")]
            Long("deflate") => compress = true,
            #[cfg(feature = "deflate")]
            Long("deflate-context") => (compress, deflate) = (true, deflate.context(true)),
            #[cfg(feature = "deflate")]
            Long("deflate-window") => {
                deflate = deflate.send_window_bits(cli::number(p, "--deflate-window", 9..=15)?);
            }
            #[cfg(feature = "deflate")]
            Long("deflate-level") => deflate = deflate.level(cli::number(p, "--deflate-level", 1..=9)?),
            Long("allow-malformed-key") => config.allow_malformed_key = true,
            Long("tls-cert") => chain = Some(cli::text(p)?),
            Long("tls-key") => key = Some(cli::text(p)?),
            Long("quiet") => quiet = true,
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    if listen.is_empty() {
        listen = listen::resolve("127.0.0.1:8080")?;
    }
    if origins.is_empty() {
        origins.push(AllowedOrigin::SameHost);
    }
    let tls = match (chain, key) {
        (Some(chain), Some(key)) => Some(tls::server(&chain, &key)?),
        (None, None) => None,
        _ => return Err("--tls-cert and --tls-key go together".into()),
    };
    Ok(Some(Options {
        listen,
        origins,
        buffer,
        connections,
        threads,
        quiet,
        tls,
        config,
        #[cfg(feature = "deflate")]
        deflate: compress.then_some(deflate),
    }))
}
