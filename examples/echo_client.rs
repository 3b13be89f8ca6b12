//! Talks to a WebSocket server: lines as TEXT, a file as BINARY.
//!
//!     cargo run --release --example echo_client --features rustls -- ws://127.0.0.1:8080/ws
//!     ... | echo_client URL                  every line as a message, answers to standard output
//!     echo_client URL --file F               the file as one message, in one frame
//!     echo_client wss://HOST --tls-ca CA     over TLS, where one of these authorities vouches for HOST

mod tls;

use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::task::Poll;
use std::time::{Duration, Instant};
use std::{fmt, thread};

use sansocket::blocking::{NetStream, WebSocket, connect_with};
use sansocket::config::ClientOptions;
use sansocket::config::ControlFrames;
#[cfg(feature = "deflate")]
use sansocket::deflate::DeflateOptions;
use sansocket::proto::SystemKeys;
use sansocket::{Client, CloseCode, Config, Error as SocketError, Event, Kind, SendError};

const HELP: &str = "\
Sends each line of standard input as a text, or a file as one binary message, and prints what comes back.

Usage: echo_client [OPTIONS] URL

  --file FILE        send this file, and compare its echo
  --protocol NAME    offer this subprotocol; may be given several times, the best first
  --header N:VALUE   send this field with the request; may be given several times
  --deflate          offer to compress messages (feature `deflate`)
  --redirects N      follow at most N redirects [0]
  --tls-ca FILE      trust the authorities in this PEM file [those of the system]
  --help             print this help

A user and a password in the URL are sent as Basic authorization.
";

/// How long the end of the input is followed by waiting for answers that are still on their way.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// How often the lines that were typed are looked for.
const TICK: Duration = Duration::from_millis(20);

type Socket = WebSocket<NetStream, Client<SystemKeys>>;

