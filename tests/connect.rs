//! `blocking::connect` and `accept` over TCP, against servers in threads.
#![cfg(feature = "std")]

use std::error::Error as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sansocket::blocking::{WebSocket, accept, connect, connect_with};
use sansocket::config::ClientOptions;
use sansocket::error::ConnectError;
use sansocket::error::ConnectPhase;
use sansocket::error::EndReason;
use sansocket::error::RedirectError;
use sansocket::handshake::{
    AcceptOptions, Accepted, Decision, HandshakeError, HeadError, Request, UrlError, accept_key,
};
use sansocket::session::{BufferSizes, Buffers};
use sansocket::{CloseCode, Config, Ending, Error, Event, Kind, Message, blocking};

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Echoes on one connection, until its end.
fn echo(listener: TcpListener) -> JoinHandle<Option<Ending>> {
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut socket = accept(stream).unwrap();
        while let Ok(Some(message)) = socket.recv() {
            socket.send(&message).unwrap();
        }
        socket.ending()
    })
}

/// Answers one request after the other, each on a connection of its own, and returns the requests.
fn answer(listener: TcpListener, answers: Vec<String>) -> JoinHandle<Vec<String>> {
    thread::spawn(move || {
        let one = |answer: String| {
            let (mut stream, _) = listener.accept().unwrap();
            let request = read_head(&mut stream);
            stream.write_all(answer.replace("{accept}", &key_of(&request)).as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
            request
        };
        answers.into_iter().map(one).collect()
    })
}

fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    String::from_utf8(head).unwrap()
}

/// The value of a request's field.
fn field<'r>(request: &'r str, name: &str) -> Option<&'r str> {
    let mut fields = request.lines().filter_map(|line| line.split_once(": "));
    fields.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn key_of(request: &str) -> String {
    let key = field(request, "Sec-WebSocket-Key").unwrap();
    String::from_utf8(accept_key(key.as_bytes()).to_vec()).unwrap()
}

