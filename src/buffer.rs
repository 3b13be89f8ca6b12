//! The receive and the transmit buffer between a connection and its transport, in memory that the caller owns.

#![forbid(unsafe_code)]

use crate::error::BufferTooSmall;
use crate::event::{DetachedEvent, Event, Payload, Span};

/// The least memory of a receive or a transmit buffer, in bytes: the largest control frame with the longest header.
pub const MIN_BUFFER_LEN: usize = 140;

/// A buffer for received bytes that are not yet processed.
///
/// Read the transport into [`spare`](Self::spare), then report with [`fill`](Self::fill) how many bytes arrived, or with
/// [`end`](Self::end) that the stream has ended.
///
/// ```
/// use std::io::Read;
///
/// use sansocket::ReceiveBuffer;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut memory = [0; 140];
/// let mut rx = ReceiveBuffer::new(&mut memory)?;
/// let mut stream = &b"\x81\x80"[..]; // any reader
/// loop {
///     let spare = rx.spare();
///     if spare.is_empty() {
///         break; // it is full: poll first; or the stream has ended
///     }
///     match stream.read(spare)? {
///         0 => rx.end(),
///         n => rx.fill(n),
///     }
/// }
/// assert_eq!((rx.unread(), rx.is_ended()), (&b"\x81\x80"[..], true));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ReceiveBuffer<'b> {
    memory: Memory<'b>,
    /// The memory that an extension decodes into.
    output: Memory<'b>,
    place: Place,
}

/// Which part of a receive buffer is filled, and its flags.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    start: usize,
    end: usize,
    pub(crate) ended: bool,
    /// Bytes or the end of the stream have arrived since the last poll.
    pub(crate) fresh: bool,
    /// The last delivered payload lies in `output`.
    decoded: bool,
}

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
    /// How many bytes a hub writes from other memory before the pending ones.
    #[cfg(feature = "hub")]
    ahead: usize,
}

/// A receive buffer, split into its parts.
pub(crate) struct Opened<'r> {
    pub(crate) input: &'r mut [u8],
    pub(crate) output: &'r mut [u8],
    pub(crate) capacity: usize,
    pub(crate) place: &'r mut Place,
}

/// Borrowed memory, or with `alloc` owned memory.
#[derive(Debug)]
enum Memory<'b> {
    Lent(&'b mut [u8]),
    #[cfg(feature = "alloc")]
    Owned(alloc::boxed::Box<[u8]>),
}

impl<'b> ReceiveBuffer<'b> {
    /// Creates an empty buffer in borrowed memory.
    ///
    /// # Errors
    /// [`BufferTooSmall`] if `memory` is smaller than [`MIN_BUFFER_LEN`].
    pub fn new(memory: &'b mut [u8]) -> Result<Self, BufferTooSmall> {
        check(memory.len()).map(|()| Self::over(Memory::Lent(memory)))
    }

    /// Creates an empty buffer in borrowed memory of at least [`MIN_BUFFER_LEN`], as the caller has checked.
    pub(crate) fn lent(memory: &'b mut [u8]) -> Self {
        Self::over(Memory::Lent(memory))
    }

