//! The echo server: one `Handler`, no heap, no operating system. It is the whole application, on a PC and
//! on a board; what is around it only brings bytes.
//!
//! | path | what it does |
//! | --- | --- |
//! | `/` | a page to try the others with |
//! | `/ws` | echoes every message; subprotocols `chat` and `echo` |
//! | `/ws_partial` | echoes in fragments of 64 bytes |
//! | `/auth` | the same as `/ws` behind `?token=valid`, and says hello |
//!
//! On `/ws` and `/auth` a text that begins with `Trigger async` is not echoed, but answered a little later;
//! one that begins with `Ping` is answered with a Ping.

use core::fmt::{self, Write};
use core::time::Duration;

use sansocket::handshake::{AcceptOptions, Decision, OriginPolicy, Request, Response};
use sansocket::{Chunk, Ending, Event, Handler, HandlerError, Instant, Kind, Outbox};

/// The page at `/`.
const PAGE: &[u8] = include_bytes!("page.html");
const WELCOME: &str = "Welcome to the WebSocket Echo Server (post-handshake)!";
const TRIGGER: &[u8] = b"Trigger async";
const PING: &[u8] = b"Ping";
/// How long after its trigger "Async data" comes.
const LATER: Duration = Duration::from_millis(50);
/// Payload of a frame on `/ws_partial`.
const PART: usize = 64;

/// The echo on one connection. `L` takes the lines of its log.
pub(crate) struct Echo<L> {
    /// Which pages may connect.
    pub(crate) origin: OriginPolicy<'static>,
    log: L,
    route: Route,
    /// How the text at hand begins, as long as it may yet become a trigger.
    start: [u8; TRIGGER.len()],
    start_len: usize,
    mode: Mode,
    /// When "Async data" is to be sent, and how many times.
    async_at: Option<Instant>,
    async_left: usize,
    /// When a Ping is to be sent.
    ping_at: Option<Instant>,
    /// The event at hand stands in the log; it may come again.
    logged: bool,
    /// What `/ws_partial` has not sent yet of the message at hand.
    part: [u8; PART],
    part_len: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Route {
    Echo,
    Partial,
    Auth,
}

/// What becomes of the message at hand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// It may be a trigger: not decided.
    Undecided,
    Echo,
    /// It was a trigger.
    Swallow,
}

