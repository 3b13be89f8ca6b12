//! The client that connects again, over a stack of embassy-net whose packets come back to itself.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::ops::ControlFlow;
use std::task::{Context, Waker};
use std::time::Duration;

use embassy_net::tcp::{ConnectError, TcpSocket};
use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_net::{Ipv4Address, Ipv4Cidr, Stack, StackResources, StaticConfigV4, tcp};
use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use sansocket::embedded::{
    Error, Reconnect, ReconnectEvent, TcpTransport, Transferred, Transport, Unreachable, WebSocket, hang_up,
};
use sansocket::handshake::{AcceptOptions, ClientRequest, Decision, basic_authorization};
use sansocket::message::{ArrayStorage, Assembler};
use sansocket::session::{Backoff, Memory};
use sansocket::{CloseCode, Config, Instant, MessageRef};

static CONFIG: Config = Config::new().close_timeout(Some(Duration::from_millis(200)));
const HERE: Ipv4Address = Ipv4Address::new(192, 0, 2, 1);

/// A network card whose packets come back to itself.
#[derive(Default)]
struct Loopback {
    packets: VecDeque<Vec<u8>>,
    waker: Option<Waker>,
}

struct Received(Vec<u8>);
struct Free<'a>(&'a mut Loopback);

impl Driver for Loopback {
    type RxToken<'a> = Received;
    type TxToken<'a> = Free<'a>;

    fn receive(&mut self, context: &mut Context<'_>) -> Option<(Received, Free<'_>)> {
        self.waker = Some(context.waker().clone());
        let packet = self.packets.pop_front()?;
        Some((Received(packet), Free(self)))
    }

    fn transmit(&mut self, _: &mut Context<'_>) -> Option<Free<'_>> {
        Some(Free(self))
    }

    fn link_state(&mut self, _: &mut Context<'_>) -> LinkState {
        LinkState::Up
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = 1500;
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ip
    }
}

impl RxToken for Received {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, f: F) -> R {
        f(&mut self.0)
    }
}

impl TxToken for Free<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.packets.push_back(packet);
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
        result
    }
}

/// Runs client and server on one stack until the client is done.
fn run<T>(client: impl AsyncFnOnce(Stack<'_>) -> T, server: impl AsyncFnOnce(Stack<'_>) -> Infallible) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut resources = StackResources::<5>::new();
        let config = embassy_net::Config::ipv4_static(StaticConfigV4 {
            address: Ipv4Cidr::new(HERE, 24),
            gateway: None,
            dns_servers: [HERE].into_iter().collect(),
        });
        let (stack, mut runner) = embassy_net::new(Loopback::default(), config, &mut resources, 7);
        tokio::select! {
            _ = runner.run() => unreachable!(),
            never = server(stack) => match never {},
            result = client(stack) => result,
            () = tokio::time::sleep(Duration::from_secs(20)) => panic!("the test takes too long"),
        }
    })
}

/// Calls `serve` with a socket for each connection to port 80.
async fn listen(stack: Stack<'_>, mut serve: impl AsyncFnMut(usize, &mut TcpSocket<'_>)) -> Infallible {
    let (mut receive, mut transmit) = ([0; 1024], [0; 1024]);
    let mut socket = TcpSocket::new(stack, &mut receive, &mut transmit);
    for n in 0.. {
        socket.accept(80).await.unwrap();
        serve(n, &mut socket).await;
        hang_up(&mut socket, Some(Duration::from_secs(1))).await;
    }
    unreachable!()
}

/// Reads the head of a request.
async fn request(socket: &mut TcpSocket<'_>) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(socket.read(&mut byte).await, Ok(1));
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

async fn write(socket: &mut TcpSocket<'_>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let n = socket.write(bytes).await.unwrap();
        bytes = &bytes[n..];
    }
    socket.flush().await.unwrap();
}

/// Answers with a status and nothing else.
async fn refuse(socket: &mut TcpSocket<'_>, status: u16) {
    request(socket).await;
    write(
        socket,
        format!("HTTP/1.1 {status} No\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n").as_bytes(),
    )
    .await;
    socket.close();
}

