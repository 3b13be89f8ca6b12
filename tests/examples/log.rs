//! A server does not stand still, nor end, for want of a reader of its log.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use crate::hub_server::{REQUEST, connect, echo, masked, next, open, wait_for};
use crate::pki::{self, Pki};
use crate::program::{Program, path};

const MESSAGES: usize = 2500;
/// Lines in the log for a message and for the end of a connection.
const LINES: usize = 3;

fn close(mut client: TcpStream) {
    client.write_all(&masked(0x88, &1000_u16.to_be_bytes())).unwrap();
    assert_eq!(next(&mut client).unwrap(), (0x88, 1000_u16.to_be_bytes().to_vec()));
}

#[test]
fn an_unread_log_loses_lines_and_counts_them() {
    let mut server = Program::start("echo_server", &["--listen", "127.0.0.1:0"]);
    let mut client = open(server.address());
    for number in 0..MESSAGES {
        echo(&mut client, &format!("message {number}"));
    }
    close(client);
    // It is read only now, and nothing is missing that the log does not tell.
    let (mut written, mut lost) = (0, 0);
    while written + lost < LINES * MESSAGES + 1 {
        let line = server.line();
        match line.strip_suffix(" lines lost") {
            Some(count) => lost += count.parse::<usize>().unwrap(),
            None => {
                assert!(line.starts_with("ws_echo_server: "), "{line}");
                written += 1;
            }
        }
    }
    assert!(lost > 0, "the pipe holds everything: there is nothing to be seen here");
    assert_eq!(written + lost, LINES * MESSAGES + 1);
    // Whoever reads again misses nothing more.
    close(open(server.address()));
    assert!(server.line().starts_with("ws_echo_server: Closed: closed cleanly, code 1000"));
    server.signal("TERM");
    assert!(server.ended().success());
}

#[test]
fn a_log_whose_reader_has_gone_stops_nobody() {
    let mut server = Program::start("echo_server", &["--listen", "127.0.0.1:0"]);
    server.close_output();
    let mut client = open(server.address());
    for number in 0..MESSAGES {
        echo(&mut client, &format!("message {number}"));
    }
    close(client);
    server.signal("TERM");
    assert!(server.ended().success());
}

#[test]
fn a_server_without_standard_output_serves() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = format!("127.0.0.1:{port}");
    for (name, message) in [("echo_server", "hello"), ("echo_threads", "hello")] {
        let mut server = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" >&-"])
            .arg(path(name))
            .args(["--listen", &listen])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        wait_for("the server", || TcpStream::connect(&listen).is_ok());
        let mut client = open(listen.parse().unwrap());
        echo(&mut client, message);
        close(client);
        server.kill().unwrap();
        server.wait().unwrap();
    }
}

