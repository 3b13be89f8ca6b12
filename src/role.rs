//! Server or client: who masks (RFC 6455 §5.1), decided in types.

#![forbid(unsafe_code)]

use crate::mask::mask;

/// Which side of a connection this is: [`Server`] or [`Client`].
pub trait Role: sealed::Sealed {
    /// Whether this is the server.
    const SERVER: bool;
    /// What masks frames; `None` for a server, which must not mask.
    #[doc(hidden)]
    fn masker(&mut self) -> Option<&mut dyn sealed::Masker>;
}

/// The server: receives masked frames, sends unmasked ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct Server;

/// The client: sends masked frames, receives unmasked ones. It cannot exist without a source of masking keys.
///
/// It cannot be cloned: two connections would mask with the same keys.
#[derive(Debug)]
pub struct Client<K: MaskingKey>(pub K);

/// A source of masking keys.
///
/// > The masking key needs to be unpredictable; thus, the masking key MUST be derived from a strong source
/// > of entropy, and the masking key for a given frame MUST NOT make it simple for a server/proxy to predict
/// > the masking key for a subsequent frame. (RFC 6455 §5.3)
///
/// Every `FnMut() -> [u8; 4]` is one: `|| rng.next_u32().to_ne_bytes()` over a cryptographic generator, or
/// a chip's generator of true random numbers. A source with a state of its own must not be cloned, nor be used on both
/// sides of a fork: its copies give the same keys. Neither must a closure that owns one.
pub trait MaskingKey {
    /// A fresh key, for one frame.
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

    /// Masks frames. The code for it stands behind this trait, so that a server links none of it.
    pub trait Masker {
        /// Writes a fresh key into `slot` and masks the beginning of a payload; the key for what follows.
        fn begin(&mut self, slot: &mut [u8], payload: &mut [u8]) -> [u8; 4];
        /// Masks the next part of a payload; the key for what follows.
        fn go_on(&mut self, key: [u8; 4], payload: &mut [u8]) -> [u8; 4];
    }

    impl Sealed for super::Server {}
    impl<K: super::MaskingKey> Sealed for super::Client<K> {}
}
