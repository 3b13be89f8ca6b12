//! The hub without I/O: sessions, ids, queues, order, capacity, time, counters, panics.
#![cfg(feature = "hub")]

mod hub_world;
mod wire;

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use hub_world::*;
use sansocket::config::Overflow;
use sansocket::error::{EndReason, Timeout};
use sansocket::handshake::Request;
use sansocket::hub::driver::{Hub, Ready};
use sansocket::hub::{
    Application, Capacity, Counters, HandleError, HubContext, HubSettings, NotDelivered, RequestAction,
    Routes, SessionId, SessionInfo, SessionState,
};
use sansocket::message::Prepared;
use sansocket::session::HandlerDriver;
use sansocket::{CloseCode, Config, Connection, Event, Handler, HandlerError, Kind, Outbox, Server};

const POLICY: CloseCode = CloseCode::POLICY_VIOLATION;

fn config(change: impl FnOnce(&mut Config)) -> Arc<Config> {
    let mut config = Config::new();
    change(&mut config);
    Arc::new(config)
}

fn settings(change: impl FnOnce(&mut HubSettings)) -> HubSettings {
    let mut settings = HubSettings::default();
    change(&mut settings);
    settings
}

/// Deadlines of nobody.
fn patient() -> Arc<Config> {
    config(|config| {
        config.timeouts.ping = None;
        config.timeouts.write = None;
    })
}

// ---- ids ----

#[test]
fn a_stale_id_reaches_nobody() {
    let mut world = echoes(HubSettings::default());
    let told = Reported::default();
    let first = world.open();
    // What is asked for in the turn in which it ends is too late as well.
    first.cut();
    world.settle();
    let second = world.open();
    assert_ne!(first.id, second.id);
    assert_eq!(SessionId::new(first.id.get()), first.id);
    // Another that the hub has never given.
    let alien = SessionId::new(second.id.get() + (1 << 31));
    world.handle.send_with(alien, Prepared::text("alien"), told.done(0)).unwrap();
    world.handle.send(first.id, Prepared::text("stale")).unwrap();
    world.handle.send_with(first.id, Prepared::text("stale"), told.done(1)).unwrap();
    world.handle.close(first.id, CloseCode::NORMAL, "").unwrap();
    world
        .handle
        .call(move |hub: &mut HubContext<'_>| {
            assert_eq!(hub.send(first.id, Prepared::text("stale")), Err(NotDelivered::Ended));
            assert!(!hub.close(first.id, CloseCode::NORMAL, ""));
        })
        .unwrap();
    world.settle();
    assert_eq!(told.take(), [(0, Err(NotDelivered::Ended)), (1, Err(NotDelivered::Ended))]);
    assert_eq!(second.got(), []);
    second.text("alive");
    world.settle();
    assert_eq!(second.got(), [text("alive")]);
    assert_eq!(world.handle.counters().lost, 4);
    world.end();
}

/// A timer that was set for one session does nothing to the next in its place.
#[test]
fn a_stale_timer_reaches_nobody() {
    let mut world = echoes(HubSettings::default());
    for _ in 0..5 {
        let peer = world.connect();
        world.settle();
        peer.cut();
        world.settle();
        assert_eq!(world.hub.deadline(world.now), None);
    }
    world.end();
}

// ---- capacity ----

#[test]
fn beyond_the_capacity_the_response_is_503_and_few_may_wait_for_it() {
    let mut world = echoes(settings(|settings| {
        settings.max_sessions = 2;
        settings.capacity = Capacity::Refuse(2);
    }));
    let (first, _second) = (world.open(), world.open());
    let (third, fourth) = (world.connect(), world.connect());
    assert!(!world.hub.admits(world.now), "waiters are bounded");
    third.feed(REQUEST);
    world.settle();
    assert!(third.bytes().starts_with(b"HTTP/1.1 503 "));
    third.fin();
    // Half a request in time is answered too.
    fourth.feed(&REQUEST[..30]);
    world.settle();
    assert!(third.is_gone() && world.hub.admits(world.now));
    assert_eq!(fourth.bytes(), b"");
    world.pass(11 * SECOND);
    assert!(fourth.bytes().starts_with(b"HTTP/1.1 503 "));
    fourth.fin();
    first.cut();
    world.settle();
    world.open();
    let counters = world.end();
    assert_eq!((counters.refused.unavailable, counters.opened), (2, 3));
}

#[test]
fn the_session_that_was_silent_for_longest_is_evicted() {
    let mut world = echoes(settings(|settings| {
        settings.max_sessions = 3;
        settings.capacity = Capacity::Evict;
    }));
    let peers = [world.open(), world.open(), world.open()];
    for at in [1, 0, 2] {
        world.pass(SECOND);
        peers[at].text("here");
        world.settle();
        assert_eq!(peers[at].got(), [text("here")]);
    }
    let fourth = world.open();
    world.settle();
    assert_eq!(peers[1].got(), [Got::Close(1013)]);
    // It is not chosen again while it goes.
    let fifth = world.open();
    assert_eq!((peers[1].got(), peers[0].got()), (vec![], vec![Got::Close(1013)]));
    assert_eq!((peers[2].got(), fourth.got(), fifth.got()), (vec![], vec![], vec![]));
    // Those that do not go hold a bounded number of places, and keep nobody out.
    for _ in 0..100 {
        assert!(world.hub.admits(world.now));
        world.open();
        assert!(world.handle.sessions().len() < 3 + 8);
    }
    world.pass(6 * SECOND);
    assert!(world.hub.admits(world.now));
    assert_eq!(world.handle.sessions().len(), 3);
    world.end();
}

