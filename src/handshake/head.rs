//! Scans and checks heads of HTTP/1.1 messages (RFC 9112 §2-5).

#![forbid(unsafe_code)]

use core::fmt;

use super::SMALL;
#[cfg(feature = "http")]
use super::header_map::MapIter;
use super::rejection::{BadRequest, Rejection};

/// Finds the end of a head that arrives in pieces. It reads each byte once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scanner {
    scanned: usize,
    /// How many bytes of CR LF CR LF precede `scanned`.
    matched: u8,
}

/// The error of a byte that is not allowed at its place in a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadByte;

impl Scanner {
    /// Returns how many bytes of a head of `len` bytes are not scanned. The end of the head may precede them.
    pub(crate) const fn unseen(&self, len: usize) -> usize {
        len.saturating_sub(self.scanned)
    }

    /// Returns the length of the head at the front of `bytes`, once it has arrived. Each call passes the earlier
    /// bytes again, and may add more.
    pub(crate) fn find(&mut self, bytes: &[u8]) -> Result<Option<usize>, BadByte> {
        let (mut rest, mut matched) = (bytes.get(self.scanned..).unwrap_or_default(), self.matched);
        let found = loop {
            if let 0 | 2 = matched {
                let behind = behind_plain(rest);
                if behind.len() < rest.len() {
                    (rest, matched) = (behind, 0);
                    if let [b'\r', b'\n', behind @ ..] = rest {
                        (rest, matched) = (behind, 2);
                        continue;
                    }
                }
            }
            let [byte, behind @ ..] = rest else { break false };
            rest = behind;
            matched = match (byte, matched) {
                (b'\r', 0) => 1,
                (b'\r', 2) => 3,
                (b'\n', 1) => 2,
                (b'\n', 3) => break true,
                // RFC 9112 §2.2: a CR or an LF alone is ambiguous.
                (b'\r' | b'\n' | 0, _) | (_, 1 | 3) => return Err(BadByte),
                _ => 0,
            };
        };
        (self.scanned, self.matched) = (bytes.len().saturating_sub(rest.len()), matched);
        Ok(found.then_some(self.scanned))
    }
}

/// The checked header fields of a head.
///
/// ```
/// use sansocket::Config;
/// use sansocket::handshake::{Rejection, Request};
///
/// let head = b"GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\naccept: text/plain, */*\r\n\r\n";
/// let headers = Request::parse(head, &Config::DEFAULT)?.headers();
/// assert_eq!(headers.get("host"), Some(&b"a"[..]));
/// assert_eq!(headers.list("Accept").count(), 3);
/// for (name, value) in headers {
///     println!("{name}: {}", value.escape_ascii());
/// }
/// # Ok::<_, Rejection>(())
/// ```
#[derive(Clone, Copy)]
pub struct Headers<'h>(Source<'h>);

/// How many fields are listed at a time. A browser sends about fourteen; the field behind them is read twice.
const LISTED: usize = if cfg!(target_pointer_width = "64") { 16 } else { 8 };

/// Where the fields lie.
#[derive(Clone, Copy)]
enum Source<'h> {
    /// The lines of a head of HTTP/1; the empty line behind them may be among them.
    Lines(&'h [u8]),
    #[cfg(feature = "http")]
    Map(&'h http::HeaderMap),
}

/// Iterates over names and values of [`Headers`], in order.
#[derive(Clone, Debug)]
pub struct HeadersIter<'h>(Rest<'h>);

