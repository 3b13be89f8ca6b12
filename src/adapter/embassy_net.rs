//! embassy-net's sockets, with embassy-time's clock.

#![forbid(unsafe_code)]

use core::future::{Future, pending};
use core::time::Duration;

use embassy_futures::select::select;
use embassy_net::tcp::{AcceptError, Error, State, TcpSocket};
use embassy_time::Timer;

use super::embedded_io_async::{Clock, passed, race};
use super::{Buffers, Transport, Turn};
use crate::config::ConfigRef;
use crate::handler::Handler;
use crate::session::Outcome;
use crate::time::Instant;

/// A connected socket as a [`Transport`].
pub struct Tcp<'a, 's>(pub &'a mut TcpSocket<'s>);

/// embassy-time's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmbassyClock;

/// Why a connection could not be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServeError {
    /// The socket could not listen.
    Accept(AcceptError),
    /// The connection was reset.
    Socket(Error),
}

/// Waits for a connection on `port`, serves it, and leaves the socket ready for the next call; after
/// [`Outcome::HandOver`] it is still connected, and the request is in [`Buffers::head`].
///
/// # Errors
/// [`ServeError`]; the socket is ready for the next call in any case.
///
/// Cancel safety: dropping the future leaves the socket as it is; `abort` it before it is used again.
pub async fn serve<C: ConfigRef>(
    socket: &mut TcpSocket<'_>,
    port: u16,
    handler: &mut (impl Handler + ?Sized),
    config: C,
    buffers: &mut Buffers<'_>,
) -> Result<Outcome, ServeError> {
    socket.accept(port).await.map_err(ServeError::Accept)?;
    let outcome = super::serve(&mut Tcp(socket), handler, config.clone(), buffers).await;
    if outcome != Ok(Outcome::HandOver) {
        hang_up(socket, config.timeouts.close).await;
    }
    outcome.map_err(ServeError::Socket)
}

/// Ends a connection in whatever state it is, so that the socket can listen again: what was sent before is given
/// `limit` to arrive.
///
/// [`serve`] does so by itself; a [`WebSocket`](super::WebSocket) over [`Tcp`] wants it at its end.
///
/// Cancel safety: call again.
pub async fn hang_up(socket: &mut TcpSocket<'_>, limit: Option<Duration>) {
    // Both sides are closed, and the last of what was sent is still on its way: a reset would overtake it.
    if let State::LastAck | State::Closing = socket.state() {
        within(limit, socket.flush()).await;
    }
    if !matches!(socket.state(), State::Closed | State::TimeWait) {
        socket.abort();
    }
    // Until a reset has left. To a peer that is out of reach it never does.
    within(Some(RESET), socket.flush()).await;
}

/// How long a reset may take to leave: it waits for room, and for the neighbour's address.
const RESET: Duration = Duration::from_secs(1);

/// Lets go of a future after so long.
async fn within(limit: Option<Duration>, future: impl Future) {
    let mut clock = EmbassyClock;
    let end = clock.now().plus(limit);
    select(future, passed(&mut clock, end)).await;
}

impl Transport for Tcp<'_, '_> {
    type Error = Error;

    fn now(&mut self) -> Instant {
        EmbassyClock.now()
    }

    async fn turn(
        &mut self,
        input: &mut [u8],
        output: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Turn, Error> {
        let (mut reader, mut writer) = self.0.split();
        // Never flushed: that would wait for the peer's acknowledgement.
        let write = async { if output.is_empty() { pending().await } else { writer.write(output).await } };
        race(&mut reader, write, &mut EmbassyClock, input, deadline).await
    }

    async fn shutdown(&mut self) -> Result<(), Error> {
        self.0.close();
        Ok(())
    }
}

impl Clock for EmbassyClock {
    fn now(&mut self) -> Instant {
        Instant::from_micros(embassy_time::Instant::now().as_micros())
    }

    async fn at(&mut self, moment: Instant) {
        match embassy_time::Instant::try_from_micros(moment.as_micros()) {
            Some(moment) => Timer::at(moment).await,
            // Beyond the end of that clock.
            None => pending().await,
        }
    }
}
