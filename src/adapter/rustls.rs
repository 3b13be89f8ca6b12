//! TLS for the hub's server: rustls over mio's streams.
//!
//! ```no_run
//! # use sansocket::adapter::mio::Watched;
//! # fn serve<A>(config: std::sync::Arc<rustls::ServerConfig>, application: A) -> std::io::Result<()>
//! # where A: sansocket::hub::Application<Watched<sansocket::adapter::rustls::TlsStream>> {
//! use sansocket::adapter::{mio::Server, rustls::Tls};
//!
//! let listener = std::net::TcpListener::bind("127.0.0.1:8443")?;
//! Server::new(listener, Tls(config), Default::default(), |_| application)?.run()
//! # }
//! ```

#![forbid(unsafe_code)]

use core::mem;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

use ::mio::net::TcpStream;
use ::rustls::{ServerConfig, ServerConnection};

use super::mio::{Acceptor, Stream};

/// TLS with this configuration, which has the certificate and whose cryptography is the application's choice; with
/// `TCP_NODELAY`.
#[derive(Clone, Debug)]
pub struct Tls(pub Arc<ServerConfig>);

/// A stream of TLS, from before its handshake on.
#[derive(Debug)]
pub struct TlsStream {
    tls: ServerConnection,
    tcp: TcpStream,
    /// Bytes of which rustls has made records that TCP has not taken whole.
    taken: usize,
    end: End,
}

/// How far the end of what we write has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    /// `close_notify` is among what is to be written.
    Notified,
    /// TCP's FIN is behind it.
    Shut,
}

/// What is encrypted at once, and so the most that waits for a peer that does not read: one full record.
const CHUNK: usize = 16 * 1024;
/// How often one call reads from TCP in search of something to give: records can be empty.
const READS: usize = 8;

impl Acceptor for Tls {
    type Stream = TlsStream;

    fn accept(&mut self, tcp: TcpStream) -> io::Result<TlsStream> {
        let mut tls = ServerConnection::new(Arc::clone(&self.0)).map_err(io::Error::other)?;
        tls.set_buffer_limit(Some(CHUNK));
        Ok(TlsStream { tls, tcp, taken: 0, end: End::Open })
    }
}

impl TlsStream {
    /// The TLS connection: the name that the client has asked for, its certificate, the protocol it chose.
    #[must_use]
    pub const fn connection(&self) -> &ServerConnection {
        &self.tls
    }

    /// Writes what rustls has to write.
    fn write(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            if self.tls.write_tls(&mut self.tcp)? == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// The peer broke TLS: it is told so in an alert.
    fn fail(&mut self, error: ::rustls::Error) -> io::Error {
        let _ = self.write();
        let _ = self.tcp.shutdown(Shutdown::Write);
        // To close with something unread would be a reset, which overtakes the alert.
        let mut unread = [0; 4096];
        for _ in 0..READS {
            if !matches!(self.tcp.read(&mut unread), Ok(1..)) {
                break;
            }
        }
        io::Error::new(ErrorKind::InvalidData, error)
    }
}

impl Stream for TlsStream {
    /// 0 is the peer's `close_notify`; an end of TCP without one is an error, as anybody on the way can make it.
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
        // The others go first.
        Err(ErrorKind::Interrupted.into())
    }

    /// `WouldBlock` until TCP has taken the records whole, and only then says of how many bytes they were made: so what
    /// is written is with TCP, and not lost when we go. The caller offers the same bytes again.
    fn send(&mut self, bytes: &[u8], more: &[u8]) -> io::Result<usize> {
        if self.taken == 0 {
            self.write()?;
            // During the TLS handshake they wait inside of rustls.
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

    /// `close_notify`, then TCP's FIN.
    fn shutdown(&mut self) -> io::Result<()> {
        if self.end == End::Open {
            self.tls.send_close_notify();
            self.end = End::Notified;
        }
        match self.flush() {
            // The rest is for `flush`.
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            done => done,
        }
    }

    fn tcp(&mut self) -> &mut TcpStream {
        &mut self.tcp
    }
}
