//! The transmit buffer.

#![forbid(unsafe_code)]

use super::{Memory, check, compact, copy};
use crate::error::BufferTooSmall;

/// A buffer for bytes that are pending to be written to the transport.
///
/// Write [`pending`](Self::pending) to the transport, then report with [`consume`](Self::consume) how many bytes it took.
/// Partial writes are allowed.
///
/// ```
/// use std::io::Write;
///
/// use sansocket::proto::Encoder;
/// use sansocket::{Kind, Server, TransmitBuffer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut memory = [0; 140];
/// let mut tx = TransmitBuffer::new(&mut memory)?;
/// Encoder::new(Server).send(&mut tx, Kind::Text, b"Hello")?;
/// let mut stream = Vec::new(); // any writer
/// while !tx.is_empty() {
///     let written = stream.write(tx.pending())?;
///     tx.consume(written);
/// }
/// assert_eq!(stream, b"\x81\x05Hello");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TransmitBuffer<'b> {
    memory: Memory<'b>,
    place: TransmitPlace,
}

/// Which part of a transmit buffer is pending, and its flags.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TransmitPlace {
    start: usize,
    end: usize,
    moved: bool,
    /// The payload length of the last pending frame, if the extension can add to it: the transport has taken nothing since
    /// it was begun, and nothing follows it.
    #[cfg(feature = "extension")]
    growing: Option<usize>,
    /// How many bytes a hub writes from other memory before the pending ones.
    #[cfg(any(feature = "hub", feature = "tokio"))]
    ahead: usize,
}

impl<'b> TransmitBuffer<'b> {
    /// Creates a buffer without memory, as a placeholder.
    #[cfg(feature = "hub")]
    pub(crate) fn none() -> TransmitBuffer<'static> {
        TransmitBuffer { memory: Memory::Lent(&mut []), place: TransmitPlace::default() }
    }

    /// Creates an empty buffer in borrowed memory.
    ///
    /// # Errors
    /// [`BufferTooSmall`] if `memory` is smaller than [`MIN_BUFFER_LEN`](crate::proto::MIN_BUFFER_LEN).
    pub fn new(memory: &'b mut [u8]) -> Result<Self, BufferTooSmall> {
        check(memory.len()).map(|()| Self::over(Memory::Lent(memory)))
    }

    /// Creates an empty buffer in borrowed memory of at least [`MIN_BUFFER_LEN`](crate::proto::MIN_BUFFER_LEN), as the caller has checked.
    pub(crate) fn lent(memory: &'b mut [u8]) -> Self {
        Self::over(Memory::Lent(memory))
    }

    /// Creates an empty buffer with `capacity` bytes of memory of its own.
    ///
    /// # Errors
    /// [`BufferTooSmall`] if `capacity` is smaller than [`MIN_BUFFER_LEN`](crate::proto::MIN_BUFFER_LEN).
    #[cfg(feature = "alloc")]
    pub fn with_capacity(capacity: usize) -> Result<TransmitBuffer<'static>, BufferTooSmall> {
        check(capacity).map(|()| TransmitBuffer::owned(capacity))
    }

    /// Creates an empty buffer with memory of its own, of `capacity` bytes or [`MIN_BUFFER_LEN`](crate::proto::MIN_BUFFER_LEN) if that is more.
    #[cfg(feature = "alloc")]
    pub(crate) fn owned(capacity: usize) -> TransmitBuffer<'static> {
        let memory = alloc::vec![0; capacity.max(super::MIN_BUFFER_LEN)];
        TransmitBuffer::over(Memory::Owned(memory.into_boxed_slice()))
    }

    fn over(memory: Memory<'b>) -> Self {
        Self { memory, place: TransmitPlace::default() }
    }

    /// Returns the bytes to write to the transport. Report with [`consume`](Self::consume) what it took before anything else is
    /// sent.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        self.memory.get().get(self.place.start..self.place.end).unwrap_or_default()
    }

    /// Reports that the transport took the first `n` bytes of [`pending`](Self::pending).
    pub fn consume(&mut self, n: usize) {
        let place = &mut self.place;
        place.moved |= n > 0 && !place.is_empty();
        #[cfg(feature = "extension")]
        {
            place.growing = None;
        }
        place.start = place.start.saturating_add(n).min(place.end);
        if place.start == place.end {
            place.start = 0;
            place.end = 0;
        }
    }

    /// Empties the buffer for another stream.
    pub fn clear(&mut self) {
        self.place = TransmitPlace::default();
    }

    /// Returns whether no byte is pending, so that the memory can serve another connection.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.place.is_empty()
    }

    /// Announces `n` bytes of whole frames in other memory, which the caller writes before everything that is sent from
    /// now on. It must not write [`pending`](Self::pending) until [`wrote_ahead`](Self::wrote_ahead) has counted all of
    /// them. Call it only if the buffer [is empty](Self::is_empty), and no frame and no message is open.
    #[cfg(any(feature = "hub", feature = "tokio"))]
    pub(crate) fn write_ahead(&mut self, n: usize) {
        self.place.ahead = n;
    }

    /// Reports that the transport took `n` of the bytes announced by `write_ahead`, and returns how many are left.
    #[cfg(any(feature = "hub", feature = "tokio"))]
    pub(crate) fn wrote_ahead(&mut self, n: usize) -> usize {
        self.place.moved |= n > 0;
        self.place.ahead = self.place.ahead.saturating_sub(n);
        self.place.ahead
    }

    /// Returns the length of the memory in bytes.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.memory.get().len()
    }

    /// Returns how many bytes can be sent now, headers included.
    #[must_use]
    pub fn room(&self) -> usize {
        self.place.room(self.capacity())
    }

    /// Appends as many of `bytes` as there is room for to the pending ones, and returns how many that was. It writes no
    /// frame header.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.room());
        let (memory, place) = self.parts();
        copy(place.reserve(memory, n).unwrap_or_default(), bytes)
    }

    /// Appends a whole frame, which lies in two pieces, to the pending bytes, or nothing. Returns whether there was room. Call it only
    /// if no frame and no message is open.
    #[cfg(feature = "hub")]
    pub(crate) fn append(&mut self, frame: [&[u8]; 2]) -> bool {
        let len = frame.iter().fold(0_usize, |sum, piece| sum.saturating_add(piece.len()));
        if len > self.room() {
            return false;
        }
        for piece in frame {
            self.feed(piece);
        }
        true
    }

    /// Returns whether the transport took bytes since the last call.
    pub(crate) fn take_moved(&mut self) -> bool {
        self.place.take_moved()
    }

    /// Splits the buffer into its memory and its state.
    #[inline]
    pub(crate) fn parts(&mut self) -> (&mut [u8], &mut TransmitPlace) {
        (self.memory.get_mut(), &mut self.place)
    }
}

