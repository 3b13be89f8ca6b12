//! Where a client connects, with what request, and what it may tell there after a redirect.

#![forbid(unsafe_code)]

use core::time::Duration;
use std::boxed::Box;
use std::format;
use std::io;
use std::net::SocketAddr;
use std::string::String;
use std::vec;
use std::vec::Vec;

use super::error::{ConnectError, ConnectPhase, Error, HttpResponse, Reason};
use super::options::ClientOptions;
use super::redirect::{self, RedirectError};
use crate::handshake::{ClientRequest, UrlError, WsUrl, basic_authorization};

/// The server that a client connects to next.
#[derive(Debug)]
pub(crate) struct Target {
    url: String,
    /// The fields that may be sent there, but `Origin`.
    credentials: Vec<(String, String)>,
    redirects: u32,
}

impl Target {
    /// # Errors
    /// [`Error::Url`].
    pub(crate) fn new(url: &str, options: &ClientOptions) -> Result<Self, Error> {
        let address = WsUrl::parse(url)?;
        let mut credentials = options.headers.clone();
        if let Some(userinfo) = address.userinfo() {
            // Base64 has 4 bytes for each 3.
            let mut memory = vec![0; userinfo.len().saturating_mul(2).saturating_add(16)];
            let value = basic_authorization(userinfo, &mut memory).map_err(|_| UrlError::Userinfo)?;
            if !credentials.iter().any(|(name, _)| name.eq_ignore_ascii_case("Authorization")) {
                credentials.push(("Authorization".into(), value.into()));
            }
        }
        Ok(Self { url: redirect::without_userinfo(&address), credentials, redirects: 0 })
    }

    /// # Errors
    /// [`Error::Url`].
    pub(crate) fn address(&self) -> Result<WsUrl<'_>, Error> {
        Ok(WsUrl::parse(&self.url)?)
    }

    /// The header fields of the request, but those of the handshake itself.
    pub(crate) fn headers<'a>(&'a self, options: &'a ClientOptions) -> Vec<(&'a str, &'a str)> {
        let origin = options.origin.iter().map(|origin| ("Origin", &**origin));
        origin.chain(self.credentials.iter().map(|(name, value)| (&**name, &**value))).collect()
    }

    /// Goes where a redirect leads, if the options follow redirects; otherwise returns the refusal.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Connect`].
    pub(crate) fn redirect(
        &mut self,
        response: Box<HttpResponse>,
        options: &ClientOptions,
    ) -> Result<(), Error> {
        if !redirect::is_redirect(&response) || options.redirects == 0 {
            return Err(Error::Refused(response));
        }
        let address = self.address()?;
        let next = if self.redirects == options.redirects {
            Err(RedirectError::TooMany(self.redirects))
        } else {
            redirect::next_url(&address, &response)
        };
        let next =
            next.map_err(|error| self.failed(ConnectPhase::Redirect, None, Reason::Redirect(error)))?;
        if !redirect::is_same_origin(&address, &WsUrl::parse(&next)?) {
            self.credentials.clear();
        }
        self.redirects = self.redirects.saturating_add(1);
        self.url = next;
        Ok(())
    }

    /// The error of this step.
    pub(crate) fn failed(&self, phase: ConnectPhase, address: Option<SocketAddr>, reason: Reason) -> Error {
        let server = self.address().map_or_else(|_| self.url.clone(), |address| name_of(&address));
        Error::Connect(Box::new(ConnectError { phase, server, address, reason }))
    }

    /// The error of a step on the stream or the socket.
    pub(crate) fn io(&self, phase: ConnectPhase, address: Option<SocketAddr>, error: io::Error) -> Error {
        self.failed(phase, address, Reason::Io(error))
    }

    /// Names the server in an error of the opening handshake.
    pub(crate) fn handshake_failed(&self, address: SocketAddr, error: Error) -> Error {
        let reason = match error {
            Error::Handshake(error) => Reason::Handshake(error),
            Error::Transport(error) => Reason::Io(error),
            error => return error,
        };
        self.failed(ConnectPhase::Handshake, Some(address), reason)
    }
}

/// The request for this address, with what [`Target::headers`] returns.
pub(crate) fn request<'u>(
    address: WsUrl<'u>,
    protocols: &'u [&'u str],
    headers: &'u [(&'u str, &'u str)],
) -> ClientRequest<'u> {
    ClientRequest::new(address).protocols(protocols).headers(headers)
}

/// The least share of the time-out for one address, as in Go's `net.Dialer`: on many addresses each would get too little
/// for a connection over a slow network.
const SHARE: Duration = Duration::from_secs(2);

/// The time for one of the addresses of a host that were not tried yet: an equal share of the time that is left, or [`SHARE`]
/// if that is more.
pub(crate) fn share(left: Duration, addresses: usize) -> Duration {
    let addresses = u32::try_from(addresses).unwrap_or(u32::MAX).max(1);
    left.checked_div(addresses).unwrap_or(left).max(SHARE).min(left)
}

/// Host and port, for messages.
fn name_of(address: &WsUrl<'_>) -> String {
    let (host, port) = (address.host(), address.port());
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
