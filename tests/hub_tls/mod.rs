//! What a hub does over TLS, whatever drives it. The test crate has a function `serve`, which starts one.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::ClientConfig;
use sansocket::error::EndReason;
use sansocket::handshake::Request;
use sansocket::hub::{
    Application, Counters, HubHandle, HubSettings, RequestAction, SessionInfo, SessionState,
};
use sansocket::message::Prepared;
use sansocket::session::Outcome;
use sansocket::{CloseCode, Config};
use tungstenite::{Message as Theirs, WebSocket};

use crate::hub_server::{Echo, wait_for};
#[cfg(target_os = "linux")]
use crate::hub_server::{descriptors, resident};
use crate::pki::{self, MASKED_CLOSE, MASKED_HELLO, NAME, Peer, Pki, REQUEST, dial, sealed, upgrade};
use crate::{UNREAD, serve};

/// Echoes, and keeps how sessions ended.
pub(crate) struct App(Arc<Mutex<Vec<Outcome>>>);

impl Application for App {
    type Handler = Echo;

    fn request<'s>(&'s mut self, _: &mut SessionInfo, _: &Request<'_>) -> RequestAction<'s, Echo> {
        RequestAction::Serve(Echo)
    }

    fn ended(&mut self, _: &SessionInfo, outcome: Option<Outcome>) {
        self.0.lock().unwrap().push(outcome.expect("a panic"));
    }
}

/// A hub in a thread, until it is dropped.
struct Running {
    pki: Pki,
    address: SocketAddr,
    handle: HubHandle,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
    thread: Option<JoinHandle<()>>,
    /// Tests that count descriptors must not see those of others.
    _alone: MutexGuard<'static, ()>,
}

