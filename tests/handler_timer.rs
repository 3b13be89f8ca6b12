//! When a handler's timer runs, and what a handler hears of a transport that has failed.

#[cfg(feature = "hub")]
mod hub_world;
mod session_driver;
mod wire;

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sansocket::config::Delivery;
use sansocket::embedded::{Transferred, Transport};
use sansocket::error::EndReason;
use sansocket::proto::NoExtension;
use sansocket::session::{Buffers, HandlerDriver};
use sansocket::{
    CloseCode, Config, Connection, Ending, Event, Handler, HandlerError, Instant, Outbox, ReceiveBuffer,
    Server, Step, TransmitBuffer, embedded,
};
use session_driver::*;
use wire::{KEY, header};

const MILLISECOND: Duration = Duration::from_millis(1);
const INTERVAL: Duration = Duration::from_millis(10);

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// Ticks every ten milliseconds; ends the connection after so many ticks.
struct Ticks {
    next: Instant,
    count: usize,
    most: usize,
}

impl Ticks {
    fn new(start: Instant) -> Self {
        Self { next: start.saturating_add(INTERVAL), count: 0, most: usize::MAX }
    }
}

impl Handler for Ticks {
    fn event(&mut self, _: Event<'_>, _: &mut Outbox<'_>) -> Result<(), HandlerError> {
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        (self.count < self.most).then_some(self.next)
    }

    fn timer(&mut self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let now = out.now();
        assert!(self.next <= now, "too early");
        self.count += 1;
        self.next = self.next.saturating_add(INTERVAL);
        if self.count == self.most { Err(HandlerError::Close(CloseCode::NORMAL, "")) } else { Ok(()) }
    }
}

/// A driver with buffers of 140 bytes.
fn driver(
    config: &Config,
) -> (HandlerDriver<Server, NoExtension, &Config>, ReceiveBuffer<'static>, TransmitBuffer<'static>) {
    let connection = Connection::new(Server, config, Instant::START);
    let (rx, tx) = (vec![0; 140].leak(), vec![0; 140].leak());
    (HandlerDriver::new(connection, None), ReceiveBuffer::new(rx).unwrap(), TransmitBuffer::new(tx).unwrap())
}

#[test]
fn a_periodic_timer_that_was_late_once_catches_up() {
    let config = Config::new();
    let (mut driver, mut rx, mut tx) = driver(&config);
    let mut ticks = Ticks::new(Instant::START);
    let _ = driver.poll(Instant::START, &mut ticks, &mut rx, &mut tx);
    // The loop is busy for 25 ms, and punctual from then on.
    let (mut now, mut polls) = (at(35), 0);
    while now < at(10_000) {
        let Step::Wait { deadline } = driver.poll(now, &mut ticks, &mut rx, &mut tx) else { panic!() };
        tx.clear();
        now = deadline.expect("the next tick").max(now);
        polls += 1;
    }
    assert!(ticks.count > 900, "{} ticks", ticks.count);
    assert!(polls < 1100, "{polls} polls");
}

#[test]
fn a_timer_far_behind_lets_the_transport_have_its_turn() {
    let config = Config::new();
    let (mut driver, mut rx, mut tx) = driver(&config);
    let mut ticks = Ticks::new(Instant::START);
    let _ = driver.poll(Instant::START, &mut ticks, &mut rx, &mut tx);
    let now = at(1_000);
    for portion in 1..=6 {
        let step = driver.poll(now, &mut ticks, &mut rx, &mut tx);
        assert_eq!((step, ticks.count), (Step::Wait { deadline: Some(now) }, 16 * portion));
    }
    let step = driver.poll(now, &mut ticks, &mut rx, &mut tx);
    assert_eq!((step, ticks.count), (Step::Wait { deadline: Some(at(1_010)) }, 100));
}

/// A clock that shows the deadline when a turn is over, and was late once.
struct Punctual {
    now: Instant,
    turns: usize,
}

impl Transport for Punctual {
    type Error = Infallible;

    fn now(&mut self) -> Instant {
        self.now
    }

