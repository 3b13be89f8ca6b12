//! A client on bare metal: QEMU's `virt` board, rv32imc, embassy, no heap.
//!
//! It connects, over TLS where the URL says `wss`, offers a subprotocol, compares echoes, and comes back when the
//! connection is lost. The board is `../qemu-riscv32`'s; `settings.rs` holds the address of the server.

#![no_std]
#![no_main]
#![deny(unsafe_op_in_unsafe_fn)]

#[macro_use]
#[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "only certificates have dates"))]
#[path = "../../qemu-riscv32/src/virt/mod.rs"]
mod virt;

#[cfg(feature = "tls")]
mod pipe;
mod partition;
mod random;
mod settings;
mod stack;
mod talk;
#[cfg(feature = "tls")]
mod tls;

use core::fmt::Debug;
#[cfg(feature = "tls")]
use core::pin::pin;
use core::time::Duration;

use embassy_executor::Spawner;
use embassy_net::tcp::TcpSocket;
use embassy_net::{DhcpConfig, Runner, StackResources};
use embassy_time::{Timer, with_timeout};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sansocket::{Ending, Instant};
use sansocket::embedded::{EmbassyClock, TcpTransport, hang_up, Clock};
use sansocket::session::{Backoff, Memory};
use settings::Settings;
use static_cell::ConstStaticCell;

/// Of the network, once for each direction.
const TCP_BUFFER: usize = 2048;
/// The heads of request and answer.
const HEAD: usize = 512;
/// Once for each direction. A message may be much longer: it streams through.
const BUFFER: usize = 512;

const CONNECT: embassy_time::Duration = embassy_time::Duration::from_secs(5);
#[cfg(feature = "tls")]
const TLS_HANDSHAKE: Duration = Duration::from_secs(10);
/// What has not left by then, at the end of a connection, is given up.
const LINGER: Duration = Duration::from_secs(2);
/// The first wait before the next attempt is no longer.
const FIRST: Duration = Duration::from_secs(1);
/// A connection that has lasted so long was no failure.
const STABLE: Duration = Duration::from_secs(5);

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    static RESOURCES: ConstStaticCell<StackResources<2>> = ConstStaticCell::new(StackResources::new()); // and DHCP's
    static BUFFERS: ConstStaticCell<[[u8; TCP_BUFFER]; 2]> = ConstStaticCell::new([[0; TCP_BUFFER]; 2]);

    let settings = Settings::read().unwrap_or_else(|wrong| panic!("settings: {wrong}"));
    // Not from a clock: a masking key or a TLS key that can be guessed is none.
    let mut random = random::generator().expect("no virtio random number generator");
    let device = virt::net::Device::probe().expect("no virtio network card");
    let dhcp = embassy_net::Config::dhcpv4(DhcpConfig::default());
    let (stack, runner) = embassy_net::new(device, dhcp, RESOURCES.take(), random.next_u64());
    virt::enable_interrupts();

    spawner.spawn(network(runner).unwrap());
    stack.wait_config_up().await;

    let [receive, transmit] = BUFFERS.take();
    let mut socket = TcpSocket::new(stack, receive, transmit);
    let mut backoff = Backoff::new(FIRST, Duration::from_secs(settings.patience));
    loop {
        println!("connecting to {}", settings.url);
        let mut opened = None;
        let ended = attempt(&mut socket, &settings, &mut random, &mut opened).await;
        let lasted = opened.map(|opened: Instant| opened.saturating_duration_until(EmbassyClock.now()));
        hang_up(&mut socket, Some(LINGER)).await;
        stack::report();
        match ended {
            Some(ending) if ending.is_clean() => return println!("done: {}, code {}", ending.reason, ending.code()),
            Some(ending) => println!("ended: {}", ending.reason),
            None => {} // it is in the log
        }
        if lasted.is_some_and(|lasted| lasted >= STABLE) {
            backoff.reset();
        }
        let wait = backoff.next_delay(random.next_u32()).as_millis() as u64;
        println!("again in {wait} ms");
        Timer::after_millis(wait).await;
    }
}

#[embassy_executor::task]
async fn network(mut runner: Runner<'static, virt::net::Device>) -> ! {
    runner.run().await
}

/// Runs one connection from TCP's first packet to its end, and logs what went wrong.
async fn attempt(
    socket: &mut TcpSocket<'_>,
    settings: &Settings,
    random: &mut ChaCha20Rng,
    opened: &mut Option<Instant>,
) -> Option<Ending> {
    log(log(with_timeout(CONNECT, socket.connect((settings.address, settings.target.port()))).await)?)?;

    let mut memory = Memory::<HEAD, BUFFER, BUFFER>::new();
    let mut keys = fork(random);
    let keys = || keys.next_u32().to_ne_bytes();
    if !settings.target.is_secure() {
        return log(talk::talk(TcpTransport::new(socket), settings, keys, memory.buffers(), opened).await);
    }
    #[cfg(not(feature = "tls"))]
    return log(Err("built without TLS"));
    #[cfg(feature = "tls")]
    {
        let mut record_in = [0; tls::RECORD_IN];
        let (mut record_out, mut pipes) = ([0; tls::RECORD_OUT], [[0; 512]; 4]);
        let pipes = tls::Pipes::new(&mut pipes);
        let trust = tls::Trust::new(fork(random), settings.authority);
        let pump = pin!(tls::pump(&pipes, &mut record_in, &mut record_out, settings.target.host(), trust));
        let transport = tls::Tls::open(TcpTransport::new(socket), &pipes, pump, TLS_HANDSHAKE).await;
        let transport = log(transport)?;
        println!("TLS: {} is who it says", settings.target.host());
        log(talk::talk(transport, settings, keys, memory.buffers(), opened).await)
    }
}

/// Another generator, whose numbers say nothing about the first one's.
fn fork(random: &mut ChaCha20Rng) -> ChaCha20Rng {
    let mut seed = [0; 32];
    random.fill_bytes(&mut seed);
    ChaCha20Rng::from_seed(seed)
}

fn log<T, E: Debug>(result: Result<T, E>) -> Option<T> {
    match result {
        Ok(done) => Some(done),
        Err(error) => {
            println!("failed: {error:?}");
            None
        }
    }
}
