//! Upgrades by hyper: over HTTP/1, over HTTP/2, and what is refused.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::ext::Protocol;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use sansocket::config::{ClientOptions, ServerOptions};
use sansocket::handshake::{self, AcceptOptions, BadRequest, Headers, OriginPolicy, Rejection};
use sansocket::proto::SystemKeys;
use sansocket::session::BufferSizes;
use sansocket::tokio::{Tracker, WebSocket, upgrade, upgrade_with};
use sansocket::{Client, CloseCode, Config, Error};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// Serves one connection of HTTP/1 or HTTP/2, and echoes. Returns the client's end, and how each connection ended.
fn serve(
    options: ServerOptions,
    version: Version,
) -> (DuplexStream, mpsc::UnboundedReceiver<Result<(), Error>>) {
    serve_with(options, None, version)
}

/// The same with options for each request.
fn serve_with(
    options: ServerOptions,
    accept: Option<AcceptOptions<'static, Arc<Config>>>,
    version: Version,
) -> (DuplexStream, mpsc::UnboundedReceiver<Result<(), Error>>) {
    let (near, far) = duplex(64 * 1024);
    let (ended, endings) = mpsc::unbounded_channel();
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        let (options, accept, ended) = (options.clone(), accept.clone(), ended.clone());
        async move {
            let upgraded = match accept {
                Some(accept) => upgrade_with(&mut request, &options, &accept),
                None => upgrade(&mut request, &options),
            };
            let (response, connection) = match upgraded {
                Ok(accepted) => accepted,
                Err(rejection) => return Ok(rejection.http_response(request.version())),
            };
            tokio::spawn(async move {
                let _ = ended.send(echo(connection).await);
            });
            Ok::<Response<Full<Bytes>>, Infallible>(response)
        }
    });
    let near = TokioIo::new(near);
    if version == Version::HTTP_2 {
        let mut http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        tokio::spawn(http2.enable_connect_protocol().serve_connection(near, service));
    } else {
        let http1 = hyper::server::conn::http1::Builder::new();
        tokio::spawn(http1.serve_connection(near, service).with_upgrades());
    }
    (far, endings)
}

async fn echo(connection: sansocket::tokio::Upgrade) -> Result<(), Error> {
    let mut socket = connection.await?;
    while let Some(message) = socket.recv().await? {
        socket.send(message).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_client_over_http_1_is_upgraded_with_the_subprotocol_agreed_upon() {
    let (far, mut endings) = serve(ServerOptions::new().protocols(["b", "a"]), Version::HTTP_11);
    let offers = ClientOptions::new().protocols(["a", "b"]);
    let mut client = WebSocket::connect(far, "ws://example.com/", &offers).await.unwrap();
    assert_eq!(client.protocol(), Some("b"));
    client.send("hello").await.unwrap();
    assert_eq!(client.recv().await.unwrap(), Some("hello".into()));
    assert!(client.close(CloseCode::NORMAL, "").await.is_clean());
    assert!(endings.recv().await.unwrap().is_ok());
}

#[tokio::test]
async fn a_connection_can_be_tracked_before_its_response_is_sent() {
    let tracker = Tracker::new();
    let (near, far) = duplex(64 * 1024);
    let closing = tracker.clone();
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        let closing = closing.clone();
        async move {
            let (response, mut connection) = upgrade(&mut request, &ServerOptions::new()).unwrap();
            connection.track(&closing);
            assert_eq!(closing.len(), 1);
            closing.close_all(CloseCode::GOING_AWAY, "the server stops");
            tokio::spawn(echo(connection));
            Ok::<Response<Full<Bytes>>, Infallible>(response)
        }
    });
    let http1 = hyper::server::conn::http1::Builder::new();
    tokio::spawn(http1.serve_connection(TokioIo::new(near), service).with_upgrades());
    let mut client = WebSocket::connect(far, "ws://example.com/", &ClientOptions::new()).await.unwrap();
    assert_eq!(client.recv().await.unwrap(), None);
    assert_eq!(client.close_reason(), "the server stops");
    assert_eq!(tracker.wait(Duration::from_secs(10)).await, 0);
}

