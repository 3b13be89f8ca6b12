//! The hub over mio and real TCP.
#![cfg(all(feature = "mio", target_os = "linux"))]

mod town;
mod wire;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use sansocket::handshake::Request;
use sansocket::hub::driver::MioPlainAcceptor;
use sansocket::hub::{
    Application, Capacity, HandedOver, HubSettings, InvalidSettings, MioServer, MioTcpSocket, NotDelivered,
    RequestAction, SessionId, SessionInfo,
};
use sansocket::message::Prepared;
use sansocket::proto::MIN_BUFFER_LEN;
use sansocket::{CloseCode, Config};
use town::*;
use tungstenite::Message as Theirs;
use tungstenite::protocol::Role;

fn settings(change: impl FnOnce(&mut HubSettings)) -> HubSettings {
    let mut settings = HubSettings::default();
    change(&mut settings);
    settings
}

#[test]
fn a_server_echoes_broadcasts_and_stops() {
    let town = Town::new(HubSettings::default());
    let (mut client, _) = tungstenite::connect(format!("ws://{}/", town.address)).unwrap();
    client.send(Theirs::text("hello")).unwrap();
    assert_eq!(client.read().unwrap(), Theirs::text("hello"));
    let big = vec![7; 900_000];
    town.handle.broadcast(Prepared::binary(big.clone())).unwrap();
    town.handle.broadcast(Prepared::text("small")).unwrap();
    assert!(client.read().unwrap() == Theirs::binary(big));
    assert_eq!(client.read().unwrap(), Theirs::text("small"));
    town.handle.stop(CloseCode::GOING_AWAY).unwrap();
    assert!(matches!(client.read().unwrap(), Theirs::Close(Some(_))));
    while client.read().is_ok() {}
    drop(client);
    town.thread.join().unwrap();
    let counters = town.handle.counters();
    assert_eq!((counters.accepted, counters.ended, counters.closed.clean), (1, 1, 1));
}

/// Whatever their sizes; and what the application's constructor has posted is done in the first turn.
#[test]
fn messages_sent_before_a_close_arrive_before_it() {
    for len in [50, 1_000, 1_100, 2_000, 20_000, 300_000] {
        let (ran, first) = mpsc::channel();
        let server = MioServer::bind("127.0.0.1:0", HubSettings::default(), |handle| {
            handle.call(move |_| ran.send(()).unwrap()).unwrap();
            Echoes
        });
        let town = Town::of(server.unwrap());
        first.recv_timeout(Duration::from_secs(30)).unwrap();
        let mut client = open(town.address);
        echo(&mut client, "here");
        // Above the backlog; when it is here, the queue is empty.
        town.handle.broadcast(Prepared::binary(vec![9; 2_000_000])).unwrap();
        assert!(next(&mut client).unwrap() == (0x82, vec![9; 2_000_000]));
        let id = town.handle.sessions()[0].id();
        let (done, told) = mpsc::channel();
        for number in 0..4 {
            let done = done.clone();
            let message = Prepared::binary(vec![number; len]);
            let done = move |result| done.send((number, result)).unwrap();
            town.handle.send_with(id, message, done).unwrap();
            if number == 2 {
                town.handle.close(id, CloseCode::NORMAL, "bye").unwrap();
            }
        }
        for number in 0..3 {
            assert!(next(&mut client).unwrap() == (0x82, vec![number; len]), "{len}: {number}");
        }
        assert_eq!(next(&mut client).unwrap(), (0x88, b"\x03\xe8bye".to_vec()));
        let mut told: Vec<_> = (0..4).map(|_| told.recv().unwrap()).collect();
        told.sort_by_key(|(number, _)| *number);
        assert_eq!(told, [(0, Ok(())), (1, Ok(())), (2, Ok(())), (3, Err(NotDelivered::Closing))], "{len}");
        client.write_all(&masked(0x88, b"\x03\xe8")).unwrap();
        drop(client);
        let counters = town.stop().counters();
        assert_eq!((counters.delivered, counters.lost, counters.waiting), (4, 1, 0));
    }
}

