//! The client's side of the opening handshake (RFC 6455 §4.1).

#![forbid(unsafe_code)]

use core::convert::Infallible;

use super::SMALL;
use super::body_decoder::BodyDecoder;
use super::client_request::ClientRequest;
#[cfg(feature = "extension")]
use super::extensions::{ExtensionList, ExtensionText};
use super::head::{Headers, Scanner, is_same, unfold};
use super::head_writer::HeadError;
use super::key::{AcceptKey, accept_key, encode_nonce};
use super::negotiate::Negotiate;
use super::refused::RefusedResponse;
use crate::buffer::{ReceiveBuffer, TransmitBuffer};
use crate::config::ConfigRef;
use crate::config::base::Config;
use crate::extension::{Extension, NoExtension};
use crate::step::Step;
use crate::time::{Due, EXTENSION, Instant, Timed};

/// How the client's side of an opening handshake ended: the `D` of the [`Step`] that [`ClientHandshake::poll`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ClientHandshakeEnd<'u> {
    /// The connection is open. What was received after the response is in the receive buffer.
    Opened {
        /// The subprotocol that was agreed upon, one of [`ClientRequest::protocols`].
        protocol: Option<&'u str>,
    },
    /// The server answered with another status than 101. Read the response from the head's buffer with
    /// [`RefusedResponse::parse`], then drop the transport. The handshake ends as soon as the body is complete (RFC 9112 §6.3),
    /// no more of it fits, or the deadline has passed. With feature `small` it ends before the body, which is not received.
    Refused,
    /// The handshake failed. Drop the transport.
    Failed(HandshakeError),
}

/// Server or network: the reason why a client's opening handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum HandshakeError {
    /// The response is not HTTP/1.1.
    #[error("the server's response is not HTTP/1.1")]
    NotHttp,
    /// The head is larger than [`Limits::head`](crate::config::Limits::head), or than the memory that holds it.
    #[error("the head of the response is too large (Limits::head, and the memory for it)")]
    TooLarge,
    /// The head has more fields than [`Limits::headers`](crate::config::Limits::headers).
    #[error("the response has too many header fields (Limits::headers)")]
    TooManyFields,
    /// `Upgrade` is missing or wrong: "If the response lacks an |Upgrade| header field or the |Upgrade| header field
    /// contains a value that is not [...] "websocket"".
    #[error("Upgrade in the response is missing or is not websocket")]
    Upgrade,
    /// `Connection` is missing or lacks the token: "If the response lacks a |Connection| header field or the
    /// |Connection| header field doesn't contain a token [...] "Upgrade"".
    #[error("Connection in the response does not have the token Upgrade")]
    Connection,
    /// `Sec-WebSocket-Accept` is missing, wrong, or present twice.
    #[error("Sec-WebSocket-Accept in the response does not match the key")]
    Accept,
    /// The server chose "a subprotocol that was not present in the client's handshake".
    #[error("the server chose a subprotocol that was not offered")]
    Protocol,
    /// The server chose "an extension that was not present in the client's handshake".
    #[error("the server chose an extension that was not offered")]
    Extension,
    /// `Sec-WebSocket-Extensions` in the response is malformed, or the parameters of the extension do not match the offer
    /// (RFC 7692 §7.1: "A client MUST _Fail the WebSocket Connection_").
    #[cfg(feature = "extension")]
    #[error("the server answered the offer of an extension with wrong parameters")]
    ExtensionParameters,
    /// Capacity: there is no memory for the extension that the server agreed to.
    #[cfg(feature = "extension")]
    #[error("no memory for the extension")]
    ExtensionMemory,
    /// `Content-Length` is not a number, or there are several and they differ: the end of the response is unknown.
    #[error("Content-Length in the response is malformed")]
    Length,
    /// The server sent more than 16 interim responses (1xx).
    #[error("the server sent more than 16 interim responses")]
    Interim,
    /// The deadline passed.
    #[error("the opening handshake took too long")]
    Timeout,
    /// The transport ended before the whole response had arrived.
    #[error("the server closed the connection before it answered")]
    Disconnected,
}

