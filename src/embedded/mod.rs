//! Connections over any transport, without a heap: for firmware, and for runtimes that the crate does not know.
//!
//! A [`Transport`] tells the time and takes one turn of reading and writing. Over it, [`serve`] runs a
//! [`Handler`] from the request to the end, and [`WebSocket`] is a connection to read from and to send on.
//! `blocking` uses the same code with turns that block.
//!
//! | you have | transport |
//! | --- | --- |
//! | a socket of embassy-net | `TcpTransport` (feature `embassy-net`) |
//! | `embedded_io_async::Read` and `Write` | `SplitTransport` (feature `embedded-io-async`) |
//! | anything else | implement [`Transport`] |

#![forbid(unsafe_code)]

#[cfg(feature = "embassy-net")]
mod embassy_net;
#[cfg(feature = "embedded-io-async")]
mod embedded_io_async;
mod error;
mod open;
mod queued;
#[cfg(feature = "embassy-net")]
mod reconnect;
mod websocket;
mod writer;

#[cfg(feature = "embassy-net")]
pub use embassy_net::{
    EmbassyClock, TcpServeError, TcpTransport, hang_up, serve_tcp, serve_tcp_negotiating, serve_tcp_with,
};
#[cfg(feature = "embassy-hub")]
pub(crate) use embedded_io_async::passed;
#[cfg(feature = "embedded-io-async")]
pub use embedded_io_async::{Clock, CloseWrite, SplitTransport};

pub use error::Error;
pub use queued::QueuedWebSocket;
#[cfg(feature = "embassy-net")]
pub use reconnect::{ConnectAttempt, Reconnect, ReconnectEvent, Unreachable};
pub use websocket::WebSocket;
pub use writer::Writer;

use core::future::{Future, pending, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};

use crate::buffer::{ReceiveBuffer, TransmitBuffer};
use crate::config::ConfigRef;
use crate::ending::Ending;
use crate::error::EndReason;
use crate::extension::{Extension, NoExtension};
use crate::handler::Handler;
use crate::handshake::Negotiate;
use crate::log::log_debug;
use crate::role::Role;
use crate::session::{Buffers, HandlerDriver, Outcome, ServerSession};
use crate::step::Step;
use crate::time::{Due, GRACE, Instant, Timed};

/// A stream of bytes to and from a peer, and a clock.
///
/// ```
/// use core::convert::Infallible;
/// use core::pin::{Pin, pin};
/// use core::task::{Context, Poll, Waker};
///
/// use sansocket::embedded::{Transferred, Transport, serve};
/// use sansocket::session::{Memory, Outcome, ServiceUnavailable};
/// use sansocket::{Config, Instant};
///
/// /// Reads from memory and writes to memory, as a test does.
/// struct InMemory<'a> {
///     input: &'a [u8],
///     output: Vec<u8>,
/// }
///
/// impl Transport for InMemory<'_> {
///     type Error = Infallible;
///
///     fn now(&mut self) -> Instant {
///         Instant::START
///     }
///
///     async fn read_write(
///         &mut self,
///         input: &mut [u8],
///         output: &[u8],
///         _deadline: Option<Instant>,
///     ) -> Result<Transferred, Infallible> {
///         if !output.is_empty() {
///             self.output.extend_from_slice(output);
///             return Ok(Transferred { read: None, written: output.len() });
///         }
///         let n = input.len().min(self.input.len());
///         let (read, rest) = self.input.split_at(n);
///         input[..n].copy_from_slice(read);
///         self.input = rest;
///         Ok(Transferred { read: Some(n), written: 0 }) // 0 is the end of the stream
///     }
///
///     async fn shutdown(&mut self) -> Result<(), Infallible> {
///         Ok(())
///     }
/// }
///
/// let mut transport = InMemory { input: b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", output: Vec::new() };
/// let mut memory = Memory { head: [0; 1024], rx: [0; 512], tx: [0; 512] };
/// let (mut buffers, mut handler) = (memory.buffers(), ServiceUnavailable);
/// {
///     let mut serving = pin!(serve(&mut transport, &mut handler, &Config::DEFAULT, &mut buffers));
///     // Nothing waits here: the future is ready when it is first polled.
///     let outcome = serving.as_mut().poll(&mut Context::from_waker(Waker::noop()));
///     assert!(matches!(outcome, Poll::Ready(Ok(Outcome::Refused(refusal))) if refusal.status == 503));
/// }
/// assert!(transport.output.starts_with(b"HTTP/1.1 503 Service Unavailable\r\n"));
/// ```
pub trait Transport {
    /// The error of reading and writing.
    type Error;