/// V9: what the system holds of an accepted connection's timers, where 2 is keep-alive.
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
        let server = MioServer::bind("127.0.0.1:0", HubSettings::default(), |_| Echoes).unwrap();
        let town = Town::of(server.keep_alive(silence));
        let mut client = open(town.address);
        echo(&mut client, "here");
        // What was sent is acknowledged: no other timer stands in the way.
        wait_for("quiet", || timers(town.address.port(), client.local_addr().unwrap().port()) == timer);
        drop(client);
        town.stop();
    }
    // A connection that was accepted elsewhere has what the server has.
    for (silence, timer) in [(Some(Duration::from_secs(60)), "02"), (None, "00")] {
        let server =
            MioServer::bind("127.0.0.1:0", HubSettings::default(), |_| Echoes).unwrap().keep_alive(silence);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let mut socket = server.socket_factory().tcp(listener.accept().unwrap().0).unwrap();
        assert!(socket.get_mut().nodelay().unwrap(), "TCP_NODELAY");
        assert_eq!(timers(address.port(), client.local_addr().unwrap().port()), timer);
    }
    // What the hub gives away shows its options.
    struct Gives(mpsc::Sender<bool>);
    impl Application for Gives {
        type Handler = Echo;

        fn request<'s>(&'s mut self, _: &mut SessionInfo, _: &Request<'_>) -> RequestAction<'s, Echo> {
            RequestAction::HandOver
        }

        fn handed_over(&mut self, _: &SessionInfo, request: HandedOver) {
            let (socket, _) = request.into_stream::<MioTcpSocket>().unwrap();
            self.0.send(socket.into_stream().unwrap().nodelay().unwrap()).unwrap();
        }
    }
    let (options, given) = mpsc::channel();
    let server = MioServer::bind("127.0.0.1:0", HubSettings::default(), |_| Gives(options)).unwrap();
    let (handle, address) = (server.handle(), server.address());
    let thread = thread::spawn(move || server.run());
    connect(address).write_all(REQUEST).unwrap();
    assert!(given.recv().unwrap(), "TCP_NODELAY");
    handle.stop(CloseCode::GOING_AWAY).unwrap();
    thread.join().unwrap().unwrap();
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
        let refused = MioServer::bind("127.0.0.1:0", settings(change), make).unwrap_err();
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
    let town = Town::new(settings(|settings| {
        (settings.max_sessions, settings.max_commands, settings.handshakes_per_second) = (1, 1, Some(1));
        (settings.head_buffer, settings.receive_buffer, settings.transmit_buffer) =
            (300, MIN_BUFFER_LEN, MIN_BUFFER_LEN);
    }));
    echo(&mut open(town.address), "served");
    town.stop();
}

#[test]
fn a_server_accepts_from_each_of_its_listeners() {
    let mut settings = HubSettings::default();
    settings.max_sessions = 4;
    let mut server = MioServer::bind("127.0.0.1:0", settings, |_| Echoes).unwrap();
    let more: Vec<_> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let mut addresses = vec![server.address()];
    for listener in more {
        addresses.push(listener.local_addr().unwrap());
        server.add_listener(listener).unwrap();
    }
    let town = Town::of(server);
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
    // One that leaves makes room for whoever comes, wherever that is.
    drop(clients.pop());
    wait_for("a place", || town.handle.sessions().len() == 3);
    clients.push(open(addresses[0]));
    drop(clients);
    town.stop();
    for address in addresses {
        assert!(TcpStream::connect(address).is_err(), "a server that has ended listens on {address}");
    }
}

/// Another server has accepted it, and has made the opening handshake.
#[test]
fn a_connection_of_another_server_is_adopted() {
    let server = MioServer::bind("127.0.0.1:0", HubSettings::default(), |_| Echoes).unwrap();
    let watch = server.socket_factory();
    let town = Town::of(server);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, peer) = listener.accept().unwrap();
    town.handle
        .call(move |control| {
            let socket = watch.tcp(stream).unwrap();
            let hub = control.hub::<MioTcpSocket, Echoes>().unwrap();
            assert!(hub.adopt(watch.now(), socket, peer, Echo, None).is_ok());
        })
        .unwrap();
    let mut client = tungstenite::WebSocket::from_raw_socket(theirs, Role::Client, None);
    client.send(Theirs::text("hello")).unwrap();
    assert_eq!(client.read().unwrap(), Theirs::text("hello"));
    assert_eq!(town.handle.sessions().len(), 1);
    client.close(None).unwrap();
    while client.read().is_ok() {}
    drop(client);
    let counters = town.stop().counters();
    assert_eq!((counters.opened, counters.ended, counters.closed.clean), (1, 1, 1));
}

#[test]
fn a_blocking_stream_delays_nobody() {
    let server = MioServer::bind("127.0.0.1:0", HubSettings::default(), |_| Echoes).unwrap();
    let watch = server.socket_factory();
    let town = Town::of(server);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, peer) = listener.accept().unwrap();
    town.handle
        .call(move |control| {
            let socket = watch.stream(::mio::net::TcpStream::from_std(stream)).unwrap();
            let hub = control.hub::<MioTcpSocket, Echoes>().unwrap();
            assert!(hub.adopt(watch.now(), socket, peer, Echo, None).is_ok());
        })
        .unwrap();
    wait_for("adopted", || town.handle.sessions().len() == 1);
    let mut other = open(town.address);
    echo(&mut other, "here");
    echo(&mut theirs, "here too");
    drop((other, theirs));
    town.stop();
}

/// Who had to wait outside comes in as soon as there is room, not when something else happens.
#[test]
fn a_waiting_connection_gets_the_place_that_becomes_free() {
    let town = Town::new(settings(|settings| {
        settings.max_sessions = 1;
        settings.capacity = Capacity::Refuse(0);
        settings.config = {
            let mut config = Config::new();
            config.timeouts.ping = None;
            Arc::new(config)
        };
    }));
    let mut first = open(town.address);
    let mut second = connect(town.address);
    second.write_all(REQUEST).unwrap();
    echo(&mut first, "here");
    drop(first);
    opened(&mut second);
    echo(&mut second, "at last");
    drop(second);
    town.stop();
}

