//! Connections over tokio's streams: TCP, TLS, what hyper has upgraded, and every other `AsyncRead + AsyncWrite`.
//!
//! [`connect`] opens a [`WebSocket`] as a client, [`WebSocket::accept`] as a server, and [`WebSocket::after_upgrade`] continues
//! after somebody else's opening handshake. A connection makes progress while one of its methods is awaited: its Pings are
//! answered, its deadlines are enforced and what was fed is written by whichever method that is. Only
//! [`WebSocket::into_split`] spawns a task, which does that while nobody awaits anything.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use sansocket::config::ServerOptions;
//! use sansocket::tokio::WebSocket;
//! use tokio::net::TcpListener;
//!
//! #[tokio::main]
//! async fn main() -> std::io::Result<()> {
//!     let listener = TcpListener::bind("127.0.0.1:8080").await?;
//!     let options = ServerOptions::new();
//!     loop {
//!         let Ok((stream, _)) = listener.accept().await else {
//!             tokio::time::sleep(Duration::from_millis(50)).await; // no descriptors are left, or the client has gone
//!             continue;
//!         };
//!         let options = options.clone();
//!         tokio::spawn(async move {
//!             let _ = stream.set_nodelay(true);
//!             let mut socket = WebSocket::accept(stream, &options).await?;
//!             while let Some(message) = socket.recv().await? {
//!                 socket.feed(message).await?; // `recv` writes it
//!             }
//!             Ok::<_, sansocket::Error>(())
//!         });
//!     }
//! }
//! ```
//!
//! The guide `tokio` also bounds the number of connections, and ends the server in an orderly way.
//!
//! # Cancel safety
//!
//! Every method may be dropped at any await, as `select!` and `timeout` do: nothing that was received is lost, and nothing is
//! sent twice or in part. A frame is put whole, in one poll; what the buffer does not take of it is kept in the `WebSocket`,
//! and leaves with the next method that is awaited. Each method says what its dropped future has done.
//!
//! # Memory
//!
//! A connection takes its two buffers from its thread when it is polled, and gives them back before it waits, unless bytes lie in
//! them: an idle connection has none. What waits for a slow peer is at most the transmit buffer and the rest of one message,
//! which the caller has given; what a peer sends and nobody reads, at most the receive buffer and the message in progress
//! ([`Limits::message`](crate::config::Limits::message)). Pings of a peer that reads nothing take one slot of 125 bytes.
//!
//! # Runtime
//!
//! Timers and sockets are tokio's: call the methods in a runtime that has its time driver enabled.

#![forbid(unsafe_code)]

mod accept;
pub(crate) mod clock;
mod connect;
mod direct;
mod incoming;
mod io;
mod last_words;
mod link;
mod message_reader;
mod message_writer;
mod net_stream;
mod outgoing;
mod permit;
mod rewind;
mod shortcut;
mod sink;
mod spare;
mod split;
mod straight;
mod tracker;
mod try_send;
mod unread;
#[cfg(feature = "hyper")]
mod upgrade;
mod websocket;
mod writer;

pub use connect::{connect, connect_with};
pub use message_reader::MessageReader;
pub use message_writer::MessageWriter;
pub use net_stream::AsyncNetStream;
pub use permit::Permit;
pub use rewind::Rewind;
pub use split::{
    NotReunited, OfferError, Queued, Receiver, ReuniteError, Sender, SenderPermit, SplitDriver, SplitOptions,
};
pub use tracker::Tracker;
pub use try_send::TrySendError;
#[cfg(feature = "hyper")]
pub use upgrade::{Upgrade, upgrade, upgrade_with};
pub use websocket::WebSocket;
pub use writer::Writer;

/// A connection moves to another task, and so do the futures of its methods.
const _: () = {
    use crate::config::ServerOptions;
    use crate::host::keys::SystemKeys;
    use crate::role::{Client, Server};

    const fn is_send<T: Send + 'static>() {}
    const fn is_shared<T: Send + Sync + Unpin + 'static>() {}
    is_send::<WebSocket<AsyncNetStream, Client<SystemKeys>>>();
    is_shared::<WebSocket<tokio::net::TcpStream, Server>>();
    is_shared::<ServerOptions>();
};
