//! A connection in two halves for any number of tasks, with a driver of its own.

#![forbid(unsafe_code)]

mod driver;
mod permit;
mod queue;
mod receiver;
mod reunite;
mod sender;
mod shared;

pub use driver::SplitDriver;
pub use permit::SenderPermit;
pub use receiver::Receiver;
pub use reunite::{NotReunited, ReuniteError};
pub use sender::{OfferError, Queued, Sender};

use std::sync::Arc;

use ::tokio::io::{AsyncRead, AsyncWrite};

use self::shared::Shared;
use super::websocket::WebSocket;
use crate::config::QueueLimits;
use crate::role::Role;

/// What the halves of a connection may keep: [`WebSocket::into_split_with`].
///
/// ```
/// use sansocket::CloseCode;
/// use sansocket::config::{Overflow, QueueLimits};
/// use sansocket::tokio::SplitOptions;
///
/// let queue = QueueLimits::new().messages(64).overflow(Overflow::Close(CloseCode::POLICY_VIOLATION));
/// let options = SplitOptions::new().queue(queue).read_ahead(0);
/// assert_eq!((options.queue.messages, options.read_ahead), (64, 0));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SplitOptions {
    /// How much may wait for a slow peer, and what [`Sender::offer`] does beyond. Default: [`QueueLimits::new`].
    pub queue: QueueLimits,
    /// The driver receives a message ahead of the [`Receiver`] as long as those that wait have fewer bytes than this, where each
    /// counts 64 more than its payload. At least one is received ahead. Default: 64 KiB.
    pub read_ahead: usize,
}

impl Default for SplitOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl SplitOptions {
    /// Creates the defaults; the setters below change single fields.
    #[must_use]
    pub const fn new() -> Self {
        Self { queue: QueueLimits::new(), read_ahead: 64 * 1024 }
    }

    /// Sets [`queue`](Self#structfield.queue): how much may wait for a slow peer.
    #[must_use]
    pub const fn queue(mut self, limits: QueueLimits) -> Self {
        self.queue = limits;
        self
    }

    /// Sets [`read_ahead`](Self#structfield.read_ahead): how much is received before somebody asks for it.
    #[must_use]
    pub const fn read_ahead(mut self, bytes: usize) -> Self {
        self.read_ahead = bytes;
        self
    }
}

impl<S, R> WebSocket<S, R>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    R: Role + Unpin + Send + 'static,
{
    /// Splits the connection into a sender, which can be cloned, and a receiver, and spawns a task that drives it.
    ///
    /// The task answers Pings, enforces deadlines, sends what is queued and completes the closing handshake, whatever the halves
    /// do. Neither half has a type parameter, so that senders of any streams fit into one map.
    ///
    /// - A dropped [`Receiver`] discards what the peer sends from then on.
    /// - The last dropped [`Sender`] changes nothing.
    /// - When both are dropped, the connection sends what is queued and a Close with code 1001, and ends by its deadline.
    /// - A task that panics while it owns the `Receiver` closes with code 1011.
    ///
    /// `StreamExt::split` of the crate `futures-util` is another method, which needs no task: its halves drive the connection only while
    /// they are polled.
    ///
    /// ```
    /// use sansocket::tokio::WebSocket;
    /// use sansocket::{CloseCode, Error};
    /// use tokio::net::TcpStream;
    ///
    /// async fn serve(socket: WebSocket<TcpStream>) -> Result<(), Error> {
    ///     let (sender, mut receiver) = socket.into_split();
    ///     let ticker = sender.clone();
    ///     tokio::spawn(async move { ticker.send("a tick").await });
    ///     while let Some(message) = receiver.recv().await? {
    ///         sender.send(message).await?;
    ///     }
    ///     Ok(())
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # use sansocket::{config::ServerOptions, tokio::connect};
    /// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    /// # let url = format!("ws://{}/", listener.local_addr().unwrap());
    /// # tokio::spawn(async move {
    /// #     let stream = listener.accept().await.unwrap().0;
    /// #     serve(WebSocket::accept(stream, &ServerOptions::new()).await?).await
    /// # });
    /// let mut client = connect(&url).await?;
    /// assert_eq!(client.recv().await?, Some("a tick".into()));
    /// client.send("hello").await?;
    /// assert_eq!(client.recv().await?, Some("hello".into()));
    /// assert!(client.close(CloseCode::NORMAL, "").await.is_clean());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// Outside of a tokio runtime. [`into_split_with`](Self::into_split_with) leaves the spawning to the caller.
    #[must_use]
    pub fn into_split(self) -> (Sender, Receiver) {
        let (sender, receiver, driver) = self.into_split_with(SplitOptions::new());
        ::tokio::spawn(driver);
        (sender, receiver)
    }

    /// Splits the connection as [`into_split`](Self::into_split) does, with these options, and returns the driver, a future that the
    /// caller spawns on an executor of its choice. Its timers are tokio's.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), sansocket::Error> {
    /// use sansocket::tokio::SplitOptions;
    /// # use sansocket::{config::{ClientOptions, ServerOptions}, tokio::WebSocket, CloseCode};
    /// # let (near, far) = tokio::io::duplex(4096);
    /// # let (to_accept, to_connect) = (ServerOptions::new(), ClientOptions::new());
    /// # let (server, client) = tokio::join!(
    /// #     WebSocket::accept(near, &to_accept),
    /// #     WebSocket::connect(far, "ws://localhost/", &to_connect)
    /// # );
    /// # let (socket, mut peer) = (server?, client?);
    ///
    /// let (sender, receiver, driver) = socket.into_split_with(SplitOptions::new().read_ahead(1024));
    /// let driver = tokio::spawn(driver);
    /// sender.send("hello").await?;
    /// sender.close(CloseCode::NORMAL, "done");
    /// # assert_eq!(peer.recv().await?, Some("hello".into()));
    /// # assert_eq!(peer.recv().await?, None);
    /// assert!(sender.closed().await.is_clean());
    /// driver.await.expect("the driver ends with the connection");
    /// # drop(receiver);
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_split_with(self, options: SplitOptions) -> (Sender, Receiver, SplitDriver<S, R>) {
        let shared = Arc::new(Shared::new::<Self>(options, self.protocol()));
        (Sender::new(Arc::clone(&shared)), Receiver::new(Arc::clone(&shared)), SplitDriver::new(self, shared))
    }
}

/// The halves go everywhere.
const _: () = {
    const fn goes_everywhere<T: Send + Sync + Unpin + 'static>() {}
    goes_everywhere::<Sender>();
    goes_everywhere::<Receiver>();
    goes_everywhere::<ReuniteError>();
};
