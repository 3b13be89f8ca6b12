//! A hub over pipes in memory, with its peers and a clock that the test sets.
#![allow(dead_code, unreachable_pub, reason = "each test file uses some of it")]

pub use super::wire::{REQUEST, masked};
use super::wire::{Sent, take_frame};

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use sansocket::handshake::Request;
use sansocket::hub::driver::{Hub, HubSocket, Monitor, Ready, Shared, SocketFailed};
use sansocket::hub::{Application, Counters, HubHandle, HubSettings, RequestAction, SessionId, SessionInfo};
use sansocket::message::Prepared;
use sansocket::session::Outcome;
use sansocket::{Ending, Event, Handler, HandlerError, Instant, Outbox};

pub const SECOND: Duration = Duration::from_secs(1);

/// What lies between a hub and a peer.
pub struct Wire {
    to_hub: VecDeque<u8>,
    fin: bool,
    cut: bool,
    /// Bytes that are taken before it blocks.
    pub room: usize,
    /// Bytes that are taken in one call.
    pub most: usize,
    /// What the hub has written, as far as the peer has not looked at it.
    pub from_hub: Vec<u8>,
    pub shut: bool,
    /// Something written is not on its way yet.
    pub keeps: bool,
    pub dropped: bool,
    pub received: u64,
    pub sent: u64,
    pub reads: usize,
    pub writes: usize,
    /// Readiness that is to be told, as an edge.
    told: Ready,
    /// The key under which the hub wants to hear of it.
    key: usize,
}

/// The hub's end. A short read has taken everything there is.
pub struct Pipe(Arc<Mutex<Wire>>);

/// The other end.
#[derive(Clone)]
pub struct Peer {
    wire: Arc<Mutex<Wire>>,
    pub id: SessionId,
    decoder: Arc<Mutex<Decoder>>,
}

/// A message or a control frame as the peer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    Data { text: bool, payload: Vec<u8>, frames: usize },
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16),
}

#[derive(Default)]
struct Decoder {
    bytes: Vec<u8>,
    open: Option<(bool, Vec<u8>, usize)>,
    closed: bool,
}

/// A hub, its peers and its time.
pub struct World<A: Application> {
    pub hub: Hub<Pipe, A>,
    pub handle: HubHandle,
    pub shelf: Arc<Shelf>,
    pub now: Instant,
    peers: Vec<Peer>,
}

#[derive(Default)]
pub struct Shelf {
    shared: Mutex<Shared>,
    pub wakes: Mutex<usize>,
}

impl Monitor for Shelf {
    fn lock(&self, use_it: &mut dyn FnMut(&mut Shared)) {
        // Whoever comes in while it is locked by the same thread is a bug: `try_lock` says so instead of hanging.
        let shared = self.shared.try_lock();
        assert!(!matches!(shared, Err(TryLockError::WouldBlock)), "locked from within");
        use_it(&mut shared.unwrap_or_else(|poisoned| match poisoned {
            TryLockError::Poisoned(shared) => shared.into_inner(),
            TryLockError::WouldBlock => unreachable!(),
        }));
    }

    fn wake(&self) {
        *self.wakes.lock().unwrap() += 1;
    }
}

impl HubSocket for Pipe {
    const DRAINED_BY_SHORT_READ: bool = true;

    fn attach(&mut self, key: usize) -> Result<(), SocketFailed> {
        self.0.lock().unwrap().key = key;
        Ok(())
    }

    fn recv(&mut self, into: &mut [u8]) -> Result<Option<usize>, SocketFailed> {
        let mut wire = self.0.lock().unwrap();
        assert!(!into.is_empty(), "a read of nothing");
        wire.reads += 1;
        if wire.cut {
            return Err(SocketFailed);
        }
        let n = into.len().min(wire.to_hub.len());
        if n == 0 {
            return Ok(wire.fin.then_some(0));
        }
        for (to, from) in into.iter_mut().zip(wire.to_hub.drain(..n)) {
            *to = from;
        }
        wire.received += n as u64;
        Ok(Some(n))
    }

    fn send(&mut self, bytes: &[u8], more: &[u8]) -> Result<Option<usize>, SocketFailed> {
        let mut wire = self.0.lock().unwrap();
        assert!(!wire.shut, "written behind the end");
        assert!(!bytes.is_empty() || !more.is_empty(), "a write of nothing");
        wire.writes += 1;
        if wire.cut {
            return Err(SocketFailed);
        }
        let n = (bytes.len() + more.len()).min(wire.room).min(wire.most);
        if n == 0 {
            return Ok(None);
        }
        wire.from_hub.extend(bytes.iter().chain(more).take(n));
        wire.room -= n;
        wire.sent += n as u64;
        Ok(Some(n))
    }

