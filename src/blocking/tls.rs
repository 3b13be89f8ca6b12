//! TLS by rustls over a blocking socket.
//!
//! rustls' own `StreamOwned` does not do: one call of it continues until a whole record has come, and its `write` reads as
//! long as the TLS handshake lasts, so that a peer that sends a byte now and then outlives every deadline. Here a call
//! reads or writes the socket once, and fails with `Interrupted` where that was not enough. rustls keeps partial records.

#![forbid(unsafe_code)]

use core::time::Duration;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::string::String;
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

use super::stream::BlockingStream;
use crate::time::EXTENSION;

/// A TLS connection, from before its handshake on.
#[derive(Debug)]
pub(super) struct TlsStream {
    tls: Connection,
    tcp: TcpStream,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    /// The time-out that the socket has, for both directions: a reader may have to write first, and a writer to read.
    set: Option<Duration>,
}

/// How long one direction waits for the peer while there is something to do in the other.
const TURN: Duration = Duration::from_millis(100);
/// Shorter time-outs round down to none at all on some systems.
const SHORTEST: Duration = Duration::from_millis(1);

impl TlsStream {
    pub(super) fn server(tcp: TcpStream, config: &Arc<ServerConfig>) -> io::Result<Self> {
        let tls = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        Self::new(tls.into(), tcp)
    }

    /// `host` is a DNS name or an IP address.
    pub(super) fn client(tcp: TcpStream, config: &Arc<ClientConfig>, host: &str) -> io::Result<Self> {
        let name = ServerName::try_from(String::from(host)).map_err(io::Error::other)?;
        let tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        Self::new(tls.into(), tcp)
    }

    fn new(tls: Connection, tcp: TcpStream) -> io::Result<Self> {
        tcp.set_read_timeout(None)?;
        tcp.set_write_timeout(None)?;
        Ok(Self { tls, tcp, read_timeout: None, write_timeout: None, set: None })
    }

    pub(super) const fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    pub(super) const fn connection(&self) -> &Connection {
        &self.tls
    }

    /// Completes the TLS handshake, or fails with `TimedOut` at the deadline, however busy the peer is. What lies in the
    /// socket by then counts, also where the process was stopped meanwhile: it has [`EXTENSION`] to be read.
    pub(super) fn handshake(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        let mut late_since = None;
        while self.tls.is_handshaking() || self.tls.wants_write() {
            let now = Instant::now();
            let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
            let late = left == Some(Duration::ZERO);
            if late && now.duration_since(*late_since.get_or_insert(now)) >= EXTENSION {
                return Err(too_late());
            }
            self.wait_at_most(left.map(|left| left.max(SHORTEST)))?;
            let sent = self.send();
            match sent.and_then(|()| if self.tls.is_handshaking() { self.receive() } else { Ok(()) }) {
                Err(error) if !is_late(&error) => return Err(error),
                Err(error) if late && error.kind() != ErrorKind::Interrupted => return Err(too_late()),
                _ => {}
            }
        }
        Ok(())
    }

    fn wait_at_most(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if self.set != timeout {
            self.tcp.set_read_timeout(timeout)?;
            self.tcp.set_write_timeout(timeout)?;
            self.set = timeout;
        }
        Ok(())
    }

    /// Writes what rustls has to write.
    fn send(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            if self.tls.write_tls(&mut self.tcp)? == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// Reads the socket once.
    fn receive(&mut self) -> io::Result<()> {
        let ended = self.tls.read_tls(&mut self.tcp)? == 0;
        if let Err(error) = self.tls.process_new_packets() {
            // Sends the alert that names the error, if the peer still reads.
            let _ = self.send();
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
        if ended && self.tls.is_handshaking() {
            let message = "the peer ended the stream within the TLS handshake";
            return Err(io::Error::new(ErrorKind::UnexpectedEof, message));
        }
        Ok(())
    }
}

impl Read for TlsStream {
    /// 0 is the peer's `close_notify`; a stream that ends without one is [`ErrorKind::UnexpectedEof`].
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.tls.reader().read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            read => return read,
        }
        self.flush()?;
        // While the peer has not taken all, the rest is offered again soon.
        let turn = if self.tls.wants_write() { short(self.read_timeout) } else { self.read_timeout };
        self.wait_at_most(turn)?;
        self.receive()?;
        self.tls.reader().read(buffer).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => ErrorKind::Interrupted.into(),
            _ => error,
        })
    }
}

impl Write for TlsStream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        // What earlier calls took has to leave first: so no more than one call's bytes wait here.
        self.wait_at_most(self.write_timeout)?;
        self.send()?;
        if self.tls.is_handshaking() {
            self.receive()?;
            return Err(ErrorKind::Interrupted.into());
        }
        let taken = self.tls.writer().write(buffer)?;
        // The bytes are taken even if they do not leave now; the next call meets the same error.
        let _ = self.send();
        Ok(taken)
    }

    /// Tries for a short time only: a peer that takes nothing must not keep us from reading.
    fn flush(&mut self) -> io::Result<()> {
        if !self.tls.wants_write() {
            return Ok(());
        }
        self.wait_at_most(short(self.write_timeout))?;
        match self.send() {
            Err(error) if is_late(&error) => Ok(()),
            sent => sent,
        }
    }
}

impl BlockingStream for TlsStream {
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
        self.tcp.shutdown(Shutdown::Write)
    }

    fn set_no_delay(&mut self) -> io::Result<()> {
        self.tcp.set_nodelay(true)
    }
}

/// One turn's share of a time-out.
fn short(timeout: Option<Duration>) -> Option<Duration> {
    Some(timeout.map_or(TURN, |timeout| timeout.min(TURN)))
}

fn too_late() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "the TLS handshake took too long")
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
