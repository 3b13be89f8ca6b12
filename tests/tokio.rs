//! Connections over tokio: messages, the end in every order, `Stream` and `Sink`, handshakes.
#![cfg(feature = "tokio")]

mod choppy;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use choppy::{Choppy, once, over, pair};
use futures_util::stream::FusedStream;
use futures_util::{Sink, SinkExt, StreamExt};
use sansocket::config::{ClientOptions, ControlFrames, ServerOptions};
use sansocket::error::{ConnectPhase, EndReason};
use sansocket::handshake::{Accepted, Decision, Rejection, Response};
use sansocket::message::CloseFrame;
use sansocket::proto::SystemKeys;
use sansocket::session::BufferSizes;
use sansocket::tokio::{Rewind, TrySendError, WebSocket, connect, connect_with};
use sansocket::{Client, CloseCode, Config, Error, Event, Kind, Message, SendError, Server};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;

const GET: &[u8] = b"GET /chat HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

/// A connection whose peer is a raw stream that has sent nothing after its handshake.
fn raw(config: Config) -> (WebSocket<DuplexStream>, DuplexStream) {
    let (server, client) = duplex(64 * 1024);
    (WebSocket::after_upgrade(server, b"", Server, None, config, BufferSizes::default()), client)
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    (listener, url)
}

#[tokio::test]
async fn messages_of_all_five_kinds_are_sent_and_received() {
    let config = Arc::new(Config::new().control_frames(ControlFrames::Reported));
    let (server, client) = duplex(100);
    let to_accept = ServerOptions::new().config(Arc::clone(&config));
    let (mut server, mut client) =
        over(server, client, &to_accept, &ClientOptions::new().config(config)).await;
    let close = Message::Close(Some(CloseFrame { code: CloseCode::new(4000).unwrap(), reason: "ß".into() }));
    let ping = Message::Ping((&b"here?"[..]).into());
    let sent = [Message::text("t"), Message::binary(vec![1; 200]), ping, close];
    tokio::join!(
        async {
            for message in &sent {
                server.feed(message.clone()).await.unwrap();
            }
            // Answered by the other side.
            assert_eq!(server.recv().await.unwrap(), Some(Message::Pong((&b"here?"[..]).into())));
            let answer = CloseFrame { code: CloseCode::new(4000).unwrap(), reason: "".into() };
            assert_eq!(server.recv().await.unwrap(), Some(Message::Close(Some(answer))));
            assert_eq!(server.recv().await.unwrap(), None);
            // The end has begun: nothing is left to do for a Close, and nothing can be sent.
            server.send(Message::Close(None)).await.unwrap();
            assert!(matches!(server.send("x").await, Err(Error::Send(SendError::Closed))));
        },
        async {
            for message in &sent {
                assert_eq!(client.recv().await.unwrap().as_ref(), Some(message));
            }
            // As a program that echoes whatever comes does: the Close is answered already.
            client.send(sent[3].clone()).await.unwrap();
            assert_eq!(client.recv().await.unwrap(), None);
        }
    );
    let (mut socket, _peer) = raw(Config::new());
    for message in [Message::Ping(vec![0; 126].into()), Message::Pong(vec![0; 126].into())] {
        assert!(matches!(socket.send(message).await, Err(Error::Send(SendError::ControlTooLong))));
    }
}

#[tokio::test]
async fn control_frames_are_not_returned_if_they_are_handled_automatically() {
    let (mut socket, mut peer) = raw(Config::new());
    peer.write_all(&[masked(0x89, b"p"), masked(0x8A, b""), masked(0x88, b"\x03\xe8")].concat())
        .await
        .unwrap();
    peer.shutdown().await.unwrap();
    assert_eq!(socket.recv().await.unwrap(), None);
    drop(socket);
    let mut received = vec![];
    peer.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"\x8a\x01p\x88\x02\x03\xe8");
}

