//! Asynchronous, over any pair of [`embedded_io_async`]'s `Read` and `Write`.
//!
//! Reading and writing go on at the same time. Cancelling a call loses and repeats no byte, provided that
//! dropping the transport's own `read` and `write` does not: that is so for embassy-net's sockets.

#![forbid(unsafe_code)]

use core::future::{Future, pending};

use embassy_futures::select::{Either3, select3};
use embedded_io_async::{Read, Write};

use super::{Transport, Turn};
use crate::time::Instant;

/// A monotonic clock that can be waited for.
pub trait Clock {
    /// The time.
    fn now(&mut self) -> Instant;

    /// Ready when the clock shows `moment`.
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
    /// Where bytes come from.
    pub reader: R,
    /// Where bytes go.
    pub writer: W,
    /// What time it is.
    pub clock: C,
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
        race(&mut self.reader, &mut self.writer, &mut self.clock, input, output, deadline).await
    }

    async fn shutdown(&mut self) -> Result<(), R::Error> {
        self.writer.close().await
    }
}

/// One turn: whichever of the three is ready first. Writing comes first, so that what is sent leaves before
/// more is received.
pub(super) async fn race<R: Read, W: Write<Error = R::Error>>(
    reader: &mut R,
    writer: &mut W,
    clock: &mut impl Clock,
    input: &mut [u8],
    output: &[u8],
    deadline: Option<Instant>,
) -> Result<Turn, R::Error> {
    let write = async { if output.is_empty() { pending().await } else { writer.write(output).await } };
    let read = async { if input.is_empty() { pending().await } else { reader.read(input).await } };
    let time = async {
        match deadline {
            Some(deadline) => clock.at(deadline).await,
            None => pending().await,
        }
    };
    Ok(match select3(write, read, time).await {
        Either3::First(written) => Turn { read: None, written: written? },
        Either3::Second(read) => Turn { read: Some(read?), written: 0 },
        Either3::Third(()) => Turn::default(),
    })
}
