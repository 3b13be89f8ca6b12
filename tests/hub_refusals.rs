//! The application, the counters and the log hear of each request that a hub refuses.
#![cfg(all(feature = "hub", feature = "log"))]

mod hub_world;
mod wire;

use std::cell::RefCell;
use std::time::Duration;

use hub_world::*;
use log::{LevelFilter, Log, Metadata, Record};
use sansocket::handshake::{AcceptOptions, BadRequest, OriginPolicy, Refusal, Rejection, Request, Response};
use sansocket::hub::{Application, Capacity, HubSettings, RequestAction, Routes, SessionInfo};
use sansocket::{Config, Event, Handler, HandlerError, Outbox};

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Lines;

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = record.args().to_string();
        if line.contains("refused") {
            LINES.with_borrow_mut(|lines| lines.push(line));
        }
    }

    fn flush(&self) {}
}

/// What was noted of refusals in this thread since the last time.
fn noted() -> Vec<String> {
    let _ = log::set_logger(&Lines);
    log::set_max_level(LevelFilter::Debug);
    LINES.take()
}

struct Quiet;

impl Handler for Quiet {
    fn event(&mut self, _: Event<'_>, _: &mut Outbox<'_>) -> Result<(), HandlerError> {
        Ok(())
    }
}

/// Answers by path, and remembers what it hears.
#[derive(Default)]
struct App {
    refused: Vec<(Option<String>, Refusal)>,
}

impl Application for App {
    type Handler = Box<dyn Handler + Send>;

    fn request<'s>(
        &'s mut self,
        _: &mut SessionInfo,
        request: &Request<'_>,
    ) -> RequestAction<'s, Self::Handler> {
        let handler = Box::new(Quiet);
        match request.path() {
            "/401" => RequestAction::Respond(Response::text(401, "")),
            "/page" => RequestAction::Respond(Response::text(200, "")),
            "/page/404" => RequestAction::Respond(Response::text(404, "")),
            "/body" => RequestAction::ReadBody(10),
            "/chat" => {
                let protocols = &["chat"];
                RequestAction::Accept(handler, AcceptOptions::new().protocols(protocols).require_protocol())
            }
            "/internal" => RequestAction::Reject(Rejection::Internal),
            _ => RequestAction::Serve(handler),
        }
    }

    fn body(&mut self, _: &SessionInfo, _: &Request<'_>, _: &[u8]) -> Response<'static> {
        Response::text(500, "")
    }

    fn refused(&mut self, _: &SessionInfo, request: Option<&Request<'_>>, refusal: &Refusal) {
        self.refused.push((request.map(|request| request.path().to_owned()), *refusal));
    }
}

fn ask(method: &str, path: &str, more: &str) -> Vec<u8> {
    let request = String::from_utf8(REQUEST.to_vec()).unwrap();
    let request = request.replacen("GET /ws", &format!("{method} {path}"), 1);
    request.replacen("Host: a\r\n", &format!("Host: a\r\n{more}"), 1).into_bytes()
}

/// The answer's status, and what was noted.
fn answered<A: Application>(world: &mut World<A>, request: &[u8]) -> (u16, Vec<String>) {
    let peer = world.connect();
    peer.feed(request);
    world.settle();
    if peer.wire().from_hub.is_empty() {
        world.pass(Duration::from_secs(11));
    }
    let bytes = peer.bytes();
    let status = std::str::from_utf8(&bytes[9..12]).unwrap().parse().unwrap();
    peer.cut();
    world.settle();
    (status, noted())
}