    /// Returns the time of a monotonic clock.
    fn now(&mut self) -> Instant;

    /// Waits until a part of `output` is written, bytes are read into `input`, or the deadline has passed. It neither reads
    /// into an empty `input` nor writes an empty `output`.
    ///
    /// Bytes that are ready take precedence over the deadline: if that has passed before the call, the turn reads and writes
    /// what is ready and does not wait. If the network stack is a task of this program, a turn that ends at its deadline lets
    /// that task run first. A turn may end early without any effect; callers check the clock.
    ///
    /// Cancel safety: a future that is dropped has neither read nor written.
    fn read_write(
        &mut self,
        input: &mut [u8],
        output: &[u8],
        deadline: Option<Instant>,
    ) -> impl Future<Output = Result<Transferred, Self::Error>>;

    /// Shuts down the writing side (TCP's FIN); reading stays possible. It has to end within bounded time whatever the peer
    /// does, as no deadline applies to it.
    ///
    /// Cancel safety: a call after a dropped one has to complete the shutdown.
    fn shutdown(&mut self) -> impl Future<Output = Result<(), Self::Error>>;
}

/// The result of [`Transport::read_write`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Transferred {
    /// Bytes that were read; `None` if the turn read nothing. `Some(0)` is the end of the stream, as for `std::io::Read` and
    /// `embedded_io_async::Read`, so that their result can be passed on; if the `input` was empty, it counts as `None`.
    pub read: Option<usize>,
    /// Bytes that were written.
    pub written: usize,
}

/// Serves one connection with `handler`: opening handshake, events, closing handshake. It clears the buffers first, so that
/// they can serve one connection after another. After [`Outcome::HandedOver`] the request is in [`Buffers::head`].
/// [`Transport`] and `SplitTransport` have examples.
///
/// # Errors
/// The transport's error; before that, [`Handler::closed`] is called if the connection was open. An error is
/// ignored if the connection has ended for another reason before.
///
/// Cancel safety: dropping the future loses the state of the connection. Drop the transport, too.
pub fn serve<T: Transport, C: ConfigRef>(
    transport: &mut T,
    handler: &mut (impl Handler + ?Sized),
    config: C,
    buffers: &mut Buffers<'_>,
) -> impl Future<Output = Result<Outcome, T::Error>> {
    // Not an `async fn`: its future would hold the arguments a second time.
    serve_woken(transport, handler, config, buffers, pending::<()>, NoExtension)
}

