//! The futures of `embedded` can be dropped at every poll, and no byte is lost or sent twice.
#![cfg(all(feature = "embedded-io-async", feature = "alloc"))]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use embedded_io_async::{ErrorType, Read, Write};
use proptest::prelude::*;
use sansocket::embedded::{Clock, CloseWrite, SplitTransport, WebSocket, drive, serve};
use sansocket::error::EndReason;
use sansocket::handshake::{Accepted, ClientRequest, Decision, Request};
use sansocket::message::Assembler;
use sansocket::session::{Buffers, HandlerDriver, Outcome};
use sansocket::{
    Client, CloseCode, Config, Ending, Event, Handler, HandlerError, Instant, Kind, MessageRef, Outbox,
    Server,
};

/// One direction of a connection: every call is pending once or more before it moves a few bytes, all of them
/// in the poll that is ready.
#[derive(Clone, Default)]
struct Pipe(Rc<Inner>);

#[derive(Default)]
struct Inner {
    bytes: RefCell<VecDeque<u8>>,
    closed: Cell<bool>,
    /// Pseudo-random: how often to be pending, and how many bytes to move.
    state: Cell<u32>,
}

const ROOM: usize = 50;

impl Pipe {
    fn next(&self, below: usize) -> usize {
        let state = self.0.state.get().wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0.state.set(state);
        (state >> 16) as usize % below
    }
}

impl ErrorType for Pipe {
    type Error = Infallible;
}

impl Read for Pipe {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Infallible> {
        let mut delay = self.next(3);
        poll_fn(|_| {
            let mut bytes = self.0.bytes.borrow_mut();
            if delay > 0 || bytes.is_empty() && !self.0.closed.get() {
                delay = delay.saturating_sub(1);
                return Poll::Pending;
            }
            let n = buf.len().min(bytes.len()).min(1 + self.next(20));
            for (slot, byte) in buf.iter_mut().zip(bytes.drain(..n)) {
                *slot = byte;
            }
            Poll::Ready(Ok(n))
        })
        .await
    }
}

impl Write for Pipe {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Infallible> {
        let mut delay = self.next(3);
        poll_fn(|_| {
            let mut bytes = self.0.bytes.borrow_mut();
            if delay > 0 || bytes.len() >= ROOM {
                delay = delay.saturating_sub(1);
                return Poll::Pending;
            }
            let n = buf.len().min(ROOM - bytes.len()).min(1 + self.next(20));
            bytes.extend(&buf[..n]);
            Poll::Ready(Ok(n))
        })
        .await
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl CloseWrite for Pipe {
    async fn close(&mut self) -> Result<(), Infallible> {
        let mut delay = self.next(3);
        poll_fn(|_| {
            if delay > 0 {
                delay -= 1;
                return Poll::Pending;
            }
            self.0.closed.set(true);
            Poll::Ready(Ok(()))
        })
        .await
    }
}

/// Time stands still: no deadline passes.
struct Still;

impl Clock for Still {
    fn now(&mut self) -> Instant {
        Instant::START
    }

    async fn at(&mut self, _: Instant) {
        std::future::pending().await
    }
}

type Io = SplitTransport<Pipe, Pipe, Still>;

fn duplex(seed: u32) -> (Io, Io) {
    let (there, back) = (Pipe::default(), Pipe::default());
    there.0.state.set(seed);
    back.0.state.set(!seed);
    let near = SplitTransport::new(back.clone(), there.clone(), Still);
    (near, SplitTransport::new(there, back, Still))
}

fn buffers() -> Buffers<'static> {
    fn leak(len: usize) -> &'static mut [u8] {
        vec![0; len].leak()
    }
    Buffers::new(leak(512), leak(140), leak(140)).unwrap()
}

/// Polls once.
fn once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Runs both to their ends, a poll each in turn.
fn both<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut done_a, mut done_b) = (None, None);
    for _ in 0..1_000_000 {
        if done_a.is_none()
            && let Poll::Ready(output) = once(a.as_mut())
        {
            done_a = Some(output);
        }
        if done_b.is_none()
            && let Poll::Ready(output) = once(b.as_mut())
        {
            done_b = Some(output);
        }
        match (done_a.take(), done_b.take()) {
            (Some(a), Some(b)) => return (a, b),
            (a, b) => (done_a, done_b) = (a, b),
        }
    }
    panic!("no end");
}

/// Waits for a future, but drops it after `patience` polls that were not ready: `None`.
async fn impatient<F: Future>(patience: u32, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = patience;
    poll_fn(|_| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        once(future.as_mut()).map(Some)
    })
    .await
}

