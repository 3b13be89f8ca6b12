//! The receive and the transmit buffer between a connection and its transport, in memory that the caller owns.

#![forbid(unsafe_code)]

mod copying;
mod transmit;

use copying::compact;
pub(crate) use copying::copy;
#[cfg(feature = "extension")]
pub(crate) use copying::move_within;
pub use transmit::TransmitBuffer;
pub(crate) use transmit::TransmitPlace;

use crate::error::BufferTooSmall;
use crate::event::{DetachedEvent, Event, Span};

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
    #[cfg(feature = "extension")]
    output: Memory<'b>,
    place: Place,
}

/// Which part of a receive buffer is filled, and its flags.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    input: Region,
    /// The decoded bytes that are not yet delivered.
    #[cfg(feature = "extension")]
    output: Region,
    pub(crate) ended: bool,
    /// Bytes or the end of the stream have arrived since the last poll.
    pub(crate) fresh: bool,
    /// The last delivered payload lies in the memory for decoded bytes.
    #[cfg(feature = "extension")]
    decoded: bool,
}

/// The part of a memory that holds bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Region {
    start: usize,
    end: usize,
}

/// A receive buffer, split into its parts. Events borrow from it for `'r`.
pub(crate) struct Opened<'r, 'p> {
    pub(crate) input: &'r mut [u8],
    #[cfg(feature = "extension")]
    pub(crate) output: &'r mut [u8],
    pub(crate) capacity: usize,
    pub(crate) place: &'p mut Place,
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

    /// Creates an empty buffer in borrowed memory. Less than [`MIN_BUFFER_LEN`] bytes serve no connection and no handshake.
    pub(crate) fn lent(memory: &'b mut [u8]) -> Self {
        Self::over(Memory::Lent(memory))
    }

    /// Returns the memory, if it is borrowed.
    pub(crate) fn into_memory(self) -> &'b mut [u8] {
        match self.memory {
            Memory::Lent(memory) => memory,
            #[cfg(feature = "alloc")]
            Memory::Owned(_) => &mut [],
        }
    }

    /// Creates a buffer without memory, as a placeholder.
    #[cfg(feature = "hub")]
    pub(crate) fn none() -> ReceiveBuffer<'static> {
        ReceiveBuffer::over(Memory::Lent(&mut []))
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
        Self {
            memory,
            #[cfg(feature = "extension")]
            output: Memory::Lent(&mut []),
            place: Place::default(),
        }
    }

    /// Adds memory that an [`Extension`](crate::proto::Extension) decodes into. Its length limits how many decoded
    /// bytes one event delivers.
    #[cfg(feature = "extension")]
    #[must_use]
    pub fn with_output(self, output: &'b mut [u8]) -> Self {
        Self { output: Memory::Lent(output), ..self }
    }

    /// Adds `capacity` bytes of memory of its own that an [`Extension`](crate::proto::Extension) decodes into: see
    /// [`with_output`](Self::with_output).
    #[cfg(all(feature = "extension", feature = "alloc"))]
    #[must_use]
    pub fn with_output_capacity(mut self, capacity: usize) -> Self {
        self.add_output(capacity);
        self
    }

    /// Adds memory that an extension decodes into.
    #[cfg(all(feature = "extension", feature = "alloc"))]
    pub(crate) fn add_output(&mut self, capacity: usize) {
        self.output = Memory::Owned(alloc::vec![0; capacity].into_boxed_slice());
    }

    /// Returns the free part of the buffer, to read the transport into. It is empty if the buffer is full (poll first)
    /// and after the end of the stream.
    ///
    /// The call may move what the buffer holds: it invalidates every [`DetachedEvent`].
    pub fn spare(&mut self) -> &mut [u8] {
        if self.place.ended {
            return &mut [];
        }
        // The rest is moved at most once for each read.
        self.place.input.move_to_front(self.memory.get_mut());
        self.memory.get_mut().get_mut(self.place.input.end..).unwrap_or_default()
    }

    /// Reports that `n` bytes were read into [`spare`](Self::spare). A value above the length of `spare` counts as that
    /// length, and 0 has no effect: report the end of the stream by [`end`](Self::end).
    pub fn fill(&mut self, n: usize) {
        self.place.fresh |= n > 0;
        self.place.input.end = self.place.input.end.saturating_add(n).min(self.capacity());
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
        let DetachedEvent { shape, span } = event;
        #[cfg(feature = "extension")]
        let source = if span.decoded { self.output.get() } else { self.memory.get() };
        #[cfg(not(feature = "extension"))]
        let source = self.memory.get();
        let end = span.start.saturating_add(span.len);
        shape.with(source.get(span.start..end).unwrap_or_default().into())
    }

    /// Returns the received bytes that are not yet processed: of a request that was
    /// [handed over](crate::handshake::Decision::HandOver) its head and what followed it, and at any other time bytes
    /// of frames as the peer sent them, of which a part may be unmasked already.
    #[must_use]
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    pub fn unread(&self) -> &[u8] {
        self.memory.get().get(self.place.input.start..self.place.input.end).unwrap_or_default()
    }

    /// Returns the length of the memory in bytes.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.memory.get().len()
    }

    /// Returns whether the buffer holds no bytes, neither received nor decoded ones, so that its memory can serve another
    /// connection.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        #[cfg(feature = "extension")]
        if !self.place.output.is_empty() {
            return false;
        }
        self.place.input.is_empty()
    }

    /// Returns whether the stream has ended.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        self.place.ended
    }

    /// Removes the first `n` bytes.
    pub(crate) fn consume(&mut self, n: usize) {
        self.place.input.consume(n);
    }

    /// Empties the buffer for another stream.
    pub fn clear(&mut self) {
        self.place = Place::default();
    }

    /// Puts the payload that was just consumed back to the front, so that it is delivered again.
    pub(crate) fn put_back(&mut self, span: Span) {
        let region = self.place.region(span);
        region.start = region.start.saturating_sub(span.len);
    }

    /// Takes an event again whose payload was put back. `spare` may have moved it since.
    pub(crate) fn take_again(&mut self, event: DetachedEvent) -> DetachedEvent {
        let DetachedEvent { shape, span } = event;
        self.place.region(span).consume(span.len);
        #[cfg(feature = "extension")]
        {
            self.place.decoded = span.decoded;
        }
        DetachedEvent { shape, span: self.span(span.len) }
    }

    /// Keeps the first `len` bytes of those that the buffer holds. `ended` says whether the stream ends there.
    pub(crate) fn truncate(&mut self, len: usize, ended: bool) {
        let Region { start, end } = &mut self.place.input;
        *end = start.saturating_add(len).min(*end);
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
        self.place.input = Region { start: 0, end: len.min(self.capacity()) };
        result
    }

    /// Splits the buffer into the parts that a receiver needs. An event may borrow from them for as long as the buffer is
    /// borrowed.
    #[inline]
    pub(crate) fn open(&mut self) -> Opened<'_, '_> {
        let memory = self.memory.get_mut();
        let place = &mut self.place;
        #[cfg(feature = "extension")]
        {
            place.decoded = false;
        }
        let capacity = memory.len();
        let input = memory.get_mut(place.input.start..place.input.end).unwrap_or_default();
        Opened {
            input,
            #[cfg(feature = "extension")]
            output: self.output.get_mut(),
            capacity,
            place,
        }
    }

    /// Returns the place of the last delivered payload, which is `len` bytes long.
    #[inline]
    pub(crate) fn span(&self, len: usize) -> Span {
        #[cfg(feature = "extension")]
        if self.place.decoded {
            return Span { start: self.place.output.start.saturating_sub(len), len, decoded: true };
        }
        Span {
            start: self.place.input.start.saturating_sub(len),
            len,
            #[cfg(feature = "extension")]
            decoded: false,
        }
    }
}

