//! The opening handshake as ESP-IDF's WebSocket server does it, and as it should: the request in the log of its example, and
//! the lines of `docs/parity.md` about the handshake.

#[path = "../examples/echo/handler.rs"]
mod handler;
mod session_driver;
mod wire;

use core::fmt::Arguments;
use std::time::Duration;

use handler::Echo;
use sansocket::Config;
use sansocket::handshake::{AcceptOptions, Decision, OriginPolicy, Request, Response, accept_key};
use sansocket::session::{Outcome, ServiceUnavailable};
use session_driver::*;

/// The request in the log of ESP-IDF's example; its key is not 16 bytes in base64.
const GOLDEN: &[u8] =
    b"GET /ws HTTP/1.1\r\nHost: 192.168.4.2\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: gfhjgfhjfj\r\nSec-WebSocket-Protocol: echo\r\nSec-WebSocket-Version: 13\r\n\r\n";

const GOLDEN_101: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: Jg/fQVRsgwdDzYeG8yNBHRajUxw=\r\nSec-WebSocket-Protocol: echo\r\n\r\n";

/// Sizes of the head, receive and transmit buffers.
const SIZES: [(usize, usize, usize); 4] =
    [(1024, 140, 140), (8192, 16384, 16384), (1024, 140, 16384), (200, 16384, 140)];

fn lenient() -> Config {
    let mut config = Config::new();
    config.allow_malformed_key = true;
    config
}

fn quiet(_: Arguments<'_>) {}

#[test]
fn accept_values_are_those_of_the_log_and_the_rfc() {
    assert_eq!(&accept_key(b"gfhjgfhjfj"), b"Jg/fQVRsgwdDzYeG8yNBHRajUxw=");
    assert_eq!(&accept_key(RFC_KEY.as_bytes()), RFC_ACCEPT.as_bytes());
}

#[test]
fn the_key_of_the_log_is_accepted_only_by_setting() {
    let strict = Config::new();
    for (head, rx, tx) in SIZES {
        let mut memory = Memory::new(head, rx, tx);
        let mut answers = Vec::new();
        for pieces in cuts(GOLDEN) {
            let mut drive = Drive::new(&mut memory, &strict, Echo::new(quiet));
            pieces.iter().for_each(|piece| drive.send(piece));
            drive.end();
            assert_eq!((drive.refused(), drive.shutdowns), (Some(400), 1));
            let answer = Http::parse(&drive.out);
            answer.check_closing(true);
            answers.push(answer);
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:?}");
    }
    assert_eq!(GOLDEN.len(), 168);
}

#[test]
fn the_101_is_written_byte_for_byte() {
    let config = lenient();
    for (head, rx, tx) in SIZES {
        let mut memory = Memory::new(head, rx, tx);
        for take in [1, 100, usize::MAX] {
            let mut drive = Drive::new(&mut memory, &config, Echo::new(quiet));
            drive.take = take;
            drive.send(&GOLDEN[..128]);
            assert!(drive.out.is_empty());
            drive.send(&GOLDEN[128..]);
            assert_eq!(drive.out.escape_ascii().to_string(), GOLDEN_101.escape_ascii().to_string());
        }
        // Sec-WebSocket-Protocol stands there only where one was agreed upon.
        let without = String::from_utf8_lossy(GOLDEN).replace("Sec-WebSocket-Protocol: echo\r\n", "");
        let mut drive = Drive::new(&mut memory, &config, Echo::new(quiet));
        drive.send(without.as_bytes());
        let answer = String::from_utf8_lossy(GOLDEN_101).replace("Sec-WebSocket-Protocol: echo\r\n", "");
        assert_eq!(String::from_utf8_lossy(&drive.out), answer);
    }
}

#[test]
fn the_vector_of_the_log_holds_at_every_split() {
    let config = lenient();
    let trigger = masked(0x81, b"Trigger async");
    assert_eq!(&trigger[..2], [0x81, 0x8D]);
    let input = [GOLDEN, &trigger].concat();
    for (head, rx, tx) in SIZES {
        let mut memory = Memory::new(head, rx, tx);
        for pieces in cuts(&input) {
            let mut drive = Drive::new(&mut memory, &config, Echo::new(quiet));
            pieces.iter().for_each(|piece| drive.send(piece));
            assert_eq!(drive.taken(), GOLDEN_101, "no echo");
            drive.pass_deadline();
            assert_eq!(drive.taken(), b"\x81\x0AAsync data");
            drive.pass(Duration::from_secs(1));
            assert_eq!(drive.taken(), b"", "once");
            drive.finish();
        }
    }
}

#[test]
fn the_example_of_the_rfc_holds_at_every_split() {
    let config = Config::new();
    // The request of §1.3, with the frame of §5.7 behind it.
    let head = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://example.com\r\n\
        Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    let input = [head.as_bytes(), &hello].concat();
    let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n";
    let answer = [answer.as_bytes(), &[0x81, 0x05], b"Hello"].concat();
    let accept = |_: &Request<'_>| {
        let origin = OriginPolicy::List(&["http://example.com"]);
        Decision::Accept(AcceptOptions::new().protocols(&["chat"]).origin(origin))
    };
    for (head, rx, tx) in SIZES.into_iter().filter(|(head, ..)| *head > 200) {
        let mut memory = Memory::new(head, rx, tx);
        for pieces in cuts(&input) {
            let mut drive = Drive::new(&mut memory, &config, App::new(accept));
            pieces.iter().for_each(|piece| drive.send(piece));
            assert_eq!(drive.taken().escape_ascii().to_string(), answer.escape_ascii().to_string());
            assert_eq!(drive.handler.opened, [Some("chat".to_owned())]);
            drive.finish();
            assert_eq!(drive.handler.closed.len(), 1);
        }
    }
}