    /// Creates a buffer without memory, as a placeholder.
    #[cfg(feature = "hub")]
    pub(crate) fn none() -> ReceiveBuffer<'static> {
        ReceiveBuffer {
            memory: Memory::Lent(&mut []),
            output: Memory::Lent(&mut []),
            place: Place::default(),
        }
    }

    /// Creates an empty buffer with `capacity` bytes of memory of its own.
    ///
    /// # Errors
    /// [`BufferTooSmall`] if `capacity` is smaller than [`MIN_BUFFER_LEN`].
    #[cfg(feature = "alloc")]
    pub fn with_capacity(capacity: usize) -> Result<ReceiveBuffer<'static>, BufferTooSmall> {
        check(capacity).map(|()| ReceiveBuffer::owned(capacity))
    }

    /// Creates an empty buffer with memory of its own, of `capacity` bytes or [`MIN_BUFFER_LEN`] if that is more.
    #[cfg(feature = "alloc")]
    pub(crate) fn owned(capacity: usize) -> ReceiveBuffer<'static> {
        let memory = alloc::vec![0; capacity.max(MIN_BUFFER_LEN)];
        ReceiveBuffer::over(Memory::Owned(memory.into_boxed_slice()))
    }

    fn over(memory: Memory<'b>) -> Self {
        Self { memory, output: Memory::Lent(&mut []), place: Place::default() }
    }

    /// Adds memory that an [`Extension`](crate::proto::Extension) decodes into. Its length limits how many decoded
    /// bytes one event delivers.
    #[must_use]
    pub fn with_output(self, output: &'b mut [u8]) -> Self {
        Self { output: Memory::Lent(output), ..self }
    }

    /// Returns the free part of the buffer, to read the transport into. It is empty if the buffer is full (poll first)
    /// and after the end of the stream.
    ///
    /// The call may move what the buffer holds: it invalidates every [`DetachedEvent`].
    pub fn spare(&mut self) -> &mut [u8] {
        if self.place.ended {
            return &mut [];
        }
        if self.place.start == self.place.end {
            self.place.start = 0;
            self.place.end = 0;
        } else if self.place.start > 0 {
            // The rest is moved at most once for each read.
            compact(self.memory.get_mut(), &mut self.place.start, &mut self.place.end);
        }
        self.memory.get_mut().get_mut(self.place.end..).unwrap_or_default()
    }

    /// Reports that `n` bytes were read into [`spare`](Self::spare). A value above the length of `spare` counts as that
    /// length, and 0 has no effect: report the end of the stream by [`end`](Self::end).
    pub fn fill(&mut self, n: usize) {
        self.place.fresh |= n > 0;
        self.place.end = self.place.end.saturating_add(n).min(self.capacity());
    }

    /// Reports the end of the stream: the peer will send nothing more. What the buffer holds is still processed.
    pub fn end(&mut self) {
        self.place.ended = true;
        self.place.fresh = true;
    }

    /// Appends as many of `bytes` as there is room for, as if they were read into [`spare`](Self::spare), and returns
    /// how many that was. It copies them, so that it is meant for bytes that another machine has received: what arrived
    /// behind the opening handshake of an HTTP library, for example.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let n = copy(self.spare(), bytes);
        self.fill(n);
        n
    }

    /// Returns an event with its payload. Pass the event that
    /// [`Connection::poll_detached`](crate::Connection::poll_detached) has returned for this buffer, before the next
    /// poll and before [`spare`](Self::spare); the payload of any other event is other bytes, or empty.
    #[must_use]
    pub fn event(&self, event: DetachedEvent) -> Event<'_> {
        event.shape.with(self.payload(event.span, event.span.start))
    }

    fn payload(&self, span: Span, start: usize) -> Payload<'_> {
        let source = if span.decoded { self.output.get() } else { self.memory.get() };
        Payload::from(source.get(start..start.saturating_add(span.len)).unwrap_or_default())
    }

    /// Returns the received bytes that are not yet processed: of a request that was
    /// [handed over](crate::handshake::Decision::HandOver) its head and what followed it, and at any other time bytes
    /// of frames as the peer sent them, of which a part may be unmasked already.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        self.memory.get().get(self.place.start..self.place.end).unwrap_or_default()
    }

    /// Returns the length of the memory in bytes.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.memory.get().len()
    }

    /// Returns whether the buffer holds no bytes, so that its memory can serve another connection.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.place.start == self.place.end
    }

    /// Returns whether the stream has ended.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        self.place.ended
    }

    /// Removes the first `n` bytes.
    pub(crate) fn consume(&mut self, n: usize) {
        self.place.start = self.place.start.saturating_add(n).min(self.place.end);
    }

    /// Empties the buffer for another stream.
    pub fn clear(&mut self) {
        self.place = Place::default();
    }

    /// Puts the payload that was just consumed back to the front, so that it is delivered again.
    pub(crate) fn put_back(&mut self, span: Span) {
        if !span.decoded {
            self.place.start = self.place.start.saturating_sub(span.len);
        }
    }

    /// Returns an event whose payload was put back. `spare` may have moved it since.
    pub(crate) fn event_put_back(&self, event: DetachedEvent) -> Event<'_> {
        let start = if event.span.decoded { event.span.start } else { self.place.start };
        event.shape.with(self.payload(event.span, start))
    }

    /// Removes the first `n` bytes of the payload that was put back, and returns the rest of it.
    pub(crate) fn release(&mut self, span: Span, n: usize) -> Span {
        let n = n.min(span.len);
        if !span.decoded {
            self.consume(n);
        }
        Span { start: span.start.saturating_add(n), len: span.len.saturating_sub(n), ..span }
    }

    /// Keeps the first `len` bytes of those that the buffer holds. `ended` says whether the stream ends there.
    pub(crate) fn truncate(&mut self, len: usize, ended: bool) {
        self.place.end = self.place.start.saturating_add(len).min(self.place.end);
        self.place.ended = ended;
    }

    /// Replaces the contents by what `write` puts into the memory. `write` returns its length in bytes, and a result
    /// for the caller. An error leaves the buffer empty.
    pub(crate) fn rewrite<T, E>(
        &mut self,
        write: impl FnOnce(&mut [u8]) -> Result<(usize, T), E>,
    ) -> Result<T, E> {
        let (len, result) = match write(self.memory.get_mut()) {
            Ok((len, done)) => (len, Ok(done)),
            Err(error) => (0, Err(error)),
        };
        self.place.start = 0;
        self.place.end = len.min(self.capacity());
        result
    }

    /// Splits the buffer into the parts that a receiver needs. An event may borrow from them for as long as the buffer is
    /// borrowed.
    #[inline]
    pub(crate) fn open(&mut self) -> Opened<'_> {
        let Self { memory, output, place } = self;
        let memory = memory.get_mut();
        let capacity = memory.len();
        let input = memory.get_mut(place.start..place.end).unwrap_or_default();
        Opened { input, output: output.get_mut(), capacity, place }
    }

    /// Returns the place of the last delivered payload, which is `len` bytes long.
    #[inline]
    pub(crate) fn span(&self, len: usize) -> Span {
        let start = if self.place.decoded { 0 } else { self.place.start.saturating_sub(len) };
        Span { start, len, decoded: self.place.decoded }
    }
}

