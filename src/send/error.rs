//! Why a frame was not sent.

#![forbid(unsafe_code)]

use crate::extension::ExtensionFailed;

/// Why a call sent nothing. Unless a variant says otherwise, the call changed nothing and can be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SendError {
    /// Capacity, temporary: write [`TransmitBuffer::pending`](crate::TransmitBuffer::pending) to the transport, then call
    /// again.
    #[error("the transmit buffer is full: write it to the transport, then send again")]
    Blocked,
    /// Capacity, permanent: the frame is larger than the whole transmit buffer. `begin_frame` and
    /// `send_fragmented` send payloads of any size.
    #[error("the frame is larger than the whole transmit buffer")]
    TooLarge,
    /// Caller: the open frame still lacks payload, and no other frame can be sent inside it.
    #[error("the open frame still lacks payload")]
    FrameOpen,
    /// Caller: a fragmented message is open, to which the frame does not belong.
    #[error("another message is not finished")]
    MessageOpen,
    /// Caller: the payload is longer than what the open frame lacks, or the length is 2^63 bytes or more.
    #[error("more payload than the frame can take")]
    Overrun,
    /// Caller: the payload of a control frame is longer than 125 bytes.
    #[error("a control frame carries at most 125 bytes")]
    ControlTooLong,
    /// Caller: a Close frame cannot carry a reason without a status code.
    #[error("a reason needs a status code")]
    ReasonWithoutCode,
    /// Caller: a formatted text returned an error, or another text when it was formatted again.
    #[error("the text could not be formatted")]
    Format,
    /// Extension: it failed, and the message cannot be sent or finished. A [`Connection`](crate::Connection) then
    /// closes with 1011; a caller of [`Encoder`](crate::proto::Encoder) should send that Close itself.
    #[error(transparent)]
    Extension(#[from] ExtensionFailed),
    /// State: a Close was sent, or the connection has ended. No frame can follow.
    #[error("the connection is closing: no frame may follow")]
    Closed,
}

impl SendError {
    /// Returns the reason of the Close with 1011 that a [`Handler`](crate::Handler) causes when it returns this error.
    /// Firmware with feature `small` sends none.
    pub(crate) const fn reason(self) -> &'static str {
        if cfg!(all(feature = "small", not(feature = "std"))) {
            return "";
        }
        match self {
            Self::Blocked | Self::Closed | Self::Extension(_) => "",
            Self::TooLarge => "frame too large to send",
            Self::FrameOpen => "frame not finished",
            Self::MessageOpen => "message not finished",
            Self::Overrun => "frame overrun",
            Self::ControlTooLong => "control frame too long",
            Self::ReasonWithoutCode => "reason without a code",
            Self::Format => "text not formatted",
        }
    }
}
