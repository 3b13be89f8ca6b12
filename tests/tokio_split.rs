//! Connections over tokio that were split into a sender and a receiver: deadlines in paused time, what each dropped half means,
//! back-pressure, policies for slow readers, and the way back.
#![cfg(feature = "tokio")]

mod choppy;
mod wire;

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use choppy::{Choppy, choppy_pair, once, over, pair, run, shape};
use futures_util::{SinkExt, StreamExt};
use proptest::prelude::*;
use sansocket::config::{ClientOptions, Overflow, QueueLimits, ServerOptions};
use sansocket::error::{EndReason, Timeout};
use sansocket::message::Prepared;
use sansocket::proto::SystemKeys;
use sansocket::session::BufferSizes;
use sansocket::tokio::{NotReunited, OfferError, Receiver, Sender, SplitOptions, TrySendError, WebSocket};
use sansocket::{Client, CloseCode, Config, Ending, Error, Event, Message, SendError, Server};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};
use wire::masked;

const S: Duration = Duration::from_secs(1);

fn open<T: AsyncRead + AsyncWrite + Unpin>(stream: T, config: Config) -> WebSocket<T> {
    let sizes = BufferSizes { head: 1024, receive: 1024, transmit: 1024 };
    WebSocket::after_upgrade(stream, b"", Server, None, config, sizes)
}

/// A connection whose peer is the other end of a stream that keeps so many bytes.
fn raw(keeps: usize) -> (WebSocket<DuplexStream>, DuplexStream) {
    let (server, client) = duplex(keeps);
    (open(server, Config::new()), client)
}

fn split_with<T>(socket: WebSocket<T>, options: SplitOptions) -> (Sender, Receiver)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, receiver, driver) = socket.into_split_with(options);
    tokio::spawn(driver);
    (sender, receiver)
}

/// Which halves are there while a deadline passes.
#[derive(Clone, Copy, Debug)]
enum Form {
    BothIdle,
    NoReceiver,
    Receiving,
}

const FORMS: [Form; 3] = [Form::BothIdle, Form::NoReceiver, Form::Receiving];

/// Waits for the end in this form.
async fn end(form: Form, sender: &Sender, mut receiver: Receiver) -> Ending {
    match form {
        Form::BothIdle => {
            let ending = sender.closed().await;
            drop(receiver);
            ending
        }
        Form::NoReceiver => {
            drop(receiver);
            sender.closed().await
        }
        Form::Receiving => match receiver.recv().await {
            Ok(None) => receiver.ending().unwrap(),
            Ok(message) => panic!("{message:?}"),
            Err(error) => error.ending().unwrap(),
        },
    }
}

