//! A server on several listeners.

use std::io::{self, ErrorKind};
use std::net::TcpListener;

use sansocket::hub::driver::MioAcceptor;
use sansocket::hub::{Application, HubHandle, HubSettings, MioServer};

/// One server, with one application, that accepts from each of these listeners.
pub(crate) fn new<C: MioAcceptor, A: Application>(
    listeners: impl IntoIterator<Item = TcpListener>,
    acceptor: C,
    settings: HubSettings,
    application: impl FnOnce(HubHandle) -> A,
) -> io::Result<MioServer<A, C>> {
    let mut listeners = listeners.into_iter();
    let first = listeners.next().ok_or(ErrorKind::AddrNotAvailable)?;
    let mut server = MioServer::with_acceptor(first, acceptor, settings, application)?;
    for listener in listeners {
        server.add_listener(listener)?;
    }
    Ok(server)
}
