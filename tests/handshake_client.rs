//! The client's side of the opening handshake: URLs, the request byte for byte, and the responses of a hostile server.

mod session_driver;
mod wire;

use std::time::Duration;

use sansocket::handshake::{
    AcceptOptions, ClientHandshake, ClientHandshakeEnd as End, ClientRequest, Decision, HandshakeError,
    HeadError, RefusedResponse, ServerHandshake, ServerHandshakeEnd, UrlError, WsUrl,
};
use sansocket::{Config, Instant, ReceiveBuffer, Step, TransmitBuffer};
use session_driver::{Memory, RFC_ACCEPT, RFC_KEY, leak};

const NOW: Instant = Instant::from_millis(1_000);
const SECOND: Duration = Duration::from_secs(1);
/// What becomes the key of the RFC's example.
const NONCE: [u8; 16] = *b"the sample nonce";

struct Drive<'m, 'c, 'u> {
    handshake: ClientHandshake<'u, &'c Config>,
    head: ReceiveBuffer<'m>,
    rx: ReceiveBuffer<'m>,
    tx: TransmitBuffer<'m>,
    now: Instant,
    /// What the server has read.
    out: Vec<u8>,
    take: usize,
    deadline: Option<Instant>,
    done: Option<End<'u>>,
}

impl<'m, 'c, 'u> Drive<'m, 'c, 'u> {
    fn new(
        memory: &'m mut Memory,
        config: &'c Config,
        connect: &ClientRequest<'u>,
    ) -> Result<Self, HeadError> {
        let (mut head, rx, tx) = memory.buffers();
        let handshake = ClientHandshake::new(config, NOW, NONCE, connect, &mut head)?;
        let (out, take, deadline, done) = (Vec::new(), usize::MAX, None, None);
        Ok(Self { handshake, head, rx, tx, now: NOW, out, take, deadline, done })
    }

    fn pump(&mut self) {
        loop {
            match self.handshake.poll(self.now, &mut self.head, &mut self.rx, &mut self.tx) {
                Step::Wait { deadline } => {
                    assert_eq!(self.done, None, "there is nothing after the end");
                    assert!(deadline.is_none_or(|at| at > self.now));
                    self.deadline = deadline;
                }
                Step::Shutdown => panic!("a client's handshake shuts nothing down"),
                Step::Done(end) => {
                    assert!(self.done.is_none_or(|before| before == end), "the end is the same for ever");
                    self.done = Some(end);
                    return;
                }
            }
            let n = self.tx.pending().len().min(self.take);
            self.out.extend_from_slice(&self.tx.pending()[..n]);
            self.tx.consume(n);
            if n == 0 {
                return;
            }
        }
    }

    /// The server sends `bytes`; what was not read of them by the handshake.
    fn feed<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let mut rest = bytes;
        self.pump();
        while !rest.is_empty() && self.done.is_none() {
            let spare = self.handshake.spare(&mut self.head, &self.rx);
            let n = spare.len().min(rest.len());
            assert!(n > 0, "waits, and reads nothing");
            spare[..n].copy_from_slice(&rest[..n]);
            rest = &rest[n..];
            self.handshake.fill(&mut self.head, n);
            self.pump();
        }
        rest
    }

    fn end(&mut self) {
        self.pump();
        self.handshake.end(&mut self.head);
        self.pump();
    }
}

fn connect(url: &str) -> ClientRequest<'_> {
    ClientRequest::parse(url).unwrap()
}

/// The request that a client sends.
fn request(connect: &ClientRequest<'_>) -> Result<String, HeadError> {
    let config = Config::new();
    let mut memory = Memory::new(2048, 140, 140);
    let mut drive = Drive::new(&mut memory, &config, connect)?;
    drive.pump();
    Ok(String::from_utf8(drive.out).unwrap())
}

/// What a client makes of an answer, whose reading it ends at the end of the stream.
fn outcome<'u>(connect: &ClientRequest<'u>, answer: &[u8]) -> End<'u> {
    let config = Config::new();
    let mut memory = Memory::new(2048, 140, 140);
    let mut drive = Drive::new(&mut memory, &config, connect).unwrap();
    drive.feed(answer);
    if drive.done.is_none() {
        drive.end();
    }
    drive.done.unwrap()
}

/// A good answer with further lines.
fn switch(more: &[&str]) -> String {
    let mut head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {RFC_ACCEPT}\r\n"
    );
    more.iter().for_each(|line| head.extend([line, "\r\n"]));
    head + "\r\n"
}

#[test]
fn urls_are_parsed() {
    for (url, secure, host, port) in [
        ("ws://host", false, "host", 80),
        ("wss://host", true, "host", 443),
        ("WS://HOST", false, "HOST", 80),
        ("Wss://host/", true, "host", 443),
        ("ws://host:80", false, "host", 80),
        ("ws://host:8080/path", false, "host", 8080),
        ("wss://host:80?query", true, "host", 80),
        ("ws://host:65535", false, "host", 65535),
        ("ws://host:00080", false, "host", 80),
        ("ws://192.168.4.2/ws", false, "192.168.4.2", 80),
        ("ws://[::1]", false, "::1", 80),
        ("wss://[2001:db8::1]:8443/ws", true, "2001:db8::1", 8443),
        ("ws://[::ffff:192.0.2.1]:1/?x=[::2]:3", false, "::ffff:192.0.2.1", 1),
        ("ws://esp32_2.local/a://b:c@d", false, "esp32_2.local", 80),
        ("ws://xn--bcher-kva.example", false, "xn--bcher-kva.example", 80),
        // RFC 3986 §3.2.3: "port = *DIGIT".
        ("ws://host:", false, "host", 80),
        ("wss://host:/", true, "host", 443),
        ("ws://[::1]:", false, "::1", 80),
        ("ws://[::1]:?a", false, "::1", 80),
        ("ws://user:secret@host:81/", false, "host", 81),
        ("ws://user:80@host", false, "host", 80),
        ("ws://[::]", false, "::", 80),
        ("ws://[1:2:3:4:5:6:7:8]:9", false, "1:2:3:4:5:6:7:8", 9),
    ] {
        let address = WsUrl::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!((address.is_secure(), address.host(), address.port()), (secure, host, port), "{url}");
    }
}

