//! `blocking::connect` over TLS, with an authority of its own.
#![cfg(feature = "rustls")]

mod pki;

use std::error::Error as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pki::Pki;
use rustls::{CertificateError, ProtocolVersion};
use sansocket::blocking::{NetStream, accept, connect, connect_with};
use sansocket::config::ClientOptions;
use sansocket::error::ConnectPhase;
use sansocket::error::RedirectError;
use sansocket::{CloseCode, Error, Message};

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Echoes on one connection over TLS.
fn echo(pki: &Pki) -> (SocketAddr, JoinHandle<Result<(), Error>>) {
    let ((listener, address), config) = (listen(), Arc::clone(&pki.server));
    let server = thread::spawn(move || {
        let (tcp, _) = listener.accept().unwrap();
        let mut socket = accept(NetStream::tls_server(tcp, &config).unwrap())?;
        while let Some(message) = socket.recv()? {
            socket.send(&message)?;
        }
        Ok(())
    });
    (address, server)
}

/// Sends once to each client that connects, and waits for its end.
fn raw(speak: impl FnOnce(&mut TcpStream) + Send + 'static) -> (SocketAddr, JoinHandle<()>) {
    let (listener, address) = listen();
    let server = thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        speak(&mut tcp);
        let _ = tcp.read_to_end(&mut Vec::new());
    });
    (address, server)
}

/// Why there is no TLS.
fn no_tls(error: &Error, address: SocketAddr) -> String {
    let Error::Connect(error) = error else { panic!("{error:?}") };
    assert_eq!((error.phase(), error.address()), (ConnectPhase::Tls, Some(address)));
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    error.to_string()
}

