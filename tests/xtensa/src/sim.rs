//! QEMU's `sim` machine: it has no devices, but calls to the host.

use core::fmt::{self, Write};
use core::panic::PanicInfo;

const EXIT: usize = 1;
const WRITE: usize = 4;
const STDOUT: usize = 1;

unsafe extern "C" {
    /// start.S
    fn simcall(number: usize, a: usize, b: usize, c: usize) -> isize;
}

struct Stdout;

impl Write for Stdout {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: the host reads `len` bytes from the pointer, which `text` is.
        let n = unsafe { simcall(WRITE, STDOUT, text.as_ptr() as usize, text.len()) };
        if n == text.len() as isize { Ok(()) } else { Err(fmt::Error) }
    }
}

pub(crate) fn print(line: fmt::Arguments<'_>) {
    let _ = Stdout.write_fmt(line); // there is nowhere to say that it failed; run.sh counts the lines
}

#[macro_export]
macro_rules! print {
    ($($arg:tt)*) => { $crate::sim::print(format_args!($($arg)*)) };
}

#[macro_export]
macro_rules! println {
    ($($arg:tt)*) => { $crate::sim::print(format_args!("{}\n", format_args!($($arg)*))) };
}

pub(crate) fn exit(code: usize) -> ! {
    loop {
        // SAFETY: it ends the machine.
        unsafe { simcall(EXIT, code, 0, 0) };
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("{info}");
    exit(1)
}

/// An exception of the CPU: start.S brings it here.
#[unsafe(no_mangle)]
extern "C" fn exception(cause: u32, pc: u32, address: u32) -> ! {
    println!("exception {cause} at {pc:#x}, address {address:#x}");
    exit(1)
}

/// What LLVM calls where code must not come.
#[unsafe(no_mangle)]
extern "C" fn abort() -> ! {
    println!("abort");
    exit(1)
}
