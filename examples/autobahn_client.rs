//! Runs all cases of an Autobahn fuzzing server:
//!
//!     cargo run --release --example autobahn_client --features std -- ws://127.0.0.1:9001 sansocket

use std::error::Error;
use std::net::TcpStream;

use sansocket::adapter::Buffers;
use sansocket::blocking::{Connected, Error as SocketError, SystemKeys, WebSocket};
use sansocket::handshake::{Address, Connect};
use sansocket::{Assembler, Client, Config, Event, Kind};

type Socket = WebSocket<'static, TcpStream, Client<SystemKeys>>;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(url), Some(agent)) = (args.next(), args.next()) else {
        return Err("usage: autobahn_client URL AGENT".into());
    };
    let url = url.trim_end_matches('/');
    let count: u32 = ask(&format!("{url}/getCaseCount"))?.parse()?;
    println!("{count} cases");
    for case in 1..=count {
        echo(&format!("{url}/runCase?case={case}&agent={agent}"))?;
    }
    connect(&format!("{url}/updateReports?agent={agent}"))?.close(None, "")?;
    Ok(())
}

/// Echoes until the connection ends, in whatever way it does.
fn echo(url: &str) -> Result<(), Box<dyn Error>> {
    let mut socket = connect(url)?;
    let mut message = Vec::new();
    loop {
        match echo_next(&mut socket, &mut message) {
            Ok(()) => {}
            Err(SocketError::Closed(_) | SocketError::Transport(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn echo_next(socket: &mut Socket, message: &mut Vec<u8>) -> Result<(), SocketError> {
    let (Event::Data(data), mut out) = socket.read()? else { return Ok(()) };
    if data.start && data.end {
        return out.send(data.kind, &data.payload);
    }
    message.extend_from_slice(&data.payload);
    if data.end {
        out.send(data.kind, message)?;
        message.clear();
    }
    Ok(())
}

/// The one text that the server has to say.
fn ask(url: &str) -> Result<String, Box<dyn Error>> {
    let mut socket = connect(url)?;
    let mut message = Assembler::new(Vec::new());
    let kind = socket.read_message(&mut message)?;
    assert_eq!(kind, Kind::Text);
    let text = message.text().unwrap_or_default().to_owned();
    socket.close(None, "")?;
    Ok(text)
}

fn connect(url: &str) -> Result<Socket, Box<dyn Error>> {
    let address = Address::parse(url)?;
    let stream = TcpStream::connect((address.host, address.port))?;
    stream.set_nodelay(true)?;
    let buffers = Buffers::with_capacity(8 * 1024, 64 * 1024, 64 * 1024)?;
    match WebSocket::connect(stream, &Config::DEFAULT, buffers, SystemKeys::new()?, &Connect::new(address))? {
        Connected::WebSocket(socket, _) => Ok(socket),
        Connected::Refused(head) => Err(format!("refused: {}", head.filled().escape_ascii()).into()),
    }
}
