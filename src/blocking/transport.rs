//! A blocking stream as a transport.

#![forbid(unsafe_code)]

use core::time::Duration;
use std::io::{self, ErrorKind};

use super::stream::BlockingStream;
use crate::embedded::{Transferred, Transport};
use crate::time::Instant;

/// A [`BlockingStream`] as a [`Transport`] whose turns block.
#[derive(Debug)]
pub(super) struct Blocking<S> {
    pub(super) stream: S,
    start: std::time::Instant,
    /// When the stream was last read.
    read: Instant,
    /// How long the peer goes unheard while there is something to write.
    patience: Duration,
    /// So many reads go before the next write: one was blocked, perhaps because the peer waits to be heard.
    reads: u32,
    /// Something was written that the stream may keep to itself.
    dirty: bool,
    /// So many calls in a row failed long before their time-out.
    early: u32,
    read_timeout: Option<Option<Duration>>,
    write_timeout: Option<Option<Duration>>,
}

impl<S: BlockingStream> Blocking<S> {
    pub(super) fn new(mut stream: S) -> Self {
        let start = std::time::Instant::now();
        // A socket without the option works too, later.
        let _ = stream.set_no_delay();
        Self {
            stream,
            start,
            read: Instant::START,
            patience: LONGEST,
            reads: 0,
            dirty: false,
            early: 0,
            read_timeout: None,
            write_timeout: None,
        }
    }

    /// Before anything is waited for, what was written has to be on its way.
    fn flush(&mut self) -> io::Result<()> {
        if self.dirty {
            self.stream.flush()?;
            self.dirty = false;
        }
        Ok(())
    }

    /// A call of the stream failed because its time-out had passed, a signal came, or more has to come: the turn ends without
    /// anything done. An error where the stream does not wait at all.
    fn timed_out(
        &mut self,
        kind: ErrorKind,
        wait: Option<Duration>,
        waited: Duration,
    ) -> io::Result<Transferred> {
        let early = wait.is_none_or(|wait| wait >= TICK && waited.saturating_mul(2) < wait);
        self.early = if kind != ErrorKind::Interrupted && early { self.early.saturating_add(1) } else { 0 };
        if self.early < EARLY {
            return Ok(Transferred::default());
        }
        let message = "the stream is in non-blocking mode: call set_nonblocking(false)";
        Err(io::Error::new(ErrorKind::InvalidInput, message))
    }
}

impl<S: BlockingStream> Transport for Blocking<S> {
    type Error = io::Error;

    fn now(&mut self) -> Instant {
        Instant::START.saturating_add(self.start.elapsed())
    }

    async fn read_write(
        &mut self,
        input: &mut [u8],
        output: &[u8],
        deadline: Option<Instant>,
    ) -> io::Result<Transferred> {
        let now = self.now();
        let mut write = !output.is_empty();
        let mut end = deadline;
        // Who only writes does not hear the peer, which may itself wait to be heard: now and then it is asked.
        if write && !input.is_empty() {
            let patience = self.read.saturating_add(self.patience);
            write = now < patience && self.reads == 0;
            end = Some(if write { end.map_or(patience, |end| end.min(patience)) } else { now });
        }
        let wait = end.map(|end| now.saturating_duration_until(end).max(SHORTEST));
        let done = if write {
            if let Some(timeout) = change(&mut self.write_timeout, wait) {
                self.stream.set_write_timeout(timeout)?;
            }
            match self.stream.write(output) {
                Ok(0) => Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.dirty = true;
                    // The last of it: nobody may come to read, and what the stream keeps to itself would stay there.
                    match if written == output.len() { self.flush() } else { Ok(()) } {
                        Err(error) if !is_harmless(error.kind()) => Err(error),
                        _ => Ok(Transferred { read: None, written }),
                    }
                }
                Err(error) => {
                    if error.kind() != ErrorKind::Interrupted {
                        self.reads = READS;
                    }
                    Err(error)
                }
            }
        } else if !input.is_empty() {
            if let Some(timeout) = change(&mut self.read_timeout, wait) {
                self.stream.set_read_timeout(timeout)?;
            }
            let read = self.flush().and_then(|()| self.stream.read(input));
            self.read = self.now();
            if !output.is_empty() {
                // There may be more where this came from, or there is nothing to be gained by haste.
                let full = matches!(read, Ok(read) if read == input.len());
                self.reads = if full { self.reads.saturating_sub(1) } else { 0 };
                self.patience =
                    if read.is_ok() { SHORTEST } else { self.patience.saturating_mul(2).min(LONGEST) };
            }
            read.map(|read| Transferred { read: Some(read), written: 0 })
        } else {
            std::thread::sleep(wait.unwrap_or(SHORTEST));
            Ok(Transferred::default())
        };
        match done {
            Err(error) if is_harmless(error.kind()) => {
                let waited = now.saturating_duration_until(self.now());
                self.timed_out(error.kind(), wait, waited)
            }
            done => {
                self.early = 0;
                done
            }
        }
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        self.flush()?;
        match self.stream.shutdown() {
            // The peer was first.
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(()),
            done => done,
        }
    }
}

/// Shorter time-outs round down to none at all on some systems.
const SHORTEST: Duration = Duration::from_millis(1);
/// The longest that the peer goes unheard while there is something to write.
const LONGEST: Duration = Duration::from_millis(100);
/// Reads behind a write that was blocked, as long as each brings as much as there was room for.
const READS: u32 = 256;

/// Shorter time-outs may be none at all, where they are counted in ticks of the system.
const TICK: Duration = Duration::from_millis(if cfg!(target_os = "espidf") { 20 } else { 1 });
/// Calls in a row that fail long before their time-out, until it is clear that the stream does not wait.
const EARLY: u32 = 100;

/// The time-out to set, where the one that is set does not do: it may be shorter than what is wanted, as an
/// early end of a turn is harmless, but not by much.
fn change(set: &mut Option<Option<Duration>>, wanted: Option<Duration>) -> Option<Option<Duration>> {
    let fits = match (*set, wanted) {
        (Some(None), None) => true,
        (Some(Some(set)), Some(wanted)) => set <= wanted && set.saturating_mul(4) >= wanted,
        _ => false,
    };
    if fits {
        return None;
    }
    *set = Some(wanted);
    Some(wanted)
}

fn is_harmless(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
