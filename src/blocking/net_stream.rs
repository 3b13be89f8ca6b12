//! A TCP connection, plain or with TLS.

#![forbid(unsafe_code)]

use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::TcpStream;

use super::stream::BlockingStream;
#[cfg(feature = "rustls-no-provider")]
use super::tls::TlsStream;

/// A TCP connection, plain or with TLS (feature `rustls`).
///
/// [`connect`](super::connect) makes one. A server makes one from a socket that it accepted:
///
/// ```no_run
/// use std::net::TcpListener;
/// use std::sync::Arc;
///
/// use sansocket::blocking::{NetStream, accept};
///
/// # #[cfg(feature = "rustls-no-provider")]
/// fn serve_one(listener: &TcpListener, tls: &Arc<rustls::ServerConfig>) -> Result<(), Box<dyn std::error::Error>> {
///     let (tcp, _) = listener.accept()?;
///     let mut socket = accept(NetStream::tls_server(tcp, tls)?)?;
///     while let Some(message) = socket.recv()? {
///         if message.is_data() {
///             socket.send(&message)?;
///         }
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct NetStream(Inner);

#[derive(Debug)]
enum Inner {
    Tcp(TcpStream),
    #[cfg(feature = "rustls-no-provider")]
    Tls(std::boxed::Box<TlsStream>),
}

impl NetStream {
    /// Begins TLS on a socket that was accepted. The TLS handshake runs with the first reads and writes.
    ///
    /// # Errors
    /// The socket's; that of rustls if it cannot use the configuration.
    #[cfg(feature = "rustls-no-provider")]
    pub fn tls_server(tcp: TcpStream, config: &std::sync::Arc<rustls::ServerConfig>) -> io::Result<Self> {
        Ok(Self(Inner::Tls(TlsStream::server(tcp, config)?.into())))
    }

    /// Begins TLS on a socket that is connected to the host with this DNS name or IP address, for which the server's certificate
    /// has to be valid. The TLS handshake runs with the first reads and writes.
    ///
    /// # Errors
    /// The socket's; that of rustls if it cannot use the configuration; an error if `host` is not a name.
    #[cfg(feature = "rustls-no-provider")]
    pub fn tls_client(
        tcp: TcpStream,
        config: &std::sync::Arc<rustls::ClientConfig>,
        host: &str,
    ) -> io::Result<Self> {
        Ok(Self(Inner::Tls(TlsStream::client(tcp, config, host)?.into())))
    }

    /// Returns the TCP socket, for its addresses and options. Do not read from it or write to it: that corrupts the connection.
    #[must_use]
    pub const fn tcp(&self) -> &TcpStream {
        match &self.0 {
            Inner::Tcp(tcp) => tcp,
            #[cfg(feature = "rustls-no-provider")]
            Inner::Tls(tls) => tls.tcp(),
        }
    }

    /// Returns the TLS connection, for its version and the peer's certificates; `None` without TLS.
    #[cfg(feature = "rustls-no-provider")]
    #[must_use]
    pub const fn tls(&self) -> Option<&rustls::Connection> {
        match &self.0 {
            Inner::Tcp(_) => None,
            Inner::Tls(tls) => Some(tls.connection()),
        }
    }

    /// Completes the TLS handshake, if there is one, before this moment.
    #[cfg(feature = "rustls-no-provider")]
    pub(super) fn handshake(&mut self, deadline: Option<std::time::Instant>) -> io::Result<()> {
        match &mut self.0 {
            Inner::Tcp(_) => Ok(()),
            Inner::Tls(tls) => tls.handshake(deadline),
        }
    }

    fn stream(&mut self) -> &mut dyn BlockingStream {
        match &mut self.0 {
            Inner::Tcp(tcp) => tcp,
            #[cfg(feature = "rustls-no-provider")]
            Inner::Tls(tls) => &mut **tls,
        }
    }
}

/// Makes a stream without TLS.
impl From<TcpStream> for NetStream {
    fn from(tcp: TcpStream) -> Self {
        Self(Inner::Tcp(tcp))
    }
}

impl Read for NetStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream().read(buffer)
    }
}

impl Write for NetStream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream().write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream().flush()
    }
}

impl BlockingStream for NetStream {
    fn set_read_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.stream().set_read_timeout(timeout)
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.stream().set_write_timeout(timeout)
    }

    fn shutdown(&mut self) -> io::Result<()> {
        self.stream().shutdown()
    }

    fn set_no_delay(&mut self) -> io::Result<()> {
        self.stream().set_no_delay()
    }
}
