//! Ours: every message comes back on `/ws`.

#![no_std]
#![no_main]

#[path = "../board.rs"]
mod board;

use board::{BUFFER, HEAD, PORT};
use embassy_net::tcp::TcpSocket;
use figures::CONFIG;
use sansocket::adapter::{self, Buffers};
use sansocket::handshake::{Accept, Answer, Request, Response};
use sansocket::{Event, Halt, Handler, Outbox, Payload};

const BUFFERS: usize = HEAD + 2 * BUFFER;

struct Echo;

impl Handler for Echo {
    fn request<'s>(&'s mut self, request: &Request<'_>) -> Answer<'s> {
        match request.path() {
            "/ws" => Answer::Accept(Accept::default()),
            _ => Answer::Respond(Response::text(404, "")),
        }
    }

    fn event(&mut self, event: Event<Payload<'_>>, out: &mut Outbox<'_>) -> Result<(), Halt> {
        match event {
            Event::Data(data) => out.relay(&data),
            _ => Ok(()),
        }
    }
}

async fn serve(socket: &mut TcpSocket<'_>) {
    let (mut head, mut rx, mut tx) = ([0; HEAD], [0; BUFFER], [0; BUFFER]);
    let mut buffers = Buffers::new(&mut head, &mut rx, &mut tx).expect("larger than MIN_BUFFER");
    let _ = adapter::embassy_net::serve(socket, PORT, &mut Echo, &CONFIG, &mut buffers).await;
}