/// Drives the client's side of the opening handshake: sends the request, and checks the response.
///
/// The heads of both lie in a separate buffer, which the caller can reuse when the handshake is over. Redirects are
/// not followed: the caller sees the 3xx and decides what another host may receive.
///
/// ```
/// use sansocket::handshake::{ClientHandshake, ClientHandshakeEnd, ClientRequest, accept_key};
/// use sansocket::{Config, Instant, ReceiveBuffer, Step, TransmitBuffer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (mut head_memory, mut rx_memory, mut tx_memory) = ([0; 512], [0; 512], [0; 512]);
/// # let (mut head, mut rx) = (ReceiveBuffer::new(&mut head_memory)?, ReceiveBuffer::new(&mut rx_memory)?);
/// # let mut tx = TransmitBuffer::new(&mut tx_memory)?;
/// let now = Instant::from_millis(0);
/// let request = ClientRequest::parse("ws://example.com/chat")?.protocols(&["chat"]);
/// let nonce = [7; 16]; // from a random number generator
/// let mut handshake = ClientHandshake::new(&Config::DEFAULT, now, nonce, &request, &mut head)?;
/// loop {
///     match handshake.poll(now, &mut head, &mut rx, &mut tx) {
///         Step::Wait { .. } => {
///             // An adapter writes tx.pending(), and reads into handshake.spare() up to the deadline.
/// #           let sent = String::from_utf8(tx.pending().to_vec())?;
/// #           tx.consume(sent.len());
/// #           let key = sent.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
/// #           let accept = String::from_utf8(accept_key(key.as_bytes()).to_vec())?;
/// #           let response = format!("HTTP/1.1 101 \r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
/// #               Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
/// #           handshake.spare(&mut head, &rx)[..response.len()].copy_from_slice(response.as_bytes());
/// #           handshake.fill(&mut head, response.len());
///         }
///         Step::Done(ClientHandshakeEnd::Opened { protocol }) => {
///             // `rx` and `tx` are now those of a `Connection` with `Client`.
///             assert_eq!(protocol, Some("chat"));
///             break;
///         }
///         step => return Err(format!("{step:?}").into()),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ClientHandshake<'u, C = &'static Config> {
    config: C,
    request: ClientRequest<'u>,
    accept: AcceptKey,
    scanner: Scanner,
    deadline: Instant,
    /// How many interim responses may still come.
    interim: u8,
    phase: Phase<'u>,
}

/// The most interim responses before the final one.
const INTERIM: u8 = 16;

#[derive(Clone, Copy, Debug)]
enum Phase<'u> {
    /// The request is being copied from the head buffer to the transmit buffer.
    Request,
    /// The response is being received.
    Response,
    /// A refusal's body is being received; head and body take `len` bytes so far.
    Body {
        body: BodyDecoder,
        len: usize,
    },
    Done(ClientHandshakeEnd<'u>),
}

impl<'u, C: ConfigRef> ClientHandshake<'u, C> {
    /// Begins the handshake when the transport has connected, and writes the request into `head`.
    ///
    /// > The nonce MUST be selected randomly for each connection.
    ///
    /// # Errors
    /// [`HeadError`]: the request does not fit `head`, or a subprotocol or a header field cannot be sent.
    pub fn new(
        config: C,
        now: Instant,
        nonce: [u8; 16],
        request: &ClientRequest<'u>,
        head: &mut ReceiveBuffer<'_>,
    ) -> Result<Self, HeadError> {
        Self::offering(config, now, nonce, request, head, &mut NoExtension)
    }

    /// Begins the handshake as [`new`](Self::new) does, and offers an extension. Poll it by
    /// [`poll_negotiating`](Self::poll_negotiating).
    ///
    /// # Errors
    /// Those of [`new`](Self::new); also if the offer is longer than an [`ExtensionText`](super::ExtensionText).
    pub fn offering<N: Negotiate>(
        config: C,
        now: Instant,
        nonce: [u8; 16],
        request: &ClientRequest<'u>,
        head: &mut ReceiveBuffer<'_>,
        negotiate: &mut N,
    ) -> Result<Self, HeadError> {
        let key = encode_nonce(nonce);
        #[cfg(feature = "extension")]
        let mut offer = ExtensionText::EMPTY;
        #[cfg(feature = "extension")]
        negotiate.offer(&mut offer);
        #[cfg(not(feature = "extension"))]
        let _ = negotiate;
        head.rewrite(|memory| {
            let written = request.write(
                memory,
                &key,
                #[cfg(feature = "extension")]
                &offer,
            );
            written.map(|len| (len, ()))
        })?;
        let deadline = now.plus(config.timeouts.handshake);
        let (scanner, accept) = (Scanner::default(), accept_key(&key));
        let (interim, phase) = (INTERIM, Phase::Request);
        Ok(Self { config, request: *request, accept, scanner, deadline, interim, phase })
    }

