//! The application of a hub: a handler for each connection, and answers to HTTP requests.

#![forbid(unsafe_code)]

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::handed_over::HandedOver;
use super::session_info::SessionInfo;
use crate::config::base::Config;
use crate::handler::Handler;
use crate::handshake::{AcceptOptions, Decision, Refusal, Request, Response, ResponseBody};
use crate::session::Outcome;

/// Gives each connection of a hub its [`Handler`], and answers other requests. Its data are shared by all sessions.
/// [`Routes`](super::Routes) is an application that decides by path and method.
///
/// ```
/// use sansocket::{Event, HandlerError, Handler, Outbox};
/// use sansocket::handshake::Request;
/// use sansocket::hub::{Application, RequestAction, SessionInfo, Page};
///
/// struct Echo;
///
/// impl Handler for Echo {
///     fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
///         match event {
///             Event::Data(data) => out.forward(&data),
///             _ => Ok(()),
///         }
///     }
/// }
///
/// struct App;
///
/// impl Application for App {
///     type Handler = Echo;
///
///     fn request<'s>(&'s mut self, _: &mut SessionInfo, request: &Request<'_>) -> RequestAction<'s, Echo> {
///         match request.path() {
///             "/echo" => RequestAction::Handler(Echo),
///             "/" => RequestAction::Page(Page::text(200, "hello\n")),
///             _ => RequestAction::Page(Page::text(404, "not found\n")),
///         }
///     }
/// }
///
/// # use std::sync::{Arc, Mutex};
/// # use sansocket::Instant;
/// # use sansocket::hub::HubSettings;
/// # use sansocket::hub::driver::{Hub, HubSocket, Monitor, Shared, SocketFailed};
/// # struct Tcp(&'static [u8], Arc<Mutex<Vec<u8>>>);
/// # impl HubSocket for Tcp {
/// #     fn recv(&mut self, into: &mut [u8]) -> Result<Option<usize>, SocketFailed> {
/// #         let (now, later) = self.0.split_at(into.len().min(self.0.len()));
/// #         into[..now.len()].copy_from_slice(now);
/// #         self.0 = later;
/// #         Ok(Some(now.len()).filter(|n| *n > 0))
/// #     }
/// #     fn send(&mut self, bytes: &[u8], more: &[u8]) -> Result<Option<usize>, SocketFailed> {
/// #         let bytes = if bytes.is_empty() { more } else { bytes };
/// #         self.1.lock().unwrap().extend(bytes);
/// #         Ok(Some(bytes.len()))
/// #     }
/// #     fn shutdown(&mut self) -> Result<(), SocketFailed> { Ok(()) }
/// # }
/// # struct Driver(Mutex<Shared>);
/// # impl Monitor for Driver {
/// #     fn lock(&self, use_it: &mut dyn FnMut(&mut Shared)) { use_it(&mut self.0.lock().unwrap()) }
/// #     fn wake(&self) {}
/// # }
/// # fn get(path: &'static [u8]) -> Vec<u8> {
/// #     let driver = Arc::new(Driver(Mutex::default()));
/// #     let mut hub = Hub::new(HubSettings::default(), driver, |_| App).unwrap();
/// #     let answer = Arc::new(Mutex::default());
/// #     let peer = ([127, 0, 0, 1], 1).into();
/// #     assert!(hub.accept(Instant::START, Tcp(path, Arc::clone(&answer)), peer).is_ok());
/// #     for _ in 0..4 { hub.run(Instant::START); }
/// #     let answer = answer.lock().unwrap();
/// #     answer.clone()
/// # }
/// let answer = get(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
/// assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
/// assert!(answer.ends_with(b"hello\n"));
/// ```
pub trait Application: 'static {
    /// The handler of a connection. Its data belong to that connection.
    type Handler: Handler + 'static;

    /// Decides whether to serve a transport that was accepted, before its request has arrived. It may set
    /// [`SessionInfo::tag`]. `false` drops the transport without an answer. The default accepts all.
    fn accept(&mut self, client: &mut SessionInfo) -> bool {
        let _ = client;
        true
    }

    /// Answers a request whose head has arrived.
    fn request<'s>(
        &'s mut self,
        client: &mut SessionInfo,
        request: &Request<'_>,
    ) -> RequestAction<'s, Self::Handler>;

    /// Answers a request whose body has arrived, after [`RequestAction::Body`]. The default answers 404.
    fn exchange(&mut self, client: &SessionInfo, request: &Request<'_>, body: &[u8]) -> Page {
        let _ = (client, request, body);
        Page::text(404, "not found\n")
    }

    /// Takes over a request with its transport, after [`Decision::HandOver`]. The hub has no session for it any more.
    /// The default drops the transport.
    fn handed_over(&mut self, session: &SessionInfo, request: HandedOver) {
        let _ = (session, request);
    }

    /// Called when the hub refuses a request, with the reason in [`Refusal::reason`]: the request cannot be read,
    /// came too late, found no place, or fails a check after what [`request`](Self::request) or the handler answered;
    /// also for [`Decision::Reject`]. Not called for a [`Page`] or an [`Decision::Respond`]. Called at most once for each
    /// request; the place to log it. `request` is `None` if none can be read, and for
    /// [`Rejection::Internal`](crate::handshake::Rejection::Internal).
    fn refused(&mut self, client: &SessionInfo, request: Option<&Request<'_>>, refusal: &Refusal) {
        let _ = (client, request, refusal);
    }

    /// Called when a session has ended, after [`Handler::closed`], also when the hub is dropped. `outcome` is `None`
    /// if the handler has panicked.
    fn ended(&mut self, client: &SessionInfo, outcome: Option<Outcome>) {
        let _ = (client, outcome);
    }
}

