//! Why an operation failed, by blame.

#![forbid(unsafe_code)]

use core::fmt;
use std::boxed::Box;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::string::String;
use std::vec::Vec;

use super::redirect::RedirectError;
use crate::embedded;
use crate::ending::Ending;
use crate::error::EndReason;
use crate::handshake::{HandshakeError, HeadError, Refusal, RefusedResponse, UrlError};
use crate::send::SendError;

/// Why an operation on a connection of a host failed.
///
/// `Display` says all; `source` is the error below it, where there is one.
///
/// ```
/// use sansocket::Error;
/// use sansocket::blocking::connect;
///
/// fn try_again(error: &Error) -> bool {
///     match error {
///         Error::Connect(_) | Error::Transport(_) => true,
///         Error::Refused(response) => response.status == 503,
///         Error::Ended(_) => error.is_timeout(),
///         _ => false,
///     }
/// }
///
/// let error = connect("http://localhost/").unwrap_err();
/// assert!(matches!(error, Error::Url(_)) && !try_again(&error));
/// assert_eq!(error.to_string(), "a WebSocket URL begins with ws:// or wss://");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Caller: the URL is not one of a WebSocket.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// Caller: the request cannot be written as it was asked for.
    #[error(transparent)]
    Request(HeadError),
    /// Network or server: [`connect`](crate::blocking::connect) has no connection.
    #[error(transparent)]
    Connect(Box<ConnectError>),
    /// Server: it answered the request with another status than 101.
    #[error("the server refused the connection with status {}", .0.status)]
    Refused(Box<HttpResponse>),
    /// Client: its request was refused, for this reason.
    #[error("refused with {0}")]
    Rejected(Refusal),
    /// Peer: there was no opening handshake.
    #[error(transparent)]
    Handshake(HandshakeError),
    /// Network: the stream failed, and the connection has ended with it.
    #[error("the stream failed: {0}")]
    Transport(#[source] io::Error),
    /// The connection has ended, and not cleanly: the peer broke a rule, a deadline passed, or the peer disconnected.
    #[error("the connection has ended: {}", .0.reason)]
    Ended(Ending),
    /// Caller: this cannot be sent.
    #[error(transparent)]
    Send(SendError),
    /// Capacity: there is no memory for the message.
    #[error("the message is larger than the memory for it")]
    MessageTooBig,
}

/// Why [`connect`](crate::blocking::connect) has no connection: which step failed, with which server, and as `source` the reason.
///
/// ```
/// use sansocket::Error;
/// use sansocket::blocking::connect;
/// use sansocket::error::ConnectPhase;
///
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
/// # let port = listener.local_addr().unwrap().port();
/// # drop(listener);
/// // No server listens at this port.
/// match connect(&format!("ws://127.0.0.1:{port}/")) {
///     Err(Error::Connect(error)) => {
///         assert_eq!(error.phase(), ConnectPhase::Connect);
///         assert_eq!(error.server(), format!("127.0.0.1:{port}"));
///         assert_eq!(error.attempts()[0].1.kind(), std::io::ErrorKind::ConnectionRefused);
///     }
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Debug)]
pub struct ConnectError {
    pub(crate) phase: ConnectPhase,
    pub(crate) server: String,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) reason: Reason,
}

/// A step of [`connect`](crate::blocking::connect).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectPhase {
    /// The look-up of the host's addresses.
    Resolve,
    /// The TCP connection to one of them.
    Connect,
    /// The TLS handshake.
    Tls,
    /// The opening handshake of the WebSocket.
    Handshake,
    /// A redirect that is not followed.
    Redirect,
}

#[derive(Debug)]
pub(crate) enum Reason {
    Io(io::Error),
    /// No address could be connected to.
    Attempts(Vec<(SocketAddr, io::Error)>),
    Handshake(HandshakeError),
    Redirect(RedirectError),
}

/// The HTTP response with which a server refused a connection.
///
/// ```no_run
/// use sansocket::blocking::connect;
///
/// if let Err(error) = connect("ws://127.0.0.1:8080/private") {
///     if let Some(response) = error.response() {
///         let asks = response.header("WWW-Authenticate").map(String::from_utf8_lossy);
///         eprintln!("status {}, asks for {asks:?}", response.status);
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// The fields in order, names as the server wrote them.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body, as much of it as the [buffer](crate::config::ClientOptions::response_buffer) held.
    pub body: Vec<u8>,
    /// Whether that is all of the body.
    pub complete: bool,
}

