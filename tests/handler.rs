//! What a `Handler` can rely on with every adapter: `ServerSession` calls it.

mod session_driver;
mod wire;

use std::time::Duration;

use sansocket::config::ControlFrames;
use sansocket::error::{EndReason, Timeout, Violation};
use sansocket::handshake::{Decision, Request};
use sansocket::session::Outcome;
use sansocket::{Chunk, CloseCode, Config, Ending, Event, Handler, HandlerError, Instant, Kind, Outbox};
use session_driver::*;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

enum Call<'p> {
    Opened,
    Event(Event<'p>),
    Writable,
    Timer,
}

/// A handler that does in each call what a test says, and notes the calls.
struct Probe<F> {
    act: F,
    deadline: Option<Instant>,
    calls: Vec<&'static str>,
    closed: Vec<(Ending, String)>,
}

impl<F: FnMut(Instant, Call<'_>, &mut Option<Instant>, &mut Outbox<'_>) -> Result<(), HandlerError>>
    Probe<F>
{
    fn new(act: F) -> Self {
        Self { act, deadline: None, calls: vec![], closed: vec![] }
    }

    fn call(
        &mut self,
        name: &'static str,
        now: Instant,
        call: Call<'_>,
        out: &mut Outbox<'_>,
    ) -> Result<(), HandlerError> {
        assert!(self.closed.is_empty(), "{name} after closed");
        self.calls.push(name);
        (self.act)(now, call, &mut self.deadline, out)
    }

    fn count(&self, name: &str) -> usize {
        self.calls.iter().filter(|call| **call == name).count()
    }
}

impl<F: FnMut(Instant, Call<'_>, &mut Option<Instant>, &mut Outbox<'_>) -> Result<(), HandlerError>> Handler
    for Probe<F>
{
    fn request<'s>(&'s mut self, request: &Request<'_>) -> Decision<'s> {
        accept(request)
    }

    fn opened(&mut self, _: Option<&str>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let now = out.now();
        self.call("opened", now, Call::Opened, out)
    }

    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let now = out.now();
        self.call("event", now, Call::Event(event), out)
    }

    fn writable(&mut self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let now = out.now();
        self.call("writable", now, Call::Writable, out)
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn timer(&mut self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let now = out.now();
        assert!(self.deadline.is_some_and(|at| at <= now), "too early");
        self.call("timer", now, Call::Timer, out)
    }

    fn closed(&mut self, cause: &Ending, reason: &str) {
        self.closed.push((*cause, reason.to_owned()));
    }
}

/// The last frame that a server has sent, a Close with this code and reason.
fn close(code: u16, reason: &str) -> Frame {
    frame(true, 8, [&code.to_be_bytes(), reason.as_bytes()].concat())
}

/// The Close after a mistake in sending. Firmware with feature `small` has no texts.
fn mistake_close(reason: &str) -> Frame {
    close(1011, if cfg!(all(feature = "small", not(feature = "std"))) { "" } else { reason })
}

/// All that a chunk says, and its payload.
fn parts(data: &Chunk<'_>) -> (Kind, [bool; 3], [u64; 2], Vec<u8>) {
    (data.kind, [data.start, data.end, data.fin], [data.offset, data.remaining], data.payload.to_vec())
}