fn redirect(status: u16, location: &str) -> String {
    format!("HTTP/1.1 {status} Elsewhere\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

/// Opens a connection, and closes it.
fn switch() -> String {
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: {accept}\r\n\r\n"
        .into()
}

fn connect_error(error: &Error) -> &ConnectError {
    match error {
        Error::Connect(error) => error,
        other => panic!("{other:?}"),
    }
}

/// The client of the README.
fn hello(url: &str) -> Result<Option<Message>, Error> {
    let mut socket = blocking::connect(url)?;
    socket.send("hello")?;
    let answer = socket.recv()?;
    socket.close(CloseCode::NORMAL, "");
    Ok(answer)
}

#[test]
fn connect_sends_and_receives_in_five_lines() {
    let (listener, address) = listen();
    let server = echo(listener);
    assert_eq!(hello(&format!("ws://{address}/")).unwrap(), Some(Message::from("hello")));
    let cause = server.join().unwrap().unwrap();
    assert_eq!((cause.reason, cause.received), (EndReason::Clean, Some(CloseCode::NORMAL)));
}

#[test]
fn whole_messages_go_both_ways() {
    let (listener, address) = listen();
    let server = echo(listener);
    let mut socket = connect(&format!("ws://{address}/")).unwrap();
    assert!(socket.stream().tcp().nodelay().unwrap());
    let long = "ü".repeat(300_000);
    for message in ["".into(), long.into(), vec![].into(), Message::from(vec![0xFF; 400_000])] {
        socket.send(&message).unwrap();
        assert_eq!(socket.recv().unwrap().as_ref(), Some(&message));
    }
    assert!(socket.close(None, "").is_clean());
    server.join().unwrap();
}

#[test]
fn a_clean_close_is_no_error_at_every_call() {
    let (listener, address) = listen();
    let server = thread::spawn(move || {
        let mut socket = accept(listener.accept().unwrap().0).unwrap();
        socket.send("last").unwrap();
        socket.close(CloseCode::GOING_AWAY, "that was all")
    });
    let mut socket = connect(&format!("ws://{address}/")).unwrap();
    assert_eq!(socket.ending(), None);
    assert_eq!(socket.recv().unwrap(), Some(Message::from("last")));
    for _ in 0..3 {
        assert_eq!(socket.recv().unwrap(), None);
    }
    assert_eq!(socket.close_reason(), "that was all");
    assert_eq!(socket.ending().unwrap().code(), 1001);
    assert!(matches!(socket.send("too late"), Err(Error::Send(_) | Error::Ended(_))));
    server.join().unwrap();
}

#[test]
fn an_end_without_a_close_is_an_error_at_every_call() {
    let (listener, address) = listen();
    let server = answer(listener, vec![switch()]);
    let mut socket = connect(&format!("ws://{address}/")).unwrap();
    for _ in 0..3 {
        assert!(matches!(socket.recv(), Err(Error::Ended(Ending { reason: EndReason::Disconnected, .. }))));
    }
    assert_eq!(socket.ending().unwrap().reason, EndReason::Disconnected);
    drop(socket);
    server.join().unwrap();
}

#[test]
fn recv_skips_a_message_that_read_has_begun() {
    let (listener, address) = listen();
    let server = thread::spawn(move || {
        let mut socket = accept(listener.accept().unwrap().0).unwrap();
        for (part, end) in [("one ", false), ("message", true), ("two", true)] {
            socket.writer().fragment(Kind::Text, part.as_bytes(), end).unwrap();
        }
        socket.close(None, "");
    });
    let mut socket = connect(&format!("ws://{address}/")).unwrap();
    let (event, _) = socket.read().unwrap().unwrap();
    assert!(matches!(event, Event::Data(data) if data.payload.to_str() == Some("one ")));
    assert_eq!(socket.recv().unwrap(), Some(Message::from("two")));
    assert_eq!(socket.recv().unwrap(), None);
    server.join().unwrap();
}

/// Each of those of `localhost` listens in turn, and no other.
#[test]
fn every_address_of_a_name_is_tried() {
    for address in ("localhost", 0).to_socket_addrs().unwrap() {
        let listener = TcpListener::bind(address).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = echo(listener);
        assert_eq!(hello(&format!("ws://localhost:{port}/")).unwrap(), Some(Message::from("hello")));
        assert!(server.join().unwrap().unwrap().is_clean());
    }
}

#[test]
fn an_address_that_refuses_is_named() {
    let (listener, address) = listen();
    drop(listener);
    let error = connect(&format!("ws://{address}/")).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot connect to {address}: Connection refused")), "{text}");
    assert!(!error.is_timeout());
    let error = connect_error(&error);
    assert_eq!(
        (error.phase(), error.server(), error.address()),
        (ConnectPhase::Connect, &*address.to_string(), None)
    );
    let [(tried, reason)] = error.attempts() else { panic!("{error:?}") };
    assert_eq!((*tried, reason.kind()), (address, ErrorKind::ConnectionRefused));
    let source = error.source().unwrap().downcast_ref::<std::io::Error>().unwrap();
    assert_eq!(source.kind(), ErrorKind::ConnectionRefused);
    assert!(text.ends_with(&source.to_string()), "{text}");
}

/// A name that no resolver would ask the network for.
#[test]
fn a_host_that_cannot_be_resolved_is_named() {
    let host = "x".repeat(300);
    for options in [ClientOptions::new(), ClientOptions::new().resolve_timeout(None)] {
        let error = connect_with(&format!("ws://{host}:81/"), &options).unwrap_err();
        assert!(error.to_string().starts_with(&format!("cannot resolve {host}:81: ")), "{error}");
        assert_eq!(connect_error(&error).phase(), ConnectPhase::Resolve);
    }
}

#[test]
fn an_invalid_url_is_an_error_of_the_caller() {
    for (url, bad) in
        [("http://a/", UrlError::Scheme), ("ws://a/#f", UrlError::Fragment), ("ws://a:0/", UrlError::Port)]
    {
        assert!(matches!(connect(url), Err(Error::Url(error)) if error == bad), "{url}");
    }
}

#[test]
fn an_invalid_field_is_an_error_of_the_caller() {
    for (name, value, reason) in [
        ("Host", "evil", HeadError::ReservedHeader),
        ("X", "a\r\nY: b", HeadError::Header),
        ("a b", "c", HeadError::Header),
        ("Sec-WebSocket-Key", "mine", HeadError::ReservedHeader),
    ] {
        let (listener, address) = listen();
        let options = ClientOptions::new().header(name, value);
        let error = connect_with(&format!("ws://{address}/"), &options).unwrap_err();
        assert!(matches!(error, Error::Request(error) if error == reason), "{error:?}");
        // Nothing was said.
        let mut said = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut said).unwrap();
        assert!(said.is_empty());
    }
}

#[cfg(not(feature = "rustls-no-provider"))]
#[test]
fn without_feature_rustls_a_wss_url_is_an_error() {
    let (_listener, address) = listen();
    let error = connect(&format!("wss://{address}/")).unwrap_err();
    assert_eq!(connect_error(&error).phase(), ConnectPhase::Tls);
    assert!(error.to_string().contains("feature `rustls`"), "{error}");
}

#[test]
fn the_request_has_what_the_options_say() {
    let (listener, address) = listen();
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let buffers = Buffers::with_sizes(BufferSizes { head: 4096, receive: 1024, transmit: 1024 });
        let mut seen = Vec::new();
        let decide = |request: &Request<'_>| {
            seen = ["Origin", "X-One", "Sec-WebSocket-Protocol", "Authorization"]
                .map(|name| request.headers().get(name).map(<[u8]>::to_vec))
                .into();
            let headers = &[("X-Two", "2")];
            Decision::Accept(
                AcceptOptions::new()
                    .protocols(&["b"])
                    .headers(headers)
                    .origin(sansocket::handshake::OriginPolicy::Any),
            )
        };
        let Accepted::WebSocket(mut socket) =
            WebSocket::accept(stream, &Config::DEFAULT, buffers, decide).unwrap()
        else {
            panic!("handed over")
        };
        assert_eq!(socket.protocol(), Some("b"));
        assert_eq!(socket.recv().unwrap(), None);
        seen
    });
    let options = ClientOptions::new().protocols(["a", "b"]).origin("http://page.test").header("X-One", "1");
    let mut socket = connect_with(&format!("ws://{address}/"), &options).unwrap();
    assert_eq!(socket.protocol(), Some("b"));
    socket.close(None, "");
    let seen = server.join().unwrap();
    let seen: Vec<_> = seen.iter().map(|value| value.as_deref()).collect();
    assert_eq!(seen, [Some(&b"http://page.test"[..]), Some(b"1"), Some(b"a, b"), None]);
}

