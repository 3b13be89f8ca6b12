//! A device's dashboard: one `Handler`, no heap, no operating system. It shows in a browser what a [`Device`] measures,
//! and takes commands for it; the same file runs on a PC and on a board.
//!
//! `/` is the page, `/ws` its connection. Messages are text. From the device, JSON:
//!
//! | message | when |
//! | --- | --- |
//! | `{"device":"...","channels":[["Memory","MiB",1],...]}` | first: what it measures; values come times the last number |
//! | `{"led":0,"pwm":40,"boot":1}` | second, and when a client has changed something: the state that all share |
//! | `{"interval":100}` | third, and when this client has asked for another: milliseconds between its samples |
//! | `{"n":7,"t":12345,"v":[183,...]}` | a sample: its number, the device's uptime in ms, a value for each channel |
//!
//! To the device, a word and a number, in one frame: `led 1`, `pwm 40` (percent), `interval 100`, `reboot`. What is none
//! of these is ignored.
//!
//! Nothing is queued for a client that reads slowly: as long as anything waits to be written no sample is made, and when
//! it is written the newest comes. What was left out shows in the numbers.

use core::fmt::{self, Write};
use core::time::Duration;

use sansocket::handshake::{Decision, Request, Response};
use sansocket::{CloseCode, Event, Handler, HandlerError, Instant, Kind, Outbox};

/// The page at `/`.
pub(crate) const PAGE: &[u8] = include_bytes!("page.html");
/// The most channels that a device has.
pub(crate) const CHANNELS: usize = 8;
/// Milliseconds between two samples: the first choice, the least and the most.
const INTERVAL: u64 = 100;
const LEAST: u64 = 20;
const MOST: u64 = 5000;

/// What has sensors and actuators. Each connection has one, of the same device.
pub(crate) trait Device {
    /// What it is called. Goes into JSON as it is, like the channels' words.
    fn name(&self) -> &str;

    /// What it measures: at most [`CHANNELS`].
    fn channels(&self) -> &[Channel];

    fn measure(&mut self, now: Instant) -> Sample;

    fn state(&self) -> State;

    /// Obeys a command, and wakes the handlers of all clients, which send them the new state.
    fn apply(&mut self, command: Command);
}

pub(crate) struct Channel {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    /// What values are multiplied by: 10 for tenths.
    pub(crate) scale: u32,
}

/// What was measured at one moment.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) uptime: Duration,
    pub(crate) values: [i32; CHANNELS],
}

/// What all clients share.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) led: bool,
    /// Percent.
    pub(crate) pwm: u8,
    /// How often the device was started. Who sees it change hangs up, as what is on the wire is the old device's.
    pub(crate) boot: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Led(bool),
    Pwm(u8),
    Reboot,
}

/// The dashboard on one connection.
pub(crate) struct Dashboard<D> {
    device: D,
    interval: Duration,
    /// When the next sample is due, and its number.
    next: Instant,
    number: u32,
    /// What the client has still to be told.
    hello: bool,
    settings: bool,
    state: Option<State>,
    sample: bool,
}

impl<D: Device> Dashboard<D> {
    /// For a connection that has just been accepted.
    pub(crate) const fn new(device: D) -> Self {
        Self {
            device,
            interval: Duration::from_millis(INTERVAL),
            next: Instant::START,
            number: 0,
            hello: true,
            settings: true,
            state: None,
            sample: false,
        }
    }

    /// Says what is to be said and finds room.
    fn speak(&mut self, now: Instant, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        if self.hello {
            send(out, |line| hello(&self.device, line))?;
            self.hello = false;
        }
        let state = self.device.state();
        let told = self.state.unwrap_or(state);
        if told.boot != state.boot {
            return Err(HandlerError::Close(CloseCode::SERVICE_RESTART, "restart"));
        }
        if self.state.is_none() || told != state {
            send(out, |line| write!(line, "{state}"))?;
            self.state = Some(state);
        }
        if self.settings {
            send(out, |line| write!(line, "{{\"interval\":{}}}", self.interval.as_millis()))?;
            self.settings = false;
        }
        // The newest or none: nothing may stand before it.
        if self.sample && out.is_empty() {
            let Sample { uptime, values } = self.device.measure(now);
            let values = &values[..self.device.channels().len().min(CHANNELS)];
            send(out, |line| {
                write!(line, "{{\"n\":{},\"t\":{},\"v\":{values:?}}}", self.number, uptime.as_millis())
            })?;
            self.sample = false;
        }
        Ok(())
    }

