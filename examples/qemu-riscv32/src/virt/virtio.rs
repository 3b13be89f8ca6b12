//! The board's eight slots for virtio devices: they lie behind one another, in the order of their interrupts, from 1
//! on.

use core::ptr::{self, NonNull};

use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::mmio::MmioTransport;

use super::register::Register;

/// The first device of this kind, and its interrupt.
pub fn find(kind: DeviceType) -> Option<(usize, MmioTransport<'static>)> {
    (1..=8).find_map(|interrupt| {
        // SAFETY: the device's number, which every slot has, if only 0.
        let number: Register<u32> = unsafe { Register::at(slot(interrupt) + 0x008) };
        if number.read() != kind as u32 {
            return None; // and is left alone: a transport that is dropped resets its device
        }
        let header = NonNull::new(ptr::with_exposed_provenance_mut(slot(interrupt)))?;
        // SAFETY: there is a virtio device.
        let transport = unsafe { MmioTransport::new(header, SLOT) }.ok()?;
        Some((interrupt, transport))
    })
}

/// Where the registers of the device with this interrupt are.
pub fn slot(interrupt: usize) -> usize {
    0x1000_0000 + interrupt * SLOT
}

const SLOT: usize = 0x1000;
