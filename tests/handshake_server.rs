//! The server's side of the opening handshake: hostile requests, and the response to each.

mod session_driver;
mod wire;

use std::time::Duration;

use sansocket::handshake::{
    AcceptOptions, BadRequest, Decision, OriginPolicy, Refusal, Rejection, Request, Response, ResponseBody,
    ServerHandshake,
};
use sansocket::session::{Outcome, ServiceUnavailable};
use sansocket::{Config, Handler, Instant, Step};
use session_driver::*;

const NOW: Instant = Instant::from_millis(1_000);
const SECOND: Duration = Duration::from_secs(1);

/// What an application makes of a request.
type Decide<'a> = &'a dyn Fn(&Request<'_>) -> Decision<'static>;

/// Larger than every buffer of these tests.
static PAGE: [u8; 40_000] = {
    let mut page = [0; 40_000];
    let mut i = 0;
    while i < page.len() {
        page[i] = b'a' + (i % 23) as u8;
        i += 1;
    }
    page
};

fn page(_: &Request<'_>) -> Decision<'static> {
    Decision::Respond(Response::new(200, "text/html", &PAGE))
}

/// The answer to `request`, that of a handler with 140 bytes to receive and to send.
fn answer(config: &Config, head: usize, handler: impl Handler, request: &[u8]) -> Http {
    let mut memory = Memory::new(head, 140, 140);
    let mut drive = Drive::new(&mut memory, config, handler);
    drive.feed(request);
    let answer = Http::parse(&drive.out);
    if answer.status != 101 {
        drive.end();
        assert_eq!((drive.shutdowns, drive.refused()), (1, Some(answer.status)));
    }
    answer
}

// ---- attacks ----

/// Polls until a head of `len` bytes, one byte a read, is refused: (polls, bytes read, status).
fn flood(len: usize) -> (usize, usize, u16) {
    let mut config = Config::new();
    config.limits.head = len;
    let mut memory = Memory::new(len, 140, 140);
    let (mut head, mut rx, mut tx) = memory.buffers();
    let mut handshake = ServerHandshake::new(&config, NOW);
    let (mut polls, mut read) = (0, 0);
    let mut endless = b"GET / HTTP/1.1\r\n"
        .iter()
        .chain(b"X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".iter().cycle());
    loop {
        let step = handshake.poll(NOW, &mut head, &mut rx, &mut tx, |_| panic!("a whole request"));
        polls += 1;
        let spare = handshake.spare(&mut head, &mut rx);
        match (step, spare.first_mut()) {
            (Step::Wait { .. }, Some(slot)) => {
                *slot = *endless.next().unwrap();
                read += 1;
                handshake.fill(&mut head, &mut rx, 1);
            }
            (Step::Wait { .. }, None) => break,
            (step, _) => panic!("{step:?}"),
        }
    }
    (polls, read, Http::parse(tx.pending()).status)
}

#[test]
fn a_head_of_a_megabyte_in_single_bytes_takes_linear_time() {
    // One poll a byte: were each to look at all bytes again, this would take hours.
    for len in [140, 8 * 1024, 1 << 20] {
        assert_eq!(flood(len), (len + 1, len, 431));
    }
}

#[test]
fn a_head_is_limited_to_the_byte() {
    let request = upgrade("/", &[]);
    for (limit, memory, status) in [
        (request.len(), 8192, 101),
        (request.len() - 1, 8192, 431),
        (8192, request.len(), 101),
        (8192, request.len() - 1, 431),
        (0, 8192, 431),
    ] {
        let mut config = Config::new();
        config.limits.head = limit;
        for size in [1, 7, 1000] {
            let mut memory = Memory::new(memory, 140, 140);
            let mut drive = Drive::new(&mut memory, &config, App::new(accept));
            request.chunks(size).for_each(|piece| _ = drive.feed(piece));
            assert_eq!(Http::take(&mut drive.out).status, status, "{limit}, {size}");
        }
    }
}

#[test]
fn long_lists_of_separators_take_linear_time() {
    let mut config = Config::new();
    config.limits.head = 1 << 20;
    let mut memory = Memory::new(1 << 20, 16384, 140);
    for filler in [",", " ", "\t", "\"", ";", ", ", "\",", ",\"\\", "a,", "chat\t", "=;"] {
        for name in ["Protocol", "Extensions"] {
            let list = filler.repeat(100_000 / filler.len());
            let request = upgrade("/", &[&format!("Sec-WebSocket-{name}: {list}, chat")]);
            let protocols = &["a", "b", "c", "d", "e", "f", "g", "h", "chat"][1..];
            let decide = |_: &Request<'_>| Decision::Accept(AcceptOptions::new().protocols(protocols));
            let mut drive = Drive::new(&mut memory, &config, App::new(decide));
            drive.send(&request);
            let answer = Http::parse(&drive.out);
            assert_eq!(answer.status, 101);
            assert_eq!(
                answer.field("Sec-WebSocket-Protocol"),
                (name == "Protocol").then_some("chat"),
                "{filler:?}"
            );
        }
    }
}

#[test]
#[cfg_attr(
    all(feature = "small", not(feature = "std")),
    ignore = "small: no texts of refusals, no bodies of responses"
)]
fn too_many_header_fields_are_431() {
    for most in [Config::new().limits.headers, 64, 1000, 10, 5, 0] {
        let mut config = Config::new();
        (config.limits.headers, config.limits.head) = (most, 16384);
        for n in [most, most + 1, most + 2, 300] {
            let fields: Vec<_> = (5..n).map(|i| format!("X-{i}: {i}")).collect();
            let fields: Vec<_> = fields.iter().map(String::as_str).collect();
            let status = if n <= most && most >= 5 { 101 } else { 431 };
            let answer = answer(&config, 16384, App::new(accept), &upgrade("/", &fields));
            assert_eq!(answer.status, status, "{n} of {most}");
            assert!(status == 101 || answer.body == b"too many header fields");
        }
    }
}

