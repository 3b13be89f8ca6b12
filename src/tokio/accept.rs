//! From a stream to an open connection: as a server, or after an opening handshake that was done elsewhere.

#![forbid(unsafe_code)]

use std::boxed::Box;
use std::sync::Arc;

use bytes::Bytes;
use scopeguard::ScopeGuard;
use tokio::io::{AsyncRead, AsyncWrite};

use super::io::Io;
use super::rewind::Rewind;
use super::websocket::WebSocket;
use crate::config::ServerOptions;
use crate::config::base::Config;
use crate::connection::Connection;
use crate::embedded;
use crate::handshake::Negotiate;
use crate::handshake::{Accepted, Decision, HandshakeError, Request};
use crate::host::error::Error;
use crate::host::server_options::note_protocol;
use crate::host::{Agreed, Negotiation, OFF};
use crate::role::{Role, Server};
use crate::session::{BufferSizes, Buffers};

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S, Server> {
    /// Opens a connection on a stream that a server accepted: reads the request, and accepts or refuses it by these options.
    ///
    /// A request that cannot be accepted is answered with the status for its fault. The stream can be of any type, also TLS of
    /// `tokio-rustls` or another crate. The caller sets `TCP_NODELAY`.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Handshake`] if no request came within
    /// [`Timeouts::handshake`](crate::config::Timeouts::handshake); [`Error::Rejected`] after it was refused.
    ///
    /// # Cancel safety
    /// Dropping the future drops the stream.
    pub async fn accept(stream: S, options: &ServerOptions) -> Result<Self, Error> {
        let decide = |_: &Request<'_>| Decision::Accept(options.accept_options());
        match Self::accept_with(stream, options, decide).await? {
            Accepted::WebSocket(socket) => Ok(socket),
            Accepted::Responded(_) | Accepted::HandedOver(_) => {
                Err(Error::Handshake(HandshakeError::Disconnected))
            }
        }
    }

    /// Opens a connection as [`accept`](Self::accept) does, with the answer that `decide` chooses: an upgrade, a page, a refusal,
    /// or none: [`Decision::HandOver`] returns the stream, from which an HTTP server can read the request again. For
    /// [`Decision::Respond`] it returns the status that was sent.
    ///
    /// Of `options`, the configuration and the sizes of buffers apply; subprotocols and origins, where `decide` returns
    /// [`ServerOptions::accept_options`].
    ///
    /// ```
    /// use sansocket::config::ServerOptions;
    /// use sansocket::handshake::{Accepted, Decision, Response};
    /// use sansocket::tokio::WebSocket;
    /// use tokio::net::TcpStream;
    ///
    /// async fn serve(stream: TcpStream, options: &ServerOptions) -> Result<(), sansocket::Error> {
    ///     let accepted = WebSocket::accept_with(stream, options, |request| match request.path() {
    ///         "/chat" => Decision::Accept(options.accept_options().protocols(&["chat.v2", "chat.v1"])),
    ///         "/health" => Decision::Respond(Response::text(200, "good\n")),
    ///         _ => Decision::HandOver,
    ///     });
    ///     match accepted.await? {
    ///         Accepted::WebSocket(mut socket) => socket.send("welcome").await,
    ///         Accepted::Responded(_status) => Ok(()),
    ///         Accepted::HandedOver(stream) => {
    ///             println!("{} bytes for hyper", stream.read_bytes().len());
    ///             Ok(())
    ///         }
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), sansocket::Error> {
    /// # use sansocket::tokio::connect;
    /// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    /// # let address = listener.local_addr().unwrap();
    /// # tokio::spawn(async move {
    /// #     while let Ok((stream, _)) = listener.accept().await {
    /// #         let _ = serve(stream, &ServerOptions::new()).await;
    /// #     }
    /// # });
    /// let mut client = connect(&format!("ws://{address}/chat")).await?;
    /// assert_eq!(client.recv().await?, Some("welcome".into()));
    /// let page = connect(&format!("ws://{address}/health")).await.err().unwrap();
    /// assert_eq!(page.response().map(|response| &response.body[..]), Some(&b"good\n"[..]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    ///
    /// # Cancel safety
    /// Dropping the future drops the stream.
    pub async fn accept_with<'s>(
        stream: S,
        options: &ServerOptions,
        decide: impl FnOnce(&Request<'_>) -> Decision<'s, Arc<Config>>,
    ) -> Result<Accepted<Self, Rewind<S>>, Error> {
        let config = Arc::clone(&options.config);
        let buffers = Buffers::with_sizes(options.sizes);
        let io = Io::new(stream, config.timeouts.close);
        let negotiate = options.negotiation();
        // Boxed, so that the task that uses the connection does not keep the memory of the handshake.
        let accepted = Box::pin(async {
            let mut own = None;
            let decide = note_protocol(decide, &mut own);
            let accepted = embedded::WebSocket::accept_negotiating(io, config, buffers, negotiate, decide);
            Ok(match accepted.await? {
                Accepted::WebSocket(socket) => {
                    let protocol = socket.protocol();
                    let mut socket = Self::opened(socket, protocol.or(own.as_deref()));
                    // The 101 lies in the transmit buffer, and the client waits for it.
                    socket.flush().await?;
                    Accepted::WebSocket(socket)
                }
                Accepted::Responded(status) => Accepted::Responded(status),
                Accepted::HandedOver((io, Buffers { head, .. })) => {
                    Accepted::HandedOver(Rewind::new(io.stream, Bytes::copy_from_slice(head.unread())))
                }
            })
        });
        accepted.await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> WebSocket<S, R> {
    /// Continues on a stream whose opening handshake was done elsewhere: by hyper, over HTTP/2 (RFC 8441), or by hand.
    ///
    /// `read` are the bytes that were read of the stream after the handshake. `role` is [`Server`] or a
    /// [`Client`](crate::Client), `protocol` the subprotocol that was agreed upon. Of `sizes`, the one for heads has no meaning.
    ///
    /// ```
    /// use sansocket::tokio::WebSocket;
    /// use sansocket::session::BufferSizes;
    /// use sansocket::{Config, Server};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), sansocket::Error> {
    /// let (stream, _peer) = tokio::io::duplex(1024);
    /// // A masked "Hello" (RFC 6455 §5.7) came with the request.
    /// let read = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    /// let mut socket = WebSocket::after_upgrade(stream, read, Server, None, Config::new(), BufferSizes::default());
    /// assert_eq!(socket.recv().await?, Some("Hello".into()));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn after_upgrade(
        stream: S,
        read: &[u8],
        role: R,
        protocol: Option<&str>,
        config: impl Into<Arc<Config>>,
        sizes: BufferSizes,
    ) -> Self {
        let mut nothing = OFF;
        Self::negotiated(stream, read, role, protocol, config.into(), sizes, &mut nothing)
    }

    pub(super) fn negotiated(
        stream: S,
        read: &[u8],
        role: R,
        protocol: Option<&str>,
        config: Arc<Config>,
        sizes: BufferSizes,
        negotiation: &mut Negotiation,
    ) -> Self {
        let io = Io::new(stream, config.timeouts.close);
        let connection = Connection::opened(role, negotiation.open(), config, io.time());
        let sizes = BufferSizes { head: 0, receive: sizes.receive.max(read.len()), ..sizes };
        let Buffers { mut rx, tx, .. } = Buffers::with_sizes(sizes);
        rx.feed(read);
        Self::over(io, connection, (rx, tx), protocol)
    }

    /// Takes a connection apart before anything was read or sent: returns the stream, and the bytes that were received behind the
    /// opening handshake. A hub continues with them: `socket_after` of
    /// `hub::driver::TokioSocketFactory`.
    ///
    /// Of a connection in use it drops the state: a part of a message, what is pending.
    #[must_use]
    pub fn into_stream(self) -> (S, Bytes) {
        let read = Bytes::copy_from_slice(self.incoming.rx.unread());
        (ScopeGuard::into_inner(*self.link).io.stream, read)
    }

    pub(super) fn opened(
        socket: embedded::WebSocket<'static, Io<S>, R, Arc<Config>, Agreed>,
        protocol: Option<&str>,
    ) -> Self {
        let (io, connection, Buffers { rx, tx, .. }) = socket.into_parts();
        Self::over(io, connection, (rx, tx), protocol)
    }
}
