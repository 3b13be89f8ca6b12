//! The dashboard on bare metal: QEMU's `virt` board, rv32imc, embassy, and the hub over embassy-net.
//!
//! One task serves all clients. When one of them changes a value, the hub wakes the handlers of the others. Beside the page,
//! `/sessions` lists the ids of the clients and the bytes of the heap that are in use, and a POST to `/say` broadcasts its body.

#![no_std]
#![no_main]
#![deny(unsafe_op_in_unsafe_fn)]

extern crate alloc;

#[path = "../../../qemu-riscv32/src/virt/mod.rs"]
#[macro_use]
mod virt;

#[path = "../../handler.rs"]
mod handler;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed};
use core::time::Duration;

use embassy_executor::Spawner;
use embassy_net::tcp::TcpSocket;
use embassy_net::{Stack, StackResources};
use embedded_alloc::LlffHeap;
use handler::{CHANNELS, Channel, Command, Dashboard, Device, PAGE, Sample, State};
use sansocket::handshake::Response;
use sansocket::hub::{Capacity, EmbassyServer, HubHandle, HubSettings, Routes, SessionInfo};
use sansocket::{Config, Instant};
use static_cell::ConstStaticCell;

#[global_allocator]
static HEAP: LlffHeap = LlffHeap::empty();
const HEAP_SIZE: usize = 48 * 1024;

const PORT: u16 = 80;
const SESSIONS: usize = 4;
/// embassy-net has no backlog: two sockets more than sessions, so that a client finds one that listens while an evicted
/// session closes.
const SOCKETS: usize = SESSIONS + 2;
/// Of the network, for each direction of each socket.
const TCP_BUFFER: usize = 1024;

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    static RESOURCES: ConstStaticCell<StackResources<{ SOCKETS + 1 }>> =
        ConstStaticCell::new(StackResources::new()); // and one socket for DHCP
    static MEMORY: ConstStaticCell<[u8; HEAP_SIZE]> = ConstStaticCell::new([0; HEAP_SIZE]);

    // SAFETY: the memory is the heap's alone, and this is the only call.
    unsafe { HEAP.init(MEMORY.take().as_mut_ptr().addr(), HEAP_SIZE) };
    let stack = virt::start(spawner, RESOURCES.take(), virt::time::unix());
    spawner.spawn(serve(stack).unwrap());
    stack.wait_config_up().await;
    let address = stack.config_v4().unwrap().address.address();
    println!("listening on {address}:{PORT}");
}

#[embassy_executor::task]
async fn serve(stack: Stack<'static>) {
    // A client that vanishes is noticed soon, and a command is short.
    let config = Config::new()
        .max_message_len(64)
        .keep_alive(Some(Duration::from_secs(5)), Some(Duration::from_secs(5)));
    let settings = HubSettings::new(config)
        .max_sessions(SESSIONS)
        .capacity(Capacity::Evict)
        .head_buffer(1024)
        .receive_buffer(256)
        .transmit_buffer(512)
        .max_commands(16);
    let sockets = (0..SOCKETS).map(|_| {
        let memory = || Box::leak(Box::new([0; TCP_BUFFER]));
        TcpSocket::new(stack, memory(), memory())
    });
    let mut server = EmbassyServer::new(PORT, sockets, settings, routes).expect("the settings are right");
    server.run().await;
}

fn routes(hub: HubHandle) -> Routes {
    let (list, say) = (hub.clone(), hub.clone());
    Routes::new()
        .get("/", |_, _| Response::html(200, PAGE))
        .websocket("/ws", move |_, _| Ok(Dashboard::new(Board { hub: hub.clone() })))
        .get("/sessions", move |_, _| {
            let ids: String = list.sessions().iter().map(|session| format!("{}\n", session.id())).collect();
            Response::text(200, format!("heap {}\n{ids}", HEAP.used()))
        })
        .post("/say", 64, move |_, _, body| {
            let Ok(text) = core::str::from_utf8(body) else { return Response::empty(400) };
            // A full queue of commands is the only reason why it is not sent.
            Response::empty(if say.broadcast(String::from(text)).is_ok() { 204 } else { 503 })
        })
}

static LED: AtomicBool = AtomicBool::new(false);
static PWM: AtomicU8 = AtomicU8::new(50);
static BOOT: AtomicU32 = AtomicU32::new(1);

/// The device, as each connection has it. A product has its peripherals here: a temperature sensor, a duty cycle, a reset.
struct Board {
    hub: HubHandle,
}

impl Device for Board {
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
            // One writer only: all sessions are of one task.
            Command::Reboot => BOOT.store(BOOT.load(Relaxed) + 1, Relaxed),
        }
        // If the queue of commands is full, the others see the change with their next sample.
        let _ = self.hub.call(|hub| {
            let ids: alloc::vec::Vec<_> = hub.sessions().map(SessionInfo::id).collect();
            for id in ids {
                hub.wake(id);
            }
        });
    }
}
