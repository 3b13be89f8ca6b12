//! Masking keys from the operating system.

#![forbid(unsafe_code)]

use std::io;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::role::MaskingKey;

/// Masking keys from ChaCha12, seeded by the operating system.
///
/// It cannot be cloned, and after a `fork` parent and child draw from different streams of the generator, which they tell by
/// the process id: no two connections get the same keys.
///
/// ```
/// use sansocket::proto::SystemKeys;
/// use sansocket::{Client, Config, Connection, Instant};
///
/// # fn main() -> std::io::Result<()> {
/// let connection = Connection::new(Client::new(SystemKeys::new()?), &Config::DEFAULT, Instant::START);
/// # assert_eq!(connection.ending(), None);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct SystemKeys {
    random: ChaCha12Rng,
    /// The process whose stream of the generator it is.
    process: u32,
}

impl SystemKeys {
    /// A generator with a seed of its own.
    ///
    /// # Errors
    /// The operating system's, if it has no random bytes.
    pub fn new() -> io::Result<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(io::Error::other)?;
        Ok(Self { random: ChaCha12Rng::from_seed(seed), process: 0 })
    }
}

impl MaskingKey for SystemKeys {
    fn masking_key(&mut self) -> [u8; 4] {
        // Only Unix has a fork.
        let process = if cfg!(unix) { std::process::id() } else { 0 };
        if process != self.process {
            self.process = process;
            self.random.set_stream(process.into());
        }
        self.random.next_u32().to_ne_bytes()
    }
}
