//! A client's TCP connection, plain or with TLS.

#![forbid(unsafe_code)]

use core::pin::Pin;
use core::task::{Context, Poll};
#[cfg(feature = "tokio-rustls-no-provider")]
use std::boxed::Box;
use std::io;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(feature = "tokio-rustls-no-provider")]
use tokio_rustls::client::TlsStream;

/// A client's TCP connection, plain or with TLS (feature `tokio-rustls`). [`connect`](super::connect) makes it.
#[derive(Debug)]
pub struct AsyncNetStream(Inner);

#[derive(Debug)]
enum Inner {
    Tcp(TcpStream),
    #[cfg(feature = "tokio-rustls-no-provider")]
    Tls(Box<TlsStream<TcpStream>>),
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

impl AsyncNetStream {
    /// Returns the TCP socket, for its addresses and options.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        match &self.0 {
            Inner::Tcp(tcp) => tcp,
            #[cfg(feature = "tokio-rustls-no-provider")]
            Inner::Tls(tls) => tls.get_ref().0,
        }
    }

    /// Returns the TLS connection: the version, the server's certificates. `None` without TLS.
    #[cfg(feature = "tokio-rustls-no-provider")]
    #[must_use]
    pub fn tls(&self) -> Option<&rustls::ClientConnection> {
        match &self.0 {
            Inner::Tcp(_) => None,
            Inner::Tls(tls) => Some(tls.get_ref().1),
        }
    }

    fn stream(&mut self) -> Pin<&mut dyn Stream> {
        match &mut self.0 {
            Inner::Tcp(tcp) => Pin::new(tcp),
            #[cfg(feature = "tokio-rustls-no-provider")]
            Inner::Tls(tls) => Pin::new(&mut **tls),
        }
    }
}

/// Without TLS.
impl From<TcpStream> for AsyncNetStream {
    fn from(tcp: TcpStream) -> Self {
        Self(Inner::Tcp(tcp))
    }
}

#[cfg(feature = "tokio-rustls-no-provider")]
impl From<TlsStream<TcpStream>> for AsyncNetStream {
    fn from(tls: TlsStream<TcpStream>) -> Self {
        Self(Inner::Tls(Box::new(tls)))
    }
}

impl AsyncRead for AsyncNetStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream().poll_read(cx, into)
    }
}

impl AsyncWrite for AsyncNetStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}
