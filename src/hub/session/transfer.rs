//! Moves bytes between a session's transport, its buffers and its queue.

#![forbid(unsafe_code)]

use super::{Session, Turn};
use crate::buffer::TransmitBuffer;
use crate::connection::ConnectionState;
use crate::handler::Handler;
use crate::hub::compression::{Form, skip_shared};
use crate::hub::pool::{Buffers, Pool};
use crate::hub::socket::{HubSocket, SocketFailed};
use crate::time::Instant;

/// The shortest frame, in bytes, that is written from where it lies and not copied.
const DIRECT: usize = 1024;

impl<S: HubSocket, H: Handler> Session<S, H> {
    /// Writes and reads once. Returns whether anything moved.
    pub(super) fn write_and_read<A>(
        &mut self,
        turn: &mut Turn<'_, A>,
        buffers: &mut Buffers,
    ) -> Result<bool, SocketFailed> {
        let fed = self.feed(turn.now, turn.pool, &mut buffers.tx);
        let moved = self.transfer(turn, buffers)? || fed;
        if !moved {
            self.io.flush()?;
        }
        Ok(moved)
    }

    /// Writes and reads once, without a flush. Returns whether anything moved.
    pub(super) fn transfer<A>(
        &mut self,
        turn: &mut Turn<'_, A>,
        buffers: &mut Buffers,
    ) -> Result<bool, SocketFailed> {
        let Buffers { head, rx, tx } = buffers;
        let mut moved = false;
        if let Some(frame) = self.queue.direct() {
            if let Some(n) = self.io.send(frame, &mut turn.budget, turn.counters)? {
                moved = true;
                let left = tx.wrote_ahead(n);
                if let Some(closing) = &mut self.closing {
                    closing.took(turn.now);
                }
                self.queue.wrote(n, left, turn.counters);
            }
        } else if let Some(n) = self.io.send([tx.pending(), &[]], &mut turn.budget, turn.counters)? {
            moved = true;
            tx.consume(n);
            self.written = self.written.saturating_add(n as u64);
            let own = !self.queue.has_copied();
            if let Some(closing) = &mut self.closing {
                closing.took(turn.now);
            }
            self.queue.flushed(self.written, turn.counters);
            // The handler has had its turn: the queue refills the buffer.
            if own && tx.is_empty() {
                self.feed(turn.now, turn.pool, tx);
            }
        }
        if let Some(n) = self.io.recv(self.server.spare(head, rx), &mut turn.budget, turn.counters)? {
            moved = true;
            match n {
                0 => self.server.end(head, rx),
                n => self.server.fill(head, rx, n),
            }
            self.heard = turn.now;
        }
        Ok(moved)
    }

    /// Copies messages from the queue into the transmit buffer, or begins to write one directly, if a message may begin
    /// now. Returns whether it did.
    pub(super) fn feed(&mut self, now: Instant, pool: &Pool, tx: &mut TransmitBuffer<'_>) -> bool {
        let mut moved = false;
        // Alternates between handler and queue: the handler continues on `writable`, which needs an empty buffer.
        if self.queue.has_copied() {
            return false;
        }
        while let Some(message) = self.queue.next() {
            let room = tx.capacity();
            let open =
                self.server.connection().filter(|connection| connection.state() == ConnectionState::Open);
            let form = open.map(|connection| Form::of(message, &connection.extension, pool, room));
            let Some(mut out) = self.server.outbox(now, tx) else { break };
            // The handler's own message goes first.
            let (true, Some(form)) = (out.is_free(), form) else { break };
            let frame = message.rest(0, form == Form::Shared);
            let len = frame.iter().fold(0_usize, |sum, piece| sum.saturating_add(piece.len()));
            if form != Form::Own && out.is_empty() && (len >= DIRECT || len > room) {
                tx.write_ahead(len);
                self.queue.begin(form == Form::Shared);
            } else if match form {
                Form::Own => message.put(&mut out).is_ok(),
                Form::Plain | Form::Shared => tx.append(frame),
            } {
                let end = self.written.saturating_add(tx.pending().len() as u64);
                self.queue.copied(end);
            } else {
                break;
            }
            if form == Form::Shared {
                self.server.extension().map(skip_shared);
            }
            moved = true;
        }
        moved
    }
}
