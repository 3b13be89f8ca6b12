//! The hub over streams in memory, in a tokio program whose clock the runtime sets.
#![cfg(all(feature = "hub", feature = "tokio"))]

#[path = "hub_tokio_streams/audited.rs"]
mod audited;
mod choppy;
#[allow(dead_code, reason = "what reads a stream that blocks")]
#[path = "../examples/proxy/mod.rs"]
mod proxy;
mod wire;

use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use audited::{Audited, Far};
use choppy::Choppy;
use futures_util::{SinkExt, StreamExt};
use proptest::prelude::*;
use sansocket::config::{ClientOptions, Overflow, QueueLimits};
use sansocket::handshake::Request;
use sansocket::hub::driver::TokioSocketFactory;
use sansocket::hub::{
    Application, HandleError, HubHandle, HubSettings, RequestAction, Routes, SessionInfo, TokioServer,
    TokioSocket,
};
use sansocket::message::Prepared;
use sansocket::tokio::WebSocket;
use sansocket::{CloseCode, Config, Event, Handler, HandlerError, Instant, Outbox};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::{self, sleep, timeout};
use tokio_tungstenite::tungstenite::Message as Theirs;
use wire::{CLOSE, PING, REQUEST, TEXT, close_body, frame, masked, take_frame};

struct Echo;

impl Handler for Echo {
    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        if let Event::Data(data) = event { out.forward(&data) } else { Ok(()) }
    }
}

struct Echoes;

impl Application for Echoes {
    type Handler = Echo;

    fn request<'s>(&'s mut self, _: &mut SessionInfo, _: &Request<'_>) -> RequestAction<'s, Echo> {
        RequestAction::Serve(Echo)
    }
}

/// A hub that echoes, in a task, for streams of this type.
struct Served<S> {
    hub: HubHandle,
    sockets: TokioSocketFactory,
    task: JoinHandle<()>,
    streams: std::marker::PhantomData<fn(S)>,
}

const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Served<S> {
    fn new(settings: HubSettings) -> Self {
        let server: TokioServer<_, S> = TokioServer::new(settings, |_| Echoes).unwrap();
        let (hub, sockets) = (server.handle(), server.socket_factory());
        Self { hub, sockets, task: tokio::spawn(server.run()), streams: std::marker::PhantomData }
    }

    fn with(set: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new();
        set(&mut config);
        Self::new(HubSettings::new(config))
    }

    /// Gives the hub a stream on which a request will come.
    fn accept(&self, stream: S) {
        self.accept_after(async { Ok(stream) });
    }

    fn accept_after(&self, open: impl Future<Output = std::io::Result<S>> + Send + 'static) {
        let sockets = self.sockets.clone();
        let accept = self.hub.call(move |hub| {
            let hub = hub.hub::<TokioSocket<S>, Echoes>().unwrap();
            assert!(hub.accept(sockets.now(), sockets.socket_from(open), PEER).is_ok());
        });
        accept.unwrap();
    }

    async fn stop(self) -> HubHandle {
        self.hub.stop(CloseCode::GOING_AWAY).unwrap();
        self.task.await.unwrap();
        self.hub
    }
}

impl Served<DuplexStream> {
    /// The far end of an open connection.
    async fn open(&self) -> DuplexStream {
        let (stream, mut far) = duplex(64 * 1024);
        self.accept(stream);
        upgrade(&mut far).await;
        far
    }
}

