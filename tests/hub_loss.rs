//! A message that a call accepted reaches the transport, or its sender is notified: at every end of a session and of a hub.
#![cfg(feature = "hub")]

mod hub_world;
mod wire;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use hub_world::*;
use sansocket::config::Overflow;
use sansocket::error::EndReason;
use sansocket::hub::driver::{Hub, Monitor, Shared};
use sansocket::hub::{
    Capacity, HandleError, HubHandle, HubSettings, NotDelivered, Routes, SessionId, SessionInfo, SessionState,
};
use sansocket::message::Prepared;
use sansocket::{CloseCode, Config, Event, HandlerError, Kind};

const CLOSE: std::time::Duration = std::time::Duration::from_secs(5);

fn settings(change: impl FnOnce(&mut HubSettings)) -> HubSettings {
    let mut settings = HubSettings::default();
    let mut config = Config::new();
    config.timeouts.ping = None;
    config.timeouts.write = None;
    settings.config = Arc::new(config);
    change(&mut settings);
    settings
}

/// Payloads of so many bytes, one message each.
fn payloads(len: usize, count: usize) -> Vec<Got> {
    (0..count).map(|number| binary(&numbered(number, len).0)).collect()
}

/// What the hub itself counts now, not what it has shown last.
fn counts(world: &mut World<App>) -> [u64; 3] {
    let counters = world.hub.context().counters();
    [counters.delivered, counters.lost, counters.waiting]
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Close,
    Stop,
    Evict,
    Overflow,
}

const WAYS: [Way; 4] = [Way::Close, Way::Stop, Way::Evict, Way::Overflow];

// ---- before a close ----

/// Whatever their sizes, whether the peer reads at once or in pieces, with and without a small one that is not written yet.
#[test]
fn messages_sent_before_a_close_go_before_it_at_every_size() {
    for len in [50, 1_000, 1_100, 2_000, 20_000] {
        for way in WAYS {
            for (most, small) in [(usize::MAX, false), (700, false), (usize::MAX, true)] {
                let mut world = echoes(settings(|settings| {
                    settings.max_sessions = 1;
                    settings.capacity = Capacity::Evict;
                    settings.queue.messages = 4;
                    settings.queue.overflow = Overflow::Close(CloseCode::TRY_AGAIN_LATER);
                }));
                let (told, peer) = (Reported::default(), world.open());
                peer.wire().most = most;
                if small {
                    peer.block();
                    world.handle.send(peer.id, Prepared::text("small")).unwrap();
                    world.settle();
                    peer.allow(usize::MAX);
                }
                let count = if way == Way::Overflow { 4 } else { 3 };
                for number in 0..count {
                    let message = numbered(number, len).1;
                    world.handle.send_with(peer.id, message, told.done(number)).unwrap();
                }
                let code = match way {
                    Way::Close => world.handle.close(peer.id, CloseCode::NORMAL, "").map(|()| 1000),
                    Way::Stop => world.handle.stop(CloseCode::GOING_AWAY).map(|()| 1001),
                    Way::Evict => {
                        world.hub.begin(world.now);
                        world.connect();
                        Ok(1013)
                    }
                    Way::Overflow => {
                        world
                            .handle
                            .send_with(peer.id, Prepared::text("one too many"), told.done(98))
                            .unwrap();
                        Ok(1013)
                    }
                };
                // From now on it is refused, in the same turn.
                world.handle.send_with(peer.id, Prepared::text("too late"), told.done(99)).unwrap();
                world.hub.begin(world.now);
                let late = told.take();
                let refused = (99, Err(NotDelivered::Closing));
                if way == Way::Overflow {
                    assert_eq!(late, [(98, Err(NotDelivered::Overflow)), refused]);
                } else {
                    assert_eq!(late, [refused], "{way:?}");
                }
                assert_eq!(world.handle.sessions()[0].state(), SessionState::Closing);
                let lost = late.len() as u64;
                assert_eq!(counts(&mut world), [0, lost, count as u64 + u64::from(small)]);

                world.settle();
                let mut all = if small { vec![text("small")] } else { vec![] };
                all.extend(payloads(len, count));
                all.push(Got::Close(code.unwrap()));
                assert!(peer.got() == all, "{len} {way:?} {most} {small}");
                assert_eq!(told.take(), (0..count).map(|number| (number, Ok(()))).collect::<Vec<_>>());
                assert_eq!(counts(&mut world), [count as u64 + u64::from(small), lost, 0]);
                peer.bye(code.unwrap());
                world.settle();
                assert!(peer.is_gone());
                world.end();
            }
        }
    }
}

