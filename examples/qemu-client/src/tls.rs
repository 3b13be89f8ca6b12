//! TLS 1.3 by embedded-tls: a transport over a transport.
//!
//! A turn of a [`Transport`] may be dropped half way and must have done nothing then; the adapter does that with every
//! turn that something else was quicker than. embedded-tls is not made for it: `read` keeps a record's header in its
//! future, and `flush` forgets what it had not written. So its futures are never dropped in the middle: all of TLS,
//! from the handshake to the `close_notify`, is one future, the [`pump`], which lives as long as the connection. It is
//! polled within a turn and waits for nothing but the four buffers of [`Pipes`].

use core::cell::RefCell;
use core::convert::Infallible;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use embassy_futures::poll_once;
use embassy_futures::select::{Either, select};
use embedded_io_async::{ErrorType, Read, Write};
use embedded_tls::pki::CertVerifier;
use embedded_tls::{
    Aes128GcmSha256, Certificate, CertificateRef, CertificateVerifyRef, CryptoProvider, CryptoRngCore,
    FlushPolicy, TlsClock, TlsConfig, TlsConnection, TlsContext, TlsError, TlsVerifier,
};
use sansocket::Instant;
use sansocket::embedded::{Transferred, Transport};

use crate::pipe::Pipe;
use crate::virt::time;

/// The largest record of TLS 1.3, without its header: a server may send one whenever it likes.
pub const RECORD_IN: usize = 16384 + 256;
/// Ours: a ClientHello, or 512 bytes of payload and what embedded-tls keeps free behind them.
pub const RECORD_OUT: usize = 512 + 128;
/// The largest certificate of a server.
const CERTIFICATE: usize = 1024;

type Suite = Aes128GcmSha256;

/// What the pump and the transport share.
pub struct Pipes<'b> {
    /// From the network.
    arrived: Pipe<'b>,
    /// To the network.
    leaving: Pipe<'b>,
    /// From the server, deciphered; ends with its `close_notify`.
    received: Pipe<'b>,
    /// To the server, not yet enciphered.
    sending: Pipe<'b>,
    /// Where in the network's stream of records TLS is.
    records: Records,
    /// The handshake is over, and the server is who it has to be.
    open: bool,
    /// No more is going to be sent.
    closing: bool,
}

impl<'b> Pipes<'b> {
    pub fn new(memory: &'b mut [[u8; 512]; 4]) -> RefCell<Self> {
        let [arrived, leaving, received, sending] = memory;
        RefCell::new(Self {
            arrived: Pipe::new(arrived),
            leaving: Pipe::new(leaving),
            received: Pipe::new(received),
            sending: Pipe::new(sending),
            records: Records::default(),
            open: false,
            closing: false,
        })
    }
}

/// All of TLS. Ready at its end: when the server has sent its `close_notify`, when ours is written, or with an error.
pub async fn pump(
    pipes: &RefCell<Pipes<'_>>,
    record_in: &mut [u8],
    record_out: &mut [u8],
    host: &str,
    mut trust: Trust<'_, impl CryptoRngCore>,
) -> Result<(), TlsError> {
    let config = TlsConfig::new().with_server_name(host);
    let mut tls = TlsConnection::<_, Suite>::new(Wire(pipes), record_in, record_out);
    tls.set_flush_policy(FlushPolicy::Relaxed);
    tls.open(TlsContext::new(&config, &mut trust)).await?;
    // embedded-tls itself is content with a server that has shown nothing.
    if !trust.verifier.proved {
        return Err(TlsError::InvalidCertificate);
    }
    pipes.borrow_mut().open = true;

    let (mut reader, mut writer) = tls.split();
    let read = async {
        loop {
            let mut data = match reader.read_buffered().await {
                Ok(data) => data,
                Err(TlsError::ConnectionClosed) => return Ok(()),
                Err(error) => return Err(error),
            };
            while !data.is_empty() {
                let n = wait(pipes, |pipes| pipes.received.put(data.peek_all())).await;
                data.pop(n);
            }
        }
    };
    let write = async {
        let mut chunk = [0; 128];
        loop {
            let n = wait(pipes, |pipes| {
                let n = pipes.sending.take(&mut chunk);
                if n == 0 && pipes.closing { usize::MAX } else { n }
            });
            let n = n.await;
            let Some(mut rest) = chunk.get(..n) else { return Ok::<(), TlsError>(()) };
            while !rest.is_empty() {
                rest = &rest[writer.write(rest).await?..];
            }
            if pipes.borrow().sending.is_empty() {
                writer.flush().await?;
            }
        }
    };
    match select(read, write).await {
        Either::First(ended) => {
            ended?;
            // By its Close the server has said already that it wants no more.
            pipes.borrow_mut().received.end();
            Ok(())
        }
        Either::Second(ended) => {
            ended?;
            tls.close().await.map(drop).map_err(|(_, error)| error)
        }
    }
}

