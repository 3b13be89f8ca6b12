//! `Sec-WebSocket-Key`, and `Sec-WebSocket-Accept` that belongs to it (RFC 6455 §4.2.2).

#![forbid(unsafe_code)]

use super::{SMALL, compact_sha1};
use sha1::block_api::compress;

/// The value of `Sec-WebSocket-Accept`: a SHA-1 hash in base64.
pub type AcceptKey = [u8; 28];

const GUID: &[u8; 36] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

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
    encode(&digest(key), &mut accept);
    accept
}

fn digest(key: &[u8]) -> [u8; 20] {
    match key.try_into() {
        Ok(key) if cfg!(target_pointer_width = "64") => digest_at_once(key),
        _ => compact_sha1::digest::<SMALL>([key, GUID]),
    }
}

/// Hashes a key of the right length, which takes two blocks with the GUID, the bit behind them and the length in bits.
fn digest_at_once(key: &[u8; 24]) -> [u8; 20] {
    let (mut state, mut blocks) = (compact_sha1::INITIAL, [[0; 64]; 2]);
    let [first, [.., high, low]] = &mut blocks;
    if let Some((place, rest)) = first.split_first_chunk_mut() {
        *place = *key;
        if let Some((place, [end, ..])) = rest.split_first_chunk_mut() {
            (*place, *end) = (*GUID, 0x80);
        }
    }
    [*high, *low] = (60_u16 * 8).to_be_bytes();
    compress(&mut state, &blocks);
    compact_sha1::to_bytes(&state)
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
    let mut bytes = bytes.iter();
    for digits in out.chunks_exact_mut(4) {
        // Three bytes are four digits; where a byte is missing, so is a digit.
        let (mut bits, mut count) = (0_u32, 1_u32);
        for _ in 0..3 {
            bits <<= 8;
            if let Some(byte) = bytes.next() {
                (bits, count) = (bits | u32::from(*byte), count.wrapping_add(1));
            }
        }
        for digit in digits {
            let value = DIGITS.get((bits >> 18 & 0x3F) as usize).copied().unwrap_or_default();
            *digit = if count > 0 { value } else { b'=' };
            (bits, count) = (bits << 6, count.saturating_sub(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use sha1::{Digest, Sha1};

    use super::{GUID, digest};

    #[test]
    fn keys_of_every_length_are_hashed() {
        let key: [u8; 100] = core::array::from_fn(|i| (i * 37 + 1) as u8);
        for len in 0..=key.len() {
            let theirs: [u8; 20] = Sha1::new().chain_update(&key[..len]).chain_update(GUID).finalize().into();
            assert_eq!(digest(&key[..len]), theirs, "{len} bytes");
        }
    }
}
