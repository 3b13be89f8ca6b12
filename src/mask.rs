//! Masking (RFC 6455 §5.3).

#![forbid(unsafe_code)]

/// Masks or unmasks `payload` in place and returns the key for the byte that follows it.
///
/// > Octet i of the transformed data ("transformed-octet-i") is the XOR of octet i of the original
/// > data ("original-octet-i") with octet at index i modulo 4 of the masking key
///
/// The key that comes back is rotated by the length, so that a payload may be cut anywhere: mask each
/// piece with the key which the piece before it returned.
#[inline]
#[must_use = "the next piece of this payload needs the key that is returned"]
pub fn mask(key: [u8; 4], payload: &mut [u8]) -> [u8; 4] {
    let len = payload.len();
    let word = u32::from_ne_bytes(key);
    let mut words = payload.chunks_exact_mut(WORD);
    for chunk in &mut words {
        xor(chunk, word);
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
    rotate(key, len)
}

/// The key as it stands `len` bytes further on.
#[inline]
pub(crate) fn rotate(key: [u8; 4], len: usize) -> [u8; 4] {
    let [a, b, c, d] = key;
    match len & 3 {
        0 => [a, b, c, d],
        1 => [b, c, d, a],
        2 => [c, d, a, b],
        _ => [d, a, b, c],
    }
}

/// Bytes masked at a step: a multiple of four, so that every step begins with the key's first byte.
const WORD: usize = if cfg!(target_pointer_width = "64") { 8 } else { 4 };

#[cfg(target_pointer_width = "64")]
#[inline(always)]
fn xor(chunk: &mut [u8], key: u32) {
    if let Ok(bytes) = <&mut [u8; WORD]>::try_from(chunk) {
        let key = u64::from(key) | (u64::from(key) << 32);
        *bytes = (u64::from_ne_bytes(*bytes) ^ key).to_ne_bytes();
    }
}

#[cfg(not(target_pointer_width = "64"))]
#[inline(always)]
fn xor(chunk: &mut [u8], key: u32) {
    if let Ok(bytes) = <&mut [u8; WORD]>::try_from(chunk) {
        *bytes = (u32::from_ne_bytes(*bytes) ^ key).to_ne_bytes();
    }
}
