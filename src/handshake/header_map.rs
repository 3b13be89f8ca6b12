//! The fields of an `http::HeaderMap`, as [`Headers`](super::Headers).

#![forbid(unsafe_code)]

use http::HeaderMap;
use http::header::{HeaderValue, Iter};

/// Iterates over a map. Its own iterator cannot be cloned.
#[derive(Debug)]
pub(super) struct MapIter<'h> {
    map: &'h HeaderMap,
    iter: Iter<'h, HeaderValue>,
    taken: usize,
}

impl<'h> MapIter<'h> {
    pub(super) fn new(map: &'h HeaderMap) -> Self {
        Self { map, iter: map.iter(), taken: 0 }
    }

    pub(super) fn next(&mut self) -> Option<(&'h [u8], &'h [u8])> {
        let (name, value) = self.iter.next()?;
        self.taken = self.taken.saturating_add(1);
        Some((name.as_str().as_bytes(), value.as_bytes()))
    }
}

impl Clone for MapIter<'_> {
    fn clone(&self) -> Self {
        let mut iter = self.map.iter();
        if let Some(last) = self.taken.checked_sub(1) {
            iter.nth(last);
        }
        Self { iter, ..*self }
    }
}