/// A program that only sends does not take control frames: their last of each kind waits, and more are answered.
#[tokio::test]
async fn control_frames_do_not_pause_a_connection_that_only_sends() {
    let (mut socket, mut peer) = raw(Config::new().control_frames(ControlFrames::Reported));
    let mut answered = vec![];
    for n in 0..40 {
        peer.write_all(&[masked(0x89, &[n]), masked(0x8A, &[n, n])].concat()).await.unwrap();
        socket.send("x").await.unwrap();
        socket.flush().await.unwrap();
        let mut frame = [0; 3];
        loop {
            peer.read_exact(&mut frame).await.unwrap();
            match frame {
                [0x8A, 1, n] => answered.push(n),
                _ => break assert_eq!(frame, *b"\x81\x01x"),
            }
        }
    }
    assert!(answered.len() >= 39 && answered.is_sorted(), "{answered:?}");
    assert_eq!(socket.recv().await.unwrap(), Some(Message::Ping(vec![39].into())));
    assert_eq!(socket.recv().await.unwrap(), Some(Message::Pong(vec![39, 39].into())));
}

#[tokio::test]
async fn messages_of_all_sizes_go_through_tcp_and_back() {
    let (listener, url) = listen().await;
    let server = tokio::spawn(async move {
        let mut socket = WebSocket::accept(listener.accept().await.unwrap().0, &ServerOptions::new()).await?;
        while let Some(message) = socket.recv().await? {
            socket.feed(message).await?;
        }
        Ok::<_, Error>(socket.ending().unwrap())
    });
    let mut socket = connect(&url).await.unwrap();
    assert!(socket.stream().tcp().nodelay().unwrap());
    for len in [0, 1, 125, 126, 16_380, 16_384, 65_535, 65_536, 1_000_000] {
        let text = "ß".repeat(len / 2) + &"x".repeat(len % 2);
        for message in [Message::from(text), Message::from(vec![7; len])] {
            socket.send(message.clone()).await.unwrap();
            let back = socket.recv().await.unwrap();
            assert!(back == Some(message), "{len}");
        }
    }
    let ending = socket.close(CloseCode::NORMAL, "done").await;
    assert!(ending.is_clean(), "{ending:?}");
    assert!(server.await.unwrap().unwrap().is_clean());
    assert_eq!(socket.recv().await.unwrap(), None);
    assert!(matches!(socket.send("late").await, Err(Error::Send(SendError::Closed) | Error::Ended(_))));
}