#[cfg(feature = "tokio")]
impl TransmitBuffer<'static> {
    /// Takes the memory out of the buffer, if no byte is pending and it owns it. Its flags stay.
    pub(crate) fn detach(&mut self) -> Option<alloc::boxed::Box<[u8]>> {
        if self.is_empty() { self.memory.take() } else { None }
    }

    /// Gives memory to a buffer that has none.
    pub(crate) fn attach(&mut self, memory: alloc::boxed::Box<[u8]>) {
        self.memory = Memory::Owned(memory);
    }
}

impl TransmitPlace {
    pub(crate) const fn is_empty(&self) -> bool {
        #[cfg(any(feature = "hub", feature = "tokio"))]
        if self.ahead > 0 {
            return false;
        }
        self.start == self.end
    }

    /// Returns how many bytes can be appended in memory of `capacity` bytes.
    pub(crate) const fn room(&self, capacity: usize) -> usize {
        let behind = capacity.saturating_sub(self.end);
        if self.worth_moving() { behind.saturating_add(self.start) } else { behind }
    }

    /// Returns whether the transport took bytes since the last call.
    pub(crate) fn take_moved(&mut self) -> bool {
        core::mem::take(&mut self.moved)
    }

    /// Reserves exactly `n` bytes, which count as pending from now on; `None` if there is no room.
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    pub(crate) fn reserve<'m>(&mut self, memory: &'m mut [u8], n: usize) -> Option<&'m mut [u8]> {
        #[cfg(feature = "extension")]
        {
            self.growing = None;
        }
        if n > memory.len().saturating_sub(self.end) {
            self.make_room(memory);
        }
        let slot = memory.get_mut(self.end..)?.get_mut(..n)?;
        self.end = self.end.saturating_add(n);
        Some(slot)
    }

    #[cold]
    fn make_room(&mut self, memory: &mut [u8]) {
        if self.worth_moving() {
            compact(memory, &mut self.start, &mut self.end);
        }
    }

    /// Reserves `n` bytes, and returns them behind the last `before` pending ones.
    #[cfg(feature = "extension")]
    pub(crate) fn reserve_behind<'m>(
        &mut self,
        memory: &'m mut [u8],
        before: usize,
        n: usize,
    ) -> Option<&'m mut [u8]> {
        self.reserve(memory, n)?;
        memory.get_mut(self.end.saturating_sub(n).saturating_sub(before)..self.end)
    }

    /// Returns the payload length of the last pending frame, if it can grow.
    #[cfg(feature = "extension")]
    pub(crate) const fn growing(&self) -> Option<usize> {
        self.growing
    }

    /// Sets the payload length of the last pending frame, if it can grow.
    #[cfg(feature = "extension")]
    pub(crate) fn set_growing(&mut self, payload: Option<usize>) {
        self.growing = payload;
    }

    /// Releases the last `n` bytes of a reservation.
    pub(crate) fn shrink(&mut self, n: usize) {
        self.end = self.end.saturating_sub(n).max(self.start);
    }

    /// Returns whether to move the pending bytes to the front: only if they are no more than were written before them.
    /// Otherwise every send to a slow reader would copy the whole buffer.
    const fn worth_moving(&self) -> bool {
        self.start > 0 && self.end.saturating_sub(self.start) <= self.start
    }
}
