//! Randomness from virtio's entropy device, that is from the host's generator.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use virtio_drivers::device::rng::VirtIORng;
use virtio_drivers::transport::DeviceType;

use crate::virt::{dma::Memory, virtio};

/// A generator for masking keys, for TLS and for everything else, with a seed of 256 random bits.
///
/// Before the network card, which gets the same pages for its rings.
pub fn generator() -> Option<ChaCha20Rng> {
    let (_, transport) = virtio::find(DeviceType::EntropySource)?;
    let mut device = VirtIORng::<Memory, _>::new(transport).ok()?;
    let mut seed = [0; 32];
    let mut filled = 0;
    while filled < seed.len() {
        match device.request_entropy(&mut seed[filled..]) {
            Ok(n) if n > 0 => filled += n,
            _ => return None,
        }
    }
    Some(ChaCha20Rng::from_seed(seed))
}
