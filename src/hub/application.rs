//! What a hub serves.

#![forbid(unsafe_code)]

use alloc::string::String;
use alloc::vec::Vec;

use super::handle::Client;
use crate::handler::{Handler, Outcome};
use crate::handshake::{Accept, Answer, Refusal, Request, Response};

/// What a hub serves: it gives each connection its [`Handler`], and answers other requests. Its own data are the hub's.
pub trait Application<S>: 'static {
    /// What is done on a connection. Its data are the connection's.
    type Handler: Handler;

    /// A transport was accepted; whether it is welcome. Otherwise it is dropped without a word.
    fn accept(&mut self, client: &mut Client) -> bool {
        let _ = client;
        true
    }

    /// A request is here.
    fn request<'s>(&'s mut self, client: &mut Client, request: &Request<'_>) -> Choice<'s, Self::Handler>;

    /// A request is here with its body, for which [`Choice::Body`] has asked.
    fn exchange(&mut self, client: &Client, request: &Request<'_>, body: &[u8]) -> Page {
        let _ = (client, request, body);
        Page::text(404, "not found\n")
    }

    /// A request that belongs to somebody else ([`Answer::HandOver`]), with all the bytes that came; it is no session of
    /// the hub's any more. By default the transport is dropped.
    fn hand_over(&mut self, client: &Client, socket: S, received: Vec<u8>) {
        let _ = (client, socket, received);
    }

    /// A request gets a refusal, for [`Refusal::reason`]: it cannot be read, came too late, found no place, or fails a
    /// check behind what [`request`](Self::request) or the handler answered; [`Answer::Reject`] too. Not called for a
    /// [`Page`] or an [`Answer::Respond`]. Called once at most for each request; the place to log it. `request` is `None`
    /// where there is none that can be read, and for [`Rejection::Internal`](crate::handshake::Rejection::Internal).
    fn refused(&mut self, client: &Client, request: Option<&Request<'_>>, refusal: &Refusal) {
        let _ = (client, request, refusal);
    }

    /// A session has ended; `None` where its handler panicked. A connection's handler has been told before.
    fn ended(&mut self, client: &Client, outcome: Option<Outcome>) {
        let _ = (client, outcome);
    }
}

/// What an application makes of a request.
#[derive(Debug)]
pub enum Choice<'s, H> {
    /// A connection: its handler is asked next ([`Handler::request`]), and may still refuse.
    Handler(H),
    /// The same, but accepted like this: its handler is not asked.
    Accept(H, Accept<'s>),
    /// An answer at once, or none: [`Answer::Reject`], [`Answer::Respond`] and [`Answer::HandOver`]. An [`Answer::Accept`] has no handler, and
    /// becomes 500.
    Answer(Answer<'s>),
    /// An answer at once, of its own memory.
    Page(Page),
    /// The request's body is received first, at most so many bytes of it, beyond which the answer is 413; then
    /// [`Application::exchange`] is asked. For requests without a body as well, where their answer is made.
    Body(usize),
}

/// An answer of its own memory; it closes the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The status code, 200 to 599.
    pub status: u16,
    /// Fields beside `Content-Length` and `Connection`.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Page {
    /// An answer of plain text.
    #[must_use]
    pub fn text(status: u16, body: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body)
    }

    /// An answer of this type.
    #[must_use]
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: alloc::vec![("Content-Type".into(), content_type.into())], body: body.into() }
    }

    /// Status, and head and body as they go out. An answer that cannot be written becomes 500.
    pub(super) fn encode(&self, to_head: bool) -> (u16, Vec<u8>) {
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let fields: usize = headers
            .iter()
            .map(|(name, value)| name.len().saturating_add(value.len()).saturating_add(4))
            .sum();
        let body = crate::handshake::Body::Copied(&self.body);
        let size = fields.saturating_add(self.body.len()).saturating_add(256);
        match write(&Response { status: self.status, headers: &headers, body }, size, to_head) {
            Some(bytes) => (self.status, bytes),
            None => (500, write(&Response::text(500, ""), 256, to_head).unwrap_or_default()),
        }
    }
}

fn write(response: &Response<'_>, size: usize, to_head: bool) -> Option<Vec<u8>> {
    let mut bytes = alloc::vec![0; size];
    let (len, _) = response.write(&mut bytes, to_head).ok()?;
    bytes.truncate(len);
    Some(bytes)
}
