//! Frames out: headers, masking, fragmentation (RFC 6455 §5.2-5.6).

#![forbid(unsafe_code)]

use crate::buffer::{TransmitBuffer, copy};
use crate::close::{CloseCode, MAX_REASON};
use crate::error::SendError;
use crate::extension::{Extension, NoExtension, Progress};
use crate::frame::{Header, Kind, MAX_CONTROL, MAX_HEADER, OpCode, Rsv, header_len};
use crate::mask::mask;
use crate::role::{Client, MaskingKey, Role, Server};

/// The sending half of a connection, without replies of its own.
///
/// A frame's header, and a control frame as a whole, enter the transmit buffer whole or not at all: on an
/// error nothing has changed.
#[derive(Debug)]
pub struct Sender<R> {
    role: R,
    /// Payload that the open frame still lacks.
    left: u64,
    /// The masking key for the next byte of the open frame.
    key: [u8; 4],
    /// The fragmented message that is open.
    kind: Option<Kind>,
    /// The open message passes through the extension.
    coded: bool,
    closed: bool,
}

impl<R: Role> Sender<R> {
    /// At the beginning of the stream of frames, directly behind the opening handshake.
    #[must_use]
    pub const fn new(role: R) -> Self {
        Self { role, left: 0, key: [0; 4], kind: None, coded: false, closed: false }
    }

    /// Sends a message in one frame.
    ///
    /// # Errors
    /// [`SendError::Blocked`], [`SendError::TooLarge`] (then [`begin`](Self::begin) or
    /// [`stream`](Self::stream) serve), [`SendError::FrameOpen`], [`SendError::MessageOpen`],
    /// [`SendError::Closed`].
    #[inline]
    pub fn send(&mut self, tx: &mut TransmitBuffer<'_>, kind: Kind, payload: &[u8]) -> Result<(), SendError> {
        self.send_with(&mut NoExtension, tx, kind, payload)
    }

    /// The same through an extension, where the worst that it makes of the payload fits.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    #[inline]
    pub fn send_with<X: Extension>(
        &mut self,
        extension: &mut X,
        tx: &mut TransmitBuffer<'_>,
        kind: Kind,
        payload: &[u8],
    ) -> Result<(), SendError> {
        self.ready()?;
        if self.kind.is_some() {
            return Err(SendError::MessageOpen);
        }
        if X::ACTIVE {
            if let Some(bound) = extension.bound(payload.len()) {
                let size = header_len(bound as u64, !R::SERVER).saturating_add(bound);
                if size > tx.capacity() {
                    return Err(SendError::TooLarge);
                }
                if size > tx.room() {
                    return Err(SendError::Blocked);
                }
                self.encode(extension, tx, kind, payload, true, bound);
                return Ok(());
            }
        }
        self.put(tx, kind.into(), true, payload)
    }

    /// Sends a frame of a message: its first where none is open, else its next. `fin` ends the message.
    /// With `fin` at once it is a message in one frame.
    ///
    /// # Errors
    /// As [`send`](Self::send); [`SendError::MessageOpen`] where a message of another kind is open.
    pub fn fragment(
        &mut self,
        tx: &mut TransmitBuffer<'_>,
        kind: Kind,
        payload: &[u8],
        fin: bool,
    ) -> Result<(), SendError> {
        let opcode = self.plain_opcode(kind)?;
        self.put(tx, opcode, fin, payload)?;
        self.kind = (!fin).then_some(kind);
        Ok(())
    }

    /// Begins a data frame of `len` bytes, whose payload follows through [`write`](Self::write) or
    /// `direct`. Until its last byte nothing else can be sent.
    ///
    /// # Errors
    /// As [`fragment`](Self::fragment), but never [`SendError::TooLarge`]. [`SendError::Overrun`] for 2^63
    /// bytes and more.
    pub fn begin(
        &mut self,
        tx: &mut TransmitBuffer<'_>,
        kind: Kind,
        len: u64,
        fin: bool,
    ) -> Result<(), SendError> {
        let opcode = self.plain_opcode(kind)?;
        if len >> 63 != 0 {
            return Err(SendError::Overrun);
        }
        let size = header_len(len, !R::SERVER);
        let slot = tx.reserve(size).ok_or(SendError::Blocked)?;
        let key = self.role.masking_key();
        header(slot, Header { fin, rsv: Rsv::NONE, opcode, key, len });
        self.key = key.unwrap_or_default();
        self.left = len;
        self.kind = (!fin).then_some(kind);
        Ok(())
    }

