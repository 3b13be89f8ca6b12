//! What virtio needs to know about memory: an address is the same for the CPU and for a device, and
//! the rings of the queues live in a few static pages, given back only in the reverse order.

use core::cell::UnsafeCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

pub struct Memory;

// SAFETY: pages come from a static, aligned and zeroed, each given out once; sharing a buffer needs
// nothing more than its address, because the board has no IOMMU and its caches are coherent.
unsafe impl Hal for Memory {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let first = GIVEN.load(Ordering::Relaxed);
        assert!(first + pages <= PAGES, "more virtio queues than DMA pages");
        // No other hart and no interrupt handler allocates: load and store cannot interleave.
        GIVEN.store(first + pages, Ordering::Relaxed);
        (address(page(first)), page(first))
    }

    unsafe fn dma_dealloc(_: PhysAddr, start: NonNull<u8>, pages: usize) -> i32 {
        let first = GIVEN.load(Ordering::Relaxed) - pages;
        assert_eq!(address(start), address(page(first)), "given back in the reverse order");
        // SAFETY: the caller's pages, which nobody has any more; they are zero for the next.
        unsafe { start.write_bytes(0, pages * PAGE_SIZE) };
        GIVEN.store(first, Ordering::Relaxed);
        0
    }

    unsafe fn mmio_phys_to_virt(_: PhysAddr, _: usize) -> NonNull<u8> {
        unreachable!("only PCI asks");
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        address(buffer.cast())
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

fn page(index: usize) -> NonNull<u8> {
    assert!(index < PAGES);
    // SAFETY: within the pages.
    unsafe { NonNull::from(&POOL.0).cast::<u8>().add(index * PAGE_SIZE) }
}

fn address(memory: NonNull<u8>) -> PhysAddr {
    memory.as_ptr().expose_provenance() as PhysAddr
}

/// Two queues, two pages each.
const PAGES: usize = 4;
static GIVEN: AtomicUsize = AtomicUsize::new(0);
static POOL: Pool = Pool(UnsafeCell::new([0; PAGES * PAGE_SIZE]));

#[repr(C, align(4096))]
struct Pool(UnsafeCell<[u8; PAGES * PAGE_SIZE]>);

// SAFETY: only pointers to it are handed out, and each byte to one owner.
unsafe impl Sync for Pool {}
