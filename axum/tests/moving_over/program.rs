// A server with the whole surface of axum's ws, and clients that try it. Included below the `use` line.

use std::future::{Future, ready};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderValue, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Router, body::Body};
use futures_util::stream::{FusedStream, SplitSink, SplitStream};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use rejection::*;
use sansocket::config::ClientOptions;
use sansocket::tokio::{connect, connect_with};
use tower::ServiceExt;

type Log = Arc<Mutex<Vec<String>>>;

/// Every method of the extractor, with the types that its signature has.
async fn configured(ws: WebSocketUpgrade, State(log): State<Log>) -> Response {
    let offered: Vec<HeaderValue> = ws.requested_protocols().cloned().collect();
    let mut ws: WebSocketUpgrade = ws
        .read_buffer_size(4096)
        .write_buffer_size(4096)
        .max_write_buffer_size(1 << 20)
        .max_message_size(1 << 16)
        .max_frame_size(1 << 15)
        .protocols(["v2".to_string(), "v1".to_string()]);
    let selected = ws.selected_protocol().cloned();
    if selected.is_none() && offered.contains(&HeaderValue::from_static("v0")) {
        ws.set_selected_protocol(HeaderValue::from_static("v0"));
    }
    let ws: WebSocketUpgrade<fn(axum::Error)> = ws.on_failed_upgrade(|error: axum::Error| panic!("{error}"));
    assert!(format!("{ws:?}").contains("WebSocketUpgrade"));
    ws.on_upgrade(move |mut socket: WebSocket| async move {
        let protocol = socket.protocol().and_then(|protocol| protocol.to_str().ok()).unwrap_or("none").to_owned();
        socket.send(Message::Text(protocol.into())).await.unwrap();
        log_all(&mut socket, &log).await;
    })
}

/// Logs all that is received.
async fn log_all<S>(socket: &mut S, log: &Log)
where
    S: Stream<Item = Result<Message, axum::Error>> + FusedStream + Sink<Message, Error = axum::Error> + Unpin,
{
    while let Some(message) = socket.next().await {
        let line = match message {
            Ok(Message::Text(text)) => format!("text {text}"),
            Ok(Message::Binary(bytes)) => format!("binary {}", bytes.len()),
            Ok(Message::Ping(bytes)) => format!("ping {}", bytes.len()),
            Ok(Message::Pong(bytes)) => format!("pong {}", bytes.len()),
            Ok(Message::Close(Some(CloseFrame { code, reason }))) => format!("close {code} {reason}"),
            Ok(Message::Close(None)) => "close".to_owned(),
            Err(_) => "error".to_owned(),
        };
        log.lock().unwrap().push(line);
    }
    assert!(socket.is_terminated());
    log.lock().unwrap().push("end".to_owned());
}

/// `recv` and `send`.
async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        match message {
            Message::Text(_) | Message::Binary(_) => {
                if socket.send(message).await.is_err() {
                    break;
                }
            }
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => {}
        }
    }
}

/// Two tasks on the halves of futures.
async fn halves(socket: WebSocket) {
    let (mut sender, mut receiver): (SplitSink<WebSocket, Message>, SplitStream<WebSocket>) = socket.split();
    let (queue, mut queued) = tokio::sync::mpsc::channel::<Message>(8);
    let writing = tokio::spawn(async move {
        while let Some(message) = queued.recv().await {
            sender.feed(message).await?;
            sender.flush().await?;
        }
        sender.close().await
    });
    while let Some(Ok(Message::Text(text))) = receiver.next().await {
        if text == "enough" {
            break;
        }
        queue.send(Message::text(text.to_uppercase())).await.unwrap();
    }
    drop(queue);
    while receiver.next().await.is_some() {}
    writing.await.unwrap().unwrap();
}

/// A Close with code and reason.
async fn closing(mut socket: WebSocket) {
    let frame = CloseFrame { code: close_code::AGAIN, reason: Utf8Bytes::from_static("busy") };
    assert_eq!(frame.code, 1013);
    socket.send(Message::Close(Some(frame))).await.unwrap();
    while let Some(Ok(_)) = socket.recv().await {}
    assert!(socket.recv().await.is_none());
}