/// However coarse the waits are.
#[test]
fn handshakes_a_second_have_a_limit() {
    for (rate, wait) in [(10, 1), (1000, 2), (5000, 2)] {
        let mut world = echoes(settings(|settings| {
            settings.handshakes_per_second = Some(rate);
            settings.max_sessions = 20_000;
        }));
        let end = world.now.saturating_add(SECOND);
        let mut accepted = 0;
        while world.now < end {
            while world.hub.admits(world.now) {
                world.connect();
                accepted += 1;
            }
            world.run();
            assert!(world.hub.deadline(world.now).is_some());
            world.now = world.now.saturating_add(Duration::from_millis(wait));
        }
        assert!((rate * 99 / 100..=rate * 102 / 100 + 1).contains(&accepted), "{rate}: {accepted}");
    }
}

#[test]
fn a_connection_that_the_application_refuses_is_counted_and_dropped() {
    let mut world = echoes(HubSettings::default());
    world.hub.application().welcome = false;
    let (pipe, peer) = World::<App>::pipe();
    drop(world.hub.accept(world.now, pipe, address()));
    assert!(peer.is_gone());
    world.hub.application().welcome = true;
    world.open();
    world.run();
    let counters = world.handle.counters();
    assert_eq!((counters.accepted, counters.ended), (2, 1));
}

// ---- queues ----

#[test]
fn overflow_drops_the_newest() {
    let mut world = echoes(settings(|settings| {
        settings.config = patient();
        settings.queue.messages = 3;
    }));
    let told = Reported::default();
    let peer = world.open();
    peer.block();
    for number in 0..6 {
        let (_, message) = numbered(number, 2000);
        world.handle.send_with(peer.id, message, told.done(number)).unwrap();
    }
    world.settle();
    let lost = Err(NotDelivered::Overflow);
    assert_eq!(told.take(), [(3, lost), (4, lost), (5, lost)]);
    peer.allow(usize::MAX);
    world.settle();
    assert_eq!(peer.got(), [0, 1, 2].map(|number| binary(&numbered(number, 2000).0)));
    assert_eq!(told.take(), [(0, Ok(())), (1, Ok(())), (2, Ok(()))]);
    let counters = world.end();
    assert_eq!((counters.delivered, counters.lost), (3, 3));
}

/// Pings and Pongs are messages like others. A Close goes behind them, and closes the session.
#[cfg(feature = "bytes")]
#[test]
fn control_frames_are_sent_as_messages() {
    use sansocket::Message;
    use sansocket::message::CloseFrame;

    let mut world = echoes(HubSettings::default());
    let told = Reported::default();
    let (peer, other) = (world.open(), world.open());
    let (mut ping, pong) = (vec![7; 125], Message::Pong((&b"pong"[..]).into()));
    let close =
        Message::Close(Some(CloseFrame { code: CloseCode::new(4000).unwrap(), reason: "bye".into() }));
    let sent = [Message::Ping(ping.clone().into()), "text".into(), pong.clone(), close, "late".into()];
    for (number, message) in sent.into_iter().enumerate() {
        world.handle.send_with(peer.id, message, told.done(number)).unwrap();
    }
    ping.push(7);
    world.handle.send_with(other.id, Message::Ping(ping.into()), told.done(5)).unwrap();
    world.handle.broadcast(pong).unwrap();
    world.settle();
    let frames = [&[0x89, 125], &[7; 125][..], b"\x81\x04text\x8a\x04pong\x88\x05\x0f\xa0bye"].concat();
    assert_eq!(peer.bytes(), frames);
    assert_eq!(other.bytes(), b"\x8a\x04pong");
    let mut told = told.take();
    told.sort_by_key(|(number, _)| *number);
    let lost = [(4, Err(NotDelivered::Closing)), (5, Err(NotDelivered::ControlTooLong))];
    assert_eq!(told, [[0, 1, 2, 3].map(|number| (number, Ok(()))).as_slice(), &lost].concat());
    // Without a code, and without a reason.
    world.handle.broadcast(Message::Close(None)).unwrap();
    world.settle();
    assert!(other.bytes().ends_with(b"\x88\x00"));
    peer.bye(4000);
    other.frame(0x88, b"");
    world.end();
}

#[test]
fn overflow_drops_the_oldest_that_has_not_begun() {
    let mut world = echoes(settings(|settings| {
        settings.config = patient();
        settings.queue.messages = 3;
        settings.queue.bytes = 6500;
        settings.queue.overflow = Overflow::DropOldest;
    }));
    let told = Reported::default();
    let peer = world.open();
    peer.block();
    let send = |world: &mut World<App>, number, len| {
        let message = numbered(number, len).1;
        world.handle.send_with(peer.id, message, told.done(number)).unwrap();
        world.settle();
    };
    send(&mut world, 0, 2000);
    // It has begun.
    peer.allow(100);
    world.settle();
    for number in 1..5 {
        send(&mut world, number, 2000);
    }
    let lost = Err(NotDelivered::Overflow);
    assert_eq!(told.take(), [(1, lost), (2, lost)]);
    // What fits only where the one that has begun stands drives nobody out.
    send(&mut world, 5, 6000);
    assert_eq!(told.take(), [(5, lost)]);
    assert_eq!(world.handle.counters().lost, 3);
    // What fits behind it, does.
    send(&mut world, 6, 4000);
    assert_eq!(told.take(), [(3, lost), (4, lost)]);
    assert_eq!(world.handle.counters().lost, 5);
    peer.allow(usize::MAX);
    world.settle();
    assert!(peer.got() == [binary(&numbered(0, 2000).0), binary(&numbered(6, 4000).0)]);
    assert_eq!(told.take(), [(0, Ok(())), (6, Ok(()))]);
    world.end();
}

