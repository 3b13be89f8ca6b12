//! The opening handshake of a connection over a transport, in both roles.

#![forbid(unsafe_code)]

use core::future::Future;

use super::error::Error;
use super::websocket::WebSocket;
use super::writer::Writer;
use super::{Time, Transport, take_turn};
use crate::config::ConfigRef;
use crate::connection::Connection;
use crate::extension::{Extension, NoExtension};
use crate::handshake::{
    Accepted, ClientHandshake, ClientHandshakeEnd, ClientRequest, Decision, HandshakeError, Negotiate, Once,
    RefusedResponse, Request, ServerHandshake, ServerHandshakeEnd,
};
use crate::log::{Quoted, log_debug};
use crate::role::{Client, MaskingKey, Server};
use crate::session::Buffers;
use crate::step::Step;

impl<'b, T: Transport, C: ConfigRef> WebSocket<'b, T, Server, C> {
    /// Accepts a connection: reads the request, calls `decide` for the response, and writes that. For [`Decision::HandOver`]
    /// it returns the transport and the buffers, with the request and the bytes after it in [`Buffers::head`]; for
    /// [`Decision::Respond`], the status that was sent.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Rejected`] after a request that cannot be accepted was refused; [`Error::Handshake`] if the
    /// handshake ended without a response.
    ///
    /// Cancel safety: dropping the future drops the transport.
    pub async fn accept<'s>(
        transport: T,
        config: C,
        buffers: Buffers<'b>,
        decide: impl FnOnce(&Request<'_>) -> Decision<'s, C>,
    ) -> Result<Accepted<Self, (T, Buffers<'b>)>, Error<T::Error>> {
        Self::accept_negotiating(transport, config, buffers, NoExtension, decide).await
    }
}

impl<'b, T: Transport, C: ConfigRef, X: Extension> WebSocket<'b, T, Server, C, X> {
    /// Accepts a connection as [`accept`](WebSocket::accept) does, and negotiates an extension.
    ///
    /// # Errors
    /// Those of [`accept`](WebSocket::accept).
    ///
    /// Cancel safety: dropping the future drops the transport.
    pub async fn accept_negotiating<'s>(
        mut transport: T,
        config: C,
        buffers: Buffers<'b>,
        mut negotiate: impl Negotiate<Extension = X>,
        decide: impl FnOnce(&Request<'_>) -> Decision<'s, C>,
    ) -> Result<Accepted<Self, (T, Buffers<'b>)>, Error<T::Error>> {
        let Buffers { mut head, mut rx, mut tx } = buffers;
        let mut time = Time::new(&mut transport);
        let mut handshake = ServerHandshake::new(config, time.now);
        let decide = |request: &Request<'_>| {
            log_debug!("a request for {}", Quoted(request.path().as_bytes()));
            decide(request)
        };
        let (mut decide, mut failed) = (Once::new(decide), None);
        loop {
            let step = handshake.poll_negotiating(
                time.now,
                &mut head,
                &mut rx,
                &mut tx,
                &mut decide,
                &mut negotiate,
            );
            let turned = match step {
                Step::Wait { deadline } => {
                    let input = handshake.spare(&mut head, &mut rx);
                    take_turn(&mut transport, input, &mut tx, deadline, &mut time, &mut handshake).await
                }
                Step::Shutdown => transport.shutdown().await.map(|()| None),
                Step::Done(ServerHandshakeEnd::Opened { protocol }) => {
                    log_debug!("the connection is open");
                    let config = handshake.config().clone();
                    let connection = Connection::opened(Server, negotiate.open(), config, time.now);
                    let mut link = Writer::new(transport, connection, tx, time);
                    // The client waits for the response, and the caller may do something else first.
                    link.flush().await?;
                    return Ok(Accepted::WebSocket(Self { rx, link, protocol, head: head.into_memory() }));
                }
                Step::Done(ServerHandshakeEnd::HandedOver) => {
                    return Ok(Accepted::HandedOver((transport, Buffers { head, rx, tx })));
                }
                Step::Done(ServerHandshakeEnd::Refused(refusal)) => {
                    log_debug!("responded with {}", refusal);
                    return match refusal.reason {
                        None => Ok(Accepted::Responded(refusal.status)),
                        Some(_) => Err(Error::Rejected(refusal)),
                    };
                }
                Step::Done(ServerHandshakeEnd::Disconnected) => {
                    log_debug!("there was no opening handshake");
                    return Err(failed.map_or(HandshakeError::Disconnected.into(), Error::Transport));
                }
            };
            match turned {
                Ok(None) => {}
                Ok(Some(0)) => handshake.end(&mut head, &mut rx),
                Ok(Some(n)) => handshake.fill(&mut head, &mut rx, n),
                Err(error) => {
                    handshake.transport_failed();
                    failed = Some(error);
                }
            }
        }
    }
}

