//! An echo server on loopback, on one thread unless its name says otherwise: it prints its port.
//!
//!     server LIBRARY [--tls CERTIFICATE KEY]     two files, PEM
//!
//! Path `/ws` echoes. `sansocket` and `tokio-tungstenite` send what arrives at `/all` to everybody there.

use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use futures::{SinkExt, StreamExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::broadcast;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (library, tls) = match args[..] {
        [library] => (library, None),
        [library, "--tls", certificate, key] => (library, Some(tls(certificate, key))),
        _ => panic!("usage: server LIBRARY [--tls CERTIFICATE KEY]"),
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    match (library, &tls) {
        ("sansocket", _) => own::hub(listener, tls),
        ("sansocket-tokio", _) => tasks(listener, tls, own::task, own::task),
        ("sansocket-axum", _) => requests(listener, tls, || Requests::Axum(own::router())),
        ("tokio-tungstenite", _) => tasks(listener, tls, tokio_tungstenite_task, tokio_tungstenite_task),
        ("fastwebsockets", _) => tasks(listener, tls, fastwebsockets_task, fastwebsockets_task),
        ("fastwebsockets-hyper", _) => requests(listener, tls, || Requests::Fastwebsockets),
        ("tokio-websockets", _) => tasks(listener, tls, tokio_websockets_task, tokio_websockets_task),
        ("yawc", _) => tasks(listener, tls, yawc_task, yawc_task),
        ("yawc-hyper", _) => requests(listener, tls, || Requests::Yawc),
        ("sockudo-ws", _) => tasks(listener, tls, sockudo_task, sockudo_task),
        ("soketto", _) => tasks(listener, tls, soketto_task, soketto_task),
        ("axum", _) => requests(listener, tls, || Requests::Axum(axum_router())),
        ("floor", None) => floor::serve(&listener),
        ("sansocket-threads", None) => threads(&listener, own::thread),
        ("tungstenite-threads", None) => threads(&listener, tungstenite_thread),
        ("wtx", None) => tasks(listener, None, wtx_task, |_| async { unreachable!("without TLS") }),
        (other, _) => panic!("no library {other} of this kind"),
    }
}

const LIMIT: usize = 64 << 20;

fn tls(certificate: &str, key: &str) -> Arc<rustls::ServerConfig> {
    let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    Arc::new(config.with_single_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap())
}

fn threads(listener: &TcpListener, serve: fn(std::net::TcpStream)) {
    for stream in listener.incoming() {
        let stream = stream.unwrap();
        stream.set_nodelay(true).unwrap();
        thread::Builder::new().stack_size(64 << 10).spawn(move || serve(stream)).unwrap();
    }
}

/// A task for each connection, over TCP or over TLS.
fn tasks<F: Future<Output = ()> + 'static, G: Future<Output = ()> + 'static>(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    over_tcp: fn(TcpStream) -> F,
    over_tls: fn(TlsStream<TcpStream>) -> G,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    runtime().block_on(tokio::task::LocalSet::new().run_until(async {
        let listener = asynchronous(listener);
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            match acceptor.clone() {
                None => tokio::task::spawn_local(over_tcp(stream)),
                Some(acceptor) => tokio::task::spawn_local(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        over_tls(stream).await;
                    }
                }),
            };
        }
    }))
}

/// Libraries whose opening handshake is a request to hyper.
#[derive(Clone)]
enum Requests {
    Axum(axum::Router),
    Fastwebsockets,
    Yawc,
}

