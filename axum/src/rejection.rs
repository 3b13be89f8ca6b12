//! Why [`WebSocketUpgrade`](crate::WebSocketUpgrade) refuses a request.

use std::error::Error;
use std::fmt;

use axum_core::response::{IntoResponse, Response};
use http::{StatusCode, Version};
use sansocket::handshake::{BadRequest, Rejection};

/// Defines the rejections that axum has, and [`InvalidRequest`] for all others.
macro_rules! rejections {
    ($($(#[$doc:meta])* $name:ident: $default:expr, $version:expr;)*) => {
        /// Why [`WebSocketUpgrade`](crate::WebSocketUpgrade) refuses a request: the variants of axum's, and
        /// [`InvalidRequest`](Self::InvalidRequest) for what axum does not check.
        #[derive(Debug)]
        #[non_exhaustive]
        pub enum WebSocketUpgradeRejection {
            $(#[allow(missing_docs, reason = "documented at the type")] $name($name),)*
        }

        impl WebSocketUpgradeRejection {
            fn refused(&self) -> Refused {
                match self {
                    $(Self::$name(inner) => inner.0,)*
                }
            }
        }

        impl Error for WebSocketUpgradeRejection {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                match self {
                    $(Self::$name(inner) => Some(inner),)*
                }
            }
        }

        rejection_methods!(WebSocketUpgradeRejection);

        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub struct $name(Refused);

            impl $name {
                fn refused(&self) -> Refused {
                    self.0
                }
            }

            impl Default for $name {
                fn default() -> Self {
                    Self(Refused { reason: $default, version: $version })
                }
            }

            impl Error for $name {}

            impl From<$name> for WebSocketUpgradeRejection {
                fn from(inner: $name) -> Self {
                    Self::$name(inner)
                }
            }

            rejection_methods!($name);
        )*
    };
}

macro_rules! rejection_methods {
    ($name:ident) => {
        impl $name {
            /// Returns the body of the response.
            #[must_use]
            pub fn body_text(&self) -> String {
                self.to_string()
            }

            /// Returns the status of the response.
            #[must_use]
            pub fn status(&self) -> StatusCode {
                self.refused().response::<String>().status()
            }

            /// Returns the reason as `sansocket` names it.
            #[must_use]
            pub fn reason(&self) -> Rejection {
                self.refused().reason
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.refused().response::<String>().into_body())
            }
        }

        impl IntoResponse for $name {
            fn into_response(self) -> Response {
                self.refused().response()
            }
        }
    };
}

rejections! {
    /// 405: a request of HTTP/1 is not a GET.
    MethodNotGet: Rejection::MethodNotAllowed, Version::HTTP_11;
    /// 405: a request of HTTP/2 is not a CONNECT.
    MethodNotConnect: Rejection::MethodNotAllowed, Version::HTTP_2;
    /// 400: `Connection` does not have the token `Upgrade`.
    InvalidConnectionHeader: BadRequest::Connection.into(), Version::HTTP_11;
    /// 426: `Upgrade` does not have the token `websocket`.
    InvalidUpgradeHeader: Rejection::UpgradeRequired, Version::HTTP_11;
    /// 501: the CONNECT of HTTP/2 asks for another protocol (RFC 9220 §3).
    InvalidProtocolPseudoheader: Rejection::NotImplemented, Version::HTTP_2;
    /// 426, or over HTTP/2 400: `Sec-WebSocket-Version` is not 13. 400 if it is missing.
    InvalidWebSocketVersionHeader: Rejection::UpgradeRequired, Version::HTTP_11;
    /// 400: `Sec-WebSocket-Key` is missing, or is not 16 bytes in base64.
    WebSocketKeyHeaderMissing: BadRequest::Key.into(), Version::HTTP_11;
    /// 400 for HTTP/1.0; 501 if the HTTP server cannot upgrade this connection, or another extractor has taken the upgrade.
    ConnectionNotUpgradable: BadRequest::HttpVersion.into(), Version::HTTP_10;
    /// Any other: 403 for a page of another origin, 400 for a body, or for a field that a request may have once and that is
    /// present twice.
    InvalidRequest: Rejection::Forbidden, Version::HTTP_11;
}

/// A reason, and the version of the request: HTTP/2 has no `Upgrade`.
#[derive(Clone, Copy, Debug)]
struct Refused {
    reason: Rejection,
    version: Version,
}

impl Refused {
    fn response<B: From<&'static str>>(self) -> http::Response<B> {
        self.reason.http_response(self.version)
    }
}

impl WebSocketUpgradeRejection {
    /// Finds the variant. `request` is `None` if it could not be read.
    pub(crate) fn new(reason: Rejection, version: Version, is_upgrade: bool) -> Self {
        let refused = Refused { reason, version };
        match reason {
            Rejection::MethodNotAllowed if version > Version::HTTP_11 => MethodNotConnect(refused).into(),
            Rejection::MethodNotAllowed => MethodNotGet(refused).into(),
            Rejection::BadRequest(BadRequest::Connection) => InvalidConnectionHeader(refused).into(),
            Rejection::UpgradeRequired if !is_upgrade => InvalidUpgradeHeader(refused).into(),
            Rejection::NotImplemented if !is_upgrade => InvalidProtocolPseudoheader(refused).into(),
            Rejection::UpgradeRequired | Rejection::BadRequest(BadRequest::Version) => {
                InvalidWebSocketVersionHeader(refused).into()
            }
            Rejection::BadRequest(BadRequest::Key) => WebSocketKeyHeaderMissing(refused).into(),
            Rejection::NotImplemented | Rejection::BadRequest(BadRequest::HttpVersion) => {
                ConnectionNotUpgradable(refused).into()
            }
            _ => InvalidRequest(refused).into(),
        }
    }
}
