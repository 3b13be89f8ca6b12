//! What axum's ws does not have: origins, deadlines, tasks of one's own, tests without TCP; and HTTP/2.

mod http2;

use std::future::{IntoFuture, ready};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode, Version, header};
use axum::response::Response;
use axum::routing::any;
use axum::{Error, Router};
use futures_util::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use hyper::body::Bytes;
use sansocket::config::ServerOptions;
use sansocket::error::EndReason;
use sansocket::handshake::{OriginPolicy, Rejection};
use sansocket::proto::SystemKeys;
use sansocket::tokio::Tracker;
use sansocket::{Client, CloseCode, Config, Kind};
use sansocket_axum::rejection::WebSocketUpgradeRejection;
use sansocket_axum::{CloseFrame, InvalidCloseCode, Message, WebSocket, WebSocketUpgrade, test_request};
use tokio::io::DuplexStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};
use tower::ServiceExt;

type Peer = sansocket::tokio::WebSocket<DuplexStream, Client<SystemKeys>>;

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if matches!(message, Message::Text(_) | Message::Binary(_)) && socket.send(message).await.is_err() {
            return;
        }
    }
}

/// Sends an upgrade with these fields to a handler. Returns the response, and the client's end.
async fn call<F>(handler: F, fields: &[(&str, &str)]) -> (Response, Peer)
where
    F: Fn(WebSocketUpgrade) -> Response + Clone + Send + Sync + 'static,
{
    let app: Router = Router::new().route("/ws", any(move |ws: WebSocketUpgrade| ready(handler(ws))));
    let (request, client) = test_request("http://example.com/ws").await.unwrap();
    let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    (app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap(), client)
}

async fn text(response: Response) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().into()).unwrap()
}

