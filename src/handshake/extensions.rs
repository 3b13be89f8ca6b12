//! `Sec-WebSocket-Extensions`: its elements in a request or a response (RFC 6455 §9.1), and the text of such a field.

#![forbid(unsafe_code)]

use core::fmt;

use super::head::{Headers, HeadersIter, is_token_char};
#[cfg(feature = "extension")]
use super::head_writer::{HeadError, Writer};
use crate::buffer::copy;

/// The name of the header field.
const FIELD: &str = "Sec-WebSocket-Extensions";

/// Iterates over the extensions that a request offers or a response lists, in all fields `Sec-WebSocket-Extensions`, in
/// order. It allocates nothing.
///
/// ```
/// use sansocket::Config;
/// use sansocket::handshake::{ExtensionList, MalformedExtension, Rejection, Request};
///
/// let head = b"GET / HTTP/1.1\r\nHost: a\r\n\
///     Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x; y=\r\n\
///     Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=\"10\"\r\n\r\n";
/// let mut list = ExtensionList::new(Request::parse(head, &Config::DEFAULT)?.headers());
///
/// let first = list.next().unwrap().unwrap();
/// assert_eq!(first.name(), "permessage-deflate");
/// assert_eq!(first.params().map(|param| param.name).collect::<Vec<_>>(), ["client_max_window_bits"]);
/// assert_eq!(list.next(), Some(Err(MalformedExtension)));
/// let bits = list.next().unwrap().unwrap().params().next().unwrap().value.unwrap();
/// assert!(bits.bytes().eq(*b"10"));
/// assert_eq!(list.next(), None);
/// # Ok::<_, Rejection>(())
/// ```
#[derive(Clone, Debug)]
pub struct ExtensionList<'h> {
    fields: HeadersIter<'h>,
    /// What is left of the current field's value.
    rest: &'h [u8],
}

/// An element of an [`ExtensionList`]: an extension and its parameters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ListedExtension<'h> {
    name: &'h str,
    /// The checked parameters, each after a semicolon.
    params: &'h [u8],
}

/// A parameter of a [`ListedExtension`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtensionParam<'h> {
    /// The name, in the case in which it was received.
    pub name: &'h str,
    /// The value, if there is one.
    pub value: Option<ExtensionValue<'h>>,
}

/// The value of an [`ExtensionParam`], which may be a quoted string.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ExtensionValue<'h> {
    /// Without the quotation marks, but with the backslashes of a quoted string.
    raw: &'h [u8],
}

/// Peer: an element of `Sec-WebSocket-Extensions` that does not conform to the grammar of RFC 6455 §9.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[error("an element of Sec-WebSocket-Extensions is malformed")]
pub struct MalformedExtension;

/// The value of a field `Sec-WebSocket-Extensions` that is to be sent: what a client offers, or a server agrees to.
/// Empty: the field is not sent.
#[derive(Clone)]
pub struct ExtensionText {
    memory: [u8; Self::CAPACITY],
    len: usize,
    truncated: bool,
}

impl<'h> ExtensionList<'h> {
    /// Lists the extensions in the fields of a head.
    #[must_use]
    pub fn new(headers: Headers<'h>) -> Self {
        Self { fields: headers.iter(), rest: &[] }
    }
}

impl<'h> Iterator for ExtensionList<'h> {
    type Item = Result<ListedExtension<'h>, MalformedExtension>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            // RFC 9110 §5.6.1.2: "A recipient MUST parse and ignore a reasonable number of empty list elements".
            while let [b',' | b' ' | b'\t', rest @ ..] = self.rest {
                self.rest = rest;
            }
            if !self.rest.is_empty() {
                break;
            }
            self.rest = self.fields.next_of(FIELD)?;
        }
        let mut rest = self.rest;
        let element = ListedExtension::parse(&mut rest);
        self.rest = if element.is_some() { rest } else { behind_element(self.rest) };
        Some(element.ok_or(MalformedExtension))
    }
}

