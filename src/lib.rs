//! WebSocket (RFC 6455) as a pure state machine: no I/O, no clock, no heap, no panic.
//!
//! The caller passes in received bytes and the time, and gets events and bytes to write; it owns all memory. One
//! implementation serves a microcontroller with two buffers of 140 bytes and a server with thousands of connections.
//!
//! # Where to start
//!
//! | you have | use |
//! | --- | --- |
//! | a program on a host that connects, or accepts a connection | `blocking::connect`, `blocking::accept` (feature `std`) |
//! | the same in a program with tokio | `tokio::connect`, `tokio::WebSocket` (feature `tokio`) |
//! | a server of many connections, with paths, rooms or broadcasts | `hub::Routes` with `hub::MioServer` (feature `mio`), or in a program with tokio `hub::TokioServer` (features `hub` and `tokio`) |
//! | an application with axum, or hyper | the crate `sansocket-axum`, or `tokio::upgrade` (feature `hyper`) |
//! | firmware with an asynchronous stream | [`embedded::serve`] with a [`Handler`], or [`embedded::WebSocket`] |
//! | a transport or a runtime of your own | [`embedded::Transport`], or below it [`session`] and [`Connection`] |
//! | another machine than a connection | the pieces in [`proto`], such as [`proto::Encoder`] and [`proto::Decoder`] |
//!
//! A [`Handler`] (event by event) or a [`MessageHandler`] (message by message) runs unchanged in `hub`, [`embedded`],
//! [`session`] and `blocking::serve`. [`Config`] has the limits, the time-outs and the modes of a connection. The module `guide`
//! has a guide for each row, and for whole messages, back-pressure, compression, proxies, limits and security.
//!
//! # Driving a connection
//!
//! [`Connection::poll`] processes received bytes, deadlines and pending replies, and returns the next [`Step`]. An
//! event borrows the receive buffer, and nothing else.
//!
//! ```
//! use sansocket::{Config, Connection, Event, Instant, ReceiveBuffer, Server, Step, TransmitBuffer};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (mut input, mut output) = ([0; 512], [0; 512]);
//! let mut rx = ReceiveBuffer::new(&mut input)?;
//! let mut tx = TransmitBuffer::new(&mut output)?;
//! let now = Instant::from_millis(0); // of your clock
//! let mut connection = Connection::new(Server, &Config::DEFAULT, now);
//!
//! // A masked Text "Hello" (RFC 6455 §5.7) arrives. A program reads its transport into rx.spare(), and calls rx.fill(11).
//! rx.feed(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
//! loop {
//!     match connection.poll(now, &mut rx, &mut tx) {
//!         // Sends the payload from the receive buffer, without an intermediate copy.
//!         Step::Event(Event::Data(chunk)) => connection.outbox(now, &mut tx).forward(&chunk)?,
//!         Step::Event(_) => {}
//!         // Write tx.pending(), read into rx.spare(), or wait until the deadline; then poll again.
//!         Step::Wait { deadline: _ } => break,
//!         // Shut down the writing side of the transport; then poll again.
//!         Step::Shutdown => {}
//!         // Drop the transport.
//!         Step::Done(ending) => return Err(ending.into()),
//!     }
//! }
//! assert_eq!(tx.pending(), b"\x81\x05Hello");
//! # Ok(())
//! # }
//! ```
//!
//! A received byte passes through the transport, the [`ReceiveBuffer`], the decoding of its frame ([`proto::Decoder`]:
//! header, [unmasking](proto::mask()), the [UTF-8 check](proto::Utf8Validator)) and an [`Event`]. A sent payload passes
//! through an [`Outbox`], the [`TransmitBuffer`] and the transport.
//!
//! # The life of a connection
//!
//! ```text
//!            request            response 101                        Close sent or received,
//!   accept ─────────► handshake ──────────► Open ◄── data, ping ──┐ a rule broken, a deadline passed
//!                         │                  │ └──────────────────┘           │
//!               any other │                  └────────────────────────────────┤
//!                response ▼                                                   ▼
//!                      refused                                             Closing
//!                                                   both sent a Close, tx written: Step::Shutdown
//!                                                   the peer's end of stream, or a deadline
//!                                                                             ▼
//!                                                                    Step::Done(Ending)
//! ```
//!
//! A violation by the peer is not an error of `poll`: the connection sends a Close with the matching status code, and
//! ends, as every connection, with exactly one [`Ending`]. The server closes TCP first, and the client waits for that
//! (§7.1.1), both with a deadline.
//!
//! # Writing an adapter
//!
//! Implement [`embedded::Transport`] (read the clock, take a turn of reading and writing, shut down) to use everything in
//! [`embedded`]. If futures do not fit, drive a [`session::ServerSession`] (a server with its opening handshake), a
//! [`session::HandlerDriver`] or a [`Connection`] yourself. All of them return a [`Step`]:
//!
//! 1. Call `poll` with the time. Read the clock once for each wake-up, before you read and write the transport. Bytes
//!    that arrived while the thread, the process or the machine was suspended are then processed before a deadline is
//!    enforced.
//! 2. On [`Step::Wait`], write the [pending](TransmitBuffer::pending) bytes, and report by
//!    [`consume`](TransmitBuffer::consume) how many the transport took; read into [`spare`](ReceiveBuffer::spare),
//!    unless it is empty, and report the bytes by [`fill`](ReceiveBuffer::fill), the end of the stream by
//!    [`end`](ReceiveBuffer::end). Poll again after either, and at the deadline at the latest.
//! 3. On [`Step::Shutdown`], shut down the writing side of the transport; on [`Step::Done`], drop the transport. If the
//!    transport fails, call `transport_failed`.
//!
//! # Features
//!
//! No feature is on by default, and features only add.
//!
//! | feature | adds |
//! | --- | --- |
//! | `alloc` | buffers that own their memory, messages in a `Vec` |
//! | `bytes` | `Message`, and messages in a `BytesMut` |
//! | `std` | `blocking`, masking keys from the system, vector instructions for masking and the UTF-8 check |
//! | `tokio` | `tokio`: connections over tokio's streams; `tokio-rustls` adds TLS for clients, `tokio-rustls-no-provider` the same without ring |
//! | `hyper` | `tokio::upgrade`: connections that hyper upgrades, over HTTP/1 and HTTP/2; `http` has the opening handshake alone |
//! | `rustls` | TLS for `blocking`, and with `mio` for the hub; `rustls-no-provider` is the same without ring |
//! | `hub` | many connections on one thread; `mio`, `esp-idf` and `embassy-hub` are drivers of it, and `tokio` has one |
//! | `portable-atomic` | the hub on chips without compare-and-swap |
//! | `embedded-io-async`, `embassy-net` | transports for [`embedded`]; `embassy-dns` resolves the hosts of `embedded::Reconnect` |
//! | `extension` | connections with an extension of the caller's |
//! | `deflate` | `deflate`: compressed messages (RFC 7692) with zlib-rs |
//! | `deflate-receive` | the same without a heap: compressed messages are received, and plain ones sent |
//! | `small` | a compact opening handshake and fewer texts, for less flash |
//! | `log`, `tracing`, `defmt` | log records of connections and of the hub; `defmt` also formats each enum and error, except `Message` and those of `blocking` and `tokio` |

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

#[cfg(all(feature = "alloc", any(target_has_atomic = "ptr", feature = "portable-atomic")))]
mod arc;
mod auto_traits;
#[cfg(feature = "std")]
pub mod blocking;
mod buffer;
mod close;
pub mod config;
mod connection;
#[cfg(any(feature = "deflate", feature = "deflate-receive"))]
pub mod deflate;
pub mod embedded;
mod ending;
pub mod error;
#[cfg(feature = "esp-idf")]
mod esp_idf_port;
mod event;
mod extension;
mod frame;
#[cfg(all(
    doc,
    feature = "embassy-hub",
    feature = "esp-idf",
    feature = "mio",
    feature = "rustls",
    feature = "tokio"
))]
pub mod guide;
mod handler;
pub mod handshake;
#[cfg(feature = "std")]
mod host;
#[cfg(feature = "hub")]
pub mod hub;
mod log;
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
#[cfg(feature = "tokio")]
pub mod tokio;
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
