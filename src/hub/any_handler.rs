//! Handlers of different types behind one.

#![forbid(unsafe_code)]

use alloc::boxed::Box;
use core::fmt;

use crate::cause::Cause;
use crate::event::{Event, Payload};
use crate::handler::Handler;
use crate::handshake::{Answer, Refusal, Request};
use crate::outbox::{Halt, Outbox};
use crate::time::Instant;

/// A handler of any type, for an [`Application`](super::Application) that has several. One allocation a connection.
pub struct AnyHandler(Box<dyn Erased + Send>);

impl fmt::Debug for AnyHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyHandler")
    }
}

impl AnyHandler {
    /// Of this one.
    #[must_use]
    pub fn new(handler: impl Handler + Send + 'static) -> Self {
        Self(Box::new(handler))
    }
}

/// [`Handler`], without what is generic.
trait Erased {
    fn request<'s>(&'s mut self, request: &Request<'_>) -> Answer<'s>;
    fn refused(&mut self, request: Option<&Request<'_>>, refusal: &Refusal);
    fn opened(&mut self, now: Instant, protocol: Option<usize>, out: &mut dyn Outbox) -> Result<(), Halt>;
    fn event(&mut self, now: Instant, event: Event<Payload<'_>>, out: &mut dyn Outbox) -> Result<(), Halt>;
    fn writable(&mut self, now: Instant, out: &mut dyn Outbox) -> Result<(), Halt>;
    fn deadline(&self) -> Option<Instant>;
    fn timer(&mut self, now: Instant, out: &mut dyn Outbox) -> Result<(), Halt>;
    fn closed(&mut self, cause: &Cause, reason: &str);
}

impl<H: Handler> Erased for H {
    fn request<'s>(&'s mut self, request: &Request<'_>) -> Answer<'s> {
        Handler::request(self, request)
    }

    fn refused(&mut self, request: Option<&Request<'_>>, refusal: &Refusal) {
        Handler::refused(self, request, refusal);
    }

    fn opened(
        &mut self,
        now: Instant,
        protocol: Option<usize>,
        mut out: &mut dyn Outbox,
    ) -> Result<(), Halt> {
        Handler::opened(self, now, protocol, &mut out)
    }

    fn event(
        &mut self,
        now: Instant,
        event: Event<Payload<'_>>,
        mut out: &mut dyn Outbox,
    ) -> Result<(), Halt> {
        Handler::event(self, now, event, &mut out)
    }

    fn writable(&mut self, now: Instant, mut out: &mut dyn Outbox) -> Result<(), Halt> {
        Handler::writable(self, now, &mut out)
    }

    fn deadline(&self) -> Option<Instant> {
        Handler::deadline(self)
    }

    fn timer(&mut self, now: Instant, mut out: &mut dyn Outbox) -> Result<(), Halt> {
        Handler::timer(self, now, &mut out)
    }

    fn closed(&mut self, cause: &Cause, reason: &str) {
        Handler::closed(self, cause, reason);
    }
}

impl Handler for AnyHandler {
    fn request<'s>(&'s mut self, request: &Request<'_>) -> Answer<'s> {
        self.0.request(request)
    }

    fn refused(&mut self, request: Option<&Request<'_>>, refusal: &Refusal) {
        self.0.refused(request, refusal);
    }

    fn opened(&mut self, now: Instant, protocol: Option<usize>, out: &mut impl Outbox) -> Result<(), Halt> {
        self.0.opened(now, protocol, out)
    }

    fn event(&mut self, now: Instant, event: Event<Payload<'_>>, out: &mut impl Outbox) -> Result<(), Halt> {
        self.0.event(now, event, out)
    }

    fn writable(&mut self, now: Instant, out: &mut impl Outbox) -> Result<(), Halt> {
        self.0.writable(now, out)
    }

    fn deadline(&self) -> Option<Instant> {
        self.0.deadline()
    }

    fn timer(&mut self, now: Instant, out: &mut impl Outbox) -> Result<(), Halt> {
        self.0.timer(now, out)
    }

    fn closed(&mut self, cause: &Cause, reason: &str) {
        self.0.closed(cause, reason);
    }
}
