//! Heap of tokio's libraries: an idle connection after one message, and the growth under Pings from a peer that never reads.
//!
//!     memory [--only PART-OF-A-LIBRARY'S-NAME]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream as Client};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use sansocket::config::ServerOptions;
use sansocket_peers::csv::{attempt, failed, option, row};
use sansocket_peers::wire::frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Connections at once.
const CONNECTIONS: usize = 1000;
/// Bytes of Pings.
const FLOOD: usize = 32 << 20;
/// How long a server that reads no more is watched.
const PATIENCE: Duration = Duration::from_secs(1);
const REQUEST: &str = "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// The system's allocator, with a count of the bytes that are held.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: all is done by the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

/// What each library is compared with: a task with the same stream and no library.
const PLAIN: &str = "plain";
const LIBRARIES: [&str; 8] = [
    PLAIN,
    "sansocket-tokio",
    "sansocket-axum",
    "tokio-tungstenite",
    "fastwebsockets",
    "tokio-websockets",
    "yawc",
    "axum",
];

fn main() {
    let only = option("--only").unwrap_or_default();
    std::panic::set_hook(Box::new(|_| {})); // the reason stands in the row
    let mut plain = 0.0;
    for name in LIBRARIES.into_iter().filter(|name| *name == PLAIN || name.contains(&only)) {
        let address = serve(name);
        match attempt(|| idle(address)) {
            Ok(bytes) => {
                plain = if name == PLAIN { bytes } else { plain };
                row("idle", name, bytes - plain, "B", f64::NAN);
            }
            Err(reason) => failed("idle", name, &reason),
        }
        if name != PLAIN {
            match attempt(|| ping_flood(address)) {
                Ok(bytes) => row("ping-flood", name, bytes, "B", f64::NAN),
                Err(reason) => failed("ping-flood", name, &reason),
            }
        }
    }
}

/// Returns bytes of the heap a connection.
fn idle(address: SocketAddr) -> f64 {
    let mut clients = Vec::with_capacity(CONNECTIONS + 1);
    let mut before = 0;
    for nth in 0..=CONNECTIONS {
        let mut client = open(address);
        let mut message = vec![];
        frame(&mut message, true, 2, &[0x55; 64], [1, 2, 3, 4]);
        client.write_all(&message).unwrap();
        let mut echo = [0; 66];
        client.read_exact(&mut echo).unwrap();
        assert_eq!((echo[..2].to_vec(), echo[65]), (vec![0x82, 64], 0x55));
        clients.push(client);
        if nth == 0 {
            drop(message);
            before = settled(); // the first has paid for what all share
        }
    }
    (settled() as f64 - before as f64) / CONNECTIONS as f64
}

/// Returns the most bytes that the heap has grown by.
fn ping_flood(address: SocketAddr) -> f64 {
    let mut client = open(address);
    let mut pings = vec![];
    while pings.len() < 64 << 10 {
        frame(&mut pings, true, 9, &[0x55; 125], [1, 2, 3, 4]);
    }
    let (before, mut most) = (settled(), 0);
    client.set_nonblocking(true).unwrap();
    let (mut sent, mut moved) = (0, Instant::now());
    while sent < FLOOD && moved.elapsed() < PATIENCE {
        match client.write(&pings[sent % pings.len()..]) {
            Ok(n) => {
                sent += n;
                moved = Instant::now();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(1)),
            Err(_) => break, // the server has ended the connection
        }
        most = most.max(HELD.load(Ordering::Relaxed));
    }
    most.max(settled()).saturating_sub(before) as f64
}

/// Returns the bytes of the heap when the server has nothing more to do.
fn settled() -> usize {
    thread::sleep(Duration::from_millis(300));
    HELD.load(Ordering::Relaxed)
}

fn open(address: SocketAddr) -> Client {
    let mut client = Client::connect(address).unwrap();
    client.set_nodelay(true).unwrap();
    client.write_all(REQUEST.as_bytes()).unwrap();
    let mut head = [0; 1024];
    let mut len = 0;
    while !head[..len].ends_with(b"\r\n\r\n") {
        let n = client.read(&mut head[len..]).unwrap();
        assert!(n > 0, "no response");
        len += n;
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    client
}

/// Starts a server on a thread of its own.
fn serve(name: &'static str) -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            match name {
                "axum" => return axum_server(listener).await,
                "sansocket-axum" => return own_axum_server(listener).await,
                _ => {}
            }
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                match name {
                    PLAIN => tokio::spawn(plain(stream)),
                    "sansocket-tokio" => tokio::spawn(own(stream)),
                    "tokio-tungstenite" => tokio::spawn(tungstenite(stream)),
                    "fastwebsockets" => tokio::spawn(fastwebsockets(stream)),
                    "tokio-websockets" => tokio::spawn(tokio_websockets(stream)),
                    "yawc" => tokio::spawn(yawc(stream)),
                    other => panic!("no library {other}"),
                };
            }
        });
    });
    told.recv().unwrap()
}

