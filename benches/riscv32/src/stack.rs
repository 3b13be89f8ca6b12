//! How deep the one stack of the board gets: it is painted, and the paint that is left is looked at.

use core::arch::asm;
use core::hint::black_box;
use core::pin::Pin;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll};

const PAINT: u32 = 0x5AA5_C33C;

/// The lowest address that was seen in use before the paint was renewed.
static LOWEST: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Begins anew: what was used before does not count.
pub fn reset() {
    paint();
    LOWEST.store(usize::MAX, Ordering::Relaxed);
}

/// Bytes of stack that were used since the reset, by any code.
pub fn deepest() -> usize {
    top() - lowest().min(LOWEST.load(Ordering::Relaxed))
}

/// A future, and how deep its own polls go, without interrupts.
pub struct Watched<F> {
    pub future: F,
    pub deepest: usize,
}

impl<F: Future + Unpin> Future for Watched<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        critical_section::with(|_| {
            // The paint is renewed, so what it showed until now is kept.
            LOWEST.store(lowest().min(LOWEST.load(Ordering::Relaxed)), Ordering::Relaxed);
            // Not inlined here: its frame is to lie below ours.
            let inner: fn(Pin<&mut F>, &mut Context<'_>) -> Poll<F::Output> = black_box(F::poll);
            let start = pointer();
            paint();
            let result = inner(Pin::new(&mut self.future), context);
            self.deepest = self.deepest.max(start - lowest());
            result
        })
    }
}

/// Everything below the caller's frame.
#[inline(always)]
fn paint() {
    // SAFETY: nothing lives between the end of the stack and the stack pointer; an interrupt that strikes meanwhile
    // has returned before the next word is written.
    unsafe {
        asm!(
            "2: bgeu {at}, sp, 3f",
            "sw {paint}, 0({at})",
            "addi {at}, {at}, 4",
            "j 2b",
            "3:",
            at = inout(reg) end() => _,
            paint = in(reg) PAINT,
        );
    }
}

/// Where the paint ends.
fn lowest() -> usize {
    let mut at = end();
    // SAFETY: words of the stack's memory, which is as long as the program.
    while at < top() && unsafe { core::ptr::with_exposed_provenance::<u32>(at).read_volatile() } == PAINT {
        at += 4;
    }
    assert!(at > end(), "the stack was too small");
    at
}

#[inline(always)]
fn pointer() -> usize {
    let pointer: usize;
    // SAFETY: it only reads a register.
    unsafe { asm!("mv {}, sp", out(reg) pointer, options(nomem, nostack)) };
    pointer
}

unsafe extern "C" {
    /// The linker's marks: the stack grows from `__sstack` down to `__estack`.
    safe static __sstack: u8;
    safe static __estack: u8;
}

fn top() -> usize {
    (&raw const __sstack).expose_provenance()
}

fn end() -> usize {
    (&raw const __estack).expose_provenance()
}
