//! The whole connection on a virtual clock: the closing handshake, control frames, every deadline, the end.

mod endpoint;
mod wire;

use std::fmt::Write;
use std::time::Duration;

use endpoint::*;
use sansocket::config::{ControlFrames, Delivery};
use sansocket::error::{EndReason, Timeout, Violation};
use sansocket::handshake::{Decision, Request};
use sansocket::proto::{ConnectionState, DetachedEvent, Extension, MIN_BUFFER_LEN, NoExtension, Role};
use sansocket::session::HandlerDriver;
use sansocket::{
    CloseCode, Config, Connection, Ending, Event, Handler, HandlerError, Kind, Outbox, ReceiveBuffer,
    SendError, Server, Step, TransmitBuffer,
};

/// Only these deadlines.
fn config(set: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::new();
    let times = &mut config.timeouts;
    (times.idle, times.message) = (None, None);
    (times.ping, times.pong, times.write) = (None, None, None);
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

fn cause(cause: &Ending) -> String {
    let end = match cause.reason {
        EndReason::Violation(_) => "Violation".into(),
        EndReason::Timeout(timeout) => format!("{timeout:?} timeout"),
        end => format!("{end:?}"),
    };
    let code = |code: Option<CloseCode>| code.map_or("-".into(), |code| code.get().to_string());
    format!("{end} {} {}", code(cause.received), code(cause.sent))
}

const STATES: [&str; 5] = ["open", "sent", "received", "both", "ended"];
const INPUTS: [&str; 9] =
    ["data", "Ping", "Pong", "Close 4001", "violation", "EOF", "close(4002)", "failure", "deadline"];

/// Brings a connection into a state, gives it one input, and then ends it from the peer's side.
fn transition<R: TestRole>(state: &str, input: &str) -> String {
    let config = config(|config| {
        config.timeouts.idle = seconds(60);
        config.control = if state == "received" { ControlFrames::Manual } else { ControlFrames::Reported };
    });
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
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
            let result = if call == "failure" {
                end.connection.transport_failed();
                "ok".into()
            } else {
                let done = end.out().close(CloseCode::new(4002), "");
                done.map_or_else(|error| format!("{error:?}"), |()| "ok".into())
            };
            let state = end.connection.state();
            let steps = end.run();
            assert!(call != "failure" || state == ConnectionState::Closed);
            if result == "ok" { steps } else { [vec!["refused"], steps].concat() }
        }
    };
    let steps = steps.join(" ");
    let sent = name(&end.sent());
    let (later, last) = end.finish();
    assert_eq!(later, [], "everything was sent at once");
    if state == "received" || state == "both" || state == "ended" {
        assert_eq!(end.connection.close_reason(), "bye");
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
fn a_server_goes_through_its_states() {
    assert_eq!(transitions::<Server>(), SERVER_TRANSITIONS);
}

#[test]
fn a_client_goes_through_its_states() {
    assert_eq!(transitions::<TestClient>(), CLIENT_TRANSITIONS);
}

const SERVER_TRANSITIONS: &str = "
state     input        steps                    sent         end, received, sent
open      data         Event Wait               -            Disconnected - -
open      Ping         Event Wait               Pong         Disconnected - -
open      Pong         Event Wait               -            Disconnected - -
open      Close 4001   Event Wait               Close 4001   Clean 4001 4001
open      violation    Wait                     Close 1002   Violation - 1002
open      EOF          Shutdown Done            -            Disconnected - -
open      close(4002)  Wait                     Close 4002   Disconnected - 4002
open      failure      Done                     -            Disconnected - -
open      deadline     Wait                     Close 1001   Idle timeout - 1001
sent      data         Event Wait               -            Disconnected - 1000
sent      Ping         Event Wait               -            Disconnected - 1000
sent      Pong         Event Wait               -            Disconnected - 1000
sent      Close 4001   Event Shutdown Wait      -            Clean 4001 1000
sent      violation    Shutdown Wait            -            Violation - 1000
sent      EOF          Shutdown Done            -            Disconnected - 1000
sent      close(4002)  refused Wait             -            Disconnected - 1000
sent      failure      Done                     -            Disconnected - 1000
sent      deadline     Shutdown Done            -            Close timeout - 1000
received  data         Wait                     -            Disconnected 1001 -
received  Ping         Wait                     -            Disconnected 1001 -
received  Pong         Wait                     -            Disconnected 1001 -
received  Close 4001   Wait                     -            Disconnected 1001 -
received  violation    Wait                     -            Disconnected 1001 -
received  EOF          Shutdown Done            -            Disconnected 1001 -
received  close(4002)  Wait                     Close 4002   Clean 1001 4002
received  failure      Done                     -            Disconnected 1001 -
received  deadline     Shutdown Done            -            Close timeout 1001 -
both      data         Wait                     -            Clean 1001 1000
both      Ping         Wait                     -            Clean 1001 1000
both      Pong         Wait                     -            Clean 1001 1000
both      Close 4001   Wait                     -            Clean 1001 1000
both      violation    Wait                     -            Clean 1001 1000
both      EOF          Done                     -            Clean 1001 1000
both      close(4002)  refused Wait             -            Clean 1001 1000
both      failure      Done                     -            Clean 1001 1000
both      deadline     Done                     -            Clean 1001 1000
ended     data         Done                     -            Clean 1001 1000
ended     Ping         Done                     -            Clean 1001 1000
ended     Pong         Done                     -            Clean 1001 1000
ended     Close 4001   Done                     -            Clean 1001 1000
ended     violation    Done                     -            Clean 1001 1000
ended     EOF          Done                     -            Clean 1001 1000
ended     close(4002)  refused Done             -            Clean 1001 1000
ended     failure      Done                     -            Clean 1001 1000
ended     deadline     Done                     -            Clean 1001 1000
";

const CLIENT_TRANSITIONS: &str = "
state     input        steps                    sent         end, received, sent
open      data         Event Wait               -            Disconnected - -
open      Ping         Event Wait               Pong         Disconnected - -
open      Pong         Event Wait               -            Disconnected - -
open      Close 4001   Event Wait               Close 4001   Clean 4001 4001
open      violation    Wait                     Close 1002   Violation - 1002
open      EOF          Shutdown Done            -            Disconnected - -
open      close(4002)  Wait                     Close 4002   Disconnected - 4002
open      failure      Done                     -            Disconnected - -
open      deadline     Wait                     Close 1001   Idle timeout - 1001
sent      data         Event Wait               -            Disconnected - 1000
sent      Ping         Event Wait               -            Disconnected - 1000
sent      Pong         Event Wait               -            Disconnected - 1000
sent      Close 4001   Event Wait               -            Clean 4001 1000
sent      violation    Shutdown Wait            -            Violation - 1000
sent      EOF          Shutdown Done            -            Disconnected - 1000
sent      close(4002)  refused Wait             -            Disconnected - 1000
sent      failure      Done                     -            Disconnected - 1000
sent      deadline     Shutdown Done            -            Close timeout - 1000
received  data         Wait                     -            Disconnected 1001 -
received  Ping         Wait                     -            Disconnected 1001 -
received  Pong         Wait                     -            Disconnected 1001 -
received  Close 4001   Wait                     -            Disconnected 1001 -
received  violation    Wait                     -            Disconnected 1001 -
received  EOF          Shutdown Done            -            Disconnected 1001 -
received  close(4002)  Wait                     Close 4002   Clean 1001 4002
received  failure      Done                     -            Disconnected 1001 -
received  deadline     Shutdown Done            -            Close timeout 1001 -
both      data         Wait                     -            Clean 1001 1000
both      Ping         Wait                     -            Clean 1001 1000
both      Pong         Wait                     -            Clean 1001 1000
both      Close 4001   Wait                     -            Clean 1001 1000
both      violation    Wait                     -            Clean 1001 1000
both      EOF          Shutdown Done            -            Clean 1001 1000
both      close(4002)  refused Wait             -            Clean 1001 1000
both      failure      Done                     -            Clean 1001 1000
both      deadline     Shutdown Done            -            Clean 1001 1000
ended     data         Done                     -            Clean 1001 1000
ended     Ping         Done                     -            Clean 1001 1000
ended     Pong         Done                     -            Clean 1001 1000
ended     Close 4001   Done                     -            Clean 1001 1000
ended     violation    Done                     -            Clean 1001 1000
ended     EOF          Done                     -            Clean 1001 1000
ended     close(4002)  refused Done             -            Clean 1001 1000
ended     failure      Done                     -            Clean 1001 1000
ended     deadline     Done                     -            Clean 1001 1000
";

/// Which control frames are reported, and which are answered.
#[test]
fn control_frames_are_answered_as_configured() {
    let ping = Got::Ping(b"x".to_vec());
    let pong = Got::Pong(b"x".to_vec());
    let close = Got::Close(Some(1001), "bye".into());
    let told = vec![ping, pong, close];
    for (control, events, sent) in [
        (ControlFrames::Automatic, vec![], "Pong, Close 1001"),
        (ControlFrames::Reported, told.clone(), "Pong, Close 1001"),
        (ControlFrames::Manual, told, "-"),
    ] {
        let config = config(|config| config.control = control);
        let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
        let mut server = Endpoint::<Server>::new(&config, &mut memory);
        server.frame(PING, b"x");
        server.frame(PONG, b"x");
        server.frame(CLOSE, &close_body(1001, "bye"));
        let wire = server.sent();
        assert_eq!((server.events.clone(), &name(&wire)[..]), (events, sent), "{control:?}");
        // The Pong has the payload of the Ping.
        assert!(wire.iter().all(|frame| frame.first != PONG || frame.payload == b"x"), "{wire:?}");
        assert_eq!(server.connection.close_reason(), "bye");
    }
}

/// By hand: the application answers, in its own time and with its own code.
#[test]
fn control_frames_may_be_answered_by_the_caller() {
    let config = config(|config| config.control = ControlFrames::Manual);
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
    let mut server = Endpoint::<Server>::new(&config, &mut memory);
    server.frame(PING, b"1");
    server.out().pong(b"1").expect("room");
    server.frame(CLOSE, &close_body(1001, "bye"));
    assert_eq!(server.connection.state(), ConnectionState::Closing);
    // "An endpoint MAY delay sending a Close frame until its current message is sent"
    server.out().send("last words").expect("room");
    server.after(1000);
    server.out().close(CloseCode::new(4000), "fin").expect("room");
    let (sent, last) = server.finish();
    assert_eq!(name(&sent), "Pong, data, Close 4000");
    assert_eq!(sent[2].payload, close_body(4000, "fin"));
    assert_eq!(cause(&last), "Clean 1001 4000");
}

/// The peer's Close waits for a frame of ours that is half sent.
#[test]
fn a_close_waits_for_the_end_of_a_frame() {
    let config = Config::new();
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
    let mut client = Endpoint::<TestClient>::new(&config, &mut memory);
    client.out().begin_frame(Kind::Binary, 4, true).expect("room");
    client.frame(CLOSE, &close_body(1000, ""));
    assert_eq!(client.connection.state(), ConnectionState::Closing);
    assert_eq!(client.out().write(b"late"), Ok(4));
    client.run();
    assert_eq!(name(&client.sent()), "data, Close 1000");
    assert_eq!(cause(&client.finish().1), "Clean 1000 1000");
}

/// The same where the application never ends it: no Close can be sent, and that is the end.
#[test]
fn a_frame_that_is_never_ended_ends_the_connection() {
    let config = Config::new();
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
    let mut server = Endpoint::<Server>::new(&config, &mut memory);
    server.out().begin_frame(Kind::Binary, 4, true).expect("room");
    server.frame(CLOSE, &close_body(1000, ""));
    server.written();
    assert_eq!(server.at_deadline(), ["Shutdown", "Done"]);
    assert_eq!(server.closed.map(|c| cause(&c)), Some("Close timeout 1000 -".into()));
    // And where the peer breaks a rule meanwhile.
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
    let mut server = Endpoint::<Server>::new(&config, &mut memory);
    server.out().begin_frame(Kind::Binary, 4, true).expect("room");
    server.written();
    assert_eq!(server.feed(&[0xFF]), ["Shutdown", "Wait"]);
    assert_eq!(server.out().write(b"late"), Err(SendError::Closed));
    assert_eq!(cause(&server.finish().1), "Violation - -");
    assert!(server.tx.is_empty());
}

/// Its Close finds no room at first; it is sent, and the connection ends cleanly.
#[test]
fn a_close_waits_for_room() {
    fn run<R: TestRole>() {
        let config = Config::new();
        let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
        let mut end = Endpoint::<R>::new(&config, &mut memory);
        end.out().send("x".repeat(125).as_str()).expect("room");
        while end.out().ping(b"").is_ok() {}
        end.frame(CLOSE, &close_body(3000, ""));
        assert_eq!(end.connection.state(), ConnectionState::Closing);
        let before = end.sent();
        assert!(before.iter().all(|sent| sent.first != CLOSE));
        end.run();
        assert_eq!(name(&end.sent()), "Close 3000");
        assert_eq!(cause(&end.finish().1), "Clean 3000 3000");
    }
    run::<Server>();
    run::<TestClient>();
}

/// Nothing can be sent on a connection that has ended, whatever ended it, and nothing changes any more.
#[test]
fn the_end_is_final() {
    fn run<R: TestRole>(
        end_it: impl Fn(&mut Endpoint<R>),
        state: ConnectionState,
        end: EndReason,
        sent: Option<u16>,
    ) {
        let config = Config::new();
        let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
        let mut it = Endpoint::<R>::new(&config, &mut memory);
        // Something that is never written, with no room behind it for a Close.
        it.out().send("x".repeat(125).as_str()).expect("room");
        while it.out().send("").is_ok() {}
        it.run();
        end_it(&mut it);
        assert_eq!(it.connection.state(), state);
        assert_refused(&mut it);
        while it.closed.is_none() {
            it.at_deadline();
        }
        let cause = it.closed.expect("closed");
        assert_eq!((cause.reason, cause.received, cause.sent.map(CloseCode::get)), (end, None, sent));
        // Room, time, input and calls: the endpoint asserts that the cause stays the same.
        it.run();
        it.written();
        it.run();
        assert_refused(&mut it);
        it.after(1_000_000);
        it.frame(CLOSE, b"");
        it.feed(&[0xFF]);
        it.eof();
        it.poll_without_receiving();
        it.connection.transport_failed();
        it.run();
        assert!(it.connection.receive_external(it.now, &mut [0xFF; 4]).is_none());
        it.run();
        assert!(it.tx.is_empty(), "nothing is sent any more");
        assert_eq!(it.connection.state(), ConnectionState::Closed);
    }
    fn assert_refused<R: TestRole>(it: &mut Endpoint<R>) {
        let before = it.tx.pending().to_vec();
        assert_eq!(it.out().send(""), Err(SendError::Closed));
        assert_eq!(it.out().fragment(Kind::Text, b"", true), Err(SendError::Closed));
        assert_eq!(it.out().begin_frame(Kind::Text, 1, true), Err(SendError::Closed));
        assert_eq!(it.out().send_fragmented(Kind::Text, &mut &b"x"[..], true), Err(SendError::Closed));
        assert_eq!(it.out().ping(b""), Err(SendError::Closed));
        assert_eq!(it.out().pong(b""), Err(SendError::Closed));
        assert_eq!(it.out().close(None, ""), Err(SendError::Closed));
        assert_eq!(it.tx.pending(), before);
    }
    fn both<R: TestRole>() {
        let violation = EndReason::Violation(Violation::ReservedOpcode(15));
        run::<R>(
            |it| it.connection.transport_failed(),
            ConnectionState::Closed,
            EndReason::Disconnected,
            None,
        );
        run::<R>(|it| drop(it.eof()), ConnectionState::Closing, EndReason::Disconnected, None);
        run::<R>(|it| drop(it.feed(&[0xFF])), ConnectionState::Closing, violation, None);
        run::<R>(
            |it| {
                it.feed(&[0xFF]);
                it.connection.transport_failed();
            },
            ConnectionState::Closed,
            violation,
            None,
        );
        run::<R>(
            |it| drop(it.after(30_000)),
            ConnectionState::Closed,
            EndReason::Timeout(Timeout::Write),
            None,
        );
    }
    both::<Server>();
    both::<TestClient>();
}

/// Payload that was read elsewhere for a connection that has ended meanwhile is not delivered.
#[test]
fn external_reads_end_with_the_connection() {
    let config = Config::new();
    for failed in [true, false] {
        let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
        let mut server = Endpoint::<Server>::new(&config, &mut memory);
        server.feed(&header(TEXT, Some(KEY), 1000));
        assert_eq!(server.connection.external_read_limit(&server.rx), 1000);
        server.out().ping(b"").expect("room");
        server.run();
        if failed {
            server.connection.transport_failed();
        } else {
            // The peer takes nothing.
            server.after(60_000);
        }
        assert_eq!(server.connection.external_read_limit(&server.rx), 0);
        server.run();
        let was = server.closed.expect("closed");
        assert!(server.connection.receive_external(server.now, &mut [b'x'; 100]).is_none());
        assert!(server.connection.receive_external(server.now, &mut [0xFF; 100]).is_none());
        server.run();
        assert_eq!(server.closed, Some(was));
    }
}

/// A Pong that nobody asked for, and a second Close of ours.
#[test]
fn nothing_is_sent_while_closing() {
    let config = Config::new();
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
    let mut client = Endpoint::<TestClient>::new(&config, &mut memory);
    client.out().pong(b"alive").expect("room");
    client.out().fragment(Kind::Text, b"never ended", false).expect("room");
    client.out().close(None, "").expect("room");
    for result in [
        client.out().send(""),
        client.out().fragment(Kind::Text, b"", true),
        client.out().begin_frame(Kind::Text, 0, true),
        client.out().send_fragmented(Kind::Text, &mut &b"x"[..], true),
        client.out().ping(b""),
        client.out().close(None, ""),
    ] {
        assert_eq!(result, Err(SendError::Closed));
    }
    // What the peer had on its way still arrives.
    client.frame(TEXT, b"on its way");
    client.frame(CLOSE, b"");
    assert_eq!(messages(&client.events).len(), 1);
    assert_eq!(name(&client.sent()), "Pong, data, Close");
    let (_, last) = client.finish();
    assert_eq!((cause(&last), last.code()), ("Clean - -".into(), 1005));
}

/// A second event does not depend on the first one's payload being looked at.
#[test]
fn events_come_in_order() {
    let config = config(|config| config.control = ControlFrames::Reported);
    let mut memory = Memory::new(500, MIN_BUFFER_LEN);
    let mut server = Endpoint::<Server>::new(&config, &mut memory);
    let wire = [
        Server::incoming(TEXT, b"one"),
        Server::incoming(PING, b"two"),
        Server::incoming(BINARY, &[3; 200]),
        Server::incoming(CLOSE, b""),
    ];
    assert_eq!(server.feed(&wire.concat()), ["Event", "Event", "Event", "Event", "Wait"]);
    let Got::Data(third) = &server.events[2] else { panic!("{:?}", server.events) };
    assert_eq!(third.payload, [3; 200]);
    assert_eq!(name(&server.sent()), "Pong, Close");
    assert_eq!(server.run(), ["Shutdown", "Wait"]);
}

// ---- time ----

/// The deadline that was named may have been put off since: when it comes nothing happens, but that the right one is named.
fn put_off<R: Role>(endpoint: &mut Endpoint<R>, millis: u64) {
    let right = Instant::from_millis(millis);
    while endpoint.deadline.is_some_and(|deadline| deadline < right) {
        let waits = endpoint.tx.pending().len();
        assert_eq!(endpoint.at_deadline(), ["Wait"]);
        assert_eq!(endpoint.tx.pending().len(), waits);
    }
    assert_eq!(endpoint.deadline, Some(right));
}

/// Lets time pass until then.
fn until<R: Role>(endpoint: &mut Endpoint<R>, millis: u64) -> Vec<&'static str> {
    endpoint.after(millis - endpoint.now.as_micros() / 1000)
}