async fn accept(io: Io) -> WebSocket<'static, Io, Server> {
    let decide = |_: &Request<'_>| Decision::accept();
    match WebSocket::accept(io, &Config::DEFAULT, buffers(), decide).await.unwrap() {
        Accepted::WebSocket(socket) => socket,
        _ => panic!("no connection"),
    }
}

async fn connect(io: Io) -> WebSocket<'static, Io, Client<impl sansocket::proto::MaskingKey>> {
    let request = ClientRequest::parse("ws://board/").unwrap();
    let mut key = 0_u32;
    let keys = move || {
        key = key.wrapping_add(0x9E37_79B9);
        key.to_ne_bytes()
    };
    WebSocket::connect(io, &Config::DEFAULT, buffers(), keys, &request).await.unwrap()
}

/// Sends the messages and reads their echoes, dropping futures as `patience` says.
async fn client(io: Io, messages: &[Vec<u8>], patience: u32) -> (Vec<Vec<u8>>, Ending) {
    let mut socket = connect(io).await;
    let mut echoes = vec![Vec::new()];
    let mut queue = messages.iter();
    let mut next = queue.next();
    while echoes.len() <= messages.len() {
        if let Some(message) = next
            && socket.writer().outbox().send(message).is_ok()
        {
            next = queue.next();
            impatient(patience, socket.writer().flush()).await.map(Result::unwrap);
        }
        match impatient(patience, socket.read()).await {
            None => {}
            Some(Ok(Some((Event::Data(data), _)))) => {
                echoes.last_mut().unwrap().extend(data.payload.as_bytes());
                if data.end {
                    echoes.push(Vec::new());
                }
            }
            Some(Ok(other)) => panic!("{:?}", other.map(|(event, _)| event)),
            Some(Err(error)) => panic!("{error:?}"),
        }
    }
    echoes.pop();
    loop {
        if let Some(cause) = impatient(patience, socket.close(Some(CloseCode::NORMAL), "")).await {
            return (echoes, cause);
        }
    }
}

/// Echoes frames, dropping futures as `patience` says.
async fn server(io: Io, patience: u32) -> Ending {
    let mut socket = accept(io).await;
    loop {
        match impatient(patience, socket.read()).await {
            None => {}
            Some(Ok(Some((Event::Data(data), link)))) => {
                // Once read, an event is the application's to finish.
                link.fragment(data.kind, &data.payload, data.end).await.unwrap();
            }
            Some(Ok(Some(_))) => {}
            Some(Ok(None)) => return socket.ending().unwrap(),
            Some(Err(error)) => panic!("{error:?}"),
        }
    }
}

proptest! {
    #[test]
    fn dropped_futures_lose_and_repeat_nothing(
        seed: u32,
        lens in prop::collection::vec(0_usize..=120, 0..12),
        client_patience in 1_u32..6,
        server_patience in 1_u32..6,
    ) {
        let messages: Vec<Vec<u8>> =
            lens.iter().enumerate().map(|(n, len)| (0..*len).map(|i| (n + i) as u8).collect()).collect();
        let (near, far) = duplex(seed);
        let ((echoes, ours), theirs) =
            both(client(near, &messages, client_patience), server(far, server_patience));
        prop_assert_eq!(echoes, messages);
        prop_assert_eq!(ours.reason, EndReason::Clean);
        prop_assert_eq!(theirs.reason, EndReason::Clean);
    }
}

struct Echo(Option<Ending>);

impl Handler for Echo {
    fn request<'s>(&'s mut self, _: &Request<'_>) -> Decision<'s> {
        Decision::accept()
    }

    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        if let Event::Data(data) = event {
            out.fragment(data.kind, &data.payload, data.end)?;
        }
        Ok(())
    }

    fn closed(&mut self, cause: &Ending, _: &str) {
        assert_eq!(self.0.replace(*cause), None);
    }
}

#[test]
fn a_handler_is_served_while_both_directions_are_slow() {
    for seed in 0..50 {
        let messages: Vec<Vec<u8>> = (0..20).map(|n| vec![n; usize::from(n) * 6]).collect();
        let (near, mut far) = duplex(seed);
        let mut echo = Echo(None);
        let ((echoes, cause), outcome) =
            both(client(near, &messages, 3), serve(&mut far, &mut echo, &Config::DEFAULT, &mut buffers()));
        assert_eq!(echoes, messages);
        assert_eq!(cause.reason, EndReason::Clean);
        assert_eq!(outcome.unwrap(), Outcome::Closed(echo.0.unwrap()));
    }
}

