//! `NetStream`: `blocking` over TLS.
#![cfg(feature = "rustls")]

#[path = "../examples/tls/mod.rs"]
mod tls;

mod pki;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pki::{MASKED_CLOSE, MASKED_HELLO, NAME, PATIENCE, Peer, Pki, dial, sealed, upgrade};
use rustls::ClientConfig;
use sansocket::blocking::{NetStream, WebSocket, serve};
use sansocket::error::EndReason;
use sansocket::handshake::ClientRequest;
use sansocket::proto::SystemKeys;
use sansocket::session::{BufferSizes, Buffers, Outcome};
use sansocket::{
    Client, CloseCode, Config, Ending, Error, Event, Handler, HandlerError, Kind, Message, Outbox,
};

/// Echoes, and keeps how it ended.
#[derive(Default)]
struct Echo(Option<Ending>);

impl Handler for Echo {
    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        if let Event::Data(data) = event {
            out.forward(&data)?;
        }
        Ok(())
    }

    fn closed(&mut self, cause: &Ending, _: &str) {
        self.0 = Some(*cause);
    }
}

struct RoutesServer {
    outcome: std::io::Result<Outcome>,
    cause: Option<Ending>,
    took: Duration,
}

/// Serves one connection over TLS, and says how that went.
fn serve_one(pki: &Pki, config: Config) -> (SocketAddr, JoinHandle<RoutesServer>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (address, server) = (listener.local_addr().unwrap(), Arc::clone(&pki.server));
    let served = thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        socket.set_nodelay(true).unwrap();
        let began = Instant::now();
        let mut echo = Echo::default();
        let stream = NetStream::tls_server(socket, &server).unwrap();
        let outcome = serve(stream, &mut echo, &config, &mut buffers());
        RoutesServer { outcome, cause: echo.0, took: began.elapsed() }
    });
    (address, served)
}

/// A client of it, up to the answer's head.
fn upgraded(pki: &Pki, address: SocketAddr) -> Peer {
    let mut peer = pki.peer(address);
    upgrade(&mut peer);
    peer
}

fn buffers() -> Buffers<'static> {
    Buffers::with_sizes(BufferSizes { head: 4096, receive: 4096, transmit: 4096 })
}

type Socket = WebSocket<NetStream, Client<SystemKeys>>;

fn connect(config: &Arc<ClientConfig>, name: &str, address: SocketAddr) -> Result<Socket, Error> {
    let stream = NetStream::tls_client(dial(address), config, name).unwrap();
    let request = ClientRequest::parse("wss://echo.test/").unwrap();
    WebSocket::connect(stream, &Config::DEFAULT, buffers(), SystemKeys::new().unwrap(), &request)
}

#[test]
fn echo_and_a_clean_close() {
    let pki = Pki::new();
    for name in [NAME, "127.0.0.1"] {
        let (address, served) = serve_one(&pki, Config::DEFAULT);
        let mut socket = connect(&pki.client(), name, address).unwrap();
        for text in ["", "Grüße", &"ü".repeat(1500)] {
            socket.send(text).unwrap();
            assert_eq!(socket.recv().unwrap(), Some(Message::from(text)));
        }
        assert!(socket.close(CloseCode::NORMAL, "").is_clean());
        drop(socket);
        let served = served.join().unwrap();
        assert!(
            matches!(served.outcome, Ok(Outcome::Closed(cause)) if cause.is_clean()),
            "{:?}",
            served.outcome
        );
    }
}

/// Either side's memory holds a hundredth of it, so both have to write and read in turns, and often in the middle
/// of a record.
#[test]
fn four_mebibytes_both_ways_at_once() {
    const LEN: usize = 4 << 20;
    let byte = |at: usize| (at.wrapping_mul(31) >> 3) as u8;
    let pki = Pki::new();
    let (address, served) = serve_one(&pki, Config::DEFAULT);
    let mut socket = connect(&pki.client(), NAME, address).unwrap();
    socket.writer().outbox().begin_frame(Kind::Binary, LEN as u64, true).unwrap();
    let payload: Vec<u8> = (0..LEN).map(byte).collect();
    let (mut sent, mut echoed) = (0, 0);
    while echoed < LEN {
        if sent < LEN {
            sent += socket.writer().outbox().write(&payload[sent..]).unwrap();
        }
        let wait = if sent < LEN { Duration::ZERO } else { PATIENCE };
        match socket.read_timeout(wait).unwrap() {
            Poll::Ready(Some((Event::Data(data), _))) => {
                assert_eq!(&*data.payload, &payload[echoed..echoed + data.payload.len()], "at {echoed}");
                echoed += data.payload.len();
            }
            Poll::Ready(_) => {}
            Poll::Pending => assert!(sent < LEN, "no echo behind byte {echoed}"),
        }
    }
    assert!(socket.close(None, "").is_clean());
    assert!(matches!(served.join().unwrap().outcome, Ok(Outcome::Closed(cause)) if cause.is_clean()));
}