#[test]
fn every_refusal_is_reported_and_logged_once_with_its_reason() {
    noted();
    let mut world = World::new(few_fields(), |_| App::default());
    let many = (0..20).map(|i| format!("X-{i}: {i}\r\n")).collect::<String>();
    let long = format!("X: {}\r\n", "x".repeat(9000));
    let evil = "Origin: http://evil.example\r\n";
    for (request, path, reason) in [
        (ask("GET", "/ws", evil), Some("/ws"), Rejection::Forbidden),
        (ask("GET", "/chat", ""), Some("/chat"), BadRequest::Protocol.into()),
        (ask("POST", "/ws", ""), Some("/ws"), Rejection::MethodNotAllowed),
        (b"GET /ws HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), Some("/ws"), Rejection::UpgradeRequired),
        (ask("GET", "/ws", "Sec-WebSocket-Key: x\r\n"), Some("/ws"), BadRequest::KeyTwice.into()),
        (ask("GET", "/internal", ""), Some("/internal"), Rejection::Internal),
        (b"nonsense\r\n\r\n".to_vec(), None, BadRequest::NotHttp.into()),
        (ask("GET", "/ws", &many), None, Rejection::TooManyFields),
        (ask("GET", "/ws", &long), None, Rejection::TooLarge),
        (b"GET /ws".to_vec(), None, Rejection::Timeout),
        (ask("POST", "/body", "Content-Length: 11\r\n"), Some("/body"), Rejection::BodyTooLarge),
        (ask("POST", "/body", "Content-Length: x\r\n"), Some("/body"), BadRequest::Length.into()),
        (ask("POST", "/body", "Transfer-Encoding: chunked\r\n"), Some("/body"), Rejection::LengthRequired),
        (ask("POST", "/body", "Content-Length: 1\r\n"), Some("/body"), Rejection::Timeout),
    ] {
        let (status, notes) = answered(&mut world, &request);
        assert_eq!(status, reason.status());
        let refusal = Refusal::from(reason);
        let told = std::mem::take(&mut world.hub.application().refused);
        assert_eq!(told, [(path.map(str::to_owned), refusal)]);
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(notes[0].contains(&format!("is refused: {refusal}")), "{notes:?}");
    }
    // The application's own answers: noted, where they are refusals.
    for (request, status, notes) in [
        (ask("GET", "/401", ""), 401, 1),
        (ask("GET", "/page", ""), 200, 0),
        (ask("GET", "/page/404", ""), 404, 1),
        (ask("POST", "/body", "Content-Length: 0\r\n"), 500, 1),
    ] {
        let got = answered(&mut world, &request);
        assert_eq!((got.0, got.1.len()), (status, notes), "{:?}", got.1);
    }
    assert_eq!(world.hub.application().refused, []);
    world.end();
}

#[test]
fn refusals_are_counted_by_reason() {
    let mut world = World::new(few_fields(), |_| App::default());
    let evil = "Origin: http://evil.example\r\n";
    let many = (0..20).map(|i| format!("X-{i}: {i}\r\n")).collect::<String>();
    for request in [
        ask("GET", "/ws", evil),
        ask("GET", "/ws", evil),
        ask("GET", "/ws", &many),
        ask("GET", "/chat", ""),
        ask("GET", "/ws", "Sec-WebSocket-Key: x\r\n"),
        ask("POST", "/body", "Content-Length: 11\r\n"),
        ask("POST", "/body", "Content-Length: x\r\n"),
        ask("GET", "/401", ""),
        ask("GET", "/page", ""),
    ] {
        let peer = world.connect();
        peer.feed(&request);
        peer.fin();
        world.settle();
    }
    let refused = world.end().refused;
    assert_eq!((refused.origin, refused.fields, refused.protocol), (2, 1, 1));
    assert_eq!((refused.bad_request, refused.body, refused.forbidden, refused.responded), (2, 1, 1, 1));
}

#[test]
fn a_connection_beyond_the_capacity_is_reported_as_such() {
    let mut settings = HubSettings::default();
    (settings.max_sessions, settings.capacity) = (1, Capacity::Refuse(2));
    let mut world = World::new(settings, |_| App::default());
    let _first = world.open();
    noted();
    for (request, path) in [(REQUEST, Some("/ws")), (b"GET /", None)] {
        assert_eq!(answered(&mut world, request).0, 503);
        let told = std::mem::take(&mut world.hub.application().refused);
        assert_eq!(told, [(path.map(str::to_owned), Rejection::Unavailable.into())]);
    }
}

#[test]
fn a_log_line_has_status_reason_path_and_origin_escaped_and_cut() {
    noted();
    let mut world = World::new(HubSettings::default(), |_| App::default());
    let long = "o".repeat(200);
    for (path, origin, shown) in [
        ("/a?token=secret", "http://evil.example", r#"path "/a", Origin "http://evil.example""#.to_owned()),
        ("/\"q\"", "a\tb\u{e9}", r#"path "/\"q\"", Origin "a\tb\xc3\xa9""#.to_owned()),
        ("/", &long, format!(r#"path "/", Origin "{}...""#, "o".repeat(128))),
    ] {
        let (_, notes) = answered(&mut world, &ask("GET", path, &format!("Origin: {origin}\r\n")));
        let id = notes[0].split(" is refused").next().unwrap().to_owned();
        assert_eq!(notes, [format!("{id} is refused: {}, {shown}", Refusal::from(Rejection::Forbidden))]);
        assert!(id.ends_with("from 192.0.2.1:4321"), "{id}");
    }
    let (_, notes) = answered(&mut world, &ask("POST", "/", ""));
    assert!(notes[0].ends_with(r#", path "/", no Origin"#), "{notes:?}");
}

#[test]
fn routes_report_what_they_refuse() {
    let told = std::sync::Arc::new(std::sync::Mutex::new(vec![]));
    let into = told.clone();
    let mut world = World::new(HubSettings::default(), |_| {
        let accept = AcceptOptions::new().origin(OriginPolicy::SameHost);
        Routes::new().websocket_with("/ws", accept, |_, _| Ok(Quiet)).on_refuse(move |_, request, refusal| {
            let path = request.map(|request| request.path().to_owned());
            into.lock().unwrap().push((path, refusal.status, refusal.reason));
        })
    });
    for request in [
        ask("GET", "/ws", "Origin: http://evil.example\r\n"),
        ask("GET", "/nowhere", ""),
        ask("PUT", "/ws", ""),
        b"nonsense\r\n\r\n".to_vec(),
    ] {
        answered(&mut world, &request);
    }
    let expected = [
        (Some("/ws".to_owned()), 403, Some(Rejection::Forbidden)),
        (Some("/nowhere".to_owned()), 404, None),
        (Some("/ws".to_owned()), 405, None),
        (None, 400, Some(BadRequest::NotHttp.into())),
    ];
    assert_eq!(*told.lock().unwrap(), expected);
}

/// Room for ten fields.
fn few_fields() -> HubSettings {
    static CONFIG: Config = {
        let mut config = Config::new();
        config.limits.headers = 10;
        config
    };
    let mut settings = HubSettings::default();
    (settings.config, settings.head_buffer) = ((&CONFIG).into(), 4096);
    settings
}