/// Answers each query for `device.test` with an address, and every other with "no such name"; with none if it is silent.
async fn name_server(stack: Stack<'_>, silent: bool) -> Infallible {
    let (mut rx_meta, mut tx_meta) = ([PacketMetadata::EMPTY; 4], [PacketMetadata::EMPTY; 4]);
    let (mut receive, mut transmit) = ([0; 1024], [0; 1024]);
    let mut socket = UdpSocket::new(stack, &mut rx_meta, &mut receive, &mut tx_meta, &mut transmit);
    socket.bind(53).unwrap();
    loop {
        let mut query = [0; 512];
        let (len, from) = socket.recv_from(&mut query).await.unwrap();
        if silent {
            continue;
        }
        let known = query[12..len].starts_with(b"\x06device\x04test\0");
        let mut answer = query[..len].to_vec();
        answer[2..4].copy_from_slice(if known { &[0x81, 0x80] } else { &[0x81, 0x83] });
        if known {
            answer[6..8].copy_from_slice(&[0, 1]);
            answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]); // a pointer to the name, A, IN, 60 s, 4 bytes
            answer.extend(HERE.octets());
        }
        socket.send_to(&answer, from).await.unwrap();
    }
}

/// What a client's events say, as text.
fn describe<E: std::fmt::Debug>(event: &ReconnectEvent<'_, E>) -> String {
    match event {
        ReconnectEvent::Refused(response) => {
            let challenge = response.headers.get("WWW-Authenticate").unwrap();
            format!("Refused({}, {})", response.status, challenge.escape_ascii())
        }
        ReconnectEvent::Connect(endpoint) => format!("Connect({endpoint})"),
        other => format!("{other:?}"),
    }
}

/// Half of each ceiling.
fn half() -> [u8; 4] {
    0x8000_0000_u32.to_ne_bytes()
}

fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(40), Duration::from_millis(100))
}

/// Runs a client until the events have `enough` delays, and returns all events. A session waits for messages.
async fn events(
    stack: Stack<'_>,
    mut client: Reconnect<'_>,
    enough: usize,
    session: impl AsyncFnMut(
        &mut WebSocket<'_, TcpTransport<'_, '_>, sansocket::Client<&mut fn() -> [u8; 4]>>,
    ) -> Result<(), Error<tcp::Error>>,
) -> Vec<String> {
    let log = RefCell::new(Vec::new());
    let done = tokio::sync::Notify::new();
    let mut delays = 0;
    let mut note = |event: ReconnectEvent<'_, Error<tcp::Error>>| {
        log.borrow_mut().push(describe(&event));
        if matches!(event, ReconnectEvent::Delay(_)) {
            delays += 1;
            if delays == enough {
                done.notify_one();
            }
        }
    };
    let (mut receive, mut transmit) = ([0; 1024], [0; 1024]);
    let mut socket = TcpSocket::new(stack, &mut receive, &mut transmit);
    let mut memory = Memory { head: [0; 512], rx: [0; 256], tx: [0; 256] };
    let mut random: fn() -> [u8; 4] = half;
    let mut session = session;
    let running =
        client.run(stack, &mut socket, &mut memory, &mut random, &mut note, async |tcp, attempt| {
            let mut socket = attempt.open(tcp).await?;
            session(&mut socket).await?;
            Ok(ControlFlow::<Infallible>::Continue(()))
        });
    tokio::select! {
        never = running => match never {},
        () = done.notified() => {}
    }
    log.into_inner()
}

fn delays(events: &[String]) -> Vec<&str> {
    events.iter().filter_map(|event| event.strip_prefix("Delay(")?.strip_suffix(")")).collect()
}

