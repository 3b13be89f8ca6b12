//! Serves many connections on one thread.
//!
//! ```
//! # #[cfg(feature = "mio")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use sansocket::hub::{HubSettings, MioServer, Routes};
//! use sansocket::{Event, Handler, HandlerError, Outbox, blocking};
//!
//! struct Echo;
//!
//! impl Handler for Echo {
//!     fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
//!         if let Event::Data(data) = event { out.forward(&data) } else { Ok(()) }
//!     }
//! }
//!
//! let routes = Routes::new().websocket("/", |_, _| Ok(Echo));
//! let server = MioServer::bind("127.0.0.1:0", HubSettings::default(), |_| routes)?; // port 0: any that is free
//! let address = server.address();
//! std::thread::spawn(|| server.run());
//!
//! let mut client = blocking::connect(&format!("ws://{address}/"))?;
//! client.send("hello")?;
//! assert_eq!(client.recv()?, Some("hello".into()));
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "mio"))]
//! # fn main() {}
//! ```
//!
//! # The parts
//!
//! - A server listens and runs the hub: [`MioServer`] with the operating system's sockets, [`TokioServer`] in a task of
//!   tokio, `EspIdfServer` with ESP-IDF's sockets, `EmbassyServer` with embassy-net's. Another one can be written with
//!   [`driver`].
//! - A session is a transport that was accepted: its opening handshake, then its connection or an ordinary HTTP request.
//!   [`SessionInfo`] describes it.
//! - A [`Handler`](crate::Handler) or a [`MessageHandler`](crate::MessageHandler) is what an application does on one
//!   connection.
//! - [`Routes`] decide which handler a request gets, and respond to ordinary HTTP requests. They are an [`Application`];
//!   one of your own decides about all requests itself.
//! - A [`HubHandle`] sends to one session, to some or to all, closes, lists, counts and stops, from any thread and from
//!   handlers. [`HubHandle::call`] calls a function in the hub's thread, with a [`HubContext`].
//! - [`HubSettings`] limit the number of sessions, their memory and what waits for a slow peer.
//!
//! A hub needs a heap and atomic operations. On a chip without compare-and-swap, feature `portable-atomic` provides them, and
//! the program selects how: by a feature of the crate `portable-atomic`, `critical-section` or `unsafe-assume-single-core`.
//!
//! An idle connection owns no buffer. What is pending for a session is limited: bytes and messages by
//! [`QueueLimits`](crate::config::QueueLimits), commands by [`HubSettings::max_commands`].
//!
//! # Deadlines are coarse
//!
//! A deadline of a session, be it its handler's ([`Handler::deadline`](crate::Handler::deadline)) or one of
//! [`Timeouts`](crate::config::Timeouts), never fires early and may fire late by a sixteenth of the time that it lies ahead:
//! up to 4 ms at 100 ms, 0.5 s at 10 s, 2 s at 60 s. The hub rounds it up to a multiple of a power of two
//! microseconds, so that the deadlines of many sessions coincide: a thousand idle sessions with a Ping every 30 s
//! each wake the processor once a second.
//!
//! # How long a turn takes
//!
//! In one turn the hub does a limited amount of work, however many sessions there are and whatever they do; then its
//! driver looks again for new connections and for transports that have become ready. It executes at most 64 commands
//! and 256 timers, and gives at most 256 sessions a turn, each of 64 steps and about 128 KiB. A broadcast or a stop
//! reaches 256 sessions in a turn and continues in the next; commands after it wait until it is done. Functions of the
//! application are not limited: a handler or a function of [`HubHandle::call`] that blocks, or that visits all sessions,
//! delays every session.

#![forbid(unsafe_code)]

mod application;
mod callbacks;
mod commands;
mod completion;
mod compression;
mod context;
mod counters;
pub mod driver;
#[cfg(feature = "embassy-hub")]
mod embassy_server;
#[cfg(feature = "esp-idf")]
mod esp_idf_server;
#[cfg(feature = "esp-idf")]
mod esp_idf_socket;
mod exchange;
mod handed_over;
mod handle;
#[cfg(any(feature = "mio", feature = "tokio"))]
mod host_server;
mod id;
mod log;
mod machine;
#[cfg(feature = "mio")]
mod mio_server;
#[cfg(feature = "mio")]
mod mio_socket;
mod pattern;
mod pool;
mod queue;
#[cfg(feature = "tokio")]
mod ready_list;
mod routes;
mod session;
mod session_info;
mod sessions;
mod settings;
mod shared;
mod socket;
mod timers;
#[cfg(all(feature = "mio", feature = "rustls-no-provider"))]
mod tls_acceptor;
mod to_all;
#[cfg(feature = "tokio")]
mod tokio_server;
#[cfg(feature = "tokio")]
mod tokio_socket;

pub use application::{Application, RequestAction};
pub use completion::NotDelivered;
pub use context::HubContext;
pub use counters::{ClosedCounters, Counters, RefusedCounters};
#[cfg(feature = "embassy-hub")]
pub use embassy_server::{EmbassyServer, EmbassySocket};
#[cfg(feature = "esp-idf")]
pub use esp_idf_server::{EspIdfServer, EspIdfStartError};
#[cfg(feature = "esp-idf")]
pub use esp_idf_socket::EspIdfSocket;
pub use handed_over::HandedOver;
pub use handle::{HandleError, HubHandle};
pub use id::SessionId;
#[cfg(feature = "mio")]
pub use mio_server::MioServer;
#[cfg(feature = "mio")]
pub use mio_socket::{MioSocket, MioTcpSocket};
pub use routes::Routes;
pub use session_info::{SessionInfo, SessionState};
pub use settings::{Capacity, HubSettings, InvalidSettings};
#[cfg(all(feature = "mio", feature = "rustls-no-provider"))]
pub use tls_acceptor::{TlsAcceptor, TlsStream};
#[cfg(feature = "tokio")]
pub use tokio_server::TokioServer;
#[cfg(feature = "tokio")]
pub use tokio_socket::TokioSocket;

/// Threads can share a handle, and a server with routes can move to another thread.
const _: () = {
    const fn send<T: Send>() {}
    const fn send_and_sync<T: Send + Sync>() {}
    send_and_sync::<(HubHandle, SessionInfo, HubSettings, Counters)>();
    send_and_sync::<(HandleError, NotDelivered, InvalidSettings)>();
    send_and_sync::<crate::message::Prepared>();
    send::<Routes>();
    #[cfg(feature = "mio")]
    send::<MioServer<Routes>>();
    #[cfg(feature = "tokio")]
    send::<TokioServer<Routes>>();
};
