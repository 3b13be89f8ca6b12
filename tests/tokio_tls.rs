//! Clients on tokio over TLS, with an authority of their own.
#![cfg(feature = "tokio-rustls")]

mod pki;

use std::sync::Arc;
use std::time::Duration;

use pki::Pki;
use sansocket::config::{ClientOptions, ServerOptions};
use sansocket::error::ConnectPhase;
use sansocket::tokio::{WebSocket, connect, connect_with};
use sansocket::{CloseCode, Error, Message};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("wss://{}/", listener.local_addr().unwrap());
    (listener, url)
}

/// Echoes on one connection over TLS.
async fn echo(pki: &Pki) -> (String, JoinHandle<Result<(), Error>>) {
    let ((listener, url), tls) = (listen().await, TlsAcceptor::from(Arc::clone(&pki.server)));
    let server = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut socket =
            WebSocket::accept(tls.accept(tcp).await.map_err(Error::Transport)?, &ServerOptions::new())
                .await?;
        while let Some(message) = socket.recv().await? {
            socket.send(message).await?;
        }
        Ok(())
    });
    (url, server)
}

#[tokio::test]
async fn messages_go_through_tls_and_it_ends_cleanly() {
    let pki = Pki::new();
    let (url, server) = echo(&pki).await;
    let options = ClientOptions::new().tls_roots(pki.roots());
    let mut socket = connect_with(&url, &options).await.unwrap();
    assert!(socket.stream().tls().unwrap().protocol_version().is_some());
    for len in [0, 1, 16_384, 1_000_000] {
        let message = Message::from(vec![5; len]);
        socket.send(message.clone()).await.unwrap();
        assert!(socket.recv().await.unwrap() == Some(message), "{len}");
    }
    assert!(socket.close(CloseCode::NORMAL, "").await.is_clean());
    server.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stranger_s_certificate_is_refused() {
    let (url, server) = echo(&Pki::new()).await;
    let error = connect_with(&url, &ClientOptions::new().tls_roots(Pki::new().roots())).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    assert!(matches!(error, Error::Connect(error) if error.phase() == ConnectPhase::Tls));
    assert!(server.await.unwrap().is_err());
    // The system's authorities do not know it either; or there are none.
    let (url, _server) = echo(&Pki::new()).await;
    assert!(matches!(connect(&url).await, Err(Error::Connect(error)) if error.phase() == ConnectPhase::Tls));
}

#[tokio::test(start_paused = true)]
async fn the_tls_handshake_has_a_deadline() {
    let (_listener, url) = listen().await;
    let options = ClientOptions::new().tls_roots(Pki::new().roots()).tls_timeout(Duration::from_secs(3));
    let error = connect_with(&url, &options).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert!(matches!(error, Error::Connect(error) if error.phase() == ConnectPhase::Tls));
}
