//! What the author of a driver needs: the [`Hub`] itself, and the traits between it and its transports.
//!
//! A hub does no I/O. A driver has the transports and the clock: it reports which transports are ready and what time it is,
//! and waits until a transport is ready again or a deadline has passed. [`MioServer`](super::MioServer),
//! [`TokioServer`](super::TokioServer), `EspIdfServer` and `EmbassyServer` are drivers.
//!
//! # The contract
//!
//! 1. Call [`Hub::new`] with a [`Monitor`], which guards what handles share with the hub and wakes the driver.
//! 2. Call [`Hub::accept`] with each new transport, as long as the hub [admits](Hub::admits) one;
//!    [`HubSocket::attach`] gives the key under which to watch it. Report what it is ready for with [`Hub::ready`].
//! 3. Call [`Hub::run`], then wait until [`Hub::deadline`], until a transport is ready for what the hub
//!    [wants](Hub::wants) of it, or until the [`Monitor`] is woken.
//! 4. Repeat from 2 until [`Hub::is_over`].
//!
//! A wait may end without a reason. If the peer of a session has taken too long, the hub tries its transport once more,
//! whatever readiness the driver has reported. The hub drops a transport when its session is over.
//!
//! A driver that can catch panics calls [`Hub::begin`], [`Hub::next_turn`] and [`Hub::turn`] instead of [`Hub::run`], and
//! [`Hub::abandon`] for a session whose turn has panicked.

#![forbid(unsafe_code)]

#[cfg(feature = "esp-idf")]
pub use super::esp_idf_socket::{
    EspIdfAcceptor, EspIdfClock, EspIdfDescriptor, EspIdfPlainAcceptor, EspIdfStream,
};
pub use super::machine::Hub;
#[cfg(feature = "mio")]
pub use super::mio_socket::{MioAcceptor, MioPlainAcceptor, MioSocketFactory, MioStream};
pub use super::shared::{Monitor, Shared};
pub use super::socket::{HubSocket, Ready, SocketFailed};
#[cfg(feature = "tokio")]
pub use super::tokio_socket::TokioSocketFactory;
