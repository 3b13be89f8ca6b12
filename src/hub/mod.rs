//! Serves many connections on one thread.
//!
//! A hub drives any number of [`Handler`](crate::Handler)s. An [`Application`] gives each connection its handler when
//! the request has arrived. From outside, a [`Handle`] sends to one session, to some or to all, closes, lists, counts
//! and stops. A hub needs a heap and atomic operations.
//!
//! A hub does no I/O: a driver reports which transports are ready and what time it is, and waits until a transport is
//! ready again or the deadline has passed. The drivers are `hub::driver` and `hub::driver`. To write one:
//!
//! 1. Call [`Hub::new`] with a [`Monitor`].
//! 2. Call [`Hub::accept`] with each new transport, as long as the hub [admits](Hub::admits) one; [`Socket::attach`]
//!    gives the key under which to watch it. Report what it is ready for with [`Hub::ready`].
//! 3. Call [`Hub::run`], then wait until [`Hub::deadline`], until a transport is ready for what the hub
//!    [wants](Hub::wants) of it, or until the [`Monitor`] is woken.
//! 4. Repeat from 2 until [`Hub::is_over`].
//!
//! A wait may end without a reason. The hub tries the transport of a session whose peer has taken too long once more,
//! whatever readiness the driver has reported.
//!
//! The hub drops a transport when its session is over. An idle connection owns no buffer. What is pending for a
//! session is limited: bytes and messages by [`Backlog`], commands by [`Settings::commands`].
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
//! One [`Hub::run`] does a limited amount of work, however many sessions there are and whatever they do; then the
//! driver looks again for new connections and for transports that have become ready. It executes at most 64 commands
//! and 256 timers, and gives at most 256 sessions a turn, each of 64 steps and about 64 KiB. A broadcast or a stop
//! reaches 256 sessions in a run and continues in the next; commands after it wait until it is done. Functions of the
//! application are not limited: a handler or a function of [`Handle::run`] that blocks, or that visits all sessions,
//! delays every session.

#![forbid(unsafe_code)]

mod application;
mod callbacks;
mod commands;
mod completion;
mod context;
mod counters;
pub mod driver;
#[cfg(feature = "esp-idf")]
mod esp_idf_server;
mod exchange;
mod handed_over;
mod handle;
mod id;
mod log;
mod machine;
#[cfg(feature = "mio")]
mod mio_server;
mod pattern;
mod pool;
mod queue;
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

pub use application::{Application, RequestAction};
pub use completion::NotDelivered;
pub use context::HubContext;
pub use counters::{ClosedCounters, Counters, RefusedCounters};
#[cfg(feature = "esp-idf")]
pub use esp_idf_server::{EspIdfServer, EspIdfStartError};
pub use handed_over::HandedOver;
pub use handle::{HandleError, HubHandle};
pub use id::SessionId;
#[cfg(feature = "mio")]
pub use mio_server::MioServer;
pub use routes::Routes;
pub use session_info::{SessionInfo, SessionState};
pub use settings::{Capacity, HubSettings, InvalidSettings};
#[cfg(all(feature = "mio", feature = "rustls-no-provider"))]
pub use tls_acceptor::TlsAcceptor;