#[test]
fn an_event_comes_again_less_what_was_taken() {
    let config = Config::new();
    let text: Vec<u8> = (0..100).map(|i| b'a' + i % 26).collect();
    let input =
        [masked(0x01, &text[..60]), masked(0x80, &text[60..]), masked(0x82, b""), masked(0x82, &[7; 20])]
            .concat();
    for (rx, tx) in [(140, 140), (1000, 140), (140, 1000)] {
        for (taking, take) in [(0, 1), (1, 3), (3, 1), (3, 150), (7, usize::MAX), (100, 1)] {
            let mut memory = Memory::new(300, rx, tx);
            for size in [1, 10, input.len()] {
                let mut got: Vec<(Kind, Vec<u8>)> = Vec::new();
                // What the next event has to be: the last one, less what was taken of it.
                let mut again = None;
                let mut refusals = 0;
                let mut drive = Drive::new(
                    &mut memory,
                    &config,
                    Probe::new(|_, call, _, out| {
                        let Call::Event(Event::Data(data)) = call else { return Ok(()) };
                        if let Some(rest) = again.take() {
                            assert_eq!(parts(&data), rest);
                        }
                        if data.start && !data.payload.is_empty() {
                            assert_eq!(data.offset, 0);
                        }
                        let mut taken = data.payload.len().min(taking);
                        if taking == 0 {
                            // Refused twice, then taken whole.
                            refusals = (refusals + 1) % 3;
                            taken = if refusals == 0 { data.payload.len() } else { 0 };
                        }
                        let done = taken == data.payload.len() && (taking > 0 || refusals == 0);
                        if data.start && (taken > 0 || done) {
                            got.push((data.kind, Vec::new()));
                        }
                        if let Some((_, bytes)) = got.last_mut() {
                            bytes.extend(&data.payload[..taken]);
                        }
                        if done {
                            return Ok(());
                        }
                        // Something has to be on its way for there to be something to wait for.
                        if out.is_empty() {
                            out.send(b"x")?;
                        }
                        let (kind, [start, end, fin], [offset, remaining], payload) = parts(&data);
                        again = Some((
                            kind,
                            [start && taken == 0, end, fin],
                            [offset + taken as u64, remaining],
                            payload[taken..].to_vec(),
                        ));
                        Err(HandlerError::Blocked { consumed: taken })
                    }),
                );
                drive.take = take;
                drive.open(&upgrade("/", &[]));
                drive.send_by(&input, size);
                drive.read_all();
                drive.finish();
                assert_eq!(drive.handler.closed.len(), 1);
                drop(drive);
                assert_eq!(
                    got,
                    [(Kind::Text, text.clone()), (Kind::Binary, vec![]), (Kind::Binary, vec![7; 20])]
                );
            }
        }
    }
}

#[test]
fn consuming_more_than_there_is_consumes_all() {
    let config = Config::new();
    let mut memory = Memory::new(300, 140, 140);
    let mut seen = Vec::new();
    let mut drive = Drive::new(
        &mut memory,
        &config,
        Probe::new(|_, call, _, out| {
            let Call::Event(Event::Data(data)) = call else { return Ok(()) };
            seen.push((data.start, data.payload.to_vec()));
            if !data.payload.is_empty() {
                out.send("x")?;
                return Err(HandlerError::Blocked { consumed: usize::MAX });
            }
            Ok(())
        }),
    );
    drive.open(&upgrade("/", &[]));
    drive.send(&masked(0x81, b"Hello"));
    drive.send(&masked(0x81, b"again"));
    drive.finish();
    drop(drive);
    let all = [(true, &b"Hello"[..]), (false, b""), (true, b"again"), (false, b"")];
    assert_eq!(seen, all.map(|(start, bytes)| (start, bytes.to_vec())));
}

#[test]
fn opened_comes_first_and_again_until_there_is_room() {
    let config = Config::new();
    let greeting = [b'g'; 100];
    for take in [1, 50, usize::MAX] {
        let mut memory = Memory::new(300, 140, 140);
        let mut left = 5;
        let mut drive = Drive::new(
            &mut memory,
            &config,
            Probe::new(|_, call, _, out| {
                match call {
                    Call::Opened => {
                        while left > 0 {
                            out.send(std::str::from_utf8(&greeting).unwrap())?;
                            left -= 1;
                        }
                    }
                    Call::Event(Event::Data(data)) => {
                        assert_eq!(left, 0, "an event before the connection was opened");
                        out.fragment(data.kind, &data.payload, true)?;
                    }
                    _ => assert_eq!(left, 0),
                }
                Ok(())
            }),
        );
        drive.take = take;
        // What the client says at once has to wait.
        drive.send(&[upgrade("/", &[]), masked(0x81, b"Hello")].concat());
        assert_eq!(Http::take(&mut drive.out).status, 101);
        let mut expected = vec![(1, greeting.to_vec()); 5];
        expected.push((1, b"Hello".to_vec()));
        assert_eq!(messages(&frames(&drive.taken())), expected);
        drive.finish();
        let opened = drive.handler.count("opened");
        assert!(opened > 1 && drive.handler.calls[..opened].iter().all(|call| *call == "opened"));
        assert_eq!(drive.handler.closed.len(), 1);
    }
}

