//! Blocking: over TCP, and every other `Read + Write` with time-outs.
//!
//! One thread serves one connection. While something waits to be written, the peer is read only now and then, and
//! no more than the receive buffer holds: a peer that does not read what it is sent stops the connection, and no
//! memory grows.

#![forbid(unsafe_code)]

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::adapter::{self, Buffers, Transport, Turn};
use crate::cause::Cause;
use crate::close::CloseCode;
use crate::config::Config;
use crate::event::{Event, Payload};
use crate::frame::Kind;
use crate::handler::{Handler, Outcome};
use crate::handshake::{Answer, Connect, Request};
use crate::message::{Assembler, Storage};
use crate::role::{Client, MaskingKey, Role, Server};
use crate::time::Instant;

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

/// What an operation on a blocking connection fails with.
pub type Error = adapter::Error<io::Error>;

/// A [`Stream`] as a [`Transport`] whose turns block.
#[derive(Debug)]
pub struct Blocking<S> {
    stream: S,
    start: std::time::Instant,
    /// When the stream was last read.
    read: Instant,
    /// How long the peer goes unheard while there is something to write.
    patience: Duration,
    /// So many reads go before the next write: one was blocked, perhaps because the peer waits to be heard.
    reads: u32,
    /// Something was written that the stream may keep to itself.
    dirty: bool,
    read_timeout: Option<Option<Duration>>,
    write_timeout: Option<Option<Duration>>,
}

/// What became of a stream that a server accepted.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "taken apart at once")]
pub enum Accepted<'c, S> {
    /// A connection, with the subprotocol at this place of
    /// [`Accept::protocols`](crate::handshake::Accept::protocols).
    WebSocket(WebSocket<'c, S, Server>, Option<usize>),
    /// [`Answer::HandOver`]: the stream, and the bytes that were read of it.
    HandOver(S, std::vec::Vec<u8>),
}

/// What became of a stream on which a client asked for a connection.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "taken apart at once")]
pub enum Connected<'c, 'u, S, K: MaskingKey = SystemKeys> {
    /// A connection, with this subprotocol.
    WebSocket(WebSocket<'c, S, Client<K>>, Option<&'u str>),
    /// Another answer: [`Reply::parse`](crate::handshake::Reply::parse) reads it.
    Refused(crate::ReceiveBuffer<'static>),
}

/// An open connection over a blocking stream.
#[derive(Debug)]
pub struct WebSocket<'c, S, R = Server>(adapter::WebSocket<'c, 'static, Blocking<S>, R>);

/// The sending side of a [`WebSocket`].
#[derive(Debug)]
pub struct Sending<'a, 'c, S, R>(&'a mut adapter::Sending<'c, 'static, Blocking<S>, R>);

/// An event, and the sending side to answer it on.
pub type Received<'a, 'c, S, R> = (Event<Payload<'a>>, Sending<'a, 'c, S, R>);

/// Masking keys from ChaCha12, seeded by the operating system.
#[derive(Clone, Debug)]
pub struct SystemKeys(ChaCha12Rng);

/// Serves one connection: request, handler, end. Lend the stream where it is wanted after
/// [`Outcome::HandOver`]; the request is in [`Buffers::head`] then.
///
/// # Errors
/// The stream's; the handler has been told by then that the connection is closed, if it was open.
pub fn serve<S: Stream>(
    stream: S,
    handler: &mut impl Handler,
    config: &Config,
    buffers: &mut Buffers<'_>,
) -> io::Result<Outcome> {
    ready(adapter::serve(&mut Blocking::new(stream), handler, config, buffers))
}

impl<'c, S: Stream> WebSocket<'c, S, Server> {
    /// Reads a request, answers it as `decide` says, and gives the connection where there is one.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Refused`] when the answer was another one, and has been sent.
    pub fn accept<'s>(
        stream: S,
        config: &'c Config,
        buffers: Buffers<'static>,
        decide: impl FnOnce(&Request<'_>) -> Answer<'s>,
    ) -> Result<Accepted<'c, S>, Error> {
        let accepted = adapter::WebSocket::accept(Blocking::new(stream), config, buffers, decide);
        Ok(match ready(accepted)? {
            adapter::Accepted::WebSocket(socket, protocol) => Accepted::WebSocket(Self(socket), protocol),
            adapter::Accepted::HandOver(transport, head) => {
                Accepted::HandOver(transport.stream, head.filled().to_vec())
            }
        })
    }
}

impl<'c, S: Stream, K: MaskingKey> WebSocket<'c, S, Client<K>> {
    /// Asks for a connection on a stream that leads to `connect.address`.
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Head`], [`Error::Handshake`].
    pub fn connect<'u>(
        stream: S,
        config: &'c Config,
        buffers: Buffers<'static>,
        keys: K,
        connect: &Connect<'u>,
    ) -> Result<Connected<'c, 'u, S, K>, Error> {
        let connected = adapter::WebSocket::connect(Blocking::new(stream), config, buffers, keys, connect);
        Ok(match ready(connected)? {
            adapter::Connected::WebSocket(socket, protocol) => Connected::WebSocket(Self(socket), protocol),
            adapter::Connected::Refused(head) => Connected::Refused(head),
        })
    }
}

impl<'c, S: Stream, R: Role> WebSocket<'c, S, R> {
    /// The next event, and the sending side to answer it on. What was sent before is written first.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Closed`] at the end, and for ever after.
    pub fn read(&mut self) -> Result<Received<'_, 'c, S, R>, Error> {
        ready(self.0.read()).map(|(event, link)| (event, Sending(link)))
    }

    /// The same, but no longer than for this time: then `None`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_timeout(&mut self, timeout: Duration) -> Result<Option<Received<'_, 'c, S, R>>, Error> {
        let limit = self.0.sending().now().after(timeout);
        Ok(ready(self.0.read_until(limit))?.map(|(event, link)| (event, Sending(link))))
    }

