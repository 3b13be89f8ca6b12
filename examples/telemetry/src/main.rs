//! Telemetry on bare metal: a client that sends measurements, obeys a server's settings, and connects again after every end.

#![no_std]
#![no_main]
#![deny(unsafe_op_in_unsafe_fn)]

#[path = "../../qemu-riscv32/src/virt/mod.rs"]
#[macro_use]
#[expect(dead_code, reason = "no clock of the day is needed")]
mod virt;

#[path = "../../qemu-client/src/partition.rs"]
mod partition;
#[path = "../../qemu-client/src/random.rs"]
mod random;

use core::convert::Infallible;
use core::ops::ControlFlow;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use core::time::Duration;

use embassy_executor::Spawner;
use embassy_net::tcp::{self, TcpSocket};
use embassy_net::StackResources;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel::Channel;
use embassy_time::Timer;
use rand_chacha::rand_core::RngCore;
use sansocket::embedded::{Error, Reconnect, ReconnectEvent};
use sansocket::handshake::{ClientRequest, WsUrl, basic_authorization};
use sansocket::message::{ArrayMessage, Assembler, SliceStorage};
use sansocket::session::{Backoff, Memory};
use sansocket::{Config, MessageRef};
use serde::Deserialize;
use static_cell::ConstStaticCell;

const MESSAGE: usize = 64; // bytes, at most

static CONFIG: Config = Config::new()
    .max_message_len(MESSAGE as u64)
    .keep_alive(Some(Duration::from_secs(10)), Some(Duration::from_secs(5)));

/// Measurements that wait for a connection. While there is none, the oldest are kept.
static QUEUE: Channel<CriticalSectionRawMutex, ArrayMessage<MESSAGE>, 8> = Channel::new();
/// Milliseconds between two measurements.
static INTERVAL: AtomicU32 = AtomicU32::new(500);

/// What the server sets, such as `{"interval":200}`.
#[derive(Deserialize)]
struct Settings {
    interval: u32,
}

#[embassy_executor::task]
async fn measure() -> ! {
    for number in 0u32.. {
        let (celsius, interval) = (20 + number % 3, INTERVAL.load(Relaxed)); // a product asks its sensor here
        let text = format_args!(r#"{{"number":{number},"celsius":{celsius},"interval":{interval}}}"#);
        if QUEUE.try_send(ArrayMessage::format(text).expect("it is shorter")).is_err() {
            println!("measurement {number} is lost");
        }
        Timer::after_millis(interval.into()).await;
    }
    unreachable!()
}

fn apply(message: MessageRef<'_>) {
    match serde_json_core::from_slice::<Settings>(message.as_bytes()) {
        Ok((Settings { interval: interval @ 20..=60_000 }, _)) => INTERVAL.store(interval, Relaxed),
        Ok(_) => println!("an interval has 20 to 60000 ms"),
        Err(error) => println!("no settings: {error}"),
    }
}

fn log(event: ReconnectEvent<'_, Error<tcp::Error>>) {
    match event {
        ReconnectEvent::Open(protocol) => println!("open, subprotocol {}", protocol.unwrap_or("none")),
        ReconnectEvent::Refused(response) => println!("refused with status {}", response.status),
        ReconnectEvent::Unreachable(error) => println!("unreachable: {error}"),
        ReconnectEvent::Failed(error) => println!("failed: {error}"),
        ReconnectEvent::Ended => println!("closed by the server"),
        ReconnectEvent::Delay(delay) => println!("again in {} ms", delay.as_millis() as u64),
        _ => {}
    }
}

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    static RESOURCES: ConstStaticCell<StackResources<2>> = ConstStaticCell::new(StackResources::new()); // and DHCP's

    let (settings, _) = partition::read().expect("the board has settings");
    let url = partition::value(settings, "url").expect("the settings have a URL");
    let url = WsUrl::parse(url).expect("the URL is valid");
    let user = url.userinfo().expect("the URL has a user");
    let mut random = random::generator().expect("no virtio random number generator");
    let stack = virt::start(spawner, RESOURCES.take(), random.next_u64());
    spawner.spawn(measure().unwrap());

    let (mut receive, mut transmit) = ([0; 1024], [0; 1024]);
    let mut socket = TcpSocket::new(stack, &mut receive, &mut transmit);
    let mut memory = Memory { head: [0; 512], rx: [0; 256], tx: [0; 256] };
    let mut authorization = [0; 64];
    let authorization = basic_authorization(user, &mut authorization).expect("it has 64 bytes or less");
    let headers = [("Authorization", authorization)];
    let request = ClientRequest::new(url).protocols(&["telemetry.v1"]).headers(&headers);
    let backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
    let mut client = Reconnect::new(request, &CONFIG, backoff).denied_delay(Duration::from_secs(2));
    let mut keys = || random.next_u32().to_ne_bytes();
    client
        .run(stack, &mut socket, &mut memory, &mut keys, &mut log, async |tcp, attempt| {
            let mut socket = attempt.open(tcp).await?;
            let mut message = Assembler::new(SliceStorage::new(socket.take_head()));
            let mut socket = socket.with_queue(async || QUEUE.receive().await);
            while let Some(message) = socket.recv(&mut message).await? {
                apply(message);
            }
            Ok(ControlFlow::<Infallible>::Continue(())) // the server has closed
        })
        .await;
}
