//! A server on several listeners.

use std::io::{self, ErrorKind};
use std::net::TcpListener;

use sansocket::adapter::mio::{Acceptor, Server, Watched};
use sansocket::hub::{Application, Handle, Settings};

/// One server, with one application, that accepts from each of these listeners.
pub(crate) fn new<C: Acceptor, A: Application<Watched<C::Stream>>>(
    listeners: impl IntoIterator<Item = TcpListener>,
    acceptor: C,
    settings: Settings,
    application: impl FnOnce(Handle) -> A,
) -> io::Result<Server<A, C>> {
    let mut listeners = listeners.into_iter();
    let first = listeners.next().ok_or(ErrorKind::AddrNotAvailable)?;
    let mut server = Server::new(first, acceptor, settings, application)?;
    for listener in listeners {
        server.add_listener(listener)?;
    }
    Ok(server)
}
