//! In steady state no message causes an allocation, in the core and in `blocking`.
#![cfg(feature = "std")]
#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{self, Read, Write};
use std::time::Duration;

use sansocket::blocking::{BlockingStream, serve};
use sansocket::session::{BufferSizes, Buffers};
use sansocket::{
    Config, Connection, Event, Handler, HandlerError, Instant, Outbox, ReceiveBuffer, Server, Step,
    TransmitBuffer,
};

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is the system's; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count() -> usize {
    COUNT.with(Cell::get)
}

const HELLO: [u8; 11] = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

#[test]
fn the_core_allocates_nothing() {
    let (mut rx, mut tx) = ([0; 140], [0; 140]);
    let before = count();
    let mut rx = ReceiveBuffer::new(&mut rx).unwrap();
    let mut tx = TransmitBuffer::new(&mut tx).unwrap();
    let mut connection = Connection::new(Server, &Config::DEFAULT, Instant::START);
    for _ in 0..1000 {
        rx.feed(&HELLO);
        let Step::Event(Event::Data(data)) = connection.poll(Instant::START, &mut rx, &mut tx) else {
            panic!("no data");
        };
        connection.outbox(Instant::START, &mut tx).forward(&data).unwrap();
        assert_eq!(tx.pending(), b"\x81\x05Hello");
        tx.consume(7);
    }
    assert_eq!(count(), before);
}

/// A request, then one frame a read, then the end.
struct Endless {
    reads: usize,
    /// What was allocated when the first frame was read, and when the last.
    first: usize,
    last: usize,
}

impl Read for &mut Endless {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        let bytes = match self.reads {
            1 => REQUEST,
            2..=1000 => &HELLO,
            _ => &[],
        };
        // The first frames find their way warm.
        if self.reads == 10 {
            self.first = count();
        }
        self.last = if self.reads <= 1000 { count() } else { self.last };
        buf[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }
}

impl Write for &mut Endless {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl BlockingStream for &mut Endless {
    fn set_read_timeout(&mut self, _: Option<Duration>) -> io::Result<()> {
        Ok(())
    }

    fn set_write_timeout(&mut self, _: Option<Duration>) -> io::Result<()> {
        Ok(())
    }

    fn shutdown(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Echo(usize);

impl Handler for Echo {
    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        if let Event::Data(data) = event {
            out.forward(&data)?;
            self.0 += 1;
        }
        Ok(())
    }
}

#[test]
fn the_blocking_adapter_allocates_nothing_a_message() {
    let mut stream = Endless { reads: 0, first: 0, last: 0 };
    let mut echo = Echo(0);
    let mut buffers = Buffers::with_sizes(BufferSizes { head: 512, receive: 512, transmit: 512 });
    serve(&mut stream, &mut echo, &Config::DEFAULT, &mut buffers).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(echo.0, 999);
    assert!(stream.first > 0);
    assert_eq!(stream.last, stream.first);
}
