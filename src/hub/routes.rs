//! An application that decides by path and method.

#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::fmt;

use super::application::{Application, Page, RequestAction};
use super::handed_over::HandedOver;
use super::session_info::SessionInfo;
use crate::config::base::Config;
use crate::handler::Handler;
use crate::handshake::{AcceptOptions, Decision, OriginPolicy, Refusal, Rejection, Request};
use crate::session::Outcome;

/// An [`Application`] that answers by path and method: WebSockets, ordinary HTTP, and requests that are handed over,
/// side by side.
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
/// - HEAD goes to [`get`](Self::get), and its answer has no body;
/// - a GET for a path that has only a WebSocket is answered with 426, another method that no route takes with 405 and
///   `Allow`;
/// - [`hand_over`](Self::hand_over) takes every method. As `*` it takes every path that nothing else matches, which
///   otherwise is answered with 404.
///
/// By default a page of another origin must not change anything: a request with a method that is not safe (RFC 9110
/// §9.2.1), such as POST or DELETE, is answered with 403 unless its `Origin` is of the server's own host, as an
/// upgrade is ([`OriginPolicy::SameHost`]). A request without an `Origin` does not come from a browser, and is accepted.
/// [`set_origin`](Self::set_origin) changes that for a route. Applications of other types check [`OriginPolicy::allows`]
/// themselves.
///
/// Each method that adds a route returns its number, from 1 on and never given twice. It is set as [`SessionInfo::tag`],
/// so that a broadcast can select the clients of one route; the hook of a WebSocket may set another group, for a
/// room.
///
/// Routes can be added and removed while the hub runs, in [`with`](Self::with); the connections of a removed route
/// stay open. The closures own or share the data of routes; the handler keeps the data of a session, also its path
/// and query.
///
/// ```
/// use sansocket::{Event, HandlerError, Handler, Instant, Outbox};
/// use sansocket::handshake::{AcceptOptions, OriginPolicy};
/// use sansocket::hub::{Page, Routes};
///
/// /// Answers with the room that it was asked for in.
/// struct Room(String);
///
/// impl Handler for Room {
///     fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
///         match event {
///             Event::Data(data) if data.end => Ok(out.send(&*self.0)?),
///             _ => Ok(()),
///         }
///     }
/// }
///
/// # fn routes() -> Routes {
/// let mut routes = Routes::new();
/// let accept = AcceptOptions::new().protocols(&["chat"]).origin(OriginPolicy::Any);
/// routes.websocket_with("/rooms/*", accept, |_, request| match request.query_value("token") {
///     Some("valid") => Ok(Room(request.path().into())),
///     _ => Err(Page::text(401, "the token is missing or wrong\n")),
/// });
/// routes.get("/status", |_, _| Page::new(200, "application/json", "{\"up\":true}"));
/// routes.post("/echo", 1024, |_, _, body| Page::new(200, "application/octet-stream", body));
/// # routes
/// # }
/// ```
pub struct Routes {
    /// Sorted: the most specific first.
    routes: Vec<Route>,
    /// The number that was given last.
    last: u32,
    welcome: Option<Welcome>,
    farewell: Option<Farewell>,
    refused: Option<RefusedCounters>,
}

struct Route {
    number: u32,
    pattern: Pattern,
    /// The pages that may use the route.
    origin: OriginPolicy<'static>,
    action: Action,
}

