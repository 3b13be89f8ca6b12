//! The HTTP server: the page, and a WebSocket for each member.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use sansocket::CloseCode;
use sansocket::tokio::Tracker;
use sansocket_axum::{Message as Frame, WebSocketUpgrade};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

use crate::member::{Leave, Member};
use crate::protocol::{Visit, is_word};
use crate::rooms::{Rooms, Store};

/// The longest message of a page: a text of the greatest length, each byte escaped in JSON.
const MAX_MESSAGE: usize = 32 * 1024;
/// After a failed accept: the process may have no descriptors left, until a connection ends.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a client has for the head of a request.
const HEAD: Duration = Duration::from_secs(10);
/// How long the members have for their closing handshakes when the server stops.
const CLOSING: Duration = Duration::from_secs(12);

const PAGE: &str = include_str!("page.html");

struct Chat<S> {
    rooms: Arc<Rooms>,
    store: Arc<S>,
    members: Tracker,
}

/// A connection's place among those that may be open. Its WebSocket holds it too.
type Held = Arc<OwnedSemaphorePermit>;

/// Serves until a signal, and then until the connections have ended.
pub(crate) async fn serve<S: Store>(
    listener: TcpListener,
    connections: u32,
    rooms: Arc<Rooms>,
    store: Arc<S>,
) -> io::Result<()> {
    // Nothing is sent: the receivers see that the sender is dropped.
    let (running, stopping) = watch::channel(());
    let members = Tracker::new();
    let chat = Chat { rooms: Arc::clone(&rooms), store: Arc::clone(&store), members: members.clone() };
    let app = Router::new()
        .route("/", routing::get(([(header::CONTENT_TYPE, "text/html; charset=utf-8")], PAGE)))
        .route("/ws/{room}", routing::any(join::<S>))
        .with_state(Arc::new(chat));
    let seats = Arc::new(Semaphore::new(connections as usize));
    let mut people = pin!(rooms.keep_people(&*store));
    let mut stop = pin!(told_to_stop()?);
    println!("listening: open http://{}/", listener.local_addr()?);
    loop {
        let (held, stream) = tokio::select! {
            () = &mut stop => break,
            () = &mut people => break,
            Some(accepted) = accept(&listener, &seats) => accepted,
        };
        let app = app.clone().layer(Extension(Arc::new(held)));
        tokio::spawn(http(stream, app, stopping.clone()));
    }
    drop((running, listener));
    members.close_all(CloseCode::GOING_AWAY, "the server stops");
    let _ = timeout(CLOSING, seats.acquire_many(connections)).await;
    Ok(())
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

/// Serves the requests of a connection. `axum::serve` would give a silent client as long as it likes.
async fn http(stream: TcpStream, app: Router, mut stopping: watch::Receiver<()>) {
    // Small messages do not wait for the acknowledgement of those before them.
    let _ = stream.set_nodelay(true);
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app))
            .with_upgrades()
    );
    tokio::select! {
        // An error is the client's: it speaks no HTTP, or it has gone.
        _ = &mut connection => {}
        _ = stopping.changed() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

async fn join<S: Store>(
    upgrade: WebSocketUpgrade,
    State(chat): State<Arc<Chat<S>>>,
    Extension(held): Extension<Held>,
    Path(room): Path<String>,
    Query(visit): Query<Visit>,
) -> Response {
    if !is_word(&room) || !visit.is_valid() {
        return StatusCode::BAD_REQUEST.into_response();
    }
    upgrade.max_message_size(MAX_MESSAGE).track(&chat.members).on_upgrade(async move |mut socket| {
        let member = Member::new(&mut socket, &*chat.store, &room, &visit);
        if let Leave::Close(frame) = member.attend(&chat.rooms).await {
            let _ = socket.send(Frame::Close(Some(frame))).await;
            while let Some(Ok(_)) = socket.recv().await {}
        }
        drop(held);
    })
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