#[test]
fn user_and_password_become_basic_authorization() {
    let authorized = |url: &str, options: ClientOptions| {
        let (listener, address) = listen();
        let server = answer(listener, vec![switch()]);
        let socket = connect_with(&url.replace("{}", &address.to_string()), &options).unwrap();
        drop(socket);
        let request = server.join().unwrap().remove(0);
        assert_eq!(field(&request, "Host"), Some(&*address.to_string()));
        assert!(request.starts_with("GET /a@b HTTP/1.1\r\n"), "{request}");
        field(&request, "Authorization").map(str::to_owned)
    };
    // "Aladdin:open sesame", RFC 7617 §2.
    let aladdin = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
    assert_eq!(authorized("ws://{}/a@b", ClientOptions::new()), None);
    assert_eq!(
        authorized("ws://Aladdin:open%20sesame@{}/a@b", ClientOptions::new()).as_deref(),
        Some(aladdin)
    );
    let bearer = ClientOptions::new().header("authorization", "Bearer x");
    assert_eq!(authorized("ws://Aladdin:open%20sesame@{}/a@b", bearer).as_deref(), Some("Bearer x"));
    let error = connect("ws://a%3Ab:secret@localhost/").unwrap_err();
    assert!(
        matches!(error, Error::Url(UrlError::Userinfo)) && !format!("{error} {error:?}").contains("secret"),
        "{error:?}"
    );
}

