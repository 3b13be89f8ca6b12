//! Where a redirect leads (RFC 9110 §10.2.2, §15.4), and what may be sent there.

#![forbid(unsafe_code)]

use core::str;
use std::format;
use std::string::String;
use std::vec::Vec;

use super::error::HttpResponse;
use crate::handshake::WsUrl;

/// Server: why a redirect is not followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedirectError {
    /// There were as many redirects before this one as
    /// [`follow_redirects`](crate::config::ClientOptions::follow_redirects) allows.
    #[error("more than {0} redirects")]
    TooMany(u32),
    /// There is more than one `Location`, or not one to which a WebSocket can be opened.
    #[error("the redirect does not lead to a WebSocket: {0:?}")]
    Location(String),
    /// It leads from `wss` to `ws`.
    #[error("the redirect leads from wss to ws: {0:?}")]
    Insecure(String),
}

/// Whether the response asks for the same request at another place. A WebSocket is opened with GET, so that the five
/// statuses mean the same.
pub(crate) fn is_redirect(response: &HttpResponse) -> bool {
    matches!(response.status, 301 | 302 | 303 | 307 | 308) && response.header("Location").is_some()
}

/// The URL to which a redirect leads, without user information: a server does not choose whose password is sent.
pub(crate) fn next_url(from: &WsUrl<'_>, response: &HttpResponse) -> Result<String, RedirectError> {
    let is_location = |(name, _): &&(String, Vec<u8>)| name.eq_ignore_ascii_case("Location");
    let mut locations = response.headers.iter().filter(is_location).map(|(_, value)| value);
    let location = String::from_utf8_lossy(locations.next().map_or(b"", |value| value));
    let url = resolve(from, &location).filter(|_| locations.next().is_none());
    match url.as_deref().map(WsUrl::parse) {
        Some(Ok(to)) if from.is_secure() && !to.is_secure() => {
            Err(RedirectError::Insecure(location.into_owned()))
        }
        Some(Ok(to)) => Ok(without_userinfo(&to)),
        Some(Err(_)) | None => Err(RedirectError::Location(location.into_owned())),
    }
}

/// Whether both have scheme, host and port in common: what was given for one may be sent to the other.
pub(crate) fn is_same_origin(one: &WsUrl<'_>, other: &WsUrl<'_>) -> bool {
    one.is_secure() == other.is_secure()
        && one.host().eq_ignore_ascii_case(other.host())
        && one.port() == other.port()
}

/// The URL again, without its user information.
pub(crate) fn without_userinfo(address: &WsUrl<'_>) -> String {
    format!("{}://{}{}", scheme(address), address.authority(), address.target())
}

