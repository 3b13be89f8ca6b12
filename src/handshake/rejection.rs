//! Why a server refuses a request.

#![forbid(unsafe_code)]

use super::SMALL;
use super::response::Response;

/// The reason why a server refuses a request, and so the response that it sends: a `Rejection` converts into a
/// [`Response`]. Feature `hub` adds the reasons that concern bodies.
///
/// Displays for the operator of the server, with the setting that decides it: `the request took too long
/// (Timeouts::handshake)`. [`text`](Self::text) is what the peer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Rejection {
    /// 400: the request is malformed.
    BadRequest(BadRequest),
    /// 403: the origin of the page is not allowed (RFC 6455 §4.2.2, §10.2).
    Forbidden,
    /// 405, with `Allow: GET`.
    MethodNotAllowed,
    /// 408: the request took too long.
    Timeout,
    /// 411: the body has no `Content-Length`.
    #[cfg(feature = "hub")]
    LengthRequired,
    /// 413: the body is larger than the application allows.
    #[cfg(feature = "hub")]
    BodyTooLarge,
    /// 426, with `Upgrade` and `Sec-WebSocket-Version` (RFC 6455 §4.4): the request is no upgrade, or not to version
    /// 13.
    UpgradeRequired,
    /// 431: the head is larger than [`Limits::head`](crate::config::Limits::head), or than the memory that holds it.
    TooLarge,
    /// 431: the head has more fields than [`Limits::headers`](crate::config::Limits::headers).
    TooManyFields,
    /// 501: the CONNECT of HTTP/2 asks for another protocol than WebSocket (RFC 9220 §3), or the HTTP server cannot upgrade the
    /// connection.
    #[cfg(feature = "http")]
    NotImplemented,
    /// 503: no memory for the body.
    #[cfg(feature = "hub")]
    NoMemory,
    /// 500: the response cannot be written: its status or a header field is invalid, or it is too large.
    Internal,
    /// 503: no room for another connection.
    Unavailable,
}

/// What is wrong with a malformed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum BadRequest {
    /// The request is not HTTP.
    NotHttp,
    /// A header field continues on a second line, which older HTTP allowed.
    Folded,
    /// The request is older than HTTP/1.1.
    HttpVersion,
    /// `Host` is missing or malformed.
    Host,
    /// `Connection` does not have the token `Upgrade`.
    Connection,
    /// The upgrade has a body.
    Body,
    /// `Content-Length` is not a number, or is present twice.
    #[cfg(feature = "hub")]
    Length,
    /// `Sec-WebSocket-Version` is missing.
    Version,
    /// `Sec-WebSocket-Key` is missing, or does not have 16 bytes.
    Key,
    /// The server supports none of the offered subprotocols.
    Protocol,
    /// `Host` is present twice.
    HostTwice,
    /// `Origin` is present twice.
    OriginTwice,
    /// `Sec-WebSocket-Version` is present twice.
    VersionTwice,
    /// `Sec-WebSocket-Key` is present twice.
    KeyTwice,
}

/// A response other than the 101: its status, and the server's reason for it.
///
/// Displays as `408: the request took too long (Timeouts::handshake)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Refusal {
    /// The status code.
    pub status: u16,
    /// The server's own reason; `None` if the application chose the response.
    pub reason: Option<Rejection>,
}

impl BadRequest {
    const fn text(self) -> &'static str {
        match self {
            Self::NotHttp => "not an HTTP/1.1 request",
            Self::Folded => "a header field on two lines",
            Self::HttpVersion => "an upgrade needs HTTP/1.1",
            Self::Host => "Host is missing or malformed",
            Self::Connection => "Connection does not have the token Upgrade",
            Self::Body => "an upgrade has no body",
            #[cfg(feature = "hub")]
            Self::Length => "Content-Length is malformed",
            Self::Version => "Sec-WebSocket-Version is missing",
            Self::Key => "Sec-WebSocket-Key is not 16 bytes in base64",
            Self::Protocol => "no offered subprotocol is supported",
            Self::HostTwice => "Host came twice",
            Self::OriginTwice => "Origin came twice",
            Self::VersionTwice => "Sec-WebSocket-Version came twice",
            Self::KeyTwice => "Sec-WebSocket-Key came twice",
        }
    }
}

