//! The whole connection on a virtual clock: the closing handshake, control frames, every deadline, the end.

mod common;

use std::fmt::Write;
use std::time::Duration;

use common::*;
use sansocket::handshake::{Answer, Request};
#[allow(unused_imports)]
use sansocket::{
    Cause, CloseCode, Config, Connection, Control, Delivery, Driver, End, Event, Extension, Halt, Handler,
    Kind, MIN_BUFFER, Payload, ReceiveBuffer, Role, SendError, Server, State, Step, Timeout, TransmitBuffer,
    Violation,
};

/// Only these deadlines.
fn config(set: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::new();
    let times = &mut config.timeouts;
    (times.idle, times.ping, times.pong, times.write) = (None, None, None, None);
    set(&mut config);
    config
}

fn seconds(n: u64) -> Option<Duration> {
    Some(Duration::from_secs(n))
}

fn name(sent: &[Sent]) -> String {
    let name = |sent: &Sent| match (sent.first, sent.code()) {
        (CLOSE, Some(code)) => format!("Close {code}"),
        (CLOSE, None) => "Close".into(),
        (PING, _) => "Ping".into(),
        (PONG, _) => "Pong".into(),
        _ => "data".into(),
    };
    if sent.is_empty() { "-".into() } else { sent.iter().map(name).collect::<Vec<_>>().join(", ") }
}

fn cause(cause: &Cause) -> String {
    let end = match cause.end {
        End::Violation(_) => "Violation".into(),
        End::Timeout(timeout) => format!("{timeout:?} timeout"),
        end => format!("{end:?}"),
    };
    let code = |code: Option<CloseCode>| code.map_or("-".into(), |code| code.get().to_string());
    format!("{end} {} {}", code(cause.received), code(cause.sent))
}

const STATES: [&str; 5] = ["open", "sent", "received", "both", "ended"];
const INPUTS: [&str; 9] =
    ["data", "Ping", "Pong", "Close 4001", "violation", "EOF", "close(4002)", "reset()", "deadline"];

/// Brings a connection into a state, gives it one input, and then ends it from the peer's side.
fn transition<R: TestRole>(state: &str, input: &str) -> String {
    let config = config(|config| {
        config.timeouts.idle = seconds(60);
        config.control = if state == "received" { Control::Manual } else { Control::Told };
    });
    let mut memory = Memory::new(MIN_BUFFER, MIN_BUFFER);
    let mut end = Endpoint::<R>::new(&config, &mut memory);
    end.run();
    if state == "sent" || state == "both" || state == "ended" {
        end.out().close(Some(CloseCode::NORMAL), "").expect("room");
        end.run();
    }
    if state == "received" || state == "both" || state == "ended" {
        end.frame(CLOSE, &close_body(1001, "bye"));
    }
    end.written();
    if state == "ended" {
        end.eof();
    }
    end.run();
    end.events.clear();
    let steps = match input {
        "data" => end.frame(TEXT, b"x"),
        "Ping" => end.frame(PING, b"x"),
        "Pong" => end.frame(PONG, b"x"),
        "Close 4001" => end.frame(CLOSE, &close_body(4001, "")),
        "violation" => end.feed(&[0xFF]),
        "EOF" => end.eof(),
        "deadline" if state == "ended" => end.after(1_000_000),
        "deadline" => end.at_deadline(),
        call => {
            let result = if call == "reset()" {
                end.connection.reset();
                "ok".into()
            } else {
                let done = end.out().close(CloseCode::new(4002), "");
                done.map_or_else(|error| format!("{error:?}"), |()| "ok".into())
            };
            let state = end.connection.state();
            let steps = end.run();
            assert!(call != "reset()" || state == State::Closed);
            if result == "ok" { steps } else { [vec!["refused"], steps].concat() }
        }
    };
    let steps = steps.join(" ");
    let sent = name(&end.sent());
    let (later, last) = end.finish();
    assert_eq!(later, [], "everything was sent at once");
    if state == "received" || state == "both" || state == "ended" {
        assert_eq!(end.connection.reason(), "bye");
    }
    let line = format!("{state:9} {input:12} {steps:24} {sent:12} {}", cause(&last));
    line.trim_end().to_owned()
}

fn transitions<R: TestRole>() -> String {
    let mut table =
        String::from("\nstate     input        steps                    sent         end, received, sent\n");
    for state in STATES {
        for input in INPUTS {
            writeln!(table, "{}", transition::<R>(state, input)).expect("a string");
        }
    }
    table
}

#[test]
fn transitions_of_a_server() {
    assert_eq!(transitions::<Server>(), SERVER_TRANSITIONS);
}

#[test]
fn transitions_of_a_client() {
    assert_eq!(transitions::<TestClient>(), CLIENT_TRANSITIONS);
}

const SERVER_TRANSITIONS: &str = "
";

const CLIENT_TRANSITIONS: &str = "
";
