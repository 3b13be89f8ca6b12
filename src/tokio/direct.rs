//! A long message of a server, written from where it lies.

#![forbid(unsafe_code)]

use core::task::{Context, Poll, ready};
use std::boxed::Box;
use std::io::{self, IoSlice};

use bytes::Buf;
use tokio::io::{AsyncRead, AsyncWrite};

use super::link::Link;
use super::outgoing::Body;
use crate::buffer::copy;
use crate::frame::{Header, Kind, MAX_HEADER_LEN, ReservedBits};
use crate::role::Role;

/// The header of the message, of which the payload is [`Link::rest`]. Both go before everything in the transmit buffer.
#[derive(Debug)]
pub(super) struct Direct {
    header: [u8; MAX_HEADER_LEN],
    /// The part of it that is not written.
    from: u8,
    to: u8,
}

/// The shortest message that is written without a copy. Shorter ones are copied, so that several are sent in one write.
const SHORTEST: usize = 4096;

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> Link<S, R> {
    /// Begins to write a message without a copy if it is long, no bytes are pending before it, and it is not masked. Returns whether
    /// it did.
    pub(super) fn begin_direct(&mut self, kind: Kind, body: Body<'_>) -> bool {
        self.lend();
        let len = body.as_bytes().len();
        let worth = match body {
            Body::Owned(_) | Body::Prepared(_) => len >= SHORTEST.min(self.tx.capacity()),
            // A borrowed payload would have to be copied.
            Body::Borrowed(_) => len > self.tx.capacity(),
        };
        let vectored = self.io.stream.is_write_vectored();
        if !worth || !R::SERVER || !vectored || !self.tx.is_empty() || !self.is_open() {
            return false;
        }
        if !self.try_outbox(self.now).is_some_and(|out| out.is_free()) {
            return false;
        }
        let mut header = [0; MAX_HEADER_LEN];
        let frame =
            Header { fin: true, rsv: ReservedBits::NONE, opcode: kind.into(), key: None, len: len as u64 };
        let to = match body {
            Body::Prepared(message) => copy(&mut header, message.header()),
            Body::Owned(_) | Body::Borrowed(_) => frame.encode(&mut header),
        };
        self.tx.write_ahead(len.saturating_add(to));
        self.rest = body.rest(0);
        self.direct = Some(Box::new(Direct { header, from: 0, to: (to & 0x0F) as u8 }));
        true
    }

    /// Writes what is left of the message once. Its last byte counts as pending until the stream is flushed.
    pub(super) fn poll_direct(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(direct) = &mut self.direct else { return Poll::Pending };
        let header = direct.header.get(usize::from(direct.from)..usize::from(direct.to)).unwrap_or_default();
        if header.is_empty() && self.rest.is_empty() {
            ready!(self.io.poll_flush(cx))?;
            self.direct = None;
            self.tx.wrote_ahead(1);
            return Poll::Ready(Ok(()));
        }
        let slices = [IoSlice::new(header), IoSlice::new(&self.rest)];
        let from = slices.get(usize::from(header.is_empty())..).unwrap_or_default();
        let n = ready!(self.io.poll_write_vectored(cx, from))?;
        let of_header = n.min(header.len());
        direct.from = direct.from.saturating_add((of_header & 0x0F) as u8);
        self.rest.advance(n.saturating_sub(of_header).min(self.rest.len()));
        let all = direct.from == direct.to && self.rest.is_empty();
        self.tx.wrote_ahead(n.saturating_sub(usize::from(all)));
        Poll::Ready(Ok(()))
    }
}
