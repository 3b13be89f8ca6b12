//! The echo server on an ESP32-C3 or -C6: esp-hal, WiFi, embassy.
//!
//! What is done on a connection is in the same `../echo/handler.rs` as on a PC; this file brings the
//! network up and serves. The heap is the WiFi driver's alone.

#![no_std]
#![no_main]
#![forbid(unsafe_op_in_unsafe_fn)]

#[path = "../../echo/handler.rs"]
mod handler;

use core::fmt;
use core::time::Duration;

use embassy_executor::Spawner;
use embassy_net::tcp::TcpSocket;
use embassy_net::{DhcpConfig, Runner, Stack, StackResources};
use embassy_time::{Timer, with_timeout};
use esp_backtrace as _;
use esp_hal::rng::Rng;
use esp_hal::timer::timg::TimerGroup;
use esp_println::println;
use esp_radio::wifi::sta::StationConfig;
use esp_radio::wifi::{AuthenticationMethodConfig, ConnectionError, Interface, WifiController};
use handler::Echo;
use sansocket::Config;
use sansocket::embedded::serve_tcp;
use sansocket::proto::MIN_BUFFER_LEN;
use sansocket::session::Memory;
use static_cell::ConstStaticCell;

/// The network, from the environment of the build; without a password it is an open one.
const SSID: &str = env!("SSID"); // `build.rs` checks it
const PASSWORD: &str = match option_env!("PASSWORD") {
    Some(password) => password,
    None => "",
};
const _: () =
    assert!(matches!(PASSWORD.len(), 0 | 8..=64), "a PASSWORD has 8 to 64 bytes; an open network none");

/// embassy-net has no backlog: each connection needs a socket that listens already, and a client
/// that finds none is refused.
const CONNECTIONS: usize = setting(option_env!("CONNECTIONS"), 8);
const PORT: u16 = 80;

/// Of the network, once for each direction of each connection.
const TCP_BUFFER: usize = setting(option_env!("TCP_BUFFER"), 2048);
/// Of the server, once for each connection: the heads of request and answer.
const HEAD: usize = 1024;
/// Once for each direction of each connection. A message may be much longer: it streams through.
const BUFFER: usize = setting(option_env!("BUFFER"), 512);
const _: () = assert!(BUFFER >= MIN_BUFFER_LEN, "BUFFER is 140 bytes or more");

/// There are few places, so nobody holds one for long without a sign of life.
static CONFIG: Config = {
    let mut config = Config::new();
    config.timeouts.handshake = Some(Duration::from_secs(5));
    config.timeouts.ping = Some(Duration::from_secs(20));
    config.timeouts.pong = Some(Duration::from_secs(10));
    config.timeouts.close = Some(Duration::from_secs(2));
    config.timeouts.write = Some(Duration::from_secs(20));
    config
};
/// TCP asks a silent peer whether it still lives, and gives it up if nothing at all comes back.
const KEEP_ALIVE: embassy_time::Duration = embassy_time::Duration::from_secs(5);
const VANISHED: embassy_time::Duration = embassy_time::Duration::from_secs(15);

esp_bootloader_esp_idf::esp_app_desc!();