/// Neither side reads while it sends, but each receives one message ahead, and what the buffers hold.
#[tokio::test(start_paused = true)]
async fn both_sides_can_send_a_large_message_at_once() {
    let (mut server, mut client) = pair(1000).await;
    let large = vec![9_u8; 12_000];
    let (sent, received) = tokio::join!(server.send(large.clone()), client.send(large.clone()));
    sent.unwrap();
    received.unwrap();
    assert_eq!(server.recv().await.unwrap(), Some(Message::from(large.clone())));
    assert_eq!(client.recv().await.unwrap(), Some(Message::from(large)));
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_while_a_send_waits_for_room() {
    let (mut socket, mut peer) = raw(Config::new());
    let send = socket.send(vec![1; 300_000]);
    tokio::pin!(send);
    assert!(once(send.as_mut()).await.is_pending());
    peer.write_all(&masked(0x89, b"there?")).await.unwrap();
    let mut received = Vec::new();
    let reading = async {
        let mut part = vec![0; 16_384];
        while !received.ends_with(b"\x8a\x06there?") {
            let n = peer.read(&mut part).await.unwrap();
            received.extend_from_slice(&part[..n]);
        }
    };
    // The Pong follows the frame that had begun.
    tokio::join!(async { send.await.unwrap() }, reading);
    assert_eq!(received.len(), 10 + 300_000 + 8);
}

#[tokio::test]
async fn what_was_fed_leaves_in_one_write_with_the_next_wait() {
    let (mut socket, mut peer) = raw(Config::new());
    socket.feed("one").await.unwrap();
    socket.feed("two").await.unwrap();
    let mut part = [0; 64];
    assert!(once(peer.read(&mut part)).await.is_pending());
    assert!(once(socket.recv()).await.is_pending());
    let n = peer.read(&mut part).await.unwrap();
    assert_eq!(&part[..n], b"\x81\x03one\x81\x03two");
}

#[tokio::test]
async fn events_are_lent_with_the_sending_side() {
    let config = Config::new().control_frames(ControlFrames::Manual);
    let (mut socket, mut peer) = raw(config);
    peer.write_all(
        &[masked(0x89, b"p"), masked(0x01, b"ab"), masked(0x80, b"c"), masked(0x88, b"\x03\xe8bye")].concat(),
    )
    .await
    .unwrap();
    let mut seen = Vec::new();
    while let Some((event, mut out)) = socket.read().await.unwrap() {
        match event {
            Event::Ping(payload) => out.pong(&payload).await.unwrap(),
            Event::Data(chunk) => {
                seen.push((chunk.start, chunk.end));
                out.fragment(chunk.kind, &chunk.payload, chunk.end).await.unwrap();
            }
            Event::Close(code, reason) => {
                assert_eq!((code, reason.to_str()), (Some(CloseCode::NORMAL), Some("bye")));
                out.close(code, "").await.unwrap();
                out.flush().await.unwrap();
                let mut answer = [0; 16];
                let n = peer.read(&mut answer).await.unwrap();
                assert_eq!(&answer[..n], b"\x8a\x01p\x01\x02ab\x80\x01c\x88\x02\x03\xe8");
                peer.shutdown().await.unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, [(true, false), (false, true)]);
    assert_eq!(socket.close_reason(), "bye");
}

#[tokio::test]
async fn a_message_cannot_stand_inside_another() {
    let (mut socket, mut peer) = raw(Config::new());
    peer.write_all(&masked(0x82, b"x")).await.unwrap();
    let (_, mut out) = socket.read().await.unwrap().unwrap();
    out.fragment(Kind::Text, b"half", false).await.unwrap();
    assert!(matches!(out.feed("whole").await, Err(Error::Send(SendError::MessageOpen))));
    assert!(out.outbox().unwrap().is_inside_message());
    assert!(matches!(socket.send("whole").await, Err(Error::Send(SendError::MessageOpen))));
    assert!(matches!(socket.ping(&[0; 126]).await, Err(Error::Send(SendError::ControlTooLong))));
}

#[tokio::test]
async fn a_connection_ends_cleanly_whoever_closes_first() {
    for (server_first, client_first) in [(true, false), (false, true), (true, true)] {
        let (mut server, mut client) = pair(100).await;
        let reason = "ß".repeat(100); // 200 bytes: cut to 122
        let (at_server, at_client) = tokio::join!(
            async {
                match server_first {
                    true => server.close(CloseCode::GOING_AWAY, &reason).await,
                    false => server
                        .recv()
                        .await
                        .map(|end| assert_eq!(end, None))
                        .map(|()| server.ending().unwrap())
                        .unwrap(),
                }
            },
            async {
                match client_first {
                    true => client.close(None, "no code, no reason").await,
                    false => client
                        .recv()
                        .await
                        .map(|end| assert_eq!(end, None))
                        .map(|()| client.ending().unwrap())
                        .unwrap(),
                }
            }
        );
        assert!(at_server.is_clean() && at_client.is_clean(), "{at_server:?} {at_client:?}");
        if server_first {
            assert_eq!(client.close_reason(), "ß".repeat(61));
            assert_eq!(at_client.received, Some(CloseCode::GOING_AWAY));
        } else {
            assert_eq!((at_server.received, server.close_reason()), (None, ""));
        }
    }
}

#[tokio::test]
async fn closing_discards_what_the_peer_still_sends() {
    let (mut server, mut client) = pair(100).await;
    client.feed("one").await.unwrap();
    client.feed("two").await.unwrap();
    let (ending, sent) = tokio::join!(server.close(CloseCode::NORMAL, ""), async {
        client.flush().await?;
        client.recv().await
    });
    assert!(ending.is_clean());
    assert_eq!(sent.unwrap(), None);
}

#[tokio::test]
async fn a_dropped_connection_drops_the_stream() {
    let (server, mut client) = pair(100).await;
    drop(server);
    assert!(
        matches!(client.recv().await, Err(Error::Ended(ending)) if ending.reason == EndReason::Disconnected)
    );
    assert!(matches!(client.recv().await, Err(Error::Ended(_))));
    // A task that is aborted drops its connection.
    let (mut server, mut client) = pair(100).await;
    let task = tokio::spawn(async move { server.recv().await });
    yield_now().await;
    task.abort();
    assert!(matches!(client.recv().await, Err(Error::Ended(_))));
}

#[tokio::test]
async fn what_came_before_a_failure_is_received_before_its_error() {
    struct Failing(Vec<u8>);
    impl AsyncRead for Failing {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if self.0.is_empty() {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            into.put_slice(&std::mem::take(&mut self.0));
            Poll::Ready(Ok(()))
        }
    }
    impl AsyncWrite for Failing {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }
    let open = |bytes: Vec<u8>| {
        let sizes = BufferSizes::default();
        WebSocket::after_upgrade(Failing(bytes), b"", Server, None, Config::new(), sizes)
    };
    let mut socket = open([masked(0x81, b"one"), masked(0x81, b"two")].concat());
    assert!(
        matches!(socket.send("x").await, Err(Error::Transport(error)) if error.kind() == io::ErrorKind::BrokenPipe)
    );
    assert_eq!(socket.recv().await.unwrap(), Some("one".into()));
    assert_eq!(socket.recv().await.unwrap(), Some("two".into()));
    assert!(
        matches!(socket.recv().await, Err(Error::Transport(error)) if error.kind() == io::ErrorKind::BrokenPipe)
    );
    assert!(
        matches!(socket.recv().await, Err(Error::Ended(ending)) if ending.reason == EndReason::Disconnected)
    );
    // The same for an answer that cannot be written.
    let mut socket = open([masked(0x81, b"one"), masked(0x81, b"two")].concat());
    let (_, mut out) = socket.read().await.unwrap().unwrap();
    assert!(matches!(out.send("x").await, Err(Error::Transport(_))));
    assert!(matches!(out.flush().await, Err(Error::Transport(_))));
    assert_eq!(socket.recv().await.unwrap(), Some("two".into()));
    assert!(matches!(socket.recv().await, Err(Error::Transport(_))));
    // A reset behind the peer's Close is no failure of ours to tell.
    let mut socket = open(masked(0x88, b"\x03\xe8"));
    assert_eq!(socket.recv().await.unwrap(), None);
    // A close ends whatever fails.
    let mut socket = open(masked(0x81, b"unread"));
    assert_eq!(socket.close(CloseCode::NORMAL, "").await.reason, EndReason::Disconnected);
}

#[tokio::test]
async fn a_violation_is_answered_with_its_code() {
    let (mut socket, mut peer) = raw(Config::new().max_message_len(10));
    peer.write_all(&masked(0x82, &[0; 11])).await.unwrap();
    let (received, answer) = tokio::join!(socket.recv(), async {
        let mut answer = [0; 4];
        peer.read_exact(&mut answer).await.unwrap();
        peer.shutdown().await.unwrap();
        answer
    });
    assert!(
        matches!(received, Err(Error::Ended(ending)) if matches!(ending.reason, EndReason::Violation(_)))
    );
    assert_eq!(answer, *b"\x88\x02\x03\xf1"); // 1009
}

// ---- Stream and Sink ----

#[tokio::test]
async fn halves_in_two_tasks_move_all_messages() {
    for (keeps, at_most, lazy) in [(1, 1, 100), (50, 7, 60), (5000, 5000, 0)] {
        let (server, client) = duplex(keeps);
        let (server, client) = over(
            Choppy::new(server, at_most, lazy, 3),
            Choppy::new(client, at_most, lazy, 5),
            &ServerOptions::new(),
            &ClientOptions::new(),
        )
        .await;
        let (to_client, from_client) = StreamExt::split(server);
        let echo = tokio::spawn(from_client.forward(to_client));
        let (mut to_server, from_server) = StreamExt::split(client);
        let messages: Vec<_> = (0..40_usize).map(|n| Message::from(vec![n as u8; n * 37])).collect();
        let sending = messages.clone();
        let sender = tokio::spawn(async move {
            for message in sending {
                to_server.send(message).await.unwrap();
            }
            to_server
        });
        let received: Vec<_> = from_server.take(40).map(Result::unwrap).collect().await;
        assert!(received == messages, "{keeps} {at_most} {lazy}");
        let mut to_server = sender.await.unwrap();
        to_server.close().await.unwrap();
        echo.await.unwrap().unwrap();
    }
}

/// A wake-up that is lost would leave one of them waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn halves_on_two_threads_do_not_lose_a_wake_up() {
    let (listener, url) = listen().await;
    let server = tokio::spawn(async move {
        for _ in 0..20 {
            let (stream, _) = listener.accept().await.unwrap();
            let options = ServerOptions::new().receive_buffer(140).transmit_buffer(140);
            let socket = WebSocket::accept(stream, &options).await.unwrap();
            let (sink, stream) = StreamExt::split(socket);
            let (to_sink, from_stream) = tokio::sync::mpsc::channel(3);
            let reading = tokio::spawn(stream.for_each(move |message| {
                let to_sink = to_sink.clone();
                async move { to_sink.send(message.unwrap()).await.unwrap() }
            }));
            let writing = tokio::spawn(async move {
                let (mut sink, mut from_stream) = (sink, from_stream);
                while let Some(message) = from_stream.recv().await {
                    sink.send(message).await.unwrap();
                }
            });
            reading.await.unwrap();
            writing.await.unwrap();
        }
    });
    let talk = async {
        for n in 0..20_usize {
            let (mut sink, stream) = StreamExt::split(connect(&url).await.unwrap());
            let sending = tokio::spawn(async move {
                for len in 0..200 {
                    sink.send(Message::from(vec![1; len * (n % 4)])).await.unwrap();
                }
                sink
            });
            let lens: Vec<_> =
                stream.take(200).map(|message| message.unwrap().as_bytes().len()).collect().await;
            assert_eq!(lens, Vec::from_iter((0..200).map(|len| len * (n % 4))));
            sending.await.unwrap().close().await.unwrap();
        }
        server.await.unwrap();
    };
    tokio::time::timeout(Duration::from_secs(60), talk).await.expect("all goes on");
}

#[tokio::test]
async fn a_stream_ends_once_and_stays_ended() {
    let (mut server, mut client) = pair(100).await;
    let (_, first) = tokio::join!(server.close(CloseCode::NORMAL, ""), client.next());
    assert!(first.is_none() && client.is_terminated());
    let (mut socket, peer) = raw(Config::new());
    drop(peer);
    assert!(matches!(socket.next().await, Some(Err(Error::Ended(_)))));
    assert!(socket.is_terminated());
    assert!(socket.next().await.is_none());
}

#[tokio::test]
async fn a_sink_is_ready_for_a_message_of_any_length_or_waits() {
    let (socket, mut peer) = duplex(10);
    let sizes = BufferSizes { head: 140, receive: 140, transmit: 140 };
    let mut socket = WebSocket::after_upgrade(socket, b"", Server, None, Config::new(), sizes);
    let cx = &mut Context::from_waker(Waker::noop());
    let mut pinned = Pin::new(&mut socket);
    assert!(matches!(pinned.as_mut().poll_ready(cx), Poll::Ready(Ok(()))));
    pinned.as_mut().start_send(vec![1; 1000].into()).unwrap();
    assert!(pinned.as_mut().poll_ready(cx).is_pending());
    // Without asking first it is an error, and nothing is sent.
    assert!(matches!(pinned.as_mut().start_send("x".into()), Err(Error::Send(SendError::Blocked))));
    assert!(pinned.as_mut().poll_flush(cx).is_pending());
    let mut received = vec![0; 1004];
    tokio::join!(async { peer.read_exact(&mut received).await.unwrap() }, async {
        SinkExt::<Message>::flush(&mut socket).await.unwrap();
    });
    assert_eq!(&received[..5], b"\x82\x7e\x03\xe8\x01");
    // The next is whole.
    tokio::join!(async { peer.read_exact(&mut received[..3]).await.unwrap() }, async {
        SinkExt::<Message>::send(&mut socket, "x".into()).await.unwrap();
    });
    assert_eq!(&received[..3], b"\x81\x01x");
}

#[tokio::test(start_paused = true)]
async fn closing_the_sink_leaves_messages_to_the_stream_and_ends() {
    let (mut socket, mut peer) = raw(Config::new());
    peer.write_all(&masked(0x81, b"one")).await.unwrap();
    let (mut sink, mut stream) = StreamExt::split(socket);
    let closing = tokio::spawn(async move { sink.close().await });
    let mut close = [0; 4];
    peer.read_exact(&mut close).await.unwrap();
    assert_eq!(close, *b"\x88\x02\x03\xe8");
    peer.write_all(&[masked(0x81, b"two"), masked(0x88, b"\x03\xe8")].concat()).await.unwrap();
    peer.shutdown().await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), "one".into());
    assert_eq!(stream.next().await.unwrap().unwrap(), "two".into());
    assert!(stream.next().await.is_none());
    closing.await.unwrap().unwrap();
    // Nobody takes the message.
    (socket, peer) = raw(Config::new());
    peer.write_all(&masked(0x81, b"one")).await.unwrap();
    let closed = SinkExt::<Message>::close(&mut socket).await;
    assert!(matches!(closed, Err(Error::Ended(ending)) if !ending.is_clean()));
}

