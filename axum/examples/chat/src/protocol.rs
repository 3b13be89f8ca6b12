//! What a page and the server say to each other: JSON, one object in each text message.
//!
//! The ids of a room are consecutive numbers, so that two of them show whether a message is missing between them. They start at the
//! time at which the room began, in microseconds: a room that begins again, because its messages were lost, goes on with larger ids.

use sansocket_axum::Utf8Bytes;
use serde::{Deserialize, Serialize};

/// Messages in one answer.
pub(crate) const PAGE: usize = 50;
/// The longest name, room and client id, in bytes.
pub(crate) const MAX_NAME: usize = 64;
/// The longest text, in bytes.
pub(crate) const MAX_TEXT: usize = 4000;

/// The query of `/ws/ROOM`.
#[derive(Deserialize)]
pub(crate) struct Visit {
    /// The name that others see. Nobody checks it: there is no login.
    pub(crate) name: String,
    /// A random id that the page keeps secret, under which it numbers its messages.
    pub(crate) client: String,
    /// The last message that the page has.
    pub(crate) after: Option<u64>,
}

/// From a page.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Request {
    /// A message; the answer is `Taken`. A client's numbers rise, and a number that was taken before is not taken again.
    Say { n: u64, text: String },
    /// Asks for the newest messages between two ids; the answer is `History`.
    History { after: Option<u64>, before: Option<u64> },
}

/// To a page.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Reply<'a> {
    /// A new message in the room. One that was left out because the page reads slowly is announced by a `History`.
    Message(&'a Message),
    /// The newest messages between `after` and `before`, without these two: at the beginning, after a gap, and on request. An `after` of
    /// 0 stands for the beginning of the room.
    History {
        after: Option<u64>,
        before: Option<u64>,
        messages: &'a [Message],
        /// There are more of them: ask again, with the first of these as `before`.
        more: bool,
        /// There were more of them, which are not kept any longer.
        lost: bool,
    },
    /// Who is in the room: how many, and the first of their names.
    People { count: usize, names: &'a [String] },
    /// The message with this number is kept.
    Taken { n: u64 },
}

/// A message of a room.
#[derive(Clone, Serialize)]
pub(crate) struct Message {
    pub(crate) id: u64,
    pub(crate) from: String,
    pub(crate) text: String,
    /// Milliseconds since 1970.
    pub(crate) at: u64,
}

impl Reply<'_> {
    /// A page of history, and whether it is all that was asked for.
    pub(crate) fn history(after: Option<u64>, before: Option<u64>, messages: &[Message]) -> Reply<'_> {
        let first = messages.first().map(|message| message.id).or(before);
        let missing = match (after, first) {
            (Some(after), Some(first)) => first > after.saturating_add(1),
            _ => true,
        };
        let full = messages.len() == PAGE;
        Reply::History {
            after,
            before,
            messages,
            more: missing && full,
            lost: missing && !full && first.is_some() && after.is_some_and(|after| after > 0),
        }
    }

    pub(crate) fn json(&self) -> Utf8Bytes {
        serde_json::to_string(self).expect("a reply has only texts and numbers").into()
    }
}

impl Visit {
    pub(crate) fn is_valid(&self) -> bool {
        let name = self.name.trim();
        !name.is_empty() && name.len() <= MAX_NAME && is_word(&self.client)
    }
}

/// For names of rooms and ids of clients.
pub(crate) fn is_word(text: &str) -> bool {
    let word = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    word && (1..=MAX_NAME).contains(&text.len())
}