/// The answer to an offer is in the response, over HTTP/1 as over HTTP/2, and messages are compressed as agreed.
#[cfg(feature = "deflate")]
#[tokio::test]
async fn compression_is_agreed_upon_only_if_both_sides_ask_for_it() {
    use sansocket::deflate::{DeflateOptions, Pool};

    let pool = Arc::new(Pool::new(DeflateOptions::new()).unwrap());
    for (server, client) in [(true, true), (true, false), (false, true)] {
        let options = ServerOptions::new();
        let options = if server { options.deflate(Arc::clone(&pool)) } else { options };
        let (far, mut endings) = serve(options, Version::HTTP_11);
        let offers = ClientOptions::new();
        let offers = if client { offers.deflate(DeflateOptions::new()) } else { offers };
        let mut socket = WebSocket::connect(far, "ws://example.com/", &offers).await.unwrap();
        assert_eq!(socket.is_compressed(), server && client);
        let text = "again ".repeat(1000);
        socket.send(text.clone()).await.unwrap();
        assert_eq!(socket.recv().await.unwrap(), Some(text.into()));
        assert!(socket.close(CloseCode::NORMAL, "").await.is_clean());
        assert!(endings.recv().await.unwrap().is_ok());
    }
    // A request with a pool of its own, on a server that does not compress.
    let options = ServerOptions::new();
    let accept = AcceptOptions::new().deflate(pool.with_options(DeflateOptions::new().context(true)));
    let (far, _endings) = serve_with(options, Some(accept), Version::HTTP_11);
    let offers = ClientOptions::new().deflate(DeflateOptions::new().context(true));
    let mut socket = WebSocket::connect(far, "ws://example.com/", &offers).await.unwrap();
    assert!(socket.is_compressed());
    socket.send("again").await.unwrap();
    assert_eq!(socket.recv().await.unwrap(), Some("again".into()));

    let (far, _endings) = serve(ServerOptions::new().deflate(pool), Version::HTTP_2);
    let request = Request::connect("http://example.com/")
        .extension(Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13")
        .header("sec-websocket-extensions", "other, permessage-deflate; client_max_window_bits");
    let response = connect(far, request).await;
    let answer = response.headers()["sec-websocket-extensions"].to_str().unwrap();
    assert!(answer.starts_with("permessage-deflate"), "{answer}");
}

#[tokio::test]
async fn frames_that_come_with_the_request_are_not_lost() {
    let (mut far, _endings) = serve(ServerOptions::new(), Version::HTTP_11);
    let head = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\n\
         Sec-WebSocket-Version: 13\r\n\r\n"
    );
    let hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    far.write_all(&[head.as_bytes(), hello].concat()).await.unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"\x81\x05Hello") {
        assert_ne!(far.read_buf(&mut read).await.unwrap(), 0);
    }
    let head = String::from_utf8_lossy(&read).to_lowercase();
    assert!(head.starts_with("http/1.1 101 ") && head.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
}

