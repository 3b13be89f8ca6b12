//! Logs what happens on connections, to each of `log`, `tracing` and `defmt` that is enabled.

#![forbid(unsafe_code)]

use core::fmt;

use crate::session::Outcome;

/// Logs a text with values, at level debug. Each value implements what its place in the text asks for, and `defmt::Format`.
macro_rules! log_debug {
    ($text:literal $(, $value:expr)* $(,)?) => {{
        $(let _ = &$value;)*
        #[cfg(feature = "log")]
        ::log::debug!(target: "sansocket", $text $(, $value)*);
        #[cfg(feature = "tracing")]
        ::tracing::debug!(target: "sansocket", $text $(, $value)*);
        #[cfg(feature = "defmt")]
        ::defmt::debug!($text $(, $value)*);
    }};
}

pub(crate) use log_debug;

/// Logs the end of a connection once, although each later call returns it again.
#[derive(Debug)]
pub(crate) struct EndLog {
    #[cfg(any(feature = "log", feature = "tracing", feature = "defmt"))]
    logged: bool,
}

impl EndLog {
    pub(crate) const fn new() -> Self {
        Self {
            #[cfg(any(feature = "log", feature = "tracing", feature = "defmt"))]
            logged: false,
        }
    }

    pub(crate) fn log(&mut self, outcome: Option<Outcome>) {
        #[cfg(any(feature = "log", feature = "tracing", feature = "defmt"))]
        if let (Some(outcome), false) = (outcome, self.logged) {
            self.logged = true;
            log_debug!("the connection has ended: {}", outcome);
        }
        let _ = outcome;
    }
}

/// Formats bytes of a peer: escaped, so that they stay in one line, and cut to `LONGEST` bytes.
pub(crate) struct Quoted<'h>(pub(crate) &'h [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..LONGEST).unwrap_or(self.0);
        let rest = if shown.len() < self.0.len() { "..." } else { "" };
        write!(f, "\"{}{rest}\"", shown.escape_ascii())
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Quoted<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{}", defmt::Display2Format(self));
    }
}

/// The most bytes of a path or an origin in a log line.
const LONGEST: usize = 128;