/// The fields that are still to come.
#[derive(Clone, Debug)]
enum Rest<'h> {
    Lines(&'h [u8]),
    #[cfg(feature = "http")]
    Map(MapIter<'h>),
}

impl<'h> Headers<'h> {
    /// Checks what follows the first line of a head, and calls `see` with the name and the trimmed value of each field.
    /// Returns the fields, and the bytes after the empty line.
    pub(crate) fn check(
        lines: &'h [u8],
        most: usize,
        see: &mut dyn FnMut(&'h [u8], &'h [u8]),
    ) -> Result<(Self, &'h [u8]), Rejection> {
        if SMALL {
            return Self::check_compact(lines, most, see);
        }
        let (mut rest, mut count) = (lines, 0usize);
        loop {
            // A few fields at a time, as httparse lists them in an array: that takes little of the stack.
            let mut listed = [httparse::EMPTY_HEADER; LISTED];
            let result = httparse::parse_headers(rest, &mut listed).map(|status| match status {
                httparse::Status::Complete((len, _)) => Some(len),
                httparse::Status::Partial => None,
            });
            let mut last = None;
            // What it has read is in the array whatever it returns.
            for field in listed.iter().take_while(|field| !field.name.is_empty()) {
                if count >= most {
                    return Err(Rejection::TooManyFields);
                }
                count = count.saturating_add(1);
                see(field.name.as_bytes(), field.value);
                last = Some(field.value);
            }
            if let Ok(Some(len)) = result {
                let behind = rest.get(len..).unwrap_or_default();
                let len = lines.len().saturating_sub(behind.len());
                return Ok((Self(Source::Lines(lines.get(..len).unwrap_or_default())), behind));
            }
            if let Some(value) = last {
                let end = value.as_ptr_range().end.addr().saturating_sub(rest.as_ptr().addr());
                (_, rest) = cut_line(rest.get(end..).unwrap_or_default());
            }
            if result != Err(httparse::Error::TooManyHeaders) {
                return Err(bad_field(rest));
            }
        }
    }

    /// Gives the verdict of `httparse` in a kilobyte less of flash, for the feature `small`. It takes more time.
    fn check_compact(
        lines: &'h [u8],
        most: usize,
        see: &mut dyn FnMut(&'h [u8], &'h [u8]),
    ) -> Result<(Self, &'h [u8]), Rejection> {
        let (mut rest, mut count) = (lines, 0usize);
        loop {
            let (line, behind) = cut_line(rest);
            if matches!(line, b"\r\n" | b"\n") {
                let len = lines.len().saturating_sub(rest.len());
                return Ok((Self(Source::Lines(lines.get(..len).unwrap_or_default())), behind));
            }
            let (name, value) = field(line).ok_or_else(|| bad_field(rest))?;
            if count >= most {
                return Err(Rejection::TooManyFields);
            }
            count = count.saturating_add(1);
            see(name, value);
            rest = behind;
        }
    }

    /// Returns names and values of all fields, in order. White space around a value is removed.
    #[must_use]
    pub fn iter(self) -> HeadersIter<'h> {
        HeadersIter(match self.0 {
            Source::Lines(lines) => Rest::Lines(lines),
            #[cfg(feature = "http")]
            Source::Map(map) => Rest::Map(MapIter::new(map)),
        })
    }

    /// Returns the value of the first field with this name, compared without case.
    #[must_use]
    pub fn get(self, name: &str) -> Option<&'h [u8]> {
        self.all(name).next()
    }

    /// Returns the values of all fields with this name, compared without case.
    pub fn all(self, name: &str) -> impl Iterator<Item = &'h [u8]> {
        let mut fields = self.iter();
        core::iter::from_fn(move || fields.next_of(name))
    }

    /// Returns the elements of a comma-separated list, which may span several fields (RFC 9110 §5.6.1): trimmed,
    /// without empty ones.
    pub fn list(self, name: &str) -> impl Iterator<Item = &'h [u8]> {
        self.all(name).flat_map(|value| value.split(|&c| c == b',')).map(trim).filter(|item| !item.is_empty())
    }

    /// Returns whether a list has this token, compared without case.
    #[must_use]
    pub fn has_token(self, name: &str, token: &str) -> bool {
        self.all(name).any(|value| lists(value, token))
    }

    /// Calls `see` with the elements that [`list`](Self::list) returns. Not inlined: links the code once.
    #[inline(never)]
    pub(crate) fn each(self, name: &str, see: &mut dyn FnMut(&'h [u8])) {
        for value in self.all(name) {
            value.split(|&c| c == b',').map(trim).filter(|item| !item.is_empty()).for_each(&mut *see);
        }
    }
}

