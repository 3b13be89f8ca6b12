//! The buffers of one connection.

#![forbid(unsafe_code)]

use crate::buffer::{MIN_BUFFER_LEN, ReceiveBuffer, TransmitBuffer};
use crate::error::BufferTooSmall;

/// The three buffers of a connection.
///
/// Firmware lends their memory from a [`Memory`], a host lets them own it:
///
/// ```
/// use sansocket::session::Memory;
///
/// let mut memory = Memory { head: [0; 1024], rx: [0; 512], tx: [0; 256] };
/// let lent = memory.buffers();
/// assert_eq!(lent.rx.capacity(), 512);
///
/// # #[cfg(feature = "alloc")] {
/// use sansocket::session::{BufferSizes, Buffers};
///
/// let owned = Buffers::with_sizes(BufferSizes { transmit: 64 * 1024, ..BufferSizes::default() });
/// assert_eq!(owned.head.capacity(), 8 * 1024);
/// # }
/// ```
#[derive(Debug)]
pub struct Buffers<'b> {
    /// The head of the request or the response; unused after the opening handshake.
    pub head: ReceiveBuffer<'b>,
    /// Received bytes.
    pub rx: ReceiveBuffer<'b>,
    /// Bytes to be written.
    pub tx: TransmitBuffer<'b>,
}

/// Memory for [`Buffers`], without a heap. [`buffers`](Self::buffers) checks at compile time that each array has at least
/// [`MIN_BUFFER_LEN`](crate::proto::MIN_BUFFER_LEN) bytes.
///
/// ```
/// use sansocket::session::Memory;
///
/// let mut memory = Memory { head: [0; 1024], rx: [0; 512], tx: [0; 512] };
/// let buffers = memory.buffers();
/// assert!(buffers.tx.is_empty());
///
/// // A static has a type, which says the sizes:
/// static MEMORY: std::sync::Mutex<Memory<1024, 512, 512>> = std::sync::Mutex::new(Memory::new());
/// # assert_eq!(MEMORY.lock().unwrap().buffers().rx.capacity(), 512);
/// ```
///
/// ```compile_fail
/// // 64 bytes are too few.
/// let mut memory = sansocket::session::Memory { head: [0; 1024], rx: [0; 64], tx: [0; 512] };
/// let buffers = memory.buffers();
/// ```
#[derive(Clone, Debug)]
pub struct Memory<const HEAD: usize, const RX: usize, const TX: usize> {
    /// For the head of the request or the response.
    pub head: [u8; HEAD],
    /// For received bytes.
    pub rx: [u8; RX],
    /// For bytes to be written.
    pub tx: [u8; TX],
}

/// The sizes of [`Buffers`] in bytes. A size below [`MIN_BUFFER_LEN`](crate::proto::MIN_BUFFER_LEN) is raised to it.
#[cfg(feature = "alloc")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferSizes {
    /// For the head of the request or the response. Default: 8 KiB.
    pub head: usize,
    /// For received bytes: a larger frame arrives in chunks. Default: 16 KiB.
    pub receive: usize,
    /// For bytes to be written: a larger message is sent in pieces. Default: 16 KiB.
    pub transmit: usize,
}

impl<'b> Buffers<'b> {
    /// Creates empty buffers in borrowed memory.
    ///
    /// # Errors
    /// [`BufferTooSmall`] if one is smaller than [`MIN_BUFFER_LEN`](crate::proto::MIN_BUFFER_LEN).
    pub fn new(head: &'b mut [u8], rx: &'b mut [u8], tx: &'b mut [u8]) -> Result<Self, BufferTooSmall> {
        let head = ReceiveBuffer::new(head)?;
        Ok(Self { head, rx: ReceiveBuffer::new(rx)?, tx: TransmitBuffer::new(tx)? })
    }

    /// Creates empty buffers with memory of their own.
    #[cfg(feature = "alloc")]
    #[must_use]
    pub fn with_sizes(sizes: BufferSizes) -> Buffers<'static> {
        Buffers {
            head: ReceiveBuffer::owned(sizes.head),
            rx: ReceiveBuffer::owned(sizes.receive),
            tx: TransmitBuffer::owned(sizes.transmit),
        }
    }

    /// Empties the buffers for another connection.
    pub fn clear(&mut self) {
        self.head.clear();
        self.rx.clear();
        self.tx.clear();
    }
}

impl<const HEAD: usize, const RX: usize, const TX: usize> Memory<HEAD, RX, TX> {
    /// Creates the memory. The sizes come from its type, as a `static` has one.
    #[must_use]
    pub const fn new() -> Self {
        Self { head: [0; HEAD], rx: [0; RX], tx: [0; TX] }
    }

    /// Returns empty buffers in this memory. Whatever was lent before is free again.
    pub fn buffers(&mut self) -> Buffers<'_> {
        const {
            assert!(
                HEAD >= MIN_BUFFER_LEN && RX >= MIN_BUFFER_LEN && TX >= MIN_BUFFER_LEN,
                "a buffer needs at least MIN_BUFFER_LEN bytes"
            );
        }
        let Self { head, rx, tx } = self;
        Buffers { head: ReceiveBuffer::lent(head), rx: ReceiveBuffer::lent(rx), tx: TransmitBuffer::lent(tx) }
    }
}

impl<const HEAD: usize, const RX: usize, const TX: usize> Default for Memory<HEAD, RX, TX> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(feature = "alloc")]
impl Default for BufferSizes {
    fn default() -> Self {
        Self { head: 8 * 1024, receive: 16 * 1024, transmit: 16 * 1024 }
    }
}
