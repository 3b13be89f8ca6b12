//! Masking keys from the operating system.

#![forbid(unsafe_code)]

use std::io;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::role::MaskingKey;

/// Masking keys from ChaCha12, seeded by the operating system.
///
/// ```
/// use sansocket::blocking::SystemKeys;
/// use sansocket::{Client, Config, Connection, Instant};
///
/// # fn main() -> std::io::Result<()> {
/// let connection = Connection::new(Client(SystemKeys::new()?), &Config::DEFAULT, Instant::START);
/// # assert_eq!(connection.cause(), None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SystemKeys(ChaCha12Rng);

impl SystemKeys {
    /// A generator with a seed of its own.
    ///
    /// # Errors
    /// The operating system's, if it has no random bytes.
    pub fn new() -> io::Result<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(io::Error::other)?;
        Ok(Self(ChaCha12Rng::from_seed(seed)))
    }
}

impl MaskingKey for SystemKeys {
    fn masking_key(&mut self) -> [u8; 4] {
        self.0.next_u32().to_ne_bytes()
    }
}
