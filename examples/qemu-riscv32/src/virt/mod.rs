//! QEMU's `virt` board, as much of it as a network server needs.

#[macro_use]
pub mod console;
pub mod dma;
mod exit;
pub mod net;
mod plic;
mod register;
pub mod time;
pub mod virtio;

use embassy_executor::Spawner;
use embassy_net::{DhcpConfig, Runner, Stack, StackResources};
use riscv::interrupt::{self, Interrupt};

/// Starts the network with an address from DHCP, which takes one of the sockets. The `seed` is another one at each start; a
/// product takes its chip's random numbers, as a clock can be guessed.
pub fn start<const SOCKETS: usize>(
    spawner: Spawner,
    resources: &'static mut StackResources<SOCKETS>,
    seed: u64,
) -> Stack<'static> {
    let device = net::Device::probe().expect("no virtio network card");
    let dhcp = embassy_net::Config::dhcpv4(DhcpConfig::default());
    let (stack, runner) = embassy_net::new(device, dhcp, resources, seed);
    enable_interrupts();
    spawner.spawn(network(runner).unwrap());
    stack
}

#[embassy_executor::task]
async fn network(mut runner: Runner<'static, net::Device>) -> ! {
    runner.run().await
}

/// From here on the timer and the devices wake the executor, which sleeps in `wfi` otherwise.
fn enable_interrupts() {
    // SAFETY: start-up calls this outside any critical section, with every handler in place.
    unsafe {
        interrupt::enable_interrupt(Interrupt::MachineTimer);
        interrupt::enable_interrupt(Interrupt::MachineExternal);
        interrupt::enable();
    }
}
