//! A blocking stream of bytes.

#![forbid(unsafe_code)]

use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

/// A blocking stream whose reads and writes can be given a time-out: a `TcpStream`, or TLS over one.
///
/// For TLS, `examples/tls` implements it over rustls and a `TcpStream`. Each of its calls makes one read or write at the most
/// of what is below, so that a peer that drips bytes does not outlive a deadline; rustls' own `StreamOwned` goes on until it
/// has a record. `flush` comes before each read, and must not wait longer than the time-out for writes.
pub trait Stream: Read + Write {
    /// Reads fail with [`ErrorKind::WouldBlock`] or [`ErrorKind::TimedOut`] after this time; never where it
    /// is `None`. It is not zero.
    ///
    /// # Errors
    /// The stream's.
    fn set_read_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()>;

    /// The same for writes.
    ///
    /// # Errors
    /// The stream's.
    fn set_write_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()>;

    /// Shuts the writing side down: TCP's FIN, in TLS a `close_notify` before it.
    ///
    /// # Errors
    /// The stream's.
    fn shutdown(&mut self) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn set_read_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        Self::set_read_timeout(self, timeout)
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        Self::set_write_timeout(self, timeout)
    }

    fn shutdown(&mut self) -> io::Result<()> {
        Self::shutdown(self, Shutdown::Write)
    }
}

impl<S: Stream + ?Sized> Stream for &mut S {
    fn set_read_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        S::set_read_timeout(self, timeout)
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        S::set_write_timeout(self, timeout)
    }

    fn shutdown(&mut self) -> io::Result<()> {
        S::shutdown(self)
    }
}

impl<S: Stream + ?Sized> Stream for std::boxed::Box<S> {
    fn set_read_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        S::set_read_timeout(self, timeout)
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        S::set_write_timeout(self, timeout)
    }

    fn shutdown(&mut self) -> io::Result<()> {
        S::shutdown(self)
    }
}
