//! A hub beside a model of it. Whatever happens to its sessions in whatever order: frames and messages are whole and in their
//! order, what a call has accepted is read by the peer or reported to its sender, once and with the true reason, and the
//! counters agree after each step.
#![cfg(feature = "hub")]

mod hub_world;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hub_world::*;
use proptest::prelude::*;
use sansocket::config::Overflow;
use sansocket::hub::{Capacity, HandleError, HubSettings, NotDelivered, SessionId, SessionState};
use sansocket::message::Prepared;
use sansocket::{CloseCode, Config, Event, HandlerError, Kind, Outbox};

const RX: usize = 1_500;
const TX: usize = 1_500;
const MESSAGES: usize = 6;
const BYTES: usize = 20_000;
/// All that wait are obeyed in one turn: fewer than the 64 that a turn obeys.
const COMMANDS: usize = 10;
const TIME: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
enum Deed {
    /// A transport is accepted, and its peer has this to say first, or has said it.
    Connect(First, bool),
    /// The peer has something to say.
    Prepare(usize, Frame),
    /// The peer says the next bytes of that.
    Say(usize, usize),
    Allow(usize, usize),
    Block(usize),
    /// The transport takes no more than this at a time.
    Most(usize, usize),
    Fin(usize),
    Cut(usize),
    Send(usize, usize, Way),
    Broadcast(usize, u8),
    Close(usize),
    Stop,
    Pass(u64),
    Turn,
}

#[derive(Clone, Copy, Debug)]
enum First {
    Upgrade,
    Page,
    Body,
    Nonsense,
}

#[derive(Clone, Copy, Debug)]
enum Frame {
    /// To be echoed in one frame, in fragments of 7 bytes, in frames as they came.
    Binary(usize),
    Text(usize),
    Fragments(usize),
    Ping,
    /// The handler begins a message or a frame, and ends it.
    Hold(&'static str),
    /// The handler closes.
    Leave,
    Close,
    Wrong,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// By the handle, without a word about what becomes of it.
    Untold,
    /// By the handle.
    Reported,
    /// From within.
    Inside,
}

fn deed() -> impl Strategy<Value = Deed> {
    let peer = 0..6usize;
    let len = prop_oneof![
        4 => 8..200usize,
        2 => 1_000..1_040usize,
        2 => 1_460..1_520usize,
        1 => 5_000..15_000usize,
        1 => 19_990..40_000usize,
    ];
    let first = prop_oneof![
        12 => Just(First::Upgrade),
        1 => Just(First::Page),
        1 => Just(First::Body),
        1 => Just(First::Nonsense),
    ];
    let frame = prop_oneof![
        3 => (0..3_000usize).prop_map(Frame::Binary),
        2 => (1..60usize).prop_map(Frame::Text),
        2 => (0..2_000usize).prop_map(Frame::Fragments),
        2 => Just(Frame::Ping),
        2 => prop_oneof![Just("+message"), Just("+frame")].prop_map(Frame::Hold),
        2 => Just(Frame::Hold("-")),
        1 => Just(Frame::Leave),
        1 => Just(Frame::Close),
        1 => Just(Frame::Wrong),
    ];
    let some = prop_oneof![1..20usize, 20..5_000usize, Just(1_000_000usize)];
    let way = prop_oneof![1 => Just(Way::Untold), 5 => Just(Way::Reported), 1 => Just(Way::Inside)];
    prop_oneof![
        5 => (first, any::<bool>()).prop_map(|(first, said)| Deed::Connect(first, said)),
        5 => (peer.clone(), frame).prop_map(|(peer, frame)| Deed::Prepare(peer, frame)),
        7 => (peer.clone(), some.clone()).prop_map(|(peer, n)| Deed::Say(peer, n)),
        5 => (peer.clone(), some).prop_map(|(peer, n)| Deed::Allow(peer, n)),
        2 => peer.clone().prop_map(Deed::Block),
        1 => (peer.clone(), 1..2_000usize).prop_map(|(peer, n)| Deed::Most(peer, n)),
        1 => peer.clone().prop_map(Deed::Fin),
        1 => peer.clone().prop_map(Deed::Cut),
        20 => (peer.clone(), len.clone(), way).prop_map(|(peer, len, way)| Deed::Send(peer, len, way)),
        3 => (len, any::<u8>()).prop_map(|(len, to)| Deed::Broadcast(len, to)),
        3 => peer.prop_map(Deed::Close),
        1 => Just(Deed::Stop),
        2 => (1..8_000u64).prop_map(Deed::Pass),
        10 => Just(Deed::Turn),
    ]
}

impl First {
    const fn bytes(self) -> &'static [u8] {
        match self {
            Self::Upgrade => REQUEST,
            Self::Page => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            Self::Body => b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n",
            Self::Nonsense => b"nonsense\r\n\r\n",
        }
    }
}