#[test]
fn a_handler_that_is_blocked_with_nothing_pending_is_closed_with_1011() {
    let config = Config::new();
    let mut memory = Memory::new(300, 140, 140);
    for at in ["event", "writable", "timer"] {
        let mut drive = Drive::new(
            &mut memory,
            &config,
            Probe::new(|now, call, deadline: &mut Option<Instant>, _: &mut Outbox<'_>| {
                let here = match call {
                    Call::Opened => {
                        *deadline = Some(now.saturating_add(SECOND));
                        false
                    }
                    Call::Event(_) => at == "event",
                    Call::Writable => at == "writable",
                    Call::Timer => {
                        *deadline = None;
                        at == "timer"
                    }
                };
                if here { Err(HandlerError::Blocked { consumed: 0 }) } else { Ok(()) }
            }),
        );
        drive.open(&upgrade("/", &[]));
        drive.pass(SECOND);
        drive.feed(&masked(0x81, b"Hello"));
        assert_eq!(frames(&drive.taken()), [close(1011, "")], "{at}");
        drive.feed(&masked(0x88, &1011_u16.to_be_bytes()));
        drive.end();
        assert_eq!(drive.handler.closed.len(), 1);
        assert_eq!(drive.handler.closed[0].0.sent, Some(CloseCode::INTERNAL_ERROR));
    }
}

/// A handler that halts as `halt` says, the first time that `at` is called.
#[allow(clippy::type_complexity, reason = "said once")]
fn halting(
    at: &'static str,
    mut halt: impl FnMut(&mut Outbox<'_>) -> Result<(), HandlerError>,
) -> Probe<impl FnMut(Instant, Call<'_>, &mut Option<Instant>, &mut Outbox<'_>) -> Result<(), HandlerError>> {
    let mut done = false;
    Probe::new(move |now: Instant, call: Call<'_>, deadline: &mut Option<Instant>, out: &mut Outbox<'_>| {
        let name = match call {
            Call::Opened => {
                *deadline = Some(now.saturating_add(SECOND));
                "opened"
            }
            Call::Event(_) => "event",
            Call::Writable => "writable",
            Call::Timer => {
                *deadline = None;
                "timer"
            }
        };
        if name == at && !done {
            done = true;
            return halt(out);
        }
        Ok(())
    })
}

#[test]
fn a_handler_error_closes_with_its_code_and_reason() {
    let config = Config::new();
    let mut memory = Memory::new(300, 140, 140);
    let long = leak("r".repeat(123));
    let too_long = leak("r".repeat(124));
    for at in ["opened", "event", "writable", "timer"] {
        for (reason, sent) in [("", ""), ("that is enough", "that is enough"), (long, long), (too_long, long)]
        {
            for take in [1, usize::MAX] {
                let code = CloseCode::new(4000).unwrap();
                let mut drive =
                    Drive::new(&mut memory, &config, halting(at, |_| Err(HandlerError::Close(code, reason))));
                drive.take = take;
                drive.open(&upgrade("/", &[]));
                drive.pass(SECOND);
                drive.send(&masked(0x81, b"Hello"));
                let got = frames(&drive.taken());
                assert_eq!(got.len(), 1, "{at}, a reason of {} bytes", reason.len());
                // Where there is no room for the reason, the code has to do.
                assert!(got[0] == close(4000, sent) || got[0] == close(4000, ""), "{got:?}");
                assert!(at != "event" || got[0] == close(4000, sent), "{got:?}");
                drive.send(&masked(0x88, b"\x0F\xA1bye"));
                assert_eq!(drive.shutdowns, 1);
                drive.end();
                let received = CloseCode::new(4001);
                let cause = Ending { reason: EndReason::Clean, received, sent: Some(code) };
                assert_eq!(drive.outcome, Some(Outcome::Closed(cause)));
                assert_eq!(drive.handler.closed, [(cause, "bye".to_owned())]);
            }
        }
    }
}

#[test]
fn a_handler_error_closes_as_soon_as_there_is_room() {
    let config = Config::new();
    let mut memory = Memory::new(300, 140, 140);
    let mut drive = Drive::new(
        &mut memory,
        &config,
        halting("event", |out| {
            while out.send(&[0; 10]).is_ok() {}
            Err(HandlerError::Close(CloseCode::GOING_AWAY, "a reason that finds no room"))
        }),
    );
    drive.open(&upgrade("/", &[]));
    drive.take = 0;
    drive.send(&masked(0x81, b"Hello"));
    drive.read_all();
    let got = frames(&drive.taken());
    assert_eq!(*got.last().unwrap(), close(1001, ""));
    assert!(got.len() > 10 && got[..got.len() - 1].iter().all(|frame| frame.payload == [0; 10]));
}

#[test]
fn a_misused_sender_closes_with_1011() {
    let config = Config::new();
    let mut memory = Memory::new(300, 140, 140);
    type Mistake = fn(&mut Outbox<'_>) -> Result<(), HandlerError>;
    let mistakes: [(&str, Mistake); 4] = [
        ("frame too large to send", |out| Ok(out.send("x".repeat(139).as_str())?)),
        ("control frame too long", |out| Ok(out.ping(&[0; 126])?)),
        ("frame overrun", |out| Ok(out.write(b"nothing was begun").map(drop)?)),
        ("frame overrun", |out| Ok(out.begin_frame(Kind::Binary, 1 << 63, true)?)),
    ];
    for (reason, mistake) in mistakes {
        let mut drive = Drive::new(&mut memory, &config, halting("event", mistake));
        drive.open(&upgrade("/", &[]));
        drive.send(&masked(0x81, b"Hello"));
        assert_eq!(frames(&drive.taken()), [mistake_close(reason)]);
        drive.end();
        assert_eq!(drive.handler.closed.len(), 1);
    }
    // A message that is open: the Close goes between its fragments.
    let open = |out: &mut Outbox<'_>| {
        out.fragment(Kind::Text, b"begun", false)?;
        Ok(out.send(b"")?)
    };
    let mut drive = Drive::new(&mut memory, &config, halting("event", open));
    drive.open(&upgrade("/", &[]));
    drive.send(&masked(0x81, b"Hello"));
    assert_eq!(frames(&drive.taken()), [frame(false, 1, b"begun"), mistake_close("message not finished")]);
}

#[test]
fn an_unfinished_frame_ends_the_connection() {
    let config = Config::new();
    let mut memory = Memory::new(300, 140, 140);
    let abandon = |out: &mut Outbox<'_>| {
        out.begin_frame(Kind::Binary, 10, true)?;
        out.write(b"half ")?;
        Ok(out.send("something else")?)
    };
    let mut drive = Drive::new(&mut memory, &config, halting("event", abandon));
    drive.open(&upgrade("/", &[]));
    drive.send(&masked(0x81, b"Hello"));
    // No Close: the peer would read it as payload.
    assert_eq!(drive.taken(), b"\x82\x0Ahalf ");
    assert_eq!(drive.shutdowns, 1);
    drive.end();
    let cause = Ending { reason: EndReason::UnfinishedFrame, received: None, sent: None };
    assert_eq!(drive.handler.closed, [(cause, String::new())]);
}