#[test]
fn only_get_on_a_websocket_route_upgrades() {
    let config = Config::new();
    let mut memory = Memory::new(1024, 140, 140);
    let key = format!("Sec-WebSocket-Key: {RFC_KEY}");
    let lines = ["Host: a", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", &key];
    for (method, path, status) in [
        ("GET", "/ws", 101),
        ("GET", "/ws?x=/nothing", 101),
        ("GET", "/nothing", 404),
        ("GET", "/WS", 404),
        ("GET", "/ws/", 404),
        ("POST", "/nothing", 404),
        ("POST", "/ws", 405),
        ("PUT", "/ws", 405),
        ("DELETE", "/ws", 405),
        ("OPTIONS", "/ws", 405),
        ("CONNECT", "/ws", 405),
        ("get", "/ws", 405),
        ("HEAD", "/ws", 405),
    ] {
        let mut drive = Drive::new(&mut memory, &config, Echo::new(quiet));
        drive.send(&request(method, path, &lines));
        let answer = Http::parse(&drive.out);
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.field("Allow"), (status == 405).then_some("GET"));
        if status != 101 {
            answer.check_closing(method != "HEAD");
        }
    }
}

#[test]
fn upgrade_and_connection_are_lists_without_case() {
    let cases: &[(&[&str], &[&str], u16)] = &[
        (&["Upgrade: websocket"], &["Connection: Upgrade"], 101),
        (&["upgrade: WEBSOCKET"], &["CONNECTION: uPGRADE"], 101),
        (&["Upgrade: WebSocket"], &["Connection: keep-alive, Upgrade"], 101),
        (&["Upgrade: websocket, h2c"], &["Connection: Upgrade,keep-alive"], 101),
        (&["Upgrade:\th2c ,\twebsocket\t"], &["Connection: ,, \tupgrade ,"], 101),
        (&["Upgrade:websocket"], &["Connection:Upgrade"], 101),
        (&["Upgrade: h2c", "Upgrade: websocket"], &["Connection: close", "Connection: Upgrade"], 101),
        (&["Upgrade: websockets"], &["Connection: Upgrade"], 426),
        (&["Upgrade: web socket"], &["Connection: Upgrade"], 426),
        (&["Upgrade: websocket/13"], &["Connection: Upgrade"], 426),
        (&["Upgrade:"], &["Connection: Upgrade"], 426),
        (&[], &["Connection: Upgrade"], 426),
        (&["Upgrade: websocket"], &["Connection: Upgrades"], 400),
        (&["Upgrade: websocket"], &["Connection: keep-alive; Upgrade"], 400),
        (&["Upgrade: websocket"], &["Connection:"], 400),
        (&["Upgrade: websocket"], &[], 400),
    ];
    let key = format!("Sec-WebSocket-Key: {RFC_KEY}");
    for (upgrade, connection, status) in cases {
        let others = ["Host: a", "Sec-WebSocket-Version: 13", &key];
        let request = request("GET", "/", &[upgrade, connection, &others[..]].concat());
        let answer = ask(&Config::new(), AcceptOptions::new(), &request);
        assert_eq!(answer.status, *status, "{upgrade:?} {connection:?}");
    }
}

