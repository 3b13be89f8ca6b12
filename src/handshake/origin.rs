//! Which pages may open a connection (RFC 6455 §10.2).

#![forbid(unsafe_code)]

use super::head::{is_same, split_scheme};
use super::request::Request;

/// Which origins are welcome. A request without an Origin comes from no browser, and is accepted: such a
/// client could claim any.
///
/// Origins that are known only when the program runs are compared where the request is answered:
///
/// ```
/// use sansocket::handshake::{Accept, Answer, Origin, Rejection, Request};
///
/// fn answer(known: &[String], request: &Request<'_>) -> Answer<'static> {
///     match request.origin() {
///         Some(origin) if !known.iter().any(|known| known == origin) => Answer::Reject(Rejection::Forbidden),
///         _ => Answer::Accept(Accept { origin: Origin::Any, ..Accept::default() }),
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub enum Origin<'s> {
    /// Only pages from this host and port: the origin's authority is the request's `Host`. The default, as
    /// anything wider lets any page that the user visits talk to the server in the user's name. A page whose name
    /// is made to resolve to this server (DNS rebinding) still passes: where that matters, name the origins in a
    /// [`List`](Self::List). The scheme is not compared, as TLS may end before this server: ports 80 and 443 in `Host` are
    /// as good as none. Behind a proxy, make it pass `Host` on, or name the origins.
    #[default]
    SameHost,
    /// Pages from one of these origins, written as browsers do: `https://example.com:8443`.
    List(&'s [&'s str]),
    /// Pages from an origin of which the function approves.
    Check(fn(&str) -> bool),
    /// Every page.
    Any,
}

impl Origin<'_> {
    /// Whether the page that makes this request is welcome.
    #[must_use]
    pub fn allows(&self, request: &Request<'_>) -> bool {
        let Some(value) = request.fields().get("Origin") else { return true };
        let Ok(origin) = core::str::from_utf8(value) else { return matches!(self, Self::Any) };
        match self {
            Self::Any => true,
            Self::Check(approves) => approves(origin),
            Self::List(list) => list.iter().any(|known| is_same(known.as_bytes(), origin)),
            Self::SameHost => same_host(origin, request.header("Host").unwrap_or_default()),
        }
    }
}

/// Whether an origin has this authority. The origin may leave its scheme's own port away, `Host` that of either scheme: the
/// scheme is not compared, and a proxy that ends TLS may add the port that it connects to.
fn same_host(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = split_scheme(origin) else { return false };
    let port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let page = authority.strip_suffix(port).unwrap_or(authority);
    let here = host.strip_suffix(":80").or(host.strip_suffix(":443")).unwrap_or(host);
    !host.is_empty() && (is_same(authority.as_bytes(), host) || is_same(page.as_bytes(), here))
}
