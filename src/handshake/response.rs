//! A server's answers other than the 101, and the 101 itself.

#![forbid(unsafe_code)]

use super::head::{HeadError, Writer, cut, is_same, status_of};
use super::key::AcceptKey;
use crate::buffer::copy;

/// The server's own answer to a request that it cannot accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// 503: no memory for the body.
    #[cfg(feature = "hub")]
    NoMemory,
    /// 500: the answer cannot be written.
    Internal,
    /// 503: no room for another connection.
    Unavailable,
}

/// The fault of a malformed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadRequest {
    /// The request is not HTTP.
    NotHttp,
    /// A header line continues the one before, which older HTTP allowed.
    Folded,
    /// The request is older than HTTP/1.1.
    HttpVersion,
    /// `Host` is missing, or is not a host.
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

/// An answer other than the 101: its status, and the server's reason for it.
///
/// Displays as `408: the request took too long (Timeouts::handshake)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The status code.
    pub status: u16,
    /// The server's own reason; `None` if the application chose the answer.
    pub reason: Option<Rejection>,
}

/// An HTTP answer other than the 101. The connection closes after it.
#[derive(Clone, Copy, Debug)]
pub struct Response<'s> {
    /// The status code, 200 to 599. With another, or with a field that cannot be written, the answer is 500.
    pub status: u16,
    /// Header fields beside `Content-Length` and `Connection`, which the library writes.
    pub headers: &'s [(&'s str, &'s str)],
    /// The body.
    pub body: Body<'s>,
}

/// The body of an answer.
#[derive(Clone, Copy, Debug)]
pub enum Body<'s> {
    /// A body of any length, which is sent in pieces from where it lies.
    Static(&'static [u8]),
    /// A body that is copied at once: together with the head it has to fit the memory for heads.
    Copied(&'s [u8]),
}

impl<'s> Response<'s> {
    /// Makes an answer of plain text.
    #[must_use]
    pub const fn text(status: u16, body: &'s str) -> Self {
        const TEXT: &[(&str, &str)] = &[("Content-Type", "text/plain; charset=utf-8")];
        Self { status, headers: TEXT, body: Body::Copied(body.as_bytes()) }
    }
}

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
            #[cfg(feature = "hub")]
            Self::NoMemory => 503,
            Self::Unavailable => 503,
        }
    }

    /// Returns the fault in words for the peer: the body of the answer.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::BadRequest(fault) => match fault {
                BadRequest::NotHttp => "not an HTTP/1.1 request",
                BadRequest::Folded => "a folded field line",
                BadRequest::HttpVersion => "an upgrade needs HTTP/1.1",
                BadRequest::Host => "Host is missing or malformed",
                BadRequest::Connection => "Connection does not have the token Upgrade",
                BadRequest::Body => "an upgrade has no body",
                #[cfg(feature = "hub")]
                BadRequest::Length => "Content-Length is malformed",
                BadRequest::Version => "Sec-WebSocket-Version is missing",
                BadRequest::Key => "Sec-WebSocket-Key is not 16 bytes in base64",
                BadRequest::Protocol => "no offered subprotocol is supported",
                BadRequest::HostTwice => "Host came twice",
                BadRequest::OriginTwice => "Origin came twice",
                BadRequest::VersionTwice => "Sec-WebSocket-Version came twice",
                BadRequest::KeyTwice => "Sec-WebSocket-Key came twice",
            },
            Self::Forbidden => "the origin is not allowed",
            Self::MethodNotAllowed => "the method is not GET",
            Self::Timeout => "the request took too long",
            #[cfg(feature = "hub")]
            Self::LengthRequired => "send a Content-Length",
            #[cfg(feature = "hub")]
            Self::BodyTooLarge => "the body is too large",
            Self::UpgradeRequired => "this is a WebSocket: ask for an upgrade to version 13",
            Self::TooLarge => "the head is too large",
            Self::TooManyFields => "too many fields",
            #[cfg(feature = "hub")]
            Self::NoMemory => "no memory for the body",
            Self::Internal => "the answer could not be written",
            Self::Unavailable => "no room for another connection",
        }
    }

    /// Returns the answer to send.
    #[must_use]
    pub const fn response(self) -> Response<'static> {
        let headers: &[(&str, &str)] = match self {
            Self::MethodNotAllowed => &[("Allow", "GET")],
            Self::UpgradeRequired => &[
                ("Upgrade", "websocket"),
                // "it MUST respond with a |Sec-WebSocket-Version| header field (or multiple
                // |Sec-WebSocket-Version| header fields) containing all versions it is willing to use." (§4.4)
                ("Sec-WebSocket-Version", "13"),
            ],
            #[cfg(feature = "hub")]
            Self::NoMemory => &[("Retry-After", "1")],
            Self::Unavailable => &[("Retry-After", "1")],
            _ => &[],
        };
        Response { status: self.status(), headers, body: Body::Static(self.text().as_bytes()) }
    }
}

