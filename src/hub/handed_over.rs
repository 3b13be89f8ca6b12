//! A request that the hub gives to the application.

#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;

/// A request whose transport the application takes over from a hub.
///
/// ```
/// # #[cfg(feature = "mio")]
/// # fn main() -> std::io::Result<()> {
/// use std::io::{Read, Write};
///
/// use sansocket::hub::{HandedOver, MioTcpSocket};
/// # use sansocket::hub::{MioServer, Routes};
///
/// fn send_back(request: HandedOver) -> std::io::Result<()> {
///     // The type of the stream is that of the hub's sockets: a `MioServer` without TLS has `MioTcpSocket`s.
///     let Ok((socket, received)) = request.into_stream::<MioTcpSocket>() else { return Ok(()) };
///     let mut stream = socket.into_stream()?;
///     // `received` begins with the head of the request. A proxy writes all of it to the other server, then copies in
///     // both directions. This one sends it back.
///     stream.write_all(&received)
/// }
///
/// # let routes = Routes::new().hand_over("*", |_, request| send_back(request).unwrap());
/// # let server = MioServer::bind("127.0.0.1:0", Default::default(), |_| routes)?;
/// # let address = server.address();
/// # std::thread::spawn(|| server.run());
/// let request = "GET / HTTP/1.1\r\nHost: example.com\r\n\r\nbytes after the head";
/// let mut client = std::net::TcpStream::connect(address)?;
/// client.write_all(request.as_bytes())?;
/// let mut response = String::new();
/// client.read_to_string(&mut response)?;
/// assert_eq!(response, request);
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "mio"))]
/// # fn main() {}
/// ```
pub struct HandedOver {
    stream: Box<dyn Any>,
    received: Vec<u8>,
}

impl HandedOver {
    pub(super) fn new(stream: impl Any, received: Vec<u8>) -> Self {
        Self { stream: Box::new(stream), received }
    }

    /// Returns all bytes that were received: the head of the request, and what came after it.
    #[must_use]
    pub fn received(&self) -> &[u8] {
        &self.received
    }

    /// Returns the transport, whose type is that of the hub's sockets, and [`received`](Self::received).
    ///
    /// # Errors
    /// The transport has another type than `S`.
    pub fn into_stream<S: 'static>(self) -> Result<(S, Vec<u8>), Self> {
        let Self { stream, received } = self;
        match stream.downcast() {
            Ok(stream) => Ok((*stream, received)),
            Err(stream) => Err(Self { stream, received }),
        }
    }
}

impl fmt::Debug for HandedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandedOver").field("received", &self.received.len()).finish_non_exhaustive()
    }
}
