//! A handler hears of each request that its server refuses.

mod session_driver;
mod wire;

use std::time::Duration;

use sansocket::handshake::{
    AcceptOptions, BadRequest, Decide, Decision, Refusal, Rejection, Request, Response, ServerHandshake,
};
use sansocket::session::Outcome;
use sansocket::{Config, Event, Handler, HandlerError, Instant, Outbox, Step};
use session_driver::*;

/// The path where there was a request, and what it got.
type Heard = Vec<(Option<String>, Refusal)>;

/// Answers as the test says, and records refusals.
struct App<D> {
    decide: D,
    refused: Heard,
}

impl<D: Fn(&Request<'_>) -> Decision<'static>> Handler for App<D> {
    fn request<'s>(&'s mut self, request: &Request<'_>) -> Decision<'s> {
        (self.decide)(request)
    }

    fn refused(&mut self, request: Option<&Request<'_>>, refusal: &Refusal) {
        self.refused.push((request.map(|request| request.path().to_owned()), *refusal));
    }

    fn event(&mut self, _: Event<'_>, _: &mut Outbox<'_>) -> Result<(), HandlerError> {
        Ok(())
    }
}

fn accept(_: &Request<'_>) -> Decision<'static> {
    Decision::Accept(AcceptOptions::new().protocols(&["chat"]))
}

/// What is heard of this input, how it ends, and the status that the peer sees.
fn hear(
    config: &Config,
    head: usize,
    input: &[u8],
    decide: impl Fn(&Request<'_>) -> Decision<'static>,
) -> (Heard, Option<Outcome>, u16) {
    let mut memory = Memory::new(head, 140, 140);
    let mut drive = Drive::new(&mut memory, config, App { decide, refused: vec![] });
    drive.feed(input);
    if drive.out.is_empty() {
        drive.pass(Duration::from_secs(10));
    }
    let status = Http::parse(&drive.out).status;
    drive.end();
    (drive.handler.refused, drive.outcome, status)
}

#[test]
fn a_handler_hears_of_each_refusal_once() {
    let mut few = Config::new();
    few.limits.headers = 7;
    let many: Vec<String> = (0..3).map(|i| format!("X-{i}: {i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let long = format!("X: {}", "x".repeat(600));
    for (input, path, reason) in [
        (upgrade("/a", &["Origin: http://evil.example"]), Some("/a"), Rejection::Forbidden),
        (request("GET", "/a", &["Host: a"]), Some("/a"), Rejection::UpgradeRequired),
        (request("POST", "/a", &["Host: a"]), Some("/a"), Rejection::MethodNotAllowed),
        (upgrade("/a", &["Content-Length: 1"]), Some("/a"), BadRequest::Body.into()),
        (request("GET", "/a", &[]), None, BadRequest::Host.into()),
        (b"nonsense\r\n\r\n".to_vec(), None, BadRequest::NotHttp.into()),
        (b"GET / HTTP/1.1\n".to_vec(), None, BadRequest::NotHttp.into()),
        (b"GET / HT".to_vec(), None, Rejection::Timeout),
        (upgrade("/a", &many), None, Rejection::TooManyFields),
        (upgrade("/a", &[&long]), None, Rejection::TooLarge),
    ] {
        let (heard, outcome, status) = hear(&few, 600, &input, accept);
        let refusal = Refusal::from(reason);
        assert_eq!(heard, [(path.map(str::to_owned), refusal)], "{}", input.escape_ascii());
        assert_eq!((outcome, status), (Some(Outcome::Refused(refusal)), reason.status()));
    }
    let required =
        |_: &Request<'_>| Decision::Accept(AcceptOptions::new().protocols(&["chat"]).require_protocol());
    let (heard, ..) = hear(&few, 600, &upgrade("/a", &[]), required);
    assert_eq!(heard, [(Some("/a".into()), Rejection::from(BadRequest::Protocol).into())]);
}

#[test]
fn a_handler_hears_of_its_rejections_and_not_of_its_own_responses() {
    let config = Config::new();
    let input = upgrade("/a", &[]);
    let reject = |_: &Request<'_>| Decision::Reject(Rejection::Unavailable);
    let refusal = Refusal::from(Rejection::Unavailable);
    let (heard, outcome, status) = hear(&config, 600, &input, reject);
    assert_eq!(heard, [(Some("/a".into()), refusal)]);
    assert_eq!((outcome, status), (Some(Outcome::Refused(refusal)), 503));
    for own in [200, 401, 503] {
        let respond = move |_: &Request<'_>| Decision::Respond(Response::text(own, ""));
        let (heard, outcome, status) = hear(&config, 600, &input, respond);
        assert_eq!(heard, []);
        assert_eq!((outcome, status), (Some(Outcome::Refused(Refusal::by_application(own))), own));
    }
}

#[test]
fn a_response_that_cannot_be_written_is_reported_once() {
    let config = Config::new();
    for decide in [
        |_: &Request<'_>| Decision::Accept(AcceptOptions::new().headers(&[("X", "\n")])),
        |_: &Request<'_>| Decision::Respond(Response::text(42, "")),
    ] {
        let (heard, outcome, status) = hear(&config, 600, &upgrade("/a", &[]), decide);
        let refusal = Refusal::from(Rejection::Internal);
        assert_eq!(heard, [(None, refusal)]);
        assert_eq!((outcome, status), (Some(Outcome::Refused(refusal)), 500));
    }
}

#[test]
fn without_a_handler_the_decider_hears_of_refusals() {
    struct Decider(Vec<Refusal>);
    impl<C> Decide<C> for Decider {
        fn decide<'s>(&'s mut self, _: &Request<'_>) -> Decision<'s, C> {
            Decision::accept()
        }
        fn refused(&mut self, request: Option<&Request<'_>>, refusal: &Refusal) {
            assert_eq!(request.and_then(Request::origin), Some("http://evil.example"));
            self.0.push(*refusal);
        }
    }
    let (config, now) = (Config::new(), Instant::from_millis(1_000));
    let mut memory = Memory::new(600, 140, 140);
    let (mut head, mut rx, mut tx) = memory.buffers();
    let mut handshake = ServerHandshake::new(&config, now);
    head.feed(&upgrade("/", &["Origin: http://evil.example"]));
    let mut decider = Decider(vec![]);
    for _ in 0..3 {
        let step = handshake.poll_with(now, &mut head, &mut rx, &mut tx, &mut decider);
        assert!(matches!(step, Step::Wait { .. }));
    }
    assert_eq!(decider.0, [Refusal::from(Rejection::Forbidden)]);
}

#[test]
fn a_refusal_has_status_and_reason_and_names_the_setting() {
    for (reason, for_the_peer, setting) in [
        (Rejection::Forbidden, "the origin is not allowed", "AcceptOptions::origin"),
        #[cfg(feature = "hub")]
        (Rejection::Forbidden, "the origin is not allowed", "Routes::origin"),
        (Rejection::TooLarge, "the head is too large", "Limits::head"),
        (Rejection::TooManyFields, "too many header fields", "Limits::headers"),
        (Rejection::Timeout, "the request took too long", "Timeouts::handshake"),
    ] {
        assert_eq!(reason.text(), for_the_peer);
        let told = Refusal::from(reason).to_string();
        assert!(told.starts_with(&format!("{}: {for_the_peer} (", reason.status())), "{told}");
        assert!(told.contains(setting), "{told}");
    }
    assert_eq!(Refusal::by_application(401).to_string(), "401: a response of the application");
}
