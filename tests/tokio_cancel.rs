//! Connections over tokio whose futures are dropped at every await.
#![cfg(feature = "tokio")]

mod choppy;

use std::task::Poll;

use choppy::{choppy_pair, once, run, shape};
use proptest::prelude::*;
use sansocket::proto::Role;
use sansocket::tokio::WebSocket;
use sansocket::{CloseCode, Event, Message};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::yield_now;

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        "[aß€😀]{0,40}".prop_map(Message::from),
        prop::collection::vec(any::<u8>(), 0..200).prop_map(Message::from),
        (500..3000_usize, any::<u8>()).prop_map(|(len, byte)| Message::from(vec![byte; len])),
    ]
}

/// Sends all of these and receives so many messages, in turns. No future lives longer than one poll.
async fn talk<S: AsyncRead + AsyncWrite + Unpin, R: Role>(
    socket: &mut WebSocket<S, R>,
    messages: &[Message],
    expected: usize,
) -> Vec<Message> {
    let (mut waiting, mut received, mut flushed) = (messages.iter(), Vec::new(), false);
    let mut next = waiting.next();
    while !flushed || received.len() < expected {
        if let Some(message) = next {
            if let Poll::Ready(sent) = once(socket.feed(message.clone())).await {
                sent.unwrap();
                next = waiting.next();
            }
        } else if let Poll::Ready(done) = once(socket.flush()).await {
            done.unwrap();
            flushed = true;
        }
        if received.len() < expected
            && let Poll::Ready(message) = once(socket.recv()).await
        {
            received.push(message.unwrap().unwrap());
        }
        yield_now().await;
    }
    received
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_or_sent_twice_or_in_part(
        shape in shape(),
        ours in prop::collection::vec(message(), 0..6),
        theirs in prop::collection::vec(message(), 0..6),
    ) {
        run(async {
            let (mut server, mut client) = choppy_pair(shape).await;
            let (at_server, at_client) =
                tokio::join!(talk(&mut server, &ours, theirs.len()), talk(&mut client, &theirs, ours.len()));
            assert_eq!(at_client, ours);
            assert_eq!(at_server, theirs);
            let (ending, end) = tokio::join!(
                async { dropped_at_each_await!(client.close(CloseCode::NORMAL, "done")) },
                async { dropped_at_each_await!(server.recv()) },
            );
            assert!(ending.is_clean(), "{ending:?}");
            assert_eq!(end.unwrap(), None);
            assert_eq!(server.close_reason(), "done");
        });
    }

    /// A send that is dropped may have been too early, so the peer gets some of the messages, each whole and in order.
    #[test]
    fn a_dropped_send_has_sent_all_or_nothing(shape in shape(), lens in prop::collection::vec(0..2000_usize, 1..12)) {
        run(async {
            let (mut server, mut client) = choppy_pair(shape).await;
            let sending = async {
                let (mut sure, mut maybe) = (Vec::new(), Vec::new());
                for (n, len) in lens.iter().enumerate() {
                    let message = vec![n as u8; *len + 1];
                    match once(server.send(message)).await {
                        Poll::Ready(sent) => {
                            sent.unwrap();
                            sure.push(n as u8);
                        }
                        Poll::Pending => maybe.push(n as u8),
                    }
                    yield_now().await;
                }
                server.close(CloseCode::NORMAL, "").await;
                (sure, maybe)
            };
            let receiving = async {
                let mut received = Vec::new();
                while let Some(message) = client.recv().await.unwrap() {
                    let bytes = message.as_bytes();
                    let n = usize::from(bytes[0]);
                    assert_eq!(bytes, vec![n as u8; lens[n] + 1]);
                    received.push(n as u8);
                }
                received
            };
            let ((sure, maybe), received) = tokio::join!(sending, receiving);
            assert!(received.is_sorted_by(|a, b| a < b), "{received:?}");
            assert!(sure.iter().all(|n| received.contains(n)), "{sure:?} {received:?}");
            assert!(received.iter().all(|n| sure.contains(n) || maybe.contains(n)));
        });
    }

    /// Events, and answers that borrow from them.
    #[test]
    fn reads_and_fragments_survive_a_drop_at_each_await(shape in shape(), messages in prop::collection::vec(message(), 1..5)) {
        run(async {
            let (mut server, mut client) = choppy_pair(shape).await;
            let echo = async {
                while let Some((event, mut out)) = dropped_at_each_await!(server.read()).unwrap() {
                    if let Event::Data(chunk) = event {
                        dropped_at_each_await!(out.fragment(chunk.kind, &chunk.payload, chunk.end)).unwrap();
                    }
                }
            };
            let there_and_back = async {
                for message in &messages {
                    let received = talk(&mut client, std::slice::from_ref(message), 1).await;
                    assert_eq!(received, std::slice::from_ref(message));
                }
                client.ping(b"x").await.unwrap();
                assert!(client.close(None, "").await.is_clean());
            };
            tokio::join!(echo, there_and_back);
        });
    }
}
