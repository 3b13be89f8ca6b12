//! Routes on a hub, over real TCP: the lines of `docs/parity.md` about routes and about what a session knows. What the
//! handshake itself does at every split is in `parity.rs`.
#![cfg(all(feature = "mio", unix))]

mod hub_server;
mod routes_server;
mod session_driver;
mod wire;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread;

use hub_server::{PATIENCE, wait_for};
use routes_server::{RoutesServer, config};
use sansocket::config::ControlFrames;
use sansocket::error::EndReason;
use sansocket::handshake::{AcceptOptions, Decision, OriginPolicy, Request, Response};
use sansocket::hub::driver::{HubSocket, SocketFailed};
use sansocket::hub::{Capacity, HubSettings, MioTcpSocket, Routes, SessionInfo};
use sansocket::message::Prepared;
use sansocket::{Chunk, CloseCode, Ending, Event, Handler, HandlerError, Kind, Outbox};
use session_driver::{RFC_KEY, frame, masked, request, upgrade};
use tungstenite::Message as Theirs;

/// Answers each message with what it was made with.
struct Says(String);

impl Handler for Says {
    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        if let Event::Data(Chunk { end: true, .. }) = event {
            out.send(&self.0)?;
        }
        Ok(())
    }
}

fn says(
    text: &str,
) -> impl FnMut(&mut SessionInfo, &Request<'_>) -> Result<Says, Response<'static>> + Send + use<> {
    let text = text.to_owned();
    move |_, _| Ok(Says(text.clone()))
}

fn page(text: &str) -> impl FnMut(&SessionInfo, &Request<'_>) -> Response<'static> + Send + use<> {
    let text = text.to_owned();
    move |_, _| Response::text(200, text.clone())
}

fn plain(method: &str, path: &str) -> Vec<u8> {
    request(method, path, &["Host: a"])
}

#[test]
fn an_unknown_path_is_404_and_a_wrong_method_405() {
    let served = RoutesServer::new(HubSettings::default(), |_| {
        Routes::new()
            .websocket("/ws", says("ws"))
            .get("/page", page("page"))
            .post("/page", 10, |_, _, body| Response::new(200, "text/plain", body.to_vec()))
            .http("PUT", "/file", 10, |_, _, _| Response::text(200, "put"))
            // Two on one path: the upgrade goes to the WebSocket, whichever was there first.
            .get("/both", page("both"))
            .websocket("/both", says("both"))
    });
    for (method, path, status, allow, body) in [
        ("GET", "/ws", 426, None, None),
        ("POST", "/ws", 405, Some("GET"), None),
        ("HEAD", "/ws", 405, Some("GET"), Some("")),
        ("OPTIONS", "/ws", 405, Some("GET"), None),
        ("get", "/ws", 405, Some("GET"), None),
        ("GET", "/page", 200, None, Some("page")),
        ("HEAD", "/page", 200, None, Some("")),
        ("POST", "/page", 200, None, Some("")),
        ("DELETE", "/page", 405, Some("GET, HEAD, POST"), None),
        ("GET", "/file", 405, Some("PUT"), None),
        ("PUT", "/file", 200, None, Some("put")),
        ("GET", "/both", 200, None, Some("both")),
        ("POST", "/both", 405, Some("GET, HEAD"), None),
        ("GET", "/", 404, None, Some("not found\n")),
        ("GET", "/ws/", 404, None, None),
        ("GET", "/Ws", 404, None, None),
        ("POST", "/nowhere", 404, None, None),
    ] {
        let answer = served.ask(plain(method, path));
        assert_eq!((answer.status, answer.field("Allow")), (status, allow), "{method} {path}: {answer:?}");
        answer.check_closing(method != "HEAD");
        if let Some(body) = body {
            assert_eq!(String::from_utf8_lossy(&answer.body), body, "{method} {path}");
        }
    }
    for (method, path, status) in [
        ("GET", "/ws", 101),
        ("GET", "/both", 101),
        ("GET", "/page", 200),
        ("GET", "/nowhere", 404),
        ("PUT", "/ws", 405),
    ] {
        let asked = String::from_utf8(upgrade(path, &[])).unwrap().replacen("GET", method, 1);
        let mut peer = served.dial();
        peer.write(asked);
        assert_eq!(peer.head().status, status, "{method} {path}");
        if status == 101 {
            assert_eq!(peer.say("?"), &path[1..]);
            peer.close();
        }
    }
    served.rest();
    let refused = served.inside(|control| control.counters()).refused;
    assert_eq!((refused.responded, refused.not_found, refused.upgrade), (6, 13, 1), "{refused:?}");
    served.finish();
}

/// Says which subprotocol was agreed upon.
struct Agreed(&'static [&'static str]);

impl Handler for Agreed {
    fn request<'s>(&'s mut self, _: &Request<'_>) -> Decision<'s> {
        Decision::Accept(AcceptOptions::new().protocols(self.0))
    }

    fn opened(&mut self, protocol: Option<&str>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        Ok(out.send(&format!("{protocol:?}"))?)
    }

    fn event(&mut self, _: Event<'_>, _: &mut Outbox<'_>) -> Result<(), HandlerError> {
        Ok(())
    }
}

#[test]
fn each_route_has_its_subprotocols() {
    let served = RoutesServer::new(HubSettings::default(), |_| {
        let chat = AcceptOptions::new().protocols(&["echo", "chat"]);
        Routes::new()
            .websocket_with("/chat", chat.clone(), |_, _| Ok(Agreed(&["never asked"])))
            .websocket_with("/must", chat.require_protocol(), |_, _| Ok(Agreed(&[])))
            .websocket("/own", |_, _| Ok(Agreed(&["mqtt"])))
            .websocket("/none", |_, _| Ok(Agreed(&[])))
    });
    // ESP-IDF truncates the list near 49 characters.
    let long = format!("Sec-WebSocket-Protocol: {}mqtt, chat, echo", "a-long-name, ".repeat(20));
    for (path, lines, agreed) in [
        ("/chat", vec!["Sec-WebSocket-Protocol: chat, echo"], Some("echo")),
        ("/chat", vec!["Sec-WebSocket-Protocol: chat"], Some("chat")),
        ("/chat", vec!["Sec-WebSocket-Protocol: mqtt", "Sec-WebSocket-Protocol: chat"], Some("chat")),
        ("/chat", vec!["Sec-WebSocket-Protocol: mqtt, Echo, never asked"], None),
        ("/chat", vec![&long], Some("echo")),
        ("/chat", vec![], None),
        ("/must", vec![&long], Some("echo")),
        ("/own", vec![&long], Some("mqtt")),
        ("/none", vec![&long], None),
    ] {
        let mut peer = served.dial();
        peer.write(upgrade(path, &lines));
        let answer = peer.head();
        assert_eq!(
            (answer.status, answer.field("Sec-WebSocket-Protocol")),
            (101, agreed),
            "{path} {lines:?}"
        );
        assert_eq!(peer.frame(), frame(true, 1, format!("{:?}", agreed)));
        peer.close();
    }
    for lines in [&[][..], &["Sec-WebSocket-Protocol: mqtt"]] {
        assert_eq!(served.ask(upgrade("/must", lines)).status, 400);
    }
    served.finish();
}

#[test]
fn lists_of_separators_alone_are_refused() {
    let served = RoutesServer::new(HubSettings::default(), |_| {
        let accept = AcceptOptions::new().protocols(&["", ","]);
        Routes::new().websocket_with("/ws", accept, says("still here"))
    });
    for list in ["", ",", ", ,", ",,,,,,", " , \t,", ";", "\"\",\"", "=", ",=;,"] {
        let lines = ["Protocol", "Extensions"].map(|name| format!("Sec-WebSocket-{name}: {list}"));
        let mut peer = served.dial();
        peer.write(upgrade("/ws", &[&lines[0], &lines[1], &lines[0]]));
        let answer = peer.head();
        assert_eq!((answer.status, answer.field("Sec-WebSocket-Protocol")), (101, None), "{list:?}");
        assert_eq!(peer.say("?"), "still here");
        peer.close();
    }
    served.finish();
}

#[test]
fn the_hook_before_the_handshake_sees_the_request_and_the_peer_and_may_respond() {
    let (tx, seen) = mpsc::channel();
    let served = RoutesServer::new(HubSettings::default(), |_| {
        Routes::new().websocket("/auth/*", move |session, request| {
            let header = request.header("authorization").map(str::to_owned);
            let raw = request.headers().get("X-Raw").map(<[u8]>::to_vec);
            let path = (request.path().to_owned(), request.query().to_owned());
            tx.send((session.peer(), path, header, raw, request.headers().iter().count())).unwrap();
            match request.query_value("token") {
                Some("valid") => Ok(Says("welcome".into())),
                Some("large") => Err(Response::new(403, "text/html", "no ".repeat(100_000))),
                _ => {
                    Err(Response::json(401, r#"{"error":"token"}"#).with_header("WWW-Authenticate", "Bearer"))
                }
            }
        })
    });
    for (token, status) in [("wrong", 401), ("valid", 101), ("large", 403)] {
        let query = format!("a=1&token={token}&b");
        let mut peer = served.dial();
        let from = peer.stream.local_addr().unwrap();
        peer.write(upgrade(&format!("/auth/x?{query}"), &["Authorization: Basic eDp5", "X-Raw: \u{e9}"]));
        let answer = peer.head();
        assert_eq!(answer.status, status);
        match status {
            101 => {
                assert_eq!(peer.say("?"), "welcome");
                peer.close();
            }
            401 => {
                assert_eq!(answer.line, "HTTP/1.1 401 Unauthorized");
                assert_eq!(answer.field("Content-Type"), Some("application/json"));
                assert_eq!(answer.field("WWW-Authenticate"), Some("Bearer"));
                assert_eq!(answer.field("Connection"), Some("close"));
                assert_eq!(peer.rest(), br#"{"error":"token"}"#);
            }
            _ => assert!(peer.rest() == "no ".repeat(100_000).as_bytes()),
        }
        let (peer, path, header, raw, count) = seen.recv_timeout(PATIENCE).unwrap();
        assert_eq!(peer, from);
        assert_eq!(path, ("/auth/x".to_owned(), query));
        assert_eq!(header.as_deref(), Some("Basic eDp5"));
        assert_eq!(raw.as_deref(), Some("\u{e9}".as_bytes()));
        assert_eq!(count, 7);
    }
    // It is asked for upgrades only.
    assert_eq!(served.ask(plain("GET", "/auth/x")).status, 426);
    assert!(seen.try_recv().is_err());
    served.finish();
}

#[test]
fn a_hook_that_panics_ends_its_session_only() {
    let served = RoutesServer::new(HubSettings::default(), |_| {
        Routes::new()
            .websocket("/ws", |_, request| match request.query() {
                "panic" => panic!("as the test wants"),
                _ => Ok(Says("alive".into())),
            })
            .post("/post", 10, |_, _, _| panic!("as the test wants"))
    });
    let mut other = served.open("/ws", &[]);
    for asked in [upgrade("/ws?panic", &[]), request("POST", "/post", &["Host: a", "Content-Length: 0"])] {
        let mut peer = served.dial();
        peer.write(asked);
        peer.drain(|| {});
        assert_eq!(other.say("?"), "alive");
    }
    other.close();
    assert_eq!(served.inside(|control| control.counters().panicked), 2);
    served.finish();
}

/// Sends hello, and goodbye if the test says so.
struct Greets(&'static str);

impl Handler for Greets {
    fn opened(&mut self, _: Option<&str>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        out.send("hello")?;
        match self.0 {
            "close" => Ok(out.close(Some(CloseCode::new(4000).unwrap()), "goodbye")?),
            "halt" => Err(HandlerError::Close(CloseCode::POLICY_VIOLATION, "not you")),
            _ => Ok(()),
        }
    }

    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        if let Event::Data(data) = event { out.forward(&data) } else { Ok(()) }
    }
}

#[test]
fn the_hook_after_the_handshake_may_send_and_close() {
    let served = RoutesServer::new(HubSettings::default(), |_| {
        let mut routes = Routes::new();
        for (path, does) in [("/stay", "stay"), ("/close", "close"), ("/halt", "halt")] {
            routes = routes.websocket(path, move |_, _| Ok(Greets(does)));
        }
        routes
    });
    for (path, close) in [("/close", &b"\x0f\xa0goodbye"[..]), ("/halt", b"\x03\xf0not you")] {
        let mut peer = served.open(path, &[]);
        assert_eq!((peer.frame(), peer.frame()), (frame(true, 1, "hello"), frame(true, 8, close)));
        peer.write(masked(0x88, &close[..2]));
        assert_eq!(peer.rest(), b"");
    }
    // Hello comes first, also where the peer does not wait for it.
    let mut peer = served.dial();
    peer.write([&upgrade("/stay", &[])[..], &masked(0x81, b"early")].concat());
    assert_eq!(peer.head().status, 101);
    assert_eq!((peer.frame(), peer.frame()), (frame(true, 1, "hello"), frame(true, 1, "early")));
    peer.close();
    served.finish();
}

#[test]
fn duplicates_are_refused_and_lists_are_joined() {
    let served = RoutesServer::new(HubSettings::default(), |_| {
        let accept = AcceptOptions::new().origin(OriginPolicy::Any).protocols(&["chat"]);
        Routes::new().websocket_with("/ws", accept, says("one")).get("/page", page("one"))
    });
    let key = format!("Sec-WebSocket-Key: {RFC_KEY}");
    let first = "Origin: http://server.example.com";
    for twice in [&*key, "Sec-WebSocket-Version: 13", "Host: server.example.com", first] {
        let answer = served.ask(upgrade("/ws", &[first, twice]));
        assert_eq!(answer.status, 400, "{twice}");
        assert!(String::from_utf8_lossy(&answer.body).contains("twice"), "{answer:?}");
    }
    assert_eq!(served.ask(request("GET", "/page", &["Host: a", "Host: a"])).status, 400);
    let lists =
        ["Upgrade: h2c", "Connection: close", "Sec-WebSocket-Protocol: x", "Sec-WebSocket-Protocol: chat"];
    let mut peer = served.open("/ws", &lists);
    assert_eq!(peer.say("?"), "one");
    peer.close();
    served.finish();
}

#[test]
fn unsafe_methods_are_for_the_same_host_unless_a_route_allows_others() {
    let asked = Arc::new(AtomicUsize::new(0));
    let served = RoutesServer::new(HubSettings::default(), |_| {
        let mut routes = Routes::new();
        for (path, origin) in [
            ("/default", None),
            ("/any", Some(OriginPolicy::Any)),
            ("/list", Some(OriginPolicy::List(&["https://a.example"]))),
            ("/same", Some(OriginPolicy::SameHost)),
        ] {
            for method in ["GET", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"] {
                let count = asked.clone();
                routes = routes.http(method, path, 10, move |_, _, _| {
                    count.fetch_add(1, Ordering::Relaxed);
                    Response::text(200, "")
                });
                if let Some(origin) = &origin {
                    routes = routes.origin(origin.clone());
                }
            }
        }
        let handed = asked.clone();
        routes
            .hand_over("/other", move |_, _| assert!(handed.fetch_add(1, Ordering::Relaxed) > 0))
            .websocket_with("/ws", AcceptOptions::new(), says("ws"))
            .origin(OriginPolicy::List(&["https://a.example"]))
    });
    let (none, same, known, foreign) = (
        None,
        Some("Origin: http://server.example.com"),
        Some("Origin: https://a.example"),
        Some("Origin: https://evil.example"),
    );
    let opaque = Some("Origin: null");
    let mut taken = 0;
    let mut refused = 0;
    for (path, safe, unsafe_) in [
        ("/default", [200, 200, 200, 200, 200], [200, 200, 403, 403, 403]),
        ("/any", [200, 200, 200, 200, 200], [200, 200, 200, 200, 200]),
        ("/list", [200, 403, 200, 403, 403], [200, 403, 200, 403, 403]),
        ("/same", [200, 200, 403, 403, 403], [200, 200, 403, 403, 403]),
    ] {
        for (origin, at) in [none, same, known, foreign, opaque].into_iter().zip(0..) {
            let head = ["Host: server.example.com"].into_iter().chain(origin).collect::<Vec<_>>();
            for method in ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"] {
                let right = if matches!(method, "GET" | "HEAD" | "OPTIONS") { safe[at] } else { unsafe_[at] };
                let answer = served.ask(request(method, path, &head));
                assert_eq!(answer.status, right, "{method} {path} {origin:?}");
                if right == 200 { taken += 1 } else { refused += 1 }
            }
        }
    }
    assert_eq!(asked.load(Ordering::Relaxed), taken, "who is refused reaches no closure");
    // What is somebody else's is checked by nobody here.
    let mut peer = served.dial();
    peer.write(request("POST", "/other", &["Host: a", "Origin: https://evil.example"]));
    assert_eq!(peer.rest(), b"");
    assert_eq!(asked.load(Ordering::Relaxed), taken + 1);
    // Refused before the body is there.
    let head = ["Host: a", "Origin: https://evil.example", "Content-Length: 5", "Expect: 100-continue"];
    assert_eq!(served.ask(request("POST", "/default", &head)).status, 403);
    assert_eq!(served.ask(upgrade("/ws", &["Origin: http://server.example.com"])).status, 403);
    served.open("/ws", &["Origin: https://a.example"]).close();
    served.rest();
    assert_eq!(served.inside(|control| control.counters()).refused.origin, refused + 2);
    served.finish();
}

#[test]
fn each_route_has_its_origins() {
    let domain = String::from(".example");
    let served = RoutesServer::new(HubSettings::default(), |_| {
        let mut routes = Routes::new();
        for (path, origin) in [
            ("/same", OriginPolicy::SameHost),
            ("/list", OriginPolicy::List(&["https://a.example", "http://b.example:8080"])),
            ("/check", OriginPolicy::Check(&|origin| origin.ends_with(".example"))),
            ("/owned-list", OriginPolicy::from_list(vec!["https://a.example", "http://b.example:8080"])),
            ("/owned-check", OriginPolicy::from_fn(move |origin| origin.ends_with(&domain))),
            ("/any", OriginPolicy::Any),
        ] {
            routes = routes.websocket_with(path, AcceptOptions::new().origin(origin), says(path));
        }
        routes.websocket("/default", says("/default"))
    });
    for (line, [same, list, check]) in [
        (None, [101, 101, 101]),
        (Some("Origin: http://server.example.com"), [101, 403, 403]),
        (Some("Origin: https://a.example"), [403, 101, 101]),
        (Some("Origin: http://a.example"), [403, 403, 101]),
        (Some("Origin: http://b.example:8080"), [403, 101, 403]),
        (Some("Origin: null"), [403, 403, 403]),
    ] {
        let lines: Vec<_> = line.into_iter().collect();
        for (path, status) in [
            ("/same", same),
            ("/list", list),
            ("/check", check),
            ("/owned-list", list),
            ("/owned-check", check),
            ("/any", 101),
            ("/default", same),
        ] {
            let mut peer = served.dial();
            peer.write(upgrade(path, &lines));
            assert_eq!(peer.head().status, status, "{path} {line:?}");
            if status == 101 {
                assert_eq!(peer.say("?"), path);
                peer.close();
            }
        }
    }
    served.finish();
}

#[test]
fn a_request_from_another_origin_does_not_reach_the_hook() {
    let (tx, asked) = mpsc::channel();
    let served = RoutesServer::new(HubSettings::default(), |_| {
        Routes::new().websocket_with("/ws", AcceptOptions::new(), move |_, _| {
            tx.send(()).unwrap();
            Ok(Says("welcome".into()))
        })
    });
    assert_eq!(served.ask(upgrade("/ws", &["Origin: https://a.example"])).status, 403);
    assert_eq!(asked.try_iter().count(), 0);
    let mut peer = served.open("/ws", &["Origin: http://server.example.com"]);
    assert_eq!(asked.try_iter().count(), 1);
    assert_eq!(peer.say("?"), "welcome");
    peer.close();
    assert_eq!(served.inside(|control| control.counters()).refused.origin, 1);
    served.finish();
}

#[test]
fn a_plain_get_on_a_websocket_route_is_426() {
    let served = RoutesServer::new(HubSettings::default(), |_| {
        Routes::new()
            // Whatever takes the rest.
            .get("/*", page("rest"))
            .hand_over("*", |_, _| panic!("nothing is left for this"))
            .websocket("/ws", says("ws"))
    });
    for line in ["User-Agent: curl", "Connection: keep-alive", "Connection: Upgrade"] {
        let answer = served.ask(request("GET", "/ws", &["Host: a", line]));
        assert_eq!(answer.line, "HTTP/1.1 426 Upgrade Required");
        assert_eq!(answer.field("Upgrade"), Some("websocket"));
        assert_eq!(answer.field("Connection"), Some("Upgrade, close"));
        assert_eq!(answer.field("Sec-WebSocket-Version"), Some("13"));
        answer.check_closing(true);
    }
    assert_eq!(served.ask(plain("GET", "/other")).body, b"rest");
    served.finish();
}

#[test]
fn the_most_specific_pattern_counts_in_any_order() {
    // The marks are those of ESP-IDF's httpd_uri_match_wildcard.
    let patterns = [
        "*",
        "/*",
        "/api",
        "/api/",
        "/api/?",
        "/api/?*",
        "/api/*",
        "/api/v1/*",
        "/api/v1/x",
        "/img*",
        "/no?",
        "/nö?",
    ];
    let paths = [
        ("/", "/*"),
        ("/x", "/*"),
        ("/ap", "/*"),
        ("/apis", "/*"),
        ("/api", "/api"),
        ("/api/", "/api/"),
        ("/api/x", "/api/*"),
        ("/api/v1", "/api/*"),
        ("/api/v1/", "/api/v1/*"),
        ("/api/v1/x", "/api/v1/x"),
        ("/api/v1/xy", "/api/v1/*"),
        ("/img", "/img*"),
        ("/img/a/b.png", "/img*"),
        ("/no", "/no?"),
        ("/nö", "/nö?"),
        ("/noo", "/*"),
        ("/?/api", "/*"),
        ("/api?/x", "/api"),
        ("/API", "/*"),
        ("http://a/api", "/api"),
        ("*", "*"),
    ];
    for turn in 0..patterns.len() {
        let served = RoutesServer::new(HubSettings::default(), |_| {
            let mut routes = Routes::new();
            for at in 0..patterns.len() {
                let pattern = patterns[(at + turn) % patterns.len()];
                routes = routes.get(pattern, page(pattern));
            }
            routes
        });
        for (path, pattern) in paths {
            let answer = served.ask(plain("GET", path));
            assert_eq!(String::from_utf8_lossy(&answer.body), pattern, "{path}");
        }
        served.finish();
    }
}

#[test]
fn wildcards_at_the_end_of_a_pattern_match() {
    for (pattern, matches, others) in [
        ("/a/?", &["/a", "/a/"][..], &["/", "/ab", "/a/b", "/a//"][..]),
        ("/a/?*", &["/a", "/a/", "/a/b", "/a//"], &["/", "/ab"]),
        ("/a/*?", &["/a", "/a/", "/a/b", "/a//"], &["/", "/ab"]),
        ("/ab?", &["/a", "/ab"], &["/", "/abb", "/ac"]),
        ("/a*", &["/a", "/ab", "/a/b"], &["/", "/b"]),
        ("/a/*", &["/a/", "/a/b"], &["/a", "/ab"]),
        // Only at the end.
        ("/*/a", &["/*/a"], &["/b/a", "/a"]),
        ("", &[], &["/", "/a"]),
        ("?", &[], &["/", "/a"]),
        ("*", &["/", "/a"], &[]),
    ] {
        let served =
            RoutesServer::new(HubSettings::default(), |_| Routes::new().websocket(pattern, says("here")));
        for (paths, status) in [(matches, 426), (others, 404)] {
            for path in paths {
                assert_eq!(served.ask(plain("GET", path)).status, status, "{pattern} {path}");
            }
        }
        served.finish();
    }
}

#[test]
fn of_equal_patterns_the_first_counts() {
    let served = RoutesServer::new(HubSettings::default(), |_| {
        Routes::new().get("/a*", page("first")).get("/a*", page("second"))
    });
    assert_eq!(served.ask(plain("GET", "/ab")).body, b"first");
    served.routes(|routes| {
        // Removes both.
        assert!(routes.remove("/a*") && !routes.remove("/a*"));
        let mut added = Routes::new().get("/a*", page("second"));
        added.merge(Routes::new().get("/a*", page("third")));
        routes.merge(added);
    });
    assert_eq!(served.ask(plain("GET", "/ab")).body, b"second");
    served.finish();
}

#[test]
fn http_and_websockets_and_other_protocols_share_a_port() {
    let served = RoutesServer::new(HubSettings::default(), |_| {
        Routes::new()
            .websocket("/ws", says("ws"))
            .get("/", |_, request| {
                let agent = request.header("User-Agent").unwrap_or_default();
                Response::text(200, format!("{} {agent}", request.query()))
            })
            .hand_over("*", |session, request| {
                let (socket, received) = request.into_stream::<MioTcpSocket>().unwrap();
                let mut stream = TcpStream::from(socket.into_stream().unwrap());
                assert_eq!(stream.peer_addr().unwrap(), session.peer());
                stream.set_nonblocking(false).unwrap();
                thread::spawn(move || {
                    stream.write_all(&received).unwrap();
                    let mut rest = Vec::new();
                    stream.read_to_end(&mut rest).unwrap();
                    stream.write_all(&rest).unwrap();
                });
            })
    });
    let mut open = served.open("/ws", &[]);
    let answer = served.ask(request("GET", "/?a=b", &["Host: a", "User-Agent: me"]));
    assert_eq!(String::from_utf8_lossy(&answer.body), "a=b me");
    // Byte for byte, however odd, whatever the method, with what came behind the head and what comes later.
    for head in [
        request("POST", "/legacy?x", &["Host: a", "Content-Length: 11", "X-Odd:  spaces \t"]),
        request("GET", "/legacy", &["Host: a", "Transfer-Encoding: chunked"]),
        request("PATCH", "/other", &["Host: a"]),
        upgrade("/not-ours", &[]),
    ] {
        let mut peer = served.dial();
        let later = vec![b'x'; 200_000];
        peer.write([&head[..], b"hello world"].concat());
        let stream = peer.stream.try_clone().unwrap();
        let mut seen = vec![0; head.len()];
        (&stream).read_exact(&mut seen).unwrap();
        assert_eq!(seen.escape_ascii().to_string(), head.escape_ascii().to_string());
        peer.write(&later);
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(peer.rest() == [b"hello world", &later[..]].concat());
    }
    assert_eq!(open.say("?"), "ws");
    open.close();
    assert_eq!(served.inside(|control| control.counters().refused.handed_over), 4);
    served.finish();
}

/// Knows where it was asked for, what its route is for, and what all share.
struct Session {
    path: String,
    query: String,
    route: &'static str,
    hub: Arc<AtomicUsize>,
    messages: usize,
    told: Sender<String>,
}

impl Session {
    fn data(&self) -> String {
        let Self { path, query, route, messages, hub, .. } = self;
        format!("{path} {query} {route} {messages} {}", hub.load(Ordering::Relaxed))
    }
}

impl Handler for Session {
    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let Event::Data(data) = event else { return Ok(()) };
        self.told.send(format!("{} {} {} {}", self.path, self.query, data.offset, data.remaining)).unwrap();
        if data.end {
            self.messages += 1;
            self.hub.fetch_add(1, Ordering::Relaxed);
            out.send(&self.data())?;
        }
        Ok(())
    }

    fn closed(&mut self, cause: &Ending, reason: &str) {
        self.told.send(format!("{} {:?} {reason}", self.data(), cause.reason)).unwrap();
    }
}

#[test]
fn path_query_and_data_are_known_to_the_end() {
    let (tx, told) = mpsc::channel();
    let mut settings = HubSettings::default();
    (settings.receive_buffer, settings.transmit_buffer) = (1024, 1024);
    let served = RoutesServer::new(settings, |_| {
        let mut routes = Routes::new();
        let hub = Arc::new(AtomicUsize::new(0));
        for (pattern, route) in [("/a/*", "A"), ("/b/*", "B")] {
            let (hub, told) = (hub.clone(), tx.clone());
            routes = routes.websocket(pattern, move |_, request| {
                let (path, query) = (request.path().into(), request.query().into());
                Ok(Session { path, query, route, hub: hub.clone(), messages: 0, told: told.clone() })
            });
        }
        routes
    });
    let mut peers = ["/a/1?x=1", "/a/2", "/b/1?y"].map(|path| served.open(path, &[]));
    assert_eq!(peers[0].say("?"), "/a/1 x=1 A 1 1");
    assert_eq!(peers[1].say("?"), "/a/2  A 1 2");
    assert_eq!(peers[2].say("?"), "/b/1 y B 1 3");
    assert_eq!(peers[0].say("?"), "/a/1 x=1 A 2 4");
    assert_eq!(told.try_iter().count(), 4);
    // In every piece of a frame that is larger than the buffers.
    assert_eq!(peers[2].say(&"long".repeat(10_000)), "/b/1 y B 2 5");
    let pieces: Vec<_> = told.try_iter().collect();
    assert!(pieces.len() >= 40 && pieces.iter().all(|piece| piece.starts_with("/b/1 y ")), "{pieces:?}");
    // And when it ends, be it well or not.
    let [mut first, second, third] = peers;
    first.write(masked(0x88, b"\x03\xe8bye"));
    drop(first);
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "/a/1 x=1 A 2 5 Clean bye");
    drop(second);
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "/a/2  A 1 5 Disconnected ");
    third.close();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "/b/1 y B 2 5 Clean ");
    served.finish();
    assert_eq!(told.try_iter().count(), 0);
}

