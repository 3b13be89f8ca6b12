//! From a URL to an open connection.

#![forbid(unsafe_code)]

use core::future::Future;
use core::time::Duration;
use std::boxed::Box;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::vec::Vec;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

use super::io::Io;
use super::net_stream::AsyncNetStream;
use super::websocket::WebSocket;
use crate::config::ClientOptions;
use crate::embedded;
use crate::handshake::RefusedResponse;
use crate::host::error::{ConnectPhase, Error, Reason};
use crate::host::keys::SystemKeys;
use crate::host::target::{Target, request, share};
use crate::role::Client;

/// Connects to a `ws:` or, with feature `tokio-rustls`, `wss:` URL.
///
/// ```no_run
/// use sansocket::{CloseCode, tokio::connect};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), sansocket::Error> {
/// let mut socket = connect("wss://echo.example.org/").await?;
/// socket.send("hello").await?;
/// println!("{:?}", socket.recv().await?);
/// socket.close(CloseCode::NORMAL, "").await;
/// # Ok(())
/// # }
/// ```
///
/// The system resolves the host; its addresses are tried in turn, `TCP_NODELAY` is set. With TLS the certificate of the
/// server is checked against the roots of the operating system. User and password of the URL become Basic authorization. Proxies are
/// not supported: make a tunnel yourself and call [`WebSocket::connect`]. Redirects are not followed. The options of [`connect_with`]
/// change this, and list the time-outs.
///
/// # Errors
/// [`Error::Url`], [`Error::Request`], [`Error::Connect`], [`Error::Refused`].
///
/// # Cancel safety
/// Dropping the future drops the connection. A look-up that has begun ends by itself, in a thread of the runtime.
pub async fn connect(url: &str) -> Result<WebSocket<AsyncNetStream, Client<SystemKeys>>, Error> {
    connect_with(url, &ClientOptions::new()).await
}

/// Connects as [`connect`] does, with these options. [`ClientOptions::resolve_timeout`] and the others bound each step, once
/// for each redirect that is followed.
///
/// # Errors
/// As [`connect`].
///
/// # Cancel safety
/// As [`connect`].
pub async fn connect_with(
    url: &str,
    options: &ClientOptions,
) -> Result<WebSocket<AsyncNetStream, Client<SystemKeys>>, Error> {
    // Boxed, so that the task that uses the connection does not keep the memory of this future.
    Box::pin(async move {
        let mut target = Target::new(url, options)?;
        loop {
            match open(&target, options).await {
                Err(Error::Refused(response)) => target.redirect(response, options)?,
                done => return done,
            }
        }
    })
    .await
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S, Client<SystemKeys>> {
    /// Opens a connection as a client on a stream of your own that leads to the server of `url`: another kind than TCP, or a
    /// tunnel. It follows no redirect.
    ///
    /// # Errors
    /// [`Error::Url`], [`Error::Request`], [`Error::Transport`], [`Error::Handshake`], [`Error::Refused`].
    ///
    /// # Cancel safety
    /// Dropping the future drops the stream.
    pub async fn connect(stream: S, url: &str, options: &ClientOptions) -> Result<Self, Error> {
        handshake(stream, &Target::new(url, options)?, options).await
    }
}

/// One request, to one server.
async fn open(
    target: &Target,
    options: &ClientOptions,
) -> Result<WebSocket<AsyncNetStream, Client<SystemKeys>>, Error> {
    let address = target.address()?;
    let tls = match address.is_secure() {
        // An invalid configuration is reported before anything is sent.
        true => {
            Some(tls::connector(options).await.map_err(|error| target.io(ConnectPhase::Tls, None, error))?)
        }
        false => None,
    };
    let addresses = resolve(address.host(), address.port(), options.resolve_timeout)
        .await
        .map_err(|error| target.io(ConnectPhase::Resolve, None, error))?;
    let (tcp, peer) = dial(&addresses, options.connect_timeout)
        .await
        .map_err(|attempts| target.failed(ConnectPhase::Connect, None, Reason::Attempts(attempts)))?;
    let stream = match tls {
        Some(tls) => tls::connect(&tls, address.host(), tcp, options)
            .await
            .map_err(|error| target.io(ConnectPhase::Tls, Some(peer), error))?,
        None => tcp.into(),
    };
    handshake(stream, target, options).await.map_err(|error| target.handshake_failed(peer, error))
}

async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    target: &Target,
    options: &ClientOptions,
) -> Result<WebSocket<S, Client<SystemKeys>>, Error> {
    let protocols: Vec<_> = options.protocols.iter().map(|name| &**name).collect();
    let headers = target.headers(options);
    let request = request(target.address()?, &protocols, &headers);
    let (config, keys) = (Arc::clone(&options.config), SystemKeys::new().map_err(Error::Transport)?);
    let io = Io::new(stream, config.timeouts.close);
    let mut refused = None;
    let refuse = |response: &RefusedResponse<'_>| refused = Some(Box::new((*response).into()));
    let (buffers, negotiate) = (options.buffers(), options.negotiation());
    let opened = embedded::WebSocket::open(io, config, buffers, keys, &request, negotiate, refuse);
    match Box::pin(opened).await {
        Ok((socket, protocol)) => Ok(WebSocket::opened(socket, protocol)),
        Err(error) => Err(refused.map_or_else(|| error.into(), Error::Refused)),
    }
}

