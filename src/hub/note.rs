//! Notes of what a hub does, for whichever of `log`, `tracing` and `defmt` is enabled.

#![forbid(unsafe_code)]

use core::fmt;

use super::handle::Client;
use crate::handshake::{Refusal, Request};

/// Takes a text and values that are `Debug`.
macro_rules! note {
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

pub(super) use note;

/// Notes that a request got no upgrade, where that is not what it asked for: pages and redirects are no refusals.
pub(super) fn note_refusal(client: &Client, request: Option<&Request<'_>>, refusal: &Refusal) {
    if refusal.status >= 400 {
        note!("{:?} from {:?} is refused: {:?}", client.id, client.peer, Told { request, refusal });
    }
}

/// A refusal in one line: status and reason, and of the request the path and the origin.
struct Told<'r, 'h> {
    request: Option<&'r Request<'h>>,
    refusal: &'r Refusal,
}

impl fmt::Debug for Told<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.refusal, f)?;
        let Some(request) = self.request else { return Ok(()) };
        write!(f, ", path {}", Quoted(request.path().as_bytes()))?;
        match request.fields().get("Origin") {
            Some(origin) => write!(f, ", Origin {}", Quoted(origin)),
            None => f.write_str(", no Origin"),
        }
    }
}

/// What a peer sent: escaped, so that it makes no line of its own, and cut where it is long.
struct Quoted<'h>(&'h [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..LONGEST).unwrap_or(self.0);
        let rest = if shown.len() < self.0.len() { "..." } else { "" };
        write!(f, "\"{}{rest}\"", shown.escape_ascii())
    }
}

/// Bytes of a path or an origin in a note.
const LONGEST: usize = 128;
