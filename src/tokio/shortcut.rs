//! Receiving and sending without a round of the loop: most messages arrive whole, and most streams take at once what is sent.

#![forbid(unsafe_code)]

use core::task::Context;

use tokio::io::{AsyncRead, AsyncWrite};

use super::incoming::Incoming;
use super::link::{Link, ROUNDS};
use crate::event::Chunk;
use crate::role::Role;

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> Link<S, R> {
    /// Takes a message that lies whole in the buffer. What one read has brought is taken without reading the clock, and before
    /// anything is written, so that many answers leave in one write.
    #[inline]
    pub(super) fn take_whole<'i>(&mut self, incoming: &'i mut Incoming) -> Option<Chunk<'i>> {
        if incoming.rx.is_empty() || incoming.is_holding() || self.is_told_to_close() {
            return None;
        }
        let mut view = incoming.rx.open();
        let data = self.connection.quick(self.now, &mut view.input)?;
        view.close();
        Some(data)
    }

    /// Returns whether only writing remains: no deadline has passed, no earlier write is pending, and neither a control frame nor the
    /// end of the stream has arrived before the next message.
    pub(super) fn is_settled(&mut self, cx: &mut Context<'_>, incoming: Option<&mut Incoming>) -> bool {
        if !self.connection.is_quiet(self.io.time())
            || self.connection.is_writing()
            || self.is_told_to_close()
        {
            return false;
        }
        let Some(incoming) = incoming else { return true };
        if incoming.has_message() || incoming.held.is_none() && self.connection.has_data(&incoming.rx) {
            return true;
        }
        // A control frame or the end of the stream may come next.
        let read = self.try_read(cx, Some(incoming));
        let rx = &incoming.rx;
        if rx.is_ended() || rx.unread().len() == rx.capacity() && !rx.is_empty() {
            return false;
        }
        rx.is_empty() && !read || incoming.held.is_none() && self.connection.expects_data(rx)
    }

    /// Puts the answer to the peer's Close, and writes as much as the stream takes at once: an application that has received the Close
    /// may drop the connection.
    pub(super) fn answer_close(&mut self, cx: &mut Context<'_>) {
        self.lend();
        for _ in 0..ROUNDS {
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
