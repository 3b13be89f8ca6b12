//! Buffers for sessions that are not idle.

#![forbid(unsafe_code)]

use alloc::boxed::Box;
#[cfg(feature = "deflate")]
use alloc::vec;
use alloc::vec::Vec;

use super::settings::HubSettings;
#[cfg(feature = "deflate")]
use crate::arc::Arc;
use crate::buffer::{ReceiveBuffer, TransmitBuffer};
use crate::message::Prepared;

/// The buffers of a session that is not idle. A buffer that it does not need has no memory.
pub(super) struct Buffers {
    pub(super) head: ReceiveBuffer<'static>,
    pub(super) rx: ReceiveBuffer<'static>,
    pub(super) tx: TransmitBuffer<'static>,
}

/// Unused buffers, all of the configured sizes.
pub(super) struct Pool {
    heads: Vec<ReceiveBuffer<'static>>,
    /// Without a buffer for heads.
    #[expect(clippy::vec_box, reason = "lending moves the box only")]
    unused: Vec<Box<Buffers>>,
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
            unused: Vec::new(),
            #[cfg(feature = "deflate")]
            outputs: Vec::new(),
            #[cfg(feature = "deflate")]
            deflate: settings.deflate.clone(),
            sizes,
            spare: settings.pooled_buffers,
        }
    }

    /// Returns buffers for a session; the one for heads only if `head`.
    pub(super) fn lend(&mut self, head: bool) -> Box<Buffers> {
        let [head_size, rx_size, tx_size] = self.sizes;
        let receive = |size| ReceiveBuffer::with_capacity(size).unwrap_or_else(|_| ReceiveBuffer::none());
        let mut buffers = self.unused.pop().unwrap_or_else(|| {
            let tx = TransmitBuffer::with_capacity(tx_size).unwrap_or_else(|_| TransmitBuffer::none());
            Box::new(Buffers { head: ReceiveBuffer::none(), rx: receive(rx_size), tx })
        });
        if head {
            buffers.head = self.heads.pop().unwrap_or_else(|| receive(head_size));
        }
        buffers
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
    pub(super) fn take(&mut self, mut buffers: Box<Buffers>) {
        self.take_head(&mut buffers);
        #[cfg(feature = "deflate")]
        if let Some(output) = buffers.rx.detach_output().filter(|_| self.outputs.len() < self.spare) {
            self.outputs.push(output);
        }
        if self.unused.len() < self.spare {
            buffers.rx.clear();
            buffers.tx.clear();
            self.unused.push(buffers);
        }
    }
}

impl Default for Buffers {
    fn default() -> Self {
        Self { head: ReceiveBuffer::none(), rx: ReceiveBuffer::none(), tx: TransmitBuffer::none() }
    }
}