fn app(log: Log) -> Router {
    fn route<F, Fut>(run: F) -> axum::routing::MethodRouter<Log>
    where
        F: FnOnce(WebSocket) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        any(move |ws: WebSocketUpgrade| ready(ws.on_upgrade(run)))
    }
    Router::new()
        .route("/configured", get(configured))
        .route("/echo", route(echo))
        .route("/halves", route(halves))
        .route("/closing", route(closing))
        .with_state(log)
}

async fn serve(log: Log) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app(log)).await });
    address
}

#[tokio::test]
async fn every_method_of_the_extractor_and_of_the_stream_works() {
    for (offers, agreed) in [(&["v1", "v2"][..], "v2"), (&["v0", "v1"], "v1"), (&["v0"], "v0"), (&[], "none")] {
        let log = Log::default();
        let address = serve(log.clone()).await;
        let options = ClientOptions::new().protocols(offers.iter().copied());
        let mut client = connect_with(&format!("ws://{address}/configured"), &options).await.unwrap();
        assert_eq!(client.recv().await.unwrap(), Some(agreed.into()));
        assert_eq!(client.protocol(), Some(agreed).filter(|_| !offers.is_empty()));
        client.send("hello").await.unwrap();
        client.send(vec![0; 300]).await.unwrap();
        client.ping(b"12").await.unwrap();
        client.pong(b"3").await.unwrap();
        let ending = client.close(sansocket::CloseCode::new(4000).unwrap(), "bye").await;
        assert!(ending.is_clean());
        while log.lock().unwrap().last().map(String::as_str) != Some("end") {
            tokio::task::yield_now().await;
        }
        assert_eq!(*log.lock().unwrap(), ["text hello", "binary 300", "ping 2", "pong 1", "close 4000 bye", "end"]);
    }
}

#[tokio::test]
async fn text_binary_and_the_close_are_echoed() {
    let address = serve(Log::default()).await;
    let mut client = connect(&format!("ws://{address}/echo")).await.unwrap();
    for message in ["", "hello", &"x".repeat(100_000)] {
        client.send(message).await.unwrap();
        assert_eq!(client.recv().await.unwrap(), Some(message.into()));
    }
    client.send(vec![1, 2, 3]).await.unwrap();
    assert_eq!(client.recv().await.unwrap(), Some(vec![1, 2, 3].into()));
    let ending = client.close(sansocket::CloseCode::GOING_AWAY, "").await;
    assert_eq!((ending.is_clean(), ending.code()), (true, 1001));
}

#[tokio::test]
async fn the_halves_of_futures_work_in_two_tasks() {
    let address = serve(Log::default()).await;
    let mut client = connect(&format!("ws://{address}/halves")).await.unwrap();
    for word in ["one", "two"] {
        client.send(word).await.unwrap();
        assert_eq!(client.recv().await.unwrap(), Some(word.to_uppercase().into()));
    }
    client.send("enough").await.unwrap();
    while client.recv().await.unwrap().is_some() {}
    assert!(client.ending().unwrap().is_clean());
}

#[tokio::test]
async fn a_close_has_code_and_reason() {
    let address = serve(Log::default()).await;
    let mut client = connect(&format!("ws://{address}/closing")).await.unwrap();
    while client.recv().await.unwrap().is_some() {}
    assert_eq!((client.ending().unwrap().code(), client.close_reason()), (1013, "busy"));
}

/// What is missing, or wrong, in a request.
fn request(change: impl FnOnce(&mut Request<Body>)) -> Request<Body> {
    let mut request = Request::get("/")
        .header("host", "example.com")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-key", "6D69KGBOr4Re+Nj6zx9aQA==")
        .header("sec-websocket-version", "13")
        .body(Body::empty())
        .unwrap();
    change(&mut request);
    request
}