#[test]
#[cfg_attr(
    all(feature = "small", not(feature = "std")),
    ignore = "small: only the characters of an address are checked"
)]
fn invalid_urls_are_errors() {
    use UrlError::*;
    for (url, error) in [
        ("", Scheme),
        ("host", Scheme),
        ("host/ws", Scheme),
        ("//host", Scheme),
        ("ws:host", Scheme),
        ("ws:/host", Scheme),
        ("://host", Scheme),
        ("http://host", Scheme),
        ("https://host", Scheme),
        ("wsss://host", Scheme),
        (" ws://host", Scheme),
        ("ws://", Host),
        ("ws:///path", Host),
        ("ws://?query", Host),
        ("ws://:80", Host),
        ("ws://user@", Host),
        ("ws://user:secret@:80", Host),
        ("ws://user@/", Host),
        ("ws://ho st", Host),
        ("ws://host ", Host),
        ("ws://ho\tst", Host),
        ("ws://ho\r\nst", Host),
        ("ws://ho\0st", Host),
        ("ws://host\\path", Host),
        ("ws://ho\"st", Host),
        ("ws://h\u{f6}st", Host),
        ("ws://[]", Ipv6),
        ("ws://[::1", Ipv6),
        ("ws://[::1]80", Host),
        ("ws://[::1\r\n]", Ipv6),
        ("ws://host]", Host),
        ("ws://[not an address]", Ipv6),
        ("ws://[nonsense]", Ipv6),
        ("ws://[192.168.4.2]", Ipv6),
        ("ws://[:]", Ipv6),
        ("ws://[1:2]", Ipv6),
        ("ws://[::g]", Ipv6),
        ("ws://[fe80::1%25eth0]", Ipv6),
        ("ws://[v1.x]", Ipv6),
        ("ws://host:0", Port),
        ("ws://host:65536", Port),
        ("ws://host:80x", Port),
        ("ws://host:+80", Port),
        ("ws://host:-1", Port),
        ("ws://host: 80", Port),
        ("ws://host:80:80", Port),
        ("ws://[::1]:x", Port),
        ("ws://::1", Host),
        ("ws://host#", Fragment),
        ("ws://host/path#fragment", Fragment),
        ("ws://host/?query#fragment", Fragment),
        ("ws://host/a b", Character(' ')),
        ("ws://host/?a b", Character(' ')),
        ("ws://host/ ", Character(' ')),
        ("ws://host/\r\nX: y", Character('\r')),
        ("ws://host/\n", Character('\n')),
        ("ws://host/\0", Character('\0')),
        ("ws://host/\u{7f}", Character('\u{7f}')),
        ("ws://host/\u{fc}", Character('\u{fc}')),
        ("ws://host/a\\b", Character('\\')),
        ("ws://host/?a=\"b\"", Character('"')),
        ("ws://host/<b>", Character('<')),
        ("ws://host/b>", Character('>')),
        ("ws://host/a^b", Character('^')),
        ("ws://host/a`b", Character('`')),
        ("ws://host/?{}", Character('{')),
        ("ws://host/a}", Character('}')),
        ("ws://host/a|b", Character('|')),
        ("ws://us er@host/", Character(' ')),
        ("ws://user:p\u{e9}@host/", Character('\u{e9}')),
    ] {
        let parsed = WsUrl::parse(url);
        assert_eq!(parsed, Err(error), "{url:?}");
    }
}

#[test]
fn user_and_password_are_shown_but_not_sent() {
    for (url, userinfo, host) in [
        ("ws://host/", None, "host"),
        ("ws://user@host/", Some("user"), "host"),
        ("ws://user:secret@host:8080/a@b", Some("user:secret"), "host:8080"),
        ("wss://user:@[::1]:1/", Some("user:"), "[::1]:1"),
        ("ws://a%40b:c%3Ad@host", Some("a%40b:c%3Ad"), "host"),
        ("ws://a@b@host", Some("a@b"), "host"),
        ("ws://@host", None, "host"),
        ("ws://host/a@b", None, "host"),
        ("ws://host?a@b", None, "host"),
    ] {
        let address = WsUrl::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!((address.userinfo(), address.authority()), (userinfo, host), "{url}");
        let request = request(&ClientRequest::new(address)).unwrap();
        assert!(request.contains(&format!("\r\nHost: {host}\r\n")), "{request}");
        assert!(!request.contains("secret") && !request.contains("Authorization"), "{request}");
        assert!(!format!("{address:?}").contains("secret"), "{address:?}");
    }
}