impl Error {
    /// The server's response, where it refused the connection.
    #[must_use]
    pub fn response(&self) -> Option<&HttpResponse> {
        match self {
            Self::Refused(response) => Some(response),
            _ => None,
        }
    }

    /// Returns whether the stream failed, or ended before the connection did.
    #[must_use]
    pub fn is_disconnect(&self) -> bool {
        match self {
            Self::Transport(_) | Self::Handshake(HandshakeError::Disconnected) => true,
            Self::Connect(error) => error.is_disconnect(),
            Self::Ended(ending) => ending.reason == EndReason::Disconnected,
            _ => false,
        }
    }

    /// Returns how the connection ended, for [`Error::Ended`].
    #[must_use]
    pub const fn ending(&self) -> Option<Ending> {
        match self {
            Self::Ended(ending) => Some(*ending),
            _ => None,
        }
    }

    /// Returns whether a deadline passed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_timeout(),
            Self::Handshake(error) => *error == HandshakeError::Timeout,
            Self::Transport(error) => error.kind() == ErrorKind::TimedOut,
            Self::Ended(ending) => matches!(ending.reason, EndReason::Timeout(_)),
            _ => false,
        }
    }
}

/// The kind says what happened, as far as it has a name; the [`Error`] is inside, for
/// [`get_ref`](io::Error::get_ref) and [`downcast`](io::Error::downcast).
///
/// | kind | who | error |
/// | --- | --- | --- |
/// | that of the error below | network | [`Error::Transport`]; [`Error::Connect`] while resolving, connecting or in TLS, or if the stream failed: of several addresses, that of the last |
/// | `TimedOut` | peer | a deadline passed |
/// | `UnexpectedEof` | peer | it disconnected, also before its opening handshake was whole |
/// | `InvalidData` | peer | it broke a rule, sent no valid opening handshake, or redirected to what is no WebSocket |
/// | `ConnectionRefused` | server | [`Error::Refused`], [`Error::Rejected`]; [`Error::Connect`] with a redirect that is not followed |
/// | `BrokenPipe` | caller | [`Error::Send`] with [`SendError::Closed`] |
/// | `InvalidInput` | caller | any other [`Error::Send`]; [`Error::Url`], [`Error::Request`] |
/// | `OutOfMemory` | capacity | [`Error::MessageTooBig`]; no memory for the extension that the server agreed to |
/// | `Other` | | everything else |
///
/// ```
/// use std::io::ErrorKind;
///
/// use sansocket::{Error, SendError};
///
/// let error = std::io::Error::from(Error::Send(SendError::Closed));
/// assert_eq!(error.kind(), ErrorKind::BrokenPipe);
/// assert!(matches!(error.downcast::<Error>(), Ok(Error::Send(SendError::Closed))));
/// ```
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Transport(error) => error.kind(),
            Error::Connect(error) => error.kind(),
            Error::Handshake(error) => handshake_kind(error),
            _ if error.is_timeout() => ErrorKind::TimedOut,
            _ if error.is_disconnect() => ErrorKind::UnexpectedEof,
            Error::Ended(Ending { reason: EndReason::Violation(_), .. }) => ErrorKind::InvalidData,
            Error::Refused(_) | Error::Rejected(_) => ErrorKind::ConnectionRefused,
            Error::Send(SendError::Closed) => ErrorKind::BrokenPipe,
            Error::Send(_) | Error::Url(_) | Error::Request(_) => ErrorKind::InvalidInput,
            Error::MessageTooBig => ErrorKind::OutOfMemory,
            Error::Ended(_) => ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl ConnectError {
    /// The step that failed.
    #[must_use]
    pub const fn phase(&self) -> ConnectPhase {
        self.phase
    }

    /// Host and port as the URL has them: after redirects, the last URL.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The address of the server, where TCP was connected to it.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The addresses that were tried in [`ConnectPhase::Connect`], and why there was no connection to each.
    #[must_use]
    pub fn attempts(&self) -> &[(SocketAddr, io::Error)] {
        match &self.reason {
            Reason::Attempts(attempts) => attempts,
            _ => &[],
        }
    }

    fn kind(&self) -> ErrorKind {
        match &self.reason {
            Reason::Io(error) => error.kind(),
            Reason::Attempts(attempts) => attempts.last().map_or(ErrorKind::Other, |(_, error)| error.kind()),
            Reason::Handshake(error) => handshake_kind(error),
            Reason::Redirect(RedirectError::Location(_)) => ErrorKind::InvalidData,
            // As with `Error::Refused`, which is the error if no redirect is followed.
            Reason::Redirect(_) => ErrorKind::ConnectionRefused,
        }
    }

    fn is_disconnect(&self) -> bool {
        match &self.reason {
            Reason::Io(_) => self.phase == ConnectPhase::Handshake,
            Reason::Handshake(error) => *error == HandshakeError::Disconnected,
            Reason::Attempts(_) | Reason::Redirect(_) => false,
        }
    }

    /// Whether a time-out was the reason; where addresses were tried, that of each.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        match &self.reason {
            Reason::Attempts(attempts) => {
                attempts.iter().all(|(_, error)| error.kind() == ErrorKind::TimedOut)
            }
            Reason::Io(error) => error.kind() == ErrorKind::TimedOut,
            Reason::Handshake(error) => *error == HandshakeError::Timeout,
            Reason::Redirect(_) => false,
        }
    }
}

