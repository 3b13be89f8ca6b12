//! A chat: what one client says, all clients hear.

use std::io;

use sansocket::hub::driver::MioTcpSocket;
use sansocket::hub::{HubHandle, HubSettings, MioServer, Routes};
use sansocket::message::{Assembler, Prepared};
use sansocket::{CloseCode, Ending, Event, Handler, HandlerError, Outbox};

struct Member {
    name: String,
    hub: HubHandle,
    message: Assembler<Vec<u8>>,
}

impl Member {
    fn say(&self, text: &str) {
        // If the hub's queue is full, nobody hears this.
        let _ = self.hub.broadcast(Prepared::text(format!("{}: {text}", self.name)));
    }
}

impl Handler for Member {
    fn opened(&mut self, _: Option<&str>, _: &mut Outbox<'_>) -> Result<(), HandlerError> {
        self.say("has joined");
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, _: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let Event::Data(data) = event else { return Ok(()) };
        let complete = self.message.push(&data);
        if complete.map_err(|_| HandlerError::Close(CloseCode::MESSAGE_TOO_BIG, "no memory"))?.is_some() {
            let no_text = HandlerError::Close(CloseCode::UNSUPPORTED_DATA, "a chat takes text");
            self.say(self.message.to_str().ok_or(no_text)?);
        }
        Ok(())
    }

    fn closed(&mut self, _: &Ending, _: &str) {
        self.say("has left");
    }
}

pub(crate) fn server(address: &str) -> io::Result<MioServer<Routes<MioTcpSocket>>> {
    MioServer::bind(address, HubSettings::default(), |hub| {
        let mut routes = Routes::new();
        routes.websocket("/chat", move |_, request| {
            let name = request.query_value("name").unwrap_or("somebody").into();
            Ok(Member { name, hub: hub.clone(), message: Assembler::new(Vec::new()) })
        });
        routes
    })
}
