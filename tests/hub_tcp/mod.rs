//! What a hub does over TCP, whatever drives it. The test crate has a function `serve`, which starts one.

mod load;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use sansocket::hub::{Capacity, HubSettings, InvalidSettings, NotDelivered, SessionId, SessionState};
use sansocket::message::Prepared;
use sansocket::proto::MIN_BUFFER_LEN;
use sansocket::{CloseCode, Config};
use tungstenite::Message as Theirs;

use crate::hub_server::*;
use crate::serve;

/// What a server is started with.
pub(crate) struct Start {
    pub(crate) listeners: Vec<TcpListener>,
    pub(crate) settings: HubSettings,
    /// `None`: the server's default.
    pub(crate) keep_alive: Option<Option<Duration>>,
}

impl Default for Start {
    fn default() -> Self {
        let listeners = vec![TcpListener::bind("127.0.0.1:0").unwrap()];
        Self { listeners, settings: HubSettings::default(), keep_alive: None }
    }
}

fn start(settings: HubSettings) -> HubServer {
    serve(Start { settings, ..Start::default() }, |_| Echoes).unwrap()
}

fn settings(change: impl FnOnce(&mut HubSettings)) -> HubSettings {
    let mut settings = HubSettings::default();
    change(&mut settings);
    settings
}

#[test]
fn a_server_echoes_broadcasts_and_stops() {
    let server = start(HubSettings::default());
    let (mut client, _) = tungstenite::connect(format!("ws://{}/", server.address)).unwrap();
    client.send(Theirs::text("hello")).unwrap();
    assert_eq!(client.read().unwrap(), Theirs::text("hello"));
    let big = vec![7; 900_000];
    server.handle.broadcast(Prepared::binary(big.clone())).unwrap();
    server.handle.broadcast(Prepared::text("small")).unwrap();
    assert!(client.read().unwrap() == Theirs::binary(big));
    assert_eq!(client.read().unwrap(), Theirs::text("small"));
    server.handle.stop(CloseCode::GOING_AWAY).unwrap();
    assert!(matches!(client.read().unwrap(), Theirs::Close(Some(_))));
    while client.read().is_ok() {}
    drop(client);
    server.thread.join().unwrap();
    let counters = server.handle.counters();
    assert_eq!((counters.accepted, counters.ended, counters.closed.clean), (1, 1, 1));
}

/// Whatever their sizes; and what the application's constructor has posted is done in the first turn.
#[test]
fn messages_sent_before_a_close_arrive_before_it() {
    for len in [50, 1_000, 1_100, 2_000, 20_000, 300_000] {
        let (ran, first) = mpsc::channel();
        let server = serve(Start::default(), |handle| {
            handle.call(move |_| ran.send(()).unwrap()).unwrap();
            Echoes
        });
        let server = server.unwrap();
        first.recv_timeout(Duration::from_secs(30)).unwrap();
        let mut client = open(server.address);
        echo(&mut client, "here");
        // Above the limit of the queue; when it has arrived, the queue is empty.
        server.handle.broadcast(Prepared::binary(vec![9; 2_000_000])).unwrap();
        assert!(next(&mut client).unwrap() == (0x82, vec![9; 2_000_000]));
        let id = server.handle.sessions()[0].id();
        let (done, told) = mpsc::channel();
        for number in 0..4 {
            let done = done.clone();
            let message = Prepared::binary(vec![number; len]);
            let done = move |result| done.send((number, result)).unwrap();
            server.handle.send_with(id, message, done).unwrap();
            if number == 2 {
                server.handle.close(id, CloseCode::NORMAL, &"\u{e9}".repeat(80)).unwrap();
            }
        }
        for number in 0..3 {
            assert!(next(&mut client).unwrap() == (0x82, vec![number; len]), "{len}: {number}");
        }
        // A Close has room for 123 bytes of a reason, here for 61 characters.
        let body = [b"\x03\xe8", "\u{e9}".repeat(61).as_bytes()].concat();
        assert_eq!(next(&mut client).unwrap(), (0x88, body));
        let mut told: Vec<_> = (0..4).map(|_| told.recv().unwrap()).collect();
        told.sort_by_key(|(number, _)| *number);
        assert_eq!(told, [(0, Ok(())), (1, Ok(())), (2, Ok(())), (3, Err(NotDelivered::Closing))], "{len}");
        client.write_all(&masked(0x88, b"\x03\xe8")).unwrap();
        drop(client);
        let counters = server.stop().counters();
        assert_eq!((counters.delivered, counters.lost, counters.waiting), (4, 1, 0));
    }
}

