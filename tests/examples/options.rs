//! Command lines.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use crate::hub_server::{REQUEST, connect, head, masked, open};
use crate::program::{Program, output, path};

#[test]
fn wrong_options_are_named_and_end_with_status_2() {
    let cases: [(&str, &[&str], &str); 26] = [
        ("echo_server", &["--nonsense"], "invalid option '--nonsense'"),
        ("echo_server", &["nonsense"], "unexpected argument \"nonsense\""),
        ("echo_server", &["--listen"], "missing argument for option '--listen'"),
        ("echo_server", &["--listen", "8080"], "--listen 8080: invalid socket address"),
        ("echo_server", &["--listen", "localhost:http"], "--listen localhost:http: invalid port value"),
        ("echo_server", &["--origin", "app.example"], "not 'app.example'"),
        ("echo_server", &["--origin", "https://app.example/"], "not 'https://app.example/'"),
        ("echo_server", &["--origin", "https://"], "not 'https://'"),
        ("echo_server", &["--origin", "://a"], "not '://a'"),
        ("echo_server", &["--origin", "https://a b"], "not 'https://a b'"),
        ("echo_server", &["--origin", ""], "--origin takes 'same', 'any' or an origin"),
        ("echo_server", &["--max-message", "-1"], "--max-message takes a number from 0 to "),
        ("echo_server", &["--buffer", "139"], "--buffer takes a number from 140 to "),
        ("echo_server", &["--buffer", "18446744073709551615"], "--buffer takes a number from 140 to "),
        ("echo_server", &["--max-headers", "0"], "--max-headers takes a number from 1 to "),
        ("echo_server", &["--max-connections", "many"], "not 'many'"),
        ("echo_server", &["--threads", "0"], "--threads takes a number from 1 to 256, not '0'"),
        ("echo_server", &["--threads", "257"], "--threads takes a number from 1 to 256, not '257'"),
        ("echo_server", &["--write-timeout", "-1"], "--write-timeout takes a number of seconds, not '-1'"),
        ("echo_server", &["--write-timeout", "NaN"], "--write-timeout takes a number of seconds, not 'NaN'"),
        ("echo_server", &["--quiet=no"], "unexpected argument for option '--quiet'"),
        ("echo_server", &["--tls-cert", "/nowhere"], "--tls-cert and --tls-key go together"),
        ("echo_threads", &["--proxy-from", "proxy"], "--proxy-from takes an IP address, not 'proxy'"),
        ("echo_threads", &["127.0.0.1:0"], "unexpected argument \"127.0.0.1:0\""),
        ("dashboard", &["--listen", "here"], "--listen here: "),
        ("wss_server", &["--hello", "0"], "--hello is not 0"),
    ];
    for (name, args, wrong) in cases {
        let output = output(name, args);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{name} {args:?}: {told}");
        assert!(told.starts_with(&format!("{name}: ")) && told.contains(wrong), "{name} {args:?}: {told}");
        assert_eq!(output.stdout, b"");
    }
}

#[test]
fn an_address_in_use_ends_with_status_1() {
    let server = Program::start("echo_server", &["--listen", "127.0.0.1:0"]);
    let address = server.address().to_string();
    for name in ["echo_server", "echo_threads", "dashboard", "wss_server"] {
        let output = output(name, &["--listen", &address]);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.starts_with(&format!("{name}: cannot listen on {address}: ")), "{told}");
    }
}

