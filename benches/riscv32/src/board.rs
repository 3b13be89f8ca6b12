//! The server around `crate::serve`, the same in every image: the board, the network, and the places.

use core::pin::pin;

use embassy_executor::Spawner;
use embassy_net::tcp::TcpSocket;
use embassy_net::{Stack, StackResources};
use embassy_time::{Duration, with_timeout};
use figures::stack::{self, Watched};
use figures::{println, virt};
use static_cell::ConstStaticCell;

pub const PORT: u16 = 80;
/// Of the server, once for each connection: the head of the request.
#[allow(dead_code, reason = "plain TCP has none")]
pub const HEAD: usize = 1024;
/// Once for each direction of each connection. A message may be much longer: it streams through.
pub const BUFFER: usize = 512;

const CONNECTIONS: usize = 4;
/// Of the network, once for each direction of each connection.
const TCP_BUFFER: usize = 2048;

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    static RESOURCES: ConstStaticCell<StackResources<{ CONNECTIONS + 1 }>> =
        ConstStaticCell::new(StackResources::new()); // and one socket for DHCP

    stack::reset();
    let stack = virt::start(spawner, RESOURCES.take(), virt::time::unix());
    for _ in 0..CONNECTIONS {
        spawner.spawn(connection(stack).unwrap());
    }
    stack.wait_config_up().await;
    println!("listening");
    stack::reset(); // the start counts for nobody
}

#[embassy_executor::task(pool_size = CONNECTIONS)]
async fn connection(stack: Stack<'static>) -> ! {
    let (mut receive, mut transmit) = ([0; TCP_BUFFER], [0; TCP_BUFFER]);
    let mut socket = TcpSocket::new(stack, &mut receive, &mut transmit);
    socket.set_nagle_enabled(false);
    loop {
        let future = pin!(crate::serve(&mut socket));
        let size = size_of_val(&*future);
        let mut watched = Watched { future, deepest: 0 };
        (&mut watched).await;
        let (own, all) = (watched.deepest, stack::deepest());
        println!("served: future {size} buffers {} stack {own} of {all}", crate::BUFFERS);
        stack::reset();
    }
}

/// Ends a connection for those that do not do it themselves: what was sent before is given two seconds to arrive.
#[allow(dead_code, reason = "ours does it itself")]
pub async fn hang_up(socket: &mut TcpSocket<'_>) {
    socket.close();
    let end = async { while socket.read(&mut [0; 16]).await.is_ok_and(|n| n > 0) {} };
    let _ = with_timeout(Duration::from_secs(2), end).await;
    socket.abort();
    let _ = with_timeout(Duration::from_secs(1), socket.flush()).await;
}
