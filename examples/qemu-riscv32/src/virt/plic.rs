//! The interrupt controller: which device interrupts, and who hears of it.

use riscv::interrupt::Interrupt;

use super::net;
use super::register::Register;

/// Lets the device with this interrupt number through to the CPU.
pub fn enable(interrupt: usize) {
    assert!((1..32).contains(&interrupt), "the first enable word");
    // SAFETY: the priority of this interrupt; one number, one register.
    let priority: Register<u32> = unsafe { Register::at(BASE + 4 * interrupt) };
    priority.write(1);
    ENABLE.write(ENABLE.read() | 1 << interrupt);
    THRESHOLD.write(0);
}

/// The network card is the only device that was enabled.
#[riscv_rt::core_interrupt(Interrupt::MachineExternal)]
fn external() {
    loop {
        let interrupt = CLAIM.read();
        if interrupt == 0 {
            return;
        }
        net::interrupt(interrupt as usize);
        CLAIM.write(interrupt);
    }
}

const BASE: usize = 0x0c00_0000;
// SAFETY: the PLIC's registers for hart 0 in machine mode.
const ENABLE: Register<u32> = unsafe { Register::at(BASE + 0x2000) };
// SAFETY: as above.
const THRESHOLD: Register<u32> = unsafe { Register::at(BASE + 0x20_0000) };
// SAFETY: as above; a read claims an interrupt, a write completes it.
const CLAIM: Register<u32> = unsafe { Register::at(BASE + 0x20_0004) };
