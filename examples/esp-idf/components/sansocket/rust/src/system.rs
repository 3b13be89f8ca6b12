//! What a program without `std` needs of C: memory, a log, an end.

use alloc::alloc::{GlobalAlloc, Layout};
use core::ffi::{c_char, c_void};
use core::fmt;

unsafe extern "C" {
    fn malloc(size: usize) -> *mut c_void;
    fn memalign(align: usize, size: usize) -> *mut c_void;
    fn realloc(memory: *mut c_void, size: usize) -> *mut c_void;
    fn free(memory: *mut c_void);
    safe fn abort() -> !;
    fn sansocket_log(line: *const c_char, len: usize);
}

/// A line of the log.
pub(crate) fn log(line: fmt::Arguments<'_>) {
    let line = alloc::format!("{line}");
    // SAFETY: so many bytes lie there.
    unsafe { sansocket_log(line.as_ptr().cast(), line.len()) }
}

struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;

/// What malloc is aligned to: ESP-IDF's heap to words only.
const ALIGN: usize = size_of::<usize>();

// SAFETY: C's memory is memory, and aligned as is asked for.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: these are always safe; an empty request does not reach this line.
        let memory = unsafe {
            if layout.align() <= ALIGN {
                malloc(layout.size())
            } else {
                memalign(layout.align(), layout.size())
            }
        };
        memory.cast()
    }

    unsafe fn dealloc(&self, memory: *mut u8, _: Layout) {
        // SAFETY: it came from one of the above.
        unsafe { free(memory.cast()) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.align() <= ALIGN {
            // SAFETY: it came from malloc.
            return unsafe { realloc(memory.cast(), size) }.cast();
        }
        // SAFETY: the caller's promise about `size` holds for `Layout` too; the two regions are of different owners.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                memory.copy_to_nonoverlapping(new, layout.size().min(size));
                self.dealloc(memory, layout);
            }
            new
        }
    }
}

/// ESP-IDF prints the registers and starts again, as after every other `abort`.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    log(format_args!("{info}"));
    abort()
}
