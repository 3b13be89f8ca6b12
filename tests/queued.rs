//! A connection that sends what other tasks have queued, between two tasks of tokio and a peer of another library.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel::Channel;
use futures_util::{SinkExt, StreamExt};
use sansocket::embedded::{Error, Transferred, Transport, WebSocket};
use sansocket::handshake::{Accepted, Decision};
use sansocket::message::{ArrayMessage, ArrayStorage, Assembler, SliceStorage};
use sansocket::session::Memory;
use sansocket::{CloseCode, Config, Connection, Instant, MessageRef, ReceiveBuffer, Server, TransmitBuffer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

static CONFIG: Config = Config::new();

type Queue = Channel<CriticalSectionRawMutex, ArrayMessage<300>, 4>;

struct Pipe(ReadHalf<DuplexStream>, WriteHalf<DuplexStream>, tokio::time::Instant);

impl Transport for Pipe {
    type Error = std::io::Error;

    fn now(&mut self) -> Instant {
        Instant::from_micros(self.2.elapsed().as_micros() as u64)
    }

    async fn read_write(
        &mut self,
        input: &mut [u8],
        output: &[u8],
        deadline: Option<Instant>,
    ) -> std::io::Result<Transferred> {
        let at = self.2 + deadline.map_or(Duration::from_secs(3600), |moment| moment - Instant::START);
        let (reads, writes) = (!input.is_empty(), !output.is_empty());
        tokio::select! {
            biased;
            written = self.1.write(output), if writes => Ok(Transferred { read: None, written: written? }),
            read = self.0.read(input), if reads => Ok(Transferred { read: Some(read?), written: 0 }),
            () = tokio::time::sleep_until(at) => Ok(Transferred { read: None, written: 0 }),
        }
    }

    async fn shutdown(&mut self) -> std::io::Result<()> {
        self.1.shutdown().await
    }
}

/// A server's end with a transmit buffer of 140 bytes over a pipe of this size, and a client of tungstenite.
async fn pair(size: usize) -> (WebSocket<'static, Pipe, Server>, WebSocketStream<DuplexStream>) {
    let (near, far) = duplex(size);
    let (read, write) = split(near);
    let memory = || Box::leak(Box::new([0; 140]));
    let rx = ReceiveBuffer::new(memory()).unwrap();
    let tx = TransmitBuffer::new(memory()).unwrap();
    let connection = Connection::new(Server, &CONFIG, Instant::START);
    let socket = WebSocket::new(Pipe(read, write, tokio::time::Instant::now()), connection, rx, tx);
    (socket, WebSocketStream::from_raw_socket(far, Role::Client, None).await)
}

#[tokio::test(start_paused = true)]
async fn the_memory_of_the_head_takes_messages_after_the_handshake() {
    let (near, far) = duplex(1024);
    let (read, write) = split(near);
    let mut memory = Memory { head: [0; 1024], rx: [0; 140], tx: [0; 140] };
    let pipe = Pipe(read, write, tokio::time::Instant::now());
    let accepted = WebSocket::accept(pipe, &CONFIG, memory.buffers(), |_| Decision::accept());
    let (accepted, client) = tokio::join!(accepted, tokio_tungstenite::client_async("ws://sensor/", far));
    let (Accepted::WebSocket(mut socket), (mut client, _)) = (accepted.unwrap(), client.unwrap()) else {
        panic!("no connection")
    };
    let mut message = Assembler::new(SliceStorage::new(socket.take_head()));
    assert!(socket.take_head().is_empty());
    let long = "x".repeat(1024);
    let (sent, received) = tokio::join!(client.send(Message::text(&long)), socket.recv(&mut message));
    sent.unwrap();
    assert_eq!(received.unwrap(), Some(MessageRef::Text(&long)));
    let longer = client.send(Message::text("x".repeat(1025)));
    let (sent, received) = tokio::join!(longer, socket.recv(&mut message));
    sent.unwrap();
    assert!(matches!(received, Err(Error::MessageTooBig)));
}

#[tokio::test(start_paused = true)]
async fn the_buffers_of_a_connection_serve_the_next() {
    let mut memory = Memory { head: [0; 1024], rx: [0; 140], tx: [0; 140] };
    let mut buffers = memory.buffers();
    for (path, handed_over) in [("/ws", false), ("/page", true), ("/ws", false)] {
        let (near, far) = duplex(1024);
        let (read, write) = split(near);
        let pipe = Pipe(read, write, tokio::time::Instant::now());
        let accepted = WebSocket::accept(pipe, &CONFIG, buffers, |request| match request.path() {
            "/ws" => Decision::accept(),
            _ => Decision::HandOver,
        });
        let url = format!("ws://sensor{path}");
        let client = tokio::spawn(tokio_tungstenite::client_async(url, far));
        buffers = match accepted.await.unwrap() {
            Accepted::WebSocket(socket) if !handed_over => {
                client.await.unwrap().unwrap();
                socket.into_parts().2
            }
            Accepted::HandedOver((_, buffers)) if handed_over => {
                assert!(buffers.head.unread().starts_with(b"GET /page HTTP/1.1\r\n"));
                client.abort();
                buffers
            }
            _ => panic!("the server decided otherwise"),
        };
        let capacities = [buffers.head.capacity(), buffers.rx.capacity(), buffers.tx.capacity()];
        assert_eq!(capacities, [1024, 140, 140]);
        buffers.clear();
    }
}

fn text(text: &str) -> ArrayMessage<300> {
    ArrayMessage::text(text).unwrap()
}

#[tokio::test(start_paused = true)]
async fn messages_of_two_tasks_arrive_each_in_order_while_pings_are_answered() {
    let queue = Queue::new();
    let (socket, mut client) = pair(1024).await;
    let mut socket = socket.with_queue(async || queue.receive().await);
    let mut assembler = Assembler::new(ArrayStorage::<64>::new());
    let sender = |name: char| {
        let queue = &queue;
        async move {
            for n in 0..50 {
                queue.send(ArrayMessage::format(format_args!("{name}{n}")).unwrap()).await;
            }
        }
    };
    let peer = async {
        let mut got = [Vec::new(), Vec::new()];
        let mut pongs = 0;
        client.send(Message::Ping("?".into())).await.unwrap();
        while got[0].len() + got[1].len() < 100 || pongs == 0 {
            match client.next().await.unwrap().unwrap() {
                Message::Text(text) => got[usize::from(text.starts_with('b'))].push(text[1..].to_owned()),
                Message::Pong(payload) => pongs += usize::from(&payload[..] == b"?"),
                other => panic!("{other:?}"),
            }
        }
        let all: Vec<String> = (0..50).map(|n| n.to_string()).collect();
        assert_eq!((&got[0], &got[1], pongs), (&all, &all, 1));
        client.close(None).await.unwrap();
        while client.next().await.is_some() {}
    };
    let (ended, (), (), ()) = tokio::join!(socket.recv(&mut assembler), sender('a'), sender('b'), peer);
    assert_eq!(ended.unwrap(), None);
    assert!(socket.socket().ending().unwrap().is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_waits_for_room_does_not_stop_receiving() {
    let queue = Queue::new();
    // Less than the messages: the peer reads none of it at first.
    let (socket, mut client) = pair(200).await;
    let mut socket = socket.with_queue(async || queue.receive().await);
    let long = "x".repeat(300);
    for _ in 0..3 {
        queue.try_send(text(&long)).unwrap();
    }
    client.send(Message::text("command")).await.unwrap();
    let mut assembler = Assembler::new(ArrayStorage::<64>::new());
    assert_eq!(socket.recv(&mut assembler).await.unwrap(), Some(MessageRef::Text("command")));
    let peer = async {
        for _ in 0..3 {
            assert_eq!(client.next().await.unwrap().unwrap(), Message::text(&long));
        }
        client.close(None).await.unwrap();
        while client.next().await.is_some() {}
    };
    let (ended, ()) = tokio::join!(socket.recv(&mut assembler), peer);
    assert_eq!(ended.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_is_dropped_at_any_poll_loses_and_repeats_nothing() {
    let queue = Queue::new();
    let (socket, mut client) = pair(64).await;
    let mut socket = socket.with_queue(async || queue.receive().await);
    let mut sent = 0;
    let mut got = Vec::new();
    let peer = async {
        while got.len() < 40 {
            let Message::Text(text) = client.next().await.unwrap().unwrap() else { panic!("not a text") };
            got.push(text.as_str().to_owned());
        }
    };
    let mut peer = pin!(peer);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..20_000 {
        let next = format!("{sent} {}", "y".repeat(sent * 7 % 250));
        if sent < 40 && queue.try_send(text(&next)).is_ok() {
            sent += 1;
        }
        // A new future each time, which is polled once.
        let polled = pin!(socket.read()).poll(&mut context).map(|event| event.map(|event| event.is_some()));
        assert!(matches!(polled, Poll::Pending), "{polled:?}");
        if peer.as_mut().poll(&mut context).is_ready() {
            break;
        }
        // Otherwise tokio's streams are ready for a limited number of polls only.
        tokio::task::yield_now().await;
    }
    let expected: Vec<String> = (0..40).map(|n| format!("{n} {}", "y".repeat(n * 7 % 250))).collect();
    assert_eq!(got, expected);
}

#[tokio::test(start_paused = true)]
async fn what_waits_at_the_end_is_sent_on_the_next_connection() {
    let queue = Queue::new();
    let (socket, mut client) = pair(1024).await;
    let mut socket = socket.with_queue(async || queue.receive().await);
    let peer = async {
        let end = client.next().await.unwrap().unwrap();
        assert!(end.is_close(), "{end:?}");
        while client.next().await.is_some() {}
    };
    let close = async {
        queue.try_send(text("first")).unwrap();
        queue.try_send(text("second")).unwrap();
        socket.close(CloseCode::NORMAL, "").await
    };
    let (ending, ()) = tokio::join!(close, peer);
    assert!(ending.is_clean());
    assert!(socket.read().await.unwrap().is_none());
    assert_eq!((queue.len(), socket.into_parts().1.is_none()), (2, true));

    let (socket, mut client) = pair(1024).await;
    let mut socket = socket.with_queue(async || queue.receive().await);
    let peer = async {
        assert_eq!(client.next().await.unwrap().unwrap(), Message::text("first"));
        assert_eq!(client.next().await.unwrap().unwrap(), Message::text("second"));
        drop(client);
    };
    let (ended, ()) = tokio::join!(async { socket.read().await.map(|event| event.is_some()) }, peer);
    assert!(matches!(ended, Err(Error::Ended(_))), "{ended:?}");
}