#[test]
fn a_request_does_not_show_what_may_be_secret() {
    let request =
        connect("ws://user:secret@host/").headers(&[("Cookie", "secret"), ("Authorization", "secret")]);
    let shown = format!("{request:?}");
    assert!(shown.contains("Cookie") && shown.contains("***@host"), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn a_request_is_written_byte_for_byte() {
    let golden = "GET /chat?room=1 HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    let mut ask = connect("ws://server.example.com/chat?room=1");
    assert_eq!(request(&ask).unwrap(), format!("{golden}\r\n"));
    ask = ask.protocols(&["chat", "superchat"]);
    let protocols = "Sec-WebSocket-Protocol: chat, superchat\r\n";
    assert_eq!(request(&ask).unwrap(), format!("{golden}{protocols}\r\n"));
    ask = ask.headers(&[
        ("Origin", "http://example.com"),
        ("Authorization", "Basic eDp5"),
        ("X-Empty", ""),
        ("Cookie", "a=\u{e9}\tb"),
    ]);
    let headers =
        "Origin: http://example.com\r\nAuthorization: Basic eDp5\r\nX-Empty: \r\nCookie: a=\u{e9}\tb\r\n";
    assert_eq!(request(&ask).unwrap(), format!("{golden}{protocols}{headers}\r\n"));
    ask = ask.protocols(&["one"]);
    let protocols = "Sec-WebSocket-Protocol: one\r\n";
    assert_eq!(request(&ask).unwrap(), format!("{golden}{protocols}{headers}\r\n"));
}

#[test]
fn host_and_target_are_those_of_the_url() {
    for (url, target, host) in [
        ("ws://host", "/", "host"),
        ("ws://host/", "/", "host"),
        ("ws://host?a=b", "/?a=b", "host"),
        ("ws://host/?a=b", "/?a=b", "host"),
        ("ws://host/a/../b//c", "/a/../b//c", "host"),
        ("ws://host/%20%C3%A9", "/%20%C3%A9", "host"),
        ("ws://host:8080/a", "/a", "host:8080"),
        ("wss://host:8443?a", "/?a", "host:8443"),
        ("wss://192.168.4.2", "/", "192.168.4.2"),
        ("ws://[::1]/a", "/a", "[::1]"),
        ("ws://[2001:db8::1]:8080", "/", "[2001:db8::1]:8080"),
    ] {
        let request = request(&connect(url)).unwrap();
        let expected = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n");
        assert!(request.starts_with(&expected), "{url}: {request}");
    }
}

#[test]
fn a_request_with_control_characters_is_an_error_and_sends_nothing() {
    for byte in (0..=u8::MAX).filter(u8::is_ascii) {
        let text = leak(format!("a{}b", char::from(byte)));
        let value = byte == b'\t' || (b' '..0x7F).contains(&byte);
        let token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let good = connect("ws://host/");
        for (ask, good, error) in [
            (good.headers(&[("X-Name", text)]), value, HeadError::Header),
            (good.headers(&[("X-First", "x"), (text, "value")]), token, HeadError::Header),
            (good.protocols(&[text]), token, HeadError::Protocol),
            (good.protocols(&["first", text]), token, HeadError::Protocol),
        ] {
            let (config, mut memory) = (Config::new(), Memory::new(2048, 140, 140));
            let (mut head, ..) = memory.buffers();
            let made = ClientHandshake::new(&config, NOW, NONCE, &ask, &mut head);
            assert_eq!(made.err(), (!good).then_some(error), "{byte:#x}");
            assert_eq!(head.unread().is_empty(), !good, "nothing is there to be sent");
        }
        // What stands in the URL has been looked at before.
        if let Ok(address) = WsUrl::parse(&format!("ws://host/{text}")) {
            assert!((b'!'..0x7F).contains(&byte) && !b"#\"<>\\^`{|}".contains(&byte), "{byte:#x}");
            let line = request(&ClientRequest::new(address)).unwrap();
            assert!(line.starts_with(&format!("GET /{text} HTTP/1.1\r\nHost: host\r\n")), "{line}");
        }
    }
    let good = connect("ws://host/");
    assert_eq!(request(&good.headers(&[("", "x")])), Err(HeadError::Header));
    assert_eq!(request(&good.protocols(&[""])), Err(HeadError::Protocol));
    assert_eq!(request(&good.protocols(&["a, b"])), Err(HeadError::Protocol));
}

#[test]
fn a_subprotocol_is_offered_once() {
    let good = connect("ws://host/");
    for protocols in [&["a", "a"][..], &["a", "b", "a"], &["b", "a", "a"], &["a", "b", "c", "d", "b"]] {
        assert_eq!(request(&good.protocols(protocols)), Err(HeadError::ProtocolTwice), "{protocols:?}");
    }
    // Strings that are unique are compared with case.
    assert!(request(&good.protocols(&["a", "A", "ab"])).is_ok());
}

#[test]
fn a_request_that_fits_to_the_byte() {
    let config = Config::new();
    let ask = connect("ws://host/")
        .headers(&[("X-Filler", "some more, so that it is longer than the smallest buffer")]);
    let len = request(&ask).unwrap().len();
    for (size, error) in [(len - 1, Some(HeadError::TooLarge)), (len, None)] {
        let mut memory = Memory::new(size, 140, 140);
        assert_eq!(Drive::new(&mut memory, &config, &ask).err(), error);
    }
}

#[test]
fn bytes_after_the_101_are_kept() {
    let config = Config::new();
    let ask = connect("ws://server.example.com/chat");
    let answer = switch(&[]);
    let frames: Vec<u8> = (0..5_000).map(|i| (i % 251) as u8).collect();
    let input = [answer.as_bytes(), &frames].concat();
    let first = (0..answer.len() + 20).map(|at| (at, usize::MAX));
    for (head, rx) in [(512, 140), (300, 200), (8192, 140), (8192, 8192)] {
        let mut memory = Memory::new(head, rx, 140);
        for (first, size) in first.clone().chain([1, 3, 139, 140, 141].map(|size| (0, size))) {
            let mut drive = Drive::new(&mut memory, &config, &ask).unwrap();
            let mut unread = Vec::new();
            let (a, b) = input.split_at(first);
            for piece in [a].into_iter().chain(b.chunks(size.min(input.len()))) {
                unread.extend_from_slice(drive.feed(piece));
            }
            assert_eq!(drive.done, Some(End::Opened { protocol: None }));
            // What was read behind the head, and then what the transport still has: nothing lost or doubled.
            assert!([drive.rx.unread(), &unread].concat() == frames, "{head}, {rx}, {first}, {size}");
            assert!(drive.handshake.spare(&mut drive.head, &drive.rx).is_empty());
        }
    }
}

#[test]
fn every_field_of_a_response_is_checked() {
    use HandshakeError::*;
    let ask = connect("ws://server.example.com/chat").protocols(&["chat", "superchat"]);
    let good = switch(&[]);
    let accept = format!("Sec-WebSocket-Accept: {RFC_ACCEPT}\r\n");
    let failed = |error| End::Failed(error);
    assert_eq!(outcome(&ask, good.as_bytes()), End::Opened { protocol: None });
    for (from, to, step) in [
        // As §4.1 has it: these are compared without case, and Connection is a list.
        ("Upgrade: websocket", "upgrade: WebSocket", End::Opened { protocol: None }),
        ("Connection: Upgrade", "CONNECTION: keep-alive, uPGRADE", End::Opened { protocol: None }),
        ("Switching Protocols", "Whatever You Like", End::Opened { protocol: None }),
        (" Switching Protocols", "", End::Opened { protocol: None }),
        (RFC_ACCEPT, &format!("  {RFC_ACCEPT}\t"), End::Opened { protocol: None }),
        ("Sec-WebSocket-Accept", "sec-websocket-accept", End::Opened { protocol: None }),
        ("Upgrade: websocket\r\n", "", failed(Upgrade)),
        ("Upgrade: websocket", "Upgrade: h2c", failed(Upgrade)),
        ("Upgrade: websocket", "Upgrade: websockets", failed(Upgrade)),
        ("Upgrade: websocket", "Upgrade:", failed(Upgrade)),
        // "contains a value that is not an ASCII case-insensitive match for the value "websocket"" (§4.1)
        ("Upgrade: websocket", "Upgrade: websocket, h2c", failed(Upgrade)),
        ("Upgrade: websocket", "Upgrade: websocket\r\nUpgrade: h2c", failed(Upgrade)),
        ("Connection: Upgrade\r\n", "", failed(Connection)),
        ("Connection: Upgrade", "Connection: close", failed(Connection)),
        ("Connection: Upgrade", "Connection: Upgraded", failed(Connection)),
        (&accept, "", failed(Accept)),
        (RFC_ACCEPT, "", failed(Accept)),
        (RFC_ACCEPT, "Jg/fQVRsgwdDzYeG8yNBHRajUxw=", failed(Accept)),
        (RFC_ACCEPT, "S3PPLMBITXAQ9KYGZZHZRBK+XOO=", failed(Accept)),
        (RFC_ACCEPT, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo", failed(Accept)),
        (RFC_ACCEPT, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=x", failed(Accept)),
        (RFC_ACCEPT, RFC_KEY, failed(Accept)),
        (&accept, &format!("{accept}{accept}"), failed(Accept)),
        (&accept, &format!("{accept}Sec-WebSocket-Accept: other\r\n"), failed(Accept)),
        ("HTTP/1.1", "HTTP/2.0", failed(NotHttp)),
        ("HTTP/1.1", "HTTP/1.0", failed(NotHttp)),
        ("HTTP/1.1", "HTTP1.1", failed(NotHttp)),
        ("HTTP/1.1", "ICY", failed(NotHttp)),
        (" 101 ", " 1O1 ", failed(NotHttp)),
        (" 101 ", " 1010 ", failed(NotHttp)),
        ("\r\nUpgrade", "\nUpgrade", failed(NotHttp)),
        ("Upgrade: web", "Upgr\u{0}ade: web", failed(NotHttp)),
        ("Upgrade: web", "Upgrade : web", failed(NotHttp)),
        // Folded into the field before it.
        ("Connection: ", " Connection: ", failed(Upgrade)),
    ] {
        assert!(good.contains(from), "{from}");
        assert_eq!(outcome(&ask, good.replacen(from, to, 1).as_bytes()), step, "{from:?} -> {to:?}");
    }
}

#[test]
fn a_subprotocol_that_was_not_offered_is_an_error() {
    use HandshakeError::*;
    let offered = connect("ws://server.example.com/chat").protocols(&["chat", "superchat"]);
    let none = connect("ws://server.example.com/chat");
    for (lines, ask, step) in [
        (&["Sec-WebSocket-Protocol: chat"][..], offered, End::Opened { protocol: Some("chat") }),
        (&["sec-websocket-protocol:\tsuperchat "], offered, End::Opened { protocol: Some("superchat") }),
        (&[], offered, End::Opened { protocol: None }),
        (&["Sec-WebSocket-Protocol: Chat"], offered, End::Failed(Protocol)),
        (&["Sec-WebSocket-Protocol: other"], offered, End::Failed(Protocol)),
        (&["Sec-WebSocket-Protocol: chat, superchat"], offered, End::Failed(Protocol)),
        (&["Sec-WebSocket-Protocol: chat,"], offered, End::Failed(Protocol)),
        (&["Sec-WebSocket-Protocol:"], offered, End::Failed(Protocol)),
        (&["Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: chat"], offered, End::Failed(Protocol)),
        (&["Sec-WebSocket-Protocol: chat"], none, End::Failed(Protocol)),
        (&["Sec-WebSocket-Protocol:"], none, End::Failed(Protocol)),
        (&["Sec-WebSocket-Extensions: permessage-deflate"], offered, End::Failed(Extension)),
        (&["Sec-WebSocket-Extensions: x; y=z"], none, End::Failed(Extension)),
        (&["Sec-WebSocket-Extensions: ,", "Sec-WebSocket-Extensions: x"], none, End::Failed(Extension)),
        (&["Sec-WebSocket-Extensions:"], none, End::Opened { protocol: None }),
        (&["Set-Cookie: a=b", "X-Anything: \u{e9}"], none, End::Opened { protocol: None }),
    ] {
        assert_eq!(outcome(&ask, switch(lines).as_bytes()), step, "{lines:?}");
    }
}

#[test]
#[cfg_attr(
    all(feature = "small", not(feature = "std")),
    ignore = "small: no texts of refusals, no bodies of responses"
)]
fn a_redirect_is_reported_and_not_followed() {
    let config = Config::new();
    let ask = connect("ws://a.example/").headers(&[("Authorization", "Basic c2VjcmV0")]);
    let body = "moved to another place";
    for (code, location) in [
        (301, "wss://a.example/"),
        (302, "ws://evil.example/"),
        (303, "/b"),
        (307, "//evil.example/"),
        (308, "http://x/"),
    ] {
        let answer =
            format!("HTTP/1.1 {code} Moved\r\nLocation: {location}\r\nContent-Length: 22\r\n\r\n{body}");
        for size in [1, 7, answer.len()] {
            let mut memory = Memory::new(512, 140, 140);
            let mut drive = Drive::new(&mut memory, &config, &ask).unwrap();
            drive.pump();
            let asked = drive.out.len();
            answer.as_bytes().chunks(size).for_each(|piece| _ = drive.feed(piece));
            assert_eq!(drive.done, Some(End::Refused));
            assert!(drive.out.len() == asked && drive.tx.is_empty(), "nothing more is sent");
            let reply = RefusedResponse::parse(&drive.head, &config).unwrap();
            assert_eq!((reply.status, reply.body), (code, body.as_bytes()));
            assert_eq!(reply.headers.get("location"), Some(location.as_bytes()));
            assert!(drive.rx.is_empty(), "a body is not taken for frames");
        }
    }
}

/// The end of a refusal, in pieces of every size: status, body, whether that is all of it; and whether the end of the
/// stream was needed for it.
fn refusal(answer: &str, memory: usize) -> Result<(u16, String, bool, bool), HandshakeError> {
    let config = Config::new();
    let ask = connect("ws://server.example.com/");
    let mut seen = None;
    for size in [1, 2, 3, 5, 139, 4000] {
        let mut memory = Memory::new(memory, 140, 140);
        let mut drive = Drive::new(&mut memory, &config, &ask).unwrap();
        for piece in answer.as_bytes().chunks(size) {
            if drive.done.is_none() {
                drive.feed(piece);
            }
        }
        let waits = drive.done.is_none();
        if waits {
            drive.end();
        }
        let got = match drive.done.unwrap() {
            End::Refused => {
                let reply = RefusedResponse::parse(&drive.head, &config).unwrap();
                let body = String::from_utf8(reply.body.to_vec()).unwrap();
                Ok((reply.status, body, reply.complete, waits))
            }
            End::Failed(error) => Err(error),
            other => panic!("{other:?}"),
        };
        assert_eq!(*seen.get_or_insert_with(|| got.clone()), got, "{answer:?} in pieces of {size}");
    }
    seen.unwrap()
}

#[test]
#[cfg_attr(
    all(feature = "small", not(feature = "std")),
    ignore = "small: no texts of refusals, no bodies of responses"
)]
fn a_refusal_ends_where_its_body_ends() {
    let long = "x".repeat(1000);
    let chunked = "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n";
    for (head, body, seen, complete, waits) in [
        // RFC 9112 §6.3: with its last byte, at the end of the stream, or as much as the memory holds.
        ("HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\n", "token", "token", true, false),
        ("HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\n", "token and more", "token", true, false),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n", "", "", true, false),
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 5, 5\r\ncontent-length: 005\r\n",
            "token",
            "token",
            true,
            false,
        ),
        ("HTTP/1.1 503 Busy\r\ncontent-length: 2000\r\n", "short", "short", false, true),
        ("HTTP/1.1 400 Bad\r\n", "until the end", "until the end", true, true),
        ("HTTP/1.1 400 Bad\r\n", "", "", true, true),
        ("HTTP/1.0 500 Old\r\n", &long, &long[..512 - 20], false, false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 471\r\n", &long, &long[..471], true, false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n", &long, &long[..512 - 41], false, false),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n",
            &long,
            &long[..512 - 57],
            false,
            false,
        ),
        // No body, whatever the fields say; a status that is none is not an interim answer.
        ("HTTP/1.1 204 No Content\r\n", "", "", true, false),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n", "token", "", true, false),
        (
            "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n",
            "5\r\ntoken\r\n0\r\n\r\n",
            "",
            true,
            false,
        ),
        ("HTTP/1.1 042 What\r\nContent-Length: 1\r\n", "x", "x", true, false),
        ("HTTP/1.1 600 What\r\nContent-Length: 1\r\n", "x", "x", true, false),
        // Chunks: of every size, with white space, extensions and trailers, and what is no chunk.
        (chunked, "0\r\n\r\n", "", true, false),
        (chunked, "5\r\ntoken\r\n0\r\n\r\n", "token", true, false),
        (chunked, "1\r\nt\r\n1\r\no\r\n3\r\nken\r\n000\r\n\r\nmore", "token", true, false),
        (chunked, "A\r\n0123456789\r\na\r\nabcdefghij\r\n0\r\n\r\n", "0123456789abcdefghij", true, false),
        (chunked, "3 \t\r\n\r\n0\r\n0 \r\n\r\n", "\r\n0", true, false),
        (chunked, "5;a=b;c=\"d\"\r\ntoken\r\n0;x\r\nA: b\r\nC: d\r\n\r\n", "token", true, false),
        (chunked, "5\r\ntoken\r\n", "token", false, true),
        (chunked, "5\r\ntok", "tok", false, true),
        (chunked, "5\r\ntoken\r\n0\r\n", "token", false, true),
        (chunked, "5\r\ntoken\r\n0\r\nA: b\r\n", "token", false, true),
        (chunked, "ffffffffffffffffffffffff\r\ntoken", "token", false, true),
        (chunked, "5\r\ntoken!", "token", false, false),
        (chunked, "5\r\ntoken\n", "token", false, false),
        (chunked, "5\r\ntoken\r\nx\r\n", "token", false, false),
        (chunked, "5\r\ntoken\r\n\r\n", "token", false, false),
        (chunked, "5\r\ntoken\r\n0\r\n\n", "token", false, false),
        (chunked, "-5\r\ntoken", "", false, false),
        (chunked, "5\ntoken", "", false, false),
        (chunked, "5;a\ntoken", "", false, false),
        (chunked, " 5\r\ntoken", "", false, false),
        (chunked, "\r\n", "", false, false),
        ("HTTP/1.1 403 No\r\nTransfer-Encoding: gzip, Chunked\r\n", "1\r\nx\r\n0\r\n\r\n", "x", true, false),
        (
            "HTTP/1.1 403 No\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
            "",
            true,
            false,
        ),
        // "the Transfer-Encoding overrides the Content-Length"
        (
            "HTTP/1.1 403 No\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n",
            "5\r\ntoken\r\n0\r\n\r\n",
            "token",
            true,
            false,
        ),
        (
            "HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\nContent-Length: x\r\n",
            "0\r\n\r\n",
            "",
            true,
            false,
        ),
        (
            "HTTP/1.1 403 No\r\nTransfer-Encoding: chunked, gzip\r\nContent-Length: 2\r\n",
            "until the end",
            "until the end",
            true,
            true,
        ),
        ("HTTP/1.1 403 No\r\nTransfer-Encoding:\r\n", "until the end", "until the end", true, true),
    ] {
        let status = head[9..12].parse().unwrap();
        let expected = Ok((status, seen.to_owned(), complete, waits));
        assert_eq!(refusal(&format!("{head}\r\n{body}"), 512), expected, "{head:?} {body:?}");
    }
}

