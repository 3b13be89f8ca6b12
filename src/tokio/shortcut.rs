//! What is done without a round of the loop: most messages arrive whole, and most streams take at once what is sent.

#![forbid(unsafe_code)]

use core::task::Context;

use tokio::io::{AsyncRead, AsyncWrite};

use super::incoming::Incoming;
use super::link::Link;
use crate::event::Chunk;
use crate::role::Role;

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> Link<S, R> {
    /// Takes a message that lies whole in the buffer. What one read has brought is taken without a look at the clock, and before
    /// anything is written, so that many answers leave in one write.
    #[inline]
    pub(super) fn take_whole<'i>(&mut self, incoming: &'i mut Incoming) -> Option<Chunk<'i>> {
        if incoming.rx.is_empty() || incoming.is_holding() || self.is_told_to_close() {
            return None;
        }
        self.connection.quick(self.now, &mut incoming.rx)
    }

    /// Returns whether nothing is to be done but to write: no deadline has passed, nothing written is waited for, and no control
    /// frame has arrived before the next message.
    pub(super) fn is_settled(&mut self, cx: &mut Context<'_>, incoming: Option<&mut Incoming>) -> bool {
        if !self.connection.is_quiet(self.io.time())
            || self.connection.is_writing()
            || self.is_told_to_close()
        {
            return false;
        }
        let Some(incoming) = incoming else { return true };
        if incoming.has_message() || incoming.rx.is_empty() && !self.try_read(cx, Some(incoming)) {
            return true;
        }
        incoming.held.is_none() && self.connection.expects_data(&incoming.rx)
    }

    /// Puts the answer to the peer's Close, and writes as much as the stream takes at once: an application that was told of the Close
    /// may drop the connection.
    pub(super) fn answer_close(&mut self, cx: &mut Context<'_>) {
        self.lend();
        loop {
            let (link, mut wire) = self.connection.parts(&mut self.tx);
            if link.is_close_pending() {
                link.reply(&mut wire);
            }
            if !self.write_on(cx) {
                return;
            }
        }
    }
}
