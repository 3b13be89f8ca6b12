//! Guides: how to build a server, a client and firmware, and what to know before production.
//!
//! Each guide can be read alone. The project's tests compile the code in the guides, and run it where that is possible.
//!
//! | guide | read it for |
//! | --- | --- |
//! | [`server`] | a server for many connections, on a PC, with the [`hub`](crate::hub) |
//! | [`client`] | a client on a PC, over TCP or TLS |
//! | [`tokio`] | servers and clients in a tokio program |
//! | [`embassy`] | firmware with embassy: a server and a client without a heap |
//! | [`esp_hal`] | firmware with esp-hal, step by step: from an empty crate to a browser that shows live values |
//! | [`esp_idf`] | firmware with ESP-IDF, with or without Rust's standard library |
//! | [`transport`] | a transport, a runtime or a network stack that has no adapter here |
//! | [`messages`] | a handler that needs whole messages |
//! | [`back_pressure`] | what happens when a peer reads more slowly than you send |
//! | [`compression`] | compressed messages, and what they cost |
//! | [`proxy`] | a server behind nginx, HAProxy or another proxy that ends TLS |
//! | [`limits`] | limits and security: which resources a peer can use, and who may connect |
//!
//! This module exists only in the documentation. No build contains it.

#![forbid(unsafe_code)]

#[doc = include_str!("back_pressure.md")]
pub mod back_pressure {}
#[doc = include_str!("client.md")]
pub mod client {}
#[doc = include_str!("compression.md")]
pub mod compression {}
#[doc = include_str!("embassy.md")]
pub mod embassy {}
#[doc = include_str!("esp_hal.md")]
pub mod esp_hal {}
#[doc = include_str!("esp_idf.md")]
pub mod esp_idf {}
#[doc = include_str!("limits.md")]
pub mod limits {}
#[doc = include_str!("messages.md")]
pub mod messages {}
#[doc = include_str!("proxy.md")]
pub mod proxy {}
#[doc = include_str!("server.md")]
pub mod server {}
#[doc = include_str!("tokio.md")]
pub mod tokio {}
#[doc = include_str!("transport.md")]
pub mod transport {}