#[test]
fn opened_may_refuse_and_closed_is_called() {
    let welcome = Arc::new(AtomicBool::new(false));
    let ends = Arc::new(Mutex::new(Vec::new()));
    let served = RoutesServer::new(HubSettings::default(), |_| {
        let (welcome, ends) = (welcome.clone(), ends.clone());
        Routes::new()
            .on_accept(move |session| session.peer().ip().is_loopback() && welcome.load(Ordering::SeqCst))
            .on_end(move |session, outcome| ends.lock().unwrap().push((session.peer(), outcome.is_some())))
            .websocket("/ws", says("ws"))
            .get("/", page("page"))
            .post("/panic", 0, |_, _, _| panic!("as the test wants"))
    });
    // Not a byte for one that is not welcome, and no session.
    let mut peer = served.dial();
    assert_eq!(peer.drain(|| {}), 0);
    assert!(ends.lock().unwrap().is_empty());
    welcome.store(true, Ordering::SeqCst);
    let mut peers = Vec::new();
    for asked in [upgrade("/ws", &[]), plain("GET", "/"), plain("POST", "/panic")] {
        let mut peer = served.dial();
        peers.push(peer.stream.local_addr().unwrap());
        peer.write(asked);
        if peers.len() == 1 {
            assert_eq!(peer.head().status, 101);
            peer.write(masked(0x88, &1000_u16.to_be_bytes()));
        }
        peer.drain(|| {});
        drop(peer);
        wait_for("the end", || ends.lock().unwrap().len() == peers.len());
    }
    let expected: Vec<_> = peers.into_iter().zip([true, true, false]).collect();
    assert_eq!(*ends.lock().unwrap(), expected);
    let counters = served.inside(|control| control.counters());
    assert_eq!((counters.accepted, counters.opened, counters.ended), (4, 1, 4));
    served.finish();
}