#[test]
fn overflow_closes_the_session() {
    for code in [POLICY, CloseCode::TRY_AGAIN_LATER] {
        let mut world = echoes(settings(|settings| {
            settings.config = patient();
            settings.queue.bytes = 3000;
            settings.queue.overflow = Overflow::Close(code);
        }));
        let told = Reported::default();
        let peer = world.open();
        peer.block();
        for number in 0..3 {
            world.handle.send_with(peer.id, numbered(number, 1400).1, told.done(number)).unwrap();
        }
        world.settle();
        assert_eq!(told.take(), [(2, Err(NotDelivered::Overflow))]);
        assert_eq!(world.handle.sessions()[0].state(), SessionState::Closing);
        peer.allow(usize::MAX);
        world.settle();
        // What was queued goes first.
        let queued = [0, 1].map(|number| binary(&numbered(number, 1400).0));
        assert!(peer.got() == [&queued[..], &[Got::Close(code.get())]].concat());
        peer.bye(code.get());
        world.settle();
        assert!(peer.is_gone());
        assert_eq!(told.take(), [(0, Ok(())), (1, Ok(()))]);
        assert_eq!(world.end().closed.clean, 1);
    }
}

#[test]
fn messages_sent_before_a_close_go_before_it() {
    let mut world = echoes(HubSettings::default());
    let told = Reported::default();
    let peer = world.open();
    for number in 0..3 {
        world.handle.send_with(peer.id, numbered(number, 50).1, told.done(number)).unwrap();
    }
    world.handle.close(peer.id, CloseCode::NORMAL, "that was all").unwrap();
    world.settle();
    let mut all: Vec<_> = (0..3).map(|number| binary(&numbered(number, 50).0)).collect();
    all.push(Got::Close(1000));
    assert_eq!(peer.got(), all);
    assert_eq!(told.take(), [(0, Ok(())), (1, Ok(())), (2, Ok(()))]);
    world.end();
}