impl Running {
    fn new(config: Config) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let pki = Pki::new();
        let outcomes = Arc::default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let settings = HubSettings::new(Arc::new(config));
        let address = listener.local_addr().unwrap();
        let (handle, run) = serve(listener, Arc::clone(&pki.server), settings, App(Arc::clone(&outcomes)));
        Self { pki, address, handle, outcomes, thread: Some(thread::spawn(run)), _alone: alone }
    }

    fn tcp(&self) -> TcpStream {
        dial(self.address)
    }

    fn tls(&self) -> Peer {
        self.pki.peer(self.address)
    }

    /// Up to the answer's head.
    fn upgraded(&self) -> Peer {
        let mut peer = self.tls();
        upgrade(&mut peer);
        peer
    }

    fn connect(&self) -> WebSocket<Peer> {
        tungstenite::client(format!("ws://{NAME}/"), self.tls()).unwrap().0
    }

    /// How the `n` sessions ended that there were.
    fn outcomes(&self, n: usize) -> Vec<Outcome> {
        wait_for("the end of every session", || self.outcomes.lock().unwrap().len() >= n);
        let outcomes = self.outcomes.lock().unwrap().clone();
        assert_eq!(outcomes.len(), n, "{outcomes:?}");
        outcomes
    }

    fn open(&self) -> usize {
        self.handle.sessions().iter().filter(|session| session.state() == SessionState::Open).count()
    }

    fn counters(&self) -> Counters {
        // The results of a turn are reported when the next begins.
        let (tell, told) = std::sync::mpsc::channel();
        self.handle.call(move |hub| tell.send(hub.counters()).unwrap()).unwrap();
        told.recv().unwrap()
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

fn ends(outcome: &Outcome) -> EndReason {
    match outcome {
        Outcome::Closed(cause) => cause.reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn small_and_large_messages_are_echoed_over_tls_and_the_close_is_clean() {
    let server = Running::new(Config::DEFAULT);
    let mut client = server.connect();
    for size in [0, 1, 125, 16 * 1024 - 4, 16 * 1024, 16 * 1024 + 1, 100_000, 4 << 20] {
        let bytes: Vec<u8> = (0..size).map(|at: usize| (at.wrapping_mul(31) >> 3) as u8).collect();
        client.send(Theirs::binary(bytes.clone())).unwrap();
        assert!(client.read().unwrap() == Theirs::binary(bytes), "{size}");
    }
    client.send(Theirs::text("Grüße")).unwrap();
    assert_eq!(client.read().unwrap(), Theirs::text("Grüße"));
    client.close(None).unwrap();
    while client.read().is_ok() {}
    drop(client);
    assert_eq!(ends(&server.outcomes(1)[0]), EndReason::Clean);
}

#[test]
fn many_clients_at_once_get_a_broadcast() {
    const CLIENTS: usize = 64;
    let server = Running::new(Config::DEFAULT);
    let big = vec![7; 300_000];
    thread::scope(|scope| {
        for i in 0..CLIENTS {
            let (server, big) = (&server, &big);
            scope.spawn(move || {
                let mut client = server.connect();
                for n in 0..20 {
                    let text = format!("{i} {n} {}", "x".repeat(n * 100));
                    client.send(Theirs::text(text.clone())).unwrap();
                    assert!(client.read().unwrap() == Theirs::text(text));
                }
                assert!(client.read().unwrap() == Theirs::binary(big.clone()));
                assert_eq!(client.read().unwrap(), Theirs::text("small"));
                client.close(None).unwrap();
                while client.read().is_ok() {}
            });
        }
        wait_for("every message", || server.counters().messages == CLIENTS as u64 * 20);
        server.handle.broadcast(Prepared::binary(big.clone())).unwrap();
        server.handle.broadcast(Prepared::text("small")).unwrap();
    });
    assert!(server.outcomes(CLIENTS).iter().all(|outcome| ends(outcome) == EndReason::Clean));
    assert_eq!(server.counters().delivered, 2 * CLIENTS as u64);
}

/// TLS of each version; a client that updates its keys, and asks the server to do the same.
#[test]
fn every_tls_version_and_key_updates_work() {
    let server = Running::new(Config::DEFAULT);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = ClientConfig::builder_with_protocol_versions(&[version])
            .with_root_certificates(server.pki.roots())
            .with_no_client_auth();
        let stream = pki::peer(Arc::new(config), NAME, server.tcp());
        let (mut client, _) = tungstenite::client(format!("ws://{NAME}/"), stream).unwrap();
        assert_eq!(client.get_ref().conn.protocol_version(), Some(version.version));
        for n in 0..50 {
            if version.version == rustls::ProtocolVersion::TLSv1_3 {
                client.get_mut().conn.refresh_traffic_keys().unwrap();
            }
            client.send(Theirs::text(n.to_string())).unwrap();
            assert_eq!(client.read().unwrap(), Theirs::text(n.to_string()));
        }
    }
}

/// Tickets for the next handshake come when this one is done, without anything else to send or to answer.
#[test]
fn records_that_tls_sends_by_itself_are_sent() {
    let server = Running::new(Config::DEFAULT);
    let mut peer = server.tls();
    peer.conn.complete_io(&mut peer.sock).unwrap();
    while peer.conn.tls13_tickets_received() < 2 {
        peer.conn.read_tls(&mut peer.sock).unwrap();
        peer.conn.process_new_packets().unwrap();
    }
}

/// A peer that asks for much and reads nothing costs a bounded amount of memory, holds up nobody, and gets everything
/// when it reads at last.
#[cfg(target_os = "linux")]
#[test]
fn a_slow_reader_loses_nothing() {
    const LEN: usize = 24 << 20;
    let server = Running::new(Config::DEFAULT);
    let slow = server.upgraded();
    let (mut tls, mut socket) = (slow.conn, slow.sock);
    let mut frames = crate::hub_server::masked(0x82, &vec![0x5A; LEN]);
    frames.extend(MASKED_CLOSE);
    let wire = sealed(&mut tls, &frames);
    let before = resident();
    let mut out = socket.try_clone().unwrap();
    let writing = thread::spawn(move || out.write_all(&wire).unwrap());
    let mut last = 0;
    wait_for("the end of what the server takes", || {
        thread::sleep(Duration::from_millis(100));
        let received = server.counters().received;
        std::mem::replace(&mut last, received) == received && received > 0
    });
    assert!(last < LEN as u64, "all of it fits the system's buffers");
    let grown = resident().saturating_sub(before);
    assert!(grown < 2 << 20, "{grown} bytes for one slow reader");

    let mut quick = server.connect();
    quick.send(Theirs::text("meanwhile")).unwrap();
    assert_eq!(quick.read().unwrap(), Theirs::text("meanwhile"));

    let mut got = Vec::new();
    loop {
        tls.read_tls(&mut socket).unwrap();
        let state = tls.process_new_packets().unwrap();
        let from = got.len();
        got.resize(from + state.plaintext_bytes_to_read(), 0);
        tls.reader().read_exact(&mut got[from..]).unwrap();
        if state.peer_has_closed() {
            break;
        }
    }
    assert_eq!(got.len(), 10 + LEN + 4);
    assert_eq!(got[..2], [0x82, 127]);
    assert!(got[10..10 + LEN].iter().all(|byte| *byte == 0x5A));
    assert_eq!(got[10 + LEN..], [0x88, 0x02, 0x03, 0xE8]);
    writing.join().unwrap();
}

/// Frames that wait for a slow reader go whole and in order, and each is reported when TCP has it.
#[test]
fn queued_messages_are_delivered_in_order() {
    let server = Running::new(Config::DEFAULT);
    let mut peer = server.connect();
    wait_for("the connection", || server.open() == 1);
    let id = server.handle.sessions()[0].id();
    let done = Arc::new(Mutex::new(Vec::new()));
    let sizes = [10, 5000, 70_000, 1023, 1024, 200_000, 3, 16 * 1024, 400_000, 100_000];
    for (n, size) in sizes.into_iter().enumerate() {
        let done = Arc::clone(&done);
        let message = Prepared::binary(vec![n as u8; size]);
        server.handle.send_with(id, message, move |told| done.lock().unwrap().push((n, told))).unwrap();
    }
    for (n, size) in sizes.into_iter().enumerate() {
        thread::sleep(Duration::from_millis(10));
        assert!(peer.read().unwrap() == Theirs::binary(vec![n as u8; size]), "{n}");
    }
    wait_for("every delivery", || done.lock().unwrap().len() == sizes.len());
    assert!(done.lock().unwrap().iter().enumerate().all(|(at, told)| *told == (at, Ok(()))));
}

#[test]
fn messages_sent_before_a_close_arrive_before_it() {
    for len in [50, 1_100, 20_000] {
        let server = Running::new(Config::DEFAULT);
        let mut peer = server.connect();
        wait_for("the connection", || server.open() == 1);
        let id = server.handle.sessions()[0].id();
        for n in 0..3 {
            server.handle.send(id, Prepared::binary(vec![n; len])).unwrap();
        }
        server.handle.close(id, CloseCode::NORMAL, "").unwrap();
        for n in 0..3 {
            assert!(peer.read().unwrap() == Theirs::binary(vec![n; len]), "{len}: {n}");
        }
        assert!(peer.read().unwrap().is_close());
    }
}

/// What is no TLS gets TLS's answer, an alert, and the end; so does plain `ws://` on this port.
#[test]
fn input_that_is_not_tls_is_answered_with_an_alert() {
    let server = Running::new(Config::DEFAULT);
    let long = vec![0x5A; 100_000];
    let hello = [22, 3, 1, 0, 4, 1, 0, 0, 0];
    for garbage in [&b"\0"[..], b"hello, hello", REQUEST, &hello, &long[..UNREAD]] {
        let mut socket = server.tcp();
        socket.write_all(garbage).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        // One byte is no record yet.
        if garbage.len() > 5 {
            assert_eq!((answer.len(), answer[0], answer[5]), (7, 21, 2), "{garbage:?}: {answer:?}");
        }
    }
    // More of it than anybody reads.
    let mut socket = server.tcp();
    let _ = socket.write_all(&long);
    let _ = socket.read_to_end(&mut Vec::new());
    assert!(server.outcomes(6).iter().all(Outcome::is_disconnect));
    assert_eq!(server.counters().refused.disconnected, 6);
    server.connect().send(Theirs::text("still here")).unwrap();
}

/// What needs many reads before it is anything gives way to others, and goes on all the same.
#[test]
fn a_long_client_hello_is_read_in_turns() {
    let server = Running::new(Config::DEFAULT);
    // It says that it has 60,000 bytes, all of them zeros.
    let mut hello = vec![0; 60_004];
    hello[..4].copy_from_slice(&[1, 0, 0xEA, 0x60]);
    let mut wire = Vec::new();
    for part in hello.chunks(16 * 1024) {
        wire.extend([22, 3, 1]);
        wire.extend((part.len() as u16).to_be_bytes());
        wire.extend(part);
    }
    let mut socket = server.tcp();
    wait_for("the connection", || server.counters().accepted == 1);
    // All of it is there before the hub looks.
    let (go, wait) = std::sync::mpsc::channel::<()>();
    server.handle.call(move |_| assert!(wait.recv().is_err())).unwrap();
    socket.write_all(&wire).unwrap();
    thread::sleep(Duration::from_millis(50));
    drop(go);
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 50], "decode_error");
}