#[test]
fn at_capacity_every_route_is_503() {
    let mut settings = HubSettings::default();
    settings.max_sessions = 2;
    settings.capacity = Capacity::Refuse(4);
    let served = RoutesServer::new(settings, |_| {
        Routes::new()
            .websocket("/ws", says("ws"))
            .get("/", page("page"))
            .hand_over("*", |_, _| panic!("nothing is handed over at capacity"))
    });
    let mut peers = [served.open("/ws", &[]), served.open("/ws", &[])];
    for asked in [upgrade("/ws", &[]), plain("GET", "/"), plain("GET", "/nowhere"), plain("PUT", "/ws")] {
        let answer = served.ask(asked);
        assert_eq!((answer.status, answer.field("Retry-After")), (503, Some("1")));
        answer.check_closing(true);
    }
    for peer in &mut peers {
        assert_eq!(peer.say("?"), "ws");
    }
    let [first, second] = peers;
    first.close();
    wait_for("a place", || served.handle.sessions().len() == 1);
    assert_eq!(served.ask(plain("GET", "/")).body, b"page");
    second.close();
    assert_eq!(served.inside(|control| control.counters().refused.unavailable), 4);
    served.finish();
}

#[test]
fn at_capacity_the_session_that_was_silent_for_longest_is_evicted() {
    let mut settings = HubSettings::default();
    settings.max_sessions = 2;
    settings.capacity = Capacity::Evict;
    let served =
        RoutesServer::new(settings, |_| Routes::new().websocket("/ws", says("ws")).get("/", page("page")));
    let mut silent = served.open("/ws", &[]);
    let mut busy = served.open("/ws", &[]);
    assert_eq!((silent.say("?"), busy.say("?")), ("ws".into(), "ws".into()));
    assert_eq!(served.ask(plain("GET", "/")).body, b"page");
    assert_eq!(silent.frame(), frame(true, 8, 1013_u16.to_be_bytes()));
    silent.write(masked(0x88, &1013_u16.to_be_bytes()));
    assert_eq!(silent.rest(), b"");
    drop(silent);
    assert_eq!(busy.say("?"), "ws");
    busy.close();
    served.finish();
}