#[test]
fn a_silent_peer_is_disconnected_at_the_idle_deadline() {
    let config = config(|config| config.timeouts.idle = seconds(60));
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
    let mut server = Endpoint::<Server>::new(&config, &mut memory);
    assert_eq!(server.run(), ["Wait"]);
    assert_eq!(server.deadline, Some(Instant::from_millis(60_000)));
    // Anything that arrives is a sign of life, be it a part of a frame.
    for piece in [&Server::incoming(PONG, b"")[..], &Server::incoming(TEXT, b"x"), &[TEXT], &[0x83]] {
        server.after(59_999);
        server.feed(piece);
    }
    put_off(&mut server, 4 * 59_999 + 60_000);
    until(&mut server, 5 * 59_999);
    assert!(server.tx.is_empty());
    server.after(1);
    assert_eq!(name(&server.sent()), "Close 1001");
    assert_eq!(server.run(), ["Shutdown", "Wait"]);
    assert_eq!(
        server.deadline,
        Some(Instant::from_millis(5 * 59_999 + 1 + 5000)),
        "a whole wait for the end"
    );
    assert_eq!(server.at_deadline(), ["Done"]);
    assert_eq!(server.closed.map(|c| cause(&c)), Some("Idle timeout - 1001".into()));
}

#[test]
fn a_ping_is_sent_and_a_missing_pong_disconnects() {
    let config = config(|config| (config.timeouts.ping, config.timeouts.pong) = (seconds(30), seconds(20)));
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
    let mut client = Endpoint::<TestClient>::new(&config, &mut memory);
    client.run();
    for answer in [Some((PONG, &b""[..])), Some((TEXT, b"as good")), None] {
        let begin = client.now.as_micros() / 1000;
        put_off(&mut client, begin + 30_000);
        until(&mut client, begin + 29_999);
        assert!(client.tx.is_empty());
        client.after(1);
        assert_eq!(name(&client.sent()), "Ping");
        assert_eq!(client.deadline, Some(Instant::from_millis(begin + 50_000)));
        // One is enough.
        client.after(19_999);
        assert!(client.tx.is_empty());
        match answer {
            Some((first, payload)) => {
                client.frame(first, payload);
            }
            None => assert_eq!(client.after(1), ["Wait"]),
        }
    }
    assert_eq!(name(&client.sent()), "Close 1001");
    let at = client.now.as_micros() / 1000;
    assert_eq!(client.run(), ["Shutdown", "Wait"]);
    assert_eq!(client.deadline, Some(Instant::from_millis(at + 5000)));
    assert_eq!(cause(&client.finish().1), "Pong timeout - 1001");
}