    /// Copies as much of `payload` into the open frame as there is room for, and returns how much that was:
    /// 0 where the buffer is full.
    ///
    /// # Errors
    /// [`SendError::Overrun`] where `payload` is longer than what the frame [lacks](Self::left).
    pub fn write(&mut self, tx: &mut TransmitBuffer<'_>, payload: &[u8]) -> Result<usize, SendError> {
        if payload.len() as u64 > self.left {
            return Err(SendError::Overrun);
        }
        let n = payload.len().min(tx.room());
        let slot = tx.reserve(n).unwrap_or_default();
        let n = copy(slot, payload);
        if !R::SERVER {
            self.key = mask(self.key, slot);
        }
        self.left = self.left.saturating_sub(n as u64);
        Ok(n)
    }

    /// Sends a message, or with `fin` unset the next part of one, in as many frames as the room and
    /// [`Config::largest_fragment`](crate::Config::largest_fragment) ask for.
    ///
    /// # Errors
    /// [`SendError::Blocked`] where `payload` did not find room; it has been advanced past what did, so write
    /// the buffer to the transport and call again with what is left. Others as [`fragment`](Self::fragment),
    /// but never [`SendError::TooLarge`].
    pub fn stream(
        &mut self,
        tx: &mut TransmitBuffer<'_>,
        kind: Kind,
        payload: &mut &[u8],
        fin: bool,
        largest: usize,
    ) -> Result<(), SendError> {
        self.stream_with(&mut NoExtension, tx, kind, payload, fin, largest)
    }

    /// The same through an extension.
    ///
    /// # Errors
    /// As [`stream`](Self::stream); [`SendError::TooLarge`] where the extension wants more room than there ever is.
    pub fn stream_with<X: Extension>(
        &mut self,
        extension: &mut X,
        tx: &mut TransmitBuffer<'_>,
        kind: Kind,
        payload: &mut &[u8],
        fin: bool,
        largest: usize,
    ) -> Result<(), SendError> {
        loop {
            self.opcode(kind)?;
            let room = tx.room();
            let fits = room.saturating_sub(header_len(room as u64, !R::SERVER)).min(largest.max(1));
            let coded = X::ACTIVE && (self.coded || self.kind.is_none() && extension.bound(0).is_some());
            // Small pieces for the sake of a small room would cost more than waiting for the transport.
            if (coded || fits < payload.len().min(largest.max(1))) && !tx.is_empty() {
                return Err(SendError::Blocked);
            }
            let more = if coded {
                let done = self.encode(extension, tx, kind, payload, fin, fits);
                *payload = payload.get(done.consumed..).unwrap_or_default();
                // The extension wants more room than there ever is.
                if done.more && done.consumed == 0 && done.produced == 0 {
                    return Err(SendError::TooLarge);
                }
                done.more
            } else {
                let (now, later) = payload.split_at_checked(fits).unwrap_or((payload, &[]));
                self.fragment(tx, kind, now, fin && later.is_empty())?;
                *payload = later;
                false
            };
            if payload.is_empty() && !more {
                return Ok(());
            }
        }
    }

    /// Sends a Ping with at most 125 bytes of payload.
    ///
    /// # Errors
    /// [`SendError::Blocked`], [`SendError::FrameOpen`], [`SendError::ControlTooLong`],
    /// [`SendError::Closed`].
    pub fn ping(&mut self, tx: &mut TransmitBuffer<'_>, payload: &[u8]) -> Result<(), SendError> {
        self.control(tx, OpCode::Ping, payload)
    }