/// The same from a peer that reads nothing before it has written all: as much as its memory and the kernel's hold.
#[test]
fn a_peer_that_reads_late_gets_everything() {
    const LEN: usize = 512 << 10;
    let pki = Pki::new();
    let (address, served) = serve_one(&pki, Config::DEFAULT);
    let peer = upgraded(&pki, address);
    let mut frame = vec![0x82, 0xFF];
    frame.extend((LEN as u64).to_be_bytes());
    frame.extend([0; 4]);
    frame.resize(14 + LEN, 0x5A);
    let (mut tls, mut socket) = (peer.conn, peer.sock);
    // A thread writes what a second one reads late: rustls is one object, so the bytes go through memory.
    let wire = sealed(&mut tls, &frame);
    let mut out = socket.try_clone().unwrap();
    let writing = thread::spawn(move || out.write_all(&wire).unwrap());
    thread::sleep(Duration::from_millis(300));
    let mut got = Vec::new();
    while got.len() < 10 + LEN {
        tls.read_tls(&mut socket).unwrap();
        let ready = tls.process_new_packets().unwrap().plaintext_bytes_to_read();
        let from = got.len();
        got.resize(from + ready, 0);
        tls.reader().read_exact(&mut got[from..]).unwrap();
    }
    writing.join().unwrap();
    assert_eq!(got[..2], [0x82, 127]);
    assert!(got[10..].iter().all(|byte| *byte == 0x5A));
    drop(socket);
    let _ = served.join().unwrap();
}

#[test]
fn a_stranger_s_certificate_is_refused() {
    let (pki, stranger) = (Pki::new(), Pki::new());
    let (address, served) = serve_one(&pki, Config::DEFAULT);
    let Err(Error::Transport(error)) = connect(&stranger.client(), NAME, address) else {
        panic!("connected")
    };
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    // Both authorities bear the same name: it is the signature that tells them apart.
    assert!(error.to_string().contains("BadSignature"), "{error}");
    // The server receives an alert.
    let error = served.join().unwrap().outcome.unwrap_err();
    assert!(error.to_string().contains("alert"), "{error}");
}

#[test]
fn another_host_s_certificate_is_refused() {
    let pki = Pki::new();
    let (address, served) = serve_one(&pki, Config::DEFAULT);
    let Err(Error::Transport(error)) = connect(&pki.client(), "other.test", address) else {
        panic!("connected")
    };
    assert!(error.to_string().contains("not valid for name"), "{error}");
    assert!(served.join().unwrap().outcome.is_err());
}

/// The answer to a Close, `close_notify`, and then the end of TCP: `read` says 0 only in that order.
#[test]
fn close_notify_comes_before_the_end() {
    let pki = Pki::new();
    let (address, served) = serve_one(&pki, Config::DEFAULT);
    let mut peer = upgraded(&pki, address);
    peer.write_all(&MASKED_CLOSE).unwrap();
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, [0x88, 0x02, 0x03, 0xE8]);
    // Behind it there is nothing but the end.
    assert_eq!(peer.sock.read(&mut [0; 1]).unwrap(), 0);
    // The server still listens for our end, as it does over TCP.
    peer.conn.send_close_notify();
    peer.flush().unwrap();
    peer.sock.shutdown(Shutdown::Write).unwrap();
    assert!(matches!(served.join().unwrap().outcome, Ok(Outcome::Closed(cause)) if cause.is_clean()));
}

/// Somebody on the way who cuts the stream, even between records, cannot make it look like an end of the peer's.
#[test]
fn an_end_without_close_notify_is_a_peer_that_vanished() {
    let pki = Pki::new();
    let (address, served) = serve_one(&pki, Config::DEFAULT);
    let mut peer = upgraded(&pki, address);
    peer.write_all(&MASKED_HELLO).unwrap();
    let mut echo = [0; 7];
    peer.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"\x81\x05Hello");
    peer.sock.shutdown(Shutdown::Write).unwrap();
    let served = served.join().unwrap();
    assert_eq!(served.outcome.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(served.cause.unwrap().reason, EndReason::Disconnected);
}

/// Nor does a changed byte pass.
#[test]
fn a_forged_record_ends_the_connection() {
    let pki = Pki::new();
    let (address, served) = serve_one(&pki, Config::DEFAULT);
    let mut peer = upgraded(&pki, address);
    let mut record = sealed(&mut peer.conn, &MASKED_HELLO);
    *record.last_mut().unwrap() ^= 1;
    peer.sock.write_all(&record).unwrap();
    let served = served.join().unwrap();
    assert_eq!(served.outcome.unwrap_err().kind(), ErrorKind::InvalidData);
    assert_eq!(served.cause.unwrap().reason, EndReason::Disconnected);
}