/// The application's decision about a request.
#[derive(Debug)]
pub enum RequestAction<'s, H> {
    /// Serves a connection with this handler. The handler decides next ([`Handler::request`]), and may still refuse.
    Handler(H),
    /// Accepts a connection with this handler. [`Handler::request`] is not called.
    Accept(H, AcceptOptions<'s, Arc<Config>>),
    /// Answers at once, or hands over: [`Decision::Reject`], [`Decision::Respond`] and [`Decision::HandOver`]. An
    /// [`Decision::Accept`] has no handler, and becomes 500.
    Answer(Decision<'s>),
    /// Answers with a page at once.
    Page(Page),
    /// Receives the request's body first, at most this many bytes; the answer to a longer one is 413. Then the hub
    /// calls [`Application::exchange`], also for a request without a body.
    ///
    /// The hub does not check the [`OriginPolicy`](crate::handshake::OriginPolicy) of the page that sends the request, unlike
    /// that of a WebSocket: check it for a request that changes something.
    ///
    /// The hub reserves memory for the whole body as soon as its length is known, so that no byte is moved; if there
    /// is none the answer is 503. The limit is therefore what each session can claim.
    Body(usize),
}

/// An HTTP response that owns its body. The connection closes after it.
///
/// The hub writes the body from where it lies, at most 64 KiB in a turn: other sessions have their turns meanwhile,
/// however large it is, and it is never copied.
///
/// ```
/// use sansocket::hub::Page;
///
/// let mut page = Page::new(200, "application/json", r#"{"up":true}"#);
/// page.headers.push(("Cache-Control".into(), "no-store".into()));
/// assert_eq!(page.headers[0], ("Content-Type".into(), "application/json".into()));
/// assert_eq!(*page.body, *br#"{"up":true}"#);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// The status code, 200 to 599. Another becomes 500.
    pub status: u16,
    /// Header fields beside `Content-Length` and `Connection`, which the hub writes. A field that cannot be written
    /// makes the answer 500.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Cow<'static, [u8]>,
}

impl Page {
    /// Makes a page of plain text, with a copy of `body`.
    #[must_use]
    pub fn text(status: u16, body: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body)
    }

    /// Makes a page of this content type. Takes over a `Vec<u8>` or a `String`, and copies a borrowed body;
    /// [`from_static`](Self::from_static) avoids that copy.
    #[must_use]
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::with_body(status, content_type, Cow::Owned(body.into()))
    }

    /// Makes a page of this content type whose body is not copied, such as a file that is part of the program.
    #[must_use]
    pub fn from_static(status: u16, content_type: &str, body: &'static [u8]) -> Self {
        Self::with_body(status, content_type, Cow::Borrowed(body))
    }

    fn with_body(status: u16, content_type: &str, body: Cow<'static, [u8]>) -> Self {
        Self { status, headers: alloc::vec![("Content-Type".into(), content_type.into())], body }
    }

    /// Returns status, head and body as they are written. An answer that cannot be written becomes 500.
    pub(super) fn encode(self, to_head: bool) -> (u16, Vec<u8>, Cow<'static, [u8]>) {
        let response = Response::empty(self.status).with_body(match self.body {
            Cow::Borrowed(body) => ResponseBody::Static(body),
            Cow::Owned(body) => ResponseBody::Owned(body),
        });
        let with =
            |response: Response<'static>, (name, value): (String, String)| response.with_header(name, value);
        self.headers.into_iter().fold(response, with).encode(to_head)
    }
}
