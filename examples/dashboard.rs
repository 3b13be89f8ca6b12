//! A device's dashboard, with this PC as the device: open the address that it prints in several browsers.
//!
//!     cargo run --release --example dashboard --features mio
//!
//! What it says on a connection, and the protocol, is `dashboard/handler.rs`, which also runs on boards. Here the values are
//! the system's own, and the hub wakes the handlers of all clients when one changes a value. LED, PWM and reboot are simulated.

#[path = "common/cli.rs"]
mod cli;
#[path = "dashboard/handler.rs"]
mod handler;
#[path = "common/listen.rs"]
mod listen;
#[path = "common/logger.rs"]
mod logger;
#[path = "common/server.rs"]
mod server;
#[path = "common/signals.rs"]
mod signals;

use std::cell::RefCell;
use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{self, Duration};

use handler::{CHANNELS, Channel, Command, Dashboard, Device, Sample, State};
use sansocket::handshake::{Refusal, Rejection, Request};
use sansocket::hub::driver::MioPlainAcceptor;
use sansocket::hub::{Application, HubHandle, HubSettings, RequestAction, SessionInfo};
use sansocket::{CloseCode, Config, Instant};

const HELP: &str = "\
A device's dashboard: live telemetry and controls, in the browser.

Usage: dashboard [OPTIONS]

  --listen HOST:PORT   where to listen, on every address of HOST [127.0.0.1:8080]
  --help               print this help

SIGINT and SIGTERM close every connection with 1001 and end the server; a second one ends it at once.
";

/// A client that vanishes is noticed soon, and a command is short.
const CONFIG: Config =
    Config::new().max_message_len(64).keep_alive(Some(Duration::from_secs(5)), Some(Duration::from_secs(5)));

/// How long a reboot takes.
const REBOOT: Duration = Duration::from_millis(1500);
/// Clients that ask within so short a time see the same values.
const FRESH: Duration = Duration::from_millis(10);
/// What a rate is measured over, at least.
const WHILE: Duration = Duration::from_millis(250);

fn main() {
    cli::run("dashboard", HELP, options(), run);
}

fn options() -> Result<Option<Vec<SocketAddr>>, lexopt::Error> {
    use lexopt::prelude::*;

    let mut name = "127.0.0.1:8080".to_owned();
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("listen") => name = cli::text(&mut parser)?,
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(listen::resolve(&name)?))
}

fn run(addresses: Vec<SocketAddr>) -> Result<(), Box<dyn Error>> {
    let settings = HubSettings::new(CONFIG).max_sessions(64);
    let listeners = listen::bind(&addresses)?;
    let server = server::new(listeners, MioPlainAcceptor, settings, |handle| App(Pc::new(handle)))?;
    let handle = server.handle();
    signals::on_stop(move || {
        let _ = handle.stop(CloseCode::GOING_AWAY);
    })?;
    logger::line(format_args!("listening: open http://{}/", server.address()));
    server.run()?;
    logger::finish();
    Ok(())
}

/// How the device begins.
const START: State = State { led: false, pwm: 50, boot: 1 };

struct App(Pc);

impl Application for App {
    type Handler = Dashboard<Pc>;

    fn request<'s>(&'s mut self, _: &mut SessionInfo, _: &Request<'_>) -> RequestAction<'s, Self::Handler> {
        if self.0.inside.borrow().booted > time::Instant::now() {
            return RequestAction::Reject(Rejection::Unavailable);
        }
        RequestAction::Serve(Dashboard::new(self.0.clone()))
    }

    fn refused(&mut self, session: &SessionInfo, request: Option<&Request<'_>>, refusal: &Refusal) {
        let origin = request.and_then(Request::origin);
        logger::line(format_args!("refused {} with {refusal}; Origin {origin:?}", session.peer()));
    }
}

/// This machine, as each connection has it.
#[derive(Clone)]
struct Pc {
    handle: HubHandle,
    channels: Rc<[Channel]>,
    inside: Rc<RefCell<Inside>>,
}

/// What the connections share.
struct Inside {
    sensors: Vec<(Sensor, Rate)>,
    state: State,
    /// When it was started; later than now while it reboots.
    booted: time::Instant,
    measured: Option<(Instant, Sample)>,
}

impl Pc {
    fn new(handle: HubHandle) -> Self {
        // What this system has of them.
        let there = SENSORS.into_iter().filter(|(sensor, _)| sensor.read().is_some());
        let (sensors, channels): (Vec<_>, Vec<_>) =
            there.map(|(sensor, channel)| ((sensor, Rate::default()), channel)).unzip();
        let inside = Inside { sensors, state: START, booted: time::Instant::now(), measured: None };
        Self { handle, channels: channels.into(), inside: Rc::new(RefCell::new(inside)) }
    }
}

impl Device for Pc {
    fn name(&self) -> &str {
        "PC"
    }

    fn channels(&self) -> &[Channel] {
        &self.channels
    }