/// The answer to a Ping makes the deadline of the next one, which may be earlier than that of the answer was.
#[test]
fn a_ping_that_was_answered_is_followed_by_another() {
    for pong in [seconds(60), None] {
        for control in [ControlFrames::Automatic, ControlFrames::Reported] {
            for first in [TEXT, PONG] {
                let config = config(|config| {
                    (config.timeouts.ping, config.timeouts.pong, config.control) =
                        (seconds(10), pong, control);
                });
                let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
                let mut server = Endpoint::<Server>::new(&config, &mut memory);
                server.run();
                for round in 0..3 {
                    assert_eq!(server.deadline, Some(Instant::from_millis(round * 11_000 + 10_000)));
                    server.at_deadline();
                    assert_eq!(name(&server.sent()), "Ping");
                    server.written();
                    server.after(1_000);
                    server.frame(first, b"");
                }
            }
        }
    }
}

/// An event between the sending and the waiting does not hide the deadline for what was sent.
#[test]
fn an_event_does_not_hide_the_write_deadline() {
    for control in [ControlFrames::Automatic, ControlFrames::Reported, ControlFrames::Manual] {
        let config = config(|config| (config.timeouts.write, config.control) = (seconds(10), control));
        let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
        let mut server = Endpoint::<Server>::new(&config, &mut memory);
        server.run();
        server.out().send("x").expect("room");
        server.frame(PONG, b"");
        assert_eq!(server.deadline, Some(Instant::from_millis(10_000)));
        assert_eq!(server.at_deadline(), ["Done"]);
        assert_eq!(server.closed.map(|c| c.reason), Some(EndReason::Timeout(Timeout::Write)));
    }
}

