//! What a review found in the hub over real TCP.
#![cfg(all(feature = "mio", target_os = "linux"))]

mod town;
mod wire;

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use sansocket::Config;
use sansocket::hub::{Capacity, HubSettings, MioServer, SessionState};
use sansocket::message::Prepared;
use town::*;

fn settings(change: impl FnOnce(&mut HubSettings)) -> HubSettings {
    let mut settings = HubSettings::default();
    change(&mut settings);
    settings
}

/// What was posted while a command panicked had its wake-up; nobody else would give another.
#[test]
fn commands_after_a_panic_are_executed() {
    let server = MioServer::bind("127.0.0.1:0", HubSettings::default(), |_| Echoes).unwrap();
    let handle = server.handle();
    let (tell, told) = mpsc::channel();
    let (inner, again) = (handle.clone(), tell.clone());
    handle
        .call(move |_| {
            inner.call(move |_| again.send("posted meanwhile").unwrap()).unwrap();
            panic!("on purpose");
        })
        .unwrap();
    handle.call(move |_| tell.send("behind").unwrap()).unwrap();
    let town = Town::of(server);
    assert_eq!(told.recv_timeout(Duration::from_secs(3)).unwrap(), "behind");
    assert_eq!(told.recv_timeout(Duration::from_secs(3)), Ok("posted meanwhile"));
    town.stop();
}

/// Those that wait for their 503 are beside the sessions, not among them.
#[test]
fn a_refused_connection_takes_no_place() {
    let town = Town::new(settings(|s| {
        s.max_sessions = 2;
        s.capacity = Capacity::Refuse(2);
    }));
    let a = open(town.address);
    let _b = open(town.address);
    let _w1 = connect(town.address);
    let _w2 = connect(town.address);
    wait_for("4", || town.handle.sessions().len() == 4);
    drop(a);
    wait_for("3", || town.handle.sessions().len() == 3);
    let mut c = connect(town.address);
    c.write_all(REQUEST).unwrap();
    let head = head(&mut c).unwrap();
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", head.escape_ascii());
}

/// To have been told to go on is no reason to take longer.
#[test]
fn a_body_that_is_expected_has_the_handshakes_time() {
    let town = Town::new(settings(|s| {
        let mut config = Config::new();
        config.timeouts.handshake = Some(Duration::from_millis(300));
        config.timeouts.write = None;
        s.config = Arc::new(config);
    }));
    for expect in ["", "Expect: 100-continue\r\n"] {
        let mut c = connect(town.address);
        c.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        c.write_all(
            format!("POST /body HTTP/1.1\r\nHost: a\r\n{expect}Content-Length: 5\r\n\r\n").as_bytes(),
        )
        .unwrap();
        let mut all = vec![];
        let r = c.read_to_end(&mut all);
        assert!(all.windows(12).any(|w| w == b"HTTP/1.1 408"), "{expect}: {r:?} {}", all.escape_ascii());
    }
}

/// Commands are done in lots, between which sessions have their turn.
#[test]
fn a_burst_to_a_peer_that_reads_is_not_lost() {
    let server = MioServer::bind("127.0.0.1:0", HubSettings::default(), |_| Echoes).unwrap();
    let town = Town::of(server);
    let mut c = open(town.address);
    wait_for("open", || town.handle.sessions().iter().any(|c| c.state() == SessionState::Open));
    let id = town.handle.sessions()[0].id();
    for _ in 0..2000 {
        town.handle.send(id, Prepared::text("x")).unwrap();
    }
    let mut n = 0;
    c.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    while next(&mut c).is_ok() {
        n += 1;
    }
    assert_eq!((n, town.handle.counters().lost), (2000, 0));
}

/// The same from within the loop.
#[test]
fn a_burst_from_within_the_loop_is_not_lost() {
    let town = Town::of(MioServer::bind("127.0.0.1:0", HubSettings::default(), |_| Echoes).unwrap());
    let mut c = open(town.address);
    wait_for("open", || town.handle.sessions().iter().any(|c| c.state() == SessionState::Open));
    let id = town.handle.sessions()[0].id();
    let handle = town.handle.clone();
    town.handle
        .call(move |_| {
            for _ in 0..1000 {
                handle.send(id, Prepared::text("x")).unwrap();
            }
        })
        .unwrap();
    let mut n = 0;
    c.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    while next(&mut c).is_ok() {
        n += 1;
    }
    assert_eq!((n, town.handle.counters().lost), (1000, 0));
}

/// The system refuses times below a second and above some hours: the nearest is taken.
#[test]
fn a_keep_alive_beyond_what_the_system_takes() {
    for silence in [Duration::from_millis(500), Duration::from_secs(10 * 3600)] {
        let server = MioServer::bind("127.0.0.1:0", HubSettings::default(), |_| Echoes).unwrap();
        let town = Town::of(server.keep_alive(Some(silence)));
        let mut c = connect(town.address);
        let _ = c.write_all(REQUEST);
        let r = head(&mut c);
        assert!(r.is_ok(), "{silence:?} {r:?}");
    }
}

/// Who is leaving makes the room.
#[test]
fn no_session_is_evicted_while_another_is_closing() {
    let town = Town::new(settings(|s| {
        s.max_sessions = 2;
        s.capacity = Capacity::Evict;
    }));
    let mut a = open(town.address);
    let mut b = open(town.address);
    wait_for("2", || town.handle.sessions().iter().filter(|c| c.state() == SessionState::Open).count() == 2);
    // a is being closed and does not answer.
    let id = town.handle.sessions()[0].id();
    town.handle.close(id, sansocket::CloseCode::NORMAL, "").unwrap();
    assert_eq!(next(&mut a).unwrap().0, 0x88);
    wait_for("closing", || town.handle.sessions().iter().any(|c| c.state() == SessionState::Closing));
    let _c = open(town.address);
    echo(&mut b, "still here");
}

/// Who sends a request's body is not the one that has been silent for longest.
#[test]
fn an_upload_is_not_silence() {
    let town =
        Town::new(settings(|settings| (settings.max_sessions, settings.capacity) = (2, Capacity::Evict)));
    let mut up = connect(town.address);
    up.write_all(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let _idle = open(town.address);
    wait_for("open", || town.handle.sessions().iter().any(|c| c.state() == SessionState::Open));
    std::thread::sleep(Duration::from_millis(50));
    up.write_all(&[0; 1000]).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let _new = open(town.address);
    let closing = || {
        let clients = town.handle.sessions().into_iter();
        clients
            .filter(|client| client.state() == SessionState::Closing)
            .map(|client| client.id().get())
            .collect::<Vec<_>>()
    };
    wait_for("somebody leaves", || !closing().is_empty());
    assert_eq!(closing(), [1], "0 is the upload, 1 the idle one");
}
