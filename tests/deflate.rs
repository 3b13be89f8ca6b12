//! permessage-deflate over its codecs, beside C's zlib.

mod endpoint;
mod wire;

use std::sync::Arc;

use endpoint::*;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use proptest::prelude::*;
use sansocket::deflate::{
    Agreement, Deflate, DeflateOptions, Direction, Inflate, NoDeflate, PerMessage, Pool, RingInflate,
    RingMemory, Zlib, ZlibDeflate, ZlibInflate,
};
use sansocket::error::{EndReason, Violation};
use sansocket::proto::{Extension, ExtensionFailed, OpCode, ReceiveError, ReservedBits};
use sansocket::{Config, Kind, Server};

const INVALID: ReceiveError = ReceiveError::Violation(Violation::Extension);

/// Numbers that look random, from a seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }

    /// Records as programs send them, of about `len` bytes.
    fn json(&mut self, len: usize) -> Vec<u8> {
        let mut text = String::new();
        while text.len() < len {
            text += &format!(
                "{{\"id\":{},\"user\":\"user{}\",\"price\":{}.{:02},\"state\":\"{}\"}},",
                self.below(1 << 20),
                self.below(500),
                self.below(1000),
                self.below(100),
                ["open", "closed", "pending"][self.below(3)],
            );
        }
        text.truncate(len);
        text.into_bytes()
    }
}

const fn direction(context: bool, window_bits: u8) -> Direction {
    Direction { context, window_bits }
}

/// What receives: each codec, and the ring in three sizes.
fn receivers(context: bool, mut check: impl FnMut(&str, u8, &mut dyn FnMut() -> Box<dyn Decode>)) {
    let receive = direction(context, 15);
    check("zlib-rs", 15, &mut || {
        Box::new(PerMessage::new(ZlibInflate::new().unwrap(), NoDeflate, receive, receive, None))
    });
    fn ring<const WINDOW: usize>(receive: Direction) -> Box<dyn Decode> {
        let memory = Box::leak(Box::new(RingMemory::<WINDOW>::new()));
        Box::new(PerMessage::new(RingInflate::new(memory), NoDeflate, receive, receive, None))
    }
    check("ring", 9, &mut || ring::<512>(receive));
    check("ring", 12, &mut || ring::<4096>(receive));
    check("ring", 15, &mut || ring::<32768>(receive));
}

/// The receiving side of an extension, without its type.
trait Decode {
    fn message(
        &mut self,
        payload: &[u8],
        split: &mut dyn FnMut() -> (usize, usize),
    ) -> Result<Vec<u8>, ReceiveError>;
}

impl<X: Extension> Decode for X {
    /// Decodes a message; `split` gives the sizes of input and output for each call.
    fn message(
        &mut self,
        payload: &[u8],
        split: &mut dyn FnMut() -> (usize, usize),
    ) -> Result<Vec<u8>, ReceiveError> {
        assert_eq!(self.receive(OpCode::Text, ReservedBits::RSV1), Ok(true));
        let (mut at, mut message) = (0_usize, Vec::new());
        loop {
            let (input, room) = split();
            let end = payload.len().min(at.saturating_add(input));
            let mut output = vec![0xAA; room];
            let last = end == payload.len();
            let done = self.decode(&payload[at..end], &mut output, last)?;
            assert!(done.produced <= room && (done.more || done.consumed == end - at));
            assert!(!done.more || done.produced > 0, "it gets on");
            at += done.consumed;
            message.extend_from_slice(&output[..done.produced]);
            if last && !done.more {
                assert_eq!(at, payload.len());
                return Ok(message);
            }
        }
    }
}

fn whole() -> (usize, usize) {
    (usize::MAX, 1 << 20)
}