    fn flush(&mut self) -> Result<bool, SocketFailed> {
        let wire = self.0.lock().unwrap();
        if wire.cut { Err(SocketFailed) } else { Ok(!wire.keeps) }
    }

    fn shutdown(&mut self) -> Result<(), SocketFailed> {
        let mut wire = self.0.lock().unwrap();
        assert!(!wire.shut, "shut twice");
        wire.shut = true;
        if wire.cut { Err(SocketFailed) } else { Ok(()) }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).dropped = true;
    }
}

impl Peer {
    pub fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap()
    }

    pub fn feed(&self, bytes: &[u8]) {
        let mut wire = self.wire();
        wire.to_hub.extend(bytes);
        wire.told.read = true;
    }

    /// A whole masked frame.
    pub fn frame(&self, first: u8, payload: &[u8]) {
        self.feed(&masked(first, payload));
    }

    pub fn text(&self, text: &str) {
        self.frame(0x81, text.as_bytes());
    }

    /// The end of what the peer says.
    pub fn fin(&self) {
        let mut wire = self.wire();
        wire.fin = true;
        wire.told = Ready { read: true, hang_up: true, ..wire.told };
    }

    /// The transport fails.
    pub fn cut(&self) {
        let mut wire = self.wire();
        wire.cut = true;
        wire.told = Ready { read: true, write: true, hang_up: true };
    }

    /// So much more is taken.
    pub fn allow(&self, bytes: usize) {
        let mut wire = self.wire();
        wire.room = wire.room.saturating_add(bytes);
        wire.told.write = true;
    }

    /// What it is ready for is not told: the driver's wait has ended in another way.
    pub fn untold(&self) {
        self.wire().told = Ready::default();
    }

    pub fn block(&self) {
        self.wire().room = 0;
    }

    pub fn is_gone(&self) -> bool {
        self.wire().dropped
    }

    /// What has come, as it is.
    pub fn bytes(&self) -> Vec<u8> {
        std::mem::take(&mut self.wire().from_hub)
    }

    /// What has come, as messages; fails at the first byte that is against the rules.
    pub fn got(&self) -> Vec<Got> {
        let bytes = self.bytes();
        self.decoder.lock().unwrap().decode(&bytes)
    }

    /// Gives back what memory the test has taken for this peer.
    pub fn forget(&self) {
        let mut wire = self.wire();
        wire.to_hub.shrink_to_fit();
        wire.from_hub.shrink_to_fit();
        self.decoder.lock().unwrap().bytes.shrink_to_fit();
    }

    /// Bytes of a frame that is not here whole, or frames of a message.
    pub fn is_inside(&self) -> bool {
        let decoder = self.decoder.lock().unwrap();
        !decoder.bytes.is_empty() || decoder.open.is_some()
    }

    /// Answers the Close that came, and ends.
    pub fn bye(&self, code: u16) {
        self.frame(0x88, &code.to_be_bytes());
        self.fin();
    }
}

impl Decoder {
    fn decode(&mut self, bytes: &[u8]) -> Vec<Got> {
        self.bytes.extend(bytes);
        let mut got = vec![];
        let mut rest = &self.bytes[..];
        while let Some(Sent { first, key, payload }) = take_frame(&mut rest) {
            assert!(!self.closed, "a frame behind the Close");
            assert_eq!(key, None, "a server does not mask");
            let fin = first & 0x80 != 0;
            assert_eq!(first & 0x70, 0, "reserved bits");
            match first & 0x0F {
                opcode @ 0..=2 => {
                    let (text, mut message, frames) = match self.open.take() {
                        None => (opcode == 1, vec![], 0),
                        Some(open) => open,
                    };
                    assert_eq!(opcode == 0, frames > 0, "messages interleave");
                    message.extend(payload);
                    if fin {
                        got.push(Got::Data { text, payload: message, frames: frames + 1 });
                    } else {
                        self.open = Some((text, message, frames + 1));
                    }
                }
                8 => {
                    self.closed = true;
                    got.push(Got::Close(
                        payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code)),
                    ));
                }
                9 => got.push(Got::Ping(payload)),
                10 => got.push(Got::Pong(payload)),
                opcode => panic!("opcode {opcode}"),
            }
            assert!(fin || first & 0x08 == 0, "a fragmented control frame");
        }
        self.bytes = rest.to_vec();
        got
    }
}

pub fn text(text: &str) -> Got {
    Got::Data { text: true, payload: text.into(), frames: 1 }
}

pub fn binary(payload: &[u8]) -> Got {
    Got::Data { text: false, payload: payload.into(), frames: 1 }
}

pub fn address() -> SocketAddr {
    ([192, 0, 2, 1], 4321).into()
}