impl Frame {
    fn bytes(self) -> Vec<u8> {
        let payload = |len: usize| (0..len).map(|n| n as u8).collect::<Vec<_>>();
        match self {
            Self::Binary(len) => masked(0x82, &payload(len)),
            Self::Text(len) => masked(0x81, "fragments".repeat(len).as_bytes()),
            Self::Fragments(len) => [
                masked(0x02, &payload(len)),
                masked(0x89, b"inside"),
                masked(0x00, b""),
                masked(0x80, &payload(len / 2)),
            ]
            .concat(),
            Self::Ping => masked(0x89, &payload(100)),
            Self::Hold(what) => masked(0x81, what.as_bytes()),
            Self::Leave => masked(0x81, b"leave"),
            Self::Close => masked(0x88, &1000u16.to_be_bytes()),
            Self::Wrong => masked(0xFF, b"wrong"),
        }
    }
}

/// What a handler's own doing means for others.
#[derive(Default)]
struct Own {
    /// A message or a frame of its own is open: nothing can stand inside of it.
    held: bool,
    closed: bool,
}

const HELD: &[u8] = b"held over";

/// Echoes text in fragments of 7 bytes, whatever the room, and all else as it came; and does what the test says.
fn scribe(own: Arc<Mutex<Own>>) -> Act {
    let (mut text, mut at, mut held) = (Vec::new(), 0, false);
    let mut act = move |call: Call<'_>, out: &mut Outbox<'_>| -> Result<bool, HandlerError> {
        let Call::Event(Event::Data(data)) = &call else { return Ok(false) };
        match data.payload.as_bytes() {
            b"-" if held && out.frame_remaining() > 0 => {
                out.write_all(&mut &HELD[HELD.len() - out.frame_remaining() as usize..])?
            }
            b"-" if held => out.fragment(Kind::Text, b"over", true)?,
            _ if held => return Ok(false),
            b"+message" => out.fragment(Kind::Text, b"held ", false)?,
            b"+frame" => out.begin_frame(Kind::Text, HELD.len() as u64, true)?,
            b"leave" => return Ok(out.close(Some(CloseCode::NORMAL), "").map(|()| true)?),
            _ if data.kind == Kind::Binary => return out.forward(data).map(|()| false),
            bytes => {
                if at == 0 {
                    text = if data.start { bytes.to_vec() } else { [&text[..], bytes].concat() };
                }
                while data.end && at < text.len() {
                    let piece = &text[at..text.len().min(at + 7)];
                    out.fragment(Kind::Text, piece, at + piece.len() == text.len())?;
                    at += piece.len();
                }
                at = 0;
            }
        }
        held = !out.is_free();
        Ok(false)
    };
    Box::new(move |_, call, _, out| {
        let done = act(call, out);
        let mut own = own.lock().unwrap();
        own.held = !out.is_free();
        own.closed |= done == Ok(true);
        done.map(drop)
    })
}

/// A message on its way to one peer.
struct Sent {
    len: usize,
    way: Way,
    /// It was sent after a close was asked for.
    late: bool,
    /// It may have been.
    doubt: bool,
    read: bool,
    /// The result that its sender got.
    fate: Option<Result<(), NotDelivered>>,
}

impl Sent {
    const fn new(len: usize, way: Way, late: bool) -> Self {
        Self { len, way, late, doubt: false, read: false, fate: None }
    }

