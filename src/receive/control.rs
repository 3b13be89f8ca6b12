//! Control frames.

#![forbid(unsafe_code)]

use super::{Decoder, State, take};
use crate::close::CloseCode;
use crate::config::ConfigRef;
use crate::error::Violation;
use crate::event::{Event, Payload};
use crate::frame::OpCode;
use crate::role::Role;

impl<R: Role, C: ConfigRef> Decoder<R, C> {
    /// Delivers a control frame when all of it has arrived. Every receive buffer has room for one.
    pub(super) fn control<'i>(&mut self, input: &mut &'i mut [u8]) -> Result<Option<Event<'i>>, Violation> {
        let len = self.len as usize & 0x7F;
        if input.len() < len {
            return Ok(None);
        }
        let payload = take(input, len);
        self.unmask(payload);
        self.state = State::Header;
        self.progressed |= self.kind.is_none();
        let payload = &*payload;
        Ok(Some(match self.opcode {
            OpCode::Ping => Event::Ping(Payload::from(payload)),
            OpCode::Pong => Event::Pong(Payload::from(payload)),
            _ => {
                let (code, reason) = parse_close(payload)?;
                self.state = State::Closed;
                Event::Close(code, Payload::from(reason))
            }
        }))
    }
}

/// Reads the body of a Close frame (§5.5.1).
fn parse_close(body: &[u8]) -> Result<(Option<CloseCode>, &str), Violation> {
    let Some((code, reason)) = body.split_first_chunk::<2>() else {
        // "If there is a body, the first two bytes of the body MUST be a 2-byte unsigned integer"
        return if body.is_empty() { Ok((None, "")) } else { Err(Violation::CloseBody) };
    };
    let number = u16::from_be_bytes(*code);
    let code = CloseCode::new(number).ok_or(Violation::CloseCode(number))?;
    // "the body MAY contain UTF-8-encoded data"
    let reason = core::str::from_utf8(reason).map_err(|_| Violation::InvalidUtf8)?;
    Ok((Some(code), reason))
}
