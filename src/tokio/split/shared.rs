//! What the halves and the driver of a connection share. Its lock guards queues and flags, and is never held across an await or
//! while foreign code runs.

#![forbid(unsafe_code)]

use core::any::{Any, TypeId};
use core::mem;
use core::task::{Context, Poll, Waker};
use std::boxed::Box;
use std::collections::VecDeque;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::vec::Vec;

use ::tokio::sync::Notify;

use super::SplitOptions;
use super::queue::{Item, Queue};
use crate::close::CloseCode;
use crate::ending::Ending;
use crate::host::error::Error;
use crate::message::owned::Message;
use crate::tokio::link::Events;

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    end: OnceLock<End>,
    /// Notifies those who wait for the end.
    ended: Notify,
    protocol: Option<Box<str>>,
    /// The type of the connection, for `reunite`.
    pub(super) socket: TypeId,
}

/// How the connection ended, and the reason in the peer's Close.
#[derive(Debug)]
pub(super) struct End {
    pub(super) ending: Ending,
    pub(super) reason: Box<str>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) queue: Queue,
    /// Messages may be queued.
    pub(super) open: bool,
    /// Whether there is a sender, and whether there is a receiver.
    sender: bool,
    receiver: bool,
    /// What was received ahead.
    incoming: VecDeque<Received>,
    incoming_bytes: usize,
    read_ahead: usize,
    /// Why the stream failed. The receiver reports it once.
    error: Option<Error>,
    /// The requested Close, until the driver takes it.
    close: Option<Close>,
    /// A Close was requested.
    closing: bool,
    reunite: Reunite,
    driver: Option<Waker>,
    reader: Option<Waker>,
    wake: Vec<Waker>,
}

type Received = Result<Message, Error>;

#[derive(Debug)]
pub(super) struct Close {
    pub(super) code: Option<CloseCode>,
    pub(super) reason: Box<str>,
}

#[derive(Debug)]
enum Reunite {
    No,
    Asked,
    /// The driver offers the connection.
    Offered(Box<dyn Any + Send>),
    Taken,
}

/// What the halves want from the driver.
pub(super) struct Orders {
    /// What happens to events; `None`: they are received as messages.
    pub(super) events: Option<Events>,
    pub(super) close: Option<Close>,
    pub(super) reunite: bool,
}

/// What a message that was received ahead counts beside its payload.
const EACH: usize = 64;

impl Shared {
    pub(super) fn new<W: 'static>(options: SplitOptions, protocol: Option<&str>) -> Self {
        let state = State {
            queue: Queue::new(options.queue),
            open: true,
            sender: true,
            receiver: true,
            incoming: VecDeque::new(),
            incoming_bytes: 0,
            read_ahead: options.read_ahead,
            error: None,
            close: None,
            closing: false,
            reunite: Reunite::No,
            driver: None,
            reader: None,
            wake: Vec::new(),
        };
        Self {
            state: Mutex::new(state),
            end: OnceLock::new(),
            ended: Notify::new(),
            protocol: protocol.map(Into::into),
            socket: TypeId::of::<W>(),
        }
    }

    /// Changes the state, and then, without the lock, wakes the tasks that wait for the change.
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut state);
        let wake = mem::take(&mut state.wake);
        drop(state);
        wake.into_iter().for_each(Waker::wake);
        result
    }

    pub(super) fn end(&self) -> Option<&End> {
        self.end.get()
    }

    pub(super) fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// Waits for the end of the connection.
    pub(super) async fn ended(&self) -> &End {
        loop {
            let mut notified = core::pin::pin!(self.ended.notified());
            notified.as_mut().enable();
            if let Some(end) = self.end() {
                return end;
            }
            notified.await;
        }
    }

    /// Records the end, once.
    pub(super) fn finish(&self, ending: Ending, reason: &str, error: Option<Error>) {
        if self.end.set(End { ending, reason: reason.into() }).is_err() {
            return;
        }
        let dropped = self.with(|state| {
            state.error = error.filter(|error| matches!(error, Error::Transport(_)));
            state.wake_reader();
            state.stop()
        });
        drop(dropped);
        self.ended.notify_waiters();
    }
}

impl State {
    /// For the driver: what there is to do. Later orders wake it.
    pub(super) fn orders(&mut self, driver: &Waker) -> Orders {
        match &mut self.driver {
            Some(known) => known.clone_from(driver),
            None => self.driver = Some(driver.clone()),
        }
        let events = match self.receiver {
            false => Some(Events::Discard),
            true if self.is_full() => Some(Events::Hold),
            true => None,
        };
        Orders {
            events,
            close: self.close.take(),
            reunite: matches!(self.reunite, Reunite::Asked) && self.receiver,
        }
    }

