//! What the images share beside the network server: the board of `examples/qemu-riscv32`, and the height of the stack.

#![no_std]
#![deny(unsafe_op_in_unsafe_fn)]

mod config;
pub mod stack;

pub use config::CONFIG;

#[path = "../../../examples/qemu-riscv32/src/virt/mod.rs"]
pub mod virt;
