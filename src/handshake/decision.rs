//! What a server makes of a request.

#![forbid(unsafe_code)]

#[cfg(feature = "deflate")]
use alloc::sync::Arc;

use super::origin::OriginPolicy;
use super::rejection::{Refusal, Rejection};
use super::request::Request;
use super::response::Response;
use crate::config::ConfigRef;
use crate::config::base::Config;
#[cfg(feature = "deflate")]
use crate::deflate::Pool;

/// A server's decision about a request.
///
/// ```
/// use sansocket::Config;
/// use sansocket::handshake::{Decision, Rejection, Request, Response};
///
/// fn decide(request: &Request<'_>) -> Decision<'static> {
///     match request.path() {
///         "/chat" => Decision::accept(),
///         "/full" => Decision::Reject(Rejection::Unavailable),
///         _ => Decision::Respond(Response::text(404, "not found\n")),
///     }
/// }
///
/// let request = Request::parse(b"GET /chat?room=1 HTTP/1.1\r\nHost: a\r\n\r\n", &Config::DEFAULT)?;
/// assert!(matches!(decide(&request), Decision::Accept(_)));
/// # Ok::<_, Rejection>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Decision<'s, C = &'static Config> {
    /// Accepts the upgrade. If the request is not a correct upgrade, the server sends the response of the matching
    /// [`Rejection`] instead.
    Accept(AcceptOptions<'s, C>),
    /// Refuses the request with the response of this rejection. Unlike for [`Respond`](Self::Respond), the reason is
    /// reported to [`Decide::refused`] and in [`Refusal::reason`].
    Reject(Rejection),
    /// Sends another response, which closes the connection: a page, a 401, a 404.
    Respond(Response<'s>),
    /// Leaves the request to the caller: its bytes stay in the head's buffer, unchanged.
    HandOver,
}

/// Formats the decision without the options: they hold a function and a configuration.
#[cfg(feature = "defmt")]
impl<C> defmt::Format for Decision<'_, C> {
    fn format(&self, f: defmt::Formatter<'_>) {
        match self {
            Self::Accept(_) => defmt::write!(f, "Accept(..)"),
            Self::Reject(rejection) => defmt::write!(f, "Reject({})", rejection),
            Self::Respond(response) => defmt::write!(f, "Respond({=u16}, ..)", response.status()),
            Self::HandOver => defmt::write!(f, "HandOver"),
        }
    }
}

/// Decides about a request, and is notified of a refusal.
pub trait Decide<C = &'static Config> {
    /// Decides about the request, when its whole head has arrived. Called at most once.
    fn decide<'s>(&'s mut self, request: &Request<'_>) -> Decision<'s, C>;

    /// Called when the server refuses the request, with the reason in [`Refusal::reason`]: the request cannot be
    /// read, came too late, or fails a check after [`decide`](Self::decide); also for [`Decision::Reject`]. Not called
    /// for [`Decision::Respond`]. Called at most once. `request` is `None` if none can be read, and for
    /// [`Rejection::Internal`].
    fn refused(&mut self, request: Option<&Request<'_>>, refusal: &Refusal) {
        let _ = (request, refusal);
    }
}

/// The options with which a server accepts an upgrade.
///
/// ```
/// use sansocket::Config;
/// use sansocket::handshake::{AcceptOptions, Decision, OriginPolicy};
///
/// static CONFIG: Config = Config::new().max_message_len(4096);
///
/// fn accept() -> Decision<'static> {
///     let options = AcceptOptions::new()
///         .protocols(&["chat.v2", "chat.v1"])
///         .require_protocol()
///         .origin(OriginPolicy::List(&["https://app.example"]))
///         .headers(&[("X-Node", "3")])
///         .config(&CONFIG);
///     Decision::Accept(options)
/// }
/// # assert!(matches!(accept(), Decision::Accept(_)));
/// ```
#[derive(Clone, Debug)]
pub struct AcceptOptions<'s, C = &'static Config> {
    pub(crate) protocols: &'static [&'static str],
    pub(crate) protocol: Option<&'s str>,
    /// Those of `ServerOptions::protocols`.
    #[cfg(feature = "std")]
    pub(crate) names: &'s [std::sync::Arc<str>],
    pub(crate) protocol_required: bool,
    pub(crate) origin: OriginPolicy<'s>,
    pub(crate) headers: &'s [(&'s str, &'s str)],
    pub(crate) config: Option<C>,
    #[cfg(feature = "extension")]
    pub(crate) decline_extensions: bool,
    #[cfg(feature = "deflate")]
    pub(crate) deflate: Option<Arc<Pool>>,
}

