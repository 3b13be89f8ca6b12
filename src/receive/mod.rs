//! Receiving frames: header, unmasking, fragmentation rules, limits, UTF-8 (RFC 6455 §5, §8.1).

#![forbid(unsafe_code)]

#[cfg(feature = "extension")]
mod coded;
mod control;
mod error;
mod external;
mod quick;

pub use error::ReceiveError;

use core::marker::PhantomData;

#[cfg(feature = "extension")]
use crate::buffer::ReceiveBuffer;
use crate::buffer::{Opened, Place};
use crate::config::base::Config;
use crate::config::{ConfigRef, Delivery};
use crate::error::Violation;
use crate::event::{Chunk, Event, Payload};
use crate::extension::{Extension, ExtensionFailed, NoExtension};
use crate::frame::{Header, HeaderRules, Kind, OpCode};
use crate::mask::mask;
use crate::role::Role;
use crate::utf8::Utf8Validator;

/// The receiving half of a connection: decodes frames, and sends no replies. [`Connection`](crate::Connection) does both.
///
/// It stores no payload: bytes that are not yet processed stay in the caller's input.
///
/// ```
/// use sansocket::proto::Decoder;
/// use sansocket::{Config, Event, Server};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // A masked Text "Hello" (RFC 6455 §5.7), and the first byte of another frame.
/// let mut memory = *b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\x81";
/// let mut input = &mut memory[..];
/// let mut decoder = Decoder::<Server>::new(&Config::DEFAULT);
///
/// match decoder.receive(512, &mut input)? {
///     Some(Event::Data(chunk)) => assert_eq!((chunk.payload.to_str(), chunk.end), (Some("Hello"), true)),
///     other => panic!("{other:?}"),
/// }
/// assert_eq!(decoder.receive(512, &mut input)?, None);
/// assert_eq!(input, b"\x81"); // pass it again together with what arrives
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Decoder<R, C = &'static Config> {
    config: C,
    /// Bytes of the frame's payload, and how many of them are not yet delivered.
    len: u64,
    left: u64,
    /// Bytes of the message so far.
    message: u64,
    /// Frames of the message so far.
    fragments: u32,
    /// The masking key for the next byte that is still masked.
    key: [u8; 4],
    utf8: Utf8Validator,
    /// Bytes at the front of the input that are unmasked and checked, but not yet delivered.
    ready: usize,
    state: State,
    opcode: OpCode,
    fin: bool,
    /// The message that is being received.
    kind: Option<Kind>,
    /// A part of the message was delivered.
    delivered: bool,
    /// The extension decodes the frame's payload.
    #[cfg(feature = "extension")]
    coded: bool,
    /// The extension has more output.
    #[cfg(feature = "extension")]
    more: bool,
    /// The peer has made progress since the last check: it ended a message or a frame outside of one, or sent 1 KiB.
    progressed: bool,
    role: PhantomData<R>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A header is expected.
    Header,
    /// The payload of the frame is being received.
    Payload,
    /// The peer's Close has been received.
    Closed,
    /// The peer broke a rule, or the extension failed.
    Failed(ReceiveError),
}

impl<R: Role, C: ConfigRef> Decoder<R, C> {
    /// Creates a decoder for the stream of frames directly after the opening handshake.
    #[must_use]
    pub const fn new(config: C) -> Self {
        Self {
            config,
            len: 0,
            left: 0,
            message: 0,
            fragments: 0,
            key: [0; 4],
            utf8: Utf8Validator::NEW,
            ready: 0,
            state: State::Header,
            opcode: OpCode::Continuation,
            fin: true,
            kind: None,
            delivered: false,
            #[cfg(feature = "extension")]
            coded: false,
            #[cfg(feature = "extension")]
            more: false,
            progressed: false,
            role: PhantomData,
        }
    }

