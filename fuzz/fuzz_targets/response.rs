#![no_main]

use libfuzzer_sys::fuzz_target;
use sansocket::{Config, Instant, ReceiveBuffer, Step, TransmitBuffer};
use sansocket::handshake::{WsUrl, ClientHandshake, ClientHandshakeEnd as End, ClientRequest, HandshakeError, RefusedResponse};
use sansocket::proto::MIN_BUFFER_LEN;
use sansocket_fuzz::Script;

/// That of RFC 6455 §1.3, whose answer is in the seeds.
const NONCE: [u8; 16] = *b"the sample nonce";

fuzz_target!(|data: &[u8]| {
    let mut script = Script(data);
    let flags = script.byte();
    let pieces = script.pieces();
    if let Ok(Ok(address)) = std::str::from_utf8(script.0).map(WsUrl::parse) {
        assert!(!address.host().is_empty() && address.port() != 0);
    }
    let mut config = Config::new();
    if flags & 1 != 0 {
        config.limits.head = 200;
        config.limits.headers = 5;
    }
    let one = run(&config, std::iter::repeat(usize::MAX), script.0);
    let other = run(&config, pieces, script.0);
    // A head that is both is called either, by how much of it was read at once.
    let vague = [HandshakeError::NotHttp, HandshakeError::TooLarge].map(End::Failed);
    assert!(one == other || vague.contains(&one.0) && vague.contains(&other.0), "{one:?}\n{other:?}");
    if let (End::Opened { .. }, _, behind) = &one {
        let end = script.0.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
        assert_eq!(behind, &script.0[end..]);
    }
});

/// How the handshake ends, the status of a refusal and its body, and what came behind the answer.
fn run(
    config: &Config,
    mut pieces: impl Iterator<Item = usize>,
    mut wire: &[u8],
) -> (End<'static>, Option<(u16, Vec<u8>, bool)>, Vec<u8>) {
    let mut now = Instant::START;
    let mut head = ReceiveBuffer::with_capacity(512).unwrap();
    let mut rx = ReceiveBuffer::with_capacity(MIN_BUFFER_LEN).unwrap();
    let mut tx = TransmitBuffer::with_capacity(MIN_BUFFER_LEN).unwrap();
    let connect = ClientRequest::parse("ws://server.example.com/chat?a=b").unwrap().protocols(&["chat", "superchat"]);
    let mut handshake = ClientHandshake::new(config, now, NONCE, &connect, &mut head).unwrap();
    let mut ended = false;
    for _ in 0..2 * wire.len() + 64 {
        match handshake.poll(now, &mut head, &mut rx, &mut tx) {
            Step::Wait { deadline } => {
                let written = tx.pending().len();
                tx.consume(written);
                let spare = handshake.spare(&mut head, &rx);
                let n = spare.len().min(wire.len()).min(pieces.next().unwrap());
                if n > 0 {
                    spare[..n].copy_from_slice(&wire[..n]);
                    wire = &wire[n..];
                    handshake.fill(&mut head, n);
                } else if wire.is_empty() && !ended && written == 0 {
                    ended = true;
                    handshake.end(&mut head);
                } else if written == 0 {
                    now = deadline.expect("something to wait for");
                }
            }
            Step::Shutdown => panic!("a client's handshake shuts nothing down"),
            Step::Done(end) => {
                assert_eq!(handshake.poll(now, &mut head, &mut rx, &mut tx), Step::Done(end));
                let refusal = (end == End::Refused).then(|| {
                    let reply = RefusedResponse::parse(&head, config).unwrap();
                    (reply.status, reply.body.to_vec(), reply.complete)
                });
                let open = matches!(end, End::Opened { .. });
                let behind = if open { [rx.unread(), wire].concat() } else { vec![] };
                return (end, refusal, behind);
            }
        }
    }
    panic!("a spin");
}