#[test]
fn malformed_field_lines_are_400() {
    for (line, status) in [
        (": value", 400),
        (":", 400),
        ("no colon", 400),
        ("X", 400),
        (" X: folded", 400),
        ("\tX: folded", 400),
        ("X : space before the colon", 400),
        ("X\t: tab", 400),
        ("X Y: space", 400),
        ("X,Y: comma", 400),
        ("\"X\": quotes", 400),
        ("X@Y: at", 400),
        ("X\u{e9}: not ASCII", 400),
        ("!#$%&'*+-.^_`|~: a token of its kind", 101),
        ("X:", 101),
        ("X:::", 101),
        ("X: \t ", 101),
        ("X: a\tb", 101),
        ("X: \u{e9}", 101),
        ("Host2: a", 101),
        ("Sec-WebSocket-Key2: a", 101),
        ("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits", 101),
        ("Content-Length", 400),
    ] {
        let answer = answer(&Config::new(), 4096, App::new(accept), &upgrade("/", &[line]));
        assert_eq!(answer.status, status, "{line:?}");
    }
}

#[test]
fn malformed_request_lines_are_refused() {
    let upgrade = String::from_utf8(upgrade("/", &[])).unwrap();
    for (front, status) in [
        ("", 101),
        // RFC 9112 §2.2: "SHOULD ignore at least one empty line (CRLF) received prior to the request-line".
        ("\r\n", 101),
        ("\r\n\r\n", 400),
        ("\n", 400),
        ("\r", 400),
        (" ", 400),
        ("\t", 400),
        ("\u{feff}", 400),
        ("\u{16}\u{3}\u{1}", 400), // a TLS client
    ] {
        let answer = answer(&Config::new(), 4096, App::new(accept), format!("{front}{upgrade}").as_bytes());
        assert_eq!(answer.status, status, "{front:?}");
    }
    // A line end that is none: no end of a head may hide from one reader and be seen by another.
    for (from, to) in [
        ("\r\n\r\n", "\n\n"),
        ("\r\nHost", "\nHost"),
        ("\r\nHost", "\rHost"),
        ("\r\n\r\n", "\r\n\r\r\n"),
        ("\r\n\r\n", "\r\n\n"),
    ] {
        let answer = answer(&Config::new(), 4096, App::new(accept), upgrade.replacen(from, to, 1).as_bytes());
        assert_eq!(answer.status, 400, "{to:?}");
    }
}

#[test]
fn each_byte_in_names_and_values_is_accepted_or_refused_by_the_rfc() {
    let config = Config::new();
    let mut memory = Memory::new(1024, 512, 140);
    let mut status = |place: &str, byte: u8| {
        let mut request = upgrade("/", &[]);
        // In front of the empty line.
        let at = request.len() - 2;
        let line: Vec<u8> = place.bytes().map(|c| if c == b'?' { byte } else { c }).collect();
        request.splice(at..at, line.into_iter().chain(*b"\r\n"));
        let mut drive = Drive::new(&mut memory, &config, App::new(accept));
        drive.feed(&request);
        let answer = Http::take(&mut drive.out);
        drive.end();
        assert!(drive.outcome.is_some());
        answer.status
    };
    for byte in 0..=u8::MAX {
        let token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let value = byte == b'\t' || byte >= b' ' && byte != 0x7F;
        let good = |good: bool| if good { 101 } else { 400 };
        assert_eq!(status("X-A?B: v", byte), good(token || byte == b':'), "{byte:#x} in a name");
        assert_eq!(status("?X-A: v", byte), good(token), "{byte:#x} before a name");
        assert_eq!(status("X-A?: v", byte), good(token || byte == b':'), "{byte:#x} behind a name");
        assert_eq!(status("X-A: a?b", byte), good(value), "{byte:#x} in a value");
        assert_eq!(status("X-A:?", byte), good(value), "{byte:#x} as a value");
        assert_eq!(status("Sec-WebSocket-Protocol: a?b", byte), good(value), "{byte:#x} in a list");
        assert_eq!(status("Sec-WebSocket-Extensions: ?", byte), good(value), "{byte:#x} in a list");
        assert_eq!(status("Cookie: ?=?", byte), good(value), "{byte:#x} in a cookie");
    }
}

#[test]
fn a_request_with_any_byte_replaced_gets_a_known_status() {
    let config = Config::new();
    let mut memory = Memory::new(1024, 512, 140);
    let whole = upgrade("/", &["Origin: http://server.example.com"]);
    // Each byte of a good request replaced by each other: an answer, or the wait for the rest; never a panic.
    for at in 0..whole.len() {
        for byte in 0..=u8::MAX {
            let mut request = whole.clone();
            request[at] = byte;
            let mut drive = Drive::new(&mut memory, &config, App::new(accept));
            drive.feed(&request);
            if !drive.out.is_empty() {
                let status = Http::take(&mut drive.out).status;
                assert!([101, 400, 403, 405, 426].contains(&status), "{status}, byte {byte:#x} at {at}");
            }
            drive.end();
            assert!(drive.outcome.is_some(), "byte {byte:#x} at {at}");
        }
    }
}