/// A record that arrives byte by byte, with time-outs in the middle of it, is a record.
#[test]
fn a_record_in_pieces_loses_nothing() {
    let mut config = Config::new();
    config.timeouts.ping = Some(Duration::from_millis(20)); // so that reads time out all the time
    config.timeouts.pong = None;
    let pki = Pki::new();
    let (address, served) = serve_one(&pki, config);
    let mut peer = upgraded(&pki, address);
    let record = sealed(&mut peer.conn, &MASKED_HELLO);
    for (i, byte) in record.iter().enumerate() {
        if i % 8 == 0 {
            thread::sleep(Duration::from_millis(50));
        }
        peer.sock.write_all(&[*byte]).unwrap();
    }
    let mut pings = 0;
    loop {
        let mut head = [0; 2];
        peer.read_exact(&mut head).unwrap();
        match head {
            [0x89, 0] => pings += 1,
            [0x81, 5] => break,
            other => panic!("{other:?}"),
        }
    }
    let mut hello = [0; 5];
    peer.read_exact(&mut hello).unwrap();
    assert_eq!((&hello, pings > 0), (b"Hello", true));
    drop(peer);
    let _ = served.join().unwrap();
}

fn hasty() -> Config {
    let mut config = Config::new();
    config.timeouts.handshake = Some(Duration::from_millis(500));
    config.timeouts.close = Some(Duration::from_millis(500));
    config
}

/// `speak` talks until the socket fails; the server must not wait for it to.
fn given_up(speak: impl FnOnce(TcpStream) + Send + 'static) {
    let pki = Pki::new();
    let (address, served) = serve_one(&pki, hasty());
    let socket = dial(address);
    let peer = thread::spawn(move || speak(socket));
    let served = served.join().unwrap();
    assert!(served.took >= Duration::from_millis(500), "{:?}", served.took);
    assert_eq!(served.cause, None);
    peer.join().unwrap();
}

#[test]
fn the_deadline_of_the_handshake_holds_for_who_is_silent() {
    given_up(|mut socket| {
        // Until the server's end, whatever comes before it.
        let _ = socket.read_to_end(&mut Vec::new());
    });
}

#[test]
fn the_deadline_of_the_handshake_holds_for_who_drips() {
    given_up(|mut socket| {
        // A record of 16 KiB, a byte every now and then.
        let _ = socket.write_all(&[22, 3, 1, 0x40, 0, 1, 0, 0x3F, 0xFC]);
        while socket.write_all(&[3]).is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
}

/// The client's request waits for TLS: its deadline holds there too.
#[test]
fn a_server_that_never_speaks_tls_is_given_up() {
    for drips in [false, true] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            if drips {
                let _ = socket.write_all(&[22, 3, 3, 0x40, 0, 2, 0, 0x3F, 0xFC]);
                while socket.write_all(&[3]).is_ok() {
                    thread::sleep(Duration::from_millis(20));
                }
            }
            let _ = socket.read_to_end(&mut Vec::new());
        });
        let config = hasty();
        let stream = NetStream::tls_client(dial(address), &Pki::new().client(), NAME).unwrap();
        let request = ClientRequest::parse("wss://echo.test/").unwrap();
        let keys = SystemKeys::new().unwrap();
        let failed = WebSocket::connect(stream, &config, buffers(), keys, &request).unwrap_err();
        assert_eq!(failed.to_string(), "the opening handshake took too long");
        server.join().unwrap();
    }
}

/// What is wrong with a certificate's or a key's file is said, with the file's name.
#[test]
fn files_are_named() {
    let files = Pki::new().files("tls");
    std::fs::write(files.path("other.pem"), Pki::new().key.serialize_pem()).unwrap();
    std::fs::write(files.path("empty.pem"), "").unwrap();
    let [cert, key, other, empty, none] =
        ["cert.pem", "key.pem", "other.pem", "empty.pem", "none.pem"].map(|name| files.path(name));

    assert!(tls::server(&cert, &key).is_ok());
    assert!(tls::roots(&cert).is_ok());
    for (failed, words) in [
        (tls::server(&none, &key).map(drop), ["no certificate", "none.pem"]),
        (tls::server(&key, &key).map(drop), ["no certificate", "key.pem"]),
        (tls::server(&cert, &empty).map(drop), ["no private key", "empty.pem"]),
        (tls::server(&cert, &none).map(drop), ["no private key", "none.pem"]),
        (tls::server(&cert, &other).map(drop), ["cert.pem with", "other.pem"]),
        (tls::roots(&empty).map(drop), ["no certificate", "empty.pem"]),
    ] {
        let error = failed.unwrap_err();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}
