//! The transport over any `embedded_io_async::Read` and `embedded_io_async::Write`.

#![forbid(unsafe_code)]

use core::future::{Future, pending};

use embassy_futures::select::{Either3, select3};
use embassy_futures::yield_now;
use embedded_io_async::{Read, Write};

use super::{Transferred, Transport};
use crate::time::Instant;

/// A monotonic clock with a timer.
///
/// It may jump forward, as on a machine that was suspended. A deadline of the peer is then enforced only after the executor
/// has run the tasks that were ready, including the network stack's, and 100 ms more have passed without any bytes.
pub trait Clock {
    /// Returns the time.
    fn now(&mut self) -> Instant;

    /// Waits until `moment`; returns at once if that has passed.
    fn at(&mut self, moment: Instant) -> impl Future<Output = ()>;
}

/// A writing half that can be closed.
pub trait CloseWrite: Write {
    /// Shuts down the writing side: TCP's FIN, and in TLS a `close_notify` before it. Reading stays possible.
    fn close(&mut self) -> impl Future<Output = Result<(), Self::Error>>;
}

/// A reading half, a writing half and a clock, as a [`Transport`]: any `embedded_io_async::Read` and, with a way to close it,
/// `embedded_io_async::Write`.
///
/// It reads and writes concurrently. Cancelling a call neither loses nor repeats bytes if dropping the futures of the halves'
/// own `read` and `write` does not. That holds for embassy-net's sockets, but not for embedded-tls (0.19), which needs its own
/// [`Transport`]: `examples/qemu-client` has one.
///
/// ```
/// use core::convert::Infallible;
///
/// use embedded_io_async::{ErrorType, Write};
/// use sansocket::embedded::{Clock, CloseWrite, SplitTransport, serve};
/// use sansocket::session::{Memory, Outcome, ServiceUnavailable};
/// use sansocket::{Config, Instant};
///
/// struct EmbassyTime; // with feature `embassy-net` there is `embedded::EmbassyClock`
///
/// impl Clock for EmbassyTime {
///     fn now(&mut self) -> Instant {
///         Instant::from_micros(embassy_time::Instant::now().as_micros())
///     }
///
///     async fn at(&mut self, moment: Instant) {
///         embassy_time::Timer::at(embassy_time::Instant::from_micros(moment.as_micros())).await
///     }
/// }
///
/// /// The writing half of a serial line, here to memory.
/// #[derive(Default)]
/// struct Line(Vec<u8>);
///
/// impl ErrorType for Line {
///     type Error = Infallible;
/// }
///
/// impl Write for Line {
///     async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
///         self.0.extend_from_slice(bytes);
///         Ok(bytes.len())
///     }
///
///     async fn flush(&mut self) -> Result<(), Infallible> {
///         Ok(())
///     }
/// }
///
/// impl CloseWrite for Line {
///     async fn close(&mut self) -> Result<(), Infallible> {
///         Ok(()) // a serial line cannot be closed; shut down a socket here
///     }
/// }
///
/// # embassy_futures::block_on(async {
/// let received = &b"GET / HTTP/1.1\r\nHost: board\r\n\r\n"[..]; // the reading half
/// let mut transport = SplitTransport::new(received, Line::default(), EmbassyTime);
/// let mut memory = Memory { head: [0; 1024], rx: [0; 512], tx: [0; 512] };
/// let outcome = serve(&mut transport, &mut ServiceUnavailable, &Config::DEFAULT, &mut memory.buffers()).await?;
/// assert!(matches!(outcome, Outcome::Refused(refusal) if refusal.status == 503));
/// # Ok::<_, Infallible>(())
/// # })?;
/// # Ok::<_, Infallible>(())
/// ```
#[derive(Debug)]
pub struct SplitTransport<R, W, C> {
    reader: R,
    writer: W,
    clock: C,
    /// Bytes were written that the writer may still buffer.
    dirty: bool,
}

impl<R, W, C> SplitTransport<R, W, C> {
    /// Creates a transport from its parts.
    pub const fn new(reader: R, writer: W, clock: C) -> Self {
        Self { reader, writer, clock, dirty: false }
    }
}

impl<R: Read, W: CloseWrite<Error = R::Error>, C: Clock> Transport for SplitTransport<R, W, C> {
    type Error = R::Error;

    fn now(&mut self) -> Instant {
        self.clock.now()
    }

    async fn read_write(
        &mut self,
        input: &mut [u8],
        output: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Transferred, R::Error> {
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

/// Waits until `moment`, then until the tasks that are ready have run, as the network stack may be one of them.
pub(crate) async fn passed(clock: &mut impl Clock, moment: Instant) {
    clock.at(moment).await;
    yield_now().await;
}

/// Takes a turn: writes, reads, or waits for the deadline, whichever is ready first. Writing has priority, so that pending
/// bytes are written before more is received. `write` never completes if there is nothing to write.
pub(super) async fn race<R: Read>(
    reader: &mut R,
    write: impl Future<Output = Result<usize, R::Error>>,
    clock: &mut impl Clock,
    input: &mut [u8],
    deadline: Option<Instant>,
) -> Result<Transferred, R::Error> {
    let read = async { if input.is_empty() { pending().await } else { reader.read(input).await } };
    let time = async {
        match deadline {
            Some(deadline) => passed(clock, deadline).await,
            None => pending().await,
        }
    };
    Ok(match select3(write, read, time).await {
        Either3::First(written) => Transferred { read: None, written: written? },
        Either3::Second(read) => Transferred { read: Some(read?), written: 0 },
        Either3::Third(()) => Transferred::default(),
    })
}