#[test]
fn each_step_has_its_event_and_a_lost_connection_is_opened_again() {
    let mut memory = [0; 64];
    let headers = [("Authorization", basic_authorization("user:secret", &mut memory).unwrap())];
    let heard = RefCell::new(Vec::new());
    let log = RefCell::new(Vec::new());
    let ending = run(
        async |stack| {
            let (mut receive, mut transmit) = ([0; 1024], [0; 1024]);
            let mut socket = TcpSocket::new(stack, &mut receive, &mut transmit);
            let mut memory = Memory { head: [0; 512], rx: [0; 256], tx: [0; 256] };
            let url = ClientRequest::parse("ws://device.test/v1").unwrap();
            let request = url.protocols(&["agent.v2", "agent.v1"]).headers(&headers);
            let mut client = Reconnect::new(request, &CONFIG, backoff());
            let mut note =
                |event: ReconnectEvent<'_, Error<tcp::Error>>| log.borrow_mut().push(describe(&event));
            let (mut sessions, mut random) = (0, half);
            let run =
                client.run(stack, &mut socket, &mut memory, &mut random, &mut note, async |tcp, attempt| {
                    let mut socket = attempt.open(tcp).await?;
                    sessions += 1;
                    if sessions == 2 {
                        return Ok(ControlFlow::Break(socket.close(CloseCode::NORMAL, "enough").await));
                    }
                    socket.send("hello").await?;
                    let mut message = Assembler::new(ArrayStorage::<64>::new());
                    while socket.recv(&mut message).await?.is_some() {}
                    Ok(ControlFlow::Continue(()))
                });
            run.await
        },
        async |stack| {
            let serve = listen(stack, async |n, socket| {
                let mut memory = Memory { head: [0; 512], rx: [0; 256], tx: [0; 256] };
                let accept = |request: &sansocket::handshake::Request<'_>| {
                    heard.borrow_mut().push((
                        request.path().to_owned(),
                        request.headers().get("Authorization").unwrap().to_vec(),
                    ));
                    Decision::Accept(AcceptOptions::new().protocols(&["agent.v1"]))
                };
                let transport = TcpTransport::new(socket);
                let accepted = WebSocket::accept(transport, &CONFIG, memory.buffers(), accept).await.unwrap();
                let sansocket::handshake::Accepted::WebSocket(mut peer) = accepted else { panic!() };
                let mut message = Assembler::new(ArrayStorage::<64>::new());
                if n == 0 {
                    assert_eq!(peer.recv(&mut message).await.unwrap(), Some(MessageRef::Text("hello")));
                    return; // without a Close
                }
                assert_eq!(peer.recv(&mut message).await.unwrap(), None);
            });
            tokio::select! {
                never = serve => never,
                never = name_server(stack, false) => never,
            }
        },
    );
    assert!(ending.is_clean(), "{ending}");
    assert_eq!(ending.code(), 1000);
    let open = [
        "Begin",
        "Resolve(\"device.test\")",
        "Connect(192.0.2.1:80)",
        "Connected",
        "Open(Some(\"agent.v1\"))",
    ];
    let log = log.into_inner();
    assert_eq!(log[..5], open);
    assert_eq!(log[5], "Failed(Transport(ConnectionReset))");
    assert_eq!(log[6], "Delay(20ms)");
    assert_eq!(log[7..12], open);
    assert_eq!(log[12..], ["Ended"]);
    let asked = ("/v1".to_owned(), b"Basic dXNlcjpzZWNyZXQ=".to_vec());
    assert_eq!(heard.into_inner(), [asked.clone(), asked]);
}

#[test]
fn after_401_and_403_the_delay_is_longer() {
    let log = run(
        async |stack| {
            let request = ClientRequest::parse("ws://192.0.2.1/").unwrap();
            let client = Reconnect::new(request, &CONFIG, backoff()).denied_delay(Duration::from_millis(300));
            events(stack, client, 4, async |_| Ok(())).await
        },
        async |stack| listen(stack, async |n, socket| refuse(socket, [401, 403, 503, 404][n]).await).await,
    );
    assert_eq!(delays(&log), ["320ms", "340ms", "50ms", "50ms"]);
    let attempt =
        ["Begin", "Connect(192.0.2.1:80)", "Connected", "Refused(401, Basic)", "Failed(Refused(401))"];
    assert_eq!(log[..5], attempt);
}

/// The delays after connections that the server drops as soon as they are open.
fn delays_after_short_connections(stable_after: Duration) -> Vec<String> {
    let log = run(
        async |stack| {
            let request = ClientRequest::parse("ws://192.0.2.1/").unwrap();
            let client = Reconnect::new(request, &CONFIG, backoff()).stable_after(stable_after);
            events(stack, client, 3, async |socket| {
                let mut message = Assembler::new(ArrayStorage::<64>::new());
                socket.recv(&mut message).await.map(|_| ())
            })
            .await
        },
        async |stack| {
            listen(stack, async |_, socket| {
                let head = request(socket).await;
                let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
                let accept = sansocket::handshake::accept_key(key.as_bytes());
                let accept = std::str::from_utf8(&accept).unwrap();
                let answer = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Accept: {accept}\r\n\r\n"
                );
                write(socket, answer.as_bytes()).await;
            })
            .await
        },
    );
    assert_eq!(log.iter().filter(|event| event.starts_with("Open(None)")).count(), 3, "{log:?}");
    delays(&log).into_iter().map(str::to_owned).collect()
}

