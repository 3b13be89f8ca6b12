//! Requests for tests without TCP.

use std::convert::Infallible;
use std::io;

use http::header;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sansocket::proto::SystemKeys;
use sansocket::session::BufferSizes;
use sansocket::tokio::WebSocket;
use sansocket::{Client, Config};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;

/// Bytes in each direction that the pipe holds.
const PIPE: usize = 64 * 1024;

/// Creates the request of an upgrade, for a test that calls a router without TCP, and the client's end of the connection.
///
/// The request is what a client sends for this URL, without `Origin` and subprotocols: add them. The client is of use as soon as the
/// router has accepted the request.
///
/// ```
/// use axum::{Router, body::Body, routing::any};
/// use sansocket_axum::{WebSocketUpgrade, test_request};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let app: Router = Router::new().route(
///     "/greet",
///     any(|ws: WebSocketUpgrade| async {
///         ws.on_upgrade(|mut socket| async move { socket.send("hello".into()).await.unwrap() })
///     }),
/// );
///
/// let (request, mut client) = test_request("http://example.com/greet").await?;
/// let response = app.oneshot(request.body(Body::empty())?).await?;
/// assert_eq!(response.status(), 101);
/// assert_eq!(client.recv().await?, Some("hello".into()));
/// # Ok(())
/// # }
/// ```
///
/// It has to be called in a runtime of tokio, and the upgrade is one of hyper: both are as in a server.
///
/// # Errors
/// The system has no random numbers for the client's masking keys, or the pipe in memory has failed.
pub async fn test_request(
    url: &str,
) -> io::Result<(http::request::Builder, WebSocket<DuplexStream, Client<SystemKeys>>)> {
    let (near, mut far) = duplex(PIPE);
    let (upgrades, mut upgrade) = mpsc::channel(1);
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let upgrades = upgrades.clone();
        async move {
            let _ = upgrades.send(hyper::upgrade::on(request)).await;
            let mut response = http::Response::new(String::new());
            *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
            Ok::<_, Infallible>(response)
        }
    });
    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(near), service).with_upgrades());
    // hyper makes an upgrade only for a request that it has read. Another answers it, so that its response comes first.
    far.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(far.read_u8().await?);
    }
    let upgrade = upgrade.recv().await.ok_or(io::ErrorKind::BrokenPipe)?;

    let uri: http::Uri = url.parse().map_err(io::Error::other)?;
    let host = uri.authority().map_or("localhost", |authority| authority.as_str()).to_owned();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = http::Request::get(path)
        .header(header::HOST, host)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .extension(upgrade);
    let keys = Client::new(SystemKeys::new()?);
    Ok((request, WebSocket::after_upgrade(far, &[], keys, None, Config::new(), BufferSizes::default())))
}