/// Counts how often the task that awaits is polled.
#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_not_polled() {
    struct Counted<F>(Pin<Box<F>>, Arc<AtomicUsize>);
    impl<F: Future> Future for Counted<F> {
        type Output = F::Output;
        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.as_mut().poll(cx)
        }
    }
    let (mut socket, mut peer) = raw(Config::new().keep_alive(None, None));
    let polls = Arc::new(AtomicUsize::new(0));
    let task = tokio::spawn(Counted(Box::pin(async move { socket.recv().await }), Arc::clone(&polls)));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(polls.load(Ordering::Relaxed), 1);
    for byte in masked(0x81, b"x") {
        peer.write_all(&[byte]).await.unwrap();
        yield_now().await;
    }
    assert_eq!(task.await.unwrap().unwrap(), Some("x".into()));
    let polls = polls.load(Ordering::Relaxed);
    assert!(polls <= 1 + 7 + 1, "{polls}");
}

// ---- the opening handshake ----

async fn answer(
    request: Vec<u8>,
    decide: impl FnOnce(&str) -> Decision<'static, Arc<Config>>,
) -> (Result<Accepted<WebSocket<DuplexStream>, Rewind<DuplexStream>>, Error>, String) {
    let (server, mut client) = duplex(4096);
    client.write_all(&request).await.unwrap();
    client.shutdown().await.unwrap();
    let options = ServerOptions::new();
    let accepted = WebSocket::accept_with(server, &options, |request| decide(request.path())).await;
    let mut answer = String::new();
    if matches!(accepted, Ok(Accepted::Responded(_)) | Err(_)) {
        client.read_to_string(&mut answer).await.unwrap();
    }
    (accepted, answer)
}

