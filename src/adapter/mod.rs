//! Adapters: what feeds the machine from a transport.
//!
//! A [`Transport`] says what the time is and takes one turn of reading and writing. On it, and only once,
//! stand [`serve`], which runs a [`Handler`] from the first byte to the last, and [`WebSocket`], which one
//! reads from and sends on. The blocking adapter is the same code: its turns are ready when they return.
//!
//! To write an adapter, implement [`Transport`].

#![forbid(unsafe_code)]

#[cfg(feature = "embassy-net")]
pub mod embassy_net;
#[cfg(feature = "embedded-io-async")]
pub mod embedded_io_async;
#[cfg(feature = "esp-idf")]
pub mod esp_idf;
#[cfg(feature = "mio")]
pub mod mio;
#[cfg(all(feature = "mio", feature = "rustls-no-provider"))]
pub mod rustls;
mod websocket;

pub use websocket::{Accepted, Connected, Error, Sending, WebSocket};

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;

use crate::buffer::{ReceiveBuffer, TransmitBuffer};
use crate::cause::{Cause, End};
use crate::config::ConfigRef;
use crate::driver::{Driver, Next};
use crate::error::BufferTooSmall;
use crate::extension::Extension;
use crate::handler::Handler;
use crate::role::Role;
use crate::session::{Outcome, Session};
use crate::time::{Due, GRACE, Instant, Timed};

/// A stream of bytes to and from a peer, and a clock.
pub trait Transport {
    /// What can go wrong with it.
    type Error;

    /// Returns the time by a monotonic clock.
    fn now(&mut self) -> Instant;

    /// Waits until some of `output` is written, or something is read into `input`, or the deadline has passed. An
    /// empty slice is not waited for.
    ///
    /// What is ready goes before the deadline, also where that has passed before the call: then the turn reads and writes
    /// what is ready and does not wait. Where the network stack is a task of this program, a turn that ends at its
    /// deadline lets that task run first. A turn may end early, without having done anything; callers look at the clock.
    ///
    /// Cancel safety: where the future is dropped, nothing was read and nothing written.
    fn turn(
        &mut self,
        input: &mut [u8],
        output: &[u8],
        deadline: Option<Instant>,
    ) -> impl Future<Output = Result<Turn, Self::Error>>;

    /// Shuts the writing side down: TCP's FIN. Reading goes on. It has to end by itself, whatever the peer does: no
    /// deadline applies to it.
    ///
    /// Cancel safety: called again.
    fn shutdown(&mut self) -> impl Future<Output = Result<(), Self::Error>>;
}

/// What a turn did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Turn {
    /// Bytes that were read; `Some(0)` is the end of the stream.
    pub read: Option<usize>,
    /// Bytes that were written.
    pub written: usize,
}

/// The memory of a connection.
#[derive(Debug)]
pub struct Buffers<'b> {
    /// The heads of request and answer; of no use after the opening handshake.
    pub head: ReceiveBuffer<'b>,
    /// What has arrived.
    pub rx: ReceiveBuffer<'b>,
    /// What is to be written.
    pub tx: TransmitBuffer<'b>,
}

impl<'b> Buffers<'b> {
    /// Buffers in memory that is lent.
    ///
    /// # Errors
    /// Where one is smaller than [`MIN_BUFFER`](crate::MIN_BUFFER).
    pub fn new(head: &'b mut [u8], rx: &'b mut [u8], tx: &'b mut [u8]) -> Result<Self, BufferTooSmall> {
        let head = ReceiveBuffer::new(head)?;
        Ok(Self { head, rx: ReceiveBuffer::new(rx)?, tx: TransmitBuffer::new(tx)? })
    }

    /// Buffers of their own: so many bytes for heads, for receiving, for transmitting.
    ///
    /// # Errors
    /// Where one is smaller than [`MIN_BUFFER`](crate::MIN_BUFFER).
    #[cfg(feature = "alloc")]
    pub fn with_capacity(head: usize, rx: usize, tx: usize) -> Result<Buffers<'static>, BufferTooSmall> {
        let head = ReceiveBuffer::with_capacity(head)?;
        let (rx, tx) = (ReceiveBuffer::with_capacity(rx)?, TransmitBuffer::with_capacity(tx)?);
        Ok(Buffers { head, rx, tx })
    }

    /// Empty, for another connection.
    pub fn clear(&mut self) {
        self.head.clear();
        self.rx.clear();
        self.tx.clear();
    }
}