#[test]
fn routes_change_while_connections_live_on() {
    let served = RoutesServer::new(HubSettings::default(), |handle| {
        let handle = handle.clone();
        // From a hook as well: it takes effect behind it.
        Routes::new().post("/add", 100, move |_, _, body| {
            let path = String::from_utf8(body.into()).unwrap();
            let added = handle.call(move |hub| {
                hub.application::<Routes>().unwrap().merge(Routes::new().websocket(&path, says(&path)));
            });
            Response::text(200, if added.is_ok() { "added" } else { "full" })
        })
    });
    assert_eq!(served.ask(upgrade("/late", &[])).status, 404);
    let asked = request("POST", "/add", &["Host: a", "Content-Length: 5"]);
    assert_eq!(served.ask([&asked[..], b"/late"].concat()).body, b"added");
    let mut late = served.open("/late", &[]);
    assert_eq!(late.say("?"), "/late");
    served.routes(|routes| routes.merge(Routes::new().get("/*", page("rest"))));
    assert_eq!(served.ask(plain("GET", "/x")).body, b"rest");
    assert_eq!(
        served.routes(|routes| [routes.remove("/late"), routes.remove("/late"), routes.remove("/other")]),
        [true, false, false]
    );
    assert_eq!(served.ask(plain("GET", "/late")).body, b"rest");
    assert_eq!(late.say("?"), "/late", "it lives on");
    served.routes(|routes| routes.merge(Routes::new().websocket("/late", says("again"))));
    let mut again = served.open("/late", &[]);
    assert_eq!((again.say("?"), late.say("?")), ("again".into(), "/late".into()));
    again.close();
    late.close();
    // A body that is still on its way when its route goes.
    let mut slow = served.dial();
    let before = served.inside(|hub| hub.counters().received);
    slow.write(&asked);
    let all = before + asked.len() as u64;
    wait_for("the request", || served.inside(|hub| hub.counters().received) == all);
    assert!(served.routes(|routes| routes.remove("/add")));
    slow.write("/none");
    assert_eq!(slow.whole().status, 404);
    drop(slow);
    served.finish();
}

