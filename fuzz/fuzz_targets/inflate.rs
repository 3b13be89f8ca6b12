#![no_main]

use libfuzzer_sys::fuzz_target;
use sansocket::deflate::{Direction, NoDeflate, PerMessage, RingInflate, RingMemory, ZlibInflate};
use sansocket::proto::{Extension, OpCode, ReservedBits};
use sansocket_fuzz::Script;

fuzz_target!(|data: &[u8]| {
    let mut script = Script(data);
    let flags = script.byte();
    let mut pieces = script.pieces();
    let receive = Direction { context: flags & 1 != 0, window_bits: 15 };
    let payloads: Vec<&[u8]> = script.0.splitn(3, |&byte| byte == 0xFE).collect();
    let mut memory = [RingMemory::<32_768>::new(), RingMemory::<32_768>::new()];
    let [one, other] = &mut memory;
    let ring = |memory| PerMessage::new(RingInflate::new(memory), NoDeflate, receive, receive, None);
    let zlib = || PerMessage::new(ZlibInflate::new().unwrap(), NoDeflate, receive, receive, None);
    let whole = all(&mut ring(one), &payloads, std::iter::repeat(usize::MAX));
    assert_eq!(whole, all(&mut ring(other), &payloads, &mut pieces));
    let whole = all(&mut zlib(), &payloads, std::iter::repeat(usize::MAX));
    assert_eq!(whole, all(&mut zlib(), &payloads, pieces));
});

/// The messages, up to the first that is not valid or too long.
fn all(
    extension: &mut impl Extension,
    payloads: &[&[u8]],
    mut pieces: impl Iterator<Item = usize>,
) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    for payload in payloads {
        extension.receive(OpCode::Binary, ReservedBits::RSV1).unwrap();
        let (mut rest, mut message) = (*payload, Vec::new());
        loop {
            let (input, room) = (pieces.next().unwrap(), pieces.next().unwrap().min(1 << 16));
            let (now, later) = rest.split_at(rest.len().min(input));
            let mut output = vec![0; room];
            let Ok(done) = extension.decode(now, &mut output, later.is_empty()) else { return messages };
            assert!(done.produced <= room && if done.more { done.produced > 0 } else { done.consumed == now.len() });
            rest = &rest[done.consumed..];
            message.extend_from_slice(&output[..done.produced]);
            if message.len() > 1 << 20 {
                return messages;
            }
            if later.is_empty() && !done.more {
                break;
            }
        }
        messages.push(message);
    }
    messages
}
