//! Over TLS, for few clients, with control frames by hand: what ESP-IDF's example of the same name does.
//!
//!     cargo run --release --example wss_server --features mio,rustls
//!
//! It echoes TEXT, says "Hello client" to everybody every 10 s, asks who is silent for 5 s whether he still lives, and
//! closes him after 10. Without a certificate it makes one for this run, and prints its fingerprint.

#[path = "common/cli.rs"]
mod cli;
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
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::pki_types::PrivateKeyDer;
use sansocket::config::ControlFrames;
use sansocket::handshake::{AcceptOptions, Refusal, Request, Response};
use sansocket::hub::{
    Application, HandleError, HubHandle, HubSettings, MioServer, RequestAction, SessionId, SessionInfo,
    TlsAcceptor,
};
use sansocket::{CloseCode, Config, Ending, Event, Handler, HandlerError, Kind, Outbox};

const HELP: &str = "\
A WebSocket server over TLS, for four clients, at /ws.

Usage: wss_server [OPTIONS]

  --listen HOST:PORT   where to listen, on every address of HOST [127.0.0.1:8443]
  --tls-cert FILE      the certificate chain, PEM [one of its own]
  --tls-key FILE       and its private key, PEM
  --keep-alive S       seconds of silence before a PING, and again before the end [5]
  --hello S            seconds from one \"Hello client\" to the next [10]
  --help               print this help

SIGINT and SIGTERM close every connection with 1001 and end the server; a second one ends it at once.
";

const CLIENTS: usize = 4;

pub(crate) struct Options {
    pub(crate) listen: Vec<SocketAddr>,
    /// The files of certificate chain and key.
    pub(crate) certificate: Option<(String, String)>,
    pub(crate) keep_alive: Duration,
    pub(crate) hello: Duration,
}

fn main() {
    cli::run("wss_server", HELP, options(), run);
}

fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let server = start(&options)?;
    let handle = server.handle();
    signals::on_stop(move || {
        let _ = handle.stop(CloseCode::GOING_AWAY);
    })?;
    logger::line(format_args!("listening: wss://{}/ws", server.address()));
    server.run()?;
    logger::finish();
    Ok(())
}

pub(crate) fn start(options: &Options) -> Result<MioServer<App, TlsAcceptor>, Box<dyn Error>> {
    let tls = match &options.certificate {
        Some((chain, key)) => tls::server(chain, key)?,
        None => self_signed()?,
    };
    // The route's own settings, which count from the 101 on.
    let route = Config::new()
        .control_frames(ControlFrames::Manual)
        .keep_alive(Some(options.keep_alive), Some(options.keep_alive));
    let app = App { route: Arc::new(route) };
    let settings = HubSettings::default().max_sessions(CLIENTS);
    let server = server::new(listen::bind(&options.listen)?, TlsAcceptor(tls), settings, |_| app)?;
    let (handle, every) = (server.handle(), options.hello);
    thread::spawn(move || greet(&handle, every));
    Ok(server)
}

/// Sends a greeting to each client at this interval, until the server stops.
fn greet(handle: &HubHandle, every: Duration) {
    loop {
        thread::sleep(every);
        // A full queue is no reason to give up.
        if handle.broadcast("Hello client") == Err(HandleError::Stopped) {
            return;
        }
    }
}

pub(crate) struct App {
    route: Arc<Config>,
}

impl Application for App {
    type Handler = Echo;

    fn request<'s>(
        &'s mut self,
        session: &mut SessionInfo,
        request: &Request<'_>,
    ) -> RequestAction<'s, Echo> {
        match request.path() {
            "/ws" => {
                let accept = AcceptOptions::new().config(Arc::clone(&self.route));
                RequestAction::Accept(Echo { id: session.id() }, accept)
            }
            _ => RequestAction::Respond(Response::text(404, "try /ws\n")),
        }
    }

    fn refused(&mut self, session: &SessionInfo, request: Option<&Request<'_>>, refusal: &Refusal) {
        let origin = request.and_then(Request::origin);
        logger::line(format_args!("wss_server: {}: refused with {refusal}; Origin {origin:?}", session.id()));
    }
}

pub(crate) struct Echo {
    id: SessionId,
}

impl Echo {
    fn log(&self, line: std::fmt::Arguments<'_>) {
        logger::line(format_args!("wss_server: {}: {line}", self.id));
    }
}

impl Handler for Echo {
    fn opened(&mut self, _: Option<&str>, _: &mut Outbox<'_>) -> Result<(), HandlerError> {
        self.log(format_args!("new client"));
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        match event {
            Event::Data(data) if data.kind == Kind::Text => out.forward(&data)?,
            Event::Data(_) => {}
            Event::Ping(payload) => {
                out.pong(payload.as_bytes())?;
                self.log(format_args!("got a PING, sent a PONG"));
            }
            Event::Pong(_) => self.log(format_args!("got a PONG: it lives")),
            Event::Close(code, _) => {
                out.close(code, "")?;
                self.log(format_args!("got a CLOSE, answered it"));
            }
            _ => {}
        }
        Ok(())
    }

    fn closed(&mut self, ending: &Ending, _: &str) {
        self.log(format_args!("gone: {}", ending.reason));
    }
}

/// A certificate for this run.
fn self_signed() -> Result<Arc<ServerConfig>, Box<dyn Error>> {
    let key = KeyPair::generate()?;
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names)?.self_signed(&key)?.der().clone();
    let hash = TLS13_AES_128_GCM_SHA256.tls13().ok_or("no SHA-256")?.common.hash_provider.hash(&certificate);
    let mut fingerprint = String::new();
    for (at, byte) in hash.as_ref().iter().enumerate() {
        write!(fingerprint, "{}{byte:02X}", if at > 0 { ":" } else { "" })?;
    }
    logger::line(format_args!("certificate of this run: SHA-256 {fingerprint}"));
    let secret = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], secret)?;
    Ok(Arc::new(config))
}

fn options() -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::*;

    let mut listen = "127.0.0.1:8443".to_owned();
    let (mut keep_alive, mut hello) = (Duration::from_secs(5), Duration::from_secs(10));
    let (mut chain, mut key) = (None, None);
    let mut parser = lexopt::Parser::from_env();
    let p = &mut parser;
    while let Some(arg) = p.next()? {
        match arg {
            Long("listen") => listen = cli::text(p)?,
            Long("tls-cert") => chain = Some(cli::text(p)?),
            Long("tls-key") => key = Some(cli::text(p)?),
            Long("keep-alive") => {
                keep_alive = cli::seconds(p, "--keep-alive")?.ok_or("--keep-alive is not 0")?
            }
            Long("hello") => hello = cli::seconds(p, "--hello")?.ok_or("--hello is not 0")?,
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    if chain.is_some() != key.is_some() {
        return Err("--tls-cert and --tls-key go together".into());
    }
    Ok(Some(Options { listen: listen::resolve(&listen)?, certificate: chain.zip(key), keep_alive, hello }))
}
