//! The dashboard's handler for a chip: compiled whole, with a device as a board has it.
//!
//! All places of the server share one device, whose state is in a `static`; a handler sees by looking what the client of
//! another has changed.

#![no_std]

#[path = "../../handler.rs"]
mod handler;

use core::convert::Infallible;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed};
use core::time::Duration;

use handler::{CHANNELS, Channel, Command, Dashboard, Device, Sample, State};
use sansocket::{Handler, Instant, Step};
use sansocket::session::{Buffers, Outcome, ServerSession};

static LED: AtomicBool = AtomicBool::new(false);
static PWM: AtomicU8 = AtomicU8::new(50);
static BOOT: AtomicU32 = AtomicU32::new(1);

/// One place of the server: what `embedded::serve_tcp` is given for a connection, anew for each.
pub struct Place(Dashboard<Board>);

impl Place {
    /// For a connection that has just been accepted.
    #[expect(clippy::new_without_default, reason = "there is one way to make it")]
    pub const fn new() -> Self {
        Self(Dashboard::new(Board))
    }

    /// The handler.
    pub const fn handler(&mut self) -> &mut impl Handler {
        &mut self.0
    }

    /// One turn, for a driver of your own.
    pub fn poll(
        &mut self,
        now: Instant,
        session: &mut ServerSession,
        buffers: &mut Buffers<'_>,
    ) -> Step<Infallible, Outcome> {
        let Buffers { head, rx, tx } = buffers;
        session.poll(now, &mut self.0, head, rx, tx)
    }
}

/// A product has its peripherals here: a temperature sensor, a duty cycle, a reset.
struct Board;

impl Device for Board {
    const POLL: Option<Duration> = Some(Duration::from_millis(100));

    fn name(&self) -> &str {
        "Board"
    }

    fn channels(&self) -> &[Channel] {
        &[Channel { name: "Ramp", unit: "%", scale: 10 }]
    }

    fn measure(&mut self, now: Instant) -> Sample {
        let mut values = [0; CHANNELS];
        values[0] = (now.as_micros() / 10_000 % 1000) as i32;
        Sample { uptime: Instant::START.saturating_duration_until(now), values }
    }

    fn state(&self) -> State {
        State { led: LED.load(Relaxed), pwm: PWM.load(Relaxed), boot: BOOT.load(Relaxed) }
    }

    fn apply(&mut self, command: Command) {
        match command {
            Command::Led(on) => LED.store(on, Relaxed),
            Command::Pwm(duty) => PWM.store(duty, Relaxed),
            // One writer only: all places are tasks of one executor.
            Command::Reboot => BOOT.store(BOOT.load(Relaxed) + 1, Relaxed),
        }
    }
}