#[test]
fn a_request_from_another_origin_is_403() {
    let status = |host: &str, origin: &[u8]| {
        let mut request = String::from_utf8(upgrade("/", &[])).unwrap();
        request = request.replace("server.example.com", host);
        let mut request = request.into_bytes();
        let at = request.len() - 2;
        request.splice(at..at, [b"Origin: ", origin, b"\r\n"].concat());
        ask(&Config::new(), AcceptOptions::new(), &request).status
    };
    for (host, origin, welcome) in [
        ("host.com", "http://host.com", true),
        ("host.com", "https://host.com", true),
        ("HOST.com", "http://host.COM", true),
        ("host.com:80", "http://host.com", true),
        ("host.com", "http://host.com:80", true),
        ("host.com:443", "https://host.com", true),
        ("host.com:8080", "http://host.com:8080", true),
        ("192.168.4.2", "http://192.168.4.2", true),
        ("[::1]:8080", "http://[::1]:8080", true),
        ("[::1]", "http://[::1]", true),
        // Behind an end of TLS, `Host` may have the port of either side.
        ("host.com:80", "https://host.com", true),
        ("host.com:80", "https://host.com:443", true),
        ("host.com:443", "http://host.com", true),
        ("host.com:443", "http://host.com:443", true),
        ("[::1]:80", "https://[::1]", true),
        // Another port is another origin.
        ("host.com:80", "https://host.com:8443", false),
        ("host.com:443", "http://host.com:8443", false),
        ("host.com:80", "http://host.com:443", false),
        ("host.com", "https://host.com:80", false),
        ("host.com", "http://host.com:8080", false),
        ("host.com:8080", "http://host.com", false),
        ("host.com:8080", "http://host.com:80", false),
        ("host.com", "http://host.com:443", false),
        ("host.com", "http://host.com:80:80", false),
        ("[::1]", "http://[::1]:1", false),
        ("[::1]:80", "http://[::2]", false),
        // A prefix or a suffix is another host.
        ("host.com", "http://host.com.evil.com", false),
        ("host.com", "http://evil.com/host.com", false),
        ("host.com", "http://evilhost.com", false),
        ("host.com", "http://host.co", false),
        ("host.com", "http://sub.host.com", false),
        ("host.com", "http://host.com@evil.com", false),
        ("host.com", "http://evil.com#host.com", false),
        ("host.com", "http://evil.com?://host.com", false),
        ("host.com", "http://host.com/", false),
        ("host.com", "http://host.com.", false),
        ("host.com", "http:// host.com", false),
        // No origin of a page that was loaded from here.
        ("host.com", "null", false),
        ("host.com", "", false),
        ("host.com", "*", false),
        ("host.com", "host.com", false),
        ("host.com", "//host.com", false),
        ("host.com", "://host.com", false),
        ("host.com", "file://host.com", false),
        ("host.com", "ws://host.com", false),
        ("host.com", "chrome-extension://host.com", false),
        ("host.com", "http://host.com http://evil.com", false),
        ("host.com", "http://evil.com, http://host.com", false),
        ("null", "null", false),
    ] {
        assert_eq!(status(host, origin.as_bytes()), if welcome { 101 } else { 403 }, "{host}, {origin}");
    }
    assert_eq!(status("host.com", b"http://host.com\xFF"), 403);
    assert_eq!(status("host.com", b"\xFF"), 403);
    // Absent: no browser, and welcome.
    assert_eq!(ask(&Config::new(), AcceptOptions::new(), &upgrade("/", &[])).status, 101);
}

#[test]
fn origins_of_a_list_are_compared_whole() {
    let origin = OriginPolicy::List(&["https://good.example", "null"]);
    for (line, status) in [
        ("https://good.example", 101),
        ("HTTPS://GOOD.example", 101),
        ("null", 101),
        ("https://good.example:443", 403),
        ("http://good.example", 403),
        ("https://good.example.evil.com", 403),
        ("https://evil.com/https://good.example", 403),
        ("https://good.exampl", 403),
        ("", 403),
    ] {
        let request = upgrade("/", &[&format!("Origin: {line}")]);
        assert_eq!(
            ask(&Config::new(), AcceptOptions::new().origin(origin.clone()), &request).status,
            status,
            "{line}"
        );
    }
}

#[test]
fn a_response_with_control_characters_is_500() {
    let config = Config::new();
    for byte in (0..=u8::MAX).filter(u8::is_ascii) {
        let text = leak(format!("a{}b", char::from(byte)));
        let value = byte == b'\t' || (b' '..0x7F).contains(&byte);
        let token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        for (fields, good) in [([("X-Name", text)], value), ([(text, "value")], token)] {
            let headers: &'static [_] = Box::leak(Box::new(fields));
            let respond =
                |_: &Request<'_>| Decision::Respond(Response::text(200, "ok").with_headers(headers));
            let accepts = |_: &Request<'_>| Decision::Accept(AcceptOptions::new().headers(headers));
            let request = upgrade("/", &[]);
            let plain = answer(&config, 1024, App::new(respond), &request);
            let switch = answer(&config, 1024, App::new(accepts), &request);
            for (answer, status) in [(plain, 200), (switch, 101)] {
                if good {
                    assert_eq!((answer.status, answer.field(fields[0].0)), (status, Some(fields[0].1)));
                } else {
                    // Nothing of it has gone out.
                    assert_eq!(answer.status, 500, "{byte:#x}");
                    assert_eq!(answer.fields.len(), 2, "{answer:?}");
                    answer.check_closing(true);
                }
            }
        }
        // A subprotocol is agreed upon only where the client has offered the same: no byte slips in there.
        let protocols: &'static [&str] = Box::leak(Box::new([text, leak(format!("x\r\nX-Evil: {text}"))]));
        let accepts = |_: &Request<'_>| Decision::Accept(AcceptOptions::new().protocols(protocols));
        let answer =
            answer(&config, 1024, App::new(accepts), &upgrade("/", &["Sec-WebSocket-Protocol: x, a, b"]));
        assert_eq!((answer.status, answer.field("X-Evil")), (101, None));
    }
}

