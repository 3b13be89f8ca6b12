//! The calls of a session to its handler, and to the application that makes the handler.

#![forbid(unsafe_code)]

use super::application::{Application, RequestAction};
use super::counters::count;
use super::log::log_refusal;
use super::session::Stage;
use super::session_info::SessionInfo;
use crate::arc::Arc;
use crate::config::base::Config;
use crate::ending::Ending;
use crate::event::Event;
use crate::handler::{Handler, HandlerError};
use crate::handshake::{Decide, Decision, Refusal, Rejection, Request};
use crate::outbox::Outbox;
use crate::time::Instant;

/// Forwards the calls of a session to its handler, which the application makes once the request has arrived.
pub(super) struct Callbacks<'a, A: Application> {
    pub(super) application: &'a mut A,
    pub(super) handler: &'a mut Option<A::Handler>,
    pub(super) info: &'a mut SessionInfo,
    pub(super) stage: &'a mut Stage,
    /// Counts whole messages.
    pub(super) messages: &'a mut u64,
}

impl<A: Application> Decide<Arc<Config>> for Callbacks<'_, A> {
    fn decide<'s>(&'s mut self, request: &Request<'_>) -> Decision<'s, Arc<Config>> {
        if let Stage::Excess = self.stage {
            return Decision::Reject(Rejection::Unavailable);
        }
        let decision = match self.application.request(self.info, request) {
            RequestAction::Serve(handler) => self.handler.insert(handler).request(request).with_config(),
            RequestAction::Accept(handler, options) => {
                *self.handler = Some(handler);
                Decision::Accept(options)
            }
            RequestAction::Respond(response) => Decision::Respond(response),
            RequestAction::Reject(rejection) => Decision::Reject(rejection),
            RequestAction::HandOver => Decision::HandOver,
            RequestAction::ReadBody(limit) => {
                *self.stage = Stage::ReadBody(limit);
                return Decision::HandOver;
            }
        };
        if let Decision::Respond(response) = &decision {
            log_refusal(self.info, Some(request), &Refusal::by_application(response.status()));
        }
        if !matches!(decision, Decision::Accept(_)) {
            self.stage.refuse();
        }
        decision
    }

    fn refused(&mut self, request: Option<&Request<'_>>, refusal: &Refusal) {
        self.stage.refuse();
        log_refusal(self.info, request, refusal);
        self.application.refused(self.info, request, refusal);
        if let Some(handler) = self.handler {
            handler.refused(request, refusal);
        }
    }
}

impl<A: Application> Handler for Callbacks<'_, A> {
    fn opened(&mut self, protocol: Option<&str>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        self.handler.as_mut().map_or(Ok(()), |handler| handler.opened(protocol, out))
    }

    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let last = matches!(&event, Event::Data(data) if data.end);
        let done = self.handler.as_mut().map_or(Ok(()), |handler| handler.event(event, out));
        // A blocked event is delivered again.
        if last && !matches!(done, Err(HandlerError::Blocked { .. })) {
            count(self.messages);
        }
        done
    }

    fn writable(&mut self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        self.handler.as_mut().map_or(Ok(()), |handler| handler.writable(out))
    }

    fn woken(&mut self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        self.handler.as_mut().map_or(Ok(()), |handler| handler.woken(out))
    }

    fn deadline(&self) -> Option<Instant> {
        self.handler.as_ref().and_then(Handler::deadline)
    }

    fn timer(&mut self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        self.handler.as_mut().map_or(Ok(()), |handler| handler.timer(out))
    }

    fn closed(&mut self, ending: &Ending, reason: &str) {
        if let Some(handler) = self.handler {
            handler.closed(ending, reason);
        }
    }
}