/// What the system holds of an accepted connection's timers, where 2 is keep-alive.
#[test]
fn accepted_sockets_have_keep_alive_and_no_delay() {
    let timers = |local: u16, peer: u16| {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let ours = (format!(":{local:04X}"), format!(":{peer:04X}"));
        let line = table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .find(|fields| fields.len() > 5 && fields[1].ends_with(&ours.0) && fields[2].ends_with(&ours.1));
        line.expect("the connection")[5][..2].to_owned()
    };
    for (silence, timer) in [(Some(Duration::from_secs(60)), "02"), (None, "00")] {
        let server = serve(Start { keep_alive: Some(silence), ..Start::default() }, |_| Echoes).unwrap();
        let mut client = open(server.address);
        echo(&mut client, "here");
        // What was sent is acknowledged: no other timer stands in the way.
        wait_for("quiet", || timers(server.address.port(), client.local_addr().unwrap().port()) == timer);
        drop(client);
        server.stop();
    }
}

#[test]
fn settings_that_can_serve_nobody_are_named_errors_of_bind() {
    type Change = fn(&mut HubSettings);
    let wrong: [(Change, InvalidSettings); 10] = [
        (|settings| settings.max_sessions = 0, InvalidSettings::Zero("max_sessions")),
        (|settings| settings.max_commands = 0, InvalidSettings::Zero("max_commands")),
        (|settings| settings.handshakes_per_second = Some(0), InvalidSettings::Zero("handshakes_per_second")),
        (|settings| settings.head_buffer = MIN_BUFFER_LEN - 1, InvalidSettings::TooSmall("head_buffer")),
        (|settings| settings.receive_buffer = 0, InvalidSettings::TooSmall("receive_buffer")),
        (
            |settings| settings.transmit_buffer = MIN_BUFFER_LEN - 1,
            InvalidSettings::TooSmall("transmit_buffer"),
        ),
        (|settings| settings.head_buffer = usize::MAX, InvalidSettings::NoMemory("head_buffer")),
        (|settings| settings.receive_buffer = usize::MAX, InvalidSettings::NoMemory("receive_buffer")),
        // Half of the address space may be had where that is 4 GiB.
        (
            |settings| settings.receive_buffer = usize::MAX >> usize::from(usize::BITS > 32),
            InvalidSettings::NoMemory("receive_buffer"),
        ),
        (|settings| settings.transmit_buffer = usize::MAX, InvalidSettings::NoMemory("transmit_buffer")),
    ];
    for (change, error) in wrong {
        let make = |_| -> Echoes { panic!("the application is made for {error}") };
        let start = Start { settings: settings(change), ..Start::default() };
        let Err(refused) = serve(start, make) else { panic!("{error}") };
        assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
        assert_eq!(refused.get_ref().unwrap().downcast_ref(), Some(&error));
        let (InvalidSettings::Zero(name) | InvalidSettings::TooSmall(name) | InvalidSettings::NoMemory(name)) =
            error
        else {
            unreachable!()
        };
        assert!(refused.to_string().contains(&format!("Settings::{name} ")), "{refused}");
    }
    // The least that serves.
    let server = start(settings(|settings| {
        (settings.max_sessions, settings.max_commands, settings.handshakes_per_second) = (1, 1, Some(1));
        (settings.head_buffer, settings.receive_buffer, settings.transmit_buffer) =
            (300, MIN_BUFFER_LEN, MIN_BUFFER_LEN);
    }));
    echo(&mut open(server.address), "served");
    server.stop();
}

#[test]
fn a_server_accepts_from_each_of_its_listeners() {
    let mut settings = HubSettings::default();
    settings.max_sessions = 4;
    let listeners: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
    let server = serve(Start { listeners, settings, ..Start::default() }, |_| Echoes).unwrap();
    assert_eq!(server.address, addresses[0]);
    let mut clients: Vec<_> = addresses.iter().map(|address| open(*address)).collect();
    clients.push(open(addresses[2]));
    for client in &mut clients {
        echo(client, "here");
    }
    // They share the places.
    for address in &addresses {
        let mut refused = connect(*address);
        refused.write_all(REQUEST).unwrap();
        assert!(head(&mut refused).unwrap().starts_with(b"HTTP/1.1 503 "));
    }
    // A connection that ends makes room for the next one, on any listener.
    drop(clients.pop());
    wait_for("a place", || server.handle.sessions().len() == 3);
    clients.push(open(addresses[0]));
    drop(clients);
    server.stop();
    for address in addresses {
        assert!(TcpStream::connect(address).is_err(), "a server that has ended listens on {address}");
    }
}

