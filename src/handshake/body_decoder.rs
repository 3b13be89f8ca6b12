//! Decodes the body of a response that is no upgrade: finds its end and removes chunks (RFC 9112 §6.3, §7.1).

#![forbid(unsafe_code)]

use super::head::{Headers, is_same};

/// Decodes a body in place, and moves its data to the front.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BodyDecoder {
    /// This many bytes are still to come.
    Length(usize),
    /// The body comes in chunks.
    Chunked(Chunks),
    /// The body is everything until the stream ends.
    Rest,
}

/// The state of a chunked body at its next byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunks {
    place: Place,
    /// The remaining bytes of the chunk, as far as its size is known.
    left: usize,
}

/// The meaning of the next byte of a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The first digit of a chunk's size.
    Start,
    /// Another digit, or the byte after the digits.
    Size,
    /// White space and extensions after the size, up to the CR.
    Extension,
    /// The LF after the size.
    SizeEnd,
    /// The data of a chunk.
    Data,
    /// The CR after the data.
    DataCr,
    /// The LF after the data.
    DataEnd,
    /// The first byte of a line in the trailer section, which ends with an empty line.
    Trailer,
    /// A later byte of that line, up to its CR.
    Field,
    /// The LF after that line.
    FieldEnd,
    /// The LF of the empty line.
    End,
    /// No byte: the body is complete.
    Done,
    /// A byte violated RFC 9112.
    Bad,
}

/// "If it is in a response message received by a user agent, the user agent MUST close the connection to the server
/// and discard the received response." (§6.3)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadLength;

impl BodyDecoder {
    /// Creates a decoder for a response to a GET.
    pub(crate) fn of(status: u16, fields: Headers<'_>) -> Result<Self, BadLength> {
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
            let mut chunked = false;
            fields.each("Transfer-Encoding", &mut |coding| chunked = is_same(coding, "chunked"));
            return Ok(if chunked { Self::Chunked(Chunks::START) } else { Self::Rest });
        }
        if fields.get("Content-Length").is_none() {
            return Ok(Self::Rest);
        }
        // An invalid one is an error, "unless the field value can be successfully parsed as a comma-separated list, all
        // values in the list are valid, and all values in the list are the same".
        let mut all = None;
        fields.each("Content-Length", &mut |value| {
            let len = length(value).ok_or(BadLength);
            all = Some(if all.is_none_or(|all| all == len) { len } else { Err(BadLength) });
        });
        all.unwrap_or(Err(BadLength)).map(Self::Length)
    }

    /// Returns whether the body has ended: `Some(true)` if it is complete, `Some(false)` if it is not and never will
    /// be, `None` if more is to come.
    pub(crate) const fn end(&self, stream_ended: bool) -> Option<bool> {
        match self {
            Self::Length(0) | Self::Chunked(Chunks { place: Place::Done, .. }) => Some(true),
            // §8: "A client that receives an incomplete response message, which can occur when a connection is closed
            // prematurely or when decoding a supposedly chunked transfer coding fails, MUST record the message as
            // incomplete."
            Self::Chunked(Chunks { place: Place::Bad, .. }) => Some(false),
            Self::Rest if stream_ended => Some(true),
            _ if stream_ended => Some(false),
            _ => None,
        }
    }

    /// Decodes `bytes` that were received. Returns how many of them, moved to the front, belong to the body.
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
    const START: Self = Self { place: Place::Start, left: 0 };

    /// Moves the data of the chunks to the front. Returns how many bytes that is.
    fn decode(&mut self, bytes: &mut [u8]) -> usize {
        let (mut read, mut kept) = (0usize, 0usize);
        while let Some(&byte) = bytes.get(read) {
            let mut n = 1;
            if self.place == Place::Data {
                n = self.left.min(bytes.len().saturating_sub(read));
                bytes.copy_within(read..read.saturating_add(n), kept);
                kept = kept.saturating_add(n);
                self.left = self.left.saturating_sub(n);
                if self.left == 0 {
                    self.place = Place::DataCr;
                }
            } else {
                self.place = self.next(byte);
            }
            read = read.saturating_add(n);
        }
        kept
    }

    /// Returns the state after this byte, which is not chunk data.
    fn next(&mut self, byte: u8) -> Place {
        match (self.place, byte) {
            // "recipients MUST anticipate potentially large hexadecimal numerals and prevent parsing errors due to
            // integer conversion overflows": the size saturates.
            (Place::Start | Place::Size, _) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default() as usize;
                self.left = self.left.saturating_mul(16).saturating_add(digit);
                Place::Size
            }
            (Place::Size | Place::Extension, b'\r') => Place::SizeEnd,
            // "A recipient MUST ignore unrecognized chunk extensions."
            (Place::Size, b';' | b' ' | b'\t') => Place::Extension,
            (Place::Extension, _) if byte != b'\n' => Place::Extension,
            (Place::SizeEnd, b'\n') if self.left > 0 => Place::Data,
            (Place::SizeEnd | Place::FieldEnd, b'\n') => Place::Trailer,
            (Place::DataCr, b'\r') => Place::DataEnd,
            (Place::DataEnd, b'\n') => Place::Start,
            // "A recipient that removes the chunked coding from a message MAY selectively retain or discard the received
            // trailer fields."
            (Place::Trailer, b'\r') => Place::End,
            (Place::Field, b'\r') => Place::FieldEnd,
            (Place::Trailer | Place::Field, _) if byte != b'\n' => Place::Field,
            (Place::End, b'\n') => Place::Done,
            // Bytes after the body are ignored.
            (Place::Done, _) => Place::Done,
            _ => Place::Bad,
        }
    }
}

/// "Content-Length = 1*DIGIT" (RFC 9110 §8.6). The value saturates.
fn length(value: &[u8]) -> Option<usize> {
    let digits = value.iter().all(u8::is_ascii_digit);
    let append = |len: usize, digit: &u8| len.saturating_mul(10).saturating_add(usize::from(digit & 0xF));
    digits.then(|| value.iter().fold(0, append))
}
