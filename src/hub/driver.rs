//! What an author of a driver needs: the hub itself, and the traits of its sockets.

#![forbid(unsafe_code)]

#[cfg(feature = "esp-idf")]
pub use super::esp_idf_server::{
    Descriptor, EspIdfAcceptor, EspIdfPlain, EspIdfSocket, EspIdfStream, esp_idf_now,
};
pub use super::machine::Hub;
#[cfg(feature = "mio")]
pub use super::mio_server::{MioAcceptor, MioRegistrar, MioSocket, MioStream, MioTcpSocket, PlainAcceptor};
pub use super::shared::{Monitor, Shared};
pub use super::socket::{HubSocket, Ready, SocketFailed};
#[cfg(all(feature = "mio", feature = "rustls-no-provider"))]
pub use super::tls_acceptor::TlsStream;
