//! What a hub notes for `log`.
#![cfg(all(feature = "mio", feature = "log", target_os = "linux"))]

mod town;
mod wire;

use std::sync::Mutex;

use log::{LevelFilter, Log, Metadata, Record};
use sansocket::hub::HubSettings;
use town::*;

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
    let town = Town::new(HubSettings::default());
    let mut client = open(town.address);
    let peer = client.local_addr().unwrap();
    echo(&mut client, "here");
    drop(client);
    wait_for("the end", || town.handle.sessions().is_empty());
    town.stop();
    let id = "SessionId(0)";
    let lines = LINES.lock().unwrap();
    let told = [
        format!("{id} from {peer:?}"),
        format!("{id} is Open"),
        format!("{id} is Closing"),
        format!(
            "{id} has ended: Some(Closed(Ending {{ reason: Disconnected, received: None, sent: None }}))"
        ),
    ];
    assert_eq!(*lines, told);
}