#[tokio::test]
async fn a_test_without_tcp_gets_the_response_and_talks_to_the_handler() {
    let (response, mut client) = call(|ws| ws.on_upgrade(echo), &[]).await;
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers()[header::SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    for message in ["hello", &"x".repeat(300_000)] {
        client.send(message).await.unwrap();
        assert_eq!(client.recv().await.unwrap(), Some(message.into()));
    }
    assert!(client.close(CloseCode::NORMAL, "").await.is_clean());
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused_unless_it_is_allowed() {
    const OTHER: (&str, &str) = ("origin", "https://other.example");
    let (response, _) = call(|ws| ws.on_upgrade(|_| async { unreachable!() }), &[OTHER]).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(text(response).await, "the origin is not allowed");

    let (response, _) = call(|ws| ws.on_upgrade(echo), &[("origin", "https://example.com")]).await;
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let allowed: [fn(WebSocketUpgrade) -> WebSocketUpgrade; 4] = [
        |ws| ws.origins(["https://app.example", "https://other.example"]),
        |ws| ws.any_origin(),
        |ws| ws.origin_policy(OriginPolicy::from_fn(|origin| origin.ends_with(".example"))),
        |ws| ws.options(ServerOptions::new().origin(OriginPolicy::Any)),
    ];
    for allow in allowed {
        let (response, _) = call(move |ws| allow(ws).on_upgrade(echo), &[OTHER]).await;
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    }
    let (response, _) = call(|ws| ws.origins(["https://app.example"]).on_upgrade(echo), &[OTHER]).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn what_axum_does_not_check_is_refused() {
    let refused = [
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Key came twice"),
        ("sec-websocket-version", "13", "Sec-WebSocket-Version came twice"),
        ("content-length", "5", "an upgrade has no body"),
        ("origin", "null", "the origin is not allowed"),
    ];
    for (name, value, reason) in refused {
        let (response, _) = call(|ws| ws.on_upgrade(echo), &[(name, value)]).await;
        assert!(response.status().is_client_error());
        assert_eq!(text(response).await, reason);
    }
    let app: Router = Router::new().route("/", any(|ws: WebSocketUpgrade| ready(ws.on_upgrade(echo))));
    for (name, value, status) in [
        ("sec-websocket-key", "short", 400),
        ("sec-websocket-version", "8", 426),
        ("connection", "notupgrade", 400),
    ] {
        let (request, _) = test_request("http://example.com/").await.unwrap();
        let mut request = request.body(Body::empty()).unwrap();
        request.headers_mut().insert(name, HeaderValue::from_static(value));
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{name}");
        assert_eq!(response.headers().contains_key("sec-websocket-version"), status == 426);
    }
}

#[tokio::test]
async fn a_subprotocol_that_the_client_has_not_offered_is_not_agreed_upon() {
    async fn reply(mut socket: WebSocket) {
        let agreed = format!("{:?}", socket.protocol());
        socket.send(agreed.into()).await.unwrap();
    }
    let handler = |mut ws: WebSocketUpgrade| {
        ws.set_selected_protocol(HeaderValue::from_static("other"));
        ws.on_upgrade(reply)
    };
    let (response, mut client) = call(handler, &[("sec-websocket-protocol", "chat")]).await;
    assert!(!response.headers().contains_key(header::SEC_WEBSOCKET_PROTOCOL));
    assert_eq!(client.recv().await.unwrap(), Some("None".into()));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_owes_its_peer_1011() {
    let whole: fn(WebSocketUpgrade) -> Response = |ws| {
        ws.on_upgrade(|mut socket| async move {
            socket.recv().await;
            panic!("the task of the test");
        })
    };
    let halves: fn(WebSocketUpgrade) -> Response = |ws| {
        ws.on_upgrade(|socket| async move {
            let (_sender, mut receiver) = socket.split();
            receiver.next().await;
            panic!("the task of the test");
        })
    };
    for handler in [whole, halves] {
        let (_, mut client) = call(handler, &[]).await;
        client.send("x").await.unwrap();
        while client.recv().await.unwrap().is_some() {}
        assert_eq!(client.ending().unwrap().received, Some(CloseCode::INTERNAL_ERROR));
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_disconnects_as_in_axum() {
    let (_, mut client) = call(|ws| ws.on_upgrade(|_| async {}), &[]).await;
    let error = client.recv().await.unwrap_err();
    assert!(error.is_disconnect(), "{error}");
}

#[tokio::test]
async fn the_parts_run_wherever_the_program_wants() {
    let (report, mut reports) = mpsc::unbounded_channel();
    let handler = move |ws: WebSocketUpgrade| {
        let report = report.clone();
        let (response, upgrading) = ws.protocols(["chat"]).into_parts().unwrap();
        tokio::spawn(async move {
            let mut socket = upgrading.await.unwrap();
            let ending = socket.get_mut().close(CloseCode::TRY_AGAIN_LATER, "full").await;
            report.send((socket.protocol().cloned(), ending)).unwrap();
        });
        response
    };
    let (_, mut client) = call(handler, &[("sec-websocket-protocol", "soap, chat")]).await;
    while client.recv().await.unwrap().is_some() {}
    assert_eq!(client.close_reason(), "full");
    let (protocol, ending) = reports.recv().await.unwrap();
    assert_eq!((protocol, ending.is_clean()), (Some(HeaderValue::from_static("chat")), true));

    let refused = |ws: WebSocketUpgrade| match ws.into_parts() {
        Err(rejection @ WebSocketUpgradeRejection::InvalidRequest(_))
            if rejection.reason() == Rejection::Forbidden =>
        {
            Response::new(Body::from("refused"))
        }
        other => panic!("{other:?}"),
    };
    let (response, _) = call(refused, &[("origin", "https://other.example")]).await;
    assert_eq!(text(response).await, "refused");
}

/// How a server's connection ends whose client is silent, perhaps inside a message, and after how many seconds.
async fn silence(configure: fn(WebSocketUpgrade) -> WebSocketUpgrade, inside: bool) -> (EndReason, u64) {
    let (report, mut reports) = mpsc::unbounded_channel();
    let handler = move |ws: WebSocketUpgrade| {
        let report = report.clone();
        configure(ws).on_upgrade(|mut socket| async move {
            let start = Instant::now();
            while let Some(message) = socket.recv().await {
                if let Err(error) = message {
                    let error = error.into_inner().downcast::<sansocket::Error>().unwrap();
                    report.send((error.ending().unwrap().reason, start.elapsed().as_secs())).unwrap();
                }
            }
            assert!(socket.recv().await.is_none());
        })
    };
    let (_, mut client) = call(handler, &[]).await;
    if inside {
        client.writer().fragment(Kind::Text, b"the beginning", false).await.unwrap();
        client.flush().await.unwrap();
    }
    // The client is not polled: it answers nothing.
    reports.recv().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_deadline_ends_the_wait_for_a_silent_peer() {
    use sansocket::error::Timeout;
    const S: fn(u64) -> Duration = Duration::from_secs;
    for (configure, inside, timeout, seconds) in [
        ((|ws| ws) as fn(WebSocketUpgrade) -> WebSocketUpgrade, false, Timeout::Pong, 50),
        (|ws| ws.keep_alive(S(5), S(3)), false, Timeout::Pong, 8),
        (|ws| ws.keep_alive(None, None).idle_timeout(S(7)), false, Timeout::Idle, 7),
        (|ws| ws.keep_alive(None, None).message_timeout(S(9)), true, Timeout::Message, 9),
    ] {
        let (reason, after) = silence(configure, inside).await;
        assert_eq!(reason, EndReason::Timeout(timeout));
        assert!((seconds..=seconds + 11).contains(&after), "{timeout:?} {after}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_ends_a_send_within_the_write_deadline() {
    let (report, mut reports) = mpsc::unbounded_channel();
    let handler = move |ws: WebSocketUpgrade| {
        let report = report.clone();
        ws.write_timeout(Duration::from_secs(4)).close_timeout(Duration::from_secs(1)).on_upgrade(
            |mut socket| async move {
                let error = socket.send(Message::binary(vec![0; 1 << 20])).await.unwrap_err();
                report.send(error.into_inner().downcast::<sansocket::Error>().unwrap()).unwrap();
            },
        )
    };
    let (_, _client) = call(handler, &[]).await;
    let error = timeout(Duration::from_secs(20), reports.recv()).await.unwrap().unwrap();
    assert!(error.is_timeout(), "{error}");
}

#[tokio::test]
async fn limits_close_with_1009() {
    for limit in [
        |ws: WebSocketUpgrade| ws.max_message_size(10).on_upgrade(echo),
        |ws: WebSocketUpgrade| ws.max_frame_size(10).on_upgrade(echo),
        |ws: WebSocketUpgrade| {
            ws.options(ServerOptions::new().config(Config::new().max_message_len(10))).on_upgrade(echo)
        },
    ] {
        let (_, mut client) = call(limit, &[]).await;
        client.send("0123456789").await.unwrap();
        assert_eq!(client.recv().await.unwrap(), Some("0123456789".into()));
        client.send("0123456789a").await.unwrap();
        while client.recv().await.unwrap().is_some() {}
        assert_eq!(client.ending().unwrap().received, Some(CloseCode::MESSAGE_TOO_BIG));
    }
}

#[tokio::test]
async fn small_buffers_echo_long_messages() {
    let handler = |ws: WebSocketUpgrade| {
        ws.read_buffer_size(0).write_buffer_size(0).max_write_buffer_size(1).on_upgrade(echo)
    };
    let (_, mut client) = call(handler, &[]).await;
    let long = "y".repeat(70_000);
    client.send(&*long).await.unwrap();
    assert_eq!(client.recv().await.unwrap(), Some(long.into()));
}

#[tokio::test]
async fn the_code_of_a_close_that_must_not_be_sent_is_an_error() {
    let (report, mut reports) = mpsc::unbounded_channel();
    let handler = move |ws: WebSocketUpgrade| {
        let report = report.clone();
        ws.on_upgrade(|mut socket| async move {
            let close = |code| Message::Close(Some(CloseFrame { code, reason: "".into() }));
            for code in [1006, 1015, 999, 5000] {
                let error = socket.send(close(code)).await.unwrap_err().into_inner();
                assert_eq!(error.downcast_ref(), Some(&InvalidCloseCode(code)));
            }
            socket.send(close(1005)).await.unwrap();
            assert!(socket.send("late".into()).await.is_err());
            report.send(()).unwrap();
            while socket.recv().await.is_some() {}
        })
    };
    let (_, mut client) = call(handler, &[]).await;
    while client.recv().await.unwrap().is_some() {}
    let ending = client.ending().unwrap();
    assert_eq!((ending.is_clean(), ending.received), (true, None));
    reports.recv().await.unwrap();
}

#[tokio::test]
async fn a_failed_upgrade_is_reported() {
    let (report, mut reports) = mpsc::unbounded_channel();
    let (request, _client) = test_request("http://example.com/").await.unwrap();
    let mut request = request.body(Body::empty()).unwrap();
    // An upgrade whose connection has ended.
    let upgrade = hyper::upgrade::on(Request::new(()));
    request.extensions_mut().insert(upgrade);
    let app: Router = Router::new().route(
        "/",
        any(move |ws: WebSocketUpgrade| {
            let report = report.clone();
            let failed = move |error: Error| report.send(error.to_string()).unwrap();
            ready(ws.on_failed_upgrade(failed).on_upgrade(|_| async { unreachable!() }))
        }),
    );
    app.oneshot(request).await.unwrap();
    assert!(reports.recv().await.unwrap().contains("upgrade"));
}

/// An axum server over HTTP/1 and HTTP/2, whose handler says over what it was reached.
async fn serve() -> std::net::SocketAddr {
    async fn handler(version: Version, ws: WebSocketUpgrade) -> Response {
        ws.protocols(["chat"]).on_upgrade(move |mut socket| async move {
            socket.send(format!("{version:?}").into()).await.unwrap();
            echo(socket).await;
        })
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/ws", any(handler));
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

#[tokio::test]
async fn an_extended_connect_of_http_2_is_accepted() {
    let mut http2 = http2::connect(serve().await).await;
    assert_eq!(http2::extended_connect(&mut http2, "https://other.example").await.status(), 403);
    let mut response = http2::extended_connect(&mut http2, "http://app.example:80").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
    let mut client = http2::upgraded(&mut response).await;
    assert_eq!(client.recv().await.unwrap(), Some("HTTP/2.0".into()));
    let long = "z".repeat(200_000);
    client.send(&*long).await.unwrap();
    assert_eq!(client.recv().await.unwrap(), Some(long.into()));
    assert!(client.close(CloseCode::NORMAL, "").await.is_clean());
}

#[tokio::test]
async fn a_tracker_ends_the_graceful_shutdown_of_http_1_and_2() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tracker, stop) = (Tracker::new(), Arc::new(Notify::new()));
    let (tracked, stopped) = (tracker.clone(), Arc::clone(&stop));
    let handler = async move |ws: WebSocketUpgrade| ws.track(&tracked).on_upgrade(echo);
    let server = axum::serve(listener, Router::new().route("/ws", any(handler)));
    let serving = server.with_graceful_shutdown(async move { stopped.notified().await }).into_future();
    let clients = async {
        let mut http1 = sansocket::tokio::connect(&format!("ws://{address}/ws")).await.unwrap();
        let mut http2 = http2::connect(address).await;
        let mut response = http2::extended_connect(&mut http2, "http://app.example").await;
        let mut http2 = http2::upgraded(&mut response).await;
        stop.notify_one();
        // The server closes none by itself.
        assert!(timeout(Duration::from_millis(100), http1.recv()).await.is_err());
        assert!(timeout(Duration::from_millis(100), http2.recv()).await.is_err());
        assert_eq!(tracker.len(), 2);
        tracker.close_all(CloseCode::GOING_AWAY, "the server stops");
        for ended in [http1.recv().await, http2.recv().await] {
            assert_eq!(ended.unwrap(), None);
        }
        (http1.close_reason().to_owned(), http2.close_reason().to_owned())
    };
    let both = async { tokio::join!(serving, clients) };
    let (served, reasons) = timeout(Duration::from_secs(10), both).await.unwrap();
    served.unwrap();
    assert_eq!(reasons, ("the server stops".into(), "the server stops".into()));
    assert_eq!(tracker.wait(Duration::from_secs(10)).await, 0);
}

#[tokio::test]
async fn tokio_tungstenite_talks_to_the_server() {
    use tokio_tungstenite::tungstenite::Message as Theirs;
    use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;

    let url = format!("ws://{}/ws", serve().await).parse().unwrap();
    let request = ClientRequestBuilder::new(url).with_sub_protocol("chat");
    let (mut client, response) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
    assert_eq!(client.next().await.unwrap().unwrap(), Theirs::text("HTTP/1.1"));
    for message in [Theirs::text(""), Theirs::binary(vec![7; 300_000])] {
        client.send(message.clone()).await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), message);
    }
    client.send(Theirs::Ping(Bytes::from_static(b"ping"))).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), Theirs::Pong(Bytes::from_static(b"ping")));
    client.close(None).await.unwrap();
    while let Some(message) = client.next().await {
        assert!(matches!(message.unwrap(), Theirs::Close(_)));
    }
}
