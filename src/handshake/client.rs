//! The client's side of the opening handshake (RFC 6455 §4.1).

#![forbid(unsafe_code)]

use super::head::{BadHead, Fields, Scanner, Writer, first_line, is_same, is_token, split_scheme};
use super::key::{AcceptKey, accept_key, encode_nonce};
use super::response::Rejection;
use crate::buffer::{ReceiveBuffer, TransmitBuffer};
use crate::config::Config;
use crate::time::Instant;

/// Where a `ws:` or `wss:` URL leads (RFC 6455 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address<'u> {
    /// Whether the URL asks for TLS.
    pub secure: bool,
    /// The host to connect to: a name, an IPv4 address, or an IPv6 address without its brackets.
    pub host: &'u str,
    /// The port to connect to.
    pub port: u16,
    /// Host and port as the URL has them.
    authority: &'u str,
    /// Path and query, empty for the root.
    target: &'u str,
}

/// Caller: the URL is not one of a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// Neither `ws://` nor `wss://`.
    #[error("a WebSocket URL begins with ws:// or wss://")]
    Scheme,
    /// No host, user and password, or a broken IPv6 address.
    #[error("a WebSocket URL names a host, and no user")]
    Host,
    /// The port is no number up to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// "Fragment identifiers are meaningless in the context of WebSocket URIs and MUST NOT be used" (§3).
    #[error("a WebSocket URL has no fragment")]
    Fragment,
    /// A space, a control character, or one beyond ASCII, in the path or the query.
    #[error("a character that has to be percent-encoded")]
    Path,
}

/// What a client asks for.
#[derive(Clone, Copy, Debug)]
pub struct Connect<'u> {
    /// Where.
    pub address: Address<'u>,
    /// The subprotocols on offer, the best first.
    pub protocols: &'u [&'u str],
    /// Further fields: authorization, cookies, an origin. Not those of the handshake itself.
    pub headers: &'u [(&'u str, &'u str)],
}

/// What [`ClientHandshake::poll`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum ClientStep<'u> {
    /// Write the transmit buffer, read into [`ClientHandshake::spare`], or let time pass until the deadline;
    /// then poll again.
    Wait {
        /// The latest moment for the next poll.
        deadline: Option<Instant>,
    },
    /// The connection is open, with this subprotocol. What came behind the answer is in the receive buffer.
    Open(Option<&'u str>),
    /// The server answered with another status: [`Reply::parse`] reads it from the head's buffer. Drop the
    /// transport.
    Refused,
    /// No handshake. Drop the transport.
    Failed(HandshakeError),
}

/// Why there is no connection. All of it is the peer's, or the transport's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// Not HTTP.
    #[error("the answer is not HTTP/1.1")]
    NotHttp,
    /// The head is larger than [`Limits::head`](crate::Limits::head), or than the memory that holds it.
    #[error("the head of the answer is too large (Limits::head, and the memory for it)")]
    TooLarge,
    /// The head has more fields than [`Limits::headers`](crate::Limits::headers).
    #[error("the answer has too many fields (Limits::headers)")]
    TooManyFields,
    /// "If the response lacks an |Upgrade| header field or the |Upgrade| header field contains a value that is not [...]
    /// "websocket"".
    #[error("the answer does not upgrade to websocket")]
    Upgrade,
    /// "If the response lacks a |Connection| header field or the |Connection| header field doesn't contain a token [...] "Upgrade"".
    #[error("the answer's Connection does not have the token Upgrade")]
    Connection,
    /// The answer to our key is missing, wrong, or there twice.
    #[error("Sec-WebSocket-Accept does not answer the key")]
    Accept,
    /// "a subprotocol that was not present in the client's handshake".
    #[error("a subprotocol that was not offered")]
    Protocol,
    /// "an extension that was not present in the client's handshake".
    #[error("an extension that was not offered")]
    Extension,
    /// The deadline passed.
    #[error("the opening handshake took too long")]
    Timeout,
    /// The transport ended.
    #[error("the server vanished")]
    Vanished,
}

/// A server's answer that is no upgrade.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'h> {
    /// The status code.
    pub status: u16,
    /// The fields.
    pub fields: Fields<'h>,
    /// As much of the body as the buffer holds.
    pub body: &'h [u8],
}

/// Sends a request, and checks the answer whole.
///
/// The heads of both lie in a buffer of their own, which is given back when the handshake is over. Redirects
/// are not followed: the caller sees the 3xx and decides what, if anything, another host may be told.
#[derive(Debug)]
pub struct ClientHandshake<'c, 'u> {
    config: &'c Config,
    connect: Connect<'u>,
    accept: AcceptKey,
    scanner: Scanner,
    deadline: Instant,
    phase: Phase<'u>,
}

#[derive(Clone, Copy, Debug)]
enum Phase<'u> {
    /// The request is on its way out of the head buffer.
    Request,
    /// The answer is being received.
    Answer,
    /// A refusal's body is being received, until the head buffer holds so many bytes.
    Body {
        until: usize,
    },
    Done(ClientStep<'u>),
}

