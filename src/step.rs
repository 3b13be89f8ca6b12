//! What a poll asks its caller to do.

#![forbid(unsafe_code)]

use crate::ending::Ending;
use crate::time::Instant;

/// What the caller of a poll has to do next: the same for a connection, a session and both opening handshakes.
///
/// `E` is the type of an event. It is [`Infallible`](core::convert::Infallible) where none comes; then no arm is
/// written for [`Event`](Self::Event). `D` is how the polled machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use = "an event that is not processed is lost"]
pub enum Step<E, D = Ending> {
    /// Process the received event, then poll again.
    Event(E),
    /// Write the transmit buffer to the transport, read the transport into the receive buffer, or wait until the
    /// deadline; then poll again.
    Wait {
        /// The latest moment for the next poll; `None` if there is no deadline.
        deadline: Option<Instant>,
    },
    /// Shut down the writing side of the transport (TCP's FIN), then poll again: nothing more will be sent. It is
    /// returned at most once.
    Shutdown,
    /// Stop polling: the connection or the handshake has ended, and this says how. Every later poll returns the same.
    Done(D),
}
