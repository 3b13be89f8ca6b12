//! What a hub asks of a transport.

#![forbid(unsafe_code)]

use super::counters::Counters;

/// A transport that never blocks.
pub trait Socket {
    /// A read that brings less than there was room for has taken all that there is, unless the peer has closed its
    /// side: true of TCP (but for its urgent data, which nobody sends), not of TLS. Spares one read of nothing for each
    /// time that something comes.
    const DRAINED_BY_SHORT_READ: bool = false;

    /// Called once, when a hub takes the transport: it is to be watched under this key. Keys are below 2^31, no two live
    /// sessions have the same, and they are not dense: a driver must not use them as indices.
    ///
    /// # Errors
    /// It cannot be watched.
    fn attach(&mut self, key: usize) -> Result<(), Failed> {
        let _ = key;
        Ok(())
    }

    /// Reads. `Some(0)` is the end of the stream, `None` that there is nothing yet.
    ///
    /// # Errors
    /// The transport is of no use any more.
    fn recv(&mut self, into: &mut [u8]) -> Result<Option<usize>, Failed>;

    /// Writes some of `bytes`, and where it can, behind all of them, some of `more`. `None` is that it takes nothing
    /// yet; 0 that it never will.
    ///
    /// # Errors
    /// The transport is of no use any more.
    fn send(&mut self, bytes: &[u8], more: &[u8]) -> Result<Option<usize>, Failed>;

    /// Writes what it has kept to itself; whether nothing is left of that.
    ///
    /// # Errors
    /// The transport is of no use any more.
    fn flush(&mut self) -> Result<bool, Failed> {
        Ok(true)
    }

    /// Shuts the writing side down, behind all that [`flush`](Self::flush) has still to write.
    ///
    /// # Errors
    /// The transport is of no use any more.
    fn shutdown(&mut self) -> Result<(), Failed>;
}

/// A transport failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the transport failed")]
pub struct Failed;

/// What a transport is ready for, or what is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Ready {
    /// Something can be read.
    pub read: bool,
    /// Something can be written.
    pub write: bool,
    /// The peer has closed its side, or the transport has failed.
    pub hang_up: bool,
}

/// A socket, and what it was last seen to be ready for.
pub(super) struct Io<S> {
    pub(super) socket: S,
    readable: bool,
    writable: bool,
    /// A short read is not the last: the end of the stream stands behind it.
    hang_up: bool,
    /// The socket keeps something to itself.
    unflushed: bool,
}

impl<S: Socket> Io<S> {
    pub(super) const fn new(socket: S) -> Self {
        Self { socket, readable: true, writable: true, hang_up: false, unflushed: false }
    }

    pub(super) fn ready(&mut self, ready: Ready) {
        self.readable |= ready.read || ready.hang_up;
        self.writable |= ready.write || ready.hang_up;
        self.hang_up |= ready.hang_up;
    }

    /// What it has to become before there is anything to do, where there is output or not.
    pub(super) const fn wants(&self, output: bool) -> Ready {
        Ready { read: !self.readable, write: (output || self.unflushed) && !self.writable, hang_up: false }
    }

    /// As [`Socket::recv`], no more than `budget`, which it takes from that.
    pub(super) fn recv(
        &mut self,
        into: &mut [u8],
        budget: &mut usize,
        counters: &mut Counters,
    ) -> Result<Option<usize>, Failed> {
        let most = into.len().min(*budget);
        let into = into.get_mut(..most).unwrap_or_default();
        if !self.readable || into.is_empty() {
            return Ok(None);
        }
        let received = self.socket.recv(into)?;
        match received {
            None => self.readable = false,
            Some(n) => {
                *budget = budget.saturating_sub(n);
                counters.received = counters.received.saturating_add(n as u64);
                if S::DRAINED_BY_SHORT_READ && n > 0 && n < into.len() && !self.hang_up {
                    self.readable = false;
                }
            }
        }
        Ok(received)
    }

    /// As [`Socket::send`], no more than `budget`, which it takes from that.
    pub(super) fn send(
        &mut self,
        [bytes, more]: [&[u8]; 2],
        budget: &mut usize,
        counters: &mut Counters,
    ) -> Result<Option<usize>, Failed> {
        let bytes = bytes.get(..*budget).unwrap_or(bytes);
        let more = more.get(..budget.saturating_sub(bytes.len())).unwrap_or(more);
        if !self.writable || bytes.is_empty() && more.is_empty() {
            return Ok(None);
        }
        let sent = self.socket.send(bytes, more)?;
        match sent {
            // It would be asked for ever.
            Some(0) => return Err(Failed),
            None => self.writable = false,
            Some(n) => {
                *budget = budget.saturating_sub(n);
                counters.sent = counters.sent.saturating_add(n as u64);
            }
        }
        Ok(sent)
    }

    /// Before anything is waited for; whether the socket keeps nothing to itself.
    pub(super) fn flush(&mut self) -> Result<bool, Failed> {
        self.unflushed = !self.socket.flush()?;
        if self.unflushed {
            self.writable = false;
        }
        Ok(!self.unflushed)
    }
}
