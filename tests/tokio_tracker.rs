//! Connections over tokio that are tracked, and the Close that the peer of a panicking task receives.
#![cfg(feature = "tokio")]

mod choppy;
mod wire;

use std::time::Duration;

use choppy::{once, pair};
use futures_util::StreamExt;
use sansocket::config::{QueueLimits, ServerOptions};
use sansocket::error::EndReason;
use sansocket::session::BufferSizes;
use sansocket::tokio::{SplitOptions, Tracker, WebSocket, connect};
use sansocket::{CloseCode, Config, Error, Kind, SendError, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpListener;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};
use wire::masked;

const S: Duration = Duration::from_secs(1);

fn raw(keeps: usize) -> (WebSocket<DuplexStream>, DuplexStream) {
    let (server, client) = duplex(keeps);
    let sizes = BufferSizes { head: 1024, receive: 1024, transmit: 1024 };
    (WebSocket::after_upgrade(server, b"", Server, None, Config::new(), sizes), client)
}

#[tokio::test(start_paused = true)]
async fn a_tracker_closes_connections_in_each_form_and_waits_for_them() {
    let tracker = Tracker::new();
    let mut clients = Vec::new();
    // One that receives.
    let (mut socket, client) = pair(1000).await;
    socket.track(&tracker);
    clients.push(client);
    let receiving = tokio::spawn(async move { (socket.recv().await, socket.send("late").await) });
    // One whose halves are polled by futures' way.
    let (mut socket, client) = pair(1000).await;
    socket.track(&tracker);
    clients.push(client);
    let (sink, mut stream) = StreamExt::split(socket);
    tokio::spawn(async move {
        assert!(stream.next().await.is_none());
        drop(sink);
    });
    // One that was split and is idle.
    let (mut socket, client) = pair(1000).await;
    socket.track(&tracker);
    clients.push(client);
    let idle = socket.into_split();
    idle.0.send("queued before").await.unwrap();
    // One that nobody polls until later.
    let (mut socket, client) = pair(1000).await;
    socket.track(&tracker);
    clients.push(client);
    tokio::spawn(async move {
        sleep(3 * S).await;
        assert!(socket.close(None, "").await.is_clean());
    });
    // One that is not tracked.
    let (mut untracked, mut client) = pair(1000).await;

    yield_now().await;
    assert_eq!((tracker.len(), tracker.clone().is_empty()), (4, false));
    let clients: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            tokio::spawn(async move {
                let mut received = Vec::new();
                while let Some(message) = client.recv().await.unwrap() {
                    received.push(message);
                }
                (received, client.ending().unwrap().received, client.close_reason().to_owned())
            })
        })
        .collect();
    tracker.close_all(CloseCode::GOING_AWAY, "bye");
    tracker.close_all(CloseCode::NORMAL, "the first counts");
    assert_eq!(tracker.wait(S).await, 1);
    assert_eq!(tracker.wait(10 * S).await, 0);
    for (n, client) in clients.into_iter().enumerate() {
        let (received, code, reason) = client.await.unwrap();
        assert_eq!(received, if n == 2 { vec!["queued before".into()] } else { vec![] }, "{n}");
        // The last has closed by itself, before it heard of the tracker.
        let expected = if n == 3 { (None, "") } else { (Some(CloseCode::GOING_AWAY), "bye") };
        assert_eq!((code, &*reason), expected, "{n}");
    }
    let (end, late) = receiving.await.unwrap();
    assert_eq!(end.unwrap(), None);
    assert!(matches!(late, Err(Error::Send(SendError::Closed))));
    assert!(idle.0.is_closed());
    untracked.send("open").await.unwrap();
    assert_eq!(client.recv().await.unwrap(), Some("open".into()));
    // A connection that comes after the call is closed, too.
    untracked.track(&tracker);
    let (end, peers) = tokio::join!(untracked.recv(), client.recv());
    assert_eq!((end.unwrap(), peers.unwrap()), (None, None));
    assert_eq!((client.close_reason(), tracker.len()), ("bye", 1));
    drop(untracked);
    assert!(tracker.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_tracker_follows_a_connection_through_split_and_reunite() {
    let tracker = Tracker::new();
    let (mut socket, mut peer) = raw(1000);
    socket.track(&Tracker::new());
    socket.track(&tracker);
    let (sender, receiver) = socket.into_split();
    yield_now().await;
    let mut socket: WebSocket<DuplexStream> = receiver.reunite(sender).await.unwrap();
    assert_eq!(tracker.len(), 1);
    // A message that is open does not keep the Close; a frame of it does, until it ends.
    let mut out = socket.writer();
    out.outbox().unwrap().begin_frame(Kind::Text, 4, false).unwrap();
    out.outbox().unwrap().write(b"ab").unwrap();
    tracker.close_all(CloseCode::GOING_AWAY, "");
    assert!(once(out.flush()).await.is_ready());
    out.outbox().unwrap().write(b"cd").unwrap();
    assert!(once(socket.recv()).await.is_pending());
    let mut all = [0; 10];
    peer.read_exact(&mut all).await.unwrap();
    assert_eq!(all, *b"\x01\x04abcd\x88\x02\x03\xe9");
    peer.write_all(&masked(0x88, b"\x03\xe9")).await.unwrap();
    drop(peer);
    assert_eq!(socket.recv().await.unwrap(), None);
    drop(socket);
    assert!(tracker.is_empty());
}

/// Peers that read nothing or answer nothing do not keep the end.
#[tokio::test(start_paused = true)]
async fn a_shutdown_under_load_loses_nothing_that_was_queued_and_ends_in_time() {
    let tracker = Tracker::new();
    let (mut tasks, mut readers, mut silent) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..60_usize {
        let (mut socket, mut client) = pair(500).await;
        socket.track(&tracker);
        let limits = QueueLimits::new().messages(4);
        let (sender, mut receiver, driver) = socket.into_split_with(SplitOptions::new().queue(limits));
        tokio::spawn(driver);
        tasks.push(tokio::spawn(async move {
            let mut accepted = 0_u32;
            while sender.send(accepted.to_be_bytes().repeat(1 + n)).await.is_ok() {
                accepted += 1;
            }
            while let Ok(Some(_)) = receiver.recv().await {}
            accepted
        }));
        if n % 3 == 0 {
            silent.push(client);
            continue;
        }
        readers.push(tokio::spawn(async move {
            let mut received = 0_u32;
            while let Some(message) = client.recv().await.unwrap() {
                assert_eq!(message.as_bytes()[..4], received.to_be_bytes());
                received += 1;
                client.feed("and back").await.ok();
            }
            assert_eq!(client.close_reason(), "bye");
            (n, received)
        }));
    }
    sleep(S).await;
    for _ in 0..500 {
        yield_now().await;
    }
    let begin = Instant::now();
    tracker.close_all(CloseCode::GOING_AWAY, "bye");
    assert_eq!(tracker.wait(60 * S).await, 0);
    assert!(begin.elapsed() < 51 * S, "{:?}", begin.elapsed());
    let mut accepted = Vec::new();
    for task in tasks {
        accepted.push(task.await.unwrap());
    }
    for reader in readers {
        let (n, received) = reader.await.unwrap();
        assert_eq!(received, accepted[n], "{n}");
        assert!(received > 10, "{received}");
    }
    drop(silent);
}

// ---- panics ----

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_while_it_owns_a_connection_closes_with_1011() {
    let (mut socket, mut client) = pair(1000).await;
    let task = tokio::spawn(async move {
        socket.recv().await.unwrap();
        socket.feed("fed before").await.unwrap();
        panic!("on purpose");
    });
    client.send("now").await.unwrap();
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!(client.recv().await.unwrap(), Some("fed before".into()));
    let end = client.recv().await;
    assert_eq!(client.ending().unwrap().received, Some(CloseCode::INTERNAL_ERROR), "{end:?}");
}

#[tokio::test]
async fn a_panic_closes_with_1011_over_tcp_whatever_was_polled_last() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        loop {
            let stream = listener.accept().await.unwrap().0;
            tokio::spawn(async move {
                let mut socket = WebSocket::accept(stream, &ServerOptions::new()).await.unwrap();
                while let Some(message) = socket.recv().await.unwrap() {
                    assert_ne!(message, "panic".into());
                    socket.feed(message).await.unwrap();
                }
            });
        }
    });
    for echoes in [0, 1, 300] {
        let mut client = connect(&url).await.unwrap();
        for n in 0..echoes {
            client.send("x").await.unwrap();
            assert_eq!(client.recv().await.unwrap(), Some("x".into()), "{n}");
        }
        client.send("panic").await.unwrap();
        let end = client.recv().await;
        assert_eq!(client.ending().unwrap().received, Some(CloseCode::INTERNAL_ERROR), "{echoes} {end:?}");
    }
    server.abort();
}