    fn measure(&mut self, now: Instant) -> Sample {
        let mut inside = self.inside.borrow_mut();
        if let Some((_, sample)) = inside.measured.filter(|(at, _)| at.saturating_duration_until(now) < FRESH)
        {
            return sample;
        }
        let mut values = [0; CHANNELS];
        for (value, (sensor, rate)) in values.iter_mut().zip(&mut inside.sensors) {
            *value = match sensor.read() {
                Some(Reading::Value(value)) => value,
                Some(Reading::Count(count, of)) => rate.over(count, of),
                None => 0,
            };
        }
        let sample = Sample { uptime: inside.booted.elapsed(), values };
        inside.measured = Some((now, sample));
        sample
    }

    fn state(&self) -> State {
        self.inside.borrow().state
    }

    fn apply(&mut self, command: Command) {
        let mut inside = self.inside.borrow_mut();
        let state = &mut inside.state;
        match command {
            Command::Led(on) => state.led = on,
            Command::Pwm(duty) => state.pwm = duty,
            Command::Reboot => {
                logger::line(format_args!("reboot"));
                *state = State { boot: state.boot + 1, ..START };
                inside.booted = time::Instant::now() + REBOOT;
                let _ = self.handle.call(|hub| {
                    let all: Vec<_> = hub.sessions().map(SessionInfo::id).collect();
                    for id in all {
                        let _ = hub.close(id, CloseCode::SERVICE_RESTART, "restart");
                    }
                });
                return;
            }
        }
        logger::line(format_args!("{state}"));
        let _ = self.handle.call(|hub| {
            let all: Vec<_> = hub.sessions().map(SessionInfo::id).collect();
            for id in all {
                hub.wake(id);
            }
        });
    }
}

#[derive(Clone, Copy)]
enum Sensor {
    Processor,
    Memory,
    Load,
    Network,
    Temperature,
    Signal,
}

const SENSORS: [(Sensor, Channel); 6] = [
    (Sensor::Processor, Channel { name: "Processor", unit: "%", scale: 10 }),
    (Sensor::Memory, Channel { name: "Free memory", unit: "MiB", scale: 10 }),
    (Sensor::Load, Channel { name: "Load", unit: "", scale: 100 }),
    (Sensor::Network, Channel { name: "Network", unit: "kB/s", scale: 10 }),
    (Sensor::Temperature, Channel { name: "Temperature", unit: "°C", scale: 10 }),
    (Sensor::Signal, Channel { name: "Signal", unit: "dBm", scale: 1 }),
];

enum Reading {
    Value(i32),
    /// So much since the system began, of so much.
    Count(u64, u64),
}

impl Sensor {
    /// From Linux' files.
    fn read(self) -> Option<Reading> {
        let number = |word: &str| word.trim_end_matches('.').parse::<f64>().ok();
        Some(match self {
            Self::Processor => {
                let stat = fs::read_to_string("/proc/stat").ok()?;
                let times: Vec<u64> = stat
                    .lines()
                    .next()?
                    .split_whitespace()
                    .skip(1)
                    .filter_map(|word| word.parse().ok())
                    .collect();
                // user nice system idle iowait irq softirq steal: guests' time is in user's already
                let all = times.iter().take(8).sum::<u64>();
                Reading::Count(all - times.get(3)? - times.get(4)?, all)
            }
            Self::Memory => {
                let info = fs::read_to_string("/proc/meminfo").ok()?;
                let line = info.lines().find(|line| line.starts_with("MemAvailable:"))?;
                Reading::Value((number(line.split_whitespace().nth(1)?)? / 102.4) as i32)
            }
            Self::Load => {
                let load = fs::read_to_string("/proc/loadavg").ok()?;
                Reading::Value((number(load.split(' ').next()?)? * 100.0) as i32)
            }
            Self::Network => {
                let bytes = |line: &str| {
                    let words: Vec<_> = line.split_once(':')?.1.split_whitespace().collect();
                    Some(words.first()?.parse::<u64>().ok()? + words.get(8)?.parse::<u64>().ok()?)
                };
                let all = fs::read_to_string("/proc/net/dev").ok()?.lines().filter_map(bytes).sum::<u64>();
                let uptime = fs::read_to_string("/proc/uptime").ok()?;
                Reading::Count(all / 100, (number(uptime.split(' ').next()?)? * 1000.0) as u64)
            }
            Self::Temperature => {
                let milli = fs::read_to_string("/sys/class/thermal/thermal_zone0/temp").ok()?;
                Reading::Value((number(milli.trim())? / 100.0) as i32)
            }
            Self::Signal => {
                let wireless = fs::read_to_string("/proc/net/wireless").ok()?;
                Reading::Value(number(wireless.lines().nth(2)?.split_whitespace().nth(3)?)? as i32)
            }
        })
    }
}

/// How much of something there is for each thousand of something else: at first ever since, then over the last while.
#[derive(Default)]
struct Rate {
    before: Option<(time::Instant, u64, u64)>,
    value: i32,
}

impl Rate {
    fn over(&mut self, count: u64, of: u64) -> i32 {
        let now = time::Instant::now();
        let (at, before, since) = self.before.unwrap_or((now - WHILE, 0, 0));
        if now - at >= WHILE && of > since {
            self.value = (count.saturating_sub(before) * 1000 / (of - since)) as i32;
            self.before = Some((now, count, of));
        }
        self.value
    }
}
