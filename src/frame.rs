//! The frame header (RFC 6455 §5.2).
//!
//! ```text
//!  byte 0              byte 1              then
//!  F R R R o o o o     M l l l l l l l     length, 0, 2 or 8 bytes     key, 0 or 4 bytes     payload
//!  I S S S opcode      A length: 0-125,    big endian                  where MASK is set
//!  N V V V             S 126 = 2 bytes,
//!    1 2 3             K 127 = 8 bytes
//! ```

#![forbid(unsafe_code)]

use crate::error::Violation;

/// The length of the longest header in bytes: 2 bytes, an extended length of 8, and a masking key of 4.
pub const MAX_HEADER_LEN: usize = 14;
/// The length of the longest payload of a control frame, in bytes.
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// The opcode of a frame (RFC 6455 §11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum OpCode {
    /// 0: the next fragment of a message.
    Continuation = 0,
    /// 1: a text message, or its first fragment.
    Text = 1,
    /// 2: a binary message, or its first fragment.
    Binary = 2,
    /// 8: begins or answers the closing handshake.
    Close = 8,
    /// 9: requests a Pong.
    Ping = 9,
    /// 10: answers a Ping, or is unsolicited.
    Pong = 10,
}

impl OpCode {
    /// Returns the opcode with this number; `None` if it is reserved.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Continuation),
            1 => Some(Self::Text),
            2 => Some(Self::Binary),
            8 => Some(Self::Close),
            9 => Some(Self::Ping),
            10 => Some(Self::Pong),
            _ => None,
        }
    }

    /// Returns whether this is the opcode of a control frame: "Control frames are identified by opcodes where the most
    /// significant bit of the opcode is 1." (§5.5)
    #[must_use]
    pub const fn is_control(self) -> bool {
        self as u8 & 8 != 0
    }
}

/// The type of a message: text or binary (RFC 6455 §5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// Bytes.
    Binary,
}

impl From<Kind> for OpCode {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Text,
            Kind::Binary => Self::Binary,
        }
    }
}

/// The reserved bits of a header, RSV1 to RSV3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ReservedBits(u8);

impl ReservedBits {
    /// No reserved bit.
    pub const NONE: Self = Self(0);
    /// RSV1, which permessage-deflate uses (RFC 7692 §6).
    pub const RSV1: Self = Self(0x40);
    /// RSV2.
    pub const RSV2: Self = Self(0x20);
    /// RSV3.
    pub const RSV3: Self = Self(0x10);

    /// Returns whether all of `bits` are set.
    #[must_use]
    pub const fn contains(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }

    /// Returns the bits that are set in either value.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether this is the last frame of its message.
    pub fin: bool,
    /// The reserved bits.
    pub rsv: ReservedBits,
    /// The opcode.
    pub opcode: OpCode,
    /// The masking key; `None` if the payload is not masked.
    pub key: Option<[u8; 4]>,
    /// The length of the payload in bytes, at most 2^63 - 1.
    pub len: u64,
}

/// The rules by which [`Header::decode`] accepts a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderRules {
    /// Whether frames must be masked (as a server requires) or must not be (as a client requires).
    pub masked: bool,
    /// The reserved bits that extensions claim on data frames.
    pub rsv: ReservedBits,
    /// Whether a length may be encoded in more bytes than it needs.
    pub allow_long_length_form: bool,
}

