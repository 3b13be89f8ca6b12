//! A handler that another task wakes.

mod wire;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sansocket::embedded::{Transferred, Transport, serve_with};
use sansocket::session::{Memory, Outcome};
use sansocket::{Config, Event, Handler, HandlerError, Instant, Outbox};
use wire::{BINARY, CLOSE, REQUEST, TEXT, close_body, masked, whole_frames};

/// What a test and the transport share.
#[derive(Default)]
struct Shared {
    now: Cell<u64>,
    input: RefCell<VecDeque<u8>>,
    output: RefCell<Vec<u8>>,
    /// How many bytes the peer still takes.
    room: Cell<usize>,
}

struct Wire(Rc<Shared>);

impl Transport for Wire {
    type Error = Infallible;

    fn now(&mut self) -> Instant {
        Instant::from_millis(self.0.now.get())
    }

    async fn read_write(
        &mut self,
        input: &mut [u8],
        output: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Transferred, Infallible> {
        poll_fn(|_| {
            let shared = &*self.0;
            let written = output.len().min(shared.room.get());
            if written > 0 {
                shared.output.borrow_mut().extend(&output[..written]);
                shared.room.set(shared.room.get() - written);
                return Poll::Ready(Ok(Transferred { read: None, written }));
            }
            let mut from = shared.input.borrow_mut();
            let n = input.len().min(from.len());
            if n > 0 {
                input.iter_mut().zip(from.drain(..n)).for_each(|(slot, byte)| *slot = byte);
                return Poll::Ready(Ok(Transferred { read: Some(n), written: 0 }));
            }
            let late = deadline.is_some_and(|deadline| deadline <= Instant::from_millis(shared.now.get()));
            if late { Poll::Ready(Ok(Transferred::default())) } else { Poll::Pending }
        })
        .await
    }

    async fn shutdown(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Sends the numbers that another task has left, and counts its calls.
#[derive(Default)]
struct Numbers {
    left: Rc<RefCell<VecDeque<u8>>>,
    calls: Rc<Cell<u32>>,
    times: Rc<RefCell<Vec<Instant>>>,
    opened: bool,
}

impl Handler for Numbers {
    fn opened(&mut self, _: Option<&str>, _: &mut Outbox<'_>) -> Result<(), HandlerError> {
        self.opened = true;
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        if let Event::Data(chunk) = event { out.forward(&chunk) } else { Ok(()) }
    }

    fn woken(&mut self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        assert!(self.opened, "not before the connection is open");
        self.calls.set(self.calls.get() + 1);
        self.times.borrow_mut().push(out.now());
        let mut left = self.left.borrow_mut();
        while let Some(number) = left.front() {
            out.send(&[*number; 50])?;
            left.pop_front();
        }
        Ok(())
    }
}

/// A flag that is awaited, as a `Signal` is.
#[derive(Clone, Default)]
struct Signal(Rc<Cell<bool>>);

impl Signal {
    async fn wait(&self) {
        poll_fn(|_| if self.0.take() { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

/// A connection that is served, and what the test holds of it.
fn run(test: impl FnOnce(&Shared, &Signal, &Numbers, &mut dyn FnMut() -> Option<Outcome>)) {
    let shared = Rc::new(Shared { room: Cell::new(usize::MAX), ..Shared::default() });
    let (signal, mut handler) = (Signal::default(), Numbers::default());
    let seen = Numbers {
        left: Rc::clone(&handler.left),
        calls: Rc::clone(&handler.calls),
        times: Rc::clone(&handler.times),
        opened: true,
    };
    let mut memory = Memory { head: [0; 512], rx: [0; 140], tx: [0; 140] };
    let (mut buffers, mut wire, waits) = (memory.buffers(), Wire(Rc::clone(&shared)), signal.clone());
    let mut wake = async || waits.wait().await;
    let mut serving = pin!(serve_with(&mut wire, &mut handler, &Config::DEFAULT, &mut buffers, &mut wake));
    let mut poll = || match serving.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => Some(outcome.unwrap()),
        Poll::Pending => None,
    };
    test(&shared, &signal, &seen, &mut poll);
}

/// The frames after the head of the response.
fn sent(shared: &Shared) -> Vec<(u8, Vec<u8>)> {
    let output = shared.output.borrow();
    let head = output.windows(4).position(|end| end == b"\r\n\r\n").expect("a response") + 4;
    whole_frames(&output[head..]).into_iter().map(|frame| (frame.first, frame.payload)).collect()
}

#[test]
fn a_wake_up_sends_at_once() {
    run(|shared, signal, seen, poll| {
        shared.input.borrow_mut().extend(REQUEST);
        assert_eq!(poll(), None);
        assert_eq!((sent(shared), seen.calls.get()), (vec![], 0));
        shared.now.set(5000);
        seen.left.borrow_mut().extend([1, 2]);
        signal.0.set(true);
        assert_eq!(poll(), None);
        assert_eq!(sent(shared), [(BINARY, vec![1; 50]), (BINARY, vec![2; 50])]);
        assert_eq!(*seen.times.borrow(), [Instant::from_millis(5000)], "the time of the wake-up");
        assert_eq!(poll(), None);
        assert_eq!(seen.calls.get(), 1, "once");
    });
}

#[test]
fn a_wake_up_before_the_connection_is_open_is_kept() {
    run(|shared, signal, seen, poll| {
        seen.left.borrow_mut().push_back(7);
        signal.0.set(true);
        let (first, second) = REQUEST.split_at(50);
        shared.input.borrow_mut().extend(first);
        assert_eq!(poll(), None);
        assert!(signal.0.get(), "nobody has awaited it");
        shared.input.borrow_mut().extend(second);
        assert_eq!(poll(), None);
        assert_eq!(sent(shared), [(BINARY, vec![7; 50])]);
    });
}

#[test]
fn a_handler_that_is_blocked_is_woken_again() {
    run(|shared, signal, seen, poll| {
        shared.input.borrow_mut().extend(REQUEST);
        assert_eq!(poll(), None);
        shared.room.set(0);
        seen.left.borrow_mut().extend(0..10);
        signal.0.set(true);
        assert_eq!(poll(), None);
        assert_eq!(seen.left.borrow().len(), 8, "two fit into the transmit buffer");
        // The peer takes a few bytes at a time.
        while shared.output.borrow().is_empty() || sent_len(shared) < 10 * 52 {
            shared.room.set(30);
            assert_eq!(poll(), None);
        }
        let expected: Vec<_> = (0..10).map(|number| (BINARY, vec![number; 50])).collect();
        assert_eq!(sent(shared), expected);
    });
}

/// Bytes after the head of the response.
fn sent_len(shared: &Shared) -> usize {
    let output = shared.output.borrow();
    output.len() - output.windows(4).position(|end| end == b"\r\n\r\n").unwrap() - 4
}

#[test]
fn a_busy_peer_and_a_busy_task_do_not_starve_each_other() {
    run(|shared, signal, seen, poll| {
        shared.input.borrow_mut().extend(REQUEST);
        for _ in 0..20 {
            shared.input.borrow_mut().extend(masked(TEXT, &[b'x'; 60]));
        }
        seen.left.borrow_mut().push_back(9);
        signal.0.set(true);
        assert_eq!(poll(), None);
        let sent = sent(shared);
        assert_eq!(sent.len(), 21);
        assert!(
            sent.iter().position(|(first, _)| *first == BINARY).unwrap() < 5,
            "not behind all of the echoes"
        );
    });
}

#[test]
fn a_connection_that_is_woken_ends_as_any_other() {
    run(|shared, signal, seen, poll| {
        shared.input.borrow_mut().extend(REQUEST);
        shared.input.borrow_mut().extend(masked(CLOSE, &close_body(1000, "")));
        signal.0.set(true);
        assert_eq!(poll(), None);
        let close = Config::DEFAULT.timeouts.close.unwrap();
        shared.now.set((close + Duration::from_secs(1)).as_millis() as u64);
        signal.0.set(true);
        let outcome = poll().or_else(poll);
        let Some(Outcome::Closed(ending)) = outcome else { panic!("{outcome:?}") };
        assert!(ending.is_clean(), "{ending:?}");
        assert!(seen.calls.get() <= 2);
    });
}
