//! The example `tokio_hub`.
#![cfg(all(feature = "hub", feature = "tokio-rustls"))]

mod pki;
#[allow(dead_code, reason = "what reads the command line")]
#[path = "../examples/tokio_hub.rs"]
mod tokio_hub;

use std::sync::Arc;

use pki::Pki;
use sansocket::config::ClientOptions;
use sansocket::tokio::connect_with;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

#[tokio::test]
async fn what_one_says_goes_to_all_and_a_stop_closes() {
    let pki = Pki::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("wss://{}/chat", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel();
    let stopped = async { stopped.await.unwrap() };
    let server = tokio::spawn(tokio_hub::serve(listener, Arc::clone(&pki.server), stopped));
    let options = ClientOptions::new().tls_roots(pki.roots());
    let mut clients = Vec::new();
    for n in 0..5 {
        clients.push(connect_with(&url, &options).await.unwrap());
        let text = format!("{n} is here");
        clients[n].send(text.as_str()).await.unwrap();
        for client in &mut clients {
            assert_eq!(client.recv().await.unwrap(), Some(text.as_str().into()));
        }
    }
    stop.send(()).unwrap();
    for client in &mut clients {
        assert_eq!(client.recv().await.unwrap(), None);
        assert!(client.ending().unwrap().is_clean());
    }
    server.await.unwrap().unwrap();
}
