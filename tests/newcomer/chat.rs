//! A chat: what one client says, all clients hear.

use std::io;

use sansocket::adapter::mio::{Server, TcpSocket};
use sansocket::hub::{Handle, Message, Routes, Settings};
use sansocket::{Assembler, Cause, CloseCode, Event, Halt, Handler, Outbox, Payload};

struct Member {
    name: String,
    hub: Handle,
    message: Assembler<Vec<u8>>,
}

impl Member {
    fn say(&self, text: &str) {
        // If the hub's queue is full, nobody hears this.
        let _ = self.hub.broadcast(Message::text(format!("{}: {text}", self.name)));
    }
}

impl Handler for Member {
    fn opened(&mut self, _: Option<&str>, _: &mut Outbox<'_>) -> Result<(), Halt> {
        self.say("has joined");
        Ok(())
    }

    fn event(&mut self, event: Event<Payload<'_>>, _: &mut Outbox<'_>) -> Result<(), Halt> {
        let Event::Data(data) = event else { return Ok(()) };
        let complete = self.message.push(&data);
        if complete.map_err(|_| Halt::Close(CloseCode::MESSAGE_TOO_BIG, "no memory"))?.is_some() {
            let no_text = Halt::Close(CloseCode::UNSUPPORTED_DATA, "a chat takes text");
            self.say(self.message.text().ok_or(no_text)?);
        }
        Ok(())
    }

    fn closed(&mut self, _: &Cause, _: &str) {
        self.say("has left");
    }
}

pub(crate) fn server(address: &str) -> io::Result<Server<Routes<TcpSocket>>> {
    Server::bind(address, Settings::default(), |hub| {
        let mut routes = Routes::new();
        routes.websocket("/chat", move |_, request| {
            let name = request.query_value("name").unwrap_or("somebody").into();
            Ok(Member { name, hub: hub.clone(), message: Assembler::new(Vec::new()) })
        });
        routes
    })
}
