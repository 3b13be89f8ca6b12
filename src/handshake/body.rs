//! The body of an answer that is no upgrade: where it ends, and what its chunks hold (RFC 9112 §6.3, §7.1).

#![forbid(unsafe_code)]

use super::head::{Fields, is_same};

/// Receives a body, and puts what it holds to the front.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BodyDecoder {
    /// So many bytes are still to come.
    Length(usize),
    /// In chunks.
    Chunked(Chunks),
    /// All that comes until the stream ends.
    Rest,
}

/// Where in a chunked body the next byte stands.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Chunks {
    /// The size of a chunk, of which so much is known; `None` before its first digit.
    Size(Option<usize>),
    /// Behind the size: white space and extensions, up to the CR.
    Extension(usize),
    /// The LF behind the size.
    SizeEnd(usize),
    /// Of a chunk, so many bytes are still to come.
    Data(usize),
    /// The CR LF behind a chunk's data: the CR, or the LF.
    DataEnd { cr: bool },
    /// A line of the trailer section, or the empty one that ends the body: whether anything of it has come, and its CR.
    Trailer { empty: bool, cr: bool },
    /// The body is whole.
    Done,
    /// Not as RFC 9112 wants it.
    Bad,
}

/// "If it is in a response message received by a user agent, the user agent MUST close the connection to the server
/// and discard the received response." (§6.3)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadLength;

impl BodyDecoder {
    /// Of an answer to a GET.
    pub(crate) fn of(status: u16, fields: Fields<'_>) -> Result<Self, BadLength> {
        // "any response with a 1xx (Informational), 204 (No Content), or 304 (Not Modified) status code is always
        // terminated by the first empty line after the header fields"
        if matches!(status, 100..=199 | 204 | 304) {
            return Ok(Self::Length(0));
        }
        // "If a message is received with both a Transfer-Encoding and a Content-Length header field, the
        // Transfer-Encoding overrides the Content-Length."
        if fields.get("Transfer-Encoding").is_some() {
            // "If a Transfer-Encoding header field is present in a response and the chunked transfer coding is not the
            // final encoding, the message body length is determined by reading the connection until it is closed by
            // the server."
            let last = fields.list("Transfer-Encoding").last();
            let chunked = last.is_some_and(|last| is_same(last, "chunked"));
            return Ok(if chunked { Self::Chunked(Chunks::Size(None)) } else { Self::Rest });
        }
        if fields.get("Content-Length").is_none() {
            return Ok(Self::Rest);
        }
        // An invalid one is an error, "unless the field value can be successfully parsed as a comma-separated list, all
        // values in the list are valid, and all values in the list are the same".
        let mut lengths = fields.list("Content-Length").map(length);
        let first = lengths.next().flatten().ok_or(BadLength)?;
        if lengths.all(|other| other == Some(first)) { Ok(Self::Length(first)) } else { Err(BadLength) }
    }

    /// Whether nothing more is to come: `Some` where that is known, and whether the body is whole.
    pub(crate) const fn end(&self, stream_ended: bool) -> Option<bool> {
        match self {
            Self::Length(0) | Self::Chunked(Chunks::Done) => Some(true),
            // §8: "A client that receives an incomplete response message, which can occur when a connection is closed
            // prematurely or when decoding a supposedly chunked transfer coding fails, MUST record the message as
            // incomplete."
            Self::Chunked(Chunks::Bad) => Some(false),
            Self::Rest if stream_ended => Some(true),
            _ if stream_ended => Some(false),
            _ => None,
        }
    }

    /// `bytes` have come. How many of them, moved to the front, are the body's.
    pub(crate) fn receive(&mut self, bytes: &mut [u8]) -> usize {
        match self {
            Self::Length(left) => {
                let n = bytes.len().min(*left);
                *left = left.saturating_sub(n);
                n
            }
            Self::Chunked(chunks) => chunks.decode(bytes),
            Self::Rest => bytes.len(),
        }
    }
}

impl Chunks {
    fn decode(&mut self, bytes: &mut [u8]) -> usize {
        let (mut read, mut kept) = (0usize, 0usize);
        while let Some(&byte) = bytes.get(read) {
            if let Self::Data(left) = *self {
                let n = left.min(bytes.len().saturating_sub(read));
                bytes.copy_within(read..read.saturating_add(n), kept);
                read = read.saturating_add(n);
                kept = kept.saturating_add(n);
                let left = left.saturating_sub(n);
                *self = if left == 0 { Self::DataEnd { cr: false } } else { Self::Data(left) };
            } else {
                *self = self.next(byte);
                read = read.saturating_add(1);
            }
        }
        kept
    }

    /// Behind this byte, which is none of a chunk's data.
    fn next(self, byte: u8) -> Self {
        match (self, byte) {
            // "recipients MUST anticipate potentially large hexadecimal numerals and prevent parsing errors due to
            // integer conversion overflows": what is larger than all memory stays so.
            (Self::Size(size), _) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default() as usize;
                Self::Size(Some(size.unwrap_or_default().saturating_mul(16).saturating_add(digit)))
            }
            (Self::Size(Some(size)) | Self::Extension(size), b'\r') => Self::SizeEnd(size),
            // "A recipient MUST ignore unrecognized chunk extensions."
            (Self::Size(Some(size)), b';' | b' ' | b'\t') => Self::Extension(size),
            (Self::Extension(size), _) if byte != b'\n' => Self::Extension(size),
            (Self::SizeEnd(0), b'\n') => Self::Trailer { empty: true, cr: false },
            (Self::SizeEnd(size), b'\n') => Self::Data(size),
            (Self::DataEnd { cr: false }, b'\r') => Self::DataEnd { cr: true },
            (Self::DataEnd { cr: true }, b'\n') => Self::Size(None),
            // "A recipient that removes the chunked coding from a message MAY selectively retain or discard the received
            // trailer fields."
            (Self::Trailer { empty, cr: false }, b'\r') => Self::Trailer { empty, cr: true },
            (Self::Trailer { empty: true, cr: true }, b'\n') => Self::Done,
            (Self::Trailer { empty: false, cr: true }, b'\n') => Self::Trailer { empty: true, cr: false },
            (Self::Trailer { cr: false, .. }, _) if byte != b'\n' => {
                Self::Trailer { empty: false, cr: false }
            }
            // What follows the body is nobody's.
            (Self::Done, _) => Self::Done,
            _ => Self::Bad,
        }
    }
}

/// "Content-Length = 1*DIGIT" (RFC 9110 §8.6); what is larger than all memory is as long as that.
fn length(value: &[u8]) -> Option<usize> {
    let digits = value.iter().all(u8::is_ascii_digit);
    let append = |len: usize, digit: &u8| len.saturating_mul(10).saturating_add(usize::from(digit & 0xF));
    digits.then(|| value.iter().fold(0, append))
}
