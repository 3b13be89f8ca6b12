//! Logs what a hub refuses.

#![forbid(unsafe_code)]

use core::fmt;

use super::session_info::SessionInfo;
use crate::handshake::{Refusal, Request};
use crate::log::{Quoted, log_debug};

/// Logs that a request was refused. A response with a status below 400 is no refusal.
pub(super) fn log_refusal(session: &SessionInfo, request: Option<&Request<'_>>, refusal: &Refusal) {
    if refusal.status >= 400 {
        log_debug!(
            "{:?} from {:?} is refused: {:?}",
            session.id,
            session.peer,
            Reported { request, refusal }
        );
    }
}

/// Formats a refusal in one line: status and reason, and path and origin of the request.
struct Reported<'r, 'h> {
    request: Option<&'r Request<'h>>,
    refusal: &'r Refusal,
}

impl fmt::Debug for Reported<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.refusal, f)?;
        let Some(request) = self.request else { return Ok(()) };
        write!(f, ", path {}", Quoted(request.path().as_bytes()))?;
        match request.headers().get("Origin") {
            Some(origin) => write!(f, ", Origin {}", Quoted(origin)),
            None => f.write_str(", no Origin"),
        }
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Reported<'_, '_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{}", defmt::Debug2Format(self));
    }
}
