//! The echo server on bare metal: QEMU's `virt` board, rv32imc, embassy, no heap.
//!
//! Everything about the board is in [`virt`], what is done on a connection in the same
//! `../echo/handler.rs` as on a PC; this file brings the network up and serves.

#![no_std]
#![no_main]
#![deny(unsafe_op_in_unsafe_fn)]

mod virt;

#[path = "../../echo/handler.rs"]
mod handler;

use core::fmt;
#[cfg(feature = "deflate-receive")]
use core::future::pending;
use core::time::Duration;

use embassy_executor::Spawner;
use embassy_net::tcp::TcpSocket;
use embassy_net::{Stack, StackResources};
use handler::Echo;
use sansocket::Config;
#[cfg(feature = "deflate-receive")]
use sansocket::deflate::{RingMemory, RingNegotiation};
#[cfg(not(feature = "deflate-receive"))]
use sansocket::embedded::serve_tcp;
#[cfg(feature = "deflate-receive")]
use sansocket::embedded::serve_tcp_negotiating;
#[cfg(feature = "deflate-receive")]
use sansocket::session::Buffers;
use sansocket::session::Memory;
use static_cell::ConstStaticCell;

/// embassy-net has no backlog: each connection needs a socket that listens already, and a client
/// that finds none is refused.
const CONNECTIONS: usize = 4;
const PORT: u16 = 80;

/// Of the network, once for each direction of each connection.
const TCP_BUFFER: usize = 2048;
/// Of the server, once for each connection: the heads of request and answer.
const HEAD: usize = 1024;
/// Once for each direction of each connection. A message may be much longer: it streams through.
const BUFFER: usize = 512;
/// Of the decompressor, once for each connection, beside 10.5 KB of tables.
#[cfg(feature = "deflate-receive")]
const WINDOW: usize = 512;

/// There are few places, so nobody holds one for long without a sign of life.
static CONFIG: Config = {
    let mut config = Config::new();
    config.timeouts.handshake = Some(Duration::from_secs(5));
    config.timeouts.ping = Some(Duration::from_secs(20));
    config.timeouts.pong = Some(Duration::from_secs(10));
    config.timeouts.close = Some(Duration::from_secs(2));
    config.timeouts.write = Some(Duration::from_secs(20));
    config
};
/// TCP asks a silent peer whether it still lives, and gives it up if nothing at all comes back.
const KEEP_ALIVE: embassy_time::Duration = embassy_time::Duration::from_secs(5);
const VANISHED: embassy_time::Duration = embassy_time::Duration::from_secs(15);

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    static RESOURCES: ConstStaticCell<StackResources<{ CONNECTIONS + 1 }>> =
        ConstStaticCell::new(StackResources::new()); // and one socket for DHCP

    let stack = virt::start(spawner, RESOURCES.take(), virt::time::unix());
    for _ in 0..CONNECTIONS {
        spawner.spawn(connection(stack).unwrap());
    }
    stack.wait_config_up().await;
    let address = stack.config_v4().unwrap().address.address();
    println!("listening on {address}:{PORT}");
}

/// One place of the server: it listens, serves, hangs up, and listens again. The task itself is a
/// static of the pool, and so are the buffers that live in it.
#[embassy_executor::task(pool_size = CONNECTIONS)]
async fn connection(stack: Stack<'static>) -> ! {
    let (mut receive, mut transmit) = ([0; TCP_BUFFER], [0; TCP_BUFFER]);
    let mut socket = TcpSocket::new(stack, &mut receive, &mut transmit);
    socket.set_keep_alive(Some(KEEP_ALIVE));
    socket.set_timeout(Some(VANISHED));

    let mut memory = Memory { head: [0; HEAD], rx: [0; BUFFER], tx: [0; BUFFER] };
    #[cfg(not(feature = "deflate-receive"))]
    let mut buffers = memory.buffers();
    #[cfg(feature = "deflate-receive")]
    let (mut ring, mut output) = (RingMemory::<WINDOW>::new(), [0; BUFFER]);
    #[cfg(feature = "deflate-receive")]
    let mut buffers = {
        let Buffers { head, rx, tx } = memory.buffers();
        Buffers { head, rx: rx.with_output(&mut output), tx }
    };
    loop {
        let mut echo = Echo::new(log);
        // How it ended is in the log, and the socket is ready for the next one in any case.
        #[cfg(not(feature = "deflate-receive"))]
        let _ = serve_tcp(&mut socket, PORT, &mut echo, &CONFIG, &mut buffers).await;
        #[cfg(feature = "deflate-receive")]
        let _ = {
            let negotiate = RingNegotiation::new(&mut ring);
            let mut never = pending::<()>;
            serve_tcp_negotiating(&mut socket, PORT, &mut echo, &CONFIG, &mut buffers, &mut never, negotiate)
                .await
        };
    }
}

fn log(line: fmt::Arguments<'_>) {
    println!("ws_echo_server: {line}");
}
