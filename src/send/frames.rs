//! Sending frames: headers, masking, fragmentation (RFC 6455 §5.2-5.6), for both roles.

#![forbid(unsafe_code)]

use core::fmt;

use crate::buffer::{TransmitBuffer, TransmitPlace, copy};
use crate::close::{CloseCode, cut_reason};
use crate::frame::{Header, Kind, MAX_CONTROL_PAYLOAD, OpCode, ReservedBits, header_len};
use crate::role::Masker;
use crate::send::SendError;

/// The state of the frames that are sent. It is independent of role and extension, and writes to a [`Wire`].
#[derive(Debug)]
pub(crate) struct FrameWriter {
    /// Bytes of payload that the open frame still lacks.
    left: u64,
    /// The masking key for the next byte of the open frame.
    pub(super) key: [u8; 4],
    /// The fragmented message that is open.
    pub(super) kind: Option<Kind>,
    /// The extension encodes the open message.
    #[cfg(feature = "extension")]
    pub(super) coded: bool,
    closed: bool,
}

/// The destination of frames: a transmit buffer, split into its parts, and the masker of a client.
pub(crate) struct Wire<'a> {
    pub(super) memory: &'a mut [u8],
    pub(crate) place: &'a mut TransmitPlace,
    pub(super) masker: Option<&'a mut (dyn Masker + 'a)>,
}

impl<'a> Wire<'a> {
    #[inline]
    pub(crate) fn new(tx: &'a mut TransmitBuffer<'_>, masker: Option<&'a mut (dyn Masker + 'a)>) -> Self {
        let (memory, place) = tx.parts();
        Self { memory, place, masker }
    }

    /// Returns whether frames are masked, as a client's must be (§5.3).
    #[inline]
    pub(crate) const fn is_masked(&self) -> bool {
        self.masker.is_some()
    }

    #[cfg(feature = "extension")]
    pub(crate) const fn capacity(&self) -> usize {
        self.memory.len()
    }

    pub(crate) const fn room(&self) -> usize {
        self.place.room(self.memory.len())
    }
}

impl FrameWriter {
    /// The state at the beginning of the stream of frames.
    pub(crate) const NEW: Self = Self {
        left: 0,
        key: [0; 4],
        kind: None,
        #[cfg(feature = "extension")]
        coded: false,
        closed: false,
    };

    /// Sends a message in one frame.
    #[inline]
    pub(crate) fn send(&mut self, wire: &mut Wire<'_>, kind: Kind, payload: &[u8]) -> Result<(), SendError> {
        self.check_free()?;
        self.whole(wire, kind.into(), true, payload)
    }

    pub(crate) fn fragment(
        &mut self,
        wire: &mut Wire<'_>,
        kind: Kind,
        payload: &[u8],
        fin: bool,
    ) -> Result<(), SendError> {
        let opcode = self.plain_opcode(kind)?;
        self.whole(wire, opcode, fin, payload)?;
        self.kind = (!fin).then_some(kind);
        Ok(())
    }

    pub(crate) fn begin_frame(
        &mut self,
        wire: &mut Wire<'_>,
        kind: Kind,
        len: u64,
        fin: bool,
    ) -> Result<(), SendError> {
        let opcode = self.plain_opcode(kind)?;
        if len >> 63 != 0 {
            return Err(SendError::Overrun);
        }
        self.put(wire, first(fin, ReservedBits::NONE, opcode), len, &[])?;
        self.left = len;
        self.kind = (!fin).then_some(kind);
        Ok(())
    }

    /// Copies as much of `payload` into the open frame as there is room for, and returns how many bytes that was.
    pub(crate) fn write(&mut self, wire: &mut Wire<'_>, payload: &[u8]) -> Result<usize, SendError> {
        if payload.len() as u64 > self.left {
            return Err(SendError::Overrun);
        }
        let n = payload.len().min(wire.room());
        let Wire { memory, place, masker } = wire;
        let slot = place.reserve(memory, n).unwrap_or_default();
        let n = copy(slot, payload);
        if let Some(masker) = masker {
            self.key = masker.go_on(self.key, slot);
        }
        self.left = self.left.saturating_sub(n as u64);
        Ok(n)
    }

    /// Counts `n` bytes of the open frame that the caller writes to the transport itself.
    pub(super) fn count(&mut self, n: usize) -> Result<(), SendError> {
        self.left = self.left.checked_sub(n as u64).ok_or(SendError::Overrun)?;
        Ok(())
    }

