//! Connections over tokio against tokio-tungstenite, in both roles.
#![cfg(feature = "tokio")]

use futures_util::{SinkExt, StreamExt};
use sansocket::config::ServerOptions;
use sansocket::tokio::{WebSocket, connect};
use sansocket::{CloseCode, Error, Message};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message as Theirs;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode as TheirCode;
use tokio_tungstenite::{accept_async, connect_async};

const LENS: [usize; 8] = [0, 1, 125, 126, 16_384, 65_535, 65_536, 3_000_000];

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    (listener, url)
}

#[tokio::test]
async fn their_client_talks_to_our_server() {
    let (listener, url) = listen().await;
    let server = tokio::spawn(async move {
        let mut socket = WebSocket::accept(listener.accept().await.unwrap().0, &ServerOptions::new()).await?;
        while let Some(message) = socket.recv().await? {
            socket.feed(message).await?;
        }
        Ok::<_, Error>((socket.ending().unwrap(), socket.close_reason().to_owned()))
    });
    let (mut client, _) = connect_async(url).await.unwrap();
    for len in LENS {
        for message in [Theirs::text("ß".repeat(len / 2)), Theirs::binary(vec![3; len])] {
            client.send(message.clone()).await.unwrap();
            assert!(client.next().await.unwrap().unwrap() == message, "{len}");
        }
    }
    client.send(Theirs::Ping(b"p".to_vec().into())).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), Theirs::Pong(b"p".to_vec().into()));
    client.close(Some(CloseFrame { code: TheirCode::Away, reason: "bye".into() })).await.unwrap();
    assert!(matches!(client.next().await, Some(Ok(Theirs::Close(Some(_))))));
    assert!(client.next().await.is_none());
    let (ending, reason) = server.await.unwrap().unwrap();
    assert!(ending.is_clean() && ending.received == Some(CloseCode::GOING_AWAY));
    assert_eq!(reason, "bye");
}

#[tokio::test]
async fn our_client_talks_to_their_server() {
    let (listener, url) = listen().await;
    let server = tokio::spawn(async move {
        let socket = accept_async(listener.accept().await.unwrap().0).await.unwrap();
        let (sink, stream) = socket.split();
        stream
            .filter(|message| std::future::ready(message.as_ref().is_ok_and(|m| !m.is_close())))
            .forward(sink)
            .await
    });
    let mut socket = connect(&url).await.unwrap();
    for len in LENS {
        for message in [Message::from("ß".repeat(len / 2)), Message::from(vec![3; len])] {
            socket.send(message.clone()).await.unwrap();
            assert!(socket.recv().await.unwrap() == Some(message), "{len}");
        }
    }
    socket.ping(b"p").await.unwrap();
    let ending = socket.close(CloseCode::NORMAL, "").await;
    assert!(ending.is_clean(), "{ending:?}");
    // Their sink may be told to close when all is over, which is an error there.
    let _ = server.await.unwrap();
}

#[tokio::test]
async fn both_close_at_once() {
    let (listener, url) = listen().await;
    let server = tokio::spawn(async move {
        let mut socket =
            WebSocket::accept(listener.accept().await.unwrap().0, &ServerOptions::new()).await.unwrap();
        socket.close(CloseCode::NORMAL, "").await
    });
    let (mut client, _) = connect_async(url).await.unwrap();
    client.close(None).await.unwrap();
    while let Some(Ok(_)) = client.next().await {}
    assert!(server.await.unwrap().is_clean());
}
