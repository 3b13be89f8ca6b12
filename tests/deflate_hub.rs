//! permessage-deflate in a hub: echoes, broadcasts that are compressed once, routes without it, and the pool of codecs.

mod hub_server;
mod wire;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use hub_server::*;
use sansocket::deflate::{DeflateOptions, Pool};
use sansocket::handshake::AcceptOptions;
use sansocket::hub::{HubSettings, MioServer, Routes, SessionId};
use sansocket::message::Prepared;

const RSV1: u8 = 0x40;
const CHROMIUM: &str = "permessage-deflate; client_max_window_bits";

/// A client that compresses with C's zlib, and decompresses with exactly the window that was agreed upon.
struct Client {
    stream: TcpStream,
    answer: String,
    deflate: Compress,
    inflate: Decompress,
}

impl Client {
    fn new(address: SocketAddr, path: &str, offer: &str) -> Self {
        let mut stream = connect(address);
        let request = String::from_utf8(REQUEST.to_vec()).unwrap().replace("/ws", path);
        let offer = format!("Sec-WebSocket-Extensions: {offer}\r\n\r\n");
        stream.write_all((request.trim_end().to_owned() + "\r\n" + &offer).as_bytes()).unwrap();
        let head = String::from_utf8(head(&mut stream).unwrap()).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let field = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "));
        let answer = field.unwrap_or_default().to_owned();
        let bits = answer.split("server_max_window_bits=").nth(1);
        let bits = bits.map_or(15, |bits| bits.split(';').next().unwrap().parse().unwrap());
        Self {
            stream,
            answer,
            deflate: Compress::new(Compression::new(6), false),
            inflate: Decompress::new_with_window_bits(false, bits),
        }
    }

    fn send(&mut self, message: &[u8]) {
        if self.answer.is_empty() {
            self.stream.write_all(&masked(wire::BINARY, message)).unwrap();
            return;
        }
        let mut wire = Vec::with_capacity(message.len() + 100);
        self.deflate.compress_vec(message, &mut wire, FlushCompress::Sync).unwrap();
        // zlib makes nothing of no input: the block without content, built by hand (§7.2.3.6).
        match wire.len().checked_sub(4) {
            Some(len) => wire.truncate(len),
            None => wire.push(0),
        }
        if self.answer.contains("client_no_context_takeover") {
            self.deflate.reset();
        }
        self.stream.write_all(&masked(RSV1 | wire::BINARY, &wire)).unwrap();
    }

    /// The next message, and whether it was compressed.
    fn recv(&mut self) -> (Vec<u8>, bool) {
        let (mut compressed, mut wire, mut start) = (false, Vec::new(), true);
        loop {
            let (first, payload) = next(&mut self.stream).unwrap();
            if first & 0xF == 9 {
                continue;
            }
            assert_eq!(first & 0xF == 0, !start, "{first:x}");
            compressed |= first & RSV1 != 0;
            wire.extend(payload);
            start = false;
            if first & 0x80 != 0 {
                break;
            }
        }
        if !compressed {
            return (wire, false);
        }
        wire.extend([0, 0, 0xFF, 0xFF]);
        let (mut at, mut message, mut output) = (0, Vec::new(), [0; 64]);
        loop {
            let before = (self.inflate.total_in(), self.inflate.total_out());
            self.inflate.decompress(&wire[at..], &mut output, FlushDecompress::Sync).unwrap();
            let produced = (self.inflate.total_out() - before.1) as usize;
            at += (self.inflate.total_in() - before.0) as usize;
            message.extend_from_slice(&output[..produced]);
            if at == wire.len() && produced < output.len() {
                break;
            }
        }
        if self.answer.contains("server_no_context_takeover") {
            self.inflate.reset(false);
        }
        (message, true)
    }
}

fn message(i: usize, len: usize) -> Vec<u8> {
    let mut text = String::new();
    while text.len() < len {
        text += &format!("{{\"number\":{},\"name\":\"row {i}\"}},", text.len() * 31 + i * 17);
    }
    text.truncate(len);
    text.into_bytes()
}