const fn handshake_kind(error: &HandshakeError) -> ErrorKind {
    match error {
        HandshakeError::Timeout => ErrorKind::TimedOut,
        HandshakeError::Disconnected => ErrorKind::UnexpectedEof,
        #[cfg(feature = "extension")]
        HandshakeError::ExtensionMemory => ErrorKind::OutOfMemory,
        _ => ErrorKind::InvalidData,
    }
}

impl HttpResponse {
    /// A response of which only the status is known.
    const fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), complete: false }
    }

    /// The value of the first field with this name, which is compared without case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.phase {
            ConnectPhase::Resolve => "cannot resolve ",
            ConnectPhase::Connect => "cannot connect to ",
            ConnectPhase::Tls => "no TLS connection to ",
            ConnectPhase::Handshake => "no WebSocket handshake with ",
            ConnectPhase::Redirect => "redirected by ",
        })?;
        f.write_str(&self.server)?;
        // A URL that has an address instead of a name has named it.
        let known = self.server.parse().ok();
        if let Some(address) = self.address.filter(|_| self.address != known) {
            write!(f, " ({address})")?;
        }
        f.write_str(": ")?;
        match &self.reason {
            Reason::Io(error) => error.fmt(f),
            Reason::Handshake(error) => error.fmt(f),
            Reason::Redirect(error) => error.fmt(f),
            Reason::Attempts(attempts) => {
                attempts.iter().enumerate().try_for_each(|(n, (address, error))| match n {
                    0 if Some(*address) == known => error.fmt(f),
                    0 => write!(f, "{address}: {error}"),
                    _ => write!(f, ", {address}: {error}"),
                })
            }
        }
    }
}

impl core::error::Error for ConnectError {
    /// Where addresses were tried, the error of the last.
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(match &self.reason {
            Reason::Io(error) => error,
            Reason::Handshake(error) => error,
            Reason::Redirect(error) => error,
            Reason::Attempts(attempts) => &attempts.last()?.1,
        })
    }
}

impl From<embedded::Error<io::Error>> for Error {
    fn from(error: embedded::Error<io::Error>) -> Self {
        match error {
            embedded::Error::Transport(error) => Self::Transport(error),
            embedded::Error::Ended(ending) => Self::Ended(ending),
            embedded::Error::Send(error) => Self::Send(error),
            embedded::Error::Request(error) => Self::Request(error),
            embedded::Error::Handshake(error) => Self::Handshake(error),
            embedded::Error::Rejected(refusal) => Self::Rejected(refusal),
            embedded::Error::Refused(status) => Self::Refused(Box::new(HttpResponse::new(status))),
            embedded::Error::MessageTooBig => Self::MessageTooBig,
        }
    }
}

