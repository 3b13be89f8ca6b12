//! A server's view of a request (RFC 6455 §4.2.1).

#![forbid(unsafe_code)]

use super::head::{Headers, cut, first_line, is_same, is_token, lists, split_scheme};
use super::key::is_well_formed;
use super::rejection::{BadRequest, Rejection};
use crate::config::base::Config;

/// An HTTP request with a checked head, whether it is an upgrade or not.
///
/// ```
/// use sansocket::Config;
/// use sansocket::handshake::{Rejection, Request};
///
/// let head = b"GET /chat?room=1 HTTP/1.1\r\nHost: example.com\r\n\r\n";
/// let request = Request::parse(head, &Config::DEFAULT)?;
/// assert_eq!((request.path(), request.query_value("room")), ("/chat", Some("1")));
/// assert_eq!(request.header("host"), Some("example.com"));
/// assert!(!request.is_upgrade());
/// # Ok::<_, Rejection>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Request<'h> {
    method: &'h str,
    target: &'h str,
    version: Version,
    fields: Headers<'h>,
    noted: Noted<'h>,
}

/// The version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2 or HTTP/3: many requests share a connection, and an upgrade is a CONNECT with `:protocol` (RFC 8441, RFC 9220).
    #[cfg(feature = "http")]
    Http2,
}

/// What one walk over the fields notes for the checks of an upgrade.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Noted<'h> {
    /// Those of [`NAMES`] that a request may have once.
    singles: [Single<'h>; 4],
    /// `Upgrade` lists "websocket", or `:protocol` is that.
    pub(super) upgrade: bool,
    /// `Connection` lists "Upgrade".
    connection: bool,
    /// `Content-Length` is not 0, or there is a `Transfer-Encoding`.
    body: bool,
}

/// The fields that decide about an upgrade; first those that a request may have once.
const NAMES: [&str; 8] = [
    "Host",
    "Origin",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Key",
    "Upgrade",
    "Connection",
    "Content-Length",
    "Transfer-Encoding",
];

/// A field that a request may have once.
#[derive(Clone, Copy, Debug, Default)]
struct Single<'h> {
    first: Option<&'h [u8]>,
    twice: bool,
}

impl<'h> Request<'h> {
    /// Parses a whole head, including its empty line.
    ///
    /// # Errors
    /// The [`Rejection`] to respond with: the head is not an HTTP request, or has more fields than
    /// [`Limits::headers`](crate::config::Limits::headers).
    pub fn parse(head: &'h [u8], config: &Config) -> Result<Self, Rejection> {
        let (line, lines) = first_line(head);
        let (method, target, version) = request_line(line).ok_or(BadRequest::NotHttp)?;
        let mut noted = Noted::default();
        let (fields, _) =
            Headers::check(lines, config.limits.headers, &mut |name, value| noted.note(name, value))?;
        Self::new(method, target, version, fields, noted)
    }

    pub(super) fn new(
        method: &'h str,
        target: &'h str,
        version: Version,
        fields: Headers<'h>,
        noted: Noted<'h>,
    ) -> Result<Self, Rejection> {
        // RFC 9112 §3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request
        // message that lacks a Host header field and to any request message that contains more than one Host
        // header field line".
        let [host, ..] = noted.singles;
        if host.get(BadRequest::HostTwice)?.is_none() && version == Version::Http11 {
            return Err(BadRequest::Host.into());
        }
        Ok(Self { method, target, version, fields, noted })
    }

