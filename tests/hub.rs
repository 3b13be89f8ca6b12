//! The hub over mio: what sessions share.
#![cfg(feature = "mio")]

use std::thread;

use sansocket::adapter::mio::Server;
use sansocket::handshake::Request;
use sansocket::hub::{Application, Choice, Client, Message, Settings};
use sansocket::{CloseCode, Event, Halt, Handler, Instant, Outbox, Payload};
use tungstenite::Message as Theirs;

struct Echo;

impl Handler for Echo {
    fn event(&mut self, _: Instant, event: Event<Payload<'_>>, out: &mut impl Outbox) -> Result<(), Halt> {
        if let Event::Data(data) = event { out.relay(&data) } else { Ok(()) }
    }
}

struct App;

impl<S> Application<S> for App {
    type Handler = Echo;

    fn request<'s>(&'s mut self, _: &mut Client, _: &Request<'_>) -> Choice<'s, Echo> {
        Choice::Handler(Echo)
    }
}

#[test]
fn echo_broadcast_and_stop() {
    let server = Server::bind("127.0.0.1:0", Settings::default(), |_| App).unwrap();
    let (handle, address) = (server.handle(), server.address());
    let thread = thread::spawn(move || server.run().unwrap());
    let (mut client, _) = tungstenite::connect(format!("ws://{address}/")).unwrap();
    client.send(Theirs::text("hello")).unwrap();
    assert_eq!(client.read().unwrap(), Theirs::text("hello"));
    let big = vec![7; 900_000];
    handle.broadcast(Message::binary(big.clone())).unwrap();
    handle.broadcast(Message::text("small")).unwrap();
    assert!(client.read().unwrap() == Theirs::binary(big));
    assert_eq!(client.read().unwrap(), Theirs::text("small"));
    handle.stop(CloseCode::GOING_AWAY).unwrap();
    assert!(matches!(client.read().unwrap(), Theirs::Close(Some(_))));
    while client.read().is_ok() {}
    thread.join().unwrap();
    println!("{:?}", handle.counters());
}
