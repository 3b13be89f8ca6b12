//! WebSocket.
#![no_std]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]
#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod adapter;
mod buffer;
mod cause;
mod close;
mod config;
mod connection;
mod error;
mod event;
mod extension;
pub mod frame;
mod handler;
pub mod handshake;
mod mask;
mod message;
mod outbox;
mod receive;
mod role;
mod send;
mod time;
mod utf8;

pub use buffer::{MIN_BUFFER, ReceiveBuffer, TransmitBuffer};
pub use cause::{Cause, End, Timeout};
pub use close::{CloseCode, MAX_REASON};
pub use config::{Config, Control, Delivery, Limits, Timeouts};
pub use connection::{Connection, State, Step};
pub use error::{BufferTooSmall, SendError, Violation};
pub use event::{Data, Event, Payload, Span};
pub use extension::{Extension, NoExtension, Progress};
pub use frame::Kind;
pub use handler::{Busy, Driver, Halt, Handler, Outcome, Session, SessionStep};
pub use mask::mask;
pub use message::{Assembler, Fixed, Full, Storage};
pub use outbox::{Outbox, Outgoing};
pub use receive::Receiver;
pub use role::{Client, MaskingKey, Role, Server};
pub use send::Sender;
pub use time::Instant;
pub use utf8::{InvalidUtf8, Utf8};
