#![no_main]

use libfuzzer_sys::fuzz_target;
use sansocket::{Config, Instant, ReceiveBuffer, Step, TransmitBuffer};
use sansocket::handshake::{AcceptOptions, Decision, OriginPolicy, Request, Response, ServerHandshake, ServerHandshakeEnd as End, accept_key};
use sansocket::proto::MIN_BUFFER_LEN;
use sansocket_fuzz::Script;

fuzz_target!(|data: &[u8]| {
    let mut script = Script(data);
    let flags = script.byte();
    let pieces = script.pieces();
    let mut config = Config::new();
    config.allow_malformed_key = flags & 1 != 0;
    if flags & 2 != 0 {
        config.limits.head = 200;
        config.limits.headers = 6;
    }
    let origin = if flags & 8 == 0 { OriginPolicy::SameHost } else { OriginPolicy::List(&["http://example.com"]) };
    let accept = AcceptOptions::new().protocols(&["chat", "superchat"]).origin(origin).headers(&[("Server", "fuzz")]);
    let accept = if flags & 4 == 0 { accept } else { accept.require_protocol() };
    let answer = match flags >> 4 & 3 {
        0 | 1 => Decision::Accept(accept),
        2 => Decision::Respond(Response::text(404, "not here\n")),
        _ => Decision::HandOver,
    };
    let end = script.0.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(script.0.len(), |at| at + 4);
    let welcome = look(&script.0[..end], &config);

    let one = run(&config, answer.clone(), std::iter::repeat(usize::MAX), script.0);
    let other = run(&config, answer, pieces, script.0);
    assert_eq!(one, other);
    let (how, sent, behind) = one;
    if let End::Opened { .. } = how {
        assert!(welcome && sent.starts_with(b"HTTP/1.1 101 ") && sent.ends_with(b"\r\n\r\n"));
        assert_eq!(behind, &script.0[end..]);
    }
});

/// Asks a request everything that can be asked; whether it may become a connection.
fn look(head: &[u8], config: &Config) -> bool {
    let Ok(request) = Request::parse(head, config) else { return false };
    assert!(request.headers().iter().count() <= head.len());
    assert!(request.path().len() + request.query().len() <= head.len());
    let _ = (request.method(), request.query_value("token"), request.origin());
    assert!(request.protocols().all(|name| !name.is_empty()));
    let allowed = [OriginPolicy::SameHost, OriginPolicy::List(&["http://example.com"]), OriginPolicy::Check(&|_| false)]
        .map(|origin| origin.allows(&request));
    assert!(OriginPolicy::Any.allows(&request));
    assert!(request.headers().get("Origin").is_some() || allowed == [true; 3]);
    let (key, version) = (request.headers().get("Sec-WebSocket-Key"), request.header("Sec-WebSocket-Version"));
    let Some(key) = key.filter(|key| config.allow_malformed_key || key.len() == 24) else { return false };
    accept_key(key).len() == 28 && request.is_upgrade() && request.method() == "GET" && version == Some("13")
}

/// How the handshake ends, what was answered, and what came behind it.
fn run(
    config: &Config,
    answer: Decision<'_>,
    mut pieces: impl Iterator<Item = usize>,
    mut wire: &[u8],
) -> (End, Vec<u8>, Vec<u8>) {
    let mut now = Instant::START;
    let mut handshake = ServerHandshake::new(config, now);
    let mut head = ReceiveBuffer::with_capacity(512).unwrap();
    let mut rx = ReceiveBuffer::with_capacity(MIN_BUFFER_LEN).unwrap();
    let mut tx = TransmitBuffer::with_capacity(MIN_BUFFER_LEN).unwrap();
    let (mut sent, mut ended) = (vec![], false);
    for _ in 0..2 * wire.len() + 64 {
        match handshake.poll(now, &mut head, &mut rx, &mut tx, |_| answer.clone()) {
            Step::Wait { deadline } => {
                sent.extend(tx.pending());
                tx.consume(tx.pending().len());
                let spare = handshake.spare(&mut head, &mut rx);
                let n = spare.len().min(wire.len()).min(pieces.next().unwrap());
                if n > 0 {
                    spare[..n].copy_from_slice(&wire[..n]);
                    wire = &wire[n..];
                    handshake.fill(&mut head, &mut rx, n);
                } else if wire.is_empty() && !ended {
                    ended = true;
                    handshake.end(&mut head, &mut rx);
                } else if sent.is_empty() {
                    now = deadline.expect("something to wait for");
                }
            }
            Step::Shutdown => assert!(tx.is_empty()),
            Step::Done(end) => {
                sent.extend(tx.pending());
                // How much was read before the answer depends on the reads: what was, has to be here.
                let here = if end == End::HandedOver { head.unread() } else { rx.unread() };
                let behind = [here, wire].concat();
                let behind = if let End::Refused(_) | End::Disconnected = end { vec![] } else { behind };
                return (end, sent, behind);
            }
        }
    }
    panic!("a spin");
}