#[test]
fn a_server_stops_and_starts_again() {
    let mut address = "127.0.0.1:0".parse().unwrap();
    for round in ["one", "two", "three"] {
        let served = RoutesServer::at(address, HubSettings::default(), |_| {
            Routes::new().websocket("/ws", says(round))
        });
        address = served.address;
        let mut peer = served.open("/ws", &[]);
        assert_eq!(peer.say("?"), round);
        served.handle.stop(CloseCode::GOING_AWAY).unwrap();
        assert_eq!(peer.frame(), frame(true, 8, 1001_u16.to_be_bytes()));
        peer.write(masked(0x88, &1001_u16.to_be_bytes()));
        assert_eq!(peer.rest(), b"");
    }
}

#[test]
fn a_broadcast_reaches_one_route_or_a_room() {
    let served = RoutesServer::new(HubSettings::default(), |_| {
        let tagged = |tag: u32| {
            move |session: &mut SessionInfo, _: &Request<'_>| {
                session.set_tag(tag);
                Ok(Says(tag.to_string()))
            }
        };
        let room = |session: &mut SessionInfo, request: &Request<'_>| {
            assert_eq!(session.tag(), 0, "no tag is set before");
            session.set_tag(request.query().parse().unwrap());
            Ok(Says("room".into()))
        };
        Routes::new().websocket("/a", tagged(1)).websocket("/b", tagged(2)).websocket("/room", room)
    });
    let mut peers = ["/a", "/a", "/b", "/room?77", "/room?78"].map(|path| {
        let (peer, _) = tungstenite::connect(format!("ws://{}{path}", served.address)).unwrap();
        peer
    });
    let groups = served.inside(|control| control.sessions().map(SessionInfo::tag).collect::<Vec<_>>());
    assert_eq!(groups, [1, 1, 2, 77, 78]);
    for group in [1, 2, 3, 77] {
        let message = Prepared::text(format!("for {group}"));
        served.handle.broadcast_to(message, move |session| session.tag() == group).unwrap();
    }
    served.handle.broadcast(Prepared::text("for all")).unwrap();
    for (peer, own) in peers.iter_mut().zip([Some(1), Some(1), Some(2), Some(77), None]) {
        if let Some(group) = own {
            assert_eq!(peer.read().unwrap(), Theirs::text(format!("for {group}")));
        }
        assert_eq!(peer.read().unwrap(), Theirs::text("for all"));
        peer.close(None).unwrap();
        while peer.read().is_ok() {}
    }
    drop(peers);
    served.finish();
}