    /// Its sender waits to be told.
    fn waits(&self) -> bool {
        self.way != Way::Untold && self.fate.is_none()
    }

    /// It may wait in the hub.
    fn is_open(&self) -> bool {
        !self.read && self.fate.is_none()
    }
}

/// A peer, and what the model knows of its session.
struct Side {
    peer: Peer,
    unsaid: Vec<u8>,
    own: Arc<Mutex<Own>>,
    /// The 101 was read.
    open: bool,
    /// The number of the last message that was read.
    last: Option<usize>,
    /// A Close was read, or another answer than the 101: nothing is sent any more.
    shut: bool,
    /// A close was asked for.
    closing: bool,
    /// The transport does not take all that there is.
    slow: bool,
    /// What was sent before a close need not arrive.
    excused: bool,
    sent: BTreeMap<usize, Sent>,
    /// What was open when it was last looked at, and the last number by then.
    before: Vec<usize>,
    seen: usize,
}

/// The results, by peer and number.
#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<Vec<Note>>>);

/// A peer, a number, and the result; `None` where a completion was dropped without a call.
type Note = (usize, usize, Option<Result<(), NotDelivered>>);

/// A completion that notes where it is dropped without a call.
struct Entry(Ledger, usize, usize, bool);

impl Ledger {
    fn done(&self, peer: usize, number: usize) -> impl FnOnce(Result<(), NotDelivered>) + Send + use<> {
        let mut entry = Entry(self.clone(), peer, number, false);
        move |result| {
            entry.3 = true;
            entry.0.0.lock().unwrap().push((entry.1, entry.2, Some(result)));
        }
    }

    fn take(&self) -> Vec<Note> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.3 {
            self.0.0.lock().unwrap().push((self.1, self.2, None));
        }
    }
}

struct Model {
    world: World<App>,
    sides: Vec<Side>,
    owns: Arc<Mutex<HashMap<SessionId, Arc<Mutex<Own>>>>>,
    ledger: Ledger,
    /// What the calls from within have returned.
    inside: Ledger,
    /// Whom a broadcast was for.
    chosen: Arc<Mutex<Vec<(usize, SessionId)>>>,
    /// Broadcasts that were not obeyed yet, and how long they are.
    broadcasts: Vec<(usize, usize)>,
    overflow: Overflow,
    evicts: bool,
    /// Peers do not answer them.
    pings: bool,
    stopping: bool,
    numbers: usize,
}

/// A message that says which it is.
fn message(number: usize, len: usize) -> Prepared {
    let mut payload = vec![number as u8; len];
    payload[..4].copy_from_slice(b"HUB ");
    payload[4..8].copy_from_slice(&(number as u32).to_be_bytes());
    Prepared::binary(payload)
}

const fn framed(len: usize) -> usize {
    len + match len {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => 10,
    }
}

impl Model {
    fn new(overflow: Overflow, capacity: Capacity, pings: bool) -> Self {
        let mut settings = HubSettings::default();
        let mut config = Config::new();
        config.timeouts.ping = pings.then_some(TIME);
        config.timeouts.pong = Some(TIME);
        config.timeouts.write = Some(TIME);
        config.timeouts.close = Some(TIME);
        settings.config = Arc::new(config);
        (settings.max_sessions, settings.capacity) = (4, capacity);
        (settings.receive_buffer, settings.transmit_buffer, settings.max_commands) = (RX, TX, COMMANDS);
        settings.queue.messages = MESSAGES;
        settings.queue.bytes = BYTES;
        settings.queue.overflow = overflow;
        let owns: Arc<Mutex<HashMap<SessionId, Arc<Mutex<Own>>>>> = Arc::default();
        let make = owns.clone();
        let world = World::new(settings, move |_| {
            App::choose(move |session, _| {
                scribe(make.lock().unwrap().entry(session.id()).or_default().clone())
            })
        });
        Self {
            world,
            sides: vec![],
            owns,
            ledger: Ledger::default(),
            inside: Ledger::default(),
            chosen: Arc::default(),
            broadcasts: vec![],
            overflow,
            evicts: capacity == Capacity::Evict,
            pings,
            stopping: false,
            numbers: 0,
        }
    }