/// Says hello, and closes when it comes back.
#[derive(Default)]
struct Hello {
    heard: Vec<u8>,
    closed: Option<(Ending, String)>,
}

impl Handler for Hello {
    fn opened(&mut self, _: Option<&str>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        Ok(out.send("hello")?)
    }

    fn event(&mut self, event: Event<'_>, _: &mut Outbox<'_>) -> Result<(), HandlerError> {
        if let Event::Data(data) = event {
            self.heard.extend(data.payload.as_bytes());
            if data.end {
                return Err(HandlerError::Close(CloseCode::GOING_AWAY, "heard"));
            }
        }
        Ok(())
    }

    fn closed(&mut self, cause: &Ending, reason: &str) {
        assert!(self.closed.replace((*cause, reason.into())).is_none());
    }
}

#[test]
fn a_handler_drives_a_client_and_a_connection_after_a_foreign_handshake() {
    let (near, far) = duplex(7);
    let mut hello = Hello::default();
    let client = async {
        let (mut transport, connection, buffers) = connect(near).await.into_parts();
        let Buffers { mut rx, mut tx, .. } = buffers;
        let mut driver = HandlerDriver::new(connection, None);
        drive(&mut transport, &mut driver, &mut hello, &mut rx, &mut tx).await.unwrap()
    };
    let server = async {
        let (transport, connection, Buffers { rx, tx, .. }) = accept(far).await.into_parts();
        let mut socket = WebSocket::new(transport, connection, rx, tx);
        let mut text = Assembler::new(Vec::new());
        let text = socket.recv(&mut text).await.unwrap().unwrap();
        // In frames of two bytes at the most, with a Pong that nobody asked for before them.
        socket.pong(b"unasked").await.unwrap();
        for part in text.as_bytes().chunks(2) {
            socket.writer().send_fragmented(Kind::Text, part, false).await.unwrap();
        }
        socket.writer().send_fragmented(Kind::Text, b"", true).await.unwrap();
        assert!(socket.read().await.unwrap().is_none());
        (socket.ending().unwrap(), socket.close_reason().to_owned())
    };
    let (ours, (theirs, reason)) = both(client, server);
    assert_eq!((ours.reason, ours.code()), (EndReason::Clean, 1001));
    assert_eq!((theirs.reason, theirs.code(), &reason[..]), (EndReason::Clean, 1001, "heard"));
    assert_eq!(hello.heard, b"hello");
    assert_eq!(hello.closed, Some((ours, String::new())));
}

/// A clock that shows the time that the test sets, in milliseconds, and advances while a task waits for it.
struct Reported(Rc<Cell<u64>>);

impl Clock for Reported {
    fn now(&mut self) -> Instant {
        Instant::from_millis(self.0.get())
    }

    async fn at(&mut self, moment: Instant) {
        poll_fn(|_| {
            self.0.set(self.0.get() + 1);
            if self.now() >= moment { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

#[test]
fn after_long_work_the_peer_has_its_time_to_read() {
    for seed in 0..20 {
        let (writer, reader) = (Pipe::default(), Pipe::default());
        writer.0.state.set(seed);
        let near = SplitTransport::new(writer.clone(), reader.clone(), Still);
        let clock = Rc::new(Cell::new(0));
        let server = async {
            let decide = |_: &Request<'_>| Decision::accept();
            let io = SplitTransport::new(reader, writer, Reported(Rc::clone(&clock)));
            let Accepted::WebSocket(mut socket) =
                WebSocket::accept(io, &Config::DEFAULT, buffers(), decide).await.unwrap()
            else {
                panic!("handed over");
            };
            // Longer than `Timeouts::write`.
            clock.set(31_000);
            socket.writer().outbox().send("at last").unwrap();
            let cause = socket.close(CloseCode::NORMAL, "").await;
            assert_eq!(cause.reason, EndReason::Clean, "seed {seed}");
        };
        let client = async {
            let mut socket = connect(near).await;
            let mut text = Assembler::new(Vec::new());
            assert_eq!(socket.recv(&mut text).await.unwrap(), Some(MessageRef::Text("at last")));
            for _ in 0..3 {
                assert!(socket.read().await.unwrap().is_none());
                assert_eq!(socket.recv(&mut text).await.unwrap(), None);
            }
            assert!(socket.ending().unwrap().is_clean());
        };
        both(client, server);
    }
}
