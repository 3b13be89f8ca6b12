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
    last_read: Instant,
    /// How long only writing continues before the stream is read again.
    read_interval: Duration,
    /// How many reads go before the next write: a write was blocked, perhaps because the peer itself waits until it is read.
    reads_first: u32,
    /// Whether the stream may hold back bytes that were written.
    unflushed: bool,
    /// How many calls in a row failed long before their time-out.
    early: u32,
    read_timeout: LastTimeout,
    write_timeout: LastTimeout,
}

impl<S: BlockingStream> Blocking<S> {
    pub(super) fn new(mut stream: S) -> Self {
        let start = std::time::Instant::now();
        // A socket without the option works too, only later.
        let _ = stream.set_no_delay();
        Self {
            stream,
            start,
            last_read: Instant::START,
            read_interval: LONGEST,
            reads_first: 0,
            unflushed: false,
            early: 0,
            read_timeout: LastTimeout::UNKNOWN,
            write_timeout: LastTimeout::UNKNOWN,
        }
    }

    /// Flushes the stream. That comes before each wait, so that the peer gets what was written.
    fn flush(&mut self) -> io::Result<()> {
        if self.unflushed {
            self.stream.flush()?;
            self.unflushed = false;
        }
        Ok(())
    }

    /// Writes a part of `output`.
    fn write(&mut self, output: &[u8], wait: Option<Duration>) -> io::Result<Transferred> {
        if self.write_timeout.change(wait) {
            self.stream.set_write_timeout(self.write_timeout.0)?;
        }
        let written = match self.stream.write(output) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(error) => {
                if error.kind() != ErrorKind::Interrupted {
                    self.reads_first = READS;
                }
                return Err(error);
            }
        };
        self.unflushed = true;
        // After the last byte perhaps no read follows, which would flush.
        match if written == output.len() { self.flush() } else { Ok(()) } {
            Err(error) if !is_harmless(error.kind()) => Err(error),
            _ => Ok(Transferred { read: None, written }),
        }
    }

    /// Reads into `input`. `is_writing` says whether bytes wait to be written.
    fn read(
        &mut self,
        input: &mut [u8],
        is_writing: bool,
        wait: Option<Duration>,
    ) -> io::Result<Transferred> {
        if self.read_timeout.change(wait) {
            self.stream.set_read_timeout(self.read_timeout.0)?;
        }
        let read = self.flush().and_then(|()| self.stream.read(input));
        self.last_read = self.now();
        if is_writing {
            // A full read may leave more to read. After a read that finds nothing, the next one can come later.
            let full = matches!(read, Ok(read) if read == input.len());
            self.reads_first = if full { self.reads_first.saturating_sub(1) } else { 0 };
            self.read_interval =
                if read.is_ok() { SHORTEST } else { self.read_interval.saturating_mul(2).min(LONGEST) };
        }
        read.map(|read| Transferred { read: Some(read), written: 0 })
    }

    /// Ends a turn in which a call failed because its time-out had passed, a signal came, or more has to come: nothing was done.
    /// Returns an error if the stream does not wait at all.
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
        let is_writing = !output.is_empty();
        let mut write = is_writing;
        let mut end = deadline;
        // A peer that waits until it is read takes nothing, so a long message is interrupted by reads.
        if is_writing && !input.is_empty() {
            let next_read = self.last_read.saturating_add(self.read_interval);
            write = now < next_read && self.reads_first == 0;
            end = Some(if write { end.map_or(next_read, |end| end.min(next_read)) } else { now });
        }
        let wait = end.map(|end| now.saturating_duration_until(end).max(SHORTEST));
        let done = if write {
            self.write(output, wait)
        } else if !input.is_empty() {
            self.read(input, is_writing, wait)
        } else {
            std::thread::sleep(wait.unwrap_or(SHORTEST));
            Ok(Transferred::default())
        };
        match done {
            Err(error) if is_harmless(error.kind()) => {
                let wait = if write { self.write_timeout.0 } else { self.read_timeout.0 };
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
            // The peer has disconnected before.
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(()),
            done => done,
        }
    }
}

/// The shortest time-out: some systems round shorter ones down to none.
const SHORTEST: Duration = Duration::from_millis(1);
/// The longest time for which only writing continues.
const LONGEST: Duration = Duration::from_millis(100);
/// How many reads go before a write after one that was blocked, as long as each fills the buffer.
const READS: u32 = 256;

/// The unit in which the system counts time-outs: a shorter one may not wait at all.
const TICK: Duration = Duration::from_millis(if cfg!(target_os = "espidf") { 20 } else { 1 });
/// How many calls in a row that fail long before their time-out show that the stream does not wait.
const EARLY: u32 = 100;

/// The time-out of the stream's reads, or of its writes, as it was last set.
#[derive(Debug)]
struct LastTimeout(Option<Duration>);

impl LastTimeout {
    /// No wait is as short, so that the first one sets the time-out.
    const UNKNOWN: Self = Self(Some(Duration::ZERO));

    /// Chooses the time-out for a wait, and returns whether it has to be set. A shorter one may stay, as an early end of a turn is
    /// harmless, but not one of less than a quarter. A wait until a fixed deadline is shorter each time: so that the same
    /// time-out serves the next ones too, it gets half of what is left.
    fn change(&mut self, wait: Option<Duration>) -> bool {
        let next = match (self.0, wait) {
            (None, None) => return false,
            (Some(set), Some(wait)) if set > wait => {
                Some(wait.checked_div(2).unwrap_or(wait).max(TICK.min(wait)))
            }
            (Some(set), Some(wait)) if set.saturating_mul(4) >= wait => return false,
            _ => wait,
        };
        self.0 = next;
        true
    }
}

fn is_harmless(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