impl<A: Application> World<A> {
    pub fn new(settings: HubSettings, application: impl FnOnce(HubHandle) -> A) -> Self {
        let shelf = Arc::new(Shelf::default());
        let hub = Hub::new(settings, shelf.clone(), application).unwrap();
        let handle = hub.handle();
        Self { hub, handle, shelf, now: Instant::from_micros(1_000_000), peers: vec![] }
    }

    pub fn pipe() -> (Pipe, Peer) {
        let wire = Arc::new(Mutex::new(Wire {
            to_hub: VecDeque::new(),
            fin: false,
            cut: false,
            room: usize::MAX,
            most: usize::MAX,
            from_hub: vec![],
            shut: false,
            keeps: false,
            dropped: false,
            received: 0,
            sent: 0,
            reads: 0,
            writes: 0,
            told: Ready::default(),
            key: 0,
        }));
        let peer = Peer { wire: wire.clone(), id: SessionId::new(0), decoder: Arc::default() };
        (Pipe(wire), peer)
    }

    /// A transport is accepted.
    pub fn connect(&mut self) -> Peer {
        assert!(self.hub.admits(self.now));
        let (pipe, mut peer) = Self::pipe();
        peer.id = self.hub.accept(self.now, pipe, address()).unwrap_or_else(|_| panic!("not welcome"));
        self.know(peer)
    }

    /// A peer whose pipe the hub has.
    pub fn know(&mut self, peer: Peer) -> Peer {
        self.peers.push(peer.clone());
        peer
    }

    /// Gives back the memory of peers that are gone.
    pub fn forget(&mut self) {
        self.peers.retain(|peer| !peer.is_gone());
        self.peers.shrink_to_fit();
    }

    /// The same with its opening handshake done.
    pub fn open(&mut self) -> Peer {
        let peer = self.connect();
        peer.feed(REQUEST);
        self.settle();
        let bytes = peer.bytes();
        let end = bytes.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4);
        let (head, rest) = bytes.split_at(end.unwrap_or_else(|| panic!("{}", bytes.escape_ascii())));
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
        peer.wire().from_hub = rest.to_vec();
        peer
    }

    /// Tells the hub what is ready, and lets it do one turn, as a driver does.
    pub fn run(&mut self) {
        self.peers.retain(|peer| {
            let mut wire = peer.wire();
            if wire.dropped {
                return false;
            }
            let (told, key) = (std::mem::take(&mut wire.told), wire.key);
            drop(wire);
            if told != Ready::default() {
                self.hub.ready(key, told);
            }
            true
        });
        let now = self.now;
        let turns = catch_unwind(AssertUnwindSafe(|| self.hub.begin(now))).unwrap_or(0);
        for _ in 0..turns {
            if let Some(key) = self.hub.next_turn()
                && catch_unwind(AssertUnwindSafe(|| self.hub.turn(now, key))).is_err()
            {
                while catch_unwind(AssertUnwindSafe(|| self.hub.abandon(key))).is_err() {}
            }
        }
    }

    /// Until there is nothing to do any more; how many turns it took.
    pub fn settle(&mut self) -> usize {
        for turns in 1..100_000 {
            let wakes = std::mem::take(&mut *self.shelf.wakes.lock().unwrap());
            self.run();
            let told = self.peers.iter().any(|peer| {
                let wire = peer.wire();
                !wire.dropped && wire.told != Ready::default()
            });
            let woken = *self.shelf.wakes.lock().unwrap() > 0;
            let due = self.hub.deadline(self.now).is_some_and(|deadline| deadline <= self.now);
            if !told && !woken && !due && wakes == 0 {
                return turns;
            }
        }
        panic!("it spins");
    }

    /// Lets time pass, with a turn at every deadline; how many those were.
    pub fn pass(&mut self, time: Duration) -> usize {
        self.settle();
        let end = self.now.saturating_add(time);
        let mut turns = 0;
        while let Some(deadline) = self.hub.deadline(self.now).filter(|deadline| *deadline <= end) {
            assert!(deadline > self.now, "it spins");
            self.now = deadline;
            self.settle();
            turns += 1;
        }
        self.now = end;
        self.settle();
        turns
    }

    /// Everybody is gone: what is left has to be nothing, and every count has to agree.
    pub fn end(&mut self) -> Counters {
        for peer in &self.peers {
            peer.cut();
        }
        self.settle();
        assert!(self.handle.sessions().is_empty());
        check(&self.handle.counters());
        self.handle.counters()
    }
}

