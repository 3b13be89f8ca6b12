//! TLS configurations from PEM files.
#![allow(dead_code, unreachable_pub, reason = "the server, the client and the tests each use a part of this")]

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};

/// A server with the certificate chain in one PEM file and its private key in another, or in the same.
pub fn server(chain: &str, key: &str) -> Result<Arc<ServerConfig>, String> {
    let secret =
        PrivateKeyDer::from_pem_file(key).map_err(|error| format!("no private key in {key}: {error}"))?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates(chain)?, secret)
        .map_err(|error| format!("{chain} with {key}: {error}"))?;
    Ok(Arc::new(config))
}

/// The authorities in a PEM file, as those that a client trusts.
pub fn roots(authorities: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(authorities)? {
        roots.add(authority).map_err(|error| format!("{authorities}: {error}"))?;
    }
    Ok(roots)
}

fn certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let bad = |error: &dyn std::fmt::Display| format!("no certificate in {file}: {error}");
    let found = CertificateDer::pem_file_iter(file).map_err(|error| bad(&error))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|error| bad(&error))?;
    if found.is_empty() { Err(bad(&"it has no CERTIFICATE section")) } else { Ok(found) }
}