#[test]
fn a_broadcast_goes_before_the_stop_of_the_same_turn() {
    for len in [50, 1_100, 20_000] {
        let mut world = echoes(settings(|_| {}));
        let peers = [world.open(), world.open()];
        for number in 0..3 {
            world.handle.broadcast(numbered(number, len).1).unwrap();
        }
        world.handle.stop(CloseCode::GOING_AWAY).unwrap();
        world.handle.broadcast(Prepared::text("too late")).unwrap();
        world.settle();
        for peer in &peers {
            assert!(peer.got() == [payloads(len, 3), vec![Got::Close(1001)]].concat(), "{len}");
            peer.bye(1001);
        }
        world.settle();
        assert!(world.hub.is_over());
        assert_eq!(counts(&mut world), [6, 0, 0]);
    }
}

/// It takes a little now and then, for nine times the time for closing at the most.
#[test]
fn a_slow_peer_has_at_most_nine_times_the_close_deadline() {
    let mut world = echoes(settings(|_| {}));
    let (told, peer) = (Reported::default(), world.open());
    peer.block();
    for number in 0..20 {
        world.handle.send_with(peer.id, numbered(number, 2_000).1, told.done(number)).unwrap();
    }
    world.handle.close(peer.id, CloseCode::NORMAL, "bye").unwrap();
    world.settle();
    let began = world.now;
    while told.take().iter().all(|(_, result)| result.is_ok()) {
        peer.allow(1_500);
        world.pass(4 * SECOND);
    }
    let took = began.saturating_duration_until(world.now);
    assert!(took > 9 * CLOSE && took < 10 * CLOSE, "{took:?}");
    peer.allow(3_000);
    world.settle();
    let got = peer.got();
    let (close, messages) = got.split_last().unwrap();
    assert!(*close == Got::Close(1000) && messages == &payloads(2_000, 20)[..messages.len()]);
    assert_eq!(counts(&mut world), [messages.len() as u64, 20 - messages.len() as u64, 0]);
    peer.bye(1000);
    world.settle();
    assert_eq!(world.end().closed.clean, 1);
}

/// What has begun goes on, what has not is lost with the true reason, and the Close goes out.
#[test]
fn a_peer_that_reads_nothing_is_waited_for_once() {
    for len in [50, 1_100, 20_000] {
        let mut world = echoes(settings(|_| {}));
        let (told, peer) = (Reported::default(), world.open());
        peer.block();
        for number in 0..3 {
            world.handle.send_with(peer.id, numbered(number, len).1, told.done(number)).unwrap();
            // Each in a turn of its own: one is in the transmit buffer, or has begun.
            world.settle();
        }
        world.handle.close(peer.id, CloseCode::NORMAL, "bye").unwrap();
        world.pass(CLOSE - SECOND);
        assert_eq!(told.take(), []);
        world.pass(2 * SECOND);
        assert_eq!(told.take(), [(1, Err(NotDelivered::Closing)), (2, Err(NotDelivered::Closing))], "{len}");
        assert_eq!(counts(&mut world), [0, 2, 1]);
        peer.allow(usize::MAX);
        world.settle();
        assert!(peer.got() == [payloads(len, 1), vec![Got::Close(1000)]].concat());
        assert_eq!(told.take(), [(0, Ok(()))]);
        peer.bye(1000);
        world.settle();
        assert_eq!(world.end().closed.clean, 1);
    }
}

/// Nobody reads for longer than that: then the session ends, and the last sender hears of it.
#[test]
fn a_peer_that_reads_nothing_at_all_is_given_up() {
    let mut world = echoes(settings(|_| {}));
    let (told, peer) = (Reported::default(), world.open());
    peer.block();
    world.handle.send_with(peer.id, numbered(0, 2_000).1, told.done(0)).unwrap();
    world.handle.send_with(peer.id, numbered(1, 2_000).1, told.done(1)).unwrap();
    world.handle.stop(CloseCode::GOING_AWAY).unwrap();
    world.pass(3 * CLOSE);
    assert!(peer.is_gone() && world.hub.is_over());
    assert_eq!(told.take(), [(1, Err(NotDelivered::Closing)), (0, Err(NotDelivered::Ended))]);
    assert_eq!(world.end().closed.unanswered_close, 1);
}