enum Action {
    WebSocket(Option<AcceptOptions<'static, Arc<Config>>>, Hook),
    Exchange(&'static str, usize, Reply),
    HandOver(Taker),
}

type Hook = Box<dyn FnMut(&mut SessionInfo, &Request<'_>) -> Result<Box<dyn Handler + Send>, Page> + Send>;
type Reply = Box<dyn FnMut(&SessionInfo, &Request<'_>, &[u8]) -> Page + Send>;
type Taker = Box<dyn FnMut(&SessionInfo, HandedOver) + Send>;
type Welcome = Box<dyn FnMut(&mut SessionInfo) -> bool + Send>;
type RefusedCounters = Box<dyn FnMut(&SessionInfo, Option<&Request<'_>>, &Refusal) + Send>;
type Farewell = Box<dyn FnMut(&SessionInfo, Option<Outcome>) + Send>;

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes").field("routes", &self.routes.len()).finish_non_exhaustive()
    }
}

impl Routes {
    /// Makes an application without routes, which answers every request with 404.
    #[must_use]
    pub const fn new() -> Self {
        Self { routes: Vec::new(), last: 0, welcome: None, farewell: None, refused: None }
    }

    /// Adds a WebSocket. `hook` sees the request before it is answered, and returns the handler of the connection, or
    /// a page that refuses. The handler's [`request`](Handler::request) then decides how to accept.
    ///
    /// Key, version, origin and subprotocols are checked after the hook. So the hook may run for a request that is
    /// refused later; the handler is dropped then. Put what concerns open connections only into [`Handler::opened`],
    /// which is called after the 101.
    pub fn websocket<H: Handler + Send + 'static>(
        &mut self,
        pattern: &str,
        hook: impl FnMut(&mut SessionInfo, &Request<'_>) -> Result<H, Page> + Send + 'static,
    ) -> u32 {
        self.add(pattern, OriginPolicy::Any, Action::WebSocket(None, erase(hook)))
    }

    /// Adds a WebSocket that accepts with the route's own subprotocols, origins, fields of the 101, limits, deadlines
    /// and control mode. The handler's [`request`](Handler::request) is not called. The origin is checked before the
    /// hook, which does not see requests from pages that are not allowed.
    pub fn websocket_with<H: Handler + Send + 'static>(
        &mut self,
        pattern: &str,
        accept: AcceptOptions<'static, Arc<Config>>,
        hook: impl FnMut(&mut SessionInfo, &Request<'_>) -> Result<H, Page> + Send + 'static,
    ) -> u32 {
        // The origin is checked before the hook, and not again.
        let origin = accept.origin.clone();
        let accept = accept.origin(OriginPolicy::Any);
        self.add(pattern, origin, Action::WebSocket(Some(accept), erase(hook)))
    }

    /// Adds a page, for GET and HEAD.
    pub fn get(
        &mut self,
        pattern: &str,
        mut page: impl FnMut(&SessionInfo, &Request<'_>) -> Page + Send + 'static,
    ) -> u32 {
        self.http("GET", pattern, 0, move |client, request, _| page(client, request))
    }

    /// Adds a function that answers a POST, whose body may have at most `limit` bytes; the answer to a longer one is
    /// 413. Pages of another host get 403: see [`set_origin`](Self::set_origin).
    pub fn post(
        &mut self,
        pattern: &str,
        limit: usize,
        reply: impl FnMut(&SessionInfo, &Request<'_>, &[u8]) -> Page + Send + 'static,
    ) -> u32 {
        self.http("POST", pattern, limit, reply)
    }

    /// Adds a function that answers a request with another method, such as `PUT` or `DELETE`, as [`post`](Self::post)
    /// does. Pages of any host may use the safe methods `GET`, `HEAD`, `OPTIONS` and `TRACE`.
    pub fn http(
        &mut self,
        method: &'static str,
        pattern: &str,
        limit: usize,
        reply: impl FnMut(&SessionInfo, &Request<'_>, &[u8]) -> Page + Send + 'static,
    ) -> u32 {
        // "the GET, HEAD, OPTIONS, and TRACE methods are defined to be safe." (RFC 9110 §9.2.1)
        let safe = ["GET", "HEAD", "OPTIONS", "TRACE"].contains(&method);
        let origin = if safe { OriginPolicy::Any } else { OriginPolicy::SameHost };
        self.add(pattern, origin, Action::Exchange(method, limit, Box::new(reply)))
    }

    /// Adds a function that takes over requests with any method, with the transport and all bytes that were received.
    pub fn hand_over(
        &mut self,
        pattern: &str,
        taker: impl FnMut(&SessionInfo, HandedOver) + Send + 'static,
    ) -> u32 {
        self.add(pattern, OriginPolicy::Any, Action::HandOver(Box::new(taker)))
    }

    /// Sets the pages that may use a route. Returns whether there is a route with this number. A request from another
    /// page is answered with 403 before a closure of the route sees it. Replaces the [`AcceptOptions::origin`] that
    /// [`websocket_with`](Self::websocket_with) was given; with [`websocket`](Self::websocket) the handler's own
    /// answer is checked as well.
    ///
    /// ```
    /// # use sansocket::handshake::OriginPolicy;
    /// # use sansocket::hub::{Page, Routes};
    /// # fn routes() -> Routes {
    /// let mut routes = Routes::new();
    /// let upload = routes.post("/upload", 4096, |_, _, _| Page::text(200, "thanks\n"));
    /// routes.set_origin(upload, OriginPolicy::List(&["https://app.example.com"]));
    /// # routes
    /// # }
    /// ```
    pub fn set_origin(&mut self, number: u32, origin: OriginPolicy<'static>) -> bool {
        self.numbered(number).map(|route| route.origin = origin).is_some()
    }

    /// Sets a function that decides whether to serve a transport that was accepted; see [`Application::accept`].
    pub fn on_accept(&mut self, welcome: impl FnMut(&mut SessionInfo) -> bool + Send + 'static) {
        self.welcome = Some(Box::new(welcome));
    }

    /// Sets a function that is called when a request is refused, also without a route, but not for pages that a
    /// route's own closures return; see [`Application::refused`].
    pub fn on_refuse(
        &mut self,
        refused: impl FnMut(&SessionInfo, Option<&Request<'_>>, &Refusal) + Send + 'static,
    ) {
        self.refused = Some(Box::new(refused));
    }

    /// Sets a function that is called when a session has ended; see [`Application::ended`].
    pub fn on_end(&mut self, farewell: impl FnMut(&SessionInfo, Option<Outcome>) + Send + 'static) {
        self.farewell = Some(Box::new(farewell));
    }

    /// Removes a route. Returns whether there was one with this number. A request whose body is still being received
    /// is answered with 404.
    pub fn remove(&mut self, number: u32) -> bool {
        let before = self.routes.len();
        self.routes.retain(|route| route.number != number);
        self.routes.len() < before
    }

    fn add(&mut self, pattern: &str, origin: OriginPolicy<'static>, action: Action) -> u32 {
        self.last = self.last.saturating_add(1);
        let route = Route { number: self.last, pattern: Pattern::new(pattern), origin, action };
        let at = self.routes.partition_point(|other| other.order() <= route.order());
        self.routes.insert(at, route);
        self.last
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

impl Application for Routes {
    type Handler = Box<dyn Handler + Send>;

    fn accept(&mut self, client: &mut SessionInfo) -> bool {
        self.welcome.as_mut().is_none_or(|welcome| welcome(client))
    }

    fn request<'s>(
        &'s mut self,
        client: &mut SessionInfo,
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
                client.route = route.number;
                client.set_tag(route.number);
                if !route.origin.allows(request) {
                    return RequestAction::Answer(Decision::Reject(Rejection::Forbidden));
                }
                return match &mut route.action {
                    Action::WebSocket(accept, hook) => match (hook(client, request), accept) {
                        (Ok(handler), Some(accept)) => RequestAction::Accept(handler, accept.clone()),
                        (Ok(handler), None) => RequestAction::Handler(handler),
                        (Err(page), _) => RequestAction::Page(page),
                    },
                    Action::Exchange(_, limit, _) => RequestAction::Body(*limit),
                    Action::HandOver(_) => RequestAction::Answer(Decision::HandOver),
                };
            }
            websocket |= matches!(route.action, Action::WebSocket(..));
            allow.extend(route.action.methods());
        }
        if websocket && request.method() == "GET" {
            return RequestAction::Answer(Decision::Reject(Rejection::UpgradeRequired));
        }
        let page = if rank.is_none() {
            Page::text(404, "not found\n")
        } else {
            allow.sort_unstable();
            allow.dedup();
            let mut page = Page::text(405, "not with this method\n");
            page.headers.push(("Allow".into(), allow.join(", ")));
            page
        };
        Application::refused(self, client, Some(request), &Refusal::answered(page.status));
        RequestAction::Page(page)
    }

    fn refused(&mut self, client: &SessionInfo, request: Option<&Request<'_>>, refusal: &Refusal) {
        if let Some(refused) = &mut self.refused {
            refused(client, request, refusal);
        }
    }

    fn exchange(&mut self, client: &SessionInfo, request: &Request<'_>, body: &[u8]) -> Page {
        match self.numbered(client.route).map(|route| &mut route.action) {
            Some(Action::Exchange(_, _, reply)) => reply(client, request, body),
            _ => Page::text(404, "not found\n"),
        }
    }

    fn handed_over(&mut self, session: &SessionInfo, request: HandedOver) {
        if let Some(Action::HandOver(taker)) = self.numbered(session.route).map(|route| &mut route.action) {
            taker(session, request);
        }
    }

    fn ended(&mut self, client: &SessionInfo, outcome: Option<Outcome>) {
        if let Some(farewell) = &mut self.farewell {
            farewell(client, outcome);
        }
    }
}

impl Route {
    /// The sort key: a WebSocket precedes other routes with the same pattern.
    fn order(&self) -> (Rank, bool) {
        (self.pattern.rank(), !matches!(self.action, Action::WebSocket(..)))
    }
}

impl Action {
    fn takes(&self, request: &Request<'_>) -> bool {
        match self {
            Self::WebSocket(..) => request.method() == "GET" && request.is_upgrade(),
            Self::Exchange(..) => self.methods().contains(&request.method()),
            Self::HandOver(_) => true,
        }
    }

    fn methods(&self) -> &[&'static str] {
        match self {
            Self::WebSocket(..) => &["GET"],
            Self::Exchange("GET", ..) => &["GET", "HEAD"],
            Self::Exchange(method, ..) => core::slice::from_ref(method),
            Self::HandOver(_) => &[],
        }
    }
}

/// Boxes the handlers that a hook returns.
fn erase<H: Handler + Send + 'static>(
    mut hook: impl FnMut(&mut SessionInfo, &Request<'_>) -> Result<H, Page> + Send + 'static,
) -> Hook {
    Box::new(move |client, request| {
        hook(client, request).map(|handler| Box::new(handler) as Box<dyn Handler + Send>)
    })
}

/// How specific a pattern is, the smallest first: whether there is a `*`, the length of the path, whether there is a
/// `?`.
type Rank = (bool, Reverse<usize>, bool);

/// A path, and what may follow it.
struct Pattern {
    path: String,
    /// `?`: this character may follow.
    option: Option<char>,
    /// `*`: anything may follow.
    any: bool,
}

impl Pattern {
    fn new(pattern: &str) -> Self {
        let marks =
            ["?*", "*?", "?", "*"].into_iter().find(|marks| pattern.ends_with(marks)).unwrap_or_default();
        let mut path = String::from(pattern.strip_suffix(marks).unwrap_or(pattern));
        let option = if marks.contains('?') { path.pop() } else { None };
        Self { path, option, any: marks.contains('*') }
    }

    fn matches(&self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix(self.path.as_str()) else { return false };
        match self.option.filter(|_| !rest.is_empty()) {
            Some(option) => rest.strip_prefix(option).is_some_and(|rest| self.any || rest.is_empty()),
            None => self.any || rest.is_empty(),
        }
    }

    fn rank(&self) -> Rank {
        (self.any, Reverse(self.path.len()), self.option.is_some())
    }
}
