//! Each method over a stream that moves one byte at a time, in both roles: its futures are dropped at every poll, or polled with
//! another waker each time. The stream checks that what is pending waits with the waker of the last poll. Where several tasks poll a
//! connection, a task is polled only after its last waker was woken.
#![cfg(feature = "tokio")]

mod wire;

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::{SinkExt, StreamExt};
use sansocket::config::QueueLimits;
use sansocket::message::Prepared;
use sansocket::proto::{Role, SystemKeys};
use sansocket::session::BufferSizes;
use sansocket::tokio::{SplitOptions, TrySendError, WebSocket};
use sansocket::{Client, CloseCode, Config, Event, Kind, Message, Server};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::task::unconstrained;
use wire::{KEY, frame, whole_frames};

/// A stream of which the test says when a byte can be read, and when one can be written or a flush succeeds.
#[derive(Clone, Default)]
struct Gate(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// What the peer has sent, and whether the next byte of it can be read.
    script: VecDeque<u8>,
    ended: bool,
    readable: bool,
    writable: bool,
    written: Vec<u8>,
    /// Who waits, since the test last looked.
    reader: Option<Waker>,
    writer: Option<Waker>,
    turn: usize,
    /// The stream's waker stands for those of several tasks.
    shared: bool,
}

/// The waker of one poll.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a method waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// What the peer sends; and until all is written, for the stream to take it.
    Reading,
    /// The stream to take what is sent. The peer is read from meanwhile, unless a message waits.
    Writing,
    /// As before, but nothing is read meanwhile.
    WritingOnly,
    /// Both, one after the other.
    Closing,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, bytes: &[u8]) {
        self.state().script.extend(bytes);
    }

    /// After a poll that returned `Pending`: checks who waits, and lets one byte through, in one direction or the other.
    fn go_on(&self, waits: Waits, flag: &Arc<Flag>) {
        let last = Waker::from(Arc::clone(flag));
        let mut state = self.state();
        state.turn += 1;
        assert!(state.turn < 100_000, "{waits:?} does not go on");
        if flag.0.load(Ordering::Relaxed) {
            return; // it wants another turn
        }
        let (reader, writer) = (&state.reader, &state.writer);
        for waker in [reader, writer].into_iter().flatten().filter(|_| !state.shared) {
            assert!(waker.will_wake(&last), "{waits:?}: the waker of an earlier poll");
        }
        match waits {
            Waits::Reading => assert!(reader.is_some(), "nobody waits for the peer"),
            Waits::Writing => assert!(writer.is_some(), "nobody waits for the stream"),
            Waits::WritingOnly => assert!(writer.is_some() && reader.is_none()),
            Waits::Closing => assert!(writer.is_some() || reader.is_some(), "nobody waits"),
        }
        let turn = state.turn;
        drop(state);
        self.let_through(turn);
        assert!(flag.0.load(Ordering::Relaxed), "{waits:?}: the wake-up is lost");
    }

    /// Lets one byte through, in one direction or the other, and wakes who waits for it.
    fn let_through(&self, turn: usize) {
        let mut state = self.state();
        let can_read = state.reader.is_some() && (!state.script.is_empty() || state.ended);
        let waker = match state.writer.is_some() {
            true if turn % 2 == 1 || !can_read => {
                state.writable = true;
                state.writer.take()
            }
            _ if can_read => {
                state.readable = true;
                state.reader.take()
            }
            _ => panic!("all wait for what nobody sends"),
        };
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl AsyncRead for Gate {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state();
        if !std::mem::take(&mut state.readable) {
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        // None is the end.
        let byte = state.script.pop_front();
        state.readable = byte.is_none();
        into.put_slice(byte.as_slice());
        Poll::Ready(Ok(()))
    }
}

impl Gate {
    /// Takes the chance to write, or waits for it.
    fn poll_writable(&self, cx: &Context<'_>) -> Poll<MutexGuard<'_, State>> {
        let mut state = self.state();
        if std::mem::take(&mut state.writable) {
            return Poll::Ready(state);
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for Gate {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_writable(cx).map(|mut state| {
            state.written.push(from[0]);
            Ok(1)
        })
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_writable(cx).map(|_| Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_writable(cx).map(|_| Ok(()))
    }
}

/// Polls a future until it is ready, with another waker each time.
macro_rules! kept {
    ($gate:expr, $waits:ident, $future:expr) => {{
        let mut future = std::pin::pin!($future);
        loop {
            let flag = Arc::<Flag>::default();
            let waker = Waker::from(Arc::clone(&flag));
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(output) => break output,
                Poll::Pending => $gate.go_on(Waits::$waits, &flag),
            }
        }
    }};
}

/// Polls the future once, drops it, and makes it anew, until it is ready.
macro_rules! dropped {
    ($gate:expr, $waits:ident, $future:expr) => {
        loop {
            let flag = Arc::<Flag>::default();
            let waker = Waker::from(Arc::clone(&flag));
            let polled = std::pin::pin!($future).poll(&mut Context::from_waker(&waker));
            match polled {
                Poll::Ready(output) => break output,
                Poll::Pending => $gate.go_on(Waits::$waits, &flag),
            }
        }
    };
}

fn connection<R: Role>(role: R) -> (WebSocket<Gate, R>, Gate) {
    let gate = Gate::default();
    let sizes = BufferSizes { head: 0, receive: 140, transmit: 140 };
    (WebSocket::after_upgrade(gate.clone(), b"", role, None, Config::new(), sizes), gate)
}

/// The key that the peer masks with.
fn key<R: Role>() -> Option<[u8; 4]> {
    R::SERVER.then_some(KEY)
}

/// The messages that were sent: their fragments are put together, control frames are left out.
fn messages(written: &[u8]) -> Vec<Vec<u8>> {
    let (mut all, mut part) = (vec![], vec![]);
    for frame in whole_frames(written) {
        if frame.first & 0x08 == 0 {
            part.extend(frame.payload);
            if frame.first & 0x80 != 0 {
                all.push(std::mem::take(&mut part));
            }
        }
    }
    assert!(part.is_empty());
    all
}

fn control_frames(written: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let frames = whole_frames(written).into_iter();
    frames.filter(|frame| frame.first & 0x08 != 0).map(|frame| (frame.first, frame.payload)).collect()
}

fn sending<R: Role + Unpin>(role: R) {
    let (mut socket, gate) = connection(role);
    let long = |byte: u8| vec![byte; 500];
    // What the peer sends meanwhile: a Ping is answered, one message is received.
    gate.send(&frame(0x89, key::<R>(), b"ping"));
    gate.send(&frame(0x82, key::<R>(), &[9; 300]));
    dropped!(gate, Writing, socket.feed(long(1))).unwrap();
    dropped!(gate, Writing, socket.feed("two")).unwrap();
    dropped!(gate, Writing, socket.flush()).unwrap();
    kept!(gate, Writing, socket.send(long(3))).unwrap();
    let prepared = Prepared::from(long(4));
    kept!(gate, Writing, socket.send_prepared(&prepared)).unwrap();
    kept!(gate, Writing, socket.ping(b"p")).unwrap();
    kept!(gate, Writing, socket.pong(b"q")).unwrap();
    socket.try_send(long(5)).unwrap();
    let mut refused = 0;
    while let Err(TrySendError::Full(_)) = socket.try_send("six") {
        refused += 1;
        let _ = kept!(gate, Writing, socket.flush());
    }
    assert_eq!(refused, 1);
    // A permit is used in the poll that got it.
    for n in [7, 8] {
        let fill = async |socket: &mut WebSocket<Gate, R>| {
            socket.reserve().await.map(|permit| permit.binary(long(n)))
        };
        dropped!(gate, Writing, fill(&mut socket)).unwrap();
    }
    dropped!(gate, WritingOnly, socket.writer().feed(&long(9)[..])).unwrap();
    dropped!(gate, WritingOnly, socket.writer().fragment(Kind::Binary, &[10; 300], false)).unwrap();
    dropped!(gate, WritingOnly, socket.writer().fragment(Kind::Binary, &[10; 200], true)).unwrap();
    dropped!(gate, WritingOnly, socket.writer().flush()).unwrap();
    let mut message = socket.message_writer(Kind::Binary);
    let payload = long(11);
    let mut rest = &payload[..];
    while !rest.is_empty() {
        let n = dropped!(gate, Writing, message.write(rest)).unwrap();
        rest = &rest[n..];
    }
    dropped!(gate, Writing, message.flush()).unwrap();
    dropped!(gate, Writing, message.shutdown()).unwrap();
    let expected: Vec<_> = (1..=11)
        .map(|n| match n {
            2 => b"two".to_vec(),
            6 => b"six".to_vec(),
            n => long(n),
        })
        .collect();
    assert_eq!(messages(&gate.state().written), expected);
    assert_eq!(
        control_frames(&gate.state().written),
        [(0x8A, b"ping".to_vec()), (0x89, b"p".to_vec()), (0x8A, b"q".to_vec())]
    );
    // The message that came meanwhile was not lost.
    assert_eq!(dropped!(gate, Reading, socket.recv()).unwrap(), Some(vec![9; 300].into()));
}

fn receiving<R: Role + Unpin>(role: R) {
    let (mut socket, gate) = connection(role);
    let key = key::<R>();
    for n in 0..4_u8 {
        gate.send(&frame(0x02, key, &[n; 200]));
        gate.send(&frame(0x89, key, &[n]));
        gate.send(&frame(0x80, key, &[n; 300]));
        gate.send(&frame(0x81, key, b"text"));
    }
    let expected = |n: u8| Some(Message::from(vec![n; 500]));
    // What was fed leaves meanwhile.
    dropped!(gate, Writing, socket.feed("fed")).unwrap();
    assert_eq!(dropped!(gate, Reading, socket.recv()).unwrap(), expected(0));
    assert_eq!(dropped!(gate, Reading, socket.recv()).unwrap(), Some("text".into()));
    assert_eq!(kept!(gate, Reading, socket.recv()).unwrap(), expected(1));
    assert_eq!(kept!(gate, Reading, socket.recv()).unwrap(), Some("text".into()));
    let mut received = vec![];
    loop {
        // An event borrows the connection, so that it is copied in the poll that got it.
        let read = async |socket: &mut WebSocket<Gate, R>| {
            let (event, _) = socket.read().await.unwrap().unwrap();
            let Event::Data(chunk) = event else { panic!("{event:?}") };
            (chunk.payload.to_vec(), chunk.end)
        };
        let (part, end) = dropped!(gate, Reading, read(&mut socket));
        received.extend(part);
        if end {
            break;
        }
    }
    assert_eq!(received, [2; 500]);
    assert_eq!(dropped!(gate, Reading, socket.recv()).unwrap(), Some("text".into()));
    let (mut received, mut part): (Vec<u8>, _) = (vec![], [0; 64]);
    {
        let mut message = kept!(gate, Reading, socket.message_reader()).unwrap().unwrap();
        loop {
            let n = dropped!(gate, Reading, message.read(&mut part)).unwrap();
            if n == 0 {
                break;
            }
            received.extend(&part[..n]);
        }
    }
    assert_eq!(received, [3; 500]);
    // Half of the last message is received by a call that is dropped, the rest by a reader.
    let rest = gate.state().script.len() / 2;
    while gate.state().script.len() > rest {
        let flag = Arc::<Flag>::default();
        let waker = Waker::from(Arc::clone(&flag));
        assert!(std::pin::pin!(socket.recv()).poll(&mut Context::from_waker(&waker)).is_pending());
        gate.go_on(Waits::Reading, &flag);
    }
    let mut text = String::new();
    {
        let mut message = kept!(gate, Reading, socket.message_reader()).unwrap().unwrap();
        kept!(gate, Reading, message.read_to_string(&mut text)).unwrap();
    }
    assert_eq!(text, "text");

    // The end: all that was sent is written, the Close is answered.
    gate.send(&frame(0x88, key, b"\x03\xe8"));
    gate.state().ended = true;
    let ending = dropped!(gate, Closing, socket.close(CloseCode::NORMAL, "bye"));
    assert!(ending.is_clean(), "{ending:?}");
    assert_eq!(messages(&gate.state().written), [b"fed".to_vec()]);
    let control = control_frames(&gate.state().written);
    let pongs: Vec<_> = (0..4).map(|n| (0x8A, vec![n])).collect();
    assert_eq!(control[..4], pongs);
    assert_eq!(control[4..], [(0x88, b"\x03\xe8bye".to_vec())]);
}

type Task<'t> = Pin<Box<dyn Future<Output = ()> + 't>>;

/// Runs tasks to their ends, and polls each only after its last waker was woken; but in the turn `extra` all of them, which makes the
/// wakers before useless. One such turn at most: it would hide wake-ups that are lost before it.
fn run_tasks<const N: usize>(gate: &Gate, extra: usize, tasks: [Task<'_>; N]) {
    let mut tasks = tasks.map(|task| Some((task, Arc::new(Flag(AtomicBool::new(true))))));
    for turn in 0..100_000 {
        let mut polled = false;
        for task in &mut tasks {
            let Some((future, flag)) = task else { continue };
            if turn != extra && !flag.0.load(Ordering::Relaxed) {
                continue;
            }
            polled = true;
            *flag = Arc::default();
            let waker = Waker::from(Arc::clone(flag));
            if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                *task = None;
            }
        }
        let woken = |flag: &Arc<Flag>| flag.0.load(Ordering::Relaxed);
        let mut left = tasks.iter().flatten().peekable();
        if left.peek().is_none() {
            return;
        }
        if !polled {
            gate.let_through(turn / 2);
            assert!(left.any(|(_, flag)| woken(flag)), "the wake-up is lost");
        }
    }
    panic!("the tasks do not go on");
}

/// What the peer sends: Pings and binary messages. Returns the messages.
fn script<R: Role>(gate: &Gate) -> Vec<Message> {
    let messages = (0..6_u8).map(|n| {
        gate.send(&frame(0x89, key::<R>(), &[n]));
        gate.send(&frame(0x82, key::<R>(), &[n; 300]));
        Message::from(vec![n; 300])
    });
    messages.collect()
}

/// The peer's Close, and the end of its stream.
fn end<R: Role>(gate: &Gate) {
    gate.send(&frame(0x88, key::<R>(), b"\x03\xe8"));
    gate.state().ended = true;
}

/// Checks what was sent: messages of 300 bytes with these numbers, Pongs for the script, and a Close.
fn assert_sent(gate: &Gate, numbers: impl Iterator<Item = u8>) {
    let written = &gate.state().written;
    assert_eq!(messages(written), numbers.map(|n| vec![n; 300]).collect::<Vec<_>>());
    let mut control = control_frames(written);
    assert_eq!(control.pop().map(|(first, _)| first), Some(0x88));
    control.retain(|(first, _)| *first == 0x8A);
    assert!(!control.is_empty() && control.is_sorted(), "{control:?}");
}

fn stream_and_sink<R: Role + Unpin>(role: R) {
    let (mut socket, gate) = connection(role);
    gate.state().shared = true;
    let expected = script::<R>(&gate);
    let message = |n: u8| Message::from(vec![n; 300]);
    for n in [0, 2, 4] {
        dropped!(gate, Writing, SinkExt::feed(&mut socket, message(n))).unwrap();
        dropped!(gate, Writing, SinkExt::flush(&mut socket)).unwrap();
        assert_eq!(dropped!(gate, Reading, socket.next()).unwrap().unwrap(), expected[usize::from(n)]);
        kept!(gate, Writing, SinkExt::send(&mut socket, message(n + 1))).unwrap();
        assert_eq!(kept!(gate, Reading, socket.next()).unwrap().unwrap(), expected[usize::from(n) + 1]);
    }
    end::<R>(&gate);
    dropped!(gate, Closing, SinkExt::close(&mut socket)).unwrap();
    assert!(dropped!(gate, Closing, socket.next()).is_none());
    assert_sent(&gate, 0..6);
}

/// Two tasks poll the halves of `StreamExt::split`.
fn halves_of_a_stream<R: Role + Unpin>(role: R, extra: usize) {
    let (socket, gate) = connection(role);
    let expected = script::<R>(&gate);
    let (mut sink, mut stream) = StreamExt::split(socket);
    let sending = async {
        for n in 0..10_u8 {
            sink.feed(vec![n; 300].into()).await.unwrap();
            if n % 2 == 0 {
                sink.flush().await.unwrap();
            }
        }
        sink.flush().await.unwrap();
        end::<R>(&gate);
        sink.close().await.unwrap();
    };
    let receiving = async {
        for message in &expected {
            assert_eq!(stream.next().await.unwrap().unwrap(), *message);
        }
        assert!(stream.next().await.is_none());
    };
    run_tasks(&gate, extra, [Box::pin(sending), Box::pin(receiving)]);
    assert_sent(&gate, 0..10);
}

/// Tasks use the halves of `into_split`, which is driven by a task of its own.
fn sender_and_receiver<R: Role + Unpin + Send + 'static>(role: R, extra: usize) {
    let (socket, gate) = connection(role);
    let expected = script::<R>(&gate);
    let limits = QueueLimits::new().messages(1);
    let options = SplitOptions::new().queue(limits).read_ahead(0);
    let (sender, mut receiver, driver) = socket.into_split_with(options);
    let other = sender.clone();
    let sending = async {
        for n in 0..12_u8 {
            let payload = vec![n; 300];
            match n % 3 {
                0 => sender.send(payload).await.unwrap(),
                1 => sender.send_prepared(&payload.into()).await.unwrap(),
                _ => sender.reserve().await.unwrap().binary(payload),
            }
        }
    };
    // It stands in the same line.
    let pinging = async {
        for _ in 0..12 {
            other.ping(b"?").await.unwrap();
        }
    };
    let sending = async {
        tokio::join!(sending, pinging);
        // All that was queued is in the connection.
        drop(sender.reserve().await.unwrap());
        end::<R>(&gate);
        assert!(sender.closed().await.is_clean());
    };
    let receiving = async {
        for (n, message) in expected.iter().enumerate() {
            let received = match n % 2 {
                0 => receiver.recv().await.unwrap(),
                _ => receiver.next().await.transpose().unwrap(),
            };
            assert_eq!(received.as_ref(), Some(message));
        }
        assert_eq!(receiver.recv().await.unwrap(), None);
    };
    run_tasks(&gate, extra, [Box::pin(driver), Box::pin(sending), Box::pin(receiving)]);
    assert_sent(&gate, 0..12);
}

fn reunited<R: Role + Unpin + Send + 'static>(role: R, extra: usize) {
    let (socket, gate) = connection(role);
    let options = SplitOptions::new().queue(QueueLimits::new().messages(1));
    let (sender, receiver, driver) = socket.into_split_with(options);
    let (mut socket, mut expected) = (None, vec![]);
    let reuniting = async {
        // The driver is idle, and the peer sends nothing.
        sender.send(vec![0; 300]).await.unwrap();
        drop(sender.reserve().await.unwrap());
        expected = script::<R>(&gate);
        socket = receiver.reunite::<Gate, R>(sender).await.ok();
    };
    run_tasks(&gate, extra, [Box::pin(driver), Box::pin(reuniting)]);
    let mut socket = socket.unwrap();
    for message in expected {
        assert_eq!(dropped!(gate, Reading, socket.recv()).unwrap(), Some(message));
    }
    end::<R>(&gate);
    assert!(dropped!(gate, Closing, socket.close(CloseCode::NORMAL, "")).is_clean());
    assert_sent(&gate, 0..1);
}

/// In a runtime, for its clock. A test polls more often than a task may in one turn.
fn run(test: impl FnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(unconstrained(async { test() }));
}

#[test]
fn a_server_sends_without_losing_a_wake_up() {
    run(|| sending(Server));
}

#[test]
fn a_client_sends_without_losing_a_wake_up() {
    run(|| sending(Client::new(SystemKeys::new().unwrap())));
}

#[test]
fn a_server_receives_and_closes_without_losing_a_wake_up() {
    run(|| receiving(Server));
}

#[test]
fn a_client_receives_and_closes_without_losing_a_wake_up() {
    run(|| receiving(Client::new(SystemKeys::new().unwrap())));
}

#[test]
fn stream_and_sink_of_a_server_lose_no_wake_up() {
    run(|| stream_and_sink(Server));
}

#[test]
fn stream_and_sink_of_a_client_lose_no_wake_up() {
    run(|| stream_and_sink(Client::new(SystemKeys::new().unwrap())));
}

/// The turns in which all tasks are polled once more.
fn extra() -> impl Iterator<Item = usize> {
    (0..4).chain((4..10_000).step_by(1111))
}

#[test]
fn the_halves_of_a_stream_lose_no_wake_up() {
    for extra in extra() {
        run(|| halves_of_a_stream(Server, extra));
        run(|| halves_of_a_stream(Client::new(SystemKeys::new().unwrap()), extra));
    }
}

#[test]
fn sender_and_receiver_lose_no_wake_up() {
    for extra in extra() {
        run(|| sender_and_receiver(Server, extra));
        run(|| sender_and_receiver(Client::new(SystemKeys::new().unwrap()), extra));
    }
}

#[test]
fn no_wake_up_is_lost_when_the_halves_are_reunited() {
    for extra in extra() {
        run(|| reunited(Server, extra));
        run(|| reunited(Client::new(SystemKeys::new().unwrap()), extra));
    }
}