#[tokio::test]
async fn each_rejection_has_its_variant() {
    async fn refuse(request: Request<Body>) -> WebSocketUpgradeRejection {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        let handler = any(move |ws: Result<WebSocketUpgrade, WebSocketUpgradeRejection>| {
            let sender = sender.clone();
            async move { sender.send(ws.unwrap_err()).await.unwrap() }
        });
        handler.oneshot(request).await.unwrap();
        receiver.recv().await.unwrap()
    }
    let post = request(|request| *request.method_mut() = axum::http::Method::POST);
    let rejection = refuse(post).await;
    assert!(matches!(&rejection, WebSocketUpgradeRejection::MethodNotGet(_)));
    assert_eq!((rejection.status(), rejection.into_response().status()), (StatusCode::METHOD_NOT_ALLOWED, StatusCode::METHOD_NOT_ALLOWED));
    let without = |name: &'static str| request(|request| drop(request.headers_mut().remove(name)));
    assert!(matches!(refuse(without("connection")).await, WebSocketUpgradeRejection::InvalidConnectionHeader(_)));
    assert!(matches!(refuse(without("upgrade")).await, WebSocketUpgradeRejection::InvalidUpgradeHeader(_)));
    assert!(matches!(
        refuse(without("sec-websocket-version")).await,
        WebSocketUpgradeRejection::InvalidWebSocketVersionHeader(_)
    ));
    assert!(matches!(
        refuse(without("sec-websocket-key")).await,
        WebSocketUpgradeRejection::WebSocketKeyHeaderMissing(_)
    ));
    assert!(matches!(refuse(request(|_| {})).await, WebSocketUpgradeRejection::ConnectionNotUpgradable(_)));
    let http_2 = |method: axum::http::Method| {
        request(|request| {
            *request.version_mut() = axum::http::Version::HTTP_2;
            *request.method_mut() = method;
        })
    };
    let get = refuse(http_2(axum::http::Method::GET)).await;
    assert!(matches!(get, WebSocketUpgradeRejection::MethodNotConnect(_)));
    assert!(!get.body_text().is_empty());
    let connect = refuse(http_2(axum::http::Method::CONNECT)).await;
    assert!(matches!(connect, WebSocketUpgradeRejection::InvalidProtocolPseudoheader(_)));
    assert_eq!(MethodNotGet::default().to_string(), MethodNotGet::default().body_text());
}

#[test]
fn messages_and_texts_convert() {
    let text: Message = "foo".into();
    assert_eq!(text, Message::text(String::from("foo")));
    assert_eq!(text.to_text().unwrap(), "foo");
    assert_eq!(text.clone().into_text().unwrap(), "foo");
    assert_eq!(Vec::from(text), b"foo");
    let binary = Message::from(&b"\xFF"[..]);
    assert_eq!(binary, Message::binary(vec![0xFF]));
    assert!(binary.to_text().is_err() && binary.clone().into_text().is_err());
    assert_eq!(binary.into_data(), axum::body::Bytes::from_static(b"\xFF"));
    assert_eq!(Message::Close(None).into_text().unwrap(), "");
    let code: CloseCode = 4000;
    let close = Message::Close(Some(CloseFrame { code, reason: "bye".into() }));
    assert_eq!(close.to_text().unwrap(), "bye");
    const TEXT: Utf8Bytes = Utf8Bytes::from_static("foo");
    assert_eq!(TEXT.as_str().len(), TEXT.len());
    assert_eq!(TEXT, String::from("foo"));
    assert_eq!(Utf8Bytes::try_from(vec![b'f', b'o', b'o']).unwrap(), TEXT);
    assert!(Utf8Bytes::try_from(axum::body::Bytes::from_static(b"\xFF")).is_err());
    assert_eq!(axum::body::Bytes::from(TEXT), "foo");
    let codes = [
        close_code::NORMAL, close_code::AWAY, close_code::PROTOCOL, close_code::UNSUPPORTED, close_code::STATUS,
        close_code::ABNORMAL, close_code::INVALID, close_code::POLICY, close_code::SIZE, close_code::EXTENSION,
        close_code::ERROR, close_code::RESTART, close_code::AGAIN,
    ];
    assert_eq!(codes, [1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013]);
}

#[allow(dead_code, reason = "these have to compile")]
fn the_types_are_nameable(upgrade: WebSocketUpgrade<DefaultOnFailedUpgrade>) -> Response {
    struct Report;
    impl OnFailedUpgrade for Report2 {
        fn call(self, _: axum::Error) {}
    }
    struct Report2(Report);
    fn is_send<T: Send + 'static>() {}
    is_send::<WebSocket>();
    is_send::<Message>();
    upgrade.on_failed_upgrade(Report2(Report)).on_upgrade(|_| async {})
}
