//! The state machine of an open connection: events, replies, the closing handshake and all deadlines, driven by `poll`.

#![forbid(unsafe_code)]

mod closing;
mod deadlines;
mod link;

pub(crate) use link::Link;

use core::convert::Infallible;

use self::link::{Holds, Phase};
use crate::buffer::{Opened, ReceiveBuffer, TransmitBuffer};
use crate::close::CloseCode;
use crate::config::ConfigRef;
use crate::config::base::Config;
use crate::ending::Ending;
use crate::error::EndReason;
#[cfg(feature = "tokio")]
use crate::error::Timeout;
use crate::event::{Chunk, DetachedEvent, Event};
use crate::extension::{Extension, ExtensionFailed, NoExtension};
use crate::receive::{Decoder, ReceiveError};
use crate::role::Role;
use crate::send::Wire;
use crate::step::Step;
use crate::time::{Due, Instant, Timed};

/// The state of a connection (RFC 6455 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ConnectionState {
    /// Both sides can send.
    Open,
    /// A Close was sent, was received or is pending, or the connection has failed; the transport is not yet closed.
    Closing,
    /// The connection has ended.
    Closed,
}

/// An open WebSocket connection in either role: a state machine that is polled with the time and two buffers.
///
/// It takes about 256 bytes, and owns no buffer. `R` is the role ([`Server`](crate::Server) or
/// [`Client`](crate::Client)), `X` the extension, `C` the pointer to its configuration ([`ConfigRef`]).
/// [`HandlerDriver`](crate::session::HandlerDriver) drives a connection with a [`Handler`](crate::Handler), and waits
/// for room in the transmit buffer where the handler is blocked.
///
/// # Contract
///
/// 1. Call [`poll`](Self::poll) with the time until it returns something other than [`Step::Event`]. Process each event
///    before the next call: it borrows the receive buffer. [`poll_detached`](Self::poll_detached) returns events that
///    do not.
/// 2. On [`Step::Wait`], write [`TransmitBuffer::pending`] to the transport, and report by
///    [`consume`](TransmitBuffer::consume) how much it took. Read the transport into [`ReceiveBuffer::spare`], unless
///    that is empty, and report the bytes by [`fill`](ReceiveBuffer::fill), the end of the stream by
///    [`end`](ReceiveBuffer::end). Poll again when either has happened, and at the deadline at the latest. Read the
///    clock once for each wake-up, not for each poll; time must not go back.
/// 3. On [`Step::Shutdown`], shut down the writing side of the transport, and poll again. It is returned at most once.
/// 4. On [`Step::Done`], drop the transport. Every later poll returns the same.
/// 5. If the transport fails, call [`transport_failed`](Self::transport_failed); the next poll returns `Done`.
///
/// Between polls, and while you process an event, send by [`outbox`](Self::outbox). What you send is pending at once,
/// and changes the deadlines: poll again before you wait. While the application cannot take another event, call
/// [`poll_without_receiving`](Self::poll_without_receiving), which does everything else: pending replies, deadlines,
/// the closing handshake.
///
/// A call to `poll` decodes at most one data frame or one chunk of one, and the control frames before it in the receive
/// buffer. It processes each received byte once (unmasking, UTF-8), copies no payload of data frames, and does not wait,
/// allocate or panic.
///
/// # Example
///
/// An echo over any blocking stream, after an opening handshake that was done elsewhere.
///
/// ```
/// use std::io::{self, Read, Write};
///
/// use sansocket::proto::Role;
/// use sansocket::{Config, Connection, Ending, Event, HandlerError, Instant, ReceiveBuffer, Step, TransmitBuffer};
///
/// static CONFIG: Config = Config::new().max_message_len(64 * 1024);
///
/// /// A stream, and how to shut down its writing side.
/// trait Stream: Read + Write {
///     fn shutdown(&mut self) -> io::Result<()>;
/// }
///
/// fn echo<R: Role>(role: R, stream: &mut impl Stream, clock: impl Fn() -> Instant) -> io::Result<Ending> {
///     let (mut input, mut output) = ([0; 4096], [0; 4096]);
///     let mut rx = ReceiveBuffer::new(&mut input).map_err(io::Error::other)?;
///     let mut tx = TransmitBuffer::new(&mut output).map_err(io::Error::other)?;
///     let mut connection = Connection::new(role, &CONFIG, clock());
///     loop {
///         let now = clock();
///         match connection.poll(now, &mut rx, &mut tx) {
///             Step::Event(Event::Data(chunk)) => {
///                 let mut echo = chunk; // `HandlerDriver` does all of this, and keeps the deadlines meanwhile
///                 while let Err(blocked) = connection.outbox(now, &mut tx).forward(&echo) {
///                     let HandlerError::Blocked { consumed } = blocked else { break };
///                     echo.payload = echo.payload.as_bytes()[consumed..].into();
///                     let written = stream.write(tx.pending())?;
///                     tx.consume(written);
///                 }
///             }
///             Step::Event(_) => {} // a Ping or a Close, which is answered, or a Pong
///             Step::Wait { deadline: _ } if !tx.is_empty() => {
///                 let written = stream.write(tx.pending())?;
///                 tx.consume(written);
///             }
///             // A transport that can wait for two things waits for bytes, or until the deadline.
///             Step::Wait { deadline: _ } => match stream.read(rx.spare())? {
///                 0 => rx.end(),
///                 n => rx.fill(n),
///             },
///             Step::Shutdown => stream.shutdown()?,
///             Step::Done(ending) => return Ok(ending),
///         }
///     }
/// }
///
/// # struct Memory<'a>(&'a [u8], Vec<u8>, bool);
/// # impl Read for Memory<'_> {
/// #     fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
/// #         self.0.read(buffer)
/// #     }
/// # }
/// # impl Write for Memory<'_> {
/// #     fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
/// #         self.1.write(&bytes[..bytes.len().min(3)])
/// #     }
/// #     fn flush(&mut self) -> io::Result<()> {
/// #         Ok(())
/// #     }
/// # }
/// # impl Stream for Memory<'_> {
/// #     fn shutdown(&mut self) -> io::Result<()> {
/// #         self.2 = true;
/// #         Ok(())
/// #     }
/// # }
/// # fn main() -> io::Result<()> {
/// # let text = [&b"\x81\xfe\x03\xe8\0\0\0\0"[..], &[b'x'; 1000]].concat();
/// # let sent = [&b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"[..], &text.repeat(9), b"\x88\x80\0\0\0\0"].concat();
/// # let mut stream = Memory(&sent, Vec::new(), false);
/// # let ending = echo(sansocket::Server, &mut stream, || Instant::START)?;
/// # assert!(ending.is_clean() && stream.2);
/// # assert_eq!(stream.1.iter().filter(|byte| **byte == b'x').count(), 9000);
/// # assert!(stream.1.starts_with(b"\x81\x05Hello") && stream.1.ends_with(b"\x88\x00"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Connection<R, X = NoExtension, C = &'static Config> {
    pub(crate) decoder: Decoder<R, C>,
    pub(crate) link: Link,
    pub(crate) role: R,
    pub(crate) extension: X,
}

