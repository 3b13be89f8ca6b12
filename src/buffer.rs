//! The two buffers between a connection and its transport. Their memory is the caller's.

#![forbid(unsafe_code)]

use crate::error::BufferTooSmall;
use crate::event::{Payload, Span};

/// The least memory that a receive or a transmit buffer can have, in bytes: the largest control frame, with room
/// for the longest header.
pub const MIN_BUFFER: usize = 140;

/// What has arrived and is not yet understood.
///
/// Read the transport into [`spare`](Self::spare), then say with [`fill`](Self::fill) how much came.
#[derive(Debug)]
pub struct ReceiveBuffer<'b> {
    memory: Memory<'b>,
    /// Where an extension puts what it decodes.
    output: Memory<'b>,
    place: Place,
}

/// What a receive buffer holds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    start: usize,
    end: usize,
    pub(crate) ended: bool,
    /// Something has arrived that no poll has seen, be it the end of the stream.
    pub(crate) fresh: bool,
    /// The payload that was delivered last lies in `output`.
    decoded: bool,
}

/// What is to be written to the transport.
///
/// Write [`pending`](Self::pending) to the transport, then say with [`consume`](Self::consume) how much of
/// it was taken; a partial write resumes.
#[derive(Debug)]
pub struct TransmitBuffer<'b> {
    memory: Memory<'b>,
    place: TransmitPlace,
}

/// What a transmit buffer holds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TransmitPlace {
    start: usize,
    end: usize,
    moved: bool,
    /// Bytes that a hub writes from elsewhere before what is pending.
    #[cfg(feature = "hub")]
    ahead: usize,
}

/// A receive buffer, taken apart.
pub(crate) struct Opened<'r> {
    pub(crate) input: &'r mut [u8],
    pub(crate) output: &'r mut [u8],
    pub(crate) capacity: usize,
    pub(crate) place: &'r mut Place,
}

/// Memory that is lent, or owned where there is a heap.
#[derive(Debug)]
enum Memory<'b> {
    Lent(&'b mut [u8]),
    #[cfg(feature = "alloc")]
    Owned(alloc::boxed::Box<[u8]>),
}

impl<'b> ReceiveBuffer<'b> {
    /// A buffer in memory that is lent.
    ///
    /// # Errors
    /// Where it is smaller than [`MIN_BUFFER`].
    pub fn new(memory: &'b mut [u8]) -> Result<Self, BufferTooSmall> {
        Self::over(Memory::Lent(memory))
    }

