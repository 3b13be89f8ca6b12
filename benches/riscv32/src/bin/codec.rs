//! Instructions of a frame, of ours and of the others, on the same memory. `minstret` counts exactly under QEMU's
//! `-icount shift=0`. What is received lies in memory already, what is sent ends there: no transport is counted.

#![no_std]
#![no_main]

use core::arch::asm;
use core::hint::black_box;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use edge_ws::FrameHeader;
use embedded_websocket::{
    WebSocketReceiveMessageType, WebSocketSendMessageType, WebSocketServer, WebSocketState,
};
use figures::{CONFIG, println};
use riscv::register::minstret;
use sansocket::{Connection, Event, Instant, ReceiveBuffer, Server, Step, TransmitBuffer};
use sansocket::session::ServerSession;
use static_cell::ConstStaticCell;

const SIZES: [usize; 4] = [64, 128, 1024, LARGEST];
const LARGEST: usize = 16 * 1024;
const FRAME: usize = LARGEST + 14;
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

#[derive(Clone, Copy, PartialEq)]
enum Text {
    Binary,
    Ascii,
    Mixed,
}

#[derive(Clone, Copy, PartialEq)]
enum Work {
    /// Until the application has the payload.
    Receive,
    /// The same, and the answer.
    Echo,
}

/// The frame as it came; where who is measured puts the payload, or has it received; what is answered.
struct Memory {
    input: Words<FRAME>,
    payload: Words<FRAME>,
    output: Words<FRAME>,
}

/// Begins at a word, as who cares about time lets a buffer do.
#[repr(align(4))]
struct Words<const N: usize>([u8; N]);

/// Takes the frame of `len` bytes, and returns its instructions and the length of the answer.
type Subject = fn(&mut Memory, len: usize, Work) -> (usize, usize);

const SUBJECTS: [(&str, Subject); 4] = [
    ("sansocket", sansocket),
    ("embedded-websocket", embedded_websocket),
    ("edge-ws", edge_ws),
    ("edge-ws-io", edge_ws_io),
];

#[riscv_rt::entry]
fn main() -> ! {
    static MEMORY: ConstStaticCell<Memory> = ConstStaticCell::new(Memory {
        input: Words([0; FRAME]),
        payload: Words([0; FRAME]),
        output: Words([0; FRAME]),
    });
    static MESSAGE: ConstStaticCell<[u8; LARGEST]> = ConstStaticCell::new([0; LARGEST]);
    let (memory, message) = (MEMORY.take(), MESSAGE.take());

    // SAFETY: it only counts down. Of a known length, so that a counter of anything else is found out.
    let known = count(|| unsafe { asm!("li {0}, 1000", "2: addi {0}, {0}, -1", "bnez {0}, 2b", out(reg) _) });
    assert_eq!(known, 2001, "not a count of instructions: QEMU wants -icount shift=0");

    println!("size sansocket-connection {}", size_of::<Connection<Server>>());
    println!("size sansocket-session {}", size_of::<ServerSession>());
    println!("size embedded-websocket {}", size_of::<WebSocketServer>());
    println!("size edge-ws {}", size_of::<FrameHeader>());
    for (text, kind) in [(Text::Binary, "binary"), (Text::Ascii, "ascii"), (Text::Mixed, "mixed")] {
        for size in SIZES {
            let message = &mut message[..size];
            write(message, text);
            for (name, subject) in SUBJECTS {
                for (work, what) in [(Work::Receive, "receive"), (Work::Echo, "echo")] {
                    let len = frame(&mut memory.input.0, text, message);
                    memory.payload.0.fill(0);
                    memory.output.0.fill(0);
                    let (instructions, answer) = subject(memory, len, work);
                    // Ours leaves the payload behind its header, where it came.
                    let start = if name == "sansocket" { len - size } else { 0 };
                    assert!(memory.payload.0[start..start + size] == *message, "{name}: the payload");
                    if work == Work::Echo {
                        let (head, n) = header(text, size, false);
                        assert!(memory.output.0[..n] == head[..n], "{name}: the header of the answer");
                        assert!(memory.output.0[n..answer] == *message, "{name}: the answer");
                    }
                    println!("instructions {name} {what} {kind} {size} {instructions}");
                }
            }
        }
    }
    println!("done");
    loop {
        riscv::asm::wfi();
    }
}

/// Instructions of `work`, without the one that reads the counter.
#[inline(always)]
fn count(work: impl FnOnce()) -> usize {
    let start = minstret::read();
    work();
    minstret::read().wrapping_sub(start) - 1
}