fn requests(listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>, library: fn() -> Requests) {
    thread_local! {
        static LIBRARY: std::cell::OnceCell<Requests> = const { std::cell::OnceCell::new() };
    }
    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) {
        let library = LIBRARY.with(|library| library.get().cloned()).unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let http = hyper::server::conn::http1::Builder::new();
        let upgrade = |mut request: hyper::Request<hyper::body::Incoming>| async move {
            let (response, upgraded) = fastwebsockets::upgrade::upgrade(&mut request)?;
            tokio::spawn(async move {
                if let Ok(mut ws) = upgraded.await.map(fastwebsockets::FragmentCollector::new) {
                    while let Ok(frame) = ws.read_frame().await {
                        if frame.opcode == fastwebsockets::OpCode::Close
                            || ws.write_frame(frame).await.is_err()
                        {
                            break;
                        }
                    }
                }
            });
            Ok::<_, fastwebsockets::WebSocketError>(response)
        };
        let _ = match library {
            Requests::Axum(router) => {
                let service = hyper_util::service::TowerToHyperService::new(router);
                http.serve_connection(io, service).with_upgrades().await
            }
            Requests::Fastwebsockets => {
                let service = hyper::service::service_fn(upgrade);
                http.serve_connection(io, service).with_upgrades().await
            }
            Requests::Yawc => {
                let service = hyper::service::service_fn(yawc_upgrade);
                http.serve_connection(io, service).with_upgrades().await
            }
        };
    }
    LIBRARY.with(|place| place.set(library()).ok().expect("once"));
    tasks(listener, tls, serve, serve);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn asynchronous(listener: TcpListener) -> tokio::net::TcpListener {
    listener.set_nonblocking(true).unwrap();
    tokio::net::TcpListener::from_std(listener).unwrap()
}

mod own {
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, LazyLock};

    use sansocket::config::ServerOptions;
    use sansocket::hub::{HubHandle, HubSettings, MioServer, Routes, TlsAcceptor};
    use sansocket::session::{BufferSizes, Buffers};
    use sansocket::{Config, Event, Handler, HandlerError, Message, Outbox};
    use tokio::io::{AsyncRead, AsyncWrite};

    struct Echo;

    impl Handler for Echo {
        fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
            if let Event::Data(chunk) = event { out.forward(&chunk) } else { Ok(()) }
        }
    }

    struct ToAll(HubHandle);

    impl Handler for ToAll {
        fn event(&mut self, event: Event<'_>, _: &mut Outbox<'_>) -> Result<(), HandlerError> {
            if let Event::Data(chunk) = event {
                let message = Message::from(chunk.payload.as_bytes().to_vec());
                self.0.broadcast(message).unwrap();
            }
            Ok(())
        }
    }

    pub(super) fn hub(listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>) {
        let settings = HubSettings::default().max_sessions(20_000).handshakes_per_second(None);
        let app = |handle: HubHandle| {
            Routes::new()
                .websocket("/ws", |_, _| Ok(Echo))
                .websocket("/all", move |_, _| Ok(ToAll(handle.clone())))
        };
        match tls {
            None => MioServer::from_listener(listener, settings, app).unwrap().run().unwrap(),
            Some(config) => {
                MioServer::with_acceptor(listener, TlsAcceptor(config), settings, app).unwrap().run().unwrap()
            }
        }
    }

    pub(super) fn thread(stream: TcpStream) {
        let sizes = BufferSizes { head: 4096, receive: 18 << 10, transmit: 18 << 10 };
        let _ =
            sansocket::blocking::serve(stream, &mut Echo, &Config::DEFAULT, &mut Buffers::with_sizes(sizes));
    }

    /// All connections share one configuration.
    static OPTIONS: LazyLock<ServerOptions> = LazyLock::new(ServerOptions::default);

    pub(super) async fn task<S: AsyncRead + AsyncWrite + Unpin>(stream: S) {
        let Ok(mut ws) = sansocket::tokio::WebSocket::accept(stream, &OPTIONS).await else {
            return;
        };
        while let Ok(Some(message)) = ws.recv().await {
            // It leaves before the next `recv` waits.
            if ws.feed(message).await.is_err() {
                break;
            }
        }
    }

    pub(super) fn router() -> axum::Router {
        use sansocket_axum::{Message, WebSocketUpgrade};
        let echo = |upgrade: WebSocketUpgrade| async {
            upgrade.on_upgrade(|mut ws| async move {
                while let Some(Ok(message)) = ws.recv().await {
                    if matches!(message, Message::Close(_)) || ws.send(message).await.is_err() {
                        break;
                    }
                }
            })
        };
        axum::Router::new().route("/ws", axum::routing::any(echo))
    }
}

