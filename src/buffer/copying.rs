//! Copies of bytes without a panic branch.

#![forbid(unsafe_code)]

/// Copies as much of `from` as fits into `to`, and returns how many bytes that was.
#[cfg_attr(target_pointer_width = "64", inline)]
#[cfg_attr(not(target_pointer_width = "64"), inline(never))]
pub(crate) fn copy(to: &mut [u8], from: &[u8]) -> usize {
    let n = to.len().min(from.len());
    // Both slices are `n` bytes long, so that the compiler emits a `memcpy` without a panic branch.
    if let (Some(to), Some(from)) = (to.get_mut(..n), from.get(..n)) {
        to.copy_from_slice(from);
    }
    n
}

/// Moves `count` bytes to another place of `memory`. Returns whether both places lie in it: otherwise nothing moves.
// The comparisons spare `copy_within` its panic branches, where the compiler inlines it.
#[cfg(any(feature = "extension", target_pointer_width = "64"))]
#[cfg_attr(not(target_pointer_width = "64"), inline(never))]
pub(crate) fn move_within(memory: &mut [u8], from: usize, count: usize, to: usize) -> bool {
    let end = from.wrapping_add(count);
    let possible = from <= end && end <= memory.len() && to <= memory.len().wrapping_sub(count);
    if possible {
        memory.copy_within(from..end, to);
    }
    possible
}

/// Moves `memory[start..end]` to the front.
#[cfg(target_pointer_width = "64")]
pub(super) fn compact(memory: &mut [u8], start: &mut usize, end: &mut usize) {
    let count = end.wrapping_sub(*start);
    if move_within(memory, *start, count, 0) {
        *end = count;
        *start = 0;
    }
}

/// Moves `memory[start..end]` to the front. Pieces of `start` bytes do not overlap, so that firmware without
/// an extension links no `memmove`.
#[cfg(not(target_pointer_width = "64"))]
#[inline(never)]
pub(super) fn compact(memory: &mut [u8], start: &mut usize, end: &mut usize) {
    let step = core::mem::take(start);
    let mut rest = memory.get_mut(..*end).unwrap_or_default();
    *end = end.saturating_sub(step);
    while let Some((to, from)) = rest.split_at_mut_checked(step)
        && step > 0
    {
        copy(to, from);
        rest = from;
    }
}
