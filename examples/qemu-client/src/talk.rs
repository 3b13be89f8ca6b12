//! What the client does on a connection, whatever lies below it.

use core::fmt;
use core::task::Poll;
use core::time::Duration;

use sansocket::config::ControlFrames;
use sansocket::embedded::{ConnectAttempt, Error, Transport, WebSocket};
use sansocket::proto::MaskingKey;
use sansocket::{Client, CloseCode, Config, Ending, Event, Kind, Payload, SendError};

use crate::settings::Settings;

/// The deadlines of a connection; the library keeps them.
pub static CONFIG: Config = {
    let mut config = Config::new();
    config.control = ControlFrames::Reported; // a Pong is what the ping below waits for
    config.timeouts.handshake = Some(Duration::from_secs(5));
    config.timeouts.ping = Some(Duration::from_secs(4));
    config.timeouts.pong = Some(Duration::from_secs(4));
    config.timeouts.close = Some(Duration::from_secs(3));
    config.timeouts.write = Some(Duration::from_secs(10));
    config
};
/// How long an echo may take to go on.
const ANSWER: Duration = Duration::from_secs(10);

/// Why a connection did not come about, or did not last.
#[derive(Debug)]
#[expect(dead_code, reason = "they are for the log")]
pub enum Failure<E> {
    WebSocket(Error<E>),
    /// The server has closed the connection.
    Closed(Ending),
    NoEcho,
    WrongEcho,
}

type Socket<'b, T, K> = WebSocket<'b, T, Client<K>>;

/// Opens the connection, echoes, and closes it when that was enough.
pub async fn talk<T: Transport<Error: fmt::Debug>, K: FnMut() -> [u8; 4], E>(
    transport: T,
    attempt: ConnectAttempt<'_, K, &'static Config, E>,
    settings: &Settings,
) -> Result<Ending, Failure<T::Error>> {
    let mut socket = attempt.open(transport).await?;
    let mut next = socket.writer().now();

    if settings.large > 0 {
        for len in [0, 5, 125, 126, 1000, settings.large] {
            echo(&mut socket, Kind::Text, len).await?;
            echo(&mut socket, Kind::Binary, len).await?;
        }
        println!("echoed, as text and binary, up to {} bytes", settings.large);
        ping(&mut socket).await?;
        println!("pong");
    }

    let every = if settings.every > 0 { Duration::from_millis(settings.every) } else { Duration::MAX };
    let mut beats = 0;
    while settings.messages == 0 || beats < settings.messages {
        next = next.saturating_add(every);
        // Whatever comes meanwhile, and if only to answer a ping.
        loop {
            match socket.read_until(next).await? {
                Poll::Ready(Some(_)) => {}
                Poll::Ready(None) => return Err(Failure::Closed(socket.close(None, "").await)),
                Poll::Pending => break,
            }
        }
        beats += 1;
        echo(&mut socket, Kind::Text, 20).await?;
        println!("message {beats}");
    }
    Ok(socket.close(CloseCode::NORMAL, "enough").await)
}

/// Sends a message in one frame, of any length, and compares its echo while it comes: neither side holds it whole.
async fn echo<T: Transport, K: MaskingKey>(
    socket: &mut Socket<'_, T, K>,
    kind: Kind,
    len: u32,
) -> Result<(), Failure<T::Error>> {
    // Whole characters.
    let len = if kind == Kind::Text { len - len % SAMPLE.len() as u32 } else { len };
    socket.flush().await?;
    socket.writer().outbox().begin_frame(kind, len.into(), true)?;
    let (mut sent, mut echoed) = (0, 0);
    loop {
        while sent < len {
            let chunk: [u8; 64] = core::array::from_fn(|i| byte(kind, sent + i as u32));
            let n = chunk.len().min((len - sent) as usize);
            match socket.writer().outbox().write(&chunk[..n])? {
                0 => break,
                written => sent += written as u32,
            }
        }
        let event = if sent < len {
            socket.read_or_flushed().await?
        } else {
            let limit = socket.writer().now().saturating_add(ANSWER);
            socket.read_until(limit).await?
        };
        match event {
            Poll::Ready(Some((Event::Data(data), _))) => {
                if data.kind != kind || !matches(kind, echoed, &data.payload) {
                    return Err(Failure::WrongEcho);
                }
                echoed += data.payload.len() as u32;
                if data.end {
                    return if echoed == len { Ok(()) } else { Err(Failure::WrongEcho) };
                }
            }
            Poll::Ready(Some(_)) => {}
            Poll::Pending if sent < len => {}
            Poll::Ready(None) | Poll::Pending => return Err(Failure::NoEcho),
        }
    }
}

async fn ping<T: Transport, K: MaskingKey>(socket: &mut Socket<'_, T, K>) -> Result<(), Failure<T::Error>> {
    socket.ping(b"are you there?").await?;
    let limit = socket.writer().now().saturating_add(ANSWER);
    loop {
        match socket.read_until(limit).await? {
            Poll::Ready(Some((Event::Pong(payload), _))) if *payload == *b"are you there?" => return Ok(()),
            Poll::Ready(Some(_)) => {}
            Poll::Ready(None) | Poll::Pending => return Err(Failure::NoEcho),
        }
    }
}

/// Characters of one to four bytes; 20 in all, so that they are cut at every place of any buffer.
const SAMPLE: &[u8] = "Grüße, 世界🎉!".as_bytes();

/// A message's byte at this place: nobody has to keep the message to know its echo.
fn byte(kind: Kind, at: u32) -> u8 {
    match kind {
        Kind::Text => SAMPLE[at as usize % SAMPLE.len()],
        Kind::Binary => (at.wrapping_mul(0x9E37_79B1) >> 24) as u8,
    }
}

fn matches(kind: Kind, from: u32, payload: &Payload<'_>) -> bool {
    payload.iter().zip(from..).all(|(got, at)| *got == byte(kind, at))
}

impl<E> From<Error<E>> for Failure<E> {
    fn from(error: Error<E>) -> Self {
        Self::WebSocket(error)
    }
}

impl<E> From<SendError> for Failure<E> {
    fn from(error: SendError) -> Self {
        Self::WebSocket(error.into())
    }
}
