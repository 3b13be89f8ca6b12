//! The serial line, a 16550: `println!` for a board.

use core::fmt::{self, Write};

use super::register::Register;

#[macro_export]
macro_rules! println {
    ($($arguments:tt)*) => {
        $crate::virt::console::line(format_args!($($arguments)*))
    };
}

/// What [`println!`](crate::println) expands to.
pub fn line(text: fmt::Arguments<'_>) {
    // The line itself never fails; a `Display` that does has lost its own output only.
    let _ = writeln!(Serial, "{text}");
}

struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            while STATUS.read() & TRANSMITTER_EMPTY == 0 {}
            DATA.write(byte);
        }
        Ok(())
    }
}

// SAFETY: the transmitter and the line status of the board's UART, one byte wide.
const DATA: Register<u8> = unsafe { Register::at(0x1000_0000) };
// SAFETY: as above.
const STATUS: Register<u8> = unsafe { Register::at(0x1000_0005) };
const TRANSMITTER_EMPTY: u8 = 1 << 5;