/// Serves one connection as [`serve`] does, and wakes the handler for other tasks: whenever `wake` is ready,
/// [`Handler::woken`] is called.
///
/// `wake` is awaited beside the transport, from when the connection is open. Its future is often dropped before it is ready, and
/// made again: it has to be cancel safe, as `Signal::wait` and `Receiver::changed` of embassy-sync are:
/// `&mut async || SIGNAL.wait().await`.
///
/// ```
/// use core::cell::Cell;
///
/// use sansocket::embedded::{Transport, serve_with};
/// use sansocket::session::{Memory, Outcome};
/// use sansocket::{Config, Event, Handler, HandlerError, Outbox};
///
/// /// Sends each temperature that another task has measured.
/// struct Telemetry<'a>(&'a Cell<Option<i8>>);
///
/// impl Handler for Telemetry<'_> {
///     fn event(&mut self, _: Event<'_>, _: &mut Outbox<'_>) -> Result<(), HandlerError> {
///         Ok(())
///     }
///
///     fn woken(&mut self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
///         if let Some(celsius) = self.0.get() {
///             out.send(&celsius.to_be_bytes())?; // no room: the latest temperature is sent when there is room
///             self.0.set(None);
///         }
///         Ok(())
///     }
/// }
///
/// async fn run<T: Transport>(
///     transport: &mut T,
///     latest: &Cell<Option<i8>>,
///     mut measured: impl AsyncFnMut(), // `async || SIGNAL.wait().await`
/// ) -> Result<Outcome, T::Error> {
///     let mut memory = Memory { head: [0; 1024], rx: [0; 256], tx: [0; 256] };
///     let mut handler = Telemetry(latest);
///     serve_with(transport, &mut handler, &Config::DEFAULT, &mut memory.buffers(), &mut measured).await
/// }
///
/// # use futures_util::StreamExt;
/// # use sansocket::{Instant, embedded::Transferred};
/// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// # struct Duplex(tokio::io::DuplexStream);
/// # impl Transport for Duplex {
/// #     type Error = std::io::Error;
/// #     fn now(&mut self) -> Instant {
/// #         Instant::START
/// #     }
/// #     async fn read_write(&mut self, rx: &mut [u8], tx: &[u8], _: Option<Instant>) -> std::io::Result<Transferred> {
/// #         match tx.is_empty() {
/// #             true => Ok(Transferred { read: Some(self.0.read(rx).await?), written: 0 }),
/// #             false => Ok(Transferred { read: None, written: self.0.write(tx).await? }),
/// #         }
/// #     }
/// #     async fn shutdown(&mut self) -> std::io::Result<()> {
/// #         self.0.shutdown().await
/// #     }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let (near, far) = tokio::io::duplex(1024);
/// # let (mut transport, latest) = (Duplex(near), Cell::new(None));
/// # let mut temperatures = [21].into_iter();
/// # let measured = async || match temperatures.next() {
/// #     Some(celsius) => latest.set(Some(celsius)),
/// #     None => core::future::pending().await,
/// # };
/// # let client = tokio::spawn(async {
/// #     let (mut client, _) = tokio_tungstenite::client_async("ws://sensor/", far).await.unwrap();
/// #     client.next().await.unwrap().unwrap().into_data()
/// # });
/// let outcome = run(&mut transport, &latest, measured).await;
/// // `measured` has stored 21 once, and the client has disconnected after one message:
/// assert_eq!(client.await.unwrap()[..], [21]);
/// assert!(matches!(outcome, Ok(Outcome::Closed(_))));
/// # }
/// ```
///
/// # Errors
/// Those of [`serve`].
///
/// Cancel safety: as [`serve`].
pub fn serve_with<T: Transport, C: ConfigRef>(
    transport: &mut T,
    handler: &mut (impl Handler + ?Sized),
    config: C,
    buffers: &mut Buffers<'_>,
    wake: &mut impl AsyncFnMut(),
) -> impl Future<Output = Result<Outcome, T::Error>> {
    serve_woken(transport, handler, config, buffers, wake, NoExtension)
}

/// Serves one connection as [`serve_with`] does, and negotiates an extension.
///
/// # Errors
/// Those of [`serve`].
///
/// Cancel safety: as [`serve`].
pub fn serve_negotiating<T: Transport, C: ConfigRef>(
    transport: &mut T,
    handler: &mut (impl Handler + ?Sized),
    config: C,
    buffers: &mut Buffers<'_>,
    wake: &mut impl AsyncFnMut(),
    negotiate: impl Negotiate,
) -> impl Future<Output = Result<Outcome, T::Error>> {
    serve_woken(transport, handler, config, buffers, wake, negotiate)
}

