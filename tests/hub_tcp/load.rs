//! No connection is forgotten while others keep the hub busy.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use sansocket::Config;
use sansocket::hub::HubSettings;
use sansocket::message::Prepared;
use socket2::{Domain, Socket, Type};

use super::start;
use crate::hub_server::{PATIENCE, REQUEST, echo, masked, next, open, opened, wait_for};

const CONNECTIONS: usize = 24;
const ROUNDS: u64 = 4;
const LENGTHS: [usize; 7] = [1, 125, 126, 1_000, 4_096, 20_000, 70_000];
/// How many messages beside one are under way on a connection.
const DEPTHS: [usize; 4] = [0, 1, 15, 255];

/// Such a connection has small buffers, and its client begins to read when the quick ones have made progress: the hub has to wait for
/// room. On a quick one it waits for input after each message.
fn is_slow(at: usize) -> bool {
    DEPTHS[at % DEPTHS.len()] >= 15
}

#[derive(Default)]
struct Load {
    /// The echoes that each connection has received.
    echoes: [AtomicUsize; CONNECTIONS],
    over: AtomicBool,
}

impl Load {
    /// Waits until each of these connections has received an echo of each length.
    fn advance(&self, connections: impl Iterator<Item = usize>, what: &str) {
        let goals: Vec<_> =
            connections.map(|at| (at, self.echoes[at].load(Relaxed) + LENGTHS.len())).collect();
        for (at, goal) in goals {
            let done = || self.echoes[at].load(Relaxed) >= goal || self.over.load(Relaxed);
            wait_for(&format!("{what}: connection {at} makes progress"), done);
        }
    }
}

fn connect(address: SocketAddr, receive_buffer: Option<usize>) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    if let Some(len) = receive_buffer {
        socket.set_recv_buffer_size(len).unwrap();
    }
    socket.connect(&address.into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

/// Sends and receives on one connection, in two threads, until the load is over.
fn keep_busy(address: SocketAddr, at: usize, load: &Arc<Load>) -> [JoinHandle<()>; 2] {
    let (sent, expected) = mpsc::sync_channel(DEPTHS[at % DEPTHS.len()]);
    let mut reader = connect(address, is_slow(at).then_some(4_096));
    let mut writer = reader.try_clone().unwrap();
    writer.write_all(REQUEST).unwrap();
    opened(&mut reader);
    let (until, counted) = (Arc::clone(load), Arc::clone(load));
    let writing = thread::spawn(move || {
        for number in at.. {
            let message = vec![number as u8; LENGTHS[number % LENGTHS.len()]];
            let bytes = masked(0x82, &message);
            if until.over.load(Relaxed) || sent.send(message).is_err() {
                return;
            }
            writer.write_all(&bytes).unwrap();
        }
    });
    let reading = thread::spawn(move || {
        for (number, message) in expected.into_iter().enumerate() {
            if is_slow(at) && number % 15 == 0 {
                counted.advance((0..CONNECTIONS).filter(|at| !is_slow(*at)), "before a slow client reads");
            }
            assert!(next(&mut reader).unwrap() == (0x82, message), "connection {at} gets another message");
            counted.echoes[at].fetch_add(1, Relaxed);
        }
    });
    [writing, reading]
}

/// A wake-up that is lost leaves a connection, or all of them, without progress.
#[test]
fn every_connection_makes_progress_under_load() {
    for buffer in [512, 4_096] {
        let mut config = Config::new();
        config.timeouts.ping = None;
        let mut settings = HubSettings::new(config);
        (settings.receive_buffer, settings.transmit_buffer) = (buffer, buffer);
        let server = start(settings);
        // It is silent while the others progress, and then gets a message from another thread and sends one.
        let mut silent = open(server.address);
        let id = server.handle.sessions()[0].id();
        let load = Arc::new(Load::default());
        let threads: Vec<_> = (0..CONNECTIONS).flat_map(|at| keep_busy(server.address, at, &load)).collect();
        for round in 0..ROUNDS {
            load.advance(0..CONNECTIONS, &format!("round {round}"));
            server.handle.send(id, Prepared::text("told")).unwrap();
            assert_eq!(next(&mut silent).unwrap(), (0x81, b"told".to_vec()));
            echo(&mut silent, "asked");
        }
        load.over.store(true, Relaxed);
        for thread in threads {
            thread.join().unwrap();
        }
        let counters = server.stop().counters();
        assert_eq!((counters.accepted, counters.delivered), (CONNECTIONS as u64 + 1, ROUNDS));
    }
}
