//! Codecs that connections without context share.

#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use super::agreement::{Agreement, Direction};
use super::options::DeflateOptions;
use super::per_message::PerMessage;
use super::zlib::{ZlibDeflate, ZlibInflate};
use super::{Deflate, Inflate, InvalidDeflate};
use crate::extension::{ExtensionFailed, Progress};
#[cfg(feature = "hub")]
use crate::frame::{Header, Kind, MAX_HEADER_LEN, ReservedBits};

/// The codecs for all connections of a server, and its [`DeflateOptions`].
///
/// A connection without context takes a codec for each message, and gives it back at the message's end, so an idle one has none.
/// All of them are created at the start: a connection without context never allocates.
#[derive(Debug)]
pub struct Pool {
    options: DeflateOptions,
    inflate: Arc<Shelf<ZlibInflate>>,
    deflate: Arc<Shelf<ZlibDeflate>>,
    /// The window of the compressors.
    window_bits: u8,
}

/// A codec of a connection: its own, or one of a [`Pool`] while a message is in progress.
#[derive(Debug)]
pub struct Lease<T> {
    codec: Option<T>,
    /// Where the codec is taken from and goes back to.
    shelf: Option<Arc<Shelf<T>>>,
}

/// The codecs that are free. They may be in the middle of a stream.
type Shelf<T> = Mutex<Vec<T>>;

/// permessage-deflate with zlib-rs.
pub type Zlib = PerMessage<Lease<ZlibInflate>, Lease<ZlibDeflate>>;

impl Pool {
    /// Creates the codecs, as many as `options` say. `None` if there is no memory for them.
    #[must_use]
    pub fn new(options: DeflateOptions) -> Option<Self> {
        let options = options.checked();
        Some(Self {
            options,
            inflate: filled(options.decompressors, ZlibInflate::new)?,
            deflate: filled(options.compressors, || ZlibDeflate::new(&options, options.send_window_bits))?,
            window_bits: options.send_window_bits,
        })
    }

    /// Creates a pool with other options that shares the codecs of this one: for a route, by
    /// [`AcceptOptions::deflate`](crate::handshake::AcceptOptions::deflate).
    ///
    /// Level, memory level and windows hold for connections with context. Those without take the compressors as they are, and send
    /// uncompressed where the window is to be smaller than that of the compressors. The counts of codecs have no meaning.
    ///
    /// ```
    /// use sansocket::deflate::{DeflateOptions, Pool};
    ///
    /// let pool = Pool::new(DeflateOptions::new()).ok_or("no memory")?;
    /// let feed = pool.with_options(DeflateOptions::new().context(true).send_window_bits(15).level(6));
    /// assert_eq!((feed.options().level, feed.free()), (6, pool.free()));
    /// # Ok::<_, &str>(())
    /// ```
    #[must_use]
    pub fn with_options(&self, options: DeflateOptions) -> Self {
        let (inflate, deflate) = (Arc::clone(&self.inflate), Arc::clone(&self.deflate));
        Self { options: options.checked(), inflate, deflate, window_bits: self.window_bits }
    }

    /// Returns the window of [`frame`](Self::frame).
    #[cfg(feature = "hub")]
    pub(crate) const fn window_bits(&self) -> u8 {
        self.window_bits
    }

    /// Returns the options.
    #[must_use]
    pub const fn options(&self) -> &DeflateOptions {
        &self.options
    }

    /// Returns how many decompressors and compressors are free.
    #[must_use]
    pub fn free(&self) -> (usize, usize) {
        (lock(&self.inflate).len(), lock(&self.deflate).len())
    }

    /// Compresses a message without context, for any number of connections: a server's whole frame. `None` if it does not shrink, or if
    /// no compressor or no memory is free.
    #[cfg(feature = "hub")]
    pub(crate) fn frame(&self, kind: Kind, message: &[u8]) -> Option<Vec<u8>> {
        let mut lease = Lease::of(&self.deflate);
        if !lease.begin() {
            return None;
        }
        let bound = lease.bound(message.len());
        let size = bound.checked_add(MAX_HEADER_LEN)?;
        let mut frame = Vec::new();
        frame.try_reserve_exact(size).ok()?;
        frame.resize(size, 0);
        let (header, body) = frame.split_first_chunk_mut::<MAX_HEADER_LEN>()?;
        let done = lease.deflate(message, body, true).ok().filter(|done| !done.more)?;
        let len = done.produced;
        let head =
            Header { fin: true, rsv: ReservedBits::RSV1, opcode: kind.into(), key: None, len: len as u64 };
        let header_len = head.encode(header);
        if len >= message.len() {
            return None;
        }
        frame.copy_within(MAX_HEADER_LEN..MAX_HEADER_LEN.saturating_add(len), header_len);
        frame.truncate(header_len.saturating_add(len));
        frame.shrink_to_fit();
        Some(frame)
    }