impl<'h> ListedExtension<'h> {
    /// Returns the name of the extension, in the case in which it was received.
    #[must_use]
    pub const fn name(&self) -> &'h str {
        self.name
    }

    /// Returns the parameters, in order.
    pub fn params(&self) -> impl Iterator<Item = ExtensionParam<'h>> + use<'h> {
        let mut rest = self.params;
        core::iter::from_fn(move || next_param(&mut rest)?)
    }

    /// Reads an element off the front of `rest`, which then begins with a comma or is empty.
    fn parse(rest: &mut &'h [u8]) -> Option<Self> {
        let name = token(rest)?;
        let params = *rest;
        while let Some(param) = next_param(rest) {
            param?;
        }
        if !matches!(rest.first(), None | Some(b',')) {
            return None;
        }
        let params = params.get(..params.len().saturating_sub(rest.len()))?;
        Some(Self { name, params })
    }
}

impl fmt::Debug for ListedExtension<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name, self.params.escape_ascii())
    }
}

impl<'h> ExtensionValue<'h> {
    /// Returns the characters of the value, which are those of a token.
    pub fn bytes(self) -> impl Iterator<Item = u8> + use<'h> {
        self.raw.iter().copied().filter(|&c| c != b'\\')
    }
}

impl fmt::Debug for ExtensionValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.raw.escape_ascii())
    }
}

impl ExtensionText {
    /// The most bytes of a value.
    pub const CAPACITY: usize = 160;

    /// An empty value.
    pub const EMPTY: Self = Self { memory: [0; Self::CAPACITY], len: 0, truncated: false };

    /// Appends a part of the value.
    pub fn push(&mut self, text: &str) {
        let n = copy(self.memory.get_mut(self.len..).unwrap_or_default(), text.as_bytes());
        self.len = self.len.saturating_add(n);
        self.truncated |= n < text.len();
    }

    /// Returns the value; `None` if it is longer than [`CAPACITY`](Self::CAPACITY).
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        let text = self.memory.get(..self.len).filter(|_| !self.truncated)?;
        core::str::from_utf8(text).ok()
    }
}

#[cfg(feature = "extension")]
impl ExtensionText {
    /// Writes the field, unless the value is empty. A value that is too long makes the head invalid.
    pub(super) fn write(&self, head: &mut Writer<'_>) {
        if self.len > 0 {
            head.fail_unless(!self.truncated, HeadError::TooLarge);
            head.field(FIELD, self.as_str().unwrap_or_default());
        }
    }
}

impl fmt::Debug for ExtensionText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// Reads a token off the front of `rest`, and the white space around it.
fn token<'h>(rest: &mut &'h [u8]) -> Option<&'h str> {
    let text = rest.trim_ascii_start();
    let len = text.iter().position(|&c| !is_token_char(c)).unwrap_or(text.len());
    let (token, behind) = text.split_at_checked(len).filter(|(token, _)| !token.is_empty())?;
    *rest = behind.trim_ascii_start();
    core::str::from_utf8(token).ok()
}

/// Reads a parameter with its semicolon off the front of `rest`: `None` if there is none, `Some(None)` if it is malformed.
fn next_param<'h>(rest: &mut &'h [u8]) -> Option<Option<ExtensionParam<'h>>> {
    *rest = rest.strip_prefix(b";")?;
    Some(param(rest))
}

fn param<'h>(rest: &mut &'h [u8]) -> Option<ExtensionParam<'h>> {
    let name = token(rest)?;
    let Some(behind) = rest.strip_prefix(b"=") else { return Some(ExtensionParam { name, value: None }) };
    *rest = behind.trim_ascii_start();
    let raw = match rest.strip_prefix(b"\"") {
        Some(quoted) => {
            let len = quoted_len(quoted);
            let raw = quoted.get(..len)?;
            let behind = quoted.get(len..)?.strip_prefix(b"\"")?;
            *rest = behind.trim_ascii_start();
            raw
        }
        None => token(rest)?.as_bytes(),
    };
    // "When using the quoted-string syntax variant, the value after quoted-string unescaping MUST conform to the
    // 'token' ABNF." A backslash is no character of a token, so one that is escaped is none either.
    let mut escaped = false;
    for &c in raw {
        escaped = c == b'\\' && !escaped;
        if !escaped && !is_token_char(c) {
            return None;
        }
    }
    (!raw.is_empty()).then_some(ExtensionParam { name, value: Some(ExtensionValue { raw }) })
}

