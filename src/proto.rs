//! The pieces of the protocol, for other machines than [`Connection`](crate::Connection).
//!
//! [`Encoder`] and [`Decoder`] send and receive frames without replies and deadlines. [`Header`], [`mask()`] and
//! [`Utf8Validator`] are their parts. [`Role`], [`MaskingKey`] and [`Extension`] are what a connection is generic over.

#![forbid(unsafe_code)]

pub use crate::buffer::MIN_BUFFER_LEN;
pub use crate::close::MAX_CLOSE_REASON;
pub use crate::connection::ConnectionState;
pub use crate::event::DetachedEvent;
pub use crate::extension::{Extension, ExtensionFailed, NoExtension, Progress};
pub use crate::frame::{Header, HeaderRules, MAX_CONTROL_PAYLOAD, MAX_HEADER_LEN, OpCode, ReservedBits};
#[cfg(feature = "std")]
pub use crate::host::keys::SystemKeys;
pub use crate::mask::mask;
pub use crate::receive::{Decoder, ReceiveError};
pub use crate::role::{MaskingKey, Role};
pub use crate::send::Encoder;
pub use crate::utf8::Utf8Validator;