/// A Ping that found no room goes as soon as there is some.
#[test]
fn a_ping_without_room_is_tried_again() {
    let config = config(|config| {
        (config.timeouts.ping, config.timeouts.pong) = (seconds(20), seconds(10));
        (config.timeouts.idle, config.timeouts.write) = (seconds(45), seconds(60));
    });
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
    let mut server = Endpoint::<Server>::new(&config, &mut memory);
    server.run();
    server.out().send(&[0; MIN_BUFFER_LEN - 4]).expect("room");
    server.run();
    server.after(20_000);
    server.after(1_000);
    assert_eq!(name(&server.sent()), "data");
    server.written();
    server.run();
    assert_eq!(name(&server.sent()), "Ping");
    assert_eq!(server.deadline, Some(Instant::from_millis(31_000)));
}

/// A flood of Pings within a second, be it in one read or in many, ends with 1008; the same number in two seconds does not.
#[test]
fn pings_a_second_have_a_limit() {
    let config = config(|config| config.limits.pings_per_second = Some(3));
    for at_once in [true, false] {
        let mut memory = Memory::new(500, 500);
        let mut server = Endpoint::<Server>::new(&config, &mut memory);
        server.run();
        for _ in 0..2 {
            let pings = Server::incoming(PING, b"x");
            if at_once {
                server.rx.feed(&pings.repeat(3));
                server.run();
            } else {
                (0..3).for_each(|_| drop(server.frame(PING, b"x")));
            }
            assert_eq!(server.connection.state(), ConnectionState::Open);
            server.written();
            server.after(2_000);
        }
        server.rx.feed(&Server::incoming(PING, b"x").repeat(4));
        server.run();
        assert_eq!(name(&server.sent()), "Pong, Pong, Pong, Close 1008");
        assert_eq!(server.finish().1.reason, EndReason::Violation(Violation::TooManyPings));
    }
}