    fn side(&mut self, at: usize) -> Option<(usize, &mut Side)> {
        let at = if self.sides.is_empty() { return None } else { at % self.sides.len() };
        Some((at, &mut self.sides[at]))
    }

    fn act(&mut self, deed: &Deed) {
        match *deed {
            Deed::Connect(first, said) => self.connect(first.bytes(), said),
            Deed::Turn => {
                self.world.run();
                self.look();
            }
            Deed::Pass(millis) => {
                for side in &mut self.sides {
                    side.excused |= side.slow || self.pings;
                }
                self.world.pass(Duration::from_millis(millis));
                self.look();
            }
            Deed::Stop => {
                // Never refused.
                self.world.handle.stop(CloseCode::GOING_AWAY).unwrap();
                self.stopping = true;
                self.sides.iter_mut().for_each(Side::close);
            }
            Deed::Broadcast(len, to) => {
                let number = self.number();
                let chosen = self.chosen.clone();
                let filter = move |session: &sansocket::hub::SessionInfo| {
                    let yes = to & 1 << (session.id().get() % 8) != 0;
                    if yes {
                        chosen.lock().unwrap().push((number, session.id()));
                    }
                    yes
                };
                match self.world.handle.broadcast_to(message(number, len), filter) {
                    Ok(()) => self.broadcasts.push((number, len)),
                    error => assert_eq!(error, Err(HandleError::Full)),
                }
            }
            Deed::Send(at, len, way) => self.send(at, len, way),
            Deed::Close(at) => {
                let Some((_, side)) = self.side(at) else { return };
                let id = side.peer.id;
                if self.world.handle.close(id, CloseCode::NORMAL, "").is_ok() {
                    self.side(at).unwrap().1.close();
                }
            }
            Deed::Prepare(at, frame) => {
                let Some((_, side)) = self.side(at) else { return };
                side.unsaid.extend(frame.bytes());
                side.excused |= matches!(frame, Frame::Leave | Frame::Close | Frame::Wrong);
            }
            Deed::Say(at, n) => {
                let Some((_, side)) = self.side(at) else { return };
                let n = n.min(side.unsaid.len());
                side.peer.feed(&side.unsaid.drain(..n).collect::<Vec<_>>());
            }
            Deed::Allow(at, n) => {
                let Some((_, side)) = self.side(at) else { return };
                let all = n >= 1_000_000;
                side.peer.allow(if all { usize::MAX } else { n });
                side.slow &= !all;
            }
            Deed::Block(at) => {
                let Some((_, side)) = self.side(at) else { return };
                side.peer.block();
                side.slow = true;
            }
            Deed::Most(at, n) => {
                let Some((_, side)) = self.side(at) else { return };
                side.peer.wire().most = n;
            }
            Deed::Fin(at) | Deed::Cut(at) => {
                let Some((_, side)) = self.side(at) else { return };
                if matches!(deed, Deed::Fin(_)) {
                    side.peer.fin()
                } else {
                    side.peer.cut()
                }
                side.excused = true;
            }
        }
    }

    fn number(&mut self) -> usize {
        self.numbers += 1;
        self.numbers
    }

    fn connect(&mut self, first: &[u8], said: bool) {
        // What was asked for before is done before: who is evicted is closed at once.
        self.world.run();
        self.look();
        if !self.world.hub.admits(self.world.now) {
            return;
        }
        let peer = self.world.connect();
        if self.evicts {
            for side in &mut self.sides {
                // One of those that leave may be cut off.
                side.excused |= side.closing || side.shut;
            }
            for (at, state) in self.states().into_iter().enumerate() {
                if state == Some(SessionState::Closing) && !self.sides[at].closing {
                    self.sides[at].close();
                }
            }
        }
        let own = self.owns.lock().unwrap().entry(peer.id).or_default().clone();
        let (closing, mut unsaid) = (self.stopping, first.to_vec());
        if said {
            peer.feed(&std::mem::take(&mut unsaid));
        }
        self.sides.push(Side {
            peer,
            unsaid,
            own,
            open: false,
            last: None,
            shut: false,
            closing,
            slow: false,
            excused: closing,
            sent: BTreeMap::new(),
            before: vec![],
            seen: self.numbers,
        });
    }