#[test]
fn the_timer_is_called_at_its_deadline() {
    let config = Config::new();
    let mut memory = Memory::new(300, 140, 140);
    let mut drive = Drive::new(
        &mut memory,
        &config,
        Probe::new(|now, call, deadline: &mut Option<Instant>, out: &mut Outbox<'_>| {
            match call {
                Call::Opened => *deadline = Some(now.saturating_add(SECOND)),
                Call::Timer => {
                    out.send("tick")?;
                    *deadline = Some(now.saturating_add(SECOND));
                }
                Call::Event(_) => *deadline = None,
                Call::Writable => {}
            }
            Ok(())
        }),
    );
    drive.open(&upgrade("/", &[]));
    let start = drive.now;
    for tick in 1..10 {
        // The adapter gets it, not before and not twice.
        assert_eq!(drive.deadline, Some(start.saturating_add(tick * SECOND)));
        drive.now = start.saturating_add(tick * SECOND - Duration::from_micros(1));
        drive.pump();
        assert!(drive.out.is_empty());
        drive.pass(Duration::from_micros(1));
        drive.pump();
        assert_eq!(frames(&drive.taken()), [frame(true, 1, b"tick")]);
    }
    drive.send(&masked(0x81, b"stop"));
    drive.pass(5 * SECOND);
    assert!(drive.out.is_empty());
    drive.finish();
}

