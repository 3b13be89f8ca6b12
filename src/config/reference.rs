//! How a connection holds its configuration.

#![forbid(unsafe_code)]

use core::ops::Deref;

use super::base::Config;

/// A pointer by which a connection holds its [`Config`]: a reference, or with feature `alloc` an `Arc`. Each takes one machine
/// word.
///
/// - `&'static Config` points to a `static`. It is the default of every type parameter `C`, and fits firmware.
/// - `&'c Config` points to a configuration that outlives its connections. `Connection<Server>` means a connection with a
///   `'static` configuration; code that takes any connection is generic over `C: ConfigRef`.
/// - `Arc<Config>` holds settings that are known only at run time. `blocking` and `hub` use it.
///
/// ```
/// use std::sync::Arc;
///
/// use sansocket::{Config, Connection, Instant, Server};
///
/// let config = Config::new().max_message_len(4096);
/// let borrowed = Connection::new(Server, &config, Instant::START);
/// # #[cfg(feature = "alloc")] {
/// let shared = Arc::new(config.clone());
/// let counted = Connection::new(Server, Arc::clone(&shared), Instant::START);
/// assert_eq!(Arc::strong_count(&shared), 2); // the connection holds one
/// assert_eq!(size_of_val(&counted), size_of_val(&borrowed));
/// # }
/// ```
pub trait ConfigRef: Deref<Target = Config> + Clone {
    /// Converts a `'static` configuration, such as the one that a handler returns in
    /// [`AcceptOptions::config`](crate::handshake::AcceptOptions::config). An `Arc` holds a copy.
    fn from_static(config: &'static Config) -> Self;
}

impl ConfigRef for &Config {
    #[inline]
    fn from_static(config: &'static Config) -> Self {
        config
    }
}

#[cfg(all(feature = "alloc", any(target_has_atomic = "ptr", feature = "portable-atomic")))]
impl ConfigRef for crate::arc::Arc<Config> {
    fn from_static(config: &'static Config) -> Self {
        config.into()
    }
}

/// Copies the configuration, about 150 bytes, so that `&CONFIG` of a `static` converts where an `Arc` is expected.
#[cfg(all(feature = "alloc", any(target_has_atomic = "ptr", feature = "portable-atomic")))]
impl From<&Config> for crate::arc::Arc<Config> {
    fn from(config: &Config) -> Self {
        Self::new(config.clone())
    }
}
