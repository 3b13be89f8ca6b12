//! The extractor.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum_core::Error;
use axum_core::extract::FromRequestParts;
use axum_core::response::{IntoResponse, Response};
use http::HeaderValue;
use http::request::Parts;
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use sansocket::Config;
use sansocket::config::{ControlFrames, ServerOptions};
#[cfg(feature = "deflate")]
use sansocket::deflate::Pool;
use sansocket::handshake::{AcceptOptions, OriginPolicy, Rejection, Request};
use sansocket::tokio::{Tracker, Upgrade, upgrade_with};

use crate::WebSocket;
use crate::rejection::WebSocketUpgradeRejection;

/// The extractor of a WebSocket: accepts the upgrade of HTTP/1, and the extended CONNECT of HTTP/2 (RFC 8441). Route it with
/// `any`, as HTTP/2 has another method.
///
/// The methods of axum's extractor have the same signatures. By default only pages of the same host, and programs that are no
/// browsers, may connect ([`origins`](Self::origins)); messages have at most 64 MiB; a silent peer gets a Ping after 30 s, and is
/// disconnected 20 s later.
///
/// ```
/// use axum::{Router, response::Response, routing::any};
/// use sansocket_axum::{WebSocket, WebSocketUpgrade};
///
/// async fn chat(ws: WebSocketUpgrade) -> Response {
///     ws.protocols(["chat.v1"]).origins(["https://app.example"]).max_message_size(16 << 10).on_upgrade(talk)
/// }
///
/// async fn talk(mut socket: WebSocket) {
///     while let Some(Ok(message)) = socket.recv().await {
///         println!("{message:?}");
///     }
/// }
///
/// let app: Router = Router::new().route("/chat", any(chat));
/// ```
#[must_use = "the connection opens when the response of `on_upgrade` is returned"]
pub struct WebSocketUpgrade<F = DefaultOnFailedUpgrade> {
    /// The head of the request, with the upgrade among its extensions.
    request: http::Request<()>,
    requested: Vec<HeaderValue>,
    protocol: Option<HeaderValue>,
    origin: Option<OriginPolicy<'static>>,
    options: ServerOptions,
    tracker: Option<Tracker>,
    /// The limits of [`write_buffer_size`](Self::write_buffer_size) and [`max_write_buffer_size`](Self::max_write_buffer_size).
    write_buffer: Option<usize>,
    max_write_buffer: Option<usize>,
    on_failed_upgrade: F,
}

/// The options of all connections that set no others: they share one configuration. Control frames are messages, as with axum.
static DEFAULT: LazyLock<ServerOptions> =
    LazyLock::new(|| ServerOptions::new().config(Config::new().control_frames(ControlFrames::Reported)));

/// The methods of axum's extractor.
impl<F> WebSocketUpgrade<F> {
    /// Sets the size of the receive buffer in bytes. An idle connection has none. Default: 32 KiB.
    pub fn read_buffer_size(mut self, size: usize) -> Self {
        self.options = self.options.receive_buffer(size);
        self
    }

    /// Sets the size of the transmit buffer in bytes: a larger message leaves in pieces. An idle connection has none. Default:
    /// 32 KiB.
    pub fn write_buffer_size(mut self, size: usize) -> Self {
        self.write_buffer = Some(size);
        self
    }

    /// Limits the transmit buffer further, in bytes. What waits for a slow peer is never more than that buffer and the message that
    /// is being sent.
    pub fn max_write_buffer_size(mut self, max: usize) -> Self {
        self.max_write_buffer = Some(max);
        self
    }

    /// Sets the most bytes of a message. Beyond: Close 1009. Default: 64 MiB.
    pub fn max_message_size(self, max: usize) -> Self {
        self.configure(|config| config.limits.message = max as u64)
    }

    /// Sets the most bytes of a frame's payload. Beyond: Close 1009. Default: 64 MiB, where axum has 16.
    pub fn max_frame_size(self, max: usize) -> Self {
        self.configure(|config| config.limits.frame = max as u64)
    }

