//! The buffers of one connection.

#![forbid(unsafe_code)]

use crate::buffer::{ReceiveBuffer, TransmitBuffer};
use crate::error::BufferTooSmall;

/// The three buffers of a connection.
#[derive(Debug)]
pub struct Buffers<'b> {
    /// The head of the request or the answer; unused after the opening handshake.
    pub head: ReceiveBuffer<'b>,
    /// Received bytes.
    pub rx: ReceiveBuffer<'b>,
    /// Bytes to be written.
    pub tx: TransmitBuffer<'b>,
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

    /// Creates empty buffers with memory of their own, of these sizes in bytes.
    ///
    /// # Errors
    /// [`BufferTooSmall`] if one is smaller than [`MIN_BUFFER_LEN`](crate::proto::MIN_BUFFER_LEN).
    #[cfg(feature = "alloc")]
    pub fn with_capacity(head: usize, rx: usize, tx: usize) -> Result<Buffers<'static>, BufferTooSmall> {
        let head = ReceiveBuffer::with_capacity(head)?;
        let (rx, tx) = (ReceiveBuffer::with_capacity(rx)?, TransmitBuffer::with_capacity(tx)?);
        Ok(Buffers { head, rx, tx })
    }

    /// Empties the buffers for another connection.
    pub fn clear(&mut self) {
        self.head.clear();
        self.rx.clear();
        self.tx.clear();
    }
}
