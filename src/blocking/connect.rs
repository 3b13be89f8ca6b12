//! From a URL to an open connection.

#![forbid(unsafe_code)]

use std::boxed::Box;
use std::format;
use std::io;
use std::net::TcpStream;
use std::string::String;
use std::sync::Arc;
use std::vec::Vec;

use super::error::{ConnectError, Error, Phase, Reason};
use super::keys::SystemKeys;
use super::net_stream::NetStream;
use super::options::ClientOptions;
use super::redirect::{self, RedirectError};
use super::websocket::WebSocket;
use super::{basic, dial};
use crate::buffer::MIN_BUFFER_LEN;
use crate::handshake::{ClientRequest, HeadError, WsUrl};
use crate::role::Client;
use crate::session::Buffers;

/// Connects to a `ws:` or, with feature `rustls`, `wss:` URL.
///
/// ```no_run
/// use sansocket::{CloseCode, blocking};
///
/// fn main() -> Result<(), sansocket::Error> {
///     let mut socket = blocking::connect("wss://echo.example.org/")?;
///     socket.send("hello")?;
///     println!("{:?}", socket.recv()?);
///     socket.close(CloseCode::NORMAL, "")?;
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
    let address = WsUrl::parse(url)?;
    let authorization =
        address.userinfo().map(|userinfo| basic::authorization(userinfo).ok_or(HeadError::Malformed));
    let authorization = authorization.transpose().map_err(Error::Request)?;
    let mut credentials: Vec<_> = options.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    if let Some(authorization) = &authorization {
        if !credentials.iter().any(|(name, _)| name.eq_ignore_ascii_case("Authorization")) {
            credentials.push(("Authorization", authorization));
        }
    }
    let (mut url, mut redirects) = (redirect::without_userinfo(&address), 0);
    loop {
        let address = WsUrl::parse(&url)?;
        let response = match open(address, options, &credentials) {
            Err(Error::Refused(response)) if redirect::is_redirect(&response) && options.redirects > 0 => {
                response
            }
            done => return done,
        };
        let next = if redirects == options.redirects {
            Err(RedirectError::TooMany(redirects))
        } else {
            redirect::next_url(&address, &response)
        };
        let next = next.map_err(|error| {
            let (server, reason) = (name_of(&address), Reason::Redirect(error));
            Box::new(ConnectError { phase: Phase::Redirect, server, address: None, reason })
        });
        let next = next.map_err(Error::Connect)?;
        if !redirect::is_same_origin(&address, &WsUrl::parse(&next)?) {
            credentials.clear();
        }
        redirects = redirects.saturating_add(1);
        url = next;
    }
}

/// One request, to one server.
fn open(
    address: WsUrl<'_>,
    options: &ClientOptions,
    credentials: &[(&str, &str)],
) -> Result<WebSocket<NetStream, Client<SystemKeys>>, Error> {
    let failed = |phase, peer, reason| {
        Error::Connect(Box::new(ConnectError { phase, server: name_of(&address), address: peer, reason }))
    };
    let tls = address.is_secure().then(|| tls(options)).transpose();
    let tls = tls.map_err(|error| failed(Phase::Tls, None, Reason::Io(error)))?;
    let addresses = dial::resolve(address.host(), address.port(), options.resolve_timeout)
        .map_err(|error| failed(Phase::Resolve, None, Reason::Io(error)))?;
    let (tcp, peer) = dial::connect(&addresses, options.connect_timeout)
        .map_err(|attempts| failed(Phase::Connect, None, Reason::Attempts(attempts)))?;
    let stream = match tls {
        Some(tls) => {
            tls(tcp, address.host()).map_err(|error| failed(Phase::Tls, Some(peer), Reason::Io(error)))?
        }
        None => NetStream::from(tcp),
    };
    let protocols: Vec<_> = options.protocols.iter().map(|name| &**name).collect();
    let origin = options.origin.iter().map(|origin| ("Origin", &**origin));
    let headers: Vec<_> = origin.chain(credentials.iter().copied()).collect();
    let request = ClientRequest { protocols: &protocols, headers: &headers, ..ClientRequest::new(address) };
    let [head, rx, tx] = [options.response_buffer, options.receive_buffer, options.transmit_buffer]
        .map(|bytes| bytes.max(MIN_BUFFER_LEN));
    let keys = SystemKeys::new().map_err(Error::Transport)?;
    let buffers =
        Buffers::with_capacity(head, rx, tx).map_err(|error| Error::Transport(io::Error::other(error)))?;
    WebSocket::connect(stream, Arc::clone(&options.config), buffers, keys, &request).map_err(|error| {
        match error {
            Error::Handshake(error) => failed(Phase::Handshake, Some(peer), Reason::Handshake(error)),
            Error::Transport(error) => failed(Phase::Handshake, Some(peer), Reason::Io(error)),
            error => error,
        }
    })
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

/// Host and port, for messages.
fn name_of(address: &WsUrl<'_>) -> String {
    let (host, port) = (address.host(), address.port());
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