/// The Pong lies in the buffer, or data that came after the Ping does, when the time is up.
#[test]
fn a_pong_in_the_buffer_is_not_missing() {
    for first in [PONG, PING, TEXT] {
        let config =
            config(|config| (config.timeouts.ping, config.timeouts.pong) = (seconds(30), seconds(20)));
        let mut memory = Memory::new(500, MIN_BUFFER_LEN);
        let mut server = Endpoint::<Server>::new(&config, &mut memory);
        server.run();
        server.after(30_000);
        assert_eq!(name(&server.sent()), "Ping");
        server.rx.feed(&Server::incoming(first, b"x").repeat(3));
        server.after(20_000);
        assert_eq!((server.closed, server.connection.state()), (None, ConnectionState::Open));
        assert_eq!(server.deadline, Some(Instant::from_millis(80_000)));
        // A late poll: long after both deadlines it is still the Ping that comes first.
        server.written();
        server.after(500_000);
        assert_eq!(name(&server.sent()), "Ping");
        assert_eq!(server.connection.state(), ConnectionState::Open);
    }
}

/// An application that takes no events for a while is not told that the peer was silent.
#[test]
fn no_deadline_of_the_peer_passes_while_nothing_is_received() {
    let config = config(|config| {
        (config.timeouts.ping, config.timeouts.pong, config.timeouts.idle) =
            (seconds(30), seconds(20), seconds(60));
    });
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
    let mut server = Endpoint::<Server>::new(&config, &mut memory);
    server.run();
    // The answer, and behind it so much that the buffer is full.
    server.rx.feed(&Server::incoming(PONG, b""));
    server.rx.feed(&Server::incoming(TEXT, &[b'x'; 120]));
    for second in 1..100 {
        server.now = Instant::from_millis(second * 1000);
        assert_eq!(server.poll_without_receiving(), "Wait");
        server.written();
    }
    assert_eq!(server.connection.state(), ConnectionState::Open);
    assert_eq!(server.run(), ["Event", "Wait"]);
    server.after(29_000);
    assert_eq!(server.connection.state(), ConnectionState::Open, "and its time begins anew");
}