    /// Sets the known subprotocols, the best first: the first that the client offers too is selected.
    pub fn protocols<I>(mut self, protocols: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<Cow<'static, str>>,
    {
        let offered = |name: &str| self.requested.iter().find(|offer| offer.as_bytes() == name.as_bytes());
        self.protocol = protocols.into_iter().find_map(|name| offered(&name.into())).cloned();
        self
    }

    /// Returns the subprotocols that the client offers, in its order.
    pub fn requested_protocols(&self) -> impl Iterator<Item = &HeaderValue> {
        self.requested.iter()
    }

    /// Selects a subprotocol, instead of the one that [`protocols`](Self::protocols) selects. One that the client has not offered is
    /// not agreed upon: the response and [`WebSocket::protocol`] do not have it (RFC 6455 §4.2.2).
    pub fn set_selected_protocol(&mut self, protocol: HeaderValue) {
        self.protocol = Some(protocol);
    }

    /// Returns the selected subprotocol, if any.
    pub fn selected_protocol(&self) -> Option<&HeaderValue> {
        self.protocol.as_ref()
    }

    /// Sets what is called if the response is not sent, so that there is no connection. Default: nothing.
    pub fn on_failed_upgrade<C>(self, callback: C) -> WebSocketUpgrade<C>
    where
        C: OnFailedUpgrade,
    {
        WebSocketUpgrade {
            request: self.request,
            requested: self.requested,
            protocol: self.protocol,
            origin: self.origin,
            options: self.options,
            tracker: self.tracker,
            write_buffer: self.write_buffer,
            max_write_buffer: self.max_write_buffer,
            on_failed_upgrade: callback,
        }
    }

    /// Returns the response, and calls `callback` with the connection in a new task of tokio.
    ///
    /// A page of an origin that is not allowed gets 403, and `callback` is not called. If the task panics, the peer gets a Close
    /// with 1011.
    #[must_use = "to set up the WebSocket connection, this response must be returned"]
    pub fn on_upgrade<C, Fut>(self, callback: C) -> Response
    where
        C: FnOnce(WebSocket) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
        F: OnFailedUpgrade,
    {
        let (accepted, on_failed_upgrade) = self.accept();
        let (response, upgrading) = match accepted {
            Ok(accepted) => accepted,
            Err(rejection) => return rejection.into_response(),
        };
        tokio::spawn(async move {
            match upgrading.await {
                Ok(socket) => callback(socket).await,
                Err(error) => on_failed_upgrade.call(error),
            }
        });
        response
    }
}

/// What axum's extractor does not have.
impl<F> WebSocketUpgrade<F> {
    /// Sets the origins whose pages may connect, written as browsers do: `https://example.com:8443`. Default: pages from the host of
    /// the request. A request without `Origin` does not come from a browser, and is allowed.
    pub fn origins<I>(self, origins: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.origin_policy(OriginPolicy::from_list(origins))
    }

    /// Lets every page connect: any page that a user visits can then talk to this server in the user's name, with the user's cookies.
    pub fn any_origin(self) -> Self {
        self.origin_policy(OriginPolicy::Any)
    }

    /// Sets which pages may connect.
    pub fn origin_policy(mut self, policy: OriginPolicy<'static>) -> Self {
        self.origin = Some(policy);
        self
    }

    /// Sets the time of silence after which the peer gets a Ping, and the time after that within which it has to send something, if
    /// only the Pong. `None` switches either off. Default: 30 s and 20 s.
    pub fn keep_alive(
        self,
        ping_after: impl Into<Option<Duration>>,
        pong_within: impl Into<Option<Duration>>,
    ) -> Self {
        let (ping, pong) = (ping_after.into(), pong_within.into());
        self.configure(|config| (config.timeouts.ping, config.timeouts.pong) = (ping, pong))
    }

    /// Sets the longest time in which the peer sends nothing. Default: none.
    pub fn idle_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        let timeout = timeout.into();
        self.configure(|config| config.timeouts.idle = timeout)
    }