#[test]
fn only_a_connection_that_has_lasted_resets_the_back_off() {
    assert_eq!(delays_after_short_connections(Duration::from_secs(60)), ["20ms", "40ms", "50ms"]);
    assert_eq!(delays_after_short_connections(Duration::ZERO), ["20ms", "20ms", "20ms"]);
}

#[test]
fn a_host_that_cannot_be_reached_is_an_event_and_is_tried_again() {
    for (url, silent, error) in [
        ("ws://192.0.2.1:81/", false, Unreachable::Tcp(ConnectError::ConnectionReset)), // nobody listens
        ("ws://other.test/", false, Unreachable::Unresolved),
        ("ws://device.test/", true, Unreachable::Timeout),
    ] {
        let log = run(
            async |stack| {
                let request = ClientRequest::parse(url).unwrap();
                let timeout = Duration::from_millis(if silent { 100 } else { 5000 });
                let client = Reconnect::new(request, &CONFIG, backoff()).connect_timeout(timeout);
                events(stack, client, 2, async |_| Ok(())).await
            },
            async |stack| name_server(stack, silent).await,
        );
        let expected = format!("Unreachable({error:?})");
        assert_eq!(log.iter().filter(|event| **event == expected).count(), 2, "{log:?}");
        assert_eq!(delays(&log), ["20ms", "40ms"]);
    }
}

/// A stream over the TCP stream, as TLS is: it inverts each bit.
struct Inverted<'a, 's>(TcpTransport<'a, 's>);

impl Transport for Inverted<'_, '_> {
    type Error = tcp::Error;

    fn now(&mut self) -> Instant {
        self.0.now()
    }

    async fn read_write(
        &mut self,
        input: &mut [u8],
        output: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Transferred, tcp::Error> {
        let output: Vec<u8> = output.iter().map(|byte| !byte).collect();
        let turn = self.0.read_write(input, &output, deadline).await?;
        input.iter_mut().take(turn.read.unwrap_or(0)).for_each(|byte| *byte = !*byte);
        Ok(turn)
    }

    fn shutdown(&mut self) -> impl Future<Output = Result<(), tcp::Error>> {
        self.0.shutdown()
    }
}

#[test]
fn a_session_may_put_a_stream_over_the_tcp_stream() {
    let answer = run(
        async |stack| {
            let (mut receive, mut transmit) = ([0; 1024], [0; 1024]);
            let mut socket = TcpSocket::new(stack, &mut receive, &mut transmit);
            let mut memory = Memory { head: [0; 512], rx: [0; 256], tx: [0; 256] };
            // `address` takes the place of DNS.
            let request = ClientRequest::parse("wss://secret.test:80/").unwrap();
            let mut client = Reconnect::new(request, &CONFIG, backoff()).address(HERE);
            let mut random = half;
            let note = &mut |_: ReconnectEvent<'_, Error<tcp::Error>>| {};
            let run = client.run(stack, &mut socket, &mut memory, &mut random, note, async |tcp, attempt| {
                let mut socket = attempt.open(Inverted(tcp)).await?;
                socket.send("secret").await?;
                let mut message = Assembler::new(ArrayStorage::<64>::new());
                let answer = socket.recv(&mut message).await?;
                Ok(ControlFlow::Break(answer.map(|answer| format!("{answer:?}"))))
            });
            run.await
        },
        async |stack| {
            listen(stack, async |_, socket| {
                let mut memory = Memory { head: [0; 512], rx: [0; 256], tx: [0; 256] };
                let transport = Inverted(TcpTransport::new(socket));
                let accept = |_: &sansocket::handshake::Request<'_>| Decision::Accept(AcceptOptions::new());
                let accepted = WebSocket::accept(transport, &CONFIG, memory.buffers(), accept).await.unwrap();
                let sansocket::handshake::Accepted::WebSocket(mut peer) = accepted else { panic!() };
                let mut message = Assembler::new(ArrayStorage::<64>::new());
                assert_eq!(peer.recv(&mut message).await.unwrap(), Some(MessageRef::Text("secret")));
                peer.send("heard").await.unwrap();
                let _ = peer.recv(&mut message).await;
            })
            .await
        },
    );
    assert_eq!(answer.as_deref(), Some("Text(\"heard\")"));
}