impl From<RefusedResponse<'_>> for HttpResponse {
    fn from(reply: RefusedResponse<'_>) -> Self {
        let fields = reply.headers.iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { status: reply.status, headers: fields, body: reply.body.into(), complete: reply.complete }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::vec;

    use super::*;
    use crate::error::{Timeout, Violation};

    fn connect(phase: ConnectPhase, reason: Reason) -> Error {
        Error::Connect(Box::new(ConnectError { phase, server: "host:80".into(), address: None, reason }))
    }

    fn ended(reason: EndReason) -> Error {
        Error::Ended(Ending { reason, received: None, sent: None })
    }

    #[test]
    fn the_kind_names_who_is_to_blame() {
        use ConnectPhase::{Connect, Handshake, Redirect, Resolve, Tls};
        let address: SocketAddr = ([127, 0, 0, 1], 80).into();
        let handshake = |error| connect(Handshake, Reason::Handshake(error));
        let redirect = |error| connect(Redirect, Reason::Redirect(error));
        for (error, kind, disconnect) in [
            (Error::Transport(ErrorKind::ConnectionReset.into()), ErrorKind::ConnectionReset, true),
            (Error::Transport(ErrorKind::TimedOut.into()), ErrorKind::TimedOut, true),
            (connect(Resolve, Reason::Io(ErrorKind::NotFound.into())), ErrorKind::NotFound, false),
            (connect(Tls, Reason::Io(ErrorKind::InvalidData.into())), ErrorKind::InvalidData, false),
            (connect(Handshake, Reason::Io(ErrorKind::BrokenPipe.into())), ErrorKind::BrokenPipe, true),
            (
                connect(
                    Connect,
                    Reason::Attempts(vec![
                        (address, ErrorKind::TimedOut.into()),
                        (address, ErrorKind::ConnectionRefused.into()),
                    ]),
                ),
                ErrorKind::ConnectionRefused,
                false,
            ),
            (
                connect(Connect, Reason::Attempts(vec![(address, ErrorKind::TimedOut.into())])),
                ErrorKind::TimedOut,
                false,
            ),
            (handshake(HandshakeError::NotHttp), ErrorKind::InvalidData, false),
            (handshake(HandshakeError::Accept), ErrorKind::InvalidData, false),
            (handshake(HandshakeError::Timeout), ErrorKind::TimedOut, false),
            (handshake(HandshakeError::Disconnected), ErrorKind::UnexpectedEof, true),
            (Error::Handshake(HandshakeError::Upgrade), ErrorKind::InvalidData, false),
            (Error::Handshake(HandshakeError::Timeout), ErrorKind::TimedOut, false),
            (Error::Handshake(HandshakeError::Disconnected), ErrorKind::UnexpectedEof, true),
            (redirect(RedirectError::TooMany(5)), ErrorKind::ConnectionRefused, false),
            (redirect(RedirectError::Insecure("ws://a/".into())), ErrorKind::ConnectionRefused, false),
            (redirect(RedirectError::Location("mailto:a".into())), ErrorKind::InvalidData, false),
            (Error::Refused(Box::new(HttpResponse::new(403))), ErrorKind::ConnectionRefused, false),
            (Error::Rejected(Refusal { status: 403, reason: None }), ErrorKind::ConnectionRefused, false),
            (ended(EndReason::Violation(Violation::InvalidUtf8)), ErrorKind::InvalidData, false),
            (ended(EndReason::Timeout(Timeout::Pong)), ErrorKind::TimedOut, false),
            (ended(EndReason::Disconnected), ErrorKind::UnexpectedEof, true),
            (ended(EndReason::UnfinishedFrame), ErrorKind::Other, false),
            (Error::Send(SendError::Closed), ErrorKind::BrokenPipe, false),
            (Error::Send(SendError::ControlTooLong), ErrorKind::InvalidInput, false),
            (Error::Url(UrlError::Scheme), ErrorKind::InvalidInput, false),
            (Error::MessageTooBig, ErrorKind::OutOfMemory, false),
        ] {
            assert_eq!(error.is_disconnect(), disconnect, "{error:?}");
            assert_eq!(error.is_timeout(), kind == ErrorKind::TimedOut, "{error:?}");
            let text = error.to_string();
            let error = io::Error::from(error);
            assert_eq!((error.kind(), error.to_string()), (kind, text));
        }
        #[cfg(feature = "extension")]
        assert_eq!(
            io::Error::from(handshake(HandshakeError::ExtensionMemory)).kind(),
            ErrorKind::OutOfMemory
        );
    }
}
