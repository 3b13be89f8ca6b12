//! SHA-1 (FIPS 180-4 §6.1) where flash is scarce: padding that takes 250 bytes of flash instead of 600, over the blocks of the
//! crate `sha1`, or with feature `small` over compact blocks, which take 330 bytes instead of 3,260, and more time. On 64-bit
//! targets it hashes keys of a wrong length only.
//!
//! Here it protects nothing: it proves that the peer speaks WebSocket (RFC 6455 §1.3), over a key that everybody can read.

#![forbid(unsafe_code)]

use crate::buffer::copy;
use sha1::block_api::compress;

/// The state, and the block in progress. With `COMPACT` its sixteen words become the schedule of the rounds.
struct Sha1<const COMPACT: bool> {
    state: [u32; 5],
    block: [u32; 16],
    /// Bytes so far.
    len: usize,
}

/// The state before the first block.
pub(super) const INITIAL: [u32; 5] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0];

/// Returns the SHA-1 of the parts, one after the other.
pub(super) fn digest<const COMPACT: bool>(parts: [&[u8]; 2]) -> [u8; 20] {
    let mut sha1 = Sha1::<COMPACT> { state: INITIAL, block: [0; 16], len: 0 };
    for part in parts {
        part.iter().for_each(|byte| sha1.push(*byte));
    }
    let bits = (sha1.len as u64).wrapping_mul(8);
    sha1.push(0x80);
    while sha1.len % 64 != 56 {
        sha1.push(0);
    }
    let [.., high, low] = &mut sha1.block;
    (*high, *low) = ((bits >> 32) as u32, bits as u32);
    sha1.compress();
    to_bytes(&sha1.state)
}

/// Returns the digest that is this state after the last block.
pub(super) fn to_bytes(state: &[u32; 5]) -> [u8; 20] {
    let mut digest = [0; 20];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        let mut word = *word;
        for byte in bytes.iter_mut().rev() {
            *byte = word as u8;
            word >>= 8;
        }
    }
    digest
}

impl<const COMPACT: bool> Sha1<COMPACT> {
    #[inline(never)]
    fn push(&mut self, byte: u8) {
        if let Some(word) = self.block.get_mut(self.len / 4 % 16) {
            *word = *word << 8 | u32::from(byte);
        }
        self.len = self.len.wrapping_add(1);
        if self.len.is_multiple_of(64) {
            self.compress();
        }
    }

    #[inline(never)]
    fn compress(&mut self) {
        if COMPACT {
            return self.compress_compact();
        }
        let mut block = [0; 64];
        for (bytes, word) in block.chunks_exact_mut(4).zip(&self.block) {
            copy(bytes, &word.to_be_bytes());
        }
        compress(&mut self.state, &[block]);
    }

    fn compress_compact(&mut self) {
        let [mut a, mut b, mut c, mut d, mut e] = self.state;
        for round in 0..80_usize {
            let word =
                |back: usize| self.block.get(round.wrapping_sub(back) % 16).copied().unwrap_or_default();
            let value = match round {
                0..16 => word(0),
                _ => (word(3) ^ word(8) ^ word(14) ^ word(16)).rotate_left(1),
            };
            if let Some(word) = self.block.get_mut(round % 16) {
                *word = value;
            }
            let (choice, constant) = match round {
                0..20 => (b & c | !b & d, 0x5A82_7999),
                20..40 => (b ^ c ^ d, 0x6ED9_EBA1),
                40..60 => (b & c | b & d | c & d, 0x8F1B_BCDC_u32),
                _ => (b ^ c ^ d, 0xCA62_C1D6),
            };
            let next = a
                .rotate_left(5)
                .wrapping_add(choice)
                .wrapping_add(e)
                .wrapping_add(constant)
                .wrapping_add(value);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        }
        for (sum, value) in self.state.iter_mut().zip([a, b, c, d, e]) {
            *sum = sum.wrapping_add(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use sha1::{Digest, Sha1};

    use super::digest;

    #[test]
    fn all_give_the_same_at_every_length_and_split() {
        let bytes: [u8; 300] = core::array::from_fn(|i| (i * 31 + i / 7) as u8);
        for len in 0..=bytes.len() {
            let theirs: [u8; 20] = Sha1::digest(&bytes[..len]).into();
            for at in [0, 1, len / 3, len / 2, len.saturating_sub(1), len] {
                let at = at.min(len);
                let parts = [&bytes[..at], &bytes[at..len]];
                assert_eq!(digest::<true>(parts), theirs, "compact, {len} bytes, split at {at}");
                assert_eq!(digest::<false>(parts), theirs, "{len} bytes, split at {at}");
            }
        }
    }

    #[test]
    fn the_vectors_of_the_standard() {
        let words = |digest: [u8; 20]| {
            core::array::from_fn::<_, 5, _>(|i| {
                u32::from_be_bytes(core::array::from_fn(|j| digest[4 * i + j]))
            })
        };
        let abc = [0xa999_3e36, 0x4706_816a, 0xba3e_2571, 0x7850_c26c, 0x9cd0_d89d];
        assert_eq!(words(digest::<true>([b"abc", b""])), abc);
        let long = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        let two_blocks = [0x8498_3e44, 0x1c3b_d26e, 0xbaae_4aa1, 0xf951_29e5, 0xe546_70f1];
        assert_eq!(words(digest::<true>([b"", long])), two_blocks);
    }
}
