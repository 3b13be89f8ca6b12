//! Each method over a stream that moves one byte at a time, in both roles: its futures are dropped at every poll, or polled with
//! another waker each time. The stream checks that what is pending waits with the waker of the last poll.
#![cfg(feature = "tokio")]

mod wire;

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use sansocket::message::Prepared;
use sansocket::proto::{Role, SystemKeys};
use sansocket::session::BufferSizes;
use sansocket::tokio::{TrySendError, WebSocket};
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
        let (reader, writer) = (state.reader.take(), state.writer.take());
        for waker in [&reader, &writer].into_iter().flatten() {
            assert!(waker.will_wake(&last), "{waits:?}: the waker of an earlier poll");
        }
        match waits {
            Waits::Reading => assert!(reader.is_some(), "nobody waits for the peer"),
            Waits::Writing => assert!(writer.is_some(), "nobody waits for the stream"),
            Waits::WritingOnly => assert!(writer.is_some() && reader.is_none()),
            Waits::Closing => assert!(writer.is_some() || reader.is_some(), "nobody waits"),
        }
        let can_read = reader.is_some() && (!state.script.is_empty() || state.ended);
        let waker = match (can_read, writer) {
            (true, writer) if state.turn % 2 == 0 || writer.is_none() => {
                state.readable = true;
                state.writer = writer;
                reader
            }
            (_, Some(writer)) => {
                state.writable = true;
                state.reader = reader;
                Some(writer)
            }
            (_, None) => panic!("{waits:?} waits for what nobody sends"),
        };
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        assert!(flag.0.load(Ordering::Relaxed), "{waits:?}: the wake-up is lost");
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
