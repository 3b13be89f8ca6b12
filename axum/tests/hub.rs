//! Connections that axum upgrades, over HTTP/1 and HTTP/2, are served by a hub.

mod http2;

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::any;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use sansocket::config::ClientOptions;
use sansocket::hub::driver::TokioSocketFactory;
use sansocket::hub::{HubHandle, HubSettings, Routes, TokioServer, TokioSocket};
use sansocket::proto::SystemKeys;
use sansocket::tokio::WebSocket;
use sansocket::{Client, CloseCode, Event, Handler, HandlerError, Outbox};
use sansocket_axum::WebSocketUpgrade;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

type Stream = TokioIo<Upgraded>;

/// Says which subprotocol was chosen, and echoes.
struct Echo;

impl Handler for Echo {
    fn opened(&mut self, protocol: Option<&str>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        Ok(out.send(protocol.unwrap_or("none"))?)
    }

    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        if let Event::Data(data) = event { out.forward(&data) } else { Ok(()) }
    }
}

/// Gives the hub the connection, with what was read of it.
async fn adopted(
    State((hub, sockets)): State<(HubHandle, TokioSocketFactory)>,
    ws: WebSocketUpgrade,
) -> Response {
    ws.protocols(["chat"]).on_upgrade(|socket| async move {
        let protocol = socket.protocol().is_some_and(|name| name == "chat").then_some("chat");
        let (stream, read) = socket.into_inner().into_stream();
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let adopting = hub.call(move |hub| {
            let hub = hub.hub::<TokioSocket<Stream>, Routes>().unwrap();
            let socket = sockets.socket_after(stream, read);
            assert!(hub.adopt(sockets.now(), socket, peer, Box::new(Echo), protocol).is_ok());
        });
        adopting.unwrap();
    })
}

/// A hub for streams of axum, whose address this is.
async fn serve() -> (HubHandle, JoinHandle<()>, SocketAddr) {
    let server: TokioServer<_, Stream> = TokioServer::new(HubSettings::default(), |_| Routes::new()).unwrap();
    let (hub, sockets) = (server.handle(), server.socket_factory());
    let running = tokio::spawn(server.run());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/ws", any(adopted)).with_state((hub.clone(), sockets));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (hub, running, address)
}

/// Messages go both ways, and the hub's stop closes the connection.
async fn talk<S>(mut client: WebSocket<S, Client<SystemKeys>>, hub: HubHandle, running: JoinHandle<()>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    assert_eq!(client.recv().await.unwrap(), Some("chat".into()));
    for len in [0, 5, 200_000] {
        let message = "z".repeat(len);
        client.send(&*message).await.unwrap();
        assert!(client.recv().await.unwrap() == Some(message.into()), "{len}");
    }
    hub.broadcast("for all").unwrap();
    assert_eq!(client.recv().await.unwrap(), Some("for all".into()));
    hub.stop(CloseCode::GOING_AWAY).unwrap();
    assert_eq!(client.recv().await.unwrap(), None);
    assert_eq!(client.ending().unwrap().received, Some(CloseCode::GOING_AWAY));
    drop(client);
    running.await.unwrap();
    assert_eq!(hub.counters().closed.clean, 1);
}

#[tokio::test]
async fn a_connection_over_http_1_is_adopted() {
    let (hub, running, address) = serve().await;
    let stream = TcpStream::connect(address).await.unwrap();
    let options = ClientOptions::new().protocols(["chat"]);
    let client = WebSocket::connect(stream, &format!("ws://{address}/ws"), &options).await.unwrap();
    talk(client, hub, running).await;
}

#[tokio::test]
async fn an_extended_connect_over_http_2_is_adopted() {
    let (hub, running, address) = serve().await;
    let mut http2 = http2::connect(address).await;
    let mut response = http2::extended_connect(&mut http2, "http://app.example").await;
    assert_eq!(response.status(), 200);
    talk(http2::upgraded(&mut response).await, hub, running).await;
}