fn certificate_error(error: &Error) -> &CertificateError {
    let Error::Connect(error) = error else { panic!("{error:?}") };
    let source = error.source().unwrap().downcast_ref::<std::io::Error>().unwrap();
    match source.get_ref().unwrap().downcast_ref() {
        Some(rustls::Error::InvalidCertificate(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_of_a_trusted_authority_is_accepted() {
    let pki = Pki::new();
    for options in
        [ClientOptions::new().tls_roots(pki.roots()), ClientOptions::new().tls_config(pki.client())]
    {
        let (address, server) = echo(&pki);
        let mut socket = connect_with(&format!("wss://{address}/"), &options).unwrap();
        for message in [Message::from("Grüße"), Message::from(vec![7; 300_000])] {
            socket.send(&message).unwrap();
            assert_eq!(socket.recv().unwrap(), Some(message));
        }
        let tls = socket.stream().tls().unwrap();
        assert_eq!(tls.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        assert!(socket.stream().tcp().nodelay().unwrap());
        assert!(socket.close(CloseCode::NORMAL, "").is_clean());
        drop(socket);
        server.join().unwrap().unwrap();
    }
}

#[test]
fn the_authorities_of_the_system_are_trusted_by_default() {
    const URL: &str = "SANSOCKET_TEST_URL";
    if let Ok(url) = std::env::var(URL) {
        let mut socket = connect(&url).unwrap();
        socket.send("hello").unwrap();
        assert_eq!(socket.recv().unwrap(), Some(Message::from("hello")));
        return;
    }
    // The system's authorities are read from where the environment says: of a process of its own.
    let child = |url: &str, authorities: &str| {
        let mut test = Command::new(std::env::current_exe().unwrap());
        test.args(["--exact", "the_authorities_of_the_system_are_trusted_by_default"]);
        test.env(URL, url).env("SSL_CERT_FILE", authorities).env_remove("SSL_CERT_DIR").output().unwrap()
    };
    let (pki, stranger) = (Pki::new(), Pki::new());
    let (files, others) = (pki.files("roots"), stranger.files("other-roots"));
    for (authorities, trusted) in [(files.path("ca.pem"), true), (others.path("ca.pem"), false)] {
        let (address, server) = echo(&pki);
        let output = child(&format!("wss://{address}/"), &authorities);
        assert_eq!(output.status.success(), trusted, "{}", String::from_utf8_lossy(&output.stdout));
        let served = server.join().unwrap();
        // The client of the first one goes without a Close.
        assert!(served.is_err());
        let error = served.unwrap_err().to_string();
        assert_eq!(error.contains("alert"), !trusted, "{error}");
    }
    let output = child("wss://127.0.0.1:1/", &files.path("none.pem"));
    assert!(String::from_utf8_lossy(&output.stdout).contains("no trusted authority on this system"));
}

#[test]
fn a_server_of_an_unknown_authority_is_refused() {
    let (pki, stranger) = (Pki::new(), Pki::new());
    let (address, server) = echo(&pki);
    let options = ClientOptions::new().tls_roots(stranger.roots());
    let error = connect_with(&format!("wss://{address}/"), &options).unwrap_err();
    assert!(no_tls(&error, address).contains("invalid peer certificate"), "{error}");
    assert_eq!(*certificate_error(&error), CertificateError::BadSignature);
    // The server receives an alert.
    let told = server.join().unwrap().unwrap_err();
    assert!(told.to_string().contains("alert"), "{told}");
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let pki = Pki::new();
    let (address, server) = echo(&pki);
    let options = ClientOptions::new().tls_roots(pki.roots());
    // The certificate is for 127.0.0.1 and `echo.test`.
    let error = connect_with(&format!("wss://localhost:{}/", address.port()), &options).unwrap_err();
    assert!(no_tls(&error, address).starts_with("no TLS connection to localhost:"), "{error}");
    assert!(matches!(certificate_error(&error), CertificateError::NotValidForNameContext { .. }));
    assert!(server.join().unwrap().is_err());
}

#[test]
fn an_expired_certificate_is_refused() {
    let pki = Pki::expired();
    let (address, server) = echo(&pki);
    let options = ClientOptions::new().tls_roots(pki.roots());
    let error = connect_with(&format!("wss://{address}/"), &options).unwrap_err();
    assert!(no_tls(&error, address).contains("expired"), "{error}");
    assert!(matches!(certificate_error(&error), CertificateError::ExpiredContext { .. }));
    assert!(server.join().unwrap().is_err());
}

#[test]
fn a_server_without_tls_is_refused() {
    let (address, server) = raw(|tcp| {
        let _ = tcp.read(&mut [0; 4096]);
        tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let options = ClientOptions::new().tls_roots(Pki::new().roots());
    no_tls(&connect_with(&format!("wss://{address}/"), &options).unwrap_err(), address);
    server.join().unwrap();
}

#[test]
fn a_server_that_disconnects_in_the_tls_handshake_is_an_error() {
    let (address, server) = raw(|tcp| {
        let _ = tcp.read(&mut [0; 4096]);
        tcp.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let options = ClientOptions::new().tls_roots(Pki::new().roots());
    let error = connect_with(&format!("wss://{address}/"), &options).unwrap_err();
    assert!(
        no_tls(&error, address).ends_with("the peer ended the stream within the TLS handshake"),
        "{error}"
    );
    server.join().unwrap();
}

/// The server says nothing, or a byte of a large record now and then.
#[test]
fn the_tls_handshake_has_a_deadline() {
    for drips in [false, true] {
        let (address, server) = raw(move |tcp| {
            if drips {
                let _ = tcp.write_all(&[22, 3, 3, 0x40, 0, 2, 0, 0x3F, 0xFC]);
                while tcp.write_all(&[3]).is_ok() {
                    thread::sleep(Duration::from_millis(10));
                }
            }
        });
        let options = ClientOptions::new().tls_roots(Pki::new().roots());
        let options = options.tls_timeout(Duration::from_millis(300));
        let error = connect_with(&format!("wss://{address}/"), &options).unwrap_err();
        assert!(error.is_timeout());
        assert!(no_tls(&error, address).ends_with("the TLS handshake took too long"), "{error}");
        server.join().unwrap();
    }
}

#[test]
fn a_redirect_does_not_leave_tls() {
    let (pki, (listener, address)) = (Pki::new(), listen());
    let config = Arc::clone(&pki.server);
    let server = thread::spawn(move || {
        let (tcp, _) = listener.accept().unwrap();
        let mut stream = NetStream::tls_server(tcp, &config).unwrap();
        while stream.read(&mut [0; 4096]).map_err(|error| error.kind()) == Err(std::io::ErrorKind::WouldBlock)
        {
        }
        let answer = format!("HTTP/1.1 302 Found\r\nLocation: ws://{address}/\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).unwrap();
        // Nobody comes again.
        listener.set_nonblocking(true).unwrap();
        let _ = stream.read(&mut [0; 1]);
        listener.accept().map(drop).unwrap_err().kind()
    });
    let options = ClientOptions::new().tls_roots(pki.roots()).follow_redirects(5);
    let error = connect_with(&format!("wss://{address}/"), &options).unwrap_err();
    let Error::Connect(error) = error else { panic!("{error:?}") };
    assert_eq!(error.phase(), ConnectPhase::Redirect);
    let insecure = RedirectError::Insecure(format!("ws://{address}/"));
    assert_eq!(error.source().unwrap().downcast_ref(), Some(&insecure));
    assert_eq!(server.join().unwrap(), std::io::ErrorKind::WouldBlock);
}