/// Sends an extended CONNECT; returns the response.
async fn connect(far: DuplexStream, request: http::request::Builder) -> Response<Incoming> {
    let (mut http2, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(far)).await.unwrap();
    tokio::spawn(connection);
    // The server's settings allow the extended CONNECT.
    tokio::time::sleep(Duration::from_millis(10)).await;
    http2.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_client_over_http_2_is_upgraded_by_an_extended_connect() {
    let (far, mut endings) = serve(ServerOptions::new().protocols(["chat"]), Version::HTTP_2);
    let request = Request::connect("http://example.com/chat?room=1")
        .extension(Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "soap, chat")
        .header("origin", "http://example.com");
    let mut response = connect(far, request).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
    assert!(!response.headers().contains_key("sec-websocket-accept"));
    let stream = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    let role = Client::new(SystemKeys::new().unwrap());
    let mut client =
        WebSocket::after_upgrade(stream, &[], role, Some("chat"), Config::new(), BufferSizes::default());
    client.send("x".repeat(100_000)).await.unwrap();
    assert_eq!(client.recv().await.unwrap(), Some("x".repeat(100_000).into()));
    assert!(client.close(CloseCode::NORMAL, "").await.is_clean());
    assert!(endings.recv().await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_over_http_2_has_the_right_status_and_no_upgrade() {
    let to = "http://example.com/";
    let websocket = || Request::connect(to).extension(Protocol::from_static("websocket"));
    let v13 = "sec-websocket-version";
    for (request, status, body) in [
        (Request::get(to), 405, "the method is not CONNECT"),
        (
            Request::connect(to).extension(Protocol::from_static("other")).header(v13, "13"),
            501,
            "no upgrade to this protocol",
        ),
        (websocket(), 400, "Sec-WebSocket-Version is missing"),
        (websocket().header(v13, "8"), 400, "the version of the WebSocket is not 13"),
        (
            websocket().header(v13, "13").header("origin", "http://other.example"),
            403,
            "the origin is not allowed",
        ),
        (websocket().header(v13, "13").header("host", "other.example"), 400, "Host came twice"),
    ] {
        let (far, _) = serve(ServerOptions::new(), Version::HTTP_2);
        let response = connect(far, request).await;
        assert_eq!(response.status(), status, "{body}");
        assert!(!response.headers().contains_key("upgrade"));
        match status {
            405 => assert_eq!(response.headers()["allow"], "CONNECT"),
            400 if body.contains("not 13") => assert_eq!(response.headers()[v13], "13"),
            _ => {}
        }
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), body);
    }
}

/// A correct upgrade.
fn good() -> Vec<(&'static str, &'static str)> {
    vec![
        ("Host", "example.com"),
        ("Upgrade", "websocket"),
        ("Connection", "keep-alive, Upgrade"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "13"),
    ]
}

/// What is made of a head, and of the same head as hyper has parsed it.
fn decide(
    method: &str,
    minor: u8,
    fields: &[(&str, &str)],
    accept: &AcceptOptions<'_>,
) -> Result<u16, Rejection> {
    let version = if minor == 1 { Version::HTTP_11 } else { Version::HTTP_10 };
    let mut request = Request::builder().method(method).uri("/chat?a=b").version(version);
    let mut head = format!("{method} /chat?a=b HTTP/1.{minor}\r\n");
    for (name, value) in fields {
        request = request.header(*name, *value);
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    let request = request.body(()).unwrap();
    let respond = |request: Result<handshake::Request<'_>, Rejection>| {
        accept.http_response::<()>(&request?, &Config::DEFAULT).map(|response| response.status().as_u16())
    };
    let parsed = respond(handshake::Request::from_http(&request, None, &Config::DEFAULT));
    let text = respond(handshake::Request::parse(head.as_bytes(), &Config::DEFAULT));
    assert_eq!(parsed, text, "{head}");
    parsed
}

#[test]
fn a_request_that_hyper_has_parsed_is_checked_as_the_same_head_in_bytes() {
    let any: AcceptOptions<'_> = AcceptOptions::new();
    assert_eq!(decide("GET", 1, &good(), &any), Ok(101));
    assert_eq!(decide("POST", 1, &good(), &any), Err(Rejection::MethodNotAllowed));
    assert_eq!(decide("GET", 0, &good(), &any), Err(BadRequest::HttpVersion.into()));
    let required: AcceptOptions<'_> = AcceptOptions::new().protocols(&["chat"]).require_protocol();
    assert_eq!(decide("GET", 1, &good(), &required), Err(BadRequest::Protocol.into()));
    for (at, reason) in [
        (0, BadRequest::Host.into()),
        (1, Rejection::UpgradeRequired),
        (2, BadRequest::Connection.into()),
        (3, BadRequest::Key.into()),
        (4, BadRequest::Version.into()),
    ] {
        let mut fields = good();
        fields.remove(at);
        assert_eq!(decide("GET", 1, &fields, &any), Err(reason));
    }
    for (field, outcome) in [
        (("Sec-WebSocket-Key", KEY), Err(BadRequest::KeyTwice.into())),
        (("Sec-WebSocket-Version", "13"), Err(BadRequest::VersionTwice.into())),
        (("Host", "example.com"), Err(BadRequest::HostTwice.into())),
        (("Content-Length", "1"), Err(BadRequest::Body.into())),
        (("Transfer-Encoding", "chunked"), Err(BadRequest::Body.into())),
        (("Content-Length", "0"), Ok(101)),
        (("Origin", "http://example.com"), Ok(101)),
        (("Origin", "http://other.example"), Err(Rejection::Forbidden)),
    ] {
        let fields = [&good()[..], &[field]].concat();
        assert_eq!(decide("GET", 1, &fields, &any), outcome);
    }
    for (at, value, outcome) in [
        (1, "h2c, WebSocket", Ok(101)),
        (2, "notupgrade", Err(BadRequest::Connection.into())),
        (3, "short", Err(BadRequest::Key.into())),
        (4, "8", Err(Rejection::UpgradeRequired)),
        (0, "a b", Err(BadRequest::Host.into())),
    ] {
        let mut fields = good();
        fields[at].1 = value;
        assert_eq!(decide("GET", 1, &fields, &any), outcome);
    }
    let many = vec![("X", "y"); 200];
    assert_eq!(decide("GET", 1, &many, &any), Err(Rejection::TooManyFields));
}

#[test]
fn the_fields_of_a_map_are_read_as_those_of_a_head() {
    let mut map = http::HeaderMap::new();
    for (name, value) in [("accept", "a, b"), ("x", "1"), ("accept", ",c ,"), ("y", "2")] {
        map.append(http::HeaderName::from_static(name), http::HeaderValue::from_static(value));
    }
    let headers = Headers::from(&map);
    assert_eq!(headers.list("Accept").collect::<Vec<_>>(), [&b"a"[..], b"b", b"c"]);
    assert_eq!(headers.get("X"), Some(&b"1"[..]));
    assert!(headers.has_token("accept", "C") && headers.get("z").is_none());
    for taken in 0..=4 {
        let mut fields = headers.iter();
        assert_eq!(fields.by_ref().take(taken).count(), taken);
        assert_eq!(fields.clone().collect::<Vec<_>>(), fields.collect::<Vec<_>>());
    }
}

#[test]
fn a_response_has_further_fields_but_none_of_the_librarys_own() {
    let fields = [("X-Node", "3")];
    let accept: AcceptOptions<'_> = AcceptOptions::new().headers(&fields);
    let request =
        good().into_iter().fold(Request::get("/"), |request, (name, value)| request.header(name, value));
    let request = request.body(()).unwrap();
    let request = handshake::Request::from_http(&request, None, &Config::DEFAULT).unwrap();
    let response: Response<()> = accept.http_response(&request, &Config::DEFAULT).unwrap();
    assert_eq!(response.headers()["x-node"], "3");
    assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    for field in [("connection", "close"), ("bad name", "x"), ("x", "a\nb")] {
        let fields = [field];
        let accept: AcceptOptions<'_> = AcceptOptions::new().headers(&fields);
        assert_eq!(accept.http_response::<()>(&request, &Config::DEFAULT).unwrap_err(), Rejection::Internal);
    }
    assert!(OriginPolicy::SameHost.allows(&request));
}

#[tokio::test]
async fn an_http_server_without_upgrades_is_501() {
    let request =
        good().into_iter().fold(Request::get("/"), |request, (name, value)| request.header(name, value));
    let mut request = request.method(Method::GET).body(()).unwrap();
    let refused = upgrade::<_, ()>(&mut request, &ServerOptions::new()).unwrap_err();
    assert_eq!((refused, refused.status()), (Rejection::NotImplemented, 501));
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_ends_without_a_connection_if_no_101_is_sent() {
    for stops in [true, false] {
        let (mut far, near) = duplex(4096);
        let (outcome, mut outcomes) = mpsc::unbounded_channel();
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            let outcome = outcome.clone();
            async move {
                let (_, connection) = upgrade::<_, ()>(&mut request, &ServerOptions::new()).unwrap();
                tokio::spawn(async move { outcome.send(connection.await.map(drop)) });
                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
            }
        });
        let http1 = hyper::server::conn::http1::Builder::new();
        let server = tokio::spawn(http1.serve_connection(TokioIo::new(near), service).with_upgrades());
        let fields =
            good().iter().fold(String::new(), |head, (name, value)| head + &format!("{name}: {value}\r\n"));
        far.write_all(format!("GET / HTTP/1.1\r\n{fields}\r\n").as_bytes()).await.unwrap();
        assert_ne!(far.read(&mut [0; 64]).await.unwrap(), 0); // a response without an upgrade
        if stops {
            server.abort();
        }
        let error = outcomes.recv().await.unwrap().unwrap_err();
        assert_eq!((error.is_timeout(), error.is_disconnect()), (!stops, stops), "{error}");
    }
}