const fn scheme(address: &WsUrl<'_>) -> &'static str {
    if address.is_secure() { "wss" } else { "ws" }
}

/// Resolves a reference against a URL (RFC 3986 §5.2), and leaves its fragment out.
fn resolve(base: &WsUrl<'_>, reference: &str) -> Option<String> {
    let reference = reference.split('#').next()?;
    let (scheme, authority, path) = (scheme(base), base.authority(), base.target().split('?').next()?);
    Some(if let Some((scheme, rest)) = split_scheme(reference) {
        // A server may know nothing of the schemes of WebSockets, which are HTTP's until the 101.
        let scheme = match scheme {
            _ if scheme.eq_ignore_ascii_case("http") => "ws",
            _ if scheme.eq_ignore_ascii_case("https") => "wss",
            scheme => scheme,
        };
        format!("{scheme}:{rest}")
    } else if reference.starts_with("//") {
        format!("{scheme}:{reference}")
    } else if reference.is_empty() {
        without_userinfo(base)
    } else if reference.starts_with('?') {
        format!("{scheme}://{authority}{path}{reference}")
    } else {
        let (folder, _) = path.rsplit_once('/').unwrap_or_default();
        let (new, query) = reference.split_at_checked(reference.find('?').unwrap_or(reference.len()))?;
        let path = if new.starts_with('/') { new.into() } else { format!("{folder}/{new}") };
        format!("{scheme}://{authority}{}{query}", remove_dot_segments(&path))
    })
}

/// The scheme and what stands behind its colon.
fn split_scheme(reference: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = reference.split_once(':')?;
    let good = |c: u8| c.is_ascii_alphanumeric() || b"+-.".contains(&c);
    (scheme.bytes().next()?.is_ascii_alphabetic() && scheme.bytes().all(good)).then_some((scheme, rest))
}

/// RFC 3986 §5.2.4, for a path that begins with a slash.
fn remove_dot_segments(path: &str) -> String {
    let mut segments = Vec::new();
    let mut open = false;
    for segment in path.split('/').skip(1) {
        open = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    if open {
        segments.push("");
    }
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn redirected(url: &str, locations: &[&str]) -> Result<String, RedirectError> {
        let fields: Vec<_> =
            locations.iter().map(|location| ("location".into(), location.as_bytes().into())).collect();
        next_url(
            &WsUrl::parse(url).unwrap(),
            &HttpResponse { status: 302, headers: fields, body: Vec::new(), complete: true },
        )
    }

    /// The examples of RFC 3986 §5.4 that a WebSocket's URL can have.
    #[test]
    fn references_resolve_as_rfc_3986_says() {
        for (reference, url) in [
            ("g", "ws://a/b/c/g"),
            ("./g", "ws://a/b/c/g"),
            ("g/", "ws://a/b/c/g/"),
            ("/g", "ws://a/g"),
            ("//g", "ws://g"),
            ("?y", "ws://a/b/c/d;p?y"),
            ("g?y", "ws://a/b/c/g?y"),
            ("g?y/./x", "ws://a/b/c/g?y/./x"),
            ("#s", "ws://a/b/c/d;p?q"),
            ("g#s", "ws://a/b/c/g"),
            (";x", "ws://a/b/c/;x"),
            ("", "ws://a/b/c/d;p?q"),
            (".", "ws://a/b/c/"),
            ("./", "ws://a/b/c/"),
            ("..", "ws://a/b/"),
            ("../g", "ws://a/b/g"),
            ("../..", "ws://a/"),
            ("../../g", "ws://a/g"),
            ("../../../g", "ws://a/g"),
            ("/./g", "ws://a/g"),
            ("/../g", "ws://a/g"),
            ("g.", "ws://a/b/c/g."),
            ("..g", "ws://a/b/c/..g"),
            ("./../g", "ws://a/b/g"),
            ("g/./h", "ws://a/b/c/g/h"),
            ("g/../h", "ws://a/b/c/h"),
            ("http://a/g", "ws://a/g"),
            ("HTTPS://b:8443/g?x", "wss://b:8443/g?x"),
            ("ws://user:secret@b/", "ws://b/"),
            ("//user@b", "ws://b"),
        ] {
            assert_eq!(redirected("ws://a/b/c/d;p?q", &[reference]).as_deref(), Ok(url), "{reference}");
        }
        assert_eq!(redirected("ws://a", &["g"]).as_deref(), Ok("ws://a/g"));
        assert_eq!(redirected("ws://a?q", &["?y"]).as_deref(), Ok("ws://a?y"));
    }

    #[test]
    fn only_a_websocket_s_url_is_followed() {
        for locations in [
            &["ftp://a/"][..],
            &["mailto:a@b"],
            &["http:/a"],
            &["http://"],
            &["ws://a/ü"],
            &["/a b"],
            &["/a", "/b"],
        ] {
            assert!(
                matches!(redirected("ws://a/", locations), Err(RedirectError::Location(_))),
                "{locations:?}"
            );
        }
    }

    #[test]
    fn a_redirect_has_one_of_five_statuses_and_a_location() {
        let location = || Vec::from([("LOCATION".into(), b"/".into())]);
        for status in 200..600 {
            let response = HttpResponse { status, headers: location(), body: Vec::new(), complete: true };
            assert_eq!(is_redirect(&response), [301, 302, 303, 307, 308].contains(&status), "{status}");
            assert!(!is_redirect(&HttpResponse { headers: Vec::new(), ..response }));
        }
    }

    #[test]
    fn a_redirect_does_not_leave_tls() {
        for location in ["ws://a/", "http://a/", "ws://b/"] {
            assert_eq!(redirected("wss://a/", &[location]), Err(RedirectError::Insecure(location.into())));
        }
        assert_eq!(redirected("wss://a/", &["//b/"]).as_deref(), Ok("wss://b/"));
        assert_eq!(redirected("ws://a/", &["https://a/"]).as_deref(), Ok("wss://a/"));
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |one, other| is_same_origin(&WsUrl::parse(one).unwrap(), &WsUrl::parse(other).unwrap());
        assert!(same("ws://a/", "WS://A:80/b?c"));
        assert!(same("wss://[::1]/", "wss://[::1]:443/"));
        for other in ["wss://a/", "ws://b/", "ws://a:8080/", "wss://a:80/"] {
            assert!(!same("ws://a/", other), "{other}");
        }
    }
}
