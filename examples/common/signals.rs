//! SIGINT and SIGTERM: what Ctrl-C, `kill`, `docker stop` and systemd send.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{io, thread};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// How often the flag is looked at that a signal sets.
const TICK: Duration = Duration::from_millis(100);

/// Calls `stop` after the first signal, in a thread of its own; the second signal ends the process at once, with status 1.
pub(crate) fn on_stop(stop: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let stopping = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag unset.
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&stopping))?;
        flag::register(signal, Arc::clone(&stopping))?;
    }
    thread::Builder::new().name("signals".into()).spawn(move || {
        while !stopping.load(Ordering::Relaxed) {
            thread::sleep(TICK);
        }
        stop();
    })?;
    Ok(())
}