impl<'h> HeadersIter<'h> {
    /// Returns the value of the next field with this name.
    #[inline(never)]
    pub(super) fn next_of(&mut self, name: &str) -> Option<&'h [u8]> {
        loop {
            let (known, value) = self.next_raw()?;
            if is_same(known, name) {
                return Some(value);
            }
        }
    }

    fn next_raw(&mut self) -> Option<(&'h [u8], &'h [u8])> {
        match &mut self.0 {
            Rest::Lines(lines) => {
                let (line, rest) = cut_line(lines);
                *lines = rest;
                split_field(line).map(|(name, value)| (name, trim(value)))
            }
            #[cfg(feature = "http")]
            Rest::Map(fields) => fields.next(),
        }
    }
}

#[cfg(feature = "http")]
impl<'h> From<&'h http::HeaderMap> for Headers<'h> {
    fn from(map: &'h http::HeaderMap) -> Self {
        Self(Source::Map(map))
    }
}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (name, value) in *self {
            map.entry(&name, &format_args!("\"{}\"", value.escape_ascii()));
        }
        map.finish()
    }
}

impl<'h> IntoIterator for Headers<'h> {
    type Item = (&'h str, &'h [u8]);
    type IntoIter = HeadersIter<'h>;

    fn into_iter(self) -> HeadersIter<'h> {
        self.iter()
    }
}

impl<'h> Iterator for HeadersIter<'h> {
    type Item = (&'h str, &'h [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = self.next_raw()?;
        Some((core::str::from_utf8(name).ok()?, value))
    }
}

/// Returns the rejection for fields whose first line is malformed.
fn bad_field(lines: &[u8]) -> Rejection {
    match lines.first() {
        // RFC 9112 §5.2: "A server that receives an obs-fold in a request message [...] MUST either reject the message by
        // sending a 400 (Bad Request), preferably with a representation explaining that obsolete line folding is
        // unacceptable, or replace".
        Some(b' ' | b'\t') => BadRequest::Folded.into(),
        _ => BadRequest::NotHttp.into(),
    }
}

/// Parses "field-line = field-name ":" OWS field-value OWS" (RFC 9112 §5) with its line break.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.strip_suffix(b"\n")?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (name, value) = split_field(line)?;
    (is_token(name) && is_value(value)).then(|| (name, trim(value)))
}

/// Returns what a line has before and after its first colon.
fn split_field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = line.split_at_checked(line.iter().position(|&c| c == b':')?)?;
    Some((name, value.get(1..)?))
}

/// Returns the value of three decimal digits.
pub(crate) fn status_of(digits: &[u8]) -> u16 {
    let append = |sum: u16, digit: &u8| sum.wrapping_mul(10).wrapping_add(u16::from(digit & 0xF));
    digits.iter().fold(0, append)
}

pub(super) const fn is_token_char(c: u8) -> bool {
    // Ranges, as a search in a text of these characters links a search for words in memory.
    matches!(c, b'0'..=b'9' | b'A'..=b'Z' | b'^'..=b'z' | b'#'..=b'\'' | b'!' | b'*' | b'+' | b'-' | b'.' | b'|' | b'~')
}

/// Whether a text is a token (RFC 9110 §5.6.2).
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().copied().all(is_token_char)
}

/// Whether a text is a field value: no control characters except the tab (RFC 9110 §5.5).
#[inline(never)]
pub(crate) fn is_value(text: &[u8]) -> bool {
    text.iter().all(|&c| c >= b' ' && c != 0x7F || c == b'\t')
}

/// Returns the first line of a head with its line break, and the lines after it.
///
/// RFC 9112 §2.2: "a server that is expecting to receive and parse a request-line SHOULD ignore at least one empty
/// line (CRLF) received prior to the request-line".
pub(crate) fn first_line(mut head: &[u8]) -> (&[u8], &[u8]) {
    while let Some(rest) = head.strip_prefix(b"\r\n").or_else(|| head.strip_prefix(b"\n")) {
        head = rest;
    }
    cut_line(head)
}

