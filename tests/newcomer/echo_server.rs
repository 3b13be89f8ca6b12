//! An echo server.

use std::io;

use sansocket::adapter::mio::{Server, TcpSocket};
use sansocket::hub::{Routes, Settings};
use sansocket::{Event, Halt, Handler, Outbox, Payload};

struct Echo;

impl Handler for Echo {
    fn event(&mut self, event: Event<Payload<'_>>, out: &mut Outbox<'_>) -> Result<(), Halt> {
        if let Event::Data(data) = event { out.relay(&data) } else { Ok(()) }
    }
}

pub(crate) fn server(address: &str) -> io::Result<Server<Routes<TcpSocket>>> {
    let mut routes = Routes::new();
    routes.websocket("/", |_, _| Ok(Echo));
    Server::bind(address, Settings::default(), |_| routes)
}