#[test]
fn help_names_every_option_and_needs_no_reader() {
    let options = [
        "listen",
        "origin",
        "max-message",
        "max-head",
        "max-headers",
        "buffer",
        "max-connections",
        "threads",
        "handshake-timeout",
        "idle-timeout",
        "message-timeout",
        "ping-interval",
        "pong-timeout",
        "write-timeout",
        "close-timeout",
        "deflate",
        "deflate-context",
        "deflate-window",
        "deflate-level",
        "allow-malformed-key",
        "tls-cert",
        "tls-key",
        "quiet",
        "help",
    ];
    let output = output("echo_server", &["--help"]);
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    for option in options {
        assert!(help.contains(&format!("\n  --{option} ")), "--{option}");
        assert!(!option_is_unknown(option), "--{option}");
    }
    assert_eq!(help.matches("\n  --").count(), options.len());
    for name in ["echo_server", "echo_threads", "echo_client", "dashboard", "wss_server"] {
        let (closed, out) = UnixStream::pair().unwrap();
        drop(closed);
        let mut command = Command::new(path(name));
        let output =
            command.arg("--help").stdout(OwnedFd::from(out)).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
        assert!(output.status.success(), "{name} ends with {}", output.status);
    }
}

fn option_is_unknown(option: &str) -> bool {
    let told = output("echo_server", &[&format!("--{option}"), "--nonsense", "--nonsense"]).stderr;
    String::from_utf8(told).unwrap().contains(&format!("invalid option '--{option}'"))
}

/// The status of the answer to a request with these lines.
fn status(server: &Program, lines: &str) -> u16 {
    let mut client = connect(server.address());
    let request = String::from_utf8(REQUEST.to_vec()).unwrap();
    let (first, rest) = request.split_once("Host: a\r\n").unwrap();
    client.write_all(format!("{first}{lines}{rest}").as_bytes()).unwrap();
    let head = String::from_utf8(head(&mut client).unwrap()).unwrap();
    head[9..12].parse().unwrap()
}

#[test]
fn origins_decide_which_pages_may_connect() {
    const SAME: &str = "Host: app.example\r\nOrigin: https://app.example\r\n";
    const NAMED: &str = "Host: 127.0.0.1:8080\r\nOrigin: https://app.example\r\n";
    const OTHER: &str = "Host: app.example\r\nOrigin: https://other.example:8443\r\n";
    const FILE: &str = "Host: app.example\r\nOrigin: file://\r\n";
    const NONE: &str = "Host: app.example\r\n";
    let cases: [(&[&str], [u16; 5]); 6] = [
        (&[], [101, 403, 403, 403, 101]),
        (&["--origin", "same"], [101, 403, 403, 403, 101]),
        (&["--origin", "any"], [101, 101, 101, 101, 101]),
        (&["--origin", "HTTPS://app.example"], [101, 101, 403, 403, 101]),
        (&["--origin", "same", "--origin", "file://"], [101, 403, 403, 101, 101]),
        (&["--origin", "https://other.example:8443", "--origin", "file://"], [403, 403, 101, 101, 101]),
    ];
    for (args, expected) in cases {
        let server = Program::start("echo_server", &[&["--listen", "127.0.0.1:0"], args].concat());
        let statuses = [SAME, NAMED, OTHER, FILE, NONE].map(|lines| status(&server, lines));
        assert_eq!(statuses, expected, "{args:?}");
    }
}

#[test]
fn the_number_of_fields_has_a_limit() {
    let server = Program::start("echo_server", &["--listen", "127.0.0.1:0", "--max-headers", "8"]);
    assert_eq!(status(&server, "Host: a\r\nA: 1\r\nB: 2\r\nC: 3\r\n"), 101);
    assert_eq!(status(&server, "Host: a\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n"), 431);
}

#[test]
fn a_client_that_reads_nothing_is_disconnected_after_the_write_timeout() {
    let mut server = Program::start("echo_server", &["--listen", "127.0.0.1:0", "--write-timeout", "0.2"]);
    let mut client = open(server.address());
    let message = masked(0x82, &vec![0; 64 * 1024]);
    // Until the echo stands still, and the server closes.
    while client.write_all(&message).is_ok() {}
    loop {
        let line = server.line();
        if let Some(end) = line.strip_prefix("ws_echo_server: Closed: ") {
            assert_eq!(end, "a deadline passed: the peer reads nothing, code 1006, \"\"");
            break;
        }
    }
}
