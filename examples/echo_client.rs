//! Talks to a WebSocket server: lines as TEXT, a file as BINARY.
//!
//!     cargo run --release --example echo_client --features std -- ws://127.0.0.1:8080/ws
//!     ... | echo_client URL                  every line as a message, answers to standard output
//!     echo_client URL --file F               the file as one message, in one frame
//!     echo_client wss://HOST --tls-ca CA     over TLS, where one of these authorities vouches for HOST

mod tls;

use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use sansocket::adapter::Buffers;
use sansocket::blocking::{Connected, Error as SocketError, Stream, SystemKeys, WebSocket};
use sansocket::handshake::{Address, Connect, Reply};
use sansocket::{Client, CloseCode, Config, Control, Event, Kind, Outbox, Payload};
use tls::Tls;

const HELP: &str = "\
Usage: echo_client URL [--file FILE] [--protocol NAME] [--tls-ca FILE]

Sends each line of standard input as a text, or a file as one binary message, and prints what comes back.
";

/// How long the end of the input is followed by waiting for answers that are still on their way.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the lines that were typed are looked for.
const TICK: Duration = Duration::from_millis(20);

type Socket<S> = WebSocket<'static, S, Client<SystemKeys>>;

fn main() {
    if let Err(error) = run() {
        eprint!("echo_client: {error}");
        let mut error = error.source();
        while let Some(source) = error {
            eprint!(": {source}");
            error = source.source();
        }
        eprintln!();
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let (mut url, mut file, mut protocols, mut authorities) = (None, None, Vec::new(), None);
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        use lexopt::prelude::*;
        match arg {
            Value(value) if url.is_none() => url = Some(value.string()?),
            Long("file") => file = Some(parser.value()?.string()?),
            Long("protocol") => protocols.push(parser.value()?.string()?),
            Long("tls-ca") => authorities = Some(parser.value()?.string()?),
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let url = url.ok_or(HELP)?;
    let protocols: Vec<&str> = protocols.iter().map(String::as_str).collect();
    let address = Address::parse(&url)?;
    let authorities = match (address.secure, authorities) {
        (true, None) => return Err("wss:// needs --tls-ca: whom is it to trust?".into()),
        (true, Some(authorities)) => Some(tls::client(&authorities)?),
        (false, _) => None,
    };
    let stream = TcpStream::connect((address.host, address.port))
        .map_err(|error| format!("cannot connect to {}:{}: {error}", address.host, address.port))?;
    stream.set_nodelay(true)?;
    let request = Connect { protocols: &protocols, ..Connect::new(address) };
    match authorities {
        Some(config) => converse(Tls::connect(&config, address.host, stream)?, &request, file),
        None => converse(stream, &request, file),
    }
}

fn converse<S: Stream>(stream: S, request: &Connect<'_>, file: Option<String>) -> Result<(), Box<dyn Error>> {
    let mut socket = connect(stream, request)?;
    match file {
        Some(file) => send_file(&mut socket, &file),
        None => talk(&mut socket),
    }
}

fn connect<S: Stream>(stream: S, request: &Connect<'_>) -> Result<Socket<S>, Box<dyn Error>> {
    static CONFIG: Config = {
        let mut config = Config::new();
        config.control = Control::Told;
        config
    };
    let buffers = Buffers::with_capacity(8 * 1024, 64 * 1024, 64 * 1024)?;
    match WebSocket::connect(stream, &CONFIG, buffers, SystemKeys::new()?, request)? {
        Connected::WebSocket(socket, protocol) => {
            eprintln!("open{}", protocol.map(|name| format!(", protocol {name}")).unwrap_or_default());
            Ok(socket)
        }
        Connected::Refused(head) => {
            let reply = Reply::parse(&head, &CONFIG)?;
            Err(format!("refused with status {}: {}", reply.status, reply.body.escape_ascii()).into())
        }
    }
}

/// Lines to the server, answers to standard output, until either side is done.
fn talk<S: Stream>(socket: &mut Socket<S>) -> Result<(), Box<dyn Error>> {
    let lines = read_lines();
    let (mut sent, mut answered) = (0_u64, 0_u64);
    let mut quiet_since = None;
    loop {
        match lines.try_recv() {
            Ok(line) => {
                socket.sending().send(Kind::Text, line?.as_bytes())?;
                sent += 1;
                continue;
            }
            Err(TryRecvError::Empty) => quiet_since = None,
            Err(TryRecvError::Disconnected) => {
                let since = *quiet_since.get_or_insert_with(Instant::now);
                if answered >= sent || since.elapsed() > PATIENCE {
                    break;
                }
            }
        }
        match socket.read_timeout(TICK) {
            Ok(Some((event, _))) => {
                quiet_since = None;
                answered += u64::from(show(event)?);
            }
            Ok(None) => {}
            Err(SocketError::Closed(cause)) => {
                return Err(format!("{} (code {}) {}", cause.end, cause.code(), socket.reason()).into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    close(socket)
}

/// The file as one binary frame, whose echo is compared while it comes.
fn send_file<S: Stream>(socket: &mut Socket<S>, path: &str) -> Result<(), Box<dyn Error>> {
    let open = || File::open(path).map_err(|error| format!("{path}: {error}"));
    let (mut file, mut original) = (open()?, BufReader::new(open()?));
    let len = file.metadata()?.len();
    socket.sending().outbox().begin(Kind::Binary, len, true)?;
    let (mut sent, mut echoed, mut ended) = (0_u64, 0_u64, false);
    let (mut chunk, mut rest) = (vec![0; 32 * 1024], 0..0);
    let mut expected = Vec::new();
    while sent < len || !ended {
        if rest.is_empty() && sent < len {
            rest = 0..file.read(&mut chunk)?;
            if rest.is_empty() {
                return Err(format!("{path} became shorter while it was sent").into());
            }
        }
        while !rest.is_empty() {
            match socket.sending().outbox().write(&chunk[rest.clone()])? {
                0 => break,
                n => {
                    rest.start += n;
                    sent += n as u64;
                }
            }
        }
        // The echo is read while the file is sent: an echo server stops listening to whom it cannot answer.
        let event = if sent < len { socket.read_or_written()? } else { socket.read_timeout(PATIENCE)? };
        match event {
            Some((Event::Data(data), _)) => {
                expected.resize(data.payload.len(), 0);
                original.read_exact(&mut expected)?;
                if data.kind != Kind::Binary || expected != *data.payload {
                    return Err(
                        format!("the echo differs within {} bytes of byte {echoed}", expected.len()).into()
                    );
                }
                echoed += data.payload.len() as u64;
                ended = data.end;
                progress(sent, echoed, len);
            }
            Some((event, _)) => {
                show(event)?;
            }
            None if sent == len => return Err("the echo does not come".into()),
            None => {}
        }
    }
    if echoed != len {
        return Err(format!("the echo has {echoed} bytes, the file {len}").into());
    }
    println!("{len} bytes sent, and their echo is identical");
    close(socket)
}

fn close<S: Stream>(socket: &mut Socket<S>) -> Result<(), Box<dyn Error>> {
    let cause = socket.close(Some(CloseCode::NORMAL), "")?;
    eprintln!("{}, code {} {}", cause.end, cause.code(), socket.reason());
    if cause.is_clean() { Ok(()) } else { Err("no clean close".into()) }
}

/// Prints an event; whether it completes a message.
fn show(event: Event<Payload<'_>>) -> Result<bool, io::Error> {
    let mut out = io::stdout().lock();
    match event {
        Event::Data(data) => {
            match data.kind {
                Kind::Text => out.write_all(&data.payload)?,
                Kind::Binary => write!(out, "{}", data.payload.escape_ascii())?,
            }
            if data.end {
                writeln!(out)?;
            }
            out.flush()?;
            return Ok(data.end);
        }
        Event::Ping(payload) => eprintln!("ping {}", payload.escape_ascii()),
        Event::Pong(payload) => eprintln!("pong {}", payload.escape_ascii()),
        Event::Close(code, reason) => {
            eprintln!("close {:?} {}", code.map(CloseCode::get), reason.escape_ascii())
        }
    }
    Ok(false)
}

fn progress(sent: u64, echoed: u64, len: u64) {
    if io::stderr().is_terminal() {
        eprint!("\r{sent} of {len} bytes sent, {echoed} echoed ");
        if echoed == len {
            eprintln!();
        }
    }
}

/// Standard input, line by line; it may block, so a thread of its own reads it.
fn read_lines() -> Receiver<io::Result<String>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}
