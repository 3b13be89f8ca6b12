//! An echo server.

use std::io;

use sansocket::hub::{HubSettings, MioServer, Routes};
use sansocket::{Event, Handler, HandlerError, Outbox};

struct Echo;

impl Handler for Echo {
    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        if let Event::Data(data) = event { out.forward(&data) } else { Ok(()) }
    }
}

pub(crate) fn server(address: &str) -> io::Result<MioServer<Routes>> {
    let routes = Routes::new().websocket("/", |_, _| Ok(Echo));
    MioServer::bind(address, HubSettings::default(), |_| routes)
}
