//! Ours with all of `examples/echo/handler.rs`: four routes, a page, hooks, a log.

#![no_std]
#![no_main]

#[path = "../board.rs"]
mod board;
#[path = "../../../../examples/echo/handler.rs"]
mod handler;

use board::{BUFFER, HEAD, PORT};
use embassy_net::tcp::TcpSocket;
use figures::{CONFIG, println};
use sansocket::embedded;
use sansocket::session::Memory;

const BUFFERS: usize = HEAD + 2 * BUFFER;

async fn serve(socket: &mut TcpSocket<'_>) {
    let mut memory = Memory { head: [0; HEAD], rx: [0; BUFFER], tx: [0; BUFFER] };
    let mut buffers = memory.buffers();
    let mut echo = handler::Echo::new(|line| println!("ws_echo_server: {line}"));
    let _ = embedded::serve_tcp(socket, PORT, &mut echo, &CONFIG, &mut buffers).await;
}