#[test]
fn an_idle_server_does_not_spin() {
    let town = Town::new(settings(|settings| {
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
    let mut blocked = open(town.address);
    blocked.set_nonblocking(true).unwrap();
    let many = masked(0x82, &[0; 10_000]).repeat(20);
    while blocked.write(&many).is_ok() {}
    all.push(blocked);
    // The same with messages from the hub, and both sides shut.
    for _ in 0..2 {
        let deaf = open(town.address);
        town.handle.broadcast(Prepared::binary(vec![0; 500_000])).unwrap();
        deaf.shutdown(std::net::Shutdown::Write).unwrap();
        all.push(deaf);
    }
    // Half a frame, half a request, none; and one that is owed a Close.
    let mut half = open(town.address);
    half.write_all(&masked(0x82, &[0; 100])[..50]).unwrap();
    all.push(half);
    let mut half = connect(town.address);
    half.write_all(&REQUEST[..50]).unwrap();
    all.push(half);
    all.push(connect(town.address));
    let mut wrong = open(town.address);
    wrong.write_all(&[0xFF; 10_000]).unwrap();
    all.push(wrong);
    // All places are taken, and one more waits.
    while all.len() < 25 {
        all.push(connect(town.address));
    }
    wait_for("full", || town.handle.sessions().len() == 21);
    thread::sleep(Duration::from_millis(300));
    let (slept, ran) = restlessness(town.thread.thread());
    thread::sleep(Duration::from_secs(1));
    let (again, more) = restlessness(town.thread.thread());
    assert!(again - slept < 20 && more - ran < 20, "{} sleeps, {} ms", again - slept, (more - ran) * 10);
    drop(all);
    let handle = town.stop();
    assert_eq!(handle.counters().accepted, handle.counters().ended);
}

#[test]
fn a_handler_that_panics_ends_its_own_session() {
    let town = Town::new(HubSettings::default());
    let (mut good, mut bad) = (open(town.address), open(town.address));
    bad.write_all(&masked(0x81, b"panic")).unwrap();
    assert_eq!(bad.read(&mut [0; 10]).unwrap_or(0), 0);
    echo(&mut good, "alive");
    town.handle.call(|_| panic!("on purpose")).unwrap();
    echo(&mut good, "still");
    echo(&mut open(town.address), "and others");
    assert_eq!(town.handle.counters().panicked, 1);
    drop(good);
    town.stop();
}

#[test]
fn a_slow_reader_does_not_delay_others() {
    let town = Town::new(HubSettings::default());
    let slow = open(town.address);
    let mut fast: Vec<_> = (0..5).map(|_| open(town.address)).collect();
    let payload = vec![5; 300_000];
    let message = Prepared::binary(payload.clone());
    for _ in 0..40 {
        town.handle.broadcast(message.clone()).unwrap();
        for stream in &mut fast {
            assert!(next(stream).unwrap() == (0x82, payload.clone()));
        }
    }
    // What does not fit for the slow one is lost, and what it reads is whole.
    let counters = town.handle.counters();
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
    let counters = town.stop().counters();
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
        let town =
            Town::of(MioServer::with_acceptor(listener, MioPlainAcceptor, settings, |_| Echoes).unwrap());
        address = Some(town.address);
        let clients: Vec<_> = (0..10)
            .map(|at| {
                let mut stream = open(town.address);
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
        let counters = town.stop().counters();
        assert_eq!((counters.accepted, counters.ended), (10, 10));
        clients.into_iter().for_each(|client| client.join().unwrap());
    }
}

/// Clones of one listener, one hub a thread.
#[test]
fn several_hubs_serve_one_port() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let towns: Vec<_> = (0..3)
        .map(|_| {
            let listener = listener.try_clone().unwrap();
            let settings = settings(|settings| {
                settings.max_sessions = 10;
                settings.capacity = Capacity::Refuse(0);
            });
            Town::of(MioServer::with_acceptor(listener, MioPlainAcceptor, settings, |_| Echoes).unwrap())
        })
        .collect();
    drop(listener);
    // None of them alone has room for all.
    let mut streams: Vec<_> = (0..30).map(|_| open(towns[0].address)).collect();
    streams.iter_mut().for_each(|stream| echo(stream, "hello"));
    for town in &towns {
        assert_eq!(town.handle.sessions().len(), 10);
        town.handle.broadcast(Prepared::text("all")).unwrap();
    }
    for stream in &mut streams {
        assert_eq!(next(stream).unwrap(), (0x81, b"all".to_vec()));
    }
    drop(streams);
    towns.into_iter().for_each(|town| drop(town.stop()));
}

#[test]
fn a_message_from_another_thread_is_completed() {
    let town = Town::new(HubSettings::default());
    let mut stream = open(town.address);
    let id = town.handle.sessions()[0].id();
    let (told, results) = mpsc::channel();
    for at in 0..100usize {
        let told = told.clone();
        let id = if at % 10 == 9 { SessionId::new(id.get() + (1 << 32)) } else { id };
        town.handle
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
    town.stop();
}