fn tungstenite_thread(stream: std::net::TcpStream) {
    let Ok(mut ws) = tungstenite::accept(stream) else { return };
    while let Ok(message) = ws.read() {
        if message.is_close() || ws.send(message).is_err() {
            break;
        }
    }
}

async fn tokio_tungstenite_task<S: AsyncRead + AsyncWrite + Unpin>(stream: S) {
    thread_local! {
        static ALL: broadcast::Sender<tungstenite::Message> = broadcast::channel(64).0;
    }
    let mut path = String::new();
    let note = |request: &tungstenite::handshake::server::Request, response| {
        request.uri().path().clone_into(&mut path);
        Ok(response)
    };
    #[expect(clippy::result_large_err, reason = "tungstenite's signature")]
    let Ok(mut ws) = tokio_tungstenite::accept_hdr_async(stream, note).await else { return };
    if path != "/all" {
        while let Some(Ok(message)) = ws.next().await {
            if message.is_close() || ws.send(message).await.is_err() {
                break;
            }
        }
        return;
    }
    let all = ALL.with(Clone::clone);
    let mut messages = all.subscribe();
    loop {
        tokio::select! {
            received = ws.next() => match received {
                Some(Ok(message)) if !message.is_close() => drop(all.send(message)),
                _ => break,
            },
            // A slow reader misses what the channel has dropped.
            message = messages.recv() => if let Ok(message) = message && ws.send(message).await.is_err() {
                break;
            },
        }
    }
}

async fn fastwebsockets_task<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    use fastwebsockets::{FragmentCollector, OpCode, Role, WebSocket};
    shake_hands(&mut stream).await;
    let mut ws = FragmentCollector::new(WebSocket::after_handshake(stream, Role::Server));
    while let Ok(frame) = ws.read_frame().await {
        if frame.opcode == OpCode::Close || ws.write_frame(frame).await.is_err() {
            break;
        }
    }
}

async fn tokio_websockets_task<S: AsyncRead + AsyncWrite + Unpin>(stream: S) {
    let Ok((_, mut ws)) = tokio_websockets::ServerBuilder::new().accept(stream).await else { return };
    while let Some(Ok(message)) = ws.next().await {
        if message.is_close() || ws.send(message).await.is_err() {
            break;
        }
    }
}

async fn yawc_task<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(mut stream: S) {
    use yawc::{OpCode, Options, Role, WebSocket};
    shake_hands(&mut stream).await;
    let options = Options::default().with_limits(LIMIT, LIMIT).with_utf8();
    let mut ws = WebSocket::from_stream(stream, Role::Server, options).unwrap();
    while let Ok(frame) = ws.next_frame().await {
        if frame.opcode() == OpCode::Close || ws.send(frame).await.is_err() {
            break;
        }
    }
}

async fn yawc_upgrade(
    request: hyper::Request<hyper::body::Incoming>,
) -> Result<hyper::Response<http_body_util::Empty<bytes::Bytes>>, yawc::WebSocketError> {
    use yawc::{OpCode, Options, WebSocket};
    let options = Options::default().with_limits(LIMIT, LIMIT).with_utf8();
    let (response, upgraded) = WebSocket::upgrade_with_options(request, options)?;
    tokio::spawn(async move {
        let Ok(mut ws) = upgraded.await else { return };
        while let Ok(frame) = ws.next_frame().await {
            if frame.opcode() == OpCode::Close || ws.send(frame).await.is_err() {
                break;
            }
        }
    });
    Ok(response)
}

async fn sockudo_task<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    use sockudo_ws::{Config, Message, WebSocketStream};
    if sockudo_ws::handshake::server_handshake(&mut stream).await.is_err() {
        return;
    }
    let mut ws = WebSocketStream::server(stream, Config::default());
    while let Some(Ok(message)) = ws.next().await {
        if matches!(message, Message::Close(_)) || ws.send(message).await.is_err() {
            break;
        }
    }
}

