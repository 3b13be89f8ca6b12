//! Runs all cases of an Autobahn fuzzing server:
//!
//!     cargo run --release --example autobahn_client --features std -- ws://127.0.0.1:9001 sansocket
//!     cargo run --release --example autobahn_client --features deflate -- ws://127.0.0.1:9001 sansocket --deflate

use std::error::Error;
use std::io::Write;

use sansocket::config::ClientOptions;
use sansocket::{Error as SocketError, Message, blocking};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(url), Some(agent)) = (args.next(), args.next()) else {
        return Err("usage: autobahn_client URL AGENT [--deflate]".into());
    };
    let options = match args.next().as_deref() {
        None => ClientOptions::new(),
        #[cfg(feature = "deflate")]
        Some("--deflate") => {
            use sansocket::deflate::DeflateOptions;
            ClientOptions::new().deflate(DeflateOptions::new().context(true).send_window_bits(15))
        }
        Some(other) => return Err(format!("unknown or not compiled in: {other}").into()),
    };
    let url = url.trim_end_matches('/');
    let count: u32 = ask(&format!("{url}/getCaseCount"))?.parse()?;
    let _ = writeln!(std::io::stdout(), "{count} cases");
    for case in 1..=count {
        echo(&format!("{url}/runCase?case={case}&agent={agent}"), &options)?;
    }
    blocking::connect(&format!("{url}/updateReports?agent={agent}"))?.close(None, "");
    Ok(())
}

/// Echoes until the connection ends, in whatever way it does.
fn echo(url: &str, options: &ClientOptions) -> Result<(), Box<dyn Error>> {
    let mut socket = blocking::connect_with(url, options)?;
    loop {
        match socket.recv().and_then(|message| message.map(|message| socket.send(&message)).transpose()) {
            Ok(Some(())) => {}
            Ok(None) | Err(SocketError::Ended(_) | SocketError::Transport(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The one text that the server has to say.
fn ask(url: &str) -> Result<String, Box<dyn Error>> {
    let mut socket = blocking::connect(url)?;
    let Some(Message::Text(text)) = socket.recv()? else { return Err("no answer, or no text".into()) };
    socket.close(None, "");
    Ok(text.as_str().into())
}