/// The reason of a close waits for room like what was sent before it.
#[test]
fn a_reason_is_not_dropped_for_want_of_room() {
    let mut world = echoes(settings(|settings| settings.transmit_buffer = 300));
    let peer = world.open();
    peer.block();
    peer.frame(0x82, &[7; 200]);
    world.settle();
    let reason = "r".repeat(123);
    world.handle.close(peer.id, CloseCode::NORMAL, &reason).unwrap();
    world.settle();
    peer.wire().most = 64;
    peer.allow(usize::MAX);
    world.settle();
    let bytes = peer.bytes();
    assert!(bytes.len() == 4 + 200 + 2 + 125 && bytes.ends_with(reason.as_bytes()), "{}", bytes.len());
    world.end();
}

/// Begins and ends a message, in frames or in one long frame; closes; panics at the end.
fn scripted() -> World<App> {
    World::new(settings(|_| {}), |_| {
        App::new(|| {
            Box::new(|_, call, _, out| {
                let Call::Event(Event::Data(data)) = call else { return Ok(()) };
                match data.payload.as_bytes() {
                    b"message" => Ok(out.fragment(Kind::Text, b"one ", false)?),
                    b"frame" => Ok(out.begin_frame(Kind::Text, 7, true)?),
                    b"end of message" => Ok(out.fragment(Kind::Text, b"two", true)?),
                    b"end of frame" => Ok(out.write_all(&mut &b"one two"[..])?),
                    b"close" => Ok(out.close(Some(CloseCode::NORMAL), "the handler")?),
                    b"halt" => Err(HandlerError::Close(CloseCode::NORMAL, "the handler")),
                    _ => panic!("on purpose"),
                }
            })
        })
    })
}

#[test]
fn the_handlers_open_message_ends_before_what_was_sent_before_a_close() {
    for what in ["message", "frame"] {
        for len in [50, 1_100, 20_000] {
            for ends in [true, false] {
                let mut world = scripted();
                let (told, peer) = (Reported::default(), world.open());
                peer.text(what);
                world.settle();
                for number in 0..3 {
                    world.handle.send_with(peer.id, numbered(number, len).1, told.done(number)).unwrap();
                }
                world.handle.close(peer.id, CloseCode::GOING_AWAY, "").unwrap();
                world.settle();
                assert_eq!((peer.got(), told.take()), (vec![], vec![]));
                if ends {
                    peer.text(&format!("end of {what}"));
                    world.settle();
                    let frames = if what == "message" { 2 } else { 1 };
                    let own = Got::Data { text: true, payload: b"one two".to_vec(), frames };
                    let all = [vec![own], payloads(len, 3), vec![Got::Close(1001)]].concat();
                    assert!(peer.got() == all, "{what} {len}");
                    assert_eq!(told.take(), [0, 1, 2].map(|number| (number, Ok(()))));
                } else {
                    // Nothing can be sent inside of it: the senders get an error, and the Close goes out where it can.
                    world.pass(CLOSE + SECOND);
                    assert_eq!(told.take(), [0, 1, 2].map(|number| (number, Err(NotDelivered::Closing))));
                    if what == "message" {
                        assert_eq!(peer.got(), [Got::Close(1001)]);
                    } else {
                        world.pass(2 * CLOSE);
                        assert!(peer.is_gone());
                    }
                }
                world.end();
            }
        }
    }
}

/// Also while the Close waits for the end of the handler's frame.
#[test]
fn the_code_of_the_first_close_is_sent() {
    let mut world = scripted();
    let peer = world.open();
    peer.text("frame");
    world.settle();
    for code in [4001, 4002] {
        world.handle.close(peer.id, CloseCode::new(code).unwrap(), "").unwrap();
        world.settle();
    }
    world.handle.stop(CloseCode::GOING_AWAY).unwrap();
    world.settle();
    peer.text("end of frame");
    world.settle();
    assert_eq!(peer.got(), [text("one two"), Got::Close(4001)]);
    world.end();
}

