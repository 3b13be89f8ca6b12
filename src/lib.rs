//! WebSocket (RFC 6455) as a pure state machine: no I/O, no clock, no heap, no panic.
//!
//! The caller passes in received bytes and the time, and gets events and bytes to write; it owns all memory. One
//! implementation serves a microcontroller with two buffers of 140 bytes and a server with thousands of connections.
//!
//! # Four ways to use it
//!
//! | you have | use |
//! | --- | --- |
//! | an application to run on every platform | a [`Handler`], driven by [`embedded::serve`] |
//! | many connections on one thread, and messages to send to them | a `hub::driver::Hub`, driven by `hub::driver` or `hub::driver` |
//! | one connection that your code reads from and sends on | `blocking::connect` and `blocking::accept` on a host, else [`embedded::WebSocket`] |
//! | your own transport, runtime or protocol | [`Connection`], or below it [`Receiver`] and [`Sender`] |
//!
//! The module `guide` has a guide for each of them, and for whole messages, back-pressure, proxies, limits and security.
//!
//! # Driving a connection
//!
//! [`Connection::poll`] processes received bytes, deadlines and pending replies, and returns the next [`Step`]. An
//! event borrows the receive buffer.
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
//! // A masked "Hello" (RFC 6455 §5.7) arrives. An adapter reads it into rx.spare() and calls rx.fill(11).
//! rx.feed(&[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
//! loop {
//!     match connection.poll(now, &mut rx, &mut tx) {
//!         Step::Event(Event::Data(data)) => {
//!             // Echo the payload from rx, without an intermediate copy.
//!             connection.outbox(now, &mut tx).fragment(data.kind, &data.payload, data.end)?;
//!         }
//!         Step::Event(_) => {}
//!         // Write tx.pending(), read into rx.spare(), or wait until the deadline; then poll again.
//!         Step::Wait { deadline: _ } => break,
//!         // Shut the writing side of the transport down; then poll again.
//!         Step::Shutdown => {}
//!         // Drop the transport.
//!         Step::Done(cause) => panic!("{}", cause.reason),
//!     }
//! }
//! assert_eq!(tx.pending(), b"\x81\x05Hello");
//! # Ok(())
//! # }
//! ```
//!
//! A received byte passes through the transport, [`ReceiveBuffer`], header decoding ([`frame`]), unmasking ([`mask()`]),
//! the UTF-8 check ([`Utf8Validator`]) and [`Event`]. A sent payload passes through [`Sender`], [`TransmitBuffer`] and the
//! transport.
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
//!                                                                  Step::Done(Cause), once
//! ```
//!
//! A violation by the peer is not an error of `poll`: the connection sends a Close with the matching status code, and
//! ends like every other connection with exactly one [`Ending`]. The server closes TCP first, and the client waits for that
//! (§7.1.1), both with a deadline.
//!
//! # Writing an adapter
//!
//! Implement [`embedded::Transport`] (tell the time, take one turn of reading and writing, shut down) to use everything in
//! [`adapter`]. If that trait does not fit, drive a [`Session`] yourself:
//!
//! 1. Call `poll` with the time. Read the clock once for each wake-up, before you read and write the transport. Bytes that
//!    arrived while the thread, the process or the machine was suspended are then processed before a deadline is enforced.
//! 2. On `Wait`, write the pending bytes and report with [`consume`](TransmitBuffer::consume) how many the transport took;
//!    read into `spare`, unless it is empty, and report with `fill` how many bytes arrived, and with `end` the end of the stream.
//!    Call `poll` again after either, and at the deadline at the latest.
//! 3. On `Shutdown`, shut down the writing side of the transport; on `Done`, drop the transport. If the transport fails,
//!    call `reset`.
//!
//! # Features
//!
//! No feature is on by default, and features only add. `alloc`: owned buffers, messages in a `Vec`. `bytes`: owned messages.
//! `std`: `blocking`, masking keys from the system, vector instructions for masking and UTF-8. `rustls`: TLS for `blocking`, and with `mio` for the hub; without
//! ring, `rustls-no-provider`. `embedded-io-async`, `embassy-net`: the asynchronous
//! adapters for firmware. `hub`: many connections on one thread; `mio`, `esp-idf`: drivers of the hub. `log`, `tracing`,
//! `defmt`: log records of the hub.

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

mod auto_traits;
#[cfg(feature = "std")]
pub mod blocking;
mod buffer;
mod close;
pub mod config;
mod connection;
pub mod embedded;
mod ending;
pub mod error;
#[cfg(feature = "esp-idf")]
mod esp_idf_port;
mod event;
mod extension;
mod frame;
#[cfg(all(doc, feature = "embassy-net", feature = "esp-idf", feature = "mio", feature = "rustls"))]
pub mod guide;
mod handler;
pub mod handshake;
#[cfg(feature = "std")]
mod host;
#[cfg(feature = "hub")]
pub mod hub;
mod mask;
pub mod message;
mod outbox;
pub mod proto;
mod receive;
mod role;
mod send;
pub mod session;
#[cfg(all(feature = "std", target_arch = "x86_64"))]
mod simd;
mod step;
mod time;
mod utf8;

pub use buffer::{ReceiveBuffer, TransmitBuffer};
pub use close::CloseCode;
pub use config::base::Config;
pub use connection::Connection;
pub use ending::Ending;
pub use event::{Chunk, Event, Payload};
pub use frame::Kind;
pub use handler::{Handler, HandlerError, MessageHandler};
#[cfg(feature = "std")]
pub use host::error::Error;
pub use message::message_ref::MessageRef;
#[cfg(feature = "bytes")]
pub use message::owned::Message;
pub use outbox::Outbox;
pub use role::{Client, Server};
pub use send::SendError;
pub use step::Step;
pub use time::Instant;

/// Compiles and runs the examples in the README as tests.
#[cfg(all(doctest, feature = "mio"))]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
