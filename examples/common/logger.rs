//! The log of a server: lines for standard output, which a thread of its own writes.
//!
//! A line never waits and never fails. Where the output is read too slowly lines are dropped, and the log says how many;
//! where nobody reads it any more all are. `println!` in their place would stop the server: it waits for the reader, and
//! panics when there is none.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fmt, mem, thread};

/// Lines that may wait.
const LINES: usize = 1024;
/// Of the thread. ESP-IDF's default is too little.
const STACK: usize = 16 * 1024;
/// How long [`finish`] waits for the reader.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

static QUEUE: Mutex<Queue> = Mutex::new(Queue { lines: VecDeque::new(), lost: 0, writer: Writer::None });
static CHANGED: Condvar = Condvar::new();

struct Queue {
    /// Each with the number of lines that were dropped before it.
    lines: VecDeque<(u64, String)>,
    /// Lines that were dropped behind the last of them.
    lost: u64,
    writer: Writer,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// There was no line so far.
    None,
    Busy,
    Idle,
}

/// Adds a line.
pub(crate) fn line(line: fmt::Arguments<'_>) {
    let line = line.to_string();
    let mut queue = lock();
    if queue.writer == Writer::None {
        // Without a thread to write them the lines are lost.
        let _ = thread::Builder::new().name("log".into()).stack_size(STACK).spawn(write);
    }
    // Before the thread wakes up: `finish` may be called first.
    queue.writer = Writer::Busy;
    if queue.lines.len() < LINES {
        let lost = mem::take(&mut queue.lost);
        queue.lines.push_back((lost, line));
    } else {
        queue.lost += 1;
    }
    CHANGED.notify_all();
}

/// Waits until every line is written, for a second at most.
pub(crate) fn finish() {
    let _ = CHANGED.wait_timeout_while(lock(), LONGEST_WAIT, |queue| queue.writer == Writer::Busy);
}

fn write() {
    loop {
        let (lost, line) = next();
        let mut out = io::stdout().lock();
        if lost > 0 {
            let _ = writeln!(out, "{lost} lines lost");
        }
        if let Some(line) = line {
            let _ = writeln!(out, "{line}");
        }
    }
}

/// What is to be written, when there is something.
fn next() -> (u64, Option<String>) {
    let mut queue = lock();
    loop {
        if let Some((lost, line)) = queue.lines.pop_front() {
            return (lost, Some(line));
        }
        if queue.lost > 0 {
            return (mem::take(&mut queue.lost), None);
        }
        queue.writer = Writer::Idle;
        CHANGED.notify_all();
        queue = CHANGED.wait(queue).unwrap_or_else(PoisonError::into_inner);
        queue.writer = Writer::Busy;
    }
}

fn lock() -> MutexGuard<'static, Queue> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}