/// Answers control frames itself, where they are reported.
struct Controls;

impl Handler for Controls {
    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        match event {
            Event::Data(data) => out.forward(&data)?,
            Event::Ping(_) => out.pong(b"by hand")?,
            Event::Pong(payload) => out.send(&format!("pong {}", payload.to_str().unwrap()))?,
            Event::Close(..) => out.close(CloseCode::new(4000), "by hand")?,
            other => panic!("{other:?}"),
        }
        Ok(())
    }
}

#[test]
fn a_route_may_answer_control_frames_itself() {
    let served = RoutesServer::new(HubSettings::default(), |_| {
        let config = config(|config| config.control = ControlFrames::Manual);
        let options = AcceptOptions::new().config(config);
        Routes::new()
            .websocket_with("/manual", options, |_, _| Ok(Controls))
            .websocket("/automatic", |_, _| Ok(Controls))
    });
    let sent = [masked(0x89, b"one"), masked(0x8A, b"two"), masked(0x88, b"\x03\xE8three")].concat();
    let mut peer = served.open("/automatic", &[]);
    peer.write(&sent);
    assert_eq!(
        (peer.frame(), peer.frame()),
        (frame(true, 10, "one"), frame(true, 8, 1000_u16.to_be_bytes()))
    );
    assert_eq!(peer.rest(), b"");
    drop(peer);
    let mut peer = served.open("/manual", &[]);
    peer.write(&sent);
    assert_eq!((peer.frame(), peer.frame()), (frame(true, 10, "by hand"), frame(true, 1, "pong two")));
    assert_eq!((peer.frame(), peer.rest()), (frame(true, 8, b"\x0f\xa0by hand"), vec![]));
    drop(peer);
    served.finish();
}