    /// Advances the handshake, and returns what to do next.
    pub fn poll(
        &mut self,
        now: Instant,
        head: &mut ReceiveBuffer<'_>,
        rx: &mut ReceiveBuffer<'_>,
        tx: &mut TransmitBuffer<'_>,
    ) -> Step<Infallible, ClientHandshakeEnd<'u>> {
        self.poll_negotiating(now, head, rx, tx, &mut NoExtension)
    }

    /// Advances the handshake as [`poll`](Self::poll) does, and negotiates the extension that was
    /// [offered](Self::offering). When the connection is [open](ClientHandshakeEnd::Opened),
    /// [`Negotiate::open`] returns the extension for it.
    pub fn poll_negotiating<N: Negotiate>(
        &mut self,
        now: Instant,
        head: &mut ReceiveBuffer<'_>,
        rx: &mut ReceiveBuffer<'_>,
        tx: &mut TransmitBuffer<'_>,
        negotiate: &mut N,
    ) -> Step<Infallible, ClientHandshakeEnd<'u>> {
        if let Phase::Request = self.phase {
            head.consume(tx.feed(head.unread()));
            if head.is_empty() {
                self.phase = Phase::Response;
            }
        }
        let late = now >= self.deadline;
        if let Phase::Response = self.phase {
            while self.read(head, rx, negotiate) {}
        }
        if let (Phase::Body { body, len }, false) = (self.phase, SMALL) {
            self.phase = receive(body, len, head, late);
        }
        match self.phase {
            Phase::Done(end) => return Step::Done(end),
            _ if late => self.phase = Phase::Done(ClientHandshakeEnd::Failed(HandshakeError::Timeout)),
            _ if head.is_ended() => {
                self.phase = Phase::Done(ClientHandshakeEnd::Failed(HandshakeError::Disconnected))
            }
            _ => return Step::Wait { deadline: self.deadline.as_deadline() },
        }
        self.poll_negotiating(now, head, rx, tx, negotiate)
    }

    /// Returns the memory to read the transport into; call [`fill`](Self::fill) after the read. It is never larger than
    /// the receive buffer, so that what follows the head fits there.
    pub fn spare<'a>(&self, head: &'a mut ReceiveBuffer<'_>, rx: &ReceiveBuffer<'_>) -> &'a mut [u8] {
        if let Phase::Request | Phase::Done(_) = self.phase {
            return &mut [];
        }
        let unseen = match self.phase {
            Phase::Response => self.scanner.unseen(head.unread().len()),
            _ => 0,
        };
        let spare = head.spare();
        let n = spare.len().min(rx.capacity().saturating_sub(unseen));
        spare.get_mut(..n).unwrap_or_default()
    }

    /// Reports that `n` bytes were read into [`spare`](Self::spare).
    pub fn fill(&self, head: &mut ReceiveBuffer<'_>, n: usize) {
        head.fill(n);
    }

    /// Reports the end of the stream: the server will send nothing more.
    pub fn end(&self, head: &mut ReceiveBuffer<'_>) {
        head.end();
    }

    /// Reads what has arrived of the response. Returns whether it was an interim one, which another follows.
    fn read<N: Negotiate>(
        &mut self,
        head: &mut ReceiveBuffer<'_>,
        rx: &mut ReceiveBuffer<'_>,
        negotiate: &mut N,
    ) -> bool {
        let limit = self.config.limits.head.min(head.capacity());
        let len = match self.scanner.find(head.unread()) {
            Ok(Some(len)) if len <= limit => len,
            Ok(None) if head.unread().len() < limit => return false,
            Ok(_) => return self.done(ClientHandshakeEnd::Failed(HandshakeError::TooLarge)),
            Err(_) => return self.done(ClientHandshakeEnd::Failed(HandshakeError::NotHttp)),
        };
        unfold(head.open().input.get_mut(..len).unwrap_or_default());
        // Parses exactly the scanner's head: a parser might find another end.
        let (bytes, behind) = head.unread().split_at_checked(len).unwrap_or_default();
        let response = match RefusedResponse::of(bytes, &self.config) {
            Ok(response) => response,
            Err(error) => return self.done(ClientHandshakeEnd::Failed(error)),
        };
        match response.status {
            101 if bytes.trim_ascii_start().starts_with(b"HTTP/1.1") => {
                match self.check(response.headers, negotiate) {
                    Ok(protocol) => {
                        rx.feed(behind);
                        if head.is_ended() {
                            rx.end();
                        }
                        self.done(ClientHandshakeEnd::Opened { protocol })
                    }
                    Err(error) => self.done(ClientHandshakeEnd::Failed(error)),
                }
            }
            101 => self.done(ClientHandshakeEnd::Failed(HandshakeError::NotHttp)),
            // RFC 9110 §15.2: "A client MUST be able to parse one or more 1xx responses received prior to a
            // final response".
            100..=199 => match self.interim.checked_sub(1) {
                Some(left) => {
                    self.interim = left;
                    head.consume(len);
                    self.scanner = Scanner::default();
                    true
                }
                None => self.done(ClientHandshakeEnd::Failed(HandshakeError::Interim)),
            },
            // "If the status code received from the server is not 101, the client handles the response per
            // HTTP [RFC2616] procedures." (§4.1)
            _ if SMALL => {
                head.truncate(len, false);
                self.done(ClientHandshakeEnd::Refused)
            }
            status => match BodyDecoder::of(status, response.headers) {
                Ok(body) => {
                    self.phase = Phase::Body { body, len };
                    false
                }
                Err(_) => self.done(ClientHandshakeEnd::Failed(HandshakeError::Length)),
            },
        }
    }

    fn done(&mut self, end: ClientHandshakeEnd<'u>) -> bool {
        self.phase = Phase::Done(end);
        false
    }

    fn check<N: Negotiate>(
        &self,
        fields: Headers<'_>,
        negotiate: &mut N,
    ) -> Result<Option<&'u str>, HandshakeError> {
        // `Upgrade` is not a list here: "a value that is not an ASCII case-insensitive match" fails (§4.1).
        let mut upgrades = fields.all("Upgrade");
        if !upgrades.next().is_some_and(|value| is_same(value, "websocket")) || upgrades.next().is_some() {
            return Err(HandshakeError::Upgrade);
        }
        if !fields.has_token("Connection", "Upgrade") {
            return Err(HandshakeError::Connection);
        }
        let mut accepts = fields.all("Sec-WebSocket-Accept");
        if accepts.next() != Some(&self.accept) || accepts.next().is_some() {
            return Err(HandshakeError::Accept);
        }
        #[cfg(feature = "extension")]
        if N::Extension::ACTIVE {
            negotiate.confirm(ExtensionList::new(fields))?;
        }
        #[cfg(not(feature = "extension"))]
        let _ = negotiate;
        if !N::Extension::ACTIVE {
            let mut extended = false;
            fields.each("Sec-WebSocket-Extensions", &mut |_| extended = true);
            if extended {
                return Err(HandshakeError::Extension);
            }
        }
        let mut agreed = fields.all("Sec-WebSocket-Protocol");
        let Some(agreed_one) = agreed.next() else { return Ok(None) };
        if agreed.next().is_some() {
            return Err(HandshakeError::Protocol);
        }
        self.request.offered(agreed_one).ok_or(HandshakeError::Protocol).map(Some)
    }
}

impl<C: ConfigRef> Timed for ClientHandshake<'_, C> {
    fn due(&self, now: Instant) -> Due {
        let done = matches!(self.phase, Phase::Done(_));
        if !done && now >= self.deadline { Due::All } else { Due::No }
    }

    fn extend(&mut self, now: Instant) {
        self.deadline = now.saturating_add(EXTENSION);
    }
}

/// Decodes what has arrived of a refusal's body; the bytes before it in the buffer are `len`. At the end the buffer
/// records an ended stream only if the body is complete, for [`RefusedResponse::parse`].
fn receive<'u>(mut body: BodyDecoder, mut len: usize, head: &mut ReceiveBuffer<'_>, late: bool) -> Phase<'u> {
    let fresh = head.open().input.get_mut(len..).unwrap_or_default();
    len = len.saturating_add(body.receive(fresh));
    let ended = head.is_ended();
    head.truncate(len, ended);
    let full = len >= head.capacity();
    match body.end(ended).or((full || late).then_some(false)) {
        Some(whole) => {
            head.truncate(len, whole);
            Phase::Done(ClientHandshakeEnd::Refused)
        }
        None => Phase::Body { body, len },
    }
}
