//! The request with which a client asks for a WebSocket (RFC 6455 §4.1).

#![forbid(unsafe_code)]

use core::fmt;

#[cfg(feature = "extension")]
use super::extensions::ExtensionText;
use super::head::is_token;
use super::head_writer::{HeadError, Writer};
use super::url::{UrlError, WsUrl};

/// A client's request for a WebSocket. `Debug` hides user and password of the URL and the values of header fields.
///
/// ```
/// use sansocket::handshake::ClientRequest;
///
/// # fn main() -> Result<(), sansocket::handshake::UrlError> {
/// let request = ClientRequest::parse("ws://example.com/chat")?
///     .protocols(&["chat.v2", "chat.v1"])
///     .headers(&[("Authorization", "Bearer 0123456789"), ("Origin", "https://example.com")]);
/// assert_eq!(request.url().host(), "example.com");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct ClientRequest<'u> {
    url: WsUrl<'u>,
    protocols: &'u [&'u str],
    headers: &'u [(&'u str, &'u str)],
}

impl<'u> ClientRequest<'u> {
    /// Creates a request without subprotocols and further header fields.
    #[must_use]
    pub const fn new(url: WsUrl<'u>) -> Self {
        Self { url, protocols: &[], headers: &[] }
    }

    /// Creates a request for a `ws:` or `wss:` URL, as [`new`](Self::new) does.
    ///
    /// # Errors
    /// [`UrlError`]: what is wrong with the URL.
    pub fn parse(url: &'u str) -> Result<Self, UrlError> {
        Ok(Self::new(WsUrl::parse(url)?))
    }

    /// Sets the subprotocols on offer, in order of preference (`Sec-WebSocket-Protocol`). Default: none.
    #[must_use]
    pub const fn protocols(mut self, names: &'u [&'u str]) -> Self {
        self.protocols = names;
        self
    }

    /// Sets further header fields, such as `Authorization`, `Cookie` or `Origin`; not those that the opening handshake
    /// writes. Default: none.
    #[must_use]
    pub const fn headers(mut self, fields: &'u [(&'u str, &'u str)]) -> Self {
        self.headers = fields;
        self
    }

    /// Returns the URL to connect to.
    #[must_use]
    pub const fn url(&self) -> WsUrl<'u> {
        self.url
    }

    /// Returns the subprotocol on offer that has this name.
    pub(crate) fn offered(&self, name: &[u8]) -> Option<&'u str> {
        self.protocols.iter().copied().find(|offered| offered.as_bytes() == name)
    }

    /// Writes the head of the request. Returns its length.
    pub(super) fn write(
        &self,
        memory: &mut [u8],
        key: &[u8; 24],
        #[cfg(feature = "extension")] offer: &ExtensionText,
    ) -> Result<usize, HeadError> {
        let target = self.url.target();
        let mut head = Writer::new(memory);
        head.text("GET ")
            .text(if target.starts_with('/') { "" } else { "/" })
            .text(target)
            .text(" HTTP/1.1\r\n")
            .field("Host", self.url.authority())
            .text("Upgrade: websocket\r\nConnection: Upgrade\r\n")
            .field("Sec-WebSocket-Key", core::str::from_utf8(key).unwrap_or_default())
            .text("Sec-WebSocket-Version: 13\r\n");
        let mut offered = self.protocols;
        while let Some((last, others)) = offered.split_last() {
            // They are few: comparing all pairs is cheap.
            head.fail_unless(is_token(last.as_bytes()), HeadError::Protocol)
                .fail_unless(!others.contains(last), HeadError::ProtocolTwice);
            offered = others;
        }
        if let Some((first, others)) = self.protocols.split_first() {
            head.text("Sec-WebSocket-Protocol: ").text(first);
            others.iter().fold(&mut head, |head, name| head.text(", ").text(name)).text("\r\n");
        }
        #[cfg(feature = "extension")]
        offer.write(&mut head);
        const OURS: &[&str] = &[
            "Host",
            "Upgrade",
            "Connection",
            "Sec-WebSocket-Key",
            "Sec-WebSocket-Version",
            "Sec-WebSocket-Protocol",
            "Sec-WebSocket-Extensions",
            "Content-Length",
            "Transfer-Encoding",
        ];
        head.fields(self.headers, OURS).text("\r\n").finish()
    }
}

impl fmt::Debug for ClientRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut request = f.debug_struct("ClientRequest");
        request.field("url", &self.url).field("protocols", &self.protocols);
        for (name, _) in self.headers {
            request.field(name, &format_args!("..."));
        }
        request.finish()
    }
}