    /// Passes a message on to the receiver. It comes back if there is none.
    pub(super) fn deliver(&mut self, message: Received) -> Option<Received> {
        if !self.receiver {
            return Some(message);
        }
        self.incoming_bytes = self.incoming_bytes.saturating_add(counted(&message));
        self.incoming.push_back(message);
        self.wake_reader();
        None
    }

    /// Takes the next message for the receiver; the end as `Ready(None)`.
    pub(super) fn poll_next(&mut self, cx: &Context<'_>, ended: bool) -> Poll<Option<Received>> {
        let full = self.is_full();
        if let Some(message) = self.incoming.pop_front() {
            self.incoming_bytes = self.incoming_bytes.saturating_sub(counted(&message));
            if full && !self.is_full() {
                self.wake_driver();
            }
            return Poll::Ready(Some(message));
        }
        if ended {
            return Poll::Ready(self.error.take().map(Err));
        }
        self.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn is_full(&self) -> bool {
        !self.incoming.is_empty() && self.incoming_bytes >= self.read_ahead
    }

    /// Queues a message for the driver.
    pub(super) fn push(&mut self, item: Item) {
        self.queue.push(item);
        self.wake_driver();
    }

    /// Asks for a Close behind what is queued. The first counts.
    pub(super) fn close(&mut self, code: Option<CloseCode>, reason: &str) {
        if !mem::replace(&mut self.closing, true) {
            self.open = false;
            self.close = Some(Close { code, reason: reason.into() });
            self.wake_driver();
            self.wake.extend(self.queue.all_wakers());
        }
    }

    /// Nothing can be sent any more. Returns what waited for that.
    #[must_use]
    pub(super) fn stop(&mut self) -> VecDeque<Item> {
        self.open = false;
        self.wake.extend(self.queue.all_wakers());
        self.queue.clear()
    }

    pub(super) fn drop_sender(&mut self, panicking: bool) {
        self.sender = false;
        self.close_if_alone(panicking);
    }

    /// Returns what the receiver did not take.
    #[must_use]
    pub(super) fn drop_receiver(&mut self, panicking: bool) -> VecDeque<Received> {
        self.receiver = false;
        self.wake_driver();
        if panicking {
            self.close(Some(CloseCode::INTERNAL_ERROR), "");
        }
        self.close_if_alone(panicking);
        mem::take(&mut self.incoming)
    }

    fn close_if_alone(&mut self, panicking: bool) {
        if !self.sender && !self.receiver {
            self.close(Some(if panicking { CloseCode::INTERNAL_ERROR } else { CloseCode::GOING_AWAY }), "");
        }
    }

    /// Asks the driver for the connection, and takes it when it is there, with what was received ahead.
    pub(super) fn poll_reunite(
        &mut self,
        cx: &Context<'_>,
    ) -> Poll<(Box<dyn Any + Send>, VecDeque<Received>)> {
        match mem::replace(&mut self.reunite, Reunite::Asked) {
            Reunite::Offered(socket) => {
                self.reunite = Reunite::Taken;
                self.wake_driver();
                return Poll::Ready((socket, mem::take(&mut self.incoming)));
            }
            Reunite::No => self.wake_driver(),
            Reunite::Asked | Reunite::Taken => {}
        }
        self.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// For the driver: offers the connection to the receiver.
    pub(super) fn offer_socket(&mut self, socket: Box<dyn Any + Send>) {
        self.reunite = Reunite::Offered(socket);
        self.wake_reader();
    }

    /// For the driver that has offered the connection: waits until it is taken, or returns it if nobody is left to take it.
    pub(super) fn poll_offered(&mut self, driver: &Waker) -> Poll<Option<Box<dyn Any + Send>>> {
        match mem::replace(&mut self.reunite, Reunite::Taken) {
            Reunite::Offered(socket) if self.receiver => {
                self.reunite = Reunite::Offered(socket);
                self.driver = Some(driver.clone());
                Poll::Pending
            }
            Reunite::Offered(socket) => {
                self.reunite = Reunite::No;
                Poll::Ready(Some(socket))
            }
            _ => Poll::Ready(None),
        }
    }

    pub(super) fn wake_driver(&mut self) {
        self.wake.extend(self.driver.take());
    }

    fn wake_reader(&mut self) {
        self.wake.extend(self.reader.take());
    }

    /// Wakes the first send that waits: there may be room for it.
    pub(super) fn wake_first(&mut self) {
        self.wake.extend(self.queue.first_waker());
    }
}

fn counted(message: &Received) -> usize {
    message.as_ref().map_or(0, |message| message.as_bytes().len()).saturating_add(EACH)
}
