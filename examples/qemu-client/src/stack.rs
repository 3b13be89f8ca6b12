//! How deep the stack has been.

/// Says so. QEMU's memory is zero at the start: what is not any more was stack once.
pub fn report() {
    unsafe extern "C" {
        static STACK_LOWEST: u32;
        static _stack_start: u32; // its upper end, as riscv-rt calls it
    }
    let (lowest, top) = (&raw const STACK_LOWEST, &raw const _stack_start);
    let words = (top as usize - lowest as usize) / size_of::<u32>();
    let untouched = (0..words)
        // SAFETY: within the memory for the stack, of which nothing else knows; the compiler's part of it is only read.
        .position(|i| unsafe { lowest.add(i).read_volatile() } != 0)
        .unwrap_or(words);
    println!("stack: {} bytes at the deepest", (words - untouched) * size_of::<u32>());
}