/// The addresses of a host, in the order of the system's resolver.
async fn resolve(host: &str, port: u16, limit: Option<Duration>) -> io::Result<Vec<SocketAddr>> {
    let found = within(limit, "the look-up took too long", lookup_host((host, port))).await?;
    let found: Vec<_> = found.collect();
    if found.is_empty() {
        return Err(io::Error::new(ErrorKind::NotFound, "the host has no address"));
    }
    Ok(found)
}

/// Connects to the first address that accepts, with `TCP_NODELAY`; otherwise returns the error of each address.
async fn dial(
    addresses: &[SocketAddr],
    limit: Option<Duration>,
) -> Result<(TcpStream, SocketAddr), Vec<(SocketAddr, io::Error)>> {
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    let mut attempts = Vec::new();
    for (address, tried) in addresses.iter().zip(0..) {
        let left = deadline.map(|deadline| {
            share(deadline.saturating_duration_since(Instant::now()), addresses.len().saturating_sub(tried))
        });
        match within(left, "the connection took too long", TcpStream::connect(address)).await {
            Ok(tcp) => {
                // A socket without the option works too, later.
                let _ = tcp.set_nodelay(true);
                return Ok((tcp, *address));
            }
            Err(error) => attempts.push((*address, error)),
        }
    }
    Err(attempts)
}

async fn within<T>(
    limit: Option<Duration>,
    late: &'static str,
    step: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    match limit {
        Some(limit) => {
            timeout(limit, step).await.unwrap_or_else(|_| Err(io::Error::new(ErrorKind::TimedOut, late)))
        }
        None => step.await,
    }
}

#[cfg(feature = "tokio-rustls-no-provider")]
mod tls {
    use std::string::String;

    use rustls::pki_types::ServerName;
    use tokio::task::spawn_blocking;
    use tokio_rustls::TlsConnector;

    use super::*;

    pub(super) async fn connector(options: &ClientOptions) -> io::Result<TlsConnector> {
        let trust = options.trust.clone();
        // The roots of the system are read from files.
        let config = spawn_blocking(move || trust.config()).await.map_err(io::Error::other)??;
        Ok(config.into())
    }

    pub(super) async fn connect(
        tls: &TlsConnector,
        host: &str,
        tcp: TcpStream,
        options: &ClientOptions,
    ) -> io::Result<AsyncNetStream> {
        let name = ServerName::try_from(String::from(host)).map_err(io::Error::other)?;
        let late = "the TLS handshake took too long";
        Ok(within(options.tls_timeout, late, tls.connect(name, tcp)).await?.into())
    }
}

#[cfg(not(feature = "tokio-rustls-no-provider"))]
mod tls {
    use core::convert::Infallible;

    use super::*;

    pub(super) async fn connector(_: &ClientOptions) -> io::Result<Infallible> {
        let message = "TLS needs feature `tokio-rustls` of sansocket";
        Err(io::Error::new(ErrorKind::Unsupported, message))
    }

    pub(super) async fn connect(
        tls: &Infallible,
        _: &str,
        _: TcpStream,
        _: &ClientOptions,
    ) -> io::Result<AsyncNetStream> {
        match *tls {}
    }
}