/// Promptly, not when the session ends: nothing may follow a Close, of either side.
#[test]
fn pending_messages_are_completed_when_the_handler_or_the_peer_closes() {
    for len in [50, 1_100, 20_000] {
        for how in ["close", "halt", "peer closes", "peer breaks a rule"] {
            let mut world = scripted();
            let (told, peer) = (Reported::default(), world.open());
            peer.block();
            for number in 0..3 {
                world.handle.send_with(peer.id, numbered(number, len).1, told.done(number)).unwrap();
                world.settle();
            }
            match how {
                "peer closes" => peer.frame(0x88, &1000u16.to_be_bytes()),
                "peer breaks a rule" => peer.frame(0xFF, b""),
                text => peer.text(text),
            }
            world.handle.send_with(peer.id, Prepared::text("same turn"), told.done(3)).unwrap();
            world.run();
            let closing = Err(NotDelivered::Closing);
            assert_eq!(told.take(), [(1, closing), (2, closing), (3, closing)], "{len} {how}");
            world.handle.send_with(peer.id, Prepared::text("later"), told.done(4)).unwrap();
            world.run();
            assert_eq!(told.take(), [(4, closing)]);
            assert_eq!(counts(&mut world), [0, 4, 1]);
            // The one that has begun is finished, and the Close stands behind it.
            peer.allow(usize::MAX);
            world.settle();
            assert_eq!(told.take(), [(0, Ok(()))]);
            let code = if how == "peer breaks a rule" { 1002 } else { 1000 };
            assert!(peer.got() == [payloads(len, 1), vec![Got::Close(code)]].concat());
            world.end();
        }
    }
}

/// It will never be a WebSocket, and its answer may take its time.
#[test]
fn a_message_to_a_plain_request_is_completed_at_once() {
    let body = "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";
    for request in [body, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "nonsense\r\n\r\n"] {
        let mut world = echoes(settings(|_| {}));
        let (told, peer) = (Reported::default(), world.connect());
        peer.block();
        world.handle.send_with(peer.id, Prepared::text("early"), told.done(0)).unwrap();
        world.settle();
        assert_eq!(told.take(), [], "it may become one");
        peer.feed(request.as_bytes());
        world.settle();
        assert_eq!(told.take(), [(0, Err(NotDelivered::Ended))], "{request}");
        world.handle.send_with(peer.id, Prepared::text("later"), told.done(1)).unwrap();
        world.settle();
        assert_eq!(told.take(), [(1, Err(NotDelivered::Ended))]);
        assert!(!peer.is_gone());
        world.end();
    }
}

#[test]
fn a_message_to_a_handshake_that_is_closed_is_completed() {
    let mut world = echoes(settings(|_| {}));
    let (told, peer) = (Reported::default(), world.connect());
    world.handle.send_with(peer.id, Prepared::text("before"), told.done(0)).unwrap();
    world.handle.close(peer.id, CloseCode::NORMAL, "").unwrap();
    world.handle.send_with(peer.id, Prepared::text("behind"), told.done(1)).unwrap();
    world.settle();
    assert!(peer.is_gone());
    assert_eq!(told.take(), [(1, Err(NotDelivered::Closing)), (0, Err(NotDelivered::Ended))]);
    world.end();
}

/// One that was opened elsewhere, and is closed before its first turn.
#[test]
fn an_adopted_connection_that_is_closed_at_once_is_counted_as_opened() {
    let mut world = echoes(settings(|_| {}));
    let (pipe, mut peer) = World::<App>::pipe();
    let script = world.hub.application().script(echo());
    peer.id = world.hub.adopt(world.now, pipe, address(), script, None).unwrap_or_else(|_| panic!());
    let peer = world.know(peer);
    for number in 0..3 {
        assert_eq!(world.hub.context().send(peer.id, numbered(number, 2_000).1), Ok(()));
    }
    assert!(world.hub.context().close(peer.id, CloseCode::NORMAL, ""));
    world.settle();
    assert!(peer.got() == [payloads(2_000, 3), vec![Got::Close(1000)]].concat());
    peer.bye(1000);
    world.settle();
    let counters = world.end();
    assert_eq!((counters.opened, counters.closed.clean), (1, 1));
}

/// Those that panic are counted as well: the session ends, and the counts agree.
#[test]
fn counters_agree_where_completions_panic() {
    let told = Arc::new(AtomicUsize::new(0));
    for disconnects in [false, true] {
        let mut world = echoes(settings(|_| {}));
        let peer = world.open();
        peer.block();
        told.store(0, Ordering::Relaxed);
        for number in 0..5 {
            let told = Arc::clone(&told);
            let done = move |_| {
                told.fetch_add(1, Ordering::Relaxed);
                panic!("on purpose");
            };
            world.handle.send_with(peer.id, numbered(number, 10).1, done).unwrap();
        }
        world.settle();
        if disconnects {
            peer.cut()
        } else {
            peer.allow(usize::MAX)
        }
        world.settle();
        assert!(peer.is_gone());
        assert_eq!(told.load(Ordering::Relaxed), 5);
        let counters = world.end();
        assert_eq!((counters.delivered, counters.lost), if disconnects { (0, 5) } else { (1, 4) });
        assert_eq!((counters.waiting, counters.panicked), (0, 1));
    }
}

