//! `Sec-WebSocket-Key`, and `Sec-WebSocket-Accept` that belongs to it (RFC 6455 §4.2.2).

#![forbid(unsafe_code)]

use super::{SMALL, compact_sha1};
use sha1::{Digest, Sha1};

/// The value of `Sec-WebSocket-Accept`: a SHA-1 hash in base64.
pub type AcceptKey = [u8; 28];

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Returns the value of `Sec-WebSocket-Accept` for a key.
///
/// > The value of this header field is constructed by concatenating /key/, [...] with the string
/// > "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", taking the SHA-1 hash of this concatenated value [...] and
/// > base64-encoding
///
/// The server's handshake calls it: it is for servers that answer upgrades themselves.
///
/// ```
/// use sansocket::handshake::accept_key;
///
/// // The example of RFC 6455 §1.3.
/// assert_eq!(&accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// ```
#[must_use]
pub fn accept_key(key: &[u8]) -> AcceptKey {
    let mut accept = [0; 28];
    encode(&digest([key, GUID]), &mut accept);
    accept
}

fn digest(parts: [&[u8]; 2]) -> [u8; 20] {
    if SMALL || cfg!(not(target_pointer_width = "64")) {
        return compact_sha1::digest::<SMALL>(parts);
    }
    let mut sha1 = Sha1::new();
    // A loop, as each call of `update` would link another copy of its code.
    for part in parts {
        sha1.update(part);
    }
    sha1.finalize().into()
}

/// Returns the value of `Sec-WebSocket-Key` for 16 random bytes.
pub(crate) fn encode_nonce(nonce: [u8; 16]) -> [u8; 24] {
    let mut key = [0; 24];
    encode(&nonce, &mut key);
    key
}

/// Returns whether a key is "a base64-encoded [...] value that, when decoded, is 16 bytes in length" (§4.2.1).
///
/// Does not decode: a decoder would link panic branches.
pub(crate) fn is_well_formed(key: &[u8]) -> bool {
    let digits = key.strip_suffix(b"==").unwrap_or_default();
    digits.len() == 22 && digits.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/'))
}

/// Encodes base64 (RFC 4648 §4) into memory of exactly the right size.
///
/// Replaces the crate `base64`, which links panic branches and the table for decoding.
#[inline(never)]
pub(super) fn encode(bytes: &[u8], out: &mut [u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    // The last `len` of `bits` are not yet encoded.
    let (mut bits, mut len, mut bytes) = (0_u32, 0_u32, bytes.iter());
    for digit in out {
        if len < 6 {
            match bytes.next() {
                Some(byte) => (bits, len) = (bits << 8 | u32::from(*byte), len.wrapping_add(8)),
                None if len == 0 => {
                    *digit = b'=';
                    continue;
                }
                None => (bits, len) = (bits << 6_u32.wrapping_sub(len), 6),
            }
        }
        len = len.wrapping_sub(6);
        *digit = DIGITS.get((bits >> len & 0x3F) as usize).copied().unwrap_or_default();
    }
}
