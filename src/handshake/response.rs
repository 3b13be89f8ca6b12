//! A server's responses: the 101, and all others.

#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
use alloc::borrow::Cow;
#[cfg(feature = "alloc")]
use alloc::string::String;
#[cfg(feature = "alloc")]
use alloc::vec::Vec;

use super::SMALL;
use super::head::{cut, is_same, status_of};
use super::head_writer::{HeadError, Writer};
use super::key::AcceptKey;
use super::response_body::{BodyRest, ResponseBody};
use crate::buffer::copy;

/// An HTTP response other than the 101. The connection closes after it.
///
/// The library writes `Content-Length` and `Connection`. A response that cannot be written becomes 500: its status is
/// not between 200 and 599, a header field is malformed, is one that the library writes or is a second `Content-Type`, or
/// the head does not fit the memory for it.
///
/// ```
/// use sansocket::handshake::Response;
///
/// let response = Response::text(401, "log in first\n").with_headers(&[("WWW-Authenticate", "Basic")]);
/// assert_eq!(response.status(), 401);
/// assert_eq!(response.header("content-type"), Some("text/plain; charset=utf-8"));
/// assert_eq!(response.body(), b"log in first\n");
/// ```
#[derive(Clone, Debug)]
pub struct Response<'s> {
    status: u16,
    content_type: Option<&'s str>,
    headers: &'s [(&'s str, &'s str)],
    #[cfg(feature = "alloc")]
    more_headers: Vec<(Cow<'s, str>, Cow<'s, str>)>,
    body: ResponseBody<'s>,
}

impl<'s> Response<'s> {
    /// Creates a response without a body, and without `Content-Type`.
    #[must_use]
    pub const fn empty(status: u16) -> Self {
        Self {
            status,
            content_type: None,
            headers: &[],
            #[cfg(feature = "alloc")]
            more_headers: Vec::new(),
            body: ResponseBody::Static(&[]),
        }
    }

    /// Creates a response with a body of this media type.
    #[must_use]
    pub fn new(status: u16, content_type: &'s str, body: impl Into<ResponseBody<'s>>) -> Self {
        Self { content_type: Some(content_type), ..Self::empty(status).with_body(body) }
    }

    /// Creates a response with plain text in UTF-8.
    #[must_use]
    pub fn text(status: u16, body: impl Into<ResponseBody<'s>>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body)
    }

    /// Creates a response with an HTML page in UTF-8.
    #[must_use]
    pub fn html(status: u16, body: impl Into<ResponseBody<'s>>) -> Self {
        Self::new(status, "text/html; charset=utf-8", body)
    }

    /// Creates a response with JSON.
    #[must_use]
    pub fn json(status: u16, body: impl Into<ResponseBody<'s>>) -> Self {
        Self::new(status, "application/json", body)
    }

    /// Sets header fields beside the constructor's `Content-Type`. Replaces those of an earlier call.
    #[must_use]
    pub const fn with_headers(mut self, fields: &'s [(&'s str, &'s str)]) -> Self {
        self.headers = fields;
        self
    }

    /// Adds a header field beside the constructor's `Content-Type`.
    #[cfg(feature = "alloc")]
    #[must_use]
    pub fn with_header(mut self, name: impl Into<Cow<'s, str>>, value: impl Into<Cow<'s, str>>) -> Self {
        self.more_headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body, without a `Content-Type`.
    pub(crate) fn with_body(self, body: impl Into<ResponseBody<'s>>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// Returns the status code.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// Returns the value of the first header field with this name, compared without case. Fields that the library
    /// writes are not known yet.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let content_type = self.content_type.map(|value| ("Content-Type", value));
        let mut fields = content_type.into_iter().chain(self.fields());
        fields.find(|(known, _)| is_same(known.as_bytes(), name)).map(|(_, value)| value)
    }

    /// Returns the body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.body.as_bytes()
    }

    /// Copies what the response borrows.
    #[cfg(feature = "alloc")]
    #[must_use]
    pub fn into_owned(self) -> Response<'static> {
        let own = |text: &str| Cow::Owned(String::from(text));
        let content_type = self.content_type.map(|value| ("Content-Type", value)).into_iter();
        let more_headers =
            content_type.chain(self.fields()).map(|(name, value)| (own(name), own(value))).collect();
        let body = match self.body {
            ResponseBody::Static(body) => ResponseBody::Static(body),
            ResponseBody::Copied(body) => ResponseBody::Owned(body.to_vec()),
            ResponseBody::Owned(body) => ResponseBody::Owned(body),
        };
        Response { more_headers, body, ..Response::empty(self.status) }
    }

    /// Returns the header fields except `Content-Type` that a constructor has set.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let fields = self.headers.iter().copied();
        #[cfg(feature = "alloc")]
        let fields = fields.chain(self.more_headers.iter().map(|(name, value)| (&**name, &**value)));
        fields
    }
}