/// What a client says beside the answers goes to standard error.
#[test]
fn a_client_needs_no_reader_of_its_notes() {
    let server = Program::start("echo_server", &["--listen", "127.0.0.1:0"]);
    let (closed, notes) = UnixStream::pair().unwrap();
    drop(closed);
    let mut client = Command::new(path("echo_client"))
        .arg(format!("ws://{}/ws", server.address()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(OwnedFd::from(notes))
        .spawn()
        .unwrap();
    client.stdin.take().unwrap().write_all(b"hello\nPing\n").unwrap();
    let output = client.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    assert_eq!(output.stdout, b"hello\n");
}

#[test]
fn a_dashboard_whose_output_is_gone_tells_everybody_the_state() {
    let mut server = Program::start("dashboard", &["--listen", "127.0.0.1:0"]);
    server.close_output();
    let mut clients = [open(server.address()), open(server.address())];
    // Each receives the state as it connects, and then each change of it.
    for (state, command) in
        [("\"led\":0", "led 1"), ("\"led\":1", "led 0"), ("\"led\":0", "pwm 7"), ("\"pwm\":7", "")]
    {
        for client in &mut clients {
            loop {
                let (kind, text) = next(client).unwrap();
                assert_eq!(kind, 0x81);
                if String::from_utf8(text).unwrap().contains(state) {
                    break;
                }
            }
        }
        clients[0].write_all(&masked(0x81, command.as_bytes())).unwrap();
    }
    server.signal("TERM");
    for client in &mut clients {
        // The answer to the Close: without it the server waits.
        while next(client).unwrap().0 != 0x88 {}
        client.write_all(&masked(0x88, &1001_u16.to_be_bytes())).unwrap();
    }
    assert!(server.ended().success());
}

#[test]
fn an_unread_log_does_not_stop_a_server_over_tls() {
    let pki = Pki::new();
    let files = pki.files("log");
    let (chain, key) = (files.path("cert.pem"), files.path("key.pem"));
    let mut server =
        Program::start("wss_server", &["--listen", "127.0.0.1:0", "--tls-cert", &chain, "--tls-key", &key]);
    let mut client = pki.peer(server.address());
    pki::upgrade(&mut client);
    for number in 0..MESSAGES {
        let payload = format!("ping {number}");
        client.write_all(&masked(0x89, payload.as_bytes())).unwrap();
        assert_eq!(next(&mut client).unwrap(), (0x8A, payload.into_bytes()));
    }
    drop(client);
    // The end does not wait for a reader either.
    server.signal("TERM");
    assert!(server.ended().success());
}

#[test]
fn an_unread_log_does_not_stop_a_server_of_threads() {
    let mut server = Program::start("echo_threads", &["--listen", "127.0.0.1:0"]);
    for _ in 0..MESSAGES {
        let mut client = connect(server.address());
        client.write_all(b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let answer = std::io::read_to_string(&mut client).unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    }
    server.signal("TERM");
    assert!(server.ended().success());
}

#[test]
fn each_refusal_leaves_a_line_with_status_reason_and_origin() {
    let mut server = Program::start(
        "echo_server",
        &[
            "--listen",
            "127.0.0.1:0",
            "--max-head",
            "1000",
            "--max-headers",
            "9",
            "--handshake-timeout",
            "0.5",
        ],
    );
    let upgrade = |lines: &str| {
        let request = String::from_utf8(REQUEST.to_vec()).unwrap();
        request.replace("Host: a\r\n", lines)
    };
    let long = "x".repeat(200);
    let cases = [
        (upgrade("Host: a\r\nOrigin: file://\r\n"), "403: the origin is not allowed", "; Origin file://"),
        (
            upgrade(&format!("Host: a\r\nOrigin: http://{long}\u{e9}\r\n")),
            "403: the origin is not allowed",
            &format!("; Origin http://{}...", &long[7..128]),
        ),
        (upgrade("Host: a\r\nOrigin: \u{e9}\r\n"), "403: the origin is not allowed", r"; Origin \xc3\xa9"),
        (upgrade("Host: a\r\nOrigin: http://a\x1b[31m\r\n"), "400: not an HTTP/1.1 request", ""),
        (upgrade(""), "400: Host is missing or malformed", ""),
        (upgrade("Host: a\r\n").replace("13", "8"), "426: this is a WebSocket", ""),
        (
            upgrade(&format!("Host: a\r\nX: {long}{long}{long}{long}{long}\r\n")),
            "431: the head is too large",
            "",
        ),
        (upgrade(&format!("Host: a\r\n{}", "X: y\r\n".repeat(9))), "431: too many header fields", ""),
        ("GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n".into(), "404", ""),
        ("GET /ws HTTP/1.1\r\nHost: a\r\n".into(), "408: the request took too long", ""),
    ];
    for (request, why, origin) in cases {
        let mut client = connect(server.address());
        client.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer[9..12], why[..3], "{request}");
        let begin = format!("ws_echo_server: Refused {} with ", client.local_addr().unwrap());
        let line = server.line();
        let told = line.strip_prefix(&begin).unwrap_or_else(|| panic!("{line}"));
        assert!(told.starts_with(why) && told.ends_with(origin), "{told}, not {why}{origin}");
    }
}

#[test]
fn the_other_servers_log_refusals_too() {
    let pki = Pki::new();
    let files = pki.files("refuse");
    let (chain, key) = (files.path("cert.pem"), files.path("key.pem"));
    let request =
        String::from_utf8(pki::REQUEST.to_vec()).unwrap().replace("\r\n\r\n", "\r\nOrigin: file://\r\n\r\n");
    let told = "with 403: the origin is not allowed";
    let mut secure =
        Program::start("wss_server", &["--listen", "127.0.0.1:0", "--tls-cert", &chain, "--tls-key", &key]);
    let mut client = pki.peer(secure.address());
    client.write_all(request.as_bytes()).unwrap();
    let line = secure.line();
    assert!(line.starts_with("wss_server: ") && line.contains(told), "{line}");
    assert!(line.ends_with("Origin Some(\"file://\")"), "{line}");
    let mut plain = Program::start("dashboard", &["--listen", "127.0.0.1:0"]);
    let mut client = connect(plain.address());
    client.write_all(request.as_bytes()).unwrap();
    let line = plain.line();
    assert!(line.starts_with(&format!("refused {} {told}", client.local_addr().unwrap())), "{line}");
}