/// Serves one connection: request, handler, end. The buffers are cleared at the beginning, and can serve one
/// connection after the other; after [`Outcome::HandOver`] the request is in [`Buffers::head`].
///
/// # Errors
/// The transport's; the handler has been told by then that the connection is closed, if it was open. A transport
/// that fails when all is over is no error.
///
/// Cancel safety: where the future is dropped, the connection can only be dropped with it.
pub async fn serve<T: Transport, C: ConfigRef>(
    transport: &mut T,
    handler: &mut (impl Handler + ?Sized),
    config: C,
    buffers: &mut Buffers<'_>,
) -> Result<Outcome, T::Error> {
    buffers.clear();
    let Buffers { head, rx, tx } = buffers;
    let mut time = Time::new(transport);
    let mut session = Session::new(config, time.now);
    loop {
        let turned = match session.poll(time.now, handler, head, rx, tx) {
            Next::Wait { deadline } => {
                let input = session.spare(head, rx);
                take_turn(transport, input, tx, deadline, &mut time, &mut session).await
            }
            Next::Shutdown => transport.shutdown().await.map(|()| None),
            Next::Done(outcome) => return Ok(outcome),
        };
        match turned {
            Ok(None) => {}
            Ok(Some(n)) => session.fill(head, rx, n),
            Err(error) => {
                session.reset();
                return match session.poll(time.now, handler, head, rx, tx) {
                    Next::Done(outcome) if !outcome.is_vanished() => Ok(outcome),
                    _ => Err(error),
                };
            }
        }
    }
}

/// Runs a handler on a connection that is open already, a client's or one after a foreign handshake: hand over
/// what came behind the handshake in `rx`.
///
/// # Errors
/// As [`serve`].
///
/// Cancel safety: as [`serve`].
pub async fn drive<T: Transport, R: Role, X: Extension, C: ConfigRef>(
    transport: &mut T,
    driver: &mut Driver<R, X, C>,
    handler: &mut (impl Handler + ?Sized),
    rx: &mut ReceiveBuffer<'_>,
    tx: &mut TransmitBuffer<'_>,
) -> Result<Cause, T::Error> {
    let mut time = Time::new(transport);
    // The connection may be older than this call: then the peer is heard first.
    let mut late = driver.due(time.now) != Due::No;
    loop {
        let next = match late {
            true => Next::Wait { deadline: Some(time.now) },
            false => driver.poll(time.now, handler, rx, tx),
        };
        late = false;
        let turned = match next {
            Next::Wait { deadline } => {
                take_turn(transport, rx.spare(), tx, deadline, &mut time, driver).await
            }
            Next::Shutdown => transport.shutdown().await.map(|()| None),
            Next::Done(cause) => return Ok(cause),
        };
        match turned {
            Ok(None) => {}
            Ok(Some(n)) => rx.fill(n),
            Err(error) => {
                driver.reset();
                return match driver.poll(time.now, handler, rx, tx) {
                    Next::Done(cause) if cause.end != End::Vanished => Ok(cause),
                    _ => Err(error),
                };
            }
        }
    }
}

/// The time of a connection.
#[derive(Debug)]
struct Time {
    /// For the next poll.
    now: Instant,
    /// The peer had more time once.
    extended: bool,
}

impl Time {
    fn new(transport: &mut impl Transport) -> Self {
        Self { now: transport.now(), extended: false }
    }
}

/// Takes a turn; how many bytes were read. Sets the time for the next poll, and where that is due, tries both directions of
/// the transport once more after the clock was read: [`Timed`] says why.
async fn take_turn<T: Transport>(
    transport: &mut T,
    input: &mut [u8],
    tx: &mut TransmitBuffer<'_>,
    deadline: Option<Instant>,
    time: &mut Time,
    peer: &mut impl Timed,
) -> Result<Option<usize>, T::Error> {
    let turn = transport.turn(input, tx.pending(), deadline).await;
    time.now = transport.now();
    let Turn { mut read, written } = turn?;
    tx.consume(written);
    let due = peer.due(time.now);
    if due == Due::No {
        return Ok(read);
    }
    let unwritten = written == 0 && !tx.is_empty();
    if read.is_none() {
        if unwritten {
            tx.consume(look(transport, &mut [], tx.pending()).await?.written);
        }
        if !input.is_empty() {
            read = look(transport, input, &[]).await?.read;
        }
    } else if unwritten {
        // Not awaited: what was read must not be lost with a future that is dropped.
        let turn = at_once(transport.turn(&mut [], tx.pending(), Some(time.now))).await;
        tx.consume(turn.map_or(0, |turn| turn.map_or(0, |turn| turn.written)));
    }
    if read.is_some() && due == Due::All && !time.extended {
        time.extended = true;
        peer.extend(time.now);
    }
    Ok(read)
}

/// Reads or writes what is ready, or becomes so within the [`GRACE`].
async fn look<T: Transport>(transport: &mut T, input: &mut [u8], output: &[u8]) -> Result<Turn, T::Error> {
    let end = transport.now().after(GRACE);
    loop {
        let turn = transport.turn(input, output, Some(end)).await?;
        if turn != Turn::default() || transport.now() >= end {
            return Ok(turn);
        }
    }
}

/// What a future comes to when it is polled once.
async fn at_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
