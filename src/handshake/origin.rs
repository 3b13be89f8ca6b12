//! Checks the origin of the page that opens a connection (RFC 6455 §10.2).

#![forbid(unsafe_code)]

#[cfg(all(feature = "alloc", any(target_has_atomic = "ptr", feature = "portable-atomic")))]
use alloc::{string::String, vec::Vec};
use core::fmt;

use super::head::{is_same, split_scheme};
use super::request::Request;
#[cfg(all(feature = "alloc", any(target_has_atomic = "ptr", feature = "portable-atomic")))]
use crate::arc::{Arc, arc_dyn};

/// Selects the pages that may open a connection, by their `Origin`. A request without an `Origin` does not come from
/// a browser, and is allowed: such a client could claim any origin.
///
/// ```
/// use sansocket::Config;
/// use sansocket::handshake::{AcceptOptions, Decision, OriginPolicy, Request};
///
/// let head = b"GET /chat HTTP/1.1\r\nHost: api.example\r\nOrigin: https://app.example\r\n\r\n";
/// let request = Request::parse(head, &Config::DEFAULT).unwrap();
/// assert!(!OriginPolicy::SameHost.allows(&request));
/// assert!(OriginPolicy::List(&["https://app.example"]).allows(&request));
///
/// // A function can borrow, here the domain of a customer:
/// let domain = "app.example";
/// let check = |origin: &str| origin.strip_prefix("https://") == Some(domain);
/// assert!(OriginPolicy::Check(&check).allows(&request));
///
/// # #[cfg(feature = "alloc")]
/// # {
/// // A list that is read when the program starts. Each decision takes a clone:
/// let policy = OriginPolicy::from_list(["https://app.example"]);
/// assert!(policy.allows(&request));
/// let decision: Decision<'static> = Decision::Accept(AcceptOptions::new().origin(policy.clone()));
/// # }
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum OriginPolicy<'s> {
    /// Allows pages from the server's host and port: the origin's authority must be the request's `Host`. The
    /// default, as anything wider lets any page that the user visits talk to the server in the user's name.
    ///
    /// A page whose name is made to resolve to this server (DNS rebinding) still passes: where that matters, name the
    /// origins in a [`List`](Self::List). The scheme is not compared, as TLS may end before this server: ports 80 and
    /// 443 in `Host` count as none. Make a proxy pass `Host` on, or name the origins.
    #[default]
    SameHost,
    /// Allows pages from these origins, written as browsers do: `https://example.com:8443`. They are compared without
    /// case.
    List(&'s [&'s str]),
    /// Allows pages from each origin for which the function returns true.
    Check(&'s (dyn Fn(&str) -> bool + Sync)),
    /// Allows pages from each origin for which the shared function returns true. [`from_list`](Self::from_list) and
    /// [`from_fn`](Self::from_fn) make it.
    #[cfg(all(feature = "alloc", any(target_has_atomic = "ptr", feature = "portable-atomic")))]
    Shared(Arc<dyn Fn(&str) -> bool + Send + Sync>),
    /// Allows every page.
    Any,
}

#[cfg(all(feature = "alloc", any(target_has_atomic = "ptr", feature = "portable-atomic")))]
impl OriginPolicy<'static> {
    /// Creates a policy that owns its list of origins, for a list that is known only at run time. A clone shares it.
    pub fn from_list(origins: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let list: Vec<String> = origins.into_iter().map(Into::into).collect();
        Self::from_fn(move |origin| list.iter().any(|known| is_same(known.as_bytes(), origin)))
    }

    /// Creates a policy that owns its function. A clone shares it.
    pub fn from_fn(check: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self::Shared(arc_dyn!(check, dyn Fn(&str) -> bool + Send + Sync))
    }
}

impl OriginPolicy<'_> {
    /// Returns whether the page that sends this request is allowed.
    #[must_use]
    pub fn allows(&self, request: &Request<'_>) -> bool {
        let Some(value) = request.origin_field() else { return true };
        let Ok(origin) = core::str::from_utf8(value) else { return matches!(self, Self::Any) };
        match self {
            Self::Any => true,
            Self::Check(approves) => approves(origin),
            #[cfg(all(feature = "alloc", any(target_has_atomic = "ptr", feature = "portable-atomic")))]
            Self::Shared(approves) => approves(origin),
            Self::List(list) => list.iter().any(|known| is_same(known.as_bytes(), origin)),
            Self::SameHost => same_host(origin, request.host()),
        }
    }
}

impl fmt::Debug for OriginPolicy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SameHost => f.write_str("SameHost"),
            Self::List(list) => f.debug_tuple("List").field(list).finish(),
            Self::Check(_) => f.write_str("Check(..)"),
            #[cfg(all(feature = "alloc", any(target_has_atomic = "ptr", feature = "portable-atomic")))]
            Self::Shared(_) => f.write_str("Shared(..)"),
            Self::Any => f.write_str("Any"),
        }
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for OriginPolicy<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        match self {
            Self::SameHost => defmt::write!(f, "SameHost"),
            Self::List(list) => defmt::write!(f, "List({})", list),
            Self::Check(_) => defmt::write!(f, "Check(..)"),
            #[cfg(all(feature = "alloc", any(target_has_atomic = "ptr", feature = "portable-atomic")))]
            Self::Shared(_) => defmt::write!(f, "Shared(..)"),
            Self::Any => defmt::write!(f, "Any"),
        }
    }
}

/// Returns whether an origin has this authority. The origin may omit its scheme's own port, and `Host` that of either
/// scheme: the scheme is not compared, and a proxy that ends TLS may add the port that it connects to.
fn same_host(origin: &str, host: &[u8]) -> bool {
    let Some((scheme, authority)) = split_scheme(origin) else { return false };
    let port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let page = authority.strip_suffix(port).unwrap_or(authority);
    let here = host.strip_suffix(b":80").or(host.strip_suffix(b":443")).unwrap_or(host);
    !host.is_empty() && (is_same(host, authority) || is_same(here, page))
}
