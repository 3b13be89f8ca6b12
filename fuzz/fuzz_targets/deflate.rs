#![no_main]

use libfuzzer_sys::fuzz_target;
use sansocket::deflate::{DeflateOptions, Direction, Zlib};
use sansocket::proto::{Extension, OpCode, ReservedBits};
use sansocket_fuzz::Script;

fuzz_target!(|data: &[u8]| {
    let mut script = Script(data);
    let (flags, level, bits) = (script.byte(), script.byte() % 9 + 1, script.byte() % 7 + 9);
    let memory = script.byte() % 9 + 1;
    let mut pieces = script.pieces();
    let options = DeflateOptions::new().level(level).memory_level(memory).min_len(0);
    let side = Direction { context: flags & 1 != 0, window_bits: bits };
    let mut sender = Zlib::with_own_codecs(&options, side, side).unwrap();
    let mut receiver = Zlib::with_own_codecs(&options, side, side).unwrap();
    for message in script.0.splitn(4, |&byte| byte == 0xFE) {
        let bound = sender.bound(message.len()).unwrap();
        assert!(sender.begin());
        let (mut rest, mut wire) = (message, Vec::new());
        loop {
            let (input, room) = (pieces.next().unwrap(), pieces.next().unwrap().min(1 << 16));
            let (now, later) = rest.split_at(rest.len().min(input));
            let mut output = vec![0; room];
            let done = sender.encode(now, &mut output, later.is_empty()).unwrap();
            assert!(done.produced <= room && if done.more { done.produced > 0 } else { done.consumed == now.len() });
            rest = &rest[done.consumed..];
            wire.extend_from_slice(&output[..done.produced]);
            if later.is_empty() && !done.more {
                break;
            }
        }
        assert!(wire.len() <= bound);
        assert_eq!(receiver.receive(OpCode::Binary, ReservedBits::RSV1), Ok(true));
        let mut output = vec![0; message.len() + 1];
        let done = receiver.decode(&wire, &mut output, true).unwrap();
        assert!(!done.more && output[..done.produced] == *message);
    }
});