#[test]
fn only_version_13_is_accepted() {
    let key = format!("Sec-WebSocket-Key: {RFC_KEY}");
    for (version, status) in [
        (Some("13"), 101),
        (Some(" 13\t"), 101),
        (None, 400),
        (Some(""), 426),
        (Some("8"), 426),
        (Some("14"), 426),
        (Some("013"), 426),
        (Some("1 3"), 426),
        (Some("8, 13"), 426),
    ] {
        let version = version.map(|version| format!("Sec-WebSocket-Version: {version}"));
        let mut lines = vec!["Host: a", "Upgrade: websocket", "Connection: Upgrade", &key];
        lines.extend(version.as_deref());
        let answer = ask(&Config::new(), AcceptOptions::new(), &request("GET", "/", &lines));
        assert_eq!(answer.status, status, "{version:?}");
        if status == 426 {
            // "the server MUST abort the WebSocket handshake [...] and instead send an appropriate HTTP error
            // code (such as 426 Upgrade Required) and a |Sec-WebSocket-Version| header field" (§4.2.2)
            assert_eq!(answer.field("Sec-WebSocket-Version"), Some("13"));
            assert_eq!(answer.field("Upgrade"), Some("websocket"));
            answer.check_closing(true);
        }
    }
}

#[test]
fn http_version_host_and_key_are_checked() {
    let good = String::from_utf8(upgrade("/", &[])).unwrap();
    for (from, to) in [
        ("HTTP/1.1", "HTTP/1.0"),
        ("HTTP/1.1", "HTTP/2.0"),
        ("HTTP/1.1", "HTTP/0.9"),
        ("HTTP/1.1", "http/1.1"),
        ("Host: server.example.com\r\n", ""),
        ("Host: server.example.com", "Host:"),
        (RFC_KEY, ""),
        (RFC_KEY, "gfhjgfhjfj"),
        (RFC_KEY, "dGhlIHNhbXBsZSBub25jZQ"),    // no padding
        (RFC_KEY, "dGhlIHNhbXBsZSBub25jZQ="),   // half of it
        (RFC_KEY, "dGhlIHNhbXBsZSBub25jZ==="),  // 15 bytes
        (RFC_KEY, "dGhlIHNhbXBsZSBub25jZSE="),  // 17 bytes
        (RFC_KEY, "dGhlIHNhbXBsZSBub25jZSEh"),  // 18 bytes
        (RFC_KEY, "dGhlIHNhbXBsZ_Bub25jZQ=="),  // another alphabet
        (RFC_KEY, "dGhlIHNhbXB sZSBub25jZQ=="), // a space
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
    ] {
        assert!(good.contains(from));
        let answer = ask(&Config::new(), AcceptOptions::new(), good.replace(from, to).as_bytes());
        assert_eq!(answer.status, 400, "{from} -> {to}");
        answer.check_closing(true);
    }
    assert_eq!(ask(&Config::new(), AcceptOptions::new(), good.as_bytes()).status, 101);
    // The leniency is about the key's length, not about whether there is one.
    let none = good.replace("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "");
    assert_eq!(ask(&lenient(), AcceptOptions::new(), none.as_bytes()).status, 400);
}

#[test]
fn a_subprotocol_is_chosen_in_the_order_of_the_server() {
    // ESP-IDF truncates the client's list near 49 characters.
    let long =
        format!("Sec-WebSocket-Protocol: {}, echo", vec!["something-that-is-not-spoken-here"; 20].join(","));
    for (lines, agreed) in [
        (vec!["Sec-WebSocket-Protocol: chat, echo"], Some("echo")),
        (vec!["Sec-WebSocket-Protocol: echo,chat"], Some("echo")),
        (vec!["Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: echo"], Some("echo")),
        (vec!["sec-websocket-protocol:\tchat\t"], Some("chat")),
        (vec!["Sec-WebSocket-Protocol: , ,chat,"], Some("chat")),
        (vec![&long], Some("echo")),
        (vec!["Sec-WebSocket-Protocol: Echo"], None),
        (vec!["Sec-WebSocket-Protocol: echo2, ech"], None),
        (vec!["Sec-WebSocket-Protocol: echo chat"], None),
        (vec!["Sec-WebSocket-Protocol:"], None),
        (vec![], None),
    ] {
        let request = upgrade("/", &lines);
        let protocols = &["echo", "chat"];
        let answer = ask(&Config::new(), AcceptOptions::new().protocols(protocols), &request);
        assert_eq!((answer.status, answer.field("Sec-WebSocket-Protocol")), (101, agreed), "{lines:?}");
        let required = AcceptOptions::new().protocols(protocols).require_protocol();
        let answer = ask(&Config::new(), required, &request);
        assert_eq!(answer.status, if agreed.is_some() { 101 } else { 400 }, "{lines:?}");
        // A route without subprotocols agrees upon none.
        let answer = ask(&Config::new(), AcceptOptions::new(), &request);
        assert_eq!((answer.status, answer.field("Sec-WebSocket-Protocol")), (101, None));
    }
    // The handler learns which one it was.
    let config = Config::new();
    let mut memory = Memory::new(1024, 140, 140);
    let protocols = &["echo", "chat"];
    let decide = |_: &Request<'_>| Decision::Accept(AcceptOptions::new().protocols(protocols));
    let mut drive = Drive::new(&mut memory, &config, App::new(decide));
    drive.open(&upgrade("/", &["Sec-WebSocket-Protocol: x, chat"]));
    assert_eq!(drive.handler.opened, [Some("chat".to_owned())]);
}

#[test]
fn lists_of_separators_alone_are_refused() {
    for list in ["", ",", ", ,", ",,,,,,", " , \t,", ";", ";;,;;", "\"", "\"\",\"", "=", ",=;,"] {
        let lines = ["Protocol", "Extensions"].map(|name| format!("Sec-WebSocket-{name}: {list}"));
        let request = upgrade("/", &[&lines[0], &lines[1], &lines[0]]);
        let protocols = &["", ","];
        let answer = ask(&Config::new(), AcceptOptions::new().protocols(protocols), &request);
        assert_eq!(answer.status, 101, "{list:?}");
        assert_eq!(answer.field("Sec-WebSocket-Protocol"), None, "{list:?}");
        assert_eq!(answer.field("Sec-WebSocket-Extensions"), None, "{list:?}");
        let key = format!("Sec-WebSocket-Key: {RFC_KEY}");
        let [upgrade, connection] = [format!("Upgrade: {list}"), format!("Connection: {list}")];
        for (upgrade, connection, status) in
            [(&*upgrade, "Connection: Upgrade", 426), ("Upgrade: websocket", &connection, 400)]
        {
            let lines = ["Host: a", upgrade, connection, "Sec-WebSocket-Version: 13", &key];
            let answer =
                ask(&Config::new(), AcceptOptions::new(), &session_driver::request("GET", "/", &lines));
            assert_eq!(answer.status, status, "{list:?}");
        }
    }
}

#[test]
#[cfg_attr(
    all(feature = "small", not(feature = "std")),
    ignore = "small: no texts of refusals, no bodies of responses"
)]
fn the_hook_before_the_handshake_sees_the_request_and_may_respond() {
    struct Seen {
        method: String,
        path: String,
        query: String,
        token: Option<String>,
        header: Option<String>,
        fields: Vec<(String, Vec<u8>)>,
    }
    let config = Config::new();
    let mut memory = Memory::new(1024, 140, 140);
    let mut seen = Vec::new();
    let decide = |request: &Request<'_>| {
        let own = |text: &str| text.to_owned();
        seen.push(Seen {
            method: own(request.method()),
            path: own(request.path()),
            query: own(request.query()),
            token: request.query_value("token").map(own),
            header: request.header("authorization").map(own),
            fields: request.headers().iter().map(|(name, value)| (own(name), value.to_vec())).collect(),
        });
        if request.query_value("token") == Some("valid") {
            return Decision::Accept(AcceptOptions::new().headers(&[("Set-Cookie", "a=b")]));
        }
        let response = Response::json(401, r#"{"error":"token"}"#);
        Decision::Respond(response.with_headers(&[("WWW-Authenticate", "Bearer")]))
    };
    let mut app = App::new(decide);
    for (path, status) in [("/auth/x?a=1&token=wrong&b", 401), ("/auth/x?a=1&token=valid&b", 101)] {
        app.hello = Some("Welcome");
        let mut drive = Drive::new(&mut memory, &config, app);
        drive.send(&upgrade(path, &["Authorization: Basic eDp5", "X-Raw: \u{e9}", "X-Empty:"]));
        let answer = Http::take(&mut drive.out);
        assert_eq!(answer.status, status);
        if status == 401 {
            assert_eq!(answer.line, "HTTP/1.1 401 Unauthorized");
            assert_eq!(answer.field("Content-Type"), Some("application/json"));
            assert_eq!(answer.field("WWW-Authenticate"), Some("Bearer"));
            assert_eq!(drive.out, br#"{"error":"token"}"#);
        } else {
            assert_eq!(answer.field("Set-Cookie"), Some("a=b"));
            assert_eq!(drive.out, b"\x81\x07Welcome");
        }
        app = drive.handler;
    }
    drop(app);
    assert_eq!(seen.len(), 2);
    let seen = &seen[0];
    assert_eq!((&*seen.method, &*seen.path, &*seen.query), ("GET", "/auth/x", "a=1&token=wrong&b"));
    assert_eq!((seen.token.as_deref(), seen.header.as_deref()), (Some("wrong"), Some("Basic eDp5")));
    assert_eq!(seen.fields[0], ("Host".to_owned(), b"server.example.com".to_vec()));
    assert_eq!(seen.fields[6], ("X-Raw".to_owned(), "\u{e9}".as_bytes().to_vec()));
    assert_eq!(seen.fields[7], ("X-Empty".to_owned(), vec![]));
    assert_eq!(seen.fields.len(), 8);
}

#[test]
fn the_hook_after_the_handshake_may_send() {
    let config = Config::new();
    for tx in [140, 1024] {
        for take in [1, usize::MAX] {
            let mut memory = Memory::new(1024, 140, tx);
            let mut app = App::new(accept);
            // Together with the 101 this does not fit the smallest buffer.
            app.hello =
                Some("a greeting that does not fit behind the 101, and has to wait until that is written");
            let mut drive = Drive::new(&mut memory, &config, app);
            drive.take = take;
            drive.open(&upgrade("/", &[]));
            assert_eq!(messages(&frames(&drive.out)), [(1, drive.handler.hello.unwrap().into())]);
            assert_eq!(drive.handler.opened, [None]);
            drive.taken();
            drive.finish();
        }
    }
}

#[test]
#[cfg_attr(
    all(feature = "small", not(feature = "std")),
    ignore = "small: no texts of refusals, no bodies of responses"
)]
fn duplicates_are_refused_and_lists_are_joined() {
    let key = format!("Sec-WebSocket-Key: {RFC_KEY}");
    let once =
        [&*key, "Sec-WebSocket-Version: 13", "Host: server.example.com", "Origin: http://server.example.com"];
    for line in once {
        for twice in [line.to_owned(), line.to_uppercase(), format!("{}:", line.split(':').next().unwrap())] {
            let (first, rest) = ("Origin: http://server.example.com", [&*twice]);
            let request = upgrade("/", &[&[first], &rest[..]].concat());
            let answer = ask(&Config::new(), AcceptOptions::new().origin(OriginPolicy::Any), &request);
            assert_eq!(answer.status, 400, "{twice}");
            assert!(String::from_utf8_lossy(&answer.body).contains("twice"), "{answer:?}");
        }
    }
    let joined = upgrade(
        "/",
        &[
            "Upgrade: h2c",
            "Connection: close",
            "Sec-WebSocket-Extensions: a, b",
            "Sec-WebSocket-Extensions: c",
        ],
    );
    assert_eq!(ask(&Config::new(), AcceptOptions::new(), &joined).status, 101);
}

