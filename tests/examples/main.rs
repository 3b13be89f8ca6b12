//! The examples as programs: their command lines, their logs, and how they end.
#![cfg(all(feature = "rustls", target_os = "linux"))]

mod accept;
#[path = "../hub_server/mod.rs"]
mod hub_server;
#[path = "../../examples/common/listen.rs"]
mod listen;
mod log;
mod options;
#[path = "../pki/mod.rs"]
mod pki;
mod program;
#[expect(dead_code, reason = "only the program has a socket")]
#[path = "../../examples/proxy/mod.rs"]
mod proxy;
mod proxy_header;
mod stop;
#[path = "../wire/mod.rs"]
mod wire;
