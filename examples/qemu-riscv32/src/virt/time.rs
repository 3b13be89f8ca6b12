//! Time: embassy's driver over the CLINT, and the clock of the day.

use core::cell::RefCell;
use core::task::Waker;

use critical_section::Mutex;
use embassy_time_driver::Driver;
use embassy_time_queue_utils::Queue;
use riscv::interrupt::Interrupt;

use super::register::Register;

/// Nanoseconds since 1970.
pub fn unix() -> u64 {
    let low = CLOCK_LOW.read(); // latches the high half
    u64::from(CLOCK_HIGH.read()) << 32 | u64::from(low)
}

embassy_time_driver::time_driver_impl!(static TIMER: Timer = Timer(Mutex::new(RefCell::new(Queue::new()))));

/// Every access to the queue, and to the compare register with it, is a critical section.
struct Timer(Mutex<RefCell<Queue>>);

impl Driver for Timer {
    fn now(&self) -> u64 {
        loop {
            let high = TIME_HIGH.read();
            let low = TIME_LOW.read();
            if high == TIME_HIGH.read() {
                return u64::from(high) << 32 | u64::from(low);
            }
        }
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|section| {
            let mut queue = self.0.borrow_ref_mut(section);
            if queue.schedule_wake(at, waker) {
                arm(queue.next_expiration(self.now()));
            }
        });
    }
}

#[riscv_rt::core_interrupt(Interrupt::MachineTimer)]
fn expired() {
    critical_section::with(|section| {
        let mut queue = TIMER.0.borrow_ref_mut(section);
        arm(queue.next_expiration(TIMER.now()));
    });
}

/// The interrupt is pending for as long as the time is at or past `at`: a moment that passes while
/// it is being set is not lost.
fn arm(at: u64) {
    COMPARE_HIGH.write(u32::MAX); // no half-written moment in the past
    COMPARE_LOW.write(at as u32);
    COMPARE_HIGH.write((at >> 32) as u32);
}

// SAFETY: the CLINT's 10 MHz counter, and hart 0's compare register that makes the interrupt.
const TIME_LOW: Register<u32> = unsafe { Register::at(0x0200_bff8) };
// SAFETY: as above.
const TIME_HIGH: Register<u32> = unsafe { Register::at(0x0200_bffc) };
// SAFETY: as above.
const COMPARE_LOW: Register<u32> = unsafe { Register::at(0x0200_4000) };
// SAFETY: as above.
const COMPARE_HIGH: Register<u32> = unsafe { Register::at(0x0200_4004) };

// SAFETY: the time registers of the board's Goldfish RTC.
const CLOCK_LOW: Register<u32> = unsafe { Register::at(0x0010_1000) };
// SAFETY: as above.
const CLOCK_HIGH: Register<u32> = unsafe { Register::at(0x0010_1004) };