/// Compresses a message as the extension does, in pieces.
fn encode<X: Extension>(
    extension: &mut X,
    message: &[u8],
    mut split: impl FnMut() -> (usize, usize),
) -> Vec<u8> {
    let (mut at, mut wire) = (0_usize, Vec::new());
    assert!(extension.begin());
    loop {
        let (input, room) = split();
        let end = message.len().min(at.saturating_add(input));
        let mut output = vec![0; room];
        let last = end == message.len();
        let done = extension.encode(&message[at..end], &mut output, last).unwrap();
        assert!(done.produced <= room && (done.more || done.consumed == end - at));
        assert!(!done.more || done.produced > 0, "it gets on");
        at += done.consumed;
        wire.extend_from_slice(&output[..done.produced]);
        if last && !done.more {
            assert_eq!(at, message.len());
            return wire;
        }
    }
}

/// C's zlib, with exactly a window of these bits.
struct Oracle {
    compress: Compress,
    decompress: Decompress,
    context: bool,
}

impl Oracle {
    fn new(level: u32, bits: u8, context: bool) -> Self {
        let compress = Compress::new_with_window_bits(Compression::new(level), false, bits.max(9));
        Self { compress, decompress: Decompress::new_with_window_bits(false, bits), context }
    }

    fn encode(&mut self, message: &[u8]) -> Vec<u8> {
        let mut wire = Vec::with_capacity(message.len() * 2 + 64);
        self.compress.compress_vec(message, &mut wire, FlushCompress::Sync).unwrap();
        let len = wire.len().checked_sub(4).unwrap();
        assert_eq!(wire[len..], [0, 0, 0xFF, 0xFF]);
        wire.truncate(len);
        if !self.context {
            self.compress.reset();
        }
        wire
    }

    /// Decompresses by few bytes: in a larger output zlib finds more than its window has.
    fn decode(&mut self, wire: &[u8]) -> Vec<u8> {
        let wire = [wire, &[0, 0, 0xFF, 0xFF]].concat();
        let (mut at, mut message, mut output) = (0, Vec::new(), [0; 64]);
        loop {
            let before = (self.decompress.total_in(), self.decompress.total_out());
            let status = self.decompress.decompress(&wire[at..], &mut output, FlushDecompress::Sync);
            status.expect("what we send is within the window");
            let produced = (self.decompress.total_out() - before.1) as usize;
            at += (self.decompress.total_in() - before.0) as usize;
            message.extend_from_slice(&output[..produced]);
            if at == wire.len() && produced < output.len() {
                if !self.context {
                    self.decompress.reset(false);
                }
                return message;
            }
        }
    }
}

