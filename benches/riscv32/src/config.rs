//! The settings of `examples/qemu-riscv32`: every deadline but the idle one is on.

use core::time::Duration;

use sansocket::Config;

pub static CONFIG: Config = {
    let mut config = Config::new();
    config.timeouts.handshake = Some(Duration::from_secs(5));
    config.timeouts.ping = Some(Duration::from_secs(20));
    config.timeouts.pong = Some(Duration::from_secs(10));
    config.timeouts.close = Some(Duration::from_secs(2));
    config.timeouts.write = Some(Duration::from_secs(20));
    config
};