#[test]
fn nothing_after_a_refused_upgrade_is_read_as_a_request() {
    let config = Config::new();
    let mut memory = Memory::new(1024, 140, 140);
    let good = upgrade("/", &[]);
    for bad in [
        upgrade("/", &["Host: b"]),
        upgrade("/", &["Content-Length: 5"]),
        request("POST", "/", &["Host: a"]),
        request("GET", "/", &["Host: a"]),
        b"\x16\x03\x01\r\n\r\n".to_vec(),
    ] {
        let input = [&bad[..], &good, &good, &masked(0x81, b"Hello")].concat();
        for size in [1, 50, usize::MAX] {
            let mut drive = Drive::new(&mut memory, &config, App::new(accept));
            drive.send_by(&input, size);
            assert!(drive.handler.requests <= 1);
            let answer = Http::parse(&drive.out);
            answer.check_closing(true);
            assert_ne!(answer.status, 101);
            assert!(drive.handler.opened.is_empty() && drive.handler.closed.is_empty());
            assert_eq!((drive.shutdowns, drive.outcome), (1, None), "the peer is read until it ends");
            drive.end();
            assert_eq!(drive.refused(), Some(answer.status));
        }
    }
}

#[test]
fn the_fields_that_decide_may_stand_anywhere() {
    let right =
        ["Host: a", "Upgrade: WebSocket", "Connection: keep-alive, upgrade", "Sec-WebSocket-Version: 13"];
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let wrong = [
        ("", 101),
        ("Host: a", 400),
        ("Origin: http://evil.example", 403),
        ("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==", 400),
        ("Sec-WebSocket-Version: 13", 400),
        ("Content-Length: 1", 400),
        ("Transfer-Encoding: chunked", 400),
    ];
    for fillers in 0..40 {
        for (line, status) in wrong {
            for before in 0..=right.len() {
                let mut lines: Vec<&str> = vec!["X-Filler: \t value \t"; fillers];
                lines.splice(0..0, right[..before].iter().copied());
                lines.extend(right[before..].iter().chain([&key, &line]).filter(|line| !line.is_empty()));
                let request = format!("GET / HTTP/1.1\r\n{}\r\n\r\n", lines.join("\r\n"));
                let answer = answer(&Config::new(), 2048, App::new(accept), request.as_bytes());
                assert_eq!(answer.status, status, "{request}");
            }
        }
    }
}

#[test]
fn an_upgrade_with_a_body_is_refused() {
    for (line, status) in [
        ("Content-Length: 0", 101),
        ("Content-Length: 1", 400),
        ("Content-Length: 00", 400),
        ("Content-Length: +0", 400),
        ("Content-Length: -0", 400),
        ("Content-Length: 0x0", 400),
        ("Content-Length: 0, 0", 400),
        ("Content-Length:", 400),
        ("content-length: 18446744073709551616", 400),
        ("Transfer-Encoding: chunked", 400),
        ("TRANSFER-ENCODING: identity", 400),
        ("Transfer-Encoding:", 400),
    ] {
        let answer = answer(&Config::new(), 1024, App::new(accept), &upgrade("/", &[line]));
        assert_eq!(answer.status, status, "{line}");
    }
    let twice = ["Content-Length: 0", "Content-Length: 7"];
    assert_eq!(answer(&Config::new(), 1024, App::new(accept), &upgrade("/", &twice)).status, 400);
}

#[test]
fn the_connection_field_has_to_name_the_upgrade() {
    for (value, status) in [
        ("Upgrade", 101),
        ("keep-alive, Upgrade", 101),
        ("Upgrade, HTTP2-Settings", 101),
        ("close, upgrade", 101),
        ("keep-alive", 400),
        ("close", 400),
        ("", 400),
        ("Upgradeable", 400),
        ("X-Upgrade", 400),
        ("keep-alive Upgrade", 400),
        ("\"Upgrade\"", 400),
    ] {
        let request = String::from_utf8(upgrade("/", &[])).unwrap();
        let request = request.replace("Connection: Upgrade", &format!("Connection: {value}"));
        let answer = answer(&Config::new(), 1024, App::new(accept), request.as_bytes());
        assert_eq!(answer.status, status, "{value}");
    }
}

#[test]
#[cfg_attr(
    all(feature = "small", not(feature = "std")),
    ignore = "small: no texts of refusals, no bodies of responses"
)]
fn a_slow_request_has_one_deadline_in_all() {
    for (limit, bytes) in [(10, 1), (60, 6), (61, 7)] {
        let mut config = Config::new();
        config.timeouts.handshake = Some(limit * SECOND);
        let mut memory = Memory::new(1024, 140, 140);
        let mut drive = Drive::new(&mut memory, &config, App::new(accept));
        let mut sent = 0;
        for byte in upgrade("/", &[]) {
            drive.send(&[byte]);
            sent += 1;
            // No read moves the deadline.
            assert_eq!(drive.deadline, Some(NOW.saturating_add(limit * SECOND)));
            drive.pass(10 * SECOND);
            if !drive.out.is_empty() {
                break;
            }
        }
        assert_eq!(sent, bytes);
        let answer = Http::parse(&drive.out);
        assert_eq!(answer.line, "HTTP/1.1 408 Request Timeout");
        answer.check_closing(true);
        assert_eq!((drive.shutdowns, drive.outcome), (1, None));
        // Neither is there for ever what goes on sending.
        for _ in 0..4 {
            drive.pass(SECOND);
            drive.send(b"x");
        }
        drive.pass_deadline();
        assert_eq!(drive.outcome, Some(Outcome::Refused(Rejection::Timeout.into())));
        assert_eq!(drive.handler.requests, 0);
    }
}