    /// The next event; or `None` as soon as all that was sent is written, be it at once. For sending something long without
    /// going deaf: fill the [`outbox`](Sending::outbox), call this, and deal with what comes.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_or_written(&mut self) -> Result<Option<Received<'_, 'c, S, R>>, Error> {
        Ok(ready(self.0.read_or_written())?.map(|(event, link)| (event, Sending(link))))
    }

    /// The next message, put together from its fragments. Control frames are passed over.
    ///
    /// # Errors
    /// As [`read`](Self::read); [`Error::MessageTooLarge`] where it exceeds `message`.
    pub fn read_message<M: Storage>(&mut self, message: &mut Assembler<M>) -> Result<Kind, Error> {
        ready(self.0.read_message(message))
    }

    /// The stream: its peer's address, its options. What is read or written past the connection breaks it.
    pub fn stream(&mut self) -> &mut S {
        &mut self.0.sending().transport().stream
    }

    /// The sending side.
    pub fn sending(&mut self) -> Sending<'_, 'c, S, R> {
        Sending(self.0.sending())
    }

    /// Closes the connection: sends a Close, passes over what the peer still sends, and waits for its end.
    ///
    /// # Errors
    /// [`Error::Transport`]; [`Error::Send`] where a frame is open, or the reason is too long.
    pub fn close(&mut self, code: Option<CloseCode>, reason: &str) -> Result<Cause, Error> {
        ready(self.0.close(code, reason))
    }

    /// The reason in the peer's Close, empty where there was none.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.0.reason()
    }
}

impl<S: Stream, R: Role> Sending<'_, '_, S, R> {
    /// Sends a message of any size in one frame, and writes it to the stream. Nothing is received meanwhile:
    /// where the peer answers as it reads, as an echo does, and both sides' memory is full, it stands still until
    /// the write deadline. Send large messages in pieces then, and read in between, as `examples/echo_client.rs`
    /// does.
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Closed`], [`Error::Send`].
    pub fn send(&mut self, kind: Kind, payload: &[u8]) -> Result<(), Error> {
        ready(self.0.send(kind, payload))
    }

    /// Sends a frame of a message: its first where none is open, else its next; `fin` ends the message. At
    /// most as large as the transmit buffer.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn fragment(&mut self, kind: Kind, payload: &[u8], fin: bool) -> Result<(), Error> {
        ready(self.0.fragment(kind, payload, fin))
    }

    /// Sends a message, or with `fin` unset the next part of one, of any size, in as many frames as the buffer
    /// and [`Config::largest_fragment`] ask for, and writes it to the stream.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn stream(&mut self, kind: Kind, payload: &[u8], fin: bool) -> Result<(), Error> {
        ready(self.0.stream(kind, payload, fin))
    }

    /// Sends a Pong with at most 125 bytes of payload: those of a Ping, or unasked for.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn pong(&mut self, payload: &[u8]) -> Result<(), Error> {
        ready(self.0.pong(payload))
    }

    /// Sends a Ping with at most 125 bytes of payload.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), Error> {
        ready(self.0.ping(payload))
    }

    /// Sends a Close, without waiting for the peer's.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn close(&mut self, code: Option<CloseCode>, reason: &str) -> Result<(), Error> {
        ready(self.0.close(code, reason))
    }

    /// Writes everything that was sent to the stream.
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Closed`].
    pub fn flush(&mut self) -> Result<(), Error> {
        ready(self.0.flush())
    }

    /// The sending side without waiting: what is sent here is written by [`flush`](Self::flush) and by the
    /// next [`read`](WebSocket::read), so that many small messages leave in one write.
    pub fn outbox(&mut self) -> impl crate::Outbox {
        self.0.outbox()
    }
}

