//! An application that decides by path and method.

#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use super::application::{Application, RequestAction};
use super::handed_over::HandedOver;
use super::pattern::{Pattern, Rank};
use super::session_info::SessionInfo;
use crate::arc::Arc;
use crate::config::base::Config;
use crate::handler::{Handler, MessageHandler};
use crate::handshake::{AcceptOptions, OriginPolicy, Refusal, Rejection, Request, Response};
use crate::message::WholeMessages;
use crate::session::Outcome;

/// An [`Application`] that decides by path and method: WebSockets, ordinary HTTP, and requests that are handed over,
/// side by side.
///
/// ```
/// # #[cfg(feature = "mio")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sansocket::handshake::{OriginPolicy, Response};
/// use sansocket::hub::Routes;
/// use sansocket::{HandlerError, MessageHandler, MessageRef, Outbox};
/// # use sansocket::{blocking, hub::MioServer};
///
/// /// Responds to each message with the name of the room.
/// struct Room(String);
///
/// impl MessageHandler for Room {
///     fn message(&mut self, _: MessageRef<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
///         Ok(out.send(&self.0)?)
///     }
/// }
///
/// fn routes() -> Routes {
///     Routes::new()
///         .messages("/rooms/*", |_, request| match request.query_value("token") {
///             Some("valid") => Ok(Room(request.path().into())),
///             _ => Err(Response::text(401, "the token is missing or wrong\n")),
///         })
///         .get("/status", |_, _| Response::json(200, r#"{"up":true}"#))
///         .post("/echo", 1024, |_, _, body| Response::new(200, "application/octet-stream", body.to_vec()))
///         .origin(OriginPolicy::List(&["https://app.example.com"])) // for `/echo`
/// }
///
/// # let server = MioServer::bind("127.0.0.1:0", Default::default(), |_| routes())?;
/// # let address = server.address();
/// # std::thread::spawn(|| server.run());
/// let mut client = blocking::connect(&format!("ws://{address}/rooms/blue?token=valid"))?;
/// client.send("which room?")?;
/// assert_eq!(client.recv()?, Some("/rooms/blue".into()));
/// let refused = blocking::connect(&format!("ws://{address}/rooms/blue")).err().unwrap();
/// assert_eq!(refused.response().map(|response| response.status), Some(401));
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "mio"))]
/// # fn main() {}
/// ```
///
/// # Patterns
///
/// A pattern is a path that may end with the wildcards of ESP-IDF: `/*` matches every path that begins with `/`,
/// `/a?` matches `/` with or without the `a`, and `/a?*` matches `/`, `/a`, and every path that begins with `/a`. The
/// query is not part of the path.
///
/// The most specific pattern that matches a path counts, in whatever order they were added: one without `*` before
/// one with, then the longer one. Among routes with that pattern the method decides, and then the order in which they
/// were added:
///
/// - an upgrade goes to a WebSocket, and to [`get`](Self::get) if there is none;
/// - HEAD goes to [`get`](Self::get), and its response has no body;
/// - the response to a GET for a path that has only a WebSocket is 426; to another method that no route takes it is 405
///   with `Allow`;
/// - [`hand_over`](Self::hand_over) takes every method. As `*` it takes every path that nothing else matches; without
///   it, the response to such a path is 404.
///
/// # Origins
///
/// By default a page of another origin must not change anything: the response to a request with a method that is not
/// safe (RFC 9110 §9.2.1), such as POST or DELETE, is 403 unless its `Origin` is of the server's own host, as for an
/// upgrade ([`OriginPolicy::SameHost`]). A request without `Origin` does not come from a browser, and is accepted.
/// [`origin`](Self::origin) changes that for a route.
///
/// # Data
///
/// The functions of a route own or share the data of the route. The handler keeps the data of a session, also its path
/// and query. A function of a WebSocket can set the [tag](SessionInfo::set_tag) of the session, for a room or a user,
/// so that a broadcast can select sessions.
///
/// # Changes
///
/// Routes can be added and removed while the hub runs: [`HubContext::application`](super::HubContext::application)
/// returns them for [`merge`](Self::merge) and [`remove`](Self::remove).
///
/// ```
/// # #[cfg(feature = "mio")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sansocket::handshake::Response;
/// use sansocket::hub::{HandleError, HubHandle, Routes};
///
/// fn announce(hub: &HubHandle) -> Result<(), HandleError> {
///     hub.call(|hub| {
///         let Some(routes) = hub.application::<Routes>() else { return };
///         routes.remove("/news");
///         routes.merge(Routes::new().get("/news", |_, _| Response::text(200, "a new route\n")));
///     })
/// }
///
/// # let old = Routes::new().get("/news", |_, _| Response::text(200, "an old route\n"));
/// # let server = sansocket::hub::MioServer::bind("127.0.0.1:0", Default::default(), |_| old)?;
/// # let (url, hub) = (format!("ws://{}/news", server.address()), server.handle());
/// # std::thread::spawn(|| server.run());
/// # // The response to an upgrade is a page too, as the path has no WebSocket.
/// # let news = || sansocket::blocking::connect(&url).err().unwrap().response().unwrap().body.clone();
/// assert_eq!(news(), b"an old route\n");
/// announce(&hub)?;
/// assert_eq!(news(), b"a new route\n");
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "mio"))]
/// # fn main() {}
/// ```
pub struct Routes {
    /// Sorted: the most specific first.
    routes: Vec<Route>,
    /// The number that was given last.
    last: u32,
    on_accept: Option<OnAccept>,
    on_refuse: Option<OnRefuse>,
    on_end: Option<OnEnd>,
}