// ---- deadlines ----

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_given_up_whatever_the_halves_do() {
    for form in FORMS {
        let begin = Instant::now();
        let (socket, _peer) = raw(4096);
        let (sender, receiver) = socket.into_split();
        let ending = end(form, &sender, receiver).await;
        assert_eq!(ending.reason, EndReason::Timeout(Timeout::Pong), "{form:?}");
        // Ping after 30 s, Pong within 20 s, then the Close and the end of the stream within 5 s.
        assert!(begin.elapsed() >= 50 * S && begin.elapsed() < 57 * S, "{form:?} {:?}", begin.elapsed());
        assert!(matches!(sender.send("x").await, Err(Error::Send(SendError::Closed))));
    }
    // Without a sender.
    let (socket, _peer) = raw(4096);
    let (sender, mut receiver) = socket.into_split();
    drop(sender);
    let error = receiver.recv().await.unwrap_err();
    assert_eq!(error.ending().unwrap().reason, EndReason::Timeout(Timeout::Pong));
    // The error comes again, and as the end of the stream once.
    assert!(receiver.recv().await.is_err());
    assert!(receiver.next().await.unwrap().is_err());
    assert!(receiver.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_is_given_up_whatever_the_halves_do() {
    for form in FORMS {
        let begin = Instant::now();
        let (socket, _peer) = raw(100);
        let (sender, receiver) = socket.into_split();
        sender.send(vec![0; 100_000]).await.unwrap();
        let ending = end(form, &sender, receiver).await;
        assert_eq!(ending.reason, EndReason::Timeout(Timeout::Write), "{form:?}");
        assert!(begin.elapsed() >= 30 * S && begin.elapsed() < 32 * S, "{form:?} {:?}", begin.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_send_that_waits_for_room_ends_with_the_write_deadline() {
    let (socket, _peer) = raw(100);
    let (sender, _receiver) = split_with(socket, SplitOptions::new().queue(QueueLimits::new().messages(1)));
    sender.send(vec![0; 100_000]).await.unwrap();
    let begin = Instant::now();
    let error = sender.send("waits").await.unwrap_err();
    assert!(matches!(error, Error::Send(SendError::Closed)), "{error:?}");
    assert!(begin.elapsed() >= 29 * S && begin.elapsed() < 32 * S, "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_close_without_an_answer_ends_whatever_the_halves_do() {
    for form in FORMS {
        let begin = Instant::now();
        let (socket, _peer) = raw(4096);
        let (sender, receiver) = socket.into_split();
        sender.close(CloseCode::NORMAL, "");
        let ending = end(form, &sender, receiver).await;
        assert_eq!(ending.reason, EndReason::Timeout(Timeout::Close), "{form:?}");
        assert!(begin.elapsed() < 12 * S, "{form:?} {:?}", begin.elapsed());
    }
    // The peer takes a byte now and then of what is queued before the Close.
    let begin = Instant::now();
    let (socket, mut peer) = raw(10);
    let (sender, _receiver) = socket.into_split();
    sender.send(vec![0; 1_000_000]).await.unwrap();
    sender.send("behind it").await.unwrap();
    sender.close(CloseCode::NORMAL, "");
    let dripping = async {
        while peer.read_u8().await.is_ok() {
            sleep(2 * S).await;
        }
    };
    tokio::select! { _ = sender.closed() => {}, () = dripping => panic!() };
    assert!(begin.elapsed() <= 51 * S, "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn without_halves_the_connection_sends_what_is_queued_closes_with_1001_and_ends_by_its_deadline() {
    let begin = Instant::now();
    let (socket, mut peer) = raw(4096);
    let (sender, receiver) = socket.into_split();
    sender.send("last").await.unwrap();
    drop(receiver);
    drop(sender);
    let mut all = Vec::new();
    peer.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"\x81\x04last\x88\x02\x03\xe9");
    assert!(begin.elapsed() < 12 * S, "{:?}", begin.elapsed());
    // In the other order, and with a peer that answers.
    let (server, mut client) = pair(4096).await;
    let (sender, receiver) = server.into_split();
    let clone = sender.clone();
    drop((sender, clone));
    drop(receiver);
    assert_eq!(client.recv().await.unwrap(), None);
    assert_eq!(client.ending().unwrap().received, Some(CloseCode::GOING_AWAY));
}

#[tokio::test(start_paused = true)]
async fn pings_are_answered_and_a_pong_keeps_the_connection_while_both_halves_are_idle() {
    for keep in [true, false] {
        let (socket, mut peer) = raw(4096);
        let (sender, receiver) = socket.into_split();
        let receiver = keep.then_some(receiver);
        for _ in 0..10 {
            let mut ping = [0; 2];
            peer.read_exact(&mut ping).await.unwrap();
            assert_eq!(ping, *b"\x89\x00");
            peer.write_all(&masked(0x8a, b"")).await.unwrap();
            peer.write_all(&masked(0x89, b"there?")).await.unwrap();
            let mut pong = [0; 8];
            peer.read_exact(&mut pong).await.unwrap();
            assert_eq!(pong, *b"\x8a\x06there?");
        }
        peer.write_all(&masked(0x88, b"\x03\xe8bye")).await.unwrap();
        let mut close = Vec::new();
        peer.read_to_end(&mut close).await.unwrap();
        assert_eq!(close, b"\x88\x02\x03\xe8");
        drop(peer);
        assert!(sender.closed().await.is_clean());
        assert!(receiver.is_none_or(|receiver| receiver.close_reason() == "bye"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_ping_behind_messages_that_were_received_ahead_is_answered_within_the_bound() {
    let (socket, mut peer) = raw(4096);
    let (_sender, mut receiver) = split_with(socket, SplitOptions::new().read_ahead(3 * 65));
    for _ in 0..3 {
        peer.write_all(&masked(0x81, b"x")).await.unwrap();
    }
    peer.write_all(&masked(0x89, b"1")).await.unwrap();
    // The bound is reached, but the Ping has come with them.
    let mut pong = [0; 3];
    peer.read_exact(&mut pong).await.unwrap();
    assert_eq!(pong, *b"\x8a\x011");
    peer.write_all(&masked(0x81, b"y")).await.unwrap();
    peer.write_all(&masked(0x89, b"2")).await.unwrap();
    assert!(timeout(5 * S, peer.read_exact(&mut pong)).await.is_err());
    for text in ["x", "x", "x", "y"] {
        assert_eq!(receiver.recv().await.unwrap(), Some(text.into()));
    }
    peer.read_exact(&mut pong).await.unwrap();
    assert_eq!(pong, *b"\x8a\x012");
}

// ---- halves that are dropped ----

#[tokio::test(start_paused = true)]
async fn a_dropped_receiver_discards_what_comes_and_the_sender_goes_on() {
    let (server, mut client) = pair(1000).await;
    let (sender, receiver) = server.into_split();
    client.send("read ahead").await.unwrap();
    yield_now().await;
    drop(receiver);
    for n in 0..100_u8 {
        client.send(vec![n; 20_000]).await.unwrap();
    }
    sender.send("still here").await.unwrap();
    assert_eq!(client.recv().await.unwrap(), Some("still here".into()));
    assert!(client.close(CloseCode::NORMAL, "").await.is_clean());
    assert!(sender.closed().await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn without_a_sender_the_receiver_goes_on() {
    let (server, mut client) = pair(1000).await;
    let (sender, mut receiver) = server.into_split();
    sender.send("bye").await.unwrap();
    drop(sender);
    assert_eq!(client.recv().await.unwrap(), Some("bye".into()));
    for n in 0..10_u8 {
        let message = vec![n; 5000];
        let (sent, received) = tokio::join!(client.send(message.clone()), receiver.recv());
        sent.unwrap();
        assert_eq!(received.unwrap(), Some(message.into()));
        sleep(20 * S).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_driver_ends_both_halves() {
    let (socket, mut peer) = raw(1000);
    let (sender, mut receiver, driver) = socket.into_split_with(SplitOptions::new());
    let driver = tokio::spawn(driver);
    let mut receiving = pin!(receiver.recv());
    assert!(once(receiving.as_mut()).await.is_pending());
    driver.abort();
    let error = receiving.await.unwrap_err();
    assert_eq!(error.ending().unwrap().reason, EndReason::Disconnected);
    assert_eq!(sender.closed().await.reason, EndReason::Disconnected);
    assert!(sender.is_closed());
    assert_eq!(peer.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn messages_that_came_before_the_end_are_received_after_it() {
    // The peer closes behind them.
    let (socket, mut peer) = raw(1000);
    let (sender, mut receiver) = socket.into_split();
    peer.write_all(&[masked(0x81, b"one"), masked(0x81, b"two"), masked(0x88, b"\x03\xe8")].concat())
        .await
        .unwrap();
    peer.shutdown().await.unwrap();
    assert!(sender.closed().await.is_clean());
    assert_eq!(receiver.recv().await.unwrap(), Some("one".into()));
    assert_eq!(receiver.recv().await.unwrap(), Some("two".into()));
    assert_eq!(receiver.recv().await.unwrap(), None);
    assert_eq!(receiver.recv().await.unwrap(), None);
    // The peer disconnects behind more than is received ahead: nobody has to read for the end to be noticed.
    let (socket, mut peer) = raw(1000);
    let (sender, mut receiver) = split_with(socket, SplitOptions::new().read_ahead(0));
    for n in 0..20_u8 {
        peer.write_all(&masked(0x82, &[n])).await.unwrap();
    }
    drop(peer);
    assert_eq!(sender.closed().await.reason, EndReason::Disconnected);
    for n in 0..20_u8 {
        assert_eq!(receiver.recv().await.unwrap(), Some(vec![n].into()));
    }
    assert!(receiver.recv().await.unwrap_err().is_disconnect());
}

// ---- back-pressure ----

#[tokio::test(start_paused = true)]
async fn what_is_received_ahead_is_bounded() {
    let (socket, mut peer) = raw(100);
    let (_sender, mut receiver) = split_with(socket, SplitOptions::new().read_ahead(10_000));
    let mut sent = 0;
    let frame = masked(0x82, &[0; 100]);
    while timeout(S, peer.write_all(&frame)).await.is_ok() {
        sent += 100;
    }
    // What is received ahead, the receive buffer, the stream.
    assert!((6_000..12_000).contains(&sent), "{sent}");
    assert_eq!(receiver.recv().await.unwrap(), Some(vec![0; 100].into()));
}

#[tokio::test(start_paused = true)]
async fn a_slow_peer_slows_down_those_who_send_and_they_get_room_in_order() {
    let (socket, mut peer) = raw(10);
    let (sender, _receiver) = split_with(socket, SplitOptions::new().queue(QueueLimits::new().messages(2)));
    // One is in the connection, beyond its buffer, and two are queued.
    sender.send(vec![0; 5000]).await.unwrap();
    yield_now().await;
    sender.send("1").await.unwrap();
    assert_eq!(sender.queued().messages, 2);
    assert_eq!(sender.queued().bytes, 5001);
    let mut sends: Vec<_> = (2..6).map(|n| Box::pin(sender.send(n.to_string()))).collect();
    for send in &mut sends {
        assert!(once(send.as_mut()).await.is_pending());
    }
    assert_eq!(
        sender.try_send("full").map_err(|error| error.to_string()).unwrap_err(),
        "there is no room for the message"
    );
    // The first in the line is dropped, and one in the middle.
    drop(sends.remove(0));
    drop(sends.remove(1));
    let reading = async {
        let mut all = vec![0; 4 + 5000 + 3 * 3];
        peer.read_exact(&mut all).await.unwrap();
        all.split_off(5004)
    };
    let (received, _) = tokio::join!(reading, futures_util::future::join_all(sends));
    assert_eq!(received, b"\x81\x011\x81\x013\x81\x015");
    // Room again.
    sender.try_send("x").unwrap();
    let mut frame = [0; 3];
    peer.read_exact(&mut frame).await.unwrap();
    assert_eq!((frame, sender.queued().messages), (*b"\x81\x01x", 0));
    yield_now().await;
    sender.close(None, "");
    assert_eq!(sender.try_send("late"), Err(TrySendError::Closed("late".into())));
}

#[tokio::test(start_paused = true)]
async fn a_message_larger_than_the_limit_goes_through_an_empty_queue() {
    let (server, mut client) = pair(1000).await;
    let limits = QueueLimits::new().bytes(100);
    let (sender, _receiver) = split_with(server, SplitOptions::new().queue(limits));
    let (sent, received) = tokio::join!(
        async {
            sender.send(vec![1; 50_000]).await.unwrap();
            sender.send(vec![2; 50_000]).await.unwrap();
            sender.send("x").await.unwrap();
        },
        async { (client.recv().await.unwrap(), client.recv().await.unwrap(), client.recv().await.unwrap()) }
    );
    let () = sent;
    assert!(received == (Some(vec![1; 50_000].into()), Some(vec![2; 50_000].into()), Some("x".into())));
}

#[tokio::test(start_paused = true)]
async fn a_reserved_place_counts_as_a_message_and_takes_one_of_any_length() {
    let (socket, mut peer) = raw(10);
    let limits = QueueLimits::new().messages(3).bytes(6000).overflow(Overflow::DropOldest);
    let (sender, _receiver) = split_with(socket, SplitOptions::new().queue(limits));
    sender.send(vec![0; 5000]).await.unwrap();
    yield_now().await;
    // The one that has begun, one that waits, and a place.
    sender.send("old").await.unwrap();
    let permit = sender.reserve().await.unwrap();
    assert_eq!(sender.queued().messages, 2);
    assert_eq!(sender.try_send("full"), Err(TrySendError::Full("full".into())));
    assert_eq!(sender.offer(&"new".into()), Ok(1), "the oldest message goes, and not the place");
    let (mut first, mut second) = (Box::pin(sender.reserve()), Box::pin(sender.reserve()));
    assert!(once(first.as_mut()).await.is_pending() && once(second.as_mut()).await.is_pending());
    // A wait that is dropped, and a place that is given back, are for the next in the line.
    drop(first);
    drop(permit);
    second.await.unwrap().binary(vec![1; 2000]);
    assert_eq!(sender.queued().bytes, 5000 + 3 + 2000);
    // Too many bytes wait now.
    let mut next = Box::pin(sender.reserve());
    assert!(once(next.as_mut()).await.is_pending());
    let reading = async {
        let mut all = vec![0; 4 + 5000 + 5 + 4 + 2000];
        peer.read_exact(&mut all).await.unwrap();
        all.split_off(5004)
    };
    let (received, permit) = tokio::join!(reading, next);
    assert_eq!(received, [&b"\x81\x03new\x82\x7e\x07\xd0"[..], &[1; 2000]].concat());
    permit.unwrap().text("last");
    let mut last = [0; 6];
    peer.read_exact(&mut last).await.unwrap();
    assert_eq!(last, *b"\x81\x04last");
}

#[tokio::test(start_paused = true)]
async fn an_offer_loses_no_message_for_places_that_are_reserved() {
    let (socket, _peer) = raw(10);
    let limits = QueueLimits::new().messages(3).overflow(Overflow::DropOldest);
    let (sender, _receiver) = split_with(socket, SplitOptions::new().queue(limits));
    let permits = [sender.reserve().await.unwrap(), sender.reserve().await.unwrap()];
    sender.send(vec![0; 5000]).await.unwrap();
    yield_now().await;
    let third = sender.offer(&"x".into());
    assert_eq!((third, sender.queued().messages), (Err(OfferError::Full), 1));
    drop(permits);
    assert_eq!(sender.offer(&"x".into()), Ok(0));
}

#[tokio::test(start_paused = true)]
async fn a_peer_is_not_slow_because_places_are_reserved() {
    let (socket, _peer) = raw(10);
    let limits = QueueLimits::new().messages(2).overflow(Overflow::Close(CloseCode::TRY_AGAIN_LATER));
    let (sender, _receiver) = split_with(socket, SplitOptions::new().queue(limits));
    let permits = [sender.reserve().await.unwrap(), sender.reserve().await.unwrap()];
    assert_eq!(format!("{:?}", permits[0]), "SenderPermit { .. }");
    assert_eq!(sender.offer(&"x".into()), Err(OfferError::Full));
    assert!(!sender.is_closed());
    drop(permits);
    for text in [vec![0; 5000], vec![1]] {
        sender.send(text).await.unwrap();
    }
    yield_now().await;
    assert_eq!(sender.offer(&"x".into()), Err(OfferError::TooSlow(CloseCode::TRY_AGAIN_LATER)));
    assert!(sender.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_place_is_no_use_after_a_close() {
    let (socket, mut peer) = raw(1000);
    let (sender, _receiver) = split_with(socket, SplitOptions::new().queue(QueueLimits::new().messages(1)));
    let permit = sender.reserve().await.unwrap();
    let mut waiting = Box::pin(sender.reserve());
    assert!(once(waiting.as_mut()).await.is_pending());
    sender.close(CloseCode::NORMAL, "");
    let closed = |reserved| matches!(reserved, Err(Error::Send(SendError::Closed)));
    assert!(closed(waiting.await.map(drop)) && closed(sender.reserve().await.map(drop)));
    permit.text("late");
    assert_eq!(sender.queued().messages, 0);
    let mut all = Vec::new();
    peer.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"\x88\x02\x03\xe8");
}

// ---- policies for slow readers ----

/// Offers numbers to a peer that has not read the first message, and returns what the peer then reads, and the results.
async fn offered(limits: QueueLimits) -> (Vec<Result<usize, OfferError>>, Vec<Message>, Option<CloseCode>) {
    let (server, mut client) = pair(100).await;
    let (sender, _receiver) = split_with(server, SplitOptions::new().queue(limits));
    sender.send(vec![0; 50_000]).await.unwrap();
    yield_now().await;
    let results = (1..6_u8).map(|n| sender.offer(&Prepared::from(vec![n; 10]))).collect();
    sender.close(CloseCode::NORMAL, "");
    let mut received = Vec::new();
    assert_eq!(client.recv().await.unwrap(), Some(vec![0; 50_000].into()));
    while let Some(message) = client.recv().await.unwrap() {
        received.push(message);
    }
    (results, received, client.ending().unwrap().received)
}

#[tokio::test(start_paused = true)]
async fn a_policy_says_what_becomes_of_messages_for_a_slow_reader() {
    let numbers = |numbers: &[u8]| numbers.iter().map(|n| Message::from(vec![*n; 10])).collect::<Vec<_>>();
    let limits = QueueLimits::new().messages(3);
    let (results, received, code) = offered(limits).await;
    assert_eq!(results, [Ok(0), Ok(0), Err(OfferError::Full), Err(OfferError::Full), Err(OfferError::Full)]);
    assert_eq!((received, code), (numbers(&[1, 2]), Some(CloseCode::NORMAL)));

    let (results, received, _) = offered(limits.overflow(Overflow::DropOldest)).await;
    assert_eq!(results, [Ok(0), Ok(0), Ok(1), Ok(1), Ok(1)]);
    assert_eq!(received, numbers(&[4, 5]));

    let code = CloseCode::TRY_AGAIN_LATER;
    let (results, received, closed) = offered(limits.overflow(Overflow::Close(code))).await;
    let closed_before = Err(OfferError::Closed);
    assert_eq!(results, [Ok(0), Ok(0), Err(OfferError::TooSlow(code)), closed_before, closed_before]);
    assert_eq!((received, closed), (numbers(&[1, 2]), Some(code)));

    // By bytes: the message that has begun is larger than the limit, and is not counted.
    let limits = QueueLimits::new().bytes(25).overflow(Overflow::DropOldest);
    let (results, received, _) = offered(limits).await;
    assert_eq!(results, [Ok(0), Ok(0), Ok(1), Ok(1), Ok(1)]);
    assert_eq!(received, numbers(&[4, 5]));
    // Nothing makes room for these.
    let (results, received, _) = offered(limits.messages(1)).await;
    assert_eq!(results, [Err(OfferError::Full); 5]);
    assert_eq!(received, []);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_among_a_hundred_does_not_delay_the_others() {
    let limits = QueueLimits::new().messages(8).overflow(Overflow::Close(CloseCode::POLICY_VIOLATION));
    let (mut senders, mut readers, mut slow) = (Vec::new(), Vec::new(), None);
    for n in 0..100 {
        let (server, mut client) = pair(2000).await;
        senders.push(split_with(server, SplitOptions::new().queue(limits)));
        if n == 50 {
            slow = Some(client);
        } else {
            readers.push(tokio::spawn(async move {
                let mut received = 0;
                while let Some(message) = client.recv().await.unwrap() {
                    assert_eq!(message, vec![received; 1000].into());
                    received += 1;
                }
                received
            }));
        }
    }
    let begin = Instant::now();
    let mut refused = Vec::new();
    for n in 0..200_u8 {
        let message = Prepared::from(vec![n; 1000]);
        for (member, (sender, _)) in senders.iter().enumerate() {
            if let Err(error) = sender.offer(&message) {
                refused.push((member, error));
            }
        }
        // As long as it takes the others to read it.
        while senders
            .iter()
            .enumerate()
            .any(|(member, (sender, _))| member != 50 && sender.queued().messages > 1)
        {
            yield_now().await;
        }
    }
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert_eq!(refused[0], (50, OfferError::TooSlow(CloseCode::POLICY_VIOLATION)));
    assert!(refused[1..].iter().all(|error| *error == (50, OfferError::Closed)));
    let mut slow = slow.unwrap();
    let mut received = 0;
    while slow.recv().await.unwrap().is_some() {
        received += 1;
    }
    assert!((8..50).contains(&received), "{received}");
    assert_eq!(slow.ending().unwrap().received, Some(CloseCode::POLICY_VIOLATION));
    for (sender, _) in &senders {
        sender.close(CloseCode::NORMAL, "");
    }
    for reader in readers {
        assert_eq!(reader.await.unwrap(), 200);
    }
}

// ---- cancel safety and wake-ups ----

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// No future of any method lives longer than one poll, on both sides. Each send that was dropped sent nothing, so that each
    /// message arrives once and in order.
    #[test]
    fn each_method_of_the_halves_survives_a_drop_at_each_await(
        shape in shape(),
        ours in prop::collection::vec(0..3000_usize, 0..6),
        theirs in prop::collection::vec(0..3000_usize, 0..6),
        read_ahead in 0..4000_usize,
    ) {
        run(async {
            let (server, client) = choppy_pair(shape).await;
            let options = SplitOptions::new().queue(QueueLimits::new().messages(1)).read_ahead(read_ahead);
            let (sender, mut receiver, driver) = server.into_split_with(options.clone());
            tokio::spawn(driver);
            let (their_sender, mut their_receiver, driver) = client.into_split_with(options);
            tokio::spawn(driver);
            let message = |(n, len): (usize, &usize)| Message::from(vec![n as u8; *len]);
            let send = async |sender: &Sender, lens: &[usize]| {
                for message in lens.iter().enumerate().map(message) {
                    match message.as_bytes().len() % 3 {
                        0 => dropped_at_each_await!(sender.send(message.clone())).unwrap(),
                        1 => dropped_at_each_await!(sender.reserve()).unwrap().binary(message),
                        _ => {
                            let message = Prepared::from(message);
                            dropped_at_each_await!(sender.send_prepared(&message)).unwrap();
                        }
                    }
                    dropped_at_each_await!(sender.ping(b"?")).unwrap();
                }
            };
            let receive = async |receiver: &mut Receiver, lens: &[usize]| {
                for message in lens.iter().enumerate().map(message) {
                    assert_eq!(dropped_at_each_await!(receiver.recv()).unwrap(), Some(message));
                }
            };
            tokio::join!(
                send(&sender, &ours),
                receive(&mut receiver, &theirs),
                send(&their_sender, &theirs),
                receive(&mut their_receiver, &ours),
            );
            their_sender.close(CloseCode::NORMAL, "done");
            assert!(dropped_at_each_await!(sender.closed()).is_clean());
            assert_eq!(dropped_at_each_await!(receiver.recv()).unwrap(), None);
            assert_eq!(receiver.close_reason(), "done");
            assert!(dropped_at_each_await!(their_sender.closed()).is_clean());
        });
    }

    /// Reunited at any moment of a conversation: nothing is lost, doubled or out of order, in either direction.
    #[test]
    fn a_connection_is_reunited_in_any_state(
        shape in shape(),
        ours in prop::collection::vec(0..2000_usize, 0..5),
        theirs in prop::collection::vec(0..2000_usize, 1..6),
        polls in 0..300_usize,
        again in any::<bool>(),
    ) {
        run(async {
            let (server, client) = choppy_pair(shape).await;
            let message = |(n, len): (usize, &usize)| Message::from(vec![n as u8; *len]);
            let (sender, receiver) = server.into_split();
            let peer = async {
                // A peer that reads while it sends.
                let (to_server, mut client) = client.into_split();
                for message in theirs.iter().enumerate().map(message) {
                    to_server.send(message).await.unwrap();
                }
                for message in ours.iter().enumerate().map(message) {
                    assert_eq!(client.recv().await.unwrap(), Some(message));
                }
                assert_eq!(client.recv().await.unwrap(), Some("reunited".into()));
                to_server.close(CloseCode::NORMAL, "");
                assert!(to_server.closed().await.is_clean());
            };
            let halves = async {
                for message in ours.iter().enumerate().map(message) {
                    sender.send(message).await.unwrap();
                }
                for _ in 0..polls {
                    yield_now().await;
                }
                type Side = WebSocket<Choppy<DuplexStream>>;
                let mut socket: Side = receiver.reunite(sender).await.unwrap();
                if again {
                    let (sender, receiver) = socket.into_split();
                    yield_now().await;
                    socket = receiver.reunite(sender).await.unwrap();
                }
                socket.send("reunited").await.unwrap();
                for (n, message) in theirs.iter().enumerate().map(message).enumerate() {
                    // Some as events, which are lent.
                    if n % 2 == 0 {
                        assert_eq!(socket.recv().await.unwrap(), Some(message));
                    } else {
                        let (mut bytes, mut start) = (Vec::new(), None);
                        while let Some((event, _)) = socket.read().await.unwrap() {
                            let Event::Data(chunk) = event else { continue };
                            start.get_or_insert(chunk.start);
                            bytes.extend_from_slice(&chunk.payload);
                            if chunk.end {
                                break;
                            }
                        }
                        // Of a message that the driver had received in part, this is the rest.
                        let (all, begins) = (message.as_bytes(), start.unwrap());
                        assert!(if begins { bytes == all } else { all.ends_with(&bytes) }, "{n} {begins}");
                    }
                }
                assert_eq!(socket.recv().await.unwrap(), None);
            };
            tokio::join!(peer, halves);
        });
    }
}

/// A stream that keeps one waker for each direction, as a socket does, and checks whose they are.
struct Audited {
    inner: DuplexStream,
    wakers: Arc<Mutex<Vec<Waker>>>,
}

impl Audited {
    fn note(&self, cx: &Context<'_>) {
        self.wakers.lock().unwrap().push(cx.waker().clone());
    }
}

impl AsyncRead for Audited {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.note(cx);
        Pin::new(&mut self.inner).poll_read(cx, into)
    }
}

impl AsyncWrite for Audited {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.note(cx);
        Pin::new(&mut self.inner).poll_write(cx, from)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.note(cx);
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.note(cx);
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_driver_polls_the_stream_and_it_is_not_polled_without_a_cause() {
    let (near, mut peer) = duplex(64);
    let wakers = Arc::new(Mutex::new(Vec::new()));
    let socket = open(Audited { inner: near, wakers: Arc::clone(&wakers) }, Config::new());
    let (sender, mut receiver) = socket.into_split();
    let sending = tokio::spawn({
        let sender = sender.clone();
        async move {
            for _ in 0..20 {
                sender.send(vec![0; 300]).await.unwrap();
            }
        }
    });
    let receiving = tokio::spawn(async move {
        for _ in 0..20 {
            assert_eq!(receiver.recv().await.unwrap(), Some("x".into()));
        }
        receiver
    });
    for _ in 0..20 {
        let mut frame = vec![0; 304];
        peer.read_exact(&mut frame).await.unwrap();
        peer.write_all(&masked(0x81, b"x")).await.unwrap();
    }
    sending.await.unwrap();
    let _receiver = receiving.await.unwrap();
    let all = std::mem::take(&mut *wakers.lock().unwrap());
    assert!(all.len() > 100 && all.iter().all(|waker| waker.will_wake(&all[0])), "{}", all.len());
    // Nothing happens for 29 s.
    yield_now().await;
    wakers.lock().unwrap().clear();
    sleep(29 * S).await;
    assert_eq!(wakers.lock().unwrap().len(), 0);
}

/// A wake-up that is lost would leave one of them waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn halves_on_threads_do_not_lose_a_wake_up() {
    for round in 0..20 {
        let (near, far) = duplex(if round % 2 == 0 { 60 } else { 3000 });
        let (server, client) = over(near, far, &ServerOptions::new(), &ClientOptions::new()).await;
        let options = SplitOptions::new().queue(QueueLimits::new().messages(3)).read_ahead(round * 10);
        let (sender, mut receiver) = split_with(server, options.clone());
        let (to_server, mut from_server, driver) = client.into_split_with(options);
        tokio::spawn(driver);
        let echo = tokio::spawn(async move {
            while let Some(message) = receiver.recv().await.unwrap() {
                sender.send(message).await.unwrap();
            }
        });
        let senders: Vec<_> = (0..4_u8)
            .map(|task| {
                let sender = to_server.clone();
                tokio::spawn(async move {
                    for n in 0..25_u8 {
                        sender.send(vec![task, n]).await.unwrap();
                    }
                })
            })
            .collect();
        let mut next = [0; 4];
        for _ in 0..100 {
            let message = timeout(60 * S, from_server.recv()).await.unwrap().unwrap().unwrap();
            let [task, n] = *message.as_bytes() else { panic!() };
            assert_eq!(next[usize::from(task)], n);
            next[usize::from(task)] += 1;
        }
        for sender in senders {
            sender.await.unwrap();
        }
        to_server.close(CloseCode::NORMAL, "");
        assert!(timeout(60 * S, to_server.closed()).await.unwrap().is_clean());
        echo.await.unwrap();
    }
}

// ---- reunite ----

#[tokio::test(start_paused = true)]
async fn halves_that_cannot_be_reunited_come_back() {
    type Side = WebSocket<DuplexStream>;
    let (server, mut client) = pair(1000).await;
    let (other, _other_client) = pair(1000).await;
    let (sender, receiver) = server.into_split();
    let (other_sender, _other_receiver) = other.into_split();

    let error = receiver.reunite::<DuplexStream, Server>(other_sender).await.unwrap_err();
    assert_eq!(error.reason, NotReunited::OtherConnection);
    let clone = sender.clone();
    let error = error.receiver.reunite::<DuplexStream, Server>(sender).await.unwrap_err();
    assert_eq!(error.reason, NotReunited::OtherSenders);
    drop(clone);
    let error = error.receiver.reunite::<DuplexStream, Client<SystemKeys>>(error.sender).await.unwrap_err();
    assert_eq!(
        (error.reason, error.to_string()),
        (NotReunited::OtherType, "the connection has another type".into())
    );
    let mut socket: Side = error.receiver.reunite(error.sender).await.unwrap();
    socket.send("one again").await.unwrap();
    assert_eq!(client.recv().await.unwrap(), Some("one again".into()));

    // While it closes.
    let (sender, receiver) = socket.into_split();
    sender.close(CloseCode::GOING_AWAY, "");
    let mut socket: Side = receiver.reunite(sender).await.unwrap();
    let (received, end) = tokio::join!(socket.recv(), client.recv());
    assert_eq!((received.unwrap(), end.unwrap()), (None, None));
    assert_eq!(client.ending().unwrap().received, Some(CloseCode::GOING_AWAY));

    // After the end.
    let (server, mut client) = pair(1000).await;
    let (sender, receiver) = server.into_split();
    client.send("before the end").await.unwrap();
    client.close(CloseCode::NORMAL, "").await;
    assert!(sender.closed().await.is_clean());
    let mut error = receiver.reunite::<DuplexStream, Server>(sender).await.unwrap_err();
    assert_eq!(error.reason, NotReunited::Ended);
    assert_eq!(error.receiver.recv().await.unwrap(), Some("before the end".into()));
    // The end comes while the driver still sends.
    let (socket, peer) = raw(10);
    let (sender, receiver) = socket.into_split();
    sender.send(vec![0; 10_000]).await.unwrap();
    sender.send(vec![0; 10_000]).await.unwrap();
    let mut reuniting = pin!(receiver.reunite::<DuplexStream, Server>(sender));
    assert!(once(reuniting.as_mut()).await.is_pending());
    drop(peer);
    assert_eq!(reuniting.await.unwrap_err().reason, NotReunited::Ended);
}

#[tokio::test(start_paused = true)]
async fn a_reunite_that_is_dropped_drops_both_halves() {
    let (socket, mut peer) = raw(10);
    let (sender, receiver) = socket.into_split();
    sender.send(vec![0; 3000]).await.unwrap();
    sender.send("queued").await.unwrap();
    {
        let reuniting = receiver.reunite::<DuplexStream, Server>(sender);
        assert!(once(reuniting).await.is_pending());
    }
    let mut all = Vec::new();
    timeout(20 * S, peer.read_to_end(&mut all)).await.unwrap().unwrap();
    assert!(all.ends_with(b"\x81\x06queued\x88\x02\x03\xe9"), "{:?}", &all[all.len() - 20..]);
}

// ---- `split` of futures-util ----

#[tokio::test(start_paused = true)]
async fn the_halves_of_futures_keep_pongs_and_closes_going_while_one_is_polled() {
    let (socket, mut peer) = raw(4096);
    // The method of `StreamExt`, since the connection's own has another name.
    let (mut sink, mut stream) = socket.split();
    peer.write_all(&masked(0x89, b"1")).await.unwrap();
    // Nobody polls: no answer.
    let mut pong = [0; 3];
    assert!(timeout(5 * S, peer.read_exact(&mut pong)).await.is_err());
    // The sink is polled.
    sink.send(Message::from("x")).await.unwrap();
    let mut frames = [0; 6];
    peer.read_exact(&mut frames).await.unwrap();
    assert!(frames == *b"\x81\x01x\x8a\x011" || frames == *b"\x8a\x011\x81\x01x", "{frames:?}");
    // The stream is polled: Pings of both sides.
    let receiving = tokio::spawn(async move { (stream.next().await.map(Result::unwrap), stream) });
    for n in 0..5 {
        peer.write_all(&masked(0x89, &[n])).await.unwrap();
        peer.read_exact(&mut pong).await.unwrap();
        assert_eq!(pong, [0x8a, 1, n]);
        sleep(20 * S).await;
    }
    // The sink sends while the stream waits.
    sink.send(Message::from("fed")).await.unwrap();
    peer.write_all(&masked(0x89, b"!")).await.unwrap();
    let mut frames = [0; 8];
    peer.read_exact(&mut frames).await.unwrap();
    assert!(frames == *b"\x81\x03fed\x8a\x01!" || frames == *b"\x8a\x01!\x81\x03fed", "{frames:?}");
    // The peer's Close is answered by the stream.
    peer.write_all(&masked(0x88, b"\x03\xe8")).await.unwrap();
    let mut close = Vec::new();
    peer.read_to_end(&mut close).await.unwrap();
    assert_eq!(close, b"\x88\x02\x03\xe8");
    drop(peer);
    let (end, stream) = receiving.await.unwrap();
    assert_eq!(end, None);
    drop((sink, stream));
}

/// Nobody polls the connection after that.
#[tokio::test(start_paused = true)]
async fn a_reunited_connection_has_written_what_was_queued() {
    for keeps in [1, 4096] {
        let (socket, mut peer) = raw(keeps);
        let (sender, receiver) = socket.into_split();
        sender.send(vec![1; 3000]).await.unwrap();
        sender.send("queued").await.unwrap();
        let reading = async {
            let mut all = vec![0; 4 + 3000 + 2 + 6];
            peer.read_exact(&mut all).await.unwrap();
            assert!(all.ends_with(b"\x81\x06queued"));
        };
        let (reunited, ()) = tokio::join!(receiver.reunite::<DuplexStream, Server>(sender), reading);
        reunited.unwrap();
    }
    let (socket, mut peer) = raw(4096);
    let (sender, receiver) = socket.into_split();
    sender.send("hello").await.unwrap();
    let _idle = receiver.reunite::<DuplexStream, Server>(sender).await.unwrap();
    let mut hello = [0; 7];
    timeout(S, peer.read_exact(&mut hello)).await.unwrap().unwrap();
}
