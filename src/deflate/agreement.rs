//! The negotiation of permessage-deflate (RFC 7692 §5, §7.1).

#![forbid(unsafe_code)]

use super::options::DeflateOptions;
use crate::handshake::{ExtensionList, ExtensionText, ExtensionValue, HandshakeError, ListedExtension};

const NAME: &str = "permessage-deflate";
const SERVER_NO_CONTEXT: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT: &str = "client_no_context_takeover";
const SERVER_BITS: &str = "server_max_window_bits";
const CLIENT_BITS: &str = "client_max_window_bits";

/// What client and server have agreed upon (RFC 7692 §7.1).
///
/// ```
/// use sansocket::Config;
/// use sansocket::deflate::{Agreement, DeflateOptions};
/// use sansocket::handshake::{ExtensionList, ExtensionText, Rejection, Request};
///
/// let head = b"GET / HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
/// let list = ExtensionList::new(Request::parse(head, &Config::DEFAULT)?.headers());
/// let (options, mut answer) = (DeflateOptions::new().context(true), ExtensionText::EMPTY);
///
/// let agreement = Agreement::accept(&options, list, &mut answer).unwrap();
/// assert_eq!((agreement.server.window_bits, agreement.client.window_bits), (12, 15));
/// assert_eq!(answer.as_str(), Some("permessage-deflate; server_max_window_bits=12"));
/// # Ok::<_, Rejection>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// What the server sends.
    pub server: Direction,
    /// What the client sends.
    pub client: Direction,
}

/// What one side may do in the messages that it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direction {
    /// Whether a message may refer to earlier ones.
    pub context: bool,
    /// The largest window has 2 to the power of this many bytes: 8 to 15.
    pub window_bits: u8,
}

impl Agreement {
    /// Server: accepts the first offer that `options` allow, and writes the answer. `None`: all offers are declined, and nothing is
    /// written.
    #[must_use]
    pub fn accept(
        options: &DeflateOptions,
        list: ExtensionList<'_>,
        answer: &mut ExtensionText,
    ) -> Option<Self> {
        // A malformed element is declined as an offer that is not known is.
        let offers = list.filter_map(Result::ok).filter(|offer| offer.name() == NAME);
        let (agreement, params) = offers.filter_map(|offer| Self::of_offer(options, &offer)).next()?;
        let Self { server, client } = agreement;
        answer.push(NAME);
        push_if(answer, !server.context, SERVER_NO_CONTEXT);
        push_if(answer, !client.context, CLIENT_NO_CONTEXT);
        // An offer with this parameter is accepted by including it "with the same or smaller value" (§7.1.2.1); without it, the
        // answer may have it all the same.
        let told = params.server_bits.is_some() || server.window_bits < 15;
        push_bits(answer, SERVER_BITS, told.then_some(server.window_bits));
        // The answer must not have this one unless the offer has it (§7.1.2.2): then the window is of 15 bits.
        push_bits(answer, CLIENT_BITS, (client.window_bits < 15).then_some(client.window_bits));
        Some(agreement)
    }

    /// Client: writes the offer.
    pub fn offer(options: &DeflateOptions, offer: &mut ExtensionText) {
        let options = options.checked();
        offer.push(NAME);
        push_if(offer, !options.receive_context, SERVER_NO_CONTEXT);
        push_if(offer, !options.send_context, CLIENT_NO_CONTEXT);
        let (receive, send) = (options.receive_window_bits, options.send_window_bits);
        push_bits(offer, SERVER_BITS, (receive < 15).then_some(receive));
        if send < 15 {
            push_bits(offer, CLIENT_BITS, Some(send));
        } else {
            push_if(offer, true, CLIENT_BITS);
        }
    }