/// A Ping cannot go inside a frame: it goes when the frame has ended, and nothing spins until then.
#[test]
fn a_ping_waits_for_the_end_of_a_frame() {
    let config = config(|config| (config.timeouts.ping, config.timeouts.pong) = (seconds(30), seconds(20)));
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
    let mut server = Endpoint::<Server>::new(&config, &mut memory);
    server.out().begin_frame(Kind::Binary, 2, true).expect("room");
    server.written();
    server.run();
    server.after(40_000);
    assert!(server.tx.is_empty());
    assert_eq!(server.out().write(&[1, 2]), Ok(2));
    server.written();
    server.run();
    assert_eq!(name(&server.sent()), "Ping");
    server.run();
    assert_eq!(server.deadline, Some(Instant::from_millis(60_000)));
}

#[test]
fn a_blocked_write_has_a_deadline() {
    let config = config(|config| config.timeouts.write = seconds(30));
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
    let mut server = Endpoint::<Server>::new(&config, &mut memory);
    server.run();
    assert_eq!(server.deadline, None);
    server.after(100_000);
    server.out().send("x".repeat(100).as_str()).expect("room");
    server.run();
    assert_eq!(server.deadline, Some(Instant::from_millis(130_000)));
    // One byte is a sign of life of its own; more to send is none.
    server.after(29_999);
    server.tx.consume(1);
    server.run();
    put_off(&mut server, 159_999);
    until(&mut server, 158_999);
    server.out().send("x").expect("room");
    server.frame(TEXT, b"receiving is no writing");
    assert_eq!(server.deadline, Some(Instant::from_millis(159_999)));
    // All of it, and something new: the time begins anew.
    server.written();
    server.out().send("x").expect("room");
    server.run();
    put_off(&mut server, 188_999);
    assert_eq!(server.at_deadline(), ["Done"]);
    assert_eq!(server.closed.map(|c| cause(&c)), Some("Write timeout - -".into()));
}