async fn serve_woken<T: Transport, C: ConfigRef>(
    transport: &mut T,
    handler: &mut (impl Handler + ?Sized),
    config: C,
    buffers: &mut Buffers<'_>,
    mut wake: impl AsyncFnMut(),
    negotiate: impl Negotiate,
) -> Result<Outcome, T::Error> {
    buffers.clear();
    let Buffers { head, rx, tx } = buffers;
    let mut time = Time::new(transport);
    let mut session = ServerSession::negotiating(config, time.now, negotiate);
    let mut failed = None;
    loop {
        let turned = match session.poll(time.now, handler, head, rx, tx) {
            Step::Wait { deadline } => {
                let open = session.connection().is_some();
                let (turned, woken) = {
                    let input = session.spare(head, rx);
                    let turn = pin!(take_turn(transport, input, tx, deadline, &mut time, &mut session));
                    let wake = pin!(async { if open { wake().await } else { pending().await } });
                    turn_or_wake(turn, wake).await
                };
                if woken {
                    session.wake();
                }
                turned.unwrap_or_else(|| {
                    time.advance(transport, &session);
                    Ok(None)
                })
            }
            Step::Shutdown => transport.shutdown().await.map(|()| None),
            Step::Done(outcome) => {
                return match failed {
                    Some(error) if outcome.is_disconnect() => Err(error),
                    _ => Ok(outcome),
                };
            }
        };
        match turned {
            Ok(None) => {}
            Ok(Some(0)) => session.end(head, rx),
            Ok(Some(n)) => session.fill(head, rx, n),
            Err(error) => {
                session.transport_failed();
                failed = Some(error);
            }
        }
    }
}

/// Runs a handler on a connection that is already open: a client's, or one whose handshake was done elsewhere. `rx` has to
/// hold the bytes that arrived after the handshake.
///
/// # Errors
/// The transport's error, as for [`serve`].
///
/// Cancel safety: a shutdown of the transport that was under way is lost with the future. Drop the transport, too.
pub fn drive<T: Transport, R: Role, X: Extension, C: ConfigRef>(
    transport: &mut T,
    driver: &mut HandlerDriver<R, X, C>,
    handler: &mut (impl Handler + ?Sized),
    rx: &mut ReceiveBuffer<'_>,
    tx: &mut TransmitBuffer<'_>,
) -> impl Future<Output = Result<Ending, T::Error>> {
    drive_woken(transport, driver, handler, rx, tx, pending::<()>)
}

/// Runs a handler as [`drive`] does, and wakes it for other tasks, as [`serve_with`] does.
///
/// # Errors
/// The transport's error, as for [`serve`].
///
/// Cancel safety: as [`drive`].
pub fn drive_with<T: Transport, R: Role, X: Extension, C: ConfigRef>(
    transport: &mut T,
    driver: &mut HandlerDriver<R, X, C>,
    handler: &mut (impl Handler + ?Sized),
    rx: &mut ReceiveBuffer<'_>,
    tx: &mut TransmitBuffer<'_>,
    wake: &mut impl AsyncFnMut(),
) -> impl Future<Output = Result<Ending, T::Error>> {
    drive_woken(transport, driver, handler, rx, tx, wake)
}

async fn drive_woken<T: Transport, R: Role, X: Extension, C: ConfigRef>(
    transport: &mut T,
    driver: &mut HandlerDriver<R, X, C>,
    handler: &mut (impl Handler + ?Sized),
    rx: &mut ReceiveBuffer<'_>,
    tx: &mut TransmitBuffer<'_>,
    mut wake: impl AsyncFnMut(),
) -> Result<Ending, T::Error> {
    let mut time = Time::new(transport);
    // A deadline may have passed before this call: then the transport is read first.
    let mut late = driver.due(time.now) != Due::No;
    let mut failed = None;
    loop {
        let next = match late {
            true => Step::Wait { deadline: Some(time.now) },
            false => driver.poll(time.now, handler, rx, tx),
        };
        late = false;
        let turned = match next {
            Step::Wait { deadline } => {
                let (turned, woken) = {
                    let turn = pin!(take_turn(transport, rx.spare(), tx, deadline, &mut time, driver));
                    let wake = pin!(wake());
                    turn_or_wake(turn, wake).await
                };
                if woken {
                    driver.wake();
                }
                turned.unwrap_or_else(|| {
                    time.advance(transport, driver);
                    Ok(None)
                })
            }
            Step::Shutdown => transport.shutdown().await.map(|()| None),
            Step::Done(ending) => {
                log_debug!("the connection has ended: {}", ending);
                return match failed {
                    Some(error) if ending.reason == EndReason::Disconnected => Err(error),
                    _ => Ok(ending),
                };
            }
        };
        match turned {
            Ok(read) => report(read, rx),
            Err(error) => {
                driver.transport_failed();
                failed = Some(error);
            }
        }
    }
}