/// What has to agree when the last session has ended.
pub fn check(counters: &Counters) {
    let (closed, refused) = (counters.closed, counters.refused);
    let closed = [
        closed.clean,
        closed.violation,
        closed.silent_peer,
        closed.stalled_message,
        closed.unanswered_close,
        closed.unread_output,
        closed.unfinished_frame,
        closed.extension,
        closed.disconnected,
    ];
    let refused = [
        refused.responded,
        refused.forbidden,
        refused.not_found,
        refused.declined,
        refused.failed,
        refused.origin,
        refused.not_http,
        refused.protocol,
        refused.bad_request,
        refused.method,
        refused.timeout,
        refused.body,
        refused.upgrade,
        refused.head,
        refused.fields,
        refused.unavailable,
        refused.disconnected,
        refused.handed_over,
    ];
    let (closed, refused) = (closed.iter().sum::<u64>(), refused.iter().sum::<u64>());
    assert_eq!(counters.accepted, counters.ended);
    if counters.panicked == 0 {
        assert_eq!(counters.opened, closed);
    }
    assert_eq!(counters.ended, closed + refused + counters.panicked);
}

/// What a handler is called for.
pub enum Call<'p> {
    Opened,
    Event(Event<'p>),
    Writable,
    Timer,
}

/// What a test has a handler do.
pub type Act = Box<
    dyn FnMut(Instant, Call<'_>, &mut Option<Instant>, &mut Outbox<'_>) -> Result<(), HandlerError> + Send,
>;

/// A handler that does what a test says.
pub struct Script {
    act: Act,
    deadline: Option<Instant>,
    closed: Arc<Mutex<Vec<Ending>>>,
}

/// Decides about a request.
pub type Make = Box<dyn FnMut(&mut SessionInfo, &Request<'_>) -> Act>;

/// An application whose handlers do what a test says, and which records every call.
pub struct App {
    pub make: Make,
    pub welcome: bool,
    pub ended: Vec<(SessionId, Option<Outcome>)>,
    pub closed: Arc<Mutex<Vec<Ending>>>,
}

impl App {
    pub fn new(mut make: impl FnMut() -> Act + 'static) -> Self {
        Self::choose(move |_, _| make())
    }

    pub fn choose(make: impl FnMut(&mut SessionInfo, &Request<'_>) -> Act + 'static) -> Self {
        Self { make: Box::new(make), welcome: true, ended: vec![], closed: Arc::default() }
    }

    pub fn script(&self, act: Act) -> Script {
        Script { act, deadline: None, closed: self.closed.clone() }
    }
}

impl Application for App {
    type Handler = Script;

    fn accept(&mut self, _: &mut SessionInfo) -> bool {
        self.welcome
    }

    fn request<'s>(
        &'s mut self,
        session: &mut SessionInfo,
        request: &Request<'_>,
    ) -> RequestAction<'s, Script> {
        if request.path() == "/body" {
            return RequestAction::ReadBody(100_000);
        }
        let act = (self.make)(session, request);
        RequestAction::Serve(self.script(act))
    }

    fn ended(&mut self, session: &SessionInfo, outcome: Option<Outcome>) {
        self.ended.push((session.id(), outcome));
    }
}

impl Handler for Script {
    fn opened(&mut self, _: Option<&str>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let now = out.now();
        (self.act)(now, Call::Opened, &mut self.deadline, out)
    }

    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let now = out.now();
        (self.act)(now, Call::Event(event), &mut self.deadline, out)
    }

    fn writable(&mut self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let now = out.now();
        (self.act)(now, Call::Writable, &mut self.deadline, out)
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn timer(&mut self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let now = out.now();
        (self.act)(now, Call::Timer, &mut self.deadline, out)
    }

    fn closed(&mut self, cause: &Ending, _: &str) {
        self.closed.lock().unwrap().push(*cause);
    }
}

/// Every message goes back.
pub fn echo() -> Act {
    Box::new(|_, call, _, out| match call {
        Call::Event(Event::Data(data)) => out.forward(&data),
        _ => Ok(()),
    })
}

pub fn echoes(settings: HubSettings) -> World<App> {
    World::new(settings, |_| App::new(echo))
}

/// The results of messages, by number.
#[derive(Clone, Default)]
pub struct Reported(Arc<Mutex<Vec<Fate>>>);

/// What became of which message.
type Fate = (usize, Result<(), sansocket::hub::NotDelivered>);

impl Reported {
    pub fn done(
        &self,
        number: usize,
    ) -> impl FnOnce(Result<(), sansocket::hub::NotDelivered>) + Send + use<> {
        let told = self.0.clone();
        move |result| told.lock().unwrap().push((number, result))
    }

    pub fn take(&self) -> Vec<(usize, Result<(), sansocket::hub::NotDelivered>)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// A message of so many bytes, whose first ones say which it is.
pub fn numbered(number: usize, len: usize) -> (Vec<u8>, Prepared) {
    let mut payload = vec![number as u8; len.max(4)];
    payload[..4].copy_from_slice(&(number as u32).to_be_bytes());
    (payload.clone(), Prepared::binary(payload))
}
