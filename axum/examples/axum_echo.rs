//! An echo server on axum, over HTTP/1 and HTTP/2, with TLS if it has a certificate.
//!
//!     cargo run --release -p sansocket-axum --example axum_echo
//!
//! It has the routes of sansocket's echo server, so that the same clients test both.

#[path = "../../examples/common/cli.rs"]
mod cli;

use std::collections::VecDeque;
use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{Method, StatusCode, Version};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{any, get};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use sansocket::handshake::OriginPolicy;
use sansocket::{CloseCode, Kind};
use sansocket_axum::{Message, WebSocket, WebSocketUpgrade};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

const HELP: &str = "\
The WebSocket echo server of sansocket on axum: echoes on /ws, /ws_partial and /auth?token=valid.

Usage: axum_echo [OPTIONS]

  --listen HOST:PORT  where to listen [127.0.0.1:8080]
  --tls-cert FILE     the chain of certificates, in PEM: TLS with HTTP/2 and HTTP/1.1
  --tls-key FILE      the private key, in PEM
  --origin ORIGIN     an origin whose pages may connect, or any [the same host]
  --http2-only        refuse upgrades of HTTP/1 with 505
  --help              print this help

SIGINT and SIGTERM close every connection with 1001 and end the server.
";
const WELCOME: &str = "Welcome to the WebSocket Echo Server (post-handshake)!";
/// How long after its trigger "Async data" comes.
const LATER: Duration = Duration::from_millis(50);
/// Bytes of a frame on `/ws_partial`.
const PART: usize = 64;
/// After a failed accept: the process may have no descriptors left, until a connection ends.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the connections have for their closing handshakes when the server stops.
const CLOSING: Duration = Duration::from_secs(12);

#[derive(Default)]
struct Options {
    listen: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
    origins: Vec<String>,
    http2_only: bool,
}

/// What all requests share.
#[derive(Clone)]
struct Shared {
    origin: OriginPolicy<'static>,
    http2_only: bool,
    /// Each WebSocket has a receiver, which sees when the server stops.
    stop: Arc<watch::Sender<()>>,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
}

fn main() {
    cli::run("axum_echo", HELP, options(), run);
}

#[tokio::main]
async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let tls = options.certificate.as_ref().zip(options.key.as_ref()).map(tls).transpose()?;
    let stop = Arc::new(watch::Sender::new(()));
    let origin = match &*options.origins {
        [] => OriginPolicy::SameHost,
        [any] if any == "any" => OriginPolicy::Any,
        _ => OriginPolicy::from_list(options.origins),
    };
    let app = Router::new()
        .route("/", get(|| async { Html(include_str!("../../examples/echo/page.html")) }))
        .route("/ws", any(echo))
        .route("/ws_partial", any(echo_in_parts))
        .route("/auth", any(auth))
        .with_state(Shared { origin, http2_only: options.http2_only, stop: Arc::clone(&stop) });
    let listener = TcpListener::bind(options.listen.as_deref().unwrap_or("127.0.0.1:8080")).await?;
    println!("listening on {}", listener.local_addr()?);
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    loop {
        let stream = tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            stream = accept(&listener) => stream,
        };
        // Small messages do not wait for the acknowledgement of those before them.
        let _ = stream.set_nodelay(true);
        let (app, tls) = (app.clone(), tls.clone());
        tokio::spawn(async move {
            let served = match tls {
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => serve(stream, app).await,
                    Err(error) => Err(error.into()),
                },
                None => serve(stream, app).await,
            };
            if let Err(error) = served {
                eprintln!("{error}");
            }
        });
    }
    drop(listener);
    stop.send_replace(());
    let _ = timeout(CLOSING, stop.closed()).await;
    Ok(())
}

/// The next connection.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                eprintln!("accept: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

fn tls((certificate, key): (&String, &String)) -> Result<TlsAcceptor, Box<dyn Error>> {
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".into(), b"http/1.1".into()];
    Ok(Arc::new(config).into())
}

/// Serves HTTP/1 and HTTP/2, as `axum::serve` does, which has no TLS.
async fn serve<S>(stream: S, app: Router) -> Result<(), Box<dyn Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().enable_connect_protocol();
    builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(app)).await
}