#[cfg(any(feature = "tokio", feature = "deflate"))]
impl ReceiveBuffer<'static> {
    /// Takes the memory out of the buffer, if it holds no bytes and owns it. Its flags stay.
    #[cfg(feature = "tokio")]
    pub(crate) fn detach(&mut self) -> Option<alloc::boxed::Box<[u8]>> {
        if !self.is_empty() {
            return None;
        }
        self.place.input = Region::default();
        self.memory.take()
    }

    /// Gives memory to a buffer that has none. It has to be as large as what was taken out.
    #[cfg(feature = "tokio")]
    pub(crate) fn attach(&mut self, memory: alloc::boxed::Box<[u8]>) {
        self.memory = Memory::Owned(memory);
    }

    /// Takes the memory for decoded bytes out of the buffer, if it holds none.
    #[cfg(all(feature = "deflate", any(feature = "tokio", feature = "hub")))]
    pub(crate) fn detach_output(&mut self) -> Option<alloc::boxed::Box<[u8]>> {
        if !self.place.output.is_empty() {
            return None;
        }
        self.place.output = Region::default();
        self.output.take().filter(|memory| !memory.is_empty())
    }

    /// Gives the buffer memory for decoded bytes of this length, unless it has some.
    #[cfg(all(feature = "deflate", any(feature = "tokio", feature = "hub")))]
    pub(crate) fn attach_output(&mut self, memory: impl FnOnce() -> alloc::boxed::Box<[u8]>) {
        if self.output.get().is_empty() {
            self.output = Memory::Owned(memory());
        }
    }
}

impl<'r> Opened<'r, '_> {
    /// Removes from the buffer what was taken from `input`.
    #[inline]
    pub(crate) fn close(&mut self) {
        let region = &mut self.place.input;
        region.start = region.end.saturating_sub(self.input.len());
    }

    /// Takes the first `n` decoded bytes, which lie at the front of the memory after [`Place::room`].
    #[cfg(feature = "extension")]
    pub(crate) fn take_decoded(&mut self, n: usize) -> &'r [u8] {
        self.place.output.consume(n);
        self.place.decoded = true;
        core::mem::take(&mut self.output).get(..n).unwrap_or_default()
    }
}

impl Place {
    /// Moves the decoded bytes that are not yet delivered to the front of their memory, and returns how many these are,
    /// and the free memory behind them.
    #[cfg(feature = "extension")]
    pub(crate) fn room<'m>(&mut self, output: &'m mut [u8]) -> (usize, &'m mut [u8]) {
        self.output.move_to_front(output);
        let held = self.output.end;
        (held, output.get_mut(held..).unwrap_or_default())
    }

    /// Adds the first `n` bytes of [`room`](Self::room) to the decoded bytes.
    #[cfg(feature = "extension")]
    pub(crate) fn add(&mut self, n: usize) {
        self.output.end = self.output.end.saturating_add(n);
    }

    /// Returns where the payloads of a memory lie.
    fn region(&mut self, span: Span) -> &mut Region {
        #[cfg(feature = "extension")]
        if span.decoded {
            return &mut self.output;
        }
        let _ = span;
        &mut self.input
    }
}

impl Region {
    const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn consume(&mut self, n: usize) {
        self.start = self.start.saturating_add(n).min(self.end);
    }

    /// Moves the bytes to the front of their memory.
    fn move_to_front(&mut self, memory: &mut [u8]) {
        if self.is_empty() {
            *self = Self::default();
        } else if self.start > 0 {
            compact(memory, &mut self.start, &mut self.end);
        }
    }
}

#[cfg(any(feature = "tokio", all(feature = "deflate", feature = "hub")))]
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
