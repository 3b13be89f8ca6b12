//! Ours: every message comes back on `/ws`.

#![no_std]
#![no_main]

#[path = "../board.rs"]
mod board;

use board::{BUFFER, HEAD, PORT};
use embassy_net::tcp::TcpSocket;
use figures::CONFIG;
use sansocket::{embedded, Event, HandlerError, Handler, Outbox};
use sansocket::handshake::{Decision, Request, Response};
use sansocket::session::Memory;

const BUFFERS: usize = HEAD + 2 * BUFFER;

struct Echo;

impl Handler for Echo {
    fn request<'s>(&'s mut self, request: &Request<'_>) -> Decision<'s> {
        match request.path() {
            "/ws" => Decision::accept(),
            _ => Decision::Respond(Response::text(404, "")),
        }
    }

    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        match event {
            Event::Data(data) => out.forward(&data),
            _ => Ok(()),
        }
    }
}

async fn serve(socket: &mut TcpSocket<'_>) {
    let mut memory = Memory { head: [0; HEAD], rx: [0; BUFFER], tx: [0; BUFFER] };
    let mut buffers = memory.buffers();
    let _ = embedded::serve_tcp(socket, PORT, &mut Echo, &CONFIG, &mut buffers).await;
}
