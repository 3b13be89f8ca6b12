//! The interface between a hub and its transports.

#![forbid(unsafe_code)]

use super::counters::Counters;

/// A transport of a [`Hub`](super::driver::Hub). Its methods never block.
pub trait HubSocket {
    /// Whether a read that fills less than the given memory has taken everything there was, unless the peer has
    /// closed its side. True of TCP (except urgent data, which WebSocket does not use), not of TLS. Saves one read
    /// that returns nothing.
    const DRAINED_BY_SHORT_READ: bool = false;

    /// Starts to watch the transport under this key. A hub calls it once, when it takes the transport. Keys are below
    /// 2^31, no two live sessions have the same key, and they are not dense: a driver must not use them as indices.
    ///
    /// # Errors
    /// The transport cannot be watched.
    fn attach(&mut self, key: usize) -> Result<(), SocketFailed> {
        let _ = key;
        Ok(())
    }

    /// Reads. `Some(0)` is the end of the stream; `None`: nothing has arrived yet.
    ///
    /// # Errors
    /// The transport has failed.
    fn recv(&mut self, into: &mut [u8]) -> Result<Option<usize>, SocketFailed>;

    /// Writes part of `bytes` and, after all of them, may write part of `more`. If `bytes` is empty, it writes part of
    /// `more`. Returns how many bytes it took; `None`: it takes nothing yet; `Some(0)`: it never will.
    ///
    /// # Errors
    /// The transport has failed.
    fn send(&mut self, bytes: &[u8], more: &[u8]) -> Result<Option<usize>, SocketFailed>;

    /// Writes what the transport has buffered itself. Returns whether nothing is left of that.
    ///
    /// # Errors
    /// The transport has failed.
    fn flush(&mut self) -> Result<bool, SocketFailed> {
        Ok(true)
    }

    /// Shuts the writing side down, after what [`flush`](Self::flush) has still to write.
    ///
    /// # Errors
    /// The transport has failed.
    fn shutdown(&mut self) -> Result<(), SocketFailed>;
}

/// The error of a transport that is of no further use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[error("the transport failed")]
pub struct SocketFailed;

/// The readiness of a transport, or the readiness to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Ready {
    /// Bytes, or the end of the stream, can be read.
    pub read: bool,
    /// Bytes can be written.
    pub write: bool,
    /// The peer has closed its side, or the transport has failed.
    pub hang_up: bool,
}

/// A socket, and its last known readiness.
pub(super) struct Io<S> {
    pub(super) socket: S,
    readable: bool,
    writable: bool,
    /// A short read is not the last: the end of the stream follows.
    hang_up: bool,
    /// The socket has buffered output.
    unflushed: bool,
}

impl<S: HubSocket> Io<S> {
    pub(super) const fn new(socket: S) -> Self {
        Self { socket, readable: true, writable: true, hang_up: false, unflushed: false }
    }

    pub(super) fn ready(&mut self, ready: Ready) {
        self.readable |= ready.read || ready.hang_up;
        self.writable |= ready.write || ready.hang_up;
        self.hang_up |= ready.hang_up;
    }

    /// Whether something may have arrived.
    pub(super) const fn is_readable(&self) -> bool {
        self.readable
    }

    /// The readiness to wait for before there is anything to do. `output`: there is something to write.
    pub(super) const fn wants(&self, output: bool) -> Ready {
        Ready { read: !self.readable, write: (output || self.unflushed) && !self.writable, hang_up: false }
    }

    /// Reads as [`HubSocket::recv`], at most `budget` bytes, and subtracts what it read.
    pub(super) fn recv(
        &mut self,
        into: &mut [u8],
        budget: &mut usize,
        counters: &mut Counters,
    ) -> Result<Option<usize>, SocketFailed> {
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

    /// Writes as [`HubSocket::send`], at most `budget` bytes, and subtracts what it wrote.
    pub(super) fn send(
        &mut self,
        [bytes, more]: [&[u8]; 2],
        budget: &mut usize,
        counters: &mut Counters,
    ) -> Result<Option<usize>, SocketFailed> {
        let bytes = bytes.get(..*budget).unwrap_or(bytes);
        let more = more.get(..budget.saturating_sub(bytes.len())).unwrap_or(more);
        if !self.writable || bytes.is_empty() && more.is_empty() {
            return Ok(None);
        }
        let sent = self.socket.send(bytes, more)?;
        match sent {
            // The hub would retry for ever.
            Some(0) => return Err(SocketFailed),
            None => self.writable = false,
            Some(n) => {
                *budget = budget.saturating_sub(n);
                counters.sent = counters.sent.saturating_add(n as u64);
            }
        }
        Ok(sent)
    }

    /// Flushes the socket, before a wait. Returns whether it has no buffered output.
    pub(super) fn flush(&mut self) -> Result<bool, SocketFailed> {
        self.unflushed = !self.socket.flush()?;
        if self.unflushed {
            self.writable = false;
        }
        Ok(!self.unflushed)
    }
}