impl SystemKeys {
    /// Seeded afresh.
    ///
    /// # Errors
    /// Where the operating system has no random bytes.
    pub fn new() -> io::Result<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(io::Error::other)?;
        Ok(Self(ChaCha12Rng::from_seed(seed)))
    }
}

impl MaskingKey for SystemKeys {
    fn masking_key(&mut self) -> [u8; 4] {
        self.0.next_u32().to_ne_bytes()
    }
}

impl<S: Stream> Blocking<S> {
    /// Over this stream.
    #[must_use]
    pub fn new(stream: S) -> Self {
        let start = std::time::Instant::now();
        Self {
            stream,
            start,
            read: Instant::START,
            patience: LONGEST,
            reads: 0,
            dirty: false,
            read_timeout: None,
            write_timeout: None,
        }
    }

    /// Before anything is waited for, what was written has to be on its way.
    fn flush(&mut self) -> io::Result<()> {
        if self.dirty {
            self.stream.flush()?;
            self.dirty = false;
        }
        Ok(())
    }
}

impl<S: Stream> Transport for Blocking<S> {
    type Error = io::Error;

    fn now(&mut self) -> Instant {
        Instant::START.after(self.start.elapsed())
    }

    async fn turn(&mut self, input: &mut [u8], output: &[u8], deadline: Option<Instant>) -> io::Result<Turn> {
        let now = self.now();
        let mut write = !output.is_empty();
        let mut end = deadline;
        // Who only writes does not hear the peer, which may itself wait to be heard: now and then it is asked.
        if write && !input.is_empty() {
            let patience = self.read.after(self.patience);
            write = now < patience && self.reads == 0;
            end = Some(if write { end.map_or(patience, |end| end.min(patience)) } else { now });
        }
        let wait = end.map(|end| now.until(end).max(SHORTEST));
        let done = if write {
            if let Some(timeout) = change(&mut self.write_timeout, wait) {
                self.stream.set_write_timeout(timeout)?;
            }
            match self.stream.write(output) {
                Ok(0) => Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.dirty = true;
                    // The last of it: nobody may come to read, and what the stream keeps to itself would stay there.
                    match if written == output.len() { self.flush() } else { Ok(()) } {
                        Err(error) if !is_harmless(error.kind()) => Err(error),
                        _ => Ok(Turn { read: None, written }),
                    }
                }
                Err(error) => {
                    self.reads = READS;
                    Err(error)
                }
            }
        } else if !input.is_empty() {
            if let Some(timeout) = change(&mut self.read_timeout, wait) {
                self.stream.set_read_timeout(timeout)?;
            }
            let read = self.flush().and_then(|()| self.stream.read(input));
            self.read = self.now();
            if !output.is_empty() {
                // There may be more where this came from, or there is nothing to be gained by haste.
                let full = matches!(read, Ok(read) if read == input.len());
                self.reads = if full { self.reads.saturating_sub(1) } else { 0 };
                self.patience =
                    if read.is_ok() { SHORTEST } else { self.patience.saturating_mul(2).min(LONGEST) };
            }
            read.map(|read| Turn { read: Some(read), written: 0 })
        } else {
            std::thread::sleep(wait.unwrap_or(SHORTEST));
            Ok(Turn::default())
        };
        match done {
            Err(error) if is_harmless(error.kind()) => Ok(Turn::default()),
            done => done,
        }
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        self.flush()?;
        match self.stream.shutdown() {
            // The peer was first.
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(()),
            done => done,
        }
    }
}

/// Shorter time-outs round down to none at all on some systems.
const SHORTEST: Duration = Duration::from_millis(1);
/// The longest that the peer goes unheard while there is something to write.
const LONGEST: Duration = Duration::from_millis(100);
/// Reads behind a write that was blocked, as long as each brings as much as there was room for.
const READS: u32 = 256;

/// The time-out to set, where the one that is set does not do: it may be shorter than what is wanted, as an
/// early end of a turn is harmless, but not by much.
fn change(set: &mut Option<Option<Duration>>, wanted: Option<Duration>) -> Option<Option<Duration>> {
    let fits = match (*set, wanted) {
        (Some(None), None) => true,
        (Some(Some(set)), Some(wanted)) => set <= wanted && set.saturating_mul(4) >= wanted,
        _ => false,
    };
    if fits {
        return None;
    }
    *set = Some(wanted);
    Some(wanted)
}

fn is_harmless(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Runs a future that waits for nothing but blocking calls: it is ready when it is first polled.
fn ready<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}