    fn send(&mut self, at: usize, len: usize, way: Way) {
        let number = self.number();
        let Some((at, side)) = self.side(at) else { return };
        let (id, late) = (side.peer.id, side.closing);
        let message = message(number, len);
        let posted = match way {
            Way::Untold => self.world.handle.send(id, message),
            Way::Reported => self.world.handle.send_with(id, message, self.ledger.done(at, number)),
            Way::Inside => {
                let (inside, done) = (self.inside.clone(), self.ledger.done(at, number));
                self.world.handle.call(move |hub| {
                    let result = hub.send_with(id, message, Box::new(done));
                    inside.0.lock().unwrap().push((at, number, Some(result)));
                })
            }
        };
        if posted.is_ok() {
            self.sides[at].sent.insert(number, Sent::new(len, way, late));
        } else {
            assert_eq!(posted, Err(HandleError::Full));
            // The call has failed: its completion is dropped at once, and not called.
            if way != Way::Untold {
                assert_eq!(
                    self.ledger.take().pop(),
                    Some((at, number, None)),
                    "told of a call that has failed"
                );
            }
        }
    }

    /// The states that handles see, by peer; `None` where the session is gone.
    fn states(&self) -> Vec<Option<SessionState>> {
        let clients: HashMap<_, _> =
            self.world.handle.sessions().into_iter().map(|session| (session.id(), session.state())).collect();
        self.sides.iter().map(|side| clients.get(&side.peer.id).copied()).collect()
    }

    /// Compares all that can be seen with what the model knows, after the hub had a turn.
    fn look(&mut self) {
        let states = self.states();
        self.settle(&states);
        let counters = self.world.hub.context().counters();
        let all = || self.sides.iter().flat_map(|side| side.sent.values());
        let count = |what: fn(&&Sent) -> bool| all().filter(what).count() as u64;
        assert_eq!(counters.delivered, count(|sent| sent.read), "delivered");
        assert_eq!(counters.delivered + counters.lost + counters.waiting, count(|_| true), "{counters:?}");
        assert!(counters.lost >= count(|sent| sent.fate.is_some_and(|fate| fate.is_err())), "lost");
        assert!(counters.waiting >= count(|sent| sent.waits()), "waiting");
    }

    /// Every peer reads. A reported delivery is checked against what the peer has read.
    fn settle(&mut self, states: &[Option<SessionState>]) {
        for (number, id) in std::mem::take(&mut *self.chosen.lock().unwrap()) {
            let len = self.broadcasts.iter().find(|(broadcast, _)| *broadcast == number).unwrap().1;
            let side = self.sides.iter_mut().find(|side| side.peer.id == id).unwrap();
            side.sent.insert(number, Sent::new(len, Way::Untold, false));
        }
        self.broadcasts.clear();
        let closes = matches!(self.overflow, Overflow::Close(_));
        for side in &mut self.sides {
            side.read();
            if closes {
                side.doubt();
            }
            let own = side.own.lock().unwrap();
            side.excused |= own.closed || side.closing && (side.slow || own.held);
        }
        let mut news = self.ledger.take();
        // What failed from within is known from its result, and was not told.
        for (at, number, result) in self.inside.take() {
            let uncalled = news.iter().position(|(_, dropped, told)| *dropped == number && told.is_none());
            assert_eq!(uncalled.is_some(), result != Some(Ok(())), "told of a call that has failed");
            if let Some(place) = uncalled {
                news[place] = (at, number, result);
            }
        }
        for (at, number, told) in news {
            let result = told.expect("nobody is forgotten");
            self.sides[at].judge(number, result, states[at], self.overflow);
        }
        for (side, state) in self.sides.iter_mut().zip(states) {
            side.look(self.numbers);
            // Whoever closes it, nothing that is sent from now on arrives.
            side.closing |= *state != Some(SessionState::Open) && side.open;
        }
    }

