//! A device register: the one place that dereferences an address.

use core::marker::PhantomData;
use core::ptr;

pub struct Register<T> {
    address: usize,
    width: PhantomData<T>,
}

impl<T: Copy> Register<T> {
    /// # Safety
    ///
    /// `address` is a register of this board, `T` is an integer of its width, and whatever the
    /// device does upon a read or a write of it is no breach of memory safety.
    pub const unsafe fn at(address: usize) -> Self {
        Self { address, width: PhantomData }
    }

    pub fn read(&self) -> T {
        // SAFETY: `at` was promised a register of this width.
        unsafe { ptr::read_volatile(ptr::with_exposed_provenance(self.address)) }
    }

    pub fn write(&self, value: T) {
        // SAFETY: `at` was promised a register of this width.
        unsafe { ptr::write_volatile(ptr::with_exposed_provenance_mut(self.address), value) }
    }
}