#[test]
fn a_full_queue_fails_at_once_and_a_stop_still_gets_in() {
    let mut world = echoes(settings(|settings| settings.max_commands = 5));
    let (told, peer) = (Reported::default(), world.open());
    for number in 0..5 {
        world.handle.send_with(peer.id, Prepared::text("x"), told.done(number)).unwrap();
    }
    assert_eq!(world.handle.send_with(peer.id, Prepared::text("x"), told.done(5)), Err(HandleError::Full));
    assert_eq!(told.take(), [], "the call has said so");
    let payload = Arc::new(b"shared".to_vec());
    struct Shared(Arc<Vec<u8>>);
    impl AsRef<[u8]> for Shared {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    let message = Prepared::binary(Shared(payload.clone()));
    assert_eq!(world.handle.broadcast(message), Err(HandleError::Full));
    assert_eq!(Arc::strong_count(&payload), 1, "leaked");
    assert_eq!(world.handle.call(|_| {}), Err(HandleError::Full));
    assert_eq!(world.handle.close(peer.id, CloseCode::NORMAL, ""), Err(HandleError::Full));
    world.handle.stop(CloseCode::GOING_AWAY).unwrap();
    world.settle();
    assert!(world.hub.is_stopping() && !world.hub.is_over());
    assert_eq!(peer.got().last(), Some(&Got::Close(1001)));
    peer.bye(1001);
    world.settle();
    assert!(world.hub.is_over());
    let handle = world.handle.clone();
    handle.send_with(peer.id, Prepared::text("x"), told.done(6)).unwrap();
    told.take();
    drop(world);
    assert_eq!(told.take(), [(6, Err(NotDelivered::Ended))]);
    assert_eq!(handle.send_with(peer.id, Prepared::text("x"), told.done(7)), Err(HandleError::Stopped));
    assert_eq!(told.take(), []);
    assert_eq!(handle.stop(CloseCode::NORMAL), Err(HandleError::Stopped));
    check(&handle.counters());
}

// ---- order ----

/// Big messages are written from where they lie, and cut anywhere they go on where they were.
#[test]
fn a_direct_message_survives_every_split() {
    let len = 1100;
    let (payload, message) = numbered(7, len);
    for split in 0..len + 4 {
        let mut world = echoes(settings(|settings| settings.config = patient()));
        let told = Reported::default();
        let peer = world.open();
        peer.block();
        peer.allow(split);
        world.handle.send_with(peer.id, message.clone(), told.done(0)).unwrap();
        world.handle.send(peer.id, Prepared::text("next")).unwrap();
        world.settle();
        peer.frame(0x89, b"ping");
        peer.text("echo");
        world.settle();
        assert_eq!(peer.wire().from_hub.len(), split);
        assert_eq!(told.take(), []);
        peer.allow(usize::MAX);
        world.settle();
        let got = peer.got();
        assert!(got[0] == binary(&payload), "{split}");
        assert_eq!(got[1..], [Got::Pong(b"ping".to_vec()), text("echo"), text("next")]);
        assert_eq!(told.take(), [(0, Ok(()))]);
        world.end();
    }
}

#[test]
fn a_close_stands_behind_a_direct_message_that_has_begun() {
    let mut world = echoes(settings(|settings| settings.config = patient()));
    let peer = world.open();
    peer.block();
    peer.allow(1000);
    let (payload, message) = numbered(1, 100_000);
    world.handle.send(peer.id, message).unwrap();
    world.handle.send(peer.id, Prepared::text("next")).unwrap();
    world.settle();
    world.handle.close(peer.id, POLICY, "enough").unwrap();
    world.handle.send(peer.id, Prepared::text("too late")).unwrap();
    world.settle();
    peer.allow(usize::MAX);
    world.settle();
    assert!(peer.got() == [binary(&payload), text("next"), Got::Close(1008)]);
    world.end();
}

#[test]
fn a_peer_that_reads_nothing_of_a_direct_message_is_given_up() {
    let mut world = echoes(settings(|settings| {
        settings.config = config(|config| {
            config.timeouts.write = Some(3 * SECOND);
            config.timeouts.ping = None;
        });
    }));
    let (told, peer) = (Reported::default(), world.open());
    peer.block();
    world.handle.send_with(peer.id, numbered(1, 100_000).1, told.done(1)).unwrap();
    world.settle();
    // A little now and then is enough.
    for _ in 0..5 {
        world.pass(2 * SECOND);
        peer.allow(10);
        world.settle();
    }
    assert!(!peer.is_gone());
    world.pass(4 * SECOND);
    assert!(peer.is_gone());
    assert_eq!(told.take(), [(1, Err(NotDelivered::Ended))]);
    assert_eq!(world.hub.application().closed.lock().unwrap()[0].reason, EndReason::Timeout(Timeout::Write));
    let counters = world.end();
    assert_eq!((counters.closed.unread_output, counters.lost, counters.delivered), (1, 1, 0));
}

/// What the hub is to send waits for the end of the handler's own message, in frames or in one long frame.
#[test]
fn a_message_of_the_handler_is_not_interrupted() {
    for long in [false, true] {
        let mut world = World::new(settings(|settings| settings.config = patient()), move |_| {
            App::new(move || {
                Box::new(move |_, call, _, out| {
                    let Call::Event(Event::Data(data)) = call else { return Ok(()) };
                    match (data.payload.as_bytes(), long) {
                        (b"begin", false) => Ok(out.fragment(Kind::Text, b"one ", false)?),
                        (b"end", false) => Ok(out.fragment(Kind::Text, b"two", true)?),
                        (b"begin", true) => Ok(out.begin_frame(Kind::Text, 7, true)?),
                        _ => Ok(out.write_all(&mut &b"one two"[..])?),
                    }
                })
            })
        });
        let peer = world.open();
        peer.text("begin");
        world.settle();
        for len in [10, 3000] {
            world.handle.broadcast(numbered(0, len).1).unwrap();
        }
        peer.frame(0x89, b"p");
        world.settle();
        if long {
            assert_eq!(peer.got(), []);
        } else {
            assert_eq!(peer.got(), [Got::Pong(b"p".to_vec())], "a control frame may stand between frames");
        }
        peer.text("end");
        world.settle();
        let frames = if long { 1 } else { 2 };
        let mut all = vec![Got::Data { text: true, payload: b"one two".to_vec(), frames }];
        all.extend(long.then(|| Got::Pong(b"p".to_vec())));
        all.extend([10, 3000].map(|len| binary(&numbered(0, len).0)));
        let got = peer.got();
        assert!(got == all, "{got:?}");
        world.end();
    }
}

/// A handler that has much to send lets others through, and they let it.
#[test]
fn a_handler_that_streams_lets_others_through() {
    let mut world = World::new(settings(|settings| settings.config = patient()), |_| {
        App::new(|| {
            let mut left = 0;
            Box::new(move |_, call, _, out| {
                if let Call::Event(_) = call {
                    left = 100;
                }
                if left > 0 && out.is_empty() {
                    out.send(&[0; 16_000])?;
                    left -= 1;
                }
                Ok(())
            })
        })
    });
    let peer = world.open();
    peer.wire().most = 5000;
    peer.text("go");
    for len in [20_000, 10, 20_000, 10, 1000, 16_000] {
        world.handle.send(peer.id, numbered(9, len).1).unwrap();
    }
    world.settle();
    let got = peer.got();
    let others = |got: &&Got| **got != binary(&[0; 16_000]);
    assert_eq!(got.len(), 106);
    let early = got.iter().take(20).filter(others).count();
    assert_eq!(early, 6, "the others wait for the handler");
    peer.text("go");
    for _ in 0..100 {
        world.handle.send(peer.id, numbered(9, 10_000).1).unwrap();
    }
    world.settle();
    let got = peer.got();
    assert_eq!(got.len(), 200);
    let early = got.iter().take(50).filter(others).count();
    assert!((5..45).contains(&early), "{early}");
    world.end();
}

// ---- completion ----

#[test]
fn each_message_is_completed_once_whatever_happens() {
    let told = Reported::default();
    // The hub goes with messages in its queue of commands, in a session's queue, half written, and in a buffer.
    let mut world = echoes(settings(|settings| settings.config = patient()));
    let peer = world.open();
    peer.block();
    peer.allow(5);
    for number in 0..3 {
        world.handle.send_with(peer.id, numbered(number, 20).1, told.done(number)).unwrap();
        world.settle();
    }
    world.handle.send_with(peer.id, numbered(3, 3000).1, told.done(3)).unwrap();
    world.settle();
    world.handle.send_with(peer.id, numbered(4, 3000).1, told.done(4)).unwrap();
    let handle = world.handle.clone();
    drop(world);
    assert_eq!(handle.send_with(peer.id, numbered(5, 9).1, told.done(5)), Err(HandleError::Stopped));
    let mut all = told.take();
    all.sort_by_key(|(number, _)| *number);
    assert_eq!(
        all,
        [0, 1, 2, 3, 4].map(|number| (number, Err(NotDelivered::Ended))),
        "what was refused is not told"
    );
    assert!(peer.is_gone());

    // A handler panics; a stop; a peer that disconnects.
    for way in 0..3 {
        let mut world = World::new(settings(|settings| settings.config = patient()), |_| {
            App::new(|| {
                Box::new(|_, call, _, _| {
                    assert!(!matches!(call, Call::Event(_)), "on purpose");
                    Ok(())
                })
            })
        });
        let peer = world.open();
        peer.block();
        for number in 0..2 {
            world.handle.send_with(peer.id, numbered(number, 3000).1, told.done(number)).unwrap();
        }
        world.settle();
        match way {
            0 => peer.text("panic"),
            1 => world.handle.stop(CloseCode::GOING_AWAY).unwrap(),
            _ => peer.cut(),
        }
        world.pass(20 * SECOND);
        assert!(peer.is_gone());
        // The first has begun; the other never will, where a Close goes out instead.
        let closing = [(1, Err(NotDelivered::Closing)), (0, Err(NotDelivered::Ended))];
        let ended = [(0, Err(NotDelivered::Ended)), (1, Err(NotDelivered::Ended))];
        assert_eq!(told.take(), if way == 1 { closing } else { ended }, "{way}");
        let counters = world.end();
        assert_eq!((counters.lost, counters.panicked), (2, u64::from(way == 0)));
    }
}

// ---- fairness ----

#[test]
fn a_session_that_floods_does_not_starve_others() {
    let mut world = echoes(settings(|settings| settings.config = patient()));
    let (flood, quiet) = (world.open(), world.open());
    let many: Vec<u8> = (0..200_000).flat_map(|_| masked(0x82, b"12")).collect();
    flood.feed(&many);
    quiet.text("here");
    world.run();
    assert_eq!(quiet.got(), [text("here")]);
    assert!(flood.wire().received < 200_000, "{}", flood.wire().received);
    // Nor does one that takes a big message as fast as it can be written.
    flood.cut();
    let big = world.open();
    big.wire().most = 100_000;
    world.handle.send(big.id, Prepared::binary(vec![0; 1_000_000])).unwrap();
    world.run();
    assert!(big.wire().sent < 300_000, "{}", big.wire().sent);
    world.end();
}

// ---- time ----

#[test]
fn a_deadline_is_never_early_and_at_most_a_sixteenth_late() {
    for millis in [1, 7, 50, 333, 1000, 9_999, 30_000, 3_600_000, 86_400_000] {
        let mut world = World::new(settings(|settings| settings.config = patient()), move |_| {
            App::new(move || {
                Box::new(move |now, call, deadline, _| {
                    match call {
                        Call::Opened => *deadline = Some(now.saturating_add(Duration::from_millis(millis))),
                        Call::Timer => {
                            assert!(now >= deadline.unwrap());
                            *deadline = None;
                        }
                        _ => {}
                    }
                    Ok(())
                })
            })
        });
        for offset in [0, 13, 999] {
            world.now = world.now.saturating_add(Duration::from_micros(offset));
            world.open();
            let ahead = Duration::from_millis(millis);
            let due = world.hub.deadline(world.now).unwrap();
            assert!(
                due >= world.now.saturating_add(ahead) && due <= world.now.saturating_add(ahead + ahead / 16)
            );
            assert_eq!(world.pass(2 * ahead), 1);
            assert_eq!(world.hub.deadline(world.now), None);
        }
        world.end();
    }
}

/// Idle sessions are pinged every 30 s, and answer.
#[test]
fn a_thousand_idle_sessions_wake_the_hub_seldom() {
    let mut world = echoes(HubSettings::default());
    let mut peers = vec![];
    for at in 0..1000 {
        // Not all at once, and not on whole seconds.
        world.pass(Duration::from_micros(30_011 + at));
        peers.push(world.open());
    }
    let mut pings = 0;
    let mut wakes = 0;
    let end = world.now.saturating_add(3600 * SECOND);
    while let Some(deadline) = world.hub.deadline(world.now).filter(|deadline| *deadline <= end) {
        world.now = deadline;
        world.settle();
        wakes += 1;
        for peer in &peers {
            if !peer.wire().from_hub.is_empty() {
                assert_eq!(peer.got(), [Got::Ping(vec![])]);
                peer.frame(0x8A, &[]);
                pings += 1;
            }
        }
        // On a network the answers come a little later.
        world.now = world.now.saturating_add(Duration::from_millis(20));
        world.settle();
    }
    println!("1000 idle sessions, a Ping every 30 s: {wakes} wake-ups by timers an hour, {pings} Pings");
    assert!((113_000..=120_000).contains(&pings), "{pings}");
    assert!(wakes < 3700, "{wakes}");
    assert_eq!(world.handle.sessions().len(), 1000);
    world.end();
}

/// A deadline that comes nearer and goes away again leaves nothing behind.
#[test]
fn timers_do_not_pile_up() {
    let mut world = World::new(HubSettings::default(), |_| {
        App::new(|| {
            Box::new(|now, call, deadline, _| {
                match call {
                    Call::Event(_) => *deadline = Some(now.saturating_add(Duration::from_millis(1))),
                    Call::Timer => *deadline = None,
                    _ => {}
                }
                Ok(())
            })
        })
    });
    let peer = world.open();
    for _ in 0..1000 {
        peer.text("x");
        world.settle();
        world.pass(Duration::from_millis(10));
    }
    // The Ping; and once before it, as a connection may name a deadline that was put off since.
    let mut wakes = 0;
    while peer.got() != [Got::Ping(vec![])] {
        world.now = world.hub.deadline(world.now).unwrap();
        world.settle();
        wakes += 1;
    }
    assert!(wakes <= 2, "{wakes}");
    world.end();
}

// ---- handles ----

#[test]
fn a_handle_works_inside_handlers_and_closures() {
    let told = Reported::default();
    let log: Arc<Mutex<Vec<&'static str>>> = Arc::default();
    let (done, entries) = (told.clone(), log.clone());
    let mut world = World::new(settings(|settings| settings.max_commands = 100), move |handle| {
        App::choose(move |session, _| {
            let (id, handle, told, log) = (session.id(), handle.clone(), done.clone(), entries.clone());
            Box::new(move |_, call, _, _| {
                if let Call::Event(Event::Data(_)) = call {
                    let (again, log, told) = (handle.clone(), log.clone(), told.clone());
                    assert_eq!(handle.sessions().len(), 2);
                    let _ = handle.counters();
                    handle.broadcast(Prepared::text("all")).unwrap();
                    handle
                        .call(move |hub| {
                            log.lock().unwrap().push("run");
                            assert_eq!(again.sessions().len(), 2);
                            hub.send(id, Prepared::text("from within")).unwrap();
                            let (handle, log) = (again.clone(), log.clone());
                            let then = again.clone();
                            again
                                .send_with(id, Prepared::text("done"), move |result| {
                                    assert_eq!(result, Ok(()));
                                    log.lock().unwrap().push("completion");
                                    assert_eq!(then.sessions().len(), 2);
                                    then.send_with(id, Prepared::text("more"), told.done(1)).unwrap();
                                })
                                .unwrap();
                            handle.call(|hub| assert_eq!(hub.counters().opened, 2)).unwrap();
                        })
                        .unwrap();
                }
                Ok(())
            })
        })
    });
    let (first, second) = (world.open(), world.open());
    first.text("go");
    world.settle();
    assert_eq!(first.got(), ["all", "from within", "done", "more"].map(text));
    assert_eq!(second.got(), [text("all")]);
    assert_eq!(*log.lock().unwrap(), ["run", "completion"]);
    assert_eq!(told.take(), [(1, Ok(()))]);
    world.end();
}

/// Who asks for something within what was asked for waits for the next turn: nothing runs for ever.
#[test]
fn a_closure_that_posts_itself_does_not_block_the_loop() {
    fn again(handle: sansocket::hub::HubHandle, count: Arc<Mutex<usize>>) {
        let next = handle.clone();
        handle
            .call(move |_| {
                *count.lock().unwrap() += 1;
                again(next, count);
            })
            .unwrap();
    }
    let mut world = echoes(HubSettings::default());
    let count = Arc::default();
    again(world.handle.clone(), Arc::clone(&count));
    for turns in 1..5 {
        world.run();
        assert_eq!(*count.lock().unwrap(), turns);
    }
}

/// A handler that sends what another thread has left, when it is woken.
struct Mailbox(Arc<Mutex<Vec<String>>>);

impl Handler for Mailbox {
    fn event(&mut self, _: Event<'_>, _: &mut Outbox<'_>) -> Result<(), HandlerError> {
        Ok(())
    }

    fn woken(&mut self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let letters = self.0.lock().unwrap().join(" ");
        Ok(out.send(&letters)?)
    }
}

#[test]
fn another_thread_wakes_the_handler_of_a_session() {
    struct Mail(Arc<Mutex<Vec<String>>>);
    impl Application for Mail {
        type Handler = Mailbox;

        fn request<'s>(&'s mut self, _: &mut SessionInfo, _: &Request<'_>) -> RequestAction<'s, Mailbox> {
            RequestAction::Serve(Mailbox(Arc::clone(&self.0)))
        }
    }
    let letters = Arc::new(Mutex::new(vec![]));
    let shared = Arc::clone(&letters);
    let mut world = World::new(HubSettings::default(), |_| Mail(shared));
    let (first, second) = (world.open(), world.open());
    letters.lock().unwrap().push("one".into());
    // Two calls before the session's turn lead to one.
    world.handle.wake(first.id).unwrap();
    world.handle.wake(first.id).unwrap();
    world.settle();
    assert_eq!(first.got(), [text("one")]);
    assert_eq!(second.got(), []);
    letters.lock().unwrap().push("two".into());
    let mut hub = world.hub.context();
    assert!(hub.wake(second.id));
    assert!(!hub.wake(SessionId::new(99)));
    world.settle();
    assert_eq!(second.got(), [text("one two")]);
    // Without room in the transport the handler is called again.
    first.block();
    world.handle.wake(first.id).unwrap();
    world.settle();
    assert_eq!(first.got(), []);
    first.allow(100);
    world.settle();
    assert_eq!(first.got(), [text("one two")]);
    // A session that is not open yet is not woken.
    let third = world.connect();
    world.handle.wake(third.id).unwrap();
    world.settle();
    third.feed(REQUEST);
    world.settle();
    assert!(!third.bytes().ends_with(b"two"));
    world.end();
}

#[test]
fn sessions_are_listed_and_selected() {
    let mut world = World::new(HubSettings::default(), |_| {
        App::choose(|session, request| {
            session.set_tag(request.path().len() as u32);
            echo()
        })
    });
    let (first, second, third) = (world.open(), world.open(), world.connect());
    let states = |world: &World<App>| -> Vec<_> {
        world.handle.sessions().iter().map(|session| (session.id(), session.state(), session.tag())).collect()
    };
    let (open, hand) = (SessionState::Open, SessionState::Handshake);
    assert_eq!(states(&world), [(first.id, open, 3), (second.id, open, 3), (third.id, hand, 0)]);
    assert_eq!(world.handle.sessions()[0].peer(), address());
    let id = second.id;
    world.handle.broadcast_to(Prepared::text("you"), move |session| session.id() == id).unwrap();
    let (reached, count) = mpsc::channel();
    world
        .handle
        .call(move |hub| {
            let seen = hub.sessions().count();
            let all = hub.broadcast("all");
            let none = hub.broadcast_to("none", |session| session.tag() == 9);
            reached.send((seen, all, none)).unwrap();
        })
        .unwrap();
    world.settle();
    assert_eq!(count.recv().unwrap(), (3, 2, 0));
    assert_eq!(first.got(), [text("all")]);
    assert_eq!(second.got(), [text("you"), text("all")]);
    assert_eq!(third.bytes(), b"");
    world.handle.close(first.id, CloseCode::NORMAL, "bye").unwrap();
    // One that is not open yet is dropped.
    world.handle.close(third.id, CloseCode::NORMAL, "bye").unwrap();
    world.settle();
    assert!(third.is_gone());
    assert_eq!(states(&world), [(first.id, SessionState::Closing, 3), (second.id, open, 3)]);
    world.end();
}

/// An [`App`] in its hub is there for what runs in the loop.
#[test]
fn a_closure_reaches_the_application() {
    let mut world = echoes(HubSettings::default());
    world
        .handle
        .call(|hub| {
            assert!(hub.application::<Routes>().is_none());
            hub.application::<App>().unwrap().welcome = false;
        })
        .unwrap();
    world.settle();
    assert!(!world.hub.application().welcome);
}

// ---- counters ----

#[test]
fn counters_agree_with_the_bytes_on_the_wire() {
    let mut world = echoes(HubSettings::default());
    let peers: Vec<_> = (0..4).map(|_| world.open()).collect();
    let before = peers.iter().map(|peer| peer.wire().sent).sum::<u64>();
    assert!(before > 0);
    for peer in &peers {
        peer.text("hello");
        peer.frame(0x02, &[1; 3000]);
        peer.frame(0x89, b"ping");
        peer.frame(0x80, &[2; 3000]);
    }
    world.handle.broadcast(Prepared::text("all")).unwrap();
    world.handle.broadcast(numbered(1, 5000).1).unwrap();
    world.settle();
    peers[0].bye(1000);
    peers[1].frame(0xFF, b"wrong");
    peers[2].fin();
    peers[3].cut();
    let page = world.connect();
    page.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    page.fin();
    let wrong = world.connect();
    wrong.feed(b"nonsense\r\n\r\n");
    wrong.fin();
    let silent = world.connect();
    silent.cut();
    world.pass(10 * SECOND);
    let counters = world.end();
    let all = || peers.iter().chain([&page, &wrong, &silent]);
    assert_eq!(counters.received, all().map(|peer| peer.wire().received).sum::<u64>());
    assert_eq!(counters.sent, all().map(|peer| peer.wire().sent).sum::<u64>());
    assert_eq!((counters.accepted, counters.opened, counters.messages), (7, 4, 8));
    assert_eq!((counters.delivered, counters.lost), (8, 0));
    let closed = counters.closed;
    assert_eq!((closed.clean, closed.violation, closed.disconnected), (1, 1, 2));
    // The page got 426, what is no HTTP 400; the last had nothing to say.
    let refused = counters.refused;
    assert_eq!((refused.upgrade, refused.not_http, refused.disconnected), (1, 1, 1));
    assert_eq!(world.hub.application().ended.len(), 7);
    assert_eq!(world.hub.application().closed.lock().unwrap().len(), 4);
}

/// They are there when the hub has nothing left to do, not when it is woken next.
#[test]
fn counters_are_those_of_the_last_turn() {
    let mut world = echoes(settings(|settings| settings.config = patient()));
    let peer = world.open();
    peer.text("x");
    world.run();
    assert_eq!(world.hub.deadline(world.now), None, "it waits for ever");
    assert_eq!(world.handle.counters().messages, 1);
    peer.cut();
    world.run();
    assert_eq!(world.hub.deadline(world.now), None);
    assert_eq!(world.handle.counters().ended, 1);
}

// ---- the end ----

#[test]
fn stop_under_load_is_over_in_time() {
    let mut world = echoes(settings(|settings| settings.config = patient()));
    let mut peers = vec![];
    for at in 0..40 {
        let peer = match at % 8 {
            0..=5 => world.open(),
            _ => world.connect(),
        };
        match at % 8 {
            0 => peer.feed(&masked(0x82, &[1; 100_000])),
            // It reads nothing, with a message begun and more behind it.
            1 => {
                peer.block();
                world.handle.send(peer.id, numbered(1, 50_000).1).unwrap();
            }
            2 => {
                peer.block();
                peer.text("echo");
            }
            // Half a frame, half a request, and a request with a body that does not come.
            3 => peer.feed(&masked(0x82, &[1; 1000])[..500]),
            6 => peer.feed(&REQUEST[..50]),
            7 => {
                peer.feed(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
                world.settle();
            }
            _ => {}
        }
        peers.push(peer);
    }
    world.run();
    world.handle.stop(CloseCode::GOING_AWAY).unwrap();
    world.run();
    assert!(!world.hub.admits(world.now));
    // Those that go on sending do not hold it up; some answer.
    let stopped = world.now;
    for tick in 0..13 {
        for (at, peer) in peers.iter().enumerate().filter(|(_, peer)| !peer.is_gone()) {
            if at % 8 == 4 && tick == 1 {
                assert_eq!(peer.got(), [Got::Close(1001)]);
                peer.bye(1001);
            } else if at % 8 < 6 {
                peer.feed(&masked(0x82, &[1; 50_000]));
            }
        }
        world.pass(SECOND);
    }
    assert!(world.hub.is_over());
    assert!(peers.iter().all(Peer::is_gone));
    assert_eq!(stopped.saturating_duration_until(world.now), 13 * SECOND);
    check(&world.handle.counters());
    assert_eq!(world.handle.counters().closed.clean, 5);
}

#[test]
fn a_connection_is_adopted() {
    let mut world = echoes(settings(|settings| settings.max_sessions = 1));
    let (pipe, peer) = World::<App>::pipe();
    let script = world.hub.application().script(echo());
    let mut peer = peer;
    peer.id = world.hub.adopt(world.now, pipe, address(), script, Some("chat")).unwrap_or_else(|_| panic!());
    let peer = world.know(peer);
    world.handle.send(peer.id, Prepared::text("welcome")).unwrap();
    world.settle();
    peer.text("hello");
    world.settle();
    assert_eq!(peer.got(), [text("welcome"), text("hello")]);
    assert_eq!(world.handle.sessions()[0].state(), SessionState::Open);
    let (pipe, _) = World::<App>::pipe();
    let script = world.hub.application().script(echo());
    assert!(world.hub.adopt(world.now, pipe, address(), script, None).is_err(), "at capacity");
    peer.bye(1000);
    world.settle();
    assert!(peer.is_gone());
    world.hub.stop(CloseCode::NORMAL);
    let (pipe, _) = World::<App>::pipe();
    let script = world.hub.application().script(echo());
    assert!(world.hub.adopt(world.now, pipe, address(), script, None).is_err(), "stopping");
    let counters = world.end();
    assert_eq!((counters.accepted, counters.opened, counters.closed.clean), (1, 1, 1));
    // A driver of one's own has no need of a hub for this.
    let _ = HandlerDriver::new(Connection::new(Server, &Config::DEFAULT, world.now), None);
}

/// Nothing is written, and nothing waits: that is no progress.
#[test]
fn a_transport_that_takes_nothing_for_ever_has_failed() {
    struct Zero;
    impl sansocket::hub::driver::HubSocket for Zero {
        fn recv(&mut self, into: &mut [u8]) -> Result<Option<usize>, sansocket::hub::driver::SocketFailed> {
            let n = REQUEST.len();
            into[..n].copy_from_slice(REQUEST);
            Ok(Some(n))
        }

        fn send(
            &mut self,
            _: &[u8],
            _: &[u8],
        ) -> Result<Option<usize>, sansocket::hub::driver::SocketFailed> {
            Ok(Some(0))
        }

        fn shutdown(&mut self) -> Result<(), sansocket::hub::driver::SocketFailed> {
            Ok(())
        }
    }
    struct Plain;
    struct Nothing;
    impl sansocket::Handler for Nothing {
        fn event(&mut self, _: Event<'_>, _: &mut sansocket::Outbox<'_>) -> Result<(), HandlerError> {
            Ok(())
        }
    }
    impl sansocket::hub::Application for Plain {
        type Handler = Nothing;

        fn request<'s>(
            &'s mut self,
            _: &mut SessionInfo,
            _: &sansocket::handshake::Request<'_>,
        ) -> sansocket::hub::RequestAction<'s, Nothing> {
            sansocket::hub::RequestAction::Serve(Nothing)
        }
    }
    let world = echoes(HubSettings::default());
    let mut hub = Hub::new(HubSettings::default(), Arc::new(Shelf::default()), |_| Plain).unwrap();
    let _ = hub.accept(world.now, Zero, address());
    for _ in 0..10 {
        hub.ready(0, Ready { read: true, write: true, hang_up: true });
        hub.run(world.now);
    }
    hub.stop(CloseCode::NORMAL);
    assert!(hub.is_over());
}