    async fn read_write(
        &mut self,
        input: &mut [u8],
        output: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Transferred, Infallible> {
        self.turns += 1;
        // The peer closes its side when it sees a Close.
        if output.first() == Some(&0x88) {
            return Ok(Transferred { read: (!input.is_empty()).then_some(0), written: output.len() });
        }
        let late = if self.turns == 1 { 25 * MILLISECOND } else { Duration::ZERO };
        self.now = deadline.expect("a deadline").max(self.now).saturating_add(late);
        Ok(Transferred { read: None, written: output.len() })
    }

    async fn shutdown(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

#[test]
fn a_periodic_timer_that_was_late_once_catches_up_over_a_transport() {
    let mut config = Config::new();
    config.timeouts.pong = None;
    let (mut driver, rx, tx) = driver(&config);
    let mut buffers = Buffers { head: ReceiveBuffer::new(vec![0; 140].leak()).unwrap(), rx, tx };
    let mut transport = Punctual { now: Instant::START, turns: 0 };
    let mut ticks = Ticks { most: 990, ..Ticks::new(Instant::START) };
    let served = embedded::drive(&mut transport, &mut driver, &mut ticks, &mut buffers.rx, &mut buffers.tx);
    let Poll::Ready(cause) = pin!(served).poll(&mut Context::from_waker(Waker::noop())) else { panic!() };
    assert_eq!((cause.unwrap().reason, ticks.count), (EndReason::Disconnected, 990));
    assert!(transport.now < at(10_000), "{:?}", transport.now);
    assert!(transport.turns < 1100, "{} turns", transport.turns);
}

#[cfg(feature = "hub")]
mod in_a_hub {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use sansocket::hub::HubSettings;

    use super::hub_world::*;
    use super::{Duration, INTERVAL, Instant, MILLISECOND};

    #[test]
    fn a_periodic_timer_that_was_late_once_catches_up() {
        let count = Arc::new(AtomicUsize::new(0));
        let ticks = count.clone();
        let mut world = World::new(HubSettings::default(), move |_| {
            App::new(move || -> Act {
                let ticks = ticks.clone();
                Box::new(move |now, call, deadline: &mut Option<Instant>, _| {
                    match call {
                        Call::Opened => *deadline = Some(now.saturating_add(INTERVAL)),
                        Call::Timer => {
                            ticks.fetch_add(1, Ordering::Relaxed);
                            *deadline = deadline.map(|next| next.saturating_add(INTERVAL));
                        }
                        Call::Event(_) | Call::Writable => {}
                    }
                    Ok(())
                })
            })
        });
        world.open();
        world.now = world.now.saturating_add(35 * MILLISECOND);
        world.settle();
        let turns = world.pass(Duration::from_secs(10));
        let count = count.load(Ordering::Relaxed);
        assert!(count > 900, "{count} ticks");
        assert!(turns < 1100, "{turns} turns");
        world.end();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Opened,
    Event(u64, usize),
    Writable,
    Timer,
    Closed(EndReason),
}

/// A handler that does in each call what a test says, and notes the calls.
struct Probe<F> {
    act: F,
    deadline: Option<Instant>,
    calls: Vec<Call>,
}

impl<F: FnMut(Call, &mut Option<Instant>, &mut Outbox<'_>) -> Result<(), HandlerError>> Probe<F> {
    fn new(act: F) -> Self {
        Self { act, deadline: None, calls: vec![] }
    }

    fn call(&mut self, call: Call, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        self.calls.push(call);
        (self.act)(call, &mut self.deadline, out)
    }

    fn take(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.calls)
    }
}

impl<F: FnMut(Call, &mut Option<Instant>, &mut Outbox<'_>) -> Result<(), HandlerError>> Handler for Probe<F> {
    fn opened(&mut self, _: Option<&str>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        self.call(Call::Opened, out)
    }

    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let Event::Data(data) = event else { panic!("{event:?}") };
        self.call(Call::Event(data.offset, data.payload.len()), out)
    }

    fn writable(&mut self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        self.call(Call::Writable, out)
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn timer(&mut self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        self.call(Call::Timer, out)
    }

    fn closed(&mut self, cause: &Ending, _: &str) {
        self.calls.push(Call::Closed(cause.reason));
    }
}

#[test]
fn a_deadline_that_any_call_moves_into_the_past_is_due() {
    let config = Config::new();
    for mover in [Call::Opened, Call::Writable, Call::Event(0, 1)] {
        let (mut driver, mut rx, mut tx) = driver(&config);
        let now = at(1_000);
        let mut probe = Probe::new(|call, deadline: &mut Option<Instant>, _: &mut Outbox<'_>| {
            if call == mover {
                *deadline = Some(at(900));
            } else if call == Call::Timer {
                *deadline = Some(at(2_000));
            }
            Ok(())
        });
        rx.feed(&masked(0x82, b"x"));
        let step = driver.poll(now, &mut probe, &mut rx, &mut tx);
        assert_eq!(step, Step::Wait { deadline: Some(at(2_000)) });
        assert_eq!(probe.calls.iter().filter(|call| **call == Call::Timer).count(), 1, "{mover:?}");
    }
}

/// Two events of one read, each of which asks for a call of the timer: both get it.
#[test]
fn a_deadline_that_an_event_moves_is_due_before_the_next_event() {
    let config = Config::new();
    let (mut driver, mut rx, mut tx) = driver(&config);
    let mut probe = Probe::new(|call, deadline: &mut Option<Instant>, _: &mut Outbox<'_>| {
        *deadline = matches!(call, Call::Event(..)).then_some(at(1_000));
        Ok(())
    });
    rx.feed(&[masked(0x82, b"x"), masked(0x82, b"yz")].concat());
    let _ = driver.poll(at(1_000), &mut probe, &mut rx, &mut tx);
    let events = [Call::Event(0, 1), Call::Timer, Call::Event(0, 2), Call::Timer];
    assert_eq!(probe.calls[2..], events);
}

/// A timer that leaves its deadline where it is waits for the transport, not the one that an event sets meanwhile.
#[test]
fn a_deadline_that_an_event_moves_is_due_although_the_last_one_stands() {
    let config = Config::new();
    let (mut driver, mut rx, mut tx) = driver(&config);
    let mut probe = Probe::new(|call, deadline: &mut Option<Instant>, _: &mut Outbox<'_>| {
        match call {
            Call::Opened => *deadline = Some(at(900)),
            Call::Event(..) => *deadline = Some(at(950)),
            _ => {}
        }
        Ok(())
    });
    rx.feed(&masked(0x82, b"x"));
    let _ = driver.poll(at(1_000), &mut probe, &mut rx, &mut tx);
    assert_eq!(probe.calls[2..], [Call::Timer, Call::Event(0, 1), Call::Timer]);
}