// ---- the limits of a queue ----

/// What waits behind is bounded.
#[test]
fn an_empty_queue_takes_a_message_of_any_size() {
    for overflow in [Overflow::DropNewest, Overflow::DropOldest, Overflow::Close(CloseCode::TRY_AGAIN_LATER)]
    {
        for len in [1_048_577, 2_000_000] {
            let mut world = echoes(settings(|settings| settings.queue.overflow = overflow));
            let (told, peer) = (Reported::default(), world.open());
            peer.block();
            world.handle.broadcast(numbered(0, len).1).unwrap();
            world.settle();
            // It is not counted for the messages after it.
            for number in 1..3 {
                let message = numbered(number, 500_000).1;
                world.handle.send_with(peer.id, message, told.done(number)).unwrap();
            }
            world.settle();
            assert_eq!((told.take(), counts(&mut world)), (vec![], [0, 0, 3]));
            world.handle.send_with(peer.id, numbered(3, 500_000).1, told.done(3)).unwrap();
            world.settle();
            let lost = if overflow == Overflow::DropOldest { 1 } else { 3 };
            assert_eq!(told.take(), [(lost, Err(NotDelivered::Overflow))]);
            peer.allow(usize::MAX);
            world.settle();
            let mut all = vec![binary(&numbered(0, len).0)];
            all.extend((1..4).filter(|at| *at != lost).map(|at| binary(&numbered(at, 500_000).0)));
            if let Overflow::Close(code) = overflow {
                all.push(Got::Close(code.get()));
            }
            assert!(peer.got() == all);
            assert_eq!(counts(&mut world), [3, 1, 0]);
            world.end();
        }
    }
}

/// A message above the limit behind others: it is dropped, or they are.
#[test]
fn a_message_above_the_limit_behind_others_overflows() {
    for (overflow, lost) in [(Overflow::DropNewest, vec![2]), (Overflow::DropOldest, vec![0, 1])] {
        let mut world = echoes(settings(|settings| {
            settings.queue.bytes = 5_000;
            settings.queue.overflow = overflow;
        }));
        let (told, peer) = (Reported::default(), world.open());
        for (number, len) in [2_000, 2_000, 9_000].into_iter().enumerate() {
            world.handle.send_with(peer.id, numbered(number, len).1, told.done(number)).unwrap();
        }
        world.hub.begin(world.now);
        assert_eq!(told.take(), lost.iter().map(|at| (*at, Err(NotDelivered::Overflow))).collect::<Vec<_>>());
        world.settle();
        assert_eq!(peer.got().len(), 3 - lost.len());
        world.end();
    }
    // A limit of nothing still lets one message through at a time.
    let mut world = echoes(settings(|settings| (settings.queue.messages, settings.queue.bytes) = (0, 0)));
    let peer = world.open();
    for number in 0..3 {
        world.handle.send(peer.id, numbered(number, 50).1).unwrap();
        world.settle();
    }
    assert!(peer.got() == payloads(50, 3));
    assert_eq!(counts(&mut world), [3, 0, 0]);
    world.end();
}

// ---- completion ----

/// Dropped where the call was made, without a call: the error has said it.
#[test]
fn a_send_that_fails_has_no_completion() {
    struct Dropped(Arc<Mutex<Vec<thread::ThreadId>>>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.lock().unwrap().push(thread::current().id());
        }
    }
    let dropped = Arc::default();
    let mut world = echoes(settings(|settings| settings.max_commands = 1));
    let peer = world.open();
    let send = |handle: &HubHandle| {
        let dropped = Dropped(Arc::clone(&dropped));
        handle.send_with(peer.id, Prepared::text("x"), move |_| panic!("told {:?}", dropped.0))
    };
    world.handle.call(|_| {}).unwrap();
    assert_eq!(send(&world.handle), Err(HandleError::Full));
    world.settle();
    let handle = world.handle.clone();
    drop(world);
    assert_eq!(send(&handle), Err(HandleError::Stopped));
    assert_eq!(*dropped.lock().unwrap(), [thread::current().id(); 2]);
}