/// The time of a connection.
#[derive(Debug)]
struct Time {
    /// The time for the next poll.
    now: Instant,
    /// A deadline was extended already.
    extended: bool,
}

impl Time {
    fn new(transport: &mut impl Transport) -> Self {
        Self { now: transport.now(), extended: false }
    }

    /// Reads the clock after a wake-up, unless a deadline is due: then the next turn reads the transport first.
    fn advance(&mut self, transport: &mut impl Transport, peer: &impl Timed) {
        let now = transport.now();
        if peer.due(now) == Due::No {
            self.now = now;
        }
    }
}

/// Takes a turn, sets the time for the next poll, and returns how many bytes were read. If a deadline is due, it reads and
/// writes the transport once more after it has read the clock: see [`Timed`].
async fn take_turn<T: Transport>(
    transport: &mut T,
    input: &mut [u8],
    tx: &mut TransmitBuffer<'_>,
    deadline: Option<Instant>,
    time: &mut Time,
    peer: &mut impl Timed,
) -> Result<Option<usize>, T::Error> {
    let (mut attempt, mut end) = (Attempt::Both, deadline);
    // One place that awaits a turn, whatever it tries: so the future holds one.
    loop {
        let (into, from): (&mut [u8], &[u8]) = match attempt {
            Attempt::Both => (&mut *input, tx.pending()),
            Attempt::Write => (&mut [], tx.pending()),
            Attempt::Read => (&mut *input, &[]),
        };
        let reads = !into.is_empty();
        let turn = transport.read_write(into, from, end).await;
        let now = transport.now();
        if attempt == Attempt::Both {
            time.now = now;
        }
        let Transferred { read, written } = turn?;
        let read = read.filter(|_| reads);
        tx.consume(written);
        let due = peer.due(time.now);
        if due == Due::No {
            return Ok(read);
        }
        let unwritten = attempt == Attempt::Both && written == 0 && !tx.is_empty();
        if read.is_some() {
            if unwritten {
                tx.consume(write_now(transport, tx.pending(), time.now));
            }
            if due == Due::All && !time.extended {
                time.extended = true;
                peer.extend(time.now);
            }
            return Ok(read);
        }
        // A turn may end early.
        let again = now < end.unwrap_or(now);
        attempt = match attempt {
            Attempt::Write if again && written == 0 => continue,
            Attempt::Read if again => continue,
            Attempt::Both if unwritten => Attempt::Write,
            Attempt::Both | Attempt::Write if !input.is_empty() => Attempt::Read,
            _ => return Ok(None),
        };
        end = Some(now.saturating_add(GRACE));
    }
}

/// Waits for a turn or a wake-up. Returns the result of the turn, if it is complete, and whether there was a wake-up.
fn turn_or_wake<T>(
    mut turn: Pin<&mut impl Future<Output = T>>,
    mut wake: Pin<&mut impl Future<Output = ()>>,
) -> impl Future<Output = (Option<T>, bool)> {
    // Polls both, so that neither starves the other.
    poll_fn(move |context| {
        let turned = turn.as_mut().poll(context);
        let woken = wake.as_mut().poll(context).is_ready();
        match turned {
            Poll::Ready(turned) => Poll::Ready((Some(turned), woken)),
            Poll::Pending if woken => Poll::Ready((None, true)),
            Poll::Pending => Poll::Pending,
        }
    })
}

/// Reports to the receive buffer what a turn has read.
fn report(read: Option<usize>, rx: &mut ReceiveBuffer<'_>) {
    match read {
        None => {}
        Some(0) => rx.end(),
        Some(n) => rx.fill(n),
    }
}

/// The directions that a turn tries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempt {
    Both,
    Write,
    Read,
}

/// Writes what the transport takes at once. Polled once, not awaited: a future that is dropped would lose the bytes that were
/// read before.
fn write_now<T: Transport>(transport: &mut T, output: &[u8], now: Instant) -> usize {
    let turn = pin!(transport.read_write(&mut [], output, Some(now)));
    match turn.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(turn)) => turn.written,
        Poll::Ready(Err(_)) | Poll::Pending => 0,
    }
}
