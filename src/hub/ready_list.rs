//! Which streams of a tokio server have become ready, and its task.

#![forbid(unsafe_code)]

use core::mem;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Waker;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Wake;
use std::vec::Vec;

/// The keys of what has become ready since the task last looked, and the task to wake.
#[derive(Debug, Default)]
pub(super) struct ReadyList(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    ready: Vec<Arc<Watch>>,
    /// The task is to be woken, whatever is ready.
    notified: bool,
    /// The task, while it waits.
    task: Option<Waker>,
}

/// One stream in the list, at most once: the waker of its reads and its writes. There is one for both, because a stream may write
/// before it can read, as TLS does, and wakes the task that polled it last.
#[derive(Debug)]
pub(super) struct Watch {
    key: usize,
    listed: AtomicBool,
    list: Arc<ReadyList>,
}

impl ReadyList {
    /// Returns a waker that adds this key to the list and wakes the task.
    pub(super) fn waker(self: &Arc<Self>, key: usize) -> Waker {
        Waker::from(Arc::new(Watch { key, listed: AtomicBool::new(false), list: Arc::clone(self) }))
    }

    /// Ends the wait of the task, or the next one if it does not wait.
    pub(super) fn notify(&self) {
        let mut inner = self.lock();
        inner.notified = true;
        wake(inner);
    }

    /// Calls `ready` with each key in the list and empties it. `taken` is empty before and after, and keeps its memory.
    pub(super) fn take(&self, taken: &mut Vec<Arc<Watch>>, mut ready: impl FnMut(usize)) {
        let mut inner = self.lock();
        inner.notified = false;
        let task = inner.task.take();
        mem::swap(&mut inner.ready, taken);
        drop((inner, task));
        for watch in taken.drain(..) {
            // Before the stream is polled again: what becomes ready from now on is listed again.
            watch.listed.store(false, Ordering::Release);
            ready(watch.key);
        }
    }

    /// Records the task that will wait. Returns whether there is nothing to wake it for yet.
    pub(super) fn wait(&self, task: &Waker) -> bool {
        let mut inner = self.lock();
        let idle = inner.ready.is_empty() && !inner.notified;
        if idle {
            inner.task = Some(task.clone());
        }
        idle
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the task, outside of the lock. Each call wakes it by itself: another one, whose thread may be preempted, does not count.
fn wake(inner: MutexGuard<'_, Inner>) {
    let task = inner.task.clone();
    drop(inner);
    if let Some(task) = task {
        task.wake();
    }
}

impl Wake for Watch {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.listed.swap(true, Ordering::AcqRel) {
            let mut inner = self.list.lock();
            inner.ready.push(Arc::clone(self));
            wake(inner);
        }
    }
}
