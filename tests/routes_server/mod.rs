//! A hub of routes over mio in a thread of its own, and its clients over TCP.

#![allow(dead_code, reason = "each test crate uses a part of it")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use sansocket::hub::{HubContext, HubHandle, HubSettings, MioServer, Routes};
use sansocket::{CloseCode, Config};

use crate::hub_server::{PATIENCE, connect, wait_for};
use crate::session_driver::{Frame, Http, masked, upgrade};
use crate::wire::take_frame;

pub(crate) struct RoutesServer {
    pub(crate) address: SocketAddr,
    pub(crate) handle: HubHandle,
    thread: Option<JoinHandle<()>>,
}

impl RoutesServer {
    pub(crate) fn new(settings: HubSettings, routes: impl FnOnce(&HubHandle) -> Routes) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), settings, routes)
    }

    pub(crate) fn at(
        address: SocketAddr,
        settings: HubSettings,
        routes: impl FnOnce(&HubHandle) -> Routes,
    ) -> Self {
        let server = MioServer::bind(address, settings, |handle| routes(&handle)).unwrap();
        let (address, handle) = (server.address(), server.handle());
        Self { address, handle, thread: Some(thread::spawn(move || server.run().unwrap())) }
    }

    pub(crate) fn dial(&self) -> Peer {
        let stream = connect(self.address);
        Peer { stream, bytes: Vec::new() }
    }

    /// The answer to a request, up to the end of the stream.
    pub(crate) fn ask(&self, request: impl AsRef<[u8]>) -> Http {
        let mut peer = self.dial();
        peer.write(request);
        peer.whole()
    }

    /// A connection.
    pub(crate) fn open(&self, path: &str, lines: &[&str]) -> Peer {
        let mut peer = self.dial();
        peer.write(upgrade(path, lines));
        let answer = peer.head();
        assert_eq!(answer.status, 101, "{answer:?}");
        peer
    }

    /// Runs a function in the hub's loop.
    pub(crate) fn inside<T: Send + 'static>(
        &self,
        function: impl FnOnce(&mut HubContext<'_>) -> T + Send + 'static,
    ) -> T {
        let (tx, rx) = mpsc::channel();
        self.handle.call(move |control| tx.send(function(control)).unwrap()).unwrap();
        rx.recv_timeout(PATIENCE).unwrap()
    }

    /// Changes the routes.
    pub(crate) fn routes<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Routes) -> T + Send + 'static,
    ) -> T {
        self.inside(|control| change(control.application().unwrap()))
    }

    /// Waits until every session has ended: none has left a place or a socket behind.
    pub(crate) fn rest(&self) {
        wait_for("the end of the last session", || {
            self.inside(|control| {
                let counters = control.counters();
                (control.sessions().count(), counters.ended) == (0, counters.accepted)
            })
        });
        #[cfg(target_os = "linux")]
        assert_eq!(sockets(self.address.port()), 0, "sockets are left");
    }

    /// Stops it, when every session has ended.
    pub(crate) fn finish(self) {
        self.rest();
    }
}

impl Drop for RoutesServer {
    fn drop(&mut self) {
        let _ = self.handle.stop(CloseCode::GOING_AWAY);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking(), "the server has panicked");
    }
}

/// Connected sockets on this port of ours that are some process's.
#[cfg(target_os = "linux")]
fn sockets(port: u16) -> usize {
    let (port, listening) = (format!(":{port:04X}"), "0A");
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.filter(|line| line[1].ends_with(&port) && line[3] != listening && line[9] != "0").count()
}

/// Settings for connections.
pub(crate) fn config(set: impl FnOnce(&mut Config)) -> Arc<Config> {
    let mut config = Config::new();
    set(&mut config);
    Arc::new(config)
}

pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    /// What has come and was not looked at.
    bytes: Vec<u8>,
}

impl Peer {
    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Reads something; whether there was anything before the end.
    fn more(&mut self) -> bool {
        let mut chunk = [0; 64 * 1024];
        let n = self.stream.read(&mut chunk).unwrap();
        self.bytes.extend(&chunk[..n]);
        n > 0
    }

    /// The head of an answer.
    pub(crate) fn head(&mut self) -> Http {
        while !self.bytes.windows(4).any(|end| end == b"\r\n\r\n") {
            assert!(self.more(), "no answer: {}", self.bytes.escape_ascii());
        }
        Http::take(&mut self.bytes)
    }

    /// What comes up to the end of the stream.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.more() {}
        std::mem::take(&mut self.bytes)
    }

    /// An answer that closes, with its body.
    pub(crate) fn whole(&mut self) -> Http {
        let mut http = self.head();
        http.body = self.rest();
        http
    }

    /// The next frame, which is whole.
    pub(crate) fn frame(&mut self) -> Frame {
        loop {
            let mut rest = &self.bytes[..];
            if let Some(frame) = take_frame(&mut rest) {
                self.bytes = rest.to_vec();
                return frame.into();
            }
            assert!(self.more(), "no frame");
        }
    }

    /// Sends a text and gets a frame.
    pub(crate) fn say(&mut self, text: &str) -> String {
        self.write(masked(0x81, text.as_bytes()));
        String::from_utf8(self.frame().payload).unwrap()
    }

    /// Closes as one should.
    pub(crate) fn close(mut self) {
        self.write(masked(0x88, &1000_u16.to_be_bytes()));
        assert_eq!(self.frame().payload, 1000_u16.to_be_bytes());
        assert_eq!(self.rest(), b"");
    }

    /// Whether the transport was cut: there was an end, and no more than `seen` bytes before.
    pub(crate) fn drain(&mut self, mut pause: impl FnMut()) -> u64 {
        let mut chunk = vec![0; 256 * 1024];
        let mut count = 0;
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return count,
                Ok(n) => count += n as u64,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return count,
                Err(error) => panic!("{error}"),
            }
            pause();
        }
    }
}
