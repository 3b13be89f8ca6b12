//! embedded-websocket, as its example of a server has it: httparse for the head, `read` and `write` from slice to
//! slice. (Its framers want a blocking stream, or futures' `Stream` and `Sink`: embassy-net has neither.)

#![no_std]
#![no_main]

#[path = "../board.rs"]
mod board;

use board::{BUFFER, HEAD, PORT, hang_up};
use embassy_net::tcp::TcpSocket;
use embedded_io_async::Write;
use embedded_websocket::{
    Error, WebSocketContext, WebSocketReceiveMessageType as Received, WebSocketSendMessageType as Send,
    WebSocketServer, read_http_header,
};

/// What is received, from the head on; payload; what is sent, a header longer.
const BUFFERS: usize = HEAD + BUFFER + OUTPUT;
const OUTPUT: usize = BUFFER + 10;

async fn serve(socket: &mut TcpSocket<'_>) {
    if socket.accept(PORT).await.is_ok() {
        let _ = echo(socket).await;
    }
    hang_up(socket).await;
}

async fn echo(socket: &mut TcpSocket<'_>) -> Option<()> {
    let (mut input, mut payload, mut output) = ([0; HEAD], [0; BUFFER], [0; OUTPUT]);
    let mut len = 0;
    let (context, mut start) = loop {
        len += read(socket, &mut input[len..]).await?;
        match head(&input[..len]) {
            Ok(None) => {}
            Ok(Some(found)) => break found,
            Err(()) => {
                let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                return socket.write_all(answer).await.ok();
            }
        }
    };
    let mut websocket = WebSocketServer::new_server();
    let n = websocket.server_accept(&context.sec_websocket_key, None, &mut output).ok()?;
    socket.write_all(&output[..n]).await.ok()?;
    loop {
        let more = start == len;
        let frame = if more {
            Err(Error::ReadFrameIncomplete)
        } else {
            websocket.read(&input[start..len], &mut payload)
        };
        let frame = match frame {
            Ok(frame) => frame,
            Err(Error::ReadFrameIncomplete) => {
                input.copy_within(start..len, 0);
                len -= start;
                start = 0;
                len += read(socket, &mut input[len..]).await?;
                continue;
            }
            Err(_) => return None,
        };
        start += frame.len_from;
        let kind = match frame.message_type {
            Received::Text => Send::Text,
            Received::Binary => Send::Binary,
            Received::Ping => Send::Pong,
            Received::CloseMustReply => Send::CloseReply,
            Received::Pong | Received::CloseCompleted => continue,
        };
        let n = websocket.write(kind, frame.end_of_message, &payload[..frame.len_to], &mut output).ok()?;
        socket.write_all(&output[..n]).await.ok()?;
        if kind == Send::CloseReply {
            return Some(());
        }
    }
}

async fn read(socket: &mut TcpSocket<'_>, buffer: &mut [u8]) -> Option<usize> {
    socket.read(buffer).await.ok().filter(|&n| n > 0)
}

/// The head of a request for `/ws`, and how long it is; `None` where it is not complete.
fn head(input: &[u8]) -> Result<Option<(WebSocketContext, usize)>, ()> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(len) = request.parse(input).map_err(drop)? else { return Ok(None) };
    let fields = request.headers.iter().map(|field| (field.name, field.value));
    match read_http_header(fields).map_err(drop)? {
        Some(context) if request.path == Some("/ws") => Ok(Some((context, len))),
        _ => Err(()),
    }
}
