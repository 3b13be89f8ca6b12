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

use core::future::Future;

use crate::buffer::{ReceiveBuffer, TransmitBuffer};
use crate::cause::{Cause, End};
use crate::config::Config;
use crate::error::BufferTooSmall;
use crate::extension::Extension;
use crate::handler::{Driver, Handler, Next, Outcome, Session};
use crate::role::Role;
use crate::time::Instant;

/// A stream of bytes to and from a peer, and a clock.
pub trait Transport {
    /// What can go wrong with it.
    type Error;

    /// The time by a monotonic clock.
    fn now(&mut self) -> Instant;

    /// Waits until some of `output` was written, or something was read into `input`, or the deadline has
    /// passed; an empty slice is not waited for. What is ready goes before the deadline.
    ///
    /// Cancel safety: where the future is dropped, nothing was read and nothing written.
    fn turn(
        &mut self,
        input: &mut [u8],
        output: &[u8],
        deadline: Option<Instant>,
    ) -> impl Future<Output = Result<Turn, Self::Error>>;

    /// Shuts the writing side down: TCP's FIN. Reading goes on. Must end by itself, whatever the peer does: no deadline
    /// watches over it.
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
pub async fn serve<T: Transport>(
    transport: &mut T,
    handler: &mut (impl Handler + ?Sized),
    config: &Config,
    buffers: &mut Buffers<'_>,
) -> Result<Outcome, T::Error> {
    buffers.clear();
    let Buffers { head, rx, tx } = buffers;
    let mut now = transport.now();
    let mut session = Session::new(config, now);
    loop {
        let turned = match session.poll(now, handler, head, rx, tx) {
            Next::Wait { deadline } => take_turn(transport, session.spare(head, rx), tx, deadline).await,
            Next::Shutdown => transport.shutdown().await.map(|()| None),
            Next::Done(outcome) => return Ok(outcome),
        };
        now = transport.now();
        match turned {
            Ok(None) => {}
            Ok(Some(n)) => session.fill(head, rx, n),
            Err(error) => {
                session.reset();
                return match session.poll(now, handler, head, rx, tx) {
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
pub async fn drive<T: Transport, R: Role, X: Extension>(
    transport: &mut T,
    driver: &mut Driver<'_, R, X>,
    handler: &mut (impl Handler + ?Sized),
    rx: &mut ReceiveBuffer<'_>,
    tx: &mut TransmitBuffer<'_>,
) -> Result<Cause, T::Error> {
    loop {
        let turned = match driver.poll(transport.now(), handler, rx, tx) {
            Next::Wait { deadline } => take_turn(transport, rx.spare(), tx, deadline).await,
            Next::Shutdown => transport.shutdown().await.map(|()| None),
            Next::Done(cause) => return Ok(cause),
        };
        match turned {
            Ok(None) => {}
            Ok(Some(n)) => rx.fill(n),
            Err(error) => {
                driver.reset();
                return match driver.poll(transport.now(), handler, rx, tx) {
                    Next::Done(cause) if cause.end != End::Vanished => Ok(cause),
                    _ => Err(error),
                };
            }
        }
    }
}

/// One turn; how many bytes were read.
async fn take_turn<T: Transport>(
    transport: &mut T,
    input: &mut [u8],
    tx: &mut TransmitBuffer<'_>,
    deadline: Option<Instant>,
) -> Result<Option<usize>, T::Error> {
    let turn = transport.turn(input, tx.pending(), deadline).await?;
    tx.consume(turn.written);
    Ok(turn.read)
}
