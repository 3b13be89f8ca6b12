//! Listening on a name.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

/// The addresses of `HOST:PORT`: `localhost` has one in each family, and some clients try only one of them.
pub(crate) fn resolve(name: &str) -> Result<Vec<SocketAddr>, String> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in name.to_socket_addrs().map_err(|error| format!("--listen {name}: {error}"))? {
        // A hosts file may name it twice.
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// Listens on all of them. Port 0 is any, but the same for all. An address that this machine does not have is left out,
/// unless it has none of them.
pub(crate) fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, String> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut failure = String::from("the name has no address");
    for address in addresses {
        let mut address = *address;
        if let (0, Some(Ok(first))) = (address.port(), listeners.first().map(TcpListener::local_addr)) {
            address.set_port(first.port());
        }
        match TcpListener::bind(address) {
            Ok(listener) => listeners.push(listener),
            Err(error) => {
                failure = format!("cannot listen on {address}: {error}");
                // Where another program listens, it would get our clients.
                if matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied) {
                    return Err(failure);
                }
            }
        }
    }
    if listeners.is_empty() { Err(failure) } else { Ok(listeners) }
}