    /// No memory: for a place where nothing is received any more.
    #[cfg(feature = "hub")]
    pub(crate) fn none() -> ReceiveBuffer<'static> {
        ReceiveBuffer {
            memory: Memory::Lent(&mut []),
            output: Memory::Lent(&mut []),
            place: Place::default(),
        }
    }

    /// A buffer of its own.
    ///
    /// # Errors
    /// Where `capacity`, in bytes, is smaller than [`MIN_BUFFER`].
    #[cfg(feature = "alloc")]
    pub fn with_capacity(capacity: usize) -> Result<ReceiveBuffer<'static>, BufferTooSmall> {
        ReceiveBuffer::over(Memory::Owned(alloc::vec![0; capacity].into_boxed_slice()))
    }

    fn over(memory: Memory<'b>) -> Result<Self, BufferTooSmall> {
        if memory.get().len() < MIN_BUFFER {
            return Err(BufferTooSmall);
        }
        Ok(Self { memory, output: Memory::Lent(&mut []), place: Place::default() })
    }

    /// The same buffer with memory for an [`Extension`](crate::Extension) to decode into: at most so many
    /// bytes are delivered at once.
    #[must_use]
    pub fn with_output(self, output: &'b mut [u8]) -> Self {
        Self { output: Memory::Lent(output), ..self }
    }

    /// Where the transport is to be read into. Empty where the buffer is full, poll first; and at the end of
    /// the stream.
    ///
    /// Ends the life of every [`Span`] that was handed out.
    pub fn spare(&mut self) -> &mut [u8] {
        if self.place.ended {
            return &mut [];
        }
        if self.place.start == self.place.end {
            self.place.start = 0;
            self.place.end = 0;
        } else if self.place.start > 0 {
            // What is here is less than a frame: moved at most once a read, and never a frame twice.
            compact(self.memory.get_mut(), &mut self.place.start, &mut self.place.end);
        }
        self.memory.get_mut().get_mut(self.place.end..).unwrap_or_default()
    }

    /// `n` bytes were read into [`spare`](Self::spare); 0 is the end of the stream.
    ///
    /// More than there is room for counts as all of it.
    pub fn fill(&mut self, n: usize) {
        self.place.ended |= n == 0;
        self.place.fresh = true;
        self.place.end = self.place.end.saturating_add(n).min(self.capacity());
    }

    /// Puts `bytes` behind what is here, as [`fill`](Self::fill) would, and returns how many found room.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let n = copy(self.spare(), bytes);
        if n > 0 {
            self.fill(n);
        }
        n
    }

    /// The payload that an event names. Until the next poll; all of it may be changed.
    ///
    /// Empty for a span that does not lie in this buffer.
    pub fn payload_mut(&mut self, span: Span) -> &mut [u8] {
        let end = span.start.saturating_add(span.len);
        let source = if span.decoded { self.output.get_mut() } else { self.memory.get_mut() };
        source.get_mut(span.start..end).unwrap_or_default()
    }

    /// The payload that an event names, borrowed as an event bears it.
    #[must_use]
    pub fn payload(&self, span: Span) -> Payload<'_> {
        let source = if span.decoded { self.output.get() } else { self.memory.get() };
        Payload::from(source.get(span.start..span.start.saturating_add(span.len)).unwrap_or_default())
    }

    /// Everything that has arrived and was not taken.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        self.memory.get().get(self.place.start..self.place.end).unwrap_or_default()
    }

    /// Bytes of memory.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.memory.get().len()
    }

    /// Whether nothing lies here: then the memory can serve another connection.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.place.start == self.place.end
    }

    /// Whether the stream has ended.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        self.place.ended
    }

    /// Takes `n` bytes away from the front.
    pub fn consume(&mut self, n: usize) {
        self.place.start = self.place.start.saturating_add(n).min(self.place.end);
    }

    /// As new, for another stream.
    pub fn clear(&mut self) {
        self.place = Place::default();
    }

    /// Puts a payload that was just consumed back to the front, to be shown once more.
    pub(crate) fn hold(&mut self, span: Span) {
        if !span.decoded {
            self.place.start = self.place.start.saturating_sub(span.len);
        }
    }

    /// The payload that was put back, wherever it lies by now.
    pub(crate) fn held(&self, span: Span) -> Payload<'_> {
        let (source, start) = match span.decoded {
            true => (self.output.get(), span.start),
            false => (self.memory.get(), self.place.start),
        };
        Payload::from(source.get(start..start.saturating_add(span.len)).unwrap_or_default())
    }

    /// Takes `n` bytes off the front of the payload that was put back; what remains of it.
    pub(crate) fn release(&mut self, span: Span, n: usize) -> Span {
        let n = n.min(span.len);
        if !span.decoded {
            self.consume(n);
        }
        Span { start: span.start.saturating_add(n), len: span.len.saturating_sub(n), ..span }
    }

    /// Keeps the first `len` bytes of what lies here. `ended`: whether nothing follows them.
    pub(crate) fn truncate(&mut self, len: usize, ended: bool) {
        self.place.end = self.place.start.saturating_add(len).min(self.place.end);
        self.place.ended = ended;
    }

    /// Replaces what lies here by what `write` puts in its place; `write` returns how many bytes that is, and
    /// what the caller wants to know.
    pub(crate) fn rewrite<T>(&mut self, write: impl FnOnce(&mut [u8]) -> (usize, T)) -> T {
        let (len, result) = write(self.memory.get_mut());
        self.place.start = 0;
        self.place.end = len.min(self.capacity());
        result
    }

    /// Everything that a receiver needs, taken apart: an event may borrow from it for as long as the buffer
    /// is borrowed.
    #[inline]
    pub(crate) fn open(&mut self) -> Opened<'_> {
        let Self { memory, output, place } = self;
        let memory = memory.get_mut();
        let capacity = memory.len();
        let input = memory.get_mut(place.start..place.end).unwrap_or_default();
        Opened { input, output: output.get_mut(), capacity, place }
    }

    /// The place of a payload of `len` bytes, the last that a receiver delivered.
    #[inline]
    pub(crate) fn span(&self, len: usize) -> Span {
        let start = if self.place.decoded { 0 } else { self.place.start.saturating_sub(len) };
        Span { start, len, decoded: self.place.decoded }
    }
}

