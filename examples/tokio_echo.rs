//! An echo server on tokio, with a task for each connection.
//!
//!     cargo run --release --example tokio_echo --features tokio
//!     cargo run --release --example tokio_echo --features tokio,deflate -- --deflate
//!
//! It continues after a failed accept, bounds its connections, sets TCP_NODELAY, and closes every connection with 1001 when it gets a signal
//! to stop.

#[path = "common/cli.rs"]
mod cli;

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sansocket::config::ServerOptions;
use sansocket::handshake::{Accepted, Decision, Response};
use sansocket::tokio::WebSocket;
use sansocket::{CloseCode, Config};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

const HELP: &str = "\
The WebSocket echo server of sansocket on tokio: echoes on /ws.

Usage: tokio_echo [OPTIONS]

  --listen HOST:PORT       where to listen [127.0.0.1:8080]
  --max-connections COUNT  connections at once; further ones wait to be accepted [10000]
  --max-message BYTES      the longest message [67108864]
  --deflate                compress messages with clients that offer it (feature `deflate`)
  --help                   print this help

SIGINT and SIGTERM close every connection with 1001 and end the server.
";

/// After a failed accept: the process may have no descriptors left, until a connection ends.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the connections have for their closing handshakes when the server stops.
const CLOSING: Duration = Duration::from_secs(12);

struct Options {
    listen: String,
    connections: u32,
    message: u64,
    deflate: bool,
}

fn main() {
    cli::run("tokio_echo", HELP, options(), run);
}

#[tokio::main]
async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let listener =
        TcpListener::bind(&options.listen).await.map_err(|e| format!("{}: {e}", options.listen))?;
    println!("listening on {}", listener.local_addr()?);
    let config = Config::new().max_message_len(options.message);
    let server = compressed(ServerOptions::new().config(config), options.deflate)?;
    serve(listener, server, options.connections, told_to_stop()?).await;
    Ok(())
}

#[cfg(feature = "deflate")]
fn compressed(server: ServerOptions, asked: bool) -> Result<ServerOptions, Box<dyn Error>> {
    use sansocket::deflate::{DeflateOptions, Pool};

    if !asked {
        return Ok(server);
    }
    Ok(server.deflate(Pool::new(DeflateOptions::new()).ok_or("no memory for the codecs")?))
}

#[cfg(not(feature = "deflate"))]
fn compressed(server: ServerOptions, asked: bool) -> Result<ServerOptions, Box<dyn Error>> {
    if asked { Err("--deflate needs feature `deflate`".into()) } else { Ok(server) }
}

/// Serves until `stop` is ready, and then until the connections have ended.
pub(crate) async fn serve(
    listener: TcpListener,
    options: ServerOptions,
    connections: u32,
    stop: impl Future<Output = ()>,
) {
    let seats = Arc::new(Semaphore::new(connections as usize));
    // Nothing is sent: the receivers see that the sender is dropped.
    let (running, stopping) = watch::channel(());
    let mut stop = pin!(stop);
    loop {
        let (seat, stream) = tokio::select! {
            () = &mut stop => break,
            Some(accepted) = accept(&listener, &seats) => accepted,
        };
        let (options, stopping) = (options.clone(), stopping.clone());
        tokio::spawn(async move {
            if let Err(error) = echo(stream, &options, stopping).await {
                eprintln!("{error}");
            }
            drop(seat);
        });
    }
    drop((running, listener));
    let _ = timeout(CLOSING, seats.acquire_many(connections)).await;
}

/// The next connection, and its place among those that may be open.
async fn accept(listener: &TcpListener, seats: &Arc<Semaphore>) -> Option<(OwnedSemaphorePermit, TcpStream)> {
    let seat = Arc::clone(seats).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Some((seat, stream)),
            Err(error) => {
                eprintln!("accept: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn echo(
    stream: TcpStream,
    options: &ServerOptions,
    mut stopping: watch::Receiver<()>,
) -> Result<(), sansocket::Error> {
    // Small messages do not wait for the acknowledgement of those before them.
    let _ = stream.set_nodelay(true);
    let accepted = WebSocket::accept_with(stream, options, |request| match request.path() {
        "/ws" => Decision::Accept(options.accept_options()),
        _ => Decision::Respond(Response::text(404, "the echo is at /ws\n")),
    });
    // No handshake holds up the end.
    let mut socket = tokio::select! {
        accepted = accepted => match accepted {
            Ok(Accepted::WebSocket(socket)) => socket,
            Ok(_) | Err(sansocket::Error::Rejected(_)) => return Ok(()),
            Err(error) => return Err(error),
        },
        _ = stopping.changed() => return Ok(()),
    };
    loop {
        tokio::select! {
            message = socket.recv() => match message? {
                Some(message) => socket.feed(message).await?,
                None => return Ok(()),
            },
            _ = stopping.changed() => {
                socket.close(CloseCode::GOING_AWAY, "the server stops").await;
                return Ok(());
            }
        }
    }
}

/// SIGINT and SIGTERM: what Ctrl-C, `kill`, `docker stop` and systemd send.
#[cfg(unix)]
fn told_to_stop() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn told_to_stop() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}

fn options() -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::*;

    let mut options = Options {
        listen: "127.0.0.1:8080".into(),
        connections: 10_000,
        message: Config::new().limits.message,
        deflate: false,
    };
    let mut parser = lexopt::Parser::from_env();
    let p = &mut parser;
    while let Some(arg) = p.next()? {
        match arg {
            Long("listen") => options.listen = cli::text(p)?,
            Long("max-connections") => {
                options.connections = cli::number(p, "--max-connections", 1..=1_000_000)?;
            }
            Long("max-message") => options.message = cli::number(p, "--max-message", 1..=u64::MAX >> 1)?,
            Long("deflate") => options.deflate = true,
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(options))
}
