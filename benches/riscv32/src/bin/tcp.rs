//! A plain TCP echo: what is subtracted from the others.

#![no_std]
#![no_main]

#[path = "../board.rs"]
mod board;

use board::{BUFFER, PORT, hang_up};
use embassy_net::tcp::TcpSocket;
use embedded_io_async::Write;

const BUFFERS: usize = BUFFER;

async fn serve(socket: &mut TcpSocket<'_>) {
    let mut buffer = [0; BUFFER];
    if socket.accept(PORT).await.is_ok() {
        while let Ok(n @ 1..) = socket.read(&mut buffer).await {
            if socket.write_all(&buffer[..n]).await.is_err() {
                break;
            }
        }
    }
    hang_up(socket).await;
}