#[tokio::test]
async fn a_request_gets_the_answer_that_was_chosen() {
    let (accepted, text) =
        answer([GET, b"\r\n"].concat(), |_| Decision::Respond(Response::text(404, "no\n"))).await;
    assert!(matches!(accepted, Ok(Accepted::Responded(404))));
    assert!(text.starts_with("HTTP/1.1 404") && text.ends_with("no\n"), "{text}");
    // A foreign page.
    let (accepted, _) = answer([GET, b"Origin: http://evil\r\n\r\n"].concat(), |_| Decision::accept()).await;
    assert!(
        matches!(accepted, Err(Error::Rejected(refusal)) if refusal.reason == Some(Rejection::Forbidden))
    );
    // Nothing at all.
    let (accepted, _) = answer(Vec::new(), |_| panic!("asked")).await;
    assert!(matches!(accepted, Err(Error::Handshake(_))));
}

#[tokio::test]
async fn a_request_is_handed_over_with_all_that_was_read() {
    let request = [GET, b"\r\nand more"].concat();
    let (accepted, _) = answer(request.clone(), |path| {
        assert_eq!(path, "/chat");
        Decision::HandOver
    })
    .await;
    let Ok(Accepted::HandedOver(mut stream)) = accepted else { panic!("{accepted:?}") };
    assert_eq!(stream.read_bytes(), request);
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, request);
    let (_, rest) = stream.into_parts();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn frames_that_come_with_the_request_are_received() {
    let request = [GET, b"Sec-WebSocket-Protocol: b, a\r\n\r\n", &masked(0x81, b"early")].concat();
    let (server, mut client) = duplex(4096);
    client.write_all(&request).await.unwrap();
    let options = ServerOptions::new().protocols(["a", "b"]).require_protocol();
    let mut socket = WebSocket::accept(server, &options).await.unwrap();
    assert_eq!(socket.protocol(), Some("a"));
    assert_eq!(socket.recv().await.unwrap(), Some("early".into()));
}