    /// Sends a Pong with at most 125 bytes of payload: those of a Ping, or unasked for (§5.5.3).
    ///
    /// # Errors
    /// As [`ping`](Self::ping).
    pub fn pong(&mut self, tx: &mut TransmitBuffer<'_>, payload: &[u8]) -> Result<(), SendError> {
        self.control(tx, OpCode::Pong, payload)
    }

    /// Sends a Close, after which nothing can be sent: "The application MUST NOT send any more data frames
    /// after sending a Close frame." (§5.5.1) A reason needs a code and has at most 123 bytes.
    ///
    /// # Errors
    /// As [`ping`](Self::ping).
    pub fn close(
        &mut self,
        tx: &mut TransmitBuffer<'_>,
        code: Option<CloseCode>,
        reason: &str,
    ) -> Result<(), SendError> {
        if reason.len() > MAX_REASON {
            return Err(SendError::ControlTooLong);
        }
        if code.is_none() && !reason.is_empty() {
            return Err(SendError::ReasonWithoutCode);
        }
        let mut body = [0; MAX_CONTROL];
        let len = match code {
            Some(code) => {
                let [a, b, rest @ ..] = &mut body;
                [*a, *b] = code.get().to_be_bytes();
                copy(rest, reason.as_bytes()).saturating_add(2)
            }
            None => 0,
        };
        self.control(tx, OpCode::Close, body.get(..len).unwrap_or_default())?;
        self.closed = true;
        Ok(())
    }

    /// Bytes of payload that the frame which was begun still lacks; 0 where none is open.
    #[must_use]
    pub const fn left(&self) -> u64 {
        self.left
    }

    /// Whether a fragmented message has begun and not ended.
    #[must_use]
    pub const fn is_inside_message(&self) -> bool {
        self.kind.is_some()
    }

    /// Whether a Close was sent.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    fn ready(&self) -> Result<(), SendError> {
        if self.closed {
            return Err(SendError::Closed);
        }
        if self.left > 0 { Err(SendError::FrameOpen) } else { Ok(()) }
    }

    /// The opcode of the next frame of a message of this kind.
    fn opcode(&self, kind: Kind) -> Result<OpCode, SendError> {
        self.ready()?;
        match self.kind {
            None => Ok(kind.into()),
            Some(open) if open == kind => Ok(OpCode::Continuation),
            Some(_) => Err(SendError::MessageOpen),
        }
    }

    /// The same for a frame that does not pass through the extension: all of a message does, or nothing.
    fn plain_opcode(&self, kind: Kind) -> Result<OpCode, SendError> {
        let opcode = self.opcode(kind)?;
        if self.coded { Err(SendError::MessageOpen) } else { Ok(opcode) }
    }

    fn control(
        &mut self,
        tx: &mut TransmitBuffer<'_>,
        opcode: OpCode,
        payload: &[u8],
    ) -> Result<(), SendError> {
        self.ready()?;
        if payload.len() > MAX_CONTROL {
            return Err(SendError::ControlTooLong);
        }
        self.put(tx, opcode, true, payload)
    }

    /// A whole frame, or nothing.
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    fn put(
        &mut self,
        tx: &mut TransmitBuffer<'_>,
        opcode: OpCode,
        fin: bool,
        payload: &[u8],
    ) -> Result<(), SendError> {
        let len = payload.len() as u64;
        let start = header_len(len, !R::SERVER);
        let size = start.saturating_add(payload.len());
        let Some(slot) = tx.reserve(size) else {
            return Err(if size > tx.capacity() { SendError::TooLarge } else { SendError::Blocked });
        };
        let Some((front, body)) = slot.split_at_mut_checked(start) else { return Ok(()) };
        let key = self.role.masking_key();
        header(front, Header { fin, rsv: Rsv::NONE, opcode, key, len });
        copy(body, payload);
        if let Some(key) = key {
            let _ = mask(key, body);
        }
        Ok(())
    }

    /// One frame of what the extension makes of `payload`, at most `most` bytes and a header; no frame where
    /// it makes nothing of it yet, unless it is the first: the message has begun.
    fn encode<X: Extension>(
        &mut self,
        extension: &mut X,
        tx: &mut TransmitBuffer<'_>,
        kind: Kind,
        payload: &[u8],
        fin: bool,
        most: usize,
    ) -> Progress {
        // The frame may turn out shorter than the room, and its header with it.
        let longest = header_len(most as u64, !R::SERVER);
        let size = longest.saturating_add(most);
        let Some(slot) = tx.reserve(size) else { return Progress::default() };
        let Some((_, body)) = slot.split_at_mut_checked(longest) else { return Progress::default() };
        let done = extension.encode(payload, body, fin);
        let fin = fin && !done.more && done.consumed >= payload.len();
        if done.produced == 0 && !fin && (self.kind.is_some() || done.consumed == 0) {
            tx.shrink(size);
            return done;
        }
        let key = self.role.masking_key();
        if let (Some(key), Some(body)) = (key, body.get_mut(..done.produced)) {
            let _ = mask(key, body);
        }
        let (opcode, rsv) = if self.kind.is_none() {
            (kind.into(), extension.send())
        } else {
            (OpCode::Continuation, Rsv::NONE)
        };
        let len = done.produced as u64;
        let start = header_len(len, key.is_some());
        if start < longest && longest.saturating_add(done.produced) <= slot.len() {
            slot.copy_within(longest..longest.saturating_add(done.produced), start);
        }
        header(slot, Header { fin, rsv, opcode, key, len });
        tx.shrink(size.saturating_sub(start.saturating_add(done.produced)));
        self.kind = (!fin).then_some(kind);
        self.coded = !fin;
        done
    }
}

