//! Masking with vector instructions that the compiler may not assume, chosen at run time.
//!
//! On aarch64 there is nothing to choose: NEON belongs to the baseline, and the compiler uses it for the portable loop.

#![allow(unsafe_code, reason = "a function with a target feature is called")]

use crate::mask::words;

/// Payloads below this length, in bytes, gain nothing.
const LEAST: usize = 256;

/// Masks as [`words`] does. Returns `None`, and leaves the payload unchanged, if it is short or the processor has no AVX2.
#[inline]
pub(crate) fn mask(key: u32, payload: &mut [u8]) -> Option<u32> {
    if payload.len() < LEAST || !std::is_x86_feature_detected!("avx2") {
        return None;
    }
    // SAFETY: the processor has AVX2.
    Some(unsafe { avx2(key, payload) })
}

/// [`words`], compiled for AVX2.
///
/// # Safety
/// The processor has AVX2.
#[target_feature(enable = "avx2")]
unsafe fn avx2(key: u32, payload: &mut [u8]) -> u32 {
    words(key, payload)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::{LEAST, avx2, words};

    /// The definition in RFC 6455 §5.3.
    fn by_octet(key: u32, payload: &mut [u8]) {
        payload.iter_mut().zip(key.to_le_bytes().into_iter().cycle()).for_each(|(octet, key)| *octet ^= key);
    }

    #[test]
    fn vectors_and_words_mask_as_the_definition_at_every_length_alignment_and_phase() {
        if !std::is_x86_feature_detected!("avx2") {
            std::eprintln!("skipped: needs a processor with AVX2");
        }
        let source: Vec<u8> = (0..2 * LEAST + 64).map(|i| (i * 7 + i / 256) as u8).collect();
        for len in 0..=2 * LEAST {
            for start in 0..32 {
                for phase in [0, 8, 16, 24] {
                    let key = 0x0F1E_2D3C_u32.rotate_right(phase);
                    let payload = start..start + len;
                    let (mut octets, mut portable, mut vectors) =
                        (source.clone(), source.clone(), source.clone());
                    by_octet(key, &mut octets[payload.clone()]);
                    let next = words(key, &mut portable[payload.clone()]);
                    assert_eq!(portable, octets, "words: {len} bytes from {start}, key {key:#x}");
                    assert_eq!(next, key.rotate_right(8 * (len as u32 % 4)));
                    if std::is_x86_feature_detected!("avx2") {
                        // SAFETY: the processor has AVX2.
                        assert_eq!(unsafe { avx2(key, &mut vectors[payload]) }, next);
                        assert_eq!(vectors, octets, "AVX2: {len} bytes from {start}, key {key:#x}");
                    }
                }
            }
        }
    }
}
