//! A server that gets a signal closes its connections with 1001.

use std::io::{ErrorKind, Read, Write};
use std::iter;
use std::net::TcpStream;

use crate::hub_server::{connect, echo, masked, next, open};
use crate::pki::{self, Pki};
use crate::program::Program;

const GOING_AWAY: [u8; 2] = 1001_u16.to_be_bytes();

/// A Close comes, whatever comes before it, and the end.
fn closed(mut client: impl Read + Write) {
    loop {
        let (kind, payload) = next(&mut client).unwrap();
        if kind == 0x88 {
            assert_eq!(payload[..2], GOING_AWAY);
            break;
        }
    }
    client.write_all(&masked(0x88, &GOING_AWAY)).unwrap();
    let end = client.read(&mut [0]);
    assert_eq!(end.unwrap(), 0, "the server closes TCP first");
}

#[test]
fn sigint_and_sigterm_close_every_connection_with_1001() {
    let servers: [(&str, &[&str]); 4] = [
        ("echo_server", &[]),
        ("echo_server", &["--threads", "3"]),
        ("echo_threads", &[]),
        ("dashboard", &[]),
    ];
    for (name, more) in servers {
        for signal in ["INT", "TERM"] {
            let mut server = Program::start(name, &[&["--listen", "127.0.0.1:0"], more].concat());
            let address = server.address();
            let clients: Vec<_> = (0..5).map(|_| open(address)).collect();
            server.signal(signal);
            clients.into_iter().for_each(closed);
            let status = server.ended();
            assert!(status.success(), "{name} ends with {status}");
            let lines: Vec<_> =
                iter::repeat_with(|| server.line()).take_while(|line| !line.is_empty()).collect();
            // The last lines are written before the end; the dashboard logs no close.
            let logged = lines.iter().filter(|line| line.contains("code 1001")).count();
            assert_eq!(logged, if name == "dashboard" { 0 } else { 5 }, "{name}: {lines:?}");
            assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        }
    }
}

#[test]
fn a_server_over_tls_closes_every_connection_with_1001() {
    let pki = Pki::new();
    let files = pki.files("stop");
    let (chain, key) = (files.path("cert.pem"), files.path("key.pem"));
    for name in ["echo_server", "wss_server"] {
        let args = ["--listen", "127.0.0.1:0", "--tls-cert", &chain, "--tls-key", &key];
        let mut server = Program::start(name, &args);
        let mut clients = [pki.peer(server.address()), pki.peer(server.address())];
        for client in &mut clients {
            pki::upgrade(client);
        }
        server.signal("TERM");
        clients.into_iter().for_each(closed);
        assert!(server.ended().success());
    }
}

#[test]
fn a_server_without_clients_ends_on_a_signal() {
    for name in ["echo_server", "echo_threads", "dashboard", "wss_server"] {
        let mut server = Program::start(name, &["--listen", "127.0.0.1:0"]);
        server.signal("TERM");
        assert!(server.ended().success());
    }
}

/// The client does not answer the Close, for which a server waits 5 s; then it ends with status 0.
#[test]
fn a_second_signal_ends_a_server_at_once() {
    for name in ["echo_server", "echo_threads", "dashboard", "wss_server"] {
        let mut server = Program::start(name, &["--listen", "127.0.0.1:0"]);
        let mut client = None;
        if name == "wss_server" {
            // Its handshake is not done either.
            drop(connect(server.address()));
        } else {
            let client = client.insert(open(server.address()));
            if name != "dashboard" {
                echo(client, "here");
            }
        }
        server.signal("TERM");
        if let Some(client) = &mut client {
            while next(client).unwrap().0 != 0x88 {}
        }
        server.signal("INT");
        let status = server.ended();
        assert!(name == "wss_server" || status.code() == Some(1), "{name} ends with {status}");
    }
}