async fn soketto_task<S: AsyncRead + AsyncWrite + Unpin>(stream: S) {
    use futures::io::{BufReader, BufWriter};
    use soketto::handshake::{Server, server::Response};
    use tokio_util::compat::TokioAsyncReadCompatExt;
    let mut server = Server::new(BufReader::new(BufWriter::new(stream.compat())));
    let Ok(key) = server.receive_request().await.map(|request| request.key()) else { return };
    if server.send_response(&Response::Accept { key, protocol: None }).await.is_err() {
        return;
    }
    let (mut sender, mut receiver) = server.into_builder().finish();
    let mut message = vec![];
    while receiver.receive_data(&mut message).await.is_ok_and(|data| data.is_binary()) {
        if sender.send_binary(&message).await.is_err() || sender.flush().await.is_err() {
            break;
        }
        message.clear();
    }
}

async fn wtx_task(stream: TcpStream) {
    use wtx::web_socket::{Frame, OpCode, WebSocketAcceptor, WebSocketPayloadOrigin};
    let Ok(mut ws) = WebSocketAcceptor::default().accept(stream).await else { return };
    let (mut common, mut reader, mut writer) = ws.split_mut();
    let mut memory = wtx::collection::Vector::new();
    loop {
        memory.clear();
        let origin = WebSocketPayloadOrigin::Adaptive;
        let Ok(mut frame) = reader.read_frame(&mut memory, &mut common, origin).await else { return };
        let opcode = frame.op_code();
        let mut reply = Frame::new_fin(opcode, &mut **frame.payload_mut());
        if opcode == OpCode::Close || writer.write_frame(&mut common, &mut reply).await.is_err() {
            return;
        }
    }
}

fn axum_router() -> axum::Router {
    use axum::extract::ws::{Message, WebSocketUpgrade};
    let echo = |upgrade: WebSocketUpgrade| async {
        upgrade.on_upgrade(|mut ws| async move {
            while let Some(Ok(message)) = ws.recv().await {
                if matches!(message, Message::Close(_)) || ws.send(message).await.is_err() {
                    break;
                }
            }
        })
    };
    axum::Router::new().route("/ws", axum::routing::any(echo))
}

/// For libraries that leave the opening handshake to hyper.
async fn shake_hands(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let (mut head, mut len) = (vec![0; 2048], 0);
    while !head[..len].ends_with(b"\r\n\r\n") {
        match stream.read(&mut head[len..]).await {
            Ok(n) if n > 0 => len += n,
            _ => return,
        }
    }
    let _ = stream.write_all(response(&head[..len]).as_bytes()).await;
}