#[test]
fn each_route_has_its_limits() {
    let served = RoutesServer::new(HubSettings::default(), |_| {
        let config = config(|config| config.limits.message = 10);
        Routes::new()
            .websocket_with("/short", AcceptOptions::new().config(config), says("short"))
            .websocket("/long", says("long"))
    });
    let mut long = served.open("/long", &[]);
    let mut short = served.open("/short", &[]);
    assert_eq!((long.say("eleven byte"), short.say("ten bytes!")), ("long".into(), "short".into()));
    short.write(masked(0x81, b"eleven byte"));
    assert_eq!(short.frame().payload[..2], 1009_u16.to_be_bytes());
    drop(short);
    long.close();
    served.finish();
}

/// Fails as the test says.
struct Fails(Sender<EndReason>);

impl Handler for Fails {
    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let Event::Data(data) = event else { return Ok(()) };
        match data.payload.as_bytes() {
            b"halt" => Err(HandlerError::Close(CloseCode::new(4321).unwrap(), "failed")),
            // A message has begun already.
            b"misuse" => {
                out.fragment(Kind::Text, b"a", false)?;
                Ok(out.send(b"b")?)
            }
            // Nothing waits to be written.
            b"stuck" => Err(HandlerError::Blocked { consumed: 0 }),
            b"inside" => {
                out.begin_frame(Kind::Text, 100, true)?;
                Err(HandlerError::Close(CloseCode::INTERNAL_ERROR, ""))
            }
            _ => out.forward(&data),
        }
    }

    fn closed(&mut self, cause: &Ending, _: &str) {
        self.0.send(cause.reason).unwrap();
    }
}

