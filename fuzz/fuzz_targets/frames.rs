#![no_main]

use libfuzzer_sys::fuzz_target;
use sansocket::{Ending, Client, Config, Connection, Instant, ReceiveBuffer, Server, Step, TransmitBuffer};
use sansocket::config::{ControlFrames, Delivery};
use sansocket::proto::{MIN_BUFFER_LEN, Role};
use sansocket_fuzz::{Log, Script};

fuzz_target!(|data: &[u8]| {
    let mut script = Script(data);
    let (flags, more, size) = (script.byte(), script.byte(), script.byte());
    let pieces = script.pieces();
    let mut config = Config::new();
    config.delivery =
        [Delivery::Frames, Delivery::Chunks, Delivery::CodePoints][usize::from(flags >> 1 & 3) % 3];
    config.control = if flags & 8 == 0 { ControlFrames::Automatic } else { ControlFrames::Reported };
    config.allow_long_length_form = flags & 16 != 0;
    if flags & 32 != 0 {
        config.limits.message = 300;
        config.limits.frame = 200;
        config.limits.fragments = 3;
    }
    let how = How { size: MIN_BUFFER_LEN + usize::from(size), external: more & 1 != 0 };
    let whole = How { size: MIN_BUFFER_LEN + script.0.len(), external: false };
    if flags & 1 == 0 {
        let one = run(Server, &config, &whole, std::iter::repeat(usize::MAX), script.0);
        assert_same(&one, &run(Server, &config, &how, pieces, script.0));
    } else {
        let client = || Client::new(|| [1, 2, 3, 4]);
        let one = run(client(), &config, &whole, std::iter::repeat(usize::MAX), script.0);
        assert_same(&one, &run(client(), &config, &how, pieces, script.0));
    }
});

struct How {
    /// Bytes of the receive buffer.
    size: usize,
    /// Read payload past the receive buffer where that is possible.
    external: bool,
}

fn assert_same(one: &(Log, Ending), other: &(Log, Ending)) {
    assert!(one.0.agrees(&other.0) && one.1 == other.1, "{one:?}\n{other:?}");
}

/// What is received of `wire`, and how it ends.
fn run<R: Role>(
    role: R,
    config: &Config,
    how: &How,
    mut pieces: impl Iterator<Item = usize>,
    mut wire: &[u8],
) -> (Log, Ending) {
    let mut now = Instant::START;
    let mut connection = Connection::new(role, config, now);
    let mut rx = ReceiveBuffer::with_capacity(how.size).unwrap();
    let mut tx = TransmitBuffer::with_capacity(MIN_BUFFER_LEN).unwrap();
    let mut log = Log::default();
    let mut memory = [0; 256];
    let mut ended = false;
    for _ in 0..2 * wire.len() + 16 {
        match connection.poll(now, &mut rx, &mut tx) {
            Step::Event(event) => log.event(event, config.delivery),
            Step::Shutdown => assert!(tx.is_empty()),
            Step::Done(cause) => {
                for _ in 0..3 {
                    assert_eq!(connection.poll(now, &mut rx, &mut tx), Step::Done(cause));
                }
                return (log, cause);
            }
            Step::Wait { deadline } => {
                tx.consume(tx.pending().len());
                let piece = pieces.next().unwrap();
                let limit = connection.external_read_limit(&rx).min(piece.min(memory.len()) as u64) as usize;
                let n = piece.min(wire.len());
                if how.external && limit > 0 && n > 0 {
                    let (now_read, rest) = wire.split_at(limit.min(n));
                    wire = rest;
                    let memory = &mut memory[..now_read.len()];
                    memory.copy_from_slice(now_read);
                    if let Some(data) = connection.receive_external(now, memory) {
                        // What lies outside of the buffer cannot be held back.
                        log.data(data, Delivery::Chunks);
                    }
                } else if n > 0 {
                    let fed = rx.feed(&wire[..n]);
                    assert!(fed > 0, "full, and nothing to do");
                    wire = &wire[fed..];
                } else if !ended {
                    ended = true;
                    rx.end();
                } else {
                    now = deadline.expect("something to wait for");
                }
            }
        }
    }
    panic!("a spin");
}