#[esp_rtos::main]
async fn main(spawner: Spawner) {
    static RESOURCES: ConstStaticCell<StackResources<{ CONNECTIONS + 1 }>> =
        ConstStaticCell::new(StackResources::new()); // and one socket for DHCP

    let chip = esp_hal::init(esp_hal::Config::default());
    // The first lies in memory that the bootloader is done with, and that nothing else can use.
    esp_alloc::heap_allocator!(#[esp_hal::ram(reclaimed)] size: 64 * 1024);
    esp_alloc::heap_allocator!(size: 36 * 1024);
    // The radio's driver has threads of its own, so the scheduler comes first.
    esp_rtos::start(TimerGroup::new(chip.TIMG0).timer0, chip.FROM_CPU_INTR0);

    let mut controller = WifiController::new(chip.WIFI, Default::default()).expect("the radio starts");
    controller.set_config(&station()).expect("SSID and password are of the right length");
    let random = Rng::new(); // true randomness as long as the radio is on
    let seed = u64::from(random.random()) << 32 | u64::from(random.random());
    let dhcp = embassy_net::Config::dhcpv4(DhcpConfig::default());
    let (stack, runner) = embassy_net::new(Interface::station(), dhcp, RESOURCES.take(), seed);

    spawner.spawn(network(runner).unwrap());
    spawner.spawn(wifi(controller).unwrap());
    for _ in 0..CONNECTIONS {
        spawner.spawn(connection(stack).unwrap());
    }
    loop {
        stack.wait_config_up().await;
        if let Some(config) = stack.config_v4() {
            println!("listening on {}:{PORT}", config.address.address());
            println!("heap: {} bytes used, {} free", esp_alloc::HEAP.used(), esp_alloc::HEAP.free());
        }
        stack.wait_config_down().await;
    }
}

#[embassy_executor::task]
async fn network(mut runner: Runner<'static, Interface>) -> ! {
    runner.run().await
}

/// Connects, and connects again for as long as there is power.
#[embassy_executor::task]
async fn wifi(mut controller: WifiController<'static>) -> ! {
    // The driver may lose an event, so nothing waits for one without looking now and then.
    const LOOK: embassy_time::Duration = embassy_time::Duration::from_secs(5);
    const CONNECT: embassy_time::Duration = embassy_time::Duration::from_secs(30);
    loop {
        println!("wifi: connecting to {SSID:?}");
        match with_timeout(CONNECT, controller.connect_async()).await {
            Ok(Ok(it)) => println!("wifi: connected on channel {}, asking for an address", it.channel),
            Ok(Err(ConnectionError::Failed(it))) => println!("wifi: not connected: {:?}", it.reason),
            Ok(Err(error)) => println!("wifi: not connected: {error:?}"),
            Err(_) => println!("wifi: no answer from {SSID:?}"),
        }
        while controller.is_connected() {
            if let Ok(Ok(it)) = with_timeout(LOOK, controller.wait_for_disconnect_async()).await {
                println!("wifi: lost: {:?}, signal {} dBm", it.reason, it.rssi);
            }
        }
        Timer::after_secs(2).await;
    }
}

/// One place of the server: it listens, serves, hangs up, and listens again. The task itself is a
/// static of the pool, and so are the buffers that live in it.
#[embassy_executor::task(pool_size = CONNECTIONS)]
async fn connection(stack: Stack<'static>) -> ! {
    let (mut receive, mut transmit) = ([0; TCP_BUFFER], [0; TCP_BUFFER]);
    let mut socket = TcpSocket::new(stack, &mut receive, &mut transmit);
    socket.set_keep_alive(Some(KEEP_ALIVE));
    socket.set_timeout(Some(VANISHED));

    let mut memory = Memory { head: [0; HEAD], rx: [0; BUFFER], tx: [0; BUFFER] };
    let mut buffers = memory.buffers();
    loop {
        // How it ended is in the log, and the socket is ready for the next one in any case.
        let _ = serve_tcp(&mut socket, PORT, &mut Echo::new(log), &CONFIG, &mut buffers).await;
    }
}

fn log(line: fmt::Arguments<'_>) {
    println!("ws_echo_server: {line}");
}

/// After a panic has been printed: begin anew.
#[unsafe(no_mangle)]
fn custom_halt() -> ! {
    esp_hal::system::software_reset()
}

/// WPA2 or better, or open.
fn station() -> esp_radio::wifi::Config {
    let authentication = match PASSWORD {
        "" => AuthenticationMethodConfig::Open,
        password => AuthenticationMethodConfig::Wpa2Personal(password.try_into().expect("at most 64 bytes")),
    };
    let ssid = SSID.try_into().expect("at most 32 bytes");
    esp_radio::wifi::Config::Station(
        StationConfig::default().with_ssid(ssid).with_authentication(authentication),
    )
}

/// A number from the environment of the build.
const fn setting(text: Option<&str>, default: usize) -> usize {
    let Some(text) = text else { return default };
    match usize::from_str_radix(text, 10) {
        Ok(number) => number,
        Err(_) => panic!("CONNECTIONS, TCP_BUFFER and BUFFER are numbers"),
    }
}