/// Who had to wait outside comes in as soon as there is room, not when something else happens.
#[test]
fn a_waiting_connection_gets_the_place_that_becomes_free() {
    let server = start(settings(|settings| {
        settings.max_sessions = 1;
        settings.capacity = Capacity::Refuse(0);
        settings.config = {
            let mut config = Config::new();
            config.timeouts.ping = None;
            Arc::new(config)
        };
    }));
    let mut first = open(server.address);
    let mut second = connect(server.address);
    second.write_all(REQUEST).unwrap();
    echo(&mut first, "here");
    drop(first);
    opened(&mut second);
    echo(&mut second, "at last");
    drop(second);
    server.stop();
}

#[test]
fn an_idle_server_does_not_spin() {
    let server = start(settings(|settings| {
        settings.config = {
            let mut config = Config::new();
            config.timeouts.ping = None;
            config.timeouts.handshake = None;
            config.timeouts.close = Some(Duration::from_secs(100));
            Arc::new(config)
        };
        settings.max_sessions = 20;
        settings.capacity = Capacity::Refuse(1);
    }));
    let mut all = vec![];
    // One that never reads what it is sent, and sends until nothing goes any more: the handler is blocked.
    let mut blocked = open(server.address);
    blocked.set_nonblocking(true).unwrap();
    let many = masked(0x82, &[0; 10_000]).repeat(20);
    while blocked.write(&many).is_ok() {}
    all.push(blocked);
    // The same with messages from the hub, and both sides shut.
    for _ in 0..2 {
        let deaf = open(server.address);
        server.handle.broadcast(Prepared::binary(vec![0; 500_000])).unwrap();
        deaf.shutdown(std::net::Shutdown::Write).unwrap();
        all.push(deaf);
    }
    // Half a frame, half a request, none; and one that is owed a Close.
    let mut half = open(server.address);
    half.write_all(&masked(0x82, &[0; 100])[..50]).unwrap();
    all.push(half);
    let mut half = connect(server.address);
    half.write_all(&REQUEST[..50]).unwrap();
    all.push(half);
    all.push(connect(server.address));
    let mut wrong = open(server.address);
    wrong.write_all(&[0xFF; 10_000]).unwrap();
    all.push(wrong);
    // All places are taken, and one more waits.
    while all.len() < 25 {
        all.push(connect(server.address));
    }
    wait_for("full", || server.handle.sessions().len() == 21);
    thread::sleep(Duration::from_millis(300));
    let (slept, ran) = restlessness(server.thread.thread());
    thread::sleep(Duration::from_secs(1));
    let (again, more) = restlessness(server.thread.thread());
    assert!(again - slept < 20 && more - ran < 20, "{} sleeps, {} ms", again - slept, (more - ran) * 10);
    drop(all);
    let handle = server.stop();
    assert_eq!(handle.counters().accepted, handle.counters().ended);
}

#[test]
fn a_handler_that_panics_ends_its_own_session() {
    let server = start(HubSettings::default());
    let (mut good, mut bad) = (open(server.address), open(server.address));
    bad.write_all(&masked(0x81, b"panic")).unwrap();
    assert_eq!(bad.read(&mut [0; 10]).unwrap_or(0), 0);
    echo(&mut good, "alive");
    server.handle.call(|_| panic!("on purpose")).unwrap();
    echo(&mut good, "still");
    echo(&mut open(server.address), "and others");
    assert_eq!(server.handle.counters().panicked, 1);
    drop(good);
    server.stop();
}

#[test]
fn a_slow_reader_does_not_delay_others() {
    let server = start(HubSettings::default());
    let slow = open(server.address);
    let mut fast: Vec<_> = (0..5).map(|_| open(server.address)).collect();
    let payload = vec![5; 300_000];
    let message = Prepared::binary(payload.clone());
    for _ in 0..40 {
        server.handle.broadcast(message.clone()).unwrap();
        for stream in &mut fast {
            assert!(next(stream).unwrap() == (0x82, payload.clone()));
        }
    }
    // What does not fit for the slow one is lost, and what it reads is whole.
    let counters = server.handle.counters();
    assert!(counters.lost > 10, "{counters:?}");
    slow.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut slow = std::io::BufReader::new(slow);
    let mut got = 0;
    while let Ok(frame) = next(&mut slow) {
        assert!(frame == (0x82, payload.clone()));
        got += 1;
    }
    assert!(got >= 3, "{got}");
    drop((slow, fast));
    let counters = server.stop().counters();
    assert_eq!(counters.delivered + counters.lost, 240);
}

