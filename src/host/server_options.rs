//! How a server accepts connections.

#![forbid(unsafe_code)]

use std::boxed::Box;
use std::sync::Arc;

use super::Negotiation;
use crate::config::base::Config;
#[cfg(feature = "deflate")]
use crate::deflate::Pool;
use crate::handshake::{AcceptOptions, Decision, OriginPolicy, Request};
use crate::session::BufferSizes;

/// How a server on a host accepts connections: `tokio::WebSocket::accept`, and
/// [`blocking::WebSocket::accept_with`](crate::blocking::WebSocket::accept_with).
///
/// ```
/// # #[cfg(feature = "tokio")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), sansocket::Error> {
/// use std::time::Duration;
///
/// use sansocket::Config;
/// use sansocket::config::ServerOptions;
/// use sansocket::handshake::OriginPolicy;
///
/// let options = ServerOptions::new()
///     .config(Config::new().max_message_len(64 * 1024).idle_timeout(Some(Duration::from_secs(60))))
///     .protocols(["chat.v2", "chat.v1"])
///     .origin(OriginPolicy::List(&["https://example.com"]));
///
/// # use sansocket::{config::ClientOptions, tokio::WebSocket};
/// # let offer = ClientOptions::new().protocols(["chat.v1"]);
/// # let (near, far) = tokio::io::duplex(4096);
/// # let client = WebSocket::connect(far, "ws://example.com/", &offer);
/// # let (server, client) = tokio::join!(WebSocket::accept(near, &options), client);
/// # let (server, _) = (server?, client?);
/// // The client has offered "chat.v1".
/// assert_eq!(server.protocol(), Some("chat.v1"));
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "tokio"))]
/// # fn main() {}
/// ```
#[derive(Clone, Debug)]
pub struct ServerOptions {
    pub(crate) config: Arc<Config>,
    accept: AcceptOptions<'static, Arc<Config>>,
    protocols: Arc<[Arc<str>]>,
    pub(crate) sizes: BufferSizes,
    #[cfg(feature = "deflate")]
    deflate: Option<Arc<Pool>>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ServerOptions {
    /// Creates the defaults: pages of the same host and other programs, without a subprotocol.
    #[must_use]
    pub fn new() -> Self {
        Self {
            config: Arc::new(Config::DEFAULT),
            accept: AcceptOptions::new(),
            protocols: Arc::default(),
            // What a read brings in small messages is echoed in one write.
            sizes: BufferSizes { receive: 32 * 1024, transmit: 32 * 1024, ..BufferSizes::default() },
            #[cfg(feature = "deflate")]
            deflate: None,
        }
    }

    /// Sets limits, time-outs and modes of the connections: a `Config`, or an `Arc` that is shared. Default:
    /// [`Config::DEFAULT`].
    #[must_use]
    pub fn config(mut self, config: impl Into<Arc<Config>>) -> Self {
        self.config = config.into();
        self
    }

    /// Sets the supported subprotocols, the best first: the first that the client offers too is agreed upon. The names may be known at run
    /// time only. Default: none.
    #[must_use]
    pub fn protocols<N: Into<Arc<str>>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.protocols = names.into_iter().map(Into::into).collect();
        self
    }

    /// Refuses a request with 400 if no subprotocol is agreed upon.
    #[must_use]
    pub fn require_protocol(mut self) -> Self {
        self.accept = self.accept.require_protocol();
        self
    }

    /// Sets which pages may open a connection. Default: [`OriginPolicy::SameHost`].
    #[must_use]
    pub fn origin(mut self, policy: OriginPolicy<'static>) -> Self {
        self.accept = self.accept.origin(policy);
        self
    }

    /// Sets the memory for the request and the response, in bytes. [`Limits::head`](crate::config::Limits::head) is a limit of
    /// its own. Default: 8 KiB.
    #[must_use]
    pub fn head_buffer(mut self, bytes: usize) -> Self {
        self.sizes.head = bytes;
        self
    }

    /// Sets the size of the receive buffer in bytes: a larger frame arrives in chunks. An idle connection has none. At least
    /// [`MIN_BUFFER_LEN`](crate::proto::MIN_BUFFER_LEN) are taken. Default: 32 KiB.
    #[must_use]
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.sizes.receive = bytes;
        self
    }

    /// Sets the size of the transmit buffer in bytes: a larger message leaves in pieces. An idle connection has none. At least
    /// [`MIN_BUFFER_LEN`](crate::proto::MIN_BUFFER_LEN) are taken. Default: 32 KiB.
    #[must_use]
    pub fn transmit_buffer(mut self, bytes: usize) -> Self {
        self.sizes.transmit = bytes;
        self
    }

    /// Compresses messages with the clients that offer permessage-deflate (RFC 7692). The connections of these options, and of
    /// their clones, share the codecs of `pool`. Default: no compression.
    ///
    /// Compression shows the length of what a message repeats: send a secret beside text of another party by
    /// `Writer::fragment`, which does not compress.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn deflate(mut self, pool: impl Into<Arc<Pool>>) -> Self {
        self.deflate = Some(pool.into());
        self
    }

    /// Returns whether messages may be compressed.
    #[cfg(feature = "deflate")]
    pub(crate) const fn is_deflating(&self) -> bool {
        self.deflate.is_some()
    }

    /// Returns what negotiates the extension of one connection.
    pub(crate) fn negotiation(&self) -> Negotiation {
        #[cfg(feature = "deflate")]
        return self
            .deflate
            .as_ref()
            .map_or(Negotiation::UNDECIDED, |pool| Negotiation::server(Arc::clone(pool)));
        #[cfg(not(feature = "deflate"))]
        super::OFF
    }

    /// Returns the configuration, to change parts of it. If it is shared, this makes a copy first.
    pub fn config_mut(&mut self) -> &mut Config {
        Arc::make_mut(&mut self.config)
    }

    /// Returns the configuration, which every connection of these options shares.
    #[must_use]
    pub const fn shared_config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Returns the sizes of the buffers.
    #[must_use]
    pub const fn buffer_sizes(&self) -> BufferSizes {
        self.sizes
    }

    /// Returns the options for one request, for a decision of your own:
    /// [`blocking::WebSocket::accept_with`](crate::blocking::WebSocket::accept_with).
    #[must_use]
    pub fn accept_options(&self) -> AcceptOptions<'_, Arc<Config>> {
        let accept: AcceptOptions<'_, _> = self.accept.clone();
        AcceptOptions { names: &self.protocols, ..accept }
    }
}

/// Makes a decision as `decide` does, and notes the subprotocol, of which the handshake knows only static names.
pub(crate) fn note_protocol<'s>(
    decide: impl FnOnce(&Request<'_>) -> Decision<'s, Arc<Config>>,
    protocol: &mut Option<Box<str>>,
) -> impl FnOnce(&Request<'_>) -> Decision<'s, Arc<Config>> {
    move |request| {
        let decision = decide(request);
        if let Decision::Accept(options) = &decision {
            *protocol = options.own_protocol(request).map(Into::into);
        }
        decision
    }
}