fn response(head: &[u8]) -> String {
    let mut fields = std::str::from_utf8(head).unwrap().lines().filter_map(|line| line.split_once(": "));
    let key = fields.find(|(name, _)| name.eq_ignore_ascii_case("Sec-WebSocket-Key")).expect("a key").1;
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// epoll, unmasking in place, no check, the header of the reply over the header of the request: nothing is copied unless
/// the socket is full.
mod floor {
    use std::collections::HashMap;
    use std::io::{IoSlice, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use sansocket_peers::floor::{parse, unmask};

    const BUFFER: usize = 65536;

    struct Connection {
        stream: TcpStream,
        open: bool,
        buffer: Vec<u8>,
        end: usize,
        unsent: Vec<u8>,
    }

    pub(super) fn serve(listener: &TcpListener) {
        // SAFETY: calls of the system with descriptors that live as long as this function.
        let epoll = unsafe { libc::epoll_create1(0) };
        let watch = |descriptor: i32, events: i32, operation: i32| {
            let mut event = libc::epoll_event { events: events as u32, u64: descriptor as u64 };
            // SAFETY: as above.
            unsafe { libc::epoll_ctl(epoll, operation, descriptor, &raw mut event) };
        };
        listener.set_nonblocking(true).unwrap();
        watch(listener.as_raw_fd(), libc::EPOLLIN, libc::EPOLL_CTL_ADD);
        let mut connections = HashMap::new();
        let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; 1024];
        loop {
            // SAFETY: the memory holds so many events.
            let ready = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), 1024, -1) };
            for event in &events[..ready.max(0) as usize] {
                let descriptor = event.u64 as i32;
                let Some(connection) = connections.get_mut(&descriptor) else {
                    while let Ok((stream, _)) = listener.accept() {
                        stream.set_nodelay(true).unwrap();
                        stream.set_nonblocking(true).unwrap();
                        watch(stream.as_raw_fd(), libc::EPOLLIN, libc::EPOLL_CTL_ADD);
                        let (buffer, unsent) = (vec![0; BUFFER], vec![]);
                        let connection = Connection { open: false, buffer, end: 0, unsent, stream };
                        connections.insert(connection.stream.as_raw_fd(), connection);
                    }
                    continue;
                };
                let was_full = !connection.unsent.is_empty();
                if connection.turn().is_none() {
                    connections.remove(&descriptor);
                } else if was_full == connection.unsent.is_empty() {
                    let events = if was_full { libc::EPOLLIN } else { libc::EPOLLOUT };
                    watch(descriptor, events, libc::EPOLL_CTL_MOD);
                }
            }
        }
    }

    impl Connection {
        /// `None` is the end of the connection.
        fn turn(&mut self) -> Option<()> {
            if !self.unsent.is_empty() {
                let n = would_block(self.stream.write(&self.unsent))?;
                self.unsent.drain(..n);
                return Some(());
            }
            let Some(n) = would_block_or_end(self.stream.read(&mut self.buffer[self.end..]))? else {
                return Some(());
            };
            self.end += n;
            if !self.open {
                if self.buffer[..self.end].ends_with(b"\r\n\r\n") {
                    let response = super::response(&self.buffer[..self.end]);
                    (&self.stream).write_all(response.as_bytes()).ok()?;
                    (self.open, self.end) = (true, 0);
                }
                return Some(());
            }
            self.echo()
        }

        fn echo(&mut self) -> Option<()> {
            let (mut at, mut need) = (0, 0);
            let mut replies: Vec<(usize, usize)> = vec![];
            while let Some((first, len, head)) = parse(&self.buffer[at..self.end]) {
                if self.end - at < head + len {
                    need = head + len;
                    break;
                }
                if first & 0x0F == 8 {
                    return None;
                }
                let frame = &mut self.buffer[at..at + head + len];
                let key = frame[head - 4..head].try_into().unwrap();
                unmask(&mut frame[head..], key);
                frame[1] &= 0x7F;
                frame.copy_within(..head - 4, 4);
                replies.push((at + 4, at + head + len));
                at += head + len;
            }
            let slices: Vec<IoSlice<'_>> =
                replies.iter().map(|&(a, b)| IoSlice::new(&self.buffer[a..b])).collect();
            for some in slices.chunks(1024) {
                let wanted: usize = some.iter().map(|slice| slice.len()).sum();
                let sent = if self.unsent.is_empty() {
                    would_block((&self.stream).write_vectored(some))?
                } else {
                    0
                };
                if sent < wanted {
                    let bytes = some.iter().flat_map(|slice| slice.iter().copied());
                    self.unsent.extend(bytes.skip(sent));
                }
            }
            self.buffer.copy_within(at..self.end, 0);
            self.end -= at;
            if need > self.buffer.len() {
                self.buffer.resize(need + BUFFER, 0);
            }
            Some(())
        }
    }

    fn would_block(written: std::io::Result<usize>) -> Option<usize> {
        would_block_or_end(written).map(Option::unwrap_or_default)
    }

    /// `None` is the end of the stream; `Some(None)`, that it must be waited for.
    fn would_block_or_end(moved: std::io::Result<usize>) -> Option<Option<usize>> {
        match moved {
            Ok(0) => None,
            Ok(n) => Some(Some(n)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Some(None),
            Err(_) => None,
        }
    }
}
