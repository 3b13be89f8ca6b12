//! The log records of a hub.
#![cfg(all(feature = "mio", feature = "log", target_os = "linux"))]

mod hub_server;
mod wire;

use std::sync::Mutex;

use hub_server::*;
use log::{LevelFilter, Log, Metadata, Record};
use sansocket::hub::HubSettings;

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Lines;

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sansocket"
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            LINES.lock().unwrap().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

#[test]
fn the_life_of_a_session_is_logged() {
    log::set_logger(&Lines).unwrap();
    log::set_max_level(LevelFilter::Debug);
    let server = HubServer::new(HubSettings::default());
    let mut client = open(server.address);
    let peer = client.local_addr().unwrap();
    echo(&mut client, "here");
    drop(client);
    wait_for("the end", || server.handle.sessions().is_empty());
    server.stop();
    let id = "SessionId(0)";
    let lines = LINES.lock().unwrap();
    let told = [
        format!("{id} from {peer:?}"),
        "the upgrade is accepted, subprotocol None".to_owned(),
        format!("{id} is Open"),
        format!("{id} is Closing"),
        format!(
            "{id} has ended: Some(Closed(Ending {{ reason: Disconnected, received: None, sent: None }}))"
        ),
    ];
    assert_eq!(*lines, told);
}