/// A client that trusts somebody else ends the handshake with an alert of its own.
#[test]
fn a_client_that_refuses_the_certificate_is_a_disconnect() {
    let server = Running::new(Config::DEFAULT);
    let mut stream = Pki::new().peer(server.address);
    assert_eq!(stream.write(b"x").unwrap_err().kind(), ErrorKind::InvalidData);
    let _ = stream.conn.write_tls(&mut stream.sock);
    drop(stream);
    assert!(server.outcomes(1)[0].is_disconnect());
}

#[test]
fn the_handshake_deadline_holds_for_the_tls_handshake() {
    let mut config = Config::new();
    config.timeouts.handshake = Some(Duration::from_millis(300));
    let server = Running::new(config);
    let mut silent = server.tcp();
    let drip = server.tcp();
    let mut half = server.tls();
    // TLS is there, but no request.
    half.conn.complete_io(&mut half.sock).unwrap();
    thread::spawn(move || {
        let mut drip = drip;
        let _ = drip.write_all(&[22, 3, 1, 0x40, 0, 1, 0, 0x3F, 0xFC]);
        while drip.write_all(&[3]).is_ok() {
            thread::sleep(Duration::from_millis(10));
        }
    });
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
    let _ = half.read_to_end(&mut Vec::new());
    assert!(server.outcomes(3).iter().all(|outcome| *outcome == Outcome::Disconnected));
}

