//! A client that opens WebSocket connections over HTTP/2 (RFC 8441).

use std::net::SocketAddr;

use axum::http::Request;
use http_body_util::Empty;
use hyper::Response;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use sansocket::proto::SystemKeys;
use sansocket::session::BufferSizes;
use sansocket::tokio::WebSocket;
use sansocket::{Client, Config};
use tokio::net::TcpStream;

/// Connects. The connection runs in a task until the result is dropped.
pub(crate) async fn connect(address: SocketAddr) -> SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (http2, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    http2
}

/// Sends the extended CONNECT of a page of this origin, which offers the subprotocol "chat".
pub(crate) async fn extended_connect(
    http2: &mut SendRequest<Empty<Bytes>>,
    origin: &str,
) -> Response<Incoming> {
    let request = Request::connect("http://app.example/ws")
        .extension(Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat")
        .header("origin", origin)
        .body(Empty::new());
    http2.send_request(request.unwrap()).await.unwrap()
}

/// The client's end of the connection that this response has opened.
pub(crate) async fn upgraded(
    response: &mut Response<Incoming>,
) -> WebSocket<TokioIo<Upgraded>, Client<SystemKeys>> {
    let stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let role = Client::new(SystemKeys::new().unwrap());
    WebSocket::after_upgrade(stream, &[], role, Some("chat"), Config::new(), BufferSizes::default())
}
