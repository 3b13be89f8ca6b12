//! edge-ws with edge-http's handshake, as its example of a server has it, but that a payload streams through in pieces:
//! `recv_payload` takes a frame only whole.

#![no_std]
#![no_main]

#[path = "../board.rs"]
mod board;

use board::{BUFFER, HEAD, PORT, hang_up};
use edge_http::Method;
use edge_http::io::server::Connection;
use edge_http::ws::MAX_BASE64_KEY_RESPONSE_LEN;
use edge_ws::{FrameHeader, FrameType};
use embassy_net::tcp::TcpSocket;
use embedded_io_async::Write;

const BUFFERS: usize = HEAD + BUFFER;

async fn serve(socket: &mut TcpSocket<'_>) {
    if socket.accept(PORT).await.is_ok() && upgraded(socket).await.unwrap_or(false) {
        let _ = echo(socket).await;
    }
    hang_up(socket).await;
}

async fn upgraded(socket: &mut TcpSocket<'_>) -> Option<bool> {
    let mut head = [0; HEAD];
    let mut connection = Connection::<_, 16>::new(&mut head, socket).await.ok()?;
    let request = connection.headers().ok()?;
    let wanted = request.method == Method::Get && request.path == "/ws" && request.is_ws_upgrade_request();
    if wanted {
        let mut accept = [0; MAX_BASE64_KEY_RESPONSE_LEN];
        connection.initiate_ws_upgrade_response(&mut accept).await.ok()?;
    } else {
        connection.initiate_response(404, Some("Not Found"), &[]).await.ok()?;
    }
    connection.complete().await.ok()?;
    Some(wanted)
}

async fn echo(socket: &mut TcpSocket<'_>) -> Option<()> {
    let mut buffer = [0; BUFFER];
    loop {
        let header = FrameHeader::recv(&mut *socket).await.ok()?;
        let mut answer = header.clone();
        answer.mask_key = None;
        if header.frame_type == FrameType::Ping {
            answer.frame_type = FrameType::Pong;
        }
        answer.send(&mut *socket).await.ok()?;
        let mut offset = 0;
        while offset < header.payload_len {
            let n = (header.payload_len - offset).min(buffer.len() as u64) as usize;
            let n = socket.read(&mut buffer[..n]).await.ok().filter(|&n| n > 0)?;
            header.mask(&mut buffer[..n], (offset & 3) as usize);
            socket.write_all(&buffer[..n]).await.ok()?;
            offset += n as u64;
        }
        if header.frame_type == FrameType::Close {
            return Some(());
        }
    }
}