#[test]
#[cfg_attr(
    all(feature = "small", not(feature = "std")),
    ignore = "small: no texts of refusals, no bodies of responses"
)]
fn chunks_take_no_more_memory_than_what_they_hold() {
    let body: String = (0..450).map(|i| format!("1;extension={i}\r\n{}\r\n", i % 10)).collect();
    let held: String = (0..450).map(|i| (i % 10).to_string()).collect();
    let head = "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n";
    let trailer = format!("0\r\nX: {}\r\n\r\n", "t".repeat(1000));
    assert_eq!(refusal(&format!("{head}{body}{trailer}"), 512), Ok((403, held.clone(), true, false)));
    // As much as the memory holds, and no word of being whole.
    assert_eq!(refusal(&format!("{head}{body}{trailer}"), 400), Ok((403, held[..346].into(), false, false)));
}

#[test]
#[cfg_attr(
    all(feature = "small", not(feature = "std")),
    ignore = "small: no texts of refusals, no bodies of responses"
)]
fn a_length_that_could_be_read_in_two_ways_is_no_answer() {
    // "the user agent MUST close the connection to the server and discard the received response" (RFC 9112 §6.3)
    for length in [
        "many",
        "",
        "-1",
        "+1",
        "1 2",
        "0x5",
        "5.",
        "5, 6",
        ",",
        "5\r\nContent-Length: 6",
        "5\r\nContent-Length: x",
    ] {
        let answer = format!("HTTP/1.1 403 Forbidden\r\nContent-Length: {length}\r\n\r\ntoken");
        assert_eq!(refusal(&answer, 512), Err(HandshakeError::Length), "{length:?}");
    }
}

