//! How a connection ended.

#![forbid(unsafe_code)]

use core::fmt;

use crate::close::CloseCode;
use crate::error::EndReason;

/// How a connection ended: the reason, and the status codes of both Close frames. Each connection has exactly one ending.
///
/// [`Connection::close_reason`](crate::Connection::close_reason) returns the reason text of the peer's Close.
///
/// ```
/// use sansocket::error::EndReason;
/// use sansocket::{CloseCode, Config, Connection, Instant, ReceiveBuffer, Server, TransmitBuffer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut input, mut output) = ([0; 512], [0; 512]);
/// let (mut rx, mut tx) = (ReceiveBuffer::new(&mut input)?, TransmitBuffer::new(&mut output)?);
/// let now = Instant::START;
/// let mut connection = Connection::new(Server, &Config::DEFAULT, now);
///
/// rx.feed(b"\x88\x82\0\0\0\0\x03\xe9"); // the peer sends Close 1001, and disconnects
/// let _ = connection.poll(now, &mut rx, &mut tx);
/// assert_eq!(tx.pending(), b"\x88\x02\x03\xe9"); // the answer
/// tx.consume(4);
/// let _ = connection.poll(now, &mut rx, &mut tx);
/// connection.transport_failed();
/// let _ = connection.poll(now, &mut rx, &mut tx);
///
/// let ending = connection.ending().ok_or("not ended")?;
/// assert_eq!((ending.reason, ending.code()), (EndReason::Clean, 1001));
/// assert_eq!(ending.received, Some(CloseCode::GOING_AWAY));
/// assert_eq!(ending.to_string(), "closed cleanly, received 1001, sent 1001");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Ending {
    /// What ended the connection.
    pub reason: EndReason,
    /// The status code of the Close that was received; `None` if there was no Close, or it had no code.
    pub received: Option<CloseCode>,
    /// The status code of the Close that was sent; `None` if there was no Close, or it had no code.
    pub sent: Option<CloseCode>,
}

impl Ending {
    /// Returns whether both sides sent a Close.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        matches!(self.reason, EndReason::Clean)
    }

    /// Returns _The WebSocket Connection Close Code_ (RFC 6455 §7.1.5), as browsers report it: the code that was
    /// received, 1005 if the closing handshake was completed and the received Close had no code, and 1006 otherwise.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self.received {
            Some(code) => code.get(),
            None if self.is_clean() => 1005,
            None => 1006,
        }
    }
}

impl fmt::Display for Ending {
    /// Writes the reason, and the codes that were received and sent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)?;
        for (what, code) in [("received", self.received), ("sent", self.sent)] {
            if let Some(code) = code {
                write!(f, ", {what} {code}")?;
            }
        }
        Ok(())
    }
}

/// An ending that is not [clean](Ending::is_clean) can serve as an error.
impl core::error::Error for Ending {}