#[test]
fn completions_run_in_the_thread_of_the_hub() {
    let mut world = echoes(settings(|_| {}));
    let peer = world.open();
    let threads: Arc<Mutex<Vec<(thread::ThreadId, _)>>> = Arc::default();
    let post = |handle: &HubHandle, id: SessionId, message: Prepared| {
        let threads = Arc::clone(&threads);
        let done = move |result| threads.lock().unwrap().push((thread::current().id(), result));
        let handle = handle.clone();
        thread::spawn(move || handle.send_with(id, message, done)).join().unwrap().unwrap();
    };
    post(&world.handle, peer.id, Prepared::text("read"));
    post(&world.handle, SessionId::new(99), Prepared::text("nobody"));
    world.settle();
    peer.block();
    post(&world.handle, peer.id, numbered(0, 20).1);
    world.settle();
    post(&world.handle, peer.id, numbered(0, 2_000).1);
    world.settle();
    post(&world.handle, peer.id, Prepared::text("among the commands"));
    drop(world);
    let here = thread::current().id();
    let ended = (here, Err(NotDelivered::Ended));
    assert_eq!(
        *threads.lock().unwrap(),
        [(here, Err(NotDelivered::Ended)), (here, Ok(())), ended, ended, ended]
    );
}

// ---- a hub that is dropped ----

#[test]
fn a_hub_that_is_dropped_completes_every_message() {
    let mut world = echoes(settings(|_| {}));
    let told = Reported::default();
    let (_open, blocked, closing) = (world.open(), world.open(), world.open());
    let (_hand, page) = (world.connect(), world.connect());
    page.feed(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
    blocked.block();
    closing.frame(0x88, &1000u16.to_be_bytes());
    for (number, len) in [20, 2_000].into_iter().enumerate() {
        world.handle.send_with(blocked.id, numbered(number, len).1, told.done(number)).unwrap();
        world.settle();
    }
    assert_eq!(counts(&mut world), [0, 0, 2]);
    let ran = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ran);
    world.handle.send_with(blocked.id, Prepared::text("x"), told.done(2)).unwrap();
    world.handle.call(move |_| count.store(1, Ordering::Relaxed)).unwrap();
    let closed = Arc::clone(&world.hub.application().closed);
    let handle = world.handle.clone();
    drop(world);
    let mut ends: Vec<_> = closed.lock().unwrap().iter().map(|cause| cause.reason).collect();
    ends.sort_by_key(|end| *end != EndReason::Clean);
    assert_eq!(ends, [EndReason::Clean, EndReason::Disconnected, EndReason::Disconnected]);
    assert_eq!(told.take(), [0, 1, 2].map(|number| (number, Err(NotDelivered::Ended))));
    assert!(blocked.is_gone() && handle.sessions().is_empty());
    assert_eq!(Arc::strong_count(&ran), 1, "what was not run is dropped");
    let counters = handle.counters();
    check(&counters);
    assert_eq!((counters.accepted, counters.lost, counters.waiting), (5, 3, 0));
}

/// A turn executes 64 commands at most: the others are taken, and wait inside the hub.
#[test]
fn a_hub_that_is_dropped_counts_each_message_as_lost() {
    let mut world = echoes(settings(|_| {}));
    let (told, peer) = (Reported::default(), world.open());
    peer.block();
    let send = |world: &World<App>, number| {
        world.handle.send_with(peer.id, numbered(number, 10).1, told.done(number)).unwrap();
    };
    (0..200).for_each(|number| send(&world, number));
    world.hub.begin(world.now);
    (200..210).for_each(|number| send(&world, number));
    let handle = world.handle.clone();
    drop(world);
    assert_eq!(told.take(), (0..210).map(|number| (number, Err(NotDelivered::Ended))).collect::<Vec<_>>());
    let counters = handle.counters();
    assert_eq!((counters.delivered, counters.lost, counters.waiting), (0, 210, 0));
}