    /// Everybody reads all, and says what there is to say, and then the hub ends; or it is dropped as it is.
    fn end(mut self, drops: bool) {
        if !drops {
            for side in &mut self.sides {
                side.peer.allow(usize::MAX);
                side.peer.feed(&std::mem::take(&mut side.unsaid));
            }
            self.world.settle();
            self.look();
            self.world.handle.stop(CloseCode::GOING_AWAY).unwrap();
            for side in &mut self.sides {
                side.slow = false;
                side.close();
            }
            self.world.settle();
            self.look();
            for side in self.sides.iter().filter(|side| side.shut) {
                side.peer.bye(1000);
            }
            self.world.pass(20 * TIME);
            self.look();
            assert!(self.world.hub.is_over());
        }
        let (handle, closed) = (self.world.handle.clone(), self.world.hub.application().closed.clone());
        let Self { world, mut sides, ledger, .. } = self;
        drop(world);
        assert!(sides.iter().all(|side| side.peer.is_gone()) && handle.sessions().is_empty());
        for (at, number, told) in ledger.take() {
            match told {
                Some(result) => {
                    assert_eq!(result, Err(NotDelivered::Ended), "{number}");
                    sides[at].excused = true;
                    sides[at].judge(number, result, None, Overflow::DropNewest);
                }
                // A function that was never run.
                None => assert_eq!(sides[at].sent.remove(&number).map(|sent| sent.way), Some(Way::Inside)),
            }
        }
        let counters = handle.counters();
        check(&counters);
        assert_eq!(counters.opened, closed.lock().unwrap().len() as u64, "handlers get the end, once");
        let pipes = |count: fn(&Peer) -> u64| sides.iter().map(|side| count(&side.peer)).sum::<u64>();
        assert_eq!(counters.received, pipes(|peer| peer.wire().received));
        assert_eq!(counters.sent, pipes(|peer| peer.wire().sent));
        assert_eq!(counters.accepted, sides.len() as u64);
        let all = || sides.iter().flat_map(|side| side.sent.values());
        assert!(!all().any(Sent::waits), "somebody waits for ever");
        let delivered = all().filter(|sent| sent.read).count() as u64;
        assert_eq!((counters.delivered, counters.waiting), (delivered, 0));
        assert_eq!(counters.delivered + counters.lost, all().count() as u64);
    }
}

impl Side {
    /// A close was asked for.
    fn close(&mut self) {
        self.closing = true;
        self.excused |= self.slow || !self.open || self.own.lock().unwrap().held;
    }

