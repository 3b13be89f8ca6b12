//! Memory for one message.

#![forbid(unsafe_code)]

use crate::buffer::copy;
use crate::error::MessageTooBig;

/// Memory for one message: a slice ([`SliceStorage`]) or an array ([`ArrayStorage`]), with `alloc` a `Vec<u8>`, with `bytes` a
/// `BytesMut`.
///
/// ```
/// use sansocket::message::{ArrayStorage, MessageStorage};
///
/// let mut storage = ArrayStorage::<8>::new();
/// storage.push(b"Hello")?;
/// assert!(storage.push(b", world").is_err()); // 12 bytes do not fit
/// assert_eq!(storage.as_bytes(), b"Hello");
/// # Ok::<_, sansocket::error::MessageTooBig>(())
/// ```
pub trait MessageStorage {
    /// Appends `piece`.
    ///
    /// # Errors
    /// [`MessageTooBig`] if it does not fit; the storage is then unchanged.
    fn push(&mut self, piece: &[u8]) -> Result<(), MessageTooBig>;

    /// Removes all bytes. A `Vec` of more than 4 KiB gives its memory back.
    fn clear(&mut self);

    /// Returns the bytes.
    fn as_bytes(&self) -> &[u8];
}

/// A slice as [`MessageStorage`].
#[derive(Debug)]
pub struct SliceStorage<'m> {
    memory: &'m mut [u8],
    len: usize,
}

/// An array of `N` bytes as [`MessageStorage`].
#[derive(Clone, Debug)]
pub struct ArrayStorage<const N: usize> {
    memory: [u8; N],
    len: usize,
}

impl<'m> SliceStorage<'m> {
    /// Creates an empty storage in borrowed memory.
    #[must_use]
    pub const fn new(memory: &'m mut [u8]) -> Self {
        Self { memory, len: 0 }
    }
}

impl<const N: usize> ArrayStorage<N> {
    /// Creates an empty storage.
    #[must_use]
    pub const fn new() -> Self {
        Self { memory: [0; N], len: 0 }
    }
}

impl<const N: usize> Default for ArrayStorage<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Implements the storage of a fixed size.
macro_rules! fixed {
    () => {
        fn push(&mut self, piece: &[u8]) -> Result<(), MessageTooBig> {
            let free = self.memory.get_mut(self.len..).unwrap_or_default();
            if piece.len() > free.len() {
                return Err(MessageTooBig);
            }
            self.len = self.len.saturating_add(copy(free, piece));
            Ok(())
        }

        fn clear(&mut self) {
            self.len = 0;
        }

        fn as_bytes(&self) -> &[u8] {
            self.memory.get(..self.len).unwrap_or_default()
        }
    };
}

impl MessageStorage for SliceStorage<'_> {
    fixed!();
}

impl<const N: usize> MessageStorage for ArrayStorage<N> {
    fixed!();
}

/// What a `Vec` keeps for the next message, so that many idle connections hold little.
#[cfg(feature = "alloc")]
const KEPT: usize = 4096;

#[cfg(feature = "alloc")]
impl MessageStorage for alloc::vec::Vec<u8> {
    fn push(&mut self, piece: &[u8]) -> Result<(), MessageTooBig> {
        self.try_reserve(piece.len()).map_err(|_| MessageTooBig)?;
        self.extend_from_slice(piece);
        Ok(())
    }

    fn clear(&mut self) {
        if self.capacity() > KEPT {
            *self = Self::new();
        }
        self.clear();
    }

    fn as_bytes(&self) -> &[u8] {
        self
    }
}

#[cfg(feature = "bytes")]
impl MessageStorage for bytes::BytesMut {
    fn push(&mut self, piece: &[u8]) -> Result<(), MessageTooBig> {
        // `BytesMut::reserve` aborts if there is no memory. `Vec` reports that.
        if !self.try_reclaim(piece.len()) {
            let len = self.len().saturating_add(piece.len());
            let mut grown = alloc::vec::Vec::new();
            grown.try_reserve_exact(len.max(self.capacity().saturating_mul(2))).map_err(|_| MessageTooBig)?;
            grown.extend_from_slice(self);
            // Takes over the memory of the `Vec`.
            *self = grown.into_iter().collect();
        }
        self.extend_from_slice(piece);
        Ok(())
    }

    fn clear(&mut self) {
        self.clear();
    }

    fn as_bytes(&self) -> &[u8] {
        self
    }
}