impl core::fmt::Display for BadRequest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for BadRequest {}

impl Rejection {
    /// Returns the status code.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::Forbidden => 403,
            Self::MethodNotAllowed => 405,
            Self::Timeout => 408,
            #[cfg(feature = "hub")]
            Self::LengthRequired => 411,
            #[cfg(feature = "hub")]
            Self::BodyTooLarge => 413,
            Self::UpgradeRequired => 426,
            Self::TooLarge | Self::TooManyFields => 431,
            Self::Internal => 500,
            #[cfg(feature = "http")]
            Self::NotImplemented => 501,
            #[cfg(feature = "hub")]
            Self::NoMemory => 503,
            Self::Unavailable => 503,
        }
    }

    /// Returns the reason in words for the peer: the body of the response.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::BadRequest(fault) => fault.text(),
            Self::Forbidden => "the origin is not allowed",
            Self::MethodNotAllowed => "the method is not GET",
            Self::Timeout => "the request took too long",
            #[cfg(feature = "hub")]
            Self::LengthRequired => "Content-Length is missing",
            #[cfg(feature = "hub")]
            Self::BodyTooLarge => "the body is too large",
            Self::UpgradeRequired => "this is a WebSocket: ask for an upgrade to version 13",
            Self::TooLarge => "the head is too large",
            Self::TooManyFields => "too many header fields",
            #[cfg(feature = "hub")]
            Self::NoMemory => "no memory for the body",
            #[cfg(feature = "http")]
            Self::NotImplemented => "no upgrade to this protocol",
            Self::Internal => "the response could not be written",
            Self::Unavailable => "no room for another connection",
        }
    }
}

/// Creates the response that the server sends: status, fields, and the [text](Rejection::text) as the body, which the
/// feature `small` leaves out.
impl From<Rejection> for Response<'_> {
    fn from(rejection: Rejection) -> Self {
        let headers: &[(&str, &str)] = match rejection {
            Rejection::MethodNotAllowed => &[("Allow", "GET")],
            Rejection::UpgradeRequired => &[
                ("Upgrade", "websocket"),
                // "it MUST respond with a |Sec-WebSocket-Version| header field (or multiple
                // |Sec-WebSocket-Version| header fields) containing all versions it is willing to use." (§4.4)
                ("Sec-WebSocket-Version", "13"),
            ],
            #[cfg(feature = "hub")]
            Rejection::NoMemory => &[("Retry-After", "1")],
            Rejection::Unavailable => &[("Retry-After", "1")],
            _ => &[],
        };
        Self::empty(rejection.status()).with_headers(headers).with_body(if SMALL {
            ""
        } else {
            rejection.text()
        })
    }
}

impl core::fmt::Display for Rejection {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.text())?;
        f.write_str(match self {
            Self::BadRequest(BadRequest::Key) => " (Config::allow_malformed_key)",
            Self::BadRequest(BadRequest::Protocol) => " (AcceptOptions::protocols)",
            #[cfg(feature = "hub")]
            Self::BodyTooLarge => " (RequestAction::ReadBody)",
            #[cfg(feature = "hub")]
            Self::Forbidden => " (AcceptOptions::origin, Routes::origin)",
            #[cfg(not(feature = "hub"))]
            Self::Forbidden => " (AcceptOptions::origin)",
            Self::Timeout => " (Timeouts::handshake)",
            Self::TooLarge => " (Limits::head, and the memory for it)",
            Self::TooManyFields => " (Limits::headers)",
            _ => "",
        })
    }
}

impl core::error::Error for Rejection {}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}: ", self.status)?;
        match &self.reason {
            Some(reason) => reason.fmt(f),
            None => f.write_str("a response of the application"),
        }
    }
}

impl core::error::Error for Refusal {}

impl From<Rejection> for Refusal {
    fn from(reason: Rejection) -> Self {
        Self { status: reason.status(), reason: Some(reason) }
    }
}

impl Refusal {
    /// Creates the refusal for a response that the application chose.
    #[must_use]
    pub const fn by_application(status: u16) -> Self {
        Self { status, reason: None }
    }
}

impl From<BadRequest> for Rejection {
    fn from(fault: BadRequest) -> Self {
        Self::BadRequest(fault)
    }
}
