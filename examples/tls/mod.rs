//! TLS by rustls, as a stream of the blocking adapter.
//!
//! Not by rustls' own `StreamOwned`: one call of it goes on until a whole record has come, and a write of it reads as
//! long as the TLS handshake lasts, so that a peer that sends a byte now and then outlives every deadline. Here a call
//! takes one turn at the socket, and says `WouldBlock` where nothing came of it. rustls keeps what arrived half.
#![allow(dead_code, unreachable_pub, reason = "the server, the client and the tests each use a part of this")]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};
use sansocket::blocking::Stream;

/// A connection, from before its TLS handshake on.
#[derive(Debug)]
pub struct Tls {
    tls: Connection,
    socket: TcpStream,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    /// What the socket has for both: whoever reads may have to write first, and the other way round.
    set: Option<Duration>,
}

/// How long the peer goes unheard while it takes nothing, and the other way round.
const TURN: Duration = Duration::from_millis(100);

impl Tls {
    /// The server's end of a socket that was accepted.
    pub fn accept(config: &Arc<ServerConfig>, socket: TcpStream) -> io::Result<Self> {
        let tls = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        Self::new(tls.into(), socket)
    }

    /// The client's end of a socket that leads to the host of this name, or with this IP address.
    pub fn connect(config: &Arc<ClientConfig>, host: &str, socket: TcpStream) -> io::Result<Self> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        Self::new(tls.into(), socket)
    }

    fn new(tls: Connection, socket: TcpStream) -> io::Result<Self> {
        socket.set_read_timeout(None)?;
        socket.set_write_timeout(None)?;
        Ok(Self { tls, socket, read_timeout: None, write_timeout: None, set: None })
    }

    fn patience(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if self.set != timeout {
            self.socket.set_read_timeout(timeout)?;
            self.socket.set_write_timeout(timeout)?;
            self.set = timeout;
        }
        Ok(())
    }

    /// Writes what rustls has to write.
    fn send(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            if self.tls.write_tls(&mut self.socket)? == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// Reads the socket once.
    fn receive(&mut self) -> io::Result<()> {
        self.tls.read_tls(&mut self.socket)?;
        if let Err(error) = self.tls.process_new_packets() {
            // The peer is told why, if it still listens.
            let _ = self.send();
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
        Ok(())
    }
}

impl Read for Tls {
    /// 0 is the peer's `close_notify`; a stream that ends without one is [`ErrorKind::UnexpectedEof`].
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.tls.reader().read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            read => return read,
        }
        self.flush()?;
        // While the peer has not taken it all, it is offered the rest again soon.
        let turn = if self.tls.wants_write() { short(self.read_timeout) } else { self.read_timeout };
        self.patience(turn)?;
        self.receive()?;
        self.tls.reader().read(buffer)
    }
}

impl Write for Tls {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        // Of what came before, nothing may be left: so no more waits here than one call took.
        self.patience(self.write_timeout)?;
        self.send()?;
        if self.tls.is_handshaking() {
            self.receive()?;
            return Err(ErrorKind::WouldBlock.into());
        }
        let taken = self.tls.writer().write(buffer)?;
        // It is taken, even where it does not leave now; what is wrong then, the next call finds too.
        let _ = self.send();
        Ok(taken)
    }

    /// For one turn only: what the peer does not take must not keep us from reading.
    fn flush(&mut self) -> io::Result<()> {
        if !self.tls.wants_write() {
            return Ok(());
        }
        self.patience(short(self.write_timeout))?;
        match self.send() {
            Err(error) if is_late(&error) => Ok(()),
            sent => sent,
        }
    }
}

impl Stream for Tls {
    fn set_read_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.read_timeout = timeout;
        Ok(())
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.write_timeout = timeout;
        Ok(())
    }

    /// `close_notify`, then TCP's FIN; a peer that takes nothing gets the FIN alone.
    fn shutdown(&mut self) -> io::Result<()> {
        self.tls.send_close_notify();
        self.flush()?;
        self.socket.shutdown(Shutdown::Write)
    }
}

/// One turn's share of a time-out.
fn short(timeout: Option<Duration>) -> Option<Duration> {
    Some(timeout.map_or(TURN, |timeout| timeout.min(TURN)))
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// A server with the certificate chain in one PEM file and its private key in another, or in the same.
pub fn server(chain: &str, key: &str) -> Result<Arc<ServerConfig>, String> {
    let secret =
        PrivateKeyDer::from_pem_file(key).map_err(|error| format!("no private key in {key}: {error}"))?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates(chain)?, secret)
        .map_err(|error| format!("{chain} with {key}: {error}"))?;
    Ok(Arc::new(config))
}

/// A client that trusts the authorities in a PEM file, and nobody else.
pub fn client(authorities: &str) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(authorities)? {
        roots.add(authority).map_err(|error| format!("{authorities}: {error}"))?;
    }
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

fn certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let bad = |error: &dyn std::fmt::Display| format!("no certificate in {file}: {error}");
    let found = CertificateDer::pem_file_iter(file).map_err(|error| bad(&error))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|error| bad(&error))?;
    if found.is_empty() { Err(bad(&"it has no CERTIFICATE section")) } else { Ok(found) }
}