#[test]
fn origin_policies_decide_which_pages_may_connect() {
    let origin = |line: Option<&'static str>, origin: OriginPolicy<'static>| {
        let request = upgrade("/", &line.into_iter().collect::<Vec<_>>());
        ask(&Config::new(), AcceptOptions::new().origin(origin), &request).status
    };
    let list = OriginPolicy::List(&["https://a.example", "http://b.example:8080"]);
    let check = OriginPolicy::Check(&|origin| origin.ends_with(".example"));
    for (line, same, listed, checked) in [
        (None, 101, 101, 101),
        (Some("Origin: http://server.example.com"), 101, 403, 403),
        (Some("Origin: https://a.example"), 403, 101, 101),
        (Some("Origin: http://a.example"), 403, 403, 101),
        (Some("Origin: http://b.example:8080"), 403, 101, 403),
        (Some("Origin: http://b.example"), 403, 403, 101),
        (Some("Origin: null"), 403, 403, 403),
        (Some("Origin:"), 403, 403, 403),
    ] {
        assert_eq!(origin(line, OriginPolicy::SameHost), same, "{line:?}");
        assert_eq!(origin(line, list.clone()), listed, "{line:?}");
        assert_eq!(origin(line, check.clone()), checked, "{line:?}");
        assert_eq!(origin(line, OriginPolicy::Any), 101, "{line:?}");
    }
}

