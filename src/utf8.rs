//! The incremental UTF-8 check (RFC 6455 §8.1, RFC 3629).

#![forbid(unsafe_code)]

#[cfg(not(feature = "std"))]
use core::str::from_utf8;
#[cfg(feature = "std")]
use simdutf8::compat::from_utf8;

/// Checks text that arrives in pieces, which may be split anywhere, and fails at the first byte that makes it invalid.
///
/// ```
/// use sansocket::error::InvalidUtf8;
/// use sansocket::proto::Utf8Validator;
///
/// let mut text = Utf8Validator::NEW;
/// assert_eq!(text.feed(b"na\xc3"), Ok(()));
/// assert_eq!(text.incomplete(), 1); // the text must not end here
/// assert_eq!(text.feed(b"\xafve"), Ok(()));
/// assert_eq!(text.incomplete(), 0);
/// assert_eq!(text.feed(b"\xff"), Err(InvalidUtf8));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8Validator {
    /// The beginning of an incomplete code point, and room for its last byte.
    carry: [u8; 4],
    len: u8,
}

/// An error: the bytes are not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[error("the text is not UTF-8")]
pub struct InvalidUtf8;

impl Utf8Validator {
    /// A validator at the beginning of a text.
    pub const NEW: Self = Self { carry: [0; 4], len: 0 };

    /// Checks the next piece.
    ///
    /// # Errors
    /// [`InvalidUtf8`] at the first byte after which no continuation can make the text valid. What later calls return is
    /// unspecified; they do not panic.
    pub fn feed(&mut self, mut piece: &[u8]) -> Result<(), InvalidUtf8> {
        while self.len > 0 {
            let Some((byte, rest)) = piece.split_first() else { return Ok(()) };
            piece = rest;
            self.complete(*byte)?;
        }
        match from_utf8(piece) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_none() => {
                let tail = piece.get(error.valid_up_to()..).unwrap_or_default();
                for (slot, byte) in self.carry.iter_mut().zip(tail) {
                    *slot = *byte;
                }
                self.len = (tail.len() & 3) as u8;
                Ok(())
            }
            Err(_) => Err(InvalidUtf8),
        }
    }

    /// Returns how many bytes at the end of the text so far belong to an incomplete code point: 0 to 3.
    #[must_use]
    pub const fn incomplete(&self) -> usize {
        self.len as usize
    }

    /// Adds one byte to the incomplete code point.
    fn complete(&mut self, byte: u8) -> Result<(), InvalidUtf8> {
        let len = usize::from(self.len);
        if let Some(slot) = self.carry.get_mut(len) {
            *slot = byte;
        }
        match from_utf8(self.carry.get(..=len).ok_or(InvalidUtf8)?) {
            Ok(_) => self.len = 0,
            Err(error) if error.error_len().is_none() => self.len = self.len.saturating_add(1),
            Err(_) => return Err(InvalidUtf8),
        }
        Ok(())
    }
}

/// Checks a whole text in one pass.
#[inline(never)]
pub(crate) fn whole(text: &[u8]) -> Result<&str, InvalidUtf8> {
    from_utf8(text).map_err(|_| InvalidUtf8)
}