#[test]
fn a_peer_that_sends_no_request_gets_no_response() {
    let config = Config::new();
    let mut memory = Memory::new(1024, 140, 140);
    let mut drive = Drive::new(&mut memory, &config, App::new(accept));
    drive.pass(10 * SECOND - Duration::from_micros(1));
    assert_eq!(drive.outcome, None);
    drive.pass_deadline();
    assert_eq!((drive.outcome, drive.shutdowns), (Some(Outcome::Disconnected), 0));
    assert!(drive.out.is_empty());
    drive.pass(SECOND);
    // The deadline can be switched off.
    let mut config = Config::new();
    config.timeouts.handshake = None;
    let mut drive = Drive::new(&mut memory, &config, App::new(accept));
    drive.pass(1_000_000 * SECOND);
    assert_eq!((drive.outcome, drive.deadline), (None, None));
    drive.open(&upgrade("/", &[]));
}

#[test]
fn a_peer_that_does_not_read_its_response_is_disconnected_at_a_deadline() {
    for decide in [accept as fn(&Request<'_>) -> Decision<'static>, page] {
        let config = Config::new();
        let mut memory = Memory::new(1024, 140, 140);
        let mut drive = Drive::new(&mut memory, &config, App::new(decide));
        // The 101 does not fit what was left room for.
        drive.take = 0;
        drive.send(&upgrade("/", &["Sec-WebSocket-Protocol: chat"]));
        let ends = drive.deadline.unwrap();
        assert!(ends <= NOW.saturating_add(30 * SECOND), "{ends:?}");
        for _ in 0..10 {
            if drive.outcome.is_none() {
                drive.pass_deadline();
            }
        }
        assert!(drive.outcome.is_some() && drive.refused() != Some(200));
        // Over is over, also where the peer reads after all.
        for _ in 0..1000 {
            drive.tx.consume(usize::MAX);
            drive.pump();
        }
    }
}

#[test]
fn bytes_after_the_request_are_kept() {
    let config = Config::new();
    let mut text = vec![b'x'; 10_000];
    text.iter_mut().enumerate().for_each(|(i, byte)| *byte += (i % 3) as u8);
    let many: Vec<u8> = (0..200).flat_map(|i| masked(0x81, format!("message {i}").as_bytes())).collect();
    let input = [upgrade("/", &[]), many, masked(0x82, &text)].concat();
    for (head, rx, tx) in [(1024, 140, 140), (300, 140, 16384), (16384, 16384, 140), (16384, 16384, 16384)] {
        let mut memory = Memory::new(head, rx, tx);
        // A read that ends at every place around the end of the head, and reads of one size.
        let ends = (150..180).map(|at| (at, usize::MAX));
        for (first, size) in ends.chain([1, 2, 139, 140, 141, 1000, usize::MAX].map(|size| (0, size))) {
            let mut drive = Drive::new(&mut memory, &config, App::new(accept));
            drive.send(&input[..first]);
            drive.send_by(&input[first..], size.min(input.len()));
            assert_eq!(Http::take(&mut drive.out).status, 101);
            let sent = messages(&frames(&drive.taken()));
            assert_eq!(sent.len(), 201);
            let texts = sent.iter().enumerate().take(200);
            assert!(
                texts
                    .into_iter()
                    .all(|(i, (kind, text))| *kind == 1 && *text == format!("message {i}").as_bytes())
            );
            assert_eq!(sent[200], (2, text.clone()));
            drive.finish();
        }
    }
}

#[test]
fn the_end_of_the_stream_may_come_with_the_request() {
    let config = Config::new();
    let mut memory = Memory::new(1024, 140, 140);
    // A client that asks, says something, and is gone.
    let input = [upgrade("/", &[]), masked(0x81, b"bye")].concat();
    let mut drive = Drive::new(&mut memory, &config, App::new(accept));
    let (a, b) = input.split_at(input.len() - 20);
    drive.send(a);
    let spare = drive.session.spare(&mut drive.head, &mut drive.rx);
    spare[..b.len()].copy_from_slice(b);
    drive.session.fill(&mut drive.head, &mut drive.rx, b.len());
    drive.session.end(&mut drive.head, &mut drive.rx);
    drive.pump();
    assert_eq!(Http::take(&mut drive.out).status, 101);
    assert_eq!(messages(&frames(&drive.out)), [(1, b"bye".to_vec())]);
    assert_eq!(drive.handler.closed.len(), 1);
    assert!(drive.outcome.unwrap().is_disconnect());
}

// ---- answers ----

#[test]
#[cfg_attr(
    all(feature = "small", not(feature = "std")),
    ignore = "small: no texts of refusals, no bodies of responses"
)]
fn every_refusal_says_its_length_and_closes() {
    let config = Config::new();
    let cr =
        |_: &Request<'_>| Decision::Respond(Response::text(200, "ok").with_headers(&[("X", "a\r\nY: b")]));
    let large = |_: &Request<'_>| Decision::Respond(Response::text(200, ResponseBody::Copied(&PAGE)));
    let missing = |_: &Request<'_>| Decision::Respond(Response::text(404, "nothing here"));
    let odd = |_: &Request<'_>| Decision::Respond(Response::text(418, "short and stout"));
    let empty = |_: &Request<'_>| Decision::Respond(Response::empty(200));
    let good = upgrade("/", &[]);
    let origin = upgrade("/", &["Origin: http://evil.com"]);
    let post = request("POST", "/", &["Host: a", "Upgrade: websocket"]);
    let plain = request("GET", "/", &["Host: a"]);
    let long = upgrade("/", &[&format!("X: {}", "x".repeat(2000))]);
    type Lines<'a> = &'a [(&'a str, &'a str)];
    let cases: [(Decide<'_>, &[u8], &str, Lines<'_>); 11] = [
        (&accept, b"nonsense\r\n\r\n", "400 Bad Request", &[]),
        (&accept, &origin, "403 Forbidden", &[]),
        (&missing, &good, "404 Not Found", &[("Content-Type", "text/plain; charset=utf-8")]),
        (&accept, &post, "405 Method Not Allowed", &[("Allow", "GET")]),
        (&odd, &good, "418 ", &[("Content-Type", "text/plain; charset=utf-8")]),
        (
            &accept,
            &plain,
            "426 Upgrade Required",
            &[("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")],
        ),
        (&accept, &long, "431 Request Header Fields Too Large", &[]),
        (&cr, &good, "500 Internal Server Error", &[]),
        (&large, &good, "500 Internal Server Error", &[]),
        (&empty, &good, "200 OK", &[]),
        (&page, &good, "200 OK", &[("Content-Type", "text/html")]),
    ];
    for (decide, request, line, fields) in cases {
        for (rx, tx) in [(140, 140), (16384, 16384)] {
            for take in [1, 139, usize::MAX] {
                let mut memory = Memory::new(1024, rx, tx);
                let mut drive = Drive::new(&mut memory, &config, App::new(decide));
                drive.take = take;
                drive.feed(request);
                let answer = Http::parse(&drive.out);
                assert_eq!(answer.line, format!("HTTP/1.1 {line}"));
                answer.check_closing(true);
                let mut expected: Vec<_> = fields.to_vec();
                let len = answer.body.len().to_string();
                expected.push(("Content-Length", &len));
                let upgrade = line.starts_with("426");
                expected.push(("Connection", if upgrade { "Upgrade, close" } else { "close" }));
                let got: Vec<_> = answer.fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                assert_eq!(got, expected);
                // Shutdown once, later bytes ignored, the end at the end of the stream.
                assert_eq!((drive.shutdowns, drive.outcome), (1, None));
                let len = drive.out.len();
                drive.send(&[&b"GET / HTTP/1.1\r\n\r\n"[..]; 100].concat());
                drive.end();
                assert_eq!(drive.refused(), Some(answer.status));
                assert_eq!(drive.out.len(), len);
                assert!(drive.handler.closed.is_empty(), "what was never open is not closed");
                assert!(drive.rx.is_empty() && drive.tx.is_empty() && drive.head.is_empty());
            }
        }
    }
}