/// Names of subprotocols that are known at run time only, and the decision for one request.
#[tokio::test]
async fn a_subprotocol_may_be_configured_at_run_time() {
    let names: Vec<String> = [3, 2, 1].map(|n| format!("chat.v{n}")).into();
    let options = ServerOptions::new().protocols(names).require_protocol();
    let accept = async |offer: &'static str, decide: Option<&'static str>| {
        let (server, client) = duplex(4096);
        let offer = ClientOptions::new().protocols([offer, "chat.v1"]);
        let accepting = WebSocket::accept_with(server, &options, |_| {
            let accept = options.accept_options();
            Decision::Accept(match decide {
                Some("static") => accept.protocols(&["chat.v1"]),
                Some(own) => accept.protocol(own),
                None => accept,
            })
        });
        let (accepted, client) =
            tokio::join!(accepting, WebSocket::connect(client, "ws://localhost/", &offer));
        let Accepted::WebSocket(server) = accepted.unwrap() else { panic!() };
        let client = client.unwrap();
        assert_eq!(server.protocol(), client.protocol());
        server.protocol().unwrap().to_owned()
    };
    // The server's order counts; a decision goes before its list or replaces it.
    assert_eq!(accept("chat.v2", None).await, "chat.v2");
    assert_eq!(accept("chat.v9", None).await, "chat.v1");
    assert_eq!(accept("chat.v9", Some("chat.v9")).await, "chat.v9");
    assert_eq!(accept("chat.v2", Some("static")).await, "chat.v1");
    let (server, client) = duplex(4096);
    let none = ClientOptions::new().protocols(["other"]);
    let (accepted, refused) = tokio::join!(
        WebSocket::accept(server, &options),
        WebSocket::connect(client, "ws://localhost/", &none)
    );
    assert!(matches!(accepted, Err(Error::Rejected(refusal)) if refusal.status == 400));
    assert!(matches!(refused, Err(Error::Refused(_))));
}

