//! Frames into the transmit buffer, whole or not at all.

#![forbid(unsafe_code)]

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite};

use super::link::Link;
use crate::close::CloseCode;
use crate::connection::ConnectionState;
use crate::extension::Extension;
use crate::frame::{Kind, MAX_CONTROL_PAYLOAD};
use crate::message::CloseFrame;
use crate::message::Prepared;
use crate::message::owned::Message;
use crate::outbox::Outbox;
use crate::proto::Role;
use crate::send::SendError;
use crate::time::Instant;

/// The longest control frame: the room in which every message can be put.
const CONTROL_ROOM: usize = MAX_CONTROL_PAYLOAD.saturating_add(6);

/// The payload of a frame. What does not fit into the transmit buffer is kept: an owned or prepared payload is shared, a
/// borrowed one copied.
#[derive(Clone, Copy)]
pub(super) enum Body<'a> {
    Owned(&'a Bytes),
    Borrowed(&'a [u8]),
    Prepared(&'a Prepared),
}

/// Which frame to send.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// A whole message.
    Message,
    /// A frame of a message. The flag says whether it is the last.
    Fragment(bool),
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> Link<S, R> {
    /// Returns whether any message can be put: a data message of any length, or a control frame.
    pub(super) fn is_ready(&mut self) -> bool {
        self.lend();
        !self.is_inside() && self.tx.room() >= CONTROL_ROOM
    }

    /// Returns `Ok` if a data message of any length can be put, or the error that would be final; `None` if there is no room yet.
    pub(super) fn check_room(&mut self) -> Option<Result<(), SendError>> {
        if !self.is_open() {
            return Some(Err(SendError::Closed));
        }
        let ready = self.is_ready();
        let out = self.try_outbox(self.now)?;
        let unusable = match out.frame_remaining() {
            _ if out.is_free() => None,
            0 => Some(SendError::MessageOpen),
            _ => Some(SendError::FrameOpen),
        };
        unusable.map_or_else(|| ready.then_some(Ok(())), |error| Some(Err(error)))
    }

    /// Puts a message of any length; `None` if there is no room yet, and nothing has changed. A Close limits how long the
    /// connection lives from now on.
    pub(super) fn put_message(&mut self, message: &Message) -> Option<Result<(), SendError>> {
        match message {
            Message::Text(text) => self.put(Kind::Text, Body::Owned(text.shared()), Shape::Message),
            Message::Binary(bytes) => self.put(Kind::Binary, Body::Owned(bytes), Shape::Message),
            Message::Ping(payload) => self.put_control(|out| out.ping(payload)),
            Message::Pong(payload) => self.put_control(|out| out.pong(payload)),
            Message::Close(frame) => {
                let (code, reason) = CloseFrame::split(frame.as_ref());
                self.put_close(code, reason).map(Ok)
            }
        }
    }

    /// Puts a message that is shared with other connections, as [`put_message`](Self::put_message).
    pub(super) fn put_prepared(&mut self, message: &Prepared) -> Option<Result<(), SendError>> {
        match (message.kind(), message.close()) {
            (Some(kind), _) => self.put(kind, Body::Prepared(message), Shape::Message),
            (None, Some((code, reason))) => self.put_close(code, reason).map(Ok),
            (None, None) => self.put_control(|out| message.put(out)),
        }
    }

    /// Puts a data frame of any length; `None` if there is no room yet, and nothing has changed.
    pub(super) fn put(&mut self, kind: Kind, body: Body<'_>, shape: Shape) -> Option<Result<(), SendError>> {
        let bytes = body.as_bytes();
        let extension = &self.connection.extension;
        let encoded = matches!(shape, Shape::Message)
            && extension.is_active()
            && extension.bound(bytes.len()).is_some();
        if matches!(shape, Shape::Message) && !encoded && self.begin_direct(kind, body) {
            return Some(Ok(()));
        }
        let mut out = self.try_outbox(self.now)?;
        let (sent, fin) = match shape {
            Shape::Message => (out.send_bytes(kind, bytes), true),
            Shape::Fragment(fin) => (out.fragment(kind, bytes, fin), fin),
        };
        if !matches!(sent, Err(SendError::Blocked | SendError::TooLarge)) {
            return Some(sent);
        }
        if encoded {
            if sent == Err(SendError::Blocked) && self.tx.room() < CONTROL_ROOM {
                return None;
            }
            // It is encoded in several frames, as the stream takes them, or when the buffer is empty. How much room it needs is
            // known only now, and callers that saw the connection ready rely on it.
            (self.coding, self.rest) = (Some(kind), body.rest(0));
            self.refill();
            return Some(Ok(()));
        }
        // Its header goes into the buffer now, and the rest of it as the stream takes it.
        match out.begin_frame(kind, bytes.len() as u64, fin).and_then(|()| out.write(bytes)) {
            Ok(n) => {
                self.rest = body.rest(n);
                Some(Ok(()))
            }
            Err(SendError::Blocked) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Puts a control frame; `None` if there is no room yet.
    pub(super) fn put_control(
        &mut self,
        put: impl FnOnce(&mut Outbox<'_>) -> Result<(), SendError>,
    ) -> Option<Result<(), SendError>> {
        Some(put(&mut self.try_outbox(self.now)?)).filter(|put| *put != Err(SendError::Blocked))
    }

    /// Puts a Close, and limits how long the connection lives from now on; `None` if there is no room yet, and nothing has changed.
    pub(super) fn put_close(&mut self, code: Option<CloseCode>, reason: &str) -> Option<()> {
        let reason = if code.is_some() { reason } else { "" };
        let closed = self.put_control(|out| out.close(code, reason))?;
        self.limit_life();
        if closed == Err(SendError::FrameOpen) {
            // The application has begun a frame that it cannot finish any more.
            let (link, mut wire) = self.connection.parts(&mut self.tx);
            link.close_at_once(&mut wire, code, reason);
        }
        Some(())
    }

    /// Limits how long the connection lives from now on: ten times the time for a closing handshake, as what was sent before has
    /// to leave first. A later call changes nothing.
    pub(super) fn limit_life(&mut self) {
        let limit = self.io.time().at_slowest(self.connection.config().timeouts.close);
        self.limit = self.limit.min(limit);
    }

    /// Copies into the buffer what the open frame lacks.
    pub(super) fn refill(&mut self) {
        if let Some(kind) = self.coding {
            let mut rest = &self.rest[..];
            let sent = self.connection.outbox(self.now, &mut self.tx).send_fragmented(kind, &mut rest, true);
            let n = self.rest.len().saturating_sub(rest.len());
            if sent == Err(SendError::Blocked) {
                self.rest.advance(n);
            } else {
                // All of it is encoded, or the connection has ended.
                (self.coding, self.rest) = (None, Bytes::new());
            }
        } else if !self.rest.is_empty() && self.direct.is_none() {
            match self.connection.outbox(self.now, &mut self.tx).write(&self.rest) {
                Ok(n) => self.rest.advance(n.min(self.rest.len())),
                // The connection has ended inside the frame.
                Err(_) => self.rest = Bytes::new(),
            }
        }
    }

    /// Whether the rest of an earlier message goes before the next.
    pub(super) fn is_inside(&self) -> bool {
        !self.rest.is_empty() || self.coding.is_some() || self.direct.is_some()
    }

    /// Whether messages can be sent, as far as it is known.
    pub(super) fn is_open(&self) -> bool {
        self.connection.state() == ConnectionState::Open
    }

    /// Returns the outbox; `None` as long as a frame lacks payload.
    pub(super) fn try_outbox(&mut self, now: Instant) -> Option<Outbox<'_>> {
        if self.is_inside() {
            return None;
        }
        self.lend();
        Some(self.connection.outbox(now, &mut self.tx))
    }
}

impl Body<'_> {
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Borrowed(bytes) => bytes,
            Self::Prepared(message) => message.payload(),
        }
    }

    /// What lies behind the first `n` bytes.
    pub(super) fn rest(&self, n: usize) -> Bytes {
        match self {
            Self::Owned(bytes) if n < bytes.len() => bytes.slice(n..),
            Self::Borrowed(bytes) => Bytes::copy_from_slice(bytes.get(n..).unwrap_or_default()),
            Self::Prepared(message) => message.to_bytes().slice(n.min(message.payload().len())..),
            Self::Owned(_) => Bytes::new(),
        }
    }
}
