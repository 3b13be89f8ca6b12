//! Memory for connections that are not idle.

#![forbid(unsafe_code)]

use core::cell::RefCell;
use std::boxed::Box;
use std::vec;
use std::vec::Vec;

/// The most buffers that a thread keeps.
const KEPT: usize = 8;

std::thread_local! {
    static SPARE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Returns memory of this length, with any contents.
pub(super) fn take(len: usize) -> Box<[u8]> {
    let kept = SPARE.try_with(|spare| {
        let mut spare = spare.try_borrow_mut().ok()?;
        let at = spare.iter().rposition(|memory| memory.len() == len)?;
        Some(spare.swap_remove(at))
    });
    kept.ok().flatten().unwrap_or_else(|| vec![0; len].into_boxed_slice())
}

/// Keeps memory for the next connection of this thread, unless there is enough.
pub(super) fn give(memory: Box<[u8]>) {
    // A thread that is ending keeps no memory.
    let _ = SPARE.try_with(|spare| {
        if let Ok(mut spare) = spare.try_borrow_mut()
            && spare.len() < KEPT
        {
            spare.push(memory);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_for_the_same_length_and_a_thread_keeps_little() {
        let first = take(300);
        let address = first.as_ptr();
        give(first);
        assert_eq!(take(200).len(), 200);
        let again = take(300);
        assert_eq!((again.as_ptr(), again.len()), (address, 300));
        for _ in 0..3 * KEPT {
            give(vec![0; 300].into_boxed_slice());
        }
        assert_eq!(SPARE.with_borrow(Vec::len), KEPT);
    }
}