#[cfg(feature = "alloc")]
#[test]
fn an_owned_body_may_be_longer_than_every_buffer() {
    let config = Config::new();
    let body: Vec<u8> = (0..10_000u32).map(|n| n as u8).collect();
    let large = |_: &Request<'_>| {
        let response = Response::new(200, "application/octet-stream", body.clone());
        Decision::Respond(response.with_header("X-Name", String::from("value")).with_headers(&[("X", "y")]))
    };
    for take in [1, 139, usize::MAX] {
        let mut memory = Memory::new(256, 140, 140);
        let mut drive = Drive::new(&mut memory, &config, App::new(large));
        drive.take = take;
        drive.feed(&upgrade("/", &[]));
        let answer = Http::parse(&drive.out);
        answer.check_closing(true);
        let fields: Vec<_> = answer.fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let own = [("Content-Type", "application/octet-stream"), ("X", "y"), ("X-Name", "value")];
        assert_eq!(fields, [&own[..], &[("Content-Length", "10000"), ("Connection", "close")]].concat());
        assert!(answer.body == body);
    }
    let malformed = |_: &Request<'_>| Decision::Respond(Response::empty(200).with_header("X", "a\r\nY: b"));
    assert_eq!(answer(&config, 256, App::new(malformed), &upgrade("/", &[])).status, 500);
}

#[cfg(feature = "alloc")]
#[test]
fn an_owned_response_is_the_same_response() {
    let (name, value, body) = (String::from("X"), String::from("y"), String::from("hello"));
    let fields = [(name.as_str(), value.as_str())];
    let borrowed = Response::text(200, ResponseBody::Copied(body.as_bytes())).with_headers(&fields);
    let owned: Response<'static> = borrowed.clone().with_header("Z", &*value).into_owned();
    assert_eq!((owned.status(), owned.body()), (200, borrowed.body()));
    for (name, value) in [("content-type", "text/plain; charset=utf-8"), ("x", "y"), ("z", "y")] {
        assert_eq!(owned.header(name), Some(value));
    }
    assert_eq!(borrowed.header("z"), None);
}

#[test]
fn a_refused_peer_that_stays_is_dropped_at_the_deadline() {
    let config = Config::new();
    let mut memory = Memory::new(1024, 140, 140);
    let mut drive = Drive::new(&mut memory, &config, App::new(accept));
    drive.pass(3 * SECOND);
    drive.send(&request("GET", "/", &["Host: a"]));
    assert_eq!((drive.shutdowns, drive.outcome), (1, None));
    // `Timeouts::close` from the answer on, not what is left of the handshake's time.
    assert_eq!(drive.deadline, Some(NOW.saturating_add(3 * SECOND + 5 * SECOND)));
    drive.pass(5 * SECOND - Duration::from_micros(1));
    drive.send(b"still here");
    assert_eq!(drive.outcome, None);
    drive.pass_deadline();
    assert_eq!(drive.outcome, Some(Outcome::Refused(Rejection::UpgradeRequired.into())));
    drive.pass(SECOND);
    assert_eq!(drive.outcome, Some(Outcome::Refused(Rejection::UpgradeRequired.into())));
}