/// Ready when `done` has done something.
fn wait<'a, 'b>(
    pipes: &'a RefCell<Pipes<'b>>,
    mut done: impl FnMut(&mut Pipes<'b>) -> usize,
) -> impl Future<Output = usize> {
    poll_fn(move |_| match done(&mut pipes.borrow_mut()) {
        0 => Poll::Pending, // the transport polls again when something has changed
        n => Poll::Ready(n),
    })
}

/// What embedded-tls takes for the network.
#[derive(Clone, Copy)]
struct Wire<'a, 'b>(&'a RefCell<Pipes<'b>>);

impl ErrorType for Wire<'_, '_> {
    type Error = Infallible;
}

impl Read for Wire<'_, '_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let read = wait(self.0, |pipes| {
            let n = pipes.arrived.take(buffer);
            let over = n == 0 && pipes.arrived.is_ended();
            if over || !pipes.records.accept(&buffer[..n], pipes.open) { usize::MAX } else { n }
        });
        Ok(match read.await {
            usize::MAX => 0,
            n => n,
        })
    }
}

impl Write for Wire<'_, '_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        Ok(wait(self.0, |pipes| pipes.leaving.put(bytes)).await)
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Reads along, for embedded-tls panics over two records that anybody on the way can send.
#[derive(Default)]
struct Records {
    header: [u8; 5],
    /// Bytes of it that are here.
    have: usize,
    /// Bytes of the payload that are to come.
    left: usize,
}

impl Records {
    /// Whether TLS may see these bytes, which come next.
    fn accept(&mut self, mut bytes: &[u8], open: bool) -> bool {
        const ENCIPHERED: u8 = 23;
        const TAG: usize = 16;
        while let [first, rest @ ..] = bytes {
            if self.left > 0 {
                let n = self.left.min(bytes.len());
                self.left -= n;
                bytes = &bytes[n..];
                continue;
            }
            self.header[self.have] = *first;
            self.have += 1;
            bytes = rest;
            if let ([kind, _, _, high, low], 5) = (self.header, self.have) {
                self.have = 0;
                self.left = u16::from_be_bytes([high, low]).into();
                // In the clear when everything is enciphered, or with nothing in it, not even its type.
                let bad = if kind == ENCIPHERED { self.left <= TAG } else { open };
                if bad {
                    return false;
                }
            }
        }
        true
    }
}

/// The pump over a transport.
pub struct Tls<'a, 'b, T, P> {
    transport: T,
    pipes: &'a RefCell<Pipes<'b>>,
    pump: Pin<&'a mut P>,
    /// The pump has ended.
    ended: bool,
    /// The transport's writing side is shut down.
    shut: bool,
}

#[derive(Debug)]
#[expect(dead_code, reason = "they are for the log")]
pub enum Error<E> {
    Transport(E),
    Tls(TlsError),
    /// The TLS handshake took too long.
    Timeout,
}

impl<'a, 'b, T: Transport, P: Future<Output = Result<(), TlsError>>> Tls<'a, 'b, T, P> {
    /// Shakes hands, for so long at most. What has come by then, be it while the board stood still, has a second to be read.
    pub async fn open(
        transport: T,
        pipes: &'a RefCell<Pipes<'b>>,
        pump: Pin<&'a mut P>,
        timeout: Duration,
    ) -> Result<Self, Error<T::Error>> {
        let mut tls = Self { transport, pipes, pump, ended: false, shut: false };
        let mut deadline = tls.now().saturating_add(timeout);
        let mut late = false;
        loop {
            tls.run()?;
            if pipes.borrow().open {
                return Ok(tls);
            }
            let now = tls.now();
            if now >= deadline {
                if late {
                    return Err(Error::Timeout);
                }
                late = true;
                deadline = now.saturating_add(Duration::from_secs(1));
            }
            tls.carry(Some(deadline)).await?;
        }
    }

    /// Goes on with TLS as far as the buffers allow.
    fn run(&mut self) -> Result<(), Error<T::Error>> {
        if self.ended {
            return Ok(());
        }
        if let Poll::Ready(end) = self.pump.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            self.ended = true;
            end.map_err(Error::Tls)?;
        }
        Ok(())
    }

    /// A turn of the transport below; dropped half way, it has done nothing either.
    async fn carry(&mut self, deadline: Option<Instant>) -> Result<(), Error<T::Error>> {
        let Pipes { arrived, leaving, closing, .. } = &mut *self.pipes.borrow_mut();
        if self.ended && *closing && leaving.is_empty() && !self.shut {
            self.transport.shutdown().await.map_err(Error::Transport)?;
            self.shut = true;
        }
        if self.ended {
            arrived.consume(arrived.filled().len()); // nobody is left to decipher it
        }
        let turn = self.transport.read_write(arrived.spare(), leaving.filled(), deadline).await;
        let turn = turn.map_err(Error::Transport)?;
        leaving.consume(turn.written);
        match turn.read {
            None => {}
            Some(0) => arrived.end(),
            Some(n) => arrived.fill(n),
        }
        Ok(())
    }

    /// What is to leave and can, does. What is wrong with the transport, the next turn finds too.
    fn hurry(&mut self) {
        let _ = poll_once(self.carry(None));
    }
}

