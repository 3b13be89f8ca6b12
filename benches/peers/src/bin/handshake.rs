//! The server's opening handshake in memory.
//!
//!     handshake [--quick] [--only PART-OF-A-LIBRARY'S-NAME]

use std::hint::black_box;

use futures::future::poll_fn;
use sansocket::handshake::{Decision, ServerHandshake};
use sansocket::{Config, Instant, ReceiveBuffer, Step, TransmitBuffer};
use sansocket_peers::clock::{Candidate, interleave};
use sansocket_peers::csv::{attempt, failed, flag, option, row};
use sansocket_peers::memory_socket::{MemorySocket, block_on};
use sansocket_peers::peers::NoKeys;
use sha1::{Digest, Sha1};

const MINIMAL: &str = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const BROWSER: &str = "GET /chat?room=1 HTTP/1.1\r\nHost: 127.0.0.1:9001\r\nConnection: Upgrade\r\nPragma: no-cache\r\n\
    Cache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/126.0.0.0 Safari/537.36\r\nUpgrade: websocket\r\nOrigin: http://127.0.0.1:9001\r\n\
    Sec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en-US;q=0.9,en;q=0.8\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn main() {
    std::panic::set_hook(Box::new(|_| {})); // the reason stands in the row
    let (rounds, sample_us) = if flag("--quick") { (15, 300.0) } else { (101, 1000.0) };
    for (work, request) in [("handshake-minimal", MINIMAL), ("handshake-browser", BROWSER)] {
        let request = request.as_bytes();
        let mut candidates = vec![
            candidate("floor", move || ends(&floor(black_box(request)))),
            candidate("sansocket", own(request)),
            candidate("tungstenite", move || {
                written(tungstenite::accept(socket(request)).unwrap().get_ref())
            }),
            candidate("tokio-websockets", move || {
                let accepted = block_on(tokio_websockets::ServerBuilder::new().accept(socket(request)));
                written(accepted.unwrap().1.get_ref());
            }),
            candidate("soketto", move || block_on(soketto(request))),
            candidate("embedded-websocket", move || embedded_websocket(black_box(request))),
            candidate("wtx", move || {
                block_on(wtx(&mut socket(request)));
            }),
            candidate("sockudo-ws", move || {
                let mut socket = socket(request);
                block_on(sockudo_ws::handshake::server_handshake(&mut socket)).unwrap();
                written(&socket);
            }),
            candidate("websocketz", websocketz(request)),
            candidate("nexus-web", move || {
                let accepted = nexus_web::ws::ClientBuilder::new().accept(socket(request));
                written(accepted.unwrap().stream());
            }),
            candidate("fastwebsockets", move || block_on(over_hyper(request, fastwebsockets_response))),
            candidate("yawc", move || block_on(over_hyper(request, yawc_response))),
        ];
        let only = option("--only").unwrap_or_default();
        // A library that fails is left out of the rounds.
        candidates.retain_mut(|one| {
            (one.name == "floor" || one.name.contains(&only))
                && match attempt(|| (one.run)(1)) {
                    Ok(()) => true,
                    Err(reason) => {
                        failed(work, one.name, &reason);
                        false
                    }
                }
        });
        for timing in interleave(&mut candidates, rounds, sample_us) {
            row(work, &timing.name, timing.ns, "ns", timing.ratio);
        }
    }
}

fn candidate<'a>(name: &'a str, mut once: impl FnMut() + 'a) -> Candidate<'a> {
    Candidate { name, run: Box::new(move |repeats| (0..repeats).for_each(|_| once())) }
}

fn socket(request: &'static [u8]) -> MemorySocket {
    MemorySocket::keeping(black_box(request))
}

fn written(socket: &MemorySocket) {
    ends(socket.written.as_ref().unwrap());
}

fn ends(response: &[u8]) {
    let accept = |part: &[u8]| part == ACCEPT.as_bytes();
    assert!(response.starts_with(b"HTTP/1.1 101 ") && response.windows(ACCEPT.len()).any(accept));
}

/// httparse into memory of the stack, five fields compared, the response into memory of the stack.
fn floor(request: &[u8]) -> Vec<u8> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut parsed = httparse::Request::new(&mut fields);
    assert!(parsed.parse(request).unwrap().is_complete());
    let (mut found, mut key) = (0, None);
    for field in &*parsed.headers {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("Upgrade") {
            found += u32::from(field.value.eq_ignore_ascii_case(b"websocket"));
        } else if is("Connection") {
            let mut tokens = field.value.split(|byte| *byte == b',');
            found += u32::from(tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade")));
        } else if is("Sec-WebSocket-Version") {
            found += u32::from(field.value == b"13");
        } else if is("Host") {
            found += 1;
        } else if is("Sec-WebSocket-Key") {
            key = Some(field.value);
        }
    }
    assert!(parsed.method == Some("GET") && parsed.version == Some(1) && found == 4);
    let digest = Sha1::new()
        .chain_update(key.unwrap())
        .chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
        .finalize();
    let mut response = Vec::with_capacity(192);
    response.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
    );
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for group in digest.chunks(3) {
        let bits = group.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        response.extend((0..=group.len()).map(|i| ALPHABET[(bits >> (18 - 6 * i)) as usize & 63]));
    }
    response.extend_from_slice(b"=\r\n\r\n");
    response
}