#[tokio::test]
async fn a_client_names_the_step_that_failed() {
    let (listener, url) = listen().await;
    drop(listener);
    let error = connect(&url).await.unwrap_err();
    assert!(matches!(&error, Error::Connect(error) if error.phase() == ConnectPhase::Connect), "{error}");
    let Error::Connect(error) = error else { panic!() };
    assert_eq!(error.attempts()[0].1.kind(), io::ErrorKind::ConnectionRefused);
    assert!(matches!(connect("http://localhost/").await, Err(Error::Url(_))));
}

#[tokio::test]
async fn a_client_follows_redirects_without_its_credentials() {
    let (first, url) = listen().await;
    let (second, target) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = first.accept().await.unwrap();
        let mut head = vec![0; 4096];
        let n = stream.read(&mut head).await.unwrap();
        assert!(String::from_utf8_lossy(&head[..n]).contains("Authorization: Basic dTpw\r\n"));
        let answer = format!("HTTP/1.1 302 Found\r\nLocation: {target}next\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        let options = ServerOptions::new().protocols(["p"]);
        let accepted = WebSocket::accept_with(second.accept().await.unwrap().0, &options, |request| {
            assert_eq!((request.path(), request.header("Authorization")), ("/next", None));
            Decision::Accept(options.accept_options())
        });
        let Accepted::WebSocket(mut socket) = accepted.await.unwrap() else { panic!() };
        socket.close(CloseCode::NORMAL, "").await
    });
    let url = url.replace("ws://", "ws://u:p@");
    let options = ClientOptions::new().protocols(["p", "q"]).follow_redirects(1);
    let mut socket = connect_with(&url, &options).await.unwrap();
    assert_eq!(socket.protocol(), Some("p"));
    assert_eq!(socket.recv().await.unwrap(), None);
    assert!(server.await.unwrap().is_clean());
}

