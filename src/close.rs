//! Status codes and the body of a Close frame (RFC 6455 §5.5.1, §7.4).

#![forbid(unsafe_code)]

use core::fmt;
use core::num::NonZeroU16;

/// A status code that a Close frame can carry.
///
/// 1000 to 2999 are the codes of RFC 6455 and its registry, 3000 to 3999 those of registered libraries and frameworks, 4000 to
/// 4999 those of applications (§7.4.2). No value of this type is one of the codes that a Close frame must not carry: 1004,
/// 1005, 1006, 1015, the unassigned ones below 3000, and all from 5000.
///
/// ```
/// use sansocket::CloseCode;
///
/// assert_eq!(CloseCode::NORMAL.get(), 1000);
/// assert_eq!(CloseCode::new(4001).map(CloseCode::get), Some(4001));
/// assert_eq!(CloseCode::new(1006), None); // stands for a connection that ended without a Close
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct CloseCode(NonZeroU16);

impl CloseCode {
    /// 1000: the connection has fulfilled its purpose.
    pub const NORMAL: Self = Self::known(1000);
    /// 1001: the endpoint goes away: a server shuts down, or a browser leaves the page.
    pub const GOING_AWAY: Self = Self::known(1001);
    /// 1002: a protocol error.
    pub const PROTOCOL_ERROR: Self = Self::known(1002);
    /// 1003: the endpoint cannot accept this type of data, for example a binary message where it understands only text.
    pub const UNSUPPORTED_DATA: Self = Self::known(1003);
    /// 1007: the data does not fit the type of the message, for example a text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self::known(1007);
    /// 1008: a message violates the policy of the endpoint.
    pub const POLICY_VIOLATION: Self = Self::known(1008);
    /// 1009: a message is too big to process.
    pub const MESSAGE_TOO_BIG: Self = Self::known(1009);
    /// 1010: the server did not negotiate an extension that the client needs.
    pub const MANDATORY_EXTENSION: Self = Self::known(1010);
    /// 1011: the server met an unexpected condition.
    pub const INTERNAL_ERROR: Self = Self::known(1011);
    /// 1012: the service restarts.
    pub const SERVICE_RESTART: Self = Self::known(1012);
    /// 1013: try again later.
    pub const TRY_AGAIN_LATER: Self = Self::known(1013);
    /// 1014: a gateway received an invalid response from upstream.
    pub const BAD_GATEWAY: Self = Self::known(1014);

    /// Converts a number to a code; returns `None` if a Close frame must not carry it.
    #[must_use]
    pub const fn new(code: u16) -> Option<Self> {
        // Ranges of 32 bits take less code on riscv32.
        match code as u32 {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self::known(code)),
            _ => None,
        }
    }

    /// Converts a number that is not zero. `NonZeroU16` keeps an `Option` of it at two bytes.
    const fn known(code: u16) -> Self {
        match NonZeroU16::new(code) {
            Some(code) => Self(code),
            None => Self(NonZeroU16::MIN),
        }
    }

    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for CloseCode {
    /// Writes the number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// The longest reason of a Close frame: 123 bytes. A control frame carries 125 bytes, and the status code takes two of them.
pub const MAX_CLOSE_REASON: usize = 123;

/// Cuts a reason at the last character that a Close has room for.
pub(crate) fn cut_reason(reason: &str) -> &str {
    let mut len = reason.len().min(MAX_CLOSE_REASON);
    while !reason.is_char_boundary(len) {
        len = len.saturating_sub(1);
    }
    reason.get(..len).unwrap_or_default()
}