/// An echo of one frame, by hand.
async fn plain(mut stream: TcpStream) {
    shake_hands(&mut stream).await;
    let mut client = [0; 70];
    if stream.read_exact(&mut client).await.is_ok() {
        let key = [client[2], client[3], client[4], client[5]];
        let mut reply = [0; 66];
        reply[..2].copy_from_slice(&[0x82, 64]);
        let payload = client[6..].iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key);
        reply[2..].iter_mut().zip(payload).for_each(|(to, byte)| *to = byte);
        stream.write_all(&reply).await.unwrap();
        let _ = stream.read(&mut [0]).await;
    }
}

/// All connections share one configuration.
static OPTIONS: LazyLock<ServerOptions> = LazyLock::new(ServerOptions::default);

async fn own(stream: TcpStream) {
    let Ok(mut ws) = sansocket::tokio::WebSocket::accept(stream, &OPTIONS).await else {
        return;
    };
    while let Ok(Some(message)) = ws.recv().await {
        if ws.send(message).await.is_err() {
            break;
        }
    }
}

async fn tungstenite(stream: TcpStream) {
    let Ok(mut ws) = tokio_tungstenite::accept_async(stream).await else { return };
    while let Some(Ok(message)) = ws.next().await {
        if (message.is_text() || message.is_binary()) && ws.send(message).await.is_err() {
            break;
        }
    }
}

async fn fastwebsockets(mut stream: TcpStream) {
    use fastwebsockets::{FragmentCollector, Role, WebSocket};
    shake_hands(&mut stream).await;
    let mut ws = FragmentCollector::new(WebSocket::after_handshake(stream, Role::Server));
    while let Ok(frame) = ws.read_frame().await {
        if ws.write_frame(frame).await.is_err() {
            break;
        }
    }
}

async fn tokio_websockets(stream: TcpStream) {
    let Ok((_, mut ws)) = tokio_websockets::ServerBuilder::new().accept(stream).await else { return };
    while let Some(Ok(message)) = ws.next().await {
        if (message.is_text() || message.is_binary()) && ws.send(message).await.is_err() {
            break;
        }
    }
}

async fn yawc(mut stream: TcpStream) {
    use yawc::{OpCode, Options, Role, WebSocket};
    shake_hands(&mut stream).await;
    let mut ws = WebSocket::from_stream(stream, Role::Server, Options::default().with_utf8()).unwrap();
    while let Ok(frame) = ws.next_frame().await {
        if matches!(frame.opcode(), OpCode::Text | OpCode::Binary) && ws.send(frame).await.is_err() {
            break;
        }
    }
}

async fn axum_server(listener: TcpListener) {
    use axum::extract::ws::{Message, WebSocketUpgrade};
    let echo = |upgrade: WebSocketUpgrade| async {
        upgrade.on_upgrade(|mut ws| async move {
            while let Some(Ok(message)) = ws.recv().await {
                if matches!(message, Message::Text(_) | Message::Binary(_)) && ws.send(message).await.is_err()
                {
                    break;
                }
            }
        })
    };
    let app = axum::Router::new().route("/ws", axum::routing::any(echo));
    axum::serve(listener, app).await.unwrap();
}

async fn own_axum_server(listener: TcpListener) {
    use sansocket_axum::{Message, WebSocketUpgrade};
    let echo = |upgrade: WebSocketUpgrade| async {
        upgrade.on_upgrade(|mut ws| async move {
            while let Some(Ok(message)) = ws.recv().await {
                if matches!(message, Message::Text(_) | Message::Binary(_)) && ws.send(message).await.is_err()
                {
                    break;
                }
            }
        })
    };
    let app = axum::Router::new().route("/ws", axum::routing::any(echo));
    axum::serve(listener, app).await.unwrap();
}

/// For libraries that leave the opening handshake to hyper.
async fn shake_hands(stream: &mut TcpStream) {
    let (mut head, mut len) = (vec![0; 1024], 0);
    while !head[..len].ends_with(b"\r\n\r\n") {
        match stream.read(&mut head[len..]).await {
            Ok(n) if n > 0 => len += n,
            _ => return,
        }
    }
    stream.write_all(RESPONSE).await.unwrap();
}