/// Replaces line breaks before white space, in the fields of a head that the [`Scanner`] has found.
///
/// RFC 9112 §5.2: "A user agent that receives an obs-fold in a response message [...] MUST replace each received
/// obs-fold with one or more SP octets prior to interpreting the field value."
pub(crate) fn unfold(head: &mut [u8]) {
    let (_, lines) = first_line(head);
    let start = head.len().saturating_sub(lines.len());
    let mut lines = head.get_mut(start..).unwrap_or_default();
    while let Some(at) = lines.iter().position(|&c| c == b'\n') {
        let (line, rest) = lines.split_at_mut_checked(at.saturating_add(1)).unwrap_or_default();
        if let ([.., cr, lf], Some(b' ' | b'\t')) = (line, rest.first()) {
            (*cr, *lf) = (b' ', b' ');
        }
        lines = rest;
    }
}

/// Returns the first line with its line break, and the rest; both empty if there is no line break.
#[inline(never)]
fn cut_line(lines: &[u8]) -> (&[u8], &[u8]) {
    let mut rest = lines;
    loop {
        let [byte, behind @ ..] = behind_plain(rest) else { return Default::default() };
        rest = behind;
        if *byte == b'\n' {
            return lines.split_at_checked(lines.len().saturating_sub(rest.len())).unwrap_or_default();
        }
    }
}

/// Returns what follows the bytes at the front that are 16 or more: neither a line break nor NUL. It skips all of them where the
/// processor reads eight bytes at once wherever they lie, none elsewhere.
fn behind_plain(mut bytes: &[u8]) -> &[u8] {
    const LOW: u64 = u64::from_le_bytes([16; 8]);
    const TOP: u64 = u64::from_le_bytes([0x80; 8]);
    if cfg!(not(target_pointer_width = "64")) {
        return bytes;
    }
    while let Some((chunk, behind)) = bytes.split_first_chunk::<16>() {
        // Without an end in the middle, as vectors compare.
        if chunk.iter().fold(false, |low, byte| low | (*byte < 16)) {
            break;
        }
        bytes = behind;
    }
    while let Some((chunk, behind)) = bytes.split_first_chunk() {
        let word = u64::from_le_bytes(*chunk);
        // The subtraction borrows from a byte's top bit where the byte is below 16: exact for the first of them.
        let low = word.wrapping_sub(LOW) & !word & TOP;
        if low != 0 {
            return bytes.get((low.trailing_zeros() / 8) as usize..).unwrap_or_default();
        }
        bytes = behind;
    }
    bytes
}

/// Returns whether a comma-separated list has this token, compared without case.
#[inline(never)]
pub(crate) fn lists(value: &[u8], token: &str) -> bool {
    (cfg!(target_pointer_width = "64") && value == token.as_bytes())
        || value.split(|&c| c == b',').any(|item| is_same(trim(item), token))
}

/// Returns the text before the first `mark`, which is ASCII, and the text after it.
///
/// Replaces `split_once`, whose search would link panic branches and much code.
pub(crate) fn cut(text: &str, mark: u8) -> Option<(&str, &str)> {
    let (before, behind) = text.split_at_checked(text.bytes().position(|c| c == mark)?)?;
    Some((before, behind.get(1..)?))
}

/// Returns the scheme of a URL, and what follows its `://`. In two steps: searching a string takes a kilobyte of
/// code.
pub(crate) fn split_scheme(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = cut(url, b':')?;
    Some((scheme, rest.strip_prefix("//")?))
}

/// Compares without case.
#[inline(always)]
pub(crate) fn is_same(a: &[u8], b: &str) -> bool {
    // Nearly all peers write the names as the standards do, and equal bytes are found faster.
    (cfg!(target_pointer_width = "64") && a == b.as_bytes()) || is_same_but_case(a, b)
}

/// Not inlined, as the image would contain it half a dozen times.
#[inline(never)]
fn is_same_but_case(a: &[u8], b: &str) -> bool {
    a.eq_ignore_ascii_case(b.as_bytes())
}

/// Removes white space at both ends. No other control character is in a value that was checked.
fn trim(value: &[u8]) -> &[u8] {
    value.trim_ascii()
}