/// A blocked event and a due timer: each is called once a poll, so that neither spins.
#[test]
fn a_deadline_that_a_blocked_event_moves_is_due_and_does_not_spin() {
    let config = Config::new();
    let (mut driver, mut rx, mut tx) = driver(&config);
    let mut probe = Probe::new(|call, deadline: &mut Option<Instant>, out: &mut Outbox<'_>| match call {
        Call::Event(..) => {
            *deadline = Some(at(900));
            while out.send(&[0; 10]).is_ok() {}
            Err(HandlerError::Blocked { consumed: 0 })
        }
        Call::Timer => {
            *deadline = None;
            Ok(())
        }
        _ => Ok(()),
    });
    rx.feed(&masked(0x82, b"x"));
    let mut seen = vec![Call::Opened, Call::Writable];
    for round in 0..3 {
        let now = at(1_000 + round);
        let Step::Wait { deadline } = driver.poll(now, &mut probe, &mut rx, &mut tx) else { panic!() };
        assert!(deadline.is_some_and(|deadline| deadline > now), "it spins: {deadline:?}");
        seen.extend([Call::Event(0, 1), Call::Timer]);
        assert_eq!(probe.calls, seen);
    }
}

#[test]
fn a_timer_that_found_no_room_goes_before_events_that_use_all_of_it() {
    let config = Config::new();
    let (mut driver, mut rx, mut tx) = driver(&config);
    let sent = Cell::new(0);
    let mut probe = Probe::new(|call, deadline: &mut Option<Instant>, out: &mut Outbox<'_>| match call {
        Call::Opened => {
            *deadline = Some(at(900));
            Ok(())
        }
        Call::Event(..) => {
            while out.send(&[0; 10]).is_ok() {}
            Ok(())
        }
        Call::Timer => {
            out.send("a message of the timer")?;
            sent.set(sent.get() + 1);
            *deadline = Some(at(901 + sent.get()));
            Ok(())
        }
        _ => Ok(()),
    });
    for round in 0..10 {
        rx.feed(&masked(0x82, b"x"));
        let _ = driver.poll(at(1_000 + round), &mut probe, &mut rx, &mut tx);
        tx.clear();
    }
    assert!(sent.get() >= 5, "{} of 10", sent.get());
}

