//! The patterns of routes.

#![forbid(unsafe_code)]

use alloc::string::String;
use core::cmp::Reverse;

/// How specific a pattern is, the smallest first: whether there is a `*`, the length of the path, whether there is a
/// `?`.
pub(super) type Rank = (bool, Reverse<usize>, bool);

/// A path, and what may follow it.
#[derive(PartialEq, Eq)]
pub(super) struct Pattern {
    path: String,
    /// `?`: this character may follow.
    option: Option<char>,
    /// `*`: anything may follow.
    any: bool,
}

impl Pattern {
    pub(super) fn new(pattern: &str) -> Self {
        let marks =
            ["?*", "*?", "?", "*"].into_iter().find(|marks| pattern.ends_with(marks)).unwrap_or_default();
        let mut path = String::from(pattern.strip_suffix(marks).unwrap_or(pattern));
        let option = if marks.contains('?') { path.pop() } else { None };
        Self { path, option, any: marks.contains('*') }
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix(self.path.as_str()) else { return false };
        match self.option.filter(|_| !rest.is_empty()) {
            Some(option) => rest.strip_prefix(option).is_some_and(|rest| self.any || rest.is_empty()),
            None => self.any || rest.is_empty(),
        }
    }

    pub(super) fn rank(&self) -> Rank {
        (self.any, Reverse(self.path.len()), self.option.is_some())
    }
}
