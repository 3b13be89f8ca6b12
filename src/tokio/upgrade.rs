//! Connections that hyper upgrades.

#![forbid(unsafe_code)]

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::boxed::Box;
use std::io;
use std::string::String;
use std::sync::Arc;

use http::header::SEC_WEBSOCKET_PROTOCOL;
#[cfg(feature = "deflate")]
use http::header::{HeaderValue, SEC_WEBSOCKET_EXTENSIONS};
use hyper::ext::Protocol;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::time::{Sleep, sleep};

use super::tracker::{Member, Tracker};
use super::websocket::WebSocket;
use crate::config::ServerOptions;
use crate::config::base::Config;
use crate::handshake::{AcceptOptions, HandshakeError, Rejection, Request};
#[cfg(feature = "deflate")]
use crate::handshake::{ExtensionList, ExtensionText, Negotiate};
use crate::host::Negotiation;
use crate::host::error::Error;
use crate::role::Server;
use crate::session::BufferSizes;

/// Accepts or refuses a request that hyper has received: returns the response, and the connection as a future.
///
/// Works over HTTP/1, and over HTTP/2 where the server allows the extended CONNECT: `http2::Builder::enable_connect_protocol`.
/// Serve HTTP/1 `with_upgrades`. The body of the response is empty. The options' size of a buffer for heads has no meaning.
///
/// ```
/// use std::convert::Infallible;
///
/// use http_body_util::Full;
/// use hyper::body::{Bytes, Incoming};
/// use hyper::{Request, Response};
/// use hyper_util::rt::TokioIo;
/// use sansocket::config::ServerOptions;
/// use sansocket::tokio::upgrade;
///
/// async fn echo(mut request: Request<Incoming>, options: ServerOptions) -> Result<Response<Full<Bytes>>, Infallible> {
///     let (response, connection) = match upgrade(&mut request, &options) {
///         Ok(accepted) => accepted,
///         Err(rejection) => return Ok(rejection.http_response(request.version())),
///     };
///     tokio::spawn(async move {
///         let mut socket = connection.await?;
///         while let Some(message) = socket.recv().await? {
///             socket.feed(message).await?; // `recv` writes it
///         }
///         Ok::<_, sansocket::Error>(())
///     });
///     Ok(response)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), sansocket::Error> {
/// # use sansocket::{config::ClientOptions, tokio::WebSocket};
/// let (near, far) = tokio::io::duplex(4096);
/// let options = ServerOptions::new();
/// let service = hyper::service::service_fn(move |request| echo(request, options.clone()));
/// tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(near), service).with_upgrades());
///
/// let mut client = WebSocket::connect(far, "ws://example.com/", &ClientOptions::new()).await?;
/// client.send("hello").await?;
/// assert_eq!(client.recv().await?, Some("hello".into()));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The [`Rejection`], whose [`http_response`](Rejection::http_response) is to be returned.
pub fn upgrade<B, C: Default>(
    request: &mut http::Request<B>,
    options: &ServerOptions,
) -> Result<(http::Response<C>, Upgrade), Rejection> {
    upgrade_with(request, options, &options.accept_options())
}

/// Accepts or refuses a request as [`upgrade`] does, with options for this request.
///
/// Of `options`, the configuration, the sizes of buffers and compression apply; subprotocols and origins are those of `accept`.
///
/// # Errors
/// As [`upgrade`].
pub fn upgrade_with<B, C: Default>(
    request: &mut http::Request<B>,
    options: &ServerOptions,
    accept: &AcceptOptions<'_, Arc<Config>>,
) -> Result<(http::Response<C>, Upgrade), Rejection> {
    let config = accept.config.as_ref().unwrap_or(options.shared_config());
    let protocol = request.extensions().get::<Protocol>().map(Protocol::as_str);
    let checked = Request::from_http(request, protocol, config)?;
    #[cfg_attr(not(feature = "deflate"), expect(unused_mut, reason = "nothing is negotiated"))]
    let mut response = accept.http_response(&checked, config)?;
    if request.extensions().get::<OnUpgrade>().is_none() {
        return Err(Rejection::NotImplemented);
    }
    #[cfg_attr(not(feature = "deflate"), expect(unused_mut, reason = "nothing is negotiated"))]
    let mut negotiation = options.negotiation();
    // Made after every check that can refuse the request, because it may reserve memory.
    #[cfg(feature = "deflate")]
    if !accept.decline_extensions {
        if let Some(pool) = &accept.deflate {
            negotiation.choose_pool(pool);
        }
        let mut answer = ExtensionText::EMPTY;
        negotiation.accept(ExtensionList::new(checked.headers()), &mut answer);
        if let Some(answer) = answer.as_str().filter(|answer| !answer.is_empty()) {
            let answer = HeaderValue::from_str(answer).map_err(|_| Rejection::Internal)?;
            response.headers_mut().insert(SEC_WEBSOCKET_EXTENSIONS, answer);
        }
    }
    let on = request.extensions_mut().remove::<OnUpgrade>().ok_or(Rejection::NotImplemented)?;
    let protocol = response.headers().get(SEC_WEBSOCKET_PROTOCOL);
    let upgrade = Upgrade {
        on,
        negotiation,
        protocol: protocol.and_then(|protocol| protocol.to_str().ok()).map(Into::into),
        config: Arc::clone(config),
        sizes: options.buffer_sizes(),
        timer: config.timeouts.handshake.map(|timeout| Box::pin(sleep(timeout))),
        member: None,
    };
    Ok((response, upgrade))
}

/// The future of a connection that hyper upgrades: ready when hyper has sent the response. [`upgrade`] returns it.
///
/// # Errors
/// [`Error::Transport`] if the response was not sent; [`Error::Handshake`] if that takes longer than
/// [`Timeouts::handshake`](crate::config::Timeouts::handshake).
///
/// # Cancel safety
/// Dropping the future drops the connection.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Upgrade {
    on: OnUpgrade,
    negotiation: Negotiation,
    protocol: Option<String>,
    config: Arc<Config>,
    sizes: BufferSizes,
    timer: Option<Pin<Box<Sleep>>>,
    member: Option<Box<Member>>,
}

impl Upgrade {
    /// Counts the connection in a [`Tracker`], as [`WebSocket::track`] does, but from now on: a server that stops between the response
    /// and the upgrade waits for the connection and closes it.
    pub fn track(&mut self, tracker: &Tracker) {
        self.member = Some(Box::new(tracker.join()));
    }
}

impl Future for Upgrade {
    type Output = Result<WebSocket<TokioIo<Upgraded>, Server>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Poll::Ready(upgraded) = Pin::new(&mut self.on).poll(cx) else {
            let Some(timer) = &mut self.timer else { return Poll::Pending };
            ready!(timer.as_mut().poll(cx));
            return Poll::Ready(Err(Error::Handshake(HandshakeError::Timeout)));
        };
        Poll::Ready(match upgraded {
            Ok(upgraded) => {
                let Self { negotiation, protocol, config, sizes, member, .. } = &mut *self;
                let (io, config) = (TokioIo::new(upgraded), Arc::clone(config));
                let mut socket =
                    WebSocket::negotiated(io, &[], Server, protocol.as_deref(), config, *sizes, negotiation);
                socket.link.member = member.take();
                Ok(socket)
            }
            Err(error) => Err(Error::Transport(io::Error::other(error))),
        })
    }
}