    /// Returns the method as it was received; methods are case-sensitive.
    #[must_use]
    pub const fn method(&self) -> &'h str {
        self.method
    }

    /// Returns the path, without the query and not percent-decoded.
    #[must_use]
    pub fn path(&self) -> &'h str {
        let (path, _) = self.split();
        path
    }

    /// Returns the query, which follows the `?`; empty if there is none. Not percent-decoded.
    #[must_use]
    pub fn query(&self) -> &'h str {
        let (_, query) = self.split();
        query
    }

    /// Returns the value of the first query parameter with this name; not percent-decoded.
    #[must_use]
    pub fn query_value(&self, name: &str) -> Option<&'h str> {
        self.query().split('&').find_map(|pair| {
            let (key, value) = cut(pair, b'=').unwrap_or((pair, ""));
            (key == name).then_some(value)
        })
    }

    /// Returns all header fields, in order.
    #[must_use]
    pub const fn headers(&self) -> Headers<'h> {
        self.fields
    }

    /// Returns the value of the first field with this name, if it is ASCII or UTF-8.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'h str> {
        self.fields.get(name).and_then(|value| core::str::from_utf8(value).ok())
    }

    /// Returns the origin of the page that opens the connection (RFC 6454); `None` if the request does not come from
    /// a browser.
    #[must_use]
    pub fn origin(&self) -> Option<&'h str> {
        self.origin_field().and_then(|value| core::str::from_utf8(value).ok())
    }

    pub(crate) const fn origin_field(&self) -> Option<&'h [u8]> {
        let [_, origin, ..] = self.noted.singles;
        origin.first
    }

    /// Returns the field `Host`; empty if there is none.
    pub(crate) fn host(&self) -> &'h [u8] {
        let [host, ..] = self.noted.singles;
        host.first.unwrap_or_default()
    }

    /// Returns the subprotocols on offer, in the client's order of preference.
    pub fn protocols(&self) -> impl Iterator<Item = &'h [u8]> {
        self.fields.list("Sec-WebSocket-Protocol")
    }

    /// Returns whether the request asks for a WebSocket. Whether it does so correctly is checked after
    /// [`Decision::Accept`](super::Decision::Accept).
    #[must_use]
    pub fn is_upgrade(&self) -> bool {
        self.noted.upgrade
    }

    /// Checks that the request is a correct upgrade. Returns the key, which only HTTP/1 has.
    ///
    /// # Errors
    /// The [`Rejection`] to respond with.
    pub(super) fn check_upgrade(&self, config: &Config) -> Result<Option<&'h [u8]>, Rejection> {
        let noted = &self.noted;
        let [host, origin, version, key] = noted.singles;
        let extended = self.version.has_streams();
        // "The method of the request MUST be GET"; over HTTP/2 it is CONNECT (RFC 8441 §5).
        if self.method != if extended { "CONNECT" } else { "GET" } {
            return Err(Rejection::MethodNotAllowed);
        }
        if !self.is_upgrade() {
            return Err(self.version.no_upgrade());
        }
        // "and the HTTP version MUST be at least 1.1"
        if self.version == Version::Http10 {
            return Err(BadRequest::HttpVersion.into());
        }
        // "A |Host| header field containing the server's authority."
        if !host.get(BadRequest::HostTwice)?.is_some_and(is_authority) {
            return Err(BadRequest::Host.into());
        }
        // "A |Connection| header field that includes the token "Upgrade", treated as an ASCII
        // case-insensitive value."
        if !noted.connection && !extended {
            return Err(BadRequest::Connection.into());
        }
        // A body would be read as frames, which allows request smuggling.
        if noted.body {
            return Err(BadRequest::Body.into());
        }
        origin.get(BadRequest::OriginTwice)?;
        // "A |Sec-WebSocket-Version| header field, with a value of 13."
        match version.get(BadRequest::VersionTwice)? {
            Some(b"13") => {}
            Some(_) => return Err(Rejection::UpgradeRequired),
            None => return Err(BadRequest::Version.into()),
        }
        // RFC 8441 §5: "Implementations using this extended CONNECT to bootstrap WebSockets do not do the processing of
        // the Sec-WebSocket-Key and Sec-WebSocket-Accept header fields of [RFC6455] as that functionality has been
        // superseded by the :protocol pseudo-header field."
        if extended {
            return Ok(None);
        }
        let key = key.get(BadRequest::KeyTwice)?.ok_or(BadRequest::Key)?;
        if !config.allow_malformed_key && !is_well_formed(key) {
            return Err(BadRequest::Key.into());
        }
        Ok(Some(key))
    }

    /// Whether the request is HTTP/1.1, and not 1.0.
    #[cfg(feature = "hub")]
    pub(crate) const fn is_http_1_1(&self) -> bool {
        matches!(self.version, Version::Http11)
    }

    fn split(&self) -> (&'h str, &'h str) {
        // The absolute form, which proxies use: the path begins after the authority.
        let rest = if self.target.starts_with('/') { None } else { split_scheme(self.target) };
        let target = rest.map_or(self.target, |(_, rest)| {
            let path = rest.bytes().position(|c| matches!(c, b'/' | b'?'));
            path.and_then(|at| rest.get(at..)).unwrap_or_default()
        });
        let (path, query) = cut(target, b'?').unwrap_or((target, ""));
        // "an empty path component is equivalent to an absolute path of "/"" (RFC 9110 §4.2.3)
        (if path.is_empty() { "/" } else { path }, query)
    }
}

