//! Asynchronous, over any pair of `embedded_io_async::Read` and `embedded_io_async::Write`.
//!
//! Reading and writing go on at the same time. Cancelling a call loses and repeats no byte, provided that
//! dropping the transport's own `read` and `write` does not: that is so for embassy-net's sockets. It is not so for
//! embedded-tls (0.19), which wants a [`Transport`] of its own, as `examples/qemu-client` has one.
//!
//! What a platform adds is a clock, and how its writing half is closed:
//!
//! ```
//! use embedded_io_async::{ErrorType, Read, Write};
//! use sansocket::adapter::embedded_io_async::{Clock, Close, Split};
//! use sansocket::adapter::{Buffers, serve};
//! use sansocket::{Config, Handler, Instant, Outcome};
//!
//! struct Time;
//!
//! impl Clock for Time {
//!     fn now(&mut self) -> Instant {
//!         Instant::from_micros(embassy_time::Instant::now().as_micros())
//!     }
//!
//!     async fn at(&mut self, moment: Instant) {
//!         embassy_time::Timer::at(embassy_time::Instant::from_micros(moment.as_micros())).await
//!     }
//! }
//!
//! struct Writer<W>(W);
//!
//! impl<W: Write> Close for Writer<W> {
//!     async fn close(&mut self) -> Result<(), W::Error> {
//!         self.0.flush().await // a serial line has no end; a socket is shut down here
//!     }
//! }
//!
//! impl<W: Write> ErrorType for Writer<W> {
//!     type Error = W::Error;
//! }
//!
//! impl<W: Write> Write for Writer<W> {
//!     async fn write(&mut self, bytes: &[u8]) -> Result<usize, W::Error> {
//!         self.0.write(bytes).await
//!     }
//!
//!     async fn flush(&mut self) -> Result<(), W::Error> {
//!         self.0.flush().await
//!     }
//! }
//!
//! async fn run<R: Read, W: Write<Error = R::Error>>(
//!     (reader, writer): (R, W),
//!     handler: &mut (impl Handler + ?Sized),
//!     buffers: &mut Buffers<'_>,
//! ) -> Result<Outcome, R::Error> {
//!     serve(&mut Split::new(reader, Writer(writer), Time), handler, &Config::DEFAULT, buffers).await
//! }
//! ```

#![forbid(unsafe_code)]

use core::future::{Future, pending};

use embassy_futures::select::{Either3, select3};
use embassy_futures::yield_now;
use embedded_io_async::{Read, Write};

use super::{Transport, Turn};
use crate::time::Instant;

/// A monotonic clock that can be waited for.
///
/// It may jump forward, as after a suspended machine or a long interrupt: a peer is given up only after the executor has
/// run the tasks that were ready, the network stack's among them, and 100 ms more have passed without anything from it.
pub trait Clock {
    /// Returns the time.
    fn now(&mut self) -> Instant;

    /// Waits until the clock shows `moment`; at once where that has passed.
    fn at(&mut self, moment: Instant) -> impl Future<Output = ()>;
}

/// A writing half that can be closed.
pub trait Close: Write {
    /// Shuts the writing side down: TCP's FIN, in TLS a `close_notify` before it. Reading goes on.
    fn close(&mut self) -> impl Future<Output = Result<(), Self::Error>>;
}

/// A reading half, a writing half and a clock, as a [`Transport`].
#[derive(Debug)]
pub struct Split<R, W, C> {
    reader: R,
    writer: W,
    clock: C,
    /// Something was written that the writer may keep to itself.
    dirty: bool,
}

impl<R, W, C> Split<R, W, C> {
    /// Where bytes come from, where they go, and what time it is.
    pub const fn new(reader: R, writer: W, clock: C) -> Self {
        Self { reader, writer, clock, dirty: false }
    }
}

impl<R: Read, W: Close<Error = R::Error>, C: Clock> Transport for Split<R, W, C> {
    type Error = R::Error;

    fn now(&mut self) -> Instant {
        self.clock.now()
    }

    async fn turn(
        &mut self,
        input: &mut [u8],
        output: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Turn, R::Error> {
        let Self { reader, writer, clock, dirty } = self;
        let write = async {
            if !output.is_empty() {
                let written = writer.write(output).await?;
                *dirty = true;
                Ok(written)
            } else if *dirty {
                writer.flush().await?;
                *dirty = false;
                Ok(0)
            } else {
                pending().await
            }
        };
        race(reader, write, clock, input, deadline).await
    }

    async fn shutdown(&mut self) -> Result<(), R::Error> {
        self.writer.close().await
    }
}

/// Waits until the clock shows `moment`, then until the tasks that are ready by then have run: the network stack may be one
/// of them.
pub(super) async fn passed(clock: &mut impl Clock, moment: Instant) {
    clock.at(moment).await;
    yield_now().await;
}

/// One turn: whichever of the three is ready first. Writing comes first, so that what is sent leaves before
/// more is received; it is pending for ever where there is nothing to write.
pub(super) async fn race<R: Read>(
    reader: &mut R,
    write: impl Future<Output = Result<usize, R::Error>>,
    clock: &mut impl Clock,
    input: &mut [u8],
    deadline: Option<Instant>,
) -> Result<Turn, R::Error> {
    let read = async { if input.is_empty() { pending().await } else { reader.read(input).await } };
    let time = async {
        match deadline {
            Some(deadline) => passed(clock, deadline).await,
            None => pending().await,
        }
    };
    Ok(match select3(write, read, time).await {
        Either3::First(written) => Turn { read: None, written: written? },
        Either3::Second(read) => Turn { read: Some(read?), written: 0 },
        Either3::Third(()) => Turn::default(),
    })
}