// ---- panics ----

#[test]
fn a_panic_ends_one_session_and_nothing_else() {
    fn world() -> World<App> {
        World::new(settings(|settings| settings.config = patient()), |_| {
            App::choose(|_, request| {
                assert_ne!(request.path(), "/panic", "on purpose");
                Box::new(|now, call, deadline, out| {
                    match call {
                        Call::Event(Event::Data(data)) => match data.payload.as_bytes() {
                            b"event" => panic!("on purpose"),
                            b"inside" => {
                                out.begin_frame(Kind::Text, 100, true)?;
                                out.write(b"half")?;
                                panic!("on purpose");
                            }
                            b"timer" => *deadline = Some(now.saturating_add(SECOND)),
                            _ => out.forward(&data)?,
                        },
                        Call::Timer => panic!("on purpose"),
                        _ => {}
                    }
                    Ok(())
                })
            })
        })
    }
    fn alive(world: &mut World<App>, peer: &Peer) {
        peer.text("alive");
        world.settle();
        assert_eq!(peer.got(), [text("alive")]);
    }
    for what in ["event", "inside", "timer", "request"] {
        let mut world = world();
        let (other, id) = (world.open(), {
            let peer = if what == "request" { world.connect() } else { world.open() };
            if what == "request" {
                peer.feed(std::str::from_utf8(REQUEST).unwrap().replace("/ws", "/panic").as_bytes());
            } else {
                peer.text(what);
            }
            world.pass(2 * SECOND);
            assert!(peer.is_gone(), "{what}");
            peer.id
        });
        assert_eq!(world.hub.application().ended, [(id, None)]);
        assert_eq!(world.handle.sessions().len(), 1);
        alive(&mut world, &other);
        // Its buffers and its place serve another.
        let next = world.open();
        alive(&mut world, &next);
        assert_eq!(world.end().panicked, 1);
    }
    // What others have the hub do may panic too: a function, a filter, a completion.
    let mut world = world();
    let peer = world.open();
    let told = Reported::default();
    world.handle.call(|_| panic!("on purpose")).unwrap();
    world.handle.send_with(peer.id, Prepared::text("1"), told.done(1)).unwrap();
    world.handle.broadcast_to(Prepared::text("never"), |_| panic!("on purpose")).unwrap();
    world.handle.send_with(SessionId::new(99), Prepared::text("x"), |_| panic!("on purpose")).unwrap();
    world.handle.send_with(peer.id, Prepared::text("2"), told.done(2)).unwrap();
    world.run();
    assert_eq!(world.hub.deadline(world.now), Some(world.now), "there is more to do");
    world.settle();
    assert_eq!(peer.got(), [text("1"), text("2")]);
    assert_eq!(told.take(), [(1, Ok(())), (2, Ok(()))]);
    alive(&mut world, &peer);
    assert_eq!(world.end().panicked, 0);
}