    /// Takes the next event off the front of `input`; `None` if more bytes have to arrive.
    ///
    /// Pass the rest of `input` again, unchanged and followed by the bytes that have arrived since. `capacity` is the
    /// most bytes that `input` can ever hold, at least [`MIN_BUFFER_LEN`](crate::proto::MIN_BUFFER_LEN): with
    /// [`Delivery::Frames`] a frame that fits into it is delivered whole. After the peer's Close all input is
    /// discarded: "a peer discards any further data received" (§1.4).
    ///
    /// # Errors
    /// The [`Violation`] of the peer; every later call returns it again.
    #[inline]
    pub fn receive<'i>(
        &mut self,
        capacity: usize,
        input: &mut &'i mut [u8],
    ) -> Result<Option<Event<'i>>, Violation> {
        let mut view = Opened {
            input: core::mem::take(input),
            #[cfg(feature = "extension")]
            output: &mut [],
            capacity,
            place: &mut Place::default(),
        };
        let received = self.take(&mut NoExtension, &mut view);
        *input = view.input;
        received.map_err(|error| match error {
            ReceiveError::Violation(violation) => violation,
            ReceiveError::Extension(ExtensionFailed) => Violation::Extension,
        })
    }

    /// Takes the next event out of a receive buffer as [`receive`](Self::receive) does, with an extension, which decodes
    /// into the memory of [`ReceiveBuffer::with_output`].
    ///
    /// # Errors
    /// The peer's violation, or the extension's failure; every later call returns it again.
    #[cfg(feature = "extension")]
    pub fn receive_with<'r, X: Extension>(
        &mut self,
        extension: &mut X,
        rx: &'r mut ReceiveBuffer<'_>,
    ) -> Result<Option<Event<'r>>, ReceiveError> {
        self.take(extension, &mut rx.open())
    }

    /// Takes the next event out of an open buffer.
    #[inline]
    pub(crate) fn take<'i, X: Extension>(
        &mut self,
        extension: &mut X,
        view: &mut Opened<'i, '_>,
    ) -> Result<Option<Event<'i>>, ReceiveError> {
        if let Some(data) = self.quick(&mut view.input) {
            view.close();
            return Ok(Some(Event::Data(data)));
        }
        if let Some(data) = self.fragment(extension, view) {
            return Ok(Some(Event::Data(data)));
        }
        self.slow(extension, view)
    }

    /// Receives a fragment that has arrived whole, after [`quick`](Self::quick) has found nothing. An active extension
    /// sees the header of each fragment.
    #[inline(always)]
    pub(crate) fn fragment<'i, X: Extension>(
        &mut self,
        extension: &X,
        view: &mut Opened<'i, '_>,
    ) -> Option<Chunk<'i>> {
        if extension.is_active() {
            return None;
        }
        let data = self.quick_fragment(&mut view.input)?;
        view.close();
        Some(data)
    }

    /// Returns whether a message has begun and not ended.
    #[must_use]
    pub const fn is_inside_message(&self) -> bool {
        self.kind.is_some()
    }

    /// Returns whether the peer's Close was received. All input after it is discarded.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Returns whether the next event is data, of which `input` is the beginning.
    #[cfg(feature = "tokio")]
    pub(crate) fn expects_data(&self, input: &[u8]) -> bool {
        match self.state {
            State::Header => input.first().is_some_and(|first| first & 0x08 == 0),
            State::Payload => !self.opcode.is_control(),
            State::Closed | State::Failed(_) => false,
        }
    }

    /// Returns whether a message or a frame is in progress, and whether the peer has made progress since the last call.
    /// `rest` is the rest of the input.
    pub(crate) fn progress(&mut self, rest: &[u8]) -> (bool, bool) {
        let busy = !rest.is_empty() || self.state == State::Payload || self.kind.is_some();
        (busy, core::mem::take(&mut self.progressed))
    }

    /// Returns the configuration.
    pub(crate) const fn config(&self) -> &C {
        &self.config
    }

    fn fail(&mut self, error: ReceiveError) {
        self.state = State::Failed(error);
    }

    /// Takes the next event after [`quick`](Self::quick) and [`fragment`](Self::fragment) have found nothing.
    #[inline(never)]
    pub(crate) fn slow<'i, X: Extension>(
        &mut self,
        extension: &mut X,
        view: &mut Opened<'i, '_>,
    ) -> Result<Option<Event<'i>>, ReceiveError> {
        let received = self.step(extension, view).inspect_err(|error| self.fail(*error));
        view.close();
        received
    }

    #[cfg_attr(
        not(feature = "extension"),
        expect(clippy::never_loop, reason = "only an extension repeats it")
    )]
    fn step<'i, X: Extension>(
        &mut self,
        extension: &mut X,
        view: &mut Opened<'i, '_>,
    ) -> Result<Option<Event<'i>>, ReceiveError> {
        loop {
            match self.state {
                State::Header => {
                    let rules = HeaderRules {
                        masked: R::SERVER,
                        rsv: extension.rsv(),
                        allow_long_length_form: self.config.allow_long_length_form,
                    };
                    self.order(view.input)?;
                    let Some((header, len)) = Header::decode(view.input, &rules)? else { return Ok(None) };
                    take(&mut view.input, len);
                    self.begin(extension, &header)?;
                }
                State::Payload => {}
                State::Closed => {
                    view.input = &mut [];
                    return Ok(None);
                }
                State::Failed(error) => return Err(error),
            }
            if self.opcode.is_control() {
                return Ok(self.control(&mut view.input)?);
            }
            #[cfg(feature = "extension")]
            if X::ACTIVE && self.coded {
                if let Some(data) = self.decoded(extension, view)? {
                    return Ok(Some(Event::Data(data)));
                }
                if self.state == State::Payload && !self.more {
                    return Ok(None);
                }
                continue;
            }
            return Ok(self.data(view.capacity, &mut view.input)?.map(Event::Data));
        }
    }

    /// Checks the order of fragments (§5.4), for which the first byte of a frame suffices.
    fn order(&self, input: &[u8]) -> Result<(), Violation> {
        match (input.first().map(|first| first & 0x0F), self.kind) {
            (Some(0), None) => Err(Violation::UnexpectedContinuation),
            (Some(1 | 2), Some(_)) => Err(Violation::UnfinishedMessage),
            _ => Ok(()),
        }
    }

    /// Begins a frame, and checks the limits before any of its payload is received.
    fn begin<X: Extension>(&mut self, extension: &mut X, header: &Header) -> Result<(), ReceiveError> {
        self.state = State::Payload;
        self.opcode = header.opcode;
        self.fin = header.fin;
        self.len = header.len;
        self.left = header.len;
        self.key = header.key.unwrap_or_default();
        self.ready = 0;
        match header.opcode {
            OpCode::Continuation => {}
            OpCode::Text => self.start(Kind::Text),
            OpCode::Binary => self.start(Kind::Binary),
            _ => return Ok(()),
        }
        let limits = &self.config.limits;
        if header.len > limits.frame {
            return Err(Violation::FrameTooBig.into());
        }
        self.fragments = self.fragments.saturating_add(1);
        if self.fragments > limits.fragments {
            return Err(Violation::TooManyFragments.into());
        }
        #[cfg(feature = "extension")]
        {
            self.coded = X::ACTIVE && extension.receive(header.opcode, header.rsv)?;
            self.more = false;
            if self.coded {
                return Ok(());
            }
        }
        #[cfg(not(feature = "extension"))]
        let _ = extension;
        Ok(self.grow(header.len)?)
    }

    /// Starts a message.
    fn start(&mut self, kind: Kind) {
        self.kind = Some(kind);
        self.message = 0;
        self.fragments = 0;
        self.delivered = false;
        self.utf8 = Utf8Validator::NEW;
    }

    /// Adds `len` bytes to the length of the message, and checks its limit.
    fn grow(&mut self, len: u64) -> Result<(), Violation> {
        let before = self.message;
        self.message = before.saturating_add(len);
        self.progressed |= (before ^ self.message) as u32 >> 10 != 0;
        if self.message > self.config.limits.message { Err(Violation::MessageTooBig) } else { Ok(()) }
    }

    /// Delivers the part of a data frame's payload that has arrived.
    fn data<'i>(
        &mut self,
        capacity: usize,
        input: &mut &'i mut [u8],
    ) -> Result<Option<Chunk<'i>>, Violation> {
        self.check(input)?;
        let complete = self.ready as u64 == self.left;
        let n = match self.config.delivery {
            _ if complete => self.ready,
            Delivery::Frames if self.len <= capacity as u64 => 0,
            // The incomplete code point may have begun in an earlier fragment.
            Delivery::CodePoints => self.ready.saturating_sub(self.utf8.incomplete()),
            Delivery::Frames | Delivery::Chunks => self.ready,
        };
        if n == 0 && !complete {
            return Ok(None);
        }
        Ok(Some(self.chunk(n, input)))
    }

    /// Unmasks and checks the bytes of the frame that have arrived since the last call.
    fn check(&mut self, input: &mut [u8]) -> Result<(), Violation> {
        let arrived = self.arrived(input.len());
        if let Some(fresh) = input.get_mut(self.ready..arrived) {
            self.unmask(fresh);
            if self.kind == Some(Kind::Text) {
                self.utf8.feed(fresh).map_err(|_| Violation::InvalidUtf8)?;
            }
        }
        let missing = self.left as usize;
        self.progressed |= (missing.wrapping_sub(self.ready) ^ missing.wrapping_sub(arrived)) >> 10 != 0;
        self.ready = arrived;
        if self.ready as u64 == self.left && self.fin && self.utf8.incomplete() > 0 {
            return Err(Violation::InvalidUtf8);
        }
        Ok(())
    }

    /// Delivers the first `n` bytes of the input, which are ready.
    fn chunk<'i>(&mut self, n: usize, input: &mut &'i mut [u8]) -> Chunk<'i> {
        let payload = Payload::from(take(input, n));
        let offset = self.len.wrapping_sub(self.left);
        self.advance(n);
        let done = self.left == 0;
        if done {
            self.state = State::Header;
        }
        let (fin, remaining) = (self.fin, self.left);
        Chunk { fin, offset, remaining, ..self.deliver(payload, done && fin) }
    }

    /// Accounts for a part of the message that is delivered as `payload`. `end` says that the message ends with it.
    fn deliver<'i>(&mut self, payload: Payload<'i>, end: bool) -> Chunk<'i> {
        let kind = self.kind.unwrap_or(Kind::Binary);
        let start = !core::mem::replace(&mut self.delivered, true);
        if end {
            self.kind = None;
            self.progressed = true;
        }
        Chunk { kind, payload, start, end, fin: end, offset: 0, remaining: 0 }
    }

    /// Accounts for `n` bytes of the frame that are processed, at most those that are ready.
    fn advance(&mut self, n: usize) {
        self.left = self.left.wrapping_sub(n as u64);
        self.ready = self.ready.wrapping_sub(n);
    }

    /// Returns how many bytes of the frame's payload are in an input of `len` bytes.
    fn arrived(&self, len: usize) -> usize {
        if (len as u64) < self.left { len } else { self.left as usize }
    }

    fn unmask(&mut self, payload: &mut [u8]) {
        if R::SERVER {
            self.key = mask(self.key, payload);
        }
    }
}

/// Takes the first `n` bytes off the front of `input`.
#[inline]
fn take<'i>(input: &mut &'i mut [u8], n: usize) -> &'i mut [u8] {
    match core::mem::take(input).split_at_mut_checked(n) {
        Some((front, rest)) => {
            *input = rest;
            front
        }
        None => &mut [],
    }
}