#[test]
fn a_handler_that_fails_closes_its_connection_only() {
    let (tx, ends) = mpsc::channel();
    let served = RoutesServer::new(HubSettings::default(), |_| {
        Routes::new().websocket("/ws", move |_, _| Ok(Fails(tx.clone())))
    });
    let mut other = served.open("/ws", &[]);
    for (how, code, part) in [("halt", 4321_u16, false), ("misuse", 1011, true), ("stuck", 1011, false)] {
        let mut peer = served.open("/ws", &[]);
        peer.write(masked(0x81, how.as_bytes()));
        if part {
            assert_eq!(peer.frame(), frame(false, 1, "a"));
        }
        let close = peer.frame();
        assert_eq!((close.opcode, &close.payload[..2]), (8, &code.to_be_bytes()[..]), "{how}");
        peer.write(masked(0x88, &code.to_be_bytes()));
        assert_eq!(peer.rest(), b"");
        drop(peer);
        assert_eq!(ends.recv_timeout(PATIENCE).unwrap(), EndReason::Clean, "{how}");
        assert_eq!(other.say("alive"), "alive");
    }
    // Inside of a frame no Close can stand: the transport ends.
    let mut peer = served.open("/ws", &[]);
    peer.write(masked(0x81, b"inside"));
    peer.drain(|| {});
    drop(peer);
    assert_eq!(ends.recv_timeout(PATIENCE).unwrap(), EndReason::UnfinishedFrame);
    other.close();
    assert_eq!(ends.recv_timeout(PATIENCE).unwrap(), EndReason::Clean);
    served.finish();
}

struct Nothing;

impl HubSocket for Nothing {
    fn recv(&mut self, _: &mut [u8]) -> Result<Option<usize>, SocketFailed> {
        Ok(None)
    }

    fn send(&mut self, _: &[u8], _: &[u8]) -> Result<Option<usize>, SocketFailed> {
        Ok(None)
    }

    fn shutdown(&mut self) -> Result<(), SocketFailed> {
        Ok(())
    }
}

#[test]
fn a_hub_of_other_types_is_not_found() {
    let served = RoutesServer::new(HubSettings::default(), |_| Routes::new());
    let found = served
        .inside(|hub| (hub.hub::<MioTcpSocket, Routes>().is_some(), hub.hub::<Nothing, Routes>().is_some()));
    assert_eq!(found, (true, false));
    served.finish();
}
