//! A blocking stream of bytes.

#![forbid(unsafe_code)]

use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

/// A blocking stream whose reads and writes can be given a time-out: a `TcpStream`, a [`NetStream`](super::NetStream), or
/// one of your own.
///
/// A call of `read` or `write` must call the stream below it at most once, so that a peer that sends a byte now and then does
/// not outlast a deadline. (`rustls::StreamOwned` reads until it has a whole record.) A call that has read from below but has
/// nothing to return yet fails with [`Interrupted`](io::ErrorKind::Interrupted), and is repeated. `flush` is called before each
/// read, and must not wait longer than the time-out for writes.
///
/// A stream in non-blocking mode does not wait: a connection over it fails with
/// [`InvalidInput`](io::ErrorKind::InvalidInput) as soon as there is nothing to read.
///
/// A Unix socket:
///
/// ```
/// # #[cfg(unix)]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::io::{self, Read, Write};
/// use std::net::Shutdown;
/// use std::os::unix::net::UnixStream;
/// use std::time::Duration;
///
/// use sansocket::session::{BufferSizes, Buffers};
/// use sansocket::{Config, Message};
/// use sansocket::blocking::{BlockingStream, WebSocket, accept};
/// use sansocket::proto::SystemKeys;
/// use sansocket::handshake::{ClientRequest};
///
/// struct Unix(UnixStream);
///
/// impl Read for Unix {
///     fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
///         self.0.read(buffer)
///     }
/// }
///
/// impl Write for Unix {
///     fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
///         self.0.write(buffer)
///     }
///     fn flush(&mut self) -> io::Result<()> {
///         Ok(())
///     }
/// }
///
/// impl BlockingStream for Unix {
///     fn set_read_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
///         self.0.set_read_timeout(timeout)
///     }
///     fn set_write_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
///         self.0.set_write_timeout(timeout)
///     }
///     fn shutdown(&mut self) -> io::Result<()> {
///         self.0.shutdown(Shutdown::Write)
///     }
/// }
///
/// let (client, server) = UnixStream::pair()?;
/// let server = std::thread::spawn(move || accept(Unix(server))?.recv());
/// let request = ClientRequest::parse("ws://localhost/")?;
/// let buffers = Buffers::with_sizes(BufferSizes::default());
/// let mut client = WebSocket::connect(Unix(client), Config::new(), buffers, SystemKeys::new()?, &request)?;
/// client.send("hello")?;
/// assert_eq!(server.join().unwrap()?, Some(Message::from("hello")));
/// # Ok(())
/// # }
/// # #[cfg(not(unix))]
/// # fn main() {}
/// ```
pub trait BlockingStream: Read + Write {
    /// Sets the time after which reads fail with [`WouldBlock`](io::ErrorKind::WouldBlock) or
    /// [`TimedOut`](io::ErrorKind::TimedOut). With `None` they wait without a limit. It is never zero.
    ///
    /// # Errors
    /// The stream's.
    fn set_read_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()>;

    /// Sets the time after which writes fail, as [`set_read_timeout`](Self::set_read_timeout) does for reads.
    ///
    /// # Errors
    /// The stream's.
    fn set_write_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()>;

    /// Shuts the writing side down: TCP's FIN, and in TLS a `close_notify` before it.
    ///
    /// # Errors
    /// The stream's.
    fn shutdown(&mut self) -> io::Result<()>;

    /// Sets `TCP_NODELAY`, so that a small message does not wait for the acknowledgement of the one before it. Called once,
    /// before anything is read or written; an error is ignored. By default it does nothing.
    ///
    /// # Errors
    /// The stream's.
    fn set_no_delay(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl BlockingStream for TcpStream {
    fn set_read_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        Self::set_read_timeout(self, timeout)
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        Self::set_write_timeout(self, timeout)
    }

    fn shutdown(&mut self) -> io::Result<()> {
        Self::shutdown(self, Shutdown::Write)
    }

    fn set_no_delay(&mut self) -> io::Result<()> {
        self.set_nodelay(true)
    }
}

/// Implements a stream by calls of the stream that it points to.
macro_rules! forward {
    ($pointer:ty) => {
        impl<S: BlockingStream + ?Sized> BlockingStream for $pointer {
            fn set_read_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
                S::set_read_timeout(self, timeout)
            }

            fn set_write_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
                S::set_write_timeout(self, timeout)
            }

            fn shutdown(&mut self) -> io::Result<()> {
                S::shutdown(self)
            }

            fn set_no_delay(&mut self) -> io::Result<()> {
                S::set_no_delay(self)
            }
        }
    };
}

forward!(&mut S);
forward!(std::boxed::Box<S>);
