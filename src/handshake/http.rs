//! Requests and responses of the crate `http`: the opening handshake for hyper and what builds on it, over HTTP/1 and HTTP/2.

#![forbid(unsafe_code)]

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::decision::AcceptOptions;
use super::head::{Headers, is_same};
use super::key::accept_key;
use super::rejection::Rejection;
use super::request::{Noted, Request, Version};
use super::response::{OURS, Response};
use crate::config::base::Config;

impl<'h> Request<'h> {
    /// Reads a request that an HTTP server has parsed. `protocol` is the pseudo-header `:protocol` of an extended CONNECT
    /// (RFC 8441), which only HTTP/2 and HTTP/3 have.
    ///
    /// ```
    /// use sansocket::Config;
    /// use sansocket::handshake::{AcceptOptions, OriginPolicy, Rejection, Request};
    ///
    /// # fn main() -> Result<(), Rejection> {
    /// let request = http::Request::connect("https://example.com/chat")
    ///     .version(http::Version::HTTP_2)
    ///     .header("origin", "https://example.com")
    ///     .header("sec-websocket-version", "13")
    ///     .body(())
    ///     .map_err(|_| Rejection::Internal)?;
    /// let request = Request::from_http(&request, Some("websocket"), &Config::DEFAULT)?;
    /// assert!(request.is_upgrade() && OriginPolicy::SameHost.allows(&request));
    ///
    /// let options: AcceptOptions<'_> = AcceptOptions::new();
    /// let response: http::Response<()> = options.http_response(&request, &Config::DEFAULT)?;
    /// assert_eq!(response.status(), 200);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The [`Rejection`] to respond with, as [`parse`](Self::parse).
    pub fn from_http<B>(
        request: &'h http::Request<B>,
        protocol: Option<&str>,
        config: &Config,
    ) -> Result<Self, Rejection> {
        let fields = request.headers();
        if fields.len() > config.limits.headers {
            return Err(Rejection::TooManyFields);
        }
        let version = match request.version() {
            http::Version::HTTP_09 | http::Version::HTTP_10 => Version::Http10,
            http::Version::HTTP_11 => Version::Http11,
            _ => Version::Http2,
        };
        let uri = request.uri();
        let mut noted = Noted::default();
        // RFC 9113 §8.3.1: ":authority" stands in for `Host`, and a `Host` beside it has to be the same.
        let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
        let authority = authority.filter(|_| version == Version::Http2);
        if let Some(authority) = authority {
            noted.note(b"Host", authority);
        }
        for (name, value) in fields {
            let value = value.as_bytes();
            if name != header::HOST || authority != Some(value) {
                noted.note(name.as_str().as_bytes(), value);
            }
        }
        if version == Version::Http2 {
            noted.upgrade = protocol == Some("websocket");
        }
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        Self::new(request.method().as_str(), target, version, Headers::from(fields), noted)
    }
}

impl<C> AcceptOptions<'_, C> {
    /// Accepts an upgrade as a server does after [`Decision::Accept`](super::Decision::Accept), and returns the response to it,
    /// with an empty body: 101, or over HTTP/2 200. The subprotocol that was agreed upon is in `Sec-WebSocket-Protocol`.
    ///
    /// `config` is that of the connection, for [`Config::allow_malformed_key`].
    ///
    /// # Errors
    /// The [`Rejection`] to respond with: the request is not a correct upgrade, or these options refuse it.
    pub fn http_response<B: Default>(
        &self,
        request: &Request<'_>,
        config: &Config,
    ) -> Result<http::Response<B>, Rejection> {
        let agreed = self.agree(request, config)?;
        let mut response = http::Response::new(B::default());
        let mut fields = HeaderMap::new();
        for (name, value) in self.headers {
            if OURS.iter().any(|known| is_same(name.as_bytes(), known)) {
                return Err(Rejection::Internal);
            }
            add(&mut fields, name, value.as_bytes())?;
        }
        if let Some(protocol) = agreed.protocol {
            add(&mut fields, "sec-websocket-protocol", protocol.as_bytes())?;
        }
        if let Some(key) = agreed.key {
            fields.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            fields.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            add(&mut fields, "sec-websocket-accept", &accept_key(key))?;
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        }
        *response.headers_mut() = fields;
        Ok(response)
    }
}

impl Rejection {
    /// Returns the response, for an HTTP server that is not this library: status, fields, and the [text](Self::text) as the body.
    /// `version` is that of the request: HTTP/2 has no `Upgrade`, so that 426 becomes 400.
    ///
    /// ```
    /// use sansocket::handshake::Rejection;
    ///
    /// let response: http::Response<String> = Rejection::Forbidden.http_response(http::Version::HTTP_11);
    /// assert_eq!((response.status().as_u16(), &**response.body()), (403, "the origin is not allowed"));
    /// ```
    #[must_use]
    pub fn http_response<B: From<&'static str>>(self, version: http::Version) -> http::Response<B> {
        let streams = version > http::Version::HTTP_11;
        let (status, text) = match self {
            Self::MethodNotAllowed if streams => (405, "the method is not CONNECT"),
            Self::UpgradeRequired if streams => (400, "the version of the WebSocket is not 13"),
            _ => (self.status(), self.text()),
        };
        let mut response = http::Response::new(B::from(text));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
        let fields = response.headers_mut();
        for (name, value) in Response::from(self).fields() {
            let _ = match name {
                "Upgrade" if streams => Ok(()),
                "Allow" if streams => add(fields, name, b"CONNECT"),
                _ => add(fields, name, value.as_bytes()),
            };
        }
        if fields.contains_key(header::UPGRADE) {
            // RFC 9110 §7.8: "A sender of Upgrade MUST also send an "Upgrade" connection option".
            fields.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        }
        response
    }
}

fn add(fields: &mut HeaderMap, name: &str, value: &[u8]) -> Result<(), Rejection> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Rejection::Internal)?;
    fields.append(name, HeaderValue::from_bytes(value).map_err(|_| Rejection::Internal)?);
    Ok(())
}
