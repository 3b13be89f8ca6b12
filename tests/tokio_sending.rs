//! Sending over tokio without a wait, and into room that was reserved.
#![cfg(feature = "tokio")]

mod choppy;

use std::task::Poll;

use choppy::{once, over};
use futures_util::SinkExt;
use sansocket::config::{ClientOptions, ServerOptions};
use sansocket::message::{CloseFrame, Prepared};
use sansocket::session::BufferSizes;
use sansocket::tokio::{OfferError, TrySendError, WebSocket};
use sansocket::{CloseCode, Config, Error, Kind, Message, SendError, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::yield_now;

/// A connection with the smallest buffers, whose peer is the other end of a stream that keeps so many bytes.
fn raw(keeps: usize) -> (WebSocket<DuplexStream>, DuplexStream) {
    let (server, client) = duplex(keeps);
    let sizes = BufferSizes { head: 0, receive: 140, transmit: 140 };
    (WebSocket::after_upgrade(server, b"", Server, None, Config::new(), sizes), client)
}

/// A server and a client over a stream that keeps 100 bytes, with small buffers.
async fn small(options: &ServerOptions, client: ClientOptions) -> choppy::Pair<DuplexStream> {
    let (near, far) = duplex(100);
    let options = options.clone().receive_buffer(300).transmit_buffer(300);
    over(near, far, &options, &client.receive_buffer(300).transmit_buffer(300)).await
}

#[tokio::test(start_paused = true)]
async fn try_send_takes_what_finds_room_and_gives_the_rest_back() {
    let (mut socket, mut peer) = raw(64);
    let mut taken = 0;
    // 139 bytes: frames of 12.
    let full = loop {
        match socket.try_send("0123456789") {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    // The last one is begun, and its rest kept.
    assert_eq!((taken, full), (12, TrySendError::Full("0123456789".into())));
    // Nothing has left yet.
    assert!(once(peer.read_u8()).await.is_pending());
    let mut received = vec![0; 12 * 12];
    let (flushed, read) = tokio::join!(socket.flush(), peer.read_exact(&mut received));
    flushed.unwrap();
    read.unwrap();
    assert_eq!(received, b"\x81\x0a0123456789".repeat(12));
    // There is room again, for a message of any length.
    assert_eq!(socket.try_send(vec![7; 1000]), Ok(()));
    assert_eq!(socket.try_send("x").unwrap_err().into_message(), "x".into());
    let mut received = vec![0; 1004];
    let (flushed, read) = tokio::join!(socket.flush(), peer.read_exact(&mut received));
    flushed.unwrap();
    read.unwrap();
    assert_eq!(received, [&b"\x82\x7e\x03\xe8"[..], &[7; 1000]].concat());
}

#[tokio::test(start_paused = true)]
async fn try_send_says_what_cannot_be_sent() {
    let (mut socket, _peer) = raw(1000);
    let long = Message::Ping(vec![0; 126].into());
    assert_eq!(
        socket.try_send(long.clone()),
        Err(TrySendError::Invalid(long.clone(), SendError::ControlTooLong))
    );
    socket.writer().fragment(Kind::Text, b"part", false).await.unwrap();
    assert_eq!(socket.try_send("x"), Err(TrySendError::Invalid("x".into(), SendError::MessageOpen)));
    // Control frames go between fragments.
    assert_eq!(socket.try_send(Message::Ping(vec![0; 125].into())), Ok(()));
    socket.flush().await.unwrap();
    assert_eq!(socket.try_send(Message::Close(None)), Ok(()));
    assert_eq!(socket.try_send("late"), Err(TrySendError::Closed("late".into())));
    assert_eq!(socket.try_send(Message::Close(None)), Ok(()), "a second Close does nothing");

    // A sender of a split connection says the same, instead of closing the connection.
    let (socket, _peer) = raw(1000);
    let (sender, _receiver) = socket.into_split();
    assert_eq!(
        sender.try_send(long.clone()),
        Err(TrySendError::Invalid(long.clone(), SendError::ControlTooLong))
    );
    let too_long = |sent| matches!(sent, Err(Error::Send(SendError::ControlTooLong)));
    assert!(too_long(sender.send(long.clone()).await));
    assert!(too_long(sender.ping(&[0; 126]).await));
    for long in [long, Message::Pong(vec![0; 126].into())].map(Prepared::from) {
        assert!(too_long(sender.send_prepared(&long).await));
        assert_eq!(sender.offer(&long), Err(OfferError::Invalid(SendError::ControlTooLong)));
    }
    yield_now().await;
    assert!(!sender.is_closed());
}

#[tokio::test(start_paused = true)]
async fn reserved_room_takes_any_message_and_a_dropped_permit_gives_it_back() {
    let (mut socket, mut peer) = raw(64);
    drop(socket.reserve().await.unwrap());
    let reader = async move {
        let mut all = vec![];
        peer.read_to_end(&mut all).await.unwrap();
        all
    };
    let sender = async move {
        for n in 0..20 {
            let permit = socket.reserve().await.unwrap();
            match n % 2 {
                0 => permit.text("0123456789"),
                _ => permit.binary(vec![n; 1000]),
            }
            // A permit that is dropped costs the next one nothing.
            drop(once(socket.reserve()).await);
        }
        socket.flush().await.unwrap();
    };
    let (received, ()) = tokio::join!(reader, sender);
    let sent: Vec<u8> = (0..20)
        .flat_map(|n| match n % 2 {
            0 => b"\x81\x0a0123456789".to_vec(),
            _ => [&b"\x82\x7e\x03\xe8"[..], &[n; 1000]].concat(),
        })
        .collect();
    assert_eq!(received, sent);
}

#[tokio::test(start_paused = true)]
async fn room_is_waited_for_and_not_reserved_where_nothing_can_be_sent() {
    let (mut socket, mut peer) = raw(64);
    socket.feed(vec![1; 1000]).await.unwrap();
    assert!(once(socket.reserve()).await.is_pending());
    let mut first = vec![0; 1004];
    let reading = async { peer.read_exact(&mut first).await.map(drop) };
    let (permit, read) = tokio::join!(socket.reserve(), reading);
    read.unwrap();
    permit.unwrap().text("second");
    socket.flush().await.unwrap();
    let mut second = [0; 8];
    peer.read_exact(&mut second).await.unwrap();
    assert_eq!(&second, b"\x81\x06second");

    socket.writer().fragment(Kind::Text, b"part", false).await.unwrap();
    assert!(matches!(socket.reserve().await, Err(Error::Send(SendError::MessageOpen))));
    socket.writer().fragment(Kind::Text, b"", true).await.unwrap();
    peer.write_all(b"\x88\x80\0\0\0\0").await.unwrap();
    assert_eq!(socket.recv().await.map_err(|error| error.to_string()), Ok(None));
    assert!(matches!(socket.reserve().await, Err(Error::Send(SendError::Closed))));
}

/// A `Sink` that is ready takes every message: also a control frame that needs more room than a header, and one that is compressed.
#[tokio::test(start_paused = true)]
async fn a_sink_that_is_ready_takes_every_message() {
    let (server_options, client_options) = compressed();
    let (mut server, mut client) = small(&server_options, client_options).await;
    let mut messages = vec![];
    for n in 0..40_u8 {
        messages.push(Message::from(vec![n; usize::from(n) * 5]));
        messages.push(Message::text("0123456789".repeat(usize::from(n))));
    }
    let close = Message::Close(Some(CloseFrame { code: CloseCode::NORMAL, reason: "x".repeat(123).into() }));
    let sending = async {
        for message in &messages {
            server.feed(message.clone()).await.unwrap();
            SinkExt::feed(&mut server, message.clone()).await.unwrap();
            SinkExt::feed(&mut server, Message::Ping(vec![1; 125].into())).await.unwrap();
        }
        SinkExt::feed(&mut server, close).await.unwrap();
        while !matches!(server.recv().await, Ok(None)) {}
    };
    let receiving = async {
        let mut received = vec![];
        while let Some(message) = client.recv().await.unwrap() {
            received.push(message);
        }
        received
    };
    let ((), received) = tokio::join!(sending, receiving);
    let twice: Vec<_> = messages.iter().flat_map(|message| [message.clone(), message.clone()]).collect();
    assert_eq!(received, twice);
    assert_eq!(client.close_reason().len(), 123);
}

#[tokio::test(start_paused = true)]
async fn reserved_room_takes_messages_that_are_compressed() {
    let (server_options, client_options) = compressed();
    let (mut server, mut client) = small(&server_options, client_options).await;
    let sending = async {
        for n in 0..40_u8 {
            server.reserve().await.unwrap().binary(vec![n; usize::from(n) * 5]);
            assert!(matches!(once(server.reserve()).await, Poll::Pending | Poll::Ready(Ok(_))));
            yield_now().await;
        }
        server.close(CloseCode::NORMAL, "").await
    };
    let receiving = async {
        for n in 0..40_u8 {
            assert_eq!(client.recv().await.unwrap(), Some(vec![n; usize::from(n) * 5].into()));
        }
        assert_eq!(client.recv().await.unwrap(), None);
    };
    let (ending, ()) = tokio::join!(sending, receiving);
    assert!(ending.is_clean(), "{ending:?}");
}

#[cfg(feature = "deflate")]
fn compressed() -> (ServerOptions, ClientOptions) {
    use sansocket::deflate::{DeflateOptions, Pool};
    let options = DeflateOptions::new().context(true);
    let pool = Pool::new(options).expect("memory");
    (ServerOptions::new().deflate(pool), ClientOptions::new().deflate(options))
}

#[cfg(not(feature = "deflate"))]
fn compressed() -> (ServerOptions, ClientOptions) {
    (ServerOptions::new(), ClientOptions::new())
}
