//! User and password of a URL as Basic authorization (RFC 7617).

#![forbid(unsafe_code)]

use core::iter::{from_fn, once};

use super::head::cut;
use super::head_writer::{HeadError, Writer};
use super::key::encode;
use crate::utf8::Utf8Validator;

/// Writes the value of the header field `Authorization` for a user and a password into `memory`, and returns it. It takes
/// `"Basic "`, and 4 bytes for each 3 of user, colon and password.
///
/// `userinfo` is what [`WsUrl::userinfo`](super::WsUrl::userinfo) returns: user and password with a colon between them,
/// percent-encoded. A client on a host sends it by itself.
///
/// ```
/// use sansocket::handshake::{ClientRequest, basic_authorization};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut memory = [0; 64];
/// let authorization = basic_authorization("Aladdin:open%20sesame", &mut memory)?;
/// assert_eq!(authorization, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="); // RFC 7617 §2
/// let headers = [("Authorization", authorization)];
/// let request = ClientRequest::parse("wss://example.com/")?.headers(&headers);
/// # let _ = request;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`HeadError::TooLarge`] if `memory` is too small; [`HeadError::Header`] if user or password cannot be sent: they have a
/// control character, are not UTF-8, or the user has a colon.
pub fn basic_authorization<'m>(userinfo: &str, memory: &'m mut [u8]) -> Result<&'m str, HeadError> {
    let (user, password) = cut(userinfo, b':').unwrap_or((userinfo, ""));
    let mut value = Writer::new(&mut *memory);
    // "a user-id containing a colon character is invalid" (§2)
    value.fail_unless(percent_decoded(user).all(|byte| byte != b':'), HeadError::Header).text("Basic ");
    let mut bytes = percent_decoded(user).chain(once(b':')).chain(percent_decoded(password));
    let (mut utf8, mut before) = (Utf8Validator::NEW, 0);
    loop {
        let (mut group, mut len) = ([0; 3], 0usize);
        for (slot, byte) in group.iter_mut().zip(bytes.by_ref()) {
            // "The user-id and password MUST NOT contain any control characters" (§2): neither those of ASCII, nor U+0080 to
            // U+009F.
            let control = byte < b' ' || byte == 0x7F || (before == 0xC2 && matches!(byte, 0x80..=0x9F));
            value.fail_unless(!control && utf8.feed(&[byte]).is_ok(), HeadError::Header);
            (*slot, before) = (byte, byte);
            len = len.saturating_add(1);
        }
        if len == 0 {
            break;
        }
        let mut digits = [0; 4];
        encode(group.get(..len).unwrap_or_default(), &mut digits);
        value.text(core::str::from_utf8(&digits).unwrap_or_default());
    }
    let len = value.fail_unless(utf8.incomplete() == 0, HeadError::Header).finish()?;
    Ok(memory.get(..len).and_then(|value| core::str::from_utf8(value).ok()).unwrap_or_default())
}

/// Decodes percent-encoding (RFC 3986 §2.1). A percent sign without two digits stands for itself.
fn percent_decoded(text: &str) -> impl Iterator<Item = u8> {
    let mut rest = text.as_bytes();
    from_fn(move || {
        let decoded = match rest {
            [b'%', high, low, tail @ ..] => {
                hex(*high).zip(hex(*low)).map(|(high, low)| (high << 4 | low, tail))
            }
            _ => None,
        };
        let (byte, tail) = decoded.or_else(|| rest.split_first().map(|(byte, tail)| (*byte, tail)))?;
        rest = tail;
        Some(byte)
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_are_decoded_and_encoded() {
        for (userinfo, value) in [
            // RFC 7617 §2 and §2.1.
            ("Aladdin:open%20sesame", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ("test:123%C2%A3", "Basic dGVzdDoxMjPCow=="),
            ("user", "Basic dXNlcjo="),
            ("user:", "Basic dXNlcjo="),
            ("user:a:b", "Basic dXNlcjphOmI="),
            ("user:a%3Ab", "Basic dXNlcjphOmI="),
            ("user:50%", "Basic dXNlcjo1MCU="),
            ("user:%4", "Basic dXNlcjolNA=="),
            ("user:%g0", "Basic dXNlcjolZzA="),
            (":", "Basic Og=="),
        ] {
            let mut memory = [0; 64];
            assert_eq!(basic_authorization(userinfo, &mut memory), Ok(value), "{userinfo}");
            for short in 0..value.len() {
                let memory = memory.get_mut(..short).unwrap_or_default();
                assert_eq!(
                    basic_authorization(userinfo, memory),
                    Err(HeadError::TooLarge),
                    "{userinfo}, {short}"
                );
            }
            let memory = memory.get_mut(..value.len()).unwrap_or_default();
            assert_eq!(basic_authorization(userinfo, memory), Ok(value), "{userinfo}");
        }
    }

    #[test]
    fn what_cannot_be_sent_is_an_error() {
        for userinfo in ["a%3Ab:c", "a%0d%0aX:b", "a:%00", "a:%FF", "a:%C3", "a:%C3%", "a:%7f", "a:%C2%85"] {
            assert_eq!(basic_authorization(userinfo, &mut [0; 64]), Err(HeadError::Header), "{userinfo}");
        }
    }
}
