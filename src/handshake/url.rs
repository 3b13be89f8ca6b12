//! WebSocket URLs (RFC 6455 §3).

#![forbid(unsafe_code)]

use super::head::{cut, is_same, split_scheme};
use super::ipv6::is_ipv6;

/// A parsed `ws:` or `wss:` URL. `Debug` hides user and password.
///
/// ```
/// use sansocket::handshake::{WsUrl, UrlError};
///
/// let url = WsUrl::parse("wss://example.com/chat?room=1")?;
/// assert!(url.is_secure());
/// assert_eq!((url.host(), url.port()), ("example.com", 443));
/// assert_eq!(url.target(), "/chat?room=1");
/// assert_eq!(WsUrl::parse("https://example.com"), Err(UrlError::Scheme));
/// # Ok::<_, UrlError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WsUrl<'u> {
    secure: bool,
    userinfo: &'u str,
    authority: &'u str,
    host: &'u str,
    port: u16,
    target: &'u str,
}

/// Caller: the URL is not a WebSocket URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum UrlError {
    /// The scheme is neither `ws://` nor `wss://`.
    #[error("a WebSocket URL begins with ws:// or wss://")]
    Scheme,
    /// The host is missing, or has a character that is not allowed there.
    #[error("the host is missing or malformed")]
    Host,
    /// The host in brackets is not an IPv6 address.
    #[error("the host in brackets is not an IPv6 address")]
    Ipv6,
    /// The port is not a number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// The URL has a fragment: "Fragment identifiers are meaningless in the context of WebSocket URIs and MUST NOT be used" (§3).
    #[error("a WebSocket URL has no fragment")]
    Fragment,
    /// The user or the password cannot be sent as Basic authorization (RFC 7617): it has a control character, or the user
    /// has a colon. Only the clients on hosts check it.
    #[error("the user or the password in the URL cannot be sent as Basic authorization")]
    Userinfo,
    /// A character of user information, path or query has to be percent-encoded.
    #[error("the character {0:?} has to be percent-encoded")]
    Character(char),
}

impl<'u> WsUrl<'u> {
    /// Parses a `ws:` or `wss:` URL.
    ///
    /// # Errors
    /// [`UrlError`]: what is wrong with the URL.
    pub fn parse(url: &'u str) -> Result<Self, UrlError> {
        let (scheme, rest) = split_scheme(url).ok_or(UrlError::Scheme)?;
        let secure = is_same(scheme.as_bytes(), "wss");
        if !secure && !is_same(scheme.as_bytes(), "ws") {
            return Err(UrlError::Scheme);
        }
        if rest.bytes().any(|c| c == b'#') {
            return Err(UrlError::Fragment);
        }
        let end = rest.bytes().position(|c| matches!(c, b'/' | b'?')).unwrap_or(rest.len());
        let (authority, target) = rest.split_at_checked(end).unwrap_or((rest, ""));
        // Splits at the last `@`: one that was not encoded belongs to the password.
        let at = authority.bytes().rposition(|c| c == b'@').map(|at| at.saturating_add(1));
        let (userinfo, authority) =
            at.and_then(|at| authority.split_at_checked(at)).unwrap_or(("", authority));
        let userinfo = userinfo.strip_suffix('@').unwrap_or_default();
        check(userinfo)?;
        check(target)?;
        let (host, rest) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = cut(rest, b']').ok_or(UrlError::Ipv6)?;
                if !is_ipv6(host.as_bytes()) {
                    return Err(UrlError::Ipv6);
                }
                (host, rest)
            }
            None => {
                let end = authority.bytes().position(|c| c == b':').unwrap_or(authority.len());
                authority.split_at_checked(end).unwrap_or((authority, ""))
            }
        };
        let good = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_' | b'~' | b':' | b'%');
        if host.is_empty() || !host.bytes().all(good) {
            return Err(UrlError::Host);
        }
        let default = if secure { 443 } else { 80 };
        let (authority, port) = match rest.strip_prefix(':') {
            None if rest.is_empty() => (authority, default),
            // RFC 3986 §3.2.3: "port = *DIGIT".
            Some("") => (authority.strip_suffix(':').unwrap_or(authority), default),
            // `parse` takes a plus sign, a URL does not.
            Some(digits) if digits.starts_with('+') => return Err(UrlError::Port),
            Some(digits) => (authority, digits.parse().ok().filter(|port| *port != 0).ok_or(UrlError::Port)?),
            None => return Err(UrlError::Host),
        };
        Ok(Self { secure, userinfo, authority, host, port, target })
    }

    /// Returns whether the URL requires TLS.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// Returns user and password as the URL has them, percent-encoded, with a colon between them; `None` if there are
    /// none.
    ///
    /// The opening handshake does not send them: add `Authorization` with the value of
    /// [`basic_authorization`](super::basic_authorization) to the header fields of the request, with
    /// [`ClientRequest::headers`](super::ClientRequest::headers).
    #[must_use]
    pub fn userinfo(&self) -> Option<&'u str> {
        Some(self.userinfo).filter(|userinfo| !userinfo.is_empty())
    }

    /// Returns the host to connect to: a name, an IPv4 address, or an IPv6 address without its brackets.
    #[must_use]
    pub const fn host(&self) -> &'u str {
        self.host
    }

    /// Returns the port to connect to. Default: 80, and 443 with TLS.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns host and port as the URL has them: the value of `Host`.
    #[must_use]
    pub const fn authority(&self) -> &'u str {
        self.authority
    }

    /// Returns path and query as the URL has them. If the URL has no path, the result does not begin with a slash.
    #[must_use]
    pub const fn target(&self) -> &'u str {
        self.target
    }
}

/// Hides user and password.
impl core::fmt::Debug for WsUrl<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { secure, userinfo, authority, target, .. } = self;
        let scheme = if *secure { "wss" } else { "ws" };
        let user = if userinfo.is_empty() { "" } else { "***@" };
        write!(f, "WsUrl({scheme}://{user}{authority}{target})")
    }
}

/// RFC 3986 §2: a character that is neither reserved nor unreserved has to be percent-encoded.
fn check(part: &str) -> Result<(), UrlError> {
    let bad = |c: &char| !matches!(c, '!' | '#'..=';' | '=' | '?'..='[' | ']' | '_' | 'a'..='z' | '~');
    part.chars().find(bad).map_or(Ok(()), |c| Err(UrlError::Character(c)))
}
