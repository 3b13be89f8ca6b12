//! The hub over tokio and TLS.
#![cfg(all(feature = "hub", feature = "tokio-rustls"))]

mod hub_server;
mod hub_tls;
mod pki;
mod wire;

use std::net::TcpListener;
use std::sync::Arc;

use rustls::ServerConfig;
use sansocket::hub::{HubHandle, HubSettings, TokioServer};
use tokio_rustls::TlsAcceptor;

/// Bytes that are no TLS and still get an alert: tokio-rustls reads once before it closes, and unread ones cause a reset.
const UNREAD: usize = 4000;

/// Returns the hub's handle and what runs it.
fn serve(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    settings: HubSettings,
    app: hub_tls::App,
) -> (HubHandle, impl FnOnce() + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let context = runtime.enter();
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let tls = TlsAcceptor::from(config);
    let accept = move |tcp| tls.accept(tcp);
    let server = TokioServer::with_acceptor(listener, accept, settings, |_| app).unwrap();
    drop(context);
    (server.handle(), move || runtime.block_on(server.run()))
}