#[test]
fn no_error_and_no_option_shows_a_secret() {
    let (listener, address) = listen();
    drop(listener);
    let options = ClientOptions::new().header("Authorization", "secret");
    let error = connect_with(&format!("ws://user:secret@{address}/"), &options).unwrap_err();
    for shown in [format!("{error}"), format!("{error:?}"), format!("{options:?}")] {
        assert!(!shown.contains("secret"), "{shown}");
    }
}

#[test]
fn a_refusal_has_status_fields_and_body() {
    let (listener, address) = listen();
    let refusal = "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 4\r\n\r\nwho?";
    let server = answer(listener, vec![refusal.into()]);
    let error = connect(&format!("ws://{address}/")).unwrap_err();
    assert_eq!(error.to_string(), "the server refused the connection with status 401");
    let response = error.response().unwrap();
    assert_eq!((response.status, &*response.body), (401, &b"who?"[..]));
    assert_eq!(response.header("www-authenticate"), Some(&b"Basic realm=\"x\""[..]));
    assert_eq!(response.headers.len(), 2);
    server.join().unwrap();
}

/// A redirect to a page is one answer like another where nobody has asked to follow it.
#[test]
fn a_redirect_is_followed_only_by_option() {
    let (listener, address) = listen();
    let server = answer(listener, vec![redirect(302, "/elsewhere")]);
    let error = connect(&format!("ws://{address}/")).unwrap_err();
    let response = error.response().unwrap();
    assert_eq!((response.status, response.header("Location")), (302, Some(&b"/elsewhere"[..])));
    server.join().unwrap();
}

/// The options of the tests below: everything that could leak, and what may go along.
fn secrets() -> ClientOptions {
    ClientOptions::new()
        .header("Cookie", "id=secret")
        .header("X-Api-Key", "secret")
        .protocols(["chat"])
        .origin("http://page.test")
}

fn says_secrets(request: &str) -> bool {
    let fields = ["Authorization", "Cookie", "X-Api-Key"].map(|name| field(request, name).is_some());
    assert!(fields == [true; 3] || fields == [false; 3], "{request}");
    assert_eq!(field(request, "Sec-WebSocket-Protocol"), Some("chat"));
    assert_eq!(field(request, "Origin"), Some("http://page.test"));
    fields[0]
}

#[test]
fn a_redirect_within_an_origin_keeps_all_fields() {
    for status in [301, 302, 303, 307, 308] {
        let (listener, address) = listen();
        let third = format!("http://{address}/c?d");
        let answers = vec![redirect(status, "b?c"), redirect(status, &third), switch()];
        let server = answer(listener, answers);
        let url = format!("ws://user:secret@{address}/a/x");
        connect_with(&url, &secrets().follow_redirects(2)).unwrap();
        let requests = server.join().unwrap();
        let targets: Vec<_> = requests.iter().map(|request| request.lines().next().unwrap()).collect();
        assert_eq!(targets, ["GET /a/x HTTP/1.1", "GET /a/b?c HTTP/1.1", "GET /c?d HTTP/1.1"]);
        assert!(requests.iter().all(|request| says_secrets(request)), "{requests:?}");
    }
}

#[test]
fn no_secret_goes_to_another_host() {
    let (listener, address) = listen();
    let other = format!("ws://localhost:{}/", address.port());
    let server = answer(listener, vec![redirect(307, &other), switch()]);
    connect_with(&format!("ws://user:secret@{address}/"), &secrets().follow_redirects(1)).unwrap();
    let requests = server.join().unwrap();
    assert_eq!(field(&requests[1], "Host"), Some(&other[5..other.len() - 1]));
    assert_eq!(requests.iter().map(|request| says_secrets(request)).collect::<Vec<_>>(), [true, false]);
}

