//! A chat in a tokio program: a handler for each connection, all of them in one task, over TLS.
//!
//!     cargo run --release --example tokio_hub --features hub,tokio-rustls -- 127.0.0.1:8443 cert.pem key.pem
//!
//! What a client says goes to everybody. The same handler runs over mio and on a microcontroller.

mod tls;

use std::error::Error;
use std::future::Future;
use std::sync::Arc;

use sansocket::hub::{HubHandle, HubSettings, Routes, TokioServer};
use sansocket::{CloseCode, Config, HandlerError, MessageHandler, MessageRef, Outbox};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// One member.
struct Member {
    hub: HubHandle,
}

impl MessageHandler for Member {
    fn message(&mut self, message: MessageRef<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let MessageRef::Text(text) = message else {
            return Err(HandlerError::Close(CloseCode::UNSUPPORTED_DATA, "a chat takes text"));
        };
        if self.hub.broadcast(text.to_owned()).is_err() {
            // The queue of commands is full: the member may say it again.
            out.send("busy")?;
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [address, chain, key] = args.as_slice() else {
        return Err("usage: tokio_hub ADDRESS CERTIFICATE-CHAIN KEY".into());
    };
    let (listener, tls) = (TcpListener::bind(address).await?, tls::server(chain, key)?);
    println!("listening on wss://{}/chat", listener.local_addr()?);
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    Ok(serve(listener, tls, stop).await?)
}

/// Serves until `stop` is ready, and then until the connections have ended.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let settings = HubSettings::new(Config::new().max_message_len(4096)).max_sessions(10_000);
    let tls = TlsAcceptor::from(tls);
    let server = TokioServer::with_acceptor(
        listener,
        move |tcp| tls.accept(tcp),
        settings,
        |hub| Routes::new().messages("/chat", move |_, _| Ok(Member { hub: hub.clone() })),
    )?;
    let hub = server.handle();
    tokio::spawn(async move {
        stop.await;
        let _ = hub.stop(CloseCode::GOING_AWAY);
    });
    server.run().await;
    Ok(())
}