async fn echo(shared: State<Shared>, method: Method, version: Version, ws: WebSocketUpgrade) -> Response {
    upgrade(shared, (method, version), ws, |socket, stopping| talk(socket, stopping, None))
}

async fn echo_in_parts(
    shared: State<Shared>,
    method: Method,
    version: Version,
    ws: WebSocketUpgrade,
) -> Response {
    upgrade(shared, (method, version), ws, talk_in_parts)
}

async fn auth(
    shared: State<Shared>,
    Query(Token { token }): Query<Token>,
    method: Method,
    version: Version,
    ws: WebSocketUpgrade,
) -> Response {
    match token.as_deref() {
        Some("valid") => {
            upgrade(shared, (method, version), ws, |socket, stopping| talk(socket, stopping, Some(WELCOME)))
        }
        _ => StatusCode::UNAUTHORIZED.into_response(),
    }
}

fn upgrade<F: Future<Output = ()> + Send + 'static>(
    State(shared): State<Shared>,
    by: (Method, Version),
    ws: WebSocketUpgrade,
    talk: impl FnOnce(WebSocket, watch::Receiver<()>) -> F + Send + 'static,
) -> Response {
    if shared.http2_only && by != (Method::CONNECT, Version::HTTP_2) {
        return StatusCode::HTTP_VERSION_NOT_SUPPORTED.into_response();
    }
    println!("upgraded by {} of {:?}", by.0, by.1);
    // From now on: the server may stop between the response and the upgrade.
    let stopping = shared.stop.subscribe();
    ws.protocols(["chat", "echo"])
        .origin_policy(shared.origin)
        .on_upgrade(move |socket| talk(socket, stopping))
}

/// Echoes. A text that begins with "Trigger async" is answered later, one that begins with "Ping" by a Ping.
async fn talk(mut socket: WebSocket, mut stopping: watch::Receiver<()>, welcome: Option<&'static str>) {
    if let Some(welcome) = welcome
        && socket.send(welcome.into()).await.is_err()
    {
        return;
    }
    let mut later = VecDeque::new();
    loop {
        let next = later.front().copied();
        let answer = tokio::select! {
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) if text.starts_with("Trigger async") => {
                    later.push_back(Instant::now() + LATER);
                    continue;
                }
                Some(Ok(Message::Text(text))) if text.starts_with("Ping") => Message::Ping(Default::default()),
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => message,
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => return,
            },
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                later.pop_front();
                "Async data".into()
            }
            _ = stopping.changed() => {
                socket.get_mut().close(CloseCode::GOING_AWAY, "").await;
                return;
            }
        };
        if socket.send(answer).await.is_err() {
            return;
        }
    }
}

/// Echoes in frames of 64 bytes.
async fn talk_in_parts(mut socket: WebSocket, mut stopping: watch::Receiver<()>) {
    loop {
        let message = tokio::select! {
            message = socket.recv() => message,
            _ = stopping.changed() => {
                socket.get_mut().close(CloseCode::GOING_AWAY, "").await;
                return;
            }
        };
        let (kind, bytes) = match message {
            Some(Ok(Message::Text(text))) => (Kind::Text, text.into()),
            Some(Ok(Message::Binary(bytes))) => (Kind::Binary, bytes),
            Some(Ok(_)) => continue,
            Some(Err(_)) | None => return,
        };
        let mut writer = socket.get_mut().writer();
        let mut parts = bytes.chunks(PART).peekable();
        while let Some(part) = parts.next() {
            if writer.fragment(kind, part, parts.peek().is_none()).await.is_err() {
                return;
            }
        }
    }
}

fn options() -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::*;

    let mut options = Options::default();
    let mut parser = lexopt::Parser::from_env();
    let p = &mut parser;
    while let Some(arg) = p.next()? {
        match arg {
            Long("listen") => options.listen = Some(cli::text(p)?),
            Long("tls-cert") => options.certificate = Some(cli::text(p)?),
            Long("tls-key") => options.key = Some(cli::text(p)?),
            Long("origin") => options.origins.push(cli::text(p)?),
            Long("http2-only") => options.http2_only = true,
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(options))
}