    /// Creates the extension of a server's connection. `None` if there is no memory for the codecs of a connection with context.
    #[must_use]
    pub fn server(&self, agreement: &Agreement) -> Option<Zlib> {
        let Agreement { server: send, client: receive } = *agreement;
        let inflate =
            if receive.context { Lease::own(ZlibInflate::new()?) } else { Lease::of(&self.inflate) };
        let deflate = match send.window_bits {
            // zlib has no such window: all messages go uncompressed.
            8 => Lease::NONE,
            bits if send.context => Lease::own(ZlibDeflate::new(&self.options, bits)?),
            bits if bits >= self.window_bits => Lease::of(&self.deflate),
            // The shared compressors have a larger window.
            _ => Lease::NONE,
        };
        Some(PerMessage::new(inflate, deflate, receive, send, self.options.min_len))
    }
}

impl Zlib {
    /// Creates the extension of a connection that has its own codecs. `receive` and `send` are the directions of the [`Agreement`] as
    /// this side sees them. `None` if there is no memory.
    #[must_use]
    pub fn with_own_codecs(options: &DeflateOptions, receive: Direction, send: Direction) -> Option<Self> {
        let inflate = Lease::own(ZlibInflate::new()?);
        let deflate = match send.window_bits {
            8 => Lease::NONE,
            bits => Lease::own(ZlibDeflate::new(options, bits)?),
        };
        Some(PerMessage::new(inflate, deflate, receive, send, options.min_len))
    }
}

impl<T> Lease<T> {
    /// No codec, ever.
    const NONE: Self = Self { codec: None, shelf: None };

    const fn own(codec: T) -> Self {
        Self { codec: Some(codec), shelf: None }
    }

    fn of(shelf: &Arc<Shelf<T>>) -> Self {
        Self { codec: None, shelf: Some(Arc::clone(shelf)) }
    }

    /// Returns the codec, and takes one if there is none. `renew` makes it that of a new stream.
    fn take(&mut self, renew: impl FnOnce(&mut T)) -> Option<&mut T> {
        if let (None, Some(shelf)) = (&self.codec, &self.shelf) {
            self.codec = lock(shelf).pop();
            self.codec.as_mut().map(renew);
        }
        self.codec.as_mut()
    }

    /// Gives the codec back. Returns it if it is the connection's own.
    fn give_back(&mut self) -> Option<&mut T> {
        if let Some(shelf) = &self.shelf {
            // The list has room for all.
            lock(shelf).extend(self.codec.take());
        }
        self.codec.as_mut()
    }
}

impl<T> Drop for Lease<T> {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl<T: Inflate> Inflate for Lease<T> {
    fn begin(&mut self) -> bool {
        self.take(|codec| codec.end(false)).is_some()
    }

    fn inflate(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), InvalidDeflate> {
        self.codec.as_mut().ok_or(InvalidDeflate)?.inflate(input, output)
    }

    fn finish(&mut self) -> Result<(), InvalidDeflate> {
        self.codec.as_mut().ok_or(InvalidDeflate)?.finish()
    }

    fn end(&mut self, context: bool) {
        if let Some(own) = self.give_back() {
            own.end(context);
        }
    }
}

impl Deflate for Lease<ZlibDeflate> {
    fn is_available(&self) -> bool {
        self.codec.is_some() || self.shelf.as_ref().is_some_and(|shelf| !lock(shelf).is_empty())
    }

    fn begin(&mut self) -> bool {
        self.take(|codec| codec.end(false)).is_some()
    }

    fn bound(&self, len: usize) -> usize {
        super::zlib::bound(len)
    }

    fn deflate(&mut self, input: &[u8], output: &mut [u8], last: bool) -> Result<Progress, ExtensionFailed> {
        self.codec.as_mut().ok_or(ExtensionFailed)?.deflate(input, output, last)
    }

    fn end(&mut self, context: bool) {
        if let Some(own) = self.give_back() {
            own.end(context);
        }
    }
}

/// A list of `count` codecs, with room for no more, so that it never grows.
fn filled<T>(count: usize, mut create: impl FnMut() -> Option<T>) -> Option<Arc<Shelf<T>>> {
    let mut codecs = Vec::new();
    codecs.try_reserve_exact(count).ok()?;
    for _ in 0..count {
        codecs.push(create()?);
    }
    Some(Arc::new(Mutex::new(codecs)))
}

/// A codec is taken or put back by one call, after which the list is whole: a panic elsewhere does not matter.
fn lock<T>(codecs: &Mutex<Vec<T>>) -> MutexGuard<'_, Vec<T>> {
    codecs.lock().unwrap_or_else(PoisonError::into_inner)
}
