//! WebSocket for axum 0.8, in place of its module `ws`: change `axum::extract::ws` to `sansocket_axum` in a program's `use`.
//!
//! ```
//! use axum::{Router, response::Response, routing::any};
//! use sansocket_axum::{Message, WebSocket, WebSocketUpgrade};
//!
//! async fn echo(ws: WebSocketUpgrade) -> Response {
//!     ws.on_upgrade(|mut socket: WebSocket| async move {
//!         while let Some(Ok(message)) = socket.recv().await {
//!             if let Message::Text(_) | Message::Binary(_) = message {
//!                 if socket.send(message).await.is_err() {
//!                     return;
//!                 }
//!             }
//!         }
//!     })
//! }
//!
//! let app: Router = Router::new().route("/echo", any(echo));
//! ```
//!
//! # What behaves differently
//!
//! - A page of another host gets 403, unless [`origins`](WebSocketUpgrade::origins) has its origin.
//! - A request is refused if its key is malformed, if it has a body, or if a field is present twice that may be there once.
//! - A peer that breaks RFC 6455 gets a Close with the right code before the connection ends.
//! - Each wait for the peer has a deadline. A silent peer gets Pings, and is disconnected if it does not answer.
//! - An idle connection has no buffers. A peer that sends Pings and reads nothing makes nothing grow.
//! - A task that panics sends Close 1011.
//! - `WebSocketUpgrade::accept_unmasked_frames` does not exist: "a server MUST close a connection upon receiving a frame that is not
//!   masked" (RFC 6455 §5.1).
//!
//! # HTTP/2
//!
//! `axum::serve` accepts the extended CONNECT of browsers if axum's feature `http2` is on. Route the handler with `any`.
//!
//! # The end of a server
//!
//! axum's graceful shutdown closes no WebSocket, and a connection of HTTP/2 does not end while a WebSocket in it is open. A
//! [`Tracker`](sansocket::tokio::Tracker) closes all connections that [`track`](WebSocketUpgrade::track) has counted:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use sansocket::CloseCode;
//! use sansocket::tokio::Tracker;
//!
//! /// Serves until Ctrl-C.
//! async fn run(app: axum::Router, tracker: Tracker) -> std::io::Result<()> {
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//!     let closing = tracker.clone();
//!     axum::serve(listener, app)
//!         .with_graceful_shutdown(async move {
//!             let _ = tokio::signal::ctrl_c().await;
//!             closing.close_all(CloseCode::GOING_AWAY, "the server stops");
//!         })
//!         .await?;
//!     tracker.wait(Duration::from_secs(12)).await;
//!     Ok(())
//! }
//! ```
//!
//! # Tests without TCP
//!
//! [`test_request`] makes the request of an upgrade for `tower::ServiceExt::oneshot`, and the client's end of the connection.

#![forbid(unsafe_code)]

mod message;
pub mod rejection;
mod socket;
mod testing;
mod upgrade;

pub use message::{CloseCode, CloseFrame, InvalidCloseCode, Message, Utf8Bytes, close_code};
pub use socket::{Connection, WebSocket};
pub use testing::test_request;
pub use upgrade::{DefaultOnFailedUpgrade, OnFailedUpgrade, Upgrading, WebSocketUpgrade};

/// Compiles the examples in the documents as tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../../docs/migrating.md")]
    struct Migrating;
}