fn bytes_that_do_not_shrink(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(next).collect()
}

#[test]
fn a_hub_echoes_what_is_compressed() {
    for options in [DeflateOptions::new(), DeflateOptions::new().context(true)] {
        let pool = Arc::new(Pool::new(options).unwrap());
        let server = HubServer::new(HubSettings::default().deflate(Arc::clone(&pool)));
        for offer in [
            CHROMIUM,
            "permessage-deflate",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=9",
            "permessage-deflate; server_max_window_bits=15, permessage-deflate",
            "permessage-deflate; client_no_context_takeover; client_max_window_bits",
            "unknown",
        ] {
            let mut client = Client::new(server.address, "/", offer);
            assert_eq!(client.answer.is_empty(), offer == "unknown");
            let mut compressed = 0;
            for i in 0..30 {
                let sent = match i % 6 {
                    0 => Vec::new(),
                    1 => message(i, 60),
                    2 => message(i, 1000),
                    3 => message(i, 20_000),
                    4 => message(i, 200_000),
                    _ => bytes_that_do_not_shrink(30_000),
                };
                client.send(&sent);
                let (got, was_compressed) = client.recv();
                assert!(got == sent, "{offer} {i}");
                compressed += usize::from(was_compressed);
            }
            // A window that the shared compressors exceed is not served without context.
            let plain = offer == "unknown" || offer.contains("=9");
            assert_eq!(compressed > 15, !plain, "{offer}: {compressed}");
        }
        wait_for("the codecs", || pool.free() == (options.decompressors, options.compressors));
        server.stop();
    }
}

#[test]
fn a_broadcast_is_compressed_once_beside_messages_with_context() {
    for server_context in [false, true] {
        let options = DeflateOptions::new().context(server_context);
        let pool = Pool::new(options).unwrap();
        let server = HubServer::new(HubSettings::default().transmit_buffer(8 * 1024).deflate(pool));
        let mut clients: Vec<Client> = [
            CHROMIUM,
            "permessage-deflate",
            "permessage-deflate; server_no_context_takeover",
            "permessage-deflate; server_max_window_bits=9",
            "none",
            CHROMIUM,
        ]
        .map(|offer| Client::new(server.address, "/", offer))
        .into();
        wait_for("sessions", || server.handle.counters().opened == 6);
        for i in 0..40 {
            // Behind each other, without a wait: echoes, and broadcasts that fit the transmit buffer or do not, small and large.
            let own = message(i, [10, 700, 3000][i % 3]);
            let all = [
                message(i + 1, 500),
                message(i + 2, 100_000),
                message(i, 100),
                bytes_that_do_not_shrink(2000),
            ];
            let all = &all[i % 4];
            for client in &mut clients {
                client.send(&own);
            }
            server.handle.broadcast(Prepared::binary(all.clone())).unwrap();
            for (k, client) in clients.iter_mut().enumerate() {
                // Either comes first.
                let mut got = [client.recv(), client.recv()];
                if got[0].0 == *all {
                    got.reverse();
                }
                assert!(got[0].0 == own && got[1].0 == *all, "{server_context} {i} client {k}");
                let may = !client.answer.is_empty() && all.len() >= 256 && i % 4 != 3;
                // A window of 9 bits is below that of the shared frame; its own compressor serves what fits the buffer.
                let must = k != 3 || server_context && all.len() < 4000;
                if may && must {
                    assert!(got[1].1, "{server_context} {i} client {k}: a broadcast is compressed");
                }
            }
        }
        drop(clients);
        server.stop();
    }
}