/// Nor back to the first from there: the other one has chosen what is asked for.
#[test]
fn no_secret_goes_to_another_port_and_back() {
    let ((first, one), (second, two)) = (listen(), listen());
    let server = answer(first, vec![redirect(302, &format!("//{two}/")), switch()]);
    let other = answer(second, vec![redirect(302, &format!("ws://user:other@{one}/back"))]);
    connect_with(&format!("ws://user:secret@{one}/"), &secrets().follow_redirects(2)).unwrap();
    let (requests, others) = (server.join().unwrap(), other.join().unwrap());
    assert!(says_secrets(&requests[0]) && !says_secrets(&others[0]) && !says_secrets(&requests[1]));
    assert!(requests[1].starts_with("GET /back "));
}

#[test]
fn redirects_have_a_limit() {
    let (listener, address) = listen();
    let server = answer(listener, vec![redirect(302, "/"); 3]);
    let error =
        connect_with(&format!("ws://{address}/"), &ClientOptions::new().follow_redirects(2)).unwrap_err();
    assert_eq!(error.to_string(), format!("redirected by {address}: more than 2 redirects"));
    let error = connect_error(&error);
    assert_eq!(error.phase(), ConnectPhase::Redirect);
    assert_eq!(error.source().unwrap().downcast_ref(), Some(&RedirectError::TooMany(2)));
    assert_eq!(server.join().unwrap().len(), 3);
}

#[test]
fn a_redirect_to_another_scheme_is_not_followed() {
    let (listener, address) = listen();
    let server = answer(listener, vec![redirect(302, "ftp://127.0.0.1/")]);
    let error =
        connect_with(&format!("ws://{address}/"), &ClientOptions::new().follow_redirects(2)).unwrap_err();
    assert!(error.to_string().contains("does not lead to a WebSocket: \"ftp://127.0.0.1/\""), "{error}");
    server.join().unwrap();
}

fn hasty() -> Config {
    let mut config = Config::new();
    config.timeouts.handshake = Some(Duration::from_millis(300));
    config
}

/// The server says nothing, or a byte now and then.
#[test]
fn the_opening_handshake_has_a_deadline() {
    for drips in [false, true] {
        let (listener, address) = listen();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            read_head(&mut stream);
            let answer = format!("HTTP/1.1 101 {}", "x".repeat(4000));
            for byte in answer.bytes().take_while(|_| drips) {
                if stream.write_all(&[byte]).is_err() {
                    break;
                }
                thread::sleep(Duration::from_millis(10));
            }
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let config = hasty();
        let error =
            connect_with(&format!("ws://{address}/"), &ClientOptions::new().config(&config)).unwrap_err();
        assert!(error.is_timeout());
        assert!(error.to_string().starts_with(&format!("no WebSocket handshake with {address}: ")));
        let error = connect_error(&error);
        assert_eq!((error.phase(), error.address()), (ConnectPhase::Handshake, Some(address)));
        assert_eq!(error.source().unwrap().downcast_ref(), Some(&HandshakeError::Timeout));
        server.join().unwrap();
    }
}

#[test]
fn a_server_that_does_not_speak_http_is_named() {
    let (listener, address) = listen();
    let server = answer(listener, vec!["SSH-2.0-OpenSSH_9.2\r\n\r\n".into()]);
    let error = connect(&format!("ws://{address}/")).unwrap_err();
    assert_eq!(connect_error(&error).phase(), ConnectPhase::Handshake);
    assert!(error.to_string().ends_with("the server's response is not HTTP/1.1"), "{error}");
    server.join().unwrap();
}

#[test]
fn accept_refuses_plain_requests_and_other_origins() {
    for (fields, status) in [("", "426"), ("Origin: http://other.test\r\n", "403")] {
        let (listener, address) = listen();
        let server = thread::spawn(move || accept(listener.accept().unwrap().0).map(drop));
        let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let upgrade = if fields.is_empty() { "" } else { upgrade };
        let mut client = TcpStream::connect(address).unwrap();
        write!(client, "GET / HTTP/1.1\r\nHost: {address}\r\n{upgrade}{fields}\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        drop(client);
        let error = server.join().unwrap().unwrap_err();
        assert!(
            matches!(error, Error::Rejected(refusal) if refusal.status.to_string() == status),
            "{error:?}"
        );
    }
}
