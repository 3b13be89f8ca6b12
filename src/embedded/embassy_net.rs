//! The transport over embassy-net's sockets, with embassy-time's clock.

#![forbid(unsafe_code)]

use core::fmt;
use core::future::{Future, pending};
use core::time::Duration;

use embassy_futures::select::select;
use embassy_net::tcp::{AcceptError, Error, State, TcpSocket};
use embassy_time::Timer;

use super::embedded_io_async::{Clock, passed, race};
use super::{Transferred, Transport};
use crate::config::ConfigRef;
use crate::extension::NoExtension;
use crate::handler::Handler;
use crate::handshake::Negotiate;
use crate::session::{Buffers, Outcome};
use crate::time::Instant;

/// A connected socket of embassy-net as a [`Transport`].
pub struct TcpTransport<'a, 's>(&'a mut TcpSocket<'s>);

impl fmt::Debug for TcpTransport<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpTransport").finish_non_exhaustive()
    }
}

/// The clock of embassy-time.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmbassyClock;

/// Socket: the reason why a connection could not be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TcpServeError {
    /// The socket could not listen.
    #[error("the socket could not listen: {0:?}")]
    Accept(AcceptError),
    /// The connection was reset.
    #[error("the connection was reset")]
    Socket(Error),
}

/// Formats the errors of embassy-net by their `Debug`, so that its own feature `defmt` is not needed.
#[cfg(feature = "defmt")]
impl defmt::Format for TcpServeError {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{}", defmt::Debug2Format(self));
    }
}

/// Waits for a TCP connection on `port`, serves it with `handler`, and leaves the socket ready for the next call. After
/// [`Outcome::HandedOver`] the socket is still connected, and the request is in [`Buffers::head`].
///
/// # Errors
/// [`TcpServeError`]; the socket is ready for the next call also then.
///
/// Cancel safety: dropping the future leaves the socket in its current state; `abort` it before you use it again.
pub fn serve_tcp<C: ConfigRef>(
    socket: &mut TcpSocket<'_>,
    port: u16,
    handler: &mut (impl Handler + ?Sized),
    config: C,
    buffers: &mut Buffers<'_>,
) -> impl Future<Output = Result<Outcome, TcpServeError>> {
    serve_tcp_woken(socket, port, handler, config, buffers, pending::<()>, NoExtension)
}

/// Serves a TCP connection as [`serve_tcp`] does, and wakes the handler for other tasks, as [`serve_with`](super::serve_with)
/// does.
///
/// # Errors
/// Those of [`serve_tcp`].
///
/// Cancel safety: as [`serve_tcp`].
pub fn serve_tcp_with<C: ConfigRef>(
    socket: &mut TcpSocket<'_>,
    port: u16,
    handler: &mut (impl Handler + ?Sized),
    config: C,
    buffers: &mut Buffers<'_>,
    wake: &mut impl AsyncFnMut(),
) -> impl Future<Output = Result<Outcome, TcpServeError>> {
    serve_tcp_woken(socket, port, handler, config, buffers, wake, NoExtension)
}

/// Serves a TCP connection as [`serve_tcp`] does, and negotiates an extension, as
/// [`serve_negotiating`](super::serve_negotiating) does.
///
/// # Errors
/// Those of [`serve_tcp`].
///
/// Cancel safety: as [`serve_tcp`].
pub fn serve_tcp_negotiating<C: ConfigRef>(
    socket: &mut TcpSocket<'_>,
    port: u16,
    handler: &mut (impl Handler + ?Sized),
    config: C,
    buffers: &mut Buffers<'_>,
    wake: &mut impl AsyncFnMut(),
    negotiate: impl Negotiate,
) -> impl Future<Output = Result<Outcome, TcpServeError>> {
    serve_tcp_woken(socket, port, handler, config, buffers, wake, negotiate)
}

async fn serve_tcp_woken<C: ConfigRef>(
    socket: &mut TcpSocket<'_>,
    port: u16,
    handler: &mut (impl Handler + ?Sized),
    config: C,
    buffers: &mut Buffers<'_>,
    mut wake: impl AsyncFnMut(),
    negotiate: impl Negotiate,
) -> Result<Outcome, TcpServeError> {
    socket.accept(port).await.map_err(TcpServeError::Accept)?;
    let transport = &mut TcpTransport::new(socket);
    let close = config.timeouts.close;
    let outcome = super::serve_negotiating(transport, handler, config, buffers, &mut wake, negotiate).await;
    if outcome != Ok(Outcome::HandedOver) {
        hang_up(socket, close).await;
    }
    outcome.map_err(TcpServeError::Socket)
}

/// Ends a connection in any state, so that the socket can listen again. If both sides have closed, it waits up to `limit`
/// for the peer to acknowledge what was sent before.
///
/// [`serve_tcp`] calls it; call it yourself at the end of a [`WebSocket`](super::WebSocket) over [`TcpTransport`].
///
/// Cancel safety: call again.
pub async fn hang_up(socket: &mut TcpSocket<'_>, limit: Option<Duration>) {
    // Both sides are closed, but the last bytes are not yet acknowledged: a reset could overtake them.
    let mut flush_first = matches!(socket.state(), State::LastAck | State::Closing);
    // One place that awaits, so that its code is linked once.
    loop {
        if !flush_first && !matches!(socket.state(), State::Closed | State::TimeWait) {
            socket.abort();
        }
        // After a reset, waits until that is sent, which never happens if the peer is unreachable.
        within(if flush_first { limit } else { Some(RESET) }, socket.flush()).await;
        if !core::mem::take(&mut flush_first) {
            return;
        }
    }
}

/// How long to wait until a reset is sent: it may need buffer space and the neighbour's address.
const RESET: Duration = Duration::from_secs(1);

/// Waits for a future, and drops it after `limit`.
async fn within(limit: Option<Duration>, future: impl Future) {
    let mut clock = EmbassyClock;
    let end = clock.now().plus(limit);
    select(future, passed(&mut clock, end)).await;
}

impl<'a, 's> TcpTransport<'a, 's> {
    /// Creates the transport over this socket. Nagle's algorithm is switched off, so that a small message does not wait for the
    /// acknowledgement of the one before it.
    #[must_use]
    pub fn new(socket: &'a mut TcpSocket<'s>) -> Self {
        socket.set_nagle_enabled(false);
        Self(socket)
    }
}

impl Transport for TcpTransport<'_, '_> {
    type Error = Error;

    fn now(&mut self) -> Instant {
        EmbassyClock.now()
    }

    async fn read_write(
        &mut self,
        input: &mut [u8],
        output: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Transferred, Error> {
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
        embassy_time::Instant::now().into()
    }

    async fn at(&mut self, moment: Instant) {
        Timer::at(moment.into()).await;
    }
}