#[test]
#[cfg_attr(
    all(feature = "small", not(feature = "std")),
    ignore = "small: no texts of refusals, no bodies of responses"
)]
fn a_plain_get_on_a_websocket_route_is_426() {
    for line in ["User-Agent: curl", "Connection: keep-alive", "Connection: Upgrade"] {
        let answer = ask(&Config::new(), AcceptOptions::new(), &request("GET", "/ws", &["Host: a", line]));
        assert_eq!(answer.line, "HTTP/1.1 426 Upgrade Required");
        assert_eq!(answer.field("Upgrade"), Some("websocket"));
        assert_eq!(answer.field("Connection"), Some("Upgrade, close"));
        assert_eq!(answer.field("Sec-WebSocket-Version"), Some("13"));
        answer.check_closing(true);
    }
}

#[test]
fn the_application_chooses_its_routes() {
    let config = Config::new();
    let mut memory = Memory::new(1024, 140, 140);
    let decide = |request: &Request<'_>| match request.path().strip_prefix("/rooms/") {
        Some(room) if !room.is_empty() => accept(request),
        _ => Decision::Respond(Response::text(404, "no such room")),
    };
    for (path, status) in
        [("/rooms/1", 101), ("/rooms/1/2?x", 101), ("/rooms/", 404), ("/rooms?/rooms/1", 404), ("/", 404)]
    {
        let mut drive = Drive::new(&mut memory, &config, App::new(decide));
        drive.send(&upgrade(path, &[]));
        assert_eq!(Http::parse(&drive.out).status, status, "{path}");
    }
}