/// Names the fault in words for the server's operator, with the setting that decides it.
impl core::fmt::Display for Rejection {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.text())?;
        f.write_str(match self {
            Self::BadRequest(BadRequest::Key) => " (Config::allow_malformed_key)",
            Self::BadRequest(BadRequest::Protocol) => " (Accept::protocols)",
            #[cfg(feature = "hub")]
            Self::BodyTooLarge => " (Choice::Body)",
            #[cfg(feature = "hub")]
            Self::Forbidden => " (Accept::origin, Routes::set_origin)",
            #[cfg(not(feature = "hub"))]
            Self::Forbidden => " (Accept::origin)",
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
            None => f.write_str("answered by the application"),
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
    /// Makes the refusal for an answer that the application chose.
    #[must_use]
    pub const fn answered(status: u16) -> Self {
        Self { status, reason: None }
    }
}

impl From<BadRequest> for Rejection {
    fn from(fault: BadRequest) -> Self {
        Self::BadRequest(fault)
    }
}

impl Response<'_> {
    /// Writes the head, and the body if it is to be copied. Returns their length, and the body if it is not copied.
    /// An answer to HEAD has no body.
    pub(crate) fn write(
        &self,
        memory: &mut [u8],
        to_head: bool,
    ) -> Result<(usize, &'static [u8]), HeadError> {
        let (copied, rest): (&[u8], &'static [u8]) = match self.body {
            Body::Static(body) => (&[], body),
            Body::Copied(body) => (body, &[]),
        };
        let len = copied.len().saturating_add(rest.len());
        let mut writer = Writer::new(memory);
        writer
            .text("HTTP/1.1 ")
            .number(self.status.into())
            .text(" ")
            .text(reason(self.status))
            .text("\r\n")
            .fail_unless((200..600).contains(&self.status), HeadError::Malformed)
            .fields(self.headers, &["Connection", "Content-Length", "Transfer-Encoding"]);
        let bodiless = is_bodiless(self.status);
        if !bodiless {
            writer.text("Content-Length: ").number(len).text("\r\n");
        }
        // RFC 9110 §7.8: "A sender of Upgrade MUST also send an "Upgrade" connection option".
        let upgrade = self.headers.iter().any(|(name, _)| is_same(name.as_bytes(), "Upgrade"));
        let close = if upgrade { "Connection: Upgrade, close" } else { "Connection: close" };
        let head = writer.text(close).text("\r\n\r\n").finish()?;
        if to_head || bodiless {
            return Ok((head, &[]));
        }
        let n = copy(memory.get_mut(head..).unwrap_or_default(), copied);
        if n < copied.len() { Err(HeadError::TooLarge) } else { Ok((head.saturating_add(n), rest)) }
    }
}

/// RFC 9110 §8.6, §6.4.1: these have no body, and 204 has no length either.
pub(crate) const fn is_bodiless(status: u16) -> bool {
    matches!(status, 204 | 304)
}

/// Writes the 101 (§4.2.2): the fields in the order of the RFC's example.
pub(crate) fn write_switch(
    memory: &mut [u8],
    key: &AcceptKey,
    protocol: Option<&str>,
    headers: &[(&str, &str)],
) -> Result<usize, HeadError> {
    let mut head = Writer::new(memory);
    head.text("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
        .field("Sec-WebSocket-Accept", core::str::from_utf8(key).unwrap_or_default());
    if let Some(protocol) = protocol {
        head.field("Sec-WebSocket-Protocol", protocol);
    }
    const OURS: &[&str] = &[
        "Upgrade",
        "Connection",
        "Sec-WebSocket-Accept",
        "Sec-WebSocket-Protocol",
        "Content-Length",
        "Transfer-Encoding",
    ];
    head.fields(headers, OURS).text("\r\n").finish()
}

/// Returns the reason phrase of RFC 9110 §15 for common statuses.
fn reason(status: u16) -> &'static str {
    let known = find_reason(REASONS, status);
    #[cfg(feature = "hub")]
    let known = known.or_else(|| find_reason("411 Length Required\n413 Content Too Large\n", status));
    // RFC 9112 §4: "A client SHOULD ignore the reason-phrase content".
    known.unwrap_or_default()
}

fn find_reason(mut reasons: &'static str, status: u16) -> Option<&'static str> {
    while let Some((line, rest)) = cut(reasons, b'\n') {
        match cut(line, b' ') {
            Some((code, reason)) if status_of(code.as_bytes()) == status => return Some(reason),
            _ => reasons = rest,
        }
    }
    None
}

/// One text: a table of texts is larger, and a `match` larger still.
const REASONS: &str = "200 OK\n\
    204 No Content\n\
    301 Moved Permanently\n\
    302 Found\n\
    304 Not Modified\n\
    307 Temporary Redirect\n\
    308 Permanent Redirect\n\
    400 Bad Request\n\
    401 Unauthorized\n\
    403 Forbidden\n\
    404 Not Found\n\
    405 Method Not Allowed\n\
    408 Request Timeout\n\
    426 Upgrade Required\n\
    429 Too Many Requests\n\
    431 Request Header Fields Too Large\n\
    500 Internal Server Error\n\
    503 Service Unavailable\n";