impl<'s, C> AcceptOptions<'s, C> {
    /// Creates the default options: no subprotocol, pages of the same host only, the configuration of the handshake.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            protocols: &[],
            protocol: None,
            #[cfg(feature = "std")]
            names: &[],
            protocol_required: false,
            origin: OriginPolicy::SameHost,
            headers: &[],
            config: None,
            #[cfg(feature = "extension")]
            decline_extensions: false,
            #[cfg(feature = "deflate")]
            deflate: None,
        }
    }

    /// Sets the supported subprotocols, in order of preference: the first that the client offers too is agreed upon.
    /// Without a common one the connection opens without a subprotocol. Default: none.
    #[must_use]
    pub const fn protocols(mut self, names: &'static [&'static str]) -> Self {
        self.protocols = names;
        #[cfg(feature = "std")]
        {
            self.names = &[];
        }
        self
    }

    /// Sets a subprotocol whose name is known only at run time: it is agreed upon if the client offers it, before those of
    /// [`protocols`](Self::protocols). A handshake only writes it into the 101: remember it where the decision is made, as the
    /// connection opens with `None` as its subprotocol. `blocking` and `tokio` remember it.
    ///
    /// ```
    /// use sansocket::Config;
    /// use sansocket::handshake::{AcceptOptions, Decision, Rejection, Request};
    ///
    /// /// Accepts with the first name of the list that the client offers.
    /// fn accept<'s>(list: &'s [String], request: &Request<'_>) -> Decision<'s> {
    ///     let offered = |name: &&String| request.protocols().any(|offer| offer == name.as_bytes());
    ///     match list.iter().find(offered) {
    ///         Some(name) => Decision::Accept(AcceptOptions::new().protocol(name)),
    ///         None => Decision::accept(),
    ///     }
    /// }
    ///
    /// # let head = b"GET / HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Protocol: chat\r\n\r\n";
    /// # let list = ["chat".to_string()];
    /// # assert!(matches!(accept(&list, &Request::parse(head, &Config::DEFAULT)?), Decision::Accept(_)));
    /// # Ok::<_, Rejection>(())
    /// ```
    #[must_use]
    pub const fn protocol(mut self, name: &'s str) -> Self {
        self.protocol = Some(name);
        self
    }

    /// Refuses the request with 400 if no subprotocol is agreed upon.
    #[must_use]
    pub const fn require_protocol(mut self) -> Self {
        self.protocol_required = true;
        self
    }

    /// Sets which pages may open a connection. Default: [`OriginPolicy::SameHost`].
    #[must_use]
    pub fn origin(mut self, policy: OriginPolicy<'s>) -> Self {
        self.origin = policy;
        self
    }

    /// Sets further header fields of the 101. A field that cannot be written makes the response 500. Default: none.
    #[must_use]
    pub const fn headers(mut self, fields: &'s [(&'s str, &'s str)]) -> Self {
        self.headers = fields;
        self
    }

    /// Declines all extensions that the client offers, so that messages are not compressed: for connections whose messages have
    /// secrets beside text of another party (RFC 7692 §8).
    #[cfg(feature = "extension")]
    #[must_use]
    pub const fn decline_extensions(mut self) -> Self {
        self.decline_extensions = true;
        self
    }

    /// Compresses the messages of the connection with the options and the codecs of `pool`, in place of those of the server
    /// (`HubSettings::deflate`, `ServerOptions::deflate`), or although the server does not compress. Routes of the
    /// hub, `tokio::WebSocket::accept`, `tokio::upgrade_with` and servers whose options have compression follow it;
    /// `blocking::WebSocket::accept` and `serve`, and `embedded`, do not.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use sansocket::Config;
    /// use sansocket::deflate::{DeflateOptions, Pool};
    /// use sansocket::handshake::AcceptOptions;
    ///
    /// let pool = Pool::new(DeflateOptions::new()).ok_or("no memory")?;
    /// // Of the same codecs, with a context and a larger window.
    /// let feed = Arc::new(pool.with_options(DeflateOptions::new().context(true).send_window_bits(15)));
    /// let options: AcceptOptions<'_, &Config> = AcceptOptions::new().deflate(feed);
    /// # drop(options);
    /// # Ok::<_, &str>(())
    /// ```
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn deflate(mut self, pool: impl Into<Arc<Pool>>) -> Self {
        self.deflate = Some(pool.into());
        self
    }

    /// Sets the configuration of the connection: its own limits, deadlines and control mode. Default: that of the
    /// handshake.
    #[must_use]
    pub fn config(mut self, config: impl Into<C>) -> Self {
        self.config = Some(config.into());
        self
    }
}

impl<C> Default for AcceptOptions<'_, C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'s, C> From<AcceptOptions<'s, C>> for Decision<'s, C> {
    fn from(options: AcceptOptions<'s, C>) -> Self {
        Self::Accept(options)
    }
}

impl<C> Decision<'_, C> {
    /// Accepts the upgrade with the default options.
    #[must_use]
    pub const fn accept() -> Self {
        Self::Accept(AcceptOptions::new())
    }
}

impl<'s> Decision<'s> {
    /// Converts the decision for a connection that holds its configuration in another way.
    pub(crate) fn with_config<C: ConfigRef>(self) -> Decision<'s, C> {
        match self {
            Self::Accept(AcceptOptions {
                protocols,
                protocol,
                #[cfg(feature = "std")]
                names,
                protocol_required,
                origin,
                headers,
                config,
                #[cfg(feature = "extension")]
                decline_extensions,
                #[cfg(feature = "deflate")]
                deflate,
            }) => {
                let config = config.map(C::from_static);
                Decision::Accept(AcceptOptions {
                    protocols,
                    protocol,
                    #[cfg(feature = "std")]
                    names,
                    protocol_required,
                    origin,
                    headers,
                    config,
                    #[cfg(feature = "extension")]
                    decline_extensions,
                    #[cfg(feature = "deflate")]
                    deflate,
                })
            }
            Self::Reject(rejection) => Decision::Reject(rejection),
            Self::Respond(response) => Decision::Respond(response),
            Self::HandOver => Decision::HandOver,
        }
    }
}
