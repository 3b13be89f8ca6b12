//! Echo servers in Rust, with compression on.

use std::net::TcpListener;

use futures::{SinkExt, StreamExt};
use sansocket::config::ServerOptions;
use sansocket::deflate::{DeflateOptions, Pool};
use sansocket::hub::{HubSettings, MioServer, Routes};
use sansocket::{Event, Handler, HandlerError, Outbox};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub fn serve(name: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    let context = DeflateOptions::new().context(true);
    match name {
        "sansocket" => hub(listener, DeflateOptions::new()),
        "sansocket-context" => hub(listener, context),
        "sansocket-context-15-6" => hub(listener, context.send_window_bits(15).level(6).memory_level(8)),
        "sansocket-tokio" => tasks(listener, own),
        "yawc" => tasks(listener, yawc),
        "sockudo-ws" => tasks(listener, sockudo),
        other => panic!("no server {other}"),
    }
}

struct Echo;

impl Handler for Echo {
    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        if let Event::Data(chunk) = event { out.forward(&chunk) } else { Ok(()) }
    }
}

fn hub(listener: TcpListener, options: DeflateOptions) {
    let settings = HubSettings::default().deflate(Pool::new(options).unwrap());
    let routes = Routes::new().websocket("/ws", |_, _| Ok(Echo));
    MioServer::from_listener(listener, settings, |_| routes).unwrap().run().unwrap();
}

fn tasks<F: Future<Output = ()> + 'static>(listener: TcpListener, serve: fn(TcpStream) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(tokio::task::LocalSet::new().run_until(async {
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::task::spawn_local(serve(stream));
        }
    }))
}

async fn own(stream: TcpStream) {
    let options = ServerOptions::new().deflate(Pool::new(DeflateOptions::new()).unwrap());
    let Ok(mut ws) = sansocket::tokio::WebSocket::accept(stream, &options).await else { return };
    while let Ok(Some(message)) = ws.recv().await {
        // It leaves before the next `recv` waits.
        if ws.feed(message).await.is_err() {
            break;
        }
    }
}

/// Answers the request, and agrees to these parameters.
async fn answer(stream: &mut TcpStream, agreed: &str) {
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Extensions: {agreed}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
}

/// Without context, as its defaults.
async fn yawc(mut stream: TcpStream) {
    use yawc::{OpCode, Options, Role, WebSocket};
    const AGREED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    answer(&mut stream, AGREED).await;
    let options = Options::default()
        .with_balanced_compression()
        .server_no_context_takeover()
        .client_no_context_takeover()
        .with_utf8();
    let mut ws = WebSocket::from_stream_with_extensions(stream, Role::Server, Some(AGREED), options).unwrap();
    while let Ok(frame) = ws.next_frame().await {
        if frame.opcode() == OpCode::Close || ws.send(frame).await.is_err() {
            break;
        }
    }
}

/// With context, as its defaults.
async fn sockudo(mut stream: TcpStream) {
    use sockudo_ws::deflate::DeflateConfig;
    use sockudo_ws::{CompressedWebSocketStream, Config, Message};
    answer(&mut stream, "permessage-deflate").await;
    let mut ws = CompressedWebSocketStream::server(stream, Config::default(), DeflateConfig::default());
    while let Some(Ok(message)) = ws.next().await {
        if matches!(message, Message::Close(_)) || ws.send(message).await.is_err() {
            break;
        }
    }
}
