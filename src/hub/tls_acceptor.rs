//! TLS for the hub's server: rustls over mio's streams.
//!
//! ```no_run
//! use std::net::TcpListener;
//! use std::sync::Arc;
//!
//! use sansocket::hub::{HubSettings, MioServer, Routes, TlsAcceptor};
//!
//! /// `config` has the certificate and its key.
//! fn serve(config: rustls::ServerConfig, routes: Routes) -> std::io::Result<()> {
//!     let listener = TcpListener::bind("127.0.0.1:8443")?;
//!     let acceptor = TlsAcceptor(Arc::new(config));
//!     MioServer::with_acceptor(listener, acceptor, HubSettings::default(), |_| routes)?.run()
//! }
//! ```

#![forbid(unsafe_code)]

use core::mem;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::{ServerConfig, ServerConnection};

use super::mio_socket::{MioAcceptor, MioStream};

/// Accepts TLS with this configuration, which has the certificate and the application's choice of cryptography. The
/// server sets `TCP_NODELAY`.
#[derive(Clone, Debug)]
pub struct TlsAcceptor(pub Arc<ServerConfig>);

/// A TLS stream, which also performs the TLS handshake.
#[derive(Debug)]
pub struct TlsStream {
    tls: ServerConnection,
    tcp: TcpStream,
    /// Bytes that rustls has encrypted into records that TCP has not taken whole.
    taken: usize,
    end: End,
}

/// The progress of closing the writing side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    /// `close_notify` is among the pending records.
    Notified,
    /// TCP's FIN is sent.
    Shut,
}

/// The most bytes that are encrypted at once and are pending for a peer that does not read: one full record.
const CHUNK: usize = 16 * 1024;
/// The most reads from TCP in one call, as records can be empty.
const READS: usize = 8;

impl MioAcceptor for TlsAcceptor {
    type Stream = TlsStream;

    fn accept(&mut self, tcp: TcpStream) -> io::Result<TlsStream> {
        let mut tls = ServerConnection::new(Arc::clone(&self.0)).map_err(io::Error::other)?;
        tls.set_buffer_limit(Some(CHUNK));
        Ok(TlsStream { tls, tcp, taken: 0, end: End::Open })
    }
}

impl TlsStream {
    /// Returns the TLS connection: the name that the peer has asked for, its certificate, the protocol it chose.
    #[must_use]
    pub const fn connection(&self) -> &ServerConnection {
        &self.tls
    }

    /// Writes pending records.
    fn write(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            if self.tls.write_tls(&mut self.tcp)? == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// Sends an alert after the peer has violated TLS.
    fn fail(&mut self, error: rustls::Error) -> io::Error {
        let _ = self.write();
        let _ = self.tcp.shutdown(Shutdown::Write);
        // Reads before the close: closing with unread input sends a reset, which may overtake the alert.
        let mut unread = [0; 4096];
        for _ in 0..READS {
            if !matches!(self.tcp.read(&mut unread), Ok(1..)) {
                break;
            }
        }
        io::Error::new(ErrorKind::InvalidData, error)
    }
}

impl MioStream for TlsStream {
    /// 0 is the peer's `close_notify`. An end of TCP without one is an error, as an attacker on the path can cause
    /// it.
    fn recv(&mut self, into: &mut [u8]) -> io::Result<usize> {
        for turn in 0.. {
            match self.tls.reader().read(into) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            if turn == READS {
                break;
            }
            self.tls.read_tls(&mut self.tcp)?;
            if let Err(error) = self.tls.process_new_packets() {
                return Err(self.fail(error));
            }
        }
        // Other sessions have their turns first.
        Err(ErrorKind::Interrupted.into())
    }

    /// Returns `WouldBlock` until TCP has taken the records whole, and only then how many bytes they encrypt, so that
    /// TCP has what is reported as written. The caller offers the same bytes again.
    fn send(&mut self, bytes: &[u8], more: &[u8]) -> io::Result<usize> {
        if self.taken == 0 {
            self.write()?;
            // During the TLS handshake rustls buffers them.
            self.taken = self.tls.writer().write_vectored(&[IoSlice::new(bytes), IoSlice::new(more)])?;
            if self.taken == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
        }
        self.write()?;
        Ok(mem::take(&mut self.taken))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write()?;
        if self.end == End::Notified {
            self.tcp.shutdown(Shutdown::Write)?;
            self.end = End::Shut;
        }
        Ok(())
    }

    /// Sends `close_notify`, then TCP's FIN.
    fn shutdown(&mut self) -> io::Result<()> {
        if self.end == End::Open {
            self.tls.send_close_notify();
            self.end = End::Notified;
        }
        match self.flush() {
            // `flush` writes the rest.
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            done => done,
        }
    }

    fn tcp(&mut self) -> &mut TcpStream {
        &mut self.tcp
    }
}
