//! How a client connects.

#![forbid(unsafe_code)]

use core::fmt;
use core::time::Duration;
use std::string::String;
use std::sync::Arc;
use std::vec::Vec;

use super::{Negotiation, OFF};
use crate::config::base::Config;
#[cfg(feature = "deflate")]
use crate::deflate::DeflateOptions;
use crate::session::{BufferSizes, Buffers};

/// How a client on a host connects: [`blocking::connect_with`](crate::blocking::connect_with). A clone shares what it loaded for TLS.
///
/// ```no_run
/// use std::time::Duration;
///
/// use sansocket::blocking::connect_with;
/// use sansocket::config::ClientOptions;
///
/// # fn main() -> Result<(), sansocket::Error> {
/// let options = ClientOptions::new()
///     .protocols(["chat.v2", "chat.v1"])
///     .header("Authorization", "Bearer 0123456789")
///     .connect_timeout(Duration::from_secs(5))
///     .follow_redirects(3);
/// let socket = connect_with("wss://example.org/chat", &options)?;
/// assert!(socket.protocol().is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ClientOptions {
    pub(crate) config: Arc<Config>,
    pub(crate) protocols: Vec<String>,
    pub(crate) origin: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) redirects: u32,
    pub(crate) resolve_timeout: Option<Duration>,
    pub(crate) connect_timeout: Option<Duration>,
    #[cfg(feature = "rustls-no-provider")]
    pub(crate) tls_timeout: Option<Duration>,
    pub(crate) response_buffer: usize,
    pub(crate) receive_buffer: usize,
    pub(crate) transmit_buffer: usize,
    #[cfg(feature = "deflate")]
    deflate: Option<DeflateOptions>,
    #[cfg(feature = "rustls-no-provider")]
    pub(crate) trust: super::trust::Trust,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ClientOptions {
    /// The defaults, which [`blocking::connect`](crate::blocking::connect) has.
    #[must_use]
    pub fn new() -> Self {
        Self {
            config: Arc::new(Config::DEFAULT),
            protocols: Vec::new(),
            origin: None,
            headers: Vec::new(),
            redirects: 0,
            resolve_timeout: Some(Duration::from_secs(10)),
            connect_timeout: Some(Duration::from_secs(10)),
            #[cfg(feature = "rustls-no-provider")]
            tls_timeout: Some(Duration::from_secs(10)),
            response_buffer: 8 * 1024,
            receive_buffer: 16 * 1024,
            transmit_buffer: 16 * 1024,
            #[cfg(feature = "deflate")]
            deflate: None,
            #[cfg(feature = "rustls-no-provider")]
            trust: super::trust::Trust::default(),
        }
    }

    pub(crate) fn buffers(&self) -> Buffers<'static> {
        Buffers::with_sizes(BufferSizes {
            head: self.response_buffer,
            receive: self.receive_buffer,
            transmit: self.transmit_buffer,
        })
    }

    /// Returns what negotiates the extension of one connection.
    pub(crate) const fn negotiation(&self) -> Negotiation {
        #[cfg(feature = "deflate")]
        return match self.deflate {
            Some(options) => Negotiation::client(options),
            None => OFF,
        };
        #[cfg(not(feature = "deflate"))]
        OFF
    }

    /// Offers permessage-deflate (RFC 7692): messages are compressed if the server agrees. The connection has codecs of its own,
    /// so that a context costs no more. Default: no compression.
    ///
    /// Compression shows the length of what a message repeats: send a secret beside text of another party by
    /// `Writer::fragment`, which does not compress.
    ///
    /// ```
    /// use sansocket::config::{ClientOptions, ServerOptions};
    /// use sansocket::deflate::{DeflateOptions, Pool};
    /// # use sansocket::blocking::{self, WebSocket};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = ServerOptions::new().deflate(Pool::new(DeflateOptions::new()).ok_or("no memory")?);
    /// let client = ClientOptions::new().deflate(DeflateOptions::new().context(true));
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let url = format!("ws://{}/", listener.local_addr()?);
    /// # let thread = std::thread::spawn(move || {
    /// #     let stream = listener.accept().unwrap().0;
    /// #     let accepted = WebSocket::accept_with(stream, &server, |_| server.accept_options().into()).unwrap();
    /// #     let sansocket::handshake::Accepted::WebSocket(mut socket) = accepted else { panic!() };
    /// #     let message = socket.recv().unwrap().unwrap();
    /// #     socket.send(&message).unwrap();
    /// #     assert!(socket.is_compressed());
    /// #     socket.close(None, "");
    /// # });
    ///
    /// let mut socket = blocking::connect_with(&url, &client)?;
    /// assert!(socket.is_compressed()); // both sides have agreed
    /// socket.send("again and again and again")?;
    /// assert_eq!(socket.recv()?, Some("again and again and again".into()));
    /// # thread.join().unwrap();
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "deflate")]
    #[must_use]
    pub const fn deflate(mut self, options: DeflateOptions) -> Self {
        self.deflate = Some(options);
        self
    }

    /// Limits, time-outs and modes of the connection: a `Config`, or an `Arc` that is shared. Its
    /// [`timeouts.handshake`](crate::config::Timeouts::handshake) counts from the end of the TLS handshake on. Default:
    /// [`Config::DEFAULT`].
    #[must_use]
    pub fn config(mut self, config: impl Into<Arc<Config>>) -> Self {
        self.config = config.into();
        self
    }

    /// The subprotocols on offer, the best first (`Sec-WebSocket-Protocol`). Default: none. A server may accept without one:
    /// `WebSocket::protocol` returns what it has selected.
    #[must_use]
    pub fn protocols(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.protocols = names.into_iter().map(Into::into).collect();
        self
    }

    /// The `Origin`, as a browser would send it. Default: none.
    #[must_use]
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.origin = Some(origin.into());
        self
    }

    /// Another field of the request, as `Authorization`, `Cookie` or `User-Agent`; not one of the opening handshake
    /// itself. An `Authorization` goes before user and password of the URL.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// How many redirects are followed: status 301, 302, 303, 307 and 308 with a `Location`, which may be relative, and
    /// `http` and `https` in it stand for `ws` and `wss`. Default: 0, and the response is
    /// [`Error::Refused`](crate::Error::Refused).
    ///
    /// Fields that were given by [`header`](Self::header), and user and password of the URL, go to no other origin (scheme,
    /// host and port) than the URL's; once a redirect has left it, they go nowhere any more. User and password in a
    /// `Location` are ignored. A redirect from `wss` to `ws` is an error.
    #[must_use]
    pub fn follow_redirects(mut self, at_most: u32) -> Self {
        self.redirects = at_most;
        self
    }

    /// How long the look-up of the host's addresses may take; `None` for as long as the system's resolver takes.
    /// Default: 10 s.
    ///
    /// No system lets a look-up be cancelled, so it runs in a thread of its own. After the time-out that thread stays until
    /// the resolver gives up, and its result is dropped. At most 16 of them exist in a process; further look-ups
    /// wait for one to end, within their time-out. With `None` the caller's thread looks up.
    #[must_use]
    pub fn resolve_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.resolve_timeout = timeout.into();
        self
    }

    /// How long the TCP connection may take, over all addresses of the host; `None` for as long as the system tries.
    /// Default: 10 s.
    ///
    /// The addresses are tried one after the other, in the order of the system's resolver, and the first that takes the
    /// connection is used. Each gets an equal share of the time that is left, but at least 2 s of it.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.connect_timeout = timeout.into();
        self
    }

    /// How long the TLS handshake may take; `None` for ever. Default: 10 s.
    #[cfg(feature = "rustls-no-provider")]
    #[must_use]
    pub fn tls_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.tls_timeout = timeout.into();
        self
    }

    /// The authorities that vouch for servers. Default: those of the operating system.
    ///
    /// ```no_run
    /// use rustls::RootCertStore; // rustls 0.23
    /// use rustls::pki_types::CertificateDer;
    /// use rustls::pki_types::pem::PemObject;
    /// use sansocket::config::ClientOptions;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut roots = RootCertStore::empty();
    /// for certificate in CertificateDer::pem_file_iter("authority.pem")? {
    ///     roots.add(certificate?)?;
    /// }
    /// let options = ClientOptions::new().tls_roots(roots);
    /// # drop(options);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "rustls-no-provider")]
    #[must_use]
    pub fn tls_roots(mut self, roots: impl Into<std::sync::Arc<rustls::RootCertStore>>) -> Self {
        self.trust = super::trust::Trust::Roots(roots.into());
        self
    }

    /// All of TLS: authorities, cryptography, versions, a client's certificate. Replaces [`tls_roots`](Self::tls_roots).
    #[cfg(feature = "rustls-no-provider")]
    #[must_use]
    pub fn tls_config(mut self, config: impl Into<std::sync::Arc<rustls::ClientConfig>>) -> Self {
        self.trust = super::trust::Trust::Config(config.into());
        self
    }

    /// Bytes of memory for the request, and for the response: its head, and what is kept of a refusal's body.
    /// [`Limits::head`](crate::config::Limits::head) is a limit of its own. Default: 8 KiB.
    #[must_use]
    pub fn response_buffer(mut self, bytes: usize) -> Self {
        self.response_buffer = bytes;
        self
    }

    /// Bytes of the receive buffer; larger frames arrive in chunks. At least [`MIN_BUFFER_LEN`](crate::proto::MIN_BUFFER_LEN) are
    /// taken. Default: 16 KiB.
    #[must_use]
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.receive_buffer = bytes;
        self
    }

    /// Bytes of the transmit buffer; larger messages leave in several writes. At least
    /// [`MIN_BUFFER_LEN`](crate::proto::MIN_BUFFER_LEN) are taken. Default: 16 KiB.
    #[must_use]
    pub fn transmit_buffer(mut self, bytes: usize) -> Self {
        self.transmit_buffer = bytes;
        self
    }
}

/// Shows no value of a field: it may be a secret.
impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("ClientOptions")
            .field("protocols", &self.protocols)
            .field("origin", &self.origin)
            .field("headers", &names)
            .field("redirects", &self.redirects)
            .field("resolve_timeout", &self.resolve_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}