/// The answer to a Close, `close_notify`, and then the end of TCP: `read` says 0 only in that order.
#[test]
fn close_notify_is_sent_before_the_end() {
    let server = Running::new(Config::DEFAULT);
    let mut peer = server.upgraded();
    peer.write_all(&MASKED_CLOSE).unwrap();
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, [0x88, 0x02, 0x03, 0xE8]);
    assert_eq!(peer.sock.read(&mut [0; 1]).unwrap(), 0);
    // The server still listens for our end, as it does over TCP.
    assert!(server.outcomes.lock().unwrap().is_empty());
    peer.conn.send_close_notify();
    peer.flush().unwrap();
    assert_eq!(ends(&server.outcomes(1)[0]), EndReason::Clean);
}

/// Somebody on the way who cuts the stream, even between records, cannot make it look like an end of the peer's.
#[test]
fn an_end_without_close_notify_is_a_disconnect() {
    let server = Running::new(Config::DEFAULT);
    let mut peer = server.upgraded();
    peer.write_all(&MASKED_HELLO).unwrap();
    let mut echo = [0; 7];
    peer.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"\x81\x05Hello");
    peer.sock.shutdown(Shutdown::Write).unwrap();
    assert_eq!(ends(&server.outcomes(1)[0]), EndReason::Disconnected);
}

#[test]
fn a_forged_record_ends_the_connection_with_an_alert() {
    let server = Running::new(Config::DEFAULT);
    let mut peer = server.upgraded();
    let mut record = sealed(&mut peer.conn, &MASKED_HELLO);
    *record.last_mut().unwrap() ^= 1;
    peer.sock.write_all(&record).unwrap();
    let error = peer.read(&mut [0; 16]).unwrap_err();
    assert!(error.to_string().contains("alert"), "{error}");
    assert_eq!(ends(&server.outcomes(1)[0]), EndReason::Disconnected);
}

/// Connections that come and are cut leave nothing behind.
#[cfg(target_os = "linux")]
#[test]
fn ended_sessions_leave_no_memory() {
    let server = Running::new(Config::DEFAULT);
    let rounds = |n: usize| {
        for i in 0..n {
            match i % 4 {
                0 => drop(server.tcp()),
                1 => drop(server.connect()),
                2 => {
                    let mut peer = server.upgraded();
                    peer.write_all(&MASKED_HELLO).unwrap();
                }
                _ => server.tcp().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap(),
            }
        }
        wait_for("the end of every session", || server.counters().accepted == server.counters().ended);
    };
    let before = descriptors();
    rounds(40);
    let warm = resident();
    rounds(2000);
    // Those of a test before may still have been there.
    assert!(descriptors() <= before, "{} descriptors, {before} before", descriptors());
    assert!(server.handle.sessions().is_empty());
    let grown = resident().saturating_sub(warm);
    assert!(grown < 2 << 20, "{grown} bytes after 2000 sessions");
}

#[test]
fn records_in_pieces_lose_nothing() {
    let server = Running::new(Config::DEFAULT);
    let mut peer = server.upgraded();
    for byte in sealed(&mut peer.conn, &MASKED_HELLO) {
        thread::sleep(Duration::from_millis(2));
        peer.sock.write_all(&[byte]).unwrap();
    }
    let mut echo = [0; 7];
    peer.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"\x81\x05Hello");
}
