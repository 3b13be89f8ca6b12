//! The hub over mio and TLS.
#![cfg(all(feature = "mio", feature = "rustls"))]

mod hub_server;
mod hub_tls;
mod pki;
mod wire;

use std::net::TcpListener;
use std::sync::Arc;

use rustls::ServerConfig;
use sansocket::hub::{HubHandle, HubSettings, MioServer, TlsAcceptor};

/// Bytes that are no TLS and still get an alert: those beyond the first read are read too before the end.
const UNREAD: usize = 5000;

/// Returns the hub's handle and what runs it.
fn serve(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    settings: HubSettings,
    app: hub_tls::App,
) -> (HubHandle, impl FnOnce() + Send + 'static) {
    let server = MioServer::with_acceptor(listener, TlsAcceptor(config), settings, |_| app).unwrap();
    (server.handle(), || server.run().unwrap())
}
