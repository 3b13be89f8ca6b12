//! Payload that the transport reads past the receive buffer.

#![forbid(unsafe_code)]

use super::{Decoder, State};
use crate::config::ConfigRef;
use crate::error::Violation;
use crate::event::Chunk;
use crate::role::Role;

impl<R: Role, C: ConfigRef> Decoder<R, C> {
    /// Returns how many bytes of the current payload can be read from the transport directly into other memory, for
    /// [`receive_external`](Self::receive_external); 0 if that is not possible. The input must be empty.
    #[must_use]
    pub const fn external_read_limit(&self) -> u64 {
        #[cfg(feature = "extension")]
        if self.coded {
            return 0;
        }
        let data = matches!(self.state, State::Payload) && !self.opcode.is_control();
        if data && self.ready == 0 { self.left } else { 0 }
    }

    /// Unmasks and checks payload that the transport has read into `memory`, and delivers it in place. Pass no more than
    /// [`external_read_limit`](Self::external_read_limit) bytes.
    ///
    /// # Errors
    /// The [`Violation`] of the peer; every later call of [`receive`](Self::receive) returns it again.
    pub fn receive_external<'m>(&mut self, memory: &'m mut [u8]) -> Result<Option<Chunk<'m>>, Violation> {
        if self.external_read_limit() == 0 || memory.is_empty() {
            return Ok(None);
        }
        let mut input = memory;
        self.check(input)
            .map(|()| Some(self.chunk(self.ready, &mut input)))
            .inspect_err(|violation| self.fail((*violation).into()))
    }

    /// Returns whether no other frame of the message follows the current one.
    #[cfg(feature = "tokio")]
    pub(crate) const fn is_last_frame(&self) -> bool {
        self.fin
    }
}
