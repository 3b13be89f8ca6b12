//! The tests' heap: blocks of powers of two, each size with its list of free ones. It is cleared between tests.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::ptr::{addr_of, addr_of_mut, null_mut};

const ALIGN: usize = 16;
const SIZES: usize = usize::BITS as usize;

struct Heap {
    /// Bytes that were ever given since it was cleared, and the most of all tests.
    used: Cell<usize>,
    most: Cell<usize>,
    /// By the power of two; a free block begins with the address of the next.
    free: [Cell<*mut u8>; SIZES],
}

// SAFETY: one core without interrupts.
unsafe impl Sync for Heap {}

#[global_allocator]
static HEAP: Heap =
    Heap { used: Cell::new(0), most: Cell::new(0), free: [const { Cell::new(null_mut()) }; SIZES] };

unsafe extern "C" {
    /// link.x
    static mut HEAP_START: u8;
    static HEAP_END: u8;
}

/// Everything that was allocated is gone.
pub(crate) fn clear() {
    HEAP.used.set(0);
    HEAP.free.iter().for_each(|list| list.set(null_mut()));
}

/// The most bytes that a test has used.
pub(crate) fn most() -> usize {
    HEAP.most.get()
}

fn size(layout: Layout) -> usize {
    layout.size().max(ALIGN).next_power_of_two()
}

// SAFETY: a block is given once until it comes back, and is as large and aligned as was asked for.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let size = size(layout);
        let list = &self.free[size.trailing_zeros() as usize];
        let block = list.get();
        if !block.is_null() {
            // SAFETY: `dealloc` has put it there.
            list.set(unsafe { block.cast::<*mut u8>().read() });
            return block;
        }
        let used = self.used.get();
        let room = addr_of!(HEAP_END) as usize - addr_of!(HEAP_START) as usize;
        if layout.align() > ALIGN || size > room - used {
            return null_mut();
        }
        self.used.set(used + size);
        self.most.set(self.most.get().max(used + size));
        // SAFETY: it lies between HEAP_START and HEAP_END.
        unsafe { addr_of_mut!(HEAP_START).add(used) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let list = &self.free[size(layout).trailing_zeros() as usize];
        // SAFETY: it is ours again, and large enough.
        unsafe { block.cast::<*mut u8>().write(list.get()) };
        list.set(block);
    }
}