#[test]
fn a_blocked_timer_is_called_again_and_a_deadline_in_the_past_does_not_spin() {
    let config = Config::new();
    let mut memory = Memory::new(300, 140, 140);
    for stands in [false, true] {
        let mut drive = Drive::new(
            &mut memory,
            &config,
            Probe::new(|now, call, deadline: &mut Option<Instant>, out: &mut Outbox<'_>| {
                match call {
                    Call::Opened => *deadline = Some(now.saturating_add(SECOND)),
                    Call::Timer if stands => {}
                    Call::Timer => {
                        out.send("tick")?;
                        *deadline = None;
                    }
                    Call::Event(_) => while out.send(&[0; 10]).is_ok() {},
                    Call::Writable => {}
                }
                Ok(())
            }),
        );
        drive.open(&upgrade("/", &[]));
        drive.take = 0;
        drive.send(&masked(0x81, b"fill"));
        drive.pass(SECOND);
        for _ in 0..10 {
            drive.pass(MILLISECOND);
        }
        assert!(drive.handler.count("timer") <= 11, "{}", drive.handler.count("timer"));
        drive.read_all();
        let got = frames(&drive.taken());
        let ticks = got.iter().filter(|frame| frame.payload == b"tick").count();
        assert_eq!(ticks, usize::from(!stands));
        drive.finish();
    }
}

#[test]
fn writable_sends_a_long_message_in_parts() {
    let config = Config::new();
    for (tx, take) in [(140, 1), (140, usize::MAX), (1000, 300)] {
        let mut memory = Memory::new(300, 140, tx);
        let mut left = 1_000_u32;
        let mut drive = Drive::new(
            &mut memory,
            &config,
            Probe::new(|_, call, _, out| {
                if let Call::Writable = call {
                    assert!(out.is_empty(), "all that was sent has been written");
                    while left > 0 {
                        out.send(&left.to_be_bytes())?;
                        left -= 1;
                    }
                }
                Ok(())
            }),
        );
        drive.take = take;
        drive.open(&upgrade("/", &[]));
        let expected: Vec<_> = (1..=1_000_u32).rev().map(|i| frame(true, 2, i.to_be_bytes())).collect();
        assert!(frames(&drive.taken()) == expected);
        // Where nothing is sent, there is nothing to be told.
        let calls = drive.handler.calls.len();
        drive.pump();
        drive.pass(SECOND);
        drive.send(&masked(0x8A, b""));
        assert_eq!(drive.handler.calls.len(), calls);
        drive.finish();
    }
}

/// What a peer does, or time.
enum Act {
    Send(Vec<u8>),
    End,
    Reset,
    /// It reads so much at once from now on.
    Read(usize),
    /// The deadline passes.
    Time,
}

