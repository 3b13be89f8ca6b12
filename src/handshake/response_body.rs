//! The body of a server's response, in memory that is static, borrowed or owned.

#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
use alloc::{string::String, vec::Vec};

/// The body of a [`Response`](super::Response). Static and owned text and bytes convert into it.
///
/// ```
/// use sansocket::handshake::{Response, ResponseBody};
///
/// static PAGE: &[u8] = b"<h1>Hello</h1>";
/// # let name = [104, 105];
/// let page = Response::html(200, PAGE);
/// let echo = Response::new(200, "text/plain", ResponseBody::Copied(&name));
/// # assert_eq!((page.body(), echo.body()), (PAGE, &b"hi"[..]));
/// # #[cfg(feature = "alloc")]
/// let status = Response::json(200, format!("{{\"up\":{}}}", true));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ResponseBody<'s> {
    /// A body of any length, which is sent in pieces from where it lies.
    Static(&'static [u8]),
    /// A body that is copied at once: together with the head it has to fit the memory for heads.
    Copied(&'s [u8]),
    /// A body of any length, which is sent in pieces from where it lies.
    #[cfg(feature = "alloc")]
    Owned(Vec<u8>),
}

impl ResponseBody<'_> {
    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Static(body) => body,
            Self::Copied(body) => body,
            #[cfg(feature = "alloc")]
            Self::Owned(body) => body,
        }
    }
}

/// Formats the length.
#[cfg(feature = "defmt")]
impl defmt::Format for ResponseBody<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=usize} bytes", self.as_bytes().len());
    }
}

impl From<&'static [u8]> for ResponseBody<'_> {
    fn from(body: &'static [u8]) -> Self {
        Self::Static(body)
    }
}

impl<const N: usize> From<&'static [u8; N]> for ResponseBody<'_> {
    fn from(body: &'static [u8; N]) -> Self {
        Self::Static(body)
    }
}

impl From<&'static str> for ResponseBody<'_> {
    fn from(body: &'static str) -> Self {
        Self::Static(body.as_bytes())
    }
}

#[cfg(feature = "alloc")]
impl From<Vec<u8>> for ResponseBody<'_> {
    fn from(body: Vec<u8>) -> Self {
        Self::Owned(body)
    }
}

#[cfg(feature = "alloc")]
impl From<String> for ResponseBody<'_> {
    fn from(body: String) -> Self {
        Self::Owned(body.into_bytes())
    }
}

/// The part of a body that is still to be written, from where it lies.
#[derive(Clone, Debug)]
pub(crate) enum BodyRest {
    Static(&'static [u8]),
    /// The bytes from this index on.
    #[cfg(feature = "alloc")]
    Owned(Vec<u8>, usize),
}

impl BodyRest {
    pub(crate) const NONE: Self = Self::Static(&[]);

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Static(rest) => rest,
            #[cfg(feature = "alloc")]
            Self::Owned(body, start) => body.get(*start..).unwrap_or_default(),
        }
    }

    /// Removes the first `n` bytes, which are written.
    pub(crate) fn consume(&mut self, n: usize) {
        match self {
            Self::Static(rest) => *rest = rest.get(n..).unwrap_or_default(),
            #[cfg(feature = "alloc")]
            Self::Owned(_, start) => *start = start.saturating_add(n),
        }
    }
}