#[test]
#[cfg_attr(
    all(feature = "small", not(feature = "std")),
    ignore = "small: no texts of refusals, no bodies of responses"
)]
fn interim_answers_are_passed_over_up_to_a_bound() {
    let ask = connect("ws://server.example.com/chat");
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>;\r\n rel=preload\r\n\r\n";
    let interim = format!("HTTP/1.1 100 Continue\r\n\r\n{hints}");
    assert_eq!(outcome(&ask, format!("{interim}{}", switch(&[])).as_bytes()), End::Opened { protocol: None });
    let refused = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
    assert_eq!(refusal(&format!("{interim}{refused}"), 512), Ok((403, "no".into(), true, false)));
    // Alone they are no answer.
    assert_eq!(refusal(&interim, 512), Err(HandshakeError::Disconnected));
    let many = hints.repeat(16);
    assert_eq!(refusal(&format!("{many}{refused}"), 512), Ok((403, "no".into(), true, false)));
    assert_eq!(refusal(&format!("{many}{hints}{refused}"), 512), Err(HandshakeError::Interim));
    assert_eq!(refusal(&hints.repeat(1000), 512), Err(HandshakeError::Interim));
}

#[cfg(all(feature = "small", not(feature = "std")))]
#[test]
fn with_small_a_refusal_ends_with_its_head() {
    for body in [
        "Content-Length: 2\r\n\r\nno",
        "Content-Length: 2\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nx",
        "\r\n",
    ] {
        let answer = format!("HTTP/1.1 403 Forbidden\r\n{body}");
        assert_eq!(refusal(&answer, 512), Ok((403, String::new(), false, false)), "{answer}");
    }
}

