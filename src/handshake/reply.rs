//! A server's answer that is no upgrade, as its client sees it.

#![forbid(unsafe_code)]

use super::client::HandshakeError;
use super::head::{Fields, first_line, is_value, status_of};
use super::response::Rejection;
use crate::buffer::ReceiveBuffer;
use crate::config::Config;

/// A server's answer that is no upgrade.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Reply<'h> {
    /// The status code.
    pub status: u16,
    /// The fields.
    pub fields: Fields<'h>,
    /// The body, as much of it as the buffer holds. Without the chunks that it came in; a content coding is not undone.
    pub body: &'h [u8],
    /// Whether that is all of the body (RFC 9112 §8).
    pub complete: bool,
}

impl<'h> Reply<'h> {
    /// Reads the answer that lies in the buffer of the head after
    /// [`ClientStep::Refused`](super::ClientStep::Refused). Of no use on a buffer that came another way: chunks are
    /// decoded by then.
    ///
    /// # Errors
    /// Where none lies there.
    pub fn parse(head: &'h ReceiveBuffer<'_>, config: &Config) -> Result<Self, HandshakeError> {
        Ok(Self { complete: head.is_ended(), ..Self::of(head.filled(), config)? })
    }

    pub(super) fn of(answer: &'h [u8], config: &Config) -> Result<Self, HandshakeError> {
        let (line, lines) = first_line(answer);
        let status = status_code(line).ok_or(HandshakeError::NotHttp)?;
        let (fields, body) = Fields::check(lines, config.limits.headers).map_err(|bad| match bad {
            Rejection::TooManyFields => HandshakeError::TooManyFields,
            _ => HandshakeError::NotHttp,
        })?;
        Ok(Self { status, fields, body, complete: false })
    }
}

/// Of "status-line = HTTP-version SP status-code SP [ reason-phrase ]" (RFC 9112 §4). Some leave the second space away.
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