#[test]
fn a_transport_that_fails_in_the_handshake() {
    let config = Config::new();
    let mut memory = Memory::new(1024, 140, 140);
    let half = &upgrade("/", &[])[..50];
    let refused = request("GET", "/", &["Host: a"]);
    for (input, take, outcome) in [
        (&[][..], usize::MAX, Outcome::Disconnected),
        (half, usize::MAX, Outcome::Disconnected),
        (&refused, 0, Outcome::Disconnected),
        (&refused, usize::MAX, Outcome::Refused(Rejection::UpgradeRequired.into())),
    ] {
        let mut drive = Drive::new(&mut memory, &config, App::new(accept));
        drive.take = take;
        drive.send(input);
        drive.session.transport_failed();
        drive.pump();
        assert_eq!(drive.outcome, Some(outcome));
        assert_eq!(outcome.is_disconnect(), outcome == Outcome::Disconnected);
        assert!(drive.handler.closed.is_empty());
        // The end of the stream in place of the failure.
        let mut drive = Drive::new(&mut memory, &config, App::new(accept));
        drive.send(input);
        drive.end();
        let outcome = if input == refused {
            Outcome::Refused(Rejection::UpgradeRequired.into())
        } else {
            Outcome::Disconnected
        };
        assert_eq!((drive.outcome, drive.out.is_empty()), (Some(outcome), outcome.is_disconnect()));
    }
}

#[test]
#[cfg_attr(
    all(feature = "small", not(feature = "std")),
    ignore = "small: no texts of refusals, no bodies of responses"
)]
fn an_answer_to_head_has_no_body() {
    let cr = |_: &Request<'_>| Decision::Respond(Response::text(200, "ok").with_headers(&[("X", "\r")]));
    let copied = |_: &Request<'_>| Decision::Respond(Response::text(404, "nothing here"));
    let cases: [(Decide<'_>, u16, usize); 4] = [
        (&page, 200, PAGE.len()),
        (&copied, 404, 12),
        (&accept, 405, Rejection::MethodNotAllowed.text().len()),
        (&cr, 500, Rejection::Internal.text().len()),
    ];
    for (decide, status, len) in cases {
        let answer = answer(&Config::new(), 1024, App::new(decide), &request("HEAD", "/", &["Host: a"]));
        assert_eq!(answer.status, status);
        assert_eq!(answer.field("Content-Length"), Some(&*len.to_string()));
        answer.check_closing(false);
    }
}

#[test]
fn a_page_larger_than_all_buffers_streams() {
    let config = Config::new();
    let mut memory = Memory::new(140, 140, 140);
    for take in [1, 2, 139, 140] {
        let mut drive = Drive::new(&mut memory, &config, App::new(page));
        drive.take = take;
        drive.send(&request("GET", "/", &["Host: a"]));
        let answer = Http::parse(&drive.out);
        assert_eq!(answer.status, 200);
        assert!(answer.body == PAGE);
        drive.end();
        assert_eq!(
            (drive.outcome, drive.shutdowns),
            (Some(Outcome::Refused(Refusal::by_application(200))), 1)
        );
        // One poll for each piece that was written, and a few around them.
        assert!(drive.polls <= PAGE.len() / take + PAGE.len() / 140 + 10, "{}", drive.polls);
    }
}

#[test]
fn a_page_may_be_read_slowly_but_has_to_be_read() {
    let config = Config::new();
    let mut memory = Memory::new(140, 140, 140);
    for stops in [false, true] {
        let mut drive = Drive::new(&mut memory, &config, App::new(page));
        drive.take = 0;
        drive.send(&request("GET", "/", &["Host: a"]));
        while drive.shutdowns == 0 && drive.outcome.is_none() {
            // Longer in all than `Timeouts::write`, but never so long without a byte, and within ten times that.
            drive.pass(SECOND);
            if stops && drive.out.len() > 1_000 {
                drive.pass(29 * SECOND);
            } else {
                let n = drive.tx.pending().len();
                drive.out.extend_from_slice(&drive.tx.pending()[..n]);
                drive.tx.consume(n);
                drive.pump();
            }
        }
        if stops {
            assert_eq!((drive.outcome, drive.shutdowns), (Some(Outcome::Disconnected), 0));
        } else {
            assert!(Http::parse(&drive.out).body == PAGE);
            drive.end();
            assert_eq!(drive.outcome, Some(Outcome::Refused(Refusal::by_application(200))));
        }
    }
}

#[test]
fn a_page_that_is_read_byte_by_byte_comes_to_an_end() {
    let config = Config::new();
    let mut memory = Memory::new(140, 140, 140);
    let mut drive = Drive::new(&mut memory, &config, App::new(page));
    drive.take = 0;
    drive.send(&request("GET", "/", &["Host: a"]));
    let mut seconds = 0;
    while drive.outcome.is_none() {
        drive.pass(20 * SECOND);
        seconds += 20;
        drive.tx.consume(1);
        drive.pump();
    }
    // Ten times `Timeouts::write`.
    assert_eq!((drive.outcome, seconds), (Some(Outcome::Disconnected), 300));
}

#[test]
fn busy_refuses_everything_in_the_smallest_buffers() {
    let config = Config::new();
    for (request, status) in [
        (upgrade("/", &[]), 503),
        (request("GET", "/", &["Host: a"]), 503),
        (request("GET", "/", &[]), 400),
        (request("POST", "/x", &["Host: a", "Content-Length: 3"]), 503),
        (b"nonsense\r\n\r\n".to_vec(), 400),
    ] {
        let answer = answer(&config, 256, ServiceUnavailable, &request);
        assert_eq!(answer.status, status);
        answer.check_closing(true);
        assert_eq!(answer.field("Retry-After"), (status == 503).then_some("1"));
    }
}

#[test]
#[cfg_attr(
    all(feature = "small", not(feature = "std")),
    ignore = "small: no texts of refusals, no bodies of responses"
)]
fn every_rejection_fits_the_smallest_head() {
    let faults = [
        BadRequest::NotHttp,
        BadRequest::Folded,
        BadRequest::HttpVersion,
        BadRequest::Host,
        BadRequest::Connection,
        BadRequest::Body,
        BadRequest::Version,
        BadRequest::Key,
        BadRequest::Protocol,
        BadRequest::HostTwice,
        BadRequest::OriginTwice,
        BadRequest::VersionTwice,
        BadRequest::KeyTwice,
    ];
    let others = [
        Rejection::Forbidden,
        Rejection::MethodNotAllowed,
        Rejection::Timeout,
        Rejection::UpgradeRequired,
        Rejection::TooLarge,
        Rejection::TooManyFields,
        Rejection::Internal,
        Rejection::Unavailable,
    ];
    for rejection in faults.map(Rejection::BadRequest).into_iter().chain(others) {
        let respond = |_: &Request<'_>| Decision::Respond(rejection.into());
        let answer = answer(&Config::new(), 140, App::new(respond), &request("GET", "/", &["Host: a"]));
        assert_eq!(answer.status, rejection.status(), "{rejection}");
        assert_eq!(answer.body, rejection.text().as_bytes());
        answer.check_closing(true);
    }
}