impl<'b> TransmitBuffer<'b> {
    /// No memory: nothing can be sent.
    #[cfg(feature = "hub")]
    pub(crate) fn none() -> TransmitBuffer<'static> {
        TransmitBuffer { memory: Memory::Lent(&mut []), place: TransmitPlace::default() }
    }

    /// A buffer in memory that is lent.
    ///
    /// # Errors
    /// Where it is smaller than [`MIN_BUFFER`].
    pub fn new(memory: &'b mut [u8]) -> Result<Self, BufferTooSmall> {
        Self::over(Memory::Lent(memory))
    }

    /// A buffer of its own.
    ///
    /// # Errors
    /// Where `capacity`, in bytes, is smaller than [`MIN_BUFFER`].
    #[cfg(feature = "alloc")]
    pub fn with_capacity(capacity: usize) -> Result<TransmitBuffer<'static>, BufferTooSmall> {
        TransmitBuffer::over(Memory::Owned(alloc::vec![0; capacity].into_boxed_slice()))
    }

    fn over(memory: Memory<'b>) -> Result<Self, BufferTooSmall> {
        if memory.get().len() < MIN_BUFFER {
            return Err(BufferTooSmall);
        }
        Ok(Self { memory, place: TransmitPlace::default() })
    }

    /// What is to be written to the transport.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        self.memory.get().get(self.place.start..self.place.end).unwrap_or_default()
    }

    /// The transport took the first `n` bytes of [`pending`](Self::pending).
    pub fn consume(&mut self, n: usize) {
        let place = &mut self.place;
        place.moved |= n > 0 && !place.is_empty();
        place.start = place.start.saturating_add(n).min(place.end);
        if place.start == place.end {
            place.start = 0;
            place.end = 0;
        }
    }

    /// As new, for another stream.
    pub fn clear(&mut self) {
        self.place = TransmitPlace::default();
    }

    /// Whether nothing waits to be written: then the memory can serve another connection.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.place.is_empty()
    }

    /// `n` bytes of whole frames that lie elsewhere are to be written before anything that is sent from now on:
    /// until [`wrote_ahead`](Self::wrote_ahead) has counted them all, nothing of [`pending`](Self::pending) may be
    /// written. Only where nothing waits ([`is_empty`](Self::is_empty)) and no frame and no message is open.
    #[cfg(feature = "hub")]
    pub(crate) fn write_ahead(&mut self, n: usize) {
        self.place.ahead = n;
    }

    /// The transport took `n` bytes of what goes ahead; how many are left.
    #[cfg(feature = "hub")]
    pub(crate) fn wrote_ahead(&mut self, n: usize) -> usize {
        self.place.moved |= n > 0;
        self.place.ahead = self.place.ahead.saturating_sub(n);
        self.place.ahead
    }

    /// Bytes of memory.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.memory.get().len()
    }

    /// Bytes that can be put in now.
    #[must_use]
    pub fn room(&self) -> usize {
        self.place.room(self.capacity())
    }

    /// Puts in as much of `bytes` as there is room for, and returns how much that was.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.room());
        let (memory, place) = self.parts();
        copy(place.reserve(memory, n).unwrap_or_default(), bytes)
    }

    /// Whether the transport took bytes since the last call.
    pub(crate) fn take_moved(&mut self) -> bool {
        self.place.take_moved()
    }

    /// The memory, and what it holds.
    #[inline]
    pub(crate) fn parts(&mut self) -> (&mut [u8], &mut TransmitPlace) {
        (self.memory.get_mut(), &mut self.place)
    }
}

impl TransmitPlace {
    pub(crate) const fn is_empty(&self) -> bool {
        #[cfg(feature = "hub")]
        if self.ahead > 0 {
            return false;
        }
        self.start == self.end
    }

    /// Bytes that can be put into memory of `capacity` bytes.
    pub(crate) const fn room(&self, capacity: usize) -> usize {
        let behind = capacity.saturating_sub(self.end);
        if self.worth_moving() { behind.saturating_add(self.start) } else { behind }
    }

    /// Whether the transport took bytes since the last call.
    pub(crate) fn take_moved(&mut self) -> bool {
        core::mem::take(&mut self.moved)
    }

    /// Room for exactly `n` bytes, which count as pending from now on; `None` where there is none.
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    pub(crate) fn reserve<'m>(&mut self, memory: &'m mut [u8], n: usize) -> Option<&'m mut [u8]> {
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

    /// Gives back the last `n` bytes of a reservation.
    pub(crate) fn shrink(&mut self, n: usize) {
        self.end = self.end.saturating_sub(n).max(self.start);
    }

    /// Moving what is pending pays only where less is moved than was written before: otherwise a slow
    /// reader would make every send copy the whole buffer.
    const fn worth_moving(&self) -> bool {
        self.start > 0 && self.end.saturating_sub(self.start) <= self.start
    }
}

impl Opened<'_> {
    /// Only what is left in `input` remains in the buffer; `decoded` says where the payload lies.
    #[inline]
    pub(crate) fn close(&mut self, decoded: bool) {
        self.place.start = self.place.end.saturating_sub(self.input.len());
        self.place.decoded = decoded;
    }
}

impl Memory<'_> {
    #[inline(always)]
    fn get(&self) -> &[u8] {
        match self {
            Self::Lent(memory) => memory,
            #[cfg(feature = "alloc")]
            Self::Owned(memory) => memory,
        }
    }

    #[inline(always)]
    fn get_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Lent(memory) => memory,
            #[cfg(feature = "alloc")]
            Self::Owned(memory) => memory,
        }
    }
}

/// Moves `memory[start..end]` to the front.
fn compact(memory: &mut [u8], start: &mut usize, end: &mut usize) {
    // The comparison spares `copy_within` its panic branch.
    if *start <= *end && *end <= memory.len() {
        memory.copy_within(*start..*end, 0);
        *end = end.saturating_sub(*start);
        *start = 0;
    }
}

/// Copies as much of `from` as finds room in `to`, and returns how much that was.
#[cfg_attr(target_pointer_width = "64", inline)]
#[cfg_attr(not(target_pointer_width = "64"), inline(never))]
pub(crate) fn copy(to: &mut [u8], from: &[u8]) -> usize {
    let n = to.len().min(from.len());
    // Both are as long as each other: no panic branch is left, and it is a `memcpy`.
    if let (Some(to), Some(from)) = (to.get_mut(..n), from.get(..n)) {
        to.copy_from_slice(from);
    }
    n
}
