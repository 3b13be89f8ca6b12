//! The roles server and client as types: the role decides who masks (RFC 6455 §5.1).

#![forbid(unsafe_code)]

use crate::mask::mask;

/// The role of this side of a connection: [`Server`] or [`Client`].
pub trait Role: sealed::Sealed {
    /// Whether the role is the server's.
    const SERVER: bool;
    /// Returns what masks frames; `None` for a server, which must not mask.
    #[doc(hidden)]
    fn masker(&mut self) -> Option<&mut dyn sealed::Masker>;
}

/// The role of the server, which receives masked frames and sends unmasked ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct Server;

/// The role of the client, which sends masked frames and receives unmasked ones. It owns the source of its masking keys.
///
/// It is not `Clone`, as two connections would then mask with the same keys.
#[derive(Debug)]
pub struct Client<K: MaskingKey>(K);

impl<K: MaskingKey> Client<K> {
    /// Creates the role with a source of masking keys.
    #[must_use]
    pub const fn new(keys: K) -> Self {
        Self(keys)
    }
}

/// A source of masking keys.
///
/// > The masking key needs to be unpredictable; thus, the masking key MUST be derived from a strong source
/// > of entropy, and the masking key for a given frame MUST NOT make it simple for a server/proxy to predict
/// > the masking key for a subsequent frame. (RFC 6455 §5.3)
///
/// Every `FnMut() -> [u8; 4]` implements it: use `|| rng.next_u32().to_ne_bytes()` over a cryptographic generator, or a
/// chip's hardware random number generator. Do not clone a source that owns the state of its generator, or use it on both
/// sides of a fork: the copies return equal keys. This applies to closures that own such a source, too.
///
/// ```
/// use sansocket::proto::Encoder;
/// use sansocket::{Client, Kind, TransmitBuffer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut memory = [0; 140];
/// let mut tx = TransmitBuffer::new(&mut memory)?;
/// let keys = || [0x37, 0xfa, 0x21, 0x3d]; // from a random number generator
/// Encoder::new(Client::new(keys)).send(&mut tx, Kind::Text, b"Hello")?;
/// assert_eq!(tx.pending(), b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"); // RFC 6455 §5.7
/// # Ok(())
/// # }
/// ```
pub trait MaskingKey {
    /// Returns a fresh key for one frame.
    fn masking_key(&mut self) -> [u8; 4];
}

impl<F: FnMut() -> [u8; 4]> MaskingKey for F {
    fn masking_key(&mut self) -> [u8; 4] {
        self()
    }
}

impl Role for Server {
    const SERVER: bool = true;

    #[inline]
    fn masker(&mut self) -> Option<&mut dyn sealed::Masker> {
        None
    }
}

impl<K: MaskingKey> Role for Client<K> {
    const SERVER: bool = false;

    #[inline]
    fn masker(&mut self) -> Option<&mut dyn sealed::Masker> {
        Some(&mut self.0)
    }
}

impl<K: MaskingKey> sealed::Masker for K {
    fn begin(&mut self, slot: &mut [u8], payload: &mut [u8]) -> [u8; 4] {
        let key = self.masking_key();
        if let Some(slot) = slot.first_chunk_mut() {
            *slot = key;
        }
        mask(key, payload)
    }

    fn go_on(&mut self, key: [u8; 4], payload: &mut [u8]) -> [u8; 4] {
        mask(key, payload)
    }
}

pub(crate) use sealed::Masker;

mod sealed {
    pub trait Sealed {}

    /// Masks frames. The trait keeps the masking code out of programs that are only servers.
    pub trait Masker {
        /// Writes a fresh key into `slot`, masks the beginning of a payload, and returns the key for its next byte.
        fn begin(&mut self, slot: &mut [u8], payload: &mut [u8]) -> [u8; 4];
        /// Masks the next part of a payload, and returns the key for its next byte.
        fn go_on(&mut self, key: [u8; 4], payload: &mut [u8]) -> [u8; 4];
    }

    impl Sealed for super::Server {}
    impl<K: super::MaskingKey> Sealed for super::Client<K> {}
}
