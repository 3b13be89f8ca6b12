//! The echo server on a PC: open the address that it prints in a browser.
//!
//!     cargo run --release --example echo_server --features mio,rustls
//!
//! One thread, or a few, for all connections. What it does on a connection is `echo/handler.rs`, which also runs on boards.

#[path = "echo/handler.rs"]
mod handler;
mod tls;

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::net::TcpListener;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use handler::Echo;
use rustls::ServerConfig;
use sansocket::adapter::mio::{Acceptor, Plain, Server};
use sansocket::adapter::rustls::Tls;
use sansocket::handshake::{Answer, Rejection, Request};
use sansocket::hub::{Application, Choice, Client, Settings};
use sansocket::{Config, MIN_BUFFER, Outcome};

const HELP: &str = "\
The WebSocket echo server of sansocket.

Usage: echo_server [OPTIONS]

  --listen ADDR:PORT       where to listen [127.0.0.1:8080]
  --max-message BYTES      longest message [67108864]; it streams, nothing is kept
  --max-head BYTES         longest head of a request [8192]
  --buffer BYTES           receive and transmit buffer of a connection, from 140 [16384]
  --max-connections N      connections at once; beyond them 503 [256]
  --threads N              threads, each with its share of the connections [1]
  --handshake-timeout S    seconds for the opening handshake [10]
  --idle-timeout S         seconds in which nothing is received, Pongs included [off]
  --ping-interval S        seconds of silence before a Ping [30]
  --close-timeout S        seconds for the closing handshake [5]
  --allow-malformed-key    accept a Sec-WebSocket-Key that is not 16 bytes
  --tls-cert FILE          TLS: the certificate chain, PEM
  --tls-key FILE           and its private key, PEM
  --quiet                  no log of connections and frames
  --help                   this

0 switches a time-out off.
";

struct Options {
    listen: String,
    buffer: usize,
    connections: usize,
    threads: usize,
    quiet: bool,
    tls: Option<Arc<ServerConfig>>,
    config: Config,
}

fn main() {
    let options = match options() {
        Ok(Some(options)) => options,
        Ok(None) => return print!("{HELP}"),
        Err(error) => fail(&format!("{error}\n\n{HELP}"), 2),
    };
    if let Err(error) = run(options) {
        fail(&error.to_string(), 1);
    }
}

fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(&options.listen)
        .map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;
    let address = listener.local_addr()?;
    println!("Starting server on port: '{}'", address.port());
    println!("Registering URI handlers");
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    println!("listening: open {scheme}://{address}/");
    let config: &Config = Box::leak(Box::new(options.config));
    let mut settings = Settings::new(config);
    settings.sessions = options.connections;
    (settings.head, settings.rx, settings.tx) = (config.limits.head, options.buffer, options.buffer);
    let app = App {
        log: if options.quiet { |_| {} } else { log },
        most: options.connections,
        open: Arc::default(),
    };
    match options.tls {
        Some(config) => serve(&listener, Tls(config), &settings, &app, options.threads),
        None => serve(&listener, Plain, &settings, &app, options.threads),
    }
}

/// Until one of them fails: each thread accepts from the same listener.
fn serve<C: Acceptor + Clone + Send + 'static>(
    listener: &TcpListener,
    acceptor: C,
    settings: &Settings,
    app: &App,
    threads: usize,
) -> Result<(), Box<dyn Error>> {
    let (tell, told) = std::sync::mpsc::channel();
    for _ in 0..threads {
        let (listener, acceptor, settings) = (listener.try_clone()?, acceptor.clone(), settings.clone());
        let (app, tell) = (app.clone(), tell.clone());
        thread::spawn(move || {
            let served = Server::new(listener, acceptor, settings, |_| app).and_then(Server::run);
            let _ = tell.send(served);
        });
    }
    Ok(told.recv()??)
}

#[derive(Clone)]
struct App {
    log: fn(fmt::Arguments<'_>),
    /// Connections of all threads, and the most that there may be.
    open: Arc<AtomicUsize>,
    most: usize,
}

impl<S> Application<S> for App {
    type Handler = Echo<fn(fmt::Arguments<'_>)>;

    fn request<'s>(&'s mut self, client: &mut Client, _: &Request<'_>) -> Choice<'s, Self::Handler> {
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return Choice::Answer(Answer::Respond(Rejection::Unavailable.response()));
        }
        client.group = COUNTED;
        Choice::Handler(Echo::new(self.log))
    }

    fn ended(&mut self, client: &Client, _: Option<Outcome>) {
        if client.group == COUNTED {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The group of those that have a place.
const COUNTED: u32 = 1;

fn log(line: fmt::Arguments<'_>) {
    // Whoever reads the log may go: the server stays.
    let _ = writeln!(io::stdout(), "ws_echo_server: {line}");
}

fn options() -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::*;

    let mut config = Config::new();
    let mut options = Options {
        listen: "127.0.0.1:8080".into(),
        buffer: 16 * 1024,
        connections: 256,
        threads: 1,
        quiet: false,
        tls: None,
        config: Config::new(),
    };
    let (mut chain, mut key) = (None, None);
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("listen") => options.listen = parser.value()?.string()?,
            Long("max-message") => {
                config.limits.message = number(&mut parser)?;
                config.limits.frame = config.limits.message;
            }
            Long("max-head") => config.limits.head = at_least(MIN_BUFFER, number(&mut parser)?)?,
            Long("buffer") => options.buffer = at_least(MIN_BUFFER, number(&mut parser)?)?,
            Long("max-connections") => options.connections = number(&mut parser)?,
            Long("threads") => options.threads = number::<usize>(&mut parser)?.max(1),
            Long("handshake-timeout") => config.timeouts.handshake = seconds(&mut parser)?,
            Long("idle-timeout") => config.timeouts.idle = seconds(&mut parser)?,
            Long("ping-interval") => config.timeouts.ping = seconds(&mut parser)?,
            Long("close-timeout") => config.timeouts.close = seconds(&mut parser)?,
            Long("allow-malformed-key") => config.allow_malformed_key = true,
            Long("tls-cert") => chain = Some(parser.value()?.string()?),
            Long("tls-key") => key = Some(parser.value()?.string()?),
            Long("quiet") => options.quiet = true,
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    options.tls = match (chain, key) {
        (Some(chain), Some(key)) => Some(tls::server(&chain, &key)?),
        (None, None) => None,
        _ => return Err("--tls-cert and --tls-key go together".into()),
    };
    options.config = config;
    Ok(Some(options))
}

fn number<T: FromStr<Err: Into<Box<dyn Error + Send + Sync>>>>(
    parser: &mut lexopt::Parser,
) -> Result<T, lexopt::Error> {
    use lexopt::ValueExt;
    parser.value()?.parse()
}

fn at_least(least: usize, value: usize) -> Result<usize, lexopt::Error> {
    if value < least {
        Err(format!("a buffer needs at least {least} bytes, not {value}").into())
    } else {
        Ok(value)
    }
}

/// Seconds, with a fraction where wanted; 0 is off.
fn seconds(parser: &mut lexopt::Parser) -> Result<Option<Duration>, lexopt::Error> {
    let seconds: f64 = number(parser)?;
    let duration = Duration::try_from_secs_f64(seconds)
        .map_err(|_| format!("a time-out is a number of seconds, not {seconds}"))?;
    Ok((!duration.is_zero()).then_some(duration))
}

fn fail(text: &str, code: i32) -> ! {
    eprintln!("echo_server: {text}");
    std::process::exit(code)
}