impl<'u> Address<'u> {
    /// Reads a `ws:` or `wss:` URL.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(url: &'u str) -> Result<Self, BadUrl> {
        let (scheme, rest) = split_scheme(url).ok_or(BadUrl::Scheme)?;
        let secure = is_same(scheme.as_bytes(), "wss");
        if !secure && !is_same(scheme.as_bytes(), "ws") {
            return Err(BadUrl::Scheme);
        }
        if rest.contains('#') {
            return Err(BadUrl::Fragment);
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if target.bytes().any(|c| c <= b' ' || c >= 0x7F) {
            return Err(BadUrl::Path);
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']').filter(|(host, _)| host.contains(':')).ok_or(BadUrl::Host)?,
            None => {
                let end = authority.find(':').unwrap_or(authority.len());
                authority.split_at_checked(end).unwrap_or((authority, ""))
            }
        };
        let good = |c: u8| c.is_ascii_alphanumeric() || b"-._~:%".contains(&c);
        if host.is_empty() || !host.bytes().all(good) {
            return Err(BadUrl::Host);
        }
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => {
                if secure {
                    443
                } else {
                    80
                }
            }
            // `parse` takes a plus sign, a URL does not.
            Some(digits) if digits.starts_with('+') => return Err(BadUrl::Port),
            Some(digits) => digits.parse().ok().filter(|port| *port != 0).ok_or(BadUrl::Port)?,
            None => return Err(BadUrl::Host),
        };
        Ok(Self { secure, host, port, authority, target })
    }
}

impl<'u> Connect<'u> {
    /// A request without subprotocols and further fields.
    #[must_use]
    pub const fn new(address: Address<'u>) -> Self {
        Self { address, protocols: &[], headers: &[] }
    }