impl Header {
    /// Decodes the header at the beginning of `input`, and returns it with its length in bytes; `None` if it is
    /// incomplete.
    ///
    /// # Errors
    /// A [`Violation`], as soon as `input` contains the first byte that shows it.
    #[inline]
    pub fn decode(input: &[u8], rules: &HeaderRules) -> Result<Option<(Self, usize)>, Violation> {
        let Some((&first, rest)) = input.split_first() else { return Ok(None) };
        let fin = first & 0x80 != 0;
        let rsv = ReservedBits(first & 0x70);
        let opcode = OpCode::new(first & 0x0F).ok_or(Violation::ReservedOpcode(first & 0x0F))?;
        // "MUST be 0 unless an extension is negotiated that defines meanings for non-zero values."
        let claimed = if opcode.is_control() { ReservedBits::NONE } else { rules.rsv };
        if !claimed.contains(rsv) {
            return Err(Violation::ReservedBits(rsv.0 >> 4));
        }
        // "All control frames MUST have a payload length of 125 bytes or less and MUST NOT be fragmented."
        if opcode.is_control() && !fin {
            return Err(Violation::FragmentedControl);
        }
        let Some((&second, rest)) = rest.split_first() else { return Ok(None) };
        match (second & 0x80 != 0, rules.masked) {
            // "The server MUST close the connection upon receiving a frame that is not masked."
            (false, true) => return Err(Violation::NotMasked),
            // "A client MUST close a connection if it detects a masked frame."
            (true, false) => return Err(Violation::Masked),
            _ => {}
        }
        let short = second & 0x7F;
        if opcode.is_control() && usize::from(short) > MAX_CONTROL_PAYLOAD {
            return Err(Violation::LongControl);
        }
        let extended = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        // Of a length that has not arrived whole, the rest counts as bytes that break no rule.
        let len = match extended {
            0 => u64::from(short),
            _ => (0..extended).fold(0, |len, at| len << 8 | u64::from(*rest.get(at).unwrap_or(&0x7F))),
        };
        // "the most significant bit MUST be 0"
        if len >> 63 != 0 {
            return Err(Violation::LengthBit);
        }
        // "in all cases, the minimal number of bytes MUST be used to encode the length"
        if !rules.allow_long_length_form && length_bytes(len) < extended {
            return Err(Violation::LongLengthForm);
        }
        let Some(rest) = rest.get(extended..) else { return Ok(None) };
        if !rules.masked {
            return Ok(Some((Self { fin, rsv, opcode, key: None, len }, 2_usize.saturating_add(extended))));
        }
        let Some((key, _)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let header = Self { fin, rsv, opcode, key: Some(*key), len };
        Ok(Some((header, 6_usize.saturating_add(extended))))
    }

    /// Writes the header to the front of `out`, and returns its length in bytes.
    #[must_use = "the header takes as many bytes as are returned"]
    pub fn encode(&self, out: &mut [u8; MAX_HEADER_LEN]) -> usize {
        let [first, second, rest @ ..] = out;
        *first = self.first();
        let extended = length_bytes(self.len);
        let (length, key) = rest.split_at_mut_checked(extended).unwrap_or_default();
        let short = if let Ok(slot) = <&mut [u8; 8]>::try_from(&mut *length) {
            *slot = self.len.to_be_bytes();
            127
        } else if let Ok(slot) = <&mut [u8; 2]>::try_from(length) {
            *slot = (self.len as u16).to_be_bytes();
            126
        } else {
            (self.len & 0x7F) as u8
        };
        *second = (u8::from(self.key.is_some()) << 7) | short;
        if let (Some(bytes), Some(slot)) = (self.key, key.first_chunk_mut::<4>()) {
            *slot = bytes;
        }
        header_len(self.len, self.key.is_some())
    }

    /// Returns the first byte.
    #[inline]
    pub(crate) fn first(&self) -> u8 {
        (u8::from(self.fin) << 7) | self.rsv.0 | self.opcode as u8
    }
}

/// Returns the length in bytes of a header for a payload of `len` bytes.
#[must_use]
pub(crate) const fn header_len(len: u64, masked: bool) -> usize {
    let key = if masked { 4 } else { 0 };
    2_usize.saturating_add(length_bytes(len)).saturating_add(key)
}

/// Returns how many bytes the shortest form of a length takes after the second byte of the header.
const fn length_bytes(len: u64) -> usize {
    match len {
        0..=125 => 0,
        126..=0xFFFF => 2,
        _ => 8,
    }
}