/// What the connection sends by itself has a deadline as well, in the very same poll.
#[test]
fn a_blocked_reply_has_a_deadline() {
    let config = config(|config| (config.timeouts.ping, config.timeouts.write) = (seconds(10), seconds(30)));
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
    let mut server = Endpoint::<Server>::new(&config, &mut memory);
    server.run();
    server.at_deadline();
    assert_eq!(name(&whole_frames(server.tx.pending())), "Ping");
    assert_eq!(server.deadline, Some(Instant::from_millis(40_000)));
    assert_eq!(server.at_deadline(), ["Done"]);
    assert_eq!(server.closed.map(|c| c.reason), Some(EndReason::Timeout(Timeout::Write)));
    // The Pong that waited for room.
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
    let mut server = Endpoint::<Server>::new(&config, &mut memory);
    server.out().begin_frame(Kind::Binary, 4, true).expect("room");
    server.frame(PING, b"");
    assert_eq!(server.out().write(b"1234"), Ok(4));
    server.written();
    server.step();
    assert_eq!(name(&whole_frames(server.tx.pending())), "Pong");
    assert_eq!(server.deadline, Some(Instant::from_millis(10_000)));
    server.at_deadline();
    assert_eq!(server.deadline, Some(Instant::from_millis(30_000)));
}

/// All deadlines off: none is given.
#[test]
fn without_a_close_timeout_closing_has_no_deadline() {
    let config = config(|config| config.timeouts.close = None);
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
    let mut client = Endpoint::<TestClient>::new(&config, &mut memory);
    client.out().ping(b"").expect("room");
    client.run();
    assert_eq!(client.deadline, None);
    client.out().close(None, "").expect("room");
    client.run();
    assert_eq!(client.deadline, None);
    client.written();
    client.frame(CLOSE, b"");
    assert_eq!(client.deadline, None);
    client.after(u64::MAX >> 20);
    assert_eq!(client.eof(), ["Shutdown", "Done"]);
}

/// Whatever the deadlines are and however the peer behaves: who only ever sleeps until the deadline makes
/// progress with each, and gets to the end.
#[test]
fn sleeping_until_each_deadline_ends() {
    let choices = [None, Some(Duration::ZERO), Some(Duration::from_micros(1)), seconds(7)];
    for case in 0..choices.len().pow(4) {
        let pick = |digit: u32| choices[case / choices.len().pow(digit) % choices.len()];
        let config = config(|config| {
            let times = &mut config.timeouts;
            (times.idle, times.ping, times.pong, times.write) = (pick(0), pick(1), pick(2), pick(3));
        });
        for takes in [false, true] {
            let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
            let mut server = Endpoint::<Server>::new(&config, &mut memory);
            let mut rounds = 0;
            server.run();
            while let (None, Some(deadline)) = (server.closed, server.deadline) {
                server.now = deadline;
                server.run();
                if takes {
                    server.written();
                    server.run();
                }
                rounds += 1;
                assert!(rounds < 20, "{config:?}");
            }
            if config.timeouts.idle.is_some() {
                assert!(server.closed.is_some(), "{config:?}");
            }
        }
    }
}

// ---- the application fails ----

/// Does nothing but fail.
struct Failing(HandlerError);

impl Handler for Failing {
    fn request<'s>(&'s mut self, _: &Request<'_>) -> Decision<'s> {
        unreachable!("there is no handshake")
    }

    fn event(&mut self, _: Event<'_>, _: &mut Outbox<'_>) -> Result<(), HandlerError> {
        Err(self.0)
    }
}