/// The default is what it was when nothing had happened.
#[test]
fn nothing_has_happened() {
    let world = echoes(HubSettings::default());
    assert_eq!(world.handle.counters(), Counters::default());
    assert_eq!(world.hub.deadline(world.now), None);
}

/// The defaults are those that the documentation names, and each can be set.
#[test]
fn every_limit_is_a_setting_with_a_default() {
    let settings = HubSettings::default();
    assert_eq!((settings.max_sessions, settings.capacity), (1024, Capacity::Refuse(16)));
    assert_eq!(
        (settings.handshakes_per_second, settings.head_buffer, settings.pooled_buffers),
        (None, 8 * 1024, 64)
    );
    assert_eq!((settings.receive_buffer, settings.transmit_buffer), (66 * 1024, 66 * 1024));
    assert_eq!((settings.queue.messages, settings.queue.bytes), (256, 1024 * 1024));
    assert_eq!((settings.queue.overflow, settings.max_commands), (Overflow::DropNewest, 4096));
    let Config { limits, timeouts, .. } = &*settings.config;
    assert_eq!((limits.message, limits.frame, limits.fragments), (64 << 20, 64 << 20, 131_072));
    assert_eq!((limits.head, limits.headers, limits.pings_per_second), (8 * 1024, 128, None));
    let seconds = |n| Some(Duration::from_secs(n));
    assert_eq!((timeouts.handshake, timeouts.idle), (seconds(10), None));
    assert_eq!((timeouts.ping, timeouts.pong), (seconds(30), seconds(20)));
    assert_eq!((timeouts.close, timeouts.write), (seconds(5), seconds(30)));
}
