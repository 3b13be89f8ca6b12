//! Checks the origin of the page that opens a connection (RFC 6455 §10.2).

#![forbid(unsafe_code)]

use super::head::{is_same, split_scheme};
use super::request::Request;

/// Selects the pages that may open a connection, by their `Origin`. A request without an `Origin` does not come from
/// a browser, and is allowed: such a client could claim any origin.
///
/// Compare origins that are known only at run time where the request is answered:
///
/// ```
/// use sansocket::handshake::{AcceptOptions, Decision, OriginPolicy, Rejection, Request};
///
/// fn answer(known: &[String], request: &Request<'_>) -> Decision<'static> {
///     match request.origin() {
///         Some(origin) if !known.iter().any(|known| known == origin) => Decision::Reject(Rejection::Forbidden),
///         _ => Decision::Accept(AcceptOptions { origin: OriginPolicy::Any, ..AcceptOptions::default() }),
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub enum OriginPolicy<'s> {
    /// Allows pages from the server's host and port: the origin's authority must be the request's `Host`. The
    /// default, as anything wider lets any page that the user visits talk to the server in the user's name.
    ///
    /// A page whose name is made to resolve to this server (DNS rebinding) still passes: where that matters, name the
    /// origins in a [`List`](Self::List). The scheme is not compared, as TLS may end before this server: ports 80 and
    /// 443 in `Host` count as none. Make a proxy pass `Host` on, or name the origins.
    #[default]
    SameHost,
    /// Allows pages from these origins, written as browsers do: `https://example.com:8443`.
    List(&'s [&'s str]),
    /// Allows pages from each origin for which the function returns true.
    Check(fn(&str) -> bool),
    /// Allows every page.
    Any,
}

impl OriginPolicy<'_> {
    /// Returns whether the page that sends this request is allowed.
    #[must_use]
    pub fn allows(&self, request: &Request<'_>) -> bool {
        let Some(value) = request.headers().get("Origin") else { return true };
        let Ok(origin) = core::str::from_utf8(value) else { return matches!(self, Self::Any) };
        match self {
            Self::Any => true,
            Self::Check(approves) => approves(origin),
            Self::List(list) => list.iter().any(|known| is_same(known.as_bytes(), origin)),
            Self::SameHost => same_host(origin, request.header("Host").unwrap_or_default()),
        }
    }
}

/// Returns whether an origin has this authority. The origin may omit its scheme's own port, and `Host` that of either
/// scheme: the scheme is not compared, and a proxy that ends TLS may add the port that it connects to.
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