#[test]
fn examples_of_the_rfc_are_received() {
    let hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    receivers(true, |name, bits, create| {
        let mut receiver = create();
        // §7.2.3.2: the second refers to the first.
        assert_eq!(receiver.message(hello, &mut whole).unwrap(), b"Hello", "{name} {bits}");
        assert_eq!(receiver.message(b"\xf2\x00\x11\x00\x00", &mut whole).unwrap(), b"Hello");
        // §7.2.3.3: a block without compression; §7.2.3.4: BFINAL; §7.2.3.5: two blocks.
        assert_eq!(
            receiver.message(b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", &mut whole).unwrap(),
            b"Hello"
        );
        assert_eq!(receiver.message(b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", &mut whole).unwrap(), b"Hello");
        let two = b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00";
        assert_eq!(receiver.message(two, &mut whole).unwrap(), b"Hello");
        // §7.2.3.6: an empty message; also without its only byte.
        for empty in [&b"\x00"[..], b"", b"\x00"] {
            assert_eq!(receiver.message(empty, &mut whole).unwrap(), b"", "{name} {bits}");
        }
        assert_eq!(receiver.message(b"\xf2\x00\x11\x00\x00", &mut whole).unwrap(), b"Hello");
    });
}

#[test]
fn what_c_zlib_compresses_is_received_at_every_split() {
    for context in [true, false] {
        receivers(context, |name, bits, create| {
            for level in [1, 6, 9] {
                let (mut oracle, mut receiver) = (Oracle::new(level, bits, context), create());
                let mut numbers = Numbers(u64::from(level));
                for i in 0..60 {
                    let len = [0, 1, 64, 1000, 20_000][i % 5];
                    let message = if i % 7 == 0 { numbers.bytes(len) } else { numbers.json(len) };
                    // zlib makes nothing of an empty message.
                    let wire = if len == 0 { vec![0] } else { oracle.encode(&message) };
                    let (input, room) = ([1, 7, 300, 30_000][i % 4], [1, 5, 77, 4096, 40_000][i / 5 % 5]);
                    let mut split = || (1 + numbers.below(input), 1 + numbers.below(room));
                    assert!(
                        receiver.message(&wire, &mut split).unwrap() == message,
                        "{name} {bits} {level} {i}"
                    );
                }
            }
        });
    }
}

#[test]
fn a_message_that_fills_the_output_is_whole_at_once() {
    receivers(true, |name, bits, create| {
        let (mut oracle, mut receiver) = (Oracle::new(6, bits, true), create());
        let message = Numbers(1).json(500);
        for _ in 0..3 {
            let wire = oracle.encode(&message);
            let mut output = [0; 500];
            receiver.message(&[], &mut whole).unwrap();
            let mut calls = 0;
            let mut split = || {
                calls += 1;
                (usize::MAX, output.len())
            };
            assert_eq!(receiver.message(&wire, &mut split).unwrap(), message, "{name} {bits}");
            assert_eq!(calls, 1);
            output.fill(0);
        }
    });
}

#[test]
fn what_we_compress_c_zlib_decompresses_at_exactly_the_agreed_window() {
    for context in [true, false] {
        for (bits, level, memory) in [
            (9, 1, 1),
            (9, 2, 5),
            (9, 6, 9),
            (10, 3, 2),
            (11, 9, 1),
            (12, 1, 5),
            (12, 2, 5),
            (12, 3, 5),
            (12, 6, 5),
            (13, 4, 8),
            (14, 5, 8),
            (15, 1, 8),
            (15, 2, 9),
            (15, 6, 8),
            (15, 7, 1),
            (15, 8, 3),
            (15, 9, 9),
        ] {
            let options = DeflateOptions::new().level(level).memory_level(memory);
            let send = direction(context, bits);
            let mut sender = Zlib::with_own_codecs(&options.min_len(0), direction(true, 15), send).unwrap();
            let (mut oracle, mut numbers) = (Oracle::new(6, bits, context), Numbers(u64::from(level)));
            for i in 0..40 {
                let len = [0, 1, 64, 1000, 70_000][i % 5];
                let message = if i % 3 == 0 { numbers.bytes(len) } else { numbers.json(len) };
                let bound = sender.bound(message.len()).unwrap();
                let wire = if i % 2 == 0 {
                    encode(&mut sender, &message, || (usize::MAX, bound))
                } else {
                    let (input, room) = ([1, 7, 300, 30_000][i / 2 % 4], [1, 4, 77, 4096][i / 5 % 4]);
                    encode(&mut sender, &message, || (1 + numbers.below(input), 1 + numbers.below(room)))
                };
                assert!(wire.len() <= bound, "{level} {}: {} > {bound}", message.len(), wire.len());
                assert!(oracle.decode(&wire) == message, "{bits} {level} {memory} {i}");
            }
        }
    }
}

/// Messages that compression makes longer: random bytes, those to which fixed codes give 9 bits, and short repetitions from far away,
/// whose distances cost most.
fn incompressible() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![1..300_usize, 1..5000_usize, 1..150_000_usize];
    (len, 0..4_usize, any::<u64>()).prop_map(|(len, kind, seed)| {
        let mut numbers = Numbers(seed);
        let mut message = numbers.bytes(len);
        if kind > 0 {
            message.iter_mut().for_each(|byte| *byte = 144 + *byte % 112);
        }
        if kind > 1 {
            let (every, far) = (3 + numbers.below(10), 1 << (6 + numbers.below(10)));
            for at in (far..len.saturating_sub(4)).step_by(every) {
                message.copy_within(at - far..at - far + kind + 1, at);
            }
        }
        message
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// A message whose room is its bound is compressed in one call. A bound that is too small would be an `ExtensionFailed`.
    #[test]
    fn no_message_is_compressed_to_more_than_its_bound(
        bits in 9..=15_u8, level in 1..=9_u8, memory in 1..=9_u8, context: bool,
        messages in prop::collection::vec(incompressible(), 1..8),
    ) {
        let options = DeflateOptions::new().level(level).memory_level(memory);
        let mut codec = ZlibDeflate::new(&options, bits).unwrap();
        let mut oracle = Oracle::new(6, bits, context);
        for message in messages {
            let mut output = vec![0; codec.bound(message.len())];
            let done = codec.deflate(&message, &mut output, true).unwrap();
            assert_eq!((done.consumed, done.more), (message.len(), false));
            codec.end(context);
            assert!(oracle.decode(&output[..done.produced]) == message);
        }
    }
}

#[test]
fn a_truncated_message_is_refused_at_every_length() {
    for context in [true, false] {
        receivers(context, |name, bits, create| {
            for (i, message) in [&b"Hello, Hello, Hello"[..], &Numbers(3).json(300), &Numbers(4).bytes(100)]
                .iter()
                .enumerate()
            {
                for level in [0, 1, 9] {
                    let wire = Oracle::new(level, bits, false).encode(message);
                    // One zero is an empty message: the block without compression is not cut there.
                    for len in 1 + usize::from(wire[0] == 0)..wire.len() {
                        let cut = create().message(&wire[..len], &mut whole);
                        assert_eq!(cut, Err(INVALID), "{name} {bits} {i} {level} {len} of {}", wire.len());
                    }
                    assert_eq!(create().message(&wire, &mut whole).unwrap(), *message);
                    let mut longer = wire.clone();
                    longer.push(0x55);
                    assert_eq!(create().message(&longer, &mut whole), Err(INVALID));
                }
            }
            // A block with BFINAL, and nothing behind it.
            assert_eq!(create().message(b"\xf3\x48\xcd\xc9\xc9\x07\x00", &mut whole), Err(INVALID));
        });
    }
}

#[test]
fn what_is_no_deflate_stream_ends_with_1007() {
    // A block of the reserved kind, lengths that disagree, a distance before the beginning, and "Hello" without its last byte.
    for wire in [
        &b"\x07\x00"[..],
        b"\x00\x05\x00\x05\x00Hello\x00",
        b"\xf2\x00\x11\x00\x00",
        b"\xf2\x48\xcd\xc9\xc9\x07",
    ] {
        let (config, receive) = (Config::new(), direction(true, 15));
        let mut memory = Memory::new(140, 140).with_output(100);
        let extension = PerMessage::new(ZlibInflate::new().unwrap(), NoDeflate, receive, receive, None);
        let mut server = Endpoint::<Server, _>::with_extension(extension, &config, &mut memory);
        server.frame(0xC2, wire);
        let (sent, ending) = server.finish();
        assert_eq!(ending.reason, EndReason::Violation(Violation::Extension), "{wire:x?}");
        assert_eq!(sent.last().and_then(Sent::code), Some(1007), "{wire:x?}");
    }
}

#[test]
fn without_context_a_message_does_not_refer_to_an_earlier_one() {
    let hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    receivers(false, |name, bits, create| {
        let mut receiver = create();
        receiver.message(hello, &mut whole).unwrap();
        let again = receiver.message(b"\xf2\x00\x11\x00\x00", &mut whole);
        // The ring is cleared: zeros, and nothing of the earlier message.
        let want = if name == "ring" { Ok(b"H\0\0\0\0".to_vec()) } else { Err(INVALID) };
        assert_eq!(again, want, "{name} {bits}");
    });
}

#[test]
fn a_ring_does_not_show_what_another_connection_received() {
    let mut memory = RingMemory::<512>::new();
    let mut output = [0; 64];
    let mut first = RingInflate::new(&mut memory);
    assert_eq!(first.inflate(b"\xf2\x48\xcd\xc9\xc9\x07\x00", &mut output), Ok((7, 5)));
    let mut second = RingInflate::new(&mut memory);
    assert_eq!(second.inflate(b"\xf2\x00\x11\x00\x00", &mut output), Ok((5, 5)));
    assert_eq!(&output[..5], b"H\0\0\0\0");
}

#[test]
fn a_distance_beyond_the_window_is_refused_by_the_ring() {
    // C's zlib with 15 bits refers 2,000 bytes back.
    let block = Numbers(5).bytes(2000);
    let wire = Oracle::new(9, 15, true).encode(&[&block[..], &block].concat());
    receivers(true, |name, bits, create| {
        let got = create().message(&wire, &mut || (usize::MAX, 100));
        assert_eq!(got.is_err(), bits == 9, "{name} {bits}");
    });
}

#[test]
fn a_final_block_keeps_the_window_of_the_ring_and_clears_that_of_zlib() {
    receivers(true, |name, bits, create| {
        let mut receiver = create();
        // Hello with BFINAL, and then a message that refers to nothing.
        assert_eq!(receiver.message(b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", &mut whole).unwrap(), b"Hello");
        assert_eq!(receiver.message(b"\xf2\x48\xcd\xc9\xc9\x07\x00", &mut whole).unwrap(), b"Hello");
        assert_eq!(receiver.message(b"\xf2\x00\x11\x00\x00", &mut whole).unwrap(), b"Hello");
        receiver.message(b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", &mut || (1, 1)).unwrap();
        let reference = receiver.message(b"\xf2\x00\x11\x00\x00", &mut whole);
        let want = if name == "ring" { Ok(b"Hello".to_vec()) } else { Err(INVALID) };
        assert_eq!(reference, want, "{name} {bits}");
    });
}

#[test]
fn rsv1_is_allowed_on_the_first_frame_of_a_message_only() {
    receivers(true, |_, _, _| {});
    let receive = direction(true, 15);
    let mut extension = PerMessage::new(ZlibInflate::new().unwrap(), NoDeflate, receive, receive, None);
    let bad = Err(ReceiveError::Violation(Violation::ReservedBits(4)));
    assert_eq!(extension.receive(OpCode::Text, ReservedBits::RSV1), Ok(true));
    assert_eq!(extension.receive(OpCode::Continuation, ReservedBits::RSV1), bad);
    assert_eq!(extension.receive(OpCode::Continuation, ReservedBits::NONE), Ok(true));
    assert_eq!(extension.receive(OpCode::Binary, ReservedBits::NONE), Ok(false));
    assert_eq!(extension.receive(OpCode::Continuation, ReservedBits::RSV1), bad);
    assert_eq!(extension.receive(OpCode::Continuation, ReservedBits::NONE), Ok(false));
    // Control frames, and other reserved bits.
    for (first, bad) in
        [(0xC9, Some(4)), (0xCA, Some(4)), (0xC8, Some(4)), (0xA1, Some(2)), (0x91, Some(1)), (0xC1, None)]
    {
        let (config, mut memory) = (Config::new(), Memory::new(140, 140).with_output(100));
        let extension = PerMessage::new(ZlibInflate::new().unwrap(), NoDeflate, receive, receive, None);
        let mut server = Endpoint::<Server, _>::with_extension(extension, &config, &mut memory);
        server.frame(first, b"");
        match bad {
            Some(bits) => {
                let violation = Violation::ReservedBits(bits);
                assert_eq!(server.finish().1.reason, EndReason::Violation(violation), "{first:x}");
            }
            None => assert_eq!(messages(&server.events).len(), 1),
        }
    }
}

/// A connection's server and client side, with the agreement that `options` make with themselves.
fn zlib(options: &DeflateOptions) -> Zlib {
    let (receive, send) = (
        direction(options.receive_context, options.receive_window_bits),
        direction(options.send_context, options.send_window_bits),
    );
    Zlib::with_own_codecs(options, receive, send).unwrap()
}

#[test]
fn short_messages_are_sent_uncompressed_without_context() {
    let none = zlib(&DeflateOptions::new());
    assert_eq!((none.bound(255), none.bound(256).is_some()), (None, true));
    assert_eq!(none.bound(usize::MAX), Some(usize::MAX), "a message of unknown length is compressed");
    let kept = zlib(&DeflateOptions::new().context(true));
    assert!(kept.bound(0).is_some());
    let chosen = zlib(&DeflateOptions::new().context(true).min_len(10));
    assert_eq!((chosen.bound(9), chosen.bound(10).is_some()), (None, true));
}

#[test]
fn a_window_of_8_bits_is_sent_uncompressed() {
    let eight = Zlib::with_own_codecs(&DeflateOptions::new(), direction(true, 8), direction(true, 8));
    assert_eq!(eight.unwrap().bound(1000), None);
    for bits in [0, 7, 8, 16, 255] {
        assert!(ZlibDeflate::new(&DeflateOptions::new(), bits).is_none(), "{bits}");
    }
    let mut options = DeflateOptions::new();
    // Outside of what zlib-rs panics on.
    (options.level, options.memory_level, options.send_window_bits) = (200, 0, 1);
    assert!(ZlibDeflate::new(&options, 12).is_some() && Pool::new(options).is_some());
}

#[test]
fn messages_that_do_not_shrink_keep_the_context_of_both_sides() {
    let mut sender = zlib(&DeflateOptions::new().context(true));
    let (mut oracle, mut numbers) = (Oracle::new(6, 12, true), Numbers(9));
    for i in 0..200 {
        let message = if i % 2 == 0 { numbers.bytes(3000) } else { numbers.json(200) };
        let wire = encode(&mut sender, &message, || (usize::MAX, 10_000));
        assert_eq!(wire.len() > message.len(), i % 2 == 0);
        assert_eq!(oracle.decode(&wire), message);
    }
}

#[test]
fn a_bomb_is_cut_at_the_limit() {
    let bomb = {
        let mut oracle = Oracle::new(9, 15, false);
        let mut wire = Vec::with_capacity(1 << 20);
        oracle.compress.compress_vec(&vec![0; 64 << 20], &mut wire, FlushCompress::Sync).unwrap();
        wire
    };
    assert!(bomb.len() < 70_000);
    let config = Config::new().max_message_len(1 << 20);
    let receive = direction(false, 15);
    let mut window = RingMemory::<32768>::new();
    let ring = PerMessage::new(RingInflate::new(&mut window), NoDeflate, receive, receive, None);
    cut_at_the_limit(ring, &config, &bomb);
    let zlib = PerMessage::new(ZlibInflate::new().unwrap(), NoDeflate, receive, receive, None);
    cut_at_the_limit(zlib, &config, &bomb);
}

fn cut_at_the_limit(extension: impl Extension, config: &Config, bomb: &[u8]) {
    let mut memory = Memory::new(1000, 140).with_output(4096);
    let mut server = Endpoint::<Server, _>::with_extension(extension, config, &mut memory);
    server.frame(0xC2, bomb);
    let (sent, ending) = server.finish();
    assert_eq!(ending.reason, EndReason::Violation(Violation::MessageTooBig));
    assert_eq!(sent.last().and_then(Sent::code), Some(1009));
    let len = |event: &Got| if let Got::Data(data) = event { data.payload.len() } else { 0 };
    let delivered: usize = server.events.iter().map(len).sum();
    assert!(delivered <= 1 << 20 && delivered > (1 << 20) - 4096, "{delivered}");
}

#[test]
fn connections_without_context_leave_the_pool_as_it_was() {
    let pool = Pool::new(DeflateOptions::new().decompressors(3).compressors(2)).unwrap();
    let agreement = Agreement { server: direction(false, 12), client: direction(false, 15) };
    let mut connections: Vec<Zlib> = (0..1000).map(|_| pool.server(&agreement).unwrap()).collect();
    let (mut oracle, mut numbers) = (Oracle::new(1, 12, false), Numbers(7));
    let message = numbers.json(300);
    let wire = oracle.encode(&message);
    for i in 0..100_000 {
        let connection = &mut connections[i % 1000];
        assert_eq!(connection.message(&wire, &mut whole_small).unwrap(), message);
        if i % 10 == 0 {
            let sent = encode(connection, &message, || (usize::MAX, 400));
            assert_eq!(oracle.decode(&sent), message);
        }
        assert_eq!(pool.free(), (3, 2));
    }
    assert!(size_of::<Option<Zlib>>() <= 64, "{}", size_of::<Option<Zlib>>());

    // Three messages are in progress: the fourth fails, as nothing is free; the end of one, and of a connection, frees a codec.
    let half = &wire[..wire.len() / 2];
    for connection in &mut connections[..3] {
        assert_eq!(connection.receive(OpCode::Text, ReservedBits::RSV1), Ok(true));
        connection.decode(half, &mut [0; 1000], false).unwrap();
    }
    assert_eq!(pool.free(), (0, 2));
    assert_eq!(
        connections[3].receive(OpCode::Text, ReservedBits::RSV1),
        Err(ReceiveError::Extension(ExtensionFailed))
    );
    assert_eq!(connections[3].receive(OpCode::Text, ReservedBits::NONE), Ok(false), "plain needs none");
    drop(connections.remove(0));
    assert_eq!(
        connections[3].message(&wire, &mut whole_small).unwrap(),
        message,
        "a codec in the middle of a message was renewed"
    );
    for connection in &mut connections[..2] {
        let rest = connection.decode(&wire[half.len()..], &mut [0; 1000], true).unwrap();
        assert!(!rest.more);
    }
    assert_eq!(pool.free(), (3, 2));

    // Two compressors are in use: the next message goes plain.
    for connection in &mut connections[..2] {
        assert!(connection.begin());
        connection.encode(&message, &mut [0; 1000], false).unwrap();
    }
    assert_eq!(connections[2].bound(1000), None);
    assert!(!connections[2].begin());
    drop(connections);
    assert_eq!(pool.free(), (3, 2));
}

fn whole_small() -> (usize, usize) {
    (usize::MAX, 1000)
}

#[test]
fn a_shared_compressor_does_not_exceed_a_smaller_window() {
    let pool = Arc::new(Pool::new(DeflateOptions::new()).unwrap());
    let agreement = Agreement { server: direction(false, 9), client: direction(false, 15) };
    assert_eq!(pool.server(&agreement).unwrap().bound(1000), None);
    let agreement = Agreement { server: direction(true, 9), client: direction(false, 15) };
    let mut own = pool.server(&agreement).unwrap();
    let message = Numbers(1).json(3000);
    let wire = encode(&mut own, &message, || (usize::MAX, 5000));
    assert_eq!(Oracle::new(6, 9, true).decode(&wire), message);
}

#[test]
fn messages_go_through_both_roles() {
    let (config, options) = (Config::new(), DeflateOptions::new().context(true));
    let (mut near, mut far) =
        (Memory::new(4096, 4096).with_output(2000), Memory::new(4096, 4096).with_output(2000));
    let mut server = Endpoint::<Server, _>::with_extension(zlib(&options), &config, &mut near);
    let mut client = Endpoint::<TestClient, _>::with_extension(zlib(&options), &config, &mut far);
    let (mut numbers, mut sent) = (Numbers(2), Vec::new());
    for len in [0, 1, 20, 600, 1000, 1900] {
        let message = numbers.json(len);
        server.out().send(&message[..]).unwrap();
        let wire = server.written();
        assert_eq!(wire[0], 0xC2, "RSV1 and FIN");
        client.feed(&wire);
        client.out().send(std::str::from_utf8(&message).unwrap()).unwrap();
        let wire = client.written();
        assert_eq!(wire[0], 0xC1, "RSV1 and FIN");
        server.feed(&wire);
        sent.push(message);
    }
    let received = |kind| sent.iter().map(|message| (kind, message.clone())).collect::<Vec<_>>();
    assert_eq!(messages(&client.events), received(Kind::Binary));
    assert_eq!(messages(&server.events), received(Kind::Text));
}