impl Response<'_> {
    /// Writes the head, and the body if it is to be copied. Returns their length, and what is left of the body.
    /// A response to HEAD has no body.
    pub(crate) fn write(self, memory: &mut [u8], to_head: bool) -> Result<(usize, BodyRest), HeadError> {
        let head = self.write_head(memory)?;
        if to_head || is_bodiless(self.status) {
            return Ok((head, BodyRest::NONE));
        }
        let copied = match self.body {
            ResponseBody::Static(body) => return Ok((head, BodyRest::Static(body))),
            #[cfg(feature = "alloc")]
            ResponseBody::Owned(body) => return Ok((head, BodyRest::Owned(body, 0))),
            ResponseBody::Copied(body) => body,
        };
        let n = copy(memory.get_mut(head..).unwrap_or_default(), copied);
        if n < copied.len() { Err(HeadError::TooLarge) } else { Ok((head.saturating_add(n), BodyRest::NONE)) }
    }

    /// Returns the status, the head and the body as they are written. A response that cannot be written becomes 500.
    #[cfg(feature = "hub")]
    pub(crate) fn encode(self, to_head: bool) -> (u16, Vec<u8>, Cow<'static, [u8]>) {
        let fields = self.fields().fold(self.content_type.map_or(0, str::len), |sum, (name, value)| {
            sum.saturating_add(name.len()).saturating_add(value.len()).saturating_add(4)
        });
        let mut head = alloc::vec![0; fields.saturating_add(256)];
        let Ok(len) = self.write_head(&mut head) else { return Response::empty(500).encode(to_head) };
        head.truncate(len);
        let body = match self.body {
            _ if to_head || is_bodiless(self.status) => Cow::Borrowed(&[][..]),
            ResponseBody::Static(body) => Cow::Borrowed(body),
            ResponseBody::Copied(body) => Cow::Owned(body.to_vec()),
            ResponseBody::Owned(body) => Cow::Owned(body),
        };
        (self.status, head, body)
    }

    fn write_head(&self, memory: &mut [u8]) -> Result<usize, HeadError> {
        const OURS: &[&str] = &["Content-Type", "Connection", "Content-Length", "Transfer-Encoding"];
        // Without a media type from the constructor, the first is the caller's.
        let ours = OURS.get(usize::from(self.content_type.is_none())..).unwrap_or_default();
        let mut writer = Writer::new(memory);
        writer
            .text("HTTP/1.1 ")
            .number(self.status.into())
            .text(" ")
            .text(reason(self.status))
            .text("\r\n")
            .fail_unless((200..600).contains(&self.status), HeadError::Status);
        if let Some(content_type) = self.content_type {
            writer.field("Content-Type", content_type);
        }
        writer.fields(self.headers, ours);
        #[cfg(feature = "alloc")]
        for (name, value) in &self.more_headers {
            writer.fields(&[(name, value)], ours);
        }
        if !is_bodiless(self.status) {
            writer.text("Content-Length: ").number(self.body.as_bytes().len()).text("\r\n");
        }
        // RFC 9110 §7.8: "A sender of Upgrade MUST also send an "Upgrade" connection option".
        let upgrade = self.fields().any(|(name, _)| is_same(name.as_bytes(), "Upgrade"));
        let close = if upgrade { "Connection: Upgrade, close" } else { "Connection: close" };
        writer.text(close).text("\r\n\r\n").finish()
    }
}

/// RFC 9110 §8.6, §6.4.1: these have no body, and 204 has no length either.
const fn is_bodiless(status: u16) -> bool {
    matches!(status, 204 | 304)
}

/// Writes the 101 (§4.2.2): the fields in the order of the RFC's example.
pub(crate) fn write_switch(head: &mut Writer<'_>, key: &AcceptKey, protocol: Option<&str>) {
    head.text("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ")
        .bytes(key)
        .text("\r\n");
    if let Some(protocol) = protocol {
        head.field("Sec-WebSocket-Protocol", protocol);
    }
}

/// The fields of a 101 that only the library writes.
pub(super) const OURS: &[&str] = &[
    "Upgrade",
    "Connection",
    "Sec-WebSocket-Accept",
    "Sec-WebSocket-Protocol",
    "Content-Length",
    "Transfer-Encoding",
];

/// Returns the reason phrase of RFC 9110 §15 for common statuses.
fn reason(status: u16) -> &'static str {
    if SMALL {
        return "";
    }
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
