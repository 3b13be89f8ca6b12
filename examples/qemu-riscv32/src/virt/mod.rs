//! QEMU's `virt` board, as much of it as a network server needs.

#[macro_use]
pub mod console;
pub mod dma;
mod exit;
pub mod net;
mod plic;
mod register;
pub mod time;
pub mod virtio;

use riscv::interrupt::{self, Interrupt};

/// From here on the timer and the devices wake the executor, which sleeps in `wfi` otherwise.
pub fn enable_interrupts() {
    // SAFETY: start-up calls this outside any critical section, with every handler in place.
    unsafe {
        interrupt::enable_interrupt(Interrupt::MachineTimer);
        interrupt::enable_interrupt(Interrupt::MachineExternal);
        interrupt::enable();
    }
}
