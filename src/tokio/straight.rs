//! A large frame, read past the receive buffer into the memory of its message.

#![forbid(unsafe_code)]

use core::task::{Context, Poll};

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncWrite};

use super::incoming::Incoming;
use super::link::Link;
use crate::event::{DetachedEvent, Event};
use crate::message::growing::Growing;
use crate::role::Role;

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> Link<S, R> {
    /// Returns whether so much of the current frame is missing that it is read separately. Such a read does not return the frames
    /// behind it.
    pub(super) fn is_worth_straight(&self, incoming: &Incoming) -> bool {
        self.connection.external_read_limit(&incoming.rx) >= self.rx_size() as u64
    }

    /// Reads once into the memory of the message. The end of the frame becomes an event. `None` if the read has to go through the
    /// receive buffer; otherwise whether something was read.
    pub(super) fn read_straight(&mut self, cx: &mut Context<'_>, incoming: &mut Incoming) -> Option<bool> {
        let Incoming { rx, held, straight: Some(message), .. } = incoming else { return None };
        let left = usize::try_from(self.connection.external_read_limit(rx)).unwrap_or(usize::MAX);
        if left == 0 {
            return None;
        }
        message.reserve(1, left as u64, self.connection.is_last_frame()).ok()?;
        let Growing(bytes) = message;
        let before = bytes.len();
        let room = left.min(bytes.capacity().saturating_sub(before));
        Some(match self.io.poll_read_buf(cx, &mut bytes.limit(room)) {
            Poll::Pending => false,
            Poll::Ready(Ok(0)) => {
                rx.end();
                true
            }
            Poll::Ready(Ok(_)) => {
                let read = bytes.get_mut(before..).unwrap_or_default();
                let chunk = self.connection.receive_external(self.io.time(), read);
                // The connection reports a violation itself.
                if let Some(shape) =
                    chunk.filter(|chunk| chunk.remaining == 0).map(|chunk| Event::Data(chunk).shape())
                {
                    *held = Some(DetachedEvent { shape, span: rx.span(0) });
                }
                true
            }
            Poll::Ready(Err(error)) => {
                self.read_failed(error);
                true
            }
        })
    }
}