    /// Sets the time within which a message in progress has to end or to grow by 1 KiB. Default: 60 s.
    pub fn message_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        let timeout = timeout.into();
        self.configure(|config| config.timeouts.message = timeout)
    }

    /// Sets the longest time in which the peer takes none of the bytes that wait for it. Default: 30 s.
    pub fn write_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        let timeout = timeout.into();
        self.configure(|config| config.timeouts.write = timeout)
    }

    /// Sets the time for the closing handshake. Default: 5 s.
    pub fn close_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        let timeout = timeout.into();
        self.configure(|config| config.timeouts.close = timeout)
    }

    /// Counts the connection with others, from its response on, so that the end of a server can close all of them and wait.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use axum::{body::Body, Router, routing::any};
    /// use sansocket::CloseCode;
    /// use sansocket::tokio::Tracker;
    /// use sansocket_axum::{WebSocket, WebSocketUpgrade, test_request};
    /// # use tower::ServiceExt;
    ///
    /// async fn wait(mut socket: WebSocket) {
    ///     while socket.recv().await.is_some() {} // ends after `close_all`, too
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let tracker = Tracker::new();
    /// let tracked = tracker.clone();
    /// let handler = async move |ws: WebSocketUpgrade| ws.track(&tracked).on_upgrade(wait);
    /// let app: Router = Router::new().route("/", any(handler));
    /// # let (request, mut client) = test_request("http://example.com/").await?;
    /// # app.oneshot(request.body(Body::empty())?).await?;
    /// # assert_eq!(tracker.len(), 1);
    /// # let client = tokio::spawn(async move { while let Ok(Some(_)) = client.recv().await {} client.ending() });
    /// tracker.close_all(CloseCode::GOING_AWAY, "the server stops");
    /// assert_eq!(tracker.wait(Duration::from_secs(10)).await, 0);
    /// # assert_eq!(client.await?.unwrap().code(), 1001);
    /// # Ok(())
    /// # }
    /// ```
    pub fn track(mut self, tracker: &Tracker) -> Self {
        self.tracker = Some(tracker.clone());
        self
    }

    /// Compresses messages with the clients that offer permessage-deflate (RFC 7692). All connections of an application share the
    /// codecs of one pool; a route with other windows, levels or contexts passes one that `Pool::with_options` has made. Default: no
    /// compression.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use axum::extract::State;
    /// use axum::response::Response;
    /// use sansocket::deflate::Pool;
    /// use sansocket_axum::WebSocketUpgrade;
    ///
    /// async fn handler(ws: WebSocketUpgrade, State(pool): State<Arc<Pool>>) -> Response {
    ///     ws.deflate(pool).on_upgrade(async |mut socket| {
    ///         while let Some(Ok(message)) = socket.recv().await {
    ///             println!("{message:?}");
    ///         }
    ///     })
    /// }
    /// ```
    #[cfg(feature = "deflate")]
    pub fn deflate(mut self, pool: impl Into<Arc<Pool>>) -> Self {
        self.options = self.options.deflate(pool);
        self
    }

    /// Sets everything at once: limits, deadlines, sizes of buffers, compression, origins and subprotocols, in place of what other methods have
    /// set before. A Ping, a Pong and the Close are messages only if the configuration has
    /// [`ControlFrames::Reported`]: without this call they are.
    ///
    /// Connections whose options are clones share one configuration; the methods that change it make a copy of about 200 bytes for
    /// each connection.
    pub fn options(mut self, options: ServerOptions) -> Self {
        self.options = options;
        (self.origin, self.write_buffer, self.max_write_buffer) = (None, None, None);
        self
    }

    /// Returns the response, and the connection as a future: for an executor, a task or a span of your own.
    ///
    /// ```
    /// use axum::response::Response;
    /// use sansocket_axum::WebSocketUpgrade;
    /// use sansocket_axum::rejection::WebSocketUpgradeRejection;
    ///
    /// async fn handler(ws: WebSocketUpgrade) -> Result<Response, WebSocketUpgradeRejection> {
    ///     let (response, upgrading) = ws.into_parts()?;
    ///     tokio::spawn(async move {
    ///         let Ok(mut socket) = upgrading.await else { return };
    ///         while let Some(Ok(message)) = socket.recv().await {
    ///             println!("{message:?}");
    ///         }
    ///     });
    ///     Ok(response)
    /// }
    /// ```
    ///
    /// # Errors
    /// The page's origin is not allowed, or no subprotocol is agreed upon although [`options`](Self::options) require one.
    pub fn into_parts(self) -> Result<(Response, Upgrading), WebSocketUpgradeRejection> {
        self.accept().0
    }

    fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(self.options.config_mut());
        self
    }

    fn accept(mut self) -> (Result<(Response, Upgrading), WebSocketUpgradeRejection>, F) {
        let transmit = self.write_buffer.unwrap_or(self.options.buffer_sizes().transmit);
        let options = self.options.transmit_buffer(transmit.min(self.max_write_buffer.unwrap_or(usize::MAX)));
        let mut accept = options.accept_options();
        if let Some(policy) = self.origin {
            accept = accept.origin(policy);
        }
        if let Some(protocol) = self.protocol.as_ref().and_then(|protocol| protocol.to_str().ok()) {
            accept = accept.protocol(protocol);
        }
        let version = self.request.version();
        let tracker = self.tracker;
        let accepted = upgrade_with(&mut self.request, &options, &accept)
            .map(|(response, mut upgrade)| {
                if let Some(tracker) = tracker {
                    upgrade.track(&tracker);
                }
                (response, Upgrading { upgrade })
            })
            .map_err(|reason| WebSocketUpgradeRejection::new(reason, version, true));
        (accepted, self.on_failed_upgrade)
    }
}