impl Sender<Server> {
    /// Counts `payload` as sent in the open frame: the caller writes it to the transport itself, directly
    /// behind all that is pending (a vectored write), and before anything that is sent after.
    ///
    /// # Errors
    /// [`SendError::Overrun`] as for [`write`](Self::write).
    pub fn direct<'p>(&mut self, payload: &'p [u8]) -> Result<&'p [u8], SendError> {
        self.left = self.left.checked_sub(payload.len() as u64).ok_or(SendError::Overrun)?;
        Ok(payload)
    }
}

impl<K: MaskingKey> Sender<Client<K>> {
    /// Masks `payload` in place and counts it as sent in the open frame: the caller writes it to the
    /// transport itself, directly behind all that is pending (a vectored write), and before anything that is
    /// sent after.
    ///
    /// # Errors
    /// [`SendError::Overrun`] as for [`write`](Self::write).
    pub fn direct<'p>(&mut self, payload: &'p mut [u8]) -> Result<&'p [u8], SendError> {
        self.left = self.left.checked_sub(payload.len() as u64).ok_or(SendError::Overrun)?;
        self.key = mask(self.key, payload);
        Ok(payload)
    }
}

/// Writes the header to the front of `slot`.
#[inline]
fn header(slot: &mut [u8], header: Header) {
    // The short ones at once.
    match (header.len, header.key) {
        (len @ 0..=125, None) => return start(slot, [header.first(), len as u8]),
        (len @ 0..=125, Some([a, b, c, d])) => {
            return start(slot, [header.first(), 0x80 | len as u8, a, b, c, d]);
        }
        (len @ 126..=0xFFFF, None) => {
            let [a, b] = (len as u16).to_be_bytes();
            return start(slot, [header.first(), 126, a, b]);
        }
        _ => {}
    }
    any_header(slot, header);
}

fn any_header(slot: &mut [u8], header: Header) {
    let mut bytes = [0; MAX_HEADER];
    let len = header.encode(&mut bytes);
    copy(slot, bytes.get(..len).unwrap_or_default());
}

/// Writes `bytes` to the front of `slot`.
#[inline]
fn start<const N: usize>(slot: &mut [u8], bytes: [u8; N]) {
    if let Some(front) = slot.first_chunk_mut() {
        *front = bytes;
    }
}