impl<L: FnMut(fmt::Arguments<'_>)> Echo<L> {
    /// For a connection that has just been accepted.
    pub(crate) fn new(log: L) -> Self {
        Self {
            origin: OriginPolicy::SameHost,
            log,
            route: Route::Echo,
            start: [0; TRIGGER.len()],
            start_len: 0,
            mode: Mode::Undecided,
            async_at: None,
            async_left: 0,
            ping_at: None,
            logged: false,
            part: [0; PART],
            part_len: 0,
        }
    }

    /// Echoes a chunk of a text which may be a trigger.
    fn echo_text(
        &mut self,
        now: Instant,
        data: &Chunk<'_>,
        out: &mut Outbox<'_>,
    ) -> Result<(), HandlerError> {
        if data.start {
            self.mode = Mode::Undecided;
            self.start_len = 0;
        }
        if self.mode == Mode::Undecided {
            let bytes = data.payload.as_bytes();
            let n = bytes.len().min(TRIGGER.len() - self.start_len);
            let mut start = self.start;
            start[self.start_len..self.start_len + n].copy_from_slice(&bytes[..n]);
            let known = &start[..self.start_len + n];
            if known.starts_with(TRIGGER) {
                self.mode = Mode::Swallow;
                self.async_left += 1;
                self.async_at.get_or_insert(now.saturating_add(LATER));
            } else if known.starts_with(PING) {
                self.mode = Mode::Swallow;
                self.ping_at = Some(now);
            } else if !data.end && (TRIGGER.starts_with(known) || PING.starts_with(known)) {
                self.start = start;
                self.start_len += n;
                return Ok(());
            } else {
                // What was held back goes first, as the fragment that it was.
                if self.start_len > 0 {
                    out.fragment(Kind::Text, &self.start[..self.start_len], false)?;
                    self.start_len = 0;
                }
                self.mode = Mode::Echo;
            }
        }
        if self.mode == Mode::Swallow { Ok(()) } else { out.forward(data) }
    }

    /// Echoes a chunk in parts of the same size, the last of a message excepted.
    fn echo_parts(&mut self, data: &Chunk<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let bytes = data.payload.as_bytes();
        let mut rest = bytes;
        loop {
            let n = rest.len().min(PART - self.part_len);
            self.part[self.part_len..self.part_len + n].copy_from_slice(&rest[..n]);
            self.part_len += n;
            rest = &rest[n..];
            let fin = data.end && rest.is_empty();
            if !fin && (self.part_len < PART || rest.is_empty()) {
                return Ok(());
            }
            if let Err(error) = out.fragment(data.kind, &self.part[..self.part_len], fin) {
                // What is in the part is done with, but for a byte that brings us back here.
                let back = usize::from(n > 0);
                self.part_len -= back;
                return Err(HandlerError::blocked_after(error, bytes.len() - rest.len() - back));
            }
            self.part_len = 0;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }
}

impl<L: FnMut(fmt::Arguments<'_>)> Handler for Echo<L> {
    fn request<'s>(&'s mut self, request: &Request<'_>) -> Decision<'s> {
        self.route = match request.path() {
            "/" if matches!(request.method(), "GET" | "HEAD") => {
                return Decision::Respond(Response::html(200, PAGE));
            }
            "/" => {
                let response = Response::text(405, "GET this page\n");
                return Decision::Respond(response.with_headers(&[("Allow", "GET, HEAD")]));
            }
            "/ws" => Route::Echo,
            "/ws_partial" => Route::Partial,
            "/auth" if request.query_value("token") == Some("valid") => Route::Auth,
            "/auth" => return Decision::Respond(Response::text(401, "the token is missing or wrong\n")),
            _ => return Decision::Respond(Response::text(404, "try /, /ws, /ws_partial or /auth\n")),
        };
        let protocols: &[&str] = if self.route == Route::Echo { &["chat", "echo"] } else { &[] };
        Decision::Accept(AcceptOptions::new().protocols(protocols).origin(self.origin.clone()))
    }

    fn opened(&mut self, _: Option<&str>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        if self.route == Route::Auth {
            out.send(WELCOME)?;
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let now = out.now();
        let Event::Data(data) = event else { return Ok(()) };
        if data.offset == 0 && !self.logged {
            let opcode = if data.start { data.kind as u8 + 1 } else { 0 };
            (self.log)(format_args!("frame len is {}", data.payload.len() as u64 + data.remaining));
            (self.log)(format_args!("Got packet with message: {}", Escaped(&data.payload)));
            (self.log)(format_args!("Packet type: {opcode}"));
        }
        let outcome = match (self.route, data.kind) {
            (Route::Partial, _) => self.echo_parts(&data, out),
            (_, Kind::Text) => self.echo_text(now, &data, out),
            (_, Kind::Binary) => out.forward(&data),
        };
        self.logged = matches!(outcome, Err(HandlerError::Blocked { .. }));
        outcome
    }

    fn deadline(&self) -> Option<Instant> {
        self.async_at.into_iter().chain(self.ping_at).min()
    }

    fn timer(&mut self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let now = out.now();
        if !out.is_free() {
            // An echo is under way, and nothing may come between.
            self.ping_at = self.ping_at.map(|_| now.saturating_add(LATER));
            self.async_at = self.async_at.map(|_| now.saturating_add(LATER));
            return Ok(());
        }
        if self.ping_at.is_some_and(|at| at <= now) {
            out.ping(&[])?;
            self.ping_at = None;
        }
        if self.async_at.is_some_and(|at| at <= now) {
            while self.async_left > 0 {
                out.send("Async data")?;
                self.async_left -= 1;
            }
            self.async_at = None;
        }
        Ok(())
    }

    fn closed(&mut self, ending: &Ending, reason: &str) {
        (self.log)(format_args!("Closed: {}, code {}, {reason:?}", ending.reason, ending.code()));
    }
}

/// The first 128 bytes of what a client has sent, fit for a log.
pub(crate) struct Escaped<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(128)];
        for byte in shown.escape_ascii() {
            f.write_char(byte.into())?;
        }
        if shown.len() < self.0.len() { f.write_str("...") } else { Ok(()) }
    }
}