    /// Sends a message, or the next part of one, in as many frames as the room and `largest` require.
    pub(crate) fn send_fragmented(
        &mut self,
        wire: &mut Wire<'_>,
        kind: Kind,
        payload: &mut &[u8],
        fin: bool,
        largest: usize,
    ) -> Result<(), SendError> {
        loop {
            self.opcode(kind)?;
            let fits = self.fits(wire, largest);
            // Waiting for the transport costs less than many small frames.
            if fits < payload.len().min(largest.max(1)) && !wire.place.is_empty() {
                return Err(SendError::Blocked);
            }
            let (now, later) = payload.split_at_checked(fits).unwrap_or((payload, &[]));
            self.fragment(wire, kind, now, fin && later.is_empty())?;
            *payload = later;
            if payload.is_empty() {
                return Ok(());
            }
        }
    }

    #[inline]
    pub(crate) fn ping(&mut self, wire: &mut Wire<'_>, payload: &[u8]) -> Result<(), SendError> {
        self.control(wire, OpCode::Ping, payload)
    }

    #[inline]
    pub(crate) fn pong(&mut self, wire: &mut Wire<'_>, payload: &[u8]) -> Result<(), SendError> {
        self.control(wire, OpCode::Pong, payload)
    }

    /// Sends a Close, the last frame: "The application MUST NOT send any more data frames after sending a Close frame."
    /// (§5.5.1)
    pub(crate) fn close(
        &mut self,
        wire: &mut Wire<'_>,
        code: Option<CloseCode>,
        reason: &str,
    ) -> Result<(), SendError> {
        if code.is_none() && !reason.is_empty() {
            return Err(SendError::ReasonWithoutCode);
        }
        let mut body = [0; MAX_CONTROL_PAYLOAD];
        let len = match code {
            Some(code) => {
                let [a, b, rest @ ..] = &mut body;
                [*a, *b] = code.get().to_be_bytes();
                copy(rest, cut_reason(reason).as_bytes()).saturating_add(2)
            }
            None => 0,
        };
        self.control(wire, OpCode::Close, body.get(..len).unwrap_or_default())?;
        self.closed = true;
        Ok(())
    }

    /// Sends a formatted text in one frame, or nothing. It is formatted twice: the header precedes it and has its length.
    pub(crate) fn send_fmt(
        &mut self,
        wire: &mut Wire<'_>,
        text: fmt::Arguments<'_>,
    ) -> Result<(), SendError> {
        self.check_free()?;
        let mut length = Length(0);
        fmt::write(&mut length, text).map_err(|_| SendError::Format)?;
        let Wire { memory, place, masker } = wire;
        let form = Form::of(length.0 as u64, masker.is_some());
        let size = form.header.saturating_add(length.0);
        let capacity = memory.len();
        let Some(slot) = place.reserve(memory, size) else {
            return Err(if size > capacity { SendError::TooLarge } else { SendError::Blocked });
        };
        let (key, body) = form.write(slot, first(true, ReservedBits::NONE, OpCode::Text), length.0 as u64);
        let mut formatted = Formatted { memory: body, len: 0 };
        if fmt::write(&mut formatted, text).is_err() || formatted.len != length.0 {
            place.shrink(size);
            return Err(SendError::Format);
        }
        if let Some(masker) = masker {
            self.key = masker.begin(key, formatted.memory);
        }
        Ok(())
    }

    pub(crate) const fn frame_remaining(&self) -> u64 {
        self.left
    }

    pub(crate) const fn is_inside_message(&self) -> bool {
        self.kind.is_some()
    }

    pub(crate) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Returns the most payload that the next frame can carry.
    fn fits(&self, wire: &Wire<'_>, largest: usize) -> usize {
        let room = wire.room();
        room.saturating_sub(header_len(room as u64, wire.is_masked())).min(largest.max(1))
    }

    fn ready(&self) -> Result<(), SendError> {
        if self.closed {
            return Err(SendError::Closed);
        }
        if self.left > 0 { Err(SendError::FrameOpen) } else { Ok(()) }
    }

    /// Checks that a message can begin.
    pub(super) fn check_free(&self) -> Result<(), SendError> {
        self.ready()?;
        if self.kind.is_some() { Err(SendError::MessageOpen) } else { Ok(()) }
    }

