//! From a URL to an open connection.

#![forbid(unsafe_code)]

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::vec::Vec;

use super::dial;
use super::net_stream::NetStream;
use super::websocket::WebSocket;
use crate::host::error::{ConnectPhase, Error, Reason};
use crate::host::keys::SystemKeys;
use crate::host::options::ClientOptions;
use crate::host::target::{Target, request};
use crate::role::Client;

/// Connects to a `ws:` or, with feature `rustls`, `wss:` URL.
///
/// ```no_run
/// use sansocket::{CloseCode, blocking};
///
/// fn main() -> Result<(), sansocket::Error> {
///     let mut socket = blocking::connect("wss://echo.example.org/")?;
///     socket.send("hello")?;
///     println!("{:?}", socket.recv()?);
///     socket.close(CloseCode::NORMAL, "");
///     Ok(())
/// }
/// ```
///
/// The system resolves the host; its addresses are tried in turn, `TCP_NODELAY` is set. Over TLS the authorities of the
/// operating system vouch for the server. User and password of the URL become Basic authorization. Proxies are not
/// supported: the environment's `HTTP_PROXY` is not looked at; over a tunnel of your own, [`WebSocket::connect`] does
/// the rest. Redirects are not followed. [`connect_with`] can do otherwise, and names the time-outs.
///
/// # Errors
/// [`Error::Url`], [`Error::Request`], [`Error::Connect`], [`Error::Refused`].
pub fn connect(url: &str) -> Result<WebSocket<NetStream, Client<SystemKeys>>, Error> {
    connect_with(url, &ClientOptions::new())
}

/// Connects as [`connect`] does, with these options.
///
/// With time-outs it ends after the sum of those for resolving, connecting, TLS and the opening handshake, once for each
/// redirect that is followed.
///
/// # Errors
/// As [`connect`].
pub fn connect_with(
    url: &str,
    options: &ClientOptions,
) -> Result<WebSocket<NetStream, Client<SystemKeys>>, Error> {
    let mut target = Target::new(url, options)?;
    loop {
        match open(&target, options) {
            Err(Error::Refused(response)) => target.redirect(response, options)?,
            done => return done,
        }
    }
}

/// One request, to one server.
fn open(target: &Target, options: &ClientOptions) -> Result<WebSocket<NetStream, Client<SystemKeys>>, Error> {
    let address = target.address()?;
    let tls = address.is_secure().then(|| tls(options)).transpose();
    let tls = tls.map_err(|error| target.io(ConnectPhase::Tls, None, error))?;
    let addresses = dial::resolve(address.host(), address.port(), options.resolve_timeout)
        .map_err(|error| target.io(ConnectPhase::Resolve, None, error))?;
    let (tcp, peer) = dial::connect(&addresses, options.connect_timeout)
        .map_err(|attempts| target.failed(ConnectPhase::Connect, None, Reason::Attempts(attempts)))?;
    let stream = match tls {
        Some(tls) => {
            tls(tcp, address.host()).map_err(|error| target.io(ConnectPhase::Tls, Some(peer), error))?
        }
        None => NetStream::from(tcp),
    };
    let protocols: Vec<_> = options.protocols.iter().map(|name| &**name).collect();
    let headers = target.headers(options);
    let keys = SystemKeys::new().map_err(Error::Transport)?;
    let request = request(address, &protocols, &headers);
    let (config, negotiate) = (Arc::clone(&options.config), options.negotiation());
    WebSocket::connect_negotiating(stream, config, options.buffers(), keys, &request, negotiate)
        .map_err(|error| target.handshake_failed(peer, error))
}

/// TLS for a client. What is wrong with the configuration is said before anything is sent.
#[cfg(feature = "rustls-no-provider")]
fn tls(options: &ClientOptions) -> io::Result<impl FnOnce(TcpStream, &str) -> io::Result<NetStream>> {
    let (config, timeout) = (options.trust.config()?, options.tls_timeout);
    Ok(move |tcp, host: &str| {
        let deadline = timeout.and_then(|timeout| std::time::Instant::now().checked_add(timeout));
        let mut stream = NetStream::tls_client(tcp, &config, host)?;
        stream.handshake(deadline)?;
        Ok(stream)
    })
}

#[cfg(not(feature = "rustls-no-provider"))]
fn tls(_: &ClientOptions) -> io::Result<fn(TcpStream, &str) -> io::Result<NetStream>> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "TLS needs feature `rustls` of sansocket"))
}
