//! Masking with vector instructions that the compiler may not assume, chosen at run time.
//!
//! On aarch64 there is nothing to choose: NEON belongs to the baseline, and the compiler uses it for the portable loop.

#![allow(unsafe_code, reason = "functions with a target feature are called")]

/// Payloads below this length, in bytes, gain nothing.
const LEAST: usize = 64;

/// Masks as [`words`](crate::mask::words) does. Returns `None`, and leaves the payload unchanged, if it is short or the
/// processor has no AVX2.
#[inline(always)]
pub(crate) fn mask(key: u32, payload: &mut [u8]) -> Option<u32> {
    if payload.len() < LEAST {
        return None;
    }
    // AVX-512 without VBMI2 is that of Skylake-X and Cascade Lake, which lower their clock for 512-bit vectors. Ice Lake, Zen 4
    // and their successors have both.
    if std::is_x86_feature_detected!("avx512vbmi2") {
        // SAFETY: the processor has the feature, and with it those that it implies.
        return Some(unsafe { avx512(key, payload) });
    }
    // SAFETY: the processor has the feature, and with it those that it implies.
    std::is_x86_feature_detected!("avx2").then(|| unsafe { avx2(key, payload) })
}

#[target_feature(enable = "avx512vbmi2")]
fn avx512(key: u32, payload: &mut [u8]) -> u32 {
    vectors(key, payload)
}

#[target_feature(enable = "avx2")]
fn avx2(key: u32, payload: &mut [u8]) -> u32 {
    vectors(key, payload)
}

/// Masks at least [`LEAST`] bytes, in the widest vectors that its caller is compiled for. The first and the last 64 bytes may
/// overlap each other and what lies between: they are loaded before the others are masked, and stored behind them.
#[inline(always)]
fn vectors(key: u32, payload: &mut [u8]) -> u32 {
    let next = turned(key, payload.len());
    let (Some(&(mut first)), Some(&(mut last))) = (payload.first_chunk::<64>(), payload.last_chunk::<64>())
    else {
        return key;
    };
    xor(&mut first, key);
    xor(&mut last, next);
    if payload.len() > 128 {
        // A store across two cache lines costs two.
        let start = payload.as_ptr().addr().wrapping_neg() & 63;
        let key = turned(key, start);
        // The compiler unrolls the loop to 256 bytes, and would mask what is left over word by word.
        let (blocks, rest) = payload.get_mut(start..).unwrap_or_default().as_chunks_mut::<256>();
        xor(blocks.as_flattened_mut(), key);
        let (half, rest) = rest.split_at_mut(rest.len() & 128);
        if let Some(block) = half.first_chunk_mut::<128>() {
            xor(block, key);
        }
        if let Some(block) = rest.first_chunk_mut::<64>() {
            xor(block, key);
        }
    }
    if let Some(place) = payload.first_chunk_mut() {
        *place = first;
    }
    if let Some(place) = payload.last_chunk_mut() {
        *place = last;
    }
    next
}

#[inline(always)]
fn xor(bytes: &mut [u8], key: u32) {
    for word in bytes.as_chunks_mut().0 {
        *word = (u32::from_le_bytes(*word) ^ key).to_le_bytes();
    }
}

/// Returns the key for the byte that follows `len` bytes.
#[inline(always)]
const fn turned(key: u32, len: usize) -> u32 {
    key.rotate_right((len as u32 & 3) << 3)
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::{LEAST, avx2, avx512};
    use crate::mask::words;

    type Mask = fn(u32, &mut [u8]) -> u32;

    /// The definition in RFC 6455 §5.3.
    fn by_octet(key: u32, payload: &mut [u8]) {
        payload.iter_mut().zip(key.to_le_bytes().into_iter().cycle()).for_each(|(octet, key)| *octet ^= key);
    }

    #[test]
    fn vectors_and_words_mask_as_the_definition_at_every_length_alignment_and_phase() {
        let mut ways: Vec<(&str, usize, Mask)> = vec![("words", 0, words)];
        if std::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has the feature.
            ways.push(("AVX2", LEAST, |key, payload| unsafe { avx2(key, payload) }));
        }
        if std::is_x86_feature_detected!("avx512vbmi2") {
            // SAFETY: the processor has the feature.
            ways.push(("AVX-512", LEAST, |key, payload| unsafe { avx512(key, payload) }));
        }
        if ways.len() < 3 {
            std::eprintln!("skipped in part: needs a processor with AVX2 and AVX-512 VBMI2");
        }
        let plain: Vec<u8> = (0..700).map(|i| (i * 7 + i / 256) as u8).collect();
        for len in 0..=plain.len() {
            for phase in [0, 8, 16, 24] {
                let key = 0x0F1E_2D3C_u32.rotate_right(phase);
                let mut masked = plain[..len].to_vec();
                by_octet(key, &mut masked);
                for start in 0..64 {
                    let mut expected = vec![0xA5; start];
                    expected.extend_from_slice(&masked);
                    expected.resize(start + len + 64, 0xA5);
                    for (name, least, mask) in &ways {
                        if len < *least {
                            continue;
                        }
                        let mut memory = expected.clone();
                        memory[start..start + len].copy_from_slice(&plain[..len]);
                        let next = mask(key, &mut memory[start..start + len]);
                        assert_eq!(memory, expected, "{name}: {len} bytes from {start}, key {key:#x}");
                        assert_eq!(next, key.rotate_right(8 * (len as u32 % 4)));
                    }
                }
            }
        }
    }
}
