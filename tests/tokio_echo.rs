//! The example `tokio_echo`.
#![cfg(feature = "tokio")]

#[allow(dead_code, reason = "what reads the command line")]
#[path = "../examples/tokio_echo.rs"]
mod tokio_echo;

use std::time::Duration;

use sansocket::config::ServerOptions;
use sansocket::tokio::connect;
use sansocket::{CloseCode, Error, Message};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

async fn start(connections: u32) -> (String, oneshot::Sender<()>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel();
    let stopped = async { stopped.await.unwrap() };
    let server = tokio::spawn(tokio_echo::serve(listener, ServerOptions::new(), connections, stopped));
    (url, stop, server)
}

#[tokio::test]
async fn it_echoes_and_stops_with_a_close_for_everybody() {
    let (url, stop, server) = start(100).await;
    let mut clients = Vec::new();
    for n in 0..10_u8 {
        let mut client = connect(&format!("{url}ws")).await.unwrap();
        let message = Message::from(vec![n; 10_000 * usize::from(n)]);
        client.send(message.clone()).await.unwrap();
        assert!(client.recv().await.unwrap() == Some(message));
        clients.push(client);
    }
    assert!(matches!(connect(&url).await, Err(Error::Refused(response)) if response.status == 404));
    stop.send(()).unwrap();
    for mut client in clients {
        assert_eq!(client.recv().await.unwrap(), None);
        assert_eq!(client.ending().unwrap().received, Some(CloseCode::GOING_AWAY));
    }
    server.await.unwrap();
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_a_place() {
    let (url, stop, server) = start(1).await;
    let url = format!("{url}ws");
    let mut first = connect(&url).await.unwrap();
    let mut second = tokio::spawn(async move { connect(&url).await });
    assert!(timeout(Duration::from_millis(100), &mut second).await.is_err());
    assert!(first.close(CloseCode::NORMAL, "").await.is_clean());
    let mut second = second.await.unwrap().unwrap();
    second.send("in").await.unwrap();
    assert_eq!(second.recv().await.unwrap(), Some("in".into()));
    stop.send(()).unwrap();
    assert_eq!(second.recv().await.unwrap(), None);
    server.await.unwrap();
}
