//! What a server does for which there is no room, or no descriptor.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use crate::hub_server::{REQUEST, connect, echo, head, open, opened, wait_for};
use crate::listen;
use crate::program::Program;

/// Out of descriptors, it keeps its connections, and accepts again when there are some.
#[test]
fn a_server_survives_a_failed_accept() {
    for name in ["echo_server", "echo_threads", "dashboard"] {
        let server = Program::start_with_descriptors(name, 24, &["--listen", "127.0.0.1:0"]);
        let mut first = open(server.address());
        let waiting: Vec<_> = (0..30)
            .map(|_| {
                let mut client = connect(server.address());
                client.write_all(REQUEST).unwrap();
                client
            })
            .collect();
        wait_for("the last descriptor", || server.is_out_of(24));
        if name == "dashboard" {
            first.read_exact(&mut [0; 100]).unwrap();
        } else {
            echo(&mut first, "still here");
        }
        drop(waiting);
        open(server.address());
    }
}

#[test]
fn a_server_of_threads_limits_their_number() {
    let server = Program::start("echo_threads", &["--listen", "127.0.0.1:0"]);
    let mut clients: Vec<_> = (0..64).map(|_| open(server.address())).collect();
    // They get 503 as soon as they send a request.
    let mut silent: Vec<_> = (0..8).map(|_| connect(server.address())).collect();
    let threads = server.threads();
    wait_for("their threads", || server.threads() >= 64 + 8);
    // Who comes now is not even heard.
    for _ in 0..20 {
        assert!(matches!(dropped(connect(server.address())), Ok(0) | Err(ErrorKind::ConnectionReset)));
    }
    assert!(server.threads() <= threads.max(64 + 8 + 4), "{} threads", server.threads());
    for client in &mut silent {
        client.write_all(REQUEST).unwrap();
        assert!(head(client).unwrap().starts_with(b"HTTP/1.1 503 "));
    }
    echo(&mut clients[63], "still here");
    // Places are given back.
    drop(silent);
    drop(clients);
    wait_for("a place", || {
        let mut client = connect(server.address());
        client.write_all(REQUEST).unwrap();
        head(&mut client).is_ok_and(|head| head.starts_with(b"HTTP/1.1 101 "))
    });
}

fn dropped(mut client: TcpStream) -> Result<usize, ErrorKind> {
    client.read(&mut [0]).map_err(|error| error.kind())
}

#[test]
fn a_server_on_two_addresses_has_one_limit_and_one_state() {
    let listen =
        ["--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--max-connections", "3", "--threads", "2"];
    let server = Program::start("echo_server", &listen);
    let second = server.address();
    let mut clients = vec![open(second)];
    let first = server.first_address();
    assert!(first.is_ipv4() && second.is_ipv6());
    clients.push(open(first));
    clients.push(open(second));
    for client in &mut clients {
        echo(client, "here");
    }
    for address in [first, second] {
        let mut refused = connect(address);
        refused.write_all(REQUEST).unwrap();
        assert!(head(&mut refused).unwrap().starts_with(b"HTTP/1.1 503 "));
    }
}

/// Clients that know one family only reach a name that has both.
#[test]
fn a_server_listens_on_every_address_of_a_name() {
    for name in ["echo_server", "echo_threads", "dashboard"] {
        let server = Program::start(name, &["--listen", "localhost:0"]);
        for address in listen::resolve(&format!("localhost:{}", server.address().port())).unwrap() {
            let mut client = connect(address);
            client.write_all(REQUEST).unwrap();
            opened(&mut client);
        }
    }
}

/// What the name resolves to is the system's: here it is both families.
#[test]
fn listening_takes_all_addresses_and_one_port() {
    let both = ["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
    // Another program may have the port in one family.
    let mut listeners = Vec::new();
    wait_for("a port that is free in both families", || {
        listeners = listen::bind(&both).unwrap_or_default();
        !listeners.is_empty()
    });
    let ports: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
    assert_eq!(ports, [ports[0]; 2]);
    // An address of somebody else is left out, where there is another.
    let strange = "192.0.2.1:0".parse().unwrap();
    assert_eq!(listen::bind(&[strange, both[0]]).unwrap().len(), 1);
    assert!(listen::bind(&[strange]).unwrap_err().contains("192.0.2.1"));
    // One that is in use is not left out: its clients would be another program's.
    let used = listeners[0].local_addr().unwrap();
    assert!(listen::bind(&[both[1], used]).unwrap_err().contains(&used.to_string()));
}
