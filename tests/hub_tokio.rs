//! The hub over tokio.
#![cfg(all(feature = "hub", feature = "tokio", target_os = "linux"))]

mod hub_server;
mod hub_tcp;
mod wire;

use std::io;

use hub_server::*;
use hub_tcp::Start;
use sansocket::hub::{HubHandle, TokioServer};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;

/// In a runtime of its own, whose only thread also waits for the sockets.
fn serve(start: Start, application: impl FnOnce(HubHandle) -> Echoes) -> io::Result<HubServer> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let context = runtime.enter();
    let mut listeners = start.listeners.into_iter().map(|listener| {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    });
    let mut server = TokioServer::from_listener(listeners.next().unwrap()?, start.settings, application)?;
    listeners
        .try_for_each(|listener| server.add_listener(listener?, |tcp| async { Ok::<TcpStream, _>(tcp) }))?;
    if let Some(silence) = start.keep_alive {
        server = server.keep_alive(silence);
    }
    drop(context);
    let (handle, address) = (server.handle(), server.address().unwrap());
    Ok(HubServer::spawn(handle, address, move || runtime.block_on(server.run())))
}
