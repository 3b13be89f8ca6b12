//! permessage-deflate over TCP: clients and servers of `blocking` and `tokio`.

mod wire;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use sansocket::blocking::{self, WebSocket};
use sansocket::config::{ClientOptions, ServerOptions};
use sansocket::deflate::{DeflateOptions, Pool};
use sansocket::handshake::{Accepted, Decision};
use sansocket::{Config, Error, Kind, Message};
use wire::{KEY, whole_frames};

const RSV1: u8 = 0x40;

fn pool(options: DeflateOptions) -> Pool {
    Pool::new(options).expect("memory")
}

fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    (listener, url)
}

fn accept(stream: TcpStream, options: &ServerOptions) -> WebSocket<TcpStream> {
    match WebSocket::accept_with(stream, options, |_| options.accept_options().into()).unwrap() {
        Accepted::WebSocket(socket) => socket,
        other => panic!("{other:?}"),
    }
}

/// Messages of all sizes around the buffers', which shrink and which do not.
fn samples() -> Vec<Message> {
    let mut state = 1_u32;
    let mut noise = |n: usize| -> Vec<u8> {
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect()
    };
    let mut all = vec![Message::from(""), Message::from("small"), Message::from(vec![0; 300_000])];
    for len in [1, 125, 126, 1_000, 16_000, 16_384, 17_000, 100_000] {
        all.push(Message::from("{\"name\":\"é€𐍈\",\"value\":1}".repeat(len / 20 + 1)));
        all.push(Message::from(noise(len)));
    }
    all
}

fn contexts() -> [DeflateOptions; 3] {
    let context = DeflateOptions::new().context(true);
    [DeflateOptions::new(), context, context.send_window_bits(15).level(6)]
}

/// Both clients and both servers return each message, in all ways that a context is kept or not.
#[test]
fn messages_pass_between_clients_and_servers() {
    for of_server in contexts() {
        for of_client in contexts() {
            let (listener, url) = listen();
            let server = ServerOptions::new().deflate(pool(of_server));
            let client = ClientOptions::new().deflate(of_client);
            let thread = thread::spawn(move || {
                for _ in 0..2 {
                    let mut socket = accept(listener.accept().unwrap().0, &server);
                    assert!(socket.is_compressed());
                    while let Some(message) = socket.recv().unwrap() {
                        socket.send(&message).unwrap();
                    }
                }
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    listener.set_nonblocking(true).unwrap();
                    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                    for _ in 0..2 {
                        let stream = listener.accept().await.unwrap().0;
                        let mut socket = sansocket::tokio::WebSocket::accept(stream, &server).await.unwrap();
                        assert!(socket.is_compressed());
                        while let Some(message) = socket.recv().await.unwrap() {
                            socket.send(message).await.unwrap();
                        }
                    }
                });
            });
            for _ in 0..2 {
                let mut socket = blocking::connect_with(&url, &client).unwrap();
                assert!(socket.is_compressed());
                for message in samples() {
                    socket.send(&message).unwrap();
                    assert!(socket.recv().unwrap().as_ref() == Some(&message));
                }
                assert!(socket.close(None, "").is_clean());
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let mut socket = sansocket::tokio::connect_with(&url, &client).await.unwrap();
                    assert!(socket.is_compressed());
                    for message in samples() {
                        socket.send(message.clone()).await.unwrap();
                        assert!(socket.recv().await.unwrap() == Some(message));
                    }
                    assert!(socket.close(None, "").await.is_clean());
                });
            }
            thread.join().unwrap();
        }
    }
}

/// The smallest buffers, and a stream that takes few bytes at a time: a message leaves in many frames, and arrives in many
/// chunks.
#[tokio::test]
async fn messages_pass_through_the_smallest_buffers() {
    for options in contexts() {
        let server = ServerOptions::new().deflate(pool(options)).receive_buffer(140).transmit_buffer(140);
        let client = ClientOptions::new().deflate(options).receive_buffer(140).transmit_buffer(140);
        let (near, far) = tokio::io::duplex(64);
        let echo = tokio::spawn(async move {
            let mut socket = sansocket::tokio::WebSocket::accept(far, &server).await.unwrap();
            while let Some(message) = socket.recv().await.unwrap() {
                socket.feed(message).await.unwrap();
            }
        });
        let mut socket = sansocket::tokio::WebSocket::connect(near, "ws://a/", &client).await.unwrap();
        assert!(socket.is_compressed());
        for message in samples().into_iter().filter(|message| message.as_bytes().len() < 20_000) {
            // A Ping between the frames of a message is answered.
            socket.feed(message.clone()).await.unwrap();
            socket.ping(b"?").await.unwrap();
            assert!(socket.recv().await.unwrap() == Some(message));
        }
        assert!(socket.close(None, "").await.is_clean());
        echo.await.unwrap();
    }
}