#[cfg(feature = "tokio")]
impl ReceiveBuffer<'static> {
    /// Takes the memory out of the buffer, if it holds no bytes and owns it. Its flags stay.
    pub(crate) fn detach(&mut self) -> Option<alloc::boxed::Box<[u8]>> {
        if !self.is_empty() {
            return None;
        }
        (self.place.start, self.place.end) = (0, 0);
        self.memory.take()
    }

    /// Gives memory to a buffer that has none. It has to be as large as what was taken out.
    pub(crate) fn attach(&mut self, memory: alloc::boxed::Box<[u8]>) {
        self.memory = Memory::Owned(memory);
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

impl<'b> TransmitBuffer<'b> {
    /// Creates a buffer without memory, as a placeholder.
    #[cfg(feature = "hub")]
    pub(crate) fn none() -> TransmitBuffer<'static> {
        TransmitBuffer { memory: Memory::Lent(&mut []), place: TransmitPlace::default() }
    }

    /// Creates an empty buffer in borrowed memory.
    ///
    /// # Errors
    /// [`BufferTooSmall`] if `memory` is smaller than [`MIN_BUFFER_LEN`].
    pub fn new(memory: &'b mut [u8]) -> Result<Self, BufferTooSmall> {
        check(memory.len()).map(|()| Self::over(Memory::Lent(memory)))
    }

    /// Creates an empty buffer in borrowed memory of at least [`MIN_BUFFER_LEN`], as the caller has checked.
    pub(crate) fn lent(memory: &'b mut [u8]) -> Self {
        Self::over(Memory::Lent(memory))
    }

    /// Creates an empty buffer with `capacity` bytes of memory of its own.
    ///
    /// # Errors
    /// [`BufferTooSmall`] if `capacity` is smaller than [`MIN_BUFFER_LEN`].
    #[cfg(feature = "alloc")]
    pub fn with_capacity(capacity: usize) -> Result<TransmitBuffer<'static>, BufferTooSmall> {
        check(capacity).map(|()| TransmitBuffer::owned(capacity))
    }

    /// Creates an empty buffer with memory of its own, of `capacity` bytes or [`MIN_BUFFER_LEN`] if that is more.
    #[cfg(feature = "alloc")]
    pub(crate) fn owned(capacity: usize) -> TransmitBuffer<'static> {
        let memory = alloc::vec![0; capacity.max(MIN_BUFFER_LEN)];
        TransmitBuffer::over(Memory::Owned(memory.into_boxed_slice()))
    }

    fn over(memory: Memory<'b>) -> Self {
        Self { memory, place: TransmitPlace::default() }
    }

    /// Returns the bytes to write to the transport.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        self.memory.get().get(self.place.start..self.place.end).unwrap_or_default()
    }

    /// Reports that the transport took the first `n` bytes of [`pending`](Self::pending).
    pub fn consume(&mut self, n: usize) {
        let place = &mut self.place;
        place.moved |= n > 0 && !place.is_empty();
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
    #[cfg(feature = "hub")]
    pub(crate) fn write_ahead(&mut self, n: usize) {
        self.place.ahead = n;
    }

    /// Reports that the transport took `n` of the bytes announced by `write_ahead`, and returns how many are left.
    #[cfg(feature = "hub")]
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

impl TransmitPlace {
    pub(crate) const fn is_empty(&self) -> bool {
        #[cfg(feature = "hub")]
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

impl Opened<'_> {
    /// Removes from the buffer what was taken from `input`. `decoded` says in which memory the payload lies.
    #[inline]
    pub(crate) fn close(&mut self, decoded: bool) {
        self.place.start = self.place.end.saturating_sub(self.input.len());
        self.place.decoded = decoded;
    }
}

#[cfg(feature = "tokio")]
impl Memory<'static> {
    fn take(&mut self) -> Option<alloc::boxed::Box<[u8]>> {
        match core::mem::replace(self, Memory::Lent(&mut [])) {
            Memory::Owned(memory) => Some(memory),
            Memory::Lent(_) => None,
        }
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

fn check(len: usize) -> Result<(), BufferTooSmall> {
    if len < MIN_BUFFER_LEN { Err(BufferTooSmall) } else { Ok(()) }
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

/// Copies as much of `from` as fits into `to`, and returns how many bytes that was.
#[cfg_attr(target_pointer_width = "64", inline)]
#[cfg_attr(not(target_pointer_width = "64"), inline(never))]
pub(crate) fn copy(to: &mut [u8], from: &[u8]) -> usize {
    let n = to.len().min(from.len());
    // Both slices are `n` bytes long, so that the compiler emits a `memcpy` without a panic branch.
    if let (Some(to), Some(from)) = (to.get_mut(..n), from.get(..n)) {
        to.copy_from_slice(from);
    }
    n
}