/// Whatever is due, a handler hears of a transport that has failed by `closed`, once, and by nothing else.
#[test]
fn a_failed_transport_calls_closed_alone() {
    let config = Config::new();
    let gone = [Call::Closed(EndReason::Disconnected)];
    for blocked in
        [None, Some(Call::Opened), Some(Call::Event(0, 1)), Some(Call::Writable), Some(Call::Timer)]
    {
        let (mut driver, mut rx, mut tx) = driver(&config);
        let mut probe = Probe::new(|call, deadline: &mut Option<Instant>, out: &mut Outbox<'_>| {
            *deadline = Some(at(900));
            if Some(call) == blocked {
                while out.send(&[0; 10]).is_ok() {}
                return Err(HandlerError::Blocked { consumed: 0 });
            }
            Ok(())
        });
        rx.feed(&masked(0x82, b"x"));
        let _ = driver.poll(at(1_000), &mut probe, &mut rx, &mut tx);
        let calls = probe.take();
        assert!(blocked.is_none_or(|blocked| calls.contains(&blocked)), "{calls:?}");
        // All that was sent is written: `writable` is due, the event and the timer are.
        tx.clear();
        driver.transport_failed();
        for _ in 0..3 {
            let step = driver.poll(at(2_000), &mut probe, &mut rx, &mut tx);
            assert!(matches!(step, Step::Done(cause) if cause.reason == EndReason::Disconnected), "{step:?}");
        }
        assert_eq!(probe.take(), gone, "{blocked:?}");
    }
}

#[test]
fn closed_is_not_called_for_a_connection_that_was_not_opened() {
    let config = Config::new();
    let (mut driver, mut rx, mut tx) = driver(&config);
    let mut probe = Probe::new(|_, _: &mut Option<Instant>, _: &mut Outbox<'_>| Ok(()));
    rx.feed(&masked(0x82, b"x"));
    driver.transport_failed();
    for _ in 0..2 {
        let step = driver.poll(at(1_000), &mut probe, &mut rx, &mut tx);
        assert!(matches!(step, Step::Done(cause) if cause.reason == EndReason::Disconnected), "{step:?}");
    }
    assert_eq!(probe.calls, []);
}

#[test]
fn consuming_more_than_there_is_leaves_the_offset_inside_the_frame() {
    let mut config = Config::new();
    config.delivery = Delivery::Chunks;
    for taken in [2, 3, 4, usize::MAX - 1, usize::MAX] {
        let (mut driver, mut rx, mut tx) = driver(&config);
        let mut probe = Probe::new(|call, _: &mut Option<Instant>, out: &mut Outbox<'_>| match call {
            Call::Event(0, 3) => {
                out.ping(&[])?;
                Err(HandlerError::Blocked { consumed: taken })
            }
            _ => Ok(()),
        });
        // A frame of which three bytes are here, and another two come.
        rx.feed(&header(0x82, Some(KEY), 500));
        rx.feed(&[0; 3]);
        let _ = driver.poll(at(1_000), &mut probe, &mut rx, &mut tx);
        tx.clear();
        let _ = driver.poll(at(1_000), &mut probe, &mut rx, &mut tx);
        rx.feed(&[0; 2]);
        let _ = driver.poll(at(1_000), &mut probe, &mut rx, &mut tx);
        probe.calls.retain(|call| matches!(call, Call::Event(..)));
        let rest = taken.min(3);
        let again = Call::Event(rest as u64, 3 - rest);
        assert_eq!(probe.calls, [Call::Event(0, 3), again, Call::Event(3, 2)], "taken {taken}");
    }
}