/// Over memory of the caller, with a copy of the request into the receive buffer.
fn own(request: &'static [u8]) -> impl FnMut() {
    static CONFIG: Config = Config::new();
    let mut memory = [[0; 1024]; 3];
    move || {
        let [head, rx, tx] = &mut memory;
        let mut head = ReceiveBuffer::new(head).unwrap();
        let mut rx = ReceiveBuffer::new(rx).unwrap();
        let mut tx = TransmitBuffer::new(tx).unwrap();
        let mut handshake = ServerHandshake::new(&CONFIG, Instant::START);
        let into = handshake.spare(&mut head, &mut rx);
        into[..request.len()].copy_from_slice(black_box(request));
        handshake.fill(&mut head, &mut rx, request.len());
        let step = handshake.poll(Instant::START, &mut head, &mut rx, &mut tx, |request| {
            assert_eq!(request.path(), "/chat");
            Decision::accept()
        });
        assert!(matches!(step, Step::Done(_)), "{step:?}");
        ends(tx.pending());
    }
}

async fn soketto(request: &'static [u8]) {
    let mut server = soketto::handshake::Server::new(socket(request));
    let key = server.receive_request().await.unwrap().key();
    let response = soketto::handshake::server::Response::Accept { key, protocol: None };
    server.send_response(&response).await.unwrap();
    written(&server.into_inner());
}

/// Its user parses with httparse.
fn embedded_websocket(request: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut parsed = httparse::Request::new(&mut fields);
    parsed.parse(request).unwrap();
    let fields = parsed.headers.iter().map(|field| (field.name, field.value));
    let context = embedded_websocket::read_http_header(fields).unwrap().unwrap();
    let mut out = [0; 512];
    let mut server = embedded_websocket::WebSocketServer::new_server();
    let n = server.server_accept(&context.sec_websocket_key, None, &mut out).unwrap();
    ends(&out[..n]);
}

async fn wtx(socket: &mut MemorySocket) {
    let buffer = wtx::web_socket::WebSocketBuffer::new();
    let acceptor = wtx::web_socket::WebSocketAcceptor::default().wsb(buffer);
    assert!(acceptor.accept(&mut *socket).await.is_ok());
    written(socket);
}

/// Over memory of the caller.
fn websocketz(request: &'static [u8]) -> impl FnMut() {
    let mut memory = [[0; 1024]; 3];
    move || {
        let [rx, tx, fragments] = &mut memory;
        let accepted = websocketz::WebSocket::accept::<32>(
            websocketz::options::AcceptOptions::default(),
            socket(request),
            NoKeys,
            rx,
            tx,
            fragments,
        );
        written(block_on(accepted).unwrap().inner());
    }
}

/// hyper keeps the stream, so that the response is not compared.
async fn over_hyper<B, E>(
    request: &'static [u8],
    respond: fn(hyper::Request<hyper::body::Incoming>) -> Result<hyper::Response<B>, E>,
) where
    B: hyper::body::Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    let accepted = std::cell::Cell::new(false);
    let service = hyper::service::service_fn(|request| {
        let response = respond(request);
        accepted.set(response.as_ref().is_ok_and(|response| response.status() == 101));
        std::future::ready(response)
    });
    let stream = hyper_util::rt::TokioIo::new(socket(request));
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(stream, service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    poll_fn(|cx| {
        let _ = connection.as_mut().poll(cx);
        std::task::Poll::Ready(())
    })
    .await;
    assert!(accepted.get());
}

type Empty = http_body_util::Empty<bytes::Bytes>;

fn fastwebsockets_response(
    mut request: hyper::Request<hyper::body::Incoming>,
) -> Result<hyper::Response<Empty>, fastwebsockets::WebSocketError> {
    Ok(fastwebsockets::upgrade::upgrade(&mut request)?.0)
}

fn yawc_response(
    request: hyper::Request<hyper::body::Incoming>,
) -> Result<hyper::Response<Empty>, yawc::WebSocketError> {
    Ok(yawc::WebSocket::upgrade(request)?.0)
}