    /// Takes what has come. Of the hub's own messages each has to be known, for this peer, in its order, and once.
    fn read(&mut self) {
        if !self.open {
            let bytes = self.peer.bytes();
            let end = bytes.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4);
            self.open = bytes.starts_with(b"HTTP/1.1 101 ") && end.is_some();
            self.shut = end.is_some() && !self.open;
            self.peer.wire().from_hub = bytes[end.filter(|_| self.open).unwrap_or(0)..].to_vec();
            if !self.open {
                return;
            }
        }
        for got in self.peer.got() {
            match got {
                Got::Data { text: false, payload, frames: 1 } if payload.starts_with(b"HUB ") => {
                    let number = u32::from_be_bytes(*payload[4..].first_chunk().unwrap()) as usize;
                    assert!(self.last < Some(number), "{number} is out of order");
                    self.last = Some(number);
                    let sent = self.sent.get_mut(&number).expect("somebody else's message");
                    assert!(payload.len() == sent.len && !sent.late, "{number}");
                    sent.read = true;
                }
                Got::Close(code) => {
                    assert_ne!(code, 1011, "the handler was misused");
                    self.shut = true;
                }
                _ => {}
            }
        }
    }

    /// What may have waited when this message was queued: at least all that did.
    fn waited(&self, number: usize) -> Vec<usize> {
        let batch = self.sent.range(self.seen + 1..).map(|(number, _)| number);
        let all = self.before.iter().chain(batch).filter(|other| **other < number);
        all.map(|number| framed(self.sent[number].len)).collect()
    }

    /// One that nobody waits for may have been too many, and have closed the session.
    fn doubt(&mut self) {
        let batch = self.sent.range(self.seen + 1..);
        let first = batch.filter(|(_, sent)| sent.way == Way::Untold).find(|(number, sent)| {
            let waited = self.waited(**number);
            is_full(&waited, sent.len)
        });
        if let Some((&first, _)) = first {
            self.sent.range_mut(first + 1..).for_each(|(_, sent)| sent.doubt = true);
        }
    }

    /// A sender got a result.
    fn judge(
        &mut self,
        number: usize,
        result: Result<(), NotDelivered>,
        state: Option<SessionState>,
        overflow: Overflow,
    ) {
        // The one that is too many is this, or one behind it for which it was dropped.
        let last = if overflow == Overflow::DropOldest { usize::MAX } else { number };
        let mut newcomers =
            self.sent.range(number..=last).filter(|(other, _)| **other == number || **other > self.seen);
        let full = newcomers.any(|(other, sent)| is_full(&self.waited(*other), sent.len));
        let sent = self.sent.get_mut(&number).expect("nobody has sent that");
        assert_eq!(sent.fate.replace(result), None, "{number} is reported twice");
        match result {
            Ok(()) => assert!(sent.read && !sent.late, "{number} was not read"),
            Err(NotDelivered::Overflow) => {
                assert!(full && !sent.late, "{number}: there was room");
                if let Overflow::Close(_) = overflow {
                    self.close();
                    for (_, sent) in self.sent.range_mut(number + 1..) {
                        sent.late = true;
                    }
                }
            }
            Err(lost) => {
                match lost {
                    NotDelivered::Closing => {
                        assert!(matches!(state, None | Some(SessionState::Closing)), "{number}")
                    }
                    _ => assert!(state.is_none() || !self.open, "{number}: {state:?}"),
                }
                let expected = sent.late || sent.doubt || self.excused || !self.open;
                assert!(expected && !sent.read, "{number} was sent before the close: {lost:?}");
            }
        }
    }

    /// What a peer has read was reported; what waits is bounded, and nothing waits behind a Close.
    fn look(&mut self, numbers: usize) {
        assert!(!self.sent.values().any(|sent| sent.read && sent.waits()), "the sender does not know");
        let waits: Vec<_> =
            self.sent.values().filter(|sent| sent.waits()).map(|sent| framed(sent.len)).collect();
        assert!(!self.shut || waits.is_empty(), "something waits behind the end");
        // Some are in the transmit buffer.
        let copied = waits
            .iter()
            .scan(0, |sum, len| Some(*sum + len).inspect(|all| *sum = *all))
            .take_while(|all| *all <= TX);
        let queued = &waits[copied.count()..];
        let large = queued.first().filter(|len| **len > BYTES).unwrap_or(&0);
        assert!(queued.len() <= MESSAGES && queued.iter().sum::<usize>() - large <= BYTES, "too much waits");
        self.before =
            self.sent.iter().filter(|(_, sent)| sent.is_open()).map(|(number, _)| *number).collect();
        self.seen = numbers;
    }
}

/// Whether the queue has no room for a message, where no more waits than this.
fn is_full(waited: &[usize], len: usize) -> bool {
    let large = waited.first().filter(|len| **len > BYTES).unwrap_or(&0);
    let bytes = waited.iter().sum::<usize>() - large;
    !waited.is_empty() && (waited.len() >= MESSAGES || bytes + framed(len) > BYTES)
}

fn run(deeds: &[Deed], overflow: Overflow, capacity: Capacity, pings: bool, drops: bool) {
    let mut model = Model::new(overflow, capacity, pings);
    for deed in deeds {
        model.act(deed);
    }
    model.end(drops);
}

proptest! {
    #[test]
    fn nothing_is_lost_in_silence(
        deeds in proptest::collection::vec(deed(), 1..150),
        overflow in prop_oneof![
            Just(Overflow::DropNewest),
            Just(Overflow::DropOldest),
            Just(Overflow::Close(CloseCode::TRY_AGAIN_LATER)),
        ],
        capacity in prop_oneof![Just(Capacity::Refuse(2)), Just(Capacity::Evict)],
        pings in any::<bool>(),
        drops in any::<bool>(),
    ) {
        run(&deeds, overflow, capacity, pings, drops);
    }
}
