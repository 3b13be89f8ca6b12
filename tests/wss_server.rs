//! The example `wss_server` does what ESP-IDF's example of that name does.
#![cfg(all(feature = "mio", feature = "rustls"))]

#[allow(dead_code, reason = "what reads the command line")]
#[path = "../examples/wss_server.rs"]
mod wss_server;

mod hub_server;
mod pki;
mod wire;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hub_server::{masked, next};
use pki::{PATIENCE, Peer, Pki, REQUEST, ask, dial, upgrade};
use rustls::{ClientConfig, RootCertStore};
use sansocket::CloseCode;
use sansocket::hub::HubHandle;
use wss_server::{Options, start};

const NEVER: Duration = Duration::from_secs(3600);

/// The server, until it is dropped.
struct Running {
    address: SocketAddr,
    handle: HubHandle,
    thread: Option<JoinHandle<()>>,
    pki: Pki,
}

impl Running {
    fn new(name: &str, keep_alive: Duration, hello: Duration) -> Self {
        let pki = Pki::new();
        let files = pki.files(name);
        let certificate = Some((files.path("cert.pem"), files.path("key.pem")));
        let listen = vec!["127.0.0.1:0".parse().unwrap()];
        let (tell, told) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let server = start(&Options { listen, certificate, keep_alive, hello }).unwrap();
            tell.send((server.address(), server.handle())).unwrap();
            server.run().unwrap();
        });
        let (address, handle) = told.recv().unwrap();
        Self { address, handle, thread: Some(thread), pki }
    }

    /// The status of the answer to a request.
    fn status(&self) -> String {
        ask(&mut self.pki.peer(self.address))[9..12].to_owned()
    }

    fn open(&self) -> Peer {
        let mut peer = self.pki.peer(self.address);
        upgrade(&mut peer);
        peer
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.handle.stop(CloseCode::GOING_AWAY);
        let joined = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            joined.unwrap().unwrap();
        }
    }
}

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;

fn send(peer: &mut impl Write, first: u8, payload: &[u8]) {
    peer.write_all(&masked(first, payload)).unwrap();
}

fn receive(peer: &mut impl Read) -> (u8, Vec<u8>) {
    next(peer).unwrap()
}

#[test]
fn four_clients_are_served_over_tls() {
    let server = Running::new("w1", NEVER, NEVER);
    let mut peers: Vec<_> = (0..4).map(|_| server.open()).collect();
    assert_eq!(server.status(), "503");
    for peer in &mut peers {
        send(peer, TEXT, b"still here");
        assert_eq!(receive(peer), (TEXT, b"still here".to_vec()));
    }
    // One goes, another comes.
    send(&mut peers[0], CLOSE, &[0x03, 0xE8]);
    assert_eq!(receive(&mut peers[0]), (CLOSE, vec![0x03, 0xE8]));
    drop(peers.remove(0));
    let began = Instant::now();
    while server.status() != "101" {
        assert!(began.elapsed() < PATIENCE, "no place was given back");
    }
    // And nothing but TLS.
    let mut plain = dial(server.address);
    plain.write_all(REQUEST).unwrap();
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).unwrap();
    assert_eq!(answer[0], 21, "an alert");
}

#[test]
fn text_is_echoed_and_control_frames_are_answered_by_hand() {
    let server = Running::new("w2", NEVER, NEVER);
    let mut peer = server.open();
    for text in ["", "Grüße"] {
        send(&mut peer, TEXT, text.as_bytes());
        assert_eq!(receive(&mut peer), (TEXT, text.into()));
    }
    send(&mut peer, BINARY, b"not echoed");
    send(&mut peer, PING, b"are you there");
    assert_eq!(receive(&mut peer), (PONG, b"are you there".to_vec()));
    send(&mut peer, PONG, b"");
    send(&mut peer, CLOSE, &[0x0F, 0xA1, b'b', b'y', b'e']);
    assert_eq!(receive(&mut peer), (CLOSE, vec![0x0F, 0xA1]));
    // close_notify, and the end.
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    assert_eq!(peer.sock.read(&mut [0]).unwrap(), 0);
    drop(peer);
}

#[test]
fn hello_is_sent_to_each_client_repeatedly() {
    let server = Running::new("w3", NEVER, Duration::from_millis(200));
    let mut peers = [server.open(), server.open()];
    for _ in 0..3 {
        for peer in &mut peers {
            assert_eq!(receive(peer), (TEXT, b"Hello client".to_vec()));
        }
    }
}

/// In what order it goes. That no deadline is early, nor hardly late, `hub` holds by a clock of its own.
#[test]
fn a_silent_client_gets_a_ping_and_is_then_disconnected() {
    // Long enough to answer in, however busy the machine is.
    let server = Running::new("w4", Duration::from_secs(2), NEVER);
    let (mut lively, mut silent) = (server.open(), server.open());
    for _ in 0..2 {
        assert_eq!(receive(&mut lively), (PING, vec![]));
        send(&mut lively, PONG, b"");
    }
    assert_eq!(receive(&mut silent), (PING, vec![]));
    assert_eq!(receive(&mut silent), (CLOSE, vec![0x03, 0xE9]));
    // Who answers has outlived it.
    send(&mut lively, TEXT, b"here");
    loop {
        match receive(&mut lively) {
            (PING, _) => send(&mut lively, PONG, b""),
            other => break assert_eq!(other, (TEXT, b"here".to_vec())),
        }
    }
}

/// Without files it has a certificate of its own, of which nobody has heard.
#[test]
fn a_server_without_a_certificate_makes_its_own() {
    let listen = vec!["127.0.0.1:0".parse().unwrap()];
    let options = Options { listen, certificate: None, keep_alive: NEVER, hello: NEVER };
    let server = start(&options).unwrap();
    let (address, handle) = (server.address(), server.handle());
    let thread = thread::spawn(move || server.run().unwrap());
    let client = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let mut peer = pki::peer(Arc::new(client), "localhost", dial(address));
    let error = peer.write(b"x").unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    handle.stop(CloseCode::GOING_AWAY).unwrap();
    thread.join().unwrap();
}
