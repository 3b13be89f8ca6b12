//! A chat: what one client says, all clients hear.

use std::io;

use sansocket::hub::{HubHandle, HubSettings, MioServer, Routes};
use sansocket::{CloseCode, Ending, HandlerError, MessageHandler, MessageRef, Outbox};

struct Member {
    name: String,
    hub: HubHandle,
}

impl Member {
    fn say(&self, text: &str) {
        // If the hub's queue is full, nobody hears this.
        let _ = self.hub.broadcast(format!("{}: {text}", self.name));
    }
}

impl MessageHandler for Member {
    fn opened(&mut self, _: Option<&str>, _: &mut Outbox<'_>) -> Result<(), HandlerError> {
        self.say("has joined");
        Ok(())
    }

    fn message(&mut self, message: MessageRef<'_>, _: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let MessageRef::Text(text) = message else {
            return Err(HandlerError::Close(CloseCode::UNSUPPORTED_DATA, "a chat takes text"));
        };
        self.say(text);
        Ok(())
    }

    fn closed(&mut self, _: &Ending, _: &str) {
        self.say("has left");
    }
}

pub(crate) fn server(address: &str) -> io::Result<MioServer<Routes>> {
    MioServer::bind(address, HubSettings::default(), |hub| {
        Routes::new().messages("/chat", move |_, request| {
            let name = request.query_value("name").unwrap_or("somebody").into();
            Ok(Member { name, hub: hub.clone() })
        })
    })
}