#[test]
fn closed_is_called_once_and_last_with_ending_and_reason() {
    let mut config = Config::new();
    config.timeouts.idle = Some(100 * SECOND);
    let code = |code| CloseCode::new(code);
    let send = |first, payload: &[u8]| Act::Send(masked(first, payload));
    let rule = EndReason::Violation;
    let late = EndReason::Timeout;
    let cases = [
        (vec![send(0x88, b"\x03\xE8bye"), Act::End], EndReason::Clean, code(1000), code(1000), "bye"),
        (vec![send(0x88, b""), Act::End], EndReason::Clean, None, None, ""),
        // The peer does not close: the deadline does.
        (vec![send(0x88, b"\x0F\xA0"), Act::Time], EndReason::Clean, code(4000), code(4000), ""),
        (vec![Act::End], EndReason::Disconnected, None, None, ""),
        (vec![Act::Reset], EndReason::Disconnected, None, None, ""),
        (vec![Act::Send(vec![0x82]), Act::End], EndReason::Disconnected, None, None, ""),
        (vec![send(0x83, b""), Act::End], rule(Violation::ReservedOpcode(3)), None, code(1002), ""),
        (vec![send(0x88, b"\x03\xED"), Act::End], rule(Violation::CloseCode(1005)), None, code(1002), ""),
        // A Ping, no Pong.
        (vec![Act::Time, Act::Time, Act::End], late(Timeout::Pong), None, code(1001), ""),
        // Ours, which the peer answers, and which it does not.
        (
            vec![send(0x81, b"close"), send(0x88, b"\x0F\xA1ok"), Act::End],
            EndReason::Clean,
            code(4001),
            code(4000),
            "ok",
        ),
        (vec![send(0x81, b"close"), Act::Time, Act::End], late(Timeout::Close), None, code(4000), ""),
        (vec![send(0x81, b"close"), Act::End], EndReason::Disconnected, None, code(4000), ""),
        (
            vec![Act::Read(0), send(0x82, &[0; 130]), Act::Time, Act::Time],
            late(Timeout::Write),
            None,
            None,
            "",
        ),
    ];
    for (i, (acts, end, received, sent, reason)) in cases.into_iter().enumerate() {
        let mut memory = Memory::new(300, 140, 140);
        let mut drive = Drive::new(
            &mut memory,
            &config,
            Probe::new(|_, call, _: &mut Option<Instant>, out: &mut Outbox<'_>| match call {
                Call::Event(Event::Data(data)) if *data.payload == *b"close" => {
                    Err(HandlerError::Close(CloseCode::new(4000).unwrap(), "enough"))
                }
                Call::Event(Event::Data(data)) => Ok(out.fragment(data.kind, &data.payload, true)?),
                _ => Ok(()),
            }),
        );
        drive.open(&upgrade("/", &[]));
        for act in acts {
            match act {
                Act::Send(bytes) => drive.send(&bytes),
                Act::End => drive.end(),
                Act::Reset => {
                    drive.session.transport_failed();
                    drive.pump();
                }
                Act::Read(n) => drive.take = n,
                Act::Time => drive.pass_deadline(),
            }
        }
        let cause = Ending { reason: end, received, sent };
        assert_eq!(drive.outcome, Some(Outcome::Closed(cause)), "case {i}");
        assert_eq!(drive.handler.closed, [(cause, reason.to_owned())], "case {i}");
        assert_eq!(drive.outcome.unwrap().is_disconnect(), end == EndReason::Disconnected);
        // Nothing is reported from here on.
        let calls = drive.handler.calls.len();
        drive.read_all();
        drive.end();
        drive.session.transport_failed();
        drive.pass(1_000 * SECOND);
        assert_eq!((drive.handler.calls.len(), drive.handler.closed.len()), (calls, 1));
    }
}

#[test]
fn an_application_may_answer_control_frames_itself() {
    let sent = [masked(0x89, b"one"), masked(0x8A, b"two"), masked(0x88, b"\x03\xE8three")].concat();
    for control in [ControlFrames::Automatic, ControlFrames::Reported, ControlFrames::Manual] {
        let mut config = Config::new();
        config.control = control;
        let mut memory = Memory::new(300, 140, 140);
        for size in [1, sent.len()] {
            let mut told = Vec::new();
            let mut drive = Drive::new(
                &mut memory,
                &config,
                Probe::new(|_, call, _, out| {
                    let Call::Event(event) = call else { return Ok(()) };
                    match event {
                        Event::Data(_) => panic!("no data was sent"),
                        Event::Ping(payload) => {
                            told.push(format!("ping {}", payload.escape_ascii()));
                            if control == ControlFrames::Manual {
                                out.pong(b"by hand")?;
                            }
                        }
                        Event::Pong(payload) => told.push(format!("pong {}", payload.escape_ascii())),
                        Event::Close(code, reason) => {
                            told.push(format!("close {} {}", code.unwrap().get(), reason.to_str().unwrap()));
                            if control == ControlFrames::Manual {
                                out.close(CloseCode::new(4000), "by hand")?;
                            }
                        }
                        other => panic!("{other:?}"),
                    }
                    Ok(())
                }),
            );
            drive.open(&upgrade("/", &[]));
            drive.send_by(&sent, size);
            drive.end();
            let expected = if control == ControlFrames::Manual {
                [frame(true, 10, b"by hand"), close(4000, "by hand")]
            } else {
                [frame(true, 10, b"one"), close(1000, "")]
            };
            assert_eq!(frames(&drive.out), expected);
            let reason = &drive.handler.closed[0].1;
            assert_eq!((reason.as_str(), drive.handler.closed.len()), ("three", 1));
            drop(drive);
            let all = ["ping one", "pong two", "close 1000 three"];
            assert_eq!(told, if control == ControlFrames::Automatic { &[][..] } else { &all });
        }
    }
}
