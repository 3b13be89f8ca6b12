//! WebSocket (RFC 6455) as a pure state machine: no I/O, no clock, no heap, no panic.
//!
//! Bytes and time go in, bytes and events come out; the caller owns all memory. The same machine serves a
//! microcontroller with two buffers of 140 bytes and a server with thousands of connections.
//!
//! # Four ways to use it
//!
//! | you have | take |
//! | --- | --- |
//! | an application to run on every platform | a [`Handler`], driven by [`adapter::serve`] |
//! | many connections, and something to tell them | a `hub::Hub`, driven by `adapter::mio` or `adapter::esp_idf` |
//! | one connection to read from and to send on | `blocking::connect` and `blocking::accept` on a host, else [`adapter::WebSocket`] |
//! | a transport, a runtime or a protocol of your own | [`Connection`], or below it [`Receiver`] and [`Sender`] |
//!
//! The module `guide` has a guide for each of them, and for whole messages, back-pressure, proxies, limits and security.
//!
//! # Driving a connection
//!
//! [`Connection::poll`] does what is to be done and says what comes next. Nothing that it returns borrows the
//! connection or the buffers.
//!
//! ```
//! use sansocket::{Config, Connection, Event, Instant, ReceiveBuffer, Server, Step, TransmitBuffer};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (mut memory_in, mut memory_out) = ([0; 512], [0; 512]);
//! let mut rx = ReceiveBuffer::new(&mut memory_in)?;
//! let mut tx = TransmitBuffer::new(&mut memory_out)?;
//! let now = Instant::from_millis(0);
//! let mut connection = Connection::new(Server, &Config::DEFAULT, now);
//!
//! // The transport read a masked "Hello" (RFC 6455 §5.7) into rx.spare(), and said so with rx.fill(11).
//! rx.feed(&[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
//! loop {
//!     match connection.poll(now, &mut rx, &mut tx) {
//!         Step::Event(Event::Data(data)) => {
//!             // Echo, without a copy in between: the payload lies in rx.
//!             connection.outbox(now, &mut tx).fragment(data.kind, rx.payload(data.payload).bytes(), data.end)?;
//!         }
//!         Step::Event(_) => {}
//!         // Write tx.pending(), read into rx.spare(), or let time pass until the deadline; then poll again.
//!         Step::Wait { deadline: _ } => break,
//!         // Shut the writing side of the transport down; then poll again.
//!         Step::Shutdown => {}
//!         // Drop the transport.
//!         Step::Closed(cause) => panic!("{}", cause.end),
//!     }
//! }
//! assert_eq!(tx.pending(), b"\x81\x05Hello");
//! # Ok(())
//! # }
//! ```
//!
//! The way of a byte: transport, [`ReceiveBuffer`], header ([`frame`]), unmasking ([`mask()`]), UTF-8
//! ([`Utf8`]), [`Event`]; and back: payload, [`Sender`], [`TransmitBuffer`], transport.
//!
//! # The life of a connection
//!
//! ```text
//!            request            answer 101                          Close sent or received,
//!   accept ─────────► handshake ──────────► Open ◄── data, ping ──┐ a rule broken, a deadline passed
//!                         │                  │ └──────────────────┘           │
//!               any other │                  └────────────────────────────────┤
//!                  answer ▼                                                   ▼
//!                     refused                                              Closing
//!                                                   both sent a Close, tx written: Step::Shutdown
//!                                                   the peer's end of stream, or a deadline
//!                                                                             ▼
//!                                                                  Step::Closed(Cause), once
//! ```
//!
//! A violation is not an error of `poll`: the peer is owed a Close with the right status code, and the
//! connection ends like every other, in exactly one [`Cause`]. The server closes TCP first, the client waits
//! for it (§7.1.1), both with a deadline.
//!
//! # Writing an adapter
//!
//! Implement [`adapter::Transport`] (what time is it, take one turn of reading and writing, shut down) and
//! you have everything in [`adapter`]. Where that does not fit, drive a [`Session`] yourself:
//!
//! 1. `poll` it with the time, which you read once for each wake-up: before the transport is read and written, not after.
//!    Whatever ended your wait (a signal, a stop of the process, a suspended machine), what has come by then is heard before
//!    a deadline is enforced.
//! 2. On `Wait`, write the pending bytes and [`consume`](TransmitBuffer::consume) what was taken; read into
//!    `spare` and `fill` what came, 0 for the end of the stream; return when the deadline passes. An empty
//!    `spare` is not read into.
//! 3. On `Shutdown`, shut the writing side down; on the end, drop the transport. When the transport fails,
//!    say so with `reset`.
//!
//! # Features
//!
//! None is on by default; they only add. `alloc`: owned buffers, messages in a `Vec`. `bytes`: owned messages.
//! `std`: `blocking`, masking keys from the system. `rustls`: TLS for `blocking`, and with `mio` for the hub; without
//! ring, `rustls-no-provider`. `simd`: faster UTF-8 on hosts. `embedded-io-async`, `embassy-net`: the asynchronous
//! adapters for firmware. `hub`: many connections on one thread; `mio`, `esp-idf`: what drives it. `log`, `tracing`,
//! `defmt`: notes of what it does.

#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
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
mod backoff;
#[cfg(feature = "std")]
pub mod blocking;
mod buffer;
mod cause;
mod close;
mod config;
mod connection;
mod error;
mod event;
mod extension;
pub mod frame;
#[cfg(all(doc, feature = "embassy-net", feature = "esp-idf", feature = "mio", feature = "rustls"))]
pub mod guide;
mod halt;
mod handler;
pub mod handshake;
#[cfg(feature = "hub")]
pub mod hub;
mod mask;
mod message;
mod outbox;
#[cfg(feature = "esp-idf")]
mod port;
mod receive;
mod role;
mod send;
mod time;
mod utf8;

pub use backoff::Backoff;
pub use buffer::{MIN_BUFFER, ReceiveBuffer, TransmitBuffer};
pub use cause::{Cause, End, Timeout};
pub use close::{CloseCode, MAX_REASON};
pub use config::{Config, ConfigRef, Control, Delivery, Limits, Timeouts};
pub use connection::{Connection, State, Step};
pub use error::{BufferTooSmall, ExtensionFailed, ReceiveError, SendError, Violation};
pub use event::{Data, Event, Payload, Span};
pub use extension::{Extension, NoExtension, Progress};
pub use frame::Kind;
pub use halt::Halt;
pub use handler::{Busy, Driver, Handler, Next, Outcome, Session};
pub use mask::mask;
#[cfg(feature = "bytes")]
pub use message::Message;
pub use message::{Assembler, Fixed, Full, MessageRef, Storage};
pub use outbox::Outbox;
pub use receive::Receiver;
pub use role::{Client, MaskingKey, Role, Server};
pub use send::Sender;
pub use time::Instant;
pub use utf8::{InvalidUtf8, Utf8};

/// The examples in the README are tests.
#[cfg(all(doctest, feature = "mio"))]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