/// Of a hub that is dropped a handler hears this: not that it may write, not what has come.
#[test]
fn a_hub_that_is_dropped_calls_closed_alone() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let mut world = World::new(settings(|_| {}), move |_| {
        let count = Arc::clone(&count);
        App::new(move || {
            let count = Arc::clone(&count);
            Box::new(move |now, call, deadline, out| {
                count.fetch_add(1, Ordering::Relaxed);
                *deadline = Some(now);
                if let Call::Event(Event::Data(data)) = call { out.forward(&data) } else { Ok(()) }
            })
        })
    });
    let peer = world.open();
    peer.block();
    peer.frame(0x82, &[0; 100_000]);
    world.run();
    peer.text("more");
    peer.allow(usize::MAX);
    let before = calls.load(Ordering::Relaxed);
    let closed = Arc::clone(&world.hub.application().closed);
    drop(world);
    assert_eq!((calls.load(Ordering::Relaxed), closed.lock().unwrap().len()), (before, 1));
}

/// A completion that panics does not keep the others from their results.
#[test]
fn a_panic_while_a_hub_is_dropped_prevents_no_other_completion() {
    let mut world = World::new(settings(|_| {}), |_| App::new(echo));
    let told = Reported::default();
    let peers = [world.open(), world.open(), world.open()];
    for (number, peer) in peers.iter().enumerate() {
        peer.block();
        let done = told.done(number);
        let done = move |result| {
            done(result);
            assert_ne!(number, 0, "on purpose");
        };
        world.handle.send_with(peer.id, numbered(number, 20).1, done).unwrap();
    }
    world.settle();
    let closed = Arc::clone(&world.hub.application().closed);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(world))).is_err());
    assert_eq!(told.take(), [0, 1, 2].map(|number| (number, Err(NotDelivered::Ended))));
    assert_eq!(closed.lock().unwrap().len(), 3);
}

/// Handles of an application that could not be created return an error, and callers that wait get it too.
#[test]
fn an_application_whose_constructor_panics_leaves_a_stopped_hub() {
    let told = Reported::default();
    let mut kept = None;
    let made = catch_unwind(AssertUnwindSafe(|| {
        World::<App>::new(HubSettings::default(), |handle| {
            handle.send_with(SessionId::new(0), Prepared::text("x"), told.done(0)).unwrap();
            kept = Some(handle);
            panic!("on purpose")
        })
    }));
    assert!(made.is_err());
    assert_eq!(told.take(), [(0, Err(NotDelivered::Ended))]);
    assert_eq!(kept.unwrap().call(|_| {}), Err(HandleError::Stopped));
}

// ---- promises of handles ----

/// The limit is there, and what is posted is done in the first turn.
#[test]
fn the_applications_constructor_may_use_its_handle() {
    let ran: Arc<Mutex<Vec<usize>>> = Arc::default();
    let mut settings = HubSettings::default();
    settings.max_commands = 3;
    let mut world = World::new(settings, |handle| {
        for at in 0..3 {
            let ran = Arc::clone(&ran);
            handle.call(move |_| ran.lock().unwrap().push(at)).unwrap();
        }
        assert_eq!(handle.call(|_| {}), Err(HandleError::Full));
        App::new(echo)
    });
    world.run();
    assert_eq!(*ran.lock().unwrap(), [0, 1, 2]);
}

/// A thread that is preempted between its command and its wake-up delays no other: they wake the hub themselves.
#[test]
fn a_preempted_thread_delays_no_other_command() {
    struct Slow {
        shelf: Shelf,
        wakes: AtomicUsize,
        meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    }
    impl Monitor for Slow {
        fn lock(&self, use_it: &mut dyn FnMut(&mut Shared)) {
            self.shelf.lock(use_it);
        }

        fn wake(&self) {
            // What happens here happens while the thread stands still, its wake-up not given.
            let meanwhile = self.meanwhile.lock().unwrap().take();
            if let Some(meanwhile) = meanwhile {
                meanwhile();
            }
            self.wakes.fetch_add(1, Ordering::Relaxed);
        }
    }
    let slow =
        Arc::new(Slow { shelf: Shelf::default(), wakes: AtomicUsize::new(0), meanwhile: Mutex::default() });
    let wakes = || slow.wakes.load(Ordering::Relaxed);
    let mut hub: Hub<Pipe, Routes> =
        Hub::new(HubSettings::default(), slow.clone(), |_| Routes::new()).unwrap();
    let (handle, other) = (hub.handle(), hub.handle());
    let now = sansocket::Instant::START;
    let seen = Arc::new(AtomicUsize::new(0));
    let woken = Arc::clone(&seen);
    let (counting, count) = (slow.clone(), Arc::clone(&seen));
    *slow.meanwhile.lock().unwrap() = Some(Box::new(move || {
        other.call(|_| {}).unwrap();
        count.store(counting.wakes.load(Ordering::Relaxed), Ordering::Relaxed);
    }));
    handle.call(|_| {}).unwrap();
    assert_eq!(woken.load(Ordering::Relaxed), 1, "the other has woken the hub");
    // One wake-up that is known to be given serves all who come before the hub has looked.
    let before = wakes();
    handle.call(|_| {}).unwrap();
    handle.call(|_| {}).unwrap();
    assert_eq!(wakes(), before);
    hub.begin(now);
    handle.call(|_| {}).unwrap();
    assert_eq!(wakes(), before + 1);

    // A wake-up that was consumed before the thread goes on serves nobody who comes later.
    hub.begin(now);
    let hub = Arc::new(Mutex::new(hub));
    let (looked, before) = (Arc::clone(&hub), wakes());
    *slow.meanwhile.lock().unwrap() = Some(Box::new(move || {
        looked.lock().unwrap().begin(now);
    }));
    handle.call(|_| {}).unwrap();
    handle.call(|_| {}).unwrap();
    assert_eq!(wakes(), before + 2);
}