    fn obey(&mut self, now: Instant, command: &[u8]) {
        let mut words = command.split(|byte| *byte == b' ');
        let (word, number) = (words.next(), words.next().map(number));
        match (word, number, words.next()) {
            (Some(b"led"), Some(Some(on @ 0..=1)), None) => self.device.apply(Command::Led(on == 1)),
            (Some(b"pwm"), Some(Some(duty @ 0..=100)), None) => self.device.apply(Command::Pwm(duty as u8)),
            (Some(b"reboot"), None, None) => self.device.apply(Command::Reboot),
            (Some(b"interval"), Some(Some(interval @ LEAST..=MOST)), None) => {
                self.interval = Duration::from_millis(interval);
                self.next = now.saturating_add(self.interval);
                self.settings = true;
            }
            _ => {}
        }
    }
}

impl<D: Device> Handler for Dashboard<D> {
    fn request<'s>(&'s mut self, request: &Request<'_>) -> Decision<'s> {
        match (request.path(), request.method()) {
            ("/", "GET" | "HEAD") => Decision::Respond(Response::html(200, PAGE)),
            ("/ws", _) => Decision::accept(),
            _ => Decision::Respond(Response::text(404, "try /\n")),
        }
    }

    fn opened(&mut self, _: Option<&str>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let now = out.now();
        self.next = now;
        self.speak(now, out)
    }

    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let now = out.now();
        if let Event::Data(data) = event
            && data.kind == Kind::Text
            && data.start
            && data.end
        {
            self.obey(now, data.payload.as_bytes());
        }
        later(self.speak(now, out))
    }

    fn writable(&mut self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let now = out.now();
        later(self.speak(now, out))
    }

    fn woken(&mut self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let now = out.now();
        later(self.speak(now, out))
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.next)
    }

    fn timer(&mut self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let now = out.now();
        // Those that were missed are left out, but counted.
        while self.next <= now {
            self.next = self.next.saturating_add(self.interval);
            self.number = self.number.wrapping_add(1);
            self.sample = true;
        }
        later(self.speak(now, out))
    }
}

/// What finds no room is said when there is some: by `writable`.
fn later(said: Result<(), HandlerError>) -> Result<(), HandlerError> {
    if let Err(HandlerError::Blocked { .. }) = said { Ok(()) } else { said }
}

/// A decimal number of a few digits.
fn number(word: &[u8]) -> Option<u64> {
    if word.is_empty() || word.len() > 6 {
        return None;
    }
    word.iter()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0')))
}

fn hello(device: &impl Device, line: &mut Line) -> fmt::Result {
    write!(line, "{{\"device\":\"{}\",\"channels\":[", device.name())?;
    for (at, channel) in device.channels().iter().take(CHANNELS).enumerate() {
        let comma = if at > 0 { "," } else { "" };
        write!(line, "{comma}[\"{}\",\"{}\",{}]", channel.name, channel.unit, channel.scale)?;
    }
    line.write_str("]}")
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let led = u8::from(self.led);
        write!(f, "{{\"led\":{led},\"pwm\":{},\"boot\":{}}}", self.pwm, self.boot)
    }
}

/// A message is made here first: its length stands before it.
struct Line {
    bytes: [u8; 400],
    len: usize,
}

impl Line {
    fn text(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

fn send(out: &mut Outbox<'_>, write: impl FnOnce(&mut Line) -> fmt::Result) -> Result<(), HandlerError> {
    let mut line = Line { bytes: [0; 400], len: 0 };
    if write(&mut line).is_err() {
        return Err(HandlerError::Close(CloseCode::INTERNAL_ERROR, "the names of the channels are too long"));
    }
    Ok(out.send(line.text())?)
}
