//! A client's view of an answer that is no upgrade.

#![forbid(unsafe_code)]

use super::client::HandshakeError;
use super::head::{Headers, first_line, is_value, status_of};
use super::rejection::Rejection;
use crate::buffer::ReceiveBuffer;
use crate::config::base::Config;

/// A server's answer that is no upgrade, in the buffer of the head.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RefusedResponse<'h> {
    /// The status code.
    pub status: u16,
    /// The header fields.
    pub headers: Headers<'h>,
    /// The body, as much of it as the buffer holds. Chunks are decoded, a content coding is not.
    pub body: &'h [u8],
    /// Whether the body is complete (RFC 9112 §8).
    pub complete: bool,
}

impl<'h> RefusedResponse<'h> {
    /// Parses the answer in the buffer of the head after [`ClientHandshakeEnd::Refused`](super::ClientHandshakeEnd::Refused). Not for
    /// a buffer that was filled otherwise: this one's chunks are decoded already.
    ///
    /// # Errors
    /// [`HandshakeError`]: the buffer holds no answer.
    pub fn parse(head: &'h ReceiveBuffer<'_>, config: &Config) -> Result<Self, HandshakeError> {
        Ok(Self { complete: head.is_ended(), ..Self::of(head.unread(), config)? })
    }

    pub(super) fn of(answer: &'h [u8], config: &Config) -> Result<Self, HandshakeError> {
        let (line, lines) = first_line(answer);
        let status = status_code(line).ok_or(HandshakeError::NotHttp)?;
        let (fields, body) = Headers::check(lines, config.limits.headers).map_err(|bad| match bad {
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