/// Opens a connection by hand: the response's head, and the stream behind it.
fn raw(url: &str, offer: &str) -> (String, TcpStream) {
    let mut stream = TcpStream::connect(url.trim_start_matches("ws://").trim_end_matches('/')).unwrap();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{offer}\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    (String::from_utf8(head).unwrap(), stream)
}

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";

/// Accepts a connection on tokio, and serves it.
fn on_tokio(listener: TcpListener, serve: impl AsyncFnOnce(tokio::net::TcpStream)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        serve(listener.accept().await.unwrap().0).await;
    });
}

/// What is sent compressed, and what is not: short messages without a context, and what `fragment` sends.
#[test]
fn a_server_compresses_what_it_is_asked_to() {
    let text = "the same again, and ".repeat(50);
    for (offer, agreed) in [(OFFER, true), ("", false)] {
        let (listener, url) = listen();
        let options = ServerOptions::new().deflate(pool(DeflateOptions::new()));
        let long = text.clone();
        let thread = thread::spawn(move || {
            let mut socket = accept(listener.accept().unwrap().0, &options);
            assert_eq!(socket.is_compressed(), agreed);
            socket.send("short").unwrap();
            socket.send(&long).unwrap();
            // A secret beside text of another party.
            socket.writer().fragment(Kind::Text, long.as_bytes(), true).unwrap();
            drop(socket);

            on_tokio(listener, async |stream| {
                let mut socket = sansocket::tokio::WebSocket::accept(stream, &options).await.unwrap();
                socket.send("short").await.unwrap();
                socket.send(long.clone()).await.unwrap();
                socket.writer().fragment(Kind::Text, long.as_bytes(), true).await.unwrap();
                socket.flush().await.unwrap();
            });
        });
        for _ in 0..2 {
            let (head, mut stream) = raw(&url, offer);
            assert_eq!(head.contains("Sec-WebSocket-Extensions: permessage-deflate;"), agreed, "{head}");
            let mut sent = Vec::new();
            stream.read_to_end(&mut sent).unwrap();
            let frames = whole_frames(&sent);
            let compressed: Vec<_> = frames.iter().map(|frame| frame.first & RSV1 != 0).collect();
            assert_eq!(compressed, [false, agreed, false]);
            assert_eq!(frames[1].payload.len() < 100, agreed);
            assert_eq!((&frames[0].payload[..], &frames[2].payload[..]), (&b"short"[..], text.as_bytes()));
        }
        thread.join().unwrap();
    }
}

/// A request is accepted with options of its own, on a server that compresses and on one that does not.
#[test]
fn a_request_is_accepted_with_a_pool_of_its_own() {
    let shared = Arc::new(pool(DeflateOptions::new()));
    let feed = Arc::new(shared.with_options(DeflateOptions::new().context(true).send_window_bits(15)));
    for options in [ServerOptions::new().deflate(Arc::clone(&shared)), ServerOptions::new()] {
        let (listener, url) = listen();
        let feed = Arc::clone(&feed);
        let thread = thread::spawn(move || {
            let accept = || Decision::Accept(options.accept_options().deflate(Arc::clone(&feed)));
            let stream = listener.accept().unwrap().0;
            let Accepted::WebSocket(mut socket) =
                WebSocket::accept_with(stream, &options, |_| accept()).unwrap()
            else {
                unreachable!("not asked for")
            };
            let message = socket.recv().unwrap().unwrap();
            socket.send(&message).unwrap();
            drop(socket);

            on_tokio(listener, async |stream| {
                let accepted = sansocket::tokio::WebSocket::accept_with(stream, &options, |_| accept()).await;
                let Accepted::WebSocket(mut socket) = accepted.unwrap() else {
                    unreachable!("not asked for")
                };
                let message = socket.recv().await.unwrap().unwrap();
                socket.send(message).await.unwrap();
            });
        });
        for _ in 0..2 {
            let (head, mut stream) = raw(&url, OFFER);
            assert!(head.contains("Sec-WebSocket-Extensions: permessage-deflate\r\n"), "{head}");
            // RFC 7692 §7.2.3.1: "Hello". With a context the reply is compressed, although it is short.
            let hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
            stream.write_all(&wire::frame(RSV1 | wire::TEXT, Some(KEY), hello)).unwrap();
            let mut sent = Vec::new();
            stream.read_to_end(&mut sent).unwrap();
            let frame = &whole_frames(&sent)[0];
            assert_eq!((frame.first, frame.payload.len() < 10), (RSV1 | wire::TEXT, true));
        }
        thread.join().unwrap();
    }
}

