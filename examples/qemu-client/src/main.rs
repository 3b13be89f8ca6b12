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

mod partition;
#[cfg(feature = "tls")]
mod pipe;
mod random;
mod settings;
mod stack;
mod talk;
#[cfg(feature = "tls")]
mod tls;

use core::fmt::Debug;
use core::ops::ControlFlow;
#[cfg(feature = "tls")]
use core::pin::pin;
use core::time::Duration;

use embassy_executor::Spawner;
use embassy_net::StackResources;
use embassy_net::tcp::TcpSocket;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sansocket::embedded::{ConnectAttempt, Reconnect, ReconnectEvent, TcpTransport};
use sansocket::handshake::ClientRequest;
use sansocket::session::{Backoff, Memory};
use sansocket::{Config, Ending};
use settings::Settings;
use static_cell::ConstStaticCell;

/// Of the network, once for each direction.
const TCP_BUFFER: usize = 2048;
/// The heads of request and answer.
const HEAD: usize = 512;
/// Once for each direction. A message may be much longer: it streams through.
const BUFFER: usize = 512;

const CONNECT: Duration = Duration::from_secs(5);
#[cfg(feature = "tls")]
const TLS_HANDSHAKE: Duration = Duration::from_secs(10);
/// The first wait before the next attempt is no longer.
const FIRST: Duration = Duration::from_secs(1);
/// A connection that has lasted so long was no failure.
const STABLE: Duration = Duration::from_secs(5);

/// The error of a session. TCP and TLS fail differently, so the session itself has logged why.
struct Logged;

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    static RESOURCES: ConstStaticCell<StackResources<2>> = ConstStaticCell::new(StackResources::new()); // and DHCP's
    static BUFFERS: ConstStaticCell<[[u8; TCP_BUFFER]; 2]> = ConstStaticCell::new([[0; TCP_BUFFER]; 2]);

    let settings = Settings::read().unwrap_or_else(|wrong| panic!("settings: {wrong}"));
    // Not from a clock: a masking key or a TLS key that can be guessed is none.
    let mut random = random::generator().expect("no virtio random number generator");
    let stack = virt::start(spawner, RESOURCES.take(), random.next_u64());
    let mut tls_random = fork(&mut random);
    let mut keys = || random.next_u32().to_ne_bytes();

    let [receive, transmit] = BUFFERS.take();
    let mut socket = TcpSocket::new(stack, receive, transmit);
    let mut memory = Memory { head: [0; HEAD], rx: [0; BUFFER], tx: [0; BUFFER] };
    let request = ClientRequest::new(settings.target)
        .protocols(settings.protocol.as_slice())
        .headers(settings.header.as_slice());
    let backoff = Backoff::new(FIRST, Duration::from_secs(settings.patience));
    let mut client = Reconnect::new(request, &talk::CONFIG, backoff)
        .address(settings.address)
        .connect_timeout(CONNECT)
        .stable_after(STABLE);
    let mut log = |event: ReconnectEvent<'_, Logged>| match event {
        ReconnectEvent::Connect(_) => println!("connecting to {}", settings.url),
        ReconnectEvent::Open(protocol) => println!("open, subprotocol {}", protocol.unwrap_or("none")),
        ReconnectEvent::Refused(response) => println!("refused with status {}", response.status),
        ReconnectEvent::Unreachable(error) => println!("unreachable: {error}"),
        ReconnectEvent::Failed(Logged) | ReconnectEvent::Ended => stack::report(),
        ReconnectEvent::Delay(delay) => println!("again in {} ms", delay.as_millis() as u64),
        _ => {}
    };
    let ending = client
        .run(stack, &mut socket, &mut memory, &mut keys, &mut log, async |tcp, attempt| {
            let ending = session(tcp, attempt, &settings, &mut tls_random).await.ok_or(Logged)?;
            if ending.is_clean() {
                return Ok(ControlFlow::Break(ending));
            }
            println!("ended: {}", ending.reason);
            Ok(ControlFlow::Continue(()))
        })
        .await;
    println!("done: {}, code {}", ending.reason, ending.code());
}

/// Runs one connection from TCP to its end, over TLS if the URL says so, and logs what went wrong.
async fn session<K: FnMut() -> [u8; 4]>(
    tcp: TcpTransport<'_, '_>,
    attempt: ConnectAttempt<'_, K, &'static Config, Logged>,
    settings: &Settings,
    random: &mut ChaCha20Rng,
) -> Option<Ending> {
    if !settings.target.is_secure() {
        return log(talk::talk(tcp, attempt, settings).await);
    }
    #[cfg(not(feature = "tls"))]
    {
        let _ = random;
        log(Err("built without TLS"))
    }
    #[cfg(feature = "tls")]
    {
        let mut record_in = [0; tls::RECORD_IN];
        let (mut record_out, mut pipes) = ([0; tls::RECORD_OUT], [[0; 512]; 4]);
        let pipes = tls::Pipes::new(&mut pipes);
        let trust = tls::Trust::new(fork(random), settings.authority);
        let pump = pin!(tls::pump(&pipes, &mut record_in, &mut record_out, settings.target.host(), trust));
        let transport = log(tls::Tls::open(tcp, &pipes, pump, TLS_HANDSHAKE).await)?;
        println!("TLS: {} is who it says", settings.target.host());
        log(talk::talk(transport, attempt, settings).await)
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