    /// Client: reads the answer to [`offer`](Self::offer) with the same options. `None`: the server declines.
    ///
    /// # Errors
    /// [`HandshakeError::Extension`] if the server chose another extension, or several;
    /// [`HandshakeError::ExtensionParameters`] if the answer is malformed, or does not match the offer.
    pub fn confirm(
        options: &DeflateOptions,
        mut list: ExtensionList<'_>,
    ) -> Result<Option<Self>, HandshakeError> {
        let options = options.checked();
        let Some(answer) = list.next() else { return Ok(None) };
        let answer = answer.map_err(|_| HandshakeError::ExtensionParameters)?;
        if answer.name() != NAME || list.next().is_some() {
            return Err(HandshakeError::Extension);
        }
        let params = Params::read(&answer).ok_or(HandshakeError::ExtensionParameters)?;
        let (receive, send) = (options.receive_window_bits, options.send_window_bits);
        // A server accepts either parameter of an offer by including it (§7.1.1.1, §7.1.2.1).
        let context = options.receive_context || params.server_no_context;
        let window = params.server_bits.map_or(receive == 15, |bits| bits <= receive);
        // In a response this parameter has a value, which is the same or smaller (§7.1.2.2).
        let own_window = match params.client_bits {
            None => true,
            Some(None) => false,
            Some(Some(bits)) => bits <= send,
        };
        if !context || !window || !own_window {
            return Err(HandshakeError::ExtensionParameters);
        }
        let server = Direction {
            context: options.receive_context && !params.server_no_context,
            window_bits: params.server_bits.unwrap_or(receive),
        };
        let client = Direction {
            context: options.send_context && !params.client_no_context,
            window_bits: params.client_bits.flatten().unwrap_or(send),
        };
        Ok(Some(Self { server, client }))
    }

    fn of_offer(options: &DeflateOptions, offer: &ListedExtension<'_>) -> Option<(Self, Params)> {
        let options = options.checked();
        let params = Params::read(offer)?;
        let receive = options.receive_window_bits;
        let server = Direction {
            context: options.send_context && !params.server_no_context,
            window_bits: options.send_window_bits.min(params.server_bits.unwrap_or(15)),
        };
        let client = Direction {
            context: options.receive_context && !params.client_no_context,
            window_bits: match params.client_bits {
                Some(most) => receive.min(most.unwrap_or(15)),
                // This client cannot be told to use a smaller window.
                None if receive < 15 => return None,
                None => 15,
            },
        };
        Some((Self { server, client }, params))
    }
}

/// The parameters of an offer or of an answer.
#[derive(Clone, Copy, Debug, Default)]
struct Params {
    server_no_context: bool,
    client_no_context: bool,
    server_bits: Option<u8>,
    client_bits: Option<Option<u8>>,
}

impl Params {
    /// Reads the parameters; `None` if one is unknown, occurs twice, or has a value that is not allowed: a server
    /// declines such an offer, and "A client MUST _Fail the WebSocket Connection_" at such a response (§7.1).
    fn read(extension: &ListedExtension<'_>) -> Option<Self> {
        let mut params = Self::default();
        for param in extension.params() {
            let twice = match param.name {
                SERVER_NO_CONTEXT => core::mem::replace(&mut params.server_no_context, param.value.is_none()),
                CLIENT_NO_CONTEXT => core::mem::replace(&mut params.client_no_context, param.value.is_none()),
                SERVER_BITS => params.server_bits.replace(bits(param.value?)?).is_some(),
                CLIENT_BITS => {
                    let bits = match param.value {
                        Some(value) => Some(bits(value)?),
                        None => None,
                    };
                    params.client_bits.replace(bits).is_some()
                }
                _ => return None,
            };
            let flag = matches!(param.name, SERVER_NO_CONTEXT | CLIENT_NO_CONTEXT);
            if twice || flag && param.value.is_some() {
                return None;
            }
        }
        Some(params)
    }
}

/// Reads "a decimal integer value without leading zeroes between 8 to 15, inclusive" (§7.1.2.1).
fn bits(value: ExtensionValue<'_>) -> Option<u8> {
    let mut digits = value.bytes();
    match (digits.next()?, digits.next(), digits.next()) {
        (digit @ b'8'..=b'9', None, _) => Some(digit.wrapping_sub(b'0')),
        (b'1', Some(digit @ b'0'..=b'5'), None) => Some(digit.wrapping_sub(b'0').wrapping_add(10)),
        _ => None,
    }
}

fn push_if(text: &mut ExtensionText, condition: bool, param: &str) {
    if condition {
        text.push("; ");
        text.push(param);
    }
}

fn push_bits(text: &mut ExtensionText, param: &str, bits: Option<u8>) {
    const DIGITS: [&str; 8] = ["=8", "=9", "=10", "=11", "=12", "=13", "=14", "=15"];
    let value = bits.and_then(|bits| DIGITS.get(usize::from(bits).wrapping_sub(8)));
    push_if(text, value.is_some(), param);
    text.push(value.copied().unwrap_or_default());
}