/// Without the option a server declines, and a compressed message breaks the protocol.
#[test]
fn nothing_is_compressed_by_default() {
    let (listener, url) = listen();
    let thread = thread::spawn(move || accept(listener.accept().unwrap().0, &ServerOptions::new()).recv());
    let (head, mut stream) = raw(&url, OFFER);
    assert!(!head.contains("Sec-WebSocket-Extensions"), "{head}");
    stream.write_all(&wire::frame(RSV1 | wire::TEXT, Some(KEY), b"\xf2\x48\xcd\xc9\xc9\x07\x00")).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut sent = Vec::new();
    stream.read_to_end(&mut sent).unwrap();
    assert_eq!(whole_frames(&sent)[0].code(), Some(1002));
    assert!(matches!(thread.join().unwrap(), Err(Error::Ended(_))));
    // And a client offers nothing.
    let (listener, url) = listen();
    let thread = thread::spawn(move || blocking::connect(&url).map(|_| ()));
    let mut head = Vec::new();
    let mut stream = listener.accept().unwrap().0;
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(!String::from_utf8(head).unwrap().contains("Extensions"));
    drop(stream);
    assert!(thread.join().unwrap().is_err());
}

/// A client that offers nothing takes no compressed message, and one that offers gets an answer that fits its offer.
#[test]
fn a_client_checks_the_answer() {
    for (options, answer, opens) in [
        (None, "permessage-deflate", false),
        (Some(DeflateOptions::new()), "", true),
        (Some(DeflateOptions::new().context(true)), "permessage-deflate", true),
        (Some(DeflateOptions::new()), "permessage-deflate; server_no_context_takeover; x=1", false),
        (Some(DeflateOptions::new()), "permessage-deflate, permessage-deflate", false),
        (Some(DeflateOptions::new()), "permessage-bzip2", false),
    ] {
        let (listener, url) = listen();
        let thread = thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
            let accept = sansocket::handshake::accept_key(key.as_bytes());
            let extensions = match answer {
                "" => String::new(),
                answer => format!("Sec-WebSocket-Extensions: {answer}\r\n"),
            };
            let response = format!(
                "HTTP/1.1 101 \r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{extensions}Sec-WebSocket-Accept: {}\r\n\r\n",
                std::str::from_utf8(&accept).unwrap()
            );
            stream.write_all(response.as_bytes()).unwrap();
            // "Hello" of RFC 7692 §7.2.3.1.
            stream.write_all(b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00").unwrap();
            let _ = stream.read(&mut [0; 100]);
        });
        let client = ClientOptions::new();
        let client = if let Some(options) = options { client.deflate(options) } else { client };
        let opened = blocking::connect_with(&url, &client);
        match opened {
            Ok(mut socket) if opens => {
                assert_eq!(socket.is_compressed(), !answer.is_empty());
                let received = socket.recv();
                match answer {
                    "" => assert!(matches!(received, Err(Error::Ended(_))), "{received:?}"),
                    _ => assert_eq!(received.unwrap(), Some("Hello".into())),
                }
            }
            Err(error) if !opens => assert!(format!("{error:?}").contains("Extension"), "{error:?}"),
            other => panic!("{answer}: {other:?}"),
        }
        thread.join().unwrap();
    }
}

/// A bomb ends the connection with 1009, and takes no more memory than the limit.
#[test]
fn a_bomb_is_cut_at_the_limit() {
    let (listener, url) = listen();
    let options = ServerOptions::new()
        .config(Config::new().max_message_len(100_000))
        .deflate(pool(DeflateOptions::new()));
    let thread = thread::spawn(move || accept(listener.accept().unwrap().0, &options).recv());
    let (_, mut stream) = raw(&url, OFFER);
    let mut zeros = flate2::Compress::new(flate2::Compression::best(), false);
    let mut bomb = Vec::with_capacity(1 << 20);
    zeros.compress_vec(&vec![0; 16 << 20], &mut bomb, flate2::FlushCompress::Sync).unwrap();
    bomb.truncate(bomb.len() - 4);
    // The server may close before it has read all of it.
    let _ = stream.write_all(&wire::frame(RSV1 | wire::BINARY, Some(KEY), &bomb));
    let mut sent = Vec::new();
    stream.read_to_end(&mut sent).unwrap();
    assert_eq!(whole_frames(&sent)[0].code(), Some(1009));
    drop(stream);
    assert!(matches!(thread.join().unwrap(), Err(Error::Ended(_))));
}
