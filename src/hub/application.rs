//! What a hub serves.

#![forbid(unsafe_code)]

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::handle::Client;
use crate::config::Config;
use crate::handler::{Handler, Outcome};
use crate::handshake::{Accept, Answer, Body, Refusal, Request, Response, is_bodiless};

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

    /// A session has ended; `None` where its handler panicked. A connection's handler has been told before. Also called
    /// where the hub is dropped.
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
    Accept(H, Accept<'s, Arc<Config>>),
    /// An answer at once, or none: [`Answer::Reject`], [`Answer::Respond`] and [`Answer::HandOver`]. An [`Answer::Accept`] has
    /// no handler, and becomes 500.
    Answer(Answer<'s>),
    /// An answer at once.
    Page(Page),
    /// The request's body is received first, at most so many bytes of it, beyond which the answer is 413; then
    /// [`Application::exchange`] is asked. For requests without a body as well, where their answer is made.
    ///
    /// The [`Origin`](crate::handshake::Origin) of the page that asks is not checked here, unlike that of a WebSocket: check it
    /// where a request changes something.
    ///
    /// Memory for the whole body is reserved as soon as its length is known, so that it is received without being moved; where
    /// there is none the answer is 503. The limit is therefore what each session can claim.
    Body(usize),
}

/// An answer that owns its body; it closes the connection.
///
/// The body is written from where it lies, at most 64 KiB in a turn of the hub: however large it is, other sessions have
/// their turns meanwhile, and it is never copied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// The status code, 200 to 599.
    pub status: u16,
    /// Fields beside `Content-Length` and `Connection`.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Cow<'static, [u8]>,
}

impl Page {
    /// A page of plain text, of which it makes a copy.
    #[must_use]
    pub fn text(status: u16, body: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body)
    }

    /// A page of this content type. A `Vec<u8>` or a `String` is taken as it is, a borrowed body is copied;
    /// [`from_static`](Self::from_static) spares that copy.
    #[must_use]
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::with_body(status, content_type, Cow::Owned(body.into()))
    }

    /// A page of this content type, whose body is not copied: a file that is part of the program.
    #[must_use]
    pub fn from_static(status: u16, content_type: &str, body: &'static [u8]) -> Self {
        Self::with_body(status, content_type, Cow::Borrowed(body))
    }

    fn with_body(status: u16, content_type: &str, body: Cow<'static, [u8]>) -> Self {
        Self { status, headers: alloc::vec![("Content-Type".into(), content_type.into())], body }
    }

    /// Status, head and body as they go out. An answer that cannot be written becomes 500.
    pub(super) fn encode(self, to_head: bool) -> (u16, Vec<u8>, Cow<'static, [u8]>) {
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let fields: usize = headers
            .iter()
            .map(|(name, value)| name.len().saturating_add(value.len()).saturating_add(4))
            .sum();
        let body = Body::Copied(&self.body);
        match head(&Response { status: self.status, headers: &headers, body }, fields) {
            Some(head) if to_head || is_bodiless(self.status) => (self.status, head, Cow::Borrowed(&[])),
            Some(head) => (self.status, head, self.body),
            None => (500, head(&Response::text(500, ""), 0).unwrap_or_default(), Cow::Borrowed(&[])),
        }
    }
}

/// The head of an answer, whose own fields take so many bytes.
fn head(response: &Response<'_>, fields: usize) -> Option<Vec<u8>> {
    let mut bytes = alloc::vec![0; fields.saturating_add(256)];
    // What is written in answer to HEAD.
    let (len, _) = response.write(&mut bytes, true).ok()?;
    bytes.truncate(len);
    Some(bytes)
}
