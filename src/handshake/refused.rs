//! A client's view of a response that is no upgrade.

#![forbid(unsafe_code)]

use super::client::HandshakeError;
use super::head::{Headers, first_line, is_value, status_of};
use super::rejection::Rejection;
use crate::buffer::ReceiveBuffer;
use crate::config::base::Config;

/// A server's response that is no upgrade, in the buffer of the head.
///
/// ```
/// use sansocket::handshake::{ClientHandshake, ClientHandshakeEnd, ClientRequest, RefusedResponse};
/// use sansocket::{Config, Instant, ReceiveBuffer, Step, TransmitBuffer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (mut head_memory, mut rx_memory, mut tx_memory) = ([0; 512], [0; 512], [0; 512]);
/// # let (mut head, mut rx) = (ReceiveBuffer::new(&mut head_memory)?, ReceiveBuffer::new(&mut rx_memory)?);
/// # let (mut tx, now) = (TransmitBuffer::new(&mut tx_memory)?, Instant::START);
/// # let request = ClientRequest::parse("ws://example.com/chat")?;
/// let config = Config::new();
/// # let mut handshake = ClientHandshake::new(&config, now, [7; 16], &request, &mut head)?;
/// # let _ = handshake.poll(now, &mut head, &mut rx, &mut tx);
/// # let response = b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 5\r\n\r\nlogin";
/// # handshake.spare(&mut head, &rx)[..response.len()].copy_from_slice(response);
/// # handshake.fill(&mut head, response.len());
/// let step = handshake.poll(now, &mut head, &mut rx, &mut tx);
/// assert!(matches!(step, Step::Done(ClientHandshakeEnd::Refused)));
/// let response = RefusedResponse::parse(&head, &config)?;
/// assert_eq!((response.status, response.body), (401, &b"login"[..]));
/// assert_eq!(response.headers.get("WWW-Authenticate"), Some(&b"Basic"[..]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RefusedResponse<'h> {
    /// The status code.
    pub status: u16,
    /// The header fields.
    pub headers: Headers<'h>,
    /// The body, as much of it as the buffer holds. Chunks are decoded, a content coding is not. Empty with feature `small`.
    pub body: &'h [u8],
    /// Whether the body is complete (RFC 9112 §8). False with feature `small`.
    pub complete: bool,
}

impl<'h> RefusedResponse<'h> {
    /// Parses the response in the buffer of the head after
    /// [`ClientHandshakeEnd::Refused`](super::ClientHandshakeEnd::Refused). Not for a buffer that was filled otherwise:
    /// this one's chunks are decoded already.
    ///
    /// # Errors
    /// [`HandshakeError`]: the buffer holds no response.
    pub fn parse(head: &'h ReceiveBuffer<'_>, config: &Config) -> Result<Self, HandshakeError> {
        Ok(Self { complete: head.is_ended(), ..Self::of(head.unread(), config)? })
    }

    pub(super) fn of(response: &'h [u8], config: &Config) -> Result<Self, HandshakeError> {
        let (line, lines) = first_line(response);
        let status = status_code(line).ok_or(HandshakeError::NotHttp)?;
        let (fields, body) =
            Headers::check(lines, config.limits.headers, &mut |_, _| {}).map_err(|bad| match bad {
                Rejection::TooManyFields => HandshakeError::TooManyFields,
                _ => HandshakeError::NotHttp,
            })?;
        Ok(Self { status, headers: fields, body, complete: false })
    }
}

/// Parses "status-line = HTTP-version SP status-code SP [ reason-phrase ]" (RFC 9112 §4). Some servers omit the
/// second space.
fn status_code(line: &[u8]) -> Option<u16> {
    let line = line.strip_suffix(b"\n")?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (minor, rest) = line.strip_prefix(b"HTTP/1.")?.split_first()?;
    let (code, reason) = rest.strip_prefix(b" ")?.split_first_chunk::<3>()?;
    let good = matches!(minor, b'0' | b'1')
        && code.iter().all(u8::is_ascii_digit)
        && matches!(reason.first(), None | Some(b' '))
        && is_value(reason);
    good.then(|| status_of(code))
}
