//! Whom a client trusts over TLS, and with which cryptography.

#![forbid(unsafe_code)]

use std::format;
use std::io;
use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};

/// Where a client's TLS configuration comes from.
#[derive(Clone, Debug)]
pub(crate) enum Trust {
    /// The authorities of the operating system, loaded once for all clones of the options.
    System(Arc<OnceLock<Arc<ClientConfig>>>),
    Roots(Arc<RootCertStore>),
    Config(Arc<ClientConfig>),
}

impl Default for Trust {
    fn default() -> Self {
        Self::System(Arc::default())
    }
}

impl Trust {
    pub(crate) fn config(&self) -> io::Result<Arc<ClientConfig>> {
        match self {
            Self::Config(config) => Ok(Arc::clone(config)),
            Self::Roots(roots) => with_roots(Arc::clone(roots)),
            Self::System(loaded) => {
                if let Some(config) = loaded.get() {
                    return Ok(Arc::clone(config));
                }
                let config = with_roots(Arc::new(system_roots()?))?;
                Ok(Arc::clone(loaded.get_or_init(|| config)))
            }
        }
    }
}

fn with_roots(roots: Arc<RootCertStore>) -> io::Result<Arc<ClientConfig>> {
    let mut config = ClientConfig::builder_with_provider(provider()?)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // A WebSocket is opened over HTTP/1.1; a server of another protocol is found out in the TLS handshake (RFC 7301).
    config.alpn_protocols = [b"http/1.1".into()].into();
    Ok(Arc::new(config))
}

fn system_roots() -> io::Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A certificate that rustls cannot read is skipped: no server can be verified with it.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(|| "none is installed".into(), |error| format!("{error}"));
        return Err(io::Error::other(format!("no trusted authority on this system: {why}")));
    }
    Ok(roots)
}

/// What the application has installed for its process, else ring.
fn provider() -> io::Result<Arc<CryptoProvider>> {
    if let Some(provider) = CryptoProvider::get_default() {
        return Ok(Arc::clone(provider));
    }
    #[cfg(feature = "rustls")]
    return Ok(Arc::new(rustls::crypto::ring::default_provider()));
    #[cfg(not(feature = "rustls"))]
    Err(io::Error::other(
        "no cryptography for TLS: call CryptoProvider::install_default, or enable feature `rustls`",
    ))
}