#[tokio::test(start_paused = true)]
async fn a_panic_tells_no_peer_that_takes_nothing_and_cuts_no_frame_in_silence() {
    // The stream is full: there is no room for a Close, and the connection is just gone.
    let (mut socket, mut peer) = raw(10);
    socket.feed(vec![0; 5000]).await.unwrap();
    assert!(once(socket.flush()).await.is_pending());
    let task = tokio::spawn(async move {
        let _socket = socket;
        panic!("on purpose");
    });
    assert!(task.await.unwrap_err().is_panic());
    let mut all = Vec::new();
    peer.read_to_end(&mut all).await.unwrap();
    assert_eq!(all.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_while_it_owns_a_receiver_closes_with_1011_although_there_are_senders() {
    let (socket, mut client) = pair(1000).await;
    let (sender, receiver) = socket.into_split();
    sender.send("queued before").await.unwrap();
    let task = tokio::spawn(async move {
        let _receiver = receiver;
        panic!("on purpose");
    });
    assert!(task.await.unwrap_err().is_panic());
    assert!(sender.is_closed());
    assert_eq!(client.recv().await.unwrap(), Some("queued before".into()));
    assert_eq!(client.recv().await.unwrap(), None);
    assert_eq!(client.ending().unwrap().received, Some(CloseCode::INTERNAL_ERROR));
    assert_eq!(sender.closed().await.reason, EndReason::Clean);
    // A task that owns a sender only: the others go on.
    let (socket, mut client) = pair(1000).await;
    let (sender, receiver) = socket.into_split();
    let clone = sender.clone();
    let task = tokio::spawn(async move {
        let _sender = clone;
        panic!("on purpose");
    });
    assert!(task.await.unwrap_err().is_panic());
    sender.send("still here").await.unwrap();
    assert_eq!(client.recv().await.unwrap(), Some("still here".into()));
    drop(receiver);
}
