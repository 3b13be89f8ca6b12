//! Buffers for sessions that are not idle.

#![forbid(unsafe_code)]

#[cfg(feature = "deflate")]
use alloc::boxed::Box;
#[cfg(feature = "deflate")]
use alloc::vec;
use alloc::vec::Vec;

use super::settings::HubSettings;
#[cfg(feature = "deflate")]
use crate::arc::Arc;
use crate::buffer::{ReceiveBuffer, TransmitBuffer};
use crate::message::Prepared;

/// The buffers of a session. A buffer that it does not need has no memory.
pub(super) struct Buffers {
    pub(super) head: ReceiveBuffer<'static>,
    pub(super) rx: ReceiveBuffer<'static>,
    pub(super) tx: TransmitBuffer<'static>,
}

/// Unused buffers, all of the configured sizes.
pub(super) struct Pool {
    heads: Vec<ReceiveBuffer<'static>>,
    pairs: Vec<(ReceiveBuffer<'static>, TransmitBuffer<'static>)>,
    /// Memory for decoded bytes.
    #[cfg(feature = "deflate")]
    outputs: Vec<Box<[u8]>>,
    /// The codecs for messages that sessions share.
    #[cfg(feature = "deflate")]
    pub(super) deflate: Option<Arc<crate::deflate::Pool>>,
    sizes: [usize; 3],
    /// The most buffers of each kind that are kept.
    spare: usize,
}

impl Pool {
    pub(super) fn new(settings: &HubSettings) -> Self {
        let sizes = [settings.head_buffer, settings.receive_buffer, settings.transmit_buffer];
        Self {
            heads: Vec::new(),
            pairs: Vec::new(),
            #[cfg(feature = "deflate")]
            outputs: Vec::new(),
            #[cfg(feature = "deflate")]
            deflate: settings.deflate.clone(),
            sizes,
            spare: settings.pooled_buffers,
        }
    }

    /// Gives a session the buffers that it lacks; the one for heads only if `head`.
    pub(super) fn lend(&mut self, buffers: &mut Buffers, head: bool) {
        let [head_size, rx_size, tx_size] = self.sizes;
        if buffers.tx.capacity() == 0 {
            match self.pairs.pop() {
                Some((rx, tx)) => (buffers.rx, buffers.tx) = (rx, tx),
                None => {
                    buffers.rx =
                        ReceiveBuffer::with_capacity(rx_size).unwrap_or_else(|_| ReceiveBuffer::none());
                    buffers.tx =
                        TransmitBuffer::with_capacity(tx_size).unwrap_or_else(|_| TransmitBuffer::none());
                }
            }
        }
        if head && buffers.head.capacity() == 0 {
            buffers.head = self.heads.pop().unwrap_or_else(|| {
                ReceiveBuffer::with_capacity(head_size).unwrap_or_else(|_| ReceiveBuffer::none())
            });
        }
    }

    /// Lets the sessions that get `message` share a compressed frame of it, if the hub compresses.
    pub(super) fn shared(&self, message: Prepared) -> Prepared {
        #[cfg(feature = "deflate")]
        if self.deflate.is_some() {
            return message.share();
        }
        message
    }

    /// Gives a session memory for decoded bytes, if it has none.
    #[cfg(feature = "deflate")]
    pub(super) fn lend_output(&mut self, buffers: &mut Buffers) {
        let [_, size, _] = self.sizes;
        let outputs = &mut self.outputs;
        buffers.rx.attach_output(|| outputs.pop().unwrap_or_else(|| vec![0; size].into_boxed_slice()));
    }

    /// Takes back the buffer for heads.
    pub(super) fn take_head(&mut self, buffers: &mut Buffers) {
        if buffers.head.capacity() > 0 {
            let mut head = core::mem::replace(&mut buffers.head, ReceiveBuffer::none());
            if self.heads.len() < self.spare {
                head.clear();
                self.heads.push(head);
            }
        }
    }

    /// Takes back all buffers.
    pub(super) fn take(&mut self, buffers: &mut Buffers) {
        self.take_head(buffers);
        if buffers.tx.capacity() > 0 {
            let Buffers { mut rx, mut tx, .. } = core::mem::take(buffers);
            #[cfg(feature = "deflate")]
            if let Some(output) = rx.detach_output().filter(|_| self.outputs.len() < self.spare) {
                self.outputs.push(output);
            }
            if self.pairs.len() < self.spare {
                rx.clear();
                tx.clear();
                self.pairs.push((rx, tx));
            }
        }
    }
}

impl Buffers {
    /// Whether no buffer has memory.
    pub(super) fn are_none(&self) -> bool {
        self.head.capacity() == 0 && self.rx.capacity() == 0 && self.tx.capacity() == 0
    }
}

impl Default for Buffers {
    fn default() -> Self {
        Self { head: ReceiveBuffer::none(), rx: ReceiveBuffer::none(), tx: TransmitBuffer::none() }
    }
}