#[test]
fn a_handler_that_fails_closes_the_connection() {
    fn run(open: bool, full: bool, halt: HandlerError) -> (String, Ending) {
        let config = Config::new();
        let (mut rx, mut tx) = ([0; MIN_BUFFER_LEN], [0; MIN_BUFFER_LEN]);
        let mut rx = ReceiveBuffer::new(&mut rx).expect("enough");
        let mut tx = TransmitBuffer::new(&mut tx).expect("enough");
        let mut connection = Connection::new(Server, &config, Instant::START);
        if open {
            connection.outbox(Instant::START, &mut tx).begin_frame(Kind::Binary, 9, true).expect("room");
            tx.consume(usize::MAX);
        }
        if full {
            while connection.outbox(Instant::START, &mut tx).ping(b"").is_ok() {}
        }
        let mut driver = HandlerDriver::new(connection, None);
        rx.feed(&Server::incoming(TEXT, b"x"));
        let mut sent = Vec::new();
        for _ in 0..10 {
            let step = driver.poll(Instant::START, &mut Failing(halt), &mut rx, &mut tx);
            sent.extend(tx.pending());
            tx.consume(usize::MAX);
            match step {
                Step::Done(cause) => return (name(&whole_frames(&sent)).replace("Ping, ", ""), cause),
                Step::Shutdown => rx.end(),
                _ if connection_is_waiting(&driver) => {
                    rx.feed(&Server::incoming(CLOSE, &close_body(1001, "")));
                }
                _ => {}
            }
        }
        panic!("it does not end")
    }
    fn connection_is_waiting(driver: &HandlerDriver<Server, NoExtension, &Config>) -> bool {
        driver.connection().state() == ConnectionState::Closing
    }
    let halt = HandlerError::Close(CloseCode::SERVICE_RESTART, "update");
    let (sent, end) = run(false, false, halt);
    assert_eq!((&sent[..], &cause(&end)[..]), ("Close 1012", "Clean 1001 1012"));
    // No room for the reason: the code comes as soon as there is some.
    let (sent, end) = run(false, true, halt);
    assert_eq!((&sent[..], &cause(&end)[..]), ("Close 1012", "Clean 1001 1012"));
    // Inside a frame no Close can follow.
    let (sent, end) = run(true, false, halt);
    assert_eq!((&sent[..], &cause(&end)[..]), ("-", "UnfinishedFrame - -"));
}

// ---- what must compile ----

/// An event is returned out of a loop, as it borrows nothing.
fn read<R: Role, X: Extension>(
    connection: &mut Connection<R, X, &Config>,
    rx: &mut ReceiveBuffer<'_>,
    tx: &mut TransmitBuffer<'_>,
    mut turn: impl FnMut(&mut ReceiveBuffer<'_>, &mut TransmitBuffer<'_>),
) -> Option<DetachedEvent> {
    loop {
        match connection.poll_detached(Instant::START, rx, tx) {
            Step::Event(event) => return Some(event),
            Step::Wait { .. } | Step::Shutdown => turn(rx, tx),
            Step::Done(_) => return None,
        }
    }
}

/// The payload is borrowed from the receive buffer while it is sent.
fn echo<R: Role, X: Extension>(
    connection: &mut Connection<R, X, &Config>,
    rx: &mut ReceiveBuffer<'_>,
    tx: &mut TransmitBuffer<'_>,
) -> Result<(), SendError> {
    while let Step::Event(event) = connection.poll(Instant::START, rx, tx) {
        if let Event::Data(data) = event {
            connection.outbox(Instant::START, tx).fragment(data.kind, &data.payload, data.end)?;
        }
    }
    Ok(())
}

#[test]
fn a_loop_reads_and_echoes_without_a_copy() {
    let config = config(|config| config.delivery = Delivery::Chunks);
    let (mut memory, mut more) = ([0; MIN_BUFFER_LEN], [0; MIN_BUFFER_LEN]);
    let mut rx = ReceiveBuffer::new(&mut memory).expect("enough");
    let mut tx = TransmitBuffer::new(&mut more).expect("enough");
    let mut connection = Connection::new(Server, &config, Instant::START);
    let wire = Server::incoming(TEXT, b"Hello");
    let mut bytes = wire.chunks(1);
    let mut text: Vec<u8> = Vec::new();
    loop {
        let event = read(&mut connection, &mut rx, &mut tx, |rx, _| match bytes.next() {
            Some(byte) => drop(rx.feed(byte)),
            None => rx.end(),
        });
        let Some(event) = event else { break };
        if let Event::Data(data) = rx.event(event) {
            text.extend(data.payload.as_bytes());
        }
    }
    assert_eq!(text, b"Hello");

    let mut connection = Connection::new(Server, &config, Instant::START);
    let mut rx = ReceiveBuffer::new(&mut memory).expect("enough");
    let mut client = Connection::new(client(), &config, Instant::START);
    let wire = [Server::incoming(TEXT_PART, b"Hel"), Server::incoming(LAST, b"lo")].concat();
    for piece in wire.chunks(5) {
        rx.feed(piece);
        echo(&mut connection, &mut rx, &mut tx).expect("room");
    }
    let mut back = [0; MIN_BUFFER_LEN];
    let mut rx = ReceiveBuffer::new(&mut back).expect("enough");
    rx.feed(tx.pending());
    tx.consume(usize::MAX);
    let mut text: Vec<u8> = Vec::new();
    while let Some(event) = read(&mut client, &mut rx, &mut tx, |rx, _| rx.end()) {
        if let Event::Data(data) = rx.event(event) {
            text.extend(data.payload.as_bytes());
        }
    }
    assert_eq!(text, b"Hello");
}