/// The types go where programs put them.
#[test]
fn connections_and_their_futures_are_send() {
    fn is_send<T: Send>(_: T) {}
    fn futures<S: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static>(
        mut socket: WebSocket<S, Client<SystemKeys>>,
    ) {
        is_send(socket.recv());
        is_send(socket.read());
        is_send(socket.send("x"));
        is_send(socket.flush());
        is_send(socket.ping(b""));
        is_send(socket.close(None, ""));
        is_send(socket);
    }
    let _ = futures::<TcpStream>;
    is_send(connect(""));
    let options = ServerOptions::new();
    let (stream, _) = duplex(1);
    is_send(WebSocket::accept(stream, &options));
}

/// A Close that finds no room changes nothing: the connection does not end because of it.
#[tokio::test(start_paused = true)]
async fn a_close_that_finds_no_room_does_not_end_the_connection() {
    let mut config = Config::new();
    (config.timeouts.ping, config.timeouts.write, config.timeouts.idle) = (None, None, None);
    let (server, mut peer) = duplex(64);
    let mut socket = WebSocket::after_upgrade(server, b"", Server, None, config, BufferSizes::default());
    while socket.try_send(vec![1; 5000]).is_ok() {}
    assert!(matches!(socket.try_send(Message::Close(None)), Err(TrySendError::Full(_))));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    peer.write_all(&masked(0x82, b"alive")).await.unwrap();
    assert_eq!(socket.recv().await.unwrap(), Some(b"alive".to_vec().into()));
}

/// The end of the stream inside a frame is noticed by sending alone.
#[tokio::test]
async fn the_end_inside_a_frame_ends_sending() {
    // Within the header, within the payload, and within a payload that fills the buffer.
    for (sent, buffer) in [(1, 1024), (11, 1024), (150, 140)] {
        let (server, mut client) = duplex(64 * 1024);
        let sizes = BufferSizes { receive: buffer, ..BufferSizes::default() };
        let mut socket = WebSocket::after_upgrade(server, b"", Server, None, Config::new(), sizes);
        let mut frame = vec![0x82, 0xFE, 0, 200, 0, 0, 0, 0];
        frame.extend([7; 200]);
        client.write_all(&frame[..sent]).await.unwrap();
        let _ = once(socket.recv()).await;
        socket.send("before").await.unwrap();
        client.shutdown().await.unwrap();
        let mut sends = 0;
        while socket.send("after").await.is_ok() {
            sends += 1;
            assert!(sends < 10, "{sent} bytes of a frame: the end is not noticed");
        }
    }
}

/// What a dropped `recv` has received of a message stays if a `read` finds nothing.
#[tokio::test]
async fn a_dropped_read_loses_no_part_of_a_message() {
    let (mut socket, mut peer) = raw(Config::new());
    peer.write_all(&masked(0x02, b"one ")).await.unwrap();
    assert!(once(socket.recv()).await.is_pending());
    assert!(once(socket.read()).await.is_pending());
    peer.write_all(&masked(0x80, b"message")).await.unwrap();
    assert_eq!(socket.recv().await.unwrap(), Some(b"one message".to_vec().into()));
}
