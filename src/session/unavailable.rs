//! A handler that refuses every connection.

#![forbid(unsafe_code)]

use crate::event::Event;
use crate::handler::{Handler, HandlerError};
use crate::handshake::{Decision, Rejection, Request};
use crate::outbox::Outbox;

/// A handler for a server at capacity: it answers every request with 503.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServiceUnavailable;

impl Handler for ServiceUnavailable {
    fn request<'s>(&'s mut self, _: &Request<'_>) -> Decision<'s> {
        Decision::Reject(Rejection::Unavailable)
    }

    fn event(&mut self, _: Event<'_>, _: &mut Outbox<'_>) -> Result<(), HandlerError> {
        Ok(())
    }
}
