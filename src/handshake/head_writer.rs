//! Writes heads of HTTP/1.1 messages (RFC 9112 §2-5).

#![forbid(unsafe_code)]

use super::head::{is_same, is_token, is_value};
use crate::buffer::copy;

/// The reason why the head of a request or a response was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum HeadError {
    /// Capacity: the memory for the head is too small.
    #[error("the memory for the head is too small")]
    TooLarge,
    /// Caller: the status is not between 200 and 599.
    #[error("the status is not between 200 and 599")]
    Status,
    /// Caller: the name of a header field is not a token, or its value has a control character other than the tab.
    #[error("the name or the value of a header field has a character that is not allowed")]
    Header,
    /// Caller: a header field that the library writes itself.
    #[error("a header field that only the library writes, such as Connection or Content-Length")]
    ReservedHeader,
    /// Caller: the name of a subprotocol is not a token.
    #[error("the name of a subprotocol has a character that is not allowed")]
    Protocol,
    /// Caller: a subprotocol is offered twice. "The elements that comprise this value MUST [...] all be unique strings"
    /// (RFC 6455 §4.1).
    #[error("a subprotocol is offered twice")]
    ProtocolTwice,
}

/// Writes a head into memory, and records an error if it does not fit or would be malformed.
#[derive(Debug)]
pub(crate) struct Writer<'m> {
    memory: &'m mut [u8],
    len: usize,
    failed: Option<HeadError>,
}

impl<'m> Writer<'m> {
    pub(crate) fn new(memory: &'m mut [u8]) -> Self {
        Self { memory, len: 0, failed: None }
    }

    /// Writes the library's own text, or text that was checked.
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// Writes ASCII or UTF-8.
    #[inline(never)]
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        let free = self.memory.get_mut(self.len..).unwrap_or_default();
        let n = copy(free, bytes);
        self.len = self.len.saturating_add(n);
        self.fail_unless(n == bytes.len(), HeadError::TooLarge)
    }

    /// Writes a field. Its name must be a token, and its value free of control characters.
    #[inline(never)]
    pub(crate) fn field(&mut self, name: &str, value: &str) -> &mut Self {
        let good = is_token(name.as_bytes()) && is_value(value.as_bytes());
        self.fail_unless(good, HeadError::Header).text(name).text(": ").text(value).text("\r\n")
    }

    /// Writes the caller's fields. None may be one of `ours`: a peer might read the second in place of the first.
    pub(crate) fn fields(&mut self, fields: &[(&str, &str)], ours: &[&str]) -> &mut Self {
        fields.iter().fold(self, |writer, (name, value)| {
            let free = !ours.iter().any(|known| is_same(known.as_bytes(), name));
            writer.fail_unless(free, HeadError::ReservedHeader).field(name, value)
        })
    }

    pub(crate) fn number(&mut self, mut number: usize) -> &mut Self {
        let mut digits = [b'0'; 20];
        let mut start = digits.len();
        for slot in digits.iter_mut().rev() {
            *slot = b'0'.wrapping_add((number % 10) as u8);
            start = start.wrapping_sub(1);
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.bytes(digits.get(start..).unwrap_or_default())
    }

    pub(crate) fn fail_unless(&mut self, good: bool, otherwise: HeadError) -> &mut Self {
        if !good && self.failed.is_none() {
            self.failed = Some(otherwise);
        }
        self
    }

    /// Returns how many bytes were written.
    pub(crate) fn finish(&self) -> Result<usize, HeadError> {
        match self.failed {
            Some(bad) => Err(bad),
            None => Ok(self.len),
        }
    }
}
