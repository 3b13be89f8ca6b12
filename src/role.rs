//! Server or client: who masks (RFC 6455 §5.1), decided in types.

#![forbid(unsafe_code)]

/// Which side of a connection this is: [`Server`] or [`Client`].
pub trait Role: sealed::Sealed {
    /// Whether this is the server.
    const SERVER: bool;
    /// A key for the next frame; `None` for a server, which must not mask.
    #[doc(hidden)]
    fn masking_key(&mut self) -> Option<[u8; 4]>;
}

/// The server: receives masked frames, sends unmasked ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct Server;

/// The client, which cannot exist without a source of masking keys.
#[derive(Clone, Copy, Debug)]
pub struct Client<K: MaskingKey>(pub K);

/// A source of masking keys.
///
/// > The masking key needs to be unpredictable; thus, the masking key MUST be derived from a strong source
/// > of entropy, and the masking key for a given frame MUST NOT make it simple for a server/proxy to predict
/// > the masking key for a subsequent frame. (RFC 6455 §5.3)
///
/// Every `FnMut() -> [u8; 4]` is one: `|| rng.next_u32().to_ne_bytes()` over a cryptographic generator, or
/// a chip's generator of true random numbers.
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

    fn masking_key(&mut self) -> Option<[u8; 4]> {
        None
    }
}

impl<K: MaskingKey> Role for Client<K> {
    const SERVER: bool = false;

    fn masking_key(&mut self) -> Option<[u8; 4]> {
        Some(self.0.masking_key())
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Server {}
    impl<K: super::MaskingKey> Sealed for super::Client<K> {}
}