#[test]
fn a_handle_does_the_same_inside_the_hub() {
    let mut world = echoes(settings(|_| {}));
    let (told, peer, other) = (Reported::default(), world.open(), world.open());
    let long = "r".repeat(124);
    let mut hub = world.hub.context();
    assert!(!hub.close(SessionId::new(99), CloseCode::NORMAL, ""));
    assert_eq!(hub.send_with(peer.id, Prepared::text("1"), told.done(1)), Ok(()));
    let ended = Err(NotDelivered::Ended);
    assert_eq!(hub.send_with(SessionId::new(99), Prepared::text("2"), told.done(2)), ended);
    assert!(hub.close(peer.id, CloseCode::NORMAL, &long));
    assert!(hub.close(peer.id, CloseCode::GOING_AWAY, "the first counts"));
    let closing = Err(NotDelivered::Closing);
    assert_eq!(hub.send(peer.id, Prepared::text("3")), closing);
    assert_eq!(hub.send_with(peer.id, Prepared::text("4"), told.done(4)), closing);
    assert_eq!(hub.broadcast("5"), 1);
    let states: Vec<_> = hub.sessions().map(SessionInfo::state).collect();
    assert_eq!(states, [SessionState::Closing, SessionState::Open]);
    world.settle();
    assert_eq!(told.take(), [(1, Ok(()))]);
    assert_eq!(peer.got(), [text("1"), Got::Close(1000)]);
    assert_eq!(other.got(), [text("5")]);
    assert_eq!(counts(&mut world), [2, 3, 0]);
    world.end();
}

/// It is kept once, however often it is asked for, and what was asked for before is done before.
#[test]
fn a_stop_takes_no_room_among_the_commands() {
    let mut world = echoes(settings(|settings| settings.max_commands = 4));
    let (told, peer) = (Reported::default(), world.open());
    let ran = Arc::new(AtomicUsize::new(0));
    for number in 0..2 {
        world.handle.send_with(peer.id, numbered(number, 2_000).1, told.done(number)).unwrap();
    }
    for code in [CloseCode::SERVICE_RESTART, CloseCode::GOING_AWAY].into_iter().cycle().take(100_000) {
        world.handle.stop(code).unwrap();
    }
    for _ in 0..2 {
        let ran = Arc::clone(&ran);
        world.handle.call(move |_| ran.store(ran.load(Ordering::Relaxed) + 1, Ordering::Relaxed)).unwrap();
    }
    // Four wait, and the stop beside them.
    assert_eq!(world.handle.call(|_| {}), Err(HandleError::Full));
    assert_eq!(world.handle.stop(CloseCode::NORMAL), Ok(()));
    world.hub.begin(world.now);
    assert_eq!((ran.load(Ordering::Relaxed), world.hub.is_stopping()), (2, true));
    world.handle.stop(CloseCode::NORMAL).unwrap();
    world.handle.send_with(peer.id, Prepared::text("x"), told.done(2)).unwrap();
    world.settle();
    assert!(peer.got() == [payloads(2_000, 2), vec![Got::Close(1012)]].concat(), "the first code counts");
    assert_eq!(told.take(), [(2, Err(NotDelivered::Closing)), (0, Ok(())), (1, Ok(()))]);
    peer.bye(1012);
    world.settle();
    assert!(world.hub.is_over());
}