/// Limits the size on microcontrollers, which need one of these for each connection.
const _: () =
    assert!(usize::BITS > 32 || size_of::<Connection<crate::role::Server>>() <= 256, "above 256 bytes");

impl<R: Role, C: ConfigRef> Connection<R, NoExtension, C> {
    /// Creates a connection whose opening handshake has just ended.
    #[must_use]
    pub fn new(role: R, config: C, now: Instant) -> Self {
        Self::opened(role, NoExtension, config, now)
    }
}

impl<R: Role, X: Extension, C: ConfigRef> Connection<R, X, C> {
    /// Creates a connection with an extension that was negotiated in the opening handshake.
    #[cfg(feature = "extension")]
    #[must_use]
    pub fn with_extension(role: R, extension: X, config: C, now: Instant) -> Self {
        Self::opened(role, extension, config, now)
    }

    pub(crate) fn opened(role: R, extension: X, config: C, now: Instant) -> Self {
        Self { decoder: Decoder::new(config), link: Link::new(now), role, extension }
    }

    /// Processes received bytes, deadlines and pending replies, and returns what the caller has to do next. It does not
    /// block. An event borrows the receive buffer, and nothing else.
    ///
    /// Read the clock once for each wake-up, not for each poll.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    pub fn poll<'r>(
        &mut self,
        now: Instant,
        rx: &'r mut ReceiveBuffer<'_>,
        tx: &mut TransmitBuffer<'_>,
    ) -> Step<Event<'r>> {
        let mut view = rx.open();
        if let Some(data) = self.quick(now, &mut view.input) {
            view.close();
            return Step::Event(Event::Data(data));
        }
        // Passed by value: otherwise the quick path would have to spill it to the stack, too.
        self.slow(now, view, tx)
    }

    /// Receives a whole data message out of an open buffer as [`poll`](Self::poll) does, if one has arrived and nothing else
    /// is to be done.
    #[inline(always)]
    pub(crate) fn quick<'r>(&mut self, now: Instant, input: &mut &'r mut [u8]) -> Option<Chunk<'r>> {
        // No reply is pending and no deadline has passed: the quick path needs neither the time nor the transmit buffer.
        if now >= self.link.next_check {
            return None;
        }
        let data = self.decoder.quick(input)?;
        self.link.note_received(now);
        Some(data)
    }

    /// Receives a whole message as [`quick`](Self::quick) does, or a fragment that has arrived whole.
    #[inline(always)]
    pub(crate) fn quick_frame<'r>(&mut self, now: Instant, view: &mut Opened<'r, '_>) -> Option<Chunk<'r>> {
        match self.quick(now, &mut view.input) {
            Some(data) => {
                view.close();
                Some(data)
            }
            None => self.fragment(now, view),
        }
    }

    /// Receives a fragment that has arrived whole, if nothing else is to be done.
    #[inline(always)]
    fn fragment<'r>(&mut self, now: Instant, view: &mut Opened<'r, '_>) -> Option<Chunk<'r>> {
        if now >= self.link.next_check {
            return None;
        }
        let data = self.decoder.fragment(&self.extension, view)?;
        self.link.note_received(now);
        Some(data)
    }

    /// Returns whether the connection is open, no reply is pending and no deadline has passed.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_quiet(&self, now: Instant) -> bool {
        now < self.link.next_check
    }

    /// Returns whether a poll has seen pending bytes that the transport had not taken.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_writing(&self) -> bool {
        self.link.written_at != Instant::NEVER
    }

    /// Records that the transport has taken all pending bytes, as the next poll would.
    #[cfg(feature = "tokio")]
    pub(crate) const fn note_written(&mut self) {
        self.link.written_at = Instant::NEVER;
    }

    /// Returns whether a whole data frame is the next in the buffer.
    #[cfg(feature = "tokio")]
    pub(crate) fn has_data(&self, rx: &ReceiveBuffer<'_>) -> bool {
        self.decoder.has_data(rx.unread())
    }

    /// Returns whether the next event is data, however much of it has arrived.
    #[cfg(feature = "tokio")]
    pub(crate) fn expects_data(&self, rx: &ReceiveBuffer<'_>) -> bool {
        self.decoder.expects_data(rx.unread())
    }

    /// Polls as [`poll`](Self::poll) does, but returns events that borrow nothing, for code that needs the receive
    /// buffer before it uses the event. [`ReceiveBuffer::event`] returns the event with its payload. A text is then
    /// checked a second time by [`Payload::to_str`](crate::Payload::to_str).
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    pub fn poll_detached(
        &mut self,
        now: Instant,
        rx: &mut ReceiveBuffer<'_>,
        tx: &mut TransmitBuffer<'_>,
    ) -> Step<DetachedEvent> {
        match self.poll(now, rx, tx) {
            Step::Event(event) => {
                let (shape, len) = (event.shape(), event.payload().len());
                Step::Event(DetachedEvent { shape, span: rx.span(len) })
            }
            Step::Wait { deadline } => Step::Wait { deadline },
            Step::Shutdown => Step::Shutdown,
            Step::Done(ending) => Step::Done(ending),
        }
    }

    #[cfg(any(feature = "hub", feature = "tokio"))]
    pub(crate) const fn config(&self) -> &C {
        self.decoder.config()
    }

    /// Processes pending replies, deadlines and the closing handshake, but receives nothing. Call it instead of
    /// [`poll`](Self::poll) while the application cannot take another event. It never returns [`Step::Event`], for
    /// which no arm has to be written.
    pub fn poll_without_receiving(&mut self, now: Instant, tx: &mut TransmitBuffer<'_>) -> Step<Infallible> {
        let times = &self.decoder.config().timeouts;
        self.link.restart_waits(now, times);
        let mut wire = Wire::new(tx, self.role.masker());
        let step = match self.link.advance(now, false, &mut wire, times) {
            Some(step) => step,
            None => {
                let (passed, next) = self.link.deadlines(now, times);
                Step::Wait { deadline: self.link.schedule(passed, next) }
            }
        };
        debug_assert!(self.link.is_legal(), "{:?}", self.link);
        step
    }

    /// Reports that the transport failed, which ends the connection.
    pub fn transport_failed(&mut self) {
        self.link.reset();
    }

    /// Ends the connection, as closing it takes too long.
    #[cfg(feature = "tokio")]
    pub(crate) fn close_timed_out(&mut self) {
        self.link.end_at_once(EndReason::Timeout(Timeout::Close));
    }

    /// Returns how many bytes the transport can read directly into other memory, for
    /// [`receive_external`](Self::receive_external): the rest of a
    /// data frame's payload, if the receive buffer is empty; otherwise 0.
    #[must_use]
    pub fn external_read_limit(&self, rx: &ReceiveBuffer<'_>) -> u64 {
        if !self.link.is_over() && rx.is_empty() { self.decoder.external_read_limit() } else { 0 }
    }

    /// Returns whether no other frame of the message follows the one that is being received.
    #[cfg(feature = "tokio")]
    pub(crate) const fn is_last_frame(&self) -> bool {
        self.decoder.is_last_frame()
    }

    /// Unmasks and checks payload that the transport has read into `memory`, and delivers it in place. Pass no more
    /// than [`external_read_limit`](Self::external_read_limit) bytes. A chunk of text may end inside a code point with
    /// every [`Delivery`](crate::config::Delivery). Returns `None` if the peer violated the protocol, or the connection
    /// has ended; the next poll processes that.
    pub fn receive_external<'m>(&mut self, now: Instant, memory: &'m mut [u8]) -> Option<Chunk<'m>> {
        if self.link.is_over() {
            return None;
        }
        self.link.note_received(now);
        self.decoder.receive_external(memory).unwrap_or_else(|violation| {
            self.link.fail(violation);
            None
        })
    }

    /// Returns the state of the connection.
    #[must_use]
    pub const fn state(&self) -> ConnectionState {
        match self.link.phase {
            Phase::Open(_) => ConnectionState::Open,
            Phase::Closing | Phase::Ending { .. } => ConnectionState::Closing,
            Phase::Closed(_) => ConnectionState::Closed,
        }
    }

    /// Returns how the connection ended, as [`Step::Done`] does; `None` while it has not.
    #[must_use]
    pub const fn ending(&self) -> Option<Ending> {
        match self.link.phase {
            Phase::Closed(end) => Some(self.link.ending(end)),
            _ => None,
        }
    }

    /// Returns the reason text of the peer's Close; empty if there is none.
    #[must_use]
    pub fn close_reason(&self) -> &str {
        match self.link.slot.holds {
            Holds::Close(_) => core::str::from_utf8(self.link.slot.bytes()).unwrap_or_default(),
            Holds::Nothing | Holds::Pong => "",
        }
    }

    /// Splits off the state, and the destination of its frames.
    pub(crate) fn parts<'a>(&'a mut self, tx: &'a mut TransmitBuffer<'_>) -> (&'a mut Link, Wire<'a>) {
        (&mut self.link, Wire::new(tx, self.role.masker()))
    }

    /// Polls as [`poll`](Self::poll) does after [`quick`](Self::quick) has found nothing.
    #[inline(never)]
    pub(crate) fn slow<'r>(
        &mut self,
        now: Instant,
        mut view: Opened<'r, '_>,
        tx: &mut TransmitBuffer<'_>,
    ) -> Step<Event<'r>> {
        // Not behind the decoder's slow path: the event would be copied here right after it was written there, which takes as
        // long as the fragment itself.
        if let Some(data) = self.fragment(now, &mut view) {
            return Step::Event(Event::Data(data));
        }
        let step = self.step(now, &mut view, tx);
        debug_assert!(self.link.is_legal(), "{:?}", self.link);
        step
    }

    fn step<'r>(
        &mut self,
        now: Instant,
        view: &mut Opened<'r, '_>,
        tx: &mut TransmitBuffer<'_>,
    ) -> Step<Event<'r>> {
        let Self { decoder, link, role, extension } = self;
        let mut wire = Wire::new(tx, role.masker());
        // What was received, until it is processed.
        let mut received = None;
        if now < link.next_check {
            match *received.insert(decoder.slow(extension, view)) {
                Ok(Some(Event::Data(data))) => {
                    link.note_received(now);
                    return Step::Event(Event::Data(data));
                }
                Ok(None) if !view.place.ended && !link.is_probing() => {
                    let progress = decoder.progress(view.input);
                    let times = &decoder.config().timeouts;
                    return Step::Wait {
                        deadline: link.cached_deadline(now, progress, view.place, &mut wire, times),
                    };
                }
                _ => {}
            }
        }
        if core::mem::take(&mut view.place.fresh) {
            link.note_received(now);
        }
        loop {
            let config = decoder.config();
            match link.advance(now, view.place.ended, &mut wire, &config.timeouts) {
                Some(Step::Done(ending)) => return Step::Done(ending),
                Some(Step::Wait { deadline }) => {
                    // "An endpoint MUST NOT continue to attempt to process data [...] from the remote endpoint after
                    // being instructed to _Fail the WebSocket Connection_." (§7.1.7)
                    view.input = &mut [];
                    view.close();
                    return Step::Wait { deadline };
                }
                Some(_) => return Step::Shutdown,
                None => {}
            }
            match *received.get_or_insert_with(|| decoder.take(extension, view)) {
                Ok(Some(event)) => {
                    if link.reply_to(now, &event, &mut wire, decoder.config()) {
                        // The steps above may have started deadlines that are not yet computed.
                        link.next_check = Instant::START;
                        return Step::Event(event);
                    }
                }
                // With a pending Close the peer may have ended its stream after its own Close: that is no disconnect.
                Ok(None) if view.place.ended && !link.is_close_pending() => link.end(EndReason::Disconnected),
                Ok(None) => {
                    let progress = decoder.progress(view.input);
                    match link.deadline_after_input(now, progress, &decoder.config().timeouts) {
                        Ok(deadline) => return Step::Wait { deadline },
                        Err(timeout) => link.time_out(timeout, CloseCode::POLICY_VIOLATION),
                    }
                }
                Err(ReceiveError::Violation(violation)) => link.fail(violation),
                Err(ReceiveError::Extension(ExtensionFailed)) => link.fail_extension(),
            }
            received = None;
        }
    }
}

impl<R: Role, X: Extension, C: ConfigRef> Timed for Connection<R, X, C> {
    fn due(&self, now: Instant) -> Due {
        self.link.due(now, &self.decoder.config().timeouts)
    }

    fn extend(&mut self, now: Instant) {
        self.link.extend(now, &self.decoder.config().timeouts);
    }
}
