//! One message over tokio as a writer and as a reader.
#![cfg(feature = "tokio")]

mod choppy;
mod wire;

use std::io::ErrorKind;

use choppy::{once, over, pair};
use sansocket::config::{ClientOptions, ControlFrames, ServerOptions};
use sansocket::error::{EndReason, InvalidUtf8, Violation};
use sansocket::session::BufferSizes;
use sansocket::tokio::{TrySendError, WebSocket};
use sansocket::{CloseCode, Config, Error, Event, Kind, Message, SendError, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, copy, duplex};
use tokio::task::yield_now;
use wire::masked;

/// A connection with the smallest buffers, whose peer is the other end of a stream that keeps 1 KiB.
fn raw(config: Config) -> (WebSocket<DuplexStream>, DuplexStream) {
    let (server, client) = duplex(1024);
    let sizes = BufferSizes { head: 0, receive: 140, transmit: 140 };
    (WebSocket::after_upgrade(server, b"", Server, None, config, sizes), client)
}

/// The error of the library inside of another.
fn inner(error: std::io::Error) -> Error {
    error.downcast().expect("an error of the library")
}

#[tokio::test(start_paused = true)]
async fn a_message_is_copied_from_a_reader_and_into_a_writer() {
    for (keeps, buffer) in [(1, 140), (100, 300), (10_000, 16_384)] {
        let (near, far) = duplex(keeps);
        let (mut server, mut client) = over(
            near,
            far,
            &ServerOptions::new().receive_buffer(buffer).transmit_buffer(buffer),
            &ClientOptions::new().receive_buffer(buffer).transmit_buffer(buffer),
        )
        .await;
        for len in [0, 1, 139, 20_000] {
            let sent: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let to_server = async {
                let mut message = client.message_writer(Kind::Binary);
                assert_eq!(copy(&mut &*sent, &mut message).await.unwrap(), len as u64);
                message.shutdown().await.unwrap();
                message.shutdown().await.unwrap();
                assert_eq!(message.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
            };
            let at_server = async {
                let mut message = server.message_reader().await.unwrap().unwrap();
                assert_eq!(message.kind(), Kind::Binary);
                let mut received = vec![];
                message.read_to_end(&mut received).await.unwrap();
                assert_eq!(message.read(&mut [0; 8]).await.unwrap(), 0, "the end stays");
                received
            };
            let ((), received) = tokio::join!(to_server, at_server);
            assert_eq!(received, sent);
            // The other way, with a Ping that is answered inside of the message.
            let text = "aß€😀".repeat(len / 10);
            let to_client = async {
                let mut message = server.message_writer(Kind::Text);
                let (a, b) = text.as_bytes().split_at(text.len() / 2);
                message.write_all(a).await.unwrap();
                message.flush().await.unwrap();
                message.write_all(b).await.unwrap();
                message.shutdown().await.unwrap();
                server.recv().await.unwrap()
            };
            let at_client = async {
                client.ping(b"p").await.unwrap();
                let received = client.recv().await.unwrap();
                client.send("done").await.unwrap();
                received
            };
            let (done, received) = tokio::join!(to_client, at_client);
            assert_eq!(received, Some(Message::text(text)));
            assert_eq!(done, Some("done".into()));
        }
        let (ending, end) = tokio::join!(
            async move {
                let ending = client.close(CloseCode::NORMAL, "").await;
                ending.is_clean()
            },
            async move { server.message_reader().await.map(|message| message.is_none()) }
        );
        assert!(ending && end.unwrap());
    }
}

#[cfg(feature = "deflate")]
#[tokio::test(start_paused = true)]
async fn a_written_message_is_compressed() {
    use sansocket::deflate::{DeflateOptions, Pool};
    use std::sync::atomic::Ordering;

    let options = DeflateOptions::new();
    let (near, far) = duplex(64);
    let near = choppy::Choppy::new(near, 64, 0, 1);
    let calls = std::sync::Arc::clone(&near.calls);
    let far = choppy::Choppy::new(far, 64, 0, 1);
    let pool = Pool::new(options).expect("memory");
    let (mut server, mut client) =
        over(near, far, &ServerOptions::new().deflate(pool), &ClientOptions::new().deflate(options)).await;
    let before = calls.load(Ordering::Relaxed);
    let text = "compressed ".repeat(10_000);
    let sending = async {
        let mut message = server.message_writer(Kind::Text);
        for part in text.as_bytes().chunks(100) {
            message.write_all(part).await.unwrap();
        }
        message.shutdown().await.unwrap();
    };
    let ((), received) = tokio::join!(sending, client.recv());
    assert_eq!(received.unwrap(), Some(text.into()));
    // 110,000 bytes would be more than 1,700 writes.
    let calls = calls.load(Ordering::Relaxed) - before;
    assert!(calls < 200, "{calls}");
}

#[tokio::test(start_paused = true)]
async fn text_that_is_not_utf_8_is_not_sent() {
    let (mut socket, mut peer) = raw(Config::new());
    let mut message = socket.message_writer(Kind::Text);
    message.write_all(b"na\xc3").await.unwrap();
    let error = message.write(b"x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert_eq!(error.downcast::<InvalidUtf8>().unwrap(), InvalidUtf8);
    // The message cannot end here.
    assert_eq!(message.shutdown().await.unwrap_err().kind(), ErrorKind::InvalidData);
    message.write_all(b"\xafve").await.unwrap();
    message.shutdown().await.unwrap();
    let mut received = [0; 12];
    peer.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"\x01\x03na\xc3\x00\x03\xafve\x80\0");
    // Any bytes are binary.
    let mut message = socket.message_writer(Kind::Binary);
    message.write_all(b"\xff").await.unwrap();
    message.shutdown().await.unwrap();
    let mut received = [0; 5];
    peer.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"\x02\x01\xff\x80\0");
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_is_dropped_leaves_its_message_open() {
    let (mut server, mut client) = pair(1000).await;
    // Nothing is begun.
    drop(server.message_writer(Kind::Text));
    server.send("first").await.unwrap();
    server.message_writer(Kind::Text).write_all(b"part").await.unwrap();
    let open = |error| matches!(error, Error::Send(SendError::MessageOpen));
    assert!(open(server.send("x").await.unwrap_err()));
    assert!(open(server.reserve().await.map(drop).unwrap_err()));
    assert_eq!(server.try_send("x"), Err(TrySendError::Invalid("x".into(), SendError::MessageOpen)));
    let mut second = server.message_writer(Kind::Text);
    assert!(open(inner(second.write(b"x").await.unwrap_err())));
    assert!(open(inner(second.shutdown().await.unwrap_err())));
    server.ping(b"still here").await.unwrap();
    assert_eq!(client.recv().await.unwrap(), Some("first".into()));
    let (ending, end) = tokio::join!(server.close(CloseCode::INTERNAL_ERROR, "no end"), async move {
        let end = client.recv().await.unwrap();
        (end, client.close_reason().to_owned())
    });
    assert!(ending.is_clean(), "{ending:?}");
    assert_eq!(end, (None, "no end".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_writer_says_why_nothing_can_be_written() {
    // Its peer closes.
    let (mut socket, mut peer) = raw(Config::new());
    peer.write_all(&masked(0x88, b"\x03\xe8")).await.unwrap();
    let mut message = socket.message_writer(Kind::Binary);
    let error = loop {
        match message.write(&[0; 100]).await {
            Ok(_) => yield_now().await,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    assert!(matches!(inner(error), Error::Send(SendError::Closed)));
    // Its peer reads nothing.
    let (mut socket, _peer) = raw(Config::new());
    let mut message = socket.message_writer(Kind::Binary);
    let error = message.write_all(&[0; 5000]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(inner(error).is_timeout());
    // Its peer is gone.
    let (mut socket, peer) = raw(Config::new());
    drop(peer);
    let mut message = socket.message_writer(Kind::Binary);
    let error = message.write_all(&[0; 5000]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

#[tokio::test(start_paused = true)]
async fn what_a_dropped_reader_has_left_is_passed_over() {
    let (near, far) = duplex(64);
    let options = ServerOptions::new().receive_buffer(300);
    let (mut server, mut client) = over(near, far, &options, &ClientOptions::new()).await;
    let sending = async {
        for n in 0..7_u8 {
            client.send(vec![n; 1000]).await.unwrap();
        }
        client
    };
    let receiving = async {
        // All of one, a part of one, nothing of one, and then whole ones.
        let mut received = vec![];
        server.message_reader().await.unwrap().unwrap().read_to_end(&mut received).await.unwrap();
        assert_eq!(received, [0; 1000]);
        let mut part = [9; 500];
        server.message_reader().await.unwrap().unwrap().read_exact(&mut part).await.unwrap();
        assert_eq!(part, [1; 500]);
        drop(server.message_reader().await.unwrap());
        assert_eq!(server.recv().await.unwrap(), Some(vec![3; 1000].into()));
        // Of a `recv` that was dropped inside of the message, all of it.
        for _ in 0..5 {
            assert!(once(server.recv()).await.is_pending());
            yield_now().await;
        }
        let mut received = vec![];
        server.message_reader().await.unwrap().unwrap().read_to_end(&mut received).await.unwrap();
        assert_eq!(received, [4; 1000]);
        // Events follow what a reader has left, and do not mix with what a `recv` had.
        for _ in 0..5 {
            assert!(once(server.recv()).await.is_pending());
            yield_now().await;
        }
        let (event, _) = server.read().await.unwrap().unwrap();
        assert!(matches!(event, Event::Data(chunk) if !chunk.start), "{event:?}");
        assert_eq!(server.recv().await.unwrap(), Some(vec![6; 1000].into()));
    };
    let (_client, ()) = tokio::join!(sending, receiving);
}

#[tokio::test(start_paused = true)]
async fn a_reader_says_why_its_message_has_no_end() {
    let read = |config: Config, frames: Vec<u8>| async move {
        let (mut socket, mut peer) = raw(config);
        peer.write_all(&frames).await.unwrap();
        drop(peer);
        let mut message = socket.message_reader().await.unwrap().unwrap();
        let mut received = vec![];
        let error = message.read_to_end(&mut received).await.unwrap_err();
        let again = message.read(&mut [0]).await.unwrap_err();
        assert_eq!(again.kind() == ErrorKind::UnexpectedEof, error.kind() == ErrorKind::UnexpectedEof);
        (received, error)
    };
    let violation = |error: std::io::Error| {
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        match inner(error).ending().map(|ending| ending.reason) {
            Some(EndReason::Violation(violation)) => violation,
            other => panic!("{other:?}"),
        }
    };
    // Not UTF-8, in the second frame.
    let (received, error) =
        read(Config::new(), [masked(0x01, b"text"), masked(0x80, b"\xff")].concat()).await;
    assert_eq!((&*received, violation(error)), (&b"text"[..], Violation::InvalidUtf8));
    // Too long.
    let frames = [masked(0x02, &[1; 100]), masked(0x80, &[1; 100])].concat();
    let (received, error) = read(Config::new().max_message_len(150), frames).await;
    assert_eq!((received.len(), violation(error)), (100, Violation::MessageTooBig));
    // The peer disconnects, or closes.
    let (received, error) = read(Config::new(), masked(0x02, b"part")).await;
    assert_eq!((&*received, error.kind()), (&b"part"[..], ErrorKind::UnexpectedEof));
    assert!(inner(error).is_disconnect());
    let (received, error) =
        read(Config::new(), [masked(0x02, b"part"), masked(0x88, b"\x03\xe8")].concat()).await;
    assert_eq!((&*received, error.kind()), (&b"part"[..], ErrorKind::UnexpectedEof));
    assert!(inner(error).ending().is_some_and(|ending| ending.is_clean()));
}

#[tokio::test(start_paused = true)]
async fn control_frames_and_messages_received_ahead_do_not_disturb_a_reader() {
    let (mut socket, mut peer) = raw(Config::new().control_frames(ControlFrames::Reported));
    let frames = [
        masked(0x89, b"before"),
        masked(0x01, b"one"),
        masked(0x89, b"inside"),
        masked(0x00, b""),
        masked(0x80, b" message"),
    ];
    peer.write_all(&frames.concat()).await.unwrap();
    let mut text = String::new();
    let mut message = socket.message_reader().await.unwrap().unwrap();
    message.read_to_string(&mut text).await.unwrap();
    assert_eq!((message.kind(), &*text), (Kind::Text, "one message"));

    // What the halves had received before they were put together.
    let (sender, receiver) = socket.into_split();
    peer.write_all(&[masked(0x89, b"p"), masked(0x82, b"a"), masked(0x82, b"b")].concat()).await.unwrap();
    for _ in 0..10 {
        yield_now().await;
    }
    let mut socket: WebSocket<DuplexStream> = receiver.reunite(sender).await.unwrap();
    for expected in [b"a", b"b"] {
        let mut received = vec![];
        socket.message_reader().await.unwrap().unwrap().read_to_end(&mut received).await.unwrap();
        assert_eq!(received, expected);
    }
}
