//! A lack of memory is an error, not an abort.
#![cfg(feature = "bytes")]
#![expect(unsafe_code, reason = "an allocator that refuses")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::BytesMut;
use sansocket::error::MessageTooBig;
use sansocket::message::MessageStorage;

struct Scarce;

thread_local! {
    /// The largest block that there is memory for.
    static LARGEST: Cell<usize> = const { Cell::new(usize::MAX) };
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is the system's, but that larger blocks are refused.
unsafe impl GlobalAlloc for Scarce {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        if layout.size() > LARGEST.with(Cell::get) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Scarce = Scarce;

/// Pushes pieces of 1,000 bytes until it is full; what it holds then.
fn fill(storage: &mut impl MessageStorage, largest: usize) -> usize {
    LARGEST.with(|most| most.set(largest));
    let mut pushed = 0;
    let full = loop {
        match storage.push(&[7; 1000]) {
            Ok(()) => pushed += 1000,
            Err(full) => break full,
        }
    };
    LARGEST.with(|most| most.set(usize::MAX));
    assert_eq!(full, MessageTooBig);
    assert_eq!(storage.as_bytes(), vec![7; pushed], "nothing has changed");
    pushed
}

#[test]
fn a_storage_that_cannot_grow_is_full() {
    for largest in [500, 1000, 10_000, 1 << 20] {
        let vec = fill(&mut Vec::new(), largest);
        let bytes = fill(&mut BytesMut::new(), largest);
        for pushed in [vec, bytes] {
            assert!(pushed + 1000 > largest / 2, "{pushed} of {largest}");
            assert!(pushed <= largest, "{pushed} of {largest}");
        }
        // It goes on with what it has, when the message has been taken.
        let mut storage = BytesMut::new();
        fill(&mut storage, largest);
        storage.clear();
        LARGEST.with(|most| most.set(0));
        let again = (0..bytes / 1000).try_for_each(|_| MessageStorage::push(&mut storage, &[8; 1000]));
        LARGEST.with(|most| most.set(usize::MAX));
        assert_eq!(again, Ok(()));
    }
}

/// Growing is amortized, and takes no more copies than those of a `Vec`.
#[test]
fn a_growing_storage_allocates_seldom() {
    let count = |storage: &mut dyn MessageStorage| {
        let before = ALLOCATIONS.with(Cell::get);
        for _ in 0..10_000 {
            storage.push(&[7; 100]).unwrap();
        }
        assert_eq!(storage.as_bytes(), vec![7; 1_000_000]);
        // One of them is that of the comparison.
        ALLOCATIONS.with(Cell::get) - before - 1
    };
    let (vec, bytes) = (count(&mut Vec::new()), count(&mut BytesMut::new()));
    assert!(bytes <= vec + 2, "{bytes} allocations, {vec} of a Vec");
}
