//! What the methods of a blocking connection send.

#![forbid(unsafe_code)]

use alloc::string::String;
use alloc::vec::Vec;

use super::message_ref::MessageRef;
use super::owned::{CloseFrame, Message};
use crate::close::CloseCode;

/// A borrowed message of any kind, as [`blocking::WebSocket::send`](crate::blocking::WebSocket::send) takes it. Strings, bytes,
/// a [`MessageRef`] and a [`&Message`](Message) convert into it.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'m>(pub(crate) Frame<'m>);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Frame<'m> {
    Data(MessageRef<'m>),
    Ping(&'m [u8]),
    Pong(&'m [u8]),
    Close(Option<CloseCode>, &'m str),
}

impl<'m> From<&'m Message> for Outgoing<'m> {
    fn from(message: &'m Message) -> Self {
        Self(match message {
            Message::Text(text) => Frame::Data(MessageRef::Text(text)),
            Message::Binary(bytes) => Frame::Data(MessageRef::Binary(bytes)),
            Message::Ping(payload) => Frame::Ping(payload),
            Message::Pong(payload) => Frame::Pong(payload),
            Message::Close(frame) => {
                let (code, reason) = CloseFrame::split(frame.as_ref());
                Frame::Close(code, reason)
            }
        })
    }
}

impl<'m> From<MessageRef<'m>> for Outgoing<'m> {
    fn from(message: MessageRef<'m>) -> Self {
        Self(Frame::Data(message))
    }
}

impl<'m, const N: usize> From<&'m [u8; N]> for Outgoing<'m> {
    fn from(bytes: &'m [u8; N]) -> Self {
        MessageRef::from(bytes).into()
    }
}

/// Converts what converts into a [`MessageRef`].
macro_rules! from {
    ($($from:ty),+) => {$(
        impl<'m> From<&'m $from> for Outgoing<'m> {
            fn from(payload: &'m $from) -> Self {
                MessageRef::from(payload).into()
            }
        }
    )+};
}

from!(str, [u8], String, Vec<u8>);