/// Returns the length of a quoted string up to its closing quotation mark, or all if there is none.
fn quoted_len(text: &[u8]) -> usize {
    let mut escaped = false;
    let ends = |&c: &u8| {
        let end = c == b'"' && !escaped;
        escaped = c == b'\\' && !escaped;
        end
    };
    text.iter().position(ends).unwrap_or(text.len())
}

/// Returns what follows a malformed element: the next comma outside of quotation marks, and what is behind it.
fn behind_element(mut text: &[u8]) -> &[u8] {
    loop {
        match text {
            [b'"', quoted @ ..] => {
                let end = quoted_len(quoted).saturating_add(1);
                text = quoted.get(end..).unwrap_or_default();
            }
            [] | [b',', ..] => return text,
            [_, rest @ ..] => text = rest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::base::Config;
    use crate::handshake::Request;

    extern crate std;
    use std::format;
    use std::string::String;
    use std::vec::Vec;

    fn list(fields: &[&str]) -> Vec<String> {
        let fields: String =
            fields.iter().map(|value| format!("sec-websocket-extensions:{value}\r\n")).collect();
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Key: x\r\n{fields}\r\n");
        let request = Request::parse(head.as_bytes(), &Config::DEFAULT).expect("a request");
        let text = |element: Result<ListedExtension<'_>, _>| match element {
            Err(MalformedExtension) => String::from("malformed"),
            Ok(element) => {
                let params = element.params().map(|param| match param.value {
                    None => format!(" {}", param.name),
                    Some(value) => {
                        let value = String::from_utf8(value.bytes().collect()).expect("a token");
                        format!(" {}={value}", param.name)
                    }
                });
                format!("{}{}", element.name(), params.collect::<String>())
            }
        };
        ExtensionList::new(request.headers()).map(text).collect()
    }

    #[test]
    fn elements_of_all_fields_are_listed_in_order() {
        assert_eq!(list(&[]), [""; 0]);
        assert_eq!(list(&["", " , ,", "a"]), ["a"]);
        assert_eq!(list(&["a;b;c=d , e", "f; g=\"h\""]), ["a b c=d", "e", "f g=h"]);
        assert_eq!(list(&["a ; b = c\t;\td=\"e\" ,f"]), ["a b=c d=e", "f"]);
        assert_eq!(list(&[r#"a; b="\9\\" , c; d="1\0""#]), ["malformed", "c d=10"]);
    }

    #[test]
    fn a_malformed_element_ends_at_the_next_comma_outside_of_quotation_marks() {
        for bad in [
            "a;",
            "a; ;b",
            "a;=b",
            "a;b=",
            "a b",
            "=a",
            ";a",
            "a;b=c d",
            "a/b",
            "a;b=\"\"",
            "a;b=\"c d\"",
            "a\u{e9}",
        ] {
            assert_eq!(list(&[&format!("{bad}, ok; p, {bad}")]), ["malformed", "ok p", "malformed"], "{bad}");
        }
        assert_eq!(list(&["a;b=\"c, d\", e"]), ["malformed", "e"]);
        assert_eq!(list(&["a;b=\"c, d", "e"]), ["malformed", "e"]);
        assert_eq!(list(&["a;b=\"c\\", "a;b=\"c\\\"", "a;b=\"c\"d"]), ["malformed"; 3]);
    }

    #[test]
    fn a_text_that_is_too_long_is_not_sent() {
        let mut text = ExtensionText::EMPTY;
        text.push(&"a".repeat(ExtensionText::CAPACITY));
        assert_eq!(text.as_str().map(str::len), Some(ExtensionText::CAPACITY));
        text.push("b");
        assert_eq!(text.as_str(), None);
    }
}