    fn write(&self, memory: &mut [u8], key: &[u8; 24]) -> Result<usize, BadHead> {
        let Address { authority, target, .. } = self.address;
        let mut head = Writer::new(memory);
        head.text("GET ")
            .text(if target.starts_with('/') { "" } else { "/" })
            .text(target)
            .text(" HTTP/1.1\r\n")
            .field("Host", authority)
            .text("Upgrade: websocket\r\nConnection: Upgrade\r\n")
            .field("Sec-WebSocket-Key", core::str::from_utf8(key).unwrap_or_default())
            .text("Sec-WebSocket-Version: 13\r\n");
        if let Some((first, others)) = self.protocols.split_first() {
            head.text("Sec-WebSocket-Protocol: ").text(first);
            others.iter().fold(&mut head, |head, name| head.text(", ").text(name)).text("\r\n");
            let tokens = self.protocols.iter().all(|name| is_token(name));
            head.fail_unless(tokens, BadHead::Malformed);
        }
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

impl<'h> Reply<'h> {
    /// Reads the answer that lies in the buffer of the head after [`ClientStep::Refused`].
    ///
    /// # Errors
    /// Where none lies there.
    pub fn parse(head: &'h ReceiveBuffer<'_>, config: &Config) -> Result<Self, HandshakeError> {
        Self::of(head.filled(), config)
    }

    fn of(filled: &'h [u8], config: &Config) -> Result<Self, HandshakeError> {
        let (line, lines) = first_line(filled);
        let mut response = httparse::Response::new(&mut []);
        // Partial where the line is good, since no field follows it.
        let parsed = response.parse(line);
        let (Ok(_), Some(status), Some(_)) = (parsed, response.code, response.reason) else {
            return Err(HandshakeError::NotHttp);
        };
        let (fields, body) = Fields::check(lines, config.limits.headers).map_err(|bad| match bad {
            Rejection::TooManyFields => HandshakeError::TooManyFields,
            _ => HandshakeError::NotHttp,
        })?;
        Ok(Self { status, fields, body })
    }

    /// The length that the body is to have, as far as the answer says.
    fn body_len(&self) -> usize {
        let len = self.fields.get("Content-Length").and_then(|len| core::str::from_utf8(len).ok());
        len.and_then(|len| len.parse().ok()).unwrap_or(usize::MAX)
    }
}

impl<'c, 'u> ClientHandshake<'c, 'u> {
    /// Directly behind the connect of a transport; writes the request into `head`.
    ///
    /// > The nonce MUST be selected randomly for each connection.
    ///
    /// # Errors
    /// [`BadHead`] where the request does not fit `head`, or a protocol or a field cannot be sent.
    pub fn new(
        config: &'c Config,
        now: Instant,
        nonce: [u8; 16],
        connect: &Connect<'u>,
        head: &mut ReceiveBuffer<'_>,
    ) -> Result<Self, BadHead> {
        let key = encode_nonce(nonce);
        head.rewrite(|memory| match connect.write(memory, &key) {
            Ok(len) => (len, Ok(())),
            Err(bad) => (0, Err(bad)),
        })?;
        let deadline = now.plus(config.timeouts.handshake);
        let (scanner, accept) = (Scanner::default(), accept_key(&key));
        Ok(Self { config, connect: *connect, accept, scanner, deadline, phase: Phase::Request })
    }

    /// Does what is to be done and says what comes next.
    pub fn poll(
        &mut self,
        now: Instant,
        head: &mut ReceiveBuffer<'_>,
        rx: &mut ReceiveBuffer<'_>,
        tx: &mut TransmitBuffer<'_>,
    ) -> ClientStep<'u> {
        if let Phase::Request = self.phase {
            head.consume(tx.feed(head.filled()));
            if head.is_empty() {
                self.phase = Phase::Answer;
            }
        }
        let late = now >= self.deadline;
        match self.phase {
            Phase::Answer => while self.read(head, rx) {},
            Phase::Body { until } if head.filled().len() >= until || head.is_ended() || late => {
                self.phase = Phase::Done(ClientStep::Refused);
            }
            _ => {}
        }
        match self.phase {
            Phase::Done(step) => return step,
            _ if late => self.phase = Phase::Done(ClientStep::Failed(HandshakeError::Timeout)),
            _ if head.is_ended() => self.phase = Phase::Done(ClientStep::Failed(HandshakeError::Vanished)),
            _ => return ClientStep::Wait { deadline: self.deadline.as_deadline() },
        }
        self.poll(now, head, rx, tx)
    }

    /// Where the transport is to be read into; say what came with [`fill`](Self::fill). Never more than the
    /// receive buffer holds: so what comes behind the head finds room there.
    pub fn spare<'a>(&self, head: &'a mut ReceiveBuffer<'_>, rx: &ReceiveBuffer<'_>) -> &'a mut [u8] {
        if let Phase::Request | Phase::Done(_) = self.phase {
            return &mut [];
        }
        let unseen = match self.phase {
            Phase::Answer => self.scanner.unseen(head.filled().len()),
            _ => 0,
        };
        let spare = head.spare();
        let n = spare.len().min(rx.capacity().saturating_sub(unseen));
        spare.get_mut(..n).unwrap_or_default()
    }

    /// `n` bytes were read into [`spare`](Self::spare); 0 is the end of the stream.
    pub fn fill(&self, head: &mut ReceiveBuffer<'_>, n: usize) {
        head.fill(n);
    }

    /// Looks at what has arrived of the answer; whether another answer follows it, an interim one.
    fn read(&mut self, head: &mut ReceiveBuffer<'_>, rx: &mut ReceiveBuffer<'_>) -> bool {
        let filled = head.filled();
        let limit = self.config.limits.head.min(head.capacity());
        let len = match self.scanner.find(filled) {
            Ok(Some(len)) if len <= limit => len,
            Ok(None) if filled.len() < limit => return false,
            Ok(_) => return self.done(ClientStep::Failed(HandshakeError::TooLarge)),
            Err(_) => return self.done(ClientStep::Failed(HandshakeError::NotHttp)),
        };
        // No byte more than the scanner took for the head: a parser may take another end for it.
        let reply = match Reply::of(filled.get(..len).unwrap_or_default(), self.config) {
            Ok(reply) => reply,
            Err(error) => return self.done(ClientStep::Failed(error)),
        };
        match reply.status {
            101 if filled.trim_ascii_start().starts_with(b"HTTP/1.1") => match self.check(&reply.fields) {
                Ok(protocol) => {
                    rx.feed(filled.get(len..).unwrap_or_default());
                    if head.is_ended() {
                        rx.fill(0);
                    }
                    self.done(ClientStep::Open(protocol))
                }
                Err(error) => self.done(ClientStep::Failed(error)),
            },
            101 => self.done(ClientStep::Failed(HandshakeError::NotHttp)),
            // RFC 9110 §15.2: "A client MUST be able to parse one or more 1xx responses received prior to a
            // final response".
            status if status < 200 => {
                head.consume(len);
                self.scanner = Scanner::default();
                true
            }
            // "If the status code received from the server is not 101, the client handles the response per
            // HTTP [RFC2616] procedures." (§4.1)
            _ => {
                let until = len.saturating_add(reply.body_len()).min(head.capacity());
                self.phase = Phase::Body { until };
                if filled.len() >= until || head.is_ended() {
                    self.done(ClientStep::Refused);
                }
                false
            }
        }
    }

    /// This was it; no other answer follows.
    fn done(&mut self, step: ClientStep<'u>) -> bool {
        self.phase = Phase::Done(step);
        false
    }

    fn check(&self, fields: &Fields<'_>) -> Result<Option<&'u str>, HandshakeError> {
        // Not a list here: "a value that is not an ASCII case-insensitive match" fails (§4.1).
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
        if fields.list("Sec-WebSocket-Extensions").next().is_some() {
            return Err(HandshakeError::Extension);
        }
        let mut agreed = fields.all("Sec-WebSocket-Protocol");
        let Some(agreed_one) = agreed.next() else { return Ok(None) };
        let known = self.connect.protocols.iter().find(|name| name.as_bytes() == agreed_one);
        if agreed.next().is_some() {
            Err(HandshakeError::Protocol)
        } else {
            known.copied().ok_or(HandshakeError::Protocol).map(Some)
        }
    }
}