#[test]
fn messages_to_one_session_are_compressed_also_beyond_the_transmit_buffer() {
    let pool = Pool::new(DeflateOptions::new().context(true)).unwrap();
    let server = HubServer::new(HubSettings::default().transmit_buffer(4 * 1024).deflate(pool));
    let mut client = Client::new(server.address, "/", CHROMIUM);
    wait_for("the session", || server.handle.counters().opened == 1);
    let mut ids: Vec<SessionId> = Vec::new();
    server.handle.sessions().into_iter().for_each(|session| ids.push(session.id()));
    for i in 0..60 {
        let sent = message(i, [100, 2000, 3900, 50_000][i % 4]);
        server.handle.send(ids[0], Prepared::binary(sent.clone())).unwrap();
        let (got, compressed) = client.recv();
        assert!(got == sent && compressed, "{i}: {} bytes", sent.len());
    }
    drop(client);
    server.stop();
}

#[test]
fn a_route_can_decline_compression() {
    let pool = Pool::new(DeflateOptions::new()).unwrap();
    let routes = Routes::new().websocket("/open", |_, _| Ok(Echo)).websocket_with(
        "/secret",
        AcceptOptions::new().decline_extensions(),
        |_, _| Ok(Echo),
    );
    let server = MioServer::bind("127.0.0.1:0", HubSettings::default().deflate(pool), |_| routes).unwrap();
    let (address, handle) = (server.address(), server.handle());
    let thread = std::thread::spawn(move || server.run().unwrap());
    assert!(Client::new(address, "/open", CHROMIUM).answer.starts_with("permessage-deflate"));
    let mut secret = Client::new(address, "/secret", CHROMIUM);
    assert_eq!(secret.answer, "");
    secret.send(&message(1, 1000));
    assert_eq!(secret.recv(), (message(1, 1000), false));
    drop(secret);
    handle.stop(sansocket::CloseCode::GOING_AWAY).unwrap();
    thread.join().unwrap();
}

/// A route has windows, levels and contexts of its own, beside those of the server and without.
#[test]
fn a_route_has_options_of_its_own() {
    let pool = Arc::new(Pool::new(DeflateOptions::new()).unwrap());
    for (settings, open) in
        [(HubSettings::default().deflate(Arc::clone(&pool)), true), (HubSettings::default(), false)]
    {
        let feed = pool.with_options(DeflateOptions::new().context(true).send_window_bits(15).level(6));
        // The compressors of the pool have a larger window.
        let narrow = pool.with_options(DeflateOptions::new().send_window_bits(9));
        let routes = Routes::new()
            .websocket("/open", |_, _| Ok(Echo))
            .websocket_with("/feed", AcceptOptions::new().deflate(feed), |_, _| Ok(Echo))
            .websocket_with("/narrow", AcceptOptions::new().deflate(narrow), |_, _| Ok(Echo));
        let server = MioServer::bind("127.0.0.1:0", settings, |_| routes).unwrap();
        let (address, handle) = (server.address(), server.handle());
        let thread = std::thread::spawn(move || server.run().unwrap());
        let mut clients = ["/open", "/feed", "/narrow"].map(|path| Client::new(address, path, CHROMIUM));
        const NO_CONTEXT: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=";
        let answers = clients.each_ref().map(|client| client.answer.clone());
        let of_server = if open { format!("{NO_CONTEXT}12") } else { String::new() };
        assert_eq!(answers, [of_server, "permessage-deflate".to_owned(), format!("{NO_CONTEXT}9")]);
        for i in 0..20 {
            for (client, compressed) in clients.iter_mut().zip([open, true, false]) {
                client.send(&message(i, 1000));
                assert_eq!(client.recv(), (message(i, 1000), compressed));
            }
            handle.broadcast(Prepared::binary(message(i + 1, 700))).unwrap();
            for (client, compressed) in clients.iter_mut().zip([open, true, false]) {
                assert_eq!(client.recv(), (message(i + 1, 700), compressed));
            }
        }
        drop(clients);
        handle.stop(sansocket::CloseCode::GOING_AWAY).unwrap();
        thread.join().unwrap();
    }
    assert_eq!(pool.free(), (pool.options().decompressors, pool.options().compressors));
}
