//! The example `wss_server` against what ESP-IDF's example of that name does: W1 to W4.
#![cfg(feature = "rustls")]

#[allow(dead_code, reason = "what reads the command line")]
#[path = "../examples/wss_server.rs"]
mod wss_server;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use sansocket::CloseCode;
use sansocket::hub::Handle;
use wss_server::{Options, start};

const NEVER: Duration = Duration::from_secs(3600);

/// The server, until it is dropped.
struct Running {
    address: SocketAddr,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
    client: Arc<ClientConfig>,
}

impl Running {
    fn new(name: &str, keep_alive: Duration, hello: Duration) -> Self {
        let directory = std::env::temp_dir().join(format!("sansocket-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["wss.test".into()]).unwrap().self_signed(&key).unwrap();
        let files = ["cert.pem", "key.pem"].map(|name| directory.join(name).to_str().unwrap().to_owned());
        std::fs::write(&files[0], certificate.pem()).unwrap();
        std::fs::write(&files[1], key.serialize_pem()).unwrap();
        let [chain, secret] = files;
        let certificate_files = Some((chain, secret));
        let listen = "127.0.0.1:0".into();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let server =
                start(&Options { listen, certificate: certificate_files, keep_alive, hello }).unwrap();
            tell.send((server.address(), server.handle())).unwrap();
            server.run().unwrap();
        });
        let (address, handle) = told.recv().unwrap();
        std::fs::remove_dir_all(directory).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Self { address, handle, thread: Some(thread), client: Arc::new(client) }
    }

    /// A connection, up to the answer's head; and its status.
    fn connect(&self) -> (StreamOwned<ClientConnection, TcpStream>, String) {
        let name = "wss.test".try_into().unwrap();
        let tls = ClientConnection::new(Arc::clone(&self.client), name).unwrap();
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut peer = StreamOwned::new(tls, socket);
        let request = "GET /ws HTTP/1.1\r\nHost: wss.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
        peer.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            peer.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        (peer, String::from_utf8(head[9..12].to_vec()).unwrap())
    }

    fn open(&self) -> StreamOwned<ClientConnection, TcpStream> {
        let (peer, status) = self.connect();
        assert_eq!(status, "101");
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
    let mut frame = vec![first, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    frame.extend(payload);
    peer.write_all(&frame).unwrap();
}

fn receive(peer: &mut impl Read) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    peer.read_exact(&mut head).unwrap();
    let mut payload = vec![0; usize::from(head[1])];
    peer.read_exact(&mut payload).unwrap();
    (head[0], payload)
}

#[test]
fn w1_tls_for_four_clients() {
    let server = Running::new("w1", NEVER, NEVER);
    let mut peers: Vec<_> = (0..4).map(|_| server.open()).collect();
    assert_eq!(server.connect().1, "503");
    for peer in &mut peers {
        send(peer, TEXT, b"still here");
        assert_eq!(receive(peer), (TEXT, b"still here".to_vec()));
    }
    // One goes, another comes.
    send(&mut peers[0], CLOSE, &[0x03, 0xE8]);
    assert_eq!(receive(&mut peers[0]), (CLOSE, vec![0x03, 0xE8]));
    drop(peers.remove(0));
    let began = Instant::now();
    while server.connect().1 != "101" {
        assert!(began.elapsed() < Duration::from_secs(20), "no place was given back");
    }
    // And nothing but TLS.
    let mut plain = TcpStream::connect(server.address).unwrap();
    plain.write_all(b"GET /ws HTTP/1.1\r\nHost: wss.test\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).unwrap();
    assert_eq!(answer[0], 21, "an alert");
}

#[test]
fn w2_text_is_echoed_and_control_frames_are_answered_by_hand() {
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
fn w3_hello_client_again_and_again_to_each() {
    let server = Running::new("w3", NEVER, Duration::from_millis(200));
    let mut peers = [server.open(), server.open()];
    for _ in 0..3 {
        for peer in &mut peers {
            assert_eq!(receive(peer), (TEXT, b"Hello client".to_vec()));
        }
    }
}

#[test]
fn w4_the_silent_are_asked_and_then_closed() {
    let server = Running::new("w4", Duration::from_millis(500), NEVER);
    let (mut lively, mut silent) = (server.open(), server.open());
    let began = Instant::now();
    // Who answers stays, for as long as he answers.
    for _ in 0..4 {
        assert_eq!(receive(&mut lively), (PING, vec![]));
        send(&mut lively, PONG, b"");
    }
    assert!(began.elapsed() >= Duration::from_secs(2));
    assert_eq!(receive(&mut silent), (PING, vec![]));
    assert_eq!(receive(&mut silent), (CLOSE, vec![0x03, 0xE9]));
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
fn w1_a_certificate_of_its_own() {
    let options =
        Options { listen: "127.0.0.1:0".into(), certificate: None, keep_alive: NEVER, hello: NEVER };
    let server = start(&options).unwrap();
    let (address, handle) = (server.address(), server.handle());
    let thread = thread::spawn(move || server.run().unwrap());
    let client = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let tls = ClientConnection::new(Arc::new(client), "localhost".try_into().unwrap()).unwrap();
    let mut peer = StreamOwned::new(tls, TcpStream::connect(address).unwrap());
    let error = peer.write(b"x").unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    handle.stop(CloseCode::GOING_AWAY).unwrap();
    thread.join().unwrap();
}
