//! A server on bare metal: QEMU's `virt` board, rv32imc, embassy, no heap.
//!
//! Everything about the board is in [`virt`]; this file brings the network up and serves.

#![no_std]
#![no_main]
#![deny(unsafe_op_in_unsafe_fn)]

mod virt;

use embassy_executor::Spawner;
use embassy_net::tcp::{State, TcpSocket};
use embassy_net::{Config, DhcpConfig, Runner, Stack, StackResources};
use embassy_time::{Duration, with_timeout};
use embedded_io_async::Write;
use static_cell::ConstStaticCell;

/// embassy-net has no backlog: each connection needs a socket that listens already, and a client
/// that finds none is refused.
const CONNECTIONS: usize = 4;
const PORT: u16 = 80;

/// Of the stack, once for each direction of each connection.
const TCP_BUFFER: usize = 2048;
/// Of the server, once for each connection.
const BUFFER: usize = 512;

/// A silent peer is asked whether it still lives, and given up if nothing at all comes back.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const VANISHED: Duration = Duration::from_secs(15);
/// How long a peer may take to close its side.
const LINGER: Duration = Duration::from_secs(2);

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    static RESOURCES: ConstStaticCell<StackResources<{ CONNECTIONS + 1 }>> =
        ConstStaticCell::new(StackResources::new()); // and one socket for DHCP

    let device = virt::net::Device::probe().expect("no virtio network card");
    let dhcp = Config::dhcpv4(DhcpConfig::default());
    let (stack, runner) = embassy_net::new(device, dhcp, RESOURCES.take(), virt::time::seed());
    virt::enable_interrupts();

    spawner.spawn(network(runner).unwrap());
    for _ in 0..CONNECTIONS {
        spawner.spawn(connection(stack).unwrap());
    }
    stack.wait_config_up().await;
    let address = stack.config_v4().unwrap().address.address();
    println!("listening on {address}:{PORT}");
}

#[embassy_executor::task]
async fn network(mut runner: Runner<'static, virt::net::Device>) -> ! {
    runner.run().await
}

/// One slot of the server: it listens, serves, hangs up, and listens again. The task itself is a
/// static of the pool, and so are the buffers that live in it.
#[embassy_executor::task(pool_size = CONNECTIONS)]
async fn connection(stack: Stack<'static>) -> ! {
    let (mut receive, mut transmit) = ([0; TCP_BUFFER], [0; TCP_BUFFER]);
    let mut socket = TcpSocket::new(stack, &mut receive, &mut transmit);
    socket.set_nagle_enabled(false); // a small answer does not wait for an acknowledgement
    socket.set_keep_alive(Some(KEEP_ALIVE));
    socket.set_timeout(Some(VANISHED));
    loop {
        if socket.accept(PORT).await.is_ok() {
            serve(&mut socket).await;
        }
        hang_up(&mut socket).await;
    }
}

/// The one place that serves: an echo, until the peer has sent its last byte or is gone.
async fn serve(socket: &mut TcpSocket<'_>) {
    let (mut reader, mut writer) = socket.split();
    let mut buffer = [0; BUFFER];
    while let Ok(count @ 1..) = reader.read(&mut buffer).await {
        if writer.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// Ends a connection in whatever state it is, so that the socket can listen again.
async fn hang_up(socket: &mut TcpSocket<'_>) {
    socket.close();
    // What the peer still sends is read to its end: closing over unread bytes, like an abort,
    // makes a reset that may overtake our last words. Then the peer acknowledges those.
    let orderly = async {
        while let Ok(1..) = socket.read(&mut [0; 64]).await {}
        socket.flush().await
    };
    let _ = with_timeout(LINGER, orderly).await;
    if !matches!(socket.state(), State::Closed | State::TimeWait) {
        socket.abort();
        let _ = with_timeout(LINGER, socket.flush()).await; // until the reset is on its way
    }
}