    /// Returns the opcode of the next frame of a message of this kind.
    pub(super) fn opcode(&self, kind: Kind) -> Result<OpCode, SendError> {
        self.ready()?;
        match self.kind {
            None => Ok(kind.into()),
            Some(open) if open == kind => Ok(OpCode::Continuation),
            Some(_) => Err(SendError::MessageOpen),
        }
    }

    /// Returns the opcode of an unencoded frame. The extension encodes all frames of a message, or none.
    fn plain_opcode(&self, kind: Kind) -> Result<OpCode, SendError> {
        #[cfg(feature = "extension")]
        if self.coded {
            self.ready()?;
            return Err(SendError::MessageOpen);
        }
        self.opcode(kind)
    }

    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    fn control(&mut self, wire: &mut Wire<'_>, opcode: OpCode, payload: &[u8]) -> Result<(), SendError> {
        self.ready()?;
        if payload.len() > MAX_CONTROL_PAYLOAD {
            return Err(SendError::ControlTooLong);
        }
        self.whole(wire, opcode, true, payload)
    }

    /// Writes a whole frame, or nothing.
    #[inline]
    fn whole(
        &mut self,
        wire: &mut Wire<'_>,
        opcode: OpCode,
        fin: bool,
        payload: &[u8],
    ) -> Result<(), SendError> {
        self.put(wire, first(fin, ReservedBits::NONE, opcode), payload.len() as u64, payload)
    }

    /// Appends the header of a frame of `len` bytes and the beginning of its payload to the pending bytes, or nothing.
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    fn put(&mut self, wire: &mut Wire<'_>, first: u8, len: u64, payload: &[u8]) -> Result<(), SendError> {
        let Wire { memory, place, masker } = wire;
        let form = Form::of(len, masker.is_some());
        let size = form.header.saturating_add(payload.len());
        let capacity = memory.len();
        let Some(slot) = place.reserve(memory, size) else {
            return Err(if size > capacity { SendError::TooLarge } else { SendError::Blocked });
        };
        let (key, body) = form.write(slot, first, len);
        copy(body, payload);
        if let Some(masker) = masker {
            self.key = masker.begin(key, body);
        }
        Ok(())
    }
}

/// Counts the bytes of a formatted text.
struct Length(usize);

impl fmt::Write for Length {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        self.0 = self.0.saturating_add(piece.len());
        Ok(())
    }
}

/// Takes a formatted text into memory of its length.
struct Formatted<'m> {
    memory: &'m mut [u8],
    len: usize,
}

impl fmt::Write for Formatted<'_> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let n = copy(self.memory.get_mut(self.len..).unwrap_or_default(), piece.as_bytes());
        self.len = self.len.saturating_add(n);
        if n == piece.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// Returns the first byte of a frame (§5.2).
pub(super) fn first(fin: bool, rsv: ReservedBits, opcode: OpCode) -> u8 {
    Header { fin, rsv, opcode, key: None, len: 0 }.first()
}

/// The encoding of a frame's length in its header (§5.2).
pub(super) struct Form {
    /// The length of the whole header in bytes.
    pub(super) header: usize,
    extended: usize,
    second: u8,
}

impl Form {
    /// Selects the shortest encoding: "the minimal number of bytes MUST be used to encode the length"
    #[inline]
    pub(super) const fn of(len: u64, masked: bool) -> Self {
        let (second, extended) = match len {
            0..=125 => (len as u8, 0),
            126..=0xFFFF => (126, 2),
            _ => (127, 8),
        };
        let (bit, key) = if masked { (0x80, 4) } else { (0, 0) };
        Self { header: 2_usize.saturating_add(extended).saturating_add(key), extended, second: bit | second }
    }

    /// Writes the header except for its masking key, and returns the place of the key and the rest of `slot`.
    #[inline]
    pub(super) fn write<'m>(&self, slot: &'m mut [u8], first: u8, len: u64) -> (&'m mut [u8], &'m mut [u8]) {
        let Some((header, body)) = slot.split_at_mut_checked(self.header) else { return Default::default() };
        let Some(([a, b], rest)) = header.split_first_chunk_mut() else { return Default::default() };
        (*a, *b) = (first, self.second);
        let (extended, key) = rest.split_at_mut_checked(self.extended).unwrap_or_default();
        if let Ok(slot) = <&mut [u8; 2]>::try_from(&mut *extended) {
            *slot = (len as u16).to_be_bytes();
        } else if let Ok(slot) = <&mut [u8; 8]>::try_from(extended) {
            *slot = len.to_be_bytes();
        }
        (key, body)
    }
}