#[test]
#[cfg_attr(
    all(feature = "small", not(feature = "std")),
    ignore = "small: no texts of refusals, no bodies of responses"
)]
fn a_folded_field_is_read_as_one_line() {
    // RFC 9112 §5.2: "A user agent that receives an obs-fold in a response message [...] MUST replace each received obs-fold
    // with one or more SP octets prior to interpreting the field value."
    let ask = connect("ws://server.example.com/chat").protocols(&["chat"]);
    for lines in [
        &["Content-Security-Policy: a;\r\n b"][..],
        &["X:\r\n\ta\r\n \r\n\t", "Sec-WebSocket-Protocol:\r\n chat"],
        &["Sec-WebSocket-Protocol: \r\n\tchat \r\n "],
    ] {
        let protocol = lines.iter().any(|line| line.contains("chat")).then_some("chat");
        assert_eq!(outcome(&ask, switch(lines).as_bytes()), End::Opened { protocol }, "{lines:?}");
    }
    // What is folded into a value is of the value, and no field of its own.
    assert_eq!(
        outcome(&ask, switch(&["X: a\r\n Sec-WebSocket-Protocol: chat"]).as_bytes()),
        End::Opened { protocol: None }
    );
    let folded = switch(&[]).replace("Connection: Upgrade", "Connection:\r\n keep-alive,\r\n\tUpgrade");
    assert_eq!(outcome(&ask, folded.as_bytes()), End::Opened { protocol: None });
    let answer = "HTTP/1.1 401 No\r\nContent-Length:\r\n 2\r\nX: a\r\n\r\nno";
    assert_eq!(refusal(answer, 512), Ok((401, "no".into(), true, false)));
    // RFC 9112 §2.2: what precedes the first field is not of a field, and not of the status line.
    let first = "HTTP/1.1 401 No\r\n way\r\nContent-Length: 2\r\n\r\nno";
    assert_eq!(refusal(first, 512), Err(HandshakeError::NotHttp));
    let config = Config::new();
    let mut memory = Memory::new(512, 140, 140);
    let mut drive = Drive::new(&mut memory, &config, &ask).unwrap();
    drive.feed(b"HTTP/1.1 401 No\r\nX: a;\r\n b\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(RefusedResponse::parse(&drive.head, &config).unwrap().headers.get("X"), Some(&b"a;   b"[..]));
}

#[test]
#[cfg_attr(
    all(feature = "small", not(feature = "std")),
    ignore = "small: no texts of refusals, no bodies of responses"
)]
fn a_body_that_does_not_come_has_the_deadline_of_the_handshake() {
    let config = Config::new();
    let ask = connect("ws://server.example.com/");
    let mut memory = Memory::new(512, 140, 140);
    let mut drive = Drive::new(&mut memory, &config, &ask).unwrap();
    drive.feed(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nno");
    for _ in 0..9 {
        drive.now = drive.now.saturating_add(SECOND);
        drive.feed(b"o");
        assert_eq!((drive.done, drive.deadline), (None, Some(NOW.saturating_add(10 * SECOND))));
    }
    drive.now = drive.deadline.unwrap();
    drive.pump();
    // The status is known, and worth more than that the body is not.
    assert_eq!(drive.done, Some(End::Refused));
    assert_eq!(RefusedResponse::parse(&drive.head, &config).unwrap().body, b"noooooooooo");
}

#[test]
fn a_server_that_disconnects_or_is_slow_fails_the_handshake() {
    let config = Config::new();
    let ask = connect("ws://server.example.com/");
    let answer = switch(&[]);
    let mut memory = Memory::new(512, 140, 140);
    for len in [0, 1, 50, answer.len() - 1] {
        let mut drive = Drive::new(&mut memory, &config, &ask).unwrap();
        drive.feed(&answer.as_bytes()[..len]);
        drive.end();
        assert_eq!(drive.done, Some(End::Failed(HandshakeError::Disconnected)));
        let mut drive = Drive::new(&mut memory, &config, &ask).unwrap();
        drive.feed(&answer.as_bytes()[..len]);
        drive.now = NOW.saturating_add(10 * SECOND - Duration::from_micros(1));
        drive.pump();
        assert_eq!(drive.done, None);
        drive.now = drive.deadline.unwrap();
        drive.pump();
        assert_eq!(drive.done, Some(End::Failed(HandshakeError::Timeout)));
        drive.pump();
        // What comes too late is not looked at.
        assert_eq!(drive.feed(&answer.as_bytes()[len..]).len(), answer.len() - len);
    }
    // A server that does not even read.
    let mut drive = Drive::new(&mut memory, &config, &ask).unwrap();
    drive.take = 0;
    drive.pump();
    assert!(drive.handshake.spare(&mut drive.head, &drive.rx).is_empty());
    drive.now = drive.deadline.unwrap();
    drive.pump();
    assert_eq!(drive.done, Some(End::Failed(HandshakeError::Timeout)));
}

#[test]
fn the_end_of_the_stream_may_come_with_the_response() {
    let config = Config::new();
    let ask = connect("ws://server.example.com/");
    let mut memory = Memory::new(512, 140, 140);
    let mut drive = Drive::new(&mut memory, &config, &ask).unwrap();
    let answer = switch(&[]);
    let (a, b) = answer.as_bytes().split_at(100);
    drive.feed(a);
    drive.handshake.spare(&mut drive.head, &drive.rx)[..b.len()].copy_from_slice(b);
    drive.handshake.fill(&mut drive.head, b.len());
    drive.handshake.end(&mut drive.head);
    drive.pump();
    // The connection is open, and learns at once that there is nobody.
    assert_eq!(drive.done, Some(End::Opened { protocol: None }));
    assert!(drive.rx.is_ended());
}

#[test]
fn a_response_beyond_the_limits_is_an_error() {
    let ask = connect("ws://server.example.com/");
    let long = switch(&[&format!("X: {}", "x".repeat(400))]);
    let ends = |config: &Config, memory: usize, answer: &str, size: usize| {
        let mut memory = Memory::new(memory, 1024, 140);
        let mut drive = Drive::new(&mut memory, config, &ask).unwrap();
        answer.as_bytes().chunks(size).for_each(|piece| _ = drive.feed(piece));
        drive.done
    };
    let too_large = Some(End::Failed(HandshakeError::TooLarge));
    let open = Some(End::Opened { protocol: None });
    for size in [1, 100, 1000] {
        let mut config = Config::new();
        assert_eq!(ends(&config, long.len(), &long, size), open);
        assert_eq!(ends(&config, long.len() - 1, &long, size), too_large);
        config.limits.head = long.len();
        assert_eq!(ends(&config, 1024, &long, size), open, "{size}");
        config.limits.head = long.len() - 1;
        assert_eq!(ends(&config, 1024, &long, size), too_large, "{size}");
        for most in [Config::new().limits.headers, 64, 500] {
            let fields: Vec<_> = (3..=most).map(|i| format!("X-{i}: y")).collect();
            let mut fields: Vec<_> = fields.iter().map(String::as_str).collect();
            let mut config = Config::new();
            config.limits.headers = most;
            let too_many = Some(End::Failed(HandshakeError::TooManyFields));
            assert_eq!(ends(&config, 8192, &switch(&fields), size), too_many);
            fields.pop();
            assert_eq!(ends(&config, 8192, &switch(&fields), size), open);
        }
    }
}

#[test]
fn a_response_with_any_byte_replaced_ends_the_handshake() {
    let config = Config::new();
    let ask = connect("ws://server.example.com/").protocols(&["chat"]);
    let good = switch(&["Sec-WebSocket-Protocol: chat"]);
    let mut memory = Memory::new(512, 512, 140);
    for at in 0..good.len() {
        for byte in 0..=u8::MAX {
            let mut answer = good.clone().into_bytes();
            answer[at] = byte;
            let mut drive = Drive::new(&mut memory, &config, &ask).unwrap();
            drive.feed(&answer);
            if drive.done.is_none() {
                drive.end();
            }
            assert!(drive.done.is_some(), "byte {byte:#x} at {at}");
            if let Some(End::Opened { protocol }) = drive.done {
                assert!(protocol.is_none_or(|protocol| protocol == "chat"));
            }
        }
    }
}

#[test]
fn client_and_server_complete_a_handshake() {
    let config = Config::new();
    let protocols = &["b", "a"];
    for (offer, name) in [(&["a", "b"][..], Some("b")), (&["x", "a"], Some("a")), (&["x"], None), (&[], None)]
    {
        for size in [1, 13, 140] {
            let headers = &[("Origin", "http://[::1]:8080")];
            let ask = connect("ws://[::1]:8080/chat?x=y").protocols(offer).headers(headers);
            let mut memory = [Memory::new(512, 140, 140), Memory::new(512, 140, 140)];
            let [client, server] = &mut memory;
            let mut client = Drive::new(client, &config, &ask).unwrap();
            let (mut head, mut rx, mut tx) = server.buffers();
            let mut server = ServerHandshake::new(&config, NOW);
            client.take = size;
            let mut opened = None;
            while client.done.is_none() || opened.is_none() {
                client.pump();
                let asked: Vec<u8> = client.out.drain(..).collect();
                for piece in asked.chunks(size) {
                    server.spare(&mut head, &mut rx)[..piece.len()].copy_from_slice(piece);
                    server.fill(&mut head, &mut rx, piece.len());
                    let step = server.poll(NOW, &mut head, &mut rx, &mut tx, |request| {
                        assert_eq!((request.path(), request.query()), ("/chat", "x=y"));
                        Decision::Accept(AcceptOptions::new().protocols(protocols))
                    });
                    if let Step::Done(ServerHandshakeEnd::Opened { protocol }) = step {
                        opened = Some(protocol);
                    }
                }
                let n = size.min(tx.pending().len());
                client.feed(&tx.pending()[..n]);
                tx.consume(n);
                let again = server.poll(NOW, &mut head, &mut rx, &mut tx, |_| panic!("asked twice"));
                if let Step::Done(ServerHandshakeEnd::Opened { protocol }) = again {
                    opened = Some(protocol);
                }
            }
            assert_eq!((opened, client.done), (Some(name), Some(End::Opened { protocol: name })));
        }
    }
}

#[test]
fn a_caller_cannot_set_the_fields_of_the_handshake() {
    for name in
        ["host", "Upgrade", "Connection", "SEC-WEBSOCKET-KEY", "Sec-WebSocket-Extensions", "Content-Length"]
    {
        let headers = [(name, "x")];
        let connect = ClientRequest::parse("ws://a/").unwrap().headers(&headers);
        let mut memory = [0; 1024];
        let mut head = ReceiveBuffer::new(&mut memory).unwrap();
        let config = Config::new();
        let made = ClientHandshake::new(&config, Instant::START, [0; 16], &connect, &mut head);
        assert_eq!(made.err(), Some(HeadError::ReservedHeader), "{name}");
    }
}