fn main() {
    if let Err(error) = run() {
        note(format_args!("echo_client: {error}\n"));
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    static CONFIG: Config = {
        let mut config = Config::new();
        config.control = ControlFrames::Reported;
        config
    };
    let mut options =
        ClientOptions::new().config(&CONFIG).receive_buffer(64 * 1024).transmit_buffer(64 * 1024);
    let (mut url, mut file, mut protocols) = (None, None, Vec::new());
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        use lexopt::prelude::*;
        match arg {
            Value(value) if url.is_none() => url = Some(value.string()?),
            Long("file") => file = Some(parser.value()?.string()?),
            Long("protocol") => protocols.push(parser.value()?.string()?),
            Long("header") => {
                let header = parser.value()?.string()?;
                let (name, value) = header.split_once(':').ok_or("--header wants NAME:VALUE")?;
                options = options.header(name, value.trim());
            }
            #[cfg(feature = "deflate")]
            Long("deflate") => options = options.deflate(DeflateOptions::new().context(true)),
            Long("redirects") => options = options.follow_redirects(parser.value()?.parse()?),
            Long("tls-ca") => options = options.tls_roots(tls::roots(&parser.value()?.string()?)?),
            Long("help") | Short('h') => {
                let _ = io::stdout().write_all(HELP.as_bytes());
                return Ok(());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let url = url.ok_or("no URL; see --help")?;
    let mut socket = connect_with(&url, &options.protocols(protocols)).map_err(describe)?;
    let protocol = socket.protocol().map(|name| format!(", protocol {name}")).unwrap_or_default();
    let deflate = if is_compressed(&socket) { ", compressed" } else { "" };
    note(format_args!("open{protocol}{deflate}\n"));
    match file {
        Some(file) => send_file(&mut socket, &file),
        None => talk(&mut socket),
    }
}

/// A refusal with the words of the server.
fn describe(error: SocketError) -> Box<dyn Error> {
    match error.response() {
        Some(response) => {
            let rest = if response.complete { "" } else { " ... incomplete" };
            format!("{error}: {}{rest}", response.body.escape_ascii()).into()
        }
        None => error.into(),
    }
}

/// Lines to the server, answers to standard output, until either side is done.
fn talk(socket: &mut Socket) -> Result<(), Box<dyn Error>> {
    let lines = read_lines();
    let (mut sent, mut answered) = (0_u64, 0_u64);
    let mut quiet_since = None;
    loop {
        match lines.try_recv() {
            Ok(line) => {
                socket.send(&line?)?;
                sent += 1;
                continue;
            }
            Err(TryRecvError::Empty) => quiet_since = None,
            Err(TryRecvError::Disconnected) => {
                let since = *quiet_since.get_or_insert_with(Instant::now);
                if answered >= sent || since.elapsed() > LONGEST_WAIT {
                    break;
                }
            }
        }
        match socket.read_timeout(TICK) {
            Ok(Poll::Ready(Some((event, _)))) => {
                quiet_since = None;
                answered += u64::from(show(event)?);
            }
            Ok(Poll::Pending) => {}
            Ok(Poll::Ready(None)) | Err(SocketError::Ended(_)) => return Err(end(socket).into()),
            Err(error) => return Err(error.into()),
        }
    }
    close(socket)
}

#[cfg(feature = "deflate")]
fn is_compressed(socket: &Socket) -> bool {
    socket.is_compressed()
}

#[cfg(not(feature = "deflate"))]
fn is_compressed(_: &Socket) -> bool {
    false
}

/// Sends as much of a piece of the file as there is room for: how many bytes that was, and whether the message is complete.
fn send_part(socket: &mut Socket, piece: &[u8], last: bool) -> Result<(usize, bool), SendError> {
    let compressed = is_compressed(socket);
    let (mut writer, mut rest) = (socket.writer(), piece);
    let mut out = writer.outbox();
    // Compressed, the length of the message is not known before it ends: it is sent in several frames.
    let sent = match compressed {
        true => out.send_fragmented(Kind::Binary, &mut rest, last),
        false => out.write_all(&mut rest),
    };
    match sent {
        Ok(()) => Ok((piece.len(), last)),
        Err(SendError::Blocked) => Ok((piece.len() - rest.len(), false)),
        Err(error) => Err(error),
    }
}

/// The file as one binary message, whose echo is compared while it comes.
fn send_file(socket: &mut Socket, path: &str) -> Result<(), Box<dyn Error>> {
    let open = || File::open(path).map_err(|error| format!("{path}: {error}"));
    let (mut file, mut original) = (open()?, BufReader::new(open()?));
    let len = file.metadata()?.len();
    if !is_compressed(socket) {
        socket.writer().outbox().begin_frame(Kind::Binary, len, true)?;
    }
    let (mut sent, mut complete, mut echoed, mut ended) = (0_u64, false, 0_u64, false);
    let (mut chunk, mut rest) = (vec![0; 32 * 1024], 0..0);
    let mut expected = Vec::new();
    while !complete || !ended {
        if rest.is_empty() && sent < len {
            rest = 0..file.read(&mut chunk)?;
            if rest.is_empty() {
                return Err(format!("{path} became shorter while it was sent").into());
            }
        }
        if !complete {
            let last = sent + rest.len() as u64 == len;
            let n;
            (n, complete) = send_part(socket, &chunk[rest.clone()], last)?;
            rest.start += n;
            sent += n as u64;
        }
        // The echo is read while the file is sent: an echo server stops reading from a client that does not read its answers.
        let event = if !complete { socket.read_or_flushed()? } else { socket.read_timeout(LONGEST_WAIT)? };
        match event {
            Poll::Ready(Some((Event::Data(data), _))) => {
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
            Poll::Ready(Some((event, _))) => {
                show(event)?;
            }
            Poll::Ready(None) => return Err("the server has closed".into()),
            Poll::Pending if complete => return Err("the echo does not come".into()),
            Poll::Pending => {}
        }
    }
    if echoed != len {
        return Err(format!("the echo has {echoed} bytes, the file {len}").into());
    }
    writeln!(io::stdout(), "{len} bytes sent, and their echo is identical")?;
    close(socket)
}

fn close(socket: &mut Socket) -> Result<(), Box<dyn Error>> {
    let ending = socket.close(CloseCode::NORMAL, "");
    note(format_args!("{}, code {} {}\n", ending.reason, ending.code(), socket.close_reason()));
    if ending.is_clean() { Ok(()) } else { Err("no clean close".into()) }
}

/// Says how the connection ended.
fn end(socket: &Socket) -> String {
    let ending = socket.ending().expect("it has ended");
    format!("{} (code {}) {}", ending.reason, ending.code(), socket.close_reason())
}

/// Prints an event; whether it completes a message.
fn show(event: Event<'_>) -> Result<bool, io::Error> {
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
        Event::Ping(payload) => note(format_args!("ping {}\n", payload.escape_ascii())),
        Event::Pong(payload) => note(format_args!("pong {}\n", payload.escape_ascii())),
        Event::Close(code, reason) => {
            note(format_args!("close {:?} {}\n", code.map(CloseCode::get), reason.escape_ascii()));
        }
        _ => {}
    }
    Ok(false)
}

fn progress(sent: u64, echoed: u64, len: u64) {
    if io::stderr().is_terminal() {
        let end = if echoed == len { "\n" } else { "" };
        note(format_args!("\r{sent} of {len} bytes sent, {echoed} echoed {end}"));
    }
}

/// Writes a line to stderr, and ignores an error: `eprintln!` would panic on a closed pipe.
fn note(text: fmt::Arguments<'_>) {
    let _ = write!(io::stderr(), "{text}");
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