#[test]
fn stop_under_load_and_again_on_the_same_port() {
    let mut address = None;
    for _ in 0..3 {
        let listener = match address {
            None => TcpListener::bind("127.0.0.1:0").unwrap(),
            Some(address) => TcpListener::bind(address).unwrap(),
        };
        let config = {
            let mut config = Config::new();
            config.timeouts.close = Some(Duration::from_millis(500));
            Arc::new(config)
        };
        let settings = settings(|settings| settings.config = config);
        let start = Start { listeners: vec![listener], settings, ..Start::default() };
        let server = serve(start, |_| Echoes).unwrap();
        address = Some(server.address);
        let clients: Vec<_> = (0..10)
            .map(|at| {
                let mut stream = open(server.address);
                thread::spawn(move || {
                    // Some read nothing.
                    let many = masked(0x82, &vec![1; 50_000]);
                    while stream.write_all(&many).is_ok() {
                        if at % 2 == 0 && !matches!(next(&mut stream), Ok((0x82, _))) {
                            break;
                        }
                    }
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(100));
        let counters = server.stop().counters();
        assert_eq!((counters.accepted, counters.ended), (10, 10));
        clients.into_iter().for_each(|client| client.join().unwrap());
    }
}

/// Clones of one listener, one hub a thread.
#[test]
fn several_hubs_serve_one_port() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let servers: Vec<_> = (0..3)
        .map(|_| {
            let listener = listener.try_clone().unwrap();
            let settings = settings(|settings| {
                settings.max_sessions = 10;
                settings.capacity = Capacity::Refuse(0);
            });
            serve(Start { listeners: vec![listener], settings, ..Start::default() }, |_| Echoes).unwrap()
        })
        .collect();
    drop(listener);
    // None of them alone has room for all.
    let mut streams: Vec<_> = (0..30).map(|_| open(servers[0].address)).collect();
    streams.iter_mut().for_each(|stream| echo(stream, "hello"));
    for server in &servers {
        assert_eq!(server.handle.sessions().len(), 10);
        server.handle.broadcast(Prepared::text("all")).unwrap();
    }
    for stream in &mut streams {
        assert_eq!(next(stream).unwrap(), (0x81, b"all".to_vec()));
    }
    drop(streams);
    servers.into_iter().for_each(|server| drop(server.stop()));
}

#[test]
fn a_message_from_another_thread_is_completed() {
    let server = start(HubSettings::default());
    let mut stream = open(server.address);
    let id = server.handle.sessions()[0].id();
    let (told, results) = mpsc::channel();
    for at in 0..100usize {
        let told = told.clone();
        let id = if at % 10 == 9 { SessionId::new(id.get() + (1 << 32)) } else { id };
        server
            .handle
            .send_with(id, Prepared::binary(vec![at as u8; at * 100]), move |result| {
                told.send((at, result)).unwrap();
            })
            .unwrap();
    }
    for at in (0..100).filter(|at| at % 10 != 9) {
        assert!(next(&mut stream).unwrap() == (0x82, vec![at as u8; at * 100]));
    }
    let mut all: Vec<_> = (0..100).map(|_| results.recv().unwrap()).collect();
    all.sort_by_key(|(at, _)| *at);
    for (at, result) in all {
        assert_eq!(result, if at % 10 == 9 { Err(NotDelivered::Ended) } else { Ok(()) });
    }
    drop(stream);
    server.stop();
}

/// What was posted while a command panicked had its wake-up; nobody else would give another.
#[test]
fn commands_after_a_panic_are_executed() {
    let (tell, told) = mpsc::channel();
    let server = serve(Start::default(), |handle| {
        let (inner, again) = (handle.clone(), tell.clone());
        handle
            .call(move |_| {
                inner.call(move |_| again.send("posted meanwhile").unwrap()).unwrap();
                panic!("on purpose");
            })
            .unwrap();
        handle.call(move |_| tell.send("behind").unwrap()).unwrap();
        Echoes
    });
    let server = server.unwrap();
    assert_eq!(told.recv_timeout(Duration::from_secs(3)).unwrap(), "behind");
    assert_eq!(told.recv_timeout(Duration::from_secs(3)), Ok("posted meanwhile"));
    server.stop();
}

/// Those that wait for their 503 are beside the sessions, not among them.
#[test]
fn a_refused_connection_takes_no_place() {
    let server = start(settings(|s| {
        s.max_sessions = 2;
        s.capacity = Capacity::Refuse(2);
    }));
    let a = open(server.address);
    let _b = open(server.address);
    let _w1 = connect(server.address);
    let _w2 = connect(server.address);
    wait_for("4", || server.handle.sessions().len() == 4);
    drop(a);
    wait_for("3", || server.handle.sessions().len() == 3);
    let mut c = connect(server.address);
    c.write_all(REQUEST).unwrap();
    let head = head(&mut c).unwrap();
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", head.escape_ascii());
}

/// To have been told to go on is no reason to take longer.
#[test]
fn a_body_that_is_expected_has_the_handshakes_time() {
    let server = start(settings(|s| {
        let mut config = Config::new();
        config.timeouts.handshake = Some(Duration::from_millis(300));
        config.timeouts.write = None;
        s.config = Arc::new(config);
    }));
    for expect in ["", "Expect: 100-continue\r\n"] {
        let mut c = connect(server.address);
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
    let server = start(HubSettings::default());
    let mut c = open(server.address);
    wait_for("open", || server.handle.sessions().iter().any(|c| c.state() == SessionState::Open));
    let id = server.handle.sessions()[0].id();
    for _ in 0..2000 {
        server.handle.send(id, Prepared::text("x")).unwrap();
    }
    let mut n = 0;
    c.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    while next(&mut c).is_ok() {
        n += 1;
    }
    assert_eq!((n, server.handle.counters().lost), (2000, 0));
}

/// The same from within the loop.
#[test]
fn a_burst_from_within_the_loop_is_not_lost() {
    let server = start(HubSettings::default());
    let mut c = open(server.address);
    wait_for("open", || server.handle.sessions().iter().any(|c| c.state() == SessionState::Open));
    let id = server.handle.sessions()[0].id();
    let handle = server.handle.clone();
    server
        .handle
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
    assert_eq!((n, server.handle.counters().lost), (1000, 0));
}

/// The system refuses times below a second and above some hours: the nearest is taken.
#[test]
fn a_keep_alive_beyond_what_the_system_takes() {
    for silence in [Duration::from_millis(500), Duration::from_secs(10 * 3600)] {
        let server =
            serve(Start { keep_alive: Some(Some(silence)), ..Start::default() }, |_| Echoes).unwrap();
        let mut c = connect(server.address);
        let _ = c.write_all(REQUEST);
        let r = head(&mut c);
        assert!(r.is_ok(), "{silence:?} {r:?}");
    }
}

/// Who is leaving makes the room.
#[test]
fn no_session_is_evicted_while_another_is_closing() {
    let server = start(settings(|s| {
        s.max_sessions = 2;
        s.capacity = Capacity::Evict;
    }));
    let mut a = open(server.address);
    let mut b = open(server.address);
    wait_for("2", || {
        server.handle.sessions().iter().filter(|c| c.state() == SessionState::Open).count() == 2
    });
    // a is being closed and does not answer.
    let id = server.handle.sessions()[0].id();
    server.handle.close(id, sansocket::CloseCode::NORMAL, "").unwrap();
    assert_eq!(next(&mut a).unwrap().0, 0x88);
    wait_for("closing", || server.handle.sessions().iter().any(|c| c.state() == SessionState::Closing));
    let _c = open(server.address);
    echo(&mut b, "still here");
}

/// Who sends a request's body is not the one that has been silent for longest.
#[test]
fn an_upload_is_not_silence() {
    let server =
        start(settings(|settings| (settings.max_sessions, settings.capacity) = (2, Capacity::Evict)));
    let mut up = connect(server.address);
    up.write_all(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let _idle = open(server.address);
    wait_for("open", || server.handle.sessions().iter().any(|c| c.state() == SessionState::Open));
    std::thread::sleep(Duration::from_millis(50));
    up.write_all(&[0; 1000]).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let _new = open(server.address);
    let closing = || {
        let clients = server.handle.sessions().into_iter();
        clients
            .filter(|client| client.state() == SessionState::Closing)
            .map(|client| client.id().get())
            .collect::<Vec<_>>()
    };
    wait_for("somebody leaves", || !closing().is_empty());
    assert_eq!(closing(), [1], "0 is the upload, 1 the idle one");
}
