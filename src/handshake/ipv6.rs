//! Checks IPv6 addresses (RFC 3986 §3.2.2). The core library's parser takes 1.8 KB of flash for the same verdict.

#![forbid(unsafe_code)]

use super::SMALL;

/// Returns whether a text is an IPv6 address, without brackets or a zone. The feature `small` looks at its characters
/// only, and leaves it to the connecting to find what is wrong with their order.
pub(super) fn is_ipv6(text: &[u8]) -> bool {
    if SMALL {
        return text.iter().all(|c| c.is_ascii_hexdigit() || matches!(c, b':' | b'.'));
    }
    match text.windows(2).position(|pair| pair == b"::") {
        None => groups(text, true) == Some(8),
        Some(at) => {
            let front = text.get(..at).unwrap_or_default();
            let back = text.get(at.saturating_add(2)..).unwrap_or_default();
            // "::" stands for one group or more.
            matches!((groups(front, false), groups(back, true)), (Some(a), Some(b)) if a.saturating_add(b) < 8)
        }
    }
}

/// Counts the groups of 16 bits between colons. An IPv4 address at the end of all, where `dotted` allows it, counts twice.
fn groups(text: &[u8], dotted: bool) -> Option<usize> {
    let (mut count, mut rest) = (0usize, text);
    while !rest.is_empty() {
        let end = rest.iter().position(|c| *c == b':').unwrap_or(rest.len());
        let (group, behind) = rest.split_at_checked(end)?;
        rest = behind.strip_prefix(b":").unwrap_or_default();
        let hex = matches!(group.len(), 1..=4) && group.iter().all(u8::is_ascii_hexdigit);
        let last = behind.is_empty();
        // A colon at the end has no group behind it.
        let complete = last || !rest.is_empty();
        count = count.saturating_add(match hex {
            true if complete => 1,
            false if dotted && last && is_ipv4(group) => 2,
            _ => return None,
        });
    }
    Some(count)
}

/// Whether a text is four decimal numbers of one byte, without leading zeros.
fn is_ipv4(text: &[u8]) -> bool {
    let mut count = 0usize;
    let good = text.split(|c| *c == b'.').all(|number| {
        count = count.saturating_add(1);
        matches!(
            number,
            [b'0'..=b'9']
                | [b'1'..=b'9', b'0'..=b'9']
                | [b'1', b'0'..=b'9', b'0'..=b'9']
                | [b'2', b'0'..=b'4', b'0'..=b'9']
                | [b'2', b'5', b'0'..=b'5']
        )
    });
    good && count == 4
}

#[cfg(test)]
mod tests {
    use core::net::Ipv6Addr;

    use super::is_ipv6;

    /// Compares the verdict on `text` and all its continuations by up to `more` pieces; returns how many are addresses.
    fn compare(text: &mut [u8; 64], len: usize, more: usize) -> usize {
        let whole = &text[..len];
        let theirs = core::str::from_utf8(whole).unwrap().parse::<Ipv6Addr>().is_ok();
        assert_eq!(is_ipv6(whole), theirs, "{:?}", core::str::from_utf8(whole));
        let mut found = usize::from(theirs);
        if more > 0 {
            for piece in [
                "::",
                ":",
                "7",
                "aBc0",
                "12345",
                "g",
                ".",
                "1.2.3.4",
                "255.249.10.99",
                "256.1.1.1",
                "01.0.0.0",
            ] {
                let end = len.saturating_add(piece.len());
                text[len..end].copy_from_slice(piece.as_bytes());
                found = found.saturating_add(compare(text, end, more.saturating_sub(1)));
            }
        }
        found
    }

    #[test]
    #[cfg_attr(
        all(feature = "small", not(feature = "std")),
        ignore = "small: only the characters of an address are checked"
    )]
    fn judges_as_the_core_library() {
        assert!(compare(&mut [0; 64], 0, 4) > 20);
        // With so many groups in front that the last pieces decide.
        for front in ["1:2:3:4:5:", "::1:2:3:4:", "1:2::3:4:5:6", "1:2:3:4:5:6:7"] {
            let mut text = [0; 64];
            text[..front.len()].copy_from_slice(front.as_bytes());
            assert!(compare(&mut text, front.len(), 3) > 0);
        }
    }
}
