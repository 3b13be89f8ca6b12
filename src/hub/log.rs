//! Logs what a hub does, to each of `log`, `tracing` and `defmt` that is enabled.

#![forbid(unsafe_code)]

use core::fmt;

use super::session_info::SessionInfo;
use crate::handshake::{Refusal, Request};

/// Logs a text with values that are `Debug`, at level debug.
macro_rules! log_debug {
    ($text:literal $(, $value:expr)* $(,)?) => {{
        $(let _ = &$value;)*
        #[cfg(feature = "log")]
        ::log::debug!(target: "sansocket", $text $(, $value)*);
        #[cfg(feature = "tracing")]
        ::tracing::debug!(target: "sansocket", $text $(, $value)*);
        #[cfg(feature = "defmt")]
        ::defmt::debug!($text $(, ::defmt::Debug2Format(&$value))*);
    }};
}

pub(super) use log_debug;

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

/// Formats bytes of a peer: escaped, so that they stay in one line, and cut to `LONGEST` bytes.
struct Quoted<'h>(&'h [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..LONGEST).unwrap_or(self.0);
        let rest = if shown.len() < self.0.len() { "..." } else { "" };
        write!(f, "\"{}{rest}\"", shown.escape_ascii())
    }
}

/// The most bytes of a path or an origin in a log line.
const LONGEST: usize = 128;
