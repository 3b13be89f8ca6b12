//! Deadlines of connections over tokio, in paused time, and what a peer can make them hold.
#![cfg(feature = "tokio")]

mod choppy;
mod wire;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use choppy::{once, pair};
use futures_util::{SinkExt, StreamExt};
use sansocket::config::{ClientOptions, ControlFrames, ServerOptions};
use sansocket::error::{ConnectPhase, EndReason, Timeout};
use sansocket::handshake::HandshakeError;
use sansocket::session::BufferSizes;
use sansocket::tokio::{WebSocket, connect_with};
use sansocket::{CloseCode, Config, Error, Event, Message, Server};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout};
use wire::masked;

const S: Duration = Duration::from_secs(1);

fn open<T: AsyncRead + AsyncWrite + Unpin>(stream: T, config: Config) -> WebSocket<T> {
    let sizes = BufferSizes { head: 1024, receive: 1024, transmit: 1024 };
    WebSocket::after_upgrade(stream, b"", Server, None, config, sizes)
}

fn raw(keeps: usize, config: Config) -> (WebSocket<DuplexStream>, DuplexStream) {
    let (server, client) = duplex(keeps);
    (open(server, config), client)
}

fn reason(result: Result<impl Sized, Error>) -> Option<Timeout> {
    match result {
        Err(Error::Ended(ending)) => match ending.reason {
            EndReason::Timeout(timeout) => Some(timeout),
            _ => None,
        },
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_given_up_by_each_way_to_wait() {
    // Ping after 30 s, Pong within 20 s, then the Close and the end of the stream within 5 s.
    let config = || Config::new();
    let begin = Instant::now();
    let (mut socket, _peer) = raw(4096, config());
    assert_eq!(reason(socket.recv().await), Some(Timeout::Pong));
    assert!(begin.elapsed() >= 50 * S && begin.elapsed() < 57 * S, "{:?}", begin.elapsed());

    let (mut socket, _peer) = raw(4096, config());
    assert_eq!(reason(socket.read().await), Some(Timeout::Pong));
    let (mut socket, _peer) = raw(4096, config());
    assert_eq!(reason(socket.next().await.unwrap()), Some(Timeout::Pong));
    let (socket, _peer) = raw(4096, config());
    let (_sink, mut stream) = StreamExt::split(socket);
    assert_eq!(reason(stream.next().await.unwrap()), Some(Timeout::Pong));
    let (mut socket, _peer) = raw(4096, Config::new().idle_timeout(Some(7 * S)));
    assert_eq!(reason(socket.recv().await), Some(Timeout::Idle));
}

#[tokio::test(start_paused = true)]
async fn a_pong_keeps_the_connection() {
    let (mut socket, mut peer) = raw(4096, Config::new());
    let peer = async {
        for _ in 0..10 {
            let mut ping = [0; 2];
            peer.read_exact(&mut ping).await.unwrap();
            assert_eq!(ping, *b"\x89\x00");
            peer.write_all(&masked(0x8a, b"")).await.unwrap();
        }
        peer.write_all(&masked(0x81, b"here")).await.unwrap();
        peer
    };
    let (received, _peer) = tokio::join!(socket.recv(), peer);
    assert_eq!(received.unwrap(), Some("here".into()));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_is_given_up_by_each_way_to_send() {
    let begin = Instant::now();
    let large = || Message::from(vec![0; 100_000]);
    let (mut socket, _peer) = raw(100, Config::new());
    assert_eq!(reason(socket.send(large()).await), Some(Timeout::Write));
    assert!(begin.elapsed() >= 30 * S && begin.elapsed() < 32 * S, "{:?}", begin.elapsed());
    let (mut socket, _peer) = raw(100, Config::new());
    socket.feed(large()).await.unwrap();
    assert_eq!(reason(socket.feed("x").await), Some(Timeout::Write));
    let (mut socket, _peer) = raw(100, Config::new());
    socket.feed(large()).await.unwrap();
    assert_eq!(reason(socket.flush().await), Some(Timeout::Write));
    assert_eq!(reason(socket.recv().await), Some(Timeout::Write));
    let (mut socket, _peer) = raw(100, Config::new());
    assert_eq!(reason(SinkExt::<Message>::send(&mut socket, large()).await), Some(Timeout::Write));
    let (mut socket, mut peer) = raw(100, Config::new());
    peer.write_all(&masked(0x81, b"x")).await.unwrap();
    let (_, mut out) = socket.read().await.unwrap().unwrap();
    out.feed(&[0; 100_000]).await.unwrap();
    assert_eq!(reason(out.feed("x").await), Some(Timeout::Write));
}

/// A stream that takes all it is given, and keeps it: TLS whose socket is full does.
struct Keeping {
    shuts: bool,
}

impl AsyncRead for Keeping {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Keeping {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(from.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.shuts { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn flushing_and_shutting_down_have_deadlines() {
    let mut socket = open(Keeping { shuts: false }, Config::new());
    assert_eq!(reason(socket.send("x").await), Some(Timeout::Write));
    let begin = Instant::now();
    let mut socket = open(Keeping { shuts: true }, Config::new());
    socket.send("x").await.unwrap();
    let ending = socket.close(CloseCode::NORMAL, "").await;
    assert_eq!(ending.reason, EndReason::Timeout(Timeout::Close));
    assert!(begin.elapsed() < 12 * S, "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_close_ends_whatever_the_peer_does() {
    // It answers nothing.
    let begin = Instant::now();
    let (mut socket, _peer) = raw(4096, Config::new());
    assert_eq!(socket.close(CloseCode::NORMAL, "").await.reason, EndReason::Timeout(Timeout::Close));
    assert!(begin.elapsed() < 12 * S, "{:?}", begin.elapsed());
    // It sends for ever, and never a Close.
    let begin = Instant::now();
    let (mut socket, mut peer) = raw(4096, Config::new());
    let flood = async {
        while peer.write_all(&masked(0x82, &[0; 100])).await.is_ok() {
            sleep(S / 10).await;
        }
    };
    let ending =
        tokio::select! { ending = socket.close(CloseCode::NORMAL, "") => ending, () = flood => panic!() };
    assert_eq!(ending.reason, EndReason::Timeout(Timeout::Close));
    assert!(begin.elapsed() < 12 * S, "{:?}", begin.elapsed());
    // It takes a byte now and then of what was sent before.
    let begin = Instant::now();
    let (mut socket, mut peer) = raw(10, Config::new());
    socket.feed(vec![0; 1_000_000]).await.unwrap();
    let dripping = async {
        while peer.read_u8().await.is_ok() {
            sleep(2 * S).await;
        }
    };
    let ending =
        tokio::select! { ending = socket.close(CloseCode::NORMAL, "") => ending, () = dripping => panic!() };
    assert_eq!((ending.reason, ending.sent), (EndReason::Timeout(Timeout::Close), None));
    assert!(begin.elapsed() >= 50 * S && begin.elapsed() <= 51 * S, "{:?}", begin.elapsed());
    assert!(matches!(socket.recv().await, Err(error) if error.is_timeout()));
    // A close that is given up and called again has no more time than the first.
    let begin = Instant::now();
    let (mut socket, _peer) = raw(10, Config::new());
    socket.feed(vec![0; 1_000_000]).await.unwrap();
    let ending = loop {
        if let Ok(ending) = timeout(S, socket.close(CloseCode::NORMAL, "")).await {
            break ending;
        }
    };
    // Of the two deadlines, the peer that takes nothing meets that for writing first.
    assert_eq!(ending.reason, EndReason::Timeout(Timeout::Write));
    assert!(begin.elapsed() <= 51 * S, "{:?}", begin.elapsed());
}

/// Also without a further call of the application: it may drop the connection when it gets the Close.
#[tokio::test(start_paused = true)]
async fn the_peers_close_is_answered_before_the_application_is_told() {
    let reported = || Config::new().control_frames(ControlFrames::Reported);
    let close = masked(0x88, b"\x03\xe8bye");
    let answer = b"\x88\x02\x03\xe8";
    // By `recv`, by `read`, and by a `recv` after a `send` has received the Close.
    for way in 0..3 {
        let (mut socket, mut peer) = raw(4096, reported());
        peer.write_all(&close).await.unwrap();
        match way {
            0 => assert!(matches!(socket.recv().await, Ok(Some(Message::Close(Some(_)))))),
            1 => assert!(matches!(socket.read().await, Ok(Some((Event::Close(Some(_), _), _))))),
            _ => {
                while socket.send("x").await.is_ok() {}
                assert!(matches!(socket.recv().await, Ok(Some(Message::Close(Some(_))))));
            }
        }
        drop(socket);
        let mut received = vec![];
        peer.read_to_end(&mut received).await.unwrap();
        assert!(received.ends_with(answer), "{way}: {received:?}");
    }
    // Behind a message that was begun, of which the peer takes the rest meanwhile.
    let (mut socket, mut peer) = raw(100, reported());
    socket.feed(vec![0; 5000]).await.unwrap();
    peer.write_all(&close).await.unwrap();
    let told = async move {
        let mut received = vec![];
        peer.read_to_end(&mut received).await.unwrap();
        received
    };
    let telling = async move {
        assert!(matches!(socket.recv().await, Ok(Some(Message::Close(Some(_))))));
        // A dropped call loses nothing of the answer, nor does it repeat it.
        assert_eq!(dropped_at_each_await!(socket.recv()).unwrap(), None);
    };
    let (received, ()) = tokio::join!(told, telling);
    assert_eq!(received.len(), 5004 + answer.len());
    assert!(received.ends_with(answer));
    // The application answers by itself.
    let (mut socket, mut peer) = raw(4096, Config::new().control_frames(ControlFrames::Manual));
    peer.write_all(&close).await.unwrap();
    assert!(matches!(socket.recv().await, Ok(Some(Message::Close(Some(_))))));
    drop(socket);
    let mut received = vec![];
    peer.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"");
}

#[tokio::test(start_paused = true)]
async fn the_opening_handshake_has_a_deadline_on_both_sides() {
    let begin = Instant::now();
    let (server, mut client) = duplex(100);
    client.write_all(b"GET / HT").await.unwrap();
    let accepted = WebSocket::accept(server, &ServerOptions::new()).await;
    assert!(matches!(&accepted, Err(Error::Rejected(refusal)) if refusal.status == 408), "{accepted:?}");
    assert!(begin.elapsed() >= 10 * S && begin.elapsed() < 17 * S, "{:?}", begin.elapsed());
    // The peer reads not even the refusal.
    let (server, mut client) = duplex(20);
    client.write_all(b"POST / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(matches!(
        timeout(100 * S, WebSocket::accept(server, &ServerOptions::new())).await.unwrap(),
        Err(Error::Handshake(HandshakeError::Disconnected))
    ));
    // A server that accepts TCP and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let error = connect_with(&url, &ClientOptions::new()).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert!(matches!(error, Error::Connect(error) if error.phase() == ConnectPhase::Handshake));
}

/// What arrives while the task does something else counts, however late it is read.
#[tokio::test(start_paused = true)]
async fn a_busy_task_does_not_lose_a_peer_that_has_sent() {
    let (mut server, mut client) = pair(4096).await;
    client.send("one").await.unwrap();
    // Longer than all deadlines together.
    sleep(600 * S).await;
    assert_eq!(server.recv().await.unwrap(), Some("one".into()));
    server.send("two").await.unwrap();
    assert!(once(server.recv()).await.is_pending());
    sleep(600 * S).await;
    client.send("three").await.unwrap();
    assert_eq!(server.recv().await.unwrap(), Some("three".into()));
    assert_eq!(client.recv().await.unwrap(), Some("two".into()));
}

/// A Ping that comes while a message waits unread is answered when it is read; the connection lives on.
#[tokio::test(start_paused = true)]
async fn a_message_that_nobody_takes_does_not_end_the_connection_while_it_sends() {
    let (mut socket, mut peer) = raw(4096, Config::new());
    peer.write_all(&masked(0x81, b"unread")).await.unwrap();
    for _ in 0..20 {
        socket.send("x").await.unwrap();
        sleep(10 * S).await;
        let mut frame = [0; 2];
        peer.read_exact(&mut frame).await.unwrap();
        if frame == *b"\x89\x00" {
            peer.read_exact(&mut frame).await.unwrap();
        }
        assert_eq!((frame, peer.read_u8().await.unwrap()), (*b"\x81\x01", b'x'));
    }
    assert_eq!(socket.recv().await.unwrap(), Some("unread".into()));
}