impl<T: Transport, P: Future<Output = Result<(), TlsError>>> Transport for Tls<'_, '_, T, P> {
    type Error = Error<T::Error>;

    fn now(&mut self) -> Instant {
        self.transport.now()
    }

    async fn read_write(
        &mut self,
        input: &mut [u8],
        output: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Transferred, Self::Error> {
        let mut late = false;
        loop {
            self.run()?;
            let mut turn = Transferred::default();
            {
                let Pipes { arrived, received, sending, closing, .. } = &mut *self.pipes.borrow_mut();
                if !*closing && !self.ended {
                    turn.written = sending.put(output);
                }
                let n = received.take(input);
                let over = received.is_ended() || self.ended && arrived.is_ended();
                if n > 0 || over && received.is_empty() && !input.is_empty() {
                    turn.read = Some(n);
                }
            }
            if turn != Transferred::default() {
                // Nothing is waited for any more: a turn that is dropped must not have read or written.
                self.run()?;
                self.hurry();
                return Ok(turn);
            }
            if self.ended && !output.is_empty() && !self.pipes.borrow().closing {
                return Err(Error::Tls(TlsError::ConnectionClosed));
            }
            if late {
                return Ok(turn);
            }
            // What is ready below goes before the deadline.
            late = deadline.is_some_and(|deadline| self.now() >= deadline);
            self.carry(deadline).await?;
        }
    }

    /// `close_notify`, and the end of the transport behind it: where they do not leave at once, with the turns to come.
    async fn shutdown(&mut self) -> Result<(), Self::Error> {
        self.pipes.borrow_mut().closing = true;
        self.run()?;
        self.hurry();
        Ok(())
    }
}

/// Random numbers, and who is trusted.
pub struct Trust<'a, R> {
    random: R,
    verifier: Verifier<'a>,
}

impl<'a, R: CryptoRngCore> Trust<'a, R> {
    /// Trusts servers that have a certificate from this authority, in DER.
    pub fn new(random: R, authority: &'a [u8]) -> Self {
        let verifier = CertVerifier::new(Certificate::X509(authority));
        Self { random, verifier: Verifier { verifier, certified: false, proved: false } }
    }
}

impl<R: CryptoRngCore> CryptoProvider for Trust<'_, R> {
    type CipherSuite = Suite;
    type Signature = [u8; 0];

    fn rng(&mut self) -> impl CryptoRngCore {
        &mut self.random
    }

    fn verifier(&mut self) -> Result<&mut impl TlsVerifier<Suite>, TlsError> {
        Ok(&mut self.verifier)
    }
}

/// embedded-tls' verifier, and what it takes on trust.
struct Verifier<'a> {
    verifier: CertVerifier<'a, Suite, Clock, CERTIFICATE>,
    /// The certificate is the host's, in date, and signed by the authority.
    certified: bool,
    /// The server has the certificate's key.
    proved: bool,
}

impl TlsVerifier<Suite> for Verifier<'_> {
    fn set_hostname_verification(&mut self, host: &str) -> Result<(), TlsError> {
        TlsVerifier::<Suite>::set_hostname_verification(&mut self.verifier, host)
    }

    fn verify_certificate(
        &mut self,
        transcript: &<Suite as embedded_tls::TlsCipherSuite>::Hash,
        certificate: CertificateRef<'_>,
    ) -> Result<(), TlsError> {
        // Exactly one, by the authority itself: whether one in between may sign others, embedded-tls does not look.
        if self.certified || certificate.entries.len() != 1 {
            return Err(TlsError::InvalidCertificate);
        }
        self.verifier.verify_certificate(transcript, certificate)?;
        self.certified = true;
        Ok(())
    }

    fn verify_signature(&mut self, signature: CertificateVerifyRef<'_>) -> Result<(), TlsError> {
        if !self.certified || self.proved {
            return Err(TlsError::InvalidSignature);
        }
        TlsVerifier::<Suite>::verify_signature(&mut self.verifier, signature)?;
        self.proved = true;
        Ok(())
    }
}

/// The board's, for the dates of a certificate.
struct Clock;

impl TlsClock for Clock {
    fn now() -> Option<u64> {
        Some(time::unix() / 1_000_000_000)
    }
}
