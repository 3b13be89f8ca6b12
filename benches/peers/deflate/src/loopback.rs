//! Echo over loopback: CPU time of the server, and bytes that it sends, a message. One connection, sixteen messages at a time.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::clock::median;
use crate::csv::{attempt, failed, option, row, size};
use crate::traffic::Traffic;

const DEPTH: usize = 16;
const SERVERS: [&str; 10] = [
    "sansocket",
    "sansocket-context",
    "sansocket-context-15-6",
    "sansocket-tokio",
    "ws",
    "websockets",
    "uWebSockets-shared",
    "uWebSockets-dedicated",
    "yawc",
    "sockudo-ws",
];
const REQUEST: &str = "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

/// Measures all servers, in turns.
pub fn measure(sizes: &[usize], rounds: usize, seconds: f64) {
    let of = |name: &str| option(name).unwrap_or_default();
    let (wanted, only) = (of("--work"), of("--only"));
    if sizes.iter().all(|len| !format!("deflate-loopback-{}", size(*len)).contains(&wanted)) {
        return;
    }
    let servers: Vec<_> = SERVERS
        .iter()
        .filter(|name| name.contains(&only))
        .map(|name| (*name, attempt(|| Server::start(name))))
        .collect();
    for len in sizes {
        let work = format!("deflate-loopback-{}", size(*len));
        if !work.contains(&wanted) {
            continue;
        }
        let traffics = [false, true].map(|context| Traffic::new(*len, context));
        let mut values: Vec<Result<Vec<(f64, f64)>, String>> =
            servers.iter().map(|(_, server)| server.as_ref().map(|_| vec![]).map_err(Clone::clone)).collect();
        for _ in 0..rounds {
            for ((_, server), values) in servers.iter().zip(&mut values) {
                if let (Ok(server), Ok(own)) = (server, &mut *values) {
                    match attempt(|| echo(server, &traffics, seconds)) {
                        Ok(value) => own.push(value),
                        Err(reason) => *values = Err(reason),
                    }
                }
            }
        }
        for ((name, _), values) in servers.iter().zip(values) {
            match values {
                Ok(own) => {
                    let of =
                        |value: fn(&(f64, f64)) -> f64| median(&own.iter().map(value).collect::<Vec<_>>());
                    row(&work, name, of(|(ns, _)| *ns), "ns", f64::NAN);
                    row(
                        &format!("{work}-bytes"),
                        name,
                        of(|(_, bytes)| *bytes),
                        "B",
                        of(|(_, bytes)| *bytes) / *len as f64,
                    );
                }
                Err(reason) => failed(&work, name, &reason),
            }
        }
    }
}

struct Server {
    port: u16,
    process: Child,
}

impl Server {
    fn start(name: &str) -> Self {
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let script = |file: &str| format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
        match name {
            "ws" => command.arg("node").arg(script("servers.mjs")),
            "websockets" => command
                .arg(option("--python").expect("needs --python PROGRAM"))
                .arg(script("websockets_server.py")),
            _ if name.starts_with("uWebSockets") => {
                command.arg(option("--bun").expect("needs --bun PROGRAM")).arg(script("servers.mjs"))
            }
            _ => command.arg(std::env::current_exe().unwrap()).arg("serve"),
        };
        let mut process = command.arg(name).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let port = port.trim().parse().unwrap_or_else(|_| panic!("it did not print its port"));
        Self { port, process }
    }

    /// CPU time of all its threads in ns.
    fn cpu(&self) -> f64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id())).expect("it has ended");
        let time = |task: fs::DirEntry| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<f64>().ok()
        };
        tasks.flatten().filter_map(time).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns ns and bytes a message.
fn echo(server: &Server, traffics: &[Traffic; 2], seconds: f64) -> (f64, f64) {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(REQUEST.as_bytes()).unwrap();
    let mut head = vec![];
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(head.to_lowercase().contains("permessage-deflate"), "it does not compress: {head}");
    let context = !head.contains("client_no_context_takeover");
    let traffic = &traffics[usize::from(context)];
    let bits = head
        .split("client_max_window_bits=")
        .nth(1)
        .and_then(|rest| rest.get(..2))
        .map(|bits| bits.trim_end_matches([';', '\r']));
    assert!(bits.is_none_or(|bits| bits == "15"), "it wants a window of {bits:?} bits");
    let batches = batches(&traffic.wire);
    let mut reader = BufReader::with_capacity(256 << 10, stream.try_clone().unwrap());
    let began = Instant::now();
    let mut measured: Option<(f64, usize, usize)> = None;
    let (mut messages, mut bytes) = (0, 0);
    loop {
        for batch in &batches {
            stream.write_all(batch).unwrap();
            for _ in 0..DEPTH {
                bytes += skip_message(&mut reader);
            }
            messages += DEPTH;
        }
        let elapsed = began.elapsed().as_secs_f64();
        match measured {
            None if elapsed > seconds * 0.3 => measured = Some((server.cpu(), messages, bytes)),
            Some((cpu, m, b)) if elapsed > seconds * 1.3 => {
                let count = (messages - m) as f64;
                return ((server.cpu() - cpu) / count, (bytes - b) as f64 / count);
            }
            _ => {}
        }
    }
}

/// The frames, sixteen at a time.
fn batches(wire: &[u8]) -> Vec<&[u8]> {
    let (mut batches, mut start, mut at, mut count) = (vec![], 0, 0, 0);
    while at < wire.len() {
        let (header, len) = match wire[at + 1] & 127 {
            126 => (8, usize::from(u16::from_be_bytes([wire[at + 2], wire[at + 3]]))),
            len => (6, usize::from(len)),
        };
        at += header + len;
        count += 1;
        if count == DEPTH {
            batches.push(&wire[start..at]);
            (start, count) = (at, 0);
        }
    }
    batches
}

/// Reads a message, and returns how many bytes its frames take.
fn skip_message(reader: &mut impl Read) -> usize {
    let mut all = 0;
    loop {
        let mut header = [0; 2];
        reader.read_exact(&mut header).unwrap();
        let mut extended = [0; 8];
        let (more, len) = match header[1] & 127 {
            126 => {
                reader.read_exact(&mut extended[6..]).unwrap();
                (2, u64::from_be_bytes(extended))
            }
            127 => {
                reader.read_exact(&mut extended).unwrap();
                (8, u64::from_be_bytes(extended))
            }
            len => (0, len.into()),
        };
        assert_ne!(header[0] & 15, 8, "the server closes");
        std::io::copy(&mut reader.by_ref().take(len), &mut std::io::sink()).unwrap();
        if header[0] & 8 == 0 {
            all += 2 + more + len as usize;
            if header[0] & 0x80 != 0 {
                return all;
            }
        }
    }
}