#[test]
fn targets_in_every_form() {
    for (target, path, query) in [
        ("/", "/", ""),
        ("/a/b", "/a/b", ""),
        ("/a?", "/a", ""),
        ("/a?b?c=/d", "/a", "b?c=/d"),
        ("/a?u=http://b/c", "/a", "u=http://b/c"),
        ("/http://a/b", "/http://a/b", ""),
        ("//a/b", "//a/b", ""),
        // What a proxy sends.
        ("http://host", "/", ""),
        ("http://host/", "/", ""),
        ("http://host:80/a?b", "/a", "b"),
        ("http://host?b", "/", "b"),
        ("http://host?b=/ws", "/", "b=/ws"),
        ("*", "*", ""),
        ("host:443", "host:443", ""),
    ] {
        let config = Config::new();
        let head = request("OPTIONS", target, &["Host: host"]);
        let request = Request::parse(&head, &config).unwrap();
        assert_eq!((request.path(), request.query()), (path, query), "{target}");
    }
}

#[test]
fn parameters_of_the_query() {
    let config = Config::new();
    let head = request("GET", "/?a=1&b&=x&c==&a=2&d=%20", &["Host: host"]);
    let request = Request::parse(&head, &config).unwrap();
    for (name, value) in [
        ("a", Some("1")),
        ("b", Some("")),
        ("", Some("x")),
        ("c", Some("=")),
        ("d", Some("%20")),
        ("A", None),
        ("e", None),
    ] {
        assert_eq!(request.query_value(name), value, "{name}");
    }
}

#[test]
fn fields_that_are_written_anyway_and_statuses_that_are_none_end_in_500() {
    const TWICE: [(&str, &str); 3] =
        [("content-length", "7"), ("Transfer-Encoding", "chunked"), ("Connection", "keep-alive")];
    let config = Config::new();
    let status = |response: Response<'static>| {
        answer(&config, 1024, App::new(|_| Decision::Respond(response.clone())), &upgrade("/", &[])).status
    };
    for code in [0, 100, 101, 199, 600, 1000] {
        assert_eq!(status(Response::text(code, "")), 500, "{code}");
    }
    for headers in TWICE.chunks(1) {
        let headers: &'static [_] = Box::leak(headers.to_vec().into());
        assert_eq!(status(Response::text(200, "").with_headers(headers)), 500, "{headers:?}");
    }
    let headers = &[("Content-Type", "text/css")];
    assert_eq!(status(Response::text(200, "").with_headers(headers)), 500);
    assert_eq!(status(Response::empty(200).with_headers(headers)), 200);
}

#[test]
fn some_answers_have_no_body() {
    let config = Config::new();
    for code in [204, 304] {
        let mut memory = Memory::new(1024, 140, 140);
        let decide = move |_: &Request<'_>| Decision::Respond(Response::text(code, ""));
        let mut drive = Drive::new(&mut memory, &config, App::new(decide));
        drive.feed(&upgrade("/", &[]));
        let text = String::from_utf8(drive.out.clone()).unwrap();
        assert!(text.ends_with("\r\n\r\n"), "{text}");
        assert!(!text.contains("Content-Length"), "{text}");
    }
}

#[test]
fn a_host_that_is_none_is_400() {
    let config = Config::new();
    let good = "Host: server.example.com";
    for (host, status) in
        [("a b", 400), ("a/b", 400), ("user@a", 400), ("a?", 400), ("", 400), ("[::1]:80", 101), ("a:8", 101)]
    {
        let request = String::from_utf8(upgrade("/", &[])).unwrap().replace(good, &format!("Host: {host}"));
        let accept = App::new(|_| Decision::accept());
        assert_eq!(answer(&config, 1024, accept, request.as_bytes()).status, status, "{host}");
    }
}

#[test]
fn a_subprotocol_may_be_known_only_at_run_time() {
    let config = Config::new();
    for (offer, own, written, told) in [
        ("chat, echo", "echo", Some("echo"), None),
        ("chat, echo", "chat", Some("chat"), None),
        ("chat", "echo", Some("chat"), Some("chat")),
        ("mqtt", "echo", None, None),
        ("echo", "Echo", None, None),
    ] {
        let name = leak(own);
        let options = || AcceptOptions::new().protocols(&["chat"]).protocol(name);
        let request = upgrade("/", &[&format!("Sec-WebSocket-Protocol: {offer}")]);
        let mut memory = Memory::new(1024, 140, 140);
        let accept = App::new(|_: &Request<'_>| Decision::Accept(options()));
        let mut drive = Drive::new(&mut memory, &config, accept);
        let answer = drive.open(&request);
        assert_eq!(answer.field("Sec-WebSocket-Protocol"), written, "{offer}");
        assert_eq!(drive.handler.opened, [told.map(str::to_owned)]);
        let status = if written.is_some() { 101 } else { 400 };
        assert_eq!(ask(&config, options().require_protocol(), &request).status, status);
    }
}
