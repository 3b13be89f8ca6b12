//! A sensor on bare metal. Its page shows live values in up to four browsers, and each of them can set the interval.

#![no_std]
#![no_main]
#![deny(unsafe_op_in_unsafe_fn)]

#[path = "../../qemu-riscv32/src/virt/mod.rs"]
#[macro_use]
mod virt;

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use core::time::Duration;

use embassy_executor::Spawner;
use embassy_futures::select::select;
use embassy_net::tcp::TcpSocket;
use embassy_net::{Stack, StackResources};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;
use embassy_sync::watch::Watch;
use embassy_time::Timer;
use sansocket::embedded::serve_tcp_with;
use sansocket::handshake::{Decision, Request, Response};
use sansocket::message::{ArrayStorage, WholeMessages};
use sansocket::session::Memory;
use sansocket::{CloseCode, Config, HandlerError, MessageHandler, MessageRef, Outbox};
use serde::Deserialize;
use static_cell::ConstStaticCell;

const PAGE: &str = include_str!("page.html");
/// A browser uses one place for the page and one for the values.
const PLACES: usize = 5;
const COMMAND: usize = 64; // bytes, at most

static CONFIG: Config = Config::new()
    .max_message_len(COMMAND as u64)
    .keep_alive(Some(Duration::from_secs(10)), Some(Duration::from_secs(5)));

/// The latest reading: each connection gets it, and a slow one skips those before.
static READING: Watch<CriticalSectionRawMutex, Reading, PLACES> = Watch::new();
/// Milliseconds between two readings.
static INTERVAL: AtomicU32 = AtomicU32::new(1000);
static INTERVAL_CHANGED: Signal<CriticalSectionRawMutex, ()> = Signal::new();

#[derive(Clone, Copy)]
struct Reading {
    number: u32,
    centicelsius: u32,
}

/// A command of the page, such as `{"interval":200}`.
#[derive(Deserialize)]
struct Command {
    interval: u32,
}

/// What the sensor does on one connection.
struct Sensor;

impl MessageHandler for Sensor {
    fn request<'s>(&'s mut self, request: &Request<'_>) -> Decision<'s> {
        match request.path() {
            "/" => Decision::Respond(Response::html(200, PAGE)),
            "/live" => Decision::accept(),
            _ => Decision::Respond(Response::text(404, "Not found\n")),
        }
    }

    fn opened(&mut self, _: Option<&str>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        self.woken(out) // the reading that is there already
    }

    fn message(&mut self, message: MessageRef<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let MessageRef::Text(text) = message else {
            return Err(HandlerError::Close(CloseCode::UNSUPPORTED_DATA, "a command is a text"));
        };
        match serde_json_core::from_str::<Command>(text) {
            Ok((Command { interval: interval @ 50..=60_000 }, _)) => {
                INTERVAL.store(interval, Relaxed);
                INTERVAL_CHANGED.signal(());
            }
            Ok(_) => out.send(r#"{"error":"an interval has 50 to 60000 ms"}"#)?,
            Err(error) => out.send_fmt(format_args!(r#"{{"error":"{error}"}}"#))?,
        }
        Ok(())
    }

    /// Sends the latest reading. If there is no room for it, this is called again when there is.
    fn woken(&mut self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let Some(Reading { number, centicelsius }) = READING.try_get() else { return Ok(()) };
        let (whole, part, interval) = (centicelsius / 100, centicelsius % 100, INTERVAL.load(Relaxed));
        let celsius = format_args!("{whole}.{part:02}");
        Ok(out.send_fmt(format_args!(r#"{{"number":{number},"celsius":{celsius},"interval":{interval}}}"#))?)
    }
}

/// One place of the server.
#[embassy_executor::task(pool_size = PLACES)]
async fn place(stack: Stack<'static>) -> ! {
    let (mut receive, mut transmit) = ([0; 1024], [0; 1024]);
    let mut socket = TcpSocket::new(stack, &mut receive, &mut transmit);
    let mut reading = READING.receiver().expect("a receiver for each place");
    let mut read = async || {
        reading.changed().await;
    };
    let mut memory = Memory { head: [0; 1024], rx: [0; 256], tx: [0; 256] };
    let mut buffers = memory.buffers();
    let mut sensor = WholeMessages::new(Sensor, ArrayStorage::<COMMAND>::new());
    loop {
        match serve_tcp_with(&mut socket, 80, &mut sensor, &CONFIG, &mut buffers, &mut read).await {
            Ok(outcome) => println!("{outcome}"),
            Err(error) => println!("{error}"),
        }
    }
}

#[embassy_executor::task]
async fn measure() -> ! {
    for number in 0.. {
        // A product asks its sensor here.
        READING.sender().send(Reading { number, centicelsius: 2000 + number % 300 });
        select(Timer::after_millis(INTERVAL.load(Relaxed).into()), INTERVAL_CHANGED.wait()).await;
    }
    unreachable!()
}

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    static RESOURCES: ConstStaticCell<StackResources<{ PLACES + 1 }>> =
        ConstStaticCell::new(StackResources::new()); // and one socket for DHCP

    let stack = virt::start(spawner, RESOURCES.take(), virt::time::unix());
    spawner.spawn(measure().unwrap());
    for _ in 0..PLACES {
        spawner.spawn(place(stack).unwrap());
    }
    stack.wait_config_up().await;
    println!("listening on {}:80", stack.config_v4().unwrap().address.address());
}
