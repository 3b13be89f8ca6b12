//! Checks at compile time that public types can be moved to other threads and shared with them.

#![forbid(unsafe_code)]

#[cfg(all(feature = "alloc", target_has_atomic = "ptr"))]
use alloc::sync::Arc;

use crate::buffer::{ReceiveBuffer, TransmitBuffer};
use crate::config::base::Config;
use crate::connection::Connection;
use crate::embedded::{Error, WebSocket, Writer};
use crate::ending::Ending;
use crate::error::{BufferTooSmall, InvalidUtf8, MessageTooBig};
use crate::event::{DetachedEvent, Event};
use crate::extension::ExtensionFailed;
use crate::handler::HandlerError;
use crate::handshake::{Accepted, ClientHandshake, ClientHandshakeEnd, ServerHandshake, ServerHandshakeEnd};
use crate::message::{ArrayStorage, Assembler, SliceStorage, WholeMessages};
use crate::receive::{Decoder, ReceiveError};
use crate::role::{Client, Server};
use crate::send::{Encoder, SendError};
use crate::session::{Backoff, Buffers, HandlerDriver, Memory, Outcome, ServerSession, ServiceUnavailable};
use crate::step::Step;

type Keys = fn() -> [u8; 4];

const fn send_and_sync<T: Send + Sync>() {}

const _: () = {
    send_and_sync::<Connection<Server>>();
    send_and_sync::<Connection<Client<Keys>>>();
    send_and_sync::<HandlerDriver<Client<Keys>>>();
    send_and_sync::<ServerSession>();
    send_and_sync::<(ServerHandshake, ServerHandshakeEnd)>();
    send_and_sync::<(ClientHandshake<'_>, ClientHandshakeEnd<'_>)>();
    send_and_sync::<(Encoder<Server>, Decoder<Server>)>();
    send_and_sync::<(ReceiveBuffer<'_>, TransmitBuffer<'_>, Buffers<'_>)>();
    send_and_sync::<(Step<Event<'_>>, DetachedEvent)>();
    send_and_sync::<(Assembler<SliceStorage<'_>>, WholeMessages<(), ArrayStorage<1>>)>();
    send_and_sync::<(Memory<140, 140, 140>, ServiceUnavailable)>();
    send_and_sync::<Accepted<WebSocket<'_, (), Server>, ()>>();
    send_and_sync::<(Writer<'_, (), Client<Keys>>, Error<()>)>();
    send_and_sync::<(Config, Backoff)>();
    send_and_sync::<(Ending, Outcome, HandlerError, SendError, ReceiveError)>();
    send_and_sync::<(BufferTooSmall, MessageTooBig, InvalidUtf8, ExtensionFailed)>();
};

#[cfg(all(feature = "alloc", target_has_atomic = "ptr"))]
const _: () = {
    send_and_sync::<Connection<Server, crate::extension::NoExtension, Arc<Config>>>();
    send_and_sync::<ServerSession<Arc<Config>>>();
};

#[cfg(feature = "deflate")]
const _: () = {
    send_and_sync::<crate::deflate::Zlib>();
    send_and_sync::<crate::deflate::Pool>();
};

#[cfg(feature = "deflate-receive")]
const _: () = {
    send_and_sync::<crate::deflate::PerMessage<crate::deflate::RingInflate<'_>, crate::deflate::NoDeflate>>();
    send_and_sync::<crate::deflate::RingMemory<512>>();
};

/// Firmware can log what it gets from the library, without `core::fmt`.
#[cfg(feature = "defmt")]
const _: () = {
    use crate::error::{EndReason, Timeout, Violation};
    use crate::handshake::{BadRequest, Decision, HandshakeError, HeadError, Refusal, Rejection, UrlError};
    use crate::handshake::{OriginPolicy, ResponseBody};

    const fn format<T: defmt::Format>() {}
    format::<(Event<'_>, DetachedEvent, Step<Event<'_>>, Ending, Outcome)>();
    format::<(EndReason, Timeout, Violation, SendError, ReceiveError, HandlerError, Error<()>)>();
    format::<(BadRequest, HandshakeError, HeadError, Refusal, Rejection, UrlError)>();
    format::<(ServerHandshakeEnd, ClientHandshakeEnd<'_>)>();
    format::<(Decision<'_>, Accepted<(), ()>, OriginPolicy<'_>, ResponseBody<'_>)>();
    format::<(BufferTooSmall, MessageTooBig, InvalidUtf8, ExtensionFailed)>();
    format::<(crate::MessageRef<'_>, crate::Instant, crate::CloseCode, crate::Kind)>();
    format::<(crate::config::ControlFrames, crate::config::Delivery, crate::proto::OpCode)>();
    #[cfg(feature = "hub")]
    {
        use crate::hub::{Capacity, HandleError, InvalidSettings, NotDelivered, SessionId, SessionState};
        format::<(Capacity, HandleError, InvalidSettings, NotDelivered, SessionId, SessionState)>();
        format::<crate::hub::RequestAction<'_, ()>>();
        format::<crate::config::Overflow>();
    }
    #[cfg(feature = "embassy-net")]
    {
        use crate::embedded::{ReconnectEvent, TcpServeError, Unreachable};
        format::<(TcpServeError, Unreachable, ReconnectEvent<'_, Error<()>>)>();
    }
};