#[test]
fn a_request_that_is_handed_over_is_unchanged() {
    let config = Config::new();
    let mut memory = Memory::new(1024, 140, 140);
    let post = request("POST", "/upload", &["Host: a", "Content-Length: 11", "X-Odd:  spaces \t"]);
    let input = [&post[..], b"hello world"].concat();
    let decide =
        |request: &Request<'_>| if request.is_upgrade() { accept(request) } else { Decision::HandOver };
    for pieces in cuts(&input) {
        let mut drive = Drive::new(&mut memory, &config, App::new(decide));
        let read: usize = pieces.iter().map(|piece| drive.feed(piece)).sum();
        assert_eq!(drive.outcome, Some(Outcome::HandedOver));
        assert!(read >= post.len());
        // What was read, the head and what came behind it, as it came; the transport has the rest.
        assert_eq!(drive.head.unread(), &input[..read]);
        assert!(drive.tx.is_empty() && drive.out.is_empty() && drive.rx.is_empty() && drive.shutdowns == 0);
        assert!(drive.session.spare(&mut drive.head, &mut drive.rx).is_empty());
        assert!(drive.handler.opened.is_empty() && drive.handler.closed.is_empty());
        // Time that passes changes nothing.
        drive.pass(Duration::from_secs(100));
        assert_eq!(drive.head.unread(), &input[..read]);
    }
    // A WebSocket on the same server and port.
    let mut drive = Drive::new(&mut memory, &config, App::new(decide));
    drive.open(&upgrade("/ws", &[]));
    // And a server that is full hands nothing over.
    let mut drive = Drive::new(&mut memory, &config, ServiceUnavailable);
    drive.send(&input);
    assert_eq!(Http::parse(&drive.out).status, 503);
}
