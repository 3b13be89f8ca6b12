//! A certificate authority, a server's certificate that it signed, and TLS clients of rustls, which show the bytes on the
//! wire.
#![allow(dead_code, unreachable_pub, reason = "each test file uses some of it")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};

pub const NAME: &str = "echo.test";
/// How long a peer waits for a byte.
pub const PATIENCE: Duration = Duration::from_secs(20);
pub const REQUEST: &[u8] =
    b"GET /ws HTTP/1.1\r\nHost: echo.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
pub const MASKED_HELLO: [u8; 11] = [0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58];
pub const MASKED_CLOSE: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8];

/// An authority, and a server that it vouches for under `NAME` and 127.0.0.1.
pub struct Pki {
    authority: Certificate,
    certificate: Certificate,
    pub key: KeyPair,
    pub server: Arc<ServerConfig>,
}

pub type Peer = StreamOwned<ClientConnection, TcpStream>;

impl Pki {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// With a server's certificate that is out of date.
    pub fn expired() -> Self {
        Self::with(|params| params.not_after = rcgen::date_time_ymd(2001, 2, 3))
    }

    fn with(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (authority_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&authority_key).unwrap();
        let issuer = Issuer::from_params(&params, &authority_key);
        let mut params = CertificateParams::new([NAME.into(), "127.0.0.1".into()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let secret = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let server = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], secret)
            .unwrap();
        Self { authority, certificate, key, server: Arc::new(server) }
    }

    /// The authority's certificate, DER.
    pub fn authority(&self) -> &[u8] {
        self.authority.der()
    }

    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        roots
    }

    /// Whoever trusts this authority.
    pub fn client(&self) -> Arc<ClientConfig> {
        Arc::new(ClientConfig::builder().with_root_certificates(self.roots()).with_no_client_auth())
    }

    /// Such a one, over TCP.
    pub fn peer(&self, address: SocketAddr) -> Peer {
        peer(self.client(), NAME, dial(address))
    }

    /// The server's `cert.pem` and `key.pem` and the authority's `ca.pem`, in a directory of this name.
    pub fn files(&self, name: &str) -> Files {
        let directory = std::env::temp_dir().join(format!("sansocket-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let files = Files(directory);
        fs::write(files.path("cert.pem"), self.certificate.pem()).unwrap();
        fs::write(files.path("key.pem"), self.key.serialize_pem()).unwrap();
        fs::write(files.path("ca.pem"), self.authority.pem()).unwrap();
        files
    }
}

/// A directory that goes when this does.
pub struct Files(PathBuf);

impl Files {
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn dial(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

pub fn peer(config: Arc<ClientConfig>, name: &'static str, socket: TcpStream) -> Peer {
    StreamOwned::new(ClientConnection::new(config, name.try_into().unwrap()).unwrap(), socket)
}

/// The head of the answer to the request, byte by byte, so that nothing behind it is taken.
pub fn ask(peer: &mut Peer) -> String {
    peer.write_all(REQUEST).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        peer.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    String::from_utf8(head).unwrap()
}

pub fn upgrade(peer: &mut Peer) {
    let head = ask(peer);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
}

/// What `bytes` are on the wire.
pub fn sealed(tls: &mut ClientConnection, bytes: &[u8]) -> Vec<u8> {
    tls.set_buffer_limit(None);
    tls.writer().write_all(bytes).unwrap();
    let mut wire = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut wire).unwrap();
    }
    wire
}
