//! The notification of the sender of a message.

#![forbid(unsafe_code)]

use alloc::boxed::Box;

/// Notifies the sender of a message, once, of what became of it.
pub(super) struct Done(Option<Completion>);

pub(super) type Completion = Box<dyn FnOnce(Result<(), NotDelivered>) + Send>;

/// Why a message was not delivered: the transport has not taken it, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum NotDelivered {
    /// The session does not exist, it ended before the transport had taken the whole message, or it is an ordinary HTTP
    /// request.
    #[error("the session has ended")]
    Ended,
    /// The session is closing, and nothing may follow a Close (RFC 6455 §5.5.1). Messages that are sent after a close
    /// are lost with this. So are pending messages when the handler or the peer closes, or when the peer does not
    /// read them in the time for [`HubHandle::close`](super::HubHandle::close).
    #[error("the session is closing")]
    Closing,
    /// A Ping or a Pong has more than 125 bytes (RFC 6455 §5.5).
    #[error("a control frame carries at most 125 bytes")]
    ControlTooLong,
    /// More is pending for the peer than [`QueueLimits`](crate::config::QueueLimits) allow.
    #[error("too much is pending for the session")]
    Overflow,
}

impl Done {
    pub(super) const NOBODY: Self = Self(None);

    pub(super) const fn new(done: Completion) -> Self {
        Self(Some(done))
    }

    pub(super) const fn is_nobody(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn tell(mut self, result: Result<(), NotDelivered>) {
        if let Some(done) = self.0.take() {
            done(result);
        }
    }

    /// Drops the completion without calling it: the call that was to send the message returns the error.
    pub(super) fn forget(mut self) {
        self.0 = None;
    }
}

/// Reports a message that is dropped as lost, wherever that happens.
impl Drop for Done {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done(Err(NotDelivered::Ended));
        }
    }
}