impl<'b, T: Transport, K: MaskingKey, C: ConfigRef> WebSocket<'b, T, Client<K>, C> {
    /// Opens a connection over `transport`: sends the request, and checks the response. It takes the key of the handshake from
    /// `keys`, the source of masking keys.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Request`] if the request cannot be sent; [`Error::Refused`] with the status of another
    /// response than 101, which [`connect_with`](Self::connect_with) shows; [`Error::Handshake`].
    ///
    /// Cancel safety: dropping the future drops the transport.
    pub fn connect(
        transport: T,
        config: C,
        buffers: Buffers<'b>,
        keys: K,
        request: &ClientRequest<'b>,
    ) -> impl Future<Output = Result<Self, Error<T::Error>>> {
        // Not an `async fn`: its future would hold the arguments a second time.
        Self::connect_with(transport, config, buffers, keys, request, |_| {})
    }

    /// Opens a connection as [`connect`](Self::connect) does, and calls `refused` with the response of a server that refuses:
    /// a redirect, or what it asks for with 401.
    ///
    /// # Errors
    /// Those of [`connect`](Self::connect).
    ///
    /// Cancel safety: dropping the future drops the transport.
    pub fn connect_with(
        transport: T,
        config: C,
        buffers: Buffers<'b>,
        keys: K,
        request: &ClientRequest<'b>,
        refused: impl FnOnce(&RefusedResponse<'_>),
    ) -> impl Future<Output = Result<Self, Error<T::Error>>> {
        Self::connect_negotiating(transport, config, buffers, keys, request, NoExtension, refused)
    }
}

impl<'b, T: Transport, K: MaskingKey, C: ConfigRef, X: Extension> WebSocket<'b, T, Client<K>, C, X> {
    /// Opens a connection as [`connect_with`](WebSocket::connect_with) does, and negotiates an extension.
    ///
    /// # Errors
    /// Those of [`connect`](WebSocket::connect).
    ///
    /// Cancel safety: dropping the future drops the transport.
    pub async fn connect_negotiating(
        transport: T,
        config: C,
        buffers: Buffers<'b>,
        keys: K,
        request: &ClientRequest<'b>,
        negotiate: impl Negotiate<Extension = X>,
        refused: impl FnOnce(&RefusedResponse<'_>),
    ) -> Result<Self, Error<T::Error>> {
        let opened = Self::open(transport, config, buffers, keys, request, negotiate, refused);
        let (socket, protocol) = opened.await?;
        Ok(Self { protocol, ..socket })
    }

    /// Opens a connection, and returns it with its subprotocol, which may live shorter than the buffers.
    pub(crate) async fn open<'u>(
        mut transport: T,
        config: C,
        buffers: Buffers<'b>,
        mut keys: K,
        request: &ClientRequest<'u>,
        mut negotiate: impl Negotiate<Extension = X>,
        refused: impl FnOnce(&RefusedResponse<'_>),
    ) -> Result<(Self, Option<&'u str>), Error<T::Error>> {
        let Buffers { mut head, mut rx, mut tx } = buffers;
        let mut nonce = [0; 16];
        for part in nonce.chunks_exact_mut(4) {
            part.copy_from_slice(&keys.masking_key());
        }
        let mut time = Time::new(&mut transport);
        let mut handshake =
            ClientHandshake::offering(config.clone(), time.now, nonce, request, &mut head, &mut negotiate)?;
        loop {
            match handshake.poll_negotiating(time.now, &mut head, &mut rx, &mut tx, &mut negotiate) {
                Step::Wait { deadline } => {
                    let input = handshake.spare(&mut head, &rx);
                    let turned =
                        take_turn(&mut transport, input, &mut tx, deadline, &mut time, &mut handshake).await;
                    match turned.map_err(Error::Transport)? {
                        None => {}
                        Some(0) => handshake.end(&mut head),
                        Some(n) => handshake.fill(&mut head, n),
                    }
                }
                // The handshake shuts nothing down.
                Step::Shutdown => {}
                Step::Done(ClientHandshakeEnd::Opened { protocol }) => {
                    log_debug!("the connection is open, subprotocol {:?}", protocol);
                    let connection =
                        Connection::opened(Client::new(keys), negotiate.open(), config, time.now);
                    let link = Writer::new(transport, connection, tx, time);
                    return Ok((Self { rx, link, protocol: None, head: head.into_memory() }, protocol));
                }
                Step::Done(ClientHandshakeEnd::Refused) => {
                    let response = RefusedResponse::parse(&head, &config)?;
                    log_debug!("the server refused the connection with status {}", response.status);
                    refused(&response);
                    return Err(Error::Refused(response.status));
                }
                Step::Done(ClientHandshakeEnd::Failed(error)) => {
                    log_debug!("the opening handshake failed: {}", error);
                    return Err(error.into());
                }
            }
        }
    }
}