impl<S> FromRequestParts<S> for WebSocketUpgrade<DefaultOnFailedUpgrade>
where
    S: Send + Sync,
{
    type Rejection = WebSocketUpgradeRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let mut request = http::Request::new(());
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = parts.uri.clone();
        *request.version_mut() = parts.version;
        *request.headers_mut() = parts.headers.clone();
        let protocol = parts.extensions.get::<Protocol>().cloned();
        let requested = check(&request, protocol.as_ref().map(Protocol::as_str))?;
        if let Some(protocol) = protocol {
            request.extensions_mut().insert(protocol);
        }
        match parts.extensions.remove::<OnUpgrade>() {
            Some(on_upgrade) => request.extensions_mut().insert(on_upgrade),
            None => {
                let reason = Rejection::NotImplemented;
                return Err(WebSocketUpgradeRejection::new(reason, parts.version, true));
            }
        };
        Ok(Self {
            request,
            requested,
            protocol: None,
            origin: None,
            options: DEFAULT.clone(),
            tracker: None,
            write_buffer: None,
            max_write_buffer: None,
            on_failed_upgrade: DefaultOnFailedUpgrade,
        })
    }
}

/// Checks a request, but not its origin and subprotocols, about which the handler decides. Returns the subprotocols on offer.
fn check(
    request: &http::Request<()>,
    protocol: Option<&str>,
) -> Result<Vec<HeaderValue>, WebSocketUpgradeRejection> {
    let (config, version) = (&Config::DEFAULT, request.version());
    let rejection = |reason, is_upgrade| WebSocketUpgradeRejection::new(reason, version, is_upgrade);
    let request = Request::from_http(request, protocol, config).map_err(|reason| rejection(reason, false))?;
    AcceptOptions::<Arc<Config>>::new()
        .origin(OriginPolicy::Any)
        .http_response::<()>(&request, config)
        .map_err(|reason| rejection(reason, request.is_upgrade()))?;
    Ok(request.protocols().filter_map(|name| HeaderValue::from_bytes(name).ok()).collect())
}

impl<F> fmt::Debug for WebSocketUpgrade<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketUpgrade")
            .field("requested", &self.requested)
            .field("protocol", &self.protocol)
            .field("origin", &self.origin)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// The future of a connection: ready when the response is sent. [`WebSocketUpgrade::into_parts`] returns it.
///
/// # Errors
/// The response was not sent, or not within [`Timeouts::handshake`](sansocket::config::Timeouts::handshake).
///
/// # Cancel safety
/// Dropping the future drops the connection.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Upgrading {
    upgrade: Upgrade,
}

impl Future for Upgrading {
    type Output = Result<WebSocket, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let upgraded = ready!(Pin::new(&mut self.upgrade).poll(cx));
        Poll::Ready(upgraded.map(WebSocket::new).map_err(Error::new))
    }
}

/// What is called if an upgrade fails: see [`WebSocketUpgrade::on_failed_upgrade`].
pub trait OnFailedUpgrade: Send + 'static {
    /// Called with the reason.
    fn call(self, error: Error);
}

impl<F> OnFailedUpgrade for F
where
    F: FnOnce(Error) + Send + 'static,
{
    fn call(self, error: Error) {
        self(error);
    }
}

/// Does nothing if an upgrade fails.
#[non_exhaustive]
#[derive(Debug)]
pub struct DefaultOnFailedUpgrade;

impl OnFailedUpgrade for DefaultOnFailedUpgrade {
    fn call(self, _: Error) {}
}