struct Route {
    /// Never given twice.
    number: u32,
    pattern: Pattern,
    /// The pages that may use the route.
    origin: OriginPolicy<'static>,
    action: Action,
}

enum Action {
    WebSocket(Option<AcceptOptions<'static, Arc<Config>>>, MakeHandler),
    /// The method, the most bytes of the body, and the function.
    Http(&'static str, usize, Respond),
    HandOver(TakeOver),
}

type MakeHandler = Box<
    dyn FnMut(&mut SessionInfo, &Request<'_>) -> Result<Box<dyn Handler + Send>, Response<'static>> + Send,
>;
type Respond = Box<dyn FnMut(&SessionInfo, &Request<'_>, &[u8]) -> Response<'static> + Send>;
type TakeOver = Box<dyn FnMut(&SessionInfo, HandedOver) + Send>;
type OnAccept = Box<dyn FnMut(&mut SessionInfo) -> bool + Send>;
type OnRefuse = Box<dyn FnMut(&SessionInfo, Option<&Request<'_>>, &Refusal) + Send>;
type OnEnd = Box<dyn FnMut(&SessionInfo, Option<Outcome>) + Send>;

/// Methods that return the routes with one added or changed.
impl Routes {
    /// Creates an application without routes, which responds to every request with 404.
    #[must_use]
    pub const fn new() -> Self {
        Self { routes: Vec::new(), last: 0, on_accept: None, on_refuse: None, on_end: None }
    }

    /// Adds a WebSocket. `make` sees the request before the response is sent, and returns the handler of the connection,
    /// or a response that refuses. The handler's [`request`](Handler::request) then decides how to accept.
    ///
    /// Key, version, origin and subprotocols are checked after `make`. So it may be called for a request that is
    /// refused later; the handler is dropped then. Put what concerns open connections only into [`Handler::opened`],
    /// which is called after the 101.
    #[must_use]
    pub fn websocket<H: Handler + Send + 'static>(
        self,
        pattern: &str,
        make: impl FnMut(&mut SessionInfo, &Request<'_>) -> Result<H, Response<'static>> + Send + 'static,
    ) -> Self {
        self.add(pattern, OriginPolicy::Any, Action::WebSocket(None, boxed(make)))
    }

    /// Adds a WebSocket as [`websocket`](Self::websocket), whose handler receives whole messages. A message that does not
    /// come in one piece is put together in a `Vec`, up to [`Limits::message`](crate::config::Limits::message) bytes. For subprotocols
    /// and other options, pass a [`WholeMessages`] to [`websocket_with`](Self::websocket_with).
    #[must_use]
    pub fn messages<H: MessageHandler + Send + 'static>(
        self,
        pattern: &str,
        mut make: impl FnMut(&mut SessionInfo, &Request<'_>) -> Result<H, Response<'static>> + Send + 'static,
    ) -> Self {
        self.websocket(pattern, move |session, request| {
            make(session, request).map(|handler| WholeMessages::new(handler, Vec::new()))
        })
    }

    /// Adds a WebSocket that accepts with the route's own subprotocols, origins, fields of the 101, limits, deadlines
    /// and control mode. The handler's [`request`](Handler::request) is not called. The origin is checked before
    /// `make`, which does not see requests from pages that are not allowed.
    #[must_use]
    pub fn websocket_with<H: Handler + Send + 'static>(
        self,
        pattern: &str,
        options: AcceptOptions<'static, Arc<Config>>,
        make: impl FnMut(&mut SessionInfo, &Request<'_>) -> Result<H, Response<'static>> + Send + 'static,
    ) -> Self {
        // The origin is checked before the function, and not again.
        let origin = options.origin.clone();
        let options = options.origin(OriginPolicy::Any);
        self.add(pattern, origin, Action::WebSocket(Some(options), boxed(make)))
    }

    /// Adds a function that responds to GET and HEAD.
    #[must_use]
    pub fn get(
        self,
        pattern: &str,
        mut respond: impl FnMut(&SessionInfo, &Request<'_>) -> Response<'static> + Send + 'static,
    ) -> Self {
        self.http("GET", pattern, 0, move |session, request, _| respond(session, request))
    }

    /// Adds a function that responds to a POST, whose body may have at most `limit` bytes; the response to a longer one
    /// is 413. Pages of another host get 403: see [`origin`](Self::origin).
    #[must_use]
    pub fn post(
        self,
        pattern: &str,
        limit: usize,
        respond: impl FnMut(&SessionInfo, &Request<'_>, &[u8]) -> Response<'static> + Send + 'static,
    ) -> Self {
        self.http("POST", pattern, limit, respond)
    }

    /// Adds a function that responds to another method, such as `PUT` or `DELETE`, as [`post`](Self::post) does. Pages of
    /// any host may use the safe methods `GET`, `HEAD`, `OPTIONS` and `TRACE`.
    #[must_use]
    pub fn http(
        self,
        method: &'static str,
        pattern: &str,
        limit: usize,
        respond: impl FnMut(&SessionInfo, &Request<'_>, &[u8]) -> Response<'static> + Send + 'static,
    ) -> Self {
        // "the GET, HEAD, OPTIONS, and TRACE methods are defined to be safe." (RFC 9110 §9.2.1)
        let safe = ["GET", "HEAD", "OPTIONS", "TRACE"].contains(&method);
        let origin = if safe { OriginPolicy::Any } else { OriginPolicy::SameHost };
        self.add(pattern, origin, Action::Http(method, limit, Box::new(respond)))
    }

    /// Adds a function that takes over requests with any method, together with their transport.
    #[must_use]
    pub fn hand_over(
        self,
        pattern: &str,
        take_over: impl FnMut(&SessionInfo, HandedOver) + Send + 'static,
    ) -> Self {
        self.add(pattern, OriginPolicy::Any, Action::HandOver(Box::new(take_over)))
    }

    /// Sets the pages that may use the route that was added last. The response to a request from another page is 403,
    /// and no function of the route sees it. Replaces the [`AcceptOptions::origin`] of
    /// [`websocket_with`](Self::websocket_with); with [`websocket`](Self::websocket) the handler's own decision is
    /// checked as well.
    ///
    /// ```
    /// # #[cfg(feature = "mio")]
    /// # fn main() -> std::io::Result<()> {
    /// use sansocket::handshake::{OriginPolicy, Response};
    /// use sansocket::hub::Routes;
    ///
    /// let routes = Routes::new()
    ///     .post("/upload", 4096, |_, _, _| Response::text(200, "thanks\n"))
    ///     .origin(OriginPolicy::List(&["https://app.example.com"]));
    /// # let server = sansocket::hub::MioServer::bind("127.0.0.1:0", Default::default(), |_| routes)?;
    /// # let address = server.address();
    /// # std::thread::spawn(|| server.run());
    /// # let upload_from = |origin: &str| {
    /// #     let mut stream = std::net::TcpStream::connect(address)?;
    /// #     let head = format!("POST /upload HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\nContent-Length: 0\r\n\r\n");
    /// #     std::io::Write::write_all(&mut stream, head.as_bytes())?;
    /// #     std::io::read_to_string(stream)
    /// # };
    /// assert!(upload_from("https://app.example.com")?.starts_with("HTTP/1.1 200 "));
    /// assert!(upload_from("https://other.example.com")?.starts_with("HTTP/1.1 403 "));
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "mio"))]
    /// # fn main() {}
    /// ```
    #[must_use]
    pub fn origin(mut self, origin: OriginPolicy<'static>) -> Self {
        let last = self.last;
        if let Some(route) = self.numbered(last) {
            route.origin = origin;
        }
        self
    }

    /// Sets a function that decides whether to serve a transport that was accepted; see [`Application::accept`].
    #[must_use]
    pub fn on_accept(mut self, accept: impl FnMut(&mut SessionInfo) -> bool + Send + 'static) -> Self {
        self.on_accept = Some(Box::new(accept));
        self
    }

    /// Sets a function that is called when a request is refused, also without a route, but not for responses of a
    /// route's own functions; see [`Application::refused`].
    #[must_use]
    pub fn on_refuse(
        mut self,
        refused: impl FnMut(&SessionInfo, Option<&Request<'_>>, &Refusal) + Send + 'static,
    ) -> Self {
        self.on_refuse = Some(Box::new(refused));
        self
    }

    /// Sets a function that is called when a session has ended; see [`Application::ended`].
    #[must_use]
    pub fn on_end(mut self, ended: impl FnMut(&SessionInfo, Option<Outcome>) + Send + 'static) -> Self {
        self.on_end = Some(Box::new(ended));
        self
    }

    fn add(mut self, pattern: &str, origin: OriginPolicy<'static>, action: Action) -> Self {
        self.insert(Route { number: 0, pattern: Pattern::new(pattern), origin, action });
        self
    }
}

/// Methods that change the routes of a hub that runs.
impl Routes {
    /// Adds the routes of `other`. Its functions of [`on_accept`](Self::on_accept), [`on_refuse`](Self::on_refuse) and
    /// [`on_end`](Self::on_end), if set, replace those that are set here.
    pub fn merge(&mut self, other: Self) {
        other.routes.into_iter().for_each(|route| self.insert(route));
        self.on_accept = other.on_accept.or(self.on_accept.take());
        self.on_refuse = other.on_refuse.or(self.on_refuse.take());
        self.on_end = other.on_end.or(self.on_end.take());
    }

    /// Removes all routes with this pattern. Returns whether there was one. Open connections stay open. The response to a
    /// request whose body is still being received is 404.
    pub fn remove(&mut self, pattern: &str) -> bool {
        let (before, pattern) = (self.routes.len(), Pattern::new(pattern));
        self.routes.retain(|route| route.pattern != pattern);
        self.routes.len() < before
    }

    /// Adds a route behind those that are as specific, and gives it a number.
    fn insert(&mut self, mut route: Route) {
        self.last = self.last.saturating_add(1);
        route.number = self.last;
        let at = self.routes.partition_point(|other| other.order() <= route.order());
        self.routes.insert(at, route);
    }

    fn numbered(&mut self, number: u32) -> Option<&mut Route> {
        self.routes.iter_mut().find(|route| route.number == number)
    }
}

impl Default for Routes {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes").field("routes", &self.routes.len()).finish_non_exhaustive()
    }
}

impl Application for Routes {
    type Handler = Box<dyn Handler + Send>;

    fn accept(&mut self, session: &mut SessionInfo) -> bool {
        self.on_accept.as_mut().is_none_or(|accept| accept(session))
    }

    fn request<'s>(
        &'s mut self,
        session: &mut SessionInfo,
        request: &Request<'_>,
    ) -> RequestAction<'s, Self::Handler> {
        let path = request.path();
        let mut rank = None;
        let mut websocket = false;
        let mut allow: Vec<&str> = Vec::new();
        for route in self.routes.iter_mut().filter(|route| route.pattern.matches(path)) {
            if *rank.get_or_insert(route.pattern.rank()) != route.pattern.rank() {
                break;
            }
            if route.action.takes(request) {
                return route.take(session, request);
            }
            websocket |= matches!(route.action, Action::WebSocket(..));
            allow.extend(route.action.methods());
        }
        if websocket && request.method() == "GET" {
            return RequestAction::Reject(Rejection::UpgradeRequired);
        }
        let response = if rank.is_none() {
            Response::text(404, "not found\n")
        } else {
            allow.sort_unstable();
            allow.dedup();
            Response::text(405, "not with this method\n").with_header("Allow", allow.join(", "))
        };
        self.refused(session, Some(request), &Refusal::by_application(response.status()));
        RequestAction::Respond(response)
    }

    fn body(&mut self, session: &SessionInfo, request: &Request<'_>, body: &[u8]) -> Response<'static> {
        match self.numbered(session.route).map(|route| &mut route.action) {
            Some(Action::Http(_, _, respond)) => respond(session, request, body),
            _ => Response::text(404, "not found\n"),
        }
    }

    fn handed_over(&mut self, session: &SessionInfo, request: HandedOver) {
        if let Some(Action::HandOver(take_over)) = self.numbered(session.route).map(|route| &mut route.action)
        {
            take_over(session, request);
        }
    }

    fn refused(&mut self, session: &SessionInfo, request: Option<&Request<'_>>, refusal: &Refusal) {
        if let Some(refused) = &mut self.on_refuse {
            refused(session, request, refusal);
        }
    }

    fn ended(&mut self, session: &SessionInfo, outcome: Option<Outcome>) {
        if let Some(ended) = &mut self.on_end {
            ended(session, outcome);
        }
    }
}

impl Route {
    /// The sort key: a WebSocket precedes other routes with the same pattern.
    fn order(&self) -> (Rank, bool) {
        (self.pattern.rank(), !matches!(self.action, Action::WebSocket(..)))
    }

    /// Decides about a request that the route takes.
    fn take(
        &mut self,
        session: &mut SessionInfo,
        request: &Request<'_>,
    ) -> RequestAction<'static, Box<dyn Handler + Send>> {
        session.route = self.number;
        if !self.origin.allows(request) {
            return RequestAction::Reject(Rejection::Forbidden);
        }
        match &mut self.action {
            Action::WebSocket(options, make) => match (make(session, request), options) {
                (Ok(handler), Some(options)) => RequestAction::Accept(handler, options.clone()),
                (Ok(handler), None) => RequestAction::Serve(handler),
                (Err(response), _) => RequestAction::Respond(response),
            },
            Action::Http(_, limit, _) => RequestAction::ReadBody(*limit),
            Action::HandOver(_) => RequestAction::HandOver,
        }
    }
}

impl Action {
    fn takes(&self, request: &Request<'_>) -> bool {
        match self {
            Self::WebSocket(..) => request.method() == "GET" && request.is_upgrade(),
            Self::Http(..) => self.methods().contains(&request.method()),
            Self::HandOver(_) => true,
        }
    }

    fn methods(&self) -> &[&'static str] {
        match self {
            Self::WebSocket(..) => &["GET"],
            Self::Http("GET", ..) => &["GET", "HEAD"],
            Self::Http(method, ..) => core::slice::from_ref(method),
            Self::HandOver(_) => &[],
        }
    }
}

/// Boxes the handlers that a function of a route returns.
fn boxed<H: Handler + Send + 'static>(
    mut make: impl FnMut(&mut SessionInfo, &Request<'_>) -> Result<H, Response<'static>> + Send + 'static,
) -> MakeHandler {
    Box::new(move |session, request| {
        make(session, request).map(|handler| Box::new(handler) as Box<dyn Handler + Send>)
    })
}
