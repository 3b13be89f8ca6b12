//! The application of a hub, which decides about each request.

#![forbid(unsafe_code)]

use super::handed_over::HandedOver;
use super::session_info::SessionInfo;
use crate::arc::Arc;
use crate::config::base::Config;
use crate::handler::Handler;
use crate::handshake::{AcceptOptions, Refusal, Rejection, Request, Response};
use crate::session::Outcome;

/// Decides about each request that a hub receives: gives a WebSocket its [`Handler`], or responds.
///
/// A hub has one application, whose data all sessions share. [`Routes`](super::Routes) is an application that decides by
/// path and method. An application of one's own can have one type of handler, which needs no allocation.
///
/// ```
/// # #[cfg(feature = "mio")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sansocket::{Event, HandlerError, Handler, Outbox, blocking};
/// use sansocket::handshake::{Request, Response};
/// use sansocket::hub::{Application, HubSettings, MioServer, RequestAction, SessionInfo};
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
///             "/echo" => RequestAction::Serve(Echo),
///             "/" => RequestAction::Respond(Response::text(200, "hello\n")),
///             _ => RequestAction::Respond(Response::text(404, "not found\n")),
///         }
///     }
/// }
///
/// let server = MioServer::bind("127.0.0.1:0", HubSettings::default(), |_| App)?;
/// let address = server.address();
/// std::thread::spawn(|| server.run());
///
/// let mut client = blocking::connect(&format!("ws://{address}/echo"))?;
/// client.send("hello")?;
/// assert_eq!(client.recv()?, Some("hello".into()));
/// let refused = blocking::connect(&format!("ws://{address}/other")).err().unwrap();
/// assert_eq!(refused.response().map(|response| response.status), Some(404));
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "mio"))]
/// # fn main() {}
/// ```
pub trait Application: 'static {
    /// The handler of a connection. Its data belong to that connection.
    type Handler: Handler + 'static;

    /// Decides whether to serve a transport that was accepted, before its request has arrived. `false` drops the
    /// transport without a response. The default accepts all.
    fn accept(&mut self, session: &mut SessionInfo) -> bool {
        let _ = session;
        true
    }

    /// Decides about a request whose head has arrived.
    fn request<'s>(
        &'s mut self,
        session: &mut SessionInfo,
        request: &Request<'_>,
    ) -> RequestAction<'s, Self::Handler>;

    /// Responds to a request whose body has arrived, after [`RequestAction::ReadBody`]. The default responds with 404.
    ///
    /// The hub writes the body of the response from where it lies, at most 128 KiB in a turn: other sessions have their
    /// turns meanwhile, however large it is, and it is not copied.
    fn body(&mut self, session: &SessionInfo, request: &Request<'_>, body: &[u8]) -> Response<'static> {
        let _ = (session, request, body);
        Response::text(404, "not found\n")
    }

    /// Takes over a request with its transport, after [`RequestAction::HandOver`] or [`Decision::HandOver`](crate::handshake::Decision::HandOver). The hub has
    /// no session for it any more. The default drops the transport.
    fn handed_over(&mut self, session: &SessionInfo, request: HandedOver) {
        let _ = (session, request);
    }

    /// Called when the hub refuses a request, with the reason in [`Refusal::reason`]: the request cannot be read,
    /// came too late, found no place, or fails a check after what [`request`](Self::request) or the handler decided;
    /// also for [`RequestAction::Reject`]. Not called for a [`Response`]. Called at most once for each request; the
    /// place to log it. `request` is `None` if none can be read, and for
    /// [`Rejection::Internal`](crate::handshake::Rejection::Internal).
    fn refused(&mut self, session: &SessionInfo, request: Option<&Request<'_>>, refusal: &Refusal) {
        let _ = (session, request, refusal);
    }

    /// Called when a session has ended, after [`Handler::closed`], also when the hub is dropped. `outcome` is `None`
    /// if the handler has panicked.
    fn ended(&mut self, session: &SessionInfo, outcome: Option<Outcome>) {
        let _ = (session, outcome);
    }
}

/// What an [`Application`] does with a request.
#[derive(Debug)]
#[non_exhaustive]
pub enum RequestAction<'s, H> {
    /// Serves a connection with this handler. The handler decides next ([`Handler::request`]), and may still refuse.
    Serve(H),
    /// Accepts a connection with this handler. [`Handler::request`] is not called.
    Accept(H, AcceptOptions<'s, Arc<Config>>),
    /// Responds at once, and does not read the body of the request.
    Respond(Response<'s>),
    /// Reads the body of the request, at most this many bytes; the response to a longer one is 413. Then the hub calls
    /// [`Application::body`], also for a request without a body.
    ///
    /// The hub does not check the [`OriginPolicy`](crate::handshake::OriginPolicy) of the page that sends the request,
    /// unlike that of a WebSocket: check it for a request that changes something.
    ///
    /// The hub reserves memory for the whole body as soon as its length is known, so that no byte is moved; if there
    /// is none the response is 503. The limit is therefore what each session can claim.
    ReadBody(usize),
    /// Gives the request with its transport to [`Application::handed_over`].
    HandOver,
    /// Responds with one of the server's own refusals, and calls [`Application::refused`].
    Reject(Rejection),
}

/// Formats the action without its handler, which may have no format.
#[cfg(feature = "defmt")]
impl<H> defmt::Format for RequestAction<'_, H> {
    fn format(&self, f: defmt::Formatter<'_>) {
        match self {
            Self::Serve(_) => defmt::write!(f, "Serve(..)"),
            Self::Accept(..) => defmt::write!(f, "Accept(..)"),
            Self::Respond(response) => defmt::write!(f, "Respond({=u16}, ..)", response.status()),
            Self::ReadBody(limit) => defmt::write!(f, "ReadBody({=usize})", limit),
            Self::HandOver => defmt::write!(f, "HandOver"),
            Self::Reject(rejection) => defmt::write!(f, "Reject({})", rejection),
        }
    }
}
