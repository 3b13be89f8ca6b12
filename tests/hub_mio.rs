//! The hub over mio and TCP.
#![cfg(all(feature = "mio", target_os = "linux"))]

mod hub_server;
mod hub_tcp;
mod wire;

use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use hub_server::*;
use hub_tcp::Start;
use sansocket::CloseCode;
use sansocket::handshake::Request;
use sansocket::hub::{
    Application, HandedOver, HubHandle, HubSettings, MioServer, MioTcpSocket, RequestAction, SessionInfo,
};
use tungstenite::Message as Theirs;
use tungstenite::protocol::Role;

fn serve(start: Start, application: impl FnOnce(HubHandle) -> Echoes) -> io::Result<HubServer> {
    let mut listeners = start.listeners.into_iter();
    let mut server = MioServer::from_listener(listeners.next().unwrap(), start.settings, application)?;
    listeners.try_for_each(|listener| server.add_listener(listener))?;
    Ok(HubServer::of(match start.keep_alive {
        None => server,
        Some(silence) => server.keep_alive(silence),
    }))
}

/// What the system holds of an accepted connection's timers, where 2 is keep-alive.
#[test]
fn adopted_sockets_have_keep_alive_and_no_delay() {
    let timers = |local: u16, peer: u16| {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let ours = (format!(":{local:04X}"), format!(":{peer:04X}"));
        let line = table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .find(|fields| fields.len() > 5 && fields[1].ends_with(&ours.0) && fields[2].ends_with(&ours.1));
        line.expect("the connection")[5][..2].to_owned()
    };
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

/// Another server has accepted it, and has made the opening handshake.
#[test]
fn a_connection_of_another_server_is_adopted() {
    let server = MioServer::bind("127.0.0.1:0", HubSettings::default(), |_| Echoes).unwrap();
    let watch = server.socket_factory();
    let server = HubServer::of(server);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, peer) = listener.accept().unwrap();
    server
        .handle
        .call(move |control| {
            let socket = watch.tcp(stream).unwrap();
            let hub = control.hub::<MioTcpSocket, Echoes>().unwrap();
            assert!(hub.adopt(watch.now(), socket, peer, Echo, None).is_ok());
        })
        .unwrap();
    let mut client = tungstenite::WebSocket::from_raw_socket(theirs, Role::Client, None);
    client.send(Theirs::text("hello")).unwrap();
    assert_eq!(client.read().unwrap(), Theirs::text("hello"));
    assert_eq!(server.handle.sessions().len(), 1);
    client.close(None).unwrap();
    while client.read().is_ok() {}
    drop(client);
    let counters = server.stop().counters();
    assert_eq!((counters.opened, counters.ended, counters.closed.clean), (1, 1, 1));
}

#[test]
fn a_blocking_stream_delays_nobody() {
    let server = MioServer::bind("127.0.0.1:0", HubSettings::default(), |_| Echoes).unwrap();
    let watch = server.socket_factory();
    let server = HubServer::of(server);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, peer) = listener.accept().unwrap();
    server
        .handle
        .call(move |control| {
            let socket = watch.stream(mio::net::TcpStream::from_std(stream)).unwrap();
            let hub = control.hub::<MioTcpSocket, Echoes>().unwrap();
            assert!(hub.adopt(watch.now(), socket, peer, Echo, None).is_ok());
        })
        .unwrap();
    wait_for("adopted", || server.handle.sessions().len() == 1);
    let mut other = open(server.address);
    echo(&mut other, "here");
    echo(&mut theirs, "here too");
    drop((other, theirs));
    server.stop();
}