/// Through the opening handshake.
async fn upgrade(far: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    far.write_all(REQUEST).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(far.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
}

/// How long `what` takes, which is between `least` and a sixteenth more.
async fn takes<T>(least: Duration, what: impl Future<Output = T>) -> T {
    let start = time::Instant::now();
    let done = what.await;
    let took = start.elapsed();
    assert!(took >= least && took <= least + least / 16 + Duration::from_millis(5), "{took:?} for {least:?}");
    done
}

fn quiet(config: &mut Config) {
    config.timeouts.ping = None;
}

#[tokio::test(start_paused = true)]
async fn each_deadline_of_a_session_comes_in_time() {
    const S: fn(u64) -> Duration = Duration::from_secs;
    let served = Served::with(|config| {
        config.timeouts.handshake = Some(S(10));
        config.timeouts.ping = Some(S(30));
        config.timeouts.pong = Some(S(20));
        config.timeouts.write = Some(S(7));
        config.timeouts.close = Some(S(5));
    });
    // No request, and no stream to read it from.
    let (stream, mut far) = duplex(1024);
    served.accept(stream);
    assert_eq!(takes(S(10), far.read(&mut [0; 10])).await.unwrap(), 0);
    served.accept_after(std::future::pending());
    takes(S(10), async {
        sleep(S(1)).await;
        while !served.hub.sessions().is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    // A Ping, and no Pong.
    let mut far = served.open().await;
    let mut ping = [0; 2];
    takes(S(30), far.read_exact(&mut ping)).await.unwrap();
    assert_eq!(ping, *b"\x89\0");
    let mut rest = Vec::new();
    takes(S(20), far.read_to_end(&mut rest)).await.unwrap();
    // A Close and no answer.
    let mut far = served.open().await;
    let id = served.hub.sessions().last().unwrap().id();
    served.hub.close(id, CloseCode::NORMAL, "").unwrap();
    takes(S(5), far.read_to_end(&mut rest)).await.unwrap();
    // Much to write, and nobody who reads.
    let mut far = served.open().await;
    let flood = masked(0x82, &[0; 10_000]);
    takes(S(7), async { while far.write_all(&flood).await.is_ok() {} }).await;
    served.stop().await;
}

/// Sends when its time has come.
struct Alarm(Option<Instant>);

impl Handler for Alarm {
    fn event(&mut self, _: Event<'_>, _: &mut Outbox<'_>) -> Result<(), HandlerError> {
        Ok(())
    }

    fn opened(&mut self, protocol: Option<&str>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        self.0 = Some(out.now().saturating_add(Duration::from_secs(60)));
        Ok(out.send(protocol.unwrap_or("none"))?)
    }

    fn deadline(&self) -> Option<Instant> {
        self.0
    }

    fn timer(&mut self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        self.0 = None;
        Ok(out.send("ring")?)
    }
}

/// A stream whose handshake another server has made, with the subprotocol and the bytes that it has read already.
#[tokio::test(start_paused = true)]
async fn an_adopted_stream_has_its_protocol_its_read_bytes_and_its_timers() {
    let wire = masked(TEXT, b"Hello");
    let settings = HubSettings::new(Config::new().keep_alive(None, None));
    for read in 0..=wire.len() {
        let server: TokioServer<Routes, DuplexStream> =
            TokioServer::new(settings.clone(), |_| Routes::new()).unwrap();
        let (hub, sockets) = (server.handle(), server.socket_factory());
        let task = tokio::spawn(server.run());
        let (stream, mut far) = duplex(1024);
        let early = wire[..read].to_vec();
        hub.call(move |hub| {
            let hub = hub.hub::<TokioSocket<DuplexStream>, Routes>().unwrap();
            let socket = sockets.socket_after(stream, early);
            assert!(hub.adopt(sockets.now(), socket, PEER, Box::new(Alarm(None)), Some("chat.v1")).is_ok());
        })
        .unwrap();
        let mut first = [0; 9];
        far.read_exact(&mut first).await.unwrap();
        assert_eq!(first, *b"\x81\x07chat.v1");
        far.write_all(&wire[read..]).await.unwrap();
        far.write_all(&masked(PING, b"?")).await.unwrap();
        let mut pong = [0; 3];
        far.read_exact(&mut pong).await.unwrap();
        assert_eq!(pong, *b"\x8a\x01?");
        assert_eq!(hub.sessions().len(), 1);
        let mut ring = [0; 6];
        takes(Duration::from_secs(60), far.read_exact(&mut ring)).await.unwrap();
        assert_eq!(ring, *b"\x81\x04ring");
        hub.stop(CloseCode::GOING_AWAY).unwrap();
        drop(far);
        task.await.unwrap();
    }
}

/// hyper answers the request, and the hub goes on.
#[cfg(feature = "hyper")]
#[tokio::test]
async fn a_connection_that_hyper_upgrades_is_adopted() {
    use hyper::body::{Bytes, Incoming};
    use hyper::upgrade::Upgraded;
    use hyper_util::rt::TokioIo;

    type Stream = TokioIo<Upgraded>;
    let served = Served::<Stream>::with(quiet);
    let (hub, sockets) = (served.hub.clone(), served.sockets.clone());
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        let upgraded = sansocket::tokio::upgrade(&mut request, &sansocket::config::ServerOptions::new());
        let (response, connection) = upgraded.unwrap();
        let (hub, sockets) = (hub.clone(), sockets.clone());
        tokio::spawn(async move {
            let (stream, read) = connection.await.unwrap().into_stream();
            hub.call(move |hub| {
                let hub = hub.hub::<TokioSocket<Stream>, Echoes>().unwrap();
                let socket = sockets.socket_after(stream, read);
                assert!(hub.adopt(sockets.now(), socket, PEER, Echo, None).is_ok());
            })
        });
        async { Ok::<hyper::Response<http_body_util::Full<Bytes>>, std::convert::Infallible>(response) }
    });
    let (near, far) = duplex(64 * 1024);
    let server = hyper::server::conn::http1::Builder::new();
    tokio::spawn(server.serve_connection(TokioIo::new(near), service).with_upgrades());
    let mut client = WebSocket::connect(far, "ws://localhost/", &ClientOptions::new()).await.unwrap();
    for len in [0, 5, 50_000] {
        client.send(vec![7; len]).await.unwrap();
        assert!(client.recv().await.unwrap() == Some(vec![7; len].into()), "{len}");
    }
    let closing = tokio::spawn(async move { client.recv().await });
    served.stop().await;
    assert_eq!(closing.await.unwrap().unwrap(), None);
}

/// Reads the header of the PROXY protocol. Returns the client's address, and what came behind the header.
async fn proxied(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<(Option<SocketAddr>, Vec<u8>)> {
    let mut received = Vec::new();
    loop {
        let mut rest = &received[..];
        match proxy::header(&mut rest) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
            address => return Ok((address?, rest.to_vec())),
        }
        if stream.read_buf(&mut received).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
}

/// A load balancer puts the client's address before the request. The program reads it, and gives the hub the address with the stream.
#[tokio::test(start_paused = true)]
async fn a_session_behind_the_proxy_protocol_has_the_address_of_the_client() {
    let version_2 =
        [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", &[203, 0, 113, 9, 10, 0, 0, 1][..], b"\xc3\x50\0\x50"];
    let client: SocketAddr = "203.0.113.9:50000".parse().unwrap();
    for header in [b"PROXY TCP4 203.0.113.9 10.0.0.1 50000 80\r\n".to_vec(), version_2.concat()] {
        let wire = [&header, REQUEST, &masked(TEXT, b"early")].concat();
        // The first read gets so much.
        for first in
            [1, header.len() - 1, header.len(), header.len() + 1, header.len() + REQUEST.len(), wire.len()]
        {
            let served = Served::<DuplexStream>::with(quiet);
            let (mut stream, mut far) = duplex(1024);
            far.write_all(&wire[..first]).await.unwrap();
            let (hub, sockets) = (served.hub.clone(), served.sockets.clone());
            let accepting = tokio::spawn(async move {
                // The time for this is the program's: the session begins behind the header.
                let (address, rest) = timeout(Duration::from_secs(5), proxied(&mut stream)).await??;
                hub.call(move |hub| {
                    let hub = hub.hub::<TokioSocket<DuplexStream>, Echoes>().unwrap();
                    let socket = sockets.socket_after(stream, rest);
                    assert!(hub.accept(sockets.now(), socket, address.unwrap_or(PEER)).is_ok());
                })
                .map_err(std::io::Error::other)
            });
            sleep(Duration::from_millis(1)).await;
            far.write_all(&wire[first..]).await.unwrap();
            accepting.await.unwrap().unwrap();
            let mut reply = Vec::new();
            while !reply.ends_with(b"\x81\x05early") {
                reply.push(far.read_u8().await.unwrap());
            }
            assert!(reply.starts_with(b"HTTP/1.1 101 "));
            let peers: Vec<_> = served.hub.sessions().iter().map(SessionInfo::peer).collect();
            assert_eq!(peers, [client], "{first}");
            drop(far);
            served.stop().await;
        }
    }
    // Who is no load balancer gets no session.
    let (mut stream, mut far) = duplex(1024);
    far.write_all(REQUEST).await.unwrap();
    assert_eq!(proxied(&mut stream).await.unwrap_err().kind(), ErrorKind::InvalidData);
}

#[tokio::test(start_paused = true)]
async fn a_stop_closes_with_its_code_and_ends_whatever_the_peers_do() {
    let served = Served::with(|config| config.timeouts.close = Some(Duration::from_secs(2)));
    let mut good = served.open().await;
    let silent: Vec<_> = [served.open().await, served.open().await].into();
    // The second request never comes whole, nor does the third stream open.
    let (stream, mut half) = duplex(1024);
    served.accept(stream);
    half.write_all(&REQUEST[..20]).await.unwrap();
    served.accept_after(std::future::pending());
    sleep(Duration::from_secs(1)).await;
    let answering = tokio::spawn(async move {
        let mut close = [0; 4];
        good.read_exact(&mut close).await.unwrap();
        good.write_all(&masked(CLOSE, &close[2..])).await.unwrap();
        (close, good.read(&mut [0; 1]).await.unwrap())
    });
    let start = time::Instant::now();
    let hub = served.stop().await;
    assert!(start.elapsed() <= Duration::from_millis(2200), "{:?}", start.elapsed());
    assert_eq!(answering.await.unwrap(), (*b"\x88\x02\x03\xe9", 0));
    let counters = hub.counters();
    assert_eq!((counters.accepted, counters.ended, counters.closed.clean), (5, 5, 1));
    assert_eq!(hub.broadcast("late"), Err(HandleError::Stopped));
    drop((silent, half));
}

#[tokio::test]
async fn dropping_the_future_cuts_the_connections_and_ends_the_handles() {
    let served = Served::with(quiet);
    let mut far = served.open().await;
    served.task.abort();
    assert_eq!(far.read(&mut [0; 10]).await.unwrap(), 0);
    assert_eq!(served.hub.broadcast("late"), Err(HandleError::Stopped));
    assert!(served.hub.sessions().is_empty());
}

/// More at once than tokio lets a task poll, over streams that give a few bytes, or none, and then wake.
#[tokio::test]
async fn a_thousand_connections_echo_over_streams_that_move_few_bytes() {
    let mut settings = HubSettings::default();
    settings.max_sessions = 1000;
    let served: Served<Choppy<DuplexStream>> = Served::new(settings);
    let clients: Vec<_> = (0..1000_u64)
        .map(|n| {
            let (stream, far) = duplex(200);
            served.accept(Choppy::new(stream, 1 + n as usize % 50, (n % 128) as u8, n));
            tokio::spawn(async move {
                let mut client =
                    WebSocket::connect(far, "ws://localhost/", &ClientOptions::new()).await.unwrap();
                for round in 0..3 {
                    let text = format!("{n} {}", "x".repeat(round * 100));
                    client.send(text.as_str()).await.unwrap();
                    assert_eq!(client.recv().await.unwrap(), Some(text.into()));
                }
                client.close(CloseCode::NORMAL, "").await.is_clean()
            })
        })
        .collect();
    for client in clients {
        assert!(client.await.unwrap());
    }
    let counters = served.stop().await.counters();
    assert_eq!((counters.closed.clean, counters.messages), (1000, 3000));
}

/// Such a stream wakes only while the hub polls it, and no timer, handle or other stream wakes the hub afterwards.
#[tokio::test(start_paused = true)]
async fn a_stream_that_wakes_within_a_turn_gets_another_turn() {
    let served = Served::with(quiet);
    let (stream, mut far) = duplex(4096);
    served.accept(Choppy::new(stream, 7, 200, 1));
    let echoes = async {
        upgrade(&mut far).await;
        for n in 0..100 {
            far.write_all(&masked(TEXT, &[b'x'; 100][..n])).await.unwrap();
            let mut echo = vec![0; n + 2];
            far.read_exact(&mut echo).await.unwrap();
            assert_eq!(echo, frame(TEXT, None, &[b'x'; 100][..n]));
        }
    };
    timeout(Duration::from_millis(1), echoes).await.expect("the hub waits although a stream is ready");
    drop(far);
    served.stop().await;
}

/// Those that read get each message, and what the slow one lacks is counted.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_misses_broadcasts_and_delays_nobody() {
    let mut settings = HubSettings::default();
    settings.queue = QueueLimits::new().bytes(100_000).overflow(Overflow::DropNewest);
    let served = Served::new(settings);
    let slow = served.open().await;
    let readers: Vec<_> = [served.open().await, served.open().await]
        .into_iter()
        .map(|mut far| {
            tokio::spawn(async move {
                let mut bytes = vec![0; 100 * 10_004];
                far.read_exact(&mut bytes).await.unwrap();
                (0..100).all(|n| bytes[n * 10_004 + 4..][..10_000].iter().all(|byte| *byte == n as u8))
            })
        })
        .collect();
    for n in 0..100 {
        served.hub.broadcast(Prepared::binary(vec![n; 10_000])).unwrap();
        sleep(Duration::from_millis(1)).await;
    }
    for reader in readers {
        assert!(timeout(Duration::from_secs(1), reader).await.unwrap().unwrap());
    }
    sleep(Duration::from_millis(1)).await;
    let counters = served.hub.counters();
    assert!(counters.lost > 70 && counters.delivered >= 200, "{counters:?}");
    drop(slow);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_threads_reach_a_hub_that_has_nothing_else_to_do() {
    let served = Served::with(quiet);
    let mut far = served.open().await;
    for round in 0..200_u32 {
        let hub = served.hub.clone();
        let sent = std::thread::spawn(move || hub.broadcast(round.to_string()));
        let text = round.to_string();
        let mut message = vec![0; text.len() + 2];
        timeout(Duration::from_secs(20), far.read_exact(&mut message))
            .await
            .expect("a wake-up is lost")
            .unwrap();
        assert_eq!(message, frame(TEXT, None, text.as_bytes()));
        sent.join().unwrap().unwrap();
    }
    drop(far);
    served.stop().await;
}

#[tokio::test]
async fn their_client_talks_to_a_hub_over_tcp() {
    let server = TokioServer::bind("127.0.0.1:0", HubSettings::default(), |_| Echoes).await.unwrap();
    let (url, hub) = (format!("ws://{}/", server.address().unwrap()), server.handle());
    let task = tokio::spawn(server.run());
    let (mut client, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    for len in [0, 1, 125, 126, 16_384, 65_535, 65_536, 3_000_000] {
        for message in [Theirs::text("ß".repeat(len / 2)), Theirs::binary(vec![3; len])] {
            client.send(message.clone()).await.unwrap();
            assert!(client.next().await.unwrap().unwrap() == message, "{len}");
        }
    }
    client.send(Theirs::Ping(b"p".to_vec().into())).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), Theirs::Pong(b"p".to_vec().into()));
    hub.stop(CloseCode::GOING_AWAY).unwrap();
    assert!(
        matches!(client.next().await, Some(Ok(Theirs::Close(Some(close)))) if u16::from(close.code) == 1001)
    );
    assert!(client.next().await.is_none());
    task.await.unwrap();
}

/// What the far end of an [`Audited`] stream does next.
#[derive(Clone, Copy, Debug)]
enum Deed {
    /// So many bytes arrive.
    Send(usize),
    /// The stream takes so many more bytes.
    Take(usize),
    /// What was written leaves the stream, or does not until the next one.
    Flush(bool),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        (1..40_usize).prop_map(Deed::Send),
        (1..60_usize).prop_map(Deed::Take),
        any::<bool>().prop_map(Deed::Flush),
    ]
}

/// Waits until every task has nothing to do: time passes only then.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

/// The stream wakes only the task that polled it last, once for each change, and never without one: a task that drops a waker, or
/// polls with another, waits for ever.
async fn no_waker_is_lost(deeds: &[Deed]) {
    let served = Served::with(quiet);
    let (stream, far): (Audited, Far) = audited::pair();
    served.accept(stream);
    far.send(REQUEST);
    far.take(1000);
    settle().await;
    assert!(far.taken().starts_with(b"HTTP/1.1 101 "));
    let wire: Vec<u8> = (0..200_u8).flat_map(|n| masked(TEXT, format!("message {n}").as_bytes())).collect();
    let (mut sent, mut echoed) = (0, Vec::new());
    far.hold(true);
    for deed in deeds {
        match *deed {
            Deed::Send(n) => {
                let to = wire.len().min(sent + n);
                far.send(&wire[sent..to]);
                sent = to;
            }
            Deed::Take(n) => far.take(n),
            Deed::Flush(held) => far.hold(held),
        }
        settle().await;
        echoed.extend(far.taken());
    }
    far.send(&wire[sent..]);
    far.take(usize::MAX / 2);
    far.hold(false);
    settle().await;
    echoed.extend(far.taken());
    let mut rest = &echoed[..];
    for n in 0..200_u8 {
        let echo = take_frame(&mut rest).unwrap_or_else(|| panic!("nothing wakes the hub before echo {n}"));
        assert_eq!(echo.payload, format!("message {n}").into_bytes());
    }
    // The end: a Close, and then a stream that is not shut at once.
    far.hold(true);
    far.send(&masked(CLOSE, &close_body(1000, "")));
    settle().await;
    assert!(!far.is_shut());
    far.hold(false);
    settle().await;
    assert!(far.is_shut(), "nothing wakes the hub before the end");
    far.end();
    settle().await;
    assert!(served.hub.sessions().is_empty());
    served.stop().await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_stream_that_wakes_once_is_never_forgotten(deeds in prop::collection::vec(deed(), 0..100)) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(no_waker_is_lost(&deeds));
    }
}
