//! How the board stops: a panic or a CPU exception prints what it was and makes QEMU exit with
//! status 1, so that a script sees it.

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use riscv::register::{mcause, mepc, mtval};
use riscv_rt::TrapFrame;

use super::register::Register;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    static STOPPING: AtomicBool = AtomicBool::new(false);
    // A fault while the first one is being printed ends it there.
    if !STOPPING.load(Ordering::Relaxed) {
        STOPPING.store(true, Ordering::Relaxed);
        crate::println!("{info}");
    }
    FINISHER.write((1 << 16) | FAIL);
    loop {
        riscv::asm::wfi();
    }
}

/// riscv-rt calls this for every exception: bad address, bad instruction, misaligned access.
#[unsafe(export_name = "ExceptionHandler")]
extern "C" fn exception(_: &TrapFrame) -> ! {
    let (cause, at, value) = (mcause::read().code(), mepc::read(), mtval::read());
    panic!("exception {cause} at {at:#010x}, value {value:#010x}");
}

// SAFETY: the board's test finisher; writing ends the virtual machine.
const FINISHER: Register<u32> = unsafe { Register::at(0x0010_0000) };
/// The exit status stands above it.
const FAIL: u32 = 0x3333;
