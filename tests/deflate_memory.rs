//! The memory of codecs: a lack of it is no panic, and a message allocates nothing.
#![expect(unsafe_code, reason = "an allocator that counts and refuses")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use sansocket::deflate::{Agreement, DeflateOptions, Direction, Pool, Zlib, ZlibDeflate, ZlibInflate};
use sansocket::proto::{Extension, OpCode, ReservedBits};

struct Scarce;

thread_local! {
    /// The largest block that there is memory for.
    static LARGEST: Cell<usize> = const { Cell::new(usize::MAX) };
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is the system's, but that larger blocks are refused.
unsafe impl GlobalAlloc for Scarce {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.with(|calls| calls.set(calls.get() + 1));
        if layout.size() > LARGEST.with(Cell::get) {
            return std::ptr::null_mut();
        }
        ALLOCATED.with(|bytes| bytes.set(bytes.get().wrapping_add(layout.size())));
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        ALLOCATED.with(|bytes| bytes.set(bytes.get().wrapping_sub(layout.size())));
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Scarce = Scarce;

/// Creates something where the largest block has this size, and returns it and how many bytes it takes.
fn with_largest<T>(largest: usize, create: impl FnOnce() -> Option<T>) -> Option<(T, usize)> {
    let before = ALLOCATED.get();
    LARGEST.set(largest);
    let created = create();
    LARGEST.set(usize::MAX);
    created.map(|it| (it, ALLOCATED.get().wrapping_sub(before)))
}

#[test]
fn a_codec_without_memory_is_none_and_no_panic() {
    let (_inflate, taken) = with_largest(usize::MAX, ZlibInflate::new).unwrap();
    assert!(taken <= 48 * 1024, "{taken}");
    for largest in (0..64 * 1024).step_by(500) {
        drop(with_largest(largest, ZlibInflate::new));
    }
    for bits in 9..=15 {
        for level in 1..=9 {
            let options = DeflateOptions::new().memory_level(level);
            let create = || ZlibDeflate::new(&options, bits);
            let (_deflate, taken) = with_largest(usize::MAX, create).unwrap();
            // Both below and above: what is asked for before is what it takes, and hardly more.
            let mut created = 0;
            for largest in (taken - 3000..taken + 9000).step_by(1000) {
                created += usize::from(with_largest(largest, create).is_some());
            }
            assert!((1..12).contains(&created), "{bits} {level} {taken}: {created}");
        }
    }
    let options = DeflateOptions::new().decompressors(2).compressors(2);
    assert!(with_largest(100_000, || Pool::new(options)).is_none());
    assert!(with_largest(200_000, || Pool::new(options)).is_some());
    let receive = Direction { context: true, window_bits: 15 };
    assert!(with_largest(100_000, || Zlib::with_own_codecs(&options, receive, receive)).is_none());
}

#[test]
fn a_message_allocates_nothing() {
    let message = b"{\"id\":1,\"user\":\"somebody\",\"state\":\"open\"}".repeat(20);
    for context in [true, false] {
        let side = Direction { context, window_bits: 12 };
        let options = DeflateOptions::new().context(context);
        let pool = Pool::new(options).unwrap();
        let mut server = pool.server(&Agreement { server: side, client: side }).unwrap();
        let mut client = Zlib::with_own_codecs(&options, side, side).unwrap();
        let (mut wire, mut output) = ([0; 2000], [0; 2000]);
        let before = CALLS.get();
        for _ in 0..100 {
            assert!(server.begin());
            let sent = server.encode(&message, &mut wire, true).unwrap();
            assert_eq!(client.receive(OpCode::Text, ReservedBits::RSV1), Ok(true));
            let got = client.decode(&wire[..sent.produced], &mut output, true).unwrap();
            assert_eq!(output[..got.produced], message);
            assert!(client.begin());
            let sent = client.encode(&message, &mut wire, true).unwrap();
            assert_eq!(server.receive(OpCode::Text, ReservedBits::RSV1), Ok(true));
            let got = server.decode(&wire[..sent.produced], &mut output, true).unwrap();
            assert_eq!(output[..got.produced], message);
        }
        assert_eq!(CALLS.get(), before);
    }
}