#[inline(never)]
fn sansocket(memory: &mut Memory, len: usize, work: Work) -> (usize, usize) {
    let mut rx = ReceiveBuffer::new(&mut memory.payload.0).expect("larger than MIN_BUFFER");
    let mut tx = TransmitBuffer::new(&mut memory.output.0).expect("larger than MIN_BUFFER");
    let mut connection = Connection::new(Server, &CONFIG, Instant::START);
    // As after every read: what there was is dealt with.
    assert!(matches!(connection.poll(Instant::START, &mut rx, &mut tx), Step::Wait { .. }));
    rx.feed(&memory.input.0[..len]);
    let now = Instant::from_micros(1000);
    let instructions = count(|| {
        loop {
            match connection.poll(now, &mut rx, &mut tx) {
                Step::Event(Event::Data(data)) => {
                    black_box(data.payload.as_bytes());
                    if work == Work::Echo {
                        connection.outbox(now, &mut tx).forward(&data).expect("there is room");
                    }
                }
                Step::Wait { .. } => break,
                _ => panic!("neither data nor the end of it"),
            }
        }
    });
    (instructions, tx.pending().len())
}

#[inline(never)]
fn embedded_websocket(memory: &mut Memory, len: usize, work: Work) -> (usize, usize) {
    let Memory { input: Words(input), payload: Words(payload), output: Words(output) } = memory;
    let mut websocket = WebSocketServer::new_server();
    websocket.state = WebSocketState::Open;
    black_box(&mut websocket); // its state is not for the compiler to know
    let mut answer = 0;
    let instructions = count(|| {
        let read = websocket.read(black_box(&input[..len]), &mut *payload).expect("a frame");
        let read_payload = black_box(&payload[..read.len_to]);
        if work == Work::Echo {
            let kind = match read.message_type {
                WebSocketReceiveMessageType::Text => WebSocketSendMessageType::Text,
                _ => WebSocketSendMessageType::Binary,
            };
            answer = websocket.write(kind, read.end_of_message, read_payload, &mut *output).expect("room");
        }
    });
    (instructions, answer)
}

/// Without its I/O: the header's functions, in place.
#[inline(never)]
fn edge_ws(memory: &mut Memory, len: usize, work: Work) -> (usize, usize) {
    let Memory { input: Words(input), payload: Words(payload), output: Words(output) } = memory;
    let mut answer = 0;
    let (mut start, mut end) = (0, 0);
    let instructions = count(|| {
        let input = black_box(&mut input[..len]);
        let (mut header, n) = FrameHeader::deserialize(input).expect("a frame");
        (start, end) = (n, n + header.payload_len as usize);
        header.mask(&mut input[start..end], 0);
        let received = black_box(&input[start..end]);
        if work == Work::Echo {
            header.mask_key = None;
            let n = header.serialize(&mut *output).expect("room");
            answer = n + received.len();
            output[n..answer].copy_from_slice(received);
        }
    });
    payload[..end - start].copy_from_slice(&input[start..end]);
    (instructions, answer)
}

/// With it, over slices: `recv` and `send`.
#[inline(never)]
fn edge_ws_io(memory: &mut Memory, len: usize, work: Work) -> (usize, usize) {
    let Memory { input: Words(input), payload: Words(payload), output: Words(output) } = memory;
    let room = output.len();
    let mut left = room;
    let instructions = count(|| {
        let (kind, n) = ready(edge_ws::io::recv(black_box(&input[..len]), &mut *payload)).expect("a frame");
        let received = black_box(&payload[..n]);
        if work == Work::Echo {
            let mut output = &mut output[..];
            ready(edge_ws::io::send(&mut output, kind, None, received)).expect("room");
            left = output.len();
        }
    });
    (instructions, room - left)
}

/// A future that has nothing to wait for.
fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a slice is always ready"),
    }
}

/// A message of `message.len()` bytes.
fn write(message: &mut [u8], text: Text) {
    let unit = match text {
        Text::Binary => &b"\x00\xff\x80\x7f\xc0\x01\xfe"[..],
        Text::Ascii => b"The quick brown fox jumps. ",
        Text::Mixed => "a\u{e4}\u{20ac}\u{1f600} ".as_bytes(),
    };
    message.fill(b'.');
    for part in message.chunks_exact_mut(unit.len()) {
        part.copy_from_slice(unit);
    }
}

/// A frame's header, from a client or, without a key, from a server; and its length.
fn header(text: Text, len: usize, masked: bool) -> ([u8; 8], usize) {
    let first = if text == Text::Binary { 0x82 } else { 0x81 };
    let mask = u8::from(masked) << 7;
    let [high, low] = (len as u16).to_be_bytes();
    let [a, b, c, d] = KEY;
    match (len < 126, masked) {
        (true, true) => ([first, mask | low, a, b, c, d, 0, 0], 6),
        (true, false) => ([first, mask | low, 0, 0, 0, 0, 0, 0], 2),
        (false, true) => ([first, mask | 126, high, low, a, b, c, d], 8),
        (false, false) => ([first, mask | 126, high, low, 0, 0, 0, 0], 4),
    }
}

/// Writes a client's frame, and returns its length.
fn frame(input: &mut [u8], text: Text, message: &[u8]) -> usize {
    let (head, n) = header(text, message.len(), true);
    input[..n].copy_from_slice(&head[..n]);
    for (i, (masked, byte)) in input[n..].iter_mut().zip(message).enumerate() {
        *masked = byte ^ KEY[i % 4];
    }
    n + message.len()
}
