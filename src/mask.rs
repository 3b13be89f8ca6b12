//! Masking (RFC 6455 §5.3).

#![forbid(unsafe_code)]

/// Masks or unmasks `payload` in place, and returns the key for the byte that follows it.
///
/// > Octet i of the transformed data ("transformed-octet-i") is the XOR of octet i of the original
/// > data ("original-octet-i") with octet at index i modulo 4 of the masking key
///
/// The returned key is rotated by the length, so that a payload can be split anywhere: mask each piece with the key that the
/// call for the piece before it returned. Masking twice with the same key returns the original.
///
/// ```
/// use sansocket::proto::mask;
///
/// let mut hello = *b"Hello"; // RFC 6455 §5.7
/// let next = mask([0x37, 0xfa, 0x21, 0x3d], &mut hello[..2]);
/// let _ = mask(next, &mut hello[2..]);
/// assert_eq!(hello, [0x7f, 0x9f, 0x4d, 0x51, 0x58]);
/// ```
#[inline]
#[must_use = "the next piece of this payload needs the key that is returned"]
pub fn mask(key: [u8; 4], payload: &mut [u8]) -> [u8; 4] {
    apply(u32::from_le_bytes(key), payload).to_le_bytes()
}

#[cfg(target_pointer_width = "64")]
#[inline]
fn apply(key: u32, payload: &mut [u8]) -> u32 {
    #[cfg(all(feature = "std", target_arch = "x86_64"))]
    if let Some(next) = crate::simd::mask(key, payload) {
        return next;
    }
    words(key, payload)
}

/// Masks in words, of which the last may overlap the one before it. Only payloads of 1 to 3 bytes are masked bytewise.
#[cfg(target_pointer_width = "64")]
#[inline(always)]
pub(crate) fn words(narrow: u32, payload: &mut [u8]) -> u32 {
    let wide = u64::from(narrow) << 32 | u64::from(narrow);
    // Rotates the key for the last word, which begins a multiple of four bytes before the end.
    let turn = (payload.len() as u32 & 3) << 3;
    if let Some(&last) = payload.last_chunk() {
        let last = u64::from_le_bytes(last) ^ wide.rotate_right(turn);
        if payload.len() > 16 {
            for word in payload.as_chunks_mut().0 {
                *word = (u64::from_le_bytes(*word) ^ wide).to_le_bytes();
            }
        } else if let Some(word) = payload.first_chunk_mut() {
            *word = (u64::from_le_bytes(*word) ^ wide).to_le_bytes();
        }
        if let Some(word) = payload.last_chunk_mut() {
            *word = last.to_le_bytes();
        }
    } else if let (Some(&first), Some(&last)) = (payload.first_chunk(), payload.last_chunk()) {
        let last = u32::from_le_bytes(last) ^ narrow.rotate_right(turn);
        if let Some(word) = payload.first_chunk_mut() {
            *word = (u32::from_le_bytes(first) ^ narrow).to_le_bytes();
        }
        if let Some(word) = payload.last_chunk_mut() {
            *word = last.to_le_bytes();
        }
    } else {
        for (byte, key) in payload.iter_mut().zip(narrow.to_le_bytes()) {
            *byte ^= key;
        }
    }
    narrow.rotate_right(turn)
}

/// Masks in aligned words, as small processors access unaligned ones byte by byte. The key rotates with each byte, so that
/// its lowest byte is always the one for the next byte of the payload.
#[cfg(not(target_pointer_width = "64"))]
#[inline]
fn apply(mut key: u32, payload: &mut [u8]) -> u32 {
    let (front, words, back) = bytemuck::pod_align_to_mut::<u8, u32>(payload);
    let mask = |bytes: &mut [u8], mut key: u32| {
        for byte in bytes {
            *byte ^= key as u8;
            key = key.rotate_right(8);
        }
        key
    };
    key = mask(front, key);
    words.iter_mut().for_each(|word| *word ^= key.to_le());
    mask(back, key)
}
