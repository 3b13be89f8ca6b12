//! User and password of a URL as Basic authorization (RFC 7617).

#![forbid(unsafe_code)]

use std::format;
use std::string::String;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

/// The value of `Authorization` for the user information of a URL: percent-decoded, and UTF-8. `None` if it cannot be
/// sent:
///
/// > The user-id and password MUST NOT contain any control characters
///
/// > a user-id containing a colon character is invalid (§2)
pub(crate) fn authorization(userinfo: &str) -> Option<String> {
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let decode = |part| percent_decode_str(part).decode_utf8().ok();
    let (user, password) = (decode(user)?, decode(password)?);
    if user.contains(':') || user.chars().chain(password.chars()).any(char::is_control) {
        return None;
    }
    Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

#[cfg(test)]
mod tests {
    use super::authorization;

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
            (":", "Basic Og=="),
        ] {
            assert_eq!(authorization(userinfo).as_deref(), Some(value), "{userinfo}");
        }
        for userinfo in ["a%3Ab:c", "a%0d%0aX:b", "a:%00", "a:%FF", "a:%7f"] {
            assert_eq!(authorization(userinfo), None, "{userinfo}");
        }
    }
}