impl Version {
    /// Whether many requests share a connection, so that an upgrade is an extended CONNECT.
    const fn has_streams(self) -> bool {
        !matches!(self, Self::Http10 | Self::Http11)
    }

    /// Returns the rejection of a request that does not ask for a WebSocket.
    const fn no_upgrade(self) -> Rejection {
        match self {
            Self::Http10 | Self::Http11 => Rejection::UpgradeRequired,
            // RFC 9220 §3: "receives an Extended CONNECT request with a ":protocol" value that is unknown or is not
            // supported, the server SHOULD respond to the request with a 501 (Not Implemented) status code".
            #[cfg(feature = "http")]
            Self::Http2 => Rejection::NotImplemented,
        }
    }
}

impl<'h> Noted<'h> {
    pub(super) fn note(&mut self, name: &[u8], value: &'h [u8]) {
        // The length tells nearly all names apart, and is compared without a call.
        let is = |known: &&str| known.len() == name.len() && is_same(name, known);
        match NAMES.iter().position(is) {
            Some(4) => self.upgrade |= lists(value, "websocket"),
            Some(5) => self.connection |= lists(value, "Upgrade"),
            Some(6) => self.body |= value != b"0",
            Some(7) => self.body = true,
            Some(single) => {
                if let Some(single) = self.singles.get_mut(single) {
                    single.twice = single.first.is_some();
                    single.first.get_or_insert(value);
                }
            }
            None => {}
        }
    }
}

impl<'h> Single<'h> {
    /// Returns the value; an error if the request has the field twice.
    fn get(self, twice: BadRequest) -> Result<Option<&'h [u8]>, Rejection> {
        if self.twice { Err(twice.into()) } else { Ok(self.first) }
    }
}

/// Parses method, target and version: "request-line = method SP request-target SP HTTP-version" (RFC 9112 §3).
fn request_line(line: &[u8]) -> Option<(&str, &str, Version)> {
    let (method, rest) = cut(core::str::from_utf8(line).ok()?, b' ')?;
    let (target, version) = cut(rest, b' ')?;
    let version = version.strip_suffix('\n')?;
    let version = match version.strip_suffix('\r').unwrap_or(version) {
        "HTTP/1.1" => Version::Http11,
        "HTTP/1.0" => Version::Http10,
        _ => return None,
    };
    let good =
        is_token(method.as_bytes()) && !target.is_empty() && target.bytes().all(|c| c > b' ' && c != 0x7F);
    good.then_some((method, target, version))
}

/// Whether the value of `Host` is an authority (RFC 3986 §3.2, without a user): not empty, and without separators.
fn is_authority(host: &[u8]) -> bool {
    // Ranges, as in `is_token_char`.
    let allowed = |c: &u8| matches!(c, b'$'..=b'.' | b'0'..=b';' | b'A'..=b'[' | b'a'..=b'z' | b'!' | b'=' | b']' | b'_' | b'~');
    !host.is_empty() && host.iter().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::is_authority;

    #[test]
    fn the_characters_of_an_authority() {
        for byte in 0..=255_u8 {
            let listed = byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte);
            assert_eq!(is_authority(&[byte]), listed, "{byte}");
        }
        assert!(!is_authority(b""));
    }
}
